//! `circled jobs`

mod retry;
mod server_jobs;
mod submit;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use circled_client::{Client, Error};
use circled_protocol::{
    JobId, JobKind, JobStatus, PublicKey, Vocabulary,
    methods::{Job, JobError, ListJobs},
};
use clap::{
    Args, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use serde::Serialize;
use serde_json::json;

use super::{
    output::{remark, stdout},
    script::{print_line, seconds},
    with_login::{Login, LoginOptions, TOO_SLOW, exit_codes, print_json, print_text, unreadable},
};
use retry::Retry;
use server_jobs::{JobsAddress, JobsSource};
use submit::Submit;

/// The exit code of the operator's commands.
const FAILED: (u8, &str) = (
    1,
    "without the URL of a circle: every error but a lost connection",
);
const NO_JOB: (u8, &str) = (8, "there is no such job");
const EXAMPLES: &str = "\
  circled jobs submit C --key me.key -f report.rhai
  circled jobs list C --key me.key --status pending
  circled jobs show C --key me.key 019ab1c2-...
  circled jobs list --config circled.toml                # on the server's machine: the dead letters
  circled jobs retry 019ab1c2-...                        # runs its script as it is now
  circled jobs retry 019ab1c2-... --version 5f1d         # runs this version of it
  circled jobs retry --all-dead --script report          # counts them, and asks";

/// Submit durable jobs, look at them, and retry dead ones.
///
/// A durable job is kept until its script has run, even if its caller has left: a submitted job, or a webhook's
/// delivery. If its script fails too often, it is dead, and is kept for somebody to look at.
///
/// With the URL of a circle and a key: your own jobs there, or all jobs if you are the owner.
///
/// Without them: the jobs of all circles, for the operator of the server. If no server is running, the command reads
/// the data folder of the settings; otherwise it asks the server at server.admin_listen. With dispatch.backend =
/// "redis", it asks the gateway or worker that has this server.admin_listen.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&[FAILED, TOO_SLOW, NO_JOB], EXAMPLES))]
pub(super) struct Jobs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Submit(Submit),
    /// List jobs: of a circle, the newest first; or, without its URL, of the server, the oldest first.
    #[command(after_help = exit_codes(&[FAILED], EXAMPLES))]
    List {
        #[command(flatten)]
        circle: Circle,
        /// Only jobs with this status (several with commas); without it, all jobs of a circle, or the dead jobs of a
        /// server.
        #[arg(long, value_parser = job_status(), value_delimiter = ',')]
        status: Vec<JobStatus>,
        /// Only jobs of this kind; of a circle. Default: all but deliveries.
        #[arg(long, value_parser = job_kind(), requires = "key")]
        kind: Option<JobKind>,
        #[command(flatten)]
        filter: Filter,
        /// The most jobs to list; of a server, circle by circle.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        #[command(flatten)]
        place: JobsAddress,
    },
    /// Print a job as JSON. What a provider sent is not shown, unless the script returned or threw it.
    #[command(after_help = exit_codes(&[FAILED, NO_JOB], EXAMPLES), override_usage = "circled jobs show [OPTIONS] [URL] <ID>")]
    Show(JobArguments),
    /// Cancel a job of a circle that isn't over; only its caller and the owner can, by their keys.
    #[command(after_help = exit_codes(&[(0, "it is cancelled, or was over already"), NO_JOB], EXAMPLES))]
    Stop {
        #[command(flatten)]
        login: Login,
        /// The job, as `circled jobs submit` and `list` print it.
        id: JobId,
    },
    Retry(Retry),
}

/// The jobs to choose.
#[derive(Debug, Args)]
struct Filter {
    /// Only jobs of this circle; for the operator of the server.
    #[arg(
        long = "circle",
        id = "of_circle",
        value_name = "KEY",
        conflicts_with = "key"
    )]
    circle: Option<PublicKey>,
    /// Only jobs of this named script, such as on_stripe.
    #[arg(long = "script", id = "of_script", value_name = "NAME")]
    script: Option<String>,
}

/// The circle to log in to, if any.
#[derive(Debug, Args)]
struct Circle {
    /// The circle: ws://host:port/<circle_pk>, or wss://
    #[arg(value_name = "URL", conflicts_with_all = ["admin_url", "config"])]
    circle: Option<String>,
    #[command(flatten)]
    who: KeyOption,
}

/// The key to log in with.
#[derive(Debug, Args)]
struct KeyOption {
    /// The file with your secret key, made by `circled keygen`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin_url", "config"])]
    key: Option<PathBuf>,
    #[command(flatten)]
    manner: LoginOptions,
}

