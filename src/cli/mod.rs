//! The command line: each command has a file of its own; the other files are what they share.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod archive;
mod backup;
mod call;
mod circle;
mod completions;
mod config;
mod deliveries;
mod deploy;
mod device_keys;
mod events;
mod explain;
mod folder;
mod grant;
mod health;
mod http;
mod jobs;
mod keygen;
mod logging;
mod login;
mod man;
mod members;
mod move_circles;
mod output;
mod play;
mod reload;
mod repl;
mod runtime;
mod script;
mod serve;
mod service_manager;
mod signals;
mod test;
mod top;
mod usage;
mod watch;
mod webhook;
mod with_login;
mod worker;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::anyhow;
use circled_protocol::is_secret_key;
use clap::{
    Args, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};
use rustix::fs::Mode;
use tokio::runtime::Runtime;

use crate::{
    auth::HIDDEN,
    config::{Loaded, Mistake, Problems, Settings},
    server::SetUpError,
};
use output::stdout;

/// A server for circles: people connect by WebSocket, log in with a secp256k1 key, and run sandboxed scripts.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
First steps:
  circled serve                        # on 127.0.0.1:8080, open to anyone on this machine
  circled keygen circle.key            # a circle is a key; prints its public half
  circled keygen me.key
  circled play ws://127.0.0.1:8080/<circle_pk> --key me.key '40 + 2'
  circled repl ws://127.0.0.1:8080/<circle_pk> --key me.key";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Worker(worker::Worker),
    Keygen(keygen::Keygen),
    Grant(grant::Grant),
    Login(login::LogIn),
    Play(play::Play),
    Repl(repl::Repl),
    Script(script::Scripts),
    Call(call::Call),
    Deploy(deploy::Deploy),
    Test(test::Test),
    Jobs(jobs::Jobs),
    Events(events::Events),
    Watch(watch::Watch),
    Members(members::Members),
    Deliveries(deliveries::Deliveries),
    Usage(usage::Usage),
    Circle(circle::Circle),
    Top(top::Top),
    Config(config::Config),
    Webhook(webhook::Webhook),
    Health(health::Health),
    Completions(completions::Completions),
    #[command(hide = true)]
    Man(man::Man),
    Backup(backup::Backup),
    Move(move_circles::Move),
}

/// The option that names the settings file.
#[derive(Debug, Clone, Args)]
struct ConfigFile {
    /// A TOML file with the settings that differ from the defaults. The environment overrides it:
    /// CIRCLED_SERVER__LISTEN=127.0.0.1:9000
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The settings of this file.
    fn of(file: PathBuf) -> Self {
        Self { config: Some(file) }
    }

    /// Loads the settings. The error lists all problems.
    fn load(&self) -> Result<Loaded, Problems> {
        Settings::load(self.config.as_deref(), environment())
    }

    /// Loads the settings and has `check` look at what they name, too.
    fn load_and_try(
        &self,
        check: impl Fn(&Settings) -> Result<(), SetUpError>,
    ) -> Result<Loaded, Problems> {
        Settings::load_and_try(self.config.as_deref(), environment(), |settings| {
            mistakes(check(settings))
        })
    }

    /// Loads the settings of a server, which must all be valid.
    fn checked(
        &self,
        check: impl Fn(&Settings) -> Result<(), SetUpError>,
    ) -> anyhow::Result<Loaded> {
        self.load_and_try(check).map_err(unusable)
    }

    /// Loads the settings for a command that is no server.
    fn settings(&self) -> anyhow::Result<Settings> {
        self.load().map(|loaded| loaded.settings).map_err(unusable)
    }
}

/// Returns the mistakes in what the settings name.
fn mistakes(checked: Result<(), SetUpError>) -> Vec<Mistake> {
    checked
        .err()
        .map_or_else(Vec::new, |SetUpError(mistakes)| mistakes)
}

fn unusable(problems: Problems) -> anyhow::Error {
    anyhow!("the settings cannot be used:\n{problems}")
}

fn environment() -> impl Iterator<Item = (String, String)> {
    // A variable that isn't text is none of ours.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Runs the command line.
pub fn run() -> ExitCode {
    // All files that are written here are for their user alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    output::finish(match Cli::try_parse() {
        Ok(cli) => cli.command.run(),
        Err(wrong) => told(&without_secrets(wrong)),
    })
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(serve) => serve.run(),
            Self::Worker(worker) => worker.run(),
            Self::Keygen(keygen) => keygen.run(),
            Self::Grant(grant) => grant.run(),
            Self::Login(login) => Ok(login.run()),
            Self::Play(play) => Ok(play.run()),
            Self::Repl(repl) => Ok(repl.run()),
            Self::Script(scripts) => Ok(scripts.run()),
            Self::Call(call) => Ok(call.run()),
            Self::Deploy(deploy) => Ok(deploy.run()),
            Self::Test(test) => Ok(test.run()),
            Self::Events(events) => Ok(events.run()),
            Self::Watch(watch) => Ok(watch.run()),
            Self::Members(members) => Ok(members.run()),
            Self::Deliveries(deliveries) => Ok(deliveries.run()),
            Self::Usage(usage) => Ok(usage.run()),
            Self::Circle(circle) => circle.run(),
            Self::Top(top) => top.run(),
            Self::Config(config) => config.run(),
            Self::Webhook(webhook) => webhook.run(),
            Self::Jobs(jobs) => jobs.run(),
            Self::Health(health) => health.run(),
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
            Self::Backup(backup) => backup.run(),
            Self::Move(moved) => moved.run(),
        }
    }
}

/// Removes secrets, and mistaken ones, from an error about the command line.
fn without_secrets(mut wrong: clap::Error) -> clap::Error {
    let text = |kind| match wrong.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    };
    let is_of_secret =
        text(ContextKind::InvalidArg).is_some_and(|option| option.starts_with("--secret"));
    let is_hidden = |kind: &ContextKind| {
        text(*kind).is_some_and(|text| is_secret_key(text))
            || is_of_secret && *kind == ContextKind::InvalidValue
    };
    let kinds = wrong.context().map(|(kind, _)| kind);
    let hidden: Vec<ContextKind> = kinds.filter(is_hidden).collect();
    for kind in hidden {
        wrong.insert(kind, ContextValue::String(HIDDEN.to_owned()));
    }
    wrong
}

/// Prints the help that was asked for, or the mistake in the command line.
fn told(wrong: &clap::Error) -> anyhow::Result<ExitCode> {
    if wrong.use_stderr() {
        let _ = wrong.print();
        return Ok(ExitCode::from(2));
    }
    if stdout().is_terminal() {
        wrong.print()?;
    } else {
        write!(stdout(), "{}", wrong.render())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates the runtime for commands that wait for one thing at a time.
fn client_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
