//! The durable jobs of a server, looked at where it keeps them, or through its admin listener.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use axum::http::{Method, Request, StatusCode};
use clap::Args;
use http_body_util::Full;
use serde::de::DeserializeOwned;

use crate::{
    cli::{
        ConfigFile, client_runtime,
        explain::printable,
        http::{Answer, admin_url, send},
    },
    config::Settings,
    dispatch::{Backend, JobId, JobRecord, Ledger, Status},
    store::{Disk, OpenError, Store},
};

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Place {
    /// The running server to ask, at its admin listener: http://host:port
    #[arg(long, value_name = "URL", id = "admin_url")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Where the jobs are.
pub(super) enum Source {
    /// In a folder that no server has.
    Stopped(Ledger),
    /// With a server that runs.
    Running(String),
}

impl Place {
    pub(super) fn find(&self) -> anyhow::Result<Source> {
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
    pub(super) fn list(&self, status: Status, limit: usize) -> anyhow::Result<Vec<JobRecord>> {
        match self {
            Self::Stopped(jobs) => Ok(jobs.list(status, limit)?),
            Self::Running(url) => {
                let query = format!("{url}/jobs?status={status}&limit={limit}");
                read(ask(Method::GET, &query)?)
            }
        }
    }

    pub(super) fn show(&self, id: JobId) -> anyhow::Result<JobRecord> {
        match self {
            Self::Stopped(jobs) => jobs.find(id)?.context("there is no such job"),
            Self::Running(url) => read(ask(Method::GET, &format!("{url}/jobs/{id}"))?),
        }
    }

    pub(super) fn retry(&self, id: JobId) -> anyhow::Result<()> {
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
    crate::json::from_str(&answer.body).context("the server answers something else than jobs")
}

/// One line, for people.
pub(super) fn print(job: &JobRecord, out: &mut impl Write) -> io::Result<()> {
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
