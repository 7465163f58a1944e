//! `circled jobs retry`

use std::{
    io::{self, IsTerminal, Write, stdin},
    process::ExitCode,
};

use circled_client::{Client, Error};
use circled_protocol::{
    JobId, JobStatus, Role, code,
    methods::{ListDeliveries, ListJobs, RetryDead},
};
use clap::Args;
use serde_json::{Value, json};

use super::{
    super::{
        output::{remark, stdout},
        with_login::{Login, TOO_SLOW, exit_codes, print_json, print_text, unreadable},
    },
    EXAMPLES, Filter, KeyOption, all, list_some, pages,
    server_jobs::JobsAddress,
};
use crate::dispatch::NotRetried;

const OF_RETRIES: [(u8, &str); 3] = [
    (
        1,
        "the job is neither dead nor cancelled, or its script doesn't compile; without the URL of a circle, every error but a lost connection",
    ),
    TOO_SLOW,
    (8, "there is no such job, script or version"),
];

/// Run a dead or cancelled job again, with its script as it is now. It has `max_tries` tries again.
///
/// It runs the newest version of a named script; or the same source with its imports as they are now; or, for a
/// delivery, the script that the circle or the settings have for it now. Prints the version. A delayed job keeps its
/// time if that is still to come. If no server is running, the job runs at the next start.
#[derive(Debug, Args)]
#[command(
    after_help = exit_codes(&OF_RETRIES, EXAMPLES),
    override_usage = "circled jobs retry [OPTIONS] [URL] <ID>\n       circled jobs retry [OPTIONS] [URL] --all-dead"
)]
pub(super) struct Retry {
    /// The circle, ws://host:port/<circle_pk>, or wss://; and the job, 019ab1c2-...
    #[arg(required_unless_present = "all_dead", value_name = "URL and ID")]
    words: Vec<String>,
    /// Run this version of its script instead (the first digits are enough).
    #[arg(long, conflicts_with_all = ["latest", "all_dead"])]
    version: Option<String>,
    /// Run its script as it is now (the default).
    #[arg(long)]
    latest: bool,
    /// Retry all dead jobs, deliveries too. Says how many, and asks.
    #[arg(long)]
    all_dead: bool,
    #[command(flatten)]
    filter: Filter,
    /// Don't ask.
    #[arg(short, long, requires = "all_dead")]
    yes: bool,
    #[command(flatten)]
    who: KeyOption,
    #[command(flatten)]
    place: JobsAddress,
}

