//! `circled test`, as its user sees it; and the example folder, with its workflow.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{circled, text};
use crate::harness::{
    command::without_settings,
    server::{TestServer, circle, key},
};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/leaderboard")
}

/// Runs the tests of a folder with these files. Returns the exit code, the standard output and the standard error.
fn test(files: &[(&str, &str)], more: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, source) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, source).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let ran = circled(&[&["test", path], more].concat());
    let told = |bytes: &[u8]| text(bytes).replace(&format!("{path}/"), "");
    (
        ran.status.code().unwrap(),
        told(&ran.stdout),
        told(&ran.stderr),
    )
}

#[test]
fn the_example_passes_its_tests() {
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("tests.xml");
    let example = example();
    let run = |more: &[&str]| {
        let ran = circled(&[&["test", example.to_str().unwrap()], more].concat());
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        text(&ran.stdout).to_owned()
    };
    let told = run(&["--junit", junit.to_str().unwrap()]);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(
        lines[0],
        "test leaderboard_test::test_the_best_score_counts ... ok"
    );
    assert!(
        lines[6].starts_with("test result: ok. 5 passed; 0 failed; 0 filtered out;"),
        "{told}"
    );
    let junit = fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains("<testsuite name=\"circled\" tests=\"5\" failures=\"0\""),
        "{junit}"
    );
    let json = run(&["--json", "--filter", "badge"]);
    let lines: Vec<Value> = json
        .lines()
        .map(|line| circled_json::parse(line).unwrap())
        .collect();
    assert_eq!(
        lines[0]["test"],
        "leaderboard_test::test_a_badge_ends_after_30_days"
    );
    assert_eq!(
        (&lines[1]["passed"], &lines[1]["filtered_out"]),
        (&1.into(), &4.into())
    );
}

#[test]
fn a_test_that_fails_says_where() {
    let (code, told, _) = test(
        &[
            ("pay.rhai", "let a = 1;\n  throw \"no money\""),
            ("count.rhai", "print(\"counting\"); store.incr(\"n\", 1)"),
            (
                "a_test.rhai",
                "#!/usr/bin/env circled\n\
                 fn test_fresh() { assert_eq(call_script(\"count\"), 1); }\n\
                 fn test_fresh_again() { assert_eq(call_script(\"count\"), 1); assert_eq(logs(), [\"counting\"]); }\n\
                 fn test_differs() {\n    print(\"before\");\n    assert_eq(call_script(\"count\"), 2, \"the count\");\n}\n\
                 fn helper(x) { assert(x); }\n\
                 fn test_in_a_helper() { helper(1 > 2); }\n\
                 fn test_of_a_script_that_fails() { call_script(\"pay\"); }\n\
                 fn test_that_should_fail() { call_fails(\"count\"); }\n\
                 fn test_with_parameters(x) { }\n\
                 fn test_of_nobody() { deliver(\"github\"); }\n",
            ),
            ("b_test.rhai", "let = 1;"),
            ("c_test.rhai", "fn test_x() { nobody(1) }"),
        ],
        &[],
    );
    assert_eq!(code, 1, "{told}");
    for says in [
        "test a_test::test_fresh ... ok\ntest a_test::test_fresh_again ... ok\ntest a_test::test_differs ... FAILED\n",
        "---- a_test::test_differs\nerror: assert_eq (the count): the two differ\n  left:  1\n  right: 2\n --> a_test.rhai:6:5\n  |\n6 |     assert_eq(call_script(\"count\"), 2, \"the count\");\n  |     ^\nprinted: before\n",
        "error: assert: it is false\n --> a_test.rhai:8:16\n",
        "error: pay failed: Runtime error: no money\n --> pay.rhai:2:3\n  |\n2 |   throw \"no money\"\n  |   ^\n  --> a_test.rhai:10:",
        "error: call_fails: count should fail, and returned 1\n",
        "---- a_test::test_with_parameters\nerror: Function not found: test_with_parameters",
        "error: on_github failed: the circle has no such script\n",
        "---- b_test::compiles\n",
        " --> b_test.rhai:1:",
        " --> c_test.rhai:1:15\n",
        "test result: FAILED. 2 passed; 8 failed; 0 filtered out;",
    ] {
        assert!(told.contains(says), "{says}\n\n{told}");
    }
}

