//! The preconditions of a commit, as data: the same for all backends.

use circled_protocol::JobId;

/// Conditions that must hold at the moment of the commit; otherwise nothing of it is written.
#[derive(Clone, Copy, Default)]
pub struct Preconditions<'a> {
    /// The durable job that must not be over.
    pub open: Option<JobId>,
    /// The series of deliveries whose final one must not be committed yet.
    pub no_final_of: Option<[u8; 32]>,
    /// The gate, asked last of all: once it returns true, the commit goes through. Only where the commit is made in this
    /// process.
    pub gate: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl<'a> Preconditions<'a> {
    /// No preconditions.
    pub const NONE: Self = Self {
        open: None,
        no_final_of: None,
        gate: None,
    };

    /// Requires that `gate` returns true.
    pub fn gated_by(gate: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self {
            gate: Some(gate),
            ..Self::NONE
        }
    }
}

impl std::fmt::Debug for Preconditions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preconditions")
            .field("open", &self.open)
            .field("no_final_of", &self.no_final_of.map(hex::encode))
            .finish_non_exhaustive()
    }
}
