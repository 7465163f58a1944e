//! Settings, as operators see them: refused ones, and the messages about them.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use tempfile::TempDir;

use crate::harness::command::circled_command;

const CIRCLE: &str = "024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e";

/// Runs `circled config <what>` with a settings file of this text; the output calls it circled.toml.
fn config(what: &str, toml: &str, environment: &[(&str, &str)]) -> (Output, String) {
    let directory: TempDir = tempfile::tempdir().unwrap();
    let path = directory.path().join("circled.toml");
    std::fs::write(&path, toml).unwrap();
    let output = circled_command()
        .args(["config", what, "--config"])
        .arg(&path)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap();
    (output, said.replace(path.to_str().unwrap(), "circled.toml"))
}

/// Returns the mistakes that `circled config check` finds.
fn problems(toml: &str, environment: &[(&str, &str)]) -> String {
    let (output, said) = config("check", toml, environment);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "{said}");
    said
}

#[test]
fn good_settings_are_ok() {
    for (toml, environment) in [
        ("", &[][..]),
        (
            "[session]\nmax_batch = 8",
            &[("CIRCLED_SESSION__MAX_BATCH", "16")],
        ),
        // Kubernetes sets such variables for a service of that name; they are none of ours.
        (
            "",
            &[
                ("CIRCLED_PORT", "tcp://10.0.0.1:8080"),
                ("CIRCLED_SERVICE_HOST", "10.0.0.1"),
                ("CIRCLED_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ],
        ),
        (
            &format!(
                "[circles]\nopen = false\n[[circle]]\nkey = \"0x{CIRCLE}\"\nmembers = [\"{CIRCLE}\"]"
            ),
            &[
                ("CIRCLED_SERVER__LISTEN", "[::]:8080"),
                ("CIRCLED_SERVER__PUBLIC_URL", "wss://circles.example.org"),
            ],
        ),
    ] {
        let (output, said) = config("check", toml, environment);
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(0), "ok\n"),
            "{toml}"
        );
    }
}

