//! The state of a session, as its calls see it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use circled_protocol::{DeviceKey, InvalidOrigin, Origin, Point, PublicKey, Role};
use tokio_util::sync::CancellationToken;

use crate::{
    address::Network,
    auth::{Access, Action, Denied, Grants, Phase, RecentKeys, decide},
    circle::Caller,
    dispatch::Dispatcher,
    memory::MemoryBudget,
    store::Unavailable,
    turns::{Turn, Turns},
};

use super::{
    DeviceEnd, DeviceSessions, Error, Needs, Quotas, Subscriptions, Watches,
    device_login::{DeviceLogin, LoginUnderWay},
    quota::{self, Who},
};

/// The time for which one session may run scripts on its own thread before others get their turn.
const TURN: Duration = Duration::from_millis(2);
/// The time for which a batch's requests are begun before others get their turn.
const TURN_OF_BATCH: Duration = Duration::from_micros(200);

/// The state of one session, which its calls read and change.
#[derive(Debug)]
pub struct Context {
    /// The session's circle.
    pub circle: PublicKey,
    /// The `origin` of the login text.
    pub origin: String,
    /// The host (and port) of the web page that has opened the session, if one has.
    page: Option<Box<str>>,
    /// The session's own name, for `whoami` and the log.
    pub session_id: uuid::Uuid,
    /// The phase of the login.
    pub phase: Phase,
    /// The device key by which the caller has logged in, if it was one.
    pub(super) device: Option<Box<DeviceLogin>>,
    /// A login by a device key that is under way.
    pub(super) login: Option<Arc<LoginUnderWay>>,
    /// The subscriptions to events.
    pub subscriptions: Subscriptions,
    /// The requests under way.
    pub in_flight_requests: InFlight,
    /// The state that all sessions share.
    pub shared: Arc<Shared>,
    /// The memory budget of requests under way, and of notifications.
    pub requests: MemoryBudget,
    /// The memory budget of replies: the same, or that of the batch which is being handled.
    pub memory: MemoryBudget,
    /// Begins the session's end.
    pub(super) ending: CancellationToken,
    /// The client's address.
    address: Network,
    /// The calls so far that showed credentials, counted up to one more than a login takes.
    shown: u8,
    turn: Instant,
    /// The time when the last request began.
    pub(super) begun: Instant,
    /// True if this turn had no call yet that showed credentials.
    is_turn_unused: bool,
}

/// The client of a session.
#[derive(Debug)]
pub struct Client {
    /// The session's own name, for `whoami` and the log.
    pub session_id: uuid::Uuid,
    /// The client's address, as limits count it.
    pub(crate) address: Network,
    /// The memory budget of the session.
    pub memory: MemoryBudget,
    /// Begins the session's end.
    pub ending: CancellationToken,
}

/// The state that all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// The policy: circles, members, roles.
    pub access: Arc<Access>,
    /// The circles of recent paths.
    pub circles: RecentKeys<PublicKey>,
    /// The keys of recent logins.
    pub callers: RecentKeys<Point>,
    /// Runs the jobs.
    pub dispatcher: Dispatcher,
    /// The time for which a text to sign is valid.
    pub nonce_ttl: Duration,
    /// The longest time for which a device key counts.
    pub device_key_ttl: Duration,
    /// The grants by which this server proves that it speaks for circles.
    pub grants: ArcSwap<Grants>,
    /// The turns of logins, by address.
    pub(crate) logins: Turns<Network>,
    /// The turns of long requests to be read, by address.
    pub(crate) long_requests: Turns<Network>,
    /// The turns of subscriptions to read their circle's log, by address.
    pub(crate) log_reads: Turns<Network>,
    /// The limits of one session.
    pub limits: Limits,
    /// The quotas of callers and circles.
    pub quotas: Quotas,
    /// The live queries.
    pub watches: Watches,
    /// The sessions that have logged in by device keys.
    pub device_sessions: DeviceSessions,
}

/// The limits of one session.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most requests in a batch.
    pub max_batch: usize,
    /// The most bytes of the reply to a batch.
    pub max_reply: usize,
    /// The most requests under way.
    pub max_in_flight: usize,
    /// The most requests under way until somebody has logged in.
    pub anonymous_in_flight: usize,
    /// The most subscriptions.
    pub max_subscriptions: usize,
}

/// A caller who may make a call, maybe on a condition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    /// The key that the session has proved.
    pub(super) key: Option<PublicKey>,
    /// The device key by which it was proved, if it was one.
    pub(super) device: Option<DeviceKey>,
    /// The role that the circle's own list must give the caller when the call is carried out.
    pub(super) requires: Option<Role>,
}

/// The requests of one session that are under way. A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Requests>);

