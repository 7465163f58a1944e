//! `circled health`

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{ConfigFile, client_runtime};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Ask the server that the same settings describe for its /readyz, and print the answer. Exit code 0
/// if it is ready, 1 if it is stopping or doesn't answer.
#[derive(Debug, Args)]
pub(super) struct Health {
    #[command(flatten)]
    config: ConfigFile,
}

impl Health {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let address = self.config.load()?.settings.server.admin_listen;
        if address.is_empty() {
            bail!("server.admin_listen is \"\": there is nothing to ask");
        }
        let answer = client_runtime()?.block_on(async { timeout(TIMEOUT, ask(&address)).await });
        let answer = answer
            .with_context(|| format!("{address} did not answer within {TIMEOUT:?}"))?
            .with_context(|| format!("{address} does not answer"))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        println!("{}", body.trim());
        Ok(if head.starts_with("HTTP/1.1 200 ") {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

async fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(
            format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
