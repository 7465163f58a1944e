//! Explains errors of calls: in words, with the place in the script, and with what can be done.

use std::{iter::repeat_n, time::Duration};

use circled_client::Error;
use circled_protocol::{PublicKey, RpcError, code};
use unicode_width::UnicodeWidthChar;

use super::with_login::ScriptSource;

/// The characters of a long line that are shown on each side of a column.
const AROUND: usize = 60;

/// The exit code of what is done, though its output is lost.
const DONE: u8 = 9;

/// A call that failed, for its error message.
pub(super) struct FailedRun<'a> {
    /// The script, if the call ran one.
    pub(super) source: Option<ScriptSource<'a>>,
    pub(super) caller: PublicKey,
}

/// Returns the exit code of an error; `circled play --help` lists them.
pub(super) fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Address(_) | Error::NoCircle(_) | Error::Circle(_) => 2,
        Error::Closed(closed) => match closed.code {
            // The codes for a server that stops, and for "try again later".
            Some(1001 | 1013) => 7,
            _ => 3,
        },
        Error::Connect { .. } | Error::Silent { .. } | Error::Answer(_) | Error::Randomness(_) => 3,
        Error::Behind => 7,
        Error::Challenge(_) | Error::Proof(_) | Error::NoProof | Error::Unsigned(..) => 4,
        Error::Unanswered { last, .. } => exit_code(last),
        error if error.has_run() => DONE,
        Error::Rpc(error) => match error.code {
            code::EXECUTION_ERROR => 1,
            code::INVALID_PARAMS => 2,
            code::AUTHENTICATION_REQUIRED | code::INVALID_CREDENTIALS => 4,
            code::FORBIDDEN => 5,
            code::TIMEOUT => 6,
            code::LIMIT_EXCEEDED | code::UNAVAILABLE | code::CANCELLED | code::CONFLICT => 7,
            code::NOT_FOUND => 8,
            _ => 3,
        },
    }
}

/// Returns an error in words, in the manner of compilers.
pub(super) fn explain(error: &Error, run: &FailedRun<'_>) -> String {
    if let Error::Unanswered { request_id, last } = error {
        return format!(
            "{}\n  = help: the script may have run, or not; the same command with --request-id {} tells, or runs it",
            explain(last, run),
            printable(request_id)
        );
    }
    if error.has_run() {
        return "error: the script has run, and what it changes is changed; the server keeps its result no more\n  = help: do not send it again: read what it has changed".to_owned();
    }
    let mut text = error.to_string();
    if let Error::Rpc(error) = error {
        text = in_words(error, run);
        let place = |name: &str| error.data[name].as_u64().and_then(|n| n.try_into().ok());
        if let (Some(source), Some(line)) = (&run.source, place("line")) {
            text += &excerpt(source, line, place("column").unwrap_or(0));
        }
    }
    if let Some(help) = help(error, run) {
        text += &format!("\n  = help: {help}");
    }
    format!("error: {}", printable(&text))
}

/// Makes a text safe for a terminal: control characters can't move the cursor or change the title.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let kept = !c.is_control() || matches!(c, '\n' | '\t');
            let escaped = (!kept).then(|| c.escape_unicode()).into_iter().flatten();
            kept.then_some(c).into_iter().chain(escaped)
        })
        .collect()
}

fn in_words(error: &RpcError, run: &FailedRun<'_>) -> String {
    let data = &error.data;
    if let (code::NOT_FOUND, Some(what)) = (error.code, data["what"].as_str()) {
        let name = run
            .source
            .filter(|source| what == "script" && source.text.is_none());
        return match name {
            Some(source) => format!("there is no script {:?}", source.name),
            None => format!("there is no such {what}"),
        };
    }
    let message = error.message.strip_prefix("Execution Error: ");
    let mut text = message.unwrap_or(&error.message).to_owned();
    for (name, what) in [
        ("script", "the script "),
        ("reason", ""),
        ("needs", "needs the role "),
        ("limit", "the limit is "),
    ] {
        if let Some(detail) = data[name].as_str() {
            text += &format!(": {what}{detail}");
        }
    }
    if let Some(ms) = data["timeout_ms"].as_u64() {
        text += &format!(": it took longer than {}", readable(ms));
    }
    if let Some(ms) = data["retry_after_ms"].as_u64() {
        text += &format!("; try again in {}", readable(ms));
    }
    text
}

