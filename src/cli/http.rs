//! HTTP requests of commands.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use axum::{
    body::Bytes,
    http::{Request, StatusCode, Uri},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio::time::timeout;

/// The most bytes of a response.
const LONGEST_ANSWER: usize = 64 << 20;

/// A server's response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Answer {
    /// Returns the server's message in a refusal.
    pub(super) fn message(&self) -> String {
        let message = self.error("message");
        message.unwrap_or_else(|| self.body.trim().to_owned())
    }

    /// Returns a field of the error in a refusal.
    pub(super) fn error(&self, field: &str) -> Option<String> {
        let body: Value = circled_json::parse(&self.body).ok()?;
        Some(body["error"][field].as_str()?.to_owned())
    }
}

/// The server doesn't respond, or not in time.
#[derive(Debug, thiserror::Error)]
#[error("{address} {why}")]
pub(super) struct NoAnswer {
    address: String,
    why: String,
}

/// Sends a request and waits for the whole response, no longer than `patience`.
///
/// # Errors
/// The server doesn't respond.
pub(super) async fn send(
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<Answer, NoAnswer> {
    let address = request.uri().to_string();
    let exchange = async {
        let response = if request.uri().scheme_str() == Some("https") {
            // An error means that a provider is installed already, which is fine.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let connector = HttpsConnectorBuilder::new()
                .with_native_roots()
                .context("the system's certificates cannot be read")?
                .https_only()
                .enable_http1()
                .build();
            let client = Client::builder(TokioExecutor::new()).build(connector);
            client.request(request).await?
        } else {
            let client = Client::builder(TokioExecutor::new()).build_http();
            client.request(request).await?
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER);
        let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        anyhow::Ok(Answer { status, body })
    };
    let why = match timeout(patience, exchange).await {
        Ok(Ok(answer)) => return Ok(answer),
        // The libraries' own words around the cause don't help the reader.
        Ok(Err(error)) => format!(
            "does not answer; is the server running?: {}",
            error.root_cause()
        ),
        Err(_) => format!("did not answer within {patience:?}"),
    };
    Err(NoAnswer { address, why })
}

/// Posts to a server, and writes what it sends, which may be much.
///
/// # Errors
/// The server doesn't respond, refuses, or stops sending.
pub(super) async fn download(url: &str, out: &mut impl Write) -> anyhow::Result<()> {
    /// The longest time until it begins.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// The longest time without anything. Until it has found all circles and marks in Redis, a server has nothing to send.
    const SILENCE: Duration = Duration::from_secs(600);
    let early = "the server stopped sending: its log says why";
    let no_answer = |why: String| NoAnswer {
        address: url.to_owned(),
        why,
    };
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(url).body(Full::<Bytes>::default())?;
    let response = match timeout(PATIENCE, client.request(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let error = anyhow::Error::from(error);
            let cause = error.root_cause();
            let why = format!("does not answer; is the server running?: {cause}");
            return Err(no_answer(why).into());
        }
        Err(_) => return Err(no_answer(format!("did not answer within {PATIENCE:?}")).into()),
    };
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        bail!("the server refuses: {}", Answer { status, body }.message());
    }
    while let Some(frame) = timeout(SILENCE, body.frame()).await.context(early)? {
        let frame = frame.context(early)?;
        if let Some(data) = frame.data_ref() {
            out.write_all(data).context("it cannot be written")?;
        }
    }
    Ok(())
}

/// Returns the address of a server's admin listener, `http://host:port`: the given one, or that of the settings.
pub(super) fn admin_url(
    said: Option<&str>,
    admin_listen: Option<SocketAddr>,
) -> anyhow::Result<String> {
    if let Some(url) = said {
        let uri: Option<Uri> = url.parse().ok();
        return match uri
            .as_ref()
            .map(|uri| (uri.scheme_str(), uri.authority(), uri.path()))
        {
            Some((Some("http"), Some(authority), "" | "/")) => Ok(format!("http://{authority}")),
            _ => bail!(
                "{url:?} is not the address of an admin listener: write it like http://127.0.0.1:8081"
            ),
        };
    }
    let Some(mut address) = admin_listen else {
        bail!("server.admin_listen is \"\", so no server can be asked: set it");
    };
    if address.port() == 0 {
        bail!(
            "server.admin_listen has port 0, so the real port is not known: give the URL, http://host:port"
        );
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("http://{address}"))
}
