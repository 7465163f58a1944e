//! Retries dead and cancelled jobs, and chooses what they run then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{JobId, PublicKey};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Dispatcher, JobRecord, Viewer, submission::Input};
use crate::{
    circle::{self, Caller, Compiler, Executor, Pinned},
    script::RunError,
    store::{NewEvent, SubmittedJob, Transaction, Unavailable, Value},
};

/// The longest that compiling may take when no server is waited for.
const LONGEST: Duration = Duration::from_secs(60);

/// The script that a retried job runs.
#[derive(Debug, Clone)]
pub(super) enum Rerun {
    /// It runs what it ran before.
    AsBefore,
    /// This script.
    Script(Arc<Pinned>),
    /// The script that the settings have for its provider.
    Provided,
}

/// A job that runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The script's name, if it has one.
    pub name: Option<String>,
    /// The version that runs.
    pub version: Option<String>,
}

/// The reason why a job doesn't run again.
#[derive(Debug)]
pub enum NotRetried {
    /// There is no dead or cancelled job of this id.
    NotOver,
    /// Its script isn't there, or doesn't compile.
    Script(RunError),
    /// Its input is gone, damaged or of a newer version.
    Unreadable,
    /// It can't be read or written.
    Unavailable,
}

/// The choice of a retried job's script.
#[derive(Debug)]
enum ScriptChoice {
    /// It is with the job.
    AsBefore,
    /// The circle's script of this name.
    Named(String, Option<String>),
    /// The circle's script of this name when the job's time comes: there must be one now, too.
    Later(String),
    /// A source, with what it imports as that is now.
    Source(Arc<str>),
    /// The circle's script for a provider's deliveries, of this name, or else the settings' script.
    ForDeliveries(String),
}

impl Rerun {
    /// Changes a job's record and input to what it is to run.
    fn apply(&self, job: &mut JobRecord, input: &mut Input) {
        let script = match self {
            Self::AsBefore => return,
            Self::Script(script) => Some(script.clone()),
            Self::Provided => None,
        };
        job.name = script.as_ref().and_then(|script| script.name.clone());
        job.version = script.as_ref().and_then(|script| script.version.clone());
        input.script = script;
        input.newest = false;
    }

    /// Returns whether it runs another script than before.
    pub(super) fn changes(&self) -> bool {
        !matches!(self, Self::AsBefore)
    }

    /// Returns the job that runs again, as a commit takes it, and the event of that; nothing if it isn't over. `stored`:
    /// its record as it is stored; `input`: its input, if that changes; `by`: the caller who retries it, if one does.
    pub(super) fn submitted(
        &self,
        mut job: JobRecord,
        stored: &[u8],
        mut input: Option<Input>,
        by: Option<&Caller<'_>>,
    ) -> Option<(SubmittedJob, NewEvent)> {
        if !job.may_be_retried() || self.changes() && input.is_none() {
            return None;
        }
        job.retry(Timestamp::now(), by);
        if let Some(input) = &mut input {
            self.apply(&mut job, input);
        }
        let replaced = Some(Value::new(stored));
        Some((job.submitted(input.as_ref(), replaced), job.change_event()))
    }

    fn summary(&self, job: &JobRecord) -> Retried {
        let (name, version) = match self {
            Self::AsBefore => (job.name.clone(), job.version.clone()),
            Self::Script(script) => (script.name.clone(), script.version.clone()),
            Self::Provided => (None, None),
        };
        Retried { name, version }
    }
}

impl ScriptChoice {
    /// Chooses the script of a job. Without a version, a job runs its script as it is now, or as it is when its time
    /// comes.
    fn of(job: &JobRecord, input: &Input, version: Option<&str>) -> Result<Self, RunError> {
        let is_put_off = job.run_at.is_some_and(|run_at| run_at > Timestamp::now());
        if let (Some(name), None) = (&job.name, version)
            && input.newest
            && is_put_off
        {
            return Ok(Self::Later(name.clone()));
        }
        // Which version it ran says nothing of what runs next, where that is the newest.
        let own = job
            .version
            .as_deref()
            .filter(|_| !input.newest)
            .zip(version);
        if own.is_some_and(|(own, version)| !version.is_empty() && own.starts_with(version)) {
            return Ok(Self::AsBefore);
        }
        let version = version.map(str::to_owned);
        if let Some(provider) = job.provider() {
            let name = circle::script_for(provider);
            return Ok(match version {
                Some(_) => Self::Named(name, version),
                None => Self::ForDeliveries(name),
            });
        }
        match (&job.name, &input.script, version) {
            (Some(name), _, version) => Ok(Self::Named(name.clone(), version)),
            (None, Some(script), None) => Ok(Self::Source(script.source.clone())),
            (None, None, None) => Ok(Self::AsBefore),
            (None, _, Some(_)) => Err(RunError::Invalid {
                reason: "only named scripts have versions".to_owned(),
            }),
        }
    }

