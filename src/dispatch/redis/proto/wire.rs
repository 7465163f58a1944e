//! Messages between gateways and workers, as JSON. The other end may be another version: unknown fields are skipped,
//! and new ones must have a default.

use std::{borrow::Cow, time::Duration};

use circled_protocol::{JobId, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    circle::{Caller, JobSpec, Task},
    script::Seed,
};

/// A play, as it waits for a worker; `J` is its [`JobSpec`], or a reference to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Play<'a, J = JobSpec<'a>> {
    pub(crate) job: J,
    /// The gateway whose inbox the outcome goes to.
    #[serde(borrow)]
    pub(crate) gateway: Cow<'a, str>,
    /// True if it couldn't be read, and this is no more than its address.
    #[serde(skip)]
    is_unread: bool,
}

impl<'a, J> Play<'a, J> {
    pub(crate) fn new(job: J, gateway: &'a str) -> Self {
        Self {
            job,
            gateway: Cow::Borrowed(gateway),
            is_unread: false,
        }
    }
}

impl<'a> Play<'a> {
    pub(crate) fn into_owned(self) -> Play<'static> {
        Play {
            job: self.job.into_owned(),
            gateway: Cow::Owned(self.gateway.into_owned()),
            is_unread: self.is_unread,
        }
    }

    /// Returns the caller that it counts for, if that could be read.
    pub(crate) fn counts_for(&self) -> Option<&Caller<'a>> {
        (!self.is_unread).then_some(&self.job.caller)
    }
}

/// The fields that a worker needs to answer a play, if it can't read the rest.
#[derive(Debug, Deserialize)]
pub(crate) struct Address {
    job: JobAddress,
    gateway: String,
}

#[derive(Debug, Deserialize)]
struct JobAddress {
    id: JobId,
    #[serde(with = "circled_protocol::trusted")]
    circle: PublicKey,
}

