//! Values that can't be read: all of them, not only the first.

use circled_protocol::is_secret_key;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::key;

/// A value that can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// The key, which may be of an item of a list: `circle[0].members[1]`.
    pub(super) key: String,
    /// A value that would be right.
    pub(super) message: String,
}

/// A value after all of it was tried.
#[derive(Debug)]
pub(super) struct Tried {
    /// The value without the parts that can't be read, if anything is left.
    pub(super) usable: Option<Json>,
    /// All parts that can't be read.
    pub(super) misfits: Vec<Misfit>,
}

impl Tried {
    /// Returns a value that can be read.
    pub(super) fn right(value: &Json) -> Self {
        Self {
            usable: Some(value.clone()),
            misfits: Vec::new(),
        }
    }
}

/// Tries to read a value. Each part of a table or a list is tried alone; if all of them can be read, it is the whole
/// that can't. `around` puts a value in the place of this one into all that a `T` is read from.
pub(super) fn try_out<T: DeserializeOwned>(
    key: &str,
    value: &Json,
    around: &dyn Fn(Json) -> Json,
) -> Tried {
    let Some(found) = error::<T>(around(value.clone())) else {
        return Tried::right(value);
    };
    let mut misfits = Vec::new();
    search::<T>(key, value, around, &found, false, &mut misfits);
    let usable = without(&misfits, key, value);
    Tried {
        usable: usable.filter(|value| error::<T>(around(value.clone())).is_none()),
        misfits,
    }
}

