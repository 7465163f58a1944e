//! What a call knows of the session it came in on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use circled_protocol::{PublicKey, Role};

use crate::{
    address::Network,
    auth::{Access, Action, Admission, Denied, Phase, decide},
    dispatch::{Caller, Dispatcher},
    memory::MemoryBudget,
    turns::{Turn, Turns},
};

use super::{
    Error, Needs, Quotas, Subscriptions,
    quota::{self, Who},
};

/// How long one session may run scripts on its own thread before others get their turn.
const TURN: Duration = Duration::from_millis(2);
/// How long the elements of a batch are begun before others get it.
const TURN_OF_BATCH: Duration = Duration::from_micros(200);

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
    /// What the session is told of events.
    pub subscriptions: Subscriptions,
    /// What is under way, and whether more may begin.
    pub under_way: UnderWay,
    /// What the session shares with all others.
    pub shared: Arc<Shared>,
    /// What requests under way count in, and what is told of events.
    pub requests: MemoryBudget,
    /// What replies count in: the same, or the budget of the batch which is being begun.
    pub memory: MemoryBudget,
    /// Where its client is.
    address: Network,
    /// Calls so far that showed credentials, up to one more than a login takes.
    shown: u8,
    turn: Instant,
}

/// Who is at the other end of a session.
#[derive(Debug)]
pub struct Client {
    /// The session's own name, for `whoami` and the log.
    pub session_id: uuid::Uuid,
    /// Where the client is, as it is counted.
    pub(crate) address: Network,
    /// What the session may make the server hold.
    pub memory: MemoryBudget,
}

/// What all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// Circles, members and owners.
    pub access: Arc<Access>,
    /// Runs the jobs.
    pub dispatcher: Dispatcher,
    /// How long a login text is good for.
    pub nonce_ttl: Duration,
    /// Who may log in right now, by address.
    pub(crate) logins: Turns<Network>,
    /// Whose long requests may be read right now, by address.
    pub(crate) long_requests: Turns<Network>,
    /// Whose subscriptions may read their circle's log right now, by address.
    pub(crate) log_reads: Turns<Network>,
    /// What a session may ask for.
    pub limits: Limits,
    /// What a caller and a circle may ask for.
    pub quotas: Quotas,
}

/// What one session may ask for at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Elements of a batch.
    pub max_batch: usize,
    /// Bytes of the reply to one.
    pub max_reply: usize,
    /// Requests under way.
    pub max_in_flight: usize,
    /// The same until somebody has logged in.
    pub anonymous_in_flight: usize,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
}

/// Who makes a call, and whether that is enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    /// The key that the session has proved.
    pub(super) key: Option<PublicKey>,
    /// Whether the circle's own list must have it as a member, when the call is carried out.
    pub(super) only_members: bool,
}

/// The requests of one session that are under way. A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<Requests>);

#[derive(Debug, Default)]
struct Requests {
    count: AtomicUsize,
    is_draining: AtomicBool,
}

/// A request under way. Dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct Permit(UnderWay);

impl UnderWay {
    /// Has nothing new begin, of a message that is being handled neither: the session is about to end.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether nothing new begins.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }
}

