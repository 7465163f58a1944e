//! Settings as they are written, and what is said about them.

use std::io::Write;

use super::*;
use crate::field_names::field_names;

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
    assert_eq!(loaded.settings.session.max_message.get(), 256 << 10);
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
    assert_eq!(
        (session.max_batch.get(), session.max_in_flight.get()),
        (3, 2)
    );
    let allowed = ["https://a.example", "https://b.example"];
    assert_eq!(
        server.allowed_origins,
        allowed.map(|page| page.parse().unwrap())
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
    sesion (circled.toml:2:10): there is no such section; did you mean [session]?
    session.max_bach (circled.toml:4:9): there is no such setting; did you mean `session.max_batch`?
    session.ping_interval = 10 (circled.toml:5:9): must be a duration like "250ms", "10s" or "5m"
    session.max_in_flight = "many" (circled.toml:6:9): must be a whole number, 1 or more
    server.listen = "localhost:8080" (circled.toml:8:9): must be an IP address and a port, like "127.0.0.1:8080"
    server.trusted_proxies[1] = "10.0.0.7/8" (circled.toml:9:42): 10.0.0.7/8 begins within its range; write "10.0.0.0/8"
    circle[0].key = "02" (circled.toml:13:9): not a secp256k1 public key: expected 66 or 130 hex digits of a point on the curve
    circle[0].member (circled.toml:14:9): there is no such setting; did you mean `members`?
    circle[1] (circled.toml:15:9): the circle's `key` is missing
    circle[1].members[0] = "03" (circled.toml:16:20): not a secp256k1 public key: expected 66 or 130 hex digits of a point on the curve
    circle[1].members[1] = 4 (circled.toml:16:26): must be a public key in quotes
    circle[1].play = "nobody" (circled.toml:17:9): must be one of "auto", "anyone", "guest", "member", "owner"
    circle[1].manage = 7 (circled.toml:18:9): must be one of "auto", "anyone", "guest", "member", "owner"
    log.format = "xml" (circled.toml:20:9): must be one of "auto", "human", "json"
    circle (CIRCLED_CIRCLE): circles are listed in the settings file, each as a table [[circle]]
    server_listen (CIRCLED_SERVER_LISTEN): there is no such setting; did you mean `CIRCLED_SERVER__LISTEN`?
    session.max_sessions = "lots" (CIRCLED_SESSION__MAX_SESSIONS): must be a whole number, 1 or more
    "#);
}

#[test]
fn a_file_that_is_no_toml_is_told_apart() {
    let problems = load("[session]\nmax_batch = = 1\n", &[]).unwrap_err();
    assert!(
        problems.starts_with("circled.toml:2:13: this is no TOML: "),
        "{problems}"
    );
    // What the file sets is unknown, so only single variables can be wrong.
    let environment = [
        ("CIRCLED_SESSION__MAX_BATCH", "0"),
        ("CIRCLED_SERVER__LISTEN", "0.0.0.0:8080"),
    ];
    let problems = load("a = = 1\nb = = 2", &environment).unwrap_err();
    let last = problems.lines().last().unwrap();
    assert!(problems.contains("circled.toml:2:5: "), "{problems}");
    assert!(last.starts_with("session.max_batch = 0"), "{problems}");
    assert!(!problems.contains("server.listen"), "{problems}");
    let missing = Settings::load(Some(Path::new("no/such/file.toml")), []);
    let missing = missing.unwrap_err().to_string();
    assert!(
        missing.starts_with("no/such/file.toml cannot be read: No such file"),
        "{missing}"
    );
    let mount = "-v ./circled.toml:no/such/file.toml:ro";
    assert!(missing.ends_with(mount), "{missing}");
}

#[test]
fn an_open_server_stays_on_loopback() {
    let problems = load("[server]\nlisten = \"0.0.0.0:8080\"", &[]).unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    circles.open = true (default): other machines can reach server.listen, and anyone who finds it may run scripts: set circles.open = false and list your circles as [[circle]], or permit it with circles.allow_open = true; see server.listen = "0.0.0.0:8080" (circled.toml:2:1), circles.allow_open = false (default)
    server.public_url = "" (default): other machines can reach server.listen, and the text that people sign to log in must name the server: set it to what they dial, like "wss://circles.example.org"; see server.listen = "0.0.0.0:8080" (circled.toml:2:1)
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
        (
            "[dispatch.embedded]\ndata_dir = \"\"",
            "dispatch.embedded.data_dir",
        ),
    ] {
        let problems = load(toml, &[]).unwrap_err();
        let told = problems.starts_with(key);
        assert!(told && problems.lines().count() == 1, "{problems}");
    }
}

#[test]
fn a_circle_is_listed_once() {
    let circle = "[[circle]]\nkey = \"024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e\"\n";
    assert_eq!(load(circle, &[]).unwrap().settings.circle.len(), 1);
    let problems = load(&circle.repeat(2), &[]).unwrap_err();
    assert!(
        problems.starts_with("circle[1].key") && problems.contains("is circle[0] already"),
        "{problems}"
    );
    assert_eq!(problems.lines().count(), 1, "{problems}");
}