fn help(error: &Error, run: &FailedRun<'_>) -> Option<String> {
    if error.lacks_request_ids() {
        return Some(
            "the server is older than this command, which needs to be without --request-id there"
                .to_owned(),
        );
    }
    let is_unknown_device = error.is_unknown_device();
    let error = match error {
        Error::Challenge(_) => {
            return Some("this server may be passing on the login of another one, or its server.public_url is not what you dialled".to_owned());
        }
        Error::Proof(_) => {
            return Some("another server may be in the place of yours: send nothing before you know why. If you dial it by another name, give --origin".to_owned());
        }
        Error::NoProof => {
            return Some(
                "the circle's owner makes a grant for the server: `circled grant --help`"
                    .to_owned(),
            );
        }
        Error::Connect { reason, .. } if reason.contains("refused") => {
            return Some("no server listens there; `circled serve` starts one".to_owned());
        }
        Error::Connect { reason, .. } if reason.contains("certificate") => {
            return Some(
                "if the server's certificate is from a CA of your own, SSL_CERT_FILE=ca.pem has this command trust it"
                    .to_owned(),
            );
        }
        Error::Connect {
            address,
            status: Some(400),
            ..
        } if address.starts_with("ws:") => {
            return Some("where the server has TLS, dial wss://".to_owned());
        }
        Error::Connect { address, .. } if address.starts_with("wss:") => {
            return Some(
                "where the server has no TLS of its own, dial ws://, or its reverse proxy"
                    .to_owned(),
            );
        }
        Error::Closed(closed) if closed.code == Some(1009) => {
            return Some(
                "one message to the server is bounded by its session.max_message".to_owned(),
            );
        }
        Error::Rpc(error) => error,
        Error::Connect { .. }
        | Error::Address(_)
        | Error::NoCircle(_)
        | Error::Circle(_)
        | Error::Silent { .. }
        | Error::Unsigned(..)
        | Error::Randomness(_)
        | Error::Closed(_)
        | Error::Behind
        | Error::Unanswered { .. }
        | Error::Answer(_) => return None,
    };
    match (error.code, error.data["kind"].as_str()) {
        (code::EXECUTION_ERROR, Some("operations")) => {
            Some("is there an endless loop? The server's limit is script.max_operations".to_owned())
        }
        (code::EXECUTION_ERROR, Some("depth")) => {
            Some("does a function call itself without end? The server's limits are script.max_call_depth and script.max_expr_depth".to_owned())
        }
        (code::EXECUTION_ERROR, Some("memory")) => {
            Some("the server's limit is script.max_memory".to_owned())
        }
        (code::FORBIDDEN, _) if error.data.get("scope").is_some() => Some(
            match error.data["scope"].as_str() {
                Some(scope) => format!("the device key lacks the scope {scope}: give --key FILE"),
                None => "a device key will not do for that: give --key FILE".to_owned(),
            },
        ),
        (code::INVALID_CREDENTIALS, _) if is_unknown_device => Some(
            "the device key was removed, or has expired: `circled login URL --key FILE --device` makes another"
                .to_owned(),
        ),
        (code::FORBIDDEN, _) if error.data["needs"] == "owner" => Some(format!(
            "the owner holds the circle's own key; yours is {}",
            run.caller
        )),
        (code::FORBIDDEN, _) => Some(format!(
            "the circle's owner can make your key a member: circled members add URL --key circle.key {}",
            run.caller
        )),
        (code::NOT_FOUND, _) => match error.data["what"].as_str()? {
            "script" => Some("`circled script list` shows all".to_owned()),
            "version" => Some("`circled script get NAME --versions` shows all".to_owned()),
            "job" => Some("`circled jobs list` shows all that are kept".to_owned()),
            "delivery" => Some("`circled deliveries list` shows all that are kept".to_owned()),
            _ => None,
        },
        (code::CONFLICT, _) if error.data["script"].is_string() => Some(
            "somebody has changed it meanwhile; the same command shows the difference as it is now".to_owned(),
        ),
        (code::CONFLICT, _) => Some(match error.data["dead"].as_u64()? {
            1 => "1 job is dead by now; run the command again".to_owned(),
            dead => format!("{dead} jobs are dead by now; run the command again"),
        }),
        (code::METHOD_NOT_FOUND, _) => Some("the server may be older than this command".to_owned()),
        _ => None,
    }
}

