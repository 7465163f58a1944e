//! The constants of a script, in its scope.

use rhai::{Dynamic, ImmutableString, Scope};

use super::{
    Inputs, json,
    local::{Names, Uses},
};

/// The scope of the script that the inputs are for. Only what it mentions is written out.
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

/// All of them, kept for the scripts that a run imports.
pub(super) struct Constants {
    caller_id: ImmutableString,
    context_id: ImmutableString,
    job_id: ImmutableString,
    args: Dynamic,
    event: Option<Dynamic>,
}

impl Constants {
    pub(super) fn of(inputs: &Inputs<'_>) -> Self {
        Self {
            caller_id: inputs.caller_id.to_string().into(),
            context_id: inputs.context_id.to_string().into(),
            job_id: inputs.job_id.to_string().into(),
            args: json::to_dynamic(inputs.args),
            event: inputs.event.map(json::to_dynamic),
        }
    }

    /// The scope of an imported script.
    pub(super) fn scope(&self, names: &Names, uses: Uses) -> Scope<'static> {
        let mut scope = Scope::new();
        let event = self.event.as_ref().unwrap_or(&Dynamic::UNIT);
        for (is_used, name, value) in [
            (uses.caller_id, &names.caller_id, &self.caller_id),
            (uses.context_id, &names.context_id, &self.context_id),
            (uses.job_id, &names.job_id, &self.job_id),
        ] {
            if is_used {
                scope.push_constant_dynamic(name.clone(), value.clone().into());
            }
        }
        for (is_used, name, value) in [
            (uses.args, &names.args, &self.args),
            (uses.event && self.event.is_some(), &names.event, event),
        ] {
            if is_used {
                scope.push_constant_dynamic(name.clone(), value.clone());
            }
        }
        scope
    }
}
