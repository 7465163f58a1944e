use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use circled_protocol::{FailureKind, PublicKey};
use serde_json::{Value, json};

use super::super::{
    Failure, Inputs, Limits, Occasion, Outcome, PinnedModules, RunError, Sandbox, Success,
};
use crate::{
    store::{
        Key, KeyRange, RemoteReads, Scanned, Settings, Transaction, Unavailable, Value as Kept,
        Want, WriteError,
    },
    units::Size,
};

const STORE: Settings = Settings {
    max_key: Size::new(512).unwrap(),
    max_value: Size::new(1 << 16).unwrap(),
    max_writes: 10,
    max_range_delete: 100,
    max_events: NonZeroUsize::new(3).unwrap(),
    event_log: NonZeroUsize::new(100).unwrap(),
    event_log_bytes: Size::new(1 << 20).unwrap(),
    events_waiting: Size::new(1 << 20).unwrap(),
    events_waiting_in_all: Size::new(1 << 20).unwrap(),
    max_event: 20,
    quota: 1 << 20,
};

/// A store that has nothing, or can't be reached.
struct Empty(bool);

impl RemoteReads for Empty {
    fn now(&self) -> i64 {
        0
    }

    fn get(&mut self, _: &Key) -> Result<Option<Kept>, Unavailable> {
        if self.0 { Ok(None) } else { Err(Unavailable) }
    }

    fn scan(&mut self, _: &KeyRange, _: Want) -> Result<Scanned, Unavailable> {
        Ok(Scanned::Keys(Vec::new()))
    }
}

fn transaction(works: bool) -> Option<Box<Transaction>> {
    let circle = PublicKey::from_stored([2; PublicKey::LENGTH]);
    let reads = Box::new(Empty(works));
    Some(Box::new(Transaction::remote(
        reads,
        Arc::new(STORE),
        circle,
    )))
}

fn pinned(modules: &[(&str, &str)]) -> Arc<PinnedModules> {
    let modules = modules
        .iter()
        .map(|(name, source)| ((*name).to_owned(), (*source).into()));
    Arc::new(PinnedModules(modules.collect::<BTreeMap<_, _>>()))
}

fn inputs<'a>(args: &'a Value, modules: Option<&'a Arc<PinnedModules>>) -> Inputs<'a> {
    Inputs {
        caller_id: &"03cc",
        caller: None,
        context_id: &"02aa",
        job_id: &"job-1",
        durable: None,
        occasion: Occasion::now(),
        args,
        event: None,
        modules,
    }
}

fn run_in(
    sandbox: &Sandbox,
    source: &str,
    modules: Option<&Arc<PinnedModules>>,
    transaction: &mut Option<Box<Transaction>>,
) -> Outcome {
    sandbox.run(
        source,
        &inputs(&json!([1, 2]), modules),
        transaction,
        Some(Instant::now() + Duration::from_secs(5)),
        &Arc::new(AtomicBool::new(false)),
    )
}

/// Returns how a run ended that nobody stopped.
fn unless_stopped(outcome: Outcome) -> Result<Success, Failure> {
    outcome.map_err(|error| {
        let RunError::Failed(failure) = error else {
            panic!("{error:?}")
        };
        *failure
    })
}

fn run(source: &str, modules: &[(&str, &str)]) -> Result<Success, Failure> {
    let sandbox = Sandbox::new(Limits::small());
    unless_stopped(run_in(
        &sandbox,
        source,
        Some(&pinned(modules)),
        &mut transaction(true),
    ))
}

