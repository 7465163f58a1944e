//! The map that says which keys a script reads: `#{prefix, start, end, after, limit, reverse}`.

use rhai::{Dynamic, ImmutableString, Map};

use crate::store::{Key, KeyRange};

/// The names in such a map.
const NAMES: &str =
    "prefix, start, end, after (texts), limit (a whole number) and reverse (true or false)";

/// Returns the range that a map describes. It reads `unlimited` keys unless the map has a limit, which may be `most`.
///
/// # Errors
/// The map has something else in it. The message says what it may have.
pub(super) fn parse(options: &Map, unlimited: usize, most: usize) -> Result<KeyRange, String> {
    let mut range = KeyRange {
        limit: unlimited,
        ..KeyRange::of_prefix(b"")
    };
    let mut after = None;
    // `()` is as good as nothing: the first page comes after no key.
    for (name, value) in options.iter().filter(|(_, value)| !value.is_unit()) {
        match name.as_str() {
            "prefix" => {
                let of_prefix = KeyRange::of_prefix(text(name, value)?.as_bytes());
                range.start = range.start.max(of_prefix.start);
                range.end = range.end.min(of_prefix.end);
            }
            "start" => range.start = range.start.max(Key::new(text(name, value)?.as_bytes())),
            "end" => range.end = range.end.min(Key::new(text(name, value)?.as_bytes())),
            "after" => after = Some(text(name, value)?),
            "limit" => {
                let limit = value.as_int().ok().and_then(|limit| limit.try_into().ok());
                let limit = limit.filter(|limit| *limit <= most);
                range.limit = limit
                    .ok_or_else(|| format!("\"limit\" must be a whole number from 0 to {most}"))?;
            }
            "reverse" => range.reverse = value.as_bool().map_err(|_| wrong(name, value))?,
            _ => return Err(format!("there is no \"{name}\": a range has {NAMES}")),
        }
    }
    if let Some(after) = after {
        let after = after.as_bytes();
        if range.reverse {
            range.end = range.end.min(Key::new(after));
        } else {
            range.start = range.start.max(Key::from([after, &[0]].concat()));
        }
    }
    Ok(range)
}

fn text(name: &str, value: &Dynamic) -> Result<ImmutableString, String> {
    let text = value.read_lock::<ImmutableString>();
    text.map(|text| text.clone())
        .ok_or_else(|| wrong(name, value))
}

fn wrong(name: &str, value: &Dynamic) -> String {
    let kind = value.type_name();
    format!("\"{name}\" can't be of type {kind}: a range has {NAMES}")
}

#[cfg(test)]
mod tests {
    use rhai::{Dynamic, Map};

    use super::parse;

    type Options<'a> = &'a [(&'static str, Dynamic)];

    fn options(options: Options<'_>) -> Map {
        let entry = |(name, value): &(&str, Dynamic)| ((*name).into(), value.clone());
        options.iter().map(entry).collect()
    }

    #[test]
    fn a_range_is_all_that_its_options_have_in_common() {
        let cases: [(Options<'_>, &[u8], &[u8]); 8] = [
            (&[], b"", b"\xff"),
            (&[("prefix", "a/".into())], b"a/", b"a/\xff"),
            (&[("start", "b".into()), ("end", "c".into())], b"b", b"c"),
            (
                &[
                    ("prefix", "a/".into()),
                    ("start", "a/5".into()),
                    ("end", "b".into()),
                ],
                b"a/5",
                b"a/\xff",
            ),
            (
                &[("prefix", "a/".into()), ("after", "a/5".into())],
                b"a/5\0",
                b"a/\xff",
            ),
            (
                &[
                    ("prefix", "a/".into()),
                    ("after", "a/5".into()),
                    ("reverse", true.into()),
                ],
                b"a/",
                b"a/5",
            ),
            (
                &[("prefix", "a/".into()), ("after", "".into())],
                b"a/",
                b"a/\xff",
            ),
            (
                &[("prefix", "a/".into()), ("after", Dynamic::UNIT)],
                b"a/",
                b"a/\xff",
            ),
        ];
        for (given, start, end) in cases {
            let range = parse(&options(given), 100, 1000).unwrap();
            assert_eq!((&*range.start, &*range.end), (start, end), "{given:?}");
            assert_eq!(range.limit, 100);
        }
        let limited = options(&[("limit", 7_i64.into())]);
        assert_eq!(parse(&limited, 100, 1000).unwrap().limit, 7);
    }

    #[test]
    fn what_is_no_option_is_refused_with_all_that_are() {
        for (name, value, says) in [
            ("pefix", "a".into(), "there is no \"pefix\""),
            ("prefix", 1_i64.into(), "\"prefix\" can't be of type i64"),
            ("reverse", "yes".into(), "\"reverse\" can't be of type"),
        ] {
            let message = parse(&options(&[(name, value)]), 100, 1000).unwrap_err();
            assert!(message.contains(says), "{message}");
            assert!(message.contains("prefix, start, end, after"), "{message}");
        }
        for limit in [Dynamic::from_int(-1), Dynamic::from_int(1001), "5".into()] {
            let message = parse(&options(&[("limit", limit)]), 100, 1000).unwrap_err();
            assert_eq!(message, "\"limit\" must be a whole number from 0 to 1000");
        }
    }
}