#[test]
fn settings_that_hardly_go_together_are_doubted() {
    for (toml, key) in [
        (
            "[dispatch.redis]\nlease = \"3s\"\ntimeout = \"3s\"",
            "dispatch.redis.lease",
        ),
        (
            "[dispatch.durable]\nretry_after = \"1h\"",
            "dispatch.durable.retry_at_most",
        ),
        ("[dispatch.redis]\nhold = 10", "dispatch.redis.hold"),
        (
            "[dispatch.redis]\nper_circle = 32\nhold = 351",
            "dispatch.redis.hold",
        ),
        ("[store]\nquota = \"1KiB\"", "store.quota"),
        ("[script]\ntimeout = \"31s\"", "dispatch.job_timeout"),
        ("[session]\nping_interval = \"5s\"", "session.pong_timeout"),
        ("[session]\nmax_in_flight = 129", "session.outbound_queue"),
        (
            "[dispatch.redis]\nhold_bytes = \"3MiB\"",
            "webhooks.max_body",
        ),
    ] {
        let doubts = load(toml, &[]).unwrap().doubts;
        let keys: Vec<_> = doubts
            .iter()
            .map(|doubt| doubt.setting.key.as_str())
            .collect();
        assert_eq!(keys, [key]);
    }
    assert!(Settings::load(None, []).unwrap().doubts.is_empty());
}

#[test]
fn what_has_changed_is_known_though_it_is_secret() {
    let before = load("[webhooks.stripe]\nsecrets = [\"whsec_one_1\"]", &[]).unwrap();
    let after = "[session]\nmax_batch = 3\n[webhooks.stripe]\nsecrets = [\"whsec_two_2\"]\n[webhooks.acme]\npreset = \"github\"";
    let after = load(after, &[]).unwrap();
    assert_eq!(
        after.changed_since(&before),
        [
            "session.max_batch",
            "webhooks.stripe.secrets",
            "webhooks.acme.preset"
        ]
    );
    assert_eq!(
        before.changed_since(&after),
        [
            "session.max_batch",
            "webhooks.stripe.secrets",
            "webhooks.acme.preset"
        ]
    );
    assert!(after.changed_since(&after).is_empty());
    assert!(!format!("{after:?}").contains("whsec_two_2"));
}