impl Context {
    /// A session that has just been opened.
    pub fn new(circle: PublicKey, origin: String, client: Client, shared: Arc<Shared>) -> Self {
        let memory = client.memory.clone();
        let subscriptions = Subscriptions::new(shared.clone(), circle, memory, client.address);
        Self {
            circle,
            origin,
            session_id: client.session_id,
            requests: client.memory.clone(),
            memory: client.memory,
            address: client.address,
            phase: Phase::default(),
            subscriptions,
            under_way: UnderWay::default(),
            shared,
            shown: 0,
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

    /// Whether others are to get their turn before the next element of a batch.
    pub(super) fn is_turn_over(&self) -> bool {
        self.turn.elapsed() > TURN_OF_BATCH
    }

    /// Whether the caller may use a method, as far as that can be told at once.
    pub(super) fn permits(&self, needs: Needs) -> Result<Admitted, Error> {
        let needs = match needs {
            Needs::Nothing | Needs::Credentials => return self.decide(None),
            _ if self.under_way.is_draining() => {
                return Err(Error::Unavailable {
                    retry_after_ms: 1000,
                });
            }
            Needs::Login => Some(Role::Guest),
            Needs::Owner => Some(Role::Owner),
            Needs::To(action) => self.shared.access.needs(&self.circle, action),
        };
        self.decide(needs)
    }

    /// As [`Context::permits`], for what the parameters make of a call.
    pub(super) fn permits_to(&self, action: Action) -> Result<Admitted, Error> {
        self.decide(self.shared.access.needs(&self.circle, action))
    }

    /// As [`Context::permits_to`], and with a `version` also to manage: what a newer version has mended is not for
    /// everybody to bring back.
    pub(super) fn permits_version(
        &self,
        action: Action,
        version: Option<&str>,
    ) -> Result<Admitted, Error> {
        let admitted = self.permits_to(action)?;
        let manages = version.map(|_| self.permits_to(Action::Manage));
        Ok(Admitted {
            only_members: admitted.only_members
                || manages
                    .transpose()?
                    .is_some_and(|manages| manages.only_members),
            ..admitted
        })
    }

    fn decide(&self, needs: Option<Role>) -> Result<Admitted, Error> {
        let key = self.phase.caller().map(|caller| caller.key);
        let access = &self.shared.access;
        let fixed = key.map(|key| access.fixed_role(&self.circle, &key));
        match decide(needs, fixed) {
            Ok(admission) => Ok(Admitted {
                key,
                only_members: admission == Admission::IfMember,
            }),
            Err(Denied::Unauthenticated) => Err(Error::AuthenticationRequired),
            Err(Denied::Needs(needs)) => Err(Error::Forbidden { needs }),
        }
    }

    /// Whether one more request may begin.
    ///
    /// # Errors
    /// As many are under way as may be.
    pub(super) fn has_room(&self) -> Result<(), Error> {
        let Limits {
            max_in_flight,
            anonymous_in_flight,
            ..
        } = self.shared.limits;
        let under_way = self.under_way.0.count.load(Ordering::Relaxed);
        let limit = if under_way >= max_in_flight {
            "session.max_in_flight"
        } else if under_way >= anonymous_in_flight && self.phase.caller().is_none() {
            "session.anonymous_in_flight"
        } else {
            return Ok(());
        };
        Err(Error::LimitExceeded {
            limit: limit.into(),
            retry_after_ms: Some(100),
        })
    }

    /// Waits for the session's turn to show credentials.
    ///
    /// # Errors
    /// As many wait as may.
    pub(super) fn turn_to_log_in(
        &self,
    ) -> impl Future<Output = Result<Turn<Network>, Error>> + use<> {
        self.turn_of(&self.shared.logins, "auth.queue")
    }

    /// Waits for the session's turn to have a long request read.
    ///
    /// # Errors
    /// As many wait as may: no more than there are sessions.
    pub(super) fn turn_to_be_read(
        &self,
    ) -> impl Future<Output = Result<Turn<Network>, Error>> + use<> {
        self.turn_of(&self.shared.long_requests, "session.max_sessions")
    }

    fn turn_of(
        &self,
        turns: &Turns<Network>,
        limit: &'static str,
    ) -> impl Future<Output = Result<Turn<Network>, Error>> + use<> {
        let (turns, address) = (turns.clone(), self.address);
        async move {
            let turn = turns.take([address; 2]).await;
            turn.ok_or_else(|| Error::LimitExceeded {
                limit: limit.into(),
                retry_after_ms: Some(100),
            })
        }
    }

    /// Counts a call that showed credentials. Returns whether there were more of them than a login takes.
    pub(super) fn shows_more_than_a_login(&mut self) -> bool {
        self.shown = (self.shown + 1).min(3);
        self.shown > 2
    }

    /// Counts a call as the caller's and the circle's, if it is one that costs them anything.
    pub(super) fn count(
        &self,
        needs: Needs,
        admitted: Admitted,
    ) -> Result<Option<quota::Permit>, Error> {
        if matches!(needs, Needs::Nothing | Needs::Credentials) {
            return Ok(None);
        }
        let who = admitted.key.map_or(Who::Address(self.address), Who::Key);
        let quotas = &self.shared.quotas;
        Ok(Some(quotas.admit(&self.circle, who, Instant::now())?))
    }

    /// Counts a request until the permit is dropped.
    pub(super) fn begin(&self) -> Permit {
        self.under_way.0.count.fetch_add(1, Ordering::Relaxed);
        Permit(self.under_way.clone())
    }
}

impl Admitted {
    /// As jobs know them.
    pub(super) fn caller(&self) -> Caller {
        self.key.map_or(Caller::Anyone, Caller::Key)
    }

    /// Whether the caller holds the circle's own key.
    pub(super) fn is_owner(&self, circle: &PublicKey) -> bool {
        self.key.as_ref() == Some(circle)
    }

    /// Looks into the circle's own list, where that decides; for calls that don't do so in a transaction of theirs.
    pub(super) async fn confirm(self, shared: &Shared, circle: PublicKey) -> Result<(), Error> {
        let Some(key) = self.key.filter(|_| self.only_members) else {
            return Ok(());
        };
        match shared.dispatcher.is_member(circle, key).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Forbidden {
                needs: Role::Member,
            }),
            Err(_) => Err(Error::Unavailable {
                retry_after_ms: 1000,
            }),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}
