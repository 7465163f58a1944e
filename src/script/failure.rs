//! Rhai's errors as ours: the innermost cause, where it is in the source, and nothing unbounded.

use rhai::{EvalAltResult, LexError, ParseError, ParseErrorType, Position};

use super::{
    Failure, FailureKind, Limits,
    print::{self, Bounds, Unprintable},
    subjects::Insertions,
};

/// Begins the text of a limit that says everything itself.
pub(super) const OWN_LIMIT: &str = "store: ";

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
        }
    }

    pub(super) fn at(mut self, position: Position) -> Self {
        self.line = position.line();
        self.column = position.position();
        self
    }

    /// With the position in the source as it was before the insertions.
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
            format!("more than {} bytes of memory", limits.max_memory),
        )
    }

    pub(super) fn size() -> Self {
        Self::new(FailureKind::Size, "a string, array or map is too large")
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
            Unprintable::TooLong => Self::new(FailureKind::Size, "the result is too large"),
            Unprintable::TooDeep => {
                Self::new(FailureKind::Depth, "the result is nested too deeply")
            }
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

    pub(super) fn from_run(error: &EvalAltResult) -> Self {
        let mut position = error.position();
        let mut error = error;
        while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _)
        | EvalAltResult::ErrorInModule(_, inner, _) = error
        {
            error = inner;
            if !error.position().is_none() {
                position = error.position();
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
        Self::new(kind, message(error)).at(position)
    }
}

fn message(error: &EvalAltResult) -> String {
    // These show a value, which Rhai would print however large it is.
    let (label, value) = if let EvalAltResult::ErrorRuntime(value, _) = error {
        ("Runtime error", value)
    } else if let EvalAltResult::ErrorIndexNotFound(value, _) = error {
        ("Invalid index", value)
    } else if let EvalAltResult::ErrorDataTooLarge(text, _) = error
        && text.starts_with(OWN_LIMIT)
    {
        return shorten(text.clone());
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

fn shorten(mut text: String) -> String {
    if text.len() > MESSAGE.length {
        text.truncate(text.floor_char_boundary(MESSAGE.length));
        text.push('…');
    }
    text
}
