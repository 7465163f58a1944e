//! What a call knows of the session it came in on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::{Duration, Instant};

use crate::{
    auth::{Access, Authenticated, Phase, PublicKey, Role},
    dispatch::Dispatcher,
};

use super::{Error, Needs};

/// How long one session may run scripts on its own thread before others get their turn.
const TURN: Duration = Duration::from_millis(2);

/// One session, as its calls see and change it.
#[derive(Debug)]
pub struct Context {
    /// The circle that the session is in.
    pub circle: PublicKey,
    /// What stands as `origin` in the login text.
    pub origin: String,
    /// The session's own name, for `whoami` and the log.
    pub session_id: uuid::Uuid,
    /// How far its login has come.
    pub phase: Phase,
    /// Whether the server is about to stop: nothing new is begun.
    pub draining: bool,
    /// What the session shares with all others.
    pub shared: Arc<Shared>,
    under_way: Arc<AtomicUsize>,
    turn: Instant,
}

/// What all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// Circles, members and owners.
    pub access: Access,
    /// Runs the jobs.
    pub dispatcher: Dispatcher,
    /// How long a login text is good for.
    pub nonce_ttl: Duration,
    /// What a session may ask for.
    pub limits: Limits,
}

/// What one session may ask for at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Elements of a batch.
    pub max_batch: usize,
    /// Requests under way.
    pub max_in_flight: usize,
}

/// A request under way. Dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Context {
    /// A session that has just been opened.
    pub fn new(
        circle: PublicKey,
        origin: String,
        session_id: uuid::Uuid,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            circle,
            origin,
            session_id,
            phase: Phase::default(),
            draining: false,
            shared,
            under_way: Arc::default(),
            turn: Instant::now(),
        }
    }

    /// Other sessions have had their turn on this thread, and now it is this one's.
    pub fn begin_turn(&mut self) {
        self.turn = Instant::now();
    }

    /// Whether scripts may still run on this thread: one session's, however many, do so only for a while.
    pub(super) fn may_run_here(&self) -> bool {
        self.turn.elapsed() < TURN
    }

    /// Whether a caller may use a method.
    pub(super) fn permits(&self, needs: Needs) -> Result<(), Error> {
        match needs {
            Needs::Nothing | Needs::Credentials => Ok(()),
            Needs::Play if self.draining => Err(Error::Unavailable {
                retry_after_ms: 1000,
            }),
            Needs::Play => self.caller_with(self.shared.access.to_play()).map(drop),
        }
    }

    /// The caller, if it has at least this role.
    pub(super) fn caller_with(&self, needs: Role) -> Result<&Authenticated, Error> {
        let caller = self.phase.caller().ok_or(Error::AuthenticationRequired)?;
        if caller.role < needs {
            return Err(Error::Forbidden { needs });
        }
        Ok(caller)
    }

    /// Whether one more request may begin.
    pub(super) fn has_room(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) < self.shared.limits.max_in_flight
    }

    /// Counts a request until the permit is dropped.
    pub(super) fn begin(&self) -> Permit {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Permit(self.under_way.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
