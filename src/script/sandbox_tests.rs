use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::super::{Ending, Failure, FailureKind, Inputs, Limits, Sandbox, Success, meter, stack};

fn inputs<'a>(args: &'a Value, event: Option<&'a Value>) -> Inputs<'a> {
    Inputs {
        caller_id: &"03cc",
        context_id: &"02aa",
        job_id: &"job-1",
        args,
        event,
        modules: None,
    }
}

fn run_with(source: &str, args: &Value, event: Option<&Value>) -> Result<Success, Failure> {
    let sandbox = Sandbox::new(Limits::small());
    let never = Arc::new(AtomicBool::new(false));
    match sandbox.run(
        source,
        &inputs(args, event),
        &mut None,
        Instant::now() + Duration::from_secs(5),
        &never,
    ) {
        Ending::Finished(result) => result,
        ending @ (Ending::TimedOut | Ending::Cancelled | Ending::Unavailable) => {
            panic!("{ending:?}")
        }
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
            "let total = 0; [1, 2].for_each(|| total += this); total",
            "3",
            "3",
        ),
        ("return 7;", "7", "7"),
        ("exit(7)", "7", "7"),
    ] {
        let success = run(source).unwrap();
        assert_eq!(
            (success.output.as_str(), success.value.get()),
            (output, value),
            "{source}"
        );
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

#[test]
fn positions_are_those_of_the_source_as_it_was_sent() {
    for source in [
        "switch 1 { 1 => oops }",
        "/* switch */ switch 1 { 1 => oops }",
        "switch oops {}",
    ] {
        let failure = run(source).unwrap_err();
        assert_eq!(
            failure.column,
            source.find("oops").map(|at| at + 1),
            "{source}"
        );
    }
    let failure = run("let f = Fn(\"x\");\n  f.curry()").unwrap_err();
    assert_eq!((failure.line, failure.column), (Some(2), Some(5)));
    assert_eq!(failure.message, "Function not found: curry (Fn)");
    let failure = run("let x = 1;\nloop { x += 1 }").unwrap_err();
    assert_eq!(
        (failure.kind, failure.line),
        (FailureKind::Operations, Some(2))
    );
}

#[test]
fn the_library_behaves_as_in_rhai() {
    let engine = rhai::Engine::new();
    for source in [
        "let s = \"aXbX\"; s.replace(\"X\", \"yy\"); s.replace('b', 'c'); s.replace(\"\", \"-\"); s",
        "let s = \"ab\"; s.pad(5, \"xyz\"); s.pad(3, 'x'); s.pad(8, 'é'); s",
        "[\"a,b,,c\".split(\",\"), \"a,b\".split(',', 1), \"a,b,c\".split(\",\", 2), \"\".split(\",\"), \"abc\".split(\"\"), \"abc\".split(1)]",
        "[\"a,b,c\".split_rev(\",\"), \"a,b,c\".split_rev(',', 2), \" a  b \".split(), \"\".split(), \"añ\".to_chars(), \"x\".split(',')]",
        "let a = [3, 1, 2]; a.sort(); let b = [1, 2, 3].order_desc(); let c = [\"b\", \"a\"].order(); a.sort(|x, y| y - x); [a, b, c]",
        "[2, 1, 3].order_by(|x, y| x < y)",
        "let a = [1, 1, 2, 2, 1]; a.dedup(); let b = [1, 3, 2, 4]; b.dedup(|x, y| x % 2 == y % 2); [a, b]",
        "let a = []; a.pad(3, [1]); a.pad(1, 2); a.pad(-1, 2); a",
        "let a = [1, 2, 3, 4]; let d = a.drain(|x| x > 2); let r = a.retain(|x| x > 1); [a, d, r]",
        "let a = [1, 2]; a.for_each(|i| this += i * 10); [a, a.map(|x| x * 2), a.map(|x, i| x + i), a.filter(|x| x > 1)]",
        "let a = [1, 2, 3]; [a.find(|x| x > 1), a.find(|x| x > 5), a.find_map(|x| if x > 1 { x * 2 }), a.index_of(|x| x == 3), a.index_of(|x| x == 1, 1), a.find(|x| x > 0, -1)]",
        "let a = [1, 2, 3]; [a.some(|x| x > 2), a.all(|x| x > 2), a.reduce(|s, x| (s ?? 0) + x), a.reduce(|s, x| s + x, 10), a.reduce_rev(|s, x| `${s}${x}`, \"\")]",
        "[[1, 2].zip([3, 4], |a, b| a * b), [\"a\", \"b\"].index_of(\"b\"), [1].index_of(\"b\", 0)]",
        "let m = #{a: 1, b: 2}; let d = m.drain(|k, v| v > 1); [m, d, #{a: 1}.map(|k, v| v + 1), #{a: 1, b: 2}.filter(|k| this > 1)]",
        "fn twice(x) { x * 2 } [[1, 2].map(\"twice\"), [1, 2].map(Fn(\"twice\")), [1, 2].map(twice)]",
        "[\"\" + [1, \"a\"] + 'c' + () + 1.5 + #{a: 'x'}, [1] + \"s\", 1 + \"x\", to_string([()]), to_debug(\"q\")]",
        "let s = \"a\"; s += 1; s += [2]; s.append('c'); s.append(3); s",
        "#{a: [1, 2.5, \"x\", ()], b: true}.to_json()",
        "parse_json(\"{\\\"a\\\": [1, 2.5, null, true]}\")",
        "let f = |x, y| x + y; let g = f.curry(1); [g.call(2), curry(f, 3).call(4), f.curry(5, 6).call()]",
        "let x = [1, 2]; switch x { [1, 2] => 1, _ => 2 }",
        "let r = []; for x in 0..6 { r.push(switch x { 0 => \"zero\", 1 | 2 => \"few\", 3..5 if x != 4 => \"some\", _ => \"many\" }) } r",
        "`a${1 + 1}b${[1, `c${2}`]}`",
    ] {
        let theirs = engine
            .eval::<rhai::Dynamic>(source)
            .map(|value| value.to_string());
        let ours = run(source);
        match theirs {
            Ok(theirs) => {
                let theirs: String = engine
                    .eval(&format!("to_string({{ {source} }})"))
                    .unwrap_or(theirs);
                assert_eq!(ours.unwrap().output, theirs, "{source}");
            }
            Err(error) => panic!("{source}: {error}, here {ours:?}"),
        }
    }
}

#[test]
fn what_is_printed_is_logged() {
    let success = run("print(\"a\\nb\"); debug(\"c\"); print([1]); print()").unwrap();
    assert_eq!(success.logs, ["a", "b", "\"c\"", "[1]", ""]);
    assert_eq!(run("print(1); throw 2").unwrap_err().logs, ["1"]);
    let logs = run("for i in 0..10000 { print(i) }").unwrap().logs;
    assert!(logs.len() < 10_000 && logs.last().unwrap().contains("more"));
}

#[test]
fn a_run_is_timed_out_and_cancelled() {
    let sandbox = Sandbox::new(Limits {
        max_operations: u64::MAX,
        ..Limits::small()
    });
    let cancel = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let ending = sandbox.run(
        "loop {}",
        &inputs(&Value::Null, None),
        &mut None,
        start + Duration::from_millis(20),
        &cancel,
    );
    assert!(matches!(ending, Ending::TimedOut));
    assert!(start.elapsed() < Duration::from_millis(200));
    cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let ending = sandbox.run(
        "loop {}",
        &inputs(&Value::Null, None),
        &mut None,
        start + Duration::from_secs(5),
        &cancel,
    );
    assert!(matches!(ending, Ending::Cancelled));
}

#[test]
fn the_fast_lane_takes_what_is_known_to_be_short() {
    let sandbox = Sandbox::new(Limits {
        fast_time: Duration::from_millis(200),
        ..Limits::small()
    });
    let never = Arc::new(AtomicBool::new(false));
    let (few, many) = (json!(2), json!(100_000));
    let run = |source: &str, args: &Value| {
        sandbox.run(
            source,
            &inputs(args, None),
            &mut None,
            Instant::now() + Duration::from_secs(5),
            &never,
        )
    };
    let source = "let x = 0; for i in 0..ARGS { x += i } x";
    assert!(
        sandbox
            .try_run(source, &inputs(&few, None), &mut None)
            .is_none(),
        "not compiled yet"
    );
    drop(run(source, &few));
    let success = sandbox
        .try_run(source, &inputs(&few, None), &mut None)
        .unwrap()
        .unwrap();
    assert_eq!(success.output, "1");
    assert!(
        sandbox
            .try_run(source, &inputs(&many, None), &mut None)
            .is_none(),
        "runs out of its budget"
    );
    assert!(
        sandbox
            .try_run(source, &inputs(&few, None), &mut None)
            .is_none(),
        "known to be long"
    );
    assert!(
        (0..100).any(|_| sandbox
            .try_run(source, &inputs(&few, None), &mut None)
            .is_some()),
        "tried again"
    );
    let failing = "throw 1";
    drop(run(failing, &few));
    assert!(
        sandbox
            .try_run(failing, &inputs(&few, None), &mut None)
            .is_none()
    );
}

#[test]
fn check_compiles_and_runs_nothing() {
    let sandbox = Sandbox::new(Limits::small());
    sandbox.check("throw 1").unwrap();
    assert_eq!(
        sandbox.check("let x = ").unwrap_err().kind,
        FailureKind::Compile
    );
    assert_eq!(
        sandbox.check(&"(".repeat(1000)).unwrap_err().kind,
        FailureKind::Depth
    );
}

#[test]
fn the_scripts_of_two_sandboxes_are_apart() {
    let (wide, narrow) = (
        Sandbox::new(Limits::small()),
        Sandbox::new(Limits {
            max_array: 2,
            ..Limits::small()
        }),
    );
    let never = Arc::new(AtomicBool::new(false));
    for (sandbox, fine) in [(&wide, true), (&narrow, false), (&wide, true)] {
        let ending = sandbox.run(
            "[1, 2, 3]",
            &inputs(&Value::Null, None),
            &mut None,
            Instant::now() + Duration::from_secs(5),
            &never,
        );
        assert!(matches!(ending, Ending::Finished(result) if result.is_ok() == fine));
    }
}

#[test]
fn a_panic_ends_the_run_alone() {
    let sandbox = Sandbox::new(Limits::small());
    let never = Arc::new(AtomicBool::new(false));
    let panicking = "let a = [0]; let f = || a; a[0] = f; [1, -1].map(|x| panic_below_zero(x))";
    let sort = "[1, 2].sort(|x, y| panic_below_zero(-1))";
    let caught = "try { panic_below_zero(-1) } catch { 1 }";
    let kept = stack::with_large(|| {
        let mut before = 0;
        for round in 0..4 {
            for source in [panicking, sort, caught] {
                let deadline = Instant::now() + Duration::from_secs(5);
                let ending = sandbox.run(
                    source,
                    &inputs(&Value::Null, None),
                    &mut None,
                    deadline,
                    &never,
                );
                let Ending::Finished(Err(failure)) = ending else {
                    panic!("{source}: {ending:?}")
                };
                assert_eq!(
                    (failure.kind, failure.message.as_str()),
                    (FailureKind::Runtime, "a function failed inside")
                );
            }
            let deadline = Instant::now() + Duration::from_secs(5);
            let ending = sandbox.run(
                "40 + 2",
                &inputs(&Value::Null, None),
                &mut None,
                deadline,
                &never,
            );
            assert!(matches!(ending, Ending::Finished(Ok(_))));
            if round == 1 {
                before = meter::net();
            }
        }
        meter::net() - before
    });
    assert!(kept.unwrap().abs() < 4096);
}
