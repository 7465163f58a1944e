//! The declarations of Lua scripts, and their calls.
//!
//! `scripts.rs` declares each script once: its keys, its arguments and its lists. From that come the struct that it is
//! called with, and the lines in front of the script that give everything its name. So neither side counts positions:
//! - Each key and each argument is a local of its name. A key that is [`Key::NONE`] is nil.
//! - The local with the name of a list has the number of its items. A line `take <list>` in the script declares the
//!   fields of the next item as locals; `take <list> if <condition>` does so only if the condition holds.
//!
//! Numbers are packed into one argument, which is shorter and faster to read than one for each.

use std::{marker::PhantomData, time::Duration};

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;
use sha1::{Digest, Sha1};

use super::keys::Partition;

/// The largest number that Lua has exactly: 2^53.
const MAX_NUMBER: u64 = 1 << 53;

/// A call of a script, with all that it is called with.
pub(crate) trait Script {
    /// Returns the script.
    fn source() -> &'static Source;

    /// Returns the keys, and the arguments.
    fn write(self, partition: &Partition) -> (Vec<String>, Vec<Value>);
}

/// A script as Redis takes it.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its name for the log.
    pub(crate) name: &'static str,
    pub(crate) text: String,
    /// The hash by which it is called.
    pub(crate) hash: String,
    #[cfg(test)]
    body: &'static str,
    #[cfg(test)]
    declared: Declared,
}

/// All that a script is called with.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) keys: &'static [&'static str],
    pub(crate) args: &'static [Field],
    pub(crate) lists: &'static [(&'static str, &'static [Field])],
}

/// An argument, or a field of a list's items.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// The kinds of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An argument of its own.
    Text,
    /// A number, and how Lua's `struct` library calls its form.
    Number(&'static str),
    /// True or false.
    Flag,
    /// The number of a key, see [`MoreKeys`].
    Key,
}

/// A type of arguments.
pub(crate) trait Arg {
    const KIND: Kind;

    fn write(self, writer: &mut Writer<'_>);
}

/// The items of a list.
pub(crate) trait Item {
    const FIELDS: &'static [Field];

    fn write(self, writer: &mut Writer<'_>);
}

/// A list among the arguments, already written.
#[derive(Debug)]
pub(crate) struct List<T> {
    count: u32,
    args: Vec<Value>,
    items: PhantomData<fn(T)>,
}

/// Keys that only some calls of a script have.
#[derive(Debug, Default)]
pub(crate) struct MoreKeys(Vec<String>);

/// One of [`MoreKeys`], or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(u32);

/// Writes arguments: text first, then all numbers in one.
pub(crate) struct Writer<'a> {
    args: &'a mut Vec<Value>,
    numbers: Vec<u8>,
}

impl<T: Item> List<T> {
    pub(crate) fn new() -> Self {
        Self {
            count: 0,
            args: Vec::new(),
            items: PhantomData,
        }
    }

    pub(crate) fn push(&mut self, item: T) {
        self.count += 1;
        let mut writer = Writer::new(&mut self.args);
        item.write(&mut writer);
        writer.end();
    }

    pub(crate) fn write_count(&self, writer: &mut Writer<'_>) {
        self.count.write(writer);
    }

    pub(crate) fn into_args(self) -> Vec<Value> {
        self.args
    }
}

impl<T: Item> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut list = Self::new();
        for item in items {
            list.push(item);
        }
        list
    }
}

