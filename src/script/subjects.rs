//! `switch value` hashes the whole value in one go, and no function could be replaced to bound that. So the
//! source is compiled with a call around every subject: `switch __subject(value) {`.
//!
//! [`insert`] finds the places with a scanner that knows strings and comments, no grammar; [`Checker`] then
//! watches the parser's own tokens and refuses a script in which a subject isn't wrapped as a whole. What
//! the scanner gets wrong can fail to compile, but never gets through.

use rhai::Token;

/// The function that weighs a subject.
pub(super) const NAME: &str = "__subject";
const OPENING: &str = " __subject(";
const CLOSING: &str = ")";

/// Where calls were put into a source.
#[derive(Debug, Default)]
pub(super) struct Insertions(Vec<Insertion>);

/// Line and column from 1, in the original source.
#[derive(Debug)]
struct Insertion {
    line: usize,
    column: usize,
    length: usize,
}

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

/// The source with the calls in it.
pub(super) fn insert(source: &str) -> (String, Insertions) {
    let mut scanner = Scanner {
        rest: source.chars().peekable(),
        line: 1,
        column: 1,
        out: String::new(),
        insertions: Vec::new(),
    };
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
            '`' => {
                if scanner.text() {
                    texts.push(depth);
                    depth += 1;
                }
            }
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
            _ if character.is_alphabetic() || character == '_' => {
                if scanner.word(character) == "switch" {
                    scanner.insert(OPENING);
                    subjects.push(depth);
                }
            }
            _ if character.is_ascii_digit() => {
                scanner.word(character);
            }
            _ => {}
        }
    }
    (scanner.out, Insertions(scanner.insertions))
}

/// Copies the source, and keeps track of the position.
struct Scanner<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
    out: String,
    insertions: Vec<Insertion>,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        self.out.push(character);
        if character == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(character)
    }

    fn insert(&mut self, text: &str) {
        self.out.push_str(text);
        self.insertions.push(Insertion {
            line: self.line,
            column: self.column,
            length: text.len(),
        });
    }

    fn insert_before_last(&mut self, text: &str) {
        let last = self.out.pop();
        self.out.push_str(text);
        self.out.extend(last);
        self.insertions.push(Insertion {
            line: self.line,
            column: self.column - 1,
            length: text.len(),
        });
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(character) = self
            .peek()
            .filter(|next| next.is_alphanumeric() || *next == '_')
        {
            word.push(character);
            self.next();
        }
        word
    }

    fn skip_until(&mut self, end: char) {
        while self.next().is_some_and(|character| character != end) {}
    }

    fn comment(&mut self) {
        let mut level = 0_usize;
        let mut before = '/';
        while let Some(character) = self.next() {
            match (before, character) {
                ('/', '*') => level += 1,
                ('*', '/') => level = level.saturating_sub(1),
                _ => {
                    before = character;
                    continue;
                }
            }
            if level == 0 {
                return;
            }
            before = ' ';
        }
    }

    fn quoted(&mut self, end: char) {
        while let Some(character) = self.next() {
            if character == '\\' {
                self.next();
            } else if character == end {
                return;
            }
        }
    }

    fn raw(&mut self, hashes: usize) {
        self.next();
        while let Some(character) = self.next() {
            let mut closing = 0;
            while character == '"' && closing < hashes && self.peek() == Some('#') {
                self.next();
                closing += 1;
            }
            if character == '"' && closing == hashes {
                return;
            }
        }
    }

    /// Goes on in a back-tick string; whether it was left for a `${`.
    fn text(&mut self) -> bool {
        while let Some(character) = self.next() {
            match (character, self.peek()) {
                ('`', Some('`')) | ('\\', Some(_)) => {
                    self.next();
                }
                ('`', _) => return false,
                ('$', Some('{')) => {
                    self.next();
                    return true;
                }
                _ => {}
            }
        }
        false
    }
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
    /// Whether this token may come now.
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