/// Returns a value without the parts that can't be read.
fn without(misfits: &[Misfit], key: &str, value: &Json) -> Option<Json> {
    if misfits.iter().any(|misfit| misfit.key == key) {
        return None;
    }
    Some(match value {
        Json::Array(items) => {
            let items = items.iter().enumerate();
            let usable =
                items.filter_map(|(n, item)| without(misfits, &format!("{key}[{n}]"), item));
            usable.collect()
        }
        Json::Object(members) => {
            let usable = members.iter().filter_map(|(name, member)| {
                let member = without(misfits, &format!("{key}.{name}"), member)?;
                Some((name.clone(), member))
            });
            Json::Object(usable.collect())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.clone(),
    })
}

/// `is_alone` says that other members of a table are left out. So it is no mistake that they are missing.
fn search<T: DeserializeOwned>(
    key: &str,
    value: &Json,
    around: &dyn Fn(Json) -> Json,
    error_of_all: &str,
    is_alone: bool,
    found: &mut Vec<Misfit>,
) {
    let before = found.len();
    let mut search_part = |key: String, part: &Json, around: &dyn Fn(Json) -> Json, is_alone| {
        if let Some(error) = error::<T>(around(part.clone()))
            && !(is_alone && error.starts_with("missing field `"))
        {
            search::<T>(&key, part, around, &error, is_alone, found);
        }
    };
    // If even an empty one can't be read, the parts are not to blame.
    let is_whole = |empty| error::<T>(around(empty)).as_deref() == Some(error_of_all);
    match value {
        Json::Array(items) if !is_whole(json!([])) => {
            for (n, item) in items.iter().enumerate() {
                let around = |item| around(json!([item]));
                search_part(format!("{key}[{n}]"), item, &around, is_alone);
            }
        }
        Json::Object(members) if !is_whole(json!({})) => {
            for (name, member) in members {
                let around = |member| around(json!({ name.as_str(): member }));
                search_part(format!("{key}.{name}"), member, &around, true);
            }
        }
        Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::String(_)
        | Json::Array(_)
        | Json::Object(_) => {}
    }
    if found.len() == before {
        // For a value that is no text, serde doesn't tell the names that there are.
        let names = error_of_all
            .ends_with(", expected string or map")
            .then(|| error::<T>(around(json!("\0"))));
        let error = names.flatten();
        found.push(Misfit {
            key: key.to_owned(),
            message: message(error.as_deref().unwrap_or(error_of_all), value),
        });
    }
}

fn error<T: DeserializeOwned>(value: Json) -> Option<String> {
    let error = circled_json::from_value::<T>(value).err()?;
    Some(error.to_string())
}

fn message(error: &str, value: &Json) -> String {
    let message = expected(error);
    if value.as_str().is_some_and(is_secret_key) {
        return format!(
            "{message}. It looks like a secret key, which belongs in no settings file: if it is one, make another"
        );
    }
    message
}

/// Returns serde's error in words for people: what would be right.
fn expected(error: &str) -> String {
    if error == "invalid socket address syntax" {
        return "must be an IP address and a port, like \"127.0.0.1:8080\"".to_owned();
    }
    if let Some(name) = error.strip_prefix("missing field ") {
        return format!("{name} is missing");
    }
    let Some((before, what)) = error.rsplit_once(", expected ") else {
        return error.to_owned();
    };
    if let Some(name) = before.strip_prefix("unknown field ") {
        let known: Vec<&str> = what.split('`').skip(1).step_by(2).collect();
        return key::unknown_of(name.trim_matches('`'), &known);
    }
    let what = match what {
        "usize" | "u64" => "a whole number, 0 or more",
        "u32" => "a whole number from 0 to 4294967295",
        "u16" => "a whole number from 0 to 65535",
        "a nonzero usize" | "a nonzero u64" => "a whole number, 1 or more",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        table if table.starts_with("struct ") => "a table",
        other => other,
    };
    format!("must be {}", what.replace('`', "\""))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is only read")]
    struct Example {
        count: NonZeroUsize,
        kinds: Vec<Kind>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is only read")]
    struct Kind {
        at: String,
        is: Option<Answer>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Answer {
        Yes,
        No,
    }

    #[test]
    fn every_part_that_cannot_be_read_is_found() {
        let value = json!([
            { "at": "a", "is": "yes" },
            { "at": 1, "is": "maybe", "si": "no" },
            { "is": 7 },
            { "is": "no" },
            "none"
        ]);
        let around = |kinds| json!({ "count": 1, "kinds": kinds });
        let tried = try_out::<Example>("kinds", &value, &around);
        assert_eq!(tried.usable, None, "`at` is missing where it can't be read");
        let found: Vec<_> = tried
            .misfits
            .iter()
            .map(|found| (&*found.key, &*found.message))
            .collect();
        assert_eq!(
            found,
            [
                ("kinds[1].at", "must be a text in quotes"),
                ("kinds[1].is", "must be \"yes\" or \"no\""),
                (
                    "kinds[1].si",
                    "there is no such setting; did you mean `is`?"
                ),
                ("kinds[2].is", "must be \"yes\" or \"no\""),
                ("kinds[3]", "`at` is missing"),
                ("kinds[4]", "must be a table"),
            ]
        );
        let around = |count| json!({ "count": count, "kinds": [] });
        let tried = try_out::<Example>("count", &json!(3), &around);
        assert!(tried.misfits.is_empty() && tried.usable == Some(json!(3)));
        let tried = try_out::<Example>("count", &json!(0), &around);
        assert_eq!(
            tried.misfits[0].message,
            "must be a whole number, 1 or more"
        );
        let tried = try_out::<Example>("count", &json!([1, 2]), &around);
        assert_eq!((tried.misfits.len(), &*tried.misfits[0].key), (1, "count"));
        let around = |kinds| json!({ "count": 1, "kinds": kinds });
        let tried = try_out::<Example>("kinds", &json!({ "a": 1, "b": 2 }), &around);
        assert_eq!((tried.misfits.len(), &*tried.misfits[0].key), (1, "kinds"));
        let value = json!([{ "at": "a", "is": 1 }, 7, { "at": "b" }]);
        let tried = try_out::<Example>("kinds", &value, &around);
        assert_eq!(tried.usable, Some(json!([{ "at": "a" }, { "at": "b" }])));
    }

    #[test]
    fn a_message_says_what_would_be_right() {
        for (error, expectation) in [
            (
                "invalid type: string \"many\", expected usize",
                "must be a whole number, 0 or more",
            ),
            (
                "unknown variant `xml`, expected one of `auto`, `human`",
                "must be one of \"auto\", \"human\"",
            ),
            (
                "invalid value: string \"a, expected b\", expected a duration like \"10s\"",
                "must be a duration like \"10s\"",
            ),
            (
                "unknown field `is`, expected `at` or `iz`",
                "there is no such setting; did you mean `iz`?",
            ),
            ("1 KiB is too little", "1 KiB is too little"),
        ] {
            assert_eq!(expected(error), expectation);
        }
    }
}
