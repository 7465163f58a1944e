use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use circled_protocol::FailureKind;
use serde_json::{Value, json};

use super::super::{
    DurableTry, Failure, Inputs, Limits, Occasion, Outcome, RunError, Sandbox, Success, meter,
    stack,
};
use crate::units::{PositiveDuration, Size};

/// Returns how a run ended that nobody stopped.
fn unless_stopped(outcome: Outcome) -> Result<Success, Failure> {
    outcome.map_err(|error| {
        let RunError::Failed(failure) = error else {
            panic!("{error:?}")
        };
        *failure
    })
}

fn inputs<'a>(args: &'a Value, event: Option<&'a Value>) -> Inputs<'a> {
    Inputs {
        caller_id: &"03cc",
        caller: None,
        context_id: &"02aa",
        job_id: &"job-1",
        durable: None,
        occasion: Occasion::now(),
        args,
        event,
        modules: None,
    }
}

fn run_with(source: &str, args: &Value, event: Option<&Value>) -> Result<Success, Failure> {
    let sandbox = Sandbox::new(Limits {
        timeout: PositiveDuration::new(Duration::from_secs(20)).unwrap(),
        ..Limits::small()
    });
    let never = Arc::new(AtomicBool::new(false));
    unless_stopped(sandbox.run(source, &inputs(args, event), &mut None, None, &never))
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
    let failure = run("EVENT").unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (
            FailureKind::Runtime,
            "EVENT exists only in scripts that run for a webhook"
        )
    );
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
        max_operations: NonZeroU64::new(u64::MAX).unwrap(),
        ..Limits::small()
    });
    let cancel = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let outcome = sandbox.run(
        "loop {}",
        &inputs(&Value::Null, None),
        &mut None,
        Some(start + Duration::from_millis(20)),
        &cancel,
    );
    assert!(matches!(outcome, Err(RunError::TimedOut { .. })));
    assert!(start.elapsed() < Duration::from_millis(200));
    cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let outcome = sandbox.run(
        "loop {}",
        &inputs(&Value::Null, None),
        &mut None,
        Some(start + Duration::from_secs(5)),
        &cancel,
    );
    assert!(matches!(outcome, Err(RunError::Cancelled)));
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
            Some(Instant::now() + Duration::from_secs(5)),
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
            max_array: NonZeroUsize::new(2).unwrap(),
            ..Limits::small()
        }),
    );
    let never = Arc::new(AtomicBool::new(false));
    for (sandbox, fine) in [(&wide, true), (&narrow, false), (&wide, true)] {
        let outcome = sandbox.run(
            "[1, 2, 3]",
            &inputs(&Value::Null, None),
            &mut None,
            Some(Instant::now() + Duration::from_secs(5)),
            &never,
        );
        assert!(unless_stopped(outcome).is_ok() == fine);
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
                let outcome = sandbox.run(
                    source,
                    &inputs(&Value::Null, None),
                    &mut None,
                    Some(deadline),
                    &never,
                );
                let failure = unless_stopped(outcome).unwrap_err();
                assert_eq!(
                    (failure.kind, failure.message.as_str()),
                    (FailureKind::Runtime, "a function failed inside")
                );
            }
            let deadline = Instant::now() + Duration::from_secs(5);
            let outcome = sandbox.run(
                "40 + 2",
                &inputs(&Value::Null, None),
                &mut None,
                Some(deadline),
                &never,
            );
            assert!(outcome.is_ok());
            if round == 1 {
                before = meter::net();
            }
        }
        meter::net() - before
    });
    assert!(kept.unwrap().abs() < 4096);
}

