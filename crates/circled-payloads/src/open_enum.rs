//! Enums of words that may get more.

/// Declares an enum of a provider's words. An unknown word is kept as `Other`.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub enum $type:ident {
            $( $(#[$word_meta:meta])* $variant:ident = $word:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum $type {
            $(
                $(#[$word_meta])*
                #[doc = concat!("`", $word, "`")]
                $variant,
            )*
            /// Any other word.
            Other(String),
        }

        impl $type {
            /// Returns the provider's word.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $word, )*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $type {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $( $word => Self::$variant, )*
                    _ => Self::Other(word),
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as ::serde::Deserialize>::deserialize(deserializer).map(Self::from)
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use open_enum;

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro writes `pub`")]
mod tests {
    use serde_json::json;

    open_enum! {
        /// A colour.
        pub enum Colour {
            /// Like the sky.
            Blue = "blue",
            DarkGreen = "dark_green",
        }
    }

    #[test]
    fn words_are_kept_whether_known_or_not() {
        for (word, expected) in [
            ("blue", Colour::Blue),
            ("dark_green", Colour::DarkGreen),
            ("Blue", Colour::Other("Blue".to_owned())),
            ("", Colour::Other(String::new())),
        ] {
            let colour: Colour = circled_json::from_value(json!(word)).unwrap();
            assert_eq!(colour, expected);
            assert_eq!(serde_json::to_value(&colour).unwrap(), json!(word));
        }
        assert!(circled_json::from_value::<Colour>(json!(1)).is_err());
    }
}
