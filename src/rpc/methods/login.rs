//! The login, and what the server knows of a session.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
    time::Instant,
};

use circled_protocol::{
    Challenge, DeviceKey, LoginRefusal, Permission, PublicKey, Role, Scheme, Scope, SiweMessage,
    Vocabulary,
    methods::{Authenticate, FetchNonce, Identity, Whoami},
};
use jiff::Timestamp;
use serde_json::Value;

use super::runs::unavailable;
use crate::{
    auth::{
        Access, Action, Authenticated, Credentials, HIGHEST_LISTED, Proved, Signer, Wanted,
        login_key,
    },
    circle::{Caller, JobSpec, Procedure, Task},
    dispatch::Played,
    metrics::{LoginLabels, OK, metrics},
    rpc::{
        Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Error, Method, Needs,
        device_login::{DeviceLogin, LoginUnderWay},
    },
    script::Seed,
    store::Unavailable,
};

pub(super) const METHODS: &[Method] = &[
    Method::of::<FetchNonce>(),
    Method::of::<Authenticate>(),
    Method::of::<Whoami>(),
];

impl Call for FetchNonce {
    const NEEDS: Needs = Needs::Credentials;
    const DEVICE: DeviceNeeds = DeviceNeeds::Nothing;
    type Params<'a> = Self;
    type Output = String;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<String> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|error| {
            tracing::error!(%error, "failed to draw a nonce");
            Error::Internal
        })?;
        let wanted = Wanted::of(params).map_err(misfit)?;
        let asked = asked(context, wanted, Timestamp::now(), nonce);
        let (text, expires, by) = asked.map_err(Error::InvalidCredentials)?;
        Ok(Answer::Now(Ok(context.phase.challenge(text, expires, by))))
    }
}

/// Returns what is to be signed, until when, and who must sign it how.
fn asked(
    context: &Context,
    wanted: Wanted,
    now: Timestamp,
    nonce: [u8; 32],
) -> Result<(String, Timestamp, Signer), LoginRefusal> {
    let shared = &context.shared;
    let point = |pubkey: &str| shared.callers.parse(pubkey, |key| login_key(key, None));
    let (origin, circle, ttl) = (context.origin.clone(), context.circle, shared.nonce_ttl);
    Ok(match wanted {
        Wanted::Text { pubkey, scheme } => {
            let point = point(&pubkey)?;
            let challenge = Challenge::new(origin, circle, point.key, ttl, now, nonce);
            let text = challenge.text();
            (text, challenge.expires, Signer::Key(point, scheme))
        }
        Wanted::Siwe { address, chain_id } => {
            let address = address.parse().map_err(|_| LoginRefusal::BadKey)?;
            let (issued, expires) = SiweMessage::times(now, ttl);
            let message = SiweMessage {
                domain: context.domain(),
                address,
                origin,
                circle,
                chain_id,
                nonce,
                issued,
                expires,
            };
            (message.to_string(), expires, Signer::Account(address))
        }
        Wanted::Nostr { pubkey } => {
            let key = point(&pubkey)?.key;
            let by = Signer::Nostr {
                key,
                origin,
                circle,
            };
            (hex::encode(nonce), now + ttl, by)
        }
        Wanted::Device { pubkey } => {
            let key: DeviceKey = pubkey.parse().map_err(|_| LoginRefusal::BadKey)?;
            let challenge = Challenge::new(origin, circle, key, ttl, now, nonce);
            let text = challenge.text();
            (text, challenge.expires, Signer::Device(key))
        }
    })
}

impl Call for Authenticate {
    const NEEDS: Needs = Needs::Credentials;
    const DEVICE: DeviceNeeds = DeviceNeeds::Nothing;
    type Params<'a> = Self;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<bool> {
        let challenge = context.phase.take_challenge();
        let credentials = Credentials::of(params).map_err(misfit)?;
        let (scheme, challenge) = (credentials.scheme(), challenge.ok_or(LoginRefusal::NoNonce));
        // This takes tens of microseconds (of a device key, hundreds), like a short script, and runs once for each core at a time. Another thread
        // would cost each login two hops: a third of the logins that one second allows here.
        let proved = challenge
            .and_then(|challenge| challenge.answered(credentials, Timestamp::now()))
            .and_then(|login| login.verify());
        let proved = proved.inspect_err(|refusal| count_login(scheme, refusal.name()));
        match proved.map_err(Error::InvalidCredentials)? {
            Proved::Caller(key) => {
                count_login(scheme, OK);
                set_caller(context, key, None);
                Ok(Answer::Now(Ok(true)))
            }
            Proved::Device(device) => Ok(log_in_by(context, device)),
        }
    }

    /// Uses up the challenge, as any answer does.
    fn refused(context: &mut Context) {
        context.phase.take_challenge();
    }
}

/// Counts a login that was permitted, or refused for a reason.
fn count_login(scheme: Scheme, outcome: &'static str) {
    let scheme = scheme.name();
    let labels = LoginLabels { scheme, outcome };
    metrics().logins.get_or_create(&labels).increment();
}

/// Sets the session's caller, and the device key by which they have logged in, if it was one.
fn set_caller(context: &mut Context, key: PublicKey, device: Option<Box<DeviceLogin>>) {
    tracing::Span::current().record("caller", tracing::field::display(&key));
    context.phase.authenticated(Authenticated { key });
    let device_key = device.as_ref().map(|device| device.key);
    context.device = device;
    context.subscriptions.set_caller(key, device_key);
    tracing::debug!(
        device = device_key.map(tracing::field::display),
        "logged in"
    );
}

