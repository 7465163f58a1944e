//! Texts about people.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

/// A text that identifies or locates a person, directly or indirectly. It is used as a `&str`; `Debug` doesn't show it,
/// so it appears in no log.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Personal(pub String);

impl Deref for Personal {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(personal)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_it() {
        let name = Some(Personal("Jane".to_owned()));
        assert_eq!(format!("{name:?}"), "Some((personal))");
        assert_eq!(name.as_deref(), Some("Jane"));
    }
}