impl Retry {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if self.all_dead {
            return self.run_all();
        }
        let (id, login) = match self.who.find(&self.words) {
            Err(error) => return Ok(unreadable(&error)),
            Ok(found) => found,
        };
        if let Some(login) = login {
            return Ok(self.run_one_of_circle(&login, id));
        }
        let source = self.place.find()?;
        let retried = source.retry(id, self.version.as_deref())?;
        if self.who.manner.json {
            print_json(&retried)?;
        } else {
            writeln!(stdout(), "{}", source.says(retried.version.as_deref()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Retries one job of a circle.
    fn run_one_of_circle(&self, login: &Login, id: JobId) -> ExitCode {
        let mut retried = false;
        let code = login.run(
            None,
            async |client| {
                let answer = client.retry_job(id, self.version.as_deref()).await?;
                retried = answer.retried;
                Ok(answer)
            },
            |answer| match answer.retried {
                true => print_text(&runs_again(answer.version.as_deref())),
                false => {
                    remark!("{}", NotRetried::NOT_OVER);
                    Ok(())
                }
            },
        );
        match (retried, code == ExitCode::SUCCESS) {
            (false, true) => ExitCode::FAILURE,
            _ => code,
        }
    }

    /// Retries all dead jobs of a circle, or of a server.
    fn run_all(&self) -> anyhow::Result<ExitCode> {
        let login = match self.words.as_slice() {
            [] => self.who.login_to(None),
            [url] => self.who.login_to(Some(url)),
            _ => Err(anyhow::anyhow!("with --all-dead, there is no job's id")),
        };
        match login {
            Err(error) => Ok(unreadable(&error)),
            Ok(Some(login)) => Ok(self.run_all_of_circle(&login)),
            Ok(None) => self.run_all_of_server(),
        }
    }

    fn run_all_of_circle(&self, login: &Login) -> ExitCode {
        let mut done = false;
        let code = login.run(
            None,
            async |client| {
                let wanted = RetryDead {
                    name: self.filter.script.clone(),
                    ..RetryDead::default()
                };
                let (found, retried) = match client.retry_dead(&wanted).await {
                    Ok(counted) => {
                        let found = counted.dead.unwrap_or(0);
                        (found, self.retry_dead(client, wanted, found).await?)
                    }
                    // They have no more than their own; an older server can't count.
                    Err(Error::Rpc(error))
                        if [code::FORBIDDEN, code::METHOD_NOT_FOUND].contains(&error.code) =>
                    {
                        let ids = self.dead(client).await?;
                        (ids.len() as u64, self.retry_each(client, &ids).await?)
                    }
                    Err(error) => return Err(error),
                };
                done = retried == Some(found);
                let retried = retried.unwrap_or(0);
                Ok(json!({ "found": found, "retried": retried }))
            },
            |answer| print_text(&count(&answer["retried"], &answer["found"])),
        );
        if code == ExitCode::SUCCESS && !done {
            return ExitCode::FAILURE;
        }
        code
    }

    /// Retries all dead jobs of a circle, of which so many were found. Returns how many, or nothing if that isn't wanted.
    async fn retry_dead(
        &self,
        client: &Client,
        mut wanted: RetryDead,
        found: u64,
    ) -> Result<Option<u64>, Error> {
        if !self.confirmed(found).await {
            return Ok(None);
        }
        wanted.expect = Some(found);
        let mut retried = 0;
        loop {
            let some = client.retry_dead(&wanted).await?;
            retried += some.retried;
            if let Some(error) = some.error {
                remark!("{error}");
            }
            wanted.cursor = some.cursor;
            if wanted.cursor.is_none() {
                return Ok(Some(retried));
            }
        }
    }

    /// Does the same with these jobs, one by one.
    async fn retry_each(&self, client: &Client, ids: &[JobId]) -> Result<Option<u64>, Error> {
        if !self.confirmed(ids.len() as u64).await {
            return Ok(None);
        }
        let mut retried = 0;
        for id in ids {
            match client.retry_job(*id, None).await {
                Ok(answer) => retried += u64::from(answer.retried),
                Err(error @ Error::Rpc(_)) => remark!("{id}: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(retried))
    }

    /// Asks whether so many jobs are to run again. The connection is kept meanwhile.
    async fn confirmed(&self, found: u64) -> bool {
        let yes = self.yes;
        let asked = tokio::task::spawn_blocking(move || may_go_on(found, yes));
        asked.await.unwrap_or(false)
    }

    /// Returns the ids of a circle's dead jobs: the caller's own, or all, with deliveries, for the owner.
    async fn dead(&self, client: &Client) -> Result<Vec<JobId>, Error> {
        let script = self.filter.script.as_deref();
        let (dead, wanted) = (
            &[JobStatus::Dead],
            ListJobs {
                name: self.filter.script.clone(),
                ..ListJobs::default()
            },
        );
        let mut ids = list_some(client, dead, &wanted, u32::MAX, |job| job.job_id).await?;
        if client.whoami().await?.role != Some(Role::Owner.into()) {
            return Ok(ids);
        }
        let deliveries = pages(u32::MAX, async |limit, cursor| {
            let dead = ListDeliveries {
                status: Some(JobStatus::Dead),
                limit,
                cursor,
                provider: None,
            };
            let page = client.list_deliveries(&dead).await?;
            let jobs = page.deliveries.iter().map(|delivery| delivery.job_id);
            Ok((jobs.collect(), page.cursor))
        });
        for id in deliveries.await? {
            // Only a delivery's job knows which script it runs.
            let is_wanted = match script {
                None => true,
                Some(script) => match client.get_job(id).await {
                    Ok(job) => job.name.as_deref() == Some(script),
                    // The job has expired meanwhile.
                    Err(Error::Rpc(error)) if error.code == code::NOT_FOUND => false,
                    Err(error) => return Err(error),
                },
            };
            ids.extend(is_wanted.then_some(id));
        }
        Ok(ids)
    }

    fn run_all_of_server(&self) -> anyhow::Result<ExitCode> {
        let source = self.place.find()?;
        let dead = &[JobStatus::Dead];
        let (ids, failed) = all(&source, dead, &self.filter, u32::MAX, |job| job.job_id);
        if let Some(error) = failed {
            return Err(error);
        }
        let found = ids.len();
        if !may_go_on(found as u64, self.yes) {
            return Ok(ExitCode::FAILURE);
        }
        let mut retried = 0;
        for id in ids {
            match source.retry(id, None) {
                Ok(_) => retried += 1,
                Err(error) => remark!("{id}: {error:#}"),
            }
        }
        if self.who.manner.json {
            print_json(&json!({ "found": found, "retried": retried }))?;
        } else {
            writeln!(stdout(), "{}", count(&json!(retried), &json!(found)))?;
        }
        Ok(if retried == found {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Asks at the terminal whether so many jobs are to run again, unless `--yes` was given.
fn may_go_on(count: u64, yes: bool) -> bool {
    if yes || count == 0 {
        return true;
    }
    let jobs = if count == 1 { "job is" } else { "jobs are" };
    if !stdin().is_terminal() {
        remark!("{count} {jobs} dead; with --yes, they run again");
        return false;
    }
    let asked = write!(
        io::stderr(),
        "{count} {jobs} dead. Have them run again, with their scripts as they are now? [y/N] "
    );
    if asked.is_err() {
        return false;
    }
    let mut answer = String::new();
    stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Returns the message about all dead jobs.
fn count(retried: &Value, found: &Value) -> String {
    match found.as_u64() {
        Some(0) => "no dead jobs".to_owned(),
        _ => format!("{retried} of {found} run again"),
    }
}

/// Returns the message about a job that runs again.
pub(super) fn runs_again(version: Option<&str>) -> String {
    match version {
        Some(version) => format!("it runs again, with version {version}"),
        None => "it runs again".to_owned(),
    }
}
