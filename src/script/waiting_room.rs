//! Work that waits for a place in a queue that is full.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// The part of what waits that comes, or is refused, before what nobody wants any more is dropped once more.
const SWEEPS: usize = 16;

/// Work that waits: first in, first out within a session, in turns between the sessions of a circle, and between
/// circles. It is bounded by the bytes that all of it takes.
#[derive(Debug)]
pub(crate) struct WaitingRoom<C, S, T> {
    circles: Ring<C, Ring<S, Line<T>>>,
    sessions: usize,
    len: usize,
    bytes: usize,
    capacity: usize,
    /// The number of calls of `enter` since unwanted work was dropped.
    came: usize,
}

/// Members that have their turns.
#[derive(Debug)]
struct Ring<K, V> {
    turns: VecDeque<K>,
    members: HashMap<K, V>,
}

/// The work of one session.
#[derive(Debug)]
struct Line<T> {
    work: VecDeque<(usize, T)>,
    bytes: usize,
}

/// The place in its session's line that work gets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Before all else: it was taken out, and comes back.
    First,
    Last,
}

/// There is no room for more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl<C: Hash + Eq + Copy, S: Hash + Eq + Copy, T> WaitingRoom<C, S, T> {
    /// Creates a room for so many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            circles: Ring::new(),
            sessions: 0,
            len: 0,
            bytes: 0,
            capacity,
            came: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how much work waits.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether work of this session waits: what comes next of it waits too.
    pub(crate) fn has(&self, circle: &C, session: &S) -> bool {
        let sessions = self.circles.members.get(circle);
        sessions.is_some_and(|sessions| sessions.members.contains_key(session))
    }

    /// Adds work to its session's line. When the room is full, sessions with less in it than their share, were all bytes
    /// shared alike, still get some, up to twice the room in all.
    pub(crate) fn enter(
        &mut self,
        circle: C,
        session: S,
        place: Place,
        (bytes, work): (usize, T),
        is_wanted: impl Fn(&T) -> bool,
    ) -> Result<(), Full> {
        self.make_room(&circle, &session, bytes, is_wanted)?;
        let sessions = self.circles.entry(circle, Ring::new);
        if !sessions.members.contains_key(&session) {
            self.sessions += 1;
        }
        let line = sessions.entry(session, || Line {
            work: VecDeque::new(),
            bytes: 0,
        });
        match place {
            Place::First => line.work.push_front((bytes, work)),
            Place::Last => line.work.push_back((bytes, work)),
        }
        line.bytes += bytes;
        self.bytes += bytes;
        self.len += 1;
        Ok(())
    }

    /// Takes out the work whose turn it is, in any circle.
    pub(crate) fn next(&mut self) -> Option<T> {
        let circle = *self.circles.turns.front()?;
        self.circles.turns.rotate_left(1);
        self.next_in(&circle)
    }

    /// Takes out the work of a circle whose turn it is.
    pub(crate) fn next_in(&mut self, circle: &C) -> Option<T> {
        let sessions = self.circles.members.get_mut(circle)?;
        let session = *sessions.turns.front()?;
        sessions.turns.rotate_left(1);
        let line = sessions.members.get_mut(&session)?;
        let (bytes, work) = line.work.pop_front()?;
        line.bytes -= bytes;
        self.bytes -= bytes;
        self.len -= 1;
        if line.work.is_empty() {
            sessions.remove(&session);
            self.sessions -= 1;
        }
        if sessions.members.is_empty() {
            self.circles.remove(circle);
        }
        Some(work)
    }

    fn make_room(
        &mut self,
        circle: &C,
        session: &S,
        bytes: usize,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Result<(), Full> {
        self.came += 1;
        if self.fits(circle, session, bytes) {
            return Ok(());
        }
        // Not each time: that looks at all that waits.
        if self.came > self.len / SWEEPS {
            self.came = 0;
            self.drop_unwanted(is_wanted);
            if self.fits(circle, session, bytes) {
                return Ok(());
            }
        }
        Err(Full)
    }

    fn fits(&self, circle: &C, session: &S, bytes: usize) -> bool {
        let all = self.bytes.saturating_add(bytes);
        if all <= self.capacity {
            return true;
        }
        let sessions = self.circles.members.get(circle);
        let line = sessions.and_then(|sessions| sessions.members.get(session));
        let own = line.map_or(0, |line| line.bytes);
        let share = self.capacity / (self.sessions + usize::from(line.is_none()));
        own.saturating_add(bytes) <= share && all <= self.capacity.saturating_mul(2)
    }

    fn drop_unwanted(&mut self, is_wanted: impl Fn(&T) -> bool) {
        let (mut bytes, mut len, mut lines) = (0, 0, 0);
        self.circles.retain(|sessions| {
            sessions.retain(|line| {
                line.work.retain(|(_, work)| is_wanted(work));
                line.bytes = line.work.iter().map(|(bytes, _)| bytes).sum();
                bytes += line.bytes;
                len += line.work.len();
                !line.work.is_empty()
            });
            lines += sessions.members.len();
            !sessions.members.is_empty()
        });
        (self.bytes, self.len, self.sessions) = (bytes, len, lines);
    }
}

