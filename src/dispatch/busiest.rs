//! Counts the jobs of each circle while somebody looks at the busiest ones, as `circled top` does.
//!
//! While nobody looks, a job costs one read of a flag that doesn't change. While somebody does, it costs an addition besides:
//! circles are found in a table of a fixed size. A circle finds no place there if others have its two; they lose them once
//! they are idle.

use std::{
    array,
    collections::HashMap,
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use circled_protocol::PublicKey;

/// The places of the table.
const PLACES: usize = 4096;
/// Nothing is counted once nobody has looked for so long.
const LOOKED_AT_FOR: Duration = Duration::from_secs(60);

/// A place of the table.
#[derive(Debug, Default)]
struct Place {
    /// A part of the key of the circle that has it; 0 if none has.
    name: AtomicU64,
    count: AtomicU64,
}

/// The state of those who look.
#[derive(Debug, Default)]
struct Looks {
    last: Option<Instant>,
    /// The circles that have a place, each with its count at the look before.
    circles: HashMap<usize, (PublicKey, u64)>,
}

static IS_LOOKED_AT: AtomicBool = AtomicBool::new(false);
static TABLE: LazyLock<Box<[Place; PLACES]>> =
    LazyLock::new(|| Box::new(array::from_fn(|_| Place::default())));
static LOOKS: Mutex<Option<Looks>> = Mutex::new(None);

/// Counts a job of a circle, if somebody looks.
pub(super) fn count(circle: &PublicKey) {
    if IS_LOOKED_AT.load(Relaxed) {
        count_in_table(circle);
    }
}

fn count_in_table(circle: &PublicKey) {
    let name = name_of(circle);
    let places = [name as usize % PLACES, (name >> 32) as usize % PLACES];
    let has = |place: &&usize| TABLE[**place].name.load(Relaxed) == name;
    if let Some(place) = places.iter().find(has) {
        TABLE[*place].count.fetch_add(1, Relaxed);
        return;
    }
    let mut looks = looks();
    let circles = &mut looks.get_or_insert_default().circles;
    let free = |place: &&usize| !circles.contains_key(*place);
    if let Some(place) = places.iter().find(free).copied() {
        circles.insert(place, (*circle, 0));
        TABLE[place].count.store(1, Relaxed);
        TABLE[place].name.store(name, Relaxed);
    }
}

/// Returns a part of a circle's key. Points of a curve are spread evenly.
fn name_of(circle: &PublicKey) -> u64 {
    let bytes = circle.as_bytes();
    let name = bytes[1..9].iter();
    name.fold(1, |name, byte| name << 8 | u64::from(*byte))
        .max(1)
}

/// Returns the circles that had the most jobs since the look before, so many, each with the number of its jobs each
/// second. They are counted for a while from now on.
pub fn busiest_circles(most: usize) -> Vec<(PublicKey, f64)> {
    let (circles, time) = look(most);
    let per_second = |jobs| jobs as f64 / time.as_secs_f64().max(1e-3);
    let circles = circles.into_iter();
    circles
        .map(|(circle, jobs)| (circle, per_second(jobs)))
        .collect()
}

/// Returns the circles with the most jobs since the look before, and the time since then.
fn look(most: usize) -> (Vec<(PublicKey, u64)>, Duration) {
    let mut looks = looks();
    let looks = looks.get_or_insert_default();
    let now = Instant::now();
    let is_late = |last: Instant| now.duration_since(last) > LOOKED_AT_FOR;
    if looks.last.is_none_or(is_late) {
        // The counts of a look long ago tell nothing.
        looks.circles.clear();
        TABLE.iter().for_each(|place| place.name.store(0, Relaxed));
    }
    let time = looks.last.map_or(Duration::ZERO, |last| now - last);
    looks.last = Some(now);
    IS_LOOKED_AT.store(true, Relaxed);
    let mut circles = Vec::new();
    let is_full = looks.circles.len() > PLACES / 2;
    looks.circles.retain(|place, (circle, before)| {
        let count = TABLE[*place].count.load(Relaxed);
        let new = count.saturating_sub(*before);
        *before = count;
        if new > 0 {
            circles.push((new, *circle));
        } else if is_full {
            TABLE[*place].name.store(0, Relaxed);
        }
        new > 0 || !is_full
    });
    circles.sort_unstable_by(|one, other| other.cmp(one));
    circles.truncate(most);
    let circles = circles.into_iter();
    let circles = circles.map(|(new, circle)| (circle, new));
    (circles.collect(), time)
}

/// Stops to count if nobody has looked for long.
pub fn forget_busiest() {
    let looks = looks();
    let last = looks.as_ref().and_then(|looks| looks.last);
    if last.is_none_or(|last| last.elapsed() > LOOKED_AT_FOR) {
        IS_LOOKED_AT.store(false, Relaxed);
    }
}

fn looks() -> MutexGuard<'static, Option<Looks>> {
    LOOKS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use circled_protocol::SecretKey;

    use super::{IS_LOOKED_AT, count, look};

    /// The only unit test that looks: what is counted is of the whole process.
    #[test]
    fn the_busiest_circles_come_first_while_somebody_looks() {
        let circle = |n: u8| SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public();
        count(&circle(0x51));
        let found = |circles: &[(_, u64)]| {
            let mine = [0x51, 0x52, 0x53].map(circle);
            let found = circles.iter().filter(|(circle, _)| mine.contains(circle));
            found.copied().collect::<Vec<_>>()
        };
        assert_eq!(found(&look(100).0), []);
        for (n, jobs) in [(0x51, 3), (0x52, 5)] {
            (0..jobs).for_each(|_| count(&circle(n)));
        }
        let all = look(100).0;
        assert_eq!(found(&all), [(circle(0x52), 5), (circle(0x51), 3)]);
        // An idle one isn't among them.
        count(&circle(0x51));
        assert_eq!(found(&look(100).0), [(circle(0x51), 1)]);
        assert!(IS_LOOKED_AT.load(std::sync::atomic::Ordering::Relaxed));
    }
}