/// Ten times as long takes ten times as much, not a hundred times.
#[test]
fn long_arrays_cost_as_much_as_they_are_long() {
    let sandbox = Sandbox::new(Limits {
        timeout: PositiveDuration::new(Duration::from_secs(60)).unwrap(),
        max_memory: Size::new(64 << 20).unwrap(),
        ..Limits::small()
    });
    let never = Arc::new(AtomicBool::new(false));
    for source in [
        "let a = []; for i in 0..16_000 { a.push(#{n: i, text: \"x\"}) } a.len",
        "let a = []; for i in 0..60_000 { a.push(#{n: i}) } a.len",
        "let a = []; for i in 0..60_000 { a += [#{n: i}] } a.len",
        "let a = []; for i in 0..60_000 { a.insert(a.len, [i]) } a.len",
        "let m = #{}; for i in 0..60_000 { m[`${i}`] = i } m.len",
        "let m = #{}; for i in 0..60_000 { m.set(`${i}`, i) } m.len",
        "let a = []; a.pad(30_000, #{n: 1}); let n = 0; while n < a.len { a[n].n = n; n += 1 } n",
        "let a = []; for i in 0..11_000 { a.push(#{n: i * 7919 % 11_000}) } \
         a.sort(|x, y| x.n - y.n); a[10_999].n",
        "let a = []; for i in 0..11_000 { a.push(#{n: i * 7919 % 11_000}) } \
         a.sort(|x, y| x.n < y.n); a[0].n",
    ] {
        let start = Instant::now();
        let outcome = sandbox.run(source, &inputs(&Value::Null, None), &mut None, None, &never);
        assert!(outcome.is_ok(), "{source}: {outcome:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{source}");
    }
}

#[test]
fn what_grows_past_its_limit_is_stopped() {
    let limits = Limits {
        max_string: Size::new(64 << 10).unwrap(),
        max_array: NonZeroUsize::new(1000).unwrap(),
        max_map: NonZeroUsize::new(1000).unwrap(),
        ..Limits::small()
    };
    let sandbox = Sandbox::new(limits);
    let never = Arc::new(AtomicBool::new(false));
    for (fine, source) in [
        (true, "let a = []; for i in 0..1000 { a.push(i) } a.len"),
        (false, "let a = []; for i in 0..1001 { a.push(i) } a.len"),
        (
            false,
            "let a = []; for i in 0..1001 { a.insert(0, i) } a.len",
        ),
        (false, "let a = []; a.pad(600, 1); a.append(a); a.len"),
        (false, "let a = []; a.pad(600, 1); (a + a).len"),
        (
            true,
            "let m = #{}; for i in 0..1000 { m.set(`${i}`, i) } m.len",
        ),
        (
            false,
            "let m = #{}; for i in 0..1001 { m.set(`${i}`, i) } m.len",
        ),
        (
            false,
            "let m = #{}; for i in 0..1001 { m += #{}.fill(i) } m.len",
        ),
        (false, "let s = \"\"; s.pad(70_000, 'x'); s.len"),
        (false, "blob(70_000).len"),
        (false, "let b = blob(); b.pad(70_000, 1); b.len"),
        // Operators are bounded by twice as much, by the allocator.
        (false, "let a = []; loop { a += 1 }"),
        (false, "let a = []; loop { a += [1] }"),
        (false, "let s = \"\"; loop { s += \"0123456789abcdef\" }"),
        (false, "let s = \"x\"; loop { s = `${s}${s}` }"),
        (false, "let b = blob(1); loop { b += b }"),
    ] {
        let source = source.replace("#{}.fill(i)", "{ let n = #{}; n[`${i}`] = i; n }");
        let outcome = sandbox.run(
            &source,
            &inputs(&Value::Null, None),
            &mut None,
            None,
            &never,
        );
        match unless_stopped(outcome) {
            Ok(_) => assert!(fine, "{source}"),
            Err(failure) => {
                assert!(!fine, "{source}: {failure}");
                assert_eq!(failure.kind, FailureKind::Size, "{source}: {failure}");
            }
        }
    }
}

#[test]
fn values_are_equal_as_rhai_has_it() {
    for (source, value) in [
        (
            "[1, [2.0, \"x\"], #{a: ()}] == [1, [2, \"x\"], #{a: ()}]",
            "true",
        ),
        ("[1, 2] != [1, 3]", "true"),
        ("[1] == [\"1\"]", "false"),
        ("#{a: [1], b: 2} == #{b: 2, a: [1]}", "true"),
        ("#{a: 1} == #{b: 1}", "false"),
        ("[[1], [2]].contains([2])", "true"),
        ("\"x\" in [1, \"x\"]", "true"),
        ("[3, 4, 5].index_of(4)", "1"),
        ("[3, 4, 3].index_of(3, -1)", "2"),
        ("[\"a\", \"b\"].index_of(\"b\")", "1"),
        (
            "fn is_large(n) { n > 3 } [3, 4, 5].index_of(\"is_large\")",
            "1",
        ),
        (
            "fn is_large(n) { n > 3 } [5, 4, 5].index_of(\"is_large\", 1)",
            "1",
        ),
        (
            "fn other(n) { n > 3 } [\"is_large\"].index_of(\"is_large\")",
            "0",
        ),
        ("[1].insert(5, 2)", "null"),
        (
            "let a = [1, 2]; a.insert(-1, 9); a.insert(99, 7); a",
            "[1,9,2,7]",
        ),
        (
            "let m = #{a: 1}; m.fill_with(#{a: 2, b: 3}); m + #{c: 4}",
            r#"{"a":1,"b":3,"c":4}"#,
        ),
        (
            "let b = blob(2, 257); b.pad(3, 255); b.to_array()",
            "[1,1,255]",
        ),
    ] {
        assert_eq!(run(source).unwrap().value.get(), value, "{source}");
    }
}

