//! The header of an archive.

use circled_protocol::PublicKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;

/// The newest format. It changes whenever an older circled could not read what a newer one writes.
pub(super) const FORMAT: u32 = 1;

/// The header. An archive of a later format has at least the first two fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format.
    pub format: u32,
    /// The version that wrote it.
    pub circled: String,
    /// The moment when it was begun. It has the commits before it.
    pub made_at: Timestamp,
    /// The circle, if it is the archive of one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<PublicKey>,
}

impl Header {
    /// Returns the header of a new archive.
    pub fn new(made_at: Timestamp, circle: Option<PublicKey>) -> Self {
        Self {
            format: FORMAT,
            circled: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            circle,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn decode(json: &[u8]) -> Result<Self, ArchiveError> {
        #[derive(Deserialize)]
        struct Any {
            format: u32,
            circled: String,
        }
        let unreadable = |_| ArchiveError::damaged("its header can't be read");
        let Any { format, circled } = circled_json::from_slice(json).map_err(unreadable)?;
        if format > FORMAT {
            let circled = circled.chars().filter(|c| !c.is_control()).take(40);
            return Err(ArchiveError::Newer {
                format,
                circled: circled.collect(),
                known: FORMAT,
            });
        }
        circled_json::from_slice(json).map_err(unreadable)
    }
}
