//! Memory budgets: bounds on the bytes that others can make the server hold.
//!
//! A [`MemoryBudget`] has a limit that is a setting. A [`Reservation`] holds some of its bytes, and releases them when
//! it is dropped. A budget may be part of another one (a session's of its address's, that of the server's): its bytes
//! count there too, and a full one refuses them.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use thiserror::Error;

/// The size up to which an answer never needs memory: the number of such answers is limited otherwise.
pub(crate) const SMALL: usize = 1 << 10;
/// The weight up to which a request never needs memory.
pub(crate) const SMALL_CALL: usize = 2 << 10;

/// A number of bytes that may be reserved. A cheap handle.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: Limit,
    at_first: Option<AtFirst>,
    state: AtomicI64,
    parent: Option<MemoryBudget>,
    /// The first bytes, so many, don't count in the parent.
    free: usize,
    /// True if it may have no more of the parent than it leaves.
    is_share: bool,
}

/// The bounds of a budget until it is raised.
#[derive(Debug)]
struct AtFirst {
    limit: Limit,
    /// The second budget in which its bytes count, besides the parent.
    among: MemoryBudget,
}

/// The bytes that a budget has reserved, and whether it has been raised: one number, so that a reservation knows where
/// its bytes count.
#[derive(Debug, Clone, Copy)]
struct State(i64);

/// A number of bytes, and the setting that limits it.
#[derive(Debug, Clone, Copy)]
struct Limit {
    setting: &'static str,
    bytes: usize,
}

/// Bytes of a budget, released when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

/// A budget has no room for so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this would exceed {setting}")]
pub struct OverBudget {
    /// The setting that limits it.
    pub setting: &'static str,
    /// True if the budget can never have room for so many.
    pub never: bool,
}

impl MemoryBudget {
    /// Creates a budget with the limit of a setting.
    pub fn new(setting: &'static str, bytes: usize) -> Self {
        Self::of(None, Limit { setting, bytes }, None, 0, false)
    }

    /// Creates a budget whose bytes count in this one, too, except for the first `free` bytes. So small users never
    /// contend for the counter of all, and are served even when that is full.
    pub fn part(&self, setting: &'static str, bytes: usize, free: usize) -> Self {
        let limit = Limit { setting, bytes };
        Self::of(Some(self.clone()), limit, None, free, false)
    }

    /// Creates a part that has no more of this budget than it leaves for others, unless it may have all of it.
    pub fn share(&self, setting: &'static str, bytes: usize) -> Self {
        let whole = self.0.limit;
        let most = share_of(whole.bytes, bytes);
        let limit = Limit {
            setting: if most < bytes { whole.setting } else { setting },
            bytes: most,
        };
        Self::of(Some(self.clone()), limit, None, 0, bytes < whole.bytes)
    }

