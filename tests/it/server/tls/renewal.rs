//! Certificates that are renewed while the server runs.

use futures_util::{StreamExt, stream};
use jiff::{Timestamp, ToSpan};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::{
    harness::{
        backend::on_both,
        server::{Builder, TestServer, Ws, eventually, key},
        tls::{Authority, shown},
    },
    session::many::raise_open_files,
};

const HOST: &str = "127.0.0.1";
const SESSIONS: usize = 1_000;

/// Returns the certificate that a new client is shown; `None` if it refuses that.
async fn shows(
    authority: &Authority,
    server: &TestServer,
    host: &str,
) -> Option<CertificateDer<'static>> {
    Some(shown(&authority.dial(server, host).await.ok()?))
}

async fn sessions_live_through_a_renewal() {
    raise_open_files();
    let authority = Authority::new();
    let old = authority.issue("own", &[HOST]);
    let server = authority.server(&["own"]).start().await;
    let open = async |_: usize| {
        let mut session = authority.connect(&server).await;
        session.fence().await;
        session
    };
    let sessions: Vec<Ws> = stream::iter(0..SESSIONS)
        .map(open)
        .buffer_unordered(64)
        .collect()
        .await;
    assert_eq!(shows(&authority, &server, HOST).await.as_ref(), Some(&old));
    let new = authority.issue("own", &[HOST]);
    eventually("the new certificate", async || {
        shows(&authority, &server, HOST).await.as_ref() == Some(&new)
    })
    .await;
    server.signal(Signal::HUP);
    let sessions: Vec<Ws> = stream::iter(sessions)
        .map(async |mut session: Ws| {
            session.login(&key(2)).await;
            session.play("1").await.unwrap();
            session
        })
        .buffer_unordered(64)
        .collect()
        .await;
    let ready = server.admin("/readyz").await.json();
    assert_eq!(ready["sessions"], SESSIONS, "{ready}");
    drop(sessions);
}

fn refused(line: &Value, why: &str) -> bool {
    let message = "a renewed certificate can't be used: the old one stays";
    line["message"] == message && line["why"].as_str().unwrap().contains(why)
}

#[tokio::test]
async fn a_renewed_pair_that_cannot_be_used_is_kept_out_and_told_once() {
    let authority = Authority::new();
    let old = authority.issue("own", &[HOST]);
    let other = authority.issue("other", &["b.example"]);
    let mut server = authority.server(&["own", "other"]).start().await;
    let key_before = std::fs::read_to_string(authority.path("own.key")).unwrap();
    let cert_before = std::fs::read_to_string(authority.path("own.pem")).unwrap();
    let now = Timestamp::now();
    for why in [
        "no certificate",
        "no key",
        "not the key",
        "has ended",
        "begins on",
        "no such file",
    ] {
        match why {
            "no certificate" => authority.write("own.pem", "hello"),
            "no key" => authority.write("own.key", "-----BEGIN PRIVATE KEY-----\n"),
            "not the key" => {
                authority.issue("new", &[HOST]);
                std::fs::rename(authority.path("new.pem"), authority.path("own.pem")).unwrap();
            }
            "has ended" => {
                let ended = now - 1.hour();
                drop(authority.issue_for("own", &[HOST], ended - 48.hours(), ended));
            }
            "begins on" => {
                drop(authority.issue_for("own", &[HOST], now + 1.hour(), now + 48.hours()))
            }
            _ => std::fs::remove_file(authority.path("own.key")).unwrap(),
        }
        server.logged(why, |line| refused(line, why)).await;
        assert_eq!(
            shows(&authority, &server, HOST).await.as_ref(),
            Some(&old),
            "{why}"
        );
        authority.write("own.key", &key_before);
        authority.write("own.pem", &cert_before);
        // The others are renewed all the same, and by then the mistake was seen more than once.
        let renewed = authority.issue("other", &["b.example"]);
        assert_ne!(renewed, other);
        eventually("the other one", async || {
            shows(&authority, &server, "b.example").await.as_ref() == Some(&renewed)
        })
        .await;
    }
    let new = authority.issue("own", &[HOST]);
    eventually("the new one", async || {
        shows(&authority, &server, HOST).await.as_ref() == Some(&new)
    })
    .await;
}

#[tokio::test]
async fn a_mistake_that_stays_is_told_once() {
    let authority = Authority::new();
    authority.issue("own", &[HOST]);
    authority.issue("other", &["b.example"]);
    let mut server = authority.server(&["own", "other"]).start().await;
    authority.write("own.pem", "hello");
    server
        .logged("it", |line| refused(line, "no certificate"))
        .await;
    for _ in 0..3 {
        let renewed = authority.issue("other", &["b.example"]);
        eventually("a later look", async || {
            shows(&authority, &server, "b.example").await.as_ref() == Some(&renewed)
        })
        .await;
    }
    // A look may have come between the two files of the other one.
    let is_own = |line: &Value| line["certificate"].as_str().unwrap().ends_with("own.pem");
    let told = server.count_logged(|line| refused(line, "") && is_own(line));
    assert_eq!(told, 1);
}

/// Returns a server that looks at its files only on SIGHUP.
fn on_hangup(authority: &Authority, names: &[&str]) -> Builder {
    let file = authority.path("circled.toml");
    write(authority, &authority.setting(names));
    TestServer::builder()
        .config(&file)
        .env("CIRCLED_SERVER__TLS__CHECK_FILES", "1h")
}

fn write(authority: &Authority, setting: &str) {
    authority.write("circled.toml", &format!("[server.tls]\n{setting}"));
}

#[tokio::test]
async fn sighup_takes_up_certificates_at_once() {
    let authority = Authority::new();
    authority.issue("own", &[HOST]);
    let mut server = on_hangup(&authority, &["own"]).start().await;
    let mut session = authority.connect(&server).await;
    session.login(&key(2)).await;
    let read_again = |line: &Value| line["changed"] == "server.tls.certificates";

    let new = authority.issue("own", &[HOST]);
    server.signal(Signal::HUP);
    server.logged("the renewed one", read_again).await;
    assert_eq!(shows(&authority, &server, HOST).await.as_ref(), Some(&new));

    let other = authority.issue("other", &["b.example"]);
    write(&authority, &authority.setting(&["own", "other"]));
    server.signal(Signal::HUP);
    eventually("another one", async || {
        shows(&authority, &server, "b.example").await.as_ref() == Some(&other)
    })
    .await;

    for (setting, why) in [
        (authority.setting(&["own", "none"]), "there is no such file"),
        (authority.setting(&[]), "restart"),
    ] {
        write(&authority, &setting);
        server.signal(Signal::HUP);
        server
            .logged(why, |line| {
                line["message"] == "a setting is wrong"
                    && line["problem"].as_str().unwrap().contains(why)
            })
            .await;
        assert_eq!(
            shows(&authority, &server, "b.example").await.as_ref(),
            Some(&other)
        );
    }
    session.play("1").await.unwrap();
}

#[tokio::test]
async fn a_plain_server_needs_a_restart_for_tls() {
    let authority = Authority::new();
    authority.issue("own", &[HOST]);
    let mut server = on_hangup(&authority, &[]).start().await;
    write(&authority, &authority.setting(&["own"]));
    server.signal(Signal::HUP);
    server
        .logged("that it needs a restart", |line| {
            line["message"] == "settings that need a restart have changed"
                && line["settings"] == "server.tls.certificates"
        })
        .await;
    server.log_in(&key(2)).await.play("1").await.unwrap();
}

on_both!(sessions_live_through_a_renewal);
