//! The scripts.

use std::fmt::Write;

/// Ways for a script to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Fine,
    Compile,
    Runtime,
    Operations,
    Memory,
    Size,
    Depth,
    TimedOut,
}
use End::{Compile, Depth, Fine, Memory, Operations, Runtime, Size, TimedOut};

/// Runs out of operations, or of time on a slow machine.
const LONG: &[End] = &[Operations, TimedOut];
/// Grows until something stops it.
const LARGE: &[End] = &[Size, Memory, Operations, TimedOut];
/// Recurses.
const DEEP: &[End] = &[Depth];
/// Takes however long, but does no harm.
const HARMLESS: &[End] = &[Fine, Runtime];
const PARSE: &[End] = &[Depth, Compile];

/// Scripts that tie captured variables into a cycle, which only emptying them breaks.
pub(super) const CYCLES: &[(&str, &str)] = &[
    ("cycle", "let a = [0]; let f = || a; a[0] = f; ()"),
    ("cycle by +=", "let a = []; let f = || a; a += [f]; ()"),
    (
        "cycle through a map",
        "let m = #{}; let f = || m; m.f = f; ()",
    ),
    (
        "cycle of two",
        "let a = [0]; let b = [0]; let f = || b; let g = || a; a[0] = f; b[0] = g; ()",
    ),
    (
        "cycle through a curried function",
        "let a = [0]; let f = (|x, y| x).curry(|| a); a[0] = f; ()",
    ),
    ("cycle of a variable", "let f = 0; let g = || f; f = g; ()"),
    (
        "cycle in a function",
        "fn f() { let a = [0]; let g = || a; a[0] = g; } for i in 0..10 { f() }",
    ),
    (
        "cycle in a callback",
        "[1, 2].map(|x| { let a = [0]; let g = || a; a[0] = g; x })",
    ),
    (
        "cycle that is returned",
        "let a = [0]; let f = || a; a[0] = f; a",
    ),
    (
        "cycle that is thrown",
        "let a = [0]; let f = || a; a[0] = f; throw a",
    ),
    (
        "cycle that is printed",
        "let a = [0]; let f = || a; a[0] = f; print(a); print(f); `${a} ${f}`",
    ),
    (
        "cycle and a panic",
        "let a = [0]; let f = || a; a[0] = f; a.for_each(|x| { a = 1 })",
    ),
    (
        "cycle of a loop variable",
        "for x in [[0], [0]] { let f = || x; x[0] = f; }",
    ),
    (
        "cycle of a parameter",
        "fn f(x) { let g = || x; x[0] = g; } f([0])",
    ),
    (
        "cycle in a catch",
        "try { throw [0] } catch (e) { let f = || e; e[0] = f; }",
    ),
    (
        "cycle among shadowed variables",
        "let a = 1; let a = [0]; let f = || a; a[0] = f; { let a = 2; f.call() }",
    ),
    (
        "cycle and an error",
        "let a = [0]; let f = || a; a[0] = f; 1 / 0",
    ),
    (
        "cycle and an exit",
        "let a = [0]; let f = || a; a[0] = f; exit(1)",
    ),
];