#[test]
fn scripts_use_what_others_define() {
    let modules = [
        (
            "math",
            "export const TWO = 2; fn twice(x) { x * global::HALF * 4 } const HALF = 0.5; private fn hidden() { 1 }",
        ),
        (
            "lib/names",
            "import \"math\" as m; export let who = [CALLER_ID, CONTEXT_ID, JOB_ID, ARGS]; fn four() { m::twice(m::TWO) }",
        ),
        (
            "each",
            "fn each(list, f) { let r = []; for x in list { r.push(f.call(x)) } r } fn all(list, f) { list.map(f) }",
        ),
        (
            "switch",
            "export const S = switch ARGS[0] { 1 => `one ${1 + 1}`, _ => 2 }; fn f(x) { switch x { 1 => 2, _ => 3 } }",
        ),
        ("throws", "fn fail(x) { throw x }"),
        ("counts", "store.incr(\"n\", 1);"),
        (
            "alias",
            "let a = [1]; export a as b; export a; fn closure() { let n = 1; let f = || { n += 1; n }; f.call() + f.call() }",
        ),
    ];
    for (source, output) in [
        ("import \"math\" as m; [m::TWO, m::twice(4)]", "[2, 8.0]"),
        (
            "import \"lib/names\" as n; [n::four(), n::who]",
            "[4.0, [\"03cc\", \"02aa\", \"job-1\", [1, 2]]]",
        ),
        (
            "import \"each\" as e; let n = 10; [e::each([1, 2], |x| x + n), e::all([1, 2], |x| x * 2)]",
            "[[11, 12], [2, 4]]",
        ),
        (
            "fn own(x) { x + 1 } import \"each\" as e; e::each([1, 2], |x| own(x))",
            "[2, 3]",
        ),
        (
            "import \"switch\" as s; [s::S, s::f(1), s::f(2)]",
            "[\"one 2\", 2, 3]",
        ),
        (
            "import \"throws\" as t; let r = 0; try { t::fail(\"why\") } catch (e) { r = e } r",
            "why",
        ),
        (
            "import \"counts\" as a; import \"counts\" as b; for i in 0..100 { import \"counts\" as c; } store.get(\"n\")",
            "1",
        ),
        (
            "import \"alias\" as a; [a::a, a::b, a::closure()]",
            "[[1], [1], 5]",
        ),
        ("fn f() { import \"math\" as m; m::TWO } f() + f()", "4"),
        ("fn f() { m::TWO } import \"math\" as m; f()", "2"),
        (
            "let r = 0; try { import \"nothing\" as n; } catch (e) { r = e } r",
            "import: there is no script named \"nothing\"",
        ),
        ("import \"math\" as m; m::hidden()", "failed"),
        (
            "import \"math\" as m; let l = [1]; m::twice(l.len()); l",
            "[1]",
        ),
    ] {
        let result = run(source, &modules);
        let told = result.as_ref().map_or("failed", |success| &success.output);
        assert_eq!(told, output, "{source}: {result:?}");
    }
}

/// Rhai remembers what a name meant when it was called last, whoever calls it.
#[test]
fn functions_of_the_same_name_are_apart() {
    let modules = [
        (
            "a",
            "fn name() { \"a\" } fn f() { name(); name(); name() } fn later(g) { name(); name(); g.call() }",
        ),
        ("b", "fn name() { \"b\" } fn f() { name(); name(); name() }"),
    ];
    let source = "import \"a\" as a; import \"b\" as b; fn name() { \"own\" } name(); name();
        [name(), a::f(), name(), b::f(), a::f(), name(), a::later(|| b::f())]";
    assert_eq!(
        run(source, &modules).unwrap().value.get(),
        r#"["own","a","own","b","a","own","b"]"#
    );
}

