//! Events of scripts and of the circle, for subscribers.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Method;
use crate::{Json, Role, Word, code};

/// `subscribe`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Only events whose topic begins with this. Default: all events.
    #[serde(default, deserialize_with = "circled_json::or_default")]
    pub topic: String,
    /// The id of an event: begins with those after it. Default: begins with new events.
    #[serde(default, deserialize_with = "circled_json::whole")]
    pub since: Option<u64>,
}

impl Method for Subscribe {
    const NAME: &'static str = "subscribe";
    const SUMMARY: &'static str = "Subscribes to events of the circle: they come as notifications `event`, from now on or after an earlier one.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = &[code::CANCELLED];
    type Result = Subscribed;
}

/// `unsubscribe`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    /// The id of the subscription, as subscribe returned it.
    pub subscription: String,
}

impl Method for Unsubscribe {
    const NAME: &'static str = "unsubscribe";
    const SUMMARY: &'static str = "Ends a subscription. Returns false if there was none.";
    const READS: bool = false;
    type Result = bool;
}

/// A subscription that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscribed {
    /// The id of the subscription in this session.
    pub subscription: String,
    /// The id of the event after which it begins.
    pub since: u64,
}

/// The parameters of the notification `event`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Notification")]
pub struct Notification<V = Json, T = String> {
    /// The subscription that it is for.
    #[schemars(with = "String")]
    pub subscription: T,
    /// The event, a gap, or the end.
    #[serde(flatten)]
    #[schemars(with = "Notice")]
    pub notice: Notice<V, T>,
}

/// A notification of a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Notice")]
pub enum Notice<V = Json, T = String> {
    /// An event. Events come in order, each once.
    Event(#[schemars(with = "Event")] Event<V, T>),
    /// Events are missing: the log no longer reaches back to them.
    Gap {
        /// Always true.
        gap: bool,
        /// The next event is after this id.
        since: u64,
    },
    /// The subscription has ended: the caller may no longer subscribe, or somebody else has logged in on the session.
    Ended {
        /// Always true.
        ended: bool,
        /// The role that is needed; absent if somebody else has logged in.
        #[serde(skip_serializing_if = "Option::is_none")]
        needs: Option<Word<Role>>,
    },
    /// A notification of a later version.
    #[serde(skip)]
    Other,
}

/// An event of a circle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct Event<V = Json, T = String> {
    /// The event's number in the circle; later events have greater ones.
    pub id: u64,
    /// The event's topic.
    #[schemars(with = "String")]
    pub topic: T,
    /// The event's data.
    #[schemars(with = "Value")]
    pub data: V,
    /// The time of its commit.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

impl<V, T> Notification<V, T> {
    /// The name of the notification.
    pub const NAME: &'static str = "event";
    /// One sentence about the notification.
    pub const SUMMARY: &'static str = "A subscription has an event, a gap, or has ended.";
}

impl<'de> Deserialize<'de> for Notification {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Any {
            subscription: String,
            id: Option<u64>,
            topic: Option<String>,
            #[serde(default)]
            data: Json,
            at: Option<Timestamp>,
            #[serde(default)]
            gap: bool,
            since: Option<u64>,
            #[serde(default)]
            ended: bool,
            needs: Option<Word<Role>>,
        }
        let any = Any::deserialize(deserializer)?;
        let notice = match (any.ended, any.gap, any.since, any.id, any.topic, any.at) {
            (true, ..) => Notice::Ended {
                ended: true,
                needs: any.needs,
            },
            (_, true, Some(since), ..) => Notice::Gap { gap: true, since },
            (_, false, _, Some(id), Some(topic), Some(at)) => Notice::Event(Event {
                id,
                topic,
                data: any.data,
                at,
            }),
            _ => Notice::Other,
        };
        Ok(Self {
            subscription: any.subscription,
            notice,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn notifications_are_read_and_later_additions_ignored() {
        let event = Event {
            id: 7,
            topic: "news".to_owned(),
            data: Json(json!([1])),
            at: Timestamp::UNIX_EPOCH,
        };
        let (gap, ended) = (
            Notice::Gap {
                gap: true,
                since: 6,
            },
            Notice::Ended {
                ended: true,
                needs: Some(Role::Member.into()),
            },
        );
        for notice in [Notice::Event(event), gap, ended] {
            let sent = Notification {
                subscription: "1".to_owned(),
                notice,
            };
            let mut text = json!(sent);
            text["more"] = json!({});
            let read: Notification = circled_json::from_value(text).unwrap();
            assert_eq!(read, sent);
        }
        let other = json!({ "subscription": "1", "later": "things" });
        let read: Notification = circled_json::from_value(other).unwrap();
        assert_eq!(read.notice, Notice::Other);
    }
}