/// Mistakes of all kinds: in the file, in the environment, and in what they say together; in single values, in circles,
/// in providers of webhooks with their secrets and scripts, and between settings.
#[test]
fn every_mistake_in_a_file_and_the_environment_is_told_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("circled.toml");
    std::fs::write(folder.path().join("broken.rhai"), "let a = 1;\nlet b = ;").unwrap();
    let toml = format!(
        r#"[sesion]
[server]
lisen = "127.0.0.1:9000"
public_url = "https://circles.example.org"
allowed_origins = ["https://app.example.org", "app.example.org", "https://*"]
max_buffered = "100MiB"
[session]
max_message = "1 elephant"
max_batch = 99999999999999999999
max_in_flight = 0
ping_interval = "5s"
anonymous_buffered = "1KiB"
[circles]
open = false
[dispatch.redis]
url = "redis://me:hunter2@host:x"
lease = "3s"
[store]
max_event = "20MiB"
[webhooks.stripe]
script = "broken.rhai"
secrets = ["file:nowhere", "$SECRET", 7]
[webhooks.acme]
signature_header = ["X-A", "X-B"]
timestamp_header = "X-T"
series = "/id"
wait = 5
[webhooks.other]
preset = "strip"
secrets = ["file:missing"]
kinds = [{{ at = "/a" }}, {{ at = "b", iz = "c" }}]
[[circle]]
key = "02aa"
[[circle]]
membrs = []
key = "{CIRCLE}"
secrets = {{ stripe = ["file:nothing"], strpie = ["env:X"] }}
[[circle]]
key = "{CIRCLE}"
play = 7
[log]
level = "inof"
"#
    );
    std::fs::write(&path, toml).unwrap();
    let said = |arguments: &[&str]| {
        let output = circled_command()
            .args(arguments)
            .arg("--config")
            .arg(&path)
            .envs([
                ("CIRCLED_CIRCLES__ALLOW_OPEN", "yes"),
                ("CIRCLED_LISTEN", "127.0.0.1:9000"),
                ("CIRCLED_DISPATCH__REDIS__TIMEOUT", "4s"),
                ("CIRCLED_SESSION__PONG_TIMEOUT", "8s"),
                ("CIRCLED_WEBHOOKS__ACME__ENCODING", "hax"),
                (
                    "CIRCLED_WEBHOOKS__IDENFY__SECRETS",
                    "env:IDENFY_WEBHOOK_SECRET,file:void",
                ),
                ("CIRCLED_SERVER__ADMIN_LISTEN", "127.0.0.1:8080"),
            ])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        said.replace(folder.path().to_str().unwrap(), "")
            .replace("/circled.toml", "circled.toml")
    };
    let checked = said(&["config", "check"]);
    insta::assert_snapshot!(checked, @r#"
    sesion (circled.toml:1:2): there is no such section; did you mean [session]?
    server.lisen (circled.toml:3:1): there is no such setting; did you mean `server.listen`?
    server.public_url = "https://circles.example.org" (circled.toml:4:1): must be what clients dial, ws:// or wss:// and a host without a path, like "wss://circles.example.org"
    server.allowed_origins[1] = "app.example.org" (circled.toml:5:47): "app.example.org" is not the origin of a web page: a scheme and a host without a path, like "https://app.example.org" or "tauri://localhost"
    server.allowed_origins[2] = "https://*" (circled.toml:5:66): "https://*" would never match: a * stands for one whole label before a domain, like "https://*.example.org"; list other origins one by one
    session.max_buffered_per_address = "64MiB" (default): should be no more than half of server.max_buffered, or all of it: anything between counts as half; see server.max_buffered = "100MiB" (circled.toml:6:1)
    session.max_message = "1 elephant" (circled.toml:8:1): must be a size like "512B", "64KiB" or "1MiB"
    session.max_batch (circled.toml:9:1): is too large a number: 9223372036854775807 is the largest
    session.max_in_flight = 0 (circled.toml:10:1): must be a whole number, 1 or more
    session.pong_timeout = "8s" (CIRCLED_SESSION__PONG_TIMEOUT): should be no longer than session.ping_interval: the next ping goes out before this one is given up; see session.ping_interval = "5s" (circled.toml:11:1)
    session.anonymous_buffered = "1KiB" (circled.toml:12:1): must be at least 64KiB
    dispatch.redis.url = "redis://***" (circled.toml:16:1): has something else than a port, from 0 to 65535, behind the host: in a password, / is written %2F, ? is %3F and @ is %40; expected one like redis://host:6379, rediss://user:password@host:6379/1, redis-cluster://host:6379?node=host2:6379 or redis-sentinel://host:26379?sentinelServiceName=name
    dispatch.redis.lease = "3s" (circled.toml:17:1): should be longer than dispatch.redis.timeout, or one slow answer of Redis makes a worker silent, and its jobs run twice; see dispatch.redis.timeout = "4s" (CIRCLED_DISPATCH__REDIS__TIMEOUT)
    store.max_event = "20MiB" (circled.toml:19:1): must be less than session.max_buffered by 2KiB: an event that never has room holds up all that come after it; see session.max_buffered = "16MiB" (default)
    webhooks.stripe.script (circled.toml:21:1): the script /broken.rhai:2:9 is not valid Rhai: Unexpected ';'
    webhooks.stripe.secrets (circled.toml:22:1): the secret file:nowhere cannot be used: there is no such file
    webhooks.stripe.secrets[1] (circled.toml:22:28): is the name of a variable, and nothing replaces it by the secret: write "env:NAME" to read the secret from the environment
    webhooks.stripe.secrets[2] (circled.toml:22:39): must be a text in quotes
    webhooks.acme (circled.toml:23:11): signed is missing: a provider needs a preset, or signature_header and signed
    webhooks.acme.timestamp_header (circled.toml:25:1): timestamp_header must have as many names as signature_header
    webhooks.acme.series (circled.toml:26:1): series needs series_final
    webhooks.acme.wait = 5 (circled.toml:27:1): must be a duration like "250ms", "10s" or "5m"
    webhooks.other.preset (circled.toml:29:1): must be one of "stripe", "idenfy", "github", "shopify", "slack", "standard"
    webhooks.other.secrets (circled.toml:30:1): the secret file:missing cannot be used: there is no such file
    webhooks.other.kinds[1].at (circled.toml:31:27): must be a JSON pointer, which begins with /, like "/data/id"
    webhooks.other.kinds[1].iz (circled.toml:31:37): there is no such setting; did you mean `is`?
    circle[0].key = "02aa" (circled.toml:33:1): not a secp256k1 public key: expected 66 or 130 hex digits of a point on the curve
    circle[1].membrs (circled.toml:35:1): there is no such setting; did you mean `members`?
    circle[1].secrets.stripe (circled.toml:37:13): the secret file:nothing of the circle 024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e cannot be used: there is no such file
    circle[1].secrets.strpie (circled.toml:37:40): there is no [webhooks.strpie]; there are acme, idenfy, other, stripe
    circle[2].key = "024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e" (circled.toml:39:1): this circle is circle[1] already: put their members together
    circle[2].play = 7 (circled.toml:40:1): must be one of "auto", "anyone", "guest", "member", "owner"
    log.level = "inof" (circled.toml:42:1): "inof" is no level: write error, warn, info, debug, trace or off, also per module: "info,circled::session=debug"
    circles.allow_open = "yes" (CIRCLED_CIRCLES__ALLOW_OPEN): must be true or false
    listen (CIRCLED_LISTEN): there is no such setting; did you mean `CIRCLED_SERVER__LISTEN`?
    server.admin_listen = "127.0.0.1:8080" (CIRCLED_SERVER__ADMIN_LISTEN): that port is taken by server.listen: choose another; see server.listen = "127.0.0.1:8080" (default)
    webhooks.acme.encoding = "hax" (CIRCLED_WEBHOOKS__ACME__ENCODING): must be one of "hex", "hex_upper", "base64", "base64url"
    webhooks.idenfy.secrets (CIRCLED_WEBHOOKS__IDENFY__SECRETS): the secret file:void cannot be used: there is no such file
    "#);
    let served = said(&["serve"]);
    assert!(served.contains(checked.trim()), "{served}");
}

