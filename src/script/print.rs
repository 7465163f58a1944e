//! Values as text, the way Rhai prints them, but never longer or deeper than allowed.
//!
//! Rhai's own printing recurses over the value and writes a shared string as often as it is referred to: a
//! few kilobytes of script can print as gigabytes.

use std::fmt::{self, Write};

use rhai::{Dynamic, FloatWrapper, FnPtr};

/// The reason why a value has no printed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unprintable {
    TooLong,
    TooDeep,
}

/// The bounds of a printed value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of text.
    pub(super) length: usize,
    /// Nesting of arrays and maps.
    pub(super) depth: usize,
}

/// Returns the value as `print` shows it.
pub(super) fn display(value: &Dynamic, bounds: Bounds) -> Result<String, Unprintable> {
    let mut text = Text {
        text: String::new(),
        room: bounds.length,
    };
    if let Ok(string) = value.as_immutable_string_ref() {
        text.push(&string)?;
    } else if let Ok(character) = value.as_char() {
        text.format(format_args!("{character}"))?;
    } else if !value.is_unit() {
        text.value(value, bounds.depth)?;
    }
    Ok(text.text)
}

/// Returns the value as `debug` shows it.
pub(super) fn debug(value: &Dynamic, bounds: Bounds) -> Result<String, Unprintable> {
    let mut text = Text {
        text: String::new(),
        room: bounds.length,
    };
    text.value(value, bounds.depth)?;
    Ok(text.text)
}

struct Text {
    text: String,
    room: usize,
}

impl Text {
    fn push(&mut self, text: &str) -> Result<(), Unprintable> {
        self.write_str(text).map_err(|_| Unprintable::TooLong)
    }

    fn format(&mut self, arguments: fmt::Arguments<'_>) -> Result<(), Unprintable> {
        self.write_fmt(arguments).map_err(|_| Unprintable::TooLong)
    }

    fn value(&mut self, value: &Dynamic, depth: usize) -> Result<(), Unprintable> {
        if let Ok(number) = value.as_int() {
            self.format(format_args!("{number}"))
        } else if value.is_unit() {
            self.push("()")
        } else if let Ok(string) = value.as_immutable_string_ref() {
            self.format(format_args!("{:?}", string.as_str()))
        } else if let Ok(number) = value.as_float() {
            self.format(format_args!("{}", FloatWrapper::new(number)))
        } else if let Ok(array) = value.as_array_ref() {
            let depth = depth.checked_sub(1).ok_or(Unprintable::TooDeep)?;
            self.push("[")?;
            for (index, item) in array.iter().enumerate() {
                if index > 0 {
                    self.push(", ")?;
                }
                self.value(item, depth)?;
            }
            self.push("]")
        } else if let Ok(map) = value.as_map_ref() {
            let depth = depth.checked_sub(1).ok_or(Unprintable::TooDeep)?;
            self.push("#{")?;
            for (index, (key, item)) in map.iter().enumerate() {
                if index > 0 {
                    self.push(", ")?;
                }
                self.format(format_args!("{:?}: ", key.as_str()))?;
                self.value(item, depth)?;
            }
            self.push("}")
        } else if let Some(function) = value.read_lock::<FnPtr>() {
            // Not with what is curried into it, as Rhai's `{:?}` would.
            self.format(format_args!("Fn({})", function.fn_name()))
        } else {
            // Booleans, characters, blobs, ranges, time stamps: as long as they are large, and flat.
            self.format(format_args!("{value}"))
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.room = self.room.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rhai::Engine;

    use super::{Bounds, Unprintable, debug, display};

    const WIDE: Bounds = Bounds {
        length: 1000,
        depth: 10,
    };

    #[test]
    fn values_print_as_rhai_prints_them() {
        let engine = Engine::new();
        for source in [
            "42",
            "-1",
            "1.0",
            "1e100",
            "0.1",
            "true",
            "'c'",
            "\"a\\\"b\"",
            "()",
            "[]",
            "[1, \"x\", 'y', (), 2.0, [3]]",
            "#{}",
            "#{a: 1, \"b c\": [#{}]}",
            "1..3",
            "1..=3",
            "Fn(\"abs\")",
            "blob(3, 7)",
            "[blob(9, 1), 0..2, true]",
        ] {
            let value: rhai::Dynamic = engine.eval(source).unwrap();
            let shown: String = engine
                .eval(&format!("let x = {source}; x.to_string()"))
                .unwrap();
            assert_eq!(display(&value, WIDE).unwrap(), shown, "{source}");
            let shown: String = engine
                .eval(&format!("let x = {source}; x.to_debug()"))
                .unwrap();
            assert_eq!(debug(&value, WIDE).unwrap(), shown, "{source}");
        }
    }

    #[test]
    fn length_and_depth_are_bounded() {
        let engine = Engine::new();
        let value: rhai::Dynamic = engine.eval("[[[1]]]").unwrap();
        assert_eq!(
            display(
                &value,
                Bounds {
                    length: 1000,
                    depth: 2
                }
            ),
            Err(Unprintable::TooDeep)
        );
        assert_eq!(
            display(
                &value,
                Bounds {
                    length: 6,
                    depth: 3
                }
            ),
            Err(Unprintable::TooLong)
        );
        assert_eq!(
            display(
                &value,
                Bounds {
                    length: 7,
                    depth: 3
                }
            )
            .unwrap(),
            "[[[1]]]"
        );
    }
}
