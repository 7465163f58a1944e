//! Scripts that import what tries to hang, crash or bloat the process.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    super::{Inputs, Limits, PinnedModules, Sandbox, meter, stack},
    KEPT, SLACK, end_of, inputs, report, shorten,
    table::{
        CYCLES,
        End::{self, Compile, Depth, Fine, Memory, Operations, Runtime, Size, TimedOut},
    },
    thread_time, was_kept_waiting,
};

type Case = (&'static str, String, Vec<(String, String)>, &'static [End]);

const LONG: &[End] = &[Operations, TimedOut];
const ANY: &[End] = &[
    Fine, Compile, Depth, Memory, Operations, Runtime, Size, TimedOut,
];

/// Name, script, modules and allowed endings. One script a line, which no formatter would leave.
#[rustfmt::skip]
fn table() -> Vec<Case> {
    let mut table: Vec<Case> = Vec::new();
    let mut add = |name, source: &str, modules: &[(&str, &str)], allowed| {
        let modules = modules.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned()));
        table.push((name, source.to_owned(), modules.collect(), allowed));
    };
    let a = "import \"a\" as a;";

    add("loop at a module's top", a, &[("a", "loop {}")], LONG);
    add("caught loop at a module's top", "loop { try { import \"a\" as a; } catch { } }", &[("a", "loop {}")], LONG);
    add("loop in a module's function", &format!("{a} loop {{ try {{ a::f() }} catch {{ }} }}"), &[("a", "fn f() { loop {} }")], LONG);
    add("loop in a module's callback", &format!("{a} a::f(|x| {{ loop {{}} }})"), &[("a", "fn f(g) { [1].map(g) }")], LONG);
    add("recursion in a module", &format!("{a} a::f()"), &[("a", "fn f() { f() }")], &[Depth]);
    add("recursion of a module's top", &format!("{a} a::f()"), &[("a", "fn f() { import \"a\" as b; b::f() }")], &[Depth]);
    add("recursion through a callback", &format!("fn f() {{ {a} a::f(|| f()) }} f()"), &[("a", "fn f(g) { g.call() }")], &[Depth]);
    add("recursion through a caught callback", &format!("fn f() {{ {a} try {{ a::f(|| f()) }} catch {{ }} f() }} f()"), &[("a", "fn f(g) { try { g.call() } catch { } g.call() }")], &[Depth]);
    add("recursion through two modules", &format!("{a} import \"b\" as b; a::f(|x| b::f(x), |x| a::f(x, x))"), &[("a", "fn f(g, h) { g.call(h) }"), ("b", "fn f(h) { h.call(h) }")], &[Depth, Runtime]);
    add("growth in a module", &format!("{a} a::f()"), &[("a", "fn f() { let s = \"x\"; loop { s += s } }")], &[Size]);
    add("growth at a module's top", a, &[("a", "let a = []; loop { a.push(a.len()) }")], &[Size, Memory, Operations, TimedOut]);
    add("curry in a module", a, &[("a", "let f = Fn(\"x\"); loop { f = Fn(\"x\").curry(f) }")], &[Memory, Operations, TimedOut, Depth]);
    add("exit in a module", a, &[("a", "exit(1)")], &[Fine]);
    add("throw in a module", a, &[("a", "throw [1, 2, 3]")], &[Runtime]);
    add("panic in a module", &format!("{a} a::f()"), &[("a", "fn f() { panic_below_zero(-1) }")], &[Runtime]);
    add("panic at a module's top", a, &[("a", "let a = [0]; let f = || a; a[0] = f; panic_below_zero(-1)")], &[Runtime]);
    for (name, source) in CYCLES {
        add(name, a, &[("a", source)], &[Fine, Runtime]);
    }
    add("cycle through an export", &format!("{a} let l = a::a; let f = || l; l[0] = f; ()"), &[("a", "export let a = [0]; let f = || a; a[0] = f;")], &[Fine]);
    add("cycle through a module's closure", &format!("{a} let l = [0]; let f = || l; a::tie(l, f); l[0] = a::wrap(f); ()"), &[("a", "fn tie(l, f) { let k = [f]; let g = || k; k[0] = g; k } fn wrap(f) { let g = || f; g }")], &[Fine]);
    add("cycle in a module's function", &format!("{a} for i in 0..100 {{ a::f() }}"), &[("a", "fn f() { let a = [0]; let g = || a; a[0] = g; }")], &[Fine, Operations]);
    add("hashing in a module", &format!("let s = \"\"; s.pad(1000000, 'x'); let l = []; l.pad(30000, 0); for i in 0..30000 {{ l[i] = s }} {a} a::f(l)"), &[("a", "fn f(a) { switch a { 1 => 2 } }")], &[Size, TimedOut]);
    add("interpolating in a module", &format!("let s = \"\"; s.pad(1000000, 'x'); let l = []; l.pad(30000, 0); for i in 0..30000 {{ l[i] = s }} {a} a::f(l)"), &[("a", "fn f(a) { `${a}` }")], &[Size, TimedOut]);
    add("import in a loop", "for i in 0..1000000 { import \"a\" as a; }", &[("a", "fn f() { 1 }")], LONG);
    add("import of nothing in a loop", "for i in 0..1000000 { try { import \"b\" as a; } catch { } }", &[("a", "fn f() { 1 }")], LONG);
    add("import of what fails in a loop", "for i in 0..1000000 { try { import \"a\" as a; } catch { } }", &[("a", "let x = []; x.pad(1000, 0); throw 1")], &[Operations, TimedOut, Memory]);
    add("import of what doesn't compile in a loop", "for i in 0..1000000 { try { import \"a\" as a; } catch { } }", &[("a", "let x = ")], &[Compile]);
    add("import in a function in a loop", "fn f() { import \"a\" as a; a::f() } for i in 0..1000000 { f() }", &[("a", "fn f() { 1 }")], LONG);
    add("import in a callback", "let l = []; l.pad(60000, 1); loop { l.map(|x| { import \"a\" as a; a::f() }) }", &[("a", "fn f() { 1 }")], LONG);
    add("imports without end", &"import \"a\" as a;".repeat(16_000), &[("a", "fn f() { 1 }")], &[Size, Memory]);
    add("imports without a name", &"import \"a\";".repeat(20_000), &[("a", "fn f() { 1 }")], &[Size, Memory]);
    add("switch around an import", "switch 1 { _ => { import \"a\" as a; a::f() } }", &[("a", "fn f() { switch 1 { 1 => 2 } }")], &[Fine]);
    add("import that no scanner expects", "switch import \"a\" as a {}", &[("a", "")], &[Compile]);
    add("a module named by a long text", &format!("import \"{}\" as a;", "a".repeat(200_000)), &[], &[Runtime]);
    add("export of huge things", a, &[("a", &format!("let a = []; a.pad(60000, 0); {}", numbered(5000, "export a as b#;")))], &[Memory, Operations, TimedOut]);
    add("export of many huge things", &format!("{a} let l = []; for i in 0..100 {{ l.push(a::a) }}"), &[("a", "let b = []; b.pad(60000, 1); export let a = b;")], &[Fine, Size, Memory]);
    add("export of huge blobs", a, &[("a", &format!("let a = blob(65000, 1); {}", numbered(5000, "export a as b#;")))], &[Memory, Operations, TimedOut]);
    add("export of what isn't there", a, &[("a", "export nothing;")], &[Compile, Runtime]);
    add("import of many functions", &format!("{a} a::f1()"), &[("a", &numbered(499, "fn f#() { # }"))], &[Fine]);
    add("import of many parameters", &format!("{a} a::f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)"), &[("a", "fn f(a, b, c, d, e, f, g, h, i, j) { j }")], &[Fine]);
    add("calls of many parameters", &format!("{a} loop {{ a::f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) }}"), &[("a", "fn f(a, b, c, d, e, f, g, h, i, j) { j }")], LONG);
    let sixteen = (1..=16).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let many = (1..=64).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    for arguments in [&sixteen, &many] {
        add("calls of nothing in a module", &format!("{a} loop {{ try {{ a::nothing({arguments}) }} catch {{ }} }}"), &[("a", "fn f() { 1 }")], LONG);
    }
    let nothing = numbered(40, &format!("try {{ nothing#({sixteen}) }} catch {{ }}"));
    let imports = numbered(14, "import \"m#\" as m#;");
    let mut modules: Vec<_> = (0..14).map(|n| (format!("m{n}"), "fn f() { 1 }".to_owned())).collect();
    modules.push(("a".to_owned(), format!("{imports} fn f(g, n) {{ g.call(n) }}")));
    let modules: Vec<_> = modules.iter().map(|(name, source)| (name.as_str(), source.as_str())).collect();
    add("calls of nothing, with many imports", &format!("{a} {imports} fn r(n) {{ if n > 0 {{ a::f(|n| r(n), n - 1) }} else {{ loop {{ {nothing} }} }} }} r(9)"), &modules, &[Operations, TimedOut, Depth]);
    let chain: Vec<_> = (0..16).map(|n| (n.to_string(), format!("import \"{}\" as m; import \"{}\" as o; fn f() {{ m::f() }}", n + 1, n + 1))).collect();
    let mut chain: Vec<_> = chain.iter().map(|(name, source)| (name.as_str(), source.as_str())).collect();
    add("a chain that is too long", "import \"0\" as m; m::f()", &chain, &[Size]);
    chain[15].1 = "fn f() { 1 }";
    add("a long chain", "import \"0\" as m; m::f()", &chain, &[Fine, Depth]);
    add("a circle", "import \"0\" as m;", &[("0", "import \"1\" as m;"), ("1", "import \"2\" as m;"), ("2", "import \"0\" as m;")], &[Runtime]);
    add("a caught circle", a, &[("a", "for i in 0..1000000 { try { import \"a\" as b; } catch { } }")], LONG);
    let large = format!("{} fn f() {{ 1 }}", "let x = 1; x += 1; ".repeat(13_000));
    add("a large module", &format!("{a} a::f()"), &[("a", &large)], ANY);
    add("large modules", &numbered(16, "import \"m#\" as m#;"), &numbered_modules(&large).iter().map(|(name, source)| (name.as_str(), source.as_str())).collect::<Vec<_>>(), ANY);
    add("a module that is too large", a, &[("a", &" ".repeat((256 << 10) + 1))], &[Size]);
    add("a deep module", a, &[("a", &"(".repeat(100_000))], &[Depth]);
    add("a module of closures", a, &[("a", &"|| ".repeat(80_000))], &[Depth, Compile, Size]);
    add("comments in a module", a, &[("a", &"/*".repeat(100_000))], &[Compile, Fine]);
    add("variables of a module", a, &[("a", &numbered(1001, "let v# = #;"))], &[Size]);
    add("a module's own subject", &format!("{a} a::__subject(1)"), &[("a", "fn __subject(x) { x }")], &[Compile, Fine, Runtime]);
    add("a module that hides a function", &format!("{a} [1].map(|x| a::f(x))"), &[("a", "fn map(f) { loop {} } fn f(x) { [x].map(|y| y) }")], &[Fine, Operations, TimedOut]);
    add("store in a module", &format!("{a} a::f()"), &[("a", "fn f() { try { store.set(\"a\", 1) } catch { } } let x = 1; let f = || store;")], &[Fine, Runtime]);
    table
}