/// Name, source and allowed endings. One script a line, which no formatter would leave.
#[rustfmt::skip]
pub(super) fn table() -> Vec<(&'static str, String, &'static [End])> {
    let mut table: Vec<(&'static str, String, &'static [End])> = Vec::new();
    let mut add = |name, source: &str, allowed| table.push((name, source.to_owned(), allowed));

    // Endless loops.
    add("loop", "loop {}", LONG);
    add("loop with body", "let x = 0; loop { x += 1; x -= 1 }", LONG);
    add("while", "while true { }", LONG);
    add("while condition", "let x = 1; while x > 0 { x += 0 }", LONG);
    add("do while", "do { } while true", LONG);
    add("do until", "let x = 0; do { x = 1 } until x == 0", LONG);
    add("continue", "loop { continue }", LONG);
    add("do continue", "do { continue } while false", LONG);
    add("for over all numbers", "for x in 0..9223372036854775807 {}", LONG);
    add("for over all numbers inclusive", "for x in -9223372036854775808..=9223372036854775807 { let y = x; }", LONG);
    add("switch in a loop", "loop { switch 1 { 1 => 2, _ => 3 } }", LONG);
    add("loop in a closure", "let f = || { loop {} }; f.call()", LONG);
    for callback in [
        "map", "filter", "for_each", "retain", "drain", "index_of", "some", "all", "find",
        "find_map", "sort", "dedup", "reduce",
    ] {
        add("loop in a callback", &format!("[1, 2, 3].{callback}(|x, y| {{ loop {{}} }})"), &[Operations, TimedOut, Runtime]);
        add("loop in a callback of one", &format!("let a = [1, 2, 3]; a.{callback}(|x| {{ loop {{}} }})"), &[Operations, TimedOut, Fine, Runtime]);
    }
    for callback in ["map", "filter", "retain", "drain"] {
        add("loop in a map's callback", &format!("#{{a: 1, b: 2}}.{callback}(|k, v| {{ loop {{}} }})"), LONG);
    }
    add("loop in zip", "[1].zip([2], |a, b| { loop {} })", LONG);
    add("caught loop", "loop { try { loop {} } catch { } }", LONG);
    add("caught loop in a callback", "loop { try { [1].map(|x| { loop {} }) } catch (e) { } }", LONG);
    add("caught loop in sort", "loop { try { [3, 2, 1].sort(|a, b| { loop {} }) } catch (e) { } }", LONG);
    add("caught loop in a function", "fn f() { loop {} } loop { try { f() } catch { } }", LONG);
    add("sort without end", "let a = []; a.pad(60000, 1); loop { a.sort(|x, y| 1) }", &[Operations, TimedOut, Memory]);
    add("sort of one million comparisons", "let a = []; a.pad(65536, 1); for i in 0..1000 { a.sort() }", LONG);

    // Hashes, times and random numbers.
    let long = "let s = \"\"; s.pad(1000000, 'x'); ";
    for call in ["sha256(s)", "hmac_sha256(s, s)", "hmac_sha256(\"k\", s)", "hex(s.sub_string(0, 500000))", "base64(s.sub_string(0, 500000))"] {
        add("hashes without end", &format!("{long}loop {{ {call}; }}"), &[Operations, TimedOut, Memory, Size]);
        add("hashes of little without end", &format!("let s = \"\"; loop {{ {call}; }}"), &[Operations, TimedOut, Runtime]);
    }
    add("hex that is too long", &format!("{long}hex(s)"), &[Size]);
    add("base64 that is too long", &format!("{long}s += \"\"; base64(s)"), &[Size]);
    add("decoding without end", "let s = \"\"; s.pad(100000, 'a'); loop { from_hex(s); from_base64(s) }", &[Operations, TimedOut, Memory]);
    add("decoding nonsense", &format!("{long}[from_base64(\"====\"), from_hex(\"\"), from_base64(s)].len()"), &[Fine, Runtime]);
    add("signatures without end", "loop { verify(\"02\", \"\", \"\") }", LONG);
    let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    let signature = "1".repeat(128);
    add("signatures of a key without end", &format!("loop {{ verify(\"{key}\", \"a\", \"{signature}\") }}"), LONG);
    add("signatures of long texts", &format!("{long}loop {{ verify(\"{key}\", s, s) }}"), LONG);
    add("signature by a long key", &format!("{long}verify(s, s, s)"), &[Fine]);
    add("times without end", "loop { now(); parse_time(iso(now())) }", LONG);
    add("time in a long text", &format!("{long}parse_time(s)"), &[Runtime]);
    add("times in a long text without end", &format!("{long}loop {{ try {{ parse_time(s) }} catch {{ }} }}"), LONG);
    for time in ["9223372036854775807", "-9223372036854775807 - 1", "253402207200000", "-377705116800000", "1.5"] {
        add("time that is none", &format!("iso({time})"), HARMLESS);
    }
    add("random numbers without end", "loop { random(); random(1, 6); uuid() }", LONG);
    add("random number of any", "let least = -9223372036854775807 - 1; [random(least, 9223372036854775807), random(least, least), random(least + 1, 9223372036854775807), random(9223372036854775807, 9223372036854775807)]", &[Fine]);
    add("random number of none", "random(1, 0)", &[Runtime]);
    add("random number of floats", "random(0.5, 1.5)", &[Runtime]);

    add("members without end", "loop { try { members.list() } catch { } }", LONG);
    add("thrown without end", "let s = \"\"; s.pad(900000, 'x'); throw [s, s, s]", &[Runtime]);
    add("thrown deep", "let d = 1; for n in 0..1000 { d = [d] } throw d", &[Runtime, Depth]);

    // Recursion.
    add("recursion", "fn f() { f() } f()", DEEP);
    add("mutual recursion", "fn f(x) { g(x + 1) } fn g(x) { f(x + 1) } f(0)", DEEP);
    add("recursion with work", "fn f(x) { let a = [x]; 1 + f(a) + 2 } f(0)", DEEP);
    add("recursion in a callback", "fn f(x) { [x].map(|y| f(y)) } f(0)", DEEP);
    add("recursion in a comparison", "fn f(x) { [x, x].sort(|a, b| f(a)) } f(0)", DEEP);
    add("recursion by name", "fn f() { call(Fn(\"f\")) } f()", DEEP);
    add("recursion by method", "fn f() { this.f() } let x = 1; x.f()", DEEP);
    add("recursion through a captured closure", "let f = (); let g = || f.call(); f = g; g.call()", &[Depth, Runtime]);
    add("recursion through its argument", "let f = |g| g.call(g); f.call(f)", DEEP);
    add("recursion in a map's method", "let o = #{ f: || this.f() }; o.f()", DEEP);
    add("caught recursion", "fn f() { try { f() } catch { } f() } f()", DEEP);
    add("caught recursion in a callback", "fn f(x) { [x].map(|y| f(y)) } try { [1].for_each(|x| f(x)) } catch (e) { 42 }", DEEP);
    add("recursion with two branches", "fn f(n) { if n == 0 { 0 } else { f(n - 1) + f(n - 1) } } f(60)", LONG);
    add("recursion in string building", "fn f(x) { `${f(x)}` } f(1)", DEEP);

    // Growth.
    add("doubling string", "let s = \"x\"; loop { s += s }", LARGE);
    add("doubling string with +", "let s = \"x\"; loop { s = s + s }", LARGE);
    add("doubling interpolation", "let s = \"x\"; loop { s = `${s}${s}` }", LARGE);
    add("doubling append", "let s = \"x\"; loop { s.append(s) }", LARGE);
    add("growing string", "let s = \"\"; loop { s += \"0123456789abcdef\" }", LARGE);
    add("growing string by characters", "let s = \"\"; loop { s += 'x' }", LARGE);
    add("doubling array", "let a = [1]; loop { a += a }", LARGE);
    add("doubling array with append", "let a = [1]; loop { a.append(a) }", LARGE);
    add("growing array", "let a = []; loop { a.push(a.len()) }", LARGE);
    add("growing array at the front", "let a = []; loop { a.insert(0, 1) }", LARGE);
    add("growing array by splice", "let a = [1, 2]; loop { a.splice(1, 1, a) }", LARGE);
    add("nested array", "let a = []; loop { a = [a] }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("nested array by push", "let a = []; loop { let b = []; b.push(a); a = b }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("nested array twice", "let a = [1]; loop { a = [a, a] }", LARGE);
    add("nested array by assignment", "let a = [0]; loop { let b = [0]; b[0] = a; a = b }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("nested map", "let m = #{}; loop { m = #{a: m} }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("nested map by assignment", "let m = #{}; loop { let n = #{}; n.a = m; m = n }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("nested map twice", "let m = #{a: 1}; loop { m = #{a: m, b: m} }", LARGE);
    add("growing map", "let m = #{}; let i = 0; loop { m[`k${i}`] = i; i += 1 }", LARGE);
    add("growing map by set", "let m = #{}; let i = 0; loop { m.set(`k${i}`, i); i += 1 }", LARGE);
    add("growing array of maps", "let a = []; loop { a.push(#{n: 1, t: \"x\"}) }", LARGE);
    add("growing array of arrays by +=", "let a = []; loop { a += [[1, 2]] }", LARGE);
    add("growing array in a map", "let m = #{a: []}; loop { m.a.push(m.a.len) }", LARGE);
    add("growing array of a map by +=", "let m = #{a: []}; loop { m.a += [1] }", LARGE);
    add("nesting by index assignment", "let a = [0]; loop { a[0] = a }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("doubling by index assignment", "let a = [0, 0]; loop { a[0] = a; a[1] = a }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("doubling by assignment to a key", "let m = #{}; loop { m.a = m; m.b = m }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("doubling by a string key", "let m = #{}; loop { m[\"a\"] = m; m[\"b\"] = m }", &[Size, Memory, Depth, Operations, TimedOut]);
    add("doubling in a closure", "let a = [1]; let f = || { a += a; () }; loop { f.call() }", LARGE);
    add("growing in a closure", "let a = []; let f = || { a.push(#{n: a.len}); () }; loop { f.call() }", LARGE);
    add("growing this", "fn grow() { loop { this.push(#{n: 1}) } } let a = []; a.grow()", LARGE);
    add("growing this by a key", "fn grow() { let i = 0; loop { this[`${i}`] = i; i += 1 } } let m = #{}; m.grow()", LARGE);
    add("many long keys", "let k = \"\"; k.pad(100000, 'k'); let m = #{}; let i = 0; loop { m[k + i] = i; i += 1 }", LARGE);
    add("one string under many keys", "let s = \"\"; s.pad(1000000, 's'); let m = #{}; let i = 0; loop { m[`${i}`] = s; i += 1 }", LARGE);
    add("growing array by insert of maps", "let a = []; loop { a.insert(0, #{a: 1}) }", LARGE);
    add("growing map by mixin", "let m = #{}; let i = 0; loop { let n = #{}; n[`${i}`] = i; m.mixin(n); i += 1 }", LARGE);
    add("doubling blob", "let b = blob(1); loop { b += b }", LARGE);
    add("growing blob", "let b = blob(); loop { b.push(1) }", LARGE);
    add("huge blob", "blob(9223372036854775807)", &[Size]);
    add("huge blob of values", "blob(1000000000, 255)", &[Size]);
    add("blob pad", "let b = blob(); b.pad(9223372036854775807, 1)", &[Size]);
    add("array pad", "let a = []; a.pad(9223372036854775807, 1)", &[Size]);
    add("array pad that overflows", "let a = []; a.pad(4611686018427387904, [1, 2, 3])", &[Size]);
    add("array pad of arrays", "let i = []; i.pad(60000, 1); let a = []; a.pad(60000, i)", &[Size, Memory]);
    add("array pad that overflows small", "let i = []; i.pad(65535, 0); let a = []; a.pad(281474976710656, i)", &[Size, Memory]);
    add("string pad", "let s = \"\"; s.pad(9223372036854775807, 'x')", &[Size]);
    add("string pad with string", "let s = \"\"; s.pad(1000000000, \"xy\")", &[Size]);
    add("string pad with nothing", "let s = \"\"; s.pad(10, \"\"); s", &[Fine]);
    add("string pad with wide characters", "let s = \"\"; s.pad(1000000, '😀')", &[Size]);
    add("replace that amplifies", "let s = \"x\"; s.pad(500000, 'x'); let t = s; s.replace(\"x\", t)", &[Size]);
    add("replace of nothing", "let s = \"x\"; s.pad(500000, 'x'); let t = s; s.replace(\"\", t)", &[Size]);
    add("replace of a character", "let s = \"x\"; s.pad(500000, 'x'); let t = s; s.replace('x', t)", &[Size]);
    add("split into characters", "let s = \"\"; s.pad(900000, 'x'); s.split(\"\")", &[Size, Memory]);
    add("split at each character", "let s = \"\"; s.pad(900000, 'x'); s.split('x')", &[Size, Memory]);
    add("split with a limit", "let s = \"\"; s.pad(900000, 'x'); s.split('x', 9223372036854775807)", &[Size, Memory]);
    add("split at white space", "let s = \"\"; s.pad(900000, \"a \"); s.split()", &[Size, Memory]);
    add("split backwards", "let s = \"\"; s.pad(900000, 'x'); s.split_rev('x')", &[Size, Memory]);
    add("to_chars", "let s = \"\"; s.pad(900000, 'x'); s.to_chars()", &[Size, Memory]);
    add("chars in a loop", "let s = \"\"; s.pad(1000000, 'x'); loop { s.chars() }", &[Operations, TimedOut, Memory]);
    add("string functions on a large string", "let s = \"\"; s.pad(1000000, 'X'); loop { s.to_upper(); s.contains(\"y\"); s.len; s.get(-1); s.index_of(\"y\", -5) }", LONG);
    add("sub_string of a large string", "let s = \"\"; s.pad(1000000, 'X'); loop { s.sub_string(5); s.crop(0); }", &[Operations, TimedOut, Memory]);
    add("comparing large strings", "let s = \"\"; s.pad(1000000, 'X'); let t = s + \"\"; t += \"a\"; s += \"b\"; loop { s == t; s < t }", LONG);

    // Values that refer to one large string often.
    let refer = "let s = \"\"; s.pad(1000000, 'x'); let a = []; a.pad(30000, 0); for i in 0..30000 { a[i] = s }";
    add("printing many references", &format!("{refer} print(a)"), &[Size, TimedOut]);
    add("interpolating many references", &format!("{refer} `${{a}}`"), &[Size, TimedOut]);
    add("adding many references", &format!("{refer} \"\" + a"), &[Size, TimedOut]);
    add("to_string of many references", &format!("{refer} a.to_string()"), &[Size, TimedOut]);
    add("to_json of many references", &format!("{refer} #{{a: 1}}.map(|k, v| a).to_json()"), &[Size, TimedOut]);
    add("to_json by assignment", &format!("{refer} let m = #{{}}; m.a = 0; m.a = a; m.to_json()"), &[Size, TimedOut]);
    add("returning many references", &format!("{refer} a"), &[Size, TimedOut]);
    add("throwing many references", &format!("{refer} throw a"), &[Runtime, TimedOut]);
    add("hashing many references", &format!("{refer} loop {{ switch a {{ 1 => 2 }} }}"), &[Size, TimedOut]);
    add("hashing in a function", &format!("fn f(a) {{ switch a {{ 1 => 2 }} }} {refer} f(a)"), &[Size, TimedOut]);
    add("hashing in a closure", &format!("{refer} let f = |a| switch a {{ 1 => 2 }}; f.call(a)"), &[Size, TimedOut]);
    add("comparing many references", &format!("{refer} let t = s + \"\"; let b = []; b.pad(30000, 0); for i in 0..30000 {{ b[i] = t }} a == b"), &[Fine, Operations, TimedOut, Memory]);
    add("sorting many references", &format!("{refer} let t = s + \"\"; for i in 0..15000 {{ a[i * 2] = t }} a.sort()"), &[Fine, Size, Operations, TimedOut]);
    add("sorting with a callback", &format!("{refer} a.sort(|x, y| if x < y {{ 1 }} else {{ -1 }})"), &[Size, Operations, TimedOut]);
    add("dedup of many references", &format!("{refer} let t = s + \"\"; for i in 0..15000 {{ a[i * 2] = t }} a.dedup()"), &[Fine, Size, Operations, TimedOut]);
    add("comparing maps of many references", &format!("{refer} let t = s + \"\"; let m = #{{a: a}}; let b = []; b.pad(30000, 0); for i in 0..30000 {{ b[i] = t }} let n = #{{a: b}}; loop {{ m == n }}"), &[Fine, Size, Operations, TimedOut]);
    add("looking for an array of references", &format!("{refer} let t = s + \"\"; let b = []; b.pad(30000, 0); for i in 0..30000 {{ b[i] = t }} loop {{ [a, a].contains(b); [a].index_of(b); }}"), &[Fine, Size, Operations, TimedOut]);
    add("contains of many references", &format!("{refer} let t = s + \"\"; t in a"), &[Fine, Size, Operations, TimedOut]);
    add("index_of many references", &format!("{refer} let t = s + \"!\"; loop {{ a.index_of(t) }}"), &[Size, Operations, TimedOut, Runtime]);
    add("curry of many references", &format!("{refer} let f = Fn(\"x\"); f = f.curry(a, a, a); `${{f}}`"), &[Fine, TimedOut]);
    add("printing what is curried", &format!("{refer} let f = Fn(\"x\").curry(a, a, a); let b = [f]; `${{b}}`"), &[Fine, TimedOut]);
    add("debugging what is curried", &format!("{refer} let f = Fn(\"x\").curry(a, a, a); debug([f, #{{g: f}}])"), &[Fine, TimedOut]);
    add("interpolating with the last operation", &format!("{refer} let f = Fn(\"x\").curry(a, a, a); loop {{ let b = `${{[f]}}`; }}"), LONG);
    add("catching around interpolation", &format!("{refer} loop {{ try {{ let b = `${{a}}`; }} catch {{ }} }}"), &[Size, Operations, TimedOut]);

    // Curried arguments are in no size check.
    add("curry chain", "let f = Fn(\"x\"); loop { f = Fn(\"x\").curry(f) }", &[Memory, Operations, TimedOut, Depth]);
    add("curry chain in an array", "let a = [Fn(\"x\")]; loop { a.push(Fn(\"x\").curry(a.pop())) }", &[Memory, Operations, TimedOut, Depth]);
    add("doubling curry", "let f = Fn(\"x\"); loop { f = f.curry(f) }", &[Memory, Operations, TimedOut]);
    add("curry of everything", "let f = Fn(\"x\"); loop { f = f.curry(f, f, f, f) }", &[Memory, Operations, TimedOut]);
    add("pad of curried", "let f = Fn(\"x\"); for i in 0..14 { f = f.curry(f) } let a = []; a.pad(60000, f)", &[Memory]);
    add("long curry", "let f = Fn(\"x\"); let n = 0; while n < 500 { f = f.curry(n); n += 1 } f.call()", &[Size]);
    add("calls of curried nothing", "let f = Fn(\"x\"); for i in 0..30 { f = f.curry(i) } loop { try { f.call() } catch { } }", LONG);
    add("calls of nothing", "loop { try { nothing(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20) } catch { } }", LONG);
    add("many captured variables", &format!("{} let f = || {}0; f.call()", numbered(200, "let v# = #;"), numbered(200, "v# +")), &[Size, Depth]);
    add("deep closures", "let f = || 0; loop { let g = f; f = || g.call(); }", &[Memory, Operations, TimedOut, Depth]);

    // Cycles.
    for (name, source) in CYCLES {
        add(name, source, HARMLESS);
    }
    add("many cycles", "for i in 0..5000 { let a = [i]; let f = || a; a[0] = f; }", &[Fine, Operations, TimedOut, Memory]);
    add("many closures without a cycle", "let total = 0; for i in 0..20000 { let f = |x| total += x + i; f.call(1); } total", &[Fine, Operations, TimedOut]);
    add("cycle that is hashed", "let a = [0]; let f = || a; a[0] = f; switch f { 1 => 2 }", &[Fine, Runtime, Depth, Operations]);
    add("cycle and a loop", "let a = [0]; let f = || a; a[0] = f; loop { }", LONG);
    add("cycle and recursion", "fn f() { let a = [0]; let g = || a; a[0] = g; f() } f()", DEEP);
    add("pushed onto itself", "let a = []; let f = || a; a.push(f)", HARMLESS);
    add("locked by itself", "let a = [1, 2]; a.map(|x| { a.clear(); x })", HARMLESS);
    add("locked by its sort", "let a = [2, 1]; a.sort(|x, y| { a.push(3); x - y }); a", HARMLESS);
    add("assigned to itself", "let a = 1; let f = || { a = a + a; a }; a += f.call(); a", HARMLESS);

    // Numbers.
    let least = "-9223372036854775808";
    for source in [
        "9223372036854775807 + 1",
        "-9223372036854775807 - 2",
        "9223372036854775807 * 2",
        "1 / 0",
        "1 % 0",
        "2 ** 64",
        "2 ** -1",
        "2 ** 9223372036854775807",
        "let x = 9223372036854775807; x += 1",
        "let x = 1; x <<= 64",
        "1 << 9223372036854775807",
        "1 >> 9223372036854775807",
        "1 << -9223372036854775807",
        "abs(-9223372036854775807 - 1)",
        "to_int(1e300)",
        "to_int(0.0 / 0.0)",
        "parse_int(\"99999999999999999999\")",
        "parse_int(\"z\", 37)",
        "parse_int(\"1\", -1)",
        "parse_float(\"1e999\")",
        "1.0 / 0.0",
        "0.0 ** -1.0",
        "sqrt(-1.0)",
        "range(0, 10, 0)",
        "range(0.0, 1.0, 0.0)",
        "range(0.0, 1.0, 1e-320)",
    ] {
        add("arithmetic", source, HARMLESS);
    }
    for operation in ["/ -1", "% -1", "* -1", "- 1", "<< 63", ">> 63", "** 2"] {
        add("least number", &format!("let x = {least}; x {operation}"), HARMLESS);
    }
    add("negated least number", &format!("let x = {least}; -x"), HARMLESS);
    add("range without step", "for x in range(0, 10, 0) {}", HARMLESS);
    add("range backwards", "for x in range(9223372036854775807, -9223372036854775808, -1) {}", LONG);
    add("range that overflows", "for x in range(9223372036854775800, 9223372036854775807, 5) {}", HARMLESS);
    add("float range", "for x in range(0.0, 1e300, 1.0) {}", LONG);
    add("float range that stands still", "for x in range(9007199254740990.0, 1e300, 1.0) {}", LONG);
    add("range of not a number", "for x in range(0.0 / 0.0, 1.0, 1.0) {}", HARMLESS);
    for source in [
        "\"abc\"[9223372036854775807]",
        "\"abc\"[-9223372036854775808]",
        "[1][-9223372036854775808]",
        "[1][9223372036854775807]",
        "\"abc\".sub_string(-9223372036854775808, 9223372036854775807)",
        "let s = \"abc\"; s.crop(9223372036854775807, 9223372036854775807); s",
        "\"abc\".sub_string(9223372036854775807..=9223372036854775807)",
        "let a = [1]; a.splice(-9223372036854775808..=9223372036854775807, [2]); a",
        "let a = [1]; a.drain(9223372036854775807..=9223372036854775807)",
        "let a = [1]; a.extract(-9223372036854775808, 9223372036854775807)",
        "let a = [1]; a.retain(-9223372036854775808, 9223372036854775807)",
        "\"abc\".chars(9223372036854775807..=9223372036854775807)",
        "let b = blob(3, 1); b.parse_le_int(-9223372036854775808, 9223372036854775807)",
        "let b = blob(3, 1); b.write_utf8(9223372036854775807, 9223372036854775807, \"ü\"); b",
        "1.get_bits(0..=9223372036854775807)",
        "let x = 1; x.set_bits(-64, 9223372036854775807, -1); x",
        "1.get_bit(-9223372036854775808)",
        "1.bits(9223372036854775807..=9223372036854775807)",
        "for b in 1.bits(-64, 9223372036854775807) {}",
        "let x = -1; x[63] = false; x[-64]",
        "let x = -1; x[0..=63] = 0; x",
        "\"ü😀e\u{301}\".pop(2)",
        "let s = \"ü😀\"; s[-1] = 'x'; s.truncate(1); s.remove('ü'); s",
        "\"ßǰﬃ\".to_upper()",
        "\"\".index_of(\"\", -1)",
        "\"😀\".index_of('x', -9223372036854775808)",
        "\"abc\".split(-9223372036854775808)",
        "timestamp() + 9223372036854775807",
        "timestamp() - 1e300",
        "timestamp() + (0.0 / 0.0)",
        "let t = timestamp(); t -= -9223372036854775808; t",
        "\"a\" - \"\"",
        "let a = [1, 2]; a.chop(-9223372036854775808); a",
        "[1, 2].zip([3], |a, b| a + b)",
        "let a = [[]]; a == [[[]]]",
    ] {
        add("extreme arguments", source, HARMLESS);
    }

    // What isn't there.
    add("eval", "eval(\"40 + 2\")", &[Compile]);
    add("eval by name", "Fn(\"eval\").call(\"40 + 2\")", &[Runtime, Compile]);
    add("import", "import \"x\" as y;", &[Compile, Size, Runtime]);
    add("export", "export let x = 1;", &[Fine, Compile]);
    add("emit in a loop", "loop { try { emit(\"t\", 1) } catch { } }", LONG);
    add("emit of what is nested", "let a = []; for i in 0..60 { a = [a, a] } emit(\"t\", a)", &[Size, Depth, Memory, Operations, TimedOut]);
    add("emit of many references", "let s = \"\"; s.pad(1000000, 'x'); let a = []; a.pad(30000, 0); for i in 0..30000 { a[i] = s } emit(\"t\", a)", &[Size, TimedOut]);
    add("emit of a cycle", "let a = [0]; let f = || a; a[0] = f; emit(\"t\", a)", &[Runtime, Depth]);
    add("sleep", "sleep(10)", &[Runtime, Compile]);
    add("sleep by name", "Fn(\"sleep\").call(10.0)", &[Runtime]);
    add("sleep as a callback", "[1000].map(Fn(\"sleep\"))", &[Runtime]);
    add("the weighing function", "__subject(1)", HARMLESS);
    add("another weighing function", "fn __subject(x) { x } switch 1 { 1 => 2 }", &[Compile]);
    add("subject that isn't whole", "switch 1 /*{*/ + 2 { 3 => 4 }", HARMLESS);

    // JSON.
    add("deep JSON", "let s = \"\"; s.pad(100000, '['); parse_json(s)", &[Runtime]);
    add("wide JSON", "let s = \"[\"; s.pad(900000, \"[],\"); parse_json(s + \"1]\")", &[Size, Memory, Operations, Runtime]);
    add("JSON of many keys", "let s = \"{\"; let i = 0; while s.len < 500000 { s += `\"${i}\":[[]],`; i += 1 } parse_json(s + \"\\\"x\\\":1}\")", &[Size, Fine, Operations, TimedOut, Memory]);
    add("JSON in a loop", "loop { parse_json(\"[1, 2, [3]]\") }", LONG);
    add("JSON of large numbers", "parse_json(\"[1e999, 99999999999999999999, -0, 1e-999]\")", HARMLESS);

    // Errors.
    add("throw of a large value", "let s = \"\"; s.pad(1000000, 'x'); throw s", &[Runtime]);
    add("throw of a deep value", "let a = []; for i in 0..200 { a = [a] } throw a", &[Runtime, Depth]);
    add("returning a deep value", "let a = []; for i in 0..200 { a = [a] } a", &[Depth]);
    add("printing a deep value", "let a = []; for i in 0..200 { a = [a] } print(a)", &[Depth]);
    add("interpolating a deep value", "let a = []; for i in 0..200 { a = [a] } `${a}`", &[Depth]);
    add("catching a size", "try { let s = \"x\"; loop { s += s } } catch { 42 }", &[Size]);
    add("catching a size in a callback", "try { [1].map(|x| { let s = \"x\"; loop { s += s } }) } catch { 42 }", &[Size]);
    add("catching memory", "loop { try { let f = Fn(\"x\"); loop { f = f.curry(f) } } catch { } }", &[Memory, Operations, TimedOut]);
    add("throwing in a loop", "loop { try { throw [1, 2, 3] } catch (e) { } }", LONG);
    add("throw in a comparison", "[3, 1, 2].sort(|a, b| throw \"no\")", &[Runtime]);
    add("exit in a callback", "[1, 2].map(|x| exit(x))", HARMLESS);
    add("logging without end", "loop { print(\"0123456789\") }", LONG);
    add("logging a large text", "let s = \"\"; s.pad(1000000, 'x'); loop { print(s); debug(s) }", LONG);
    add("unicode", "let ü = 1; let 変数 = \"\\u{10ffff}\\u{0}\u{202e}\"; `${変数}`", &[Fine, Compile]);
    add("this outside", "this.x = 1", &[Compile]);
    add("this in a callback", "let a = [[1]]; a.for_each(|| this.push(this)); a", HARMLESS);
    add("this of a constant", "const A = [1, 2]; A.for_each(|| this = 3); A", HARMLESS);
    add("arguments are constant", "ARGS.push(1)", HARMLESS);
    add("variables of one name", &"let x = 1; ".repeat(5000), &[Fine]);
    add("distinct variables", &numbered(5000, "let v# = #;"), &[Size]);
    // Each is compared with all before it.
    add("variables as they stand", &format!("if false {{ {} }}", numbered(15_000, "let v# = #;")), &[Size]);
    add("constants as they stand", &format!("fn f() {{ {} }}", numbered(15_000, "const V# = #;")), &[Size]);
    add("functions", &numbered(2000, "fn f#() { # }"), &[Size, Compile]);
    add("closures", &numbered(2000, "let x = || #;"), &[Size, Compile]);
    add("parameters", &format!("fn f({}) {{ 1 }}", numbered(2000, "p#,")), &[Size]);
    add("arguments", &format!("f({}1)", numbered(5000, "#,")), &[Size]);
    // Each is compared with all before it.
    add("parameters", &format!("fn f({}z) {{}}", numbered(30_000, "a#,")), &[Size]);
    add("parameters of a closure", &format!("let f = |{}z| 1;", numbered(30_000, "a#,")), &[Size]);
    add("parameters of a closure after a block", &format!("{{}} |{}z| 1", numbered(30_000, "a#,")), &[Size]);
    add("parameters of a closure after a function", &format!("fn g() {{}} |{}z| 1", numbered(30_000, "a#,")), &[Size]);
    add("parameters of a closure in a call", &format!("[1].map(|{}z| 1)", numbered(30_000, "a#,")), &[Size]);
    add("keys as they stand", &format!("#{{{}z: 1}}", numbered(25_000, "a#:1,")), &[Size]);
    add("keys within keys", &format!("#{{a: #{{{}z: 1}}}}", numbered(25_000, "a#:1,")), &[Size]);
    add("long switch", &format!("switch 4999 {{ {} _ => 0 }}", numbered(5000, "# => #,")), &[Fine, TimedOut]);
    add("long switch of ranges", &format!("switch 4999 {{ {} _ => 0 }}", numbered(5000, "#..5000 => #,")), &[Fine, TimedOut]);
    add("long switch of guards", &format!("switch 1 {{ {} _ => 0 }}", numbered(5000, "1 if false => #,")), &[Fine, TimedOut]);
    add("long array", &format!("[{}]", "1,".repeat(60_000)), &[Fine, Size]);
    add("longer array", &format!("[{}]", "1,".repeat(100_000)), &[Size]);
    add("long map", &format!("#{{{}}}", numbered(10_000, "k#: #,")), &[Fine, Size, TimedOut]);
    add("map of one key", &format!("#{{{}}}", "k: 1,".repeat(10_000)), &[Compile]);
    add("long string", &format!("\"{}\"", "x".repeat(200_000)), &[Fine]);
    add("source that is too long", &"x".repeat(300_000), &[Size]);
    add("one long name", &"x".repeat(200_000), &[Runtime, Compile]);
    add("one long number", &"9".repeat(200_000), &[Compile, Fine]);
    add("many statements", &"1;".repeat(100_000), &[Fine]);
    add("many errors", &")".repeat(100_000), &[Compile]);
    add("nul bytes", "\0\0\0", &[Compile]);
    add("open string", "\"abc", &[Compile]);
    add("open comment", "/* /* */", &[Compile, Fine]);
    add("open text", "`${", &[Compile]);

    // Nesting, far deeper than allowed.
    let nest = |open: &str, middle: &str, close: &str| {
        let times = 250_000 / (open.len() + close.len()).max(4);
        [open.repeat(times), middle.to_owned(), close.repeat(times)].concat()
    };
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("#{a:", "1", "}"),
        ("{", "1", "}"),
        ("if true {", "1", "}"),
        ("if x {} else ", "{}", ""),
        ("!", "true", ""),
        ("-", "1", ""),
        ("- ", "x", ""),
        ("/*", "", "*/"),
        ("`${", "1", "}`"),
        ("switch 1 { _ => ", "1", "}"),
        ("switch ", "1", "{}"),
        ("|| ", "1", ""),
        ("|x| { ", "1", "}"),
        ("f(", "1", ")"),
        ("x.f(", "1", ")"),
        ("while true {", "", "}"),
        ("loop {", "", "}"),
        ("for x in y {", "", "}"),
        ("do {", "", "} while x"),
        ("try {", "", "} catch {}"),
        ("try {} catch {", "", "}"),
        ("x[", "1", "]"),
        ("x?[", "1", "]"),
        ("a ?? ", "1", ""),
        ("a && ", "1", ""),
        ("a || ", "1", ""),
        ("1 + ", "1", ""),
        ("1 ** ", "1", ""),
        ("1 == ", "1", ""),
        ("a in ", "b", ""),
        ("a..", "b", ""),
        ("x = ", "1", ""),
        ("x += ", "1", ""),
        ("x.y = ", "1", ""),
        ("return ", "1", ""),
        ("throw ", "1", ""),
        ("let x = ", "1", ""),
        ("fn f() {", "", "}"),
        ("x.", "y", ""),
        ("x?.", "y", ""),
        ("a::", "b", ""),
        ("x", ".y()", ""),
        ("Fn(", "\"x\"", ")"),
        ("1 < ", "1", ""),
        ("1 | ", "1", ""),
        ("!(", "x", ")"),
        ("(|| ", "1", ")"),
        ("const A = (", "1", ")"),
        ("if (", "x", ") {}"),
        ("-(", "1", ")"),
        ("loop { break ", "1", "}"),
        ("{ if x {", "", "} }"),
    ] {
        add("nesting", &nest(open, middle, close), &[Depth, Compile, Fine, Runtime, Size]);
    }
    add("chain of calls", &format!("let x = 1; x{}", ".abs()".repeat(40_000)), PARSE);
    add("chain of indexes", &format!("let x = []; x{}", "[0]".repeat(80_000)), &[Depth, Compile, Runtime]);
    add("chain of sums", &format!("1{}", "+1".repeat(100_000)), &[Depth, Fine]);
    add("chain of products and sums", &format!("1{}", "*1+1".repeat(50_000)), &[Depth, Fine]);
    add("chain of concatenation", &format!("\"\"{}", "+\"\"".repeat(60_000)), &[Depth, Fine]);
    add("doubling at compile time", &format!("const A = \"0123456789\"; {}", numbered(60, "const A = A + A;")), LARGE);
    table
}

fn numbered(count: usize, template: &str) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = write!(text, "{} ", template.replace('#', &number.to_string()));
        text
    })
}
