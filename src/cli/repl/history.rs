//! The file with earlier inputs.

use std::{
    ffi::OsString,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// The number of inputs that are kept.
pub(super) const LENGTH: usize = 1000;

/// Returns the path of the file by the XDG base directory specification: `$XDG_STATE_HOME`, or `~/.local/state`. `None`
/// without a home folder.
pub(super) fn file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("state")))?;
    Some(state.join("circled").join("history"))
}

/// Creates the folder of the file, which nobody else can read.
pub(super) fn make_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_is_where_the_environment_says() {
        let found = |state: &str, home: &str| {
            file(|name| match name {
                "XDG_STATE_HOME" if !state.is_empty() => Some(state.into()),
                "HOME" if !home.is_empty() => Some(home.into()),
                _ => None,
            })
        };
        assert_eq!(
            found("/state", "/home/me"),
            Some("/state/circled/history".into())
        );
        for state in ["", "relative"] {
            assert_eq!(
                found(state, "/home/me"),
                Some("/home/me/.local/state/circled/history".into())
            );
        }
        assert_eq!(found("", ""), None);
    }
}