    /// Creates a part for a client without a login: until it is raised, it has the limit `at_first`, and its bytes
    /// count in `among`, too.
    pub fn part_of_stranger(
        &self,
        (setting, bytes): (&'static str, usize),
        free: usize,
        at_first: (&'static str, usize),
        among: &Self,
    ) -> Self {
        let at_first = AtFirst {
            limit: Limit {
                setting: at_first.0,
                bytes: at_first.1,
            },
            among: among.clone(),
        };
        let limit = Limit { setting, bytes };
        Self::of(Some(self.clone()), limit, Some(at_first), free, false)
    }

    fn of(
        parent: Option<Self>,
        limit: Limit,
        at_first: Option<AtFirst>,
        free: usize,
        is_share: bool,
    ) -> Self {
        Self(Arc::new(Inner {
            limit,
            at_first,
            state: AtomicI64::new(0),
            parent,
            free,
            is_share,
        }))
    }

    /// Raises the budget after a login: the larger limit applies from now on.
    pub fn raise(&self) {
        let Inner {
            at_first, state, ..
        } = &*self.0;
        let Some(AtFirst { among, .. }) = at_first else {
            return;
        };
        let before = State(state.fetch_or(State::RAISED, Relaxed));
        if !before.is_raised() {
            among.0.add(-self.0.shared(before.bytes()));
        }
    }

    /// Returns the outermost budget in which this one counts.
    pub fn whole(&self) -> &Self {
        let mut whole = self;
        while let Some(parent) = &whole.0.parent {
            whole = parent;
        }
        whole
    }

    /// Returns the number of reserved bytes.
    pub fn used(&self) -> usize {
        usize::try_from(self.0.state().bytes()).unwrap_or(0)
    }

    /// Returns the number of bytes that may be reserved in all.
    pub fn limit(&self) -> usize {
        self.0.limit(self.0.state()).bytes
    }

    /// Reserves bytes.
    ///
    /// # Errors
    /// [`OverBudget`]; then nothing has changed.
    pub fn try_reserve(&self, bytes: usize) -> Result<Reservation, OverBudget> {
        self.0.charge(signed(bytes))?;
        Ok(Reservation {
            budget: self.clone(),
            bytes,
        })
    }

    /// Reserves bytes for an answer and up to `around` more for its frame. If there is no room, an answer that may be
    /// small counts as nothing.
    ///
    /// # Errors
    /// [`OverBudget`] if the answer isn't small; then nothing has changed.
    pub fn try_reserve_answer(
        &self,
        bytes: usize,
        around: usize,
    ) -> Result<Reservation, OverBudget> {
        self.try_reserve(bytes + around)
            .or_else(|over| match bytes {
                0..=SMALL => Ok(Reservation {
                    budget: self.clone(),
                    bytes: 0,
                }),
                _ => Err(over),
            })
    }
}

impl State {
    /// The flag in the lowest bit; the bytes are above it.
    const RAISED: i64 = 1;

    /// Returns the bytes. They may be negative for a moment, while threads count at the same time.
    fn bytes(self) -> i64 {
        self.0 >> 1
    }

    fn is_raised(self) -> bool {
        self.0 & Self::RAISED != 0
    }

    /// Returns so many bytes as a part of the number.
    fn of_bytes(bytes: i64) -> i64 {
        bytes << 1
    }
}

impl Inner {
    fn state(&self) -> State {
        State(self.state.load(Relaxed))
    }

    fn limit(&self, state: State) -> Limit {
        match &self.at_first {
            Some(at_first) if !state.is_raised() => at_first.limit,
            _ => self.limit,
        }
    }

    /// Returns the second budget in which bytes count, in this state.
    fn among(&self, state: State) -> Option<&Self> {
        let at_first = self.at_first.as_ref()?;
        (!state.is_raised()).then(|| &*at_first.among.0)
    }

    /// Returns the part of so many bytes that counts in the parent.
    fn shared(&self, bytes: i64) -> i64 {
        (bytes - signed(self.free)).max(0)
    }

    /// Returns the bytes that count in the parent in addition, with so many more than in this state.
    fn shared_more(&self, state: State, bytes: i64) -> i64 {
        self.shared(state.bytes() + bytes) - self.shared(state.bytes())
    }

    fn charge(&self, bytes: i64) -> Result<(), OverBudget> {
        let with_these = |state: i64| {
            let most = signed(self.limit(State(state)).bytes);
            let fits = State(state).bytes() + bytes <= most;
            fits.then(|| state + State::of_bytes(bytes))
        };
        let before = self.state.fetch_update(Relaxed, Relaxed, with_these);
        let before = before.map(State).map_err(|state| {
            let limit = self.limit(State(state));
            OverBudget {
                setting: limit.setting,
                never: bytes > signed(limit.bytes),
            }
        })?;
        let Some(MemoryBudget(parent)) = &self.parent else {
            return Ok(());
        };
        let more = self.shared_more(before, bytes);
        if more == 0 {
            return Ok(());
        }
        let among = self.among(before);
        let charged = among.map_or(Ok(()), |among| among.charge(more));
        let charged = charged.and_then(|()| {
            let fits = if self.leaves_as_much(before, bytes, parent) {
                parent.charge(more)
            } else {
                Err(OverBudget {
                    setting: parent.limit.setting,
                    never: false,
                })
            };
            fits.inspect_err(|_| {
                if let Some(among) = among {
                    among.add(-more);
                }
            })
        });
        charged.inspect_err(|_| {
            // Others may have changed the number meanwhile, so the other budgets are adjusted to the present number.
            let before_undone = State(self.state.fetch_sub(State::of_bytes(bytes), Relaxed));
            let less = self.shared_more(before_undone, -bytes);
            parent.add(more + less);
            match (among, self.among(before_undone)) {
                (Some(among), Some(_)) => among.add(more + less),
                (Some(among), None) => among.add(more),
                (None, _) => {}
            }
        })
    }

    /// Returns true if this budget would leave as much of its parent as it has, with so many more bytes; or if it
    /// needn't.
    fn leaves_as_much(&self, before: State, bytes: i64, parent: &Self) -> bool {
        let own = self.shared(before.bytes() + bytes);
        let others = parent.state().bytes() - self.shared(before.bytes());
        !self.is_share || 2 * own + others.max(0) <= signed(parent.limit.bytes)
    }

    /// Counts so many bytes more, or less, whatever the limits.
    fn add(&self, bytes: i64) {
        if bytes == 0 {
            return;
        }
        let before = State(self.state.fetch_add(State::of_bytes(bytes), Relaxed));
        if let Some(MemoryBudget(parent)) = &self.parent {
            let more = self.shared_more(before, bytes);
            if more != 0 {
                parent.add(more);
                if let Some(among) = self.among(before) {
                    among.add(more);
                }
            }
        }
    }
}

/// Returns the most that a share of so many bytes can have of a budget of `whole` bytes: no more than it leaves, unless
/// it may have all of it.
pub(crate) fn share_of(whole: usize, bytes: usize) -> usize {
    if bytes < whole {
        bytes.min(whole / 2)
    } else {
        bytes
    }
}

/// Converts a number of bytes for counting. Larger numbers don't occur.
fn signed(bytes: usize) -> i64 {
    const MOST: i64 = i64::MAX >> 3;
    i64::try_from(bytes).map_or(MOST, |bytes| bytes.min(MOST))
}

impl Reservation {
    /// Returns the number of bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over the bytes of another reservation in the same budget.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert!(
            Arc::ptr_eq(&self.budget.0, &other.budget.0),
            "of another budget"
        );
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Changes the number of bytes.
    ///
    /// # Errors
    /// [`OverBudget`] if there is no room for more; then nothing has changed.
    pub fn resize(&mut self, bytes: usize) -> Result<(), OverBudget> {
        if bytes > self.bytes {
            self.budget.0.charge(signed(bytes - self.bytes))?;
        } else if bytes < self.bytes {
            self.budget.0.add(-signed(self.bytes - bytes));
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.0.add(-signed(self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn shares_leave_as_much_as_they_have() {
        let all = MemoryBudget::new("all", 1000);
        let shares: Vec<_> = (0..6).map(|_| all.share("share", 400)).collect();
        let mut held = Vec::new();
        let mut most = |share: &MemoryBudget| {
            held.extend(std::iter::from_fn(|| share.try_reserve(10).ok()));
            share.used()
        };
        let had: Vec<_> = shares.iter().map(&mut most).collect();
        assert_eq!(had, [400, 300, 150, 70, 40, 20]);
        assert_eq!(shares[0].try_reserve(10).unwrap_err().setting, "share");
        assert_eq!(shares[1].try_reserve(10).unwrap_err().setting, "all");
        // The share keeps what it has even when others have come since, and may release some.
        held[0].resize(5).unwrap();
        assert_eq!((shares[0].used(), all.used()), (395, 975));
        drop(held);
        assert_eq!(all.used(), 0);
        let whole = all.share("share", 1000);
        assert!(whole.try_reserve(1000).is_ok(), "it may have all");
    }

    #[test]
    fn more_than_a_share_can_ever_have_is_refused_for_good() {
        let all = MemoryBudget::new("all", 1000);
        let share = all.share("share", 900);
        let part = share.part("part", 800, 0);
        let never = OverBudget {
            setting: "all",
            never: true,
        };
        assert_eq!(part.try_reserve(501).unwrap_err(), never);
        let held = all.try_reserve(1).unwrap();
        let full = OverBudget {
            setting: "all",
            never: false,
        };
        assert_eq!(part.try_reserve(500).unwrap_err(), full);
        drop(held);
        assert!(part.try_reserve(500).is_ok());
        assert_eq!((share.used(), all.used()), (0, 0));
    }

    #[test]
    fn bytes_come_back_when_their_reservation_is_dropped() {
        let budget = MemoryBudget::new("a.limit", 100);
        let mut some = budget.try_reserve(60).unwrap();
        let full = OverBudget {
            setting: "a.limit",
            never: false,
        };
        assert_eq!(budget.try_reserve(41).unwrap_err(), full);
        assert!(budget.try_reserve(101).unwrap_err().never);
        assert_eq!(some.resize(101), Err(full));
        assert_eq!((some.bytes(), budget.used()), (60, 60));
        some.resize(100).unwrap();
        assert!(budget.try_reserve(0).is_ok() && budget.try_reserve(1).is_err());
        some.resize(10).unwrap();
        assert_eq!(budget.used(), 10);
        some.absorb(budget.try_reserve(20).unwrap());
        assert_eq!((some.bytes(), budget.used()), (30, 30));
        drop(some);
        assert_eq!(budget.used(), 0);
        assert!(budget.try_reserve(usize::MAX).is_err());
    }

    #[test]
    fn bytes_of_a_part_count_in_the_whole_beyond_the_free_ones() {
        let whole = MemoryBudget::new("whole", 100);
        let parts = [(); 2].map(|()| whole.part("part", 80, 10));
        let little = parts[0].try_reserve(10).unwrap();
        assert_eq!(whole.used(), 0);
        let mut much = parts[1].try_reserve(80).unwrap();
        assert_eq!(whole.used(), 70);
        let refused = |bytes| parts[0].try_reserve(bytes).unwrap_err().setting;
        assert_eq!((refused(71), refused(31)), ("part", "whole"));
        assert_eq!((parts[0].used(), whole.used()), (10, 70));
        much.resize(5).unwrap();
        assert_eq!(whole.used(), 0);
        drop((little, much));
        assert_eq!((parts[0].used(), parts[1].used(), whole.used()), (0, 0, 0));
    }

    #[test]
    fn strangers_count_together_until_they_log_in() {
        let (whole, strangers) = (
            MemoryBudget::new("whole", 100),
            MemoryBudget::new("strangers", 30),
        );
        let [one, two] =
            [(); 2].map(|()| whole.part_of_stranger(("large", 80), 10, ("small", 25), &strangers));
        let refused = |part: &MemoryBudget, bytes| part.try_reserve(bytes).unwrap_err().setting;
        assert_eq!(refused(&one, 26), "small");
        let held = one.try_reserve(25).unwrap();
        let other = two.try_reserve(25).unwrap();
        assert_eq!((whole.used(), strangers.used()), (30, 30));
        let three = whole.part_of_stranger(("large", 80), 10, ("small", 25), &strangers);
        assert_eq!(refused(&three, 11), "strangers");
        assert_eq!((three.used(), whole.used(), strangers.used()), (0, 30, 30));
        one.raise();
        one.raise();
        assert_eq!((one.limit(), two.limit()), (80, 25));
        assert_eq!((whole.used(), strangers.used()), (30, 15));
        let more = one.try_reserve(50).unwrap();
        assert_eq!(refused(&one, 6), "large");
        assert_eq!((whole.used(), strangers.used()), (80, 15));
        let last = three.try_reserve(25).unwrap();
        assert_eq!((whole.used(), strangers.used()), (95, 30));
        drop(held);
        assert_eq!((whole.used(), strangers.used()), (70, 30));
        drop((other, more, last));
        assert_eq!((one.used(), whole.used(), strangers.used()), (0, 0, 0));
    }

    #[test]
    fn bytes_that_the_whole_refuses_count_nowhere() {
        let (whole, strangers) = (
            MemoryBudget::new("whole", 20),
            MemoryBudget::new("strangers", 30),
        );
        let part = whole.part_of_stranger(("large", 80), 0, ("small", 40), &strangers);
        assert_eq!(part.try_reserve(21).unwrap_err().setting, "whole");
        assert_eq!((part.used(), whole.used(), strangers.used()), (0, 0, 0));
    }

    #[test]
    fn a_small_answer_needs_no_room() {
        let budget = MemoryBudget::new("full", 0);
        assert_eq!(budget.try_reserve_answer(SMALL, 0).unwrap().bytes(), 0);
        assert_eq!(budget.try_reserve_answer(SMALL, 9).unwrap().bytes(), 0);
        assert!(budget.try_reserve_answer(SMALL + 1, 0).is_err());
        let budget = MemoryBudget::new("empty", 10);
        assert_eq!(budget.try_reserve_answer(7, 3).unwrap().bytes(), 10);
    }

    #[test]
    fn concurrent_changes_lose_nothing_and_pass_no_limit() {
        let whole = MemoryBudget::new("whole", 200);
        let strangers = MemoryBudget::new("strangers", 120);
        let part = whole.part("part", 150, 20);
        for _ in 0..20 {
            let stranger = whole.part_of_stranger(("large", 150), 20, ("small", 100), &strangers);
            thread::scope(|scope| {
                for seed in 0..4_usize {
                    let (whole, part, stranger) = (&whole, &part, &stranger);
                    scope.spawn(move || {
                        for n in 0..1_000 {
                            let bytes = (n * 31 + seed * 17) % 90;
                            let held = part.try_reserve(bytes);
                            let others = stranger.try_reserve(bytes);
                            let other = whole.try_reserve(bytes / 2);
                            assert!(part.used() <= 150, "{}", part.used());
                            // A concurrent adjustment may be off by the free bytes.
                            assert!(whole.used() <= 200 + 8 * 20, "{}", whole.used());
                            if n == 500 {
                                stranger.raise();
                            }
                            drop((held, others, other));
                        }
                    });
                }
            });
            assert_eq!((stranger.used(), strangers.used()), (0, 0));
        }
        assert_eq!((part.used(), whole.used()), (0, 0));
    }
}
