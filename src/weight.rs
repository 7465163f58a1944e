//! The memory that JSON values take.

use crate::memory::SMALL;

/// The approximate bytes of one value.
const VALUE: usize = 72;

/// Returns the approximate bytes that a JSON text takes once it is parsed: the text, and each value in it.
pub(crate) fn of_json(text: &str) -> usize {
    let most = most_of_json(text.as_bytes());
    if most <= SMALL {
        return most;
    }
    let mut values = 0;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'"' {
            while let Some(byte) = bytes.next()
                && byte != b'"'
            {
                if byte == b'\\' {
                    bytes.next();
                }
            }
        } else if begins_value(byte) {
            values += 1;
        }
    }
    text.len() + VALUE * values
}

/// Returns an upper bound of the same, at less cost: characters in strings that could begin a value count, too.
pub(crate) fn most_of_json(text: &[u8]) -> usize {
    let signs: usize = text
        .iter()
        .map(|byte| usize::from(begins_value(*byte)))
        .sum();
    text.len() + VALUE * signs
}

fn begins_value(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_in_strings_are_no_values() {
        let string = ",[{".repeat(1000);
        let text = format!(r#"{{"script":"{string}\\","args":["\"{string}",1]}}"#);
        assert_eq!(of_json(&text), text.len() + 4 * VALUE);
        assert_eq!(most_of_json(text.as_bytes()), text.len() + 6004 * VALUE);
        let numbers = format!("[{}1]", "1,".repeat(999));
        assert_eq!(of_json(&numbers), numbers.len() + 1000 * VALUE);
        assert_eq!(of_json(&numbers), most_of_json(numbers.as_bytes()));
    }
}