impl<K: Hash + Eq + Copy, V> Ring<K, V> {
    fn new() -> Self {
        Self {
            turns: VecDeque::new(),
            members: HashMap::new(),
        }
    }

    fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.members.entry(key).or_insert_with(|| {
            self.turns.push_back(key);
            new()
        })
    }

    /// Removes a member: fast for the one that has just had its turn.
    fn remove(&mut self, key: &K) {
        self.members.remove(key);
        if let Some(position) = self.turns.iter().rposition(|other| other == key) {
            self.turns.remove(position);
        }
    }

    fn retain(&mut self, mut keeps: impl FnMut(&mut V) -> bool) {
        self.members.retain(|_, member| keeps(member));
        self.turns.retain(|key| self.members.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::{Full, Place, WaitingRoom};

    type Room = WaitingRoom<u8, u8, &'static str>;

    fn enter(room: &mut Room, circle: u8, session: u8, work: &'static str) {
        room.enter(circle, session, Place::Last, (1, work), |_| true)
            .unwrap();
    }

    fn order(room: &mut Room) -> Vec<&'static str> {
        std::iter::from_fn(|| room.next()).collect()
    }

    #[test]
    fn circles_have_turns_and_so_have_their_sessions() {
        let mut room = Room::new(100);
        for work in ["a1", "a2", "a3"] {
            enter(&mut room, 1, 1, work);
        }
        enter(&mut room, 1, 2, "b1");
        enter(&mut room, 1, 2, "b2");
        enter(&mut room, 2, 3, "c1");
        enter(&mut room, 2, 3, "c2");
        assert!(room.has(&1, &2) && !room.has(&2, &2));
        assert_eq!(order(&mut room), ["a1", "c1", "b1", "c2", "a2", "b2", "a3"]);
        assert!(room.is_empty());
    }

    #[test]
    fn the_turns_of_one_circle_leave_the_others_alone() {
        let mut room = Room::new(100);
        enter(&mut room, 1, 1, "a1");
        enter(&mut room, 2, 1, "b1");
        enter(&mut room, 2, 1, "b2");
        assert_eq!(room.next_in(&2), Some("b1"));
        room.enter(2, 1, Place::First, (1, "b1"), |_| true).unwrap();
        assert_eq!(room.next_in(&2), Some("b1"));
        assert_eq!(room.next_in(&2), Some("b2"));
        assert_eq!(room.next_in(&2), None);
        assert_eq!(order(&mut room), ["a1"]);
    }

    #[test]
    fn a_full_room_takes_as_much_of_a_session_as_is_its_share() {
        let mut room = WaitingRoom::new(10);
        let mut enter =
            |session, bytes| room.enter(0, session, Place::Last, (bytes, session), |_| true);
        assert_eq!(enter(1, 10), Ok(()));
        assert_eq!(enter(1, 1), Err(Full));
        assert_eq!(
            [enter(2, 6), enter(2, 5), enter(2, 1)],
            [Err(Full), Ok(()), Err(Full)]
        );
        assert_eq!(
            [enter(3, 3), enter(4, 2), enter(5, 1)],
            [Ok(()), Ok(()), Err(Full)]
        );
    }

    #[test]
    fn what_nobody_wants_leaves_its_room() {
        let mut room = WaitingRoom::new(10);
        for n in 0..10 {
            room.enter(n % 2, n, Place::Last, (1, n), |_| true).unwrap();
        }
        room.enter(9, 9, Place::Last, (10, 9), |n| *n < 1)
            .unwrap_err();
        room.enter(9, 9, Place::Last, (9, 9), |n| *n < 1).unwrap();
        assert_eq!(
            [room.next(), room.next(), room.next()],
            [Some(0), Some(9), None]
        );
    }

    proptest! {
        #[test]
        fn each_comes_out_once_in_its_order_and_within_the_bounds(
            steps in prop::collection::vec((0..4_u8, 0..3_u8, 0..20_usize, 0..4_u8), 1..200),
        ) {
            let mut room = WaitingRoom::new(50);
            let (mut inside, mut out) = (HashMap::new(), HashSet::new());
            let mut took = |inside: &mut HashMap<usize, (u8, u8, usize)>, n: usize| {
                let (circle, session, _) = inside.remove(&n).unwrap();
                let earlier = inside.iter().find(|(m, own)| **m < n && (own.0, own.1) == (circle, session));
                assert!(out.insert(n) && earlier.is_none());
            };
            for (n, (circle, session, bytes, step)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => if room.enter(circle, session, Place::Last, (bytes, n), |_| true).is_ok() {
                        inside.insert(n, (circle, session, bytes));
                    },
                    2 => if let Some(n) = room.next() {
                        took(&mut inside, n);
                    },
                    _ => if let Some(n) = room.next_in(&circle) {
                        prop_assert_eq!(inside[&n].0, circle);
                        took(&mut inside, n);
                    },
                }
                let bytes: usize = inside.values().map(|(.., bytes)| bytes).sum();
                prop_assert!(bytes <= 100 && bytes == room.bytes && inside.len() == room.len);
            }
            while let Some(n) = room.next() {
                took(&mut inside, n);
            }
            prop_assert!(inside.is_empty() && room.is_empty());
        }
    }
}
