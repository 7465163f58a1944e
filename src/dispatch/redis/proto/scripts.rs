//! The Lua scripts: each is one atomic step. See `script.rs` for how they get what is declared here.

use std::{sync::LazyLock, time::Duration};

use circled_protocol::{JobId, PublicKey};
use fred::types::Value;

use super::{
    keys::Partition,
    script::{
        Arg, Declared, Field, Item, Key, List, MoreKeys, Script, Source, Writer, item, scripts,
    },
};

scripts! {
    /// Queues a circle's new plays, by caller. Returns for each: its entry in the stream; 1 it waits for its turn, 0 too
    /// many wait.
    Submit = "submit.lua" {
        of { circle: PublicKey }
        keys { jobs(), job_counts(&circle), waiting_callers(&circle), waiting_plays(&circle), plays(&circle) }
        args { most: usize, most_waiting: usize }
        lists { callers: PlaysOfCaller, new_plays: NewPlay }
    }

    /// Takes a play back. Returns 1: nothing of it is committed any more; 0: it has been committed, or never came here.
    Cancel = "cancel.lua" {
        of { circle: PublicKey }
        keys { jobs(), job_counts(&circle), waiting_callers(&circle), waiting_plays(&circle), plays(&circle) }
        args { most: usize, most_waiting: usize, id: JobId, entry: Value, age: Value }
    }

    /// Stores new durable jobs of a circle. Returns for each: 1 it is stored; 0 too many wait, -1 too many of its caller,
    /// -2 too many of guests; 2 the reads that its script
    /// was chosen by have changed; or the name of the first job, for one that has been here before, with "dead " before
    /// it where that is a delivery's and was given up: then it is to come again under that name.
    Accept = "accept.lua" {
        keys {
            jobs(), job_counts(&circle), backlog(&circle), open_jobs(&circle), pending(), index(), submitted(), delayed(), dead(),
            dead_by_circle(), store(&circle), event_sequence(&circle), events(&circle),
            event_excess(&circle), watchers(&circle),
        }
        more job_keys
        args {
            circle: PublicKey, gateway: String, dedupe_for: Duration, most: usize, most_waiting: usize, replicas: u32,
            inbox_length: usize, inbox_bytes: usize, log_length: usize, log_bytes: usize,
            // There if the gateway is to be sent a barrier.
            inbox: Key, barrier: String,
        }
        lists { hook_scripts: HookScriptReads, reads: Read, new_jobs: NewJob, submitters: Submitter }
    }

    /// Commits runs of a circle, one after another, each as a whole or not at all. Returns for each: 'done'; 'gone', it
    /// isn't pending any more; 'quota'; 'backlog'; 'superseded'; 'range_delete', too many keys; 'add', the key and 'number' or 'overflow', if that can't be
    /// added to the key's value; or if what it has read has changed, 'conflict' and the
    /// values of its keys, as they are now. Returns only 'locked', and commits nothing, while another run has locked the
    /// circle.
    Commit = "commit.lua" {
        keys {
            jobs(), job_counts(&circle), waiting_callers(&circle), waiting_plays(&circle), plays(&circle),
            store(&circle), store_keys(&circle), expiring(&circle), expiring_circles(), usage(&circle), circle_lock(&circle),
            commit_watchers(&circle),
        }
        more more_keys
        args {
            circle: PublicKey, locked_by: String, most: usize, most_waiting: usize, quota: usize, max_range_delete: usize, max_requests: usize, inbox_length: usize,
            inbox_bytes: usize, log_length: usize, log_bytes: usize,
            // There once a run of a durable job, or one that submits some, is committed.
            backlog: Key, open_jobs: Key, pending: Key, delayed: Key, dead: Key, dead_by_circle: Key, index: Key, submitted: Key,
            // There once an event is.
            event_sequence: Key, events: Key, event_excess: Key, watchers: Key,
            // There once a reply to a request is.
            replies: Key, short_replies: Key, reply_bytes: Key, member_replies: Key, replies_by_member: Key, member_reply_bytes: Key,
        }
        lists {
            runs: Run, callers: Caller, reads: Read, ranges: ReadRange, puts: Put, deletes: Delete, adds: Add,
            pushes: Push, range_deletes: RangeDelete, emits: Emit,
            submits: SubmittedJob, durables: DurableRun,
        }
    }

    /// Reads the keys in a range of a store. Returns their number; or the keys; or the keys and their values, one after the
    /// other, until they have more than so many bytes.
    Scan = "scan.lua" {
        of { circle: PublicKey }
        keys { store(&circle), store_keys(&circle), expiring(&circle) }
        args {
            start: Vec<u8>, stop: Vec<u8>, limit: u32, reverse: bool, is_count: bool, has_values: bool, max_bytes: usize,
        }
    }

    /// Deletes keys of a store that have expired, so many at most. Returns how many it were.
    Expire = "expire.lua" {
        keys {
            jobs(), store(&circle), store_keys(&circle), expiring(&circle), expiring_circles(), replies(&circle),
            short_replies(&circle), reply_bytes(&circle), member_replies(&circle), replies_by_member(&circle),
            member_reply_bytes(&circle), usage(&circle), commit_watchers(&circle),
        }
        args { circle: PublicKey, most: usize, inbox_length: usize, inbox_bytes: usize }
    }

    /// Has a durable job whose time has come wait for its turn.
    Wake = "wake.lua" {
        keys { delayed(), jobs(), job_counts(&circle), backlog(&circle) }
        args { id: JobId, circle: PublicKey, most: usize }
    }

    /// Stops a durable job. Returns 1: it is stopped; 0: its record has changed; -1: it is somewhere else.
    Stop = "stop.lua" {
        keys {
            jobs(), job_counts(&circle), backlog(&circle), open_jobs(&circle), pending(), delayed(), job(id), event_sequence(&circle),
            events(&circle), event_excess(&circle), watchers(&circle),
        }
        args {
            id: JobId, circle: PublicKey, submitter: String, before: Value, record: Vec<u8>, event: Vec<u8>,
            keep_for: Duration, most: usize, inbox_length: usize, inbox_bytes: usize, log_length: usize, log_bytes: usize,
        }
    }

    /// Makes the index of dead letters by circle again, from this rank on: adds those that it doesn't have, or deletes the
    /// ones that are none. Returns the rank to go on from, or -1.
    IndexDead = "index_dead.lua" {
        keys { jobs(), dead(), dead_by_circle() }
        args { from: usize, most: usize, are_extra: bool }
    }

    /// Returns how much a circle has: keys and bytes of the store, jobs, and of these, the ones that are not over and the
    /// dead ones.
    CountAll = "usage.lua" {
        keys {
            jobs(), job_counts(&circle), backlog(&circle), delayed(), index(), dead_by_circle(), store(&circle),
            store_keys(&circle), expiring(&circle), usage(&circle),
        }
        args { circle: PublicKey }
    }

    /// Finds the jobs of a circle among those that are not over, so many of which are looked at, the newest first. Returns
    /// how many were, the last of them, and then those of the circle.
    FindOpen = "open.lua" {
        keys { pending(), index() }
        args { circle: PublicKey, before: String, most: usize }
    }

    /// Finds the callers of a circle who have submitted jobs: so many.
    Submitters = "submitters.lua" {
        keys { submitted() }
        args { circle: PublicKey, most: usize }
    }

    /// Reads a circle's log. Returns the numbers of its oldest event and of the newest, and the events from one on, so
    /// many at most, and about so many bytes.
    Log = "log.lua" {
        of { circle: PublicKey }
        keys { events(&circle), event_sequence(&circle) }
        args { from: String, most: usize, most_bytes: usize }
    }

    /// Gives this worker jobs of one that is silent: returns {entry, runs begun, fields} for each. Their counts stay.
    TakeOver = "take_over.lua" {
        keys { jobs(), alive(&silent) }
        args { me: String, silent: String, most: u32 }
    }

    /// Counts a run that begins, of a job that was another worker's before: it is this one, however often that is said.
    /// Returns 0 if the job is not this worker's any more.
    Begin = "begin.lua" {
        keys { jobs() }
        args { me: String, entry: String, begun: i64 }
    }

    /// Returns the entries that are not this worker's any more: cancelled, or taken over.
    Lost = "lost.lua" {
        keys { jobs() }
        args { me: String }
        lists { entries: Entry }
    }

    /// Hands over all that a worker has, at once. It didn't die of any of that, so no run of it here counts; but what was
    /// others' before, and hasn't begun here, keeps its count.
    Leave = "leave.lua" {
        keys { jobs(), alive(&me) }
        args { me: String }
        lists { not_begun: Entry }
    }

    /// Removes the entry of a durable job that is not to run: it is over, or nothing is known of it.
    Forget = "forget.lua" {
        keys { jobs(), job_counts(&circle), backlog(&circle), pending() }
        args { entry: String, circle: PublicKey, id: String, most: usize }
    }

    /// Removes an entry that has done its service.
    Settle = "settle.lua" {
        keys { jobs() }
        args { entry: String }
    }

    /// Deletes all that is a circle's own, but for its durable jobs and their entries, and has nothing of it be committed
    /// or accepted from then on.
    DeleteCircle = "delete.lua" {
        keys {
            job_counts(&circle), waiting_callers(&circle), waiting_plays(&circle), plays(&circle), backlog(&circle),
            open_jobs(&circle), event_sequence(&circle), event_excess(&circle), events(&circle), activity(&circle),
            store(&circle), store_keys(&circle), expiring(&circle), replies(&circle), short_replies(&circle),
            reply_bytes(&circle), member_replies(&circle), replies_by_member(&circle), member_reply_bytes(&circle),
            usage(&circle), expiring_circles(), circle_lock(&circle),
        }
        args { circle: PublicKey }
    }

    /// Deletes durable jobs of a circle, so many at most. Returns fewer once none is left.
    DeleteJobs = "delete_jobs.lua" {
        keys { jobs(), pending(), delayed(), index(), submitted(), dead(), dead_by_circle() }
        args { circle: PublicKey, most: usize }
    }

    /// Deletes the entries of a circle among the next ones of the stream, so many of which are looked at. Returns where to
    /// go on; nothing, if that was the end.
    DeleteEntries = "delete_entries.lua" {
        keys { jobs() }
        args { circle: PublicKey, from: String, most: usize }
    }

    /// Sends a gateway a message in its inbox, about nothing.
    Barrier = "barrier.lua" {
        of { gateway: String }
        keys { inbox(&gateway) }
        args { circle: PublicKey, id: JobId, inbox_length: usize, inbox_bytes: usize }
    }

    /// Removes what a gateway has read of its inbox: so many entries, before this one.
    Fetched = "fetched.lua" {
        of { gateway: String }
        keys { inbox(&gateway), inbox_bytes(&gateway) }
        args { before: String, read: usize }
        lists { counts: InboxCount }
    }

    /// Looks at some keys of the partition, or of the whole namespace, whose names have this text in them. Returns the
    /// cursor to go on with, circles, and marks, each with its circle, identity, job and the time when it expires.
    Find = "find.lua" {
        keys { jobs() }
        args { cursor: String, everywhere: bool, about: String, most: usize }
    }

    /// Returns some circles that have jobs.
    Circles = "circles.lua" {
        keys { index() }
        args { from: String, most: usize }
    }

    /// Copies all of a circle, as it is at this moment. Returns the time, the numbers of its last commit and its last event, and how
    /// many jobs it has and marks were made in the partition since the backup began. Nothing, if the circle is being deleted.
    Moment = "moment.lua" {
        keys {
            jobs(), store(&circle), store_keys(&circle), replies(&circle), short_replies(&circle), member_replies(&circle),
            usage(&circle), circle_lock(&circle), events(&circle), event_sequence(&circle), index(), pending(), backup(), backup_marks(), copied_store(),
            copied_keys(), copied_events(), copied_index(),
        }
        args { circle: PublicKey }
    }

    /// Returns some entries of the store that was copied, so many, or so many bytes and one more: the last key that was looked
    /// at, and keys and values in turn. Nothing, if another circle's is there.
    CopiedEntries = "copied_entries.lua" {
        keys { backup(), copied_store(), copied_keys() }
        args { circle: PublicKey, from: Vec<u8>, most: usize, max_bytes: usize }
    }

    /// Returns some jobs of the circle that was copied, each with its entry in the index, record, input, and 1 if it wasn't over.
    CopiedJobs = "copied_jobs.lua" {
        keys { jobs(), backup(), copied_index() }
        args { circle: PublicKey, from: String, most: usize, max_bytes: usize }
    }

    /// Adds events to an empty log, or at its end.
    RestoreEvents = "restore_events.lua" {
        of { circle: PublicKey }
        keys { events(&circle) }
        args {}
        lists { new_events: RestoredEvent }
    }

    /// Adds replies to requests, which aren't there.
    RestoreReplies = "restore_replies.lua" {
        of { circle: PublicKey }
        keys {
            store(&circle), replies(&circle), short_replies(&circle), reply_bytes(&circle), member_replies(&circle),
            replies_by_member(&circle), member_reply_bytes(&circle),
        }
        args {}
        lists { new_replies: RestoredReply }
    }
}

