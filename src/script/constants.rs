//! The constants of a script: in its scope, and in its functions.

use circled_protocol::Vocabulary;
use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, Scope};

use super::{DurableTry, Inputs, json, people, run_context};

type Failed = Box<EvalAltResult>;

/// A constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Constant {
    CallerId,
    CallerRole,
    ContextId,
    JobId,
    Job,
    Args,
    Event,
}

/// The constants that a script mentions. The others needn't be written out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mentioned([bool; Constant::ALL.len()]);

/// The names of the constants, ready to be put in scope.
pub(super) type Names = [ImmutableString; Constant::ALL.len()];

/// The values of all constants that there are, for functions and for what the run imports.
pub(super) type Constants = [Option<Dynamic>; Constant::ALL.len()];

impl Constant {
    const ALL: [Self; 7] = [
        Self::CallerId,
        Self::CallerRole,
        Self::ContextId,
        Self::JobId,
        Self::Job,
        Self::Args,
        Self::Event,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::CallerId => "CALLER_ID",
            Self::CallerRole => "CALLER_ROLE",
            Self::ContextId => "CONTEXT_ID",
            Self::JobId => "JOB_ID",
            Self::Job => "JOB",
            Self::Args => "ARGS",
            Self::Event => "EVENT",
        }
    }

    /// Notes that the script sees it.
    fn see(self) {
        if self == Self::CallerId {
            run_context::see_caller();
        }
    }

    /// Returns its value, if it is defined for this run.
    fn value(self, inputs: &Inputs<'_>) -> Option<Dynamic> {
        Some(match self {
            Self::CallerId => inputs.caller_id.to_string().into(),
            // It is read only where it is mentioned.
            Self::CallerRole => return None,
            Self::ContextId => inputs.context_id.to_string().into(),
            Self::JobId => inputs.job_id.to_string().into(),
            Self::Job => inputs.durable.map_or(Dynamic::UNIT, job),
            Self::Args => json::to_dynamic(inputs.args),
            Self::Event => json::to_dynamic(inputs.event?),
        })
    }
}

fn job(durable: DurableTry) -> Dynamic {
    let fields = [
        ("due", durable.due),
        ("submitted_at", durable.submitted_at),
        ("tries", durable.tries.into()),
    ];
    let fields = fields.map(|(name, value)| (name.into(), value.into()));
    fields.into_iter().collect::<Map>().into()
}

impl Mentioned {
    /// Returns the constants that this source mentions.
    pub(super) fn of(source: &str) -> Self {
        // `is_def_var` can ask for a name that the script puts together.
        let all = source.contains("is_def_var");
        let goes_on =
            |rest: &str| rest.starts_with(|next: char| next == '_' || next.is_alphanumeric());
        let has = |name: &str| {
            let mut found = source.match_indices(name);
            found.any(|(start, _)| !goes_on(&source[start + name.len()..]))
        };
        Self(Constant::ALL.map(|constant| all || has(constant.name())))
    }

    /// Returns whether there is any.
    pub(super) fn any(self) -> bool {
        self.0.contains(&true)
    }

    fn iter(self) -> impl Iterator<Item = Constant> {
        let all = Constant::ALL.into_iter().zip(self.0);
        all.filter_map(|(constant, is_mentioned)| is_mentioned.then_some(constant))
    }
}

/// Returns the names of all constants.
pub(super) fn names() -> Names {
    Constant::ALL.map(|constant| constant.name().into())
}

/// Returns the scope of a script. Only the constants that it mentions are written out.
///
/// # Errors
/// The caller's role can't be read.
pub(super) fn scope(
    names: &Names,
    mentioned: Mentioned,
    inputs: &Inputs<'_>,
) -> Result<Scope<'static>, Failed> {
    filled(names, mentioned, |constant| constant.value(inputs))
}

/// Sets the constants that functions of the run see from here on.
pub(super) fn start(inputs: &Inputs<'_>) {
    let constants = Constant::ALL.map(|constant| constant.value(inputs));
    run_context::with(|context| context.constants.replace(Some(Box::new(constants))));
}

/// Returns the constant of this name, if there is one and the run's functions may see it.
///
/// # Errors
/// The caller's role can't be read.
pub(super) fn find(name: &str) -> Result<Option<Dynamic>, Failed> {
    let mut all = Constant::ALL.into_iter();
    match all.find(|constant| constant.name() == name) {
        Some(Constant::CallerRole) => caller_role().map(Some),
        Some(constant) => {
            constant.see();
            Ok(value(constant))
        }
        None => Ok(None),
    }
}

/// Returns the scope of an imported script.
///
/// # Errors
/// The caller's role can't be read.
pub(super) fn scope_of_module(
    names: &Names,
    mentioned: Mentioned,
) -> Result<Scope<'static>, Failed> {
    filled(names, mentioned, value)
}

fn value(constant: Constant) -> Option<Dynamic> {
    run_context::with(|context| {
        let constants = context.constants.borrow();
        constants.as_ref()?[constant as usize].clone()
    })
}

fn filled(
    names: &Names,
    mentioned: Mentioned,
    value: impl Fn(Constant) -> Option<Dynamic>,
) -> Result<Scope<'static>, Failed> {
    let mut scope = Scope::new();
    for constant in mentioned.iter() {
        constant.see();
        let value = if constant == Constant::CallerRole {
            Some(caller_role()?)
        } else {
            value(constant)
        };
        if let Some(value) = value {
            scope.push_constant_dynamic(names[constant as usize].clone(), value);
        }
    }
    Ok(scope)
}

/// Returns the caller's role as text; `()` for a caller without a key.
fn caller_role() -> Result<Dynamic, Failed> {
    let role = people::caller_role()?;
    Ok(role.map_or(Dynamic::UNIT, |role| role.name().into()))
}
