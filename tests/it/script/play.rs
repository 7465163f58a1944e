//! Running a script: its inputs and its result.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    server::{ENDLESS, TestServer, circle, key},
};

async fn a_value_comes_as_text_and_as_json() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for (script, output, value) in [
        ("40 + 2", "42", "42"),
        ("", "", "null"),
        ("()", "", "null"),
        ("let x = 1;", "", "null"),
        (
            "9223372036854775807",
            "9223372036854775807",
            "9223372036854775807",
        ),
        (
            "-9223372036854775807 - 1",
            "-9223372036854775808",
            "-9223372036854775808",
        ),
        ("1.0", "1.0", "1.0"),
        ("0.1", "0.1", "0.1"),
        ("-2.5", "-2.5", "-2.5"),
        ("0.0 / 0.0", "NaN", "null"),
        ("true", "true", "true"),
        ("'x'", "x", "\"x\""),
        ("\"\"", "", "\"\""),
        (
            r#""grüße \"🦀\"\n""#,
            "grüße \"🦀\"\n",
            r#""grüße \"🦀\"\n""#,
        ),
        ("[]", "[]", "[]"),
        (
            "[1, 2.0, 'c', \"s\", (), true, [3]]",
            r#"[1, 2.0, c, "s", (), true, [3]]"#,
            r#"[1,2.0,"c","s",null,true,[3]]"#,
        ),
        ("#{}", "#{}", "{}"),
        (
            "#{b: [()], a: #{c: \"d\"}}",
            r##"#{"a": #{"c": "d"}, "b": [()]}"##,
            r#"{"a":{"c":"d"},"b":[null]}"#,
        ),
    ] {
        // First where scripts are compiled, and then in the fast lane.
        for round in 0..3 {
            let call =
                json!({ "jsonrpc": "2.0", "id": round, "method": "play", "params": [script] });
            session.send_text(call.to_string()).await;
            let text = session.text().await;
            assert!(
                text.contains(&format!("\"value\":{value},")),
                "{script}: {text}"
            );
            let reply: Value = circled_json::parse(&text).unwrap();
            let members = reply["result"]
                .as_object()
                .unwrap_or_else(|| panic!("{script}: {text}"));
            let names: Vec<&str> = members.keys().map(String::as_str).collect();
            assert_eq!(
                HashSet::from_iter(names),
                HashSet::from(["output", "value", "logs", "job_id"])
            );
            assert_eq!(members["output"], output, "{script}");
            assert_eq!(members["logs"], json!([]));
        }
    }
}

async fn a_script_sees_who_runs_it_where_and_with_what() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let mut jobs = HashSet::new();
    for _ in 0..3 {
        let run = session
            .play("[CALLER_ID, CONTEXT_ID, JOB_ID, ARGS]")
            .await
            .unwrap();
        assert_eq!(
            run["value"],
            json!([key(2).public(), circle(), run["job_id"], null])
        );
        let job = run["job_id"].as_str().unwrap().to_owned();
        assert!(uuid::Uuid::parse_str(&job).is_ok(), "{job}");
        assert!(jobs.insert(job), "every run has a name of its own");
    }
    for args in [
        json!(null),
        json!(7),
        json!(i64::MAX),
        json!(1.5),
        json!("grüße 🦀\n"),
        json!([1, [2, { "a": null }]]),
        json!({ "deep": { "list": [true, false, 0.25], "empty": {} } }),
    ] {
        for _ in 0..2 {
            let run = session
                .call("play", json!({ "script": "ARGS", "args": args }))
                .await;
            assert_eq!(run.unwrap()["value"], args);
            let run = session.call("play", json!(["ARGS", args])).await;
            assert_eq!(run.unwrap()["value"], args);
        }
    }
    for constant in ["CALLER_ID", "CONTEXT_ID", "JOB_ID", "ARGS"] {
        let error = session
            .play(&format!("{constant} = 1; {constant}"))
            .await
            .unwrap_err();
        assert_eq!(error["code"], -32000, "{constant} can be written: {error}");
    }
    let event = session.play("EVENT").await.unwrap_err();
    assert_eq!(event["data"]["kind"], "runtime", "there is none here");
}

async fn nothing_of_a_run_is_left_for_the_next() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for _ in 0..3 {
        let run = session
            .play("let n = 0; n += 1; print(n); n")
            .await
            .unwrap();
        assert_eq!((&run["value"], &run["logs"]), (&json!(1), &json!(["1"])));
    }
    session.play("let left = 1; left").await.unwrap();
    assert_eq!(
        session.play("left").await.unwrap_err()["data"]["kind"],
        "runtime"
    );
    session.play("fn left() { 1 } left()").await.unwrap();
    assert_eq!(
        session.play("left()").await.unwrap_err()["data"]["kind"],
        "runtime"
    );
}

