//! Runs scripts and procedures in a transaction.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use circled_protocol::{Permission, PublicKey, Role};
use jiff::Timestamp;

use super::{
    Caller, DeviceRecord, JobSpec, Procedure, QueryScript, Settings, Task, check_scope,
    find_device, guest_devices, has_script,
    job_spec::NeedsOwnKey,
    list_role,
    members::{CirclePeople, role},
    request::Account,
    scripts,
};
use crate::{
    auth::{Access, Action, Denied, decide},
    script::{Inputs, Limits, Outcome, PinnedModules, Queried, Reads, RunError, Sandbox, Success},
    store::{Transaction, Value},
};

/// Runs scripts and procedures within their limits. A cheap handle.
#[derive(Debug, Clone)]
pub struct Executor {
    /// The sandbox that runs scripts.
    pub sandbox: Sandbox,
    settings: Settings,
    access: Arc<Access>,
}

/// A source that was found.
struct FoundSource<'a> {
    source: SourceText<'a>,
    version: Option<String>,
    modules: Option<&'a Arc<PinnedModules>>,
}

enum SourceText<'a> {
    Given(&'a str),
    Stored(Value),
}

impl SourceText<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Given(text) => Cow::Borrowed(text),
            Self::Stored(value) => scripts::text(value),
        }
    }
}

impl Executor {
    /// Creates an executor with these limits. `access` decides whether a submitted job's caller may still run it.
    pub fn new(limits: Limits, settings: Settings, access: Arc<Access>) -> Self {
        Self {
            sandbox: Sandbox::for_circles(
                limits,
                super::find_module,
                Arc::new(CirclePeople(access.clone())),
            ),
            settings,
            access,
        }
    }

    /// Returns the role that a circle's own list must give a caller for a job that was submitted some time ago, by the
    /// rules of now. See [`JobSpec::requires`].
    pub fn requires(&self, circle: &PublicKey, caller: &PublicKey, action: Action) -> Option<Role> {
        let fixed = self.access.fixed_role(circle, caller);
        decide(self.access.needs(circle, action), Some(fixed)).unwrap_or_else(|denied| {
            Some(match denied {
                Denied::Needs(needs) => needs,
                Denied::Unauthenticated => Role::Guest,
            })
        })
    }

    /// Returns a digest of the rules: it is equal on servers that permit the same callers the same things.
    pub fn rules(&self) -> Arc<str> {
        self.access.digest()
    }

    /// Runs a script at once if it is known to be short; for threads that mustn't block. If it returns `None`, nothing
    /// has happened, though the transaction may have been used.
    pub fn try_run(
        &self,
        job: &JobSpec<'_>,
        transaction: &mut Option<Box<Transaction>>,
    ) -> Option<Outcome> {
        if let Task::Procedure(procedure) = &job.task {
            // Compiling takes time and a large stack; long lists take time.
            if procedure.is_long() || !procedure.sources().is_empty() {
                return None;
            }
            let outcome = self.perform(procedure, job, transaction.as_mut()?);
            return (!matches!(outcome, Err(RunError::Unavailable))).then_some(outcome);
        }
        let own = transaction.as_mut()?;
        let found = match admit_device(job, own).and_then(|()| replay(&self.access, job, own)) {
            Ok(Some(reply)) => return Some(Ok(reply)),
            Ok(None) => find(&self.access, job, own),
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(RunError::Unavailable) => return None,
            Err(error) => return Some(queried(job, Err(error), transaction)),
        };
        let inputs = inputs(job, &found);
        let outcome = self
            .sandbox
            .try_run(&found.source.text(), &inputs, transaction)?;
        let outcome = versioned(outcome, found.version);
        self.keep_reply(job, transaction, &outcome).ok()?;
        let outcome = with_effects(job, outcome, transaction.as_deref());
        Some(queried(job, outcome, transaction))
    }

    /// Runs on this thread, within the limits and until the deadline. Reads and writes go through the transaction; the
    /// caller commits it.
    pub fn run(
        &self,
        job: &JobSpec<'_>,
        transaction: &mut Option<Box<Transaction>>,
        deadline: Option<Instant>,
        cancel: &Arc<AtomicBool>,
    ) -> Outcome {
        let own = transaction.as_mut().ok_or(RunError::Unavailable)?;
        if let Task::Procedure(procedure) = &job.task {
            // A script is compiled only if its caller may store it.
            admit_device(job, own)?;
            admit(job, own)?;
            if let Some(reply) = replay(&self.access, job, own)? {
                return Ok(reply);
            }
            for (name, source) in procedure.sources() {
                let checked = self.check(procedure, source, own, deadline, cancel);
                checked.map_err(|error| {
                    let name = name.filter(|_| procedure.has_several());
                    match name {
                        Some(name) => error.in_script(name),
                        None => error,
                    }
                })?;
            }
            let outcome = self.perform(procedure, job, own);
            self.keep_reply(job, transaction, &outcome)?;
            return outcome;
        }
        admit_device(job, own)?;
        if let Some(reply) = replay(&self.access, job, own)? {
            return Ok(reply);
        }
        let found = match find(&self.access, job, own) {
            Ok(found) => found,
            Err(error) => return queried(job, Err(error), transaction),
        };
        let inputs = inputs(job, &found);
        let source = found.source.text();
        let outcome = self
            .sandbox
            .run(&source, &inputs, transaction, deadline, cancel);
        let outcome = versioned(outcome, found.version);
        self.keep_reply(job, transaction, &outcome)?;
        let outcome = with_effects(job, outcome, transaction.as_deref());
        queried(job, outcome, transaction)
    }