#[derive(Debug, Default)]
struct Requests {
    count: AtomicUsize,
    is_draining: AtomicBool,
    device_end: OnceLock<DeviceEnd>,
}

/// A request under way. Dropping it makes room for the next.
#[derive(Debug)]
pub(super) struct Permit(InFlight);

impl InFlight {
    /// Lets nothing new begin, not even from a message that is being handled: the session is about to end.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }

    /// Notes that the session ends because of its device key.
    pub(super) fn end_with_device(&self, why: DeviceEnd) {
        let _ = self.0.device_end.set(why);
    }

    /// Returns why the session ends, if it does because of its device key.
    pub fn device_end(&self) -> Option<DeviceEnd> {
        self.0.device_end.get().copied()
    }

    /// Returns true if nothing new begins.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }
}

impl Context {
    /// Creates the state of a session that has just been opened.
    pub fn new(
        circle: PublicKey,
        origin: String,
        page: Option<Box<str>>,
        client: Client,
        shared: Arc<Shared>,
    ) -> Self {
        let memory = client.memory.clone();
        let subscriptions = Subscriptions::new(shared.clone(), circle, memory, client.address);
        Self {
            circle,
            origin,
            page,
            session_id: client.session_id,
            requests: client.memory.clone(),
            memory: client.memory,
            address: client.address,
            ending: client.ending,
            device: None,
            login: None,
            phase: Phase::default(),
            subscriptions,
            in_flight_requests: InFlight::default(),
            shared,
            shown: 0,
            turn: Instant::now(),
            begun: Instant::now(),
            is_turn_unused: true,
        }
    }

    /// Returns the `domain` for wallets: the host of the page, else of the server.
    pub(super) fn domain(&self) -> String {
        match (&self.page, self.origin.parse::<Origin>()) {
            (Some(page), _) => page.to_string(),
            (None, Ok(origin)) => origin.authority().to_owned(),
            (None, Err(InvalidOrigin)) => self.origin.clone(),
        }
    }

    /// Begins the session's turn on this thread, after other sessions have had theirs.
    pub fn begin_turn(&mut self, now: Instant) {
        self.turn = now;
        self.is_turn_unused = true;
    }

    /// Returns true if scripts may still run on this thread in this turn.
    pub(super) fn may_run_here(&self) -> bool {
        self.begun.saturating_duration_since(self.turn) < TURN
    }

    /// Returns true if others are to get their turn before the batch's next request.
    pub(super) fn is_turn_over(&self) -> bool {
        self.turn.elapsed() > TURN_OF_BATCH
    }

    /// Checks if the caller's role permits a method, as far as that can be decided at once.
    pub(super) fn permits(&self, needs: Needs) -> Result<Admitted, Error> {
        let needs = match needs {
            Needs::Nothing | Needs::Credentials => return self.decide(None),
            _ if self.in_flight_requests.is_draining() => {
                return Err(Error::Unavailable {
                    retry_after_ms: 1000,
                });
            }
            Needs::ToPlayOrCall => return self.decide(None),
            Needs::Login | Needs::Proof => Some(Role::Guest),
            Needs::Owner => Some(Role::Owner),
            Needs::To(action) => self.shared.access.needs(&self.circle, action),
        };
        self.decide(needs)
    }

    /// Checks if the caller may do `action`, for calls whose parameters decide on the action.
    pub(super) fn permits_to(&self, action: Action) -> Result<Admitted, Error> {
        self.decide(self.shared.access.needs(&self.circle, action))
    }

    /// Checks if the caller has logged in, and may play, call or subscribe.
    pub(super) fn permits_anything(&self) -> Result<Admitted, Error> {
        let access = &self.shared.access;
        let actions = [Action::Play, Action::Call, Action::Subscribe];
        let needs = actions.map(|action| access.needs(&self.circle, action));
        let least = needs.into_iter().min().flatten();
        self.decide(least.max(Some(Role::Guest)))
    }

    /// Checks if the caller may do `action`, and with a `version` also if they may manage: a version may have a bug
    /// that a newer one has mended.
    pub(super) fn permits_version(
        &self,
        action: Action,
        version: Option<&str>,
    ) -> Result<Admitted, Error> {
        match version {
            None => self.permits_to(action),
            Some(_) => self.permits_managing(action),
        }
    }

    /// Checks if the caller may do `action` and may manage, by their own key.
    pub(super) fn permits_managing(&self, action: Action) -> Result<Admitted, Error> {
        self.check_own_key()?;
        let admitted = self.permits_to(action)?;
        let manages = self.permits_to(Action::Manage)?;
        Ok(Admitted {
            requires: admitted.requires.max(manages.requires),
            ..admitted
        })
    }

