//! Commands that no setting of the environment reaches: what the tests run under may have variables of its own.

use std::process::Command;

/// Returns a command that runs circled.
pub(crate) fn circled_command() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_circled")))
}

/// Takes each variable from a command that circled would take for a setting.
pub(crate) fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CIRCLED_") {
            command.env_remove(name);
        }
    }
    command
}
