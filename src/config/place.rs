//! Where in a settings file something stands.

use std::{collections::BTreeMap, fmt};

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

/// What is no TOML, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoToml {
    pub(super) place: Option<Place>,
    pub(super) message: String,
}

/// Returns the place of every key and of every item of a list, `circle[0].members[1]`.
///
/// # Errors
/// Everything that is no TOML. The messages quote nothing of the text, which may hold secrets.
pub(super) fn places(text: &str) -> Result<BTreeMap<String, Place>, Vec<NoToml>> {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    if errors.is_empty() {
        let mut found = Found {
            text: Marked::of(text),
            places: BTreeMap::new(),
            wrong: Vec::new(),
        };
        found.walk("", table.get_ref());
        return if found.wrong.is_empty() {
            Ok(found.places)
        } else {
            found.wrong.sort_by_key(|wrong| wrong.place);
            Err(found.wrong)
        };
    }
    let marked = Marked::of(text);
    let told = |error: toml::de::Error| NoToml {
        place: error.span().map(|span| marked.place(span.start)),
        message: format!("this is no TOML: {}", error.message()),
    };
    Err(errors.into_iter().map(told).collect())
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

/// What is in a text.
struct Found<'a> {
    text: Marked<'a>,
    places: BTreeMap<String, Place>,
    /// TOML reads numbers of any length. Nobody else does.
    wrong: Vec<NoToml>,
}

impl Found<'_> {
    fn walk(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref();
            let path = match prefix {
                "" => name.to_string(),
                prefix => format!("{prefix}.{name}"),
            };
            let place = self.text.place(key.span().start);
            self.places.insert(path.clone(), place);
            self.inside(&path, value);
        }
    }

    fn inside(&mut self, path: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.walk(path, table),
            DeValue::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    let path = format!("{path}[{n}]");
                    let place = self.text.place(item.span().start);
                    self.places.insert(path.clone(), place);
                    self.inside(&path, item);
                }
            }
            DeValue::Integer(number) => {
                if i64::from_str_radix(number.as_str(), number.radix()).is_err() {
                    self.wrong.push(NoToml {
                        place: self.places.get(path).copied(),
                        message: format!(
                            "{path} is too large a number, {} is the largest",
                            i64::MAX
                        ),
                    });
                }
            }
            DeValue::String(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_item_has_its_place() {
        let text = "[server]\nlisten = \"a\"\n\"ü\".x = 1 # ä\n[[circle]]\n  members = [\"ä\", \"b\"]\n\n[[circle]]\nkey = 1";
        let places = places(text).unwrap();
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
        let found = places(&line).unwrap();
        let last = format!("a[{}]", MANY - 1);
        let column = 6 + 5 * (MANY - 1);
        assert_eq!(found[&last], Place { line: 1, column });
        let lines: String = (0..MANY).map(|n| format!("a{n} = 1\n")).collect();
        let found = places(&lines).unwrap();
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
            ("a = 1\nb = { c = [1, 123456789012345678901234] }", 2),
        ] {
            let wrong = places(text).unwrap_err();
            assert_eq!(wrong[0].place.map(|place| place.line), Some(line), "{text}");
            assert!(
                wrong.iter().all(|wrong| !wrong.message.contains("hunter2")),
                "{wrong:?}"
            );
        }
        let wrong = places("[a]\nb = 9_223_372_036_854_775_808\nc = 0xffff").unwrap_err();
        let told = &wrong[0];
        assert_eq!(told.place, Some(Place { line: 2, column: 1 }));
        assert!(told.message.starts_with("a.b is too large"), "{told:?}");
        assert!(places("a = -9_223_372_036_854_775_808\nb = 9_223_372_036_854_775_807").is_ok());
        let wrong = places("a = = 1\nb = = 2").unwrap_err();
        assert_eq!(wrong.last().unwrap().place.unwrap().line, 2, "all are told");
    }
}
