//! The words in results and errors.

use crate::{Vocabulary as _, vocabulary::vocabulary};

vocabulary! {
    /// The role of a caller in a circle. A later role may do all that an earlier one may.
    pub enum Role {
        /// Has logged in, with a key that is not a member's.
        Guest = "guest",
        /// Added by the owner, or listed in the settings.
        Member = "member",
        /// Holds the circle's own key.
        Owner = "owner",
    }
}

vocabulary! {
    /// The rule of a named script: who may call it.
    pub enum CallRule {
        /// The circle's rule `call` decides.
        Auto = "auto",
        /// Callers who have logged in.
        Guest = "guest",
        /// Members and the owner.
        Member = "member",
        /// The owner alone.
        Owner = "owner",
    }
}

impl CallRule {
    /// Returns the least role that may call the script; nothing if the circle's rule decides.
    pub fn role(self) -> Option<Role> {
        self.name().parse().ok()
    }
}

vocabulary! {
    /// The state of a durable job.
    pub enum JobStatus {
        /// The job waits for its time, or for its turn.
        Pending = "pending",
        /// The job is running right now.
        Running = "running",
        /// The job ended successfully.
        Finished = "finished",
        /// The last try failed, and the job runs again when it is due.
        Failed = "failed",
        /// The job was cancelled before it ended.
        Cancelled = "cancelled",
        /// The job was given up.
        Dead = "dead",
    }
}

vocabulary! {
    /// The kind of a durable job. A later version may have more.
    pub enum JobKind {
        /// A webhook's delivery.
        Delivery = "delivery",
        /// A job that a caller has submitted.
        Submitted = "submitted",
    }
}

vocabulary! {
    /// Something of a circle that can be watched, besides scripts. A later version may have more.
    pub enum View {
        /// How often things happen: plays, calls, deliveries, jobs.
        Activity = "activity",
    }
}

vocabulary! {
    /// The kind of a write in the store. A later version may have more.
    pub enum WriteOp {
        /// The key got a value.
        Set = "set",
        /// The key was deleted.
        Delete = "delete",
        /// A number was added to the key's value.
        Add = "add",
        /// A value was put under a new key.
        Push = "push",
        /// All keys of a range were deleted.
        DeleteRange = "delete_range",
    }
}

vocabulary! {
    /// The reason why a script failed.
    pub enum FailureKind {
        /// The source is not valid Rhai.
        Compile = "compile",
        /// The script failed: an error of its own, a wrong type, division by zero.
        Runtime = "runtime",
        /// Too many operations.
        Operations = "operations",
        /// Too much memory.
        Memory = "memory",
        /// A string, array, map, scope, source or result is too large.
        Size = "size",
        /// Calls, expressions or the result are nested too deeply.
        Depth = "depth",
    }
}

vocabulary! {
    /// The reason why a login was refused.
    pub enum LoginRefusal {
        /// No login text was sent for this key or address, and scheme, in this session, or it has been used.
        NoNonce = "no_nonce",
        /// The login text is too old.
        Expired = "expired",
        /// The key or address is invalid, or not one for this scheme.
        BadKey = "bad_key",
        /// The signature is not this key's, or this address's, over what was to be signed.
        BadSignature = "bad_signature",
        /// The event's kind is not 22242.
        BadKind = "bad_kind",
        /// The event has not exactly one `challenge` tag, with the challenge that was sent.
        BadChallenge = "bad_challenge",
        /// The event has not exactly one `relay` tag, with the address of this server and circle.
        BadRelay = "bad_relay",
        /// The event's time is more than 10 minutes from the server's.
        BadTime = "bad_time",
        /// The event's id is not the hash of its content.
        BadId = "bad_id",
        /// The key is not a device's of anyone here.
        UnknownDevice = "unknown_device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_can_require_every_role() {
        let rules = CallRule::ALL.iter().map(|rule| rule.role());
        let roles = Role::ALL.iter().copied().map(Some);
        assert!(rules.eq([None].into_iter().chain(roles)));
    }
}
