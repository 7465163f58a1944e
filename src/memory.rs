//! Bounds on what others can make the server hold, in bytes.
//!
//! A [`MemoryBudget`] has a limit that is a setting; what is held against it is a [`Reservation`], which gives its
//! bytes back when it is dropped. A budget may be part of another one (a session's of its address's, that of the
//! server's): its bytes count there too, and whichever is full refuses them.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use thiserror::Error;

/// So many bytes at most, of whoever reserves them. A cheap handle.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: Limit,
    /// What holds from some moment on instead of `limit`.
    raised: OnceLock<Limit>,
    /// Less than nothing, for a moment, where what comes and goes at once is not counted in order.
    used: AtomicI64,
    parent: Option<MemoryBudget>,
    /// So many of the first bytes don't count in the parent.
    free: usize,
}

/// How much there may be, and the setting that says so.
#[derive(Debug, Clone, Copy)]
struct Limit {
    setting: &'static str,
    bytes: usize,
}

/// Bytes of a budget. They are free again when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

/// A budget has no room for so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("more than {setting} would be held")]
pub struct OverBudget {
    /// The setting that limits it.
    pub setting: &'static str,
}

impl MemoryBudget {
    /// A budget of its own, with the limit of a setting.
    pub fn new(setting: &'static str, bytes: usize) -> Self {
        Self::of(None, setting, bytes, 0)
    }

    /// A budget whose bytes count in this one, too. The first `free` of them don't: those who hold little never meet
    /// at the counter of all, and are served even when that is full.
    pub fn part(&self, setting: &'static str, bytes: usize, free: usize) -> Self {
        Self::of(Some(self.clone()), setting, bytes, free)
    }

    fn of(parent: Option<Self>, setting: &'static str, bytes: usize, free: usize) -> Self {
        Self(Arc::new(Inner {
            limit: Limit { setting, bytes },
            raised: OnceLock::new(),
            used: AtomicI64::new(0),
            parent,
            free,
        }))
    }

    /// Has another limit hold from now on; once, later calls change nothing.
    pub fn raise(&self, setting: &'static str, bytes: usize) {
        let _ = self.0.raised.set(Limit { setting, bytes });
    }

    /// Returns the bytes that are reserved.
    pub fn used(&self) -> usize {
        usize::try_from(self.0.used.load(Relaxed)).unwrap_or(0)
    }

    /// Returns how many bytes may be reserved in all, in this budget.
    pub fn limit(&self) -> usize {
        self.0.limit().bytes
    }

    /// Reserves bytes.
    ///
    /// # Errors
    /// [`OverBudget`], and nothing has changed.
    pub fn try_reserve(&self, bytes: usize) -> Result<Reservation, OverBudget> {
        self.0.charge(signed(bytes))?;
        Ok(Reservation {
            budget: self.clone(),
            bytes,
        })
    }
}

impl Inner {
    fn limit(&self) -> Limit {
        *self.raised.get().unwrap_or(&self.limit)
    }

    /// What of so many bytes counts in the parent.
    fn shared(&self, bytes: i64) -> i64 {
        (bytes - signed(self.free)).max(0)
    }

    fn charge(&self, bytes: i64) -> Result<(), OverBudget> {
        let Limit {
            setting,
            bytes: most,
        } = self.limit();
        let most = signed(most);
        let with_these = |used: i64| used.checked_add(bytes).filter(|sum| *sum <= most);
        let before = self.used.fetch_update(Relaxed, Relaxed, with_these);
        let before = before.map_err(|_| OverBudget { setting })?;
        let Some(MemoryBudget(parent)) = &self.parent else {
            return Ok(());
        };
        let more = self.shared(before + bytes) - self.shared(before);
        if more == 0 {
            return Ok(());
        }
        parent.charge(more).inspect_err(|_| {
            // Others may have come or gone meanwhile: what counts in the parent is settled for what is there now.
            let before = self.used.fetch_sub(bytes, Relaxed);
            let less = self.shared(before) - self.shared(before - bytes);
            parent.add(more - less);
        })
    }

    /// Counts so many more, or less, whatever the limits.
    fn add(&self, bytes: i64) {
        let before = self.used.fetch_add(bytes, Relaxed);
        if let Some(MemoryBudget(parent)) = &self.parent {
            let more = self.shared(before + bytes) - self.shared(before);
            if more != 0 {
                parent.add(more);
            }
        }
    }
}

/// As they are counted. Nobody has more.
fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Reservation {
    /// Returns how many bytes it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes another one's bytes, of the same budget.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert!(
            Arc::ptr_eq(&self.budget.0, &other.budget.0),
            "of another budget"
        );
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Makes it so many bytes, whether they are more or less.
    ///
    /// # Errors
    /// [`OverBudget`] where there is no room for more, and nothing has changed.
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
    fn bytes_come_back_when_what_held_them_is_gone() {
        let budget = MemoryBudget::new("a.limit", 100);
        let mut some = budget.try_reserve(60).unwrap();
        let full = OverBudget { setting: "a.limit" };
        assert_eq!(budget.try_reserve(41).unwrap_err(), full);
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
    fn what_is_held_in_a_part_counts_in_the_whole_past_what_is_free() {
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
    fn a_limit_is_raised_once() {
        let budget = MemoryBudget::new("small", 10);
        assert_eq!(budget.try_reserve(11).unwrap_err().setting, "small");
        budget.raise("large", 20);
        budget.raise("larger", 30);
        let _some = budget.try_reserve(11).unwrap();
        assert_eq!(
            (budget.try_reserve(10).unwrap_err().setting, budget.limit()),
            ("large", 20)
        );
    }

    #[test]
    fn whatever_happens_at_once_nothing_is_lost_and_no_limit_is_passed() {
        let whole = MemoryBudget::new("whole", 200);
        let part = whole.part("part", 150, 20);
        thread::scope(|scope| {
            for seed in 0..4_usize {
                let (whole, part) = (&whole, &part);
                scope.spawn(move || {
                    for n in 0..20_000 {
                        let bytes = (n * 31 + seed * 17) % 90;
                        let held = part.try_reserve(bytes);
                        let other = whole.try_reserve(bytes / 2);
                        assert!(part.used() <= 150, "{}", part.used());
                        // What is settled anew may be over by what is free.
                        assert!(whole.used() <= 200 + 4 * 20, "{}", whole.used());
                        drop((held, other));
                    }
                });
            }
        });
        assert_eq!((part.used(), whole.used()), (0, 0));
    }
}