impl MoreKeys {
    pub(crate) fn add(&mut self, key: String) -> Key {
        self.0.push(key);
        Key(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn into_keys(self) -> Vec<String> {
        self.0
    }
}

impl Key {
    /// No key. There is none of this number.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

impl Default for Key {
    fn default() -> Self {
        Self::NONE
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(args: &'a mut Vec<Value>) -> Self {
        Self {
            args,
            numbers: Vec::new(),
        }
    }

    pub(crate) fn end(self) {
        if !self.numbers.is_empty() {
            self.args.push(Value::Bytes(self.numbers.into()));
        }
    }
}

macro_rules! text {
    ($($type:ty: |$value:ident| $text:expr),+ $(,)?) => {$(
        impl Arg for $type {
            const KIND: Kind = Kind::Text;

            fn write(self, writer: &mut Writer<'_>) {
                let $value = self;
                writer.args.push($text);
            }
        }
    )+};
}

macro_rules! numbers {
    ($($type:ty: $kind:expr, |$value:ident| $number:expr),+ $(,)?) => {$(
        impl Arg for $type {
            const KIND: Kind = $kind;

            fn write(self, writer: &mut Writer<'_>) {
                let $value = self;
                writer.numbers.extend($number.to_le_bytes());
            }
        }
    )+};
}

text! {
    Value: |value| value,
    String: |text| text.into(),
    &str: |text| text.into(),
    Vec<u8>: |bytes| Value::Bytes(bytes.into()),
    PublicKey: |key| key.to_string().into(),
    JobId: |id| id.to_string().into(),
}

numbers! {
    u32: Kind::Number("I4"), |number| number,
    usize: Kind::Number("I8"), |number| (number as u64).min(MAX_NUMBER),
    i64: Kind::Number("i8"), |number| number,
    // In milliseconds.
    Duration: Kind::Number("I8"), |time| u64::try_from(time.as_millis()).unwrap_or(MAX_NUMBER).min(MAX_NUMBER),
    bool: Kind::Flag, |flag| u8::from(flag),
    Key: Kind::Key, |key| key.0,
}

impl Source {
    /// Puts together what all scripts share, the lines that name the arguments, and the script.
    pub(crate) fn new(name: &'static str, body: &'static str, declared: Declared) -> Self {
        let mut text = include_str!("lua/prelude.lua").to_owned();
        text.push_str(&declared.header());
        for line in body.lines() {
            match declared.take(line) {
                Some(taken) => text.push_str(&taken),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        Self {
            name,
            hash: hex::encode(Sha1::digest(&text)),
            text,
            #[cfg(test)]
            body,
            #[cfg(test)]
            declared,
        }
    }
}

impl Declared {
    /// Returns the lines that name the keys and the arguments, and find the lists.
    fn header(&self) -> String {
        let mut text = String::new();
        if !self.keys.is_empty() {
            let (names, count) = (self.keys.join(", "), self.keys.len());
            text += &format!("local {names} = unpack(KEYS, 1, {count})\n");
        }
        let counts = self.lists.iter().map(|(name, _)| Field {
            name,
            kind: u32::KIND,
        });
        let fields: Vec<_> = self.args.iter().map(Field::copy).chain(counts).collect();
        let (names, values) = (names(&fields), self.values(&fields, ""));
        if !fields.is_empty() {
            text += &format!("local {names}\n{values}\n");
        }
        let mut at = width(&fields).to_string();
        for (name, fields) in self.lists {
            text += &format!("local {name}_at = {at}\n");
            at = format!("{name}_at + {} * {name}", width(fields));
        }
        text
    }

    /// Returns what the line `take <list>` stands for; nothing for other lines.
    fn take(&self, line: &str) -> Option<String> {
        let taken = line.trim_start().strip_prefix("take ")?;
        let (name, condition) = match taken.split_once(" if ") {
            Some((name, condition)) => (name, Some(condition)),
            None => (taken, None),
        };
        let (_, fields) = self.lists.iter().find(|(list, _)| *list == name)?;
        let names = names(*fields);
        let values = self.values(fields, &format!("{name}_at + "));
        let width = width(fields);
        let take = format!("{values} {name}_at = {name}_at + {width}");
        Some(match condition {
            Some(condition) => format!("local {names} if {condition} then {take} end"),
            None => format!("local {names} {take}"),
        })
    }

    /// Returns the assignments of the fields that begin after this position.
    fn values(&self, fields: &[Field], at: &str) -> String {
        let of_text: Vec<_> = fields.iter().filter(|field| field.is_text()).collect();
        let packed: Vec<_> = fields.iter().filter(|field| !field.is_text()).collect();
        let mut assignments = Vec::new();
        if !of_text.is_empty() {
            let places = (1..=of_text.len()).map(|place| format!("ARGV[{at}{place}]"));
            let places: Vec<_> = places.collect();
            assignments.push(format!("{} = {}", names(of_text), places.join(", ")));
        }
        if !packed.is_empty() {
            let form: String = packed.iter().map(|field| field.form()).collect();
            let place = width(fields);
            assignments.push(format!(
                "{} = struct.unpack('<{form}', ARGV[{at}{place}])",
                names(packed.iter().copied())
            ));
        }
        for Field { name, kind } in packed {
            match kind {
                Kind::Flag => assignments.push(format!("{name} = {name} == 1")),
                Kind::Key => {
                    let fixed = self.keys.len();
                    assignments.push(format!("{name} = KEYS[{fixed} + {name}]"));
                }
                Kind::Text | Kind::Number(_) => {}
            }
        }
        assignments.join(" ")
    }
}

impl Field {
    fn copy(&self) -> Self {
        Self { ..*self }
    }

    fn is_text(&self) -> bool {
        self.kind == Kind::Text
    }

    /// Returns its form in the argument that has all numbers.
    fn form(&self) -> &'static str {
        match self.kind {
            Kind::Text => "",
            Kind::Number(form) => form,
            Kind::Flag => "B",
            Kind::Key => "I4",
        }
    }
}

/// Returns the number of arguments that fields take.
fn width(fields: &[Field]) -> usize {
    let text = fields.iter().filter(|field| field.is_text()).count();
    text + usize::from(text < fields.len())
}

fn names<'a>(fields: impl IntoIterator<Item = &'a Field>) -> String {
    let names: Vec<_> = fields.into_iter().map(|field| field.name).collect();
    names.join(", ")
}

/// Declares an item of a list.
macro_rules! item {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: $type),* }

        impl $crate::dispatch::redis::proto::script::Item for $name {
            const FIELDS: &'static [$crate::dispatch::redis::proto::script::Field] = &[$(
                $crate::dispatch::redis::proto::script::Field {
                    name: stringify!($field),
                    kind: <$type as $crate::dispatch::redis::proto::script::Arg>::KIND,
                }
            ),*];

            fn write(self, writer: &mut $crate::dispatch::redis::proto::script::Writer<'_>) {
                $($crate::dispatch::redis::proto::script::Arg::write(self.$field, writer);)*
            }
        }
    };
}

