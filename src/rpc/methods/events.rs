//! Subscriptions to events.

use circled_protocol::{
    Permission,
    methods::{Subscribe, Subscribed, Unsubscribe},
};

use super::runs::{limit_exceeded, unavailable};
use crate::{
    auth::Action,
    rpc::{
        Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Error, Method, Needs,
        subscriptions::NewSubscription,
    },
    store::{NewEvent, Unavailable},
};

pub(super) const METHODS: &[Method] = &[Method::of::<Subscribe>(), Method::of::<Unsubscribe>()];

impl Call for Subscribe {
    const NEEDS: Needs = Needs::To(Action::Subscribe);
    const DEVICE: DeviceNeeds = DeviceNeeds::Scope(Permission::Subscribe);
    type Params<'a> = Self;
    type Output = Subscribed;

    fn call(context: &mut Context, admitted: Admitted, params: Self) -> CallResult<Subscribed> {
        if params.topic.len() > NewEvent::MAX_TOPIC {
            return Err(Error::InvalidParams {
                reason: format!("`topic` may have {} bytes", NewEvent::MAX_TOPIC),
            });
        }
        let (circle, shared) = (context.circle, context.shared.clone());
        let subscriptions = context.subscriptions.clone();
        let new = NewSubscription {
            topic: params.topic.into(),
            caller: admitted.key,
            device: admitted.device,
            requires: admitted.requires,
            since: params.since,
        };
        Ok(Answer::Later(Box::pin(async move {
            let full = || limit_exceeded("session.max_subscriptions".into());
            if subscriptions.len() >= shared.limits.max_subscriptions {
                return Err(full());
            }
            // Listen first, so that no event is missed between the read of the log and the feed.
            let feed = shared.dispatcher.listen(circle).await;
            let feed = feed.map_err(|Unavailable| unavailable())?;
            let log = shared.dispatcher.log(circle, u64::MAX, 0).await;
            let log = log.map_err(|Unavailable| unavailable())?;
            // Confirm after that, so that a removal from now on is seen.
            admitted.confirm(&shared, circle).await?;
            if subscriptions.len() >= shared.limits.max_subscriptions {
                return Err(full());
            }
            match subscriptions.begin(new, feed, &log) {
                Some((subscription, since)) => Ok(Subscribed {
                    subscription,
                    since,
                }),
                // Somebody else has logged in meanwhile.
                None => Err(Error::Cancelled),
            }
        })))
    }
}

impl Call for Unsubscribe {
    const NEEDS: Needs = Needs::Nothing;
    const DEVICE: DeviceNeeds = DeviceNeeds::Nothing;
    type Params<'a> = Self;
    type Output = bool;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<bool> {
        Ok(Answer::Now(Ok(context
            .subscriptions
            .end(&params.subscription))))
    }
}
