//! Rhai's errors as ours: the innermost cause, where it is in the source, and nothing unbounded.

use circled_protocol::FailureKind;
use rhai::{EvalAltResult, LexError, ParseError, ParseErrorType, Position};

use super::{
    Failure, Limits, Thrown, json,
    local::Compiled,
    modules,
    print::{self, Bounds, Unprintable},
    switch_guard::Insertions,
};

/// The prefixes of limits' messages that say everything themselves.
pub(super) const STORE_LIMIT: &str = "store: ";
pub(super) const EMIT_LIMIT: &str = "emit: ";
pub(super) const IMPORT_LIMIT: &str = "import: ";

/// Bytes of a message; what a script throws can be as large as it likes.
const MESSAGE: Bounds = Bounds {
    length: 2048,
    depth: 16,
};

impl Failure {
    /// A failure that is nowhere in particular in the script.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            line: None,
            column: None,
            logs: Vec::new(),
            thrown: None,
            script: None,
            version: None,
        }
    }

    pub(super) fn at(mut self, position: Position) -> Self {
        self.line = position.line();
        self.column = position.position();
        self
    }

    /// Sets the position to that in the source before the insertions.
    pub(super) fn originally(mut self, insertions: &Insertions) -> Self {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            self.column = Some(insertions.original(line, column));
        }
        self
    }

    pub(super) fn operations(limits: &Limits) -> Self {
        Self::new(
            FailureKind::Operations,
            format!("more than {} operations", limits.max_operations),
        )
    }

    pub(super) fn memory(limits: &Limits) -> Self {
        Self::new(
            FailureKind::Memory,
            format!("more than {} bytes of memory", limits.max_memory.get()),
        )
    }

    pub(super) fn size() -> Self {
        Self::new(
            FailureKind::Size,
            "a string, array or map is too large (script.max_string, script.max_array, script.max_map)",
        )
    }

    pub(super) fn depth() -> Self {
        Self::new(
            FailureKind::Depth,
            "calls or expressions are nested too deeply",
        )
    }

    pub(super) fn panicked() -> Self {
        Self::new(FailureKind::Runtime, "a function failed inside")
    }

    pub(super) fn result(problem: Unprintable) -> Self {
        match problem {
            Unprintable::TooLong => Self::new(
                FailureKind::Size,
                "the result is too large (script.max_result)",
            ),
            Unprintable::TooDeep => Self::new(
                FailureKind::Depth,
                "the result is nested too deeply (script.max_result_depth)",
            ),
        }
    }

    pub(super) fn from_parse(error: &ParseError) -> Self {
        let kind = if matches!(error.err_type(), ParseErrorType::ExprTooDeep) {
            FailureKind::Depth
        } else if matches!(
            error.err_type(),
            ParseErrorType::LiteralTooLarge(..)
                | ParseErrorType::TooManyFunctions
                | ParseErrorType::BadInput(LexError::StringTooLong(_))
        ) {
            FailureKind::Size
        } else {
            FailureKind::Compile
        };
        Self::new(kind, shorten(error.err_type().to_string())).at(error.position())
    }

    /// `in "name", line 1, column 2: `, for a failure in an imported script.
    pub(super) fn location_in(&self, module: &str) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => {
                format!("in \"{module}\", line {line}, column {column}: ")
            }
            _ => format!("in \"{module}\": "),
        }
    }

    /// Returns the failure of a run. If it is in a module, the message says so, and the position is that of the import
    /// or the call.
    /// `bounds`: of the value that it threw.
    pub(super) fn from_run(error: &EvalAltResult, script: &Compiled, bounds: Bounds) -> Self {
        if let Some(failure) = modules::uncompiled(error) {
            return failure.originally(&script.insertions);
        }
        // Whose code it is in, and where; and where it is in the script.
        let mut owner = None;
        let mut inner = (None, error.position());
        let mut position = error.position();
        let mut error = error;
        loop {
            if let EvalAltResult::ErrorInFunctionCall(function, _, next, _) = error {
                owner = modules::owner(owner, function, script);
                error = next;
            } else if let EvalAltResult::ErrorInModule(module, next, _) = error {
                owner = Some(module.into());
                error = next;
            } else {
                break;
            }
            if !error.position().is_none() {
                inner = (owner.clone(), error.position());
                if owner.is_none() {
                    position = error.position();
                }
            }
        }
        let kind = if matches!(
            error,
            EvalAltResult::ErrorTooManyOperations(_) | EvalAltResult::ErrorTerminated(..)
        ) {
            FailureKind::Operations
        } else if matches!(
            error,
            EvalAltResult::ErrorDataTooLarge(..)
                | EvalAltResult::ErrorTooManyVariables(_)
                | EvalAltResult::ErrorTooManyModules(_)
        ) {
            FailureKind::Size
        } else if matches!(error, EvalAltResult::ErrorStackOverflow(_)) {
            FailureKind::Depth
        } else if matches!(error, EvalAltResult::ErrorParsing(..)) {
            FailureKind::Compile
        } else {
            FailureKind::Runtime
        };
        let location = match inner {
            (Some(module), position) => Some(modules::location(&module, position)),
            (None, _) if error.is_system_exception() => modules::blame(),
            (None, _) => None,
        };
        let message = location.unwrap_or_default() + message(error).as_str();
        let failure = Self {
            thrown: thrown(error, bounds),
            ..Self::new(kind, message)
        };
        failure.at(position).originally(&script.insertions)
    }
}

