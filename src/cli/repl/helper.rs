//! Hints and completions for the line editor.

use std::{borrow::Cow, cell::Cell, rc::Rc};

use rustyline::{
    Context, Helper, Result,
    completion::{Completer, Pair},
    highlight::Highlighter,
    hint::{Hint, Hinter},
    validate::{ValidationContext, ValidationResult, Validator},
};

use super::{
    connection::ReplConnection,
    input::{Wanted, is_whole, wanted},
    names,
};
use crate::cli::explain::printable;

/// The hint on the next line of an unfinished input.
const GOES_ON: &str = "... it goes on; Ctrl-C drops it";

pub(super) struct Prompt<'a> {
    connection: Rc<ReplConnection<'a>>,
    /// True while the input that was read last is unfinished.
    goes_on: Cell<bool>,
}

impl<'a> Prompt<'a> {
    pub(super) fn new(connection: Rc<ReplConnection<'a>>) -> Self {
        Self {
            connection,
            goes_on: Cell::default(),
        }
    }

    /// Returns true while the lines read since the last input are unfinished.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on.get()
    }
}

impl Completer for Prompt<'_> {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let Some(wanted) = line.get(..pos).and_then(wanted) else {
            return Ok((pos, Vec::new()));
        };
        let prefix = wanted.prefix();
        let found = match wanted {
            Wanted::Key(prefix) => self.connection.keys(prefix),
            Wanted::Script(prefix) => self.connection.scripts(prefix),
            Wanted::Command(prefix) => names::of_the_prompt(prefix),
            Wanted::StoreFunction(prefix) => names::of_store(prefix),
            Wanted::Method(prefix) => names::of_values(prefix),
            Wanted::Word(prefix) => names::of_the_language(prefix),
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
        let goes_on = !is_whole(context.input());
        self.goes_on.set(goes_on);
        Ok(if goes_on {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

/// The hint that an input is unfinished. It can't be completed into the input.
pub(super) struct GoesOn;

impl Hint for GoesOn {
    fn display(&self) -> &str {
        GOES_ON
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Prompt<'_> {
    type Hint = GoesOn;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<GoesOn> {
        (pos == line.len() && line.ends_with('\n') && !is_whole(line)).then_some(GoesOn)
    }
}

impl Highlighter for Prompt<'_> {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        format!("\u{1b}[2m{hint}\u{1b}[m").into()
    }
}

impl Helper for Prompt<'_> {}

/// Returns a name as it is written between quotation marks.
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
