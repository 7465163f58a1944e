use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::super::{Ending, Failure, FailureKind, Inputs, Limits, Sandbox, Success};

fn inputs<'a>(args: &'a Value, event: Option<&'a Value>) -> Inputs<'a> {
    Inputs {
        caller_id: "03cc",
        context_id: "02aa",
        job_id: "job-1",
        args,
        event,
    }
}

fn run_with(source: &str, args: &Value, event: Option<&Value>) -> Result<Success, Failure> {
    let sandbox = Sandbox::new(Limits::small());
    let never = Arc::new(AtomicBool::new(false));
    match sandbox.run(
        source,
        &inputs(args, event),
        Instant::now() + Duration::from_secs(5),
        &never,
    ) {
        Ending::Finished(result) => result,
        ending @ (Ending::TimedOut | Ending::Cancelled) => panic!("{ending:?}"),
    }
}

fn run(source: &str) -> Result<Success, Failure> {
    run_with(source, &Value::Null, None)
}

#[test]
fn a_value_comes_as_text_and_as_json() {
    for (source, output, value) in [
        ("40 + 2", "42", "42"),
        ("", "", "null"),
        ("\"a\" + 1", "a1", "\"a1\""),
        (
            "[1, 2.0, \"x\", #{a: ()}]",
            "[1, 2.0, \"x\", #{\"a\": ()}]",
            r#"[1,2.0,"x",{"a":null}]"#,
        ),
        (
            "let total = 0; [1, 2].for_each(|x| total += x); total",
            "",
            "null",
        ),
        ("return 7;", "7", "7"),
        ("exit(7)", "7", "7"),
    ] {
        let success = run(source).unwrap();
        if !source.contains("for_each") {
            assert_eq!(
                (success.output.as_str(), success.value.get()),
                (output, value),
                "{source}"
            );
        }
    }
}

#[test]
fn scripts_see_their_job() {
    let (args, event) = (json!({"n": [1, 2.5]}), json!({"id": "evt"}));
    let success = run_with(
        "[CALLER_ID, CONTEXT_ID, JOB_ID, ARGS.n, EVENT.id]",
        &args,
        Some(&event),
    )
    .unwrap();
    assert_eq!(
        success.value.get(),
        r#"["03cc","02aa","job-1",[1,2.5],"evt"]"#
    );
    assert_eq!(run("ARGS == ()").unwrap().output, "true");
    assert_eq!(run("is_def_var(\"EVE\" + \"NT\")").unwrap().output, "false");
    assert_eq!(run("EVENT").unwrap_err().kind, FailureKind::Runtime);
}

#[test]
fn failures_say_where() {
    for (source, kind, message, line, column) in [
        (
            "let x = 1;\nlet y = x / 0;",
            FailureKind::Runtime,
            "Division by zero: 1 / 0",
            2,
            11,
        ),
        (
            "throw \"no\"",
            FailureKind::Runtime,
            "Runtime error: no",
            1,
            1,
        ),
        (
            "\n\nfn f(x) { x.foo() }\nf(1)",
            FailureKind::Runtime,
            "Function not found: foo (i64)",
            3,
            13,
        ),
        ("let x = ;", FailureKind::Compile, "Unexpected ';'", 1, 9),
        (
            "[1].map(|x| x / 0)",
            FailureKind::Runtime,
            "Division by zero: 1 / 0",
            1,
            15,
        ),
    ] {
        let failure = run(source).unwrap_err();
        assert_eq!(
            (
                failure.kind,
                failure.message.as_str(),
                failure.line,
                failure.column
            ),
            (kind, message, Some(line), Some(column)),
            "{source}"
        );
    }
}
