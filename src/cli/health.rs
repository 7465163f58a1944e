//! `circled health`

use std::{io::Write, process::ExitCode, time::Duration};

use axum::http::Request;
use clap::Args;
use http_body_util::Full;

use super::{
    ConfigFile, client_runtime,
    http::{admin_url, send},
    output::{remark, stdout},
};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Ask a running server whether it is ready.
///
/// Prints the answer. Exit code 0 if it is ready; 1 if it is stopping, its store takes no writes, or it doesn't answer.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// The server to ask, http://host:port; without it, server.admin_listen of the settings.
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Health {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let url = match &self.url {
            Some(url) => admin_url(Some(url), None)?,
            None => admin_url(None, self.config.settings()?.server.admin_listen)?,
        };
        let request = Request::get(format!("{url}/readyz")).body(Full::default())?;
        let answer = match client_runtime()?.block_on(send(request, TIMEOUT)) {
            Ok(answer) => answer,
            Err(error) => {
                remark!("error: {error}");
                return Ok(ExitCode::FAILURE);
            }
        };
        writeln!(stdout(), "{}", answer.body.trim())?;
        Ok(if answer.status.is_success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
