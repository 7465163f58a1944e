//! Certificates as `circled config check` sees them.

use std::{os::unix::fs::PermissionsExt, process::Stdio};

use jiff::{Timestamp, ToSpan};

use crate::harness::{command::circled_command, tls::Authority};

/// Runs `circled config check` with these certificates. Returns its exit code and its output.
fn check(authority: &Authority, names: &[&str], more: &str) -> (i32, String) {
    let text = format!(
        "[server]\n{more}\n[server.tls]\n{}",
        authority.setting(names)
    );
    authority.write("circled.toml", &text);
    let output = circled_command()
        .args(["config", "check", "--config"])
        .arg(authority.path("circled.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

const PUBLIC: &str = "public_url = \"wss://a.b.example:8443\"";

fn private(authority: &Authority, name: &str) {
    let key = authority.path(&format!("{name}.key"));
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn pairs_that_cannot_be_used_are_mistakes() {
    let authority = Authority::new();
    for name in ["good", "one", "two", "torn"] {
        authority.issue(name, &["a.example"]);
    }
    std::fs::copy(authority.path("two.key"), authority.path("one.key")).unwrap();
    authority.write(
        "torn.pem",
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    );
    let (code, said) = check(&authority, &["good", "one", "none", "torn"], "");
    assert_eq!(code, 1, "{said}");
    for expected in [
        "server.tls.certificates[1].key",
        "is not the key of the first certificate",
        "server.tls.certificates[2].cert",
        "there is no such file",
        "server.tls.certificates[3].cert",
        "is damaged",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("certificates[0]"), "{said}");
}

#[test]
fn a_key_in_the_settings_is_not_shown() {
    let authority = Authority::new();
    let (_, said) = check(&authority, &[], "");
    assert_eq!(said, "ok\n");
    authority.write(
        "circled.toml",
        "[server.tls]\ncertificates = [{ cert = \"c.pem\", key = \"-----BEGIN PRIVATE KEY-----hunter2\" }]",
    );
    for what in ["check", "show"] {
        let output = circled_command()
            .args(["config", what, "--config"])
            .arg(authority.path("circled.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            said.contains("server.tls.certificates[0]") || said.contains("tls.certificates = [{"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn what_clients_will_refuse_is_noted() {
    let authority = Authority::new();
    let now = Timestamp::now();
    let (day, month) = (24.hours(), (30 * 24).hours());
    let issue = |name: &str, host: &str, begins: Timestamp, ends: Timestamp| {
        authority.issue_for(name, &[host], begins, ends);
        private(&authority, name);
    };
    issue("good", "a.b.example", now - month, now + month);
    issue("short", "a.b.example", now - 1.hour(), now + day * 5);
    issue("near", "a.b.example", now - month * 3, now + day * 13);
    issue("ended", "a.b.example", now - month, now - 1.hour());
    issue("early", "a.b.example", now + day, now + month);
    issue("wild", "*.b.example", now - month, now + month);
    issue("other", "c.example", now - month, now + month);
    issue("open", "a.b.example", now - month, now + month);
    let open = authority.path("open.key");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    for (name, expected) in [
        ("good", None),
        ("short", None),
        ("near", Some("the certificate ends on ")),
        ("ended", Some("the certificate has ended on ")),
        ("early", Some("the certificate begins on ")),
        ("wild", None),
        (
            "other",
            Some("no certificate is for the host in server.public_url"),
        ),
        (
            "open",
            Some("everybody on this machine can read its key: `chmod o= "),
        ),
    ] {
        let (code, said) = check(&authority, &[name], PUBLIC);
        assert_eq!(code, 0, "{said}");
        match expected {
            None => assert_eq!(said, "ok\n", "{name}"),
            Some(expected) => assert!(said.contains(expected), "{name}: {said}"),
        }
    }
    // One that fits is enough.
    assert_eq!(check(&authority, &["other", "good"], PUBLIC).1, "ok\n");
    let (_, said) = check(&authority, &["other"], PUBLIC);
    assert!(said.contains("c.example"), "it says what it is for: {said}");
}

#[test]
fn the_public_url_is_one_of_tls() {
    let authority = Authority::new();
    authority.issue("own", &["a.example"]);
    let (code, said) = check(&authority, &["own"], "public_url = \"ws://a.example\"");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("clients dial wss://"), "{said}");
}