/// Returns an error in a script, with its place.
pub(super) fn located(
    message: &str,
    source: &ScriptSource<'_>,
    line: Option<usize>,
    column: Option<usize>,
) -> String {
    let place = line.map_or_else(String::new, |line| {
        excerpt(source, line, column.unwrap_or(0))
    });
    printable(&format!("error: {message}{place}"))
}

fn readable(ms: u64) -> String {
    format!("{:?}", Duration::from_millis(ms))
}

/// Returns the line of a script with a caret under the column. Both count from 1; columns are characters.
pub(super) fn excerpt(source: &ScriptSource<'_>, line: usize, column: usize) -> String {
    let ScriptSource { name, text } = source;
    let Some(mut before) = line.checked_sub(1) else {
        return String::new();
    };
    let Some(text) = text else {
        return match column {
            0 => format!("\n --> {name}:{line}"),
            column => format!("\n --> {name}:{line}:{column}"),
        };
    };
    let mut lines = text.lines();
    let (mut line, mut column) = (line, column);
    let count = lines.clone().count();
    if before == count && count > 0 {
        // The script ends too soon, which is shown at the end of its last line.
        (line, before) = (count, count - 1);
        column = usize::MAX;
    }
    let Some(source) = lines.nth(before) else {
        return String::new();
    };
    let column = column.min(source.chars().count() + 1);
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let Some(before) = column.checked_sub(1) else {
        let (shown, _) = part_around(source, AROUND);
        return format!("\n{margin}--> {name}:{line}\n{margin} |\n{number} | {shown}");
    };
    let (shown, before) = part_around(source, before);
    // Tabs stay tabs, so that the caret is under the character in any terminal.
    let indent: String = shown
        .chars()
        .take(before)
        .flat_map(|c| match c {
            '\t' => repeat_n('\t', 1),
            c => repeat_n(' ', width(c)),
        })
        .collect();
    format!(
        "\n{margin}--> {name}:{line}:{column}\n{margin} |\n{number} | {shown}\n{margin} | {indent}^"
    )
}

/// Returns the part of a line around the character that has so many before it, and how many it has before it there.
fn part_around(line: &str, before: usize) -> (String, usize) {
    let start = before.saturating_sub(AROUND);
    let mut characters = line.chars().skip(start);
    let part: String = characters.by_ref().take(before - start + AROUND).collect();
    let left = if start > 0 { "..." } else { "" };
    let right = if characters.next().is_some() {
        "..."
    } else {
        ""
    };
    (format!("{left}{part}{right}"), left.len() + before - start)
}

/// Returns the columns of a terminal that a character takes. Control characters are shown escaped.
fn width(c: char) -> usize {
    c.width().unwrap_or_else(|| c.escape_unicode().count())
}

#[cfg(test)]
mod tests {
    use circled_client::Closed;
    use circled_protocol::SecretKey;
    use serde_json::{Value, json};

    use super::*;

