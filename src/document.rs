//! TOML texts as JSON values, with the place of each value in the text.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value as Json, json};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A line and a column, from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// The values of a TOML text.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The values. Numbers in `too_large` are null.
    pub(crate) values: Map<String, Json>,
    /// The place of every key and of every item of a list, `circle[0].members[1]`.
    pub(crate) places: BTreeMap<String, Place>,
    /// The keys of numbers that have more than 64 bits. TOML permits them.
    pub(crate) too_large: Vec<String>,
}

/// A part of a text that is no TOML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) place: Option<Place>,
    pub(crate) message: String,
}

impl Document {
    /// Reads a text.
    ///
    /// # Errors
    /// Everything that is no TOML. The messages quote nothing of the text, which may hold secrets.
    pub(crate) fn read(text: &str) -> Result<Self, Vec<SyntaxError>> {
        let (table, mut errors) = DeTable::parse_recoverable(text);
        let text = Marked::of(text);
        if errors.is_empty() {
            let mut reader = Reader {
                text,
                document: Self::default(),
            };
            reader.document.values = reader.table("", table.get_ref());
            return Ok(reader.document);
        }
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        let told = |error: toml::de::Error| SyntaxError {
            place: error.span().map(|span| text.place(span.start)),
            message: format!("this is no TOML: {}", error.message()),
        };
        Err(errors.into_iter().map(told).collect())
    }
}

/// A text, and where some of its characters stand, so that nobody counts from its beginning for each of many places.
struct Marked<'a> {
    text: &'a str,
    marks: Vec<(usize, Place)>,
}

impl<'a> Marked<'a> {
    /// Bytes between two marks.
    const STEP: usize = 1 << 10;

    fn of(text: &'a str) -> Self {
        let mut place = Place { line: 1, column: 1 };
        let mut marks = vec![(0, place)];
        for (at, sign) in text.char_indices() {
            if at >= marks.len() * Self::STEP {
                marks.push((at, place));
            }
            place.pass(sign);
        }
        Self { text, marks }
    }

    /// Returns the place of what begins at this byte.
    fn place(&self, at: usize) -> Place {
        let after = self.marks.partition_point(|(mark, _)| *mark <= at);
        let (mark, mut place) = self.marks[after.saturating_sub(1)];
        for sign in self.text.get(mark..at).unwrap_or_default().chars() {
            place.pass(sign);
        }
        place
    }
}

impl Place {
    /// Moves it on past a character.
    fn pass(&mut self, sign: char) {
        if sign == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Reads a text into a document.
struct Reader<'a> {
    text: Marked<'a>,
    document: Document,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Map<String, Json> {
        let members = table.iter().map(|(key, value)| {
            let name = key.get_ref();
            let path = match prefix {
                "" => name.to_string(),
                prefix => format!("{prefix}.{name}"),
            };
            let place = self.text.place(key.span().start);
            self.document.places.insert(path.clone(), place);
            (name.to_string(), self.value(path, value))
        });
        members.collect()
    }

    fn value(&mut self, path: String, value: &Spanned<DeValue<'_>>) -> Json {
        match value.get_ref() {
            DeValue::Table(table) => Json::Object(self.table(&path, table)),
            DeValue::Array(items) => {
                let items = items.iter().enumerate().map(|(n, item)| {
                    let path = format!("{path}[{n}]");
                    let place = self.text.place(item.span().start);
                    self.document.places.insert(path.clone(), place);
                    self.value(path, item)
                });
                items.collect()
            }
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                number.map_or_else(
                    |_| {
                        self.document.too_large.push(path);
                        Json::Null
                    },
                    |number| json!(number),
                )
            }
            // JSON has no `nan` and no `inf`: as texts, they are told where a number is wanted.
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => json!(number),
                Ok(_) | Err(_) => json!(number.as_str()),
            },
            DeValue::Boolean(yes) => json!(yes),
            DeValue::String(text) => json!(text),
            DeValue::Datetime(time) => json!(time.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_item_has_its_place() {
        let text = "[server]\nlisten = \"a\"\n\"ü\".x = 1 # ä\n[[circle]]\n  members = [\"ä\", \"b\"]\n\n[[circle]]\nkey = 1";
        let places = Document::read(text).unwrap().places;
        for (key, line, column) in [
            ("server", 1, 2),
            ("server.listen", 2, 1),
            ("server.ü.x", 3, 5),
            ("circle[0].members", 5, 3),
            ("circle[0].members[1]", 5, 19),
            ("circle[1].key", 8, 1),
        ] {
            assert_eq!(places[key], Place { line, column }, "{key}");
        }
        assert_eq!(places["circle[1]"].line, 7);
    }

    #[test]
    fn places_far_from_the_beginning_are_found_at_once() {
        const MANY: usize = 100_000;
        let line = format!("a = [{}]\n", "\"ä\", ".repeat(MANY));
        let found = Document::read(&line).unwrap().places;
        let last = format!("a[{}]", MANY - 1);
        let column = 6 + 5 * (MANY - 1);
        assert_eq!(found[&last], Place { line: 1, column });
        let lines: String = (0..MANY).map(|n| format!("a{n} = 1\n")).collect();
        let found = Document::read(&lines).unwrap().places;
        let place = found[&format!("a{}", MANY - 1)];
        let line = MANY;
        assert_eq!(place, Place { line, column: 1 });
    }

    #[test]
    fn what_is_no_toml_is_told_without_quoting_it() {
        for (text, line) in [
            ("[a]\nsecrets = [\"hunter2\"\nb = 1", 3),
            ("secret = hunter2", 1),
            ("secret = \"hunter2", 1),
            ("a = 1\nsecret = 'hunter2' hunter2", 2),
            ("hunter2", 1),
            ("[hunter2", 1),
            ("a = hunter2\nb = = hunter2", 1),
        ] {
            let wrong = Document::read(text).unwrap_err();
            assert_eq!(wrong[0].place.map(|place| place.line), Some(line), "{text}");
            assert!(
                wrong.iter().all(|wrong| !wrong.message.contains("hunter2")),
                "{wrong:?}"
            );
        }
        let wrong = Document::read("a = = 1\nb = = 2").unwrap_err();
        assert_eq!(wrong.last().unwrap().place.unwrap().line, 2, "all are told");
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        let text = "a = 9_223_372_036_854_775_807\nb = 0xff\n[c]\nd = [true, 'x', { e = 1.5 }]\nf = 1979-05-27\n";
        let document = Document::read(text).unwrap();
        assert_eq!(
            Json::Object(document.values),
            json!({ "a": i64::MAX, "b": 255, "c": { "d": [true, "x", { "e": 1.5 }], "f": "1979-05-27" } })
        );
        let text = "[a]\nb = 9_223_372_036_854_775_808\nc = 0xffff\nd = { e = [1, 123456789012345678901234] }";
        let document = Document::read(text).unwrap();
        assert_eq!(document.too_large, ["a.b", "a.d.e[1]"]);
        let document = Document::read("a = nan\nb = -inf\nc = 1.5").unwrap();
        let values = json!({ "a": "nan", "b": "-inf", "c": 1.5 });
        assert_eq!(Json::Object(document.values), values);
        let least = Document::read("a = -9_223_372_036_854_775_808").unwrap();
        assert_eq!(least.values["a"], json!(i64::MIN));
    }
}
