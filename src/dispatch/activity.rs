//! Counts what happens in the circles that somebody looks at. In all others nothing is counted: while nobody looks at any,
//! that costs one read of a flag that doesn't change.
//!
//! The counts are those of this process, which runs one server. With Redis, each server adds its own to those of all.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use circled_protocol::{PublicKey, methods::ActivityCounts};

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A play ended.
    Play,
    /// A call ended.
    Call,
    /// A play or call ended with an error.
    Error,
    /// A delivery was accepted.
    Delivery,
    /// A delivery had been here before.
    Duplicate,
    /// A webhook was refused.
    Refused,
    /// A run of a durable job ended.
    Job,
    /// A run of a durable job failed.
    Failure,
    /// A run conflicted with others.
    Conflict,
}

/// Of each [`Happening`] in a circle, how many there were.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; Happening::ALL.len()]);

/// True if some circles are counted.
static ARE_ANY: AtomicBool = AtomicBool::new(false);
/// The circles that are counted.
static COUNTED: ArcSwapOption<HashMap<PublicKey, Arc<Counters>>> = ArcSwapOption::const_empty();
/// The number of those who look at each circle of this server's own.
static LOOKS: Mutex<Option<HashMap<PublicKey, usize>>> = Mutex::new(None);

/// A look at a circle of this server's own, which is counted meanwhile.
#[derive(Debug)]
pub(super) struct Look(PublicKey);

impl Happening {
    pub(super) const ALL: [Self; 9] = [
        Self::Play,
        Self::Call,
        Self::Error,
        Self::Delivery,
        Self::Duplicate,
        Self::Refused,
        Self::Job,
        Self::Failure,
        Self::Conflict,
    ];

    /// Returns its field of the counts.
    pub(super) fn field(self, counts: &mut ActivityCounts) -> &mut u64 {
        match self {
            Self::Play => &mut counts.plays,
            Self::Call => &mut counts.calls,
            Self::Error => &mut counts.errors,
            Self::Delivery => &mut counts.deliveries,
            Self::Duplicate => &mut counts.duplicates,
            Self::Refused => &mut counts.refused,
            Self::Job => &mut counts.jobs,
            Self::Failure => &mut counts.failures,
            Self::Conflict => &mut counts.conflicts,
        }
    }

    /// Returns its name in Redis.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Play => "plays",
            Self::Call => "calls",
            Self::Error => "errors",
            Self::Delivery => "deliveries",
            Self::Duplicate => "duplicates",
            Self::Refused => "refused",
            Self::Job => "jobs",
            Self::Failure => "failures",
            Self::Conflict => "conflicts",
        }
    }
}

impl Counters {
    pub(super) fn add(&self, what: Happening, number: u64) {
        self.0[what as usize].fetch_add(number, Relaxed);
    }

    fn read(&self) -> ActivityCounts {
        let mut counts = ActivityCounts::default();
        for what in Happening::ALL {
            *what.field(&mut counts) = self.0[what as usize].load(Relaxed);
        }
        counts
    }

    /// Takes what was counted since the last time.
    pub(super) fn take(&self) -> impl Iterator<Item = (Happening, u64)> {
        let taken = |what| (what, self.0[what as usize].swap(0, Relaxed));
        Happening::ALL
            .into_iter()
            .map(taken)
            .filter(|(_, number)| *number > 0)
    }
}

/// Adds to a total what has been counted since an earlier time. Counts that are lower now have begun anew.
pub(super) fn add_new(
    total: &mut ActivityCounts,
    mut now: ActivityCounts,
    mut before: ActivityCounts,
) {
    for what in Happening::ALL {
        let (now, before) = (*what.field(&mut now), *what.field(&mut before));
        *what.field(total) += now.checked_sub(before).unwrap_or(now);
    }
}

/// Counts something in a circle, if somebody looks at it.
pub fn count(circle: &PublicKey, what: Happening) {
    if let Some(counters) = counters(circle) {
        counters.add(what, 1);
    }
}

