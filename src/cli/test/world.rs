//! The circle that a test acts on: its store in memory, its time, its caller.

use std::{
    borrow::Cow,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use circled_protocol::{
    JobId, PublicKey, Role, SecretKey,
    methods::{AddMember, DeployScripts, ScriptToPut},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    auth::{Access, Action},
    circle::{self, Caller, Executor, JobSpec, Procedure, Task, script_for},
    cli::{explain::excerpt, folder::Folder},
    config::Settings,
    rpc,
    script::{DurableTry, Host, Outcome, RunError, Seed},
    store::{InMemory, NewEvent},
    units,
};

/// The time when each test begins: 2026-01-01T00:00:00Z.
pub(super) const BEGIN: i64 = 1_767_225_600_000;

/// The functions of tests, each with the fewest and the most arguments.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("assert", 1, 2),
    ("assert_eq", 2, 3),
    ("assert_ne", 2, 3),
    ("play", 1, 2),
    ("play_fails", 1, 2),
    ("call_script", 1, 2),
    ("call_fails", 1, 2),
    ("deliver", 1, 2),
    ("deliver_fails", 1, 2),
    ("as_owner", 0, 0),
    ("as_member", 1, 1),
    ("as_guest", 1, 1),
    ("as_anyone", 0, 0),
    ("key", 1, 1),
    ("now", 0, 0),
    ("set_time", 1, 1),
    ("advance", 1, 1),
    ("events", 0, 0),
    ("logs", 0, 0),
    ("stored", 1, 1),
    ("given", 2, 2),
];

/// A circle with the scripts of a folder.
#[derive(Debug)]
pub(super) struct World {
    folder: Arc<Folder>,
    circle: PublicKey,
    access: Arc<Access>,
    executor: Executor,
    /// The store when a test begins.
    first: InMemory,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    store: InMemory,
    caller: Caller<'static>,
    now: i64,
    /// The events that no test has read yet.
    events: Vec<NewEvent>,
    /// The lines that the last run printed.
    logs: Vec<String>,
    runs: u64,
}

impl World {
    /// Creates a circle with the scripts of a folder, as a server with these settings has it.
    ///
    /// # Errors
    /// A limit of the circle.
    pub(super) fn new(folder: Arc<Folder>, settings: &Settings) -> Result<Self, RunError> {
        let circle = key_of("circle");
        let access = Arc::new(Access::new(&settings.circles, &settings.circle));
        let requests_for = settings.dispatch.requests_for.get();
        let own = circle::Settings::new(&settings.circles, &settings.auth, requests_for);
        let executor = Executor::new(settings.script.clone(), own, Arc::clone(&access));
        let first = InMemory::new(circle, settings.store.clone());
        let mut world = Self {
            folder,
            circle,
            access,
            executor,
            state: Mutex::new(State {
                store: first.clone(),
                caller: Caller::Key(circle),
                now: BEGIN,
                events: Vec::new(),
                logs: Vec::new(),
                runs: 0,
            }),
            first,
        };
        let put = world
            .folder
            .scripts
            .iter()
            .map(|(name, script)| ScriptToPut {
                name: name.clone(),
                source: script.source.clone(),
                call: Some(script.call),
                was: None,
            });
        let deployment = DeployScripts {
            put: put.collect(),
            ..DeployScripts::default()
        };
        world.perform(Procedure::DeployScripts(deployment))?;
        let first = world.state().store.clone();
        world.first = first;
        world.begin();
        Ok(world)
    }

    /// Begins a test: all is as at first.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        *state = State {
            store: self.first.clone(),
            caller: Caller::Key(self.circle),
            now: BEGIN,
            events: Vec::new(),
            logs: Vec::new(),
            runs: 0,
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs a procedure as the owner.
    fn perform(&self, procedure: Procedure) -> Result<(), RunError> {
        let owner = Caller::Key(self.circle);
        self.run(Task::Procedure(procedure), owner, None, &Value::Null, None)?;
        self.state().events.clear();
        Ok(())
    }

    /// Runs something as the server does, and commits it.
    fn run(
        &self,
        task: Task<'_>,
        caller: Caller<'static>,
        requires: Option<Role>,
        args: &Value,
        event: Option<&Value>,
    ) -> Outcome {
        let mut state = self.state();
        state.runs += 1;
        let now = state.now;
        let durable = event.map(|_| DurableTry {
            time: now,
            due: now,
            submitted_at: now,
            tries: 0,
        });
        let job = JobSpec {
            id: job_id(now, state.runs),
            circle: self.circle,
            caller,
            requires,
            task,
            args: Cow::Borrowed(args),
            event: event.map(Cow::Borrowed),
            timeout: self.executor.sandbox.limits().timeout.get(),
            seed: Seed::draw(),
            durable,
            request: None,
            tells_effects: false,
        };
        let mut transaction = Some(Box::new(state.store.begin(now)));
        // The test has this thread's budget.
        let run = || {
            self.executor
                .run(&job, &mut transaction, None, &Arc::default())
        };
        let outcome = thread::scope(|scope| scope.spawn(run).join());
        let outcome = outcome.unwrap_or(Err(RunError::Unavailable));
        state.logs = match &outcome {
            Ok(success) => success.logs.clone(),
            Err(RunError::Failed(failure)) => failure.logs.clone(),
            Err(_) => Vec::new(),
        };
        let success = outcome?;
        if let Some(transaction) = transaction {
            let events = state.store.commit(*transaction, now)?;
            state.events.extend(events);
        }
        Ok(success)
    }

