//! Plays for which the queue in Redis had no room: they wait here, and are sent again.

use std::collections::HashMap;

use circled_protocol::PublicKey;
use uuid::Uuid;

use super::{AT_ONCE, BYTES_AT_ONCE, NewPlay};
use crate::script::waiting_room::{Full, Place, WaitingRoom};

/// Plays that Redis has refused, and those that came after them in their sessions.
///
/// Of each circle, some are sent again when a play of it ends, and after a pause: twice as many as last time if there was
/// room for all, or else half as many.
pub(super) struct RefusedPlays {
    room: WaitingRoom<PublicKey, Uuid, NewPlay>,
    /// The number of plays that are sent again next, of each circle with some here.
    tries: HashMap<PublicKey, usize>,
}

impl RefusedPlays {
    /// Creates a room for so many bytes of them.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            room: WaitingRoom::new(capacity),
            tries: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.room.is_empty()
    }

    pub(super) fn circles(&self) -> impl Iterator<Item = PublicKey> {
        self.tries.keys().copied()
    }

    /// Returns whether plays of this session wait: what comes next of it waits too.
    pub(super) fn has(&self, circle: &PublicKey, session: &Uuid) -> bool {
        self.room.has(circle, session)
    }

    /// Adds a play to those of its session.
    pub(super) fn add(
        &mut self,
        circle: PublicKey,
        play: NewPlay,
        place: Place,
        is_wanted: impl Fn(&NewPlay) -> bool,
    ) -> Result<(), Full> {
        self.tries.entry(circle).or_insert(1);
        let session = play.session;
        let play = (play.weight, play);
        self.room.enter(circle, session, place, play, is_wanted)
    }

    /// Takes out the plays of a circle that are sent again now.
    pub(super) fn take(&mut self, circle: &PublicKey) -> Vec<NewPlay> {
        let Some(tries) = self.tries.get(circle) else {
            return Vec::new();
        };
        let (mut plays, mut bytes) = (Vec::new(), 0);
        while plays.len() < *tries && bytes < BYTES_AT_ONCE {
            let Some(play) = self.room.next_in(circle) else {
                self.tries.remove(circle);
                break;
            };
            bytes += play.weight;
            plays.push(play);
        }
        plays
    }

    /// Notes whether there was room for all plays that were sent again.
    pub(super) fn note(&mut self, circle: &PublicKey, had_room: bool) {
        if let Some(tries) = self.tries.get_mut(circle) {
            *tries = match had_room {
                true => (*tries * 2).min(AT_ONCE),
                false => (*tries / 2).max(1),
            };
        }
    }
}