/// Logs in by a device key that was proved, once its record is read. The session handles its next message after that, see
/// [`end_login`].
fn log_in_by(context: &mut Context, device: DeviceKey) -> Answer<bool> {
    let (circle, shared) = (context.circle, context.shared.clone());
    let login = Arc::new(LoginUnderWay {
        key: device,
        record: OnceLock::new(),
    });
    context.login = Some(login.clone());
    Answer::Later(Box::pin(async move {
        let record = shared.dispatcher.device(circle, device).await;
        let record = record.map_err(|Unavailable| unavailable())?;
        let Some(record) = record else {
            let refusal = LoginRefusal::UnknownDevice;
            count_login(Scheme::Es256, refusal.name());
            return Err(Error::InvalidCredentials(refusal));
        };
        count_login(Scheme::Es256, OK);
        let _ = login.record.set(record);
        Ok(true)
    }))
}

/// Sets the caller of a session that has logged in by a device key.
pub(in crate::rpc) fn end_login(context: &mut Context) {
    let Some(login) = context.login.take() else {
        return;
    };
    let (key, Some(record)) = (login.key, login.record.get()) else {
        return;
    };
    let (shared, circle) = (context.shared.clone(), context.circle);
    let login = DeviceLogin {
        key,
        scope: record.scope.clone(),
        _guard: shared
            .device_sessions
            .join(circle, key, record, context.ending()),
    };
    set_caller(context, record.caller, Some(Box::new(login)));
    if record.is_use_to_be_noted(Timestamp::now()) {
        note_use(context, record.caller, key);
    }
}

/// Notes the use of a device key. The login doesn't wait for it.
fn note_use(context: &Context, key: PublicKey, device: DeviceKey) {
    let dispatcher = context.shared.dispatcher.clone();
    let job = JobSpec {
        id: dispatcher.name_play(),
        circle: context.circle,
        caller: Caller::Device { key, device },
        requires: None,
        task: Task::Procedure(Procedure::NoteDeviceUse),
        args: Cow::Owned(Value::Null),
        event: None,
        timeout: dispatcher.job_timeout(),
        seed: Seed::draw(),
        durable: None,
        request: None,
        tells_effects: false,
    };
    let (session, memory) = (context.session_id, context.requests.clone());
    context.shared.device_sessions.spawn(async move {
        if let Played::Later(handle) = dispatcher.play(job, session, &memory, Instant::now(), false)
        {
            handle.outcome().await;
        }
    });
}

fn misfit(reason: &str) -> Error {
    Error::InvalidParams {
        reason: reason.to_owned(),
    }
}

impl Call for Whoami {
    const NEEDS: Needs = Needs::Nothing;
    const DEVICE: DeviceNeeds = DeviceNeeds::Nothing;
    type Params<'a> = Self;
    type Output = Identity;

    fn call(context: &mut Context, admitted: Admitted, _: Self) -> CallResult<Identity> {
        let (circle, shared) = (context.circle, context.shared.clone());
        let key = admitted.key;
        let fixed = key.map(|key| shared.access.fixed_role(&circle, &key));
        let scope = context.device.as_ref().map(|device| device.scope.clone());
        let identity = Identity {
            authenticated: key.is_some(),
            pubkey: key,
            device: admitted.device,
            circle,
            role: fixed.map(Into::into),
            permissions: permissions(&shared.access, &circle, fixed, scope.as_ref()),
            session_id: context.session_id.to_string(),
            server: concat!("circled/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        // The circle's list may give a higher role.
        let Some(key) = key.filter(|_| fixed < Some(HIGHEST_LISTED)) else {
            return Ok(Answer::Now(Ok(identity)));
        };
        let quota = context.count(Needs::Login, admitted)?;
        Ok(Answer::Later(Box::pin(async move {
            let _quota = quota;
            let listed = shared.dispatcher.list_role(circle, key).await;
            let listed = listed.map_err(|Unavailable| unavailable())?;
            let role = listed.max(fixed);
            Ok(Identity {
                role: role.map(Into::into),
                permissions: permissions(&shared.access, &circle, role, scope.as_ref()),
                ..identity
            })
        })))
    }
}

/// Returns what a session may do, sorted: by the circle's rules for its caller's role, and by the scope of its device key,
/// if it has one.
fn permissions(
    access: &Access,
    circle: &PublicKey,
    role: Option<Role>,
    scope: Option<&Scope>,
) -> Vec<String> {
    let may = |action| access.needs(circle, action) <= role;
    let Some(scope) = scope else {
        let all = [
            ("call", may(Action::Call)),
            ("jobs", role.is_some()),
            ("manage", may(Action::Manage)),
            ("play", may(Action::Play)),
            ("subscribe", may(Action::Subscribe)),
        ];
        let permitted = all.into_iter().filter(|(_, may)| *may);
        return permitted.map(|(word, _)| word.to_owned()).collect();
    };
    let permitted = scope.permissions().iter().filter(|own| match own {
        Permission::Play => may(Action::Play),
        Permission::Subscribe => may(Action::Subscribe),
        Permission::Call | Permission::CallNamed(_) => may(Action::Call),
        Permission::Jobs => true,
    });
    let mut words: Vec<_> = permitted.map(ToString::to_string).collect();
    words.sort_unstable();
    words
}
