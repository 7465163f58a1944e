//! Enums of words on the wire, to which a later version may add words.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// An enum of words.
pub trait Vocabulary: Copy + Sized + 'static {
    /// All words of the enum.
    const ALL: &'static [Self];

    /// Returns the word on the wire.
    fn name(self) -> &'static str;

    /// Returns the meaning, in a sentence.
    fn meaning(self) -> &'static str;
}

/// The error of a text that is none of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not one of the words that are known")]
pub struct UnknownWord;

/// A word from the wire. An unknown word of a later server is kept, and is no error.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Word<T> {
    /// A word that this version knows.
    Known(T),
    /// Another word.
    Other(Box<str>),
}

impl<T: Vocabulary> Word<T> {
    /// Returns the word on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Known(word) => word.name(),
            Self::Other(word) => word,
        }
    }
}

impl<T> From<T> for Word<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(word) if word == other)
    }
}

impl<T: Vocabulary> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl<T: Vocabulary> fmt::Debug for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name(), f)
    }
}

impl<T: Vocabulary> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de, T: Vocabulary + FromStr> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        Ok(match word.parse() {
            Ok(known) => Self::Known(known),
            Err(_) => Self::Other(word.into()),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Word<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        T::json_schema(schemas)
    }
}

/// Declares a [`Vocabulary`]: each variant with its meaning and its word.
macro_rules! vocabulary {
    (
        $(#[$meta:meta])*
        pub enum $type:ident {
            $( #[doc = $doc:literal] $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema,
        )]
        pub enum $type {
            $(
                #[doc = $doc]
                #[serde(rename = $word)]
                $variant,
            )*
        }

        impl $crate::Vocabulary for $type {
            const ALL: &'static [Self] = &[$( Self::$variant, )*];

            fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )*
                }
            }

            fn meaning(self) -> &'static str {
                match self {
                    $( Self::$variant => $doc.trim_ascii(), )*
                }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad($crate::Vocabulary::name(*self))
            }
        }

        impl ::std::str::FromStr for $type {
            type Err = $crate::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err($crate::UnknownWord),
                }
            }
        }
    };
}

pub(crate) use vocabulary;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{FailureKind, JobKind, JobStatus, LoginRefusal, Role, View, WriteOp};

    fn check<T>()
    where
        T: Vocabulary + FromStr + Serialize + PartialEq + fmt::Debug + fmt::Display,
        for<'de> T: Deserialize<'de>,
    {
        for word in T::ALL.iter().copied() {
            assert_eq!(json!(word), word.name());
            assert_eq!(word.to_string(), word.name());
            assert_eq!(word.name().parse().ok(), Some(word));
            let read: Word<T> = circled_json::from_value(json!(word)).unwrap();
            assert_eq!(read, word);
        }
        assert!(circled_json::from_value::<T>(json!("later")).is_err());
        let read: Word<T> = circled_json::from_value(json!("later")).unwrap();
        assert_eq!(read.to_string(), "later");
        assert_eq!(json!(read), "later");
    }

    #[test]
    fn each_word_is_the_same_everywhere() {
        check::<FailureKind>();
        check::<JobKind>();
        check::<JobStatus>();
        check::<LoginRefusal>();
        check::<Role>();
        check::<View>();
        check::<WriteOp>();
    }
}
