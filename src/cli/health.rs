//! `circled health`

use std::{
    io::{Write, stdout},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use axum::http::Uri;
use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{ConfigFile, client_runtime};

const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes; the answer is a line.
const LONGEST_ANSWER: u64 = 16 << 10;

/// Ask a running server whether it is ready.
///
/// Prints the answer. Exit code 0 if it is, 1 if it is stopping or doesn't answer.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// Whom to ask, http://host:port; without it, the server that the settings describe, at
    /// server.admin_listen.
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Health {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let address = match &self.url {
            Some(url) => authority(url)?,
            None => dialled(&self.config.settings()?.server.admin_listen)?,
        };
        let answer = client_runtime()?.block_on(async { timeout(TIMEOUT, ask(&address)).await });
        let answer = answer
            .with_context(|| format!("{address} did not answer within {TIMEOUT:?}"))?
            .with_context(|| format!("{address} does not answer"))?;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            bail!("{address} does not answer in HTTP");
        };
        writeln!(stdout(), "{}", body.trim())?;
        Ok(if head.starts_with("HTTP/1.1 200 ") {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn authority(url: &str) -> anyhow::Result<String> {
    let uri: Option<Uri> = url.parse().ok();
    match uri.as_ref().map(|uri| (uri.scheme_str(), uri.authority())) {
        Some((Some("http"), Some(authority))) => Ok(match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        }),
        _ => bail!("{url:?} is no address to ask: write it like http://127.0.0.1:8081"),
    }
}

/// Where to find a server that listens like this.
fn dialled(admin_listen: &str) -> anyhow::Result<String> {
    if admin_listen.is_empty() {
        bail!("server.admin_listen is \"\": there is nothing to ask");
    }
    let mut address: SocketAddr = admin_listen.parse().context("server.admin_listen")?;
    if address.port() == 0 {
        bail!("server.admin_listen leaves the port to chance: say whom to ask, http://host:port");
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address.to_string())
}

async fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