    /// Runs something as the caller, by the circle's rule for it.
    fn run_as_caller(&self, task: Task<'_>, action: Action, args: &Value) -> Outcome {
        let caller = self.state().caller.clone();
        let requires = match caller.key() {
            Some(key) => self.executor.requires(&self.circle, key, action),
            None => self.access.needs(&self.circle, action),
        };
        self.run(task, caller, requires, args, None)
    }

    /// Runs what a function names. Returns what it is called in messages, and its outcome.
    fn run_named(&self, name: &str, arguments: &[Value]) -> Result<(String, Outcome), String> {
        let first = text(name, arguments)?;
        let args = arguments.get(1).unwrap_or(&Value::Null);
        if name.starts_with("play") {
            let task = Task::Source(first.into());
            let outcome = self.run_as_caller(task, Action::Play, args);
            return Ok(("the script".to_owned(), outcome));
        }
        let named = |name: &str| Task::Named {
            name: name.to_owned().into(),
            version: None,
        };
        if name.starts_with("call") {
            let outcome = self.run_as_caller(named(first), Action::Call, args);
            return Ok((first.to_owned(), outcome));
        }
        let script = script_for(first);
        let mut event = json!({
            "provider": first,
            "id": format!("test_{}", self.state().runs + 1),
            "type": null,
            "payload": null,
            "received_at": iso(self.state().now),
        });
        if !args.is_object() && !args.is_null() {
            return Err(format!(
                "{name}: give the event as #{{ type: ..., payload: ... }}"
            ));
        }
        for (field, value) in args.as_object().into_iter().flatten() {
            if event.get(field).is_none() {
                return Err(format!("{name}: there is no `{field}` in EVENT"));
            }
            event[field] = value.clone();
        }
        let caller = Caller::Provider(first.to_owned().into());
        let outcome = self.run(named(&script), caller, None, &Value::Null, Some(&event));
        Ok((script, outcome))
    }

    /// Returns the error of a run in words, with its place in the folder.
    fn explained(&self, what: &str, error: &RunError) -> String {
        let mut told = format!("{what} failed: {error}");
        let script = self.folder.scripts.get(what);
        if let (RunError::Failed(failure), Some(script)) = (error, script)
            && let Some(line) = failure.line
        {
            told += &excerpt(&script.shown(), line, failure.column.unwrap_or(0));
        }
        told
    }

    /// Has another caller run things from now on. Returns the caller's key.
    fn change_caller(&self, caller: PublicKey) -> Value {
        self.state().caller = Caller::Key(caller);
        json!(caller.to_string())
    }

    fn set_time(&self, name: &str, time: Option<i64>) -> Result<Value, String> {
        let time = time.filter(|time| (0..1 << 47).contains(time));
        let time = time.ok_or_else(|| {
            format!("{name}: give a time like \"2026-11-23T16:45:00Z\", or milliseconds since 1970; to `advance`, a duration like \"1h\"")
        })?;
        self.state().now = time;
        Ok(json!(time))
    }
}

