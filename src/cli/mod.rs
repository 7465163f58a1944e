//! The command line: one file a subcommand.

mod call;
mod config;
mod deliveries;
mod events;
mod explain;
mod health;
mod http;
mod jobs;
mod keygen;
mod logging;
mod login;
mod members;
mod play;
mod repl;
mod script;
mod serve;
mod signals;
mod webhook;
mod worker;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{Loaded, Problems, Settings};

/// Serves circles: people connect by WebSocket, prove that they hold a secp256k1 key, and run
/// sandboxed scripts.
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
    Play(play::Play),
    Repl(repl::Repl),
    Script(script::Scripts),
    Call(call::Call),
    Jobs(jobs::Jobs),
    Events(events::Events),
    Members(members::Members),
    Deliveries(deliveries::Deliveries),
    Config(config::Config),
    Webhook(webhook::Webhook),
    Health(health::Health),
}

/// Where the settings come from.
#[derive(Debug, Args)]
struct ConfigFile {
    /// A TOML file with the settings that differ from the defaults. The environment comes last:
    /// CIRCLED_SERVER__LISTEN=127.0.0.1:9000
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// Every problem at once.
    fn load(&self) -> Result<Loaded, Problems> {
        // A variable that is no text is none of ours.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Settings::load(self.config.as_deref(), environment)
    }

    /// For commands that need the settings to do something else.
    fn settings(&self) -> anyhow::Result<Settings> {
        self.load()
            .map(|loaded| loaded.settings)
            .map_err(|problems| anyhow!("the settings cannot be used:\n{problems}"))
    }
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Worker(worker) => worker.run(),
        Command::Keygen(keygen) => keygen.run(),
        Command::Play(play) => return play.run(),
        Command::Repl(repl) => return repl.run(),
        Command::Script(scripts) => return scripts.run(),
        Command::Call(call) => return call.run(),
        Command::Events(events) => return events.run(),
        Command::Members(members) => return members.run(),
        Command::Deliveries(deliveries) => return deliveries.run(),
        Command::Config(config) => config.run(),
        Command::Webhook(webhook) => webhook.run(),
        Command::Jobs(jobs) => jobs.run(),
        Command::Health(health) => health.run(),
    };
    code.unwrap_or_else(|error| {
        // Whoever reads standard output has seen enough, as `head` does.
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            return ExitCode::SUCCESS;
        }
        // Nobody may be reading this either.
        let _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

/// For the commands that wait for one thing at a time.
fn client_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
