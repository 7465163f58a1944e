//! The memory that JSON values take.

use serde_json::Value;

use crate::memory::SMALL_CALL;

/// The approximate bytes that a character of a JSON text stands for, besides itself: the place of a value in a list that
/// has grown by doubling, the first places of a list, those of a map with its table, and a name with its hash.
const WEIGHTS: [u16; 256] = {
    let mut weights = [0; 256];
    weights[b',' as usize] = 112;
    weights[b'[' as usize] = 320;
    weights[b'{' as usize] = 448;
    weights[b':' as usize] = 96;
    weights
};

/// The most levels of a value that is read.
const DEEPEST: usize = 128;

/// Returns the approximate bytes that a JSON text takes once it is parsed.
pub(crate) fn of_json(text: impl AsRef<[u8]>) -> usize {
    let text = text.as_ref();
    let most = most_of_json(text);
    if most <= SMALL_CALL {
        return most;
    }
    let (mut weight, mut depth) = (text.len(), 0_usize);
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'"' {
            while let Some(byte) = bytes.next()
                && byte != b'"'
            {
                if byte == b'\\' {
                    bytes.next();
                }
            }
            continue;
        }
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        // No deeper value is read.
        if depth <= DEEPEST {
            weight += of(byte);
        }
    }
    weight
}

/// Returns the approximate bytes that a value takes, as [`of_json`] counts them.
pub(crate) fn of_value(value: &Value) -> usize {
    let item = of(b',');
    item + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => of(b'[') + items.iter().map(of_value).sum::<usize>(),
        Value::Object(map) => {
            let named = |(name, value): (&String, _)| of(b':') + name.len() + of_value(value);
            of(b'{') + map.iter().map(named).sum::<usize>()
        }
    }
}

/// Returns an upper bound of [`of_json`], at less cost: characters in strings count, too.
fn most_of_json(text: &[u8]) -> usize {
    text.len() + text.iter().map(|byte| of(*byte)).sum::<usize>()
}

fn of(byte: u8) -> usize {
    usize::from(WEIGHTS[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_says_what_values_weigh() {
        for (text, weight) in [("[1,1]", 437), (r#"{"a":1,"b":2}"#, 765)] {
            assert_eq!(of_json(text), weight, "{text}");
        }
        let empty_maps = format!("[{}{{}}]", "{},".repeat(9999));
        assert_eq!(of_json(&empty_maps) / empty_maps.len(), 187);
    }

    #[test]
    fn characters_in_strings_are_no_values() {
        let string = ",[{:".repeat(1000);
        let text = format!(r#"{{"script":"{string}\\","args":["\"{string}",1]}}"#);
        let outside = of_json(r#"{"":"","":["",1]}"#) - 17;
        assert_eq!(of_json(&text), text.len() + outside);
        let inside = 2000 * (most_of_json(b",[{:") - 4);
        assert_eq!(most_of_json(text.as_bytes()), text.len() + outside + inside);
        let numbers = format!("[{}1]", "1,".repeat(999));
        assert_eq!(of_json(&numbers), most_of_json(numbers.as_bytes()));
    }

    /// Counts the bytes that this thread has allocated and not given back.
    #[test]
    fn values_take_about_what_they_weigh() {
        let list = |item: &str| format!("[{item}{}]", format!(",{item}").repeat(5000));
        for text in [
            list("1"),
            list("{}"),
            list("[]"),
            list("[1]"),
            list(r#"{"a":1}"#),
            list(r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#),
            list(r#""some text""#),
            format!("{}1{}", "[".repeat(100), "]".repeat(100)),
            format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100)),
        ] {
            let before = crate::script::net();
            let value = circled_json::parse(&text).unwrap();
            let taken = usize::try_from(crate::script::net() - before).unwrap();
            let weight = of_json(&text);
            let of_value = of_value(&value);
            drop(value);
            for weight in [weight, of_value] {
                assert!(
                    // Empty ones weigh too much.
                    taken <= weight + weight / 4 && weight <= taken * 5 + 2048,
                    "{taken} bytes, weight {weight}: {}",
                    &text[..40]
                );
            }
        }
    }
}
