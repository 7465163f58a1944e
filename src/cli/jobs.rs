//! `circled jobs`

mod kept;

use std::{
    io::{self, Write, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    login::{
        Login, Manner, Source, exit_codes, json_value, print_json, print_text, read_script,
        unreadable,
    },
    script::{print_line, seconds},
};
use crate::{
    client::{Client, Error, Job, JobError, JobStatus, Paging, Submission, Work},
    dispatch::{JobId, Status},
};
use kept::Place;

const ABOUT: &str = exit_codes!(
    "it is done",
    "1  it can't be done; and for all that goes wrong without the URL of a circle",
    examples: "  circled jobs submit C --key me.key -f report.rhai
  circled jobs list C --key me.key --status pending
  circled jobs show C --key me.key 019ab1c2-...
  circled jobs list --config circled.toml                # on the server's machine: the dead letters
  circled jobs retry 019ab1c2-...                        # once the script is mended"
);

/// Have jobs run that outlive the connection, look at them, and run dead ones again.
///
/// A durable job is kept until it has run: one that was submitted, or a webhook's delivery. One whose script fails
/// too often is put aside, dead, until somebody looks at it.
///
/// With the URL of a circle and a key, as in every command that logs in: your own jobs there, or all, if you own it.
///
/// Without them, the jobs of all circles, for who runs the server. They are looked for in the data folder of the
/// settings, if no server has it; else the running server is asked, at its server.admin_listen. No two processes
/// ever have a data folder at once. With dispatch.backend = "redis", a gateway or a worker is asked, whichever
/// has that server.admin_listen.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(super) struct Jobs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Submit(Submit),
    /// List jobs: a circle's, the newest first; or, without its URL, the server's, the oldest first.
    #[command(after_help = ABOUT)]
    List {
        #[command(flatten)]
        circle: Circle,
        /// In which state; without it, any in a circle, and dead without one.
        #[arg(long, value_enum)]
        status: Option<JobStatus>,
        /// How many at most.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        #[command(flatten)]
        place: Place,
    },
    /// Print all that is known of a job, as JSON. What a provider sent is not shown, unless the script
    /// returned or threw it.
    #[command(after_help = ABOUT, override_usage = "circled jobs show [OPTIONS] [URL] <ID>")]
    Show(One),
    /// End a job of a circle's that isn't over.
    #[command(after_help = ABOUT)]
    Stop {
        #[command(flatten)]
        login: Login,
        id: JobId,
    },
    /// Have a dead or stopped job run again, from its first try; at the next start, if no server is running.
    #[command(after_help = ABOUT, override_usage = "circled jobs retry [OPTIONS] [URL] <ID>")]
    Retry(One),
}