#[test]
fn a_server_past_loopback_says_who_may_play_and_who_it_is() {
    let listen = [("CIRCLED_SERVER__LISTEN", "0.0.0.0:8080")];
    let said = problems("", &listen);
    for part in [
        "circles.open = true (default)",
        "circles.allow_open = true",
        "server.public_url",
        "\"0.0.0.0:8080\"",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let permitted =
        "[server]\npublic_url = \"wss://circles.example.org\"\n[circles]\nallow_open = true";
    assert!(config("check", permitted, &listen).0.status.success());
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_place() {
    let said = problems("[session]\nmax_batch = = 3\n", &[]);
    assert!(
        said.starts_with("circled.toml:2:13: this is no TOML: "),
        "{said}"
    );
    for command in ["serve", "health"] {
        let missing = circled_command()
            .args([command, "--config", "no/such/file.toml"])
            .output()
            .unwrap();
        assert_eq!(missing.status.code(), Some(1));
        let said = String::from_utf8(missing.stderr).unwrap();
        assert!(said.contains("no/such/file.toml cannot be read"), "{said}");
    }
}

/// The settings file, or a file that it names, may have no end.
#[test]
fn a_file_that_has_no_end_is_read_up_to_a_bound() {
    let check = |file: &str| {
        let output = circled_command()
            .args(["config", "check", "--config", file])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = check("/dev/zero");
    let expected = "/dev/zero cannot be read: it is larger than 16777216 bytes";
    assert!(said.contains(expected), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let sparse = folder.path().join("sparse.toml");
    std::fs::write(&sparse, "").unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&sparse);
    file.unwrap().set_len(3 << 30).unwrap();
    let said = check(sparse.to_str().unwrap());
    let expected = "sparse.toml cannot be read: it is larger than 16777216 bytes";
    assert!(said.contains(expected), "{said}");
    let said = problems(
        "[webhooks.stripe]\nsecrets = [\"file:/dev/zero\"]\n[webhooks.idenfy]\nsecrets = [\"a secret\"]\nscript = \"/dev/zero\"",
        &[],
    );
    for expected in [
        "file:/dev/zero",
        "the file cannot be read: it is larger than 65536 bytes",
        "the script /dev/zero cannot be read: it is larger than 262144 bytes",
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn settings_may_come_through_a_pipe() {
    let mut check = circled_command()
        .args(["config", "check", "--config", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = check.stdin.take().unwrap();
    // More than a pipe holds.
    let comment = format!("#{}\n", "x".repeat(200_000));
    pipe.write_all(comment.as_bytes()).unwrap();
    pipe.write_all(b"[session]\nmax_batch = 3\n").unwrap();
    drop(pipe);
    assert!(check.wait().unwrap().success());
}

#[test]
fn a_password_in_a_url_is_never_shown() {
    let said = problems(
        "",
        &[("CIRCLED_DISPATCH__REDIS__URL", "ftp://me:hunter2@localhost")],
    );
    assert!(
        said.contains("ftp://me:***@localhost") && !said.contains("hunter2"),
        "{said}"
    );
    for url in [
        "redis-cluster://me:hunter2@host?node=me:hunter2@b:1",
        "redis-cluster://host?node=hunter2@b:1",
        "redis://host/hunter2",
        "redis://host?db=hunter2",
        "redis://host:hunter2",
    ] {
        let environment = [("CIRCLED_DISPATCH__REDIS__URL", url)];
        let served = circled_command()
            .arg("serve")
            .envs(environment)
            .env("CIRCLED_DISPATCH__BACKEND", "redis")
            .output()
            .unwrap();
        let served = String::from_utf8(served.stderr).unwrap();
        for said in [
            problems("", &environment),
            config("show", "", &environment).1,
            served,
        ] {
            assert!(
                said.contains("dispatch.redis.url") && !said.contains("hunter2"),
                "{url}: {said}"
            );
        }
    }
    let toml = "[dispatch.redis]\nurl = \"rediss://me:hunter2@localhost\"";
    let (_, shown) = config("show", toml, &[]);
    assert!(
        shown.contains("rediss://me:***@localhost") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn the_shown_settings_are_a_settings_file() {
    let toml = format!(
        "[session]\nmax_batch = 3\n[[circle]]\nkey = \"0x{CIRCLE}\"\nmembers = [\"{CIRCLE}\"]"
    );
    let environment = [(
        "CIRCLED_SERVER__ALLOWED_ORIGINS",
        "https://a.example, https://b.example",
    )];
    let (_, shown) = config("show", &toml, &environment);
    for line in [
        "[session]",
        "max_batch = 3  # circled.toml",
        "ping_interval = \"25s\"  # default",
        "allowed_origins = [\"https://a.example\", \"https://b.example\"]  # CIRCLED_SERVER__ALLOWED_ORIGINS",
        "[[circle]]  # circled.toml",
        &format!("key = \"{CIRCLE}\""),
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} in\n{shown}"
        );
    }
    let (_, again) = config("show", &shown, &[]);
    let values = |shown: &str| -> Vec<String> {
        let lines = shown
            .lines()
            .map(|line| line.split("  # ").next().unwrap_or_default());
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        values(&again),
        values(&shown),
        "reading it back changes nothing"
    );
}

#[test]
fn mistakes_that_only_the_whole_tells_are_told_with_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("broken.rhai");
    std::fs::write(&script, "let a = 1;\nlet b = ;").unwrap();
    let toml = format!(
        "[webhooks.stripe]\nscript = \"{}\"\nsecrets = [\"file:nowhere\"]\n[dispatch.redis]\nlease = \"2s\"\n[dispatch.embedded]\ndata_dir = \"\"\n[[circle]]\nkey = \"{CIRCLE}\"\n[[circle]]\nkey = \"{CIRCLE}\"\nsecrets = {{ acme = [\"long enough\"] }}\n",
        script.display()
    );
    let said = problems(&toml, &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 6, "{said}");
    for (line, key, place, what) in [
        (
            0,
            "webhooks.stripe.script",
            "2:1",
            "broken.rhai:2:9 is not valid Rhai",
        ),
        (1, "webhooks.stripe.secrets", "3:1", "no such file"),
        (2, "dispatch.redis.lease", "5:1", "should be longer"),
        (
            3,
            "dispatch.embedded.data_dir",
            "7:1",
            "must be the name of a folder",
        ),
        (4, "circle[1].key", "11:1", "is circle[0] already"),
        (5, "circle[1].secrets.acme", "12:13", "no [webhooks.acme]"),
    ] {
        let told = lines[line];
        assert!(
            told.starts_with(key)
                && told.contains(&format!("(circled.toml:{place}): "))
                && told.contains(what),
            "{key}: {said}"
        );
    }
}

#[test]
fn budgets_that_cannot_hold_what_they_are_for_are_told() {
    for (toml, expected) in [
        (
            "[server]\nmax_buffered = \"32MiB\"",
            &[
                "session.max_buffered_per_address = \"64MiB\" (default): should be no more than server.max_buffered, or one of them",
            ][..],
        ),
        (
            "[server]\nmax_buffered = \"100MiB\"",
            &[
                "session.max_buffered_per_address = \"64MiB\" (default): should be no more than half of server.max_buffered, or all of it",
            ],
        ),
        (
            "[session]\nmax_message = \"32MiB\"\nmax_reply = \"17MiB\"",
            &[
                "session.max_message = \"32MiB\" (circled.toml:2:1): should be no more than session.max_buffered, or there is never room",
                "session.max_reply = \"17MiB\" (circled.toml:3:1): should be no more than session.max_buffered",
                "session.max_message = \"32MiB\" (circled.toml:2:1): should be no more than a quarter of dispatch.redis.hold_bytes",
            ],
        ),
        (
            "[webhooks]\nmax_buffered = \"2MiB\"\nmax_buffered_per_circle = \"2MiB\"",
            &[
                "webhooks.max_buffered_per_address = \"4MiB\" (default): should be no more than webhooks.max_buffered_per_circle",
            ],
        ),
        (
            "[store]\nevents_waiting = \"128MiB\"\nmax_events = 2000",
            &[
                "store.events_waiting = \"128MiB\" (circled.toml:2:1): should be no more than store.events_waiting_in_all",
                "dispatch.redis.inbox_bytes = \"32MiB\" (default): should be twice",
            ],
        ),
        (
            "[session]\nanonymous_buffered_per_address = \"100MiB\"",
            &[
                "session.anonymous_buffered_per_address = \"100MiB\" (circled.toml:2:1): should be no more than session.anonymous_buffered_in_all",
            ],
        ),
        (
            "[session]\nanonymous_buffered_per_address = \"256KiB\"",
            &[
                "session.anonymous_buffered = \"512KiB\" (default): should be no more than session.anonymous_buffered_per_address",
            ],
        ),
        (
            "[session]\nanonymous_buffered = \"17MiB\"\nmax_sessions = 5000\n[limits]\ncircle_rate = 9999\ncaller_jobs = 8193",
            &[
                "session.anonymous_buffered = \"17MiB\" (circled.toml:2:1): should be no more than session.max_buffered",
                "session.max_sessions_per_address = 10000 (default): should be no more than session.max_sessions",
                "limits.caller_rate = 10000 (default): should be no more than limits.circle_rate",
                "limits.caller_jobs = 8193 (circled.toml:6:1): should be no more than limits.circle_jobs",
            ],
        ),
    ] {
        let said = problems(toml, &[]);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{toml}:\n{said}");
        for expected in expected {
            assert!(
                lines.iter().any(|line| line.starts_with(expected)),
                "{expected}:\n{said}"
            );
        }
    }
    // 0 is no limit.
    let none = "[limits]\ncaller_rate = 0\ncircle_rate = 0\ncircle_jobs = 0";
    assert_eq!(config("check", none, &[]).1, "ok\n");
}

#[test]
fn an_event_that_never_has_room_keeps_a_server_from_starting() {
    for (event, others, least) in [
        ("20MiB", "", "session.max_buffered"),
        // The setting also has to hold what is around it.
        ("16MiB", "", "session.max_buffered"),
        (
            "1MiB",
            "[session]\nmax_buffered_per_address = \"1MiB\"",
            "session.max_buffered_per_address",
        ),
        (
            "1MiB",
            "[server]\nmax_buffered = \"1MiB\"",
            "server.max_buffered",
        ),
        (
            "900KiB",
            "[server]\nmax_buffered = \"1536KiB\"\n[session]\nmax_buffered_per_address = \"1MiB\"",
            "half of server.max_buffered",
        ),
    ] {
        let said = problems(&format!("[store]\nmax_event = \"{event}\"\n{others}"), &[]);
        let key = format!(
            "store.max_event = \"{event}\" (circled.toml:2:1): must be less than {least} by 2KiB: "
        );
        assert!(said.starts_with(&key), "{said}");
    }
}

#[test]
fn a_number_that_nobody_can_read_is_told_with_its_key_and_place() {
    let toml =
        "[session]\nmax_batch = 99999999999999999999\n[[circle]]\nkey = 0xfffffffffffffffff\n";
    let said = problems(toml, &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].starts_with("session.max_batch (circled.toml:2:1): is too large a number"),
        "{said}"
    );
    assert!(
        lines[1].starts_with("circle[0].key (circled.toml:4:1): is too large a number"),
        "{said}"
    );
    for (toml, expected) in [
        (
            "[dispatch.redis]\npartitions = 65536",
            "dispatch.redis.partitions = 65536 (circled.toml:2:1): must be a whole number from 1 to 65535",
        ),
        (
            "[limits]\ncaller_rate = 4294967296",
            "limits.caller_rate = 4294967296 (circled.toml:2:1): must be a whole number from 0 to 4294967295",
        ),
        ("[session]\nmax_batch = 9223372036854775807", "ok"),
    ] {
        assert_eq!(config("check", toml, &[]).1.trim(), expected);
    }
}

/// Each of these ended or stopped a server, or kept it from doing anything.
#[test]
fn values_that_no_server_can_work_with_are_refused() {
    for (toml, expected) in [
        ("[store]\nmax_key = \"1MiB\"", "must be 65000B at most"),
        ("[store]\nmax_value = \"4GiB\"", "must be 256MiB at most"),
        (
            "[store]\nmax_writes = 0",
            "must be a whole number, 1 or more",
        ),
        (
            "[script]\nthreads = 100000",
            "must be 1024 at most; 0 means one per core",
        ),
        ("[webhooks]\nmax_body = \"0B\"", "must be at least 1B"),
        ("[webhooks]\nmax_body = \"4GiB\"", "must be 256MiB at most"),
        (
            "[dispatch.embedded]\ndata_dir = \"/dev/null\"",
            "must be a folder, or one that can be made: /dev/null is none",
        ),
        (
            "[dispatch.embedded]\ndata_dir = \"/dev/null/a/b\"",
            "must be a folder, or one that can be made: /dev/null is none",
        ),
        (
            "[dispatch.embedded]\ndata_dir = \"/proc/circled\"",
            "nothing can be stored in /proc/circled",
        ),
    ] {
        let said = problems(toml, &[]);
        assert!(said.contains(expected), "{toml}: {said}");
        assert!(said.contains("(circled.toml:2:1): "), "{toml}: {said}");
        assert_eq!(said.lines().count(), 1, "{toml}: {said}");
    }
}