/// Returns the value that a script threw, as JSON. A text is the message, and what is too large or has no JSON form is
/// left out.
fn thrown(error: &EvalAltResult, bounds: Bounds) -> Option<Box<Thrown>> {
    let EvalAltResult::ErrorRuntime(value, _) = error else {
        return None;
    };
    if value.is_unit() || value.is_string() || json::check(value, bounds.depth).is_err() {
        return None;
    }
    let raw = json::to_raw(value, bounds).ok()?;
    Some(Box::new(Thrown(raw.get().into())))
}

fn message(error: &EvalAltResult) -> String {
    // These show a value, which Rhai would print however large it is.
    let (label, value) = if let EvalAltResult::ErrorRuntime(value, _) = error {
        ("Runtime error", value)
    } else if let EvalAltResult::ErrorIndexNotFound(value, _) = error {
        ("Invalid index", value)
    } else if let EvalAltResult::ErrorDataTooLarge(text, _) = error
        && [STORE_LIMIT, EMIT_LIMIT, IMPORT_LIMIT]
            .iter()
            .any(|own| text.starts_with(own))
    {
        return shorten(text.clone());
    } else if let Some(text) = in_words(error) {
        return text.to_owned();
    } else {
        let text = error.to_string();
        let text = text
            .strip_suffix(&format!(" ({})", error.position()))
            .unwrap_or(&text);
        // The parser is given another name for it, see `natives::renamed`.
        return shorten(text.replace("__curry", "curry"));
    };
    match print::display(value, MESSAGE) {
        Ok(text) if text.is_empty() => label.to_owned(),
        Ok(text) => format!("{label}: {text}"),
        Err(_) => format!("{label}: (too large to show)"),
    }
}

/// Returns the text for errors of which Rhai doesn't say what to do.
fn in_words(error: &EvalAltResult) -> Option<&'static str> {
    if let EvalAltResult::ErrorVariableNotFound(name, _) = error {
        (name == "EVENT").then_some("EVENT exists only in scripts that run for a webhook")
    } else if let EvalAltResult::ErrorDataTooLarge(kind, _) = error {
        match kind.as_str() {
            "Length of string" => Some("a string is too long (script.max_string)"),
            "Size of array/BLOB" => {
                Some("an array or blob is too large (script.max_array, script.max_string)")
            }
            "Size of object map" => Some("a map is too large (script.max_map)"),
            _ => None,
        }
    } else if let EvalAltResult::ErrorTooManyVariables(_) = error {
        Some("too many variables are in scope (script.max_variables)")
    } else {
        None
    }
}

fn shorten(mut text: String) -> String {
    if text.len() > MESSAGE.length {
        text.truncate(text.floor_char_boundary(MESSAGE.length));
        text.push('…');
    }
    text
}