#[test]
fn failures_say_in_which_module() {
    let modules = [
        ("top", "let x = 1;\n  x / 0"),
        (
            "calls",
            "fn f(x) {\n  switch x { 0 => 1 / x } }\nfn g(h) { h.call(0) }",
        ),
        ("broken", "let x = ;"),
        ("over", "import \"broken\" as b;"),
        ("under", "import \"top\" as t;"),
        ("endless", "fn f() {\n loop {} }"),
        ("many", "fn f(a, b, c, d, e, f, g, h, i, j, k) {}"),
        ("circle", "import \"circle2\" as c;"),
        ("circle2", "import \"circle\" as c;"),
        ("self", "import \"self\" as s;"),
        ("size", "fn f() { let b = blob(1000000000); }"),
    ];
    for (source, kind, message, line, column) in [
        (
            "\nimport \"top\" as t;",
            FailureKind::Runtime,
            "in \"top\", line 2, column 5: Division by zero: 1 / 0",
            2,
            8,
        ),
        (
            "\nimport \"under\" as t;",
            FailureKind::Runtime,
            "in \"top\", line 2, column 5: Division by zero: 1 / 0",
            2,
            8,
        ),
        (
            "import \"calls\" as c;\n c::f(0)",
            FailureKind::Runtime,
            "in \"calls\", line 2, column 21: Division by zero: 1 / 0",
            2,
            5,
        ),
        (
            "import \"calls\" as c;\nfn f() { c::f(0) }\n  f()",
            FailureKind::Runtime,
            "in \"calls\", line 2, column 21: Division by zero: 1 / 0",
            2,
            13,
        ),
        (
            "import \"calls\" as c;\n c::g(|x| 1 / x)",
            FailureKind::Runtime,
            "Division by zero: 1 / 0",
            2,
            13,
        ),
        (
            "import \"broken\" as b;",
            FailureKind::Compile,
            "in \"broken\", line 1, column 9: Unexpected ';'",
            1,
            8,
        ),
        (
            "\nimport \"over\" as b;",
            FailureKind::Compile,
            "in \"broken\", line 1, column 9: Unexpected ';'",
            2,
            8,
        ),
        (
            "import \"many\" as m;",
            FailureKind::Size,
            "in \"many\": f has more than the 10 parameters of a function that others may call; make it private",
            1,
            8,
        ),
        (
            "import \"circle\" as c;",
            FailureKind::Runtime,
            "in \"circle2\", line 1, column 8: Runtime error: import: scripts import one another in a cycle: circle -> circle2 -> circle",
            1,
            8,
        ),
        (
            "import \"self\" as c;",
            FailureKind::Runtime,
            "in \"self\", line 1, column 8: Runtime error: import: scripts import one another in a cycle: self -> self",
            1,
            8,
        ),
        (
            "let a = \"x\"; import a as b;",
            FailureKind::Compile,
            "an import needs the name itself, in quotes: import \"name\" as x",
            1,
            21,
        ),
        (
            "switch 1 { _ => { import `x${1}` as b; } }",
            FailureKind::Compile,
            "an import needs the name itself, in quotes: import \"name\" as x",
            1,
            26,
        ),
    ] {
        let failure = run(source, &modules).unwrap_err();
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
    for (source, kind) in [
        ("import \"endless\" as e;\n e::f()", FailureKind::Operations),
        ("import \"size\" as s;\n s::f()", FailureKind::Size),
    ] {
        let failure = run(source, &modules).unwrap_err();
        assert_eq!((failure.kind, failure.line), (kind, Some(2)), "{failure:?}");
        assert!(failure.message.starts_with("in \""), "{failure:?}");
    }
    assert!(!run("loop {}", &[]).unwrap_err().message.contains("in \""));
}

#[test]
fn only_so_many_are_imported() {
    let names: Vec<_> = (0..17).map(|n| n.to_string()).collect();
    let modules: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "fn f() {}"))
        .collect();
    let import = |count| {
        (0..count)
            .map(|n| format!("import \"{n}\" as m{n};"))
            .collect::<String>()
    };
    run(&import(16), &modules).unwrap();
    let failure = run(&import(17), &modules).unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (
            FailureKind::Size,
            "import: a run may import at most 16 scripts"
        )
    );
    let forbidding = Sandbox::new(Limits {
        max_modules: 0,
        ..Limits::small()
    });
    let outcome = run_in(&forbidding, &import(1), Some(&pinned(&modules)), &mut None);
    assert!(matches!(outcome, Err(RunError::Failed(failure)) if failure.kind == FailureKind::Size));
}

#[expect(clippy::unnecessary_wraps, reason = "it is a finder")]
fn finder(_: &mut Transaction, name: &str) -> Result<Option<Kept>, WriteError> {
    Ok(match name {
        "one" => Some(Kept::new(b"export const ONE = 1;")),
        "bytes" => Some(Kept::new(b"\xff")),
        _ => None,
    })
}

fn through_the_store(
    transaction: &mut Transaction,
    name: &str,
) -> Result<Option<Kept>, WriteError> {
    transaction.own_get(name.as_bytes())
}

#[test]
fn modules_are_found_in_the_store_or_are_given() {
    let sandbox = Sandbox::with_modules(Limits::small(), finder);
    let output = |source, modules: Option<&Arc<PinnedModules>>| match unless_stopped(run_in(
        &sandbox,
        source,
        modules,
        &mut transaction(true),
    )) {
        Ok(success) => success.output,
        Err(failure) => failure.message,
    };
    assert_eq!(output("import \"one\" as o; o::ONE", None), "1");
    assert!(output("import \"two\" as o;", None).contains("there is no script named \"two\""));
    assert!(output("import \"bytes\" as o;", None).contains("is not text"));
    let given = pinned(&[("two", "export const TWO = 2;")]);
    assert_eq!(output("import \"two\" as o; o::TWO", Some(&given)), "2");
    assert!(
        output("import \"one\" as o;", Some(&given)).contains("there is no script named \"one\"")
    );
    // Without a finder there is nothing.
    let without = Sandbox::new(Limits::small());
    let outcome = run_in(
        &without,
        "import \"one\" as o;",
        None,
        &mut transaction(true),
    );
    assert!(
        matches!(outcome, Err(RunError::Failed(failure)) if failure.message.contains("no script named"))
    );
}