/// A job of a circle, or of the server.
#[derive(Debug, Args)]
struct JobArguments {
    /// The circle, ws://host:port/<circle_pk>, or wss://; and the job, 019ab1c2-...
    #[arg(required = true, value_name = "URL and ID")]
    words: Vec<String>,
    #[command(flatten)]
    who: KeyOption,
    #[command(flatten)]
    place: JobsAddress,
}

impl Circle {
    fn login(&self) -> anyhow::Result<Option<Login>> {
        match (&self.circle, &self.who.key) {
            (None, Some(_)) => bail!("--key is for a circle, and its URL is missing"),
            (url, _) => Ok(url.as_deref().map(|url| self.who.login(url))),
        }
    }
}

impl KeyOption {
    fn login(&self, url: &str) -> Login {
        Login {
            url: url.to_owned(),
            key: self.key.clone(),
            manner: self.manner.clone(),
        }
    }
}

impl JobArguments {
    /// Returns the job, and the login for its circle, if one is named.
    fn find(&self) -> anyhow::Result<(JobId, Option<Login>)> {
        self.who.find(&self.words)
    }
}

impl KeyOption {
    /// Returns the job, and the login for its circle, if one is named. The command line's parser can't handle an
    /// optional word before another one with options between them.
    fn find(&self, words: &[String]) -> anyhow::Result<(JobId, Option<Login>)> {
        let (url, id) = match words {
            [id] => (None, id),
            [url, id] => (Some(url), id),
            _ => bail!(
                "too many arguments: give a job's id, and before it a circle's URL if you log in"
            ),
        };
        if words.len() == 1 && id.contains("://") {
            bail!("the job's id is missing, after the circle's URL");
        }
        let id = id.parse().with_context(|| format!("{id:?}"))?;
        Ok((id, self.login_to(url)?))
    }

    /// Returns the login for a circle, if one is named.
    fn login_to(&self, url: Option<&String>) -> anyhow::Result<Option<Login>> {
        match (url, &self.key) {
            (None, None) => Ok(None),
            (Some(url), _) => Ok(Some(self.login(url))),
            (None, Some(_)) => bail!("--key is for a circle, and its URL is missing"),
        }
    }
}