fn numbered(count: usize, template: &str) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = write!(text, "{} ", template.replace('#', &number.to_string()));
        text
    })
}

fn numbered_modules(source: &str) -> Vec<(String, String)> {
    (0..16)
        .map(|n| (format!("m{n}"), format!("{source} let n = {n};")))
        .collect()
}

/// Runs each of them three times. `run` returns how it ended, if it did, and is given `most` time.
fn try_all(most: Duration, mut run: impl FnMut(&str, &Inputs<'_>) -> Option<End>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, source, modules, allowed) in table() {
        let modules = modules
            .into_iter()
            .map(|(name, source)| (name, source.into()));
        let modules = Arc::new(PinnedModules(modules.collect::<BTreeMap<_, _>>()));
        let (mut kept, mut fastest) = (isize::MAX, Duration::MAX);
        for round in 0..20 {
            let args = Value::Null;
            let given = Inputs {
                modules: Some(&modules),
                ..inputs(&args)
            };
            let before = meter::net();
            let start = thread_time();
            let end = run(&source, &given);
            let took = thread_time() - start;
            fastest = fastest.min(took);
            let is_wrong =
                |end: &End| !allowed.contains(end) && !was_kept_waiting(*end, took, most);
            if let Some(end) = end.filter(is_wrong) {
                problems.push(format!(
                    "{name}: ended {end:?}, not {allowed:?}: {}",
                    shorten(&source)
                ));
            }
            if round > 0 {
                kept = kept.min(meter::net() - before);
            }
            // On a slow machine, each round compiles one more module, which stays compiled.
            if round > 1 && kept <= KEPT {
                break;
            }
        }
        if fastest > most + SLACK {
            problems.push(format!("{name}: took {fastest:?}: {}", shorten(&source)));
        }
        if kept > KEPT {
            problems.push(format!("{name}: kept {kept} bytes: {}", shorten(&source)));
        }
    }
    problems
}

#[test]
fn hostile_modules_end_on_a_script_thread() {
    let work = || {
        let limits = Limits::small();
        let sandbox = Sandbox::new(limits.clone());
        let never = Arc::new(AtomicBool::new(false));
        try_all(limits.timeout.get(), |source, inputs| {
            let deadline = Instant::now() + limits.timeout.get();
            let outcome = sandbox.run(source, inputs, &mut None, Some(deadline), &never);
            Some(end_of(&outcome))
        })
    };
    let thread = stack::spawn("hostile".to_owned(), work).unwrap();
    report(&thread.join().unwrap());
}

#[test]
fn hostile_modules_end_on_a_small_stack() {
    let work = || {
        let limits = Limits::small();
        let sandbox = Sandbox::new(limits.clone());
        try_all(limits.fast_time, |source, inputs| {
            sandbox.assume_short(source);
            let result = sandbox.try_run(source, inputs, &mut None);
            result.as_ref().map(end_of)
        })
    };
    // As Tokio's worker threads have it.
    let thread = thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(work)
        .unwrap();
    report(&thread.join().unwrap());
}
