//! The constants of a script: in its scope, and in its functions.

use rhai::{Dynamic, ImmutableString, Scope};

use super::{
    Inputs, json,
    local::{Names, Uses},
    run_context,
};

/// Returns the scope of a script. Only the constants that it mentions are written out.
pub(super) fn scope(names: &Names, uses: Uses, inputs: &Inputs<'_>) -> Scope<'static> {
    let mut scope = Scope::new();
    if uses.caller_id {
        scope.push_constant_dynamic(names.caller_id.clone(), inputs.caller_id.to_string().into());
    }
    if uses.context_id {
        scope.push_constant_dynamic(
            names.context_id.clone(),
            inputs.context_id.to_string().into(),
        );
    }
    if uses.job_id {
        scope.push_constant_dynamic(names.job_id.clone(), inputs.job_id.to_string().into());
    }
    if uses.args {
        scope.push_constant_dynamic(names.args.clone(), json::to_dynamic(inputs.args));
    }
    if let (true, Some(event)) = (uses.event, inputs.event) {
        scope.push_constant_dynamic(names.event.clone(), json::to_dynamic(event));
    }
    scope
}

/// All constants, for functions and for what the run imports.
pub(super) struct Constants {
    caller_id: ImmutableString,
    context_id: ImmutableString,
    job_id: ImmutableString,
    args: Dynamic,
    event: Option<Dynamic>,
}

/// Sets the constants that functions of the run see from here on.
pub(super) fn start(inputs: &Inputs<'_>) {
    let constants = Constants {
        caller_id: inputs.caller_id.to_string().into(),
        context_id: inputs.context_id.to_string().into(),
        job_id: inputs.job_id.to_string().into(),
        args: json::to_dynamic(inputs.args),
        event: inputs.event.map(json::to_dynamic),
    };
    run_context::with(|context| context.constants.replace(Some(Box::new(constants))));
}

/// Returns the constant of this name, if there is one and the run's functions may see it.
pub(super) fn find(name: &str) -> Option<Dynamic> {
    run_context::with(|context| {
        let constants = context.constants.borrow();
        let constants = constants.as_ref()?;
        Some(match name {
            "CALLER_ID" => constants.caller_id.clone().into(),
            "CONTEXT_ID" => constants.context_id.clone().into(),
            "JOB_ID" => constants.job_id.clone().into(),
            "ARGS" => constants.args.clone(),
            "EVENT" => constants.event.clone()?,
            _ => return None,
        })
    })
}

/// Returns the scope of an imported script.
pub(super) fn scope_of_module(names: &Names, uses: Uses) -> Scope<'static> {
    let mut scope = Scope::new();
    for (is_used, name) in [
        (uses.caller_id, &names.caller_id),
        (uses.context_id, &names.context_id),
        (uses.job_id, &names.job_id),
        (uses.args, &names.args),
        (uses.event, &names.event),
    ] {
        if is_used && let Some(value) = find(name) {
            scope.push_constant_dynamic(name.clone(), value);
        }
    }
    scope
}