/// Returns the counters of a circle, if it is counted.
pub(super) fn counters(circle: &PublicKey) -> Option<Arc<Counters>> {
    if !ARE_ANY.load(Relaxed) {
        return None;
    }
    COUNTED.load().as_ref()?.get(circle).cloned()
}

/// Has these circles counted, and no others. Those that were counted before keep their counters.
pub(super) fn count_in<'a>(circles: impl Iterator<Item = &'a PublicKey>) {
    let before = COUNTED.load_full();
    let kept = |circle| {
        before
            .as_ref()
            .and_then(|before| before.get(circle).cloned())
    };
    let counted: HashMap<_, _> = circles
        .map(|circle| (*circle, kept(circle).unwrap_or_default()))
        .collect();
    let are_any = !counted.is_empty();
    COUNTED.store(are_any.then(|| Arc::new(counted)));
    ARE_ANY.store(are_any, Relaxed);
}

/// Returns the circles that are counted, each with its counters.
pub(super) fn all() -> Vec<(PublicKey, Arc<Counters>)> {
    let all = COUNTED.load();
    let all = all.iter().flat_map(|all| all.iter());
    all.map(|(circle, counters)| (*circle, counters.clone()))
        .collect()
}

impl Look {
    /// Begins to look at a circle.
    pub(super) fn begin(circle: PublicKey) -> Self {
        let mut looks = looks();
        let all = looks.get_or_insert_default();
        *all.entry(circle).or_default() += 1;
        count_in(all.keys());
        Self(circle)
    }

    /// Returns what was counted since somebody began to look at the circle.
    pub(super) fn counts(&self) -> ActivityCounts {
        counters(&self.0).map_or_else(ActivityCounts::default, |counters| counters.read())
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut looks = looks();
        let all = looks.get_or_insert_default();
        if let Some(number) = all.get_mut(&self.0) {
            *number -= 1;
        }
        all.retain(|_, number| *number > 0);
        count_in(all.keys());
    }
}

fn looks() -> MutexGuard<'static, Option<HashMap<PublicKey, usize>>> {
    LOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::*;

    /// The only unit test that looks at circles: what is counted is of the whole process.
    #[test]
    fn only_what_is_looked_at_is_counted() {
        let key = |seed: &str| SecretKey::from_hex(&seed.repeat(32)).unwrap().public();
        let (one, other) = (key("7a"), key("7b"));
        count(&one, Happening::Play);
        let look = Look::begin(one);
        count(&one, Happening::Play);
        count(&one, Happening::Conflict);
        count(&other, Happening::Play);
        let second = Look::begin(one);
        count(&one, Happening::Play);
        let of_other = Look::begin(other);
        assert_eq!(of_other.counts(), ActivityCounts::default());
        drop(look);
        let counts = second.counts();
        assert_eq!((counts.plays, counts.conflicts, counts.jobs), (2, 1, 0));
        let taken: Vec<_> = counters(&one).unwrap().take().collect();
        assert_eq!(taken, [(Happening::Play, 2), (Happening::Conflict, 1)]);
        drop((second, of_other));
        assert!(counters(&one).is_none() && counters(&other).is_none());
        assert!(!ARE_ANY.load(Relaxed));
    }

    #[test]
    fn counts_that_were_lost_begin_anew() {
        let counts = |plays, jobs| ActivityCounts {
            plays,
            jobs,
            ..ActivityCounts::default()
        };
        let mut total = counts(10, 20);
        add_new(&mut total, counts(7, 3), counts(5, 9));
        assert_eq!(total, counts(12, 23));
    }

    #[test]
    fn each_has_a_field_of_its_own() {
        let mut counts = ActivityCounts::default();
        for (n, what) in Happening::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, n);
            *what.field(&mut counts) += 1;
        }
        let written = serde_json::to_value(counts).unwrap();
        let written = written.as_object().unwrap();
        let names = Happening::ALL.map(Happening::name);
        assert_eq!(
            written.keys().collect::<Vec<_>>(),
            names.iter().collect::<Vec<_>>()
        );
        assert!(written.values().all(|number| *number == 1));
    }
}