/// A secret in every place where one can stand, or be put by mistake.
#[test]
fn no_complaint_has_a_secret_in_it() {
    let secret_key = "c4".repeat(32);
    let circle = "key = \"024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e\"";
    for toml in [
        "[dispatch.redis]\nurl = \"redis://me:canary1!@host:6379\"\nx = 1",
        "[dispatch.redis]\nurl = \"ftp://me:canary1!@host\"",
        "[dispatch.redis]\nurl = \"redis:/me:canary1!@host\"",
        "[dispatch.redis]\nurl = \"redis://canary1!@host:x\"",
        "[dispatch.redis]\nurl = \"redis://me:can/canary1!@host:x\"",
        "[dispatch.redis]\nurl = \"redis://host:x?password=canary1!\"",
        "[dispatch.redis]\nurl = \"redis-sentinel://host?sentinelPassword=canary1!&db=x\"",
        "[dispatch.redis]\nurl = \"redis-cluster://me:canary1!@host?node=me:canary1!@b:1\"",
        "[dispatch.redis]\nurl = \"redis-cluster://host?node=canary1!@b:1\"",
        "[dispatch.redis]\nurl = \"redis-cluster://host?node=canary1!\"",
        "[dispatch.redis]\nurl = \"redis://host/canary1!\"",
        "[dispatch.redis]\nurl = \"redis://host?db=canary1!\"",
        "[dispatch.redis]\nurl = [\"redis://me:canary1!@host\"]",
        "[dispatch.redis]\nurl = { password = \"canary1!\" }",
        "[dispatch.redis]\nurl = canary1!",
        "[dispatch.redis]\npassword = \"canary1!\"",
        "[dispatch.redis]\nnamespace = \"{redis://me:canary1!@host}\"",
        "[dispatch]\nredis = \"redis://me:canary1!@host\"",
        "[dispatch]\nredis_url = \"canary1!\"",
        "redis = \"canary1!\"",
        "[server]\npublic_url = \"wss://me:canary1!@host\"",
        "[server]\nallowed_origins = [\"https://me:canary1!@host\", 1]",
        "[server]\nallowed_origins = [\"https://me:canary1!@host\"]",
        "[server]\ntrusted_proxies = [\"me:canary1!@host\"]",
        "[webhooks]\nstripe = \"canary1!\"",
        "[webhooks]\nstripe = { secrets = \"canary1!\" }",
        "[webhooks.stripe]\nsecrets = \"canary1!\"",
        "[webhooks.stripe]\nsecrets = [\"canary1!\", 1]",
        "[webhooks.stripe]\nsecrets = [\"env:A=canary1!\"]",
        "[webhooks.stripe]\nsecrets = [\"env:canary1!\", 1]",
        "[webhooks.stripe]\nsecrets = [\"file:env:canary1!\"]",
        "[webhooks.stripe]\nsecrets = [[\"canary1!\"]]",
        "[webhooks.stripe]\nsecrets = { a = \"canary1!\" }",
        "[webhooks.stripe]\nsecret = \"canary1!\"",
        "[webhooks.stripe]\nkey = \"canary1!\"",
        "[webhooks.stripe]\npreset = \"canary1!\"",
        "[webhooks.stripe]\nsecrets = [\"canary1!]",
        "[webhooks.stripe]\nsecrets = [canary1!]",
        "[webhooks.stripe]\nsecrets = \"canary1!\" x",
        "[webhooks.stripe]\nsecrets = \"canary1!\"\nx = = 1",
        "[webhooks.stripe]\nsecrets = [\"canary1!\"] \nsecrets = [\"canary1!\"]",
        &format!("[[circle]]\n{circle}\nsecrets = [\"canary1!\"]"),
        &format!("[[circle]]\n{circle}\nsecrets = {{ stripe = \"canary1!\" }}"),
        &format!("[[circle]]\n{circle}\nsecrets = {{ stripe = [\"canary1!\", 1] }}"),
        &format!("[[circle]]\n{circle}\nsecrets = {{ other = [\"canary1!\"] }}"),
        &format!("[[circle]]\n{circle}\nsecrets = {{ stripe = [\"env:A=canary1!\"] }}"),
        &format!("[[circle]]\n{circle}\nsecret = \"canary1!\""),
        &format!("[[circle]]\n{circle}\nstripe = \"canary1!\""),
        &format!("[[circle]]\n{circle}\nplay = \"canary1!\"\nplay = 1"),
        &format!(
            "[[circle]]\n{circle}\nsecrets = {{ stripe = [\"canary1!\"] }}\nx = 1\n[[circle]]\n{circle}"
        ),
        &format!("[[circle]]\nkey = \"{secret_key}\""),
        &format!("[[circle]]\n{circle}\nmembers = [\"0x{secret_key}\"]"),
        &format!("[[circle]]\n{circle}\nmembers = \"{secret_key}\""),
    ] {
        let problems = match load(toml, &[]) {
            Err(problems) => problems,
            Ok(loaded) => panic!("{toml}: {loaded:?}"),
        };
        assert!(
            !problems.contains("canary1!") && !problems.contains(&secret_key),
            "{toml}\n{problems}"
        );
    }
    for name in [
        "CIRCLED_REDIS_URL",
        "CIRCLED_DISPATCH__REDIS__URL",
        "CIRCLED_DISPATCH__REDIS__PASSWORD",
        "CIRCLED_SECRET",
        "CIRCLED_WEBHOOKS__STRIPE__SECRET",
        "CIRCLED_WEBHOOKS__STRIPE",
        "CIRCLED_CIRCLE",
    ] {
        for value in ["canary1!", "redis:me:canary1!@host"] {
            let problems = load("", &[(name, value)]).unwrap_err();
            assert!(!problems.contains("canary1!"), "{name}: {problems}");
        }
    }
}

/// Secrets are found by their type: it refuses what stands for a secret.
#[test]
fn no_secret_is_shown() {
    let defaults = Settings::load(None, []).unwrap();
    let keys = defaults.entries.iter().map(|entry| entry.key.clone());
    let of_provider = webhooks::ProviderSettings::keys().into_iter();
    let keys = keys.chain(of_provider.map(|name| format!("webhooks.acme.{name}")));
    let of_circle = field_names::<auth::Circle>().iter();
    let keys = keys.chain(of_circle.map(|name| format!("circle.{name}")));
    let mut secrets = Vec::new();
    for key in keys {
        let toml = |value: &str| match key.strip_prefix("circle.") {
            Some(name) => format!(
                "[[circle]]\nkey = \"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\"\n{name} = {value}"
            ),
            None => format!("webhooks.acme.signed = \"{{body}}\"\n{key} = {value}"),
        };
        for shape in [
            "\"_\"",
            "[\"_\"]",
            "{ stripe = \"_\" }",
            "{ stripe = [\"_\"] }",
        ] {
            let Err(refused) = load(&toml(&shape.replace('_', "***")), &[]) else {
                continue;
            };
            if !refused.contains("in place of a secret") {
                continue;
            }
            let shown = match load(&toml(&shape.replace('_', "hunter2-hunter2")), &[]) {
                Ok(loaded) => {
                    let circles: Vec<_> = loaded.circles().collect();
                    format!("{:?} {circles:?}", loaded.entries)
                }
                Err(refused) => refused,
            };
            assert!(!shown.contains("hunter2"), "{key}: {shown}");
            secrets.push(key.clone());
        }
    }
    for known in [
        "server.key",
        "webhooks.acme.secrets",
        "webhooks.acme.get_tokens",
        "circle.secrets",
    ] {
        assert!(
            secrets.iter().any(|key| key == known),
            "{known}: {secrets:?}"
        );
    }
}