item! {
    /// The stored value of a reply, and its key.
    RestoredReply { key: Value, value: Value }
}

item! {
    /// An event and its number.
    RestoredEvent { number: String, event: Vec<u8> }
}

item! {
    /// A caller with new plays.
    PlaysOfCaller { caller: String, num_plays: u32 }
}

item! {
    NewPlay { play: Value }
}

item! {
    /// The reads that a circle's script for a provider was chosen by.
    HookScriptReads { num_reads: u32 }
}

item! {
    /// A key in the store, and its value in the form that [`expected`](super::values::expected) makes.
    Read { key: Value, expected: Value }
}

item! {
    /// A new durable job.
    NewJob {
        id: JobId,
        record: String,
        input: String,
        job: Key,
        /// There if it may have been here before.
        seen: Key,
        /// The number of its hook script, from 1 on; or 0.
        chosen_by: u32,
        is_submitted: bool,
    }
}

item! {
    /// The part of a job that was submitted with a login. `due` is empty if it runs at once.
    Submitter {
        caller: String,
        is_guest: bool,
        due: Value,
        event: Vec<u8>,
        /// See [`Room`](crate::dispatch::room::Room).
        room: usize,
        room_of_caller: usize,
        room_of_guests: usize,
    }
}

item! {
    /// The outcome of a run, or effects that are no claimed job's.
    #[derive(Default)]
    Run {
        entry: String,
        id: String,
        message: Vec<u8>,
        inbox: Key,
        is_play: bool,
        /// True if its outcome is to begin with the number of the circle's last commit.
        is_query: bool,
        is_durable: bool,
        /// True if it is a play that had to wait.
        has_waited: bool,
        /// True if it is another caller's than the play before.
        is_of_other: bool,
        num_reads: u32,
        num_ranges: u32,
        num_puts: u32,
        num_deletes: u32,
        num_adds: u32,
        num_range_deletes: u32,
        num_pushes: u32,
        num_emits: u32,
        num_submits: u32,
    }
}