#[test]
fn a_store_that_cant_be_reached_ends_the_run() {
    let sandbox = Sandbox::with_modules(Limits::small(), through_the_store);
    for source in [
        "import \"one\" as o;",
        "try { import \"one\" as o; } catch { }",
        "fn f() { import \"one\" as o; } try { [1].map(|x| f()) } catch { }",
    ] {
        let outcome = run_in(&sandbox, source, None, &mut transaction(false));
        assert!(
            matches!(outcome, Err(RunError::Unavailable)),
            "{source}: {outcome:?}"
        );
        sandbox.assume_short(source);
        let tried = sandbox.try_run(source, &inputs(&Value::Null, None), &mut transaction(false));
        assert!(tried.is_none());
    }
}

#[test]
fn imports_are_listed() {
    let sandbox = Sandbox::new(Limits::small());
    let source = "import \"b\" as b; fn f() { import \"a\" as a; } if true { import \"b\" as c; }";
    assert_eq!(
        sandbox.imports(source, None, &Arc::default()).unwrap(),
        ["b", "a"]
    );
    assert!(
        sandbox
            .imports("1", None, &Arc::default())
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        sandbox.check("import x as y;").unwrap_err().kind,
        FailureKind::Compile
    );
}

#[test]
fn nothing_is_left_of_a_run_for_the_next() {
    let modules = [("a", "export let list = []; fn add(x) { x }")];
    let sandbox = Sandbox::new(Limits::small());
    let given = pinned(&modules);
    for _ in 0..3 {
        let outcome = run_in(
            &sandbox,
            "import \"a\" as a; a::list",
            Some(&given),
            &mut None,
        );
        assert!(matches!(outcome, Ok(success) if success.output == "[]"));
        let outcome = run_in(&sandbox, "a::list", Some(&given), &mut None);
        assert!(matches!(outcome, Err(RunError::Failed(_))));
    }
}

#[test]
fn scripts_tell_what_happened() {
    let sandbox = Sandbox::with_modules(Limits::small(), finder);
    let emitted = |source: &str| {
        let mut transaction = transaction(true);
        let outcome = run_in(&sandbox, source, None, &mut transaction);
        let events = transaction.unwrap().take_events().into_iter();
        let events: Vec<_> = events
            .map(|event| format!("{} {}", event.topic, str::from_utf8(&event.data).unwrap()))
            .collect();
        match unless_stopped(outcome) {
            Ok(_) => (None, events),
            Err(failure) => (Some((failure.kind, failure.message)), events),
        }
    };
    let (failure, events) =
        emitted("emit(\"a\", 1); emit(\"b.c\", #{x: [1.0, ()]}); emit(\"jobs\", \"\")");
    assert_eq!(failure, None);
    assert_eq!(events, ["a 1", "b.c {\"x\":[1.0,null]}", "jobs \"\""]);
    for (source, kind, message) in [
        ("emit(\"\", 1)", FailureKind::Runtime, "from 1 to 256 bytes"),
        (
            "let t = \"\"; t.pad(257, 't'); emit(t, 1)",
            FailureKind::Runtime,
            "from 1 to 256 bytes",
        ),
        (
            "emit(\"job.1\", 1)",
            FailureKind::Runtime,
            "reserved for the server",
        ),
        (
            "emit(\"circle.\", 1)",
            FailureKind::Runtime,
            "reserved for the server",
        ),
        ("emit(\"f\", || 1)", FailureKind::Runtime, "function"),
        ("emit(\"f\", 0.0 / 0.0)", FailureKind::Runtime, "finite"),
        (
            "emit(\"f\", \"0123456789012345678\")",
            FailureKind::Size,
            "emit: an event must have at most 20 bytes",
        ),
        (
            "try { for i in 0..4 { emit(\"f\", i) } } catch { }",
            FailureKind::Size,
            "emit: a job may emit at most 3 events",
        ),
    ] {
        let (failure, _) = emitted(source);
        let (is, told) = failure.unwrap();
        assert!(is == kind && told.contains(message), "{source}: {told}");
    }
    assert!(
        emitted("try { emit(\"\", 1) } catch { emit(\"x\", 1) }")
            .0
            .is_none()
    );
    // Nobody is there to be told.
    let outcome = run_in(&sandbox, "emit(\"a\", 1)", None, &mut None);
    assert!(matches!(outcome, Err(RunError::Failed(_))));
}