    /// Checks that a source which a procedure puts compiles, and that all that it imports is there.
    fn check(
        &self,
        procedure: &Procedure,
        source: &str,
        transaction: &mut Transaction,
        deadline: Option<Instant>,
        cancel: &Arc<AtomicBool>,
    ) -> Result<(), RunError> {
        for import in self.sandbox.examine(source, deadline, cancel)? {
            let is_there = match procedure.leaves(&import.name) {
                Some(is_there) => is_there,
                None => has_script(transaction, &import.name)?,
            };
            if !is_there {
                return Err(import.is_missing().into());
            }
        }
        Ok(())
    }

    /// Keeps the reply of a request that may be sent again, if its run changes anything.
    fn keep_reply(
        &self,
        job: &JobSpec<'_>,
        transaction: &mut Option<Box<Transaction>>,
        outcome: &Outcome,
    ) -> Result<(), RunError> {
        if let (Some(request), Some(transaction), Ok(success)) =
            (&job.request, transaction, outcome)
            && transaction.writes()
        {
            let account = match job.caller.key() {
                Some(key) if role(&self.access, transaction, key)? >= Role::Member => {
                    Some(Account::of(key))
                }
                Some(_) | None => None,
            };
            let time = self.settings.requests_for;
            request.keep(transaction, job, success, account, time);
        }
        Ok(())
    }

    fn perform(
        &self,
        procedure: &Procedure,
        job: &JobSpec<'_>,
        transaction: &mut Transaction,
    ) -> Outcome {
        admit_device(job, transaction)?;
        admit(job, transaction)?;
        let now = Timestamp::now();
        if let (Procedure::AddDeviceKey(new), Some(key)) = (procedure, job.caller.key())
            && role(&self.access, transaction, key)? < Role::Member
        {
            let most = self.settings.max_guest_device_keys;
            guest_devices::make_room(transaction, new, now, most)?;
        }
        Ok(Success {
            output: String::new(),
            value: procedure.perform(transaction, &job.caller, now, &self.settings)?,
            logs: Vec::new(),
            version: None,
            queried: None,
            replayed: None,
            effects: None,
        })
    }
}

/// Checks that the device key by which the caller acts, if it does, is theirs still, and that its scope permits the job.
fn admit_device(job: &JobSpec<'_>, transaction: &mut Transaction) -> Result<(), RunError> {
    let Caller::Device { key, device } = &job.caller else {
        return Ok(());
    };
    let record = find_device(transaction, device, Timestamp::now())?;
    let scope = DeviceRecord::scope_for(record, key)?;
    let own = job.task.permission();
    let own = own.map_err(|NeedsOwnKey| RunError::OutOfScope { needs: None })?;
    let submitted = job.durable.is_some().then_some(Permission::Jobs);
    check_scope(&scope, own.into_iter().chain(submitted))
}

/// Checks that the caller may run a job.
fn admit(job: &JobSpec<'_>, transaction: &mut Transaction) -> Result<(), RunError> {
    if let Caller::Provider(name) = &job.caller {
        transaction.run_for(name);
    }
    let Some(needs) = job.requires else {
        return Ok(());
    };
    match job.caller.key() {
        Some(key) if list_role(transaction, key)? >= Some(needs) => Ok(()),
        Some(_) | None => Err(RunError::Forbidden { needs }),
    }
}

/// Checks that the caller may run a script with this rule of its own. It replaces the circle's.
fn admit_to(
    access: &Access,
    job: &JobSpec<'_>,
    transaction: &mut Transaction,
    rule: Option<Role>,
) -> Result<(), RunError> {
    if rule.is_some() {
        transaction.see_caller();
        // Only who manages the circle may choose a version or see effects, whoever may call the newest one.
        if job.task.has_version() || job.tells_effects {
            admit(job, transaction)?;
        }
    }
    match (rule, &job.caller) {
        (Some(needs), Caller::Key(key) | Caller::Device { key, .. }) => {
            if role(access, transaction, key)? >= needs {
                Ok(())
            } else {
                Err(RunError::Forbidden { needs })
            }
        }
        (Some(needs), Caller::Anyone) => Err(RunError::Forbidden { needs }),
        (None, _) | (_, Caller::Provider(_)) => admit(job, transaction),
    }
}

