//! What the line editor asks while somebody types.

use std::rc::Rc;

use rustyline::{
    Context, Helper, Result,
    completion::{Completer, Pair},
    highlight::Highlighter,
    hint::Hinter,
    validate::{ValidationContext, ValidationResult, Validator},
};

use super::{
    input::{Wanted, is_whole, wanted},
    link::Link,
    words,
};
use crate::cli::explain::printable;

pub(super) struct Prompt<'a>(pub(super) Rc<Link<'a>>);

impl Completer for Prompt<'_> {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let Some(wanted) = line.get(..pos).and_then(wanted) else {
            return Ok((pos, Vec::new()));
        };
        let prefix = wanted.prefix();
        let found = match wanted {
            Wanted::Key(prefix) => self.0.keys(prefix),
            Wanted::Script(prefix) => self.0.scripts(prefix),
            Wanted::Command(prefix) => words::of_the_prompt(prefix),
            Wanted::StoreFunction(prefix) => words::of_store(prefix),
            Wanted::Method(prefix) => words::of_values(prefix),
            Wanted::Word(prefix) => words::of_the_language(prefix),
        };
        let candidates = found.into_iter().map(|name| Pair {
            display: printable(&name),
            replacement: escaped(&name),
        });
        Ok((pos - prefix.len(), candidates.collect()))
    }
}

impl Validator for Prompt<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(if is_whole(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for Prompt<'_> {
    type Hint = String;
}

impl Highlighter for Prompt<'_> {}

impl Helper for Prompt<'_> {}

/// A name as it is written between quotation marks.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text += "\\n",
            '\t' => text += "\\t",
            c if c.is_control() => text += &format!("\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_so_that_a_script_reads_it_back() {
        let engine = rhai::Engine::new();
        for key in [
            "plain",
            "a \"b\" \\c",
            "line\nend\ttab",
            "\u{1b}[2J",
            "ä/日本",
        ] {
            let script = format!("\"{}\"", escaped(key));
            assert!(!script.contains(char::is_control), "{script:?}");
            assert_eq!(engine.eval::<String>(&script).unwrap(), key);
        }
    }
}