impl Jobs {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Submit(submit) => return Ok(submit.run()),
            Command::List {
                circle,
                status,
                kind,
                filter,
                limit,
                place,
            } => match circle.login() {
                Err(error) => return Ok(unreadable(&error)),
                Ok(Some(login)) => {
                    let wanted = ListJobs {
                        kind: *kind,
                        name: filter.script.clone(),
                        ..ListJobs::default()
                    };
                    return Ok(list(&login, status, &wanted, *limit));
                }
                Ok(None) => {
                    list_server_jobs(place, status, filter, *limit, circle.who.manner.json)?
                }
            },
            Command::Show(one) => match one.find() {
                Err(error) => return Ok(unreadable(&error)),
                Ok((id, Some(login))) => {
                    return Ok(login.run(
                        None,
                        async |client| client.get_job(id).await,
                        print_pretty,
                    ));
                }
                Ok((id, None)) => {
                    let job = one.place.find()?.show(id)?;
                    writeln!(stdout(), "{}", serde_json::to_string_pretty(&job)?)?;
                }
            },
            Command::Stop { login, id } => {
                return Ok(login.run(
                    None,
                    async |client| {
                        let stopped = client.stop_job(*id).await?;
                        Ok(json!({ "stopped": stopped }))
                    },
                    |answer| {
                        let stopped = answer["stopped"] == true;
                        print_text(if stopped {
                            "cancelled"
                        } else {
                            "the job was over already"
                        })
                    },
                ));
            }
            Command::Retry(retry) => return retry.run(),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Parses a job's status by its name.
fn job_status() -> impl TypedValueParser<Value = JobStatus> {
    let words = JobStatus::ALL.iter();
    let words = words.map(|status| PossibleValue::new(status.name()).help(status.meaning()));
    PossibleValuesParser::new(words).try_map(|name| name.parse::<JobStatus>())
}

/// Parses a job's kind by its name.
fn job_kind() -> impl TypedValueParser<Value = JobKind> {
    let words = JobKind::ALL.iter();
    let words = words.map(|kind| PossibleValue::new(kind.name()).help(kind.meaning()));
    PossibleValuesParser::new(words).try_map(|name| name.parse::<JobKind>())
}

fn list(login: &Login, states: &[JobStatus], wanted: &ListJobs, limit: u32) -> ExitCode {
    login.run_to(
        None,
        async |client| list_some(client, states, wanted, limit, |job| job).await,
        |jobs| {
            if jobs.is_empty() && !login.manner.json {
                remark!("no such jobs; those that have expired are gone");
            }
            jobs.iter().try_for_each(|job| {
                if login.manner.json {
                    print_json(job)
                } else {
                    print(job, false)
                }
            })
        },
    )
}

/// Lists a circle's wanted jobs, the newest first, up to a number, and keeps of each what `keep` returns.
pub(super) async fn list_some<T>(
    client: &Client,
    states: &[JobStatus],
    wanted: &ListJobs,
    limit: u32,
    keep: impl Fn(Job) -> T,
) -> Result<Vec<T>, Error> {
    // A server takes one status.
    let one = match states {
        [state] => Some(*state),
        _ => None,
    };
    let is_wanted =
        |job: &Job| states.is_empty() || states.iter().any(|state| job.status == *state);
    pages(limit, async |limit, cursor| {
        let page = ListJobs {
            status: one,
            limit,
            cursor,
            ..wanted.clone()
        };
        let page = client.list_jobs(&page).await?;
        let jobs = page.jobs.into_iter().filter(is_wanted).map(&keep);
        Ok((jobs.collect(), page.cursor))
    })
    .await
}

/// Lists the jobs of a server, of all callers.
fn list_server_jobs(
    place: &JobsAddress,
    states: &[JobStatus],
    filter: &Filter,
    limit: u32,
    json: bool,
) -> anyhow::Result<()> {
    let (states, none) = match states {
        [] => (
            &[JobStatus::Dead][..],
            "no dead jobs; --status finished,... lists others",
        ),
        states => (states, "no such jobs"),
    };
    let (mut jobs, failed) = all(&place.find()?, states, filter, limit, |job| job);
    // They come circle by circle; ids are in the order of arrival.
    jobs.sort_by_key(|job: &Job| job.job_id);
    for job in &jobs {
        if json {
            print_json(job)?;
        } else {
            print(job, true)?;
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if jobs.is_empty() && !json {
        remark!("{none}");
    }
    Ok(())
}

/// Returns up to `limit` jobs of a server, of each what `keep` returns, as far as they come, and the error if a page can't
/// be read.
fn all<T>(
    source: &JobsSource,
    states: &[JobStatus],
    filter: &Filter,
    limit: u32,
    keep: impl Fn(Job) -> T,
) -> (Vec<T>, Option<anyhow::Error>) {
    let (mut jobs, mut left, mut after) = (Vec::new(), limit, None);
    while left > 0 {
        let page = match source.page(states, filter, after, left) {
            Ok(page) => page,
            Err(error) => return (jobs, Some(error)),
        };
        left = left.saturating_sub(u32::try_from(page.jobs.len()).unwrap_or(u32::MAX));
        jobs.extend(page.jobs.into_iter().map(&keep));
        after = page.cursor;
        if after.is_none() {
            break;
        }
    }
    (jobs, None)
}

/// Gathers so many items of a list that comes in pages.
pub(super) async fn pages<T>(
    limit: u32,
    ask: impl AsyncFn(Option<usize>, Option<String>) -> Result<(Vec<T>, Option<JobId>), Error>,
) -> Result<Vec<T>, Error> {
    /// The most items that a server returns at once.
    const LARGEST: u32 = 500;
    let mut all = Vec::new();
    let mut left = limit;
    let mut cursor = None;
    while left > 0 {
        let most = usize::try_from(left.min(LARGEST)).ok();
        let (share, next) = ask(most, cursor).await?;
        left = left.saturating_sub(u32::try_from(share.len()).unwrap_or(u32::MAX));
        all.extend(share);
        cursor = next.map(|next| next.to_string());
        if cursor.is_none() {
            break;
        }
    }
    Ok(all)
}

/// Prints everything about an item as JSON, for people and programs.
pub(super) fn print_pretty(answer: &impl Serialize) -> io::Result<()> {
    print_text(&serde_json::to_string_pretty(answer)?)
}

/// Prints one line for people; with the circle, if there are jobs of several.
pub(super) fn print(job: &Job, with_circle: bool) -> io::Result<()> {
    let Job {
        job_id,
        circle,
        caller,
        status,
        name,
        event_type,
        submitted_at,
        tries,
        error,
        ..
    } = job;
    let (time, status) = (seconds(*submitted_at), format!("{status:9}"));
    let (job_id, circle) = (job_id.to_string(), circle.to_string());
    let (script, tries) = (name.as_deref().unwrap_or("-"), format!("tries {tries}"));
    let mut fields: Vec<&str> = vec![&job_id, &time, &status];
    fields.extend(with_circle.then_some(circle.as_str()));
    fields.extend([caller.as_str(), script]);
    fields.extend(event_type.as_deref());
    fields.extend([tries.as_str(), first_line(error.as_ref())]);
    print_line(&fields)
}

pub(super) fn first_line(error: Option<&JobError>) -> &str {
    let message = error.map_or("", |error| error.message.as_str());
    message.lines().next().unwrap_or_default()
}