impl From<Address> for Play<'static> {
    /// A play that does nothing.
    fn from(Address { job, gateway }: Address) -> Self {
        Self {
            job: JobSpec {
                id: job.id,
                circle: job.circle,
                caller: Caller::Anyone,
                requires: None,
                task: Task::Source(Cow::Borrowed("")),
                args: Cow::Owned(Value::Null),
                event: None,
                timeout: Duration::ZERO,
                seed: Seed::draw(),
                durable: None,
                request: None,
                tells_effects: false,
            },
            gateway: Cow::Owned(gateway),
            is_unread: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeSet, time::Duration};

    use circled_protocol::{
        CallRule, DeviceSecretKey, FailureKind, JobId, Permission, Role, SecretKey, WriteOp,
        methods::{
            AddDeviceKey, AddMember, DeployScripts, KeysTouched, MoreEffects, PutScript,
            RunEffects, ScriptState, ScriptToDelete, ScriptToPut, WriteEffect,
        },
    };
    use serde_json::{Value, json};

    use super::Play;
    use crate::{
        circle::{Caller, JobSpec, Procedure, QueryScript, Request, Task},
        golden,
        script::{Failure, Outcome, Queried, Reads, RunError, Seed, Success, Thrown},
        store::Key,
    };

    #[test]
    fn plays_are_sent_as_before() {
        let key = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let spec = |caller, requires, task| JobSpec {
            id: JobId::from_bytes([7; 16]),
            circle: key,
            caller,
            requires,
            task,
            args: Cow::Owned(json!({ "a": [1, 2.0, null, "\u{2028}"] })),
            event: None,
            timeout: Duration::from_millis(1500),
            seed: circled_json::from_str("[1,18446744073709551615]").unwrap(),
            durable: None,
            request: None,
            tells_effects: false,
        };
        let named = |version: Option<&'static str>| Task::Named {
            name: "greet".into(),
            version: version.map(Cow::Borrowed),
        };
        let change = |procedure| {
            spec(
                Caller::Key(key),
                Some(Role::Owner),
                Task::Procedure(procedure),
            )
        };
        let name = || "greet".to_owned();
        let put = Procedure::PutScript {
            name: name(),
            source: "1".to_owned(),
        };
        let put_with = Procedure::PutScriptWith(PutScript {
            name: name(),
            source: "1".to_owned(),
            if_version: Some("aa".to_owned()),
            call: None,
        });
        let put_ruled = Procedure::PutRuledScript(PutScript {
            name: name(),
            source: "1".to_owned(),
            if_version: None,
            call: Some(CallRule::Owner),
        });
        let state = |call| ScriptState {
            version: "aa".to_owned(),
            call,
        };
        let deploy = Procedure::DeployScripts(DeployScripts {
            put: vec![ScriptToPut {
                name: name(),
                source: "1".to_owned(),
                call: Some(CallRule::Owner),
                was: Some(state(None)),
            }],
            delete: Some(vec![ScriptToDelete {
                name: "old".to_owned(),
                was: state(Some(Role::Member)),
            }]),
            request_id: None,
        });
        let check = Procedure::CheckScript {
            source: "1".to_owned(),
        };
        let delete_if = Procedure::DeleteScriptIf {
            name: name(),
            if_version: "aa".to_owned(),
        };
        let list_store = Procedure::ListStore {
            prefix: "a/".to_owned(),
            after: Some("a/1".to_owned()),
            limit: 50,
        };
        let get = Procedure::GetScript {
            name: name(),
            version: Some("aa".to_owned()),
        };
        let device = DeviceSecretKey::from_hex(&"02".repeat(32))
            .unwrap()
            .public();
        let add_device = Procedure::AddDeviceKey(AddDeviceKey {
            pubkey: device,
            label: "phone".to_owned(),
            expires_at: "2027-02-27T00:00:00Z".parse().unwrap(),
            scope: "call:greet,jobs".parse().unwrap(),
            proof: "ab".repeat(64),
        });
        let note_use = spec(
            Caller::Device { key, device },
            None,
            Task::Procedure(Procedure::NoteDeviceUse),
        );
        let is_member = Some(Role::Member);
        let with_request = |task| {
            let job = spec(Caller::Key(key), None, task);
            let request = Request::new(&key, "one", &job.task, &job.args);
            JobSpec { request, ..job }
        };
        let query = |script| Task::Query {
            script,
            max_reads: 65_536,
        };
        let named_query = QueryScript::Named {
            name: "greet".into(),
            version: Some("aa".into()),
        };
        let jobs = [
            (
                "play_with_effects",
                JobSpec {
                    tells_effects: true,
                    ..spec(Caller::Key(key), None, Task::Source("1".into()))
                },
            ),
            ("play_with_request", with_request(Task::Source("1".into()))),
            (
                "play",
                spec(Caller::Key(key), is_member, Task::Source("1\n\"2\"".into())),
            ),
            (
                "play_of_device",
                spec(
                    Caller::Device { key, device },
                    is_member,
                    Task::Source("1".into()),
                ),
            ),
            ("note_device_use", note_use),
            (
                "play_of_anyone",
                spec(Caller::Anyone, None, Task::Source("1".into())),
            ),
            (
                "query",
                spec(
                    Caller::Key(key),
                    None,
                    query(QueryScript::Source("1\n\"2\"".into())),
                ),
            ),
            (
                "query_named",
                spec(Caller::Anyone, None, query(named_query)),
            ),
            ("call", spec(Caller::Key(key), None, named(None))),
            (
                "call_of_version",
                spec(Caller::Key(key), None, named(Some("aa"))),
            ),
            ("put_script", change(put)),
            ("put_script_with", change(put_with)),
            ("put_ruled_script", change(put_ruled)),
            ("deploy_scripts", with_request(Task::Procedure(deploy))),
            ("check_script", change(check)),
            ("get_script", change(get)),
            ("list_scripts", change(Procedure::ListScripts)),
            ("list_store", change(list_store)),
            ("get_key", change(Procedure::GetKey { key: name() })),
            (
                "delete_script",
                change(Procedure::DeleteScript { name: name() }),
            ),
            ("delete_script_if", change(delete_if)),
            (
                "add_member",
                change(Procedure::AddMember(AddMember::new(key))),
            ),
            (
                "remove_member",
                change(Procedure::RemoveMember { pubkey: key }),
            ),
            (
                "list_members",
                change(Procedure::ListMembers { fixed: vec![key] }),
            ),
            ("add_device_key", change(add_device)),
            (
                "remove_device_key",
                change(Procedure::RemoveDeviceKey { pubkey: device }),
            ),
            ("list_device_keys", change(Procedure::ListDeviceKeys)),
        ];
        let procedures = jobs.iter().filter_map(|(_, job)| match &job.task {
            Task::Procedure(procedure) => Some(json!(procedure)),
            Task::Source(_) | Task::Named { .. } | Task::Pinned(_) | Task::Query { .. } => None,
        });
        let name = |procedure: Value| match procedure.as_object() {
            Some(table) => table.keys().next().unwrap().clone(),
            None => procedure.as_str().unwrap().to_owned(),
        };
        let procedures: BTreeSet<String> = procedures.map(name).collect();
        // Serde's error lists all of them.
        let all = circled_json::from_str::<Procedure>("\"none\"")
            .unwrap_err()
            .to_string();
        let all: BTreeSet<String> = all
            .split('`')
            .skip(3)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        assert_eq!(procedures, all, "each procedure has a form here");
        for (form, job) in jobs {
            let written = serde_json::to_string(&Play::new(&job, "gateway")).unwrap();
            golden::check_json(form, &written, &["", "/job"], |text| {
                let play: Play<'_> = circled_json::borrowed(text).ok()?;
                serde_json::to_string(&play).ok()
            });
        }
    }

    #[test]
    fn outcomes_are_sent_as_before() {
        let success = Success {
            output: "1.0".to_owned(),
            value: serde_json::value::to_raw_value(&json!([1.0, 9_007_199_254_740_993_i64]))
                .unwrap(),
            logs: vec!["one".to_owned()],
            version: Some("aa".to_owned()),
            queried: None,
            replayed: None,
            effects: None,
        };
        let replayed = Success {
            replayed: Some(JobId::from_bytes([7; 16])),
            ..success.clone()
        };
        let plain = Success {
            version: None,
            logs: Vec::new(),
            ..success.clone()
        };
        let effects = RunEffects {
            reads: vec![KeysTouched {
                start: Some("a/".to_owned()),
                prefix: Some("a/".to_owned()),
                ..KeysTouched::default()
            }],
            writes: vec![WriteEffect {
                op: WriteOp::Push.into(),
                keys: KeysTouched {
                    key: Some("b".to_owned()),
                    ..KeysTouched::default()
                },
            }],
            events: vec!["c".to_owned()],
            jobs: 1,
            more: Some(MoreEffects::default()),
        };
        let with_effects = Success {
            effects: Some(Box::new(effects)),
            ..plain.clone()
        };
        let queried = |error| {
            let key = |key: &[u8]| Key::new(key);
            let reads = Reads {
                keys: [key(b"a"), key(b"\xffm")].into(),
                ranges: [(key(b"b/"), key(b"b0"))].into(),
            };
            let queried = Queried {
                at: 0,
                reads,
                by_caller: true,
                error,
            };
            Some(Box::new(queried))
        };
        let of_query = Success {
            queried: queried(None),
            ..plain.clone()
        };
        let of_failed_query = Success {
            queried: queried(Some(RunError::not_found("script"))),
            ..plain.clone()
        };
        let failure = Failure {
            line: Some(3),
            column: Some(1),
            logs: vec!["before".to_owned()],
            ..Failure::new(FailureKind::Runtime, "no")
        };
        let thrown = Failure {
            thrown: Some(Box::new(Thrown(r#"{"code":7}"#.into()))),
            ..failure.clone()
        };
        let timed_out = RunError::TimedOut {
            after: Duration::from_millis(1234),
            version: None,
        };
        let invalid = RunError::Invalid {
            reason: "why".to_owned(),
        };
        let outdated = RunError::Outdated {
            version: Some("aa".to_owned()),
            script: None,
        };
        let needs = Role::Owner;
        for (form, objects, outcome) in [
            ("outcome", &["/Ok"][..], Ok(success)),
            ("outcome_plain", &["/Ok"], Ok(plain)),
            ("outcome_of_query", &["/Ok", "/Ok/queried"], Ok(of_query)),
            ("outcome_of_failed_query", &["/Ok"], Ok(of_failed_query)),
            ("outcome_replayed", &["/Ok"], Ok(replayed)),
            (
                "outcome_with_effects",
                &["/Ok", "/Ok/effects"],
                Ok(with_effects),
            ),
            ("outcome_failed", &["/Err/failed"], Err(failure.into())),
            ("outcome_thrown", &["/Err/failed"], Err(thrown.into())),
            ("outcome_timed_out", &["/Err/timed_out"], Err(timed_out)),
            (
                "outcome_limit",
                &["/Err/limit"],
                Err(RunError::limit("script.queue")),
            ),
            (
                "outcome_not_found",
                &["/Err/not_found"],
                Err(RunError::not_found("script")),
            ),
            (
                "outcome_forbidden",
                &["/Err/forbidden"],
                Err(RunError::Forbidden { needs }),
            ),
            (
                "outcome_out_of_scope",
                &["/Err/out_of_scope"],
                Err(RunError::OutOfScope {
                    needs: Some(Permission::CallNamed("greet".to_owned())),
                }),
            ),
            ("outcome_unknown_device", &[], Err(RunError::UnknownDevice)),
            ("outcome_invalid", &["/Err/invalid"], Err(invalid)),
            ("outcome_outdated", &["/Err/outdated"], Err(outdated)),
            ("outcome_displaced", &[], Err(RunError::Displaced)),
            ("outcome_cancelled", &[], Err(RunError::Cancelled)),
            ("outcome_conflict", &[], Err(RunError::Conflict)),
            ("outcome_unavailable", &[], Err(RunError::Unavailable)),
        ] {
            let outcome: Outcome = outcome;
            let written = serde_json::to_string(&outcome).unwrap();
            golden::check_json(form, &written, objects, |text| {
                let outcome: Outcome = circled_json::from_str(text).ok()?;
                serde_json::to_string(&outcome).ok()
            });
        }
    }

    #[test]
    fn a_play_arrives_as_it_was_sent_whatever_newer_versions_add() {
        let key = SecretKey::from_hex(&"01".repeat(32)).unwrap().public();
        let job = JobSpec {
            id: JobId::new(),
            circle: key,
            caller: Caller::Key(key),
            requires: Some(Role::Member),
            task: Task::Source("\"line\\n\" + ARGS".into()),
            args: Cow::Owned(json!({ "big": u64::MAX, "none": null })),
            event: None,
            timeout: Duration::from_millis(1500),
            seed: Seed::draw(),
            durable: None,
            request: None,
            tells_effects: false,
        };
        let text = serde_json::to_string(&Play::new(&job, "gateway")).unwrap();
        // As `lua/prelude.lua` reads it.
        let begins = format!(
            r#"{{"job":{{"id":"{}","circle":"{key}","caller":"{key}","#,
            job.id
        );
        assert!(text.starts_with(&begins), "{text}");
        let mut sent = serde_json::to_value(Play::new(&job, "gateway")).unwrap();
        sent["since"] = json!("a later version");
        sent["job"]["since"] = json!("a later version");
        let text = sent.to_string();
        let play: Play<'_> = circled_json::borrowed(&text).unwrap();
        let play = play.into_owned();
        assert_eq!(format!("{:?}", play.job), format!("{:?}", job.into_owned()));
        assert_eq!(play.gateway, "gateway");
    }

    #[test]
    fn outcomes_arrive_as_they_were_sent() {
        let success = Success {
            output: "1.0".to_owned(),
            value: serde_json::value::to_raw_value(&json!([1.0, 9_007_199_254_740_993_i64]))
                .unwrap(),
            logs: vec!["one".to_owned(), String::new()],
            version: Some("aa".to_owned()),
            queried: None,
            replayed: Some(JobId::new()),
            effects: None,
        };
        let failure = Failure {
            line: Some(3),
            column: Some(1),
            logs: vec!["before".to_owned()],
            ..Failure::new(FailureKind::Runtime, "no")
        };
        for outcome in [
            Ok(success),
            Err(failure.into()),
            Err(RunError::TimedOut {
                after: Duration::from_millis(1234),
                version: None,
            }),
            Err(RunError::limit("script.queue")),
            Err(RunError::Displaced),
            Err(RunError::Unavailable),
        ] {
            let sent = serde_json::to_string(&outcome).unwrap();
            let arrived: Outcome = circled_json::from_str(&sent).unwrap();
            assert_eq!(format!("{outcome:?}"), format!("{arrived:?}"));
            assert!(circled_json::parse(&sent).is_ok());
        }
    }
}