/// Hand a run over to the server, which keeps it until it is done. Prints the job's id.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
struct Submit {
    #[command(flatten)]
    login: Login,
    /// The script; - reads it from standard input.
    #[arg(required_unless_present_any = ["file", "name"])]
    script: Option<String>,
    /// Read the script from a file; - is standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "script")]
    file: Option<PathBuf>,
    /// Run the circle's script of this name.
    #[arg(short, long, conflicts_with_all = ["script", "file"])]
    name: Option<String>,
    /// The version of the named script, of those that are kept; without it, the current one.
    #[arg(long, requires = "name")]
    version: Option<String>,
    /// What the script sees as ARGS, as JSON.
    #[arg(long, value_name = "JSON", allow_negative_numbers = true, value_parser = json_value)]
    args: Option<Value>,
    /// Not before this time: 2026-11-23T16:45:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<Timestamp>,
    /// A name of yours for this submission: a second one with the same runs nothing, and prints the first one's job.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Where to log in, if anywhere.
#[derive(Debug, Args)]
struct Circle {
    /// The circle: ws://host:port/<circle_pk>, or wss://
    #[arg(value_name = "URL", requires = "key", conflicts_with_all = ["admin_url", "config"])]
    circle: Option<String>,
    #[command(flatten)]
    who: Who,
}

/// As whom.
#[derive(Debug, Args)]
struct Who {
    /// The file with your secret key, made by `circled keygen`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin_url", "config"])]
    key: Option<PathBuf>,
    #[command(flatten)]
    manner: Manner,
}

/// A job of a circle's, or of the server's.
#[derive(Debug, Args)]
struct One {
    /// The circle, ws://host:port/<circle_pk>, or wss://; and the job, 019ab1c2-...
    #[arg(required = true, value_name = "URL and ID")]
    words: Vec<String>,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    place: Place,
}

impl Circle {
    fn login(&self) -> anyhow::Result<Option<Login>> {
        match (&self.circle, &self.who.key) {
            (None, Some(_)) => bail!("--key is for a circle, and its URL is missing"),
            (url, _) => Ok(url.as_deref().and_then(|url| self.who.login(url))),
        }
    }
}

impl Who {
    fn login(&self, url: &str) -> Option<Login> {
        Some(Login {
            url: url.to_owned(),
            key: self.key.clone()?,
            manner: self.manner,
        })
    }
}

impl One {
    /// The job, and where to log in for it, if anywhere. An optional word before another one, with options anywhere between
    /// them, is more than the parser of command lines does.
    fn find(&self) -> anyhow::Result<(JobId, Option<Login>)> {
        let (url, id) = match self.words.as_slice() {
            [id] => (None, id),
            [url, id] => (Some(url), id),
            _ => bail!("too much is said: there is a circle's URL, maybe, and a job's id"),
        };
        if self.words.len() == 1 && id.contains("://") {
            bail!("the job's id is missing, after the circle's URL");
        }
        let id = id.parse().with_context(|| format!("{id:?}"))?;
        match (url, &self.who.key) {
            (None, None) => Ok((id, None)),
            (Some(url), Some(_)) => Ok((id, self.who.login(url))),
            (Some(_), None) => bail!("the key to log in with is missing: --key FILE"),
            (None, Some(_)) => {
                bail!("--key is for a circle, and its URL is missing before the job's id")
            }
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
                limit,
                place,
            } => match circle.login() {
                Err(error) => return Ok(unreadable(&error)),
                Ok(Some(login)) => return Ok(list(&login, *status, *limit)),
                Ok(None) => list_kept(place, *status, *limit, circle.who.manner.json)?,
            },
            Command::Show(one) => match one.find() {
                Err(error) => return Ok(unreadable(&error)),
                Ok((id, Some(login))) => {
                    return Ok(login.run(
                        None,
                        async |client| client.get_job(&id.to_string()).await,
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
                        let stopped = client.stop_job(&id.to_string()).await?;
                        Ok(json!({ "stopped": stopped }))
                    },
                    |answer| {
                        let stopped = answer["stopped"] == true;
                        print_text(if stopped {
                            "stopped"
                        } else {
                            "it was over already"
                        })
                    },
                ));
            }
            Command::Retry(one) => match one.find() {
                Err(error) => return Ok(unreadable(&error)),
                Ok((id, Some(login))) => return Ok(retry(&login, id)),
                Ok((id, None)) => {
                    let source = one.place.find()?;
                    source.retry(id)?;
                    match source {
                        kept::Source::Stopped(_) => {
                            writeln!(stdout(), "it runs when the server starts")?;
                        }
                        kept::Source::Running(_) => writeln!(stdout(), "it runs again")?,
                    }
                }
            },
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Submit {
    fn run(&self) -> ExitCode {
        let mut submission = match self.work() {
            Ok(work) => Submission::new(work),
            Err(error) => return unreadable(&error),
        };
        submission.args = self.args.clone().unwrap_or_default();
        submission.idempotency_key.clone_from(&self.idempotency_key);
        submission.run_at = self.run_at;
        submission.version.clone_from(&self.version);
        let source = match &submission.work {
            Work::Script(text) => {
                let file = self.file.as_deref().and_then(Path::to_str);
                Source {
                    name: file.filter(|name| *name != "-").unwrap_or("script"),
                    text: Some(text),
                }
            }
            Work::Name(name) => Source { name, text: None },
        };
        self.login.run(
            Some(source),
            async |client| client.submit_job(&submission).await,
            |submitted| {
                if submitted.duplicate {
                    eprintln!("submitted earlier with this idempotency key");
                }
                print_text(&submitted.job_id)
            },
        )
    }

    fn work(&self) -> anyhow::Result<Work> {
        Ok(
            match (&self.name, self.file.as_deref(), self.script.as_deref()) {
                (Some(name), ..) => Work::Name(name.clone()),
                (None, Some(path), _) => Work::Script(read_script(path)?),
                (None, None, Some("-")) => Work::Script(read_script(Path::new("-"))?),
                (None, None, Some(script)) => Work::Script(script.to_owned()),
                (None, None, None) => bail!("there is no script"),
            },
        )
    }
}

fn list(login: &Login, status: Option<JobStatus>, limit: u32) -> ExitCode {
    login.run_to(
        None,
        async |client| list_some(client, status, limit).await,
        |jobs| {
            if jobs.is_empty() && !login.manner.json {
                eprintln!("there are none");
            }
            jobs.iter().try_for_each(|job| {
                if login.manner.json {
                    print_json(job)
                } else {
                    print(job)
                }
            })
        },
    )
}

pub(super) async fn list_some(
    client: &Client,
    status: Option<JobStatus>,
    limit: u32,
) -> Result<Vec<Job>, Error> {
    pages(limit, async |paging: &Paging| {
        let page = client.list_jobs(status, paging).await?;
        Ok((page.jobs, page.cursor))
    })
    .await
}

/// The jobs of a server, whoever's they are.
fn list_kept(
    place: &Place,
    status: Option<JobStatus>,
    limit: u32,
    json: bool,
) -> anyhow::Result<()> {
    let status = match status {
        None => Status::Dead,
        Some(status) => match Status::from_str(status.name(), false) {
            Ok(status) => status,
            Err(_) => bail!("without the URL of a circle, jobs that are {status} can't be listed"),
        },
    };
    let mut out = stdout().lock();
    let jobs = place
        .find()?
        .list(status, usize::try_from(limit).unwrap_or(usize::MAX))?;
    for job in &jobs {
        if json {
            writeln!(out, "{}", json!(job))?;
        } else {
            kept::print(job, &mut out)?;
        }
    }
    if jobs.is_empty() && !json {
        eprintln!("there are none");
    }
    Ok(())
}

fn retry(login: &Login, id: JobId) -> ExitCode {
    let mut retried = false;
    let code = login.run(
        None,
        async |client| {
            retried = client.retry_job(&id.to_string()).await?;
            Ok(json!({ "retried": retried }))
        },
        |answer| match answer["retried"] == true {
            true => print_text("it runs again"),
            false => {
                eprintln!("it is neither dead nor stopped");
                Ok(())
            }
        },
    );
    match (retried, code == ExitCode::SUCCESS) {
        (false, true) => ExitCode::FAILURE,
        _ => code,
    }
}

/// So many of a list that comes in shares.
pub(super) async fn pages<T>(
    limit: u32,
    ask: impl AsyncFn(&Paging) -> Result<(Vec<T>, Option<String>), Error>,
) -> Result<Vec<T>, Error> {
    /// The most that a server answers at once.
    const LARGEST: u32 = 500;
    let mut all = Vec::new();
    let mut left = limit;
    let mut cursor = None;
    while left > 0 {
        let paging = Paging {
            limit: Some(left.min(LARGEST)),
            cursor,
        };
        let (share, next) = ask(&paging).await?;
        left = left.saturating_sub(u32::try_from(share.len()).unwrap_or(u32::MAX));
        all.extend(share);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(all)
}

/// All there is to know, to be read by people and programs.
pub(super) fn print_pretty(answer: &impl Serialize) -> io::Result<()> {
    print_text(&serde_json::to_string_pretty(answer)?)
}

/// One line, for people.
pub(super) fn print(job: &Job) -> io::Result<()> {
    let Job {
        job_id,
        caller,
        status,
        name,
        submitted_at,
        tries,
        error,
        ..
    } = job;
    print_line(&[
        job_id,
        &seconds(*submitted_at),
        &format!("{status:9}"),
        caller,
        name.as_deref().unwrap_or("-"),
        &format!("tries {tries}"),
        first_line(error.as_ref()),
    ])
}

pub(super) fn first_line(error: Option<&JobError>) -> &str {
    let message = error.map_or("", |error| error.message.as_str());
    message.lines().next().unwrap_or_default()
}
