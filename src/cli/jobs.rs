//! `circled jobs`

use std::{
    io::{self, Write, stdout},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use axum::http::{Method, Request, StatusCode};
use clap::{Args, Subcommand};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    ConfigFile, client_runtime,
    explain::printable,
    http::{Answer, admin_url, send},
};
use crate::{
    config::Settings,
    dispatch::{Backend, JobId, JobRecord, Ledger, Status},
    store::{Disk, OpenError, Store},
};

const TIMEOUT: Duration = Duration::from_secs(30);

const ABOUT: &str = "\
Where they are looked for: in the data folder of the settings, if no server has it; else the running server
is asked, at its server.admin_listen. No two processes ever have a data folder at once. With
dispatch.backend = \"redis\", a gateway or a worker is asked, whichever has that server.admin_listen.

Examples:
  circled jobs list --config circled.toml              # the dead letters
  circled jobs list --status pending
  circled jobs show 019ab1c2-...                       # what went wrong, and when
  circled jobs retry 019ab1c2-...                      # once the script is mended";

/// Look at durable jobs, and run dead ones again.
///
/// A webhook's delivery is a durable job: kept until it has run. One whose script fails too often is put
/// aside, dead, until somebody looks at it.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(super) struct Jobs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List jobs, the oldest first.
    List {
        /// In which state.
        #[arg(long, value_enum, default_value_t = Status::Dead)]
        status: Status,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Print a line of JSON for each.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Print all that is known of a job, as JSON. What the provider sent is not shown, unless the script
    /// returned or threw it.
    Show {
        id: JobId,
        #[command(flatten)]
        place: Place,
    },
    /// Have a dead job run again, from its first try; at the next start, if no server is running.
    Retry {
        id: JobId,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The running server to ask, at its admin listener: http://host:port
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Where the jobs are.
enum Source {
    /// In a folder that no server has.
    Stopped(Ledger),
    /// With a server that runs.
    Running(String),
}

impl Jobs {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut out = stdout().lock();
        match &self.command {
            Command::List {
                status,
                limit,
                json,
                place,
            } => {
                let jobs = place.find()?.list(*status, *limit)?;
                for job in &jobs {
                    if *json {
                        writeln!(out, "{}", json!(job))?;
                    } else {
                        print(job, &mut out)?;
                    }
                }
                if jobs.is_empty() && !json {
                    eprintln!("there are none");
                }
            }
            Command::Show { id, place } => {
                let job = place.find()?.show(*id)?;
                writeln!(out, "{}", serde_json::to_string_pretty(&job)?)?;
            }
            Command::Retry { id, place } => {
                let source = place.find()?;
                source.retry(*id)?;
                match source {
                    Source::Stopped(_) => writeln!(out, "it runs when the server starts")?,
                    Source::Running(_) => writeln!(out, "it runs again")?,
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Place {
    fn find(&self) -> anyhow::Result<Source> {
        if let Some(url) = &self.url {
            return Ok(Source::Running(admin_url(Some(url), "")?));
        }
        let settings = self.config.settings()?;
        let Settings {
            server,
            dispatch,
            store,
            ..
        } = settings;
        if dispatch.backend == Backend::Redis {
            let url = admin_url(None, &server.admin_listen)
                .context("a gateway or a worker is asked: give it a server.admin_listen")?;
            return Ok(Source::Running(url));
        }
        let folder = &dispatch.embedded.data_dir;
        if !Disk::is_there(&dispatch.embedded) {
            bail!(
                "there is no data folder {} (dispatch.embedded.data_dir)",
                folder.display()
            );
        }
        match Disk::open(&dispatch.embedded) {
            Ok(disk) => {
                let store = Store::start(disk, &dispatch.embedded, store)?;
                Ok(Source::Stopped(Ledger::stopped(store)))
            }
            Err(OpenError::Locked(_)) => {
                let url = admin_url(None, &server.admin_listen).with_context(|| {
                    format!(
                        "a server has {}, and it can't be asked: stop it, or give it a server.admin_listen",
                        folder.display()
                    )
                })?;
                Ok(Source::Running(url))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Source {
    fn list(&self, status: Status, limit: usize) -> anyhow::Result<Vec<JobRecord>> {
        match self {
            Self::Stopped(jobs) => Ok(jobs.list(status, limit)?),
            Self::Running(url) => {
                let query = format!("{url}/jobs?status={status}&limit={limit}");
                read(ask(Method::GET, &query)?)
            }
        }
    }

    fn show(&self, id: JobId) -> anyhow::Result<JobRecord> {
        match self {
            Self::Stopped(jobs) => jobs.find(id)?.context("there is no such job"),
            Self::Running(url) => read(ask(Method::GET, &format!("{url}/jobs/{id}"))?),
        }
    }

    fn retry(&self, id: JobId) -> anyhow::Result<()> {
        match self {
            Self::Stopped(jobs) if jobs.retry(id)? => Ok(()),
            Self::Stopped(_) => bail!("there is no such job among the dead ones"),
            Self::Running(url) => refused(&ask(Method::POST, &format!("{url}/jobs/{id}/retry"))?),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Stopped(jobs) = self {
            jobs.close();
        }
    }
}

fn ask(method: Method, url: &str) -> anyhow::Result<Answer> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .body(Full::default())?;
    client_runtime()?.block_on(send(request, TIMEOUT))
}

fn refused(answer: &Answer) -> anyhow::Result<()> {
    match answer.status {
        StatusCode::OK => Ok(()),
        _ => bail!("{}", answer.message()),
    }
}

fn read<T: DeserializeOwned>(answer: Answer) -> anyhow::Result<T> {
    refused(&answer)?;
    serde_json::from_str(&answer.body).context("the server answers something else than jobs")
}

/// One line, for people.
fn print(job: &JobRecord, out: &mut impl Write) -> io::Result<()> {
    let JobRecord {
        id,
        caller,
        event_type,
        received_at,
        tries,
        error,
        ..
    } = job;
    let kind = event_type.as_deref().unwrap_or("-");
    let error = error.as_ref().map_or("", |error| error.message.as_str());
    let error = error.lines().next().unwrap_or_default();
    let line = format!("{id}  {received_at:.0}  {caller}  {kind}  tries {tries}  {error}");
    writeln!(out, "{}", printable(line.trim_end()))
}