/// Declares all scripts. Of each:
/// - `of`: what only its keys are made of
/// - `keys`: the keys that all calls have, as methods of [`Partition`]
/// - `more`: the field with the keys that only some calls have
/// - `args` and `lists`: what the script gets
macro_rules! scripts {
    ($(
        $(#[$doc:meta])* $name:ident = $file:literal {
            $(of { $($of:ident: $of_type:ty),+ $(,)? })?
            keys { $($key:ident($($part:expr),*)),+ $(,)? }
            $(more $more:ident)?
            args { $($arg:ident: $type:ty),* $(,)? }
            $(lists { $($list:ident: $item:ident),+ $(,)? })?
        }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) struct $name {
                $($(pub(crate) $of: $of_type,)+)?
                $(pub(crate) $more: MoreKeys,)?
                $(pub(crate) $arg: $type,)*
                $($(pub(crate) $list: List<$item>,)+)?
            }

            impl Script for $name {
                fn source() -> &'static Source {
                    static SOURCE: LazyLock<Source> = LazyLock::new(|| {
                        let declared = Declared {
                            keys: &[$(stringify!($key)),+],
                            args: &[$(Field { name: stringify!($arg), kind: <$type as Arg>::KIND }),*],
                            lists: &[$($((stringify!($list), <$item as Item>::FIELDS)),+)?],
                        };
                        Source::new($file, include_str!(concat!("lua/", $file)), declared)
                    });
                    &SOURCE
                }

                fn write(self, partition: &Partition) -> (Vec<String>, Vec<Value>) {
                    let Self { $($($of,)+)? $($more,)? $($arg,)* $($($list,)+)? } = self;
                    let keys = [$(partition.$key($($part),*)),+].into_iter();
                    $(let keys = keys.chain($more.into_keys());)?
                    let mut args = Vec::new();
                    let mut writer = Writer::new(&mut args);
                    $(Arg::write($arg, &mut writer);)*
                    $($($list.write_count(&mut writer);)+)?
                    writer.end();
                    $($(args.append(&mut $list.into_args());)+)?
                    (keys.collect(), args)
                }
            }
        )+

        #[cfg(test)]
        pub(super) const ALL: &[fn() -> &'static Source] = &[$(<$name as Script>::source),+];
    };
}

