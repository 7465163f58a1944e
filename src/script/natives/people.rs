//! `require` and `members`: who may do what.

use circled_protocol::{PublicKey, Role, Vocabulary};
use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, Module, Position};

use super::{Failed, native};
use crate::script::{budget, people};

/// The value of `members`. There is one in every scope, functions included.
#[derive(Debug, Clone, Copy)]
pub(in crate::script) struct Members;

/// Its name.
pub(in crate::script) const MEMBERS: &str = "members";

pub(super) fn register(module: &mut Module) {
    module.set_custom_type::<Members>(MEMBERS);
    module.set_var(MEMBERS, Members);
    native!(module, pure: true, "has", |_: &mut Members, key: ImmutableString| {
        let Ok(key) = key.parse::<PublicKey>() else {
            return Ok::<_, Failed>(false);
        };
        Ok(people::role(&key)? >= Role::Member)
    });
    native!(module, pure: true, "list", |_: &mut Members| {
        let members = people::members()?;
        let member = |(key, role): (PublicKey, Role)| {
            let fields = [("key", key.to_string()), ("role", role.to_string())];
            let fields = fields.map(|(name, text)| (name.into(), text.into()));
            Dynamic::from_map(fields.into_iter().collect::<Map>())
        };
        Ok::<rhai::Array, Failed>(members.into_iter().map(member).collect())
    });
    native!(module, pure: true, "require", |role: ImmutableString| require(&role));
}

/// Ends the run unless the caller has at least this role.
fn require(role: &str) -> Result<(), Failed> {
    let Ok(needs) = role.parse() else {
        let all = Role::ALL.iter().map(|role| role.name());
        let all = all.collect::<Vec<_>>().join(", ");
        let message = format!("require: there is no role \"{role}\", only {all}");
        return Err(EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into());
    };
    if people::caller_role()? >= Some(needs) {
        Ok(())
    } else {
        Err(budget::forbid(needs))
    }
}
