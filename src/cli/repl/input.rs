//! Analyses the input while it is typed: if it is whole, and what can be completed.

use std::iter::Peekable;
use std::str::CharIndices;

/// An element that is open at the end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// `(`, `[` or `{`.
    Bracket(char),
    /// `${` in a back-tick string.
    Interpolation,
    /// A string that ends with its line; it begins at this byte.
    Text(usize),
    /// `'`
    Character,
    /// `#"`, with this number of `#`.
    Raw(usize),
    /// A back-tick string.
    Template,
    /// `/* */`
    Comment,
    /// `//`
    LineComment,
}

/// A kind of text that can be completed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// A key of the store.
    Key(&'a str),
    /// A named script of the circle.
    Script(&'a str),
    /// A command of the prompt, without its colon.
    Command(&'a str),
    /// A function of `store`.
    StoreFunction(&'a str),
    /// A function of a value.
    Method(&'a str),
    /// A function, or a keyword.
    Word(&'a str),
}

impl<'a> Wanted<'a> {
    /// Returns the part that is already typed.
    pub(super) fn prefix(&self) -> &'a str {
        match self {
            Self::Key(prefix)
            | Self::Script(prefix)
            | Self::Command(prefix)
            | Self::StoreFunction(prefix)
            | Self::Method(prefix)
            | Self::Word(prefix) => prefix,
        }
    }
}

/// Returns true if a text can be run: no bracket, comment or string of several lines is open. A text with a mistake
/// that more lines can't mend is whole, too: the server reports the mistake.
pub(super) fn is_whole(text: &str) -> bool {
    if text.starts_with(':') {
        return true;
    }
    let Some(open) = scan(text) else {
        return true;
    };
    match open.last() {
        None | Some(Open::Character | Open::LineComment) => {
            !open.iter().any(|open| matches!(open, Open::Bracket(_)))
                && !open.contains(&Open::Interpolation)
        }
        // Such a string continues only if its line ends with a backslash.
        Some(Open::Text(_)) => !text.ends_with('\\'),
        Some(
            Open::Bracket(_) | Open::Interpolation | Open::Raw(_) | Open::Template | Open::Comment,
        ) => false,
    }
}

/// Returns what can be completed at the end of a text.
pub(super) fn wanted(text: &str) -> Option<Wanted<'_>> {
    if let Some(command) = text.strip_prefix(':') {
        let Some((command, rest)) = command.split_once(' ') else {
            return Some(Wanted::Command(command));
        };
        let rest = rest.trim_start();
        let naming = command == "call" && !rest.contains(char::is_whitespace);
        return naming.then_some(Wanted::Script(rest));
    }
    let open = scan(text)?;
    match open.last() {
        Some(Open::Text(start)) => {
            let (before, typed) = text.split_at(*start);
            let typed = typed.strip_prefix('"')?;
            // A text with escapes is no prefix of a name.
            if typed.contains('\\') {
                return None;
            }
            if word_before(before) == "import" {
                return Some(Wanted::Script(typed));
            }
            let function = before.trim_end().strip_suffix('(')?.trim_end();
            let method = word_before(function);
            // All functions of `store` that take a text first take a key, or the beginning of one.
            is_store(function.strip_suffix(method)?).then_some(Wanted::Key(typed))
        }
        None | Some(Open::Bracket(_) | Open::Interpolation) => {
            let word = word_before(text);
            let before = text.strip_suffix(word)?;
            if is_store(before) {
                return Some(Wanted::StoreFunction(word));
            }
            if word.is_empty() || word.starts_with(|first: char| first.is_ascii_digit()) {
                return None;
            }
            let method = before.trim_end().ends_with('.') && !before.trim_end().ends_with("..");
            Some(if method {
                Wanted::Method(word)
            } else {
                Wanted::Word(word)
            })
        }
        Some(
            Open::Character | Open::Raw(_) | Open::Template | Open::Comment | Open::LineComment,
        ) => None,
    }
}

fn is_store(text: &str) -> bool {
    let receiver = text.trim_end().strip_suffix('.').map(str::trim_end);
    receiver.is_some_and(|receiver| word_before(receiver) == "store")
}

/// Returns the last word of a text, ignoring white space after it.
fn word_before(text: &str) -> &str {
    let text = if text.ends_with(is_of_word) {
        text
    } else if text.ends_with(char::is_whitespace) && !text.trim_end().ends_with(is_of_word) {
        return "";
    } else {
        text.trim_end()
    };
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_of_word(*c))
        .last();
    start.map_or("", |(start, _)| &text[start..])
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the elements that are open at the end, the innermost last; `None` if a bracket closes another kind than is
/// open.
fn scan(text: &str) -> Option<Vec<Open>> {
    let mut open: Vec<Open> = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match open.last().copied() {
            Some(Open::LineComment) => {
                if c == '\n' {
                    open.pop();
                }
            }
            Some(Open::Comment) => match c {
                '*' if next_is(&mut rest, '/') => drop(open.pop()),
                '/' if next_is(&mut rest, '*') => open.push(Open::Comment),
                _ => {}
            },
            Some(inside @ (Open::Text(_) | Open::Character)) => match c {
                '\\' => drop(rest.next()),
                // The string should have ended before; the next line is read as code again.
                '\n' => drop(open.pop()),
                '"' if inside != Open::Character => drop(open.pop()),
                '\'' if inside == Open::Character => drop(open.pop()),
                _ => {}
            },
            Some(Open::Raw(hashes)) => {
                let closes = |hashes| {
                    text[at + 1..]
                        .bytes()
                        .take(hashes)
                        .filter(|b| *b == b'#')
                        .count()
                        == hashes
                };
                if c == '"' && closes(hashes) {
                    open.pop();
                    for _ in 0..hashes {
                        rest.next();
                    }
                }
            }
            Some(Open::Template) => match c {
                '\\' => drop(rest.next()),
                // Two of them stand for one.
                '`' if !next_is(&mut rest, '`') => drop(open.pop()),
                '$' if next_is(&mut rest, '{') => open.push(Open::Interpolation),
                _ => {}
            },
            outside @ (None | Some(Open::Bracket(_) | Open::Interpolation)) => match c {
                '"' => open.push(Open::Text(at)),
                '\'' => open.push(Open::Character),
                '`' => open.push(Open::Template),
                '/' if next_is(&mut rest, '/') => open.push(Open::LineComment),
                '/' if next_is(&mut rest, '*') => open.push(Open::Comment),
                '#' => {
                    let hashes = 1 + text[at + 1..].bytes().take_while(|b| *b == b'#').count();
                    if text[at + hashes..].starts_with('"') {
                        for _ in 0..hashes {
                            rest.next();
                        }
                        open.push(Open::Raw(hashes));
                    }
                }
                '(' | '[' | '{' => open.push(Open::Bracket(c)),
                ')' | ']' | '}' => match (outside?, c) {
                    (Open::Bracket('('), ')')
                    | (Open::Bracket('['), ']')
                    | (Open::Bracket('{') | Open::Interpolation, '}') => drop(open.pop()),
                    _ => return None,
                },
                _ => {}
            },
        }
    }
    Some(open)
}

fn next_is(rest: &mut Peekable<CharIndices<'_>>, expected: char) -> bool {
    rest.next_if(|(_, c)| *c == expected).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unfinished_inputs_continue() {
        for whole in [
            "",
            "40 + 2",
            "f(1, [2, #{ a: 3 }])",
            "\"a (\" // and {",
            "'('",
            "`a ${ f(`b {`) } c`",
            "#\"a \" b\"#",
            "##\"a \"# b\"##",
            "/* ( /* { */ */",
            "\"never ends",
            "'",
            "f(1]",
            ")",
            "\"a \\\n b\"",
            ":call x {",
            "a /* b */ // c (",
            "`a``(`",
        ] {
            assert!(is_whole(whole), "{whole}");
        }
        for open in [
            "f(",
            "fn f() {",
            "fn f() { // }",
            "let a = [1,\n2,",
            "#{",
            "`a",
            "`a ${ b",
            "`a ${ `b` } c",
            "#\"a\"",
            "##\"a\"#",
            "/* a",
            "/* /* */",
            "\"a \\",
            "f(\"a\" // b",
            "{ '{'",
        ] {
            assert!(!is_whole(open), "{open}");
        }
    }

    #[test]
    fn completions_depend_on_the_text_before() {
        for (text, expected) in [
            ("store.get(\"us", Some(Wanted::Key("us"))),
            ("let a = store . has ( \"", Some(Wanted::Key(""))),
            ("f(store.keys(\"a/b", Some(Wanted::Key("a/b"))),
            ("`${ store.set(\"x", Some(Wanted::Key("x"))),
            ("store.ttl(\"x", Some(Wanted::Key("x"))),
            ("store.get(\"a\", \"", None),
            ("other.get(\"", None),
            ("restore.get(\"", None),
            ("store.get(\"a\\", None),
            ("import \"gr", Some(Wanted::Script("gr"))),
            ("important \"gr", None),
            (":call gr", Some(Wanted::Script("gr"))),
            (":call greet {", None),
            (":jobs x", None),
            (":", Some(Wanted::Command(""))),
            (":he", Some(Wanted::Command("he"))),
            ("store.", Some(Wanted::StoreFunction(""))),
            ("store.ge", Some(Wanted::StoreFunction("ge"))),
            ("a.le", Some(Wanted::Method("le"))),
            ("1..le", Some(Wanted::Word("le"))),
            ("whi", Some(Wanted::Word("whi"))),
            ("f(pri", Some(Wanted::Word("pri"))),
            ("", None),
            ("a ", None),
            ("a + ", None),
            ("12", None),
            ("// sto", None),
            ("\"sto", None),
            ("`sto", None),
            ("f(]) a", None),
        ] {
            assert_eq!(wanted(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_typed(text in "[\\PC\n\"'`#$/*\\\\(){}\\[\\]:.]{0,40}") {
            is_whole(&text);
            if let Some(wanted) = wanted(&text) {
                prop_assert!(text.ends_with(wanted.prefix()));
            }
        }
    }
}
