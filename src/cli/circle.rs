//! `circled circle`

use std::{
    io::{self, IsTerminal, Write, stdin},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use axum::http::{Method, Request, StatusCode};
use circled_protocol::{PublicKey, methods::CircleUsage};
use clap::{Args, Subcommand};
use http_body_util::Full;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    ConfigFile,
    archive::{Source, create, import},
    backup, client_runtime,
    http::{Answer, admin_url, send},
    output::{remark, stdout},
    usage,
    with_login::print_json,
};

const EXAMPLES: &str = "\
  circled circle usage
  circled circle usage 02ab...
  circled circle delete 02ab...
  circled circle export 02ab... circle.circled
  circled circle import --config other.toml circle.circled";

/// The longest that a server may count what its circles take, and that it may delete one.
const COUNTING: Duration = Duration::from_secs(120);
const DELETING: Duration = Duration::from_secs(600);

/// Circles of a server, for its operator.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Circle {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print how much circles take: keys, bytes of the store, events and jobs. Of one, or of those with the largest
    /// stores.
    Usage {
        /// The circle's public key.
        circle: Option<PublicKey>,
        /// The number of circles.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// Print JSON, a circle a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Address,
    },
    /// Delete all of a circle: its store, members, scripts, events, jobs, and what it remembers of deliveries.
    ///
    /// Its sessions end first. There is no way back.
    Delete {
        /// The circle's public key.
        circle: PublicKey,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: Address,
    },
    /// Write all of a circle into a file, as `circled backup create` writes all circles. It stays where it is.
    Export {
        /// The circle's public key.
        circle: PublicKey,
        /// The new file.
        file: PathBuf,
        #[command(flatten)]
        source: Source,
        /// Print the result as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put the circle of such a file into a data folder that doesn't have it, and that no server uses: all of it, or nothing.
    Import {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// The server to ask.
#[derive(Debug, Args)]
pub(super) struct Address {
    /// The running server to ask, at its server.admin_listen: http://host:port
    #[arg(long, value_name = "URL", id = "admin_url")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// A circle, and what it takes.
#[derive(Debug, Serialize, Deserialize)]
struct CircleWithUsage {
    circle: PublicKey,
    #[serde(flatten)]
    usage: CircleUsage,
}

/// The largest circles.
#[derive(Debug, Deserialize)]
struct Circles {
    circles: Vec<CircleWithUsage>,
    more: bool,
}

/// A circle that was deleted.
#[derive(Debug, Deserialize)]
struct Deleted {
    /// True if the settings list it.
    listed: bool,
    /// True if the server serves it.
    served: bool,
}

impl Address {
    pub(super) fn find(&self) -> anyhow::Result<String> {
        match &self.url {
            Some(url) => admin_url(Some(url), None),
            None => admin_url(None, self.config.settings()?.server.admin_listen),
        }
    }
}

impl Circle {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Usage {
                circle: Some(circle),
                json,
                server,
                ..
            } => {
                let url = format!("{}/circles/{circle}", server.find()?);
                let found: CircleWithUsage = ask(Method::GET, &url, COUNTING)?;
                match json {
                    true => print_json(&found)?,
                    false => usage::print(&found.usage)?,
                }
            }
            Command::Usage {
                circle: None,
                limit,
                json,
                server,
            } => {
                let url = format!("{}/circles?limit={limit}", server.find()?);
                let found: Circles = ask(Method::GET, &url, COUNTING)?;
                match json {
                    true => found.circles.iter().try_for_each(print_json)?,
                    false => print(&found)?,
                }
            }
            Command::Delete {
                circle,
                yes,
                server,
            } => {
                let url = format!("{}/circles/{circle}", server.find()?);
                if !yes && !is_meant(circle, &url)? {
                    return Ok(ExitCode::FAILURE);
                }
                let deleted: Deleted = ask(Method::DELETE, &url, DELETING)?;
                writeln!(stdout(), "{}", message(&deleted))?;
            }
            Command::Export {
                circle,
                file,
                source,
                json,
            } => backup::print(&create(source, Some(*circle), file)?, *json)?,
            Command::Import { file, config } => backup::print(&import(config, file)?, false)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(found: &Circles) -> io::Result<()> {
    let mut out = stdout();
    if found.circles.is_empty() {
        remark!("no circle has anything");
        return Ok(());
    }
    writeln!(
        out,
        "{:66}  {:>14}  {:>10}  {:>10}  {:>9}  {:>9}  {:>9}",
        "circle", "bytes", "keys", "events", "open jobs", "dead jobs", "all jobs"
    )?;
    for CircleWithUsage { circle, usage } in &found.circles {
        let CircleUsage {
            keys,
            bytes,
            events,
            jobs,
            ..
        } = usage;
        let all = jobs.open + jobs.dead + jobs.ended;
        writeln!(
            out,
            "{circle}  {bytes:>14}  {keys:>10}  {events:>10}  {:>9}  {:>9}  {all:>9}",
            jobs.open, jobs.dead
        )?;
    }
    if found.more {
        remark!("there are more circles; --limit lists more of them");
    }
    Ok(())
}

/// Asks at the terminal whether a circle is to be deleted: its key has to be typed.
fn is_meant(circle: &PublicKey, url: &str) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        bail!("this deletes all of circle {circle}, for good; with --yes, it isn't asked");
    }
    let found: CircleWithUsage = ask(Method::GET, url, COUNTING)?;
    let CircleUsage {
        keys,
        bytes,
        events,
        jobs,
        ..
    } = found.usage;
    write!(
        io::stderr(),
        "circle  {circle}\n        {keys} keys, {bytes} bytes, {events} events, {} jobs\nAll of this is deleted, for good. Type the circle's key to go on: ",
        jobs.open + jobs.dead + jobs.ended
    )?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    let is_meant = answer.trim().parse() == Ok(*circle);
    if !is_meant {
        remark!("that is another text: nothing is deleted");
    }
    Ok(is_meant)
}

fn message(deleted: &Deleted) -> &'static str {
    match deleted {
        Deleted { listed: true, .. } => {
            "deleted; the settings still list this circle, so it is served, and begins anew: take it out of them if that isn't wanted"
        }
        Deleted { served: true, .. } => {
            "deleted; circles.open is true, so this circle begins anew if somebody connects to it"
        }
        _ => "deleted",
    }
}

/// Sends a request to a server's admin listener, and reads the answer.
fn ask<T: DeserializeOwned>(method: Method, url: &str, patience: Duration) -> anyhow::Result<T> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .body(Full::default())?;
    let answer: Answer = client_runtime()?.block_on(send(request, patience))?;
    match answer.status {
        StatusCode::OK => circled_json::from_str(&answer.body).context("the server's answer"),
        _ => bail!("{}", answer.message()),
    }
}
