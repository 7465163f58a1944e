//! `switch value` hashes the whole value in one go, and no function could be replaced to bound that. So the
//! source is compiled with a call around every subject: `switch __subject(value) {`.
//!
//! [`insert`] finds the places with a scanner that knows strings and comments, no grammar; [`Checker`] then
//! watches the parser's own tokens and refuses a script in which a subject isn't wrapped as a whole. What
//! the scanner gets wrong can fail to compile, but never gets through.

use rhai::Token;

use super::scanner::{Insertion, Scanner};

/// The function that weighs a subject.
pub(super) const NAME: &str = "__subject";
const OPENING: &str = " __subject(";
const CLOSING: &str = ")";

/// The calls that were put into a source.
#[derive(Debug, Default)]
pub(super) struct Insertions(Vec<Insertion>);

impl Insertions {
    /// The column in the original source.
    pub(super) fn original(&self, line: usize, column: usize) -> usize {
        let mut shift = 0;
        for insertion in self.0.iter().filter(|insertion| insertion.line == line) {
            if column < insertion.column + shift {
                break;
            }
            if column < insertion.column + shift + insertion.length {
                return insertion.column;
            }
            shift += insertion.length;
        }
        column - shift
    }
}

/// Returns the source with the calls in it.
pub(super) fn insert(source: &str) -> (String, Insertions) {
    let mut scanner = Scanner::new(source);
    // Depths of open brackets at which a subject goes on, and the depths at which `}` ends `${`.
    let (mut depth, mut subjects, mut texts) = (0_usize, Vec::new(), Vec::new());
    while let Some(character) = scanner.next() {
        match character {
            '/' if scanner.peek() == Some('/') => scanner.skip_until('\n'),
            '/' if scanner.peek() == Some('*') => scanner.comment(),
            '"' => scanner.quoted('"'),
            '\'' => scanner.quoted('\''),
            '#' => {
                let mut hashes = 1;
                while scanner.peek() == Some('#') {
                    scanner.next();
                    hashes += 1;
                }
                match scanner.peek() {
                    Some('"') => scanner.raw(hashes),
                    Some('{') => {
                        scanner.next();
                        depth += 1;
                    }
                    _ => {}
                }
            }
            '`' if scanner.text() => {
                texts.push(depth);
                depth += 1;
            }
            '`' => {}
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '{' => {
                if subjects.last() == Some(&depth) {
                    subjects.pop();
                    scanner.insert_before_last(CLOSING);
                }
                depth += 1;
            }
            '}' => {
                depth = depth.saturating_sub(1);
                if texts.last() == Some(&depth) {
                    texts.pop();
                    if scanner.text() {
                        texts.push(depth);
                        depth += 1;
                    }
                }
            }
            _ if character.is_alphanumeric() || character == '_' => {
                let word = scanner.word(character);
                if word == "switch" {
                    scanner.insert(OPENING);
                    subjects.push(depth);
                }
            }
            _ => {}
        }
    }
    let (wrapped, insertions) = scanner.finish();
    (wrapped, Insertions(insertions))
}

/// Checks the tokens as the parser takes them.
#[derive(Debug, Default)]
pub(super) struct Checker {
    expected: Expected,
    /// Open parentheses, and how many there were at each subject that goes on.
    depth: usize,
    subjects: Vec<usize>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Expected {
    #[default]
    Anything,
    Name,
    Opening,
    Brace,
}

impl Checker {
    /// Returns whether this token may come now.
    pub(super) fn allows(&mut self, token: &Token) -> bool {
        let is_name = matches!(token, Token::Identifier(name) if name.as_str() == NAME);
        let expected = std::mem::take(&mut self.expected);
        let fits = match expected {
            Expected::Anything => !is_name,
            Expected::Name => is_name,
            Expected::Opening => *token == Token::LeftParen,
            Expected::Brace => *token == Token::LeftBrace,
        };
        if *token == Token::Switch {
            self.expected = Expected::Name;
        } else if is_name {
            self.expected = Expected::Opening;
        } else if *token == Token::LeftParen {
            if expected == Expected::Opening {
                self.subjects.push(self.depth);
            }
            self.depth += 1;
        } else if *token == Token::RightParen {
            self.depth = self.depth.saturating_sub(1);
            if self.subjects.last() == Some(&self.depth) {
                self.subjects.pop();
                self.expected = Expected::Brace;
            }
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::insert;

    #[test]
    fn subjects_are_wrapped_wherever_they_are() {
        for (source, wrapped) in [
            ("switch x { 1 => 2 }", "switch __subject( x ){ 1 => 2 }"),
            ("switch(x){}", "switch __subject((x)){}"),
            ("switch #{a: 1}.a {}", "switch __subject( #{a: 1}.a ){}"),
            (
                "switch f(|x| { x }) {}",
                "switch __subject( f(|x| { x }) ){}",
            ),
            (
                "switch a { 1 => switch b { _ => 2 } }",
                "switch __subject( a ){ 1 => switch __subject( b ){ _ => 2 } }",
            ),
            (
                "\"switch x {\" // switch x {\n/* /* switch */ x { */ '\"'",
                "\"switch x {\" // switch x {\n/* /* switch */ x { */ '\"'",
            ),
            (
                "`a ${switch x { _ => `}` }} switch y {`",
                "`a ${switch __subject( x ){ _ => `}` }} switch y {`",
            ),
            (
                "#\"switch \" x {\"# switch1 {} my_switch {}",
                "#\"switch \" x {\"# switch1 {} my_switch {}",
            ),
        ] {
            assert_eq!(insert(source).0, wrapped);
        }
    }

    #[test]
    fn columns_are_those_of_the_original() {
        let source = "let é = 1; switch é { 1 => 2, _ => oops }\nswitch 1 {}";
        let (wrapped, insertions) = insert(source);
        for (line, text) in source.lines().enumerate() {
            let shifted: Vec<char> = wrapped.lines().nth(line).unwrap().chars().collect();
            let original: Vec<char> = text.chars().collect();
            for (column, character) in shifted.iter().enumerate() {
                let back = insertions.original(line + 1, column + 1);
                if !" __subject()".contains(*character) {
                    assert_eq!(original[back - 1], *character, "{column}");
                }
            }
        }
    }
}
