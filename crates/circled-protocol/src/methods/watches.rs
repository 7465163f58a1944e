//! Live queries: scripts that only read, whose values come again whenever they change.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Method;
use crate::{Json, Role, RpcError, View, Word, code};

/// `watch`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Watch<'a> {
    /// The script, in Rhai. Either this, or `name`, or `view`.
    #[serde(default, borrow)]
    pub script: Option<Cow<'a, str>>,
    /// The name of a script of the circle.
    #[serde(default, borrow)]
    pub name: Option<Cow<'a, str>>,
    /// The value that the script sees as ARGS.
    #[serde(default, deserialize_with = "circled_json::value")]
    pub args: Value,
    /// The version of a named script: the SHA-256 of the source, or its first digits. Only for callers who may
    /// `manage`; default: the newest, whichever that is at each run.
    #[serde(default, borrow)]
    pub version: Option<Cow<'a, str>>,
    /// The `at` of the last value that the client has: the result has no value if that is known to be unchanged.
    #[serde(default, deserialize_with = "circled_json::whole")]
    pub since: Option<u64>,
    /// In place of a script: what else is watched. Only for callers who may `manage`, by their own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
}

impl Method for Watch<'_> {
    const NAME: &'static str = "watch";
    const SUMMARY: &'static str = "Watches what a script that only reads returns: other values come as notifications `value`. `unsubscribe` ends it.";
    const READS: bool = false;
    const ERRORS: &'static [i32] = code::OF_NAMED;
    type Result = Watched;
}

/// A watch that has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Watched")]
#[serde(bound(deserialize = "V: Deserialize<'de>"))]
pub struct Watched<V = Json> {
    /// The id of the watch among the subscriptions of this session.
    pub subscription: String,
    /// The script's value as JSON; absent if it is unchanged since the commit `since`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some"
    )]
    #[schemars(with = "Option<Value>")]
    pub value: Option<V>,
    /// The number of a commit of the circle at which the value is so.
    pub at: u64,
}

/// Reads a value that is there, which may be null.
fn some<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<V>, D::Error> {
    V::deserialize(deserializer).map(Some)
}

/// The parameters of the notification `value`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ValueNotification")]
pub struct ValueNotification<V = Json, T = String> {
    /// The watch that it is for.
    #[schemars(with = "String")]
    pub subscription: T,
    /// The value, an error, or the end.
    #[serde(flatten)]
    #[schemars(with = "ValueNotice")]
    pub notice: ValueNotice<V>,
}

/// A notification of a watch.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ValueNotice")]
pub enum ValueNotice<V = Json> {
    /// Another value. A client that reads slowly gets the newest one only.
    Value {
        /// The script's value as JSON.
        #[schemars(with = "Value")]
        value: V,
        /// The number of the commit of the circle at which it is so.
        at: u64,
    },
    /// The script fails now. It is watched on.
    Failed {
        /// The error, as of `play`.
        error: RpcError,
        /// The number of the commit of the circle at which it is so.
        at: u64,
    },
    /// The watch has ended: the caller may no longer run the script, or somebody else has logged in on the session.
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

impl<V, T> ValueNotification<V, T> {
    /// The name of the notification.
    pub const NAME: &'static str = "value";
    /// One sentence about the notification.
    pub const SUMMARY: &'static str = "A watch has another value, an error, or has ended.";
}

impl<'de> Deserialize<'de> for ValueNotification {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Any {
            subscription: String,
            #[serde(default, deserialize_with = "some")]
            value: Option<Json>,
            error: Option<RpcError>,
            at: Option<u64>,
            #[serde(default)]
            ended: bool,
            needs: Option<Word<Role>>,
        }
        let any = Any::deserialize(deserializer)?;
        let notice = match (any.ended, any.at, any.value, any.error) {
            (true, ..) => ValueNotice::Ended {
                ended: true,
                needs: any.needs,
            },
            (false, Some(at), Some(value), None) => ValueNotice::Value { value, at },
            (false, Some(at), None, Some(error)) => ValueNotice::Failed { error, at },
            _ => ValueNotice::Other,
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
        let value = |value| ValueNotice::Value {
            value: Json(value),
            at: 7,
        };
        let failed = ValueNotice::Failed {
            error: RpcError {
                code: code::EXECUTION_ERROR,
                message: "no".to_owned(),
                data: json!({ "line": 1 }),
            },
            at: 8,
        };
        let ended = ValueNotice::Ended {
            ended: true,
            needs: Some(Role::Member.into()),
        };
        for notice in [value(json!([1])), value(json!(null)), failed, ended] {
            let sent = ValueNotification {
                subscription: "1".to_owned(),
                notice,
            };
            let mut text = json!(sent);
            text["more"] = json!({});
            let read: ValueNotification = circled_json::from_value(text).unwrap();
            assert_eq!(read, sent);
        }
        let other = json!({ "subscription": "1", "later": "things" });
        let read: ValueNotification = circled_json::from_value(other).unwrap();
        assert_eq!(read.notice, ValueNotice::Other);
    }

    #[test]
    fn a_null_is_a_value_and_nothing_is_none() {
        let read = |text| circled_json::from_str::<Watched>(text).unwrap().value;
        assert_eq!(read(r#"{"subscription":"1","at":1}"#), None);
        let null = Some(Json(Value::Null));
        assert_eq!(read(r#"{"subscription":"1","at":1,"value":null}"#), null);
    }
}