#[test]
fn functions_see_the_constants_of_their_job() {
    let (args, event) = (json!({"n": [1, 2.5]}), json!({"id": "evt"}));
    for source in [
        "fn f() { [CALLER_ID, CONTEXT_ID, JOB_ID, ARGS.n, EVENT.id] } f()",
        "fn g() { [CALLER_ID, CONTEXT_ID, JOB_ID, ARGS.n, EVENT.id] } fn f() { g() } f()",
        "fn f() { [0].map(|x| [CALLER_ID, CONTEXT_ID, JOB_ID, ARGS.n, EVENT.id])[0] } f()",
        "let f = || [CALLER_ID, CONTEXT_ID, JOB_ID, ARGS.n, EVENT.id]; f.call()",
        "fn f() { let g = || [CALLER_ID, CONTEXT_ID, JOB_ID, ARGS.n, EVENT.id]; g.call() } f()",
    ] {
        let success = run_with(source, &args, Some(&event)).unwrap();
        assert_eq!(
            success.value.get(),
            r#"["03cc","02aa","job-1",[1,2.5],"evt"]"#,
            "{source}"
        );
    }
    assert_eq!(run("fn f(ARGS) { ARGS } f(7)").unwrap().output, "7");
    for source in [
        "fn f() { CALLER_ID = \"me\"; } f()",
        "fn f() { ARGS.push(1); } f()",
        "fn f() { EVENT } f()",
    ] {
        assert_eq!(
            run(source).unwrap_err().kind,
            FailureKind::Runtime,
            "{source}"
        );
    }
}

#[test]
fn a_file_may_begin_as_files_do() {
    for (source, value) in [
        ("\u{feff}40 + 2", "42"),
        ("#!/usr/bin/env circled play\n40 + 2", "42"),
        ("\u{feff}#! x\r\n40 + 2", "42"),
        ("#!", "null"),
        ("\u{feff}", "null"),
        ("\u{feff}switch 1 { 1 => 2, _ => 3 }", "2"),
    ] {
        assert_eq!(run(source).unwrap().value.get(), value, "{source:?}");
    }
    for (source, line, column) in [
        ("\u{feff}oops", 1, 1),
        ("#! x\n  oops", 2, 3),
        ("\u{feff}#! x\n\noops", 3, 1),
    ] {
        let failure = run(source).unwrap_err();
        assert_eq!(
            (failure.line, failure.column),
            (Some(line), Some(column)),
            "{source:?}"
        );
    }
    assert_eq!(run("1 #! 2").unwrap_err().kind, FailureKind::Compile);
}