    /// Finds and pins it. May compile, and blocks.
    fn pin(
        &self,
        transaction: &mut Transaction,
        compiler: &Compiler<'_>,
    ) -> Result<Option<Pinned>, RunError> {
        match self {
            Self::AsBefore => Ok(None),
            Self::Named(name, version) => {
                circle::pin(transaction, compiler, name, version.as_deref()).map(Some)
            }
            Self::Later(name) => circle::pin(transaction, compiler, name, None).map(|_| None),
            Self::Source(source) => circle::pin_source(transaction, compiler, source).map(Some),
            Self::ForDeliveries(name) => {
                Ok(circle::pin_for_deliveries(transaction, compiler, name)?)
            }
        }
    }

    fn rerun(&self, pinned: Option<Pinned>) -> Rerun {
        match (pinned, self) {
            (Some(pinned), _) => Rerun::Script(Arc::new(pinned)),
            (None, Self::ForDeliveries(_)) => Rerun::Provided,
            (None, Self::AsBefore | Self::Named(..) | Self::Later(_) | Self::Source(_)) => {
                Rerun::AsBefore
            }
        }
    }
}

/// Finds the script of a retried job without a dispatcher; without `input`, it is the same as before. May compile, and
/// blocks.
pub(super) fn choose(
    job: &JobRecord,
    input: Option<&Input>,
    version: Option<&str>,
    transaction: &mut Transaction,
    executor: &Executor,
) -> Result<(Rerun, Retried), RunError> {
    let choice = match input {
        Some(input) => ScriptChoice::of(job, input, version)?,
        None => ScriptChoice::AsBefore,
    };
    let compiler = Compiler {
        sandbox: &executor.sandbox,
        deadline: Instant::now() + LONGEST,
        time: LONGEST,
        cancel: &Arc::default(),
    };
    let rerun = choice.rerun(choice.pin(transaction, &compiler)?);
    let retried = rerun.summary(job);
    Ok((rerun, retried))
}

impl Dispatcher {
    /// Retries a dead or cancelled job, from its first try: with its script as it is now, or in a version of it. Compiling
    /// that is charged to the circle and to the one who asks, in a session, or else to the job's submitter.
    ///
    /// # Errors
    /// See [`NotRetried`].
    pub async fn retry(
        &self,
        id: JobId,
        circle: PublicKey,
        asker: Option<(Caller<'static>, Uuid)>,
        version: Option<String>,
    ) -> Result<Retried, NotRetried> {
        let (by, session) = asker.unzip();
        let caller = by.as_ref().and_then(Caller::key).copied();
        let viewer = by
            .as_ref()
            .map_or(Viewer::Operator, |_| Viewer::Caller(caller));
        let found = self.jobs().record_in(circle, id, viewer).await?;
        let job = found.ok_or(NotRetried::NotOver)?;
        if !job.may_be_retried() {
            return Err(NotRetried::NotOver);
        }
        let choice = if job.unread.is_some() {
            ScriptChoice::AsBefore
        } else {
            let job = job.clone();
            let choose = move |input: Input| ScriptChoice::of(&job, &input, version.as_deref());
            let choice = self.jobs().input_in(circle, id, viewer, choose).await?;
            choice.ok_or(NotRetried::Unreadable)??
        };
        let rerun = if let ScriptChoice::AsBefore = choice {
            Rerun::AsBefore
        } else {
            let pin = move |mut transaction: Transaction, compiler: &Compiler<'_>| {
                let pinned = choice.pin(&mut transaction, compiler)?;
                Ok(choice.rerun(pinned))
            };
            self.pin(circle, caller.or_else(|| job.submitter()), session, pin)
                .await?
        };
        let retried = rerun.summary(&job);
        if self.jobs().retry_in(circle, id, rerun, by, viewer).await? {
            Ok(retried)
        } else {
            Err(NotRetried::NotOver)
        }
    }
}

impl NotRetried {
    /// The message for a job that is [`NotOver`](Self::NotOver).
    pub const NOT_OVER: &str =
        "the job is neither dead nor cancelled: only such a job can be retried";
    /// The message for a job that is [`Unreadable`](Self::Unreadable).
    pub const UNREADABLE: &str =
        "what this job needs can't be read: it is gone, damaged or of a newer version";
}

impl From<Unavailable> for NotRetried {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<RunError> for NotRetried {
    fn from(why: RunError) -> Self {
        Self::Script(why)
    }
}