impl Host for World {
    fn functions(&self) -> &'static [(&'static str, usize, usize)] {
        FUNCTIONS
    }

    fn call(&self, name: &'static str, arguments: Vec<Value>) -> Result<Value, String> {
        match name {
            "assert" => holds(
                name,
                &arguments,
                1,
                arguments[0] == true,
                || match arguments[0].is_boolean() {
                    true => "it is false".to_owned(),
                    false => format!("{} is neither true nor false", arguments[0]),
                },
            ),
            "assert_eq" => holds(name, &arguments, 2, arguments[0] == arguments[1], || {
                format!(
                    "the two differ\n  left:  {}\n  right: {}",
                    arguments[0], arguments[1]
                )
            }),
            "assert_ne" => holds(name, &arguments, 2, arguments[0] != arguments[1], || {
                format!("both are {}", arguments[0])
            }),
            "play" | "call_script" | "deliver" => {
                let (what, outcome) = self.run_named(name, &arguments)?;
                let success = outcome.map_err(|error| self.explained(&what, &error))?;
                circled_json::parse(success.value.get()).map_err(|error| error.to_string())
            }
            "play_fails" | "call_fails" | "deliver_fails" => {
                let (what, outcome) = self.run_named(name, &arguments)?;
                match outcome {
                    Ok(success) => Err(format!(
                        "{name}: {what} should fail, and returned {}",
                        success.value.get()
                    )),
                    Err(error) => Ok(told(error)),
                }
            }
            "as_owner" => Ok(self.change_caller(self.circle)),
            "as_member" => {
                let key = key_of(text(name, &arguments)?);
                let add = Procedure::AddMember(AddMember::new(key));
                let events = std::mem::take(&mut self.state().events);
                let added = self.perform(add);
                self.state().events = events;
                added.map_err(|error| format!("{name}: {error}"))?;
                Ok(self.change_caller(key))
            }
            "as_guest" => Ok(self.change_caller(key_of(text(name, &arguments)?))),
            "as_anyone" => {
                self.state().caller = Caller::Anyone;
                Ok(Value::Null)
            }
            "key" => Ok(json!(key_of(text(name, &arguments)?).to_string())),
            "now" => Ok(json!(self.state().now)),
            "set_time" => {
                let time = &arguments[0];
                let parsed = time
                    .as_str()
                    .and_then(|time| time.parse::<Timestamp>().ok());
                let millis = parsed.map(Timestamp::as_millisecond);
                self.set_time(name, millis.or_else(|| time.as_i64()))
            }
            "advance" => {
                let by = &arguments[0];
                let parsed = by.as_str().and_then(units::duration::parse);
                let millis = parsed.and_then(|by| i64::try_from(by.as_millis()).ok());
                let by = millis.or_else(|| by.as_i64());
                let now = self.state().now;
                self.set_time(name, by.and_then(|by| now.checked_add(by)))
            }
            "events" => {
                let events = std::mem::take(&mut self.state().events);
                Ok(events.iter().map(event).collect())
            }
            "logs" => Ok(json!(self.state().logs)),
            "stored" => {
                let state = self.state();
                let found = state.store.begin(state.now).get(text(name, &arguments)?);
                let found = found.map_err(|error| format!("{name}: {error}"))?;
                Ok(found.map_or(Value::Null, |value| {
                    circled_json::parse(&*value).unwrap_or_default()
                }))
            }
            "given" => {
                let mut state = self.state();
                let now = state.now;
                let mut transaction = state.store.begin(now);
                let value = arguments[1].to_string();
                let value = crate::store::Value::new(value.as_bytes());
                let failed = |error: &dyn Display| format!("{name}: {error}");
                transaction
                    .set(text(name, &arguments)?, Some(value))
                    .map_err(|error| failed(&error))?;
                let set = state.store.commit(transaction, now);
                set.map_err(|error| failed(&error))?;
                Ok(Value::Null)
            }
            _ => Err(format!("there is no function {name}")),
        }
    }
}

/// Returns nothing if an assertion holds. `says` says why it doesn't; the argument after the first `count` ones is the
/// test's own message.
fn holds(
    name: &str,
    arguments: &[Value],
    count: usize,
    holds: bool,
    says: impl FnOnce() -> String,
) -> Result<Value, String> {
    if holds {
        return Ok(Value::Null);
    }
    let own = match arguments.get(count) {
        Some(own) => match own.as_str() {
            Some(own) => format!(" ({own})"),
            None => format!(" ({own})"),
        },
        None => String::new(),
    };
    Err(format!("{name}{own}: {}", says()))
}

/// Returns the first argument, which must be a text.
fn text<'a>(name: &str, arguments: &'a [Value]) -> Result<&'a str, String> {
    let first = arguments.first().and_then(Value::as_str);
    first.ok_or_else(|| format!("{name}: the first argument is a text"))
}

/// Returns an error as clients get it.
fn told(error: RunError) -> Value {
    let message = error.to_string();
    let error = rpc::Error::from(error);
    json!({ "code": error.code(), "message": message, "data": error.data() })
}

/// Returns an event as sessions get it.
fn event(event: &NewEvent) -> Value {
    let data = circled_json::parse(&*event.data).unwrap_or_default();
    let mut told = json!({ "topic": event.topic, "data": data });
    if let Some(to) = &event.to {
        told["to"] = json!(to.to_string());
    }
    told
}

/// Returns the public key that a text is, or else one that belongs to this name.
fn key_of(name: &str) -> PublicKey {
    name.parse().unwrap_or_else(|_| {
        let secret = hex::encode(Sha256::digest(name));
        // Of 2^128 names, one has no key.
        SecretKey::from_hex(&secret).map_or_else(|_| key_of("another"), |key| key.public())
    })
}

/// Returns the id of the run of this number at a time: a UUID of version 7.
fn job_id(time: i64, number: u64) -> JobId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&time.to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes[8] |= 0x80;
    JobId::from_bytes(bytes)
}

fn iso(time: i64) -> String {
    Timestamp::from_millisecond(time).map_or_else(|_| String::new(), |time| time.to_string())
}
