//! `circled grant`

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use circled_protocol::{Grant as Granted, Origin, PublicKey};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{
    output::{remark, stdout},
    with_login::{duration, print_json, read_key},
};

const EXAMPLES: &str = "\
Examples:
  SERVER=$(circled keygen server.key)            # on the server: server.key = \"file:server.key\"
  circled grant --key circle.key --server $SERVER --origin wss://circles.example.org
  circled grant --key circle.key --server $SERVER --origin wss://circles.example.org --expires 30d --json";

/// Let a server speak for your circle.
///
/// Signs, without a connection, that a server's key speaks for your circle at an origin, until a time. Prints the line
/// that goes into the circle's `[[circle]]` in the server's settings. Clients then check that they have reached that
/// server before they sign anything.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Grant {
    /// The file with the circle's secret key, made by `circled keygen`; never the key itself.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The server's public key: `circled keygen --show server.key` prints it.
    #[arg(long, value_name = "KEY")]
    server: PublicKey,
    /// What people dial: the server.public_url of the server, wss://circles.example.org.
    #[arg(long, value_name = "URL")]
    origin: Origin,
    /// How long the grant counts. Make a new one before.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration)]
    expires: Duration,
    /// Print the grant as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Grant {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let circle = read_key(&self.key)?;
        if !self.origin.is_socket() {
            bail!(
                "--origin is what people dial, and begins with ws:// or wss://: wss://{}",
                self.origin.authority()
            );
        }
        if self.server == circle.public() {
            bail!(
                "--server is the circle's own key, which must not be on the server: `circled keygen server.key` makes one for the server"
            );
        }
        let expires = Timestamp::now().checked_add(self.expires);
        let expires = expires.context("--expires is too far in the future")?;
        let grant = Granted::sign(&circle, self.server, &self.origin, expires)
            .context("the circle's key cannot sign")?;
        if self.json {
            print_json(&grant)?;
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(stdout(), "{}", toml_of(&grant))?;
        if stdout().is_terminal() {
            remark!(
                "This line goes into [[circle]] with key = \"{}\" in the server's settings.",
                circle.public()
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the line of a grant in the settings.
pub(super) fn toml_of(grant: &Granted) -> String {
    let Granted {
        server,
        origin,
        expires,
        signature,
    } = grant;
    let (origin, signature) = (json!(origin), json!(signature));
    format!(
        "grant = {{ server = \"{server}\", origin = {origin}, expires = \"{expires}\", signature = {signature} }}"
    )
}