#[test]
fn what_has_as_many_parameters_keys_and_variables_as_may_be_runs() {
    let names = |count: usize| (0..count).map(|n| format!("a{n}")).collect::<Vec<_>>();
    let list = |count| names(count).join(", ");
    let keys = |count: usize| format!("#{{{}}}", names(count).join(": 1, ") + ": 1");
    let lets = |count: usize| format!("let {} = 1; ", names(count).join(" = 1; let "));
    for (source, fits) in [
        (format!("fn f({}) {{ 1 }} 42", list(64)), true),
        (format!("fn f({}) {{ 1 }} 42", list(65)), false),
        (format!("let f = |{}| 1; 42", list(64)), true),
        (format!("let f = |{}| 1; 42", list(65)), false),
        (format!("{}.len() - 4096 + 42", keys(4096)), true),
        (format!("{}.len()", keys(4098)), false),
        // Some variables are the run's own.
        (lets(900) + "42", true),
        (lets(1001) + "42", false),
        (format!("if false {{ {} }} 42", lets(1001)), false),
        (
            format!("{} {{ {} }} {{ {} }} 42", lets(500), lets(400), lets(400)),
            true,
        ),
        (format!("{} {{ {} }} 42", lets(600), lets(600)), false),
        ("let a = 1; ".repeat(3000) + "42", true),
        (
            format!(
                "{} fn f() {{ {} 1 }} fn g(a, b) {{ {} 1 }} f() + g(1, 2) + 40",
                lets(900),
                lets(900),
                lets(900)
            ),
            true,
        ),
        (
            format!(
                "{} let f = || {{ {} 20 }}; let g = |x| {{ {} 22 }}; f.call() + g.call(1)",
                lets(900),
                lets(900),
                lets(900)
            ),
            true,
        ),
        // No parameters: an operator, and arguments of which each is a value.
        (
            format!(
                "fn f() {{ 1 }} let a = 1; let l = [f() | a, {}a]; 42",
                "a, ".repeat(100)
            ),
            true,
        ),
        (
            format!("fn f() {{ g({}1) }} 42", "|a, b| 1, ".repeat(40)),
            true,
        ),
        (
            format!("fn f() {{ [this | 1, {}1] }} 42", "a, ".repeat(100)),
            true,
        ),
        (
            format!("#{{{}a: 1}}; 42", "k: |a, b| 1, ".replace("k", "k0")),
            true,
        ),
        (
            format!(
                "let a0 = 1; let l = [a0 | a0, {}a0]; 42",
                "a0, ".repeat(100)
            ),
            true,
        ),
        (
            format!(
                "let l = [(1) | 2, {}3]; 42",
                "`${#{b: 1, c: 2}.b}`, ".repeat(100)
            ),
            true,
        ),
        (
            format!("fn f(a) {{ [{}a] }} f(1); 42", "a, ".repeat(100)),
            true,
        ),
        (
            format!("fn f(a) {{ #{{l: [{}a]}} }} f(1); 42", "a, ".repeat(5000)),
            true,
        ),
    ] {
        let shown = &source[..source.len().min(300)];
        match run(&source) {
            Ok(success) => assert!(fits && success.output == "42", "{shown}"),
            Err(failure) => {
                assert!(
                    !fits && failure.kind == FailureKind::Size,
                    "{shown}: {failure}"
                );
            }
        }
    }
}

#[test]
fn a_run_that_is_repeated_sees_the_same_time_and_randomness() {
    let source = "let all = [now(), uuid(), random(), random(1, 1_000_000_000)]; fn f() { uuid() } all + [f()]";
    let sandbox = Sandbox::new(Limits::small());
    let never = Arc::new(AtomicBool::new(false));
    let first = inputs(&Value::Null, None);
    let run = |inputs: &Inputs<'_>| {
        let ran = sandbox.run(source, inputs, &mut None, None, &never);
        unless_stopped(ran).unwrap().output
    };
    let output = run(&first);
    assert_eq!(run(&first), output);
    sandbox.assume_short(source);
    let tried = sandbox.try_run(source, &first, &mut None).unwrap();
    assert_eq!(unless_stopped(tried).unwrap().output, output);
    let again = Inputs {
        occasion: Occasion::now(),
        ..first
    };
    assert_ne!(run(&again), output);
}

#[test]
fn random_numbers_are_within_their_range_and_cover_it() {
    let source = "let seen = #{}; for n in 0..400 { seen[random(-1, 1).to_string()] = () }
        let ok = true; for n in 0..400 { let x = random(); ok &= x >= 0.0 && x < 1.0 }
        [seen.keys().len(), ok, random(7, 7)]";
    assert_eq!(run(source).unwrap().output, "[3, true, 7]");
    let id = run("uuid()").unwrap().output;
    let id: uuid::Uuid = id.parse().unwrap();
    assert_eq!(id.get_version_num(), 4);
}

#[test]
fn a_durable_job_knows_its_try() {
    let args = Value::Null;
    let durable = DurableTry {
        time: 3,
        due: 2,
        submitted_at: 1,
        tries: 4,
    };
    let inputs = Inputs {
        durable: Some(durable),
        ..inputs(&args, None)
    };
    let sandbox = Sandbox::new(Limits::small());
    let never = Arc::new(AtomicBool::new(false));
    let source = "fn due() { JOB.due } [JOB.due, JOB.submitted_at, JOB.tries, due()]";
    let ran = sandbox.run(source, &inputs, &mut None, None, &never);
    assert_eq!(unless_stopped(ran).unwrap().output, "[2, 1, 4, 2]");
    assert_eq!(
        run("fn f() { JOB } [JOB, f()]").unwrap().value.get(),
        "[null,null]"
    );
}
