//! `watch`: live queries.

use circled_protocol::{
    Permission, View,
    methods::{Watch, Watched},
};
use tokio::time::timeout;

use super::runs::{Raw, limit_exceeded, unavailable};
use crate::{
    auth::Action,
    circle::QueryScript,
    rpc::{
        Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Error, Method, Needs,
        activity::ActivityWatch,
        subscriptions::FirstAnswer,
        watches::{Content, Ended, Wanted},
    },
    store::Unavailable,
};

/// Bytes that are around a value in the reply, at most.
const AROUND: usize = 512;

pub(super) const METHODS: &[Method] = &[Method::of::<Watch<'static>>()];

impl Call for Watch<'static> {
    const NEEDS: Needs = Needs::ToPlayOrCall;
    const DEVICE: DeviceNeeds = DeviceNeeds::ToPlayOrCall;
    type Params<'a> = Watch<'a>;
    type Output = Watched<Raw>;

    fn call(context: &mut Context, _: Admitted, params: Watch<'_>) -> CallResult<Watched<Raw>> {
        let permits = |action, version| context.permits_version(action, version);
        let given = (params.script, params.name, params.version, params.view);
        let (script, admitted) = match given {
            (None, None, None, Some(View::Activity)) => {
                context.check_own_key()?;
                (None, context.permits_to(Action::Manage)?)
            }
            (Some(script), None, None, None) => {
                context.check_device(&Permission::Play)?;
                let script = QueryScript::Source(script.into_owned().into());
                (Some(script), permits(Action::Play, None)?)
            }
            (None, Some(name), version, None) => {
                context.check_device_calls(&name, version.as_deref())?;
                let admitted = permits(Action::Call, version.as_deref())?;
                let script = QueryScript::Named {
                    name: name.into_owned().into(),
                    version: version.map(|version| version.into_owned().into()),
                };
                (Some(script), admitted)
            }
            _ => {
                return Err(Error::InvalidParams {
                    reason: "give either `script`, or `name` with an optional `version`, or `view`"
                        .to_owned(),
                });
            }
        };
        let (args, since) = (params.args, params.since);
        let (circle, shared) = (context.circle, context.shared.clone());
        let subscriptions = context.subscriptions.clone();
        let memory = context.memory.clone();
        let begin = async move {
            let watches = &shared.watches;
            // What the caller knows to be committed is in the first value.
            let least = shared.dispatcher.last_commit(circle).await;
            let least = least.map_err(|Unavailable| unavailable())?;
            if subscriptions.watches() >= watches.max_watches() {
                return Err(limit_exceeded("session.max_watches".into()));
            }
            let added = subscriptions.add_watch(admitted.key, admitted.device);
            // Somebody else has logged in meanwhile.
            let (name, watcher, first) = added.ok_or(Error::Cancelled)?;
            let subscription = name.to_string();
            let watching = match script {
                None => {
                    let view = ActivityWatch {
                        circle,
                        admitted,
                        at: least,
                        watcher,
                    };
                    Ok(watches.view(|over| view.run(shared.clone(), over)))
                }
                Some(script) => {
                    let wanted = Wanted {
                        script,
                        args,
                        caller: admitted.caller(),
                        requires: admitted.requires,
                        since,
                        least,
                    };
                    watches.watch(circle, wanted, watcher).await
                }
            };
            match watching {
                Ok(guard) => subscriptions.hold_watch(name, guard),
                Err(over) => {
                    subscriptions.end(&subscription);
                    return Err(over.into());
                }
            }
            let time = shared.dispatcher.job_timeout();
            let first = timeout(time, first).await;
            let error = match first {
                Err(_) => Error::Timeout {
                    timeout_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                },
                Ok(Ok(Ok(first))) => {
                    let FirstAnswer {
                        answer,
                        is_known,
                        at,
                    } = first;
                    let value = match &answer.content {
                        Content::Value(value) if !is_known => Some(value),
                        Content::Value(_) | Content::Failed(_) => None,
                    };
                    let bytes = value.map_or(0, |value| value.get().len());
                    match memory.try_reserve_answer(bytes, AROUND) {
                        // The client would not know of the watch.
                        Err(over) => over.into(),
                        Ok(room) if subscriptions.begin_watch(name, answer.digest()) => {
                            let value = value.cloned();
                            let watched = Watched {
                                subscription,
                                value,
                                at,
                            };
                            return Ok((watched, room));
                        }
                        // Somebody else has logged in meanwhile.
                        Ok(_) => Error::Cancelled,
                    }
                }
                Ok(Ok(Err(Ended::Failed(error)))) => error.into(),
                Ok(Ok(Err(Ended::Needs(needs)))) => Error::Forbidden { needs },
                // The server stops.
                Ok(Err(_)) => Error::Cancelled,
            };
            subscriptions.end(&subscription);
            Err(error)
        };
        Ok(Answer::Reserved(Box::pin(async move {
            match begin.await {
                Ok((watched, room)) => (Ok(watched), Some(room)),
                Err(error) => (Err(error), None),
            }
        })))
    }
}