    /// Returns what a caller still needs who calls a script by its name. A script's own rule may permit what the circle's
    /// doesn't, so the run decides.
    ///
    /// # Errors
    /// The caller must log in first.
    pub(super) fn permits_script(&self) -> Result<Admitted, Error> {
        match self.permits_to(Action::Call) {
            Err(Error::Forbidden { needs }) => Ok(Admitted {
                key: self.phase.caller().map(|caller| caller.key),
                device: self.device.as_ref().map(|device| device.key),
                requires: Some(needs),
            }),
            decided => decided,
        }
    }

    fn decide(&self, needs: Option<Role>) -> Result<Admitted, Error> {
        let key = self.phase.caller().map(|caller| caller.key);
        let access = &self.shared.access;
        let fixed = key.map(|key| access.fixed_role(&self.circle, &key));
        match decide(needs, fixed) {
            Ok(requires) => Ok(Admitted {
                key,
                device: self.device.as_ref().map(|device| device.key),
                requires,
            }),
            Err(Denied::Unauthenticated) => Err(Error::AuthenticationRequired),
            Err(Denied::Needs(needs)) => Err(Error::Forbidden { needs }),
        }
    }

    /// Checks if one more request may begin.
    ///
    /// # Errors
    /// The session has as many under way as it may.
    pub(super) fn check_in_flight(&self) -> Result<(), Error> {
        let Limits {
            max_in_flight,
            anonymous_in_flight,
            ..
        } = self.shared.limits;
        let in_flight_requests = self.in_flight_requests.0.count.load(Ordering::Relaxed);
        let limit = if in_flight_requests >= max_in_flight {
            "session.max_in_flight"
        } else if in_flight_requests >= anonymous_in_flight && self.phase.caller().is_none() {
            "session.anonymous_in_flight"
        } else {
            return Ok(());
        };
        Err(Error::LimitExceeded {
            limit: limit.into(),
            retry_after_ms: Some(100),
        })
    }

    /// Takes a turn to show credentials if one is free, once in each turn on this thread. Usually it is, and nothing is
    /// waited for.
    pub(super) fn try_turn_to_log_in(&mut self) -> Option<Turn<Network>> {
        std::mem::take(&mut self.is_turn_unused)
            .then(|| self.shared.logins.try_take([self.address; 2]))
            .flatten()
    }

    /// Waits for the session's turn to show credentials.
    ///
    /// # Errors
    /// Too many sessions wait already.
    pub(super) fn turn_to_log_in(
        &self,
    ) -> impl Future<Output = Result<Turn<Network>, Error>> + use<> {
        self.turn_of(&self.shared.logins, "auth.queue")
    }

    /// Waits for the session's turn to have a long request read.
    ///
    /// # Errors
    /// Too many requests wait already: as many as there may be sessions.
    pub(super) fn turn_to_read(
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

    /// Counts a call that showed credentials. Returns true if there were more of them than a login takes.
    pub(super) fn exceeds_a_login(&mut self) -> bool {
        /// `prove`, `fetch_nonce` and `authenticate`.
        const LOGIN: u8 = 3;
        self.shown = (self.shown + 1).min(LOGIN + 1);
        self.shown > LOGIN
    }

    /// Counts a call in the quotas of the caller and the circle, unless it is free.
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
        Ok(Some(quotas.admit(&self.circle, who, self.begun)?))
    }

    /// Counts a request until the permit is dropped.
    pub(super) fn begin(&self) -> Permit {
        self.in_flight_requests
            .0
            .count
            .fetch_add(1, Ordering::Relaxed);
        Permit(self.in_flight_requests.clone())
    }
}

impl Admitted {
    /// Returns the caller in the form that jobs keep.
    pub(super) fn caller(&self) -> Caller<'static> {
        match (self.key, self.device) {
            (Some(key), Some(device)) => Caller::Device { key, device },
            (Some(key), None) => Caller::Key(key),
            (None, _) => Caller::Anyone,
        }
    }

    /// Returns true if the caller holds the circle's own key.
    pub(super) fn is_owner(&self, circle: &PublicKey) -> bool {
        self.key.as_ref() == Some(circle)
    }

    /// Reads the device key, if the caller acts by one, and the circle's member list, if that decides; for calls that don't do
    /// so in a transaction of their own.
    pub(super) async fn confirm(self, shared: &Shared, circle: PublicKey) -> Result<(), Error> {
        let unavailable = || Error::Unavailable {
            retry_after_ms: 1000,
        };
        let caller = self.caller();
        shared
            .dispatcher
            .check_device(circle, &caller, None)
            .await?;
        let (Some(key), Some(needs)) = (self.key, self.requires) else {
            return Ok(());
        };
        match shared.dispatcher.list_role(circle, key).await {
            Ok(role) if role >= Some(needs) => Ok(()),
            Ok(_) => Err(Error::Forbidden { needs }),
            Err(Unavailable) => Err(unavailable()),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}
