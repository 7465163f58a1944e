//! The Lua scripts: each is one atomic step.

use sha1::{Digest, Sha1};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal),+ $(,)?) => {
        /// A script, called by its hash.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Lua { $($(#[$doc])* $name),+ }

        impl Lua {
            const ALL: &[Self] = &[$(Self::$name),+];

            /// Its source, with what they share in front.
            pub(crate) fn source(self) -> &'static str {
                match self {
                    $(Self::$name => concat!(include_str!("lua/prelude.lua"), include_str!(concat!("lua/", $file)))),+
                }
            }

            /// Returns its name for the log.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $file),+
                }
            }
        }
    };
}

scripts! {
    Submit = "submit.lua",
    Cancel = "cancel.lua",
    Accept = "accept.lua",
    Commit = "commit.lua",
    Wake = "wake.lua",
    Stop = "stop.lua",
    Log = "log.lua",
    TakeOver = "take_over.lua",
    Begin = "begin.lua",
    Lost = "lost.lua",
    Leave = "leave.lua",
    Forget = "forget.lua",
    Settle = "settle.lua",
    Fetched = "fetched.lua",
}

/// The hashes of all scripts.
#[derive(Debug)]
pub(crate) struct Hashes(Vec<String>);

impl Hashes {
    pub(crate) fn new() -> Self {
        let hash = |lua: &Lua| hex::encode(Sha1::digest(lua.source()));
        Self(Lua::ALL.iter().map(hash).collect())
    }

    pub(crate) fn of(&self, lua: Lua) -> &str {
        &self.0[lua as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::{Hashes, Lua};
    use crate::script::{Outcome, RunError};

    #[test]
    fn what_stands_for_an_outcome_without_room_is_one() {
        let unavailable = serde_json::to_string(&Outcome::Err(RunError::Unavailable)).unwrap();
        let stands = format!("UNAVAILABLE, SHORT = '{unavailable}', 512");
        assert!(Lua::Commit.source().contains(&stands), "{stands}");
    }

    #[test]
    fn each_script_has_a_hash_of_its_own_and_what_they_share_in_front() {
        let hashes = Hashes::new();
        for lua in Lua::ALL {
            assert!(lua.source().contains("local GROUP = 'workers'"));
            assert_eq!(hashes.of(*lua).len(), 40);
            let same = Lua::ALL
                .iter()
                .filter(|other| hashes.of(**other) == hashes.of(*lua));
            assert_eq!(same.count(), 1, "{}", lua.name());
        }
    }
}
