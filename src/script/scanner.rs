//! Enough of Rhai's lexical grammar to tell code from strings and comments.

/// Line and column from 1, in the original source.
#[derive(Debug)]
pub(super) struct Insertion {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) length: usize,
}

/// Copies the source, and keeps track of the position.
pub(super) struct Scanner<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
    out: String,
    insertions: Vec<Insertion>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self {
            rest: source.chars().peekable(),
            line: 1,
            column: 1,
            out: String::new(),
            insertions: Vec::new(),
        }
    }

    /// The copy, and what was inserted into it.
    pub(super) fn finish(self) -> (String, Vec<Insertion>) {
        (self.out, self.insertions)
    }

    pub(super) fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
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

    pub(super) fn insert(&mut self, text: &str) {
        self.out.push_str(text);
        self.insertions.push(Insertion {
            line: self.line,
            column: self.column,
            length: text.len(),
        });
    }

    pub(super) fn insert_before_last(&mut self, text: &str) {
        let last = self.out.pop();
        self.out.push_str(text);
        self.out.extend(last);
        self.insertions.push(Insertion {
            line: self.line,
            column: self.column - 1,
            length: text.len(),
        });
    }

    pub(super) fn word(&mut self, first: char) -> String {
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

    pub(super) fn skip_until(&mut self, end: char) {
        while self.next().is_some_and(|character| character != end) {}
    }

    pub(super) fn comment(&mut self) {
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

    pub(super) fn quoted(&mut self, end: char) {
        while let Some(character) = self.next() {
            if character == '\\' {
                self.next();
            } else if character == end {
                return;
            }
        }
    }

    pub(super) fn raw(&mut self, hashes: usize) {
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
    pub(super) fn text(&mut self) -> bool {
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
