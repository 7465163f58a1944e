//! `circled webhook`

use std::{
    io::{Write, stdin},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use axum::http::{Request, StatusCode, Uri, header};
use clap::{Args, Subcommand, ValueEnum};
use http_body_util::Full;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    ConfigFile, client_runtime,
    explain::printable,
    http::{Answer, send},
    output::{remark, stdout},
    with_login::MAX_SENT,
};
use crate::{
    auth::SecretSource,
    files,
    webhooks::{Description, Form, Preset, Signing},
};

const TIMEOUT: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Exit codes:
  0  the delivery was accepted
  1  it was refused (the answer says why); or it can't be signed, or read from its file
  2  the command line is wrong
  3  no connection, or no answer in time

Examples (W is http://127.0.0.1:8080/webhooks, C a circle's public key):
  circled webhook send W/stripe/C --provider stripe --secret whsec_test event.json
  circled webhook send W/github/C --provider github --secret env:GITHUB_SECRET --type push push.json
  echo 'command=/weather&text=94070' |
    circled webhook send W/slack/C --provider slack --secret env:SLACK_SECRET --form -
  circled webhook send W/acme/C --provider acme --config circled.toml --secret hush-hush event.json";

/// Send webhooks as a provider would.
#[derive(Debug, Args)]
pub(super) struct Webhook {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Send(Send),
}

/// Sign a file as a provider would, and send it.
///
/// Prints the status and the answer.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct Send {
    /// The address: `http://host:port/webhooks/<provider>/<circle_pk>`, or https://
    url: String,
    #[arg(long, help = format!("The provider: {}, or one of the settings file", preset_names()))]
    provider: String,
    /// The secret to sign with: itself, env:NAME or file:PATH.
    #[arg(long, value_name = "SECRET")]
    secret: SecretSource,
    /// The body; - is standard input.
    file: PathBuf,
    /// The body is a form (a=1&b=2), not JSON; as Slack's commands are, and maybe GitHub's events.
    #[arg(long)]
    form: bool,
    /// The event's id, for providers that send it in a header. Without it, a new one each time.
    #[arg(long)]
    id: Option<String>,
    /// The event's type, for providers that send it in a header.
    #[arg(long = "type", value_name = "TYPE", default_value = "test")]
    event_type: String,
    /// The time of the signature, to try a stale one: 2026-11-23T16:45:00Z. Without it, now.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Webhook {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Command::Send(send) = &self.command;
        send.run()
    }
}

impl Send {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let request = self.request()?;
        let answer = client_runtime()?.block_on(send(request, TIMEOUT))?;
        writeln!(
            stdout(),
            "{} {}",
            answer.status.as_u16(),
            printable(answer.body.trim())
        )?;
        if answer.status.is_success() {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(help) = help(&answer) {
            remark!("  = help: {help}");
        }
        Ok(ExitCode::FAILURE)
    }

    fn request(&self) -> anyhow::Result<Request<Full<axum::body::Bytes>>> {
        let uri: Uri = self
            .url
            .parse()
            .with_context(|| format!("{:?} is not a URL", self.url))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            bail!(
                "{:?} is not the address of a webhook: write it like http://127.0.0.1:8080/webhooks/stripe/<circle_pk>",
                self.url
            );
        }
        let description = self.description()?;
        let form = self.form(&description)?;
        let body = self.body(form)?;
        let variable = |name: &str| std::env::var(name).ok();
        let secret = self
            .secret
            .read(Path::new(""), &variable)
            .with_context(|| format!("the secret {} cannot be used", self.secret))?
            .with_context(|| format!("the secret {} is not set", self.secret))?
            .secret;
        let id = match &self.id {
            Some(id) => id.clone(),
            None => format!("evt_{}", Uuid::now_v7().simple()),
        };
        let signing = Signing {
            secret: &secret,
            at: self.at.unwrap_or_else(Timestamp::now),
            id: &id,
            body: &body,
        };
        let mut signed = description.sign(&signing, &self.event_type)?;
        signed.insert(header::CONTENT_TYPE, form.content_type());
        let mut request = Request::post(uri).header(
            header::USER_AGENT,
            concat!("circled/", env!("CARGO_PKG_VERSION")),
        );
        if let Some(headers) = request.headers_mut() {
            headers.extend(signed);
        }
        Ok(request.body(Full::from(body))?)
    }

    /// Returns the provider's description, from the settings or the preset.
    fn description(&self) -> anyhow::Result<Description> {
        let settings = self.config.settings()?.webhooks;
        if let Some(provider) = settings.providers.get(&self.provider) {
            return Ok(provider.description());
        }
        match Preset::from_str(&self.provider, false) {
            Ok(preset) => Ok(preset.description()),
            Err(_) => bail!(
                "there is no provider {:?}: it is neither a preset ({}) nor in the settings (--config)",
                self.provider,
                preset_names()
            ),
        }
    }

    /// Returns the form of the body: as the command line says, or the provider's usual one.
    fn form(&self, description: &Description) -> anyhow::Result<Form> {
        let forms = description.forms();
        match self.form {
            true if !forms.contains(&Form::Form) => {
                bail!("{} sends no forms: leave out --form", self.provider)
            }
            true => Ok(Form::Form),
            false => Ok(forms.first().copied().unwrap_or(Form::Json)),
        }
    }

    fn body(&self, form: Form) -> anyhow::Result<Vec<u8>> {
        let mut body = if self.file == Path::new("-") {
            files::bytes_of(stdin(), MAX_SENT)
                .context("the body cannot be read from standard input")?
        } else {
            files::read(&self.file, MAX_SENT)
                .with_context(|| format!("{} cannot be read", self.file.display()))?
        };
        if form == Form::Form {
            // Text files end with a line end, but forms don't.
            let end = body.trim_ascii_end().len();
            body.truncate(end);
        }
        Ok(body)
    }
}

fn preset_names() -> String {
    let names = Preset::all().iter().map(|preset| preset.name());
    names.collect::<Vec<_>>().join(", ")
}

fn help(answer: &Answer) -> Option<&'static str> {
    match answer.error("code").as_deref() {
        Some("not_found" | "method_not_allowed") => {
            return Some("the URL must be http://host:port/webhooks/<provider>/<circle_pk>");
        }
        Some("invalid_circle") => {
            return Some(
                "end the URL in the circle's public key: `circled keygen --show circle.key` prints it",
            );
        }
        Some("unknown_circle") => {
            return Some("the server serves only the circles in its settings: [[circle]]");
        }
        Some("invalid_payload") => {
            return Some("the server's log says why (\"webhook refused\")");
        }
        _ => {}
    }
    match answer.status {
        StatusCode::UNAUTHORIZED => Some(
            "the server has another secret, or another time; its log says which (\"webhook refused\")",
        ),
        StatusCode::NOT_FOUND => Some(
            "the settings have no such provider, or none of its secrets is set where the server runs; its log says which (\"webhook refused\")",
        ),
        StatusCode::SERVICE_UNAVAILABLE => Some("a provider would try again later"),
        _ => None,
    }
}