/// Returns the reply to a request that was answered before, after checking that the caller may make it still.
fn replay(
    access: &Access,
    job: &JobSpec<'_>,
    transaction: &mut Transaction,
) -> Result<Option<Success>, RunError> {
    let Some(request) = &job.request else {
        return Ok(None);
    };
    let rule = match job.task.script() {
        Some(name) => scripts::rule(transaction, name)?,
        None => None,
    };
    admit_to(access, job, transaction, rule.flatten())?;
    request.find(transaction)
}

/// Finds the script to run, after checking that the caller may run it: by the script's own rule, if it has one.
fn find<'a>(
    access: &Access,
    job: &'a JobSpec<'_>,
    transaction: &mut Transaction,
) -> Result<FoundSource<'a>, RunError> {
    if job.task.is_query() {
        transaction.only_read();
    }
    let given = |source| FoundSource {
        source: SourceText::Given(source),
        version: None,
        modules: None,
    };
    Ok(match &job.task {
        Task::Source(source)
        | Task::Query {
            script: QueryScript::Source(source),
            ..
        } => {
            admit(job, transaction)?;
            given(source)
        }
        Task::Procedure(_) => {
            admit(job, transaction)?;
            given("")
        }
        Task::Pinned(pinned) => {
            // A caller's job ends with its script.
            let rule = match (&pinned.name, job.caller.key()) {
                (Some(name), Some(_)) => scripts::rule(transaction, name)?,
                (None, _) | (_, None) => Some(None),
            };
            admit_to(access, job, transaction, rule.flatten())?;
            if rule.is_none() {
                return Err(RunError::not_found("script"));
            }
            FoundSource {
                version: pinned.version.clone(),
                modules: Some(&pinned.modules),
                ..given(&pinned.source)
            }
        }
        Task::Named { name, version }
        | Task::Query {
            script: QueryScript::Named { name, version },
            ..
        } => {
            let found = scripts::find(transaction, name, version.as_deref());
            let rule = found.as_ref().ok().and_then(|found| found.call);
            admit_to(access, job, transaction, rule)?;
            let found = found?;
            FoundSource {
                source: SourceText::Stored(found.source),
                version: Some(found.put.version),
                modules: None,
            }
        }
    })
}

fn inputs<'a>(job: &'a JobSpec<'_>, found: &FoundSource<'a>) -> Inputs<'a> {
    Inputs {
        caller_id: &job.caller,
        caller: job.caller.key(),
        context_id: &job.circle,
        job_id: &job.id,
        args: &job.args,
        event: job.event.as_deref(),
        durable: job.durable,
        occasion: job.occasion(),
        modules: found.modules,
    }
}

/// Adds what a query has read to its outcome. An error that comes of what it has read is a success of the query.
fn queried(
    job: &JobSpec<'_>,
    outcome: Outcome,
    transaction: &mut Option<Box<Transaction>>,
) -> Outcome {
    let (Task::Query { max_reads, .. }, Some(transaction)) = (&job.task, transaction) else {
        return outcome;
    };
    let (mut success, error) = match outcome {
        Ok(success) => (success, None),
        Err(error) if error.is_of_its_reads() => (Success::nothing(), Some(error)),
        Err(error) => return Err(error),
    };
    let reads = Reads::from(transaction.reads());
    if reads.size() > *max_reads {
        return Err(RunError::limit("session.watch_reads"));
    }
    success.output.clear();
    success.logs.clear();
    success.queried = Some(Box::new(Queried {
        at: transaction.last_commit()?,
        reads,
        by_caller: transaction.saw_caller(),
        error,
    }));
    Ok(success)
}

/// Adds the effects to the outcome, if they were asked for.
fn with_effects(
    job: &JobSpec<'_>,
    mut outcome: Outcome,
    transaction: Option<&Transaction>,
) -> Outcome {
    if let (true, Ok(success), Some(transaction)) = (job.tells_effects, &mut outcome, transaction) {
        success.effects = Some(Box::new(transaction.told_effects()));
    }
    outcome
}

/// Adds the version of a named script to the outcome.
fn versioned(mut outcome: Outcome, ran: Option<String>) -> Outcome {
    match &mut outcome {
        Ok(success) => success.version = ran,
        Err(RunError::Failed(failure)) => failure.version = ran.map(Into::into),
        Err(RunError::TimedOut { version, .. }) => *version = ran,
        Err(_) => {}
    }
    outcome
}
