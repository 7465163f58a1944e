//! Runs scripts and procedures in a transaction.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use circled_protocol::{PublicKey, Role};
use jiff::Timestamp;

use super::{Pinned, Procedure, Settings, has_script, is_member, scripts};
use crate::{
    auth::{Access, Action, Admission, Denied, decide},
    script::{Inputs, Limits, Outcome, RunError, Sandbox, Success},
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

/// A script or procedure to be run.
#[derive(Debug, Clone, Copy)]
pub enum Task<'a> {
    /// A source.
    Source(&'a str),
    /// The named script of the circle, as it is when it runs.
    Named {
        /// The name.
        name: &'a str,
        /// The version; the newest one if none is given.
        version: Option<&'a str>,
    },
    /// A script as it was when its job was accepted.
    Pinned(&'a Pinned),
    /// A procedure.
    Procedure(&'a Procedure),
}

/// One run.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The script or procedure.
    pub task: Task<'a>,
    /// The caller's authority.
    pub authority: Authority<'a>,
    /// The constants that the script sees.
    pub inputs: Inputs<'a>,
}

/// The authority by which something runs. What can change is checked when it runs, in the run's own transaction.
#[derive(Debug, Clone, Copy)]
pub enum Authority<'a> {
    /// The permission was checked a moment ago.
    Granted,
    /// The caller must be on the circle's member list.
    Member(&'a PublicKey),
    /// The job was submitted some time ago. Its caller must still have the permission, by the settings and the member
    /// list, and a named script must still exist.
    Submitted {
        /// The caller who submitted it.
        caller: PublicKey,
        /// The name of the script, if it has one.
        name: Option<&'a str>,
    },
    /// A provider has sent and signed the request.
    Provider(&'a str),
}

/// A source that was found.
struct FoundSource<'a> {
    source: SourceText<'a>,
    version: Option<String>,
    pinned: Option<&'a Pinned>,
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
            sandbox: Sandbox::with_modules(limits, super::find_module),
            settings,
            access,
        }
    }

    /// Returns a digest of the rules: it is equal on servers that permit the same callers the same things.
    pub fn rules(&self) -> Arc<str> {
        self.access.digest()
    }

    /// Runs a script at once if it is known to be short; for threads that mustn't block. If it returns `None`, nothing
    /// has happened, though the transaction may have been used.
    pub fn try_run(&self, run: &Run<'_>, transaction: &mut Option<Transaction>) -> Option<Outcome> {
        if let Task::Procedure(procedure) = run.task {
            // Compiling takes time and a large stack; long lists take time.
            if procedure.source().is_some() || procedure.is_list() {
                return None;
            }
            let outcome = self.perform(procedure, run, transaction.as_mut()?);
            return (!matches!(outcome, Err(RunError::Unavailable))).then_some(outcome);
        }
        let found = match self.find(run, transaction.as_mut()?) {
            Ok(found) => found,
            Err(RunError::Unavailable) => return None,
            Err(error) => return Some(Err(error)),
        };
        let inputs = inputs(run, &found);
        let outcome = self
            .sandbox
            .try_run(&found.source.text(), &inputs, transaction)?;
        Some(versioned(outcome, found.version))
    }

    /// Runs on this thread, within the limits and until the deadline. Reads and writes go through the transaction; the
    /// caller commits it.
    pub fn run(
        &self,
        run: &Run<'_>,
        transaction: &mut Option<Transaction>,
        deadline: Option<Instant>,
        cancel: &Arc<AtomicBool>,
    ) -> Outcome {
        let own = transaction.as_mut().ok_or(RunError::Unavailable)?;
        if let Task::Procedure(procedure) = run.task {
            // A script is compiled only if its caller may store it.
            self.admit(run, own)?;
            if let Some(source) = procedure.source() {
                self.sandbox.imports(source, deadline, cancel)?;
            }
            return self.perform(procedure, run, own);
        }
        let found = self.find(run, own)?;
        let inputs = inputs(run, &found);
        let source = found.source.text();
        let outcome = self
            .sandbox
            .run(&source, &inputs, transaction, deadline, cancel);
        versioned(outcome, found.version)
    }

    fn perform(
        &self,
        procedure: &Procedure,
        run: &Run<'_>,
        transaction: &mut Transaction,
    ) -> Outcome {
        self.admit(run, transaction)?;
        let by = run.inputs.caller_id;
        Ok(Success {
            output: String::new(),
            value: procedure.perform(transaction, by, Timestamp::now(), &self.settings)?,
            logs: Vec::new(),
            version: None,
        })
    }

    /// Checks that the caller may run this.
    fn admit(&self, run: &Run<'_>, transaction: &mut Transaction) -> Result<(), RunError> {
        match run.authority {
            Authority::Granted => Ok(()),
            Authority::Provider(provider) => {
                transaction.run_for(provider);
                Ok(())
            }
            Authority::Member(member) => must_be_member(transaction, member),
            Authority::Submitted { caller, name } => {
                let action = name.map_or(Action::Play, |_| Action::Call);
                let circle = transaction.circle();
                let needs = self.access.needs(&circle, action);
                match decide(needs, Some(self.access.fixed_role(&circle, &caller))) {
                    Ok(Admission::Granted) => {}
                    Ok(Admission::IfMember) => must_be_member(transaction, &caller)?,
                    Err(Denied::Needs(needs)) => return Err(RunError::Forbidden { needs }),
                    Err(Denied::Unauthenticated) => {
                        let needs = Role::Guest;
                        return Err(RunError::Forbidden { needs });
                    }
                }
                match name {
                    Some(name) if !has_script(transaction, name)? => {
                        let what = "script".into();
                        Err(RunError::NotFound { what })
                    }
                    Some(_) | None => Ok(()),
                }
            }
        }
    }

    /// Finds the source to run, after checking that the caller may run it.
    fn find<'a>(
        &self,
        run: &Run<'a>,
        transaction: &mut Transaction,
    ) -> Result<FoundSource<'a>, RunError> {
        self.admit(run, transaction)?;
        find(run.task, transaction)
    }
}

fn must_be_member(transaction: &mut Transaction, caller: &PublicKey) -> Result<(), RunError> {
    let needs = Role::Member;
    if is_member(transaction, caller)? {
        Ok(())
    } else {
        Err(RunError::Forbidden { needs })
    }
}

fn find<'a>(task: Task<'a>, transaction: &mut Transaction) -> Result<FoundSource<'a>, RunError> {
    let given = |source| FoundSource {
        source: SourceText::Given(source),
        version: None,
        pinned: None,
    };
    Ok(match task {
        Task::Source(source) => given(source),
        Task::Procedure(_) => given(""),
        Task::Pinned(pinned) => FoundSource {
            version: pinned.version.clone(),
            pinned: Some(pinned),
            ..given(&pinned.source)
        },
        Task::Named { name, version } => {
            let (put, source) = scripts::find(transaction, name, version)?;
            FoundSource {
                source: SourceText::Stored(source),
                version: Some(put.version),
                pinned: None,
            }
        }
    })
}

fn inputs<'a>(run: &Run<'a>, found: &FoundSource<'a>) -> Inputs<'a> {
    Inputs {
        modules: found.pinned.map(|pinned| &pinned.modules),
        ..run.inputs
    }
}

/// Adds the version of a named script to the outcome.
fn versioned(mut outcome: Outcome, ran: Option<String>) -> Outcome {
    match &mut outcome {
        Ok(success) => success.version = ran,
        Err(RunError::Failed(failure)) => failure.version = ran,
        Err(RunError::TimedOut { version, .. }) => *version = ran,
        Err(_) => {}
    }
    outcome
}