pub(crate) use {item, scripts};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Declared, Item, Kind, Source};
    use crate::dispatch::redis::proto::scripts::ALL;

    /// Returns the words of a script, without its comments.
    fn words(lua: &str) -> Vec<&str> {
        let code = lua.lines().map(|line| line.split("--").next().unwrap());
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        code.flat_map(|line| line.split(move |letter| !is_part(letter)))
            .filter(|word| !word.is_empty())
            .collect()
    }

    #[test]
    fn every_script_uses_what_it_declares_and_nothing_else() {
        let shared = include_str!("lua/prelude.lua").lines();
        let shared = shared.filter_map(|line| line.strip_prefix("local "));
        let shared = shared.map(|line| words(line).into_iter().find(|word| *word != "function"));
        let shared: Vec<_> = shared.flatten().collect();
        for source in ALL {
            let Source {
                name,
                body,
                declared: Declared { keys, args, lists },
                ..
            } = source();
            let used = words(body);
            for positions in ["KEYS", "ARGV"] {
                assert!(!used.contains(&positions), "{name}: {positions}");
            }
            let fields = lists.iter().flat_map(|(_, fields)| *fields);
            let fields = args.iter().chain(fields).map(|field| field.name);
            let lists = lists.iter().map(|(list, _)| *list);
            let mut declared = HashSet::new();
            for declares in keys.iter().copied().chain(fields).chain(lists.clone()) {
                assert!(used.contains(&declares), "{name}: {declares} is unused");
                assert!(!shared.contains(&declares), "{name}: {declares} is shared");
                assert!(
                    declared.insert(declares),
                    "{name}: {declares} is there twice"
                );
            }
            let taken: Vec<_> = used.windows(2).filter(|pair| pair[0] == "take").collect();
            for list in lists.clone() {
                assert!(taken.iter().any(|pair| pair[1] == list), "{name}: {list}");
            }
            for pair in taken {
                assert!(
                    lists.clone().any(|list| list == pair[1]),
                    "{name}: {}",
                    pair[1]
                );
            }
        }
    }

    #[test]
    fn positions_follow_from_the_declaration() {
        crate::dispatch::redis::proto::script::item! {
            Read { key: String, is_new: bool, value: String, inbox: super::Key }
        }
        assert_eq!(Read::FIELDS[1].kind, Kind::Flag);
        const BODY: &str = "return id, most, reads\n  take reads\n  take reads if most > 1";
        let declared = Declared {
            keys: &["jobs", "plays"],
            args: &[
                super::Field {
                    name: "most",
                    kind: Kind::Number("I8"),
                },
                super::Field {
                    name: "id",
                    kind: Kind::Text,
                },
            ],
            lists: &[("reads", Read::FIELDS)],
        };
        let source = Source::new("test.lua", BODY, declared);
        let (_, own) = source.text.split_once("local jobs, plays").unwrap();
        let take = "key, value = ARGV[reads_at + 1], ARGV[reads_at + 2] \
                    is_new, inbox = struct.unpack('<BI4', ARGV[reads_at + 3]) \
                    is_new = is_new == 1 inbox = KEYS[2 + inbox] reads_at = reads_at + 3";
        let expected = format!(
            " = unpack(KEYS, 1, 2)\n\
             local most, id, reads\n\
             id = ARGV[1] most, reads = struct.unpack('<I8I4', ARGV[2])\n\
             local reads_at = 2\n\
             return id, most, reads\n\
             local key, is_new, value, inbox {take}\n\
             local key, is_new, value, inbox if most > 1 then {take} end\n"
        );
        assert_eq!(own, expected);
    }
}
