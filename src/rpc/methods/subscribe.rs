//! `subscribe`: being told of events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{over, unavailable};
use crate::{
    auth::Action,
    rpc::{
        Answer, Context, Error, code,
        context::Admitted,
        method::{Call, Needs},
        subscriptions::Wanted,
    },
    store::{NewEvent, Unavailable},
};

pub(in crate::rpc) struct Subscribe;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// Only events whose topic begins with this. Default: all events.
    #[serde(default, deserialize_with = "circled_json::or_default")]
    topic: String,
    /// The id of an event: begins with those after it. Default: begins with new events.
    #[serde(default, deserialize_with = "circled_json::whole")]
    since: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Output {
    /// The id of the subscription in this session.
    subscription: String,
    /// The id of the event after which it begins.
    since: u64,
}

impl Call for Subscribe {
    const NAME: &'static str = "subscribe";
    const SUMMARY: &'static str = "Subscribes to events of the circle: they come as notifications `event`, from now on or after an earlier one.";
    const NEEDS: Needs = Needs::To(Action::Subscribe);
    const ERRORS: &'static [i32] = &[code::CANCELLED];
    type Params<'a> = Params;
    type Output = Output;

    fn call(context: &mut Context, admitted: Admitted, params: Params) -> Answer<Output> {
        if params.topic.len() > NewEvent::MAX_TOPIC {
            return Answer::Now(Err(Error::InvalidParams {
                reason: format!("`topic` may have {} bytes", NewEvent::MAX_TOPIC),
            }));
        }
        let (circle, shared) = (context.circle, context.shared.clone());
        let subscriptions = context.subscriptions.clone();
        let wanted = Wanted {
            topic: params.topic.into(),
            caller: admitted.key,
            only_members: admitted.only_members,
            since: params.since,
        };
        Answer::Later(Box::pin(async move {
            let full = || over("session.max_subscriptions".into());
            if subscriptions.len() >= shared.limits.max_subscriptions {
                return Err(full());
            }
            // First of all, so that nothing is missed between the look at the log and what lands.
            let feed = shared.dispatcher.listen(circle).await;
            let feed = feed.map_err(|Unavailable| unavailable())?;
            let log = shared.dispatcher.log(circle, u64::MAX, 0).await;
            let log = log.map_err(|Unavailable| unavailable())?;
            // After it, so that whoever is removed from now on is told.
            admitted.confirm(&shared, circle).await?;
            if subscriptions.len() >= shared.limits.max_subscriptions {
                return Err(full());
            }
            match subscriptions.begin(wanted, feed, &log) {
                Some((subscription, since)) => Ok(Output {
                    subscription,
                    since,
                }),
                // Somebody else has logged in meanwhile.
                None => Err(Error::Cancelled),
            }
        }))
    }
}
