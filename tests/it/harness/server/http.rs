//! Plain HTTP/1.1, with nothing between the test and the bytes.

use std::{io, net::SocketAddr};

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

/// The headers of a WebSocket handshake.
pub(crate) const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A server's response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (other, value) = line.split_once(':')?;
            other.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        circled_json::parse(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Checks that the body explains the error, for machines and for people.
    pub(crate) fn assert_is_an_error(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        let error = &self.json()["error"];
        for member in ["code", "message"] {
            let text = error[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{member} is missing: {self:?}");
        }
    }
}

/// Sends a `GET` with these headers, and a `Host` unless there is one among them.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        request += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    send(address, &(request + "\r\n")).await
}

/// Sends a `POST` with these headers.
pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    send_bytes(address, &posting(address, path, headers, body)).await
}

/// Sends a `POST` to a server that may be gone: returns `None` then.
pub(crate) async fn try_post(
    address: SocketAddr,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<Response> {
    let request = posting(address, path, headers, body);
    let exchange = exchange(address, &request);
    within("an answer, or the end", exchange).await.ok()
}

fn posting(address: SocketAddr, path: &str, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    [(request + "\r\n").as_bytes(), body].concat()
}

/// Sends a request unchanged.
pub(crate) async fn send(address: SocketAddr, request: &str) -> Response {
    send_bytes(address, request.as_bytes()).await
}

async fn send_bytes(address: SocketAddr, request: &[u8]) -> Response {
    let shown = String::from_utf8_lossy(request);
    within(
        &format!("an answer to {shown:?}"),
        exchange(address, request),
    )
    .await
    .unwrap_or_else(|error| panic!("{error}, instead of an answer to {shown:?}"))
}

async fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut received = Vec::new();
    loop {
        if let Some(response) = whole(&received) {
            return Ok(response);
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::Error::other(format!("half an answer: {received:?}")));
        }
    }
}

fn whole(received: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(received);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut response = Response {
        status: head.split(' ').nth(1)?.parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    };
    let length = response
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    if response.status == 101 {
        response.body.clear();
    }
    (response.body.len() >= length).then_some(response)
}