    fn source(script: &str) -> ScriptSource<'_> {
        ScriptSource {
            name: "script",
            text: Some(script),
        }
    }

    fn run(script: &str) -> FailedRun<'_> {
        let caller = SecretKey::from_hex(&"17".repeat(32)).unwrap().public();
        FailedRun {
            source: Some(source(script)),
            caller,
        }
    }

    fn rpc(code: i32, message: &str, data: Value) -> Error {
        let message = message.to_owned();
        Error::Rpc(RpcError {
            code,
            message,
            data,
        })
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        for (script, line, column, expected) in [
            (
                "let a = 1;\n\tlet ä = foo;",
                2,
                10,
                "\n --> script:2:10\n  |\n2 | \tlet ä = foo;\n  | \t        ^",
            ),
            (
                "\"日本e\u{301}\" + x",
                1,
                10,
                "\n --> script:1:10\n  |\n1 | \"日本e\u{301}\" + x\n  |           ^",
            ),
            ("1 +", 1, 4, "\n --> script:1:4\n  |\n1 | 1 +\n  |    ^"),
            ("1 +\n", 2, 1, "\n --> script:1:4\n  |\n1 | 1 +\n  |    ^"),
            ("x", 1, 0, "\n --> script:1\n  |\n1 | x"),
            ("x", 1, 99, "\n --> script:1:2\n  |\n1 | x\n  |  ^"),
            ("", 1, 1, ""),
            ("x", 7, 1, ""),
            ("x", 0, 1, ""),
        ] {
            assert_eq!(
                excerpt(&source(script), line, column),
                expected,
                "{script:?}"
            );
        }
        let long = format!("{}x{}", "ä".repeat(500), "ö".repeat(500));
        let part = format!("...{}x{}...", "ä".repeat(60), "ö".repeat(59));
        assert_eq!(
            excerpt(&source(&long), 1, 501),
            format!(
                "\n --> script:1:501\n  |\n1 | {part}\n  | {}^",
                " ".repeat(63)
            )
        );
        let part = format!("...{}", "ö".repeat(60));
        assert_eq!(
            excerpt(&source(&long), 1, 9999),
            format!(
                "\n --> script:1:1002\n  |\n1 | {part}\n  | {}^",
                " ".repeat(63)
            )
        );
        let part = format!("{}...", "ä".repeat(120));
        assert_eq!(
            excerpt(&source(&long), 1, 0),
            format!("\n --> script:1\n  |\n1 | {part}")
        );
        let elsewhere = ScriptSource {
            name: "greet",
            text: None,
        };
        assert_eq!(excerpt(&elsewhere, 3, 7), "\n --> greet:3:7");
        assert_eq!(excerpt(&elsewhere, 3, 0), "\n --> greet:3");
    }

    #[test]
    fn an_error_says_what_can_be_done() {
        let data = json!({ "kind": "runtime", "line": 1, "column": 1, "logs": [] });
        let error = rpc(code::EXECUTION_ERROR, "Execution Error: no \u{1b}[2J", data);
        assert_eq!(
            explain(&error, &run("throw")),
            "error: no \\u{1b}[2J\n --> script:1:1\n  |\n1 | throw\n  | ^"
        );
        let dropped = json!({ "reason": "reply_dropped" });
        let error = rpc(code::INVALID_PARAMS, "Invalid Params", dropped);
        let told = explain(&error, &run(""));
        assert!(
            told.contains("has run") && told.contains("do not send it again"),
            "{told}"
        );
        assert_eq!(exit_code(&error), 9);
        let error = rpc(code::CONFLICT, "Conflict", json!({ "dead": 7 }));
        assert_eq!(
            explain(&error, &run("")),
            "error: Conflict\n  = help: 7 jobs are dead by now; run the command again"
        );
        let error = rpc(code::FORBIDDEN, "Forbidden", json!({ "needs": "member" }));
        let run = run("");
        assert_eq!(
            explain(&error, &run),
            format!(
                "error: Forbidden: needs the role member\n  = help: the circle's owner can make your key a member: circled members add URL --key circle.key {}",
                run.caller
            )
        );
    }

    #[test]
    fn every_error_has_its_exit_code() {
        let closed = |code| {
            let reason = String::new();
            exit_code(&Error::Closed(Closed { code, reason }))
        };
        assert_eq!(
            (closed(None), closed(Some(1008)), closed(Some(1013))),
            (3, 3, 7)
        );
        for (code, expected) in [
            (code::EXECUTION_ERROR, 1),
            (code::INVALID_PARAMS, 2),
            (code::INTERNAL_ERROR, 3),
            (code::INVALID_CREDENTIALS, 4),
            (code::FORBIDDEN, 5),
            (code::TIMEOUT, 6),
            (code::LIMIT_EXCEEDED, 7),
            (code::CONFLICT, 7),
            (code::NOT_FOUND, 8),
        ] {
            assert_eq!(exit_code(&rpc(code, "", Value::Null)), expected, "{code}");
        }
    }
}