item! {
    /// The caller of the plays from here on; empty if that is not known.
    Caller { new_caller: String }
}

item! {
    /// A range of the store's keys, and what was found: a number, or the digest of the keys, or that with their values.
    ReadRange {
        start: Value,
        stop: Value,
        found: String,
        limit: usize,
        reverse: bool,
        is_count: bool,
        has_values: bool,
    }
}

item! {
    Put { put_key: Value, value: Value }
}

item! {
    Delete { deleted_key: Value }
}

item! {
    /// A range of keys.
    RangeDelete { deleted_from: Value, deleted_to: Value }
}

item! {
    /// A value that gets a new key.
    Push { prefix: Value, pushed: Value }
}

item! {
    /// A whole number, as text, for it may have more bits than Lua's numbers have.
    Add { added_key: Value, by: String }
}

item! {
    /// An event.
    Emit { event: Vec<u8> }
}

item! {
    /// A durable job that a commit submits: a new one, or one that was over.
    SubmittedJob {
        new_id: JobId,
        new_record: Value,
        /// Empty if it stays.
        new_input: Value,
        /// The record that it replaces, in the form of [`Read`]; or empty.
        replaced: Value,
        submitter: String,
        due: Value,
        gateway: String,
        new_job: Key,
        room: usize,
    }
}