#[test]
fn hostile_tests_end() {
    let grow = "let a = []; loop { a.push(\"x\".to_upper() + a.len); }";
    let deep = "fn f(n) { f(n + 1) } f(0)";
    let (code, told, _) = test(
        &[
            ("endless.rhai", "loop {}"),
            ("grow.rhai", grow),
            (
                "a_test.rhai",
                &format!(
                    "fn test_endless() {{ loop {{}} }}\n\
                     fn test_grow() {{ {grow} }}\n\
                     fn deep(n) {{ deep(n + 1) }}\n\
                     fn test_deep() {{ deep(0) }}\n\
                     fn test_many() {{ loop {{ stored(\"x\"); }} }}\n\
                     fn test_within() {{\n\
                       assert_eq(call_fails(\"endless\").data.kind, \"operations\");\n\
                       call_fails(\"grow\");\n\
                       assert_eq(play_fails(`{deep}`).data.kind, \"depth\");\n\
                       for n in 0..300 {{ given(`k${{n}}`, \"x\"); }}\n\
                     }}\n"
                ),
            ),
        ],
        &["--timeout", "60s"],
    );
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("test_within ... ok"), "{told}");
    for says in ["more than 1000000 operations", "Stack overflow"] {
        assert!(told.contains(says), "{says}: {told}");
    }
    assert!(told.contains("1 passed; 4 failed"), "{told}");
    let slow = [(
        "a_test.rhai",
        "fn test_endless() { let x = 0; while x < 300000 { x += 1; } }",
    )];
    let (code, told, _) = test(&slow, &["--timeout", "1ms"]);
    assert!(
        code == 1 && told.contains("it took longer than 1 ms"),
        "{told}"
    );
}

#[test]
fn a_folder_that_cannot_be_tested_says_why() {
    let (code, _, told) = test(
        &[
            ("a.rhai", "1;\nlet = 2"),
            ("b.rhai", "import \"c\" as c; 1"),
        ],
        &[],
    );
    assert_eq!(code, 1);
    assert!(
        told.contains(" --> a.rhai:2:") && told.contains("no script \"c\""),
        "{told}"
    );
    let (code, _, told) = test(&[("circle.toml", "[schedules]")], &[]);
    assert_eq!(code, 2);
    assert!(
        told.contains("circle.toml:1:2: the server has no schedules yet"),
        "{told}"
    );
    let (code, told, _) = test(&[("a.rhai", "1")], &[]);
    assert_eq!(code, 0);
    assert!(told.contains("0 passed; 0 failed"), "{told}");
}

/// Runs the steps of the workflow as GitHub does, but installs nothing.
#[tokio::test]
async fn the_workflow_of_the_example_tests_and_deploys_it() {
    let server = TestServer::start().await;
    let temp = tempfile::tempdir().unwrap();
    let workflow = fs::read_to_string(example().join(".github/workflows/circle.yml")).unwrap();
    let steps: Vec<_> = workflow
        .lines()
        .filter_map(|line| line.strip_prefix("        run: "))
        .collect();
    let (install, steps) = steps.split_first().unwrap();
    assert!(
        install.starts_with("cargo install --locked ") && steps.len() == 4,
        "{workflow}"
    );
    let bin = Path::new(env!("CARGO_BIN_EXE_circled")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = |step: &str| {
        let ran = without_settings(Command::new("bash"))
            .args(["-e", "-c", step])
            .current_dir(example())
            .env("PATH", &path)
            .env("RUNNER_TEMP", temp.path())
            .env("CIRCLE", server.url(circle()))
            .env("CIRCLE_KEY", key(1).to_hex())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{step}: {ran:?}");
        text(&ran.stdout).to_owned()
    };
    let told: Vec<_> = steps.iter().map(|step| run(step)).collect();
    assert!(told[0].contains("5 passed; 0 failed"), "{told:?}");
    assert!(
        told[2].contains("add     admin/reset  call: owner\n"),
        "{told:?}"
    );
    assert!(
        told[3].ends_with("deployed: 6 put, 0 deleted\n"),
        "{told:?}"
    );
    let mut owner = server.log_in(&key(1)).await;
    let top = owner
        .call("call", serde_json::json!(["top"]))
        .await
        .unwrap();
    assert_eq!(top["value"], serde_json::json!([]));
}