async fn printed_text_comes_back_line_by_line() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let script = r#"print("one\ntwo"); debug(#{ a: "x" }); print(3.0); print(""); "value""#;
    let logs = json!(["one", "two", r##"#{"a": "x"}"##, "3.0", ""]);
    for _ in 0..3 {
        let run = session.play(script).await.unwrap();
        assert_eq!((&run["output"], &run["logs"]), (&json!("value"), &logs));
        let error = session
            .play(&format!("{script}; throw 1"))
            .await
            .unwrap_err();
        assert_eq!(error["data"]["logs"], logs, "a failure has its logs too");
    }
    let run = session
        .play("for i in 0..10_000 { print(i) }")
        .await
        .unwrap();
    let kept = run["logs"].as_array().unwrap();
    assert!(kept.len() > 100 && kept.len() < 10_000, "{}", kept.len());
    assert_eq!((&kept[0], &kept[99]), (&json!("0"), &json!("99")));
}

async fn a_script_that_fails_says_how_and_where() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_MEMORY", "4MiB")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for (script, kind, position) in [
        ("let x =", "compile", Some((1, 8))),
        ("40 +\n+ * 2", "compile", Some((2, 3))),
        ("let x = \"open", "compile", Some((1, 9))),
        ("let a = 1;\n  throw \"no\"", "runtime", Some((2, 3))),
        ("1 / 0", "runtime", Some((1, 3))),
        ("\n\nnothing", "runtime", Some((3, 1))),
        ("\nnothing(1)", "runtime", Some((2, 1))),
        ("let a = [1];\na[7]", "runtime", Some((2, 3))),
        ("fn f() {\n  1 + ()\n}\nf()", "runtime", Some((2, 5))),
        ("loop {}", "operations", Some((1, 6))),
        ("let n = 0;\nloop {\n  n += 1\n}", "operations", None),
        ("let s = \"x\"; loop { s += s }", "size", None),
        ("let a = []; a.pad(70_000, 0); a", "size", None),
        ("fn f(n) { f(n + 1) } f(0)", "depth", None),
    ] {
        for _ in 0..2 {
            let error = session.play(script).await.unwrap_err();
            assert_eq!(error["code"], -32000, "{script}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with("Execution Error"), "{message}");
            let data = error["data"].as_object().unwrap();
            let names: HashSet<&str> = data.keys().map(String::as_str).collect();
            assert_eq!(names, HashSet::from(["kind", "line", "column", "logs"]));
            assert_eq!(data["kind"], kind, "{script}: {error}");
            if let Some((line, column)) = position {
                assert_eq!(
                    (&data["line"], &data["column"]),
                    (&json!(line), &json!(column)),
                    "{script}: {error}"
                );
            }
        }
    }
    let memory = "let a = []; a.pad(60_000, 0); let b = a; b.push(1); let c = b; c.push(1); let d = c; d.push(1); let e = d; e.push(1); 0";
    assert_eq!(
        session.play(memory).await.unwrap_err()["data"]["kind"],
        "memory"
    );
    assert_eq!(session.play("40 + 2").await.unwrap()["output"], "42");
}

async fn thrown_values_are_in_the_message() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let error = session.play(r#"throw "out of cheese""#).await.unwrap_err();
    assert!(
        error["message"].as_str().unwrap().contains("out of cheese"),
        "{error}"
    );
    let error = session
        .play(r#"let s = "x"; s.pad(900_000, 'x'); throw s"#)
        .await
        .unwrap_err();
    assert!(error.to_string().len() < 10_000, "it is cut");
}

async fn a_script_has_no_way_out() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for script in [
        "eval(\"40 + 2\")",
        "let f = Fn(\"eval\"); f.call(\"40 + 2\")",
        "import \"os\" as os; 1",
        "import \"/etc/passwd\" as p; 1",
        "open_file(\"/etc/passwd\")",
        "sleep(10)",
    ] {
        let error = session.play(script).await.unwrap_err();
        assert_eq!(error["code"], -32000, "{script}: {error}");
    }
}

async fn a_script_that_takes_too_long_is_stopped() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "500ms")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for (params, timeout) in [
        (json!({ "script": "loop {}", "timeout_ms": 100 }), 100),
        (json!({ "script": "loop {}" }), 500),
        (json!({ "script": "loop {}", "timeout_ms": 30_000 }), 500),
        (
            json!({ "script": "let x = 0; while true { x += 1 }", "timeout_ms": 1 }),
            1,
        ),
    ] {
        let error = session.call("play", params.clone()).await.unwrap_err();
        assert_eq!(error["code"], -32004, "{params}: {error}");
        assert_eq!(error["message"], "Timeout");
        assert_eq!(error["data"], json!({ "timeout_ms": timeout }), "{params}");
    }
    let waiting = tokio::time::Instant::now();
    session.play("loop {}").await.unwrap_err();
    assert!(waiting.elapsed() >= Duration::from_millis(490));
}

async fn a_caller_may_ask_for_less_time_but_not_for_more() {
    let server = TestServer::builder()
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "10s")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    for (timeout, fits) in [
        (json!(0), false),
        (json!(10_001), false),
        (json!(u64::MAX), false),
        (json!(-1), false),
        (json!("1s"), false),
        (json!(10_000), true),
        (json!(null), true),
    ] {
        let params = json!({ "script": "40 + 2", "timeout_ms": timeout });
        match session.call("play", params).await {
            Ok(run) => assert!(fits && run["output"] == "42", "{timeout}: {run}"),
            Err(error) => {
                assert!(!fits, "{timeout}: {error}");
                assert_eq!(error["code"], -32602);
                assert!(error["data"]["reason"].is_string(), "{error}");
            }
        }
    }
}

on_both!(
    a_value_comes_as_text_and_as_json,
    a_script_sees_who_runs_it_where_and_with_what,
    nothing_of_a_run_is_left_for_the_next,
    printed_text_comes_back_line_by_line,
    a_script_that_fails_says_how_and_where,
    thrown_values_are_in_the_message,
    a_script_has_no_way_out,
    a_script_that_takes_too_long_is_stopped,
    a_caller_may_ask_for_less_time_but_not_for_more,
);
