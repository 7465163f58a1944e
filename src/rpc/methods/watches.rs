//! `watch`: live queries.

use circled_protocol::methods::{Watch, Watched};

use super::runs::{Raw, limit_exceeded, unavailable};
use crate::{
    auth::Action,
    circle::QueryScript,
    rpc::{
        Admitted, Answer, Call, CallResult, Context, Error, Method, Needs,
        subscriptions::FirstAnswer,
        watches::{Content, Ended, Spec, Wanted},
    },
    store::Unavailable,
};

pub(super) const METHODS: &[Method] = &[Method::of::<Watch<'static>>()];

impl Call for Watch<'static> {
    const NEEDS: Needs = Needs::ToPlayOrCall;
    type Params<'a> = Watch<'a>;
    type Output = Watched<Raw>;

    fn call(context: &mut Context, _: Admitted, params: Watch<'_>) -> CallResult<Watched<Raw>> {
        let permits = |action, version| context.permits_version(action, version);
        let (script, admitted) = match (params.script, params.name, params.version) {
            (Some(script), None, None) => {
                let script = QueryScript::Source(script.into_owned().into());
                (script, permits(Action::Play, None)?)
            }
            (None, Some(name), version) => {
                let admitted = permits(Action::Call, version.as_deref())?;
                let script = QueryScript::Named {
                    name: name.into_owned().into(),
                    version: version.map(|version| version.into_owned().into()),
                };
                (script, admitted)
            }
            _ => {
                return Err(Error::InvalidParams {
                    reason: "give either `script`, or `name` with an optional `version`".to_owned(),
                });
            }
        };
        let spec = Spec::new(script, params.args);
        let since = params.since;
        let (circle, shared) = (context.circle, context.shared.clone());
        let subscriptions = context.subscriptions.clone();
        Ok(Answer::Later(Box::pin(async move {
            let watches = &shared.watches;
            // What the caller knows to be committed is in the first value.
            let least = shared.dispatcher.last_commit(circle).await;
            let least = least.map_err(|Unavailable| unavailable())?;
            if subscriptions.watches() >= watches.max_watches() {
                return Err(limit_exceeded("session.max_watches".into()));
            }
            let added = subscriptions.add_watch(admitted.key);
            // Somebody else has logged in meanwhile.
            let (name, watcher, first) = added.ok_or(Error::Cancelled)?;
            let wanted = Wanted {
                spec,
                caller: admitted.caller(),
                requires: admitted.requires,
                since,
                least,
            };
            subscriptions.hold_watch(name, watches.watch(circle, wanted, watcher));
            let subscription = name.to_string();
            let error = match first.await {
                Ok(Ok(first)) if subscriptions.begin_watch(name, first.answer.digest()) => {
                    let FirstAnswer {
                        answer,
                        is_known,
                        at,
                    } = first;
                    let value = match &answer.content {
                        Content::Value(value) if !is_known => Some(value.clone()),
                        Content::Value(_) | Content::Failed(_) => None,
                    };
                    return Ok(Watched {
                        subscription,
                        value,
                        at,
                    });
                }
                Ok(Err(Ended::Failed(error))) => error.into(),
                Ok(Err(Ended::Needs(needs))) => Error::Forbidden { needs },
                // Somebody else has logged in meanwhile, or the server stops.
                Ok(Ok(_)) | Err(_) => Error::Cancelled,
            };
            subscriptions.end(&subscription);
            Err(error)
        })))
    }
}
