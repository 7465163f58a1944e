//! Reads and retries the durable jobs of a server: in its data folder, or through its admin listener.

use std::{fmt::Write, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use axum::http::{Method, Request, StatusCode};
use circled_protocol::{JobId, JobStatus, Vocabulary, methods::Job};
use clap::Args;
use http_body_util::Full;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::Filter;
use crate::{
    auth::Access,
    circle::Executor,
    cli::{
        ConfigFile, client_runtime,
        http::{Answer, admin_url, send},
    },
    config::Settings,
    dispatch::{Backend, JobStore, Listing, NotRetried},
    store::{Disk, OpenError, Store, Unavailable},
};

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct JobsAddress {
    /// The running server to ask, at its server.admin_listen: http://host:port
    #[arg(long, value_name = "URL", id = "admin_url")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// The place where the jobs are.
pub(super) enum JobsSource {
    /// A data folder that no server uses.
    Stopped(JobStore, Executor),
    /// A running server.
    Running(String),
}

impl JobsAddress {
    pub(super) fn find(&self) -> anyhow::Result<JobsSource> {
        if let Some(url) = &self.url {
            return Ok(JobsSource::Running(admin_url(Some(url), None)?));
        }
        let settings = self.config.settings()?;
        let Settings {
            server,
            dispatch,
            store,
            ..
        } = &settings;
        if dispatch.backend == Backend::Redis {
            let url = admin_url(None, server.admin_listen)
                .context("the jobs are in Redis, and a gateway or a worker is asked for them: set its server.admin_listen")?;
            return Ok(JobsSource::Running(url));
        }
        let folder = &dispatch.embedded.data_dir;
        if !Disk::is_there(&dispatch.embedded) {
            bail!(
                "there is no data folder {} (dispatch.embedded.data_dir): run this where the server was started, or with its --config; for your own jobs in a circle, give its URL and --key",
                folder.display()
            );
        }
        match Disk::open(&dispatch.embedded) {
            Ok(disk) => {
                let store = Store::start(disk, &dispatch.embedded, store.clone())?;
                let access = Arc::new(Access::new(&settings.circles, &settings.circle));
                let executor = crate::server::executor(&settings, access);
                Ok(JobsSource::Stopped(JobStore::stopped(store), executor))
            }
            Err(OpenError::Locked(_)) => {
                let url = admin_url(None, server.admin_listen).with_context(|| {
                    format!(
                        "a server uses {}, and can't be asked: stop it, or set its server.admin_listen",
                        folder.display()
                    )
                })?;
                Ok(JobsSource::Running(url))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The most jobs that are requested at a time.
const MOST: u32 = 500;

impl JobsSource {
    /// Returns some of the jobs, the oldest first, and the cursor of the next page.
    pub(super) fn page(
        &self,
        states: &[JobStatus],
        filter: &Filter,
        after: Option<String>,
        limit: u32,
    ) -> anyhow::Result<Page> {
        let limit = limit.min(MOST);
        match self {
            Self::Stopped(jobs, _) => {
                let listing = Listing {
                    states: states.to_vec(),
                    circle: filter.circle,
                    script: filter.script.clone(),
                    after: after.map(|after| after.parse()).transpose()?,
                    limit: usize::try_from(limit)?,
                };
                let (jobs, cursor) = jobs.list(&listing)?;
                let shown = jobs.into_iter().map(|(job, running)| job.view(running));
                Ok(Page {
                    jobs: shown.map(shown_as).collect::<Result<_, _>>()?,
                    cursor: cursor.map(|cursor| cursor.to_string()),
                })
            }
            Self::Running(url) => {
                let names: Vec<_> = states.iter().map(|state| state.name()).collect();
                let mut query = format!("{url}/jobs?status={}&limit={limit}", names.join(","));
                let circle = filter.circle.map(|circle| circle.to_string());
                for (name, value) in [
                    ("circle", circle),
                    ("script", filter.script.clone()),
                    ("after", after),
                ] {
                    if let Some(value) = value {
                        let _ = write!(query, "&{name}={}", plain(name, &value)?);
                    }
                }
                read(&ask(Method::GET, &query)?)
            }
        }
    }

    pub(super) fn show(&self, id: JobId) -> anyhow::Result<Job> {
        match self {
            Self::Stopped(jobs, _) => {
                let (job, running) = jobs.find(id)?.context("there is no such job")?;
                shown_as(job.view(running))
            }
            Self::Running(url) => read(&ask(Method::GET, &format!("{url}/jobs/{id}"))?),
        }
    }

    /// Runs a job again, with its script as it is now, or in a version of it.
    pub(super) fn retry(&self, id: JobId, version: Option<&str>) -> anyhow::Result<Retried> {
        match self {
            Self::Stopped(jobs, executor) => match jobs.retry(id, version, executor) {
                Ok(retried) => Ok(Retried {
                    version: retried.version,
                }),
                Err(NotRetried::NotOver) => {
                    jobs.find(id)?.context("there is no such job")?;
                    bail!(NotRetried::NOT_OVER)
                }
                Err(NotRetried::Script(why)) => bail!("{why}"),
                Err(NotRetried::Unreadable) => bail!(NotRetried::UNREADABLE),
                Err(NotRetried::Unavailable) => Err(Unavailable.into()),
            },
            Self::Running(url) => {
                let mut query = format!("{url}/jobs/{id}/retry");
                if let Some(version) = version {
                    let _ = write!(query, "?version={}", plain("version", version)?);
                }
                read(&ask(Method::POST, &query)?)
            }
        }
    }

    /// Returns the message about a job that runs again.
    pub(super) fn says(&self, version: Option<&str>) -> String {
        match self {
            Self::Running(_) => super::retry::runs_again(version),
            Self::Stopped(..) => {
                let with = version.map(|version| format!(", with version {version}"));
                format!("it runs when the server starts{}", with.unwrap_or_default())
            }
        }
    }
}

/// A page of jobs of all circles.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    /// The jobs, the oldest first.
    pub(super) jobs: Vec<Job>,
    /// The cursor of the next page.
    pub(super) cursor: Option<String>,
}

/// A job that runs again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Retried {
    /// The version that it runs, if its script has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
}

/// Returns a job in the form that a server sends.
fn shown_as(job: Job<Box<RawValue>>) -> anyhow::Result<Job> {
    Ok(circled_json::from_str(&serde_json::to_string(&job)?)?)
}

/// Returns a value that needs no escape in a URL.
fn plain<'a>(name: &str, value: &'a str) -> anyhow::Result<&'a str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if value.is_empty() || !value.bytes().all(is_plain) {
        bail!("{value:?} is not a {name}");
    }
    Ok(value)
}

impl Drop for JobsSource {
    fn drop(&mut self) {
        if let Self::Stopped(jobs, _) = self {
            jobs.close();
        }
    }
}

fn ask(method: Method, url: &str) -> anyhow::Result<Answer> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .body(Full::default())?;
    Ok(client_runtime()?.block_on(send(request, TIMEOUT))?)
}

fn refused(answer: &Answer) -> anyhow::Result<()> {
    match answer.status {
        StatusCode::OK => Ok(()),
        _ => bail!("{}", answer.message()),
    }
}

fn read<T: DeserializeOwned>(answer: &Answer) -> anyhow::Result<T> {
    refused(answer)?;
    circled_json::from_str(&answer.body).context("the server's answer is not a list of jobs")
}
