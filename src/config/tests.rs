//! Settings as they are written, and what is said about them.

use std::io::Write;

use super::*;

fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Loaded, String> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let path = file.path().to_str().unwrap().to_owned();
    Settings::load(Some(file.path()), environment)
        .map_err(|problems| problems.to_string().replace(&path, "circled.toml"))
}

#[test]
fn the_defaults_are_whole() {
    let loaded = Settings::load(None, []).unwrap();
    assert_eq!(loaded.settings.session.max_message, 256 << 10);
    let file = include_str!("../../config/default.toml");
    let set = file
        .lines()
        .filter(|line| line.contains(" = ") && !line.starts_with('#'));
    assert_eq!(loaded.entries.len(), set.count(), "every line is a setting");
    assert!(
        loaded
            .entries
            .iter()
            .all(|entry| entry.source == Source::Default)
    );
}

#[test]
fn the_environment_comes_last() {
    let environment = [
        ("CIRCLED_SESSION__MAX_BATCH", "3"),
        (
            "CIRCLED_SERVER__ALLOWED_ORIGINS",
            "https://a.example, https://b.example",
        ),
        ("CIRCLED_CIRCLES__ALLOW_OPEN", "true"),
        ("CIRCLED_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/root"),
    ];
    let loaded = load(
        "[auth]\n[session]\nmax_batch = 2\nmax_in_flight = 2",
        &environment,
    )
    .unwrap();
    let Settings {
        session,
        server,
        circles,
        ..
    } = &loaded.settings;
    assert_eq!((session.max_batch, session.max_in_flight), (3, 2));
    assert_eq!(
        server.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
    assert!(circles.allow_open);
    let source = |key| {
        &loaded
            .entries
            .iter()
            .find(|entry| entry.key == key)
            .unwrap()
            .source
    };
    let variable = Source::Environment("CIRCLED_SESSION__MAX_BATCH".to_owned());
    assert_eq!(*source("session.max_batch"), variable);
    assert!(matches!(source("session.max_in_flight"), Source::File(_)));
    assert_eq!(*source("session.ping_interval"), Source::Default);
}

#[test]
fn every_mistake_is_told_at_once() {
    let toml = r#"
        [sesion]
        [session]
        max_bach = 2
        ping_interval = 10
        max_in_flight = "many"
        [server]
        listen = "localhost:8080"
        trusted_proxies = ["10.0.0.0/8", "10.0.0.7/8"]
        [circles]
        open = false
        [[circle]]
        key = "02"
        member = []
        [[circle]]
        members = ["03", 4]
        play = "nobody"
        manage = 7
        [log]
        format = "xml"
    "#;
    let environment = [
        ("CIRCLED_SERVER_LISTEN", "redis://me:hunter2@host"),
        ("CIRCLED_SESSION__MAX_SESSIONS", "lots"),
        ("CIRCLED_CIRCLE", "02"),
    ];
    insta::assert_snapshot!(load(toml, &environment).unwrap_err(), @r#"
    sesion (circled.toml): there is no such section; did you mean [session]?
    session.max_bach = 2 (circled.toml): there is no such setting; did you mean `session.max_batch`?
    server_listen = "redis://me:***@host" (CIRCLED_SERVER_LISTEN): there is no such setting; did you mean `CIRCLED_SERVER__LISTEN`?
    circle = "02" (CIRCLED_CIRCLE): circles are listed in the settings file, each as a table [[circle]]
    circle[0].member = [] (circled.toml): there is no such setting; did you mean `members`?
    circle[0].key = "02" (circled.toml): not a secp256k1 public key: expected 66 or 130 hex digits of a point on the curve
    circle[1] (circled.toml): the circle's `key` is missing
    circle[1].members[0] = "03" (circled.toml): not a secp256k1 public key: expected 66 or 130 hex digits of a point on the curve
    circle[1].members[1] = 4 (circled.toml): must be a public key in quotes
    circle[1].play = "nobody" (circled.toml): must be one of "auto", "anyone", "guest", "member", "owner"
    circle[1].manage = 7 (circled.toml): must be one of "auto", "anyone", "guest", "member", "owner"
    log.format = "xml" (circled.toml): must be one of "auto", "human", "json"
    server.listen = "localhost:8080" (circled.toml): must be an IP address and a port, like "127.0.0.1:8080"
    server.trusted_proxies = ["10.0.0.0/8", "10.0.0.7/8"] (circled.toml): 10.0.0.7/8 begins within its range; write "10.0.0.0/8"
    session.max_in_flight = "many" (circled.toml): must be a whole number, 0 or more
    session.max_sessions = "lots" (CIRCLED_SESSION__MAX_SESSIONS): must be a whole number, 0 or more
    session.ping_interval = 10 (circled.toml): must be a duration like "250ms", "10s" or "5m"
    "#);
}

#[test]
fn a_file_that_is_no_toml_is_told_apart() {
    let problems = load("[session]\nmax_batch = = 1\n", &[]).unwrap_err();
    assert!(problems.starts_with("circled.toml: "), "{problems}");
    assert!(problems.contains("line 2, column 13"), "{problems}");
    let missing = Settings::load(Some(Path::new("no/such/file.toml")), []);
    let missing = missing.unwrap_err().to_string();
    assert!(
        missing.starts_with("no/such/file.toml cannot be read: No such file"),
        "{missing}"
    );
}

#[test]
fn an_open_server_stays_on_loopback() {
    let problems = load("[server]\nlisten = \"0.0.0.0:8080\"", &[]).unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    circles.open = true (default): server.listen = "0.0.0.0:8080" is past loopback, and anyone who finds it may run scripts: set circles.open = false and list your circles as [[circle]], or permit it with circles.allow_open = true
    server.public_url = "" (default): server.listen = "0.0.0.0:8080" is past loopback, and the text that people sign to log in must name the server: set it to what they dial, like "wss://circles.example.org"
    "#);
    load("[server]\nlisten = \"0.0.0.0:8080\"\npublic_url = \"wss://circles.example.org\"\n[circles]\nallow_open = true", &[]).unwrap();
}

#[test]
fn senseless_values_are_refused() {
    for (toml, key) in [
        ("[session]\nmax_in_flight = 0", "session.max_in_flight"),
        ("[session]\npong_timeout = \"0s\"", "session.pong_timeout"),
        ("[session]\nmax_message = \"0B\"", "session.max_message"),
        ("[server]\nshutdown_grace = \"2y\"", "server.shutdown_grace"),
        (
            "[server]\npublic_url = \"https://circles.example.org\"",
            "server.public_url",
        ),
        (
            "[server]\nallowed_origins = [\"app.example.org\"]",
            "server.allowed_origins",
        ),
        (
            "[server]\nadmin_listen = \"localhost\"",
            "server.admin_listen",
        ),
        (
            "[server]\nadmin_listen = \"127.0.0.1:8080\"",
            "server.admin_listen",
        ),
        ("[limits]\ncaller_rate = 10_000_001", "limits.caller_rate"),
        ("[limits]\ncircle_rate = -1", "limits.circle_rate"),
        ("[circles]\nopen = false", "circles.open"),
        ("[log]\nlevel = \"inof\"", "log.level"),
        (
            "[dispatch]\nbackend = \"carrier pigeon\"",
            "dispatch.backend",
        ),
        ("[script]\nmax_operations = -1", "script.max_operations"),
        ("[script]\nmax_operations = 0", "script.max_operations"),
        ("session = 5", "session"),
        ("[circle]\nkey = \"02\"", "circle.key"),
    ] {
        let problems = load(toml, &[]).unwrap_err();
        let told = problems.starts_with(&format!("{key} = "));
        assert!(told && problems.lines().count() == 1, "{problems}");
    }
}

#[test]
fn a_circle_is_listed_once() {
    let circle = "[[circle]]\nkey = \"024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e\"\n";
    assert_eq!(load(circle, &[]).unwrap().settings.circle.len(), 1);
    let problems = load(&circle.repeat(2), &[]).unwrap_err();
    assert!(problems.contains("is listed twice"), "{problems}");
}