item! {
    /// The change of a durable job that has run.
    DurableRun {
        status: String,
        record: Vec<u8>,
        /// The caller who submitted it; empty for a delivery.
        submitted_by: String,
        /// The time of its end, or of its next try.
        time: Value,
        job: Key,
        /// There if the job must not run once this is there.
        no_final: Key,
        /// There if the job is the final one of its series.
        final_delivery: Key,
        keep_for: Duration,
        /// True if its event is for those alone who listen.
        is_routine: bool,
    }
}

item! {
    Entry { entry: String }
}

item! {
    /// The bytes that the entries of a circle count as.
    InboxCount { circle: String, bytes: usize }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ALL, Commit, Script};
    use crate::script::{Outcome, RunError};

    #[test]
    fn what_stands_for_an_outcome_without_room_is_one() {
        let unavailable = serde_json::to_string(&Outcome::Err(RunError::Unavailable)).unwrap();
        let stands = format!("UNAVAILABLE, SHORT = '{unavailable}', 512");
        assert!(Commit::source().text.contains(&stands), "{stands}");
    }

    #[test]
    fn each_script_has_a_hash_of_its_own_and_what_they_share_in_front() {
        let mut hashes = HashSet::new();
        for source in ALL {
            let source = source();
            assert!(source.text.contains("local GROUP = 'workers'"));
            assert_eq!(source.hash.len(), 40);
            assert!(hashes.insert(&source.hash), "{}", source.name);
        }
    }
}
