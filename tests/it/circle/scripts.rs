//! Named scripts of a circle.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{
    backend::on_both,
    calls::{self, assert_invalid, assert_not_found, assert_refused, closed, ok, put, refused},
    server::{ENDLESS, TestServer, Ws, key},
};

fn version(source: &str) -> String {
    hex::encode(Sha256::digest(source))
}

/// Returns the value of a named script.
async fn called(session: &mut Ws, params: Value) -> Value {
    ok(session, "call", params).await["value"].take()
}

/// Returns the listed names with their versions.
async fn listed(session: &mut Ws) -> Vec<(String, String)> {
    let list = ok(session, "list_scripts", json!({})).await;
    let scripts = list["scripts"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    scripts
        .map(|script| {
            assert_eq!(script.as_object().unwrap().len(), 4, "{script}");
            assert!(script["put_at"].is_string() && script["put_by"].is_string());
            (text(&script["name"]), text(&script["version"]))
        })
        .collect()
}

async fn scripts_are_put_shown_listed_called_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    let before = Timestamp::now();
    let (first, second) = ("ARGS + 1", "ARGS + 2");
    for (source, created) in [
        (first, true),
        (first, false),
        (second, true),
        (second, false),
        // An older version comes back.
        (first, true),
        (second, true),
    ] {
        let answer = ok(&mut owner, "put_script", json!(["add", source])).await;
        let expected = json!({ "name": "add", "version": version(source), "created": created });
        assert_eq!(answer, expected, "{source}");
        assert_eq!(
            called(&mut owner, json!(["add", 0])).await,
            source[7..].parse::<i64>().unwrap()
        );
    }
    let other = put(&mut owner, "_Other-1.x/y", "0").await;

    let check = async |server: &TestServer| {
        let mut owner = server.log_in(&key(1)).await;
        let shown = ok(&mut owner, "get_script", json!({ "name": "add" })).await;
        assert_eq!(shown["name"], "add");
        assert_eq!(
            (&shown["source"], &shown["version"]),
            (&json!(second), &json!(version(second)))
        );
        let versions = shown["versions"].as_array().unwrap();
        let newest_first: Vec<&Value> = versions.iter().map(|put| &put["version"]).collect();
        assert_eq!(
            newest_first,
            [&json!(version(second)), &json!(version(first))]
        );
        for put in versions.iter().chain([&shown]) {
            assert_eq!(put["put_by"], json!(key(1).public()));
            let at: Timestamp = put["put_at"].as_str().unwrap().parse().unwrap();
            assert!(before <= at && at <= Timestamp::now(), "{put}");
        }
        assert_eq!(shown["put_at"], versions[0]["put_at"]);
        let old = json!({ "name": "add", "version": version(first) });
        let shown = ok(&mut owner, "get_script", old).await;
        assert_eq!(
            (&shown["source"], &shown["version"]),
            (&json!(first), &json!(version(first)))
        );
        assert_eq!(shown["versions"].as_array().unwrap().len(), 2);

        let mut guest = server.log_in(&key(2)).await;
        let list = [
            ("_Other-1.x/y".to_owned(), other.clone()),
            ("add".to_owned(), version(second)),
        ];
        assert_eq!(listed(&mut guest).await, list);
        assert_eq!(called(&mut guest, json!(["add", 40])).await, 42);
        let old = json!({ "name": "add", "args": 40, "version": version(first) });
        // A version that a newer one has mended isn't for everybody to bring back.
        assert_refused(
            "call",
            guest.call("call", old.clone()).await,
            -32003,
            json!({ "needs": "owner" }),
        );
        assert_eq!(called(&mut owner, old).await, 41);
        let abbreviated = json!({ "name": "add", "args": 40, "version": &version(first)[..8] });
        assert_eq!(called(&mut owner, abbreviated).await, 41);
    };
    check(&server).await;
    server.kill();
    let server = start().await;
    check(&server).await;

    let mut owner = server.log_in(&key(1)).await;
    for deleted in [true, false] {
        let answer = ok(&mut owner, "delete_script", json!(["add"])).await;
        assert_eq!(answer, json!({ "deleted": deleted }));
    }
    for round in 0..2 {
        let mut owner = server.log_in(&key(1)).await;
        for (method, params) in [
            ("get_script", json!(["add"])),
            ("get_script", json!(["add", version(first)])),
            ("call", json!(["add"])),
            ("call", json!({ "name": "add", "version": version(second) })),
        ] {
            let what = format!("{method} {params}, round {round}");
            assert_not_found(&what, owner.call(method, params).await, "script");
        }
        assert_eq!(listed(&mut owner).await.len(), 1);
    }
    server.kill();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    assert_not_found("call", owner.call("call", json!(["add"])).await, "script");
    // Everything is as if it had never been.
    let answer = ok(&mut owner, "put_script", json!(["add", first])).await;
    assert_eq!(answer["created"], true);
    let shown = ok(&mut owner, "get_script", json!(["add"])).await;
    assert_eq!(shown["versions"].as_array().unwrap().len(), 1);
}

async fn a_call_is_answered_as_a_play_is() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let source = "print(ARGS); [CALLER_ID, CONTEXT_ID, JOB_ID, ARGS]";
    let put = put(&mut owner, "tell", source).await;
    let mut guest = server.log_in(&key(2)).await;
    // First where scripts are compiled, and then in the fast lane.
    for _ in 0..3 {
        let run = ok(
            &mut guest,
            "call",
            json!({ "name": "tell", "args": { "a": [1] } }),
        )
        .await;
        assert_eq!(run.as_object().unwrap().len(), 5, "{run}");
        let told = json!([key(2).public(), key(1).public(), run["job_id"], { "a": [1] }]);
        assert_eq!(run["value"], told);
        assert_eq!(run["version"], json!(put));
        assert_eq!(run["logs"], json!([r##"#{"a": [1]}"##]));
        assert!(run["output"].as_str().unwrap().starts_with('['), "{run}");
    }
    for (source, kind) in [("\n  nothing", "runtime"), ("loop {}", "operations")] {
        calls::put(&mut owner, "tell", source).await;
        for _ in 0..2 {
            let (code, data) = refused(source, guest.call("call", json!(["tell"])).await);
            assert_eq!((code, &data["kind"]), (-32000, &json!(kind)));
        }
    }
    calls::put(&mut owner, "tell", "store.set(\"a\", 1); throw \"no\"").await;
    refused("a failure", guest.call("call", json!(["tell"])).await);
    calls::put(&mut owner, "tell", "store.incr(\"b\", 1)").await;
    for n in 1..=3 {
        assert_eq!(called(&mut guest, json!(["tell"])).await, n);
    }
    let run = guest.play("store.keys(\"\")").await.unwrap();
    assert_eq!(run["value"], json!(["b"]), "what it does lands, or doesn't");
}

async fn a_call_ends_in_time() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "hang", "loop {}").await;
    let params = json!({ "name": "hang", "timeout_ms": 100 });
    let (code, data) = refused("a hang", owner.call("call", params).await);
    assert_eq!((code, data), (-32004, json!({ "timeout_ms": 100 })));
    for timeout in [0, 30_001] {
        let params = json!({ "name": "hang", "timeout_ms": timeout });
        assert_invalid("a timeout", owner.call("call", params).await, "timeout_ms");
    }
}

async fn scripts_that_do_not_compile_are_not_stored() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_SOURCE", "1KiB")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "kept", "1").await;
    for (source, kind, line, column) in [
        ("let x =", "compile", 1, 8),
        ("40 +\n+ * 2", "compile", 2, 3),
        ("let x = \"open", "compile", 1, 9),
        ("fn f() {\n  let\n}", "compile", 3, 1),
    ] {
        for name in ["new", "kept"] {
            let answer = owner.call("put_script", json!([name, source])).await;
            let error = answer.as_ref().unwrap_err();
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .starts_with("Execution Error")
            );
            let (code, data) = refused(source, answer);
            assert_eq!(code, -32000, "{source}: {data}");
            assert_eq!(data["kind"], kind, "{source}");
            assert_eq!(
                (&data["line"], &data["column"]),
                (&json!(line), &json!(column)),
                "{source}"
            );
        }
    }
    let long = format!("// {}", "x".repeat(1022));
    let (code, data) = refused(
        "a long source",
        owner.call("put_script", json!(["new", long])).await,
    );
    assert_eq!((code, &data["kind"]), (-32000, &json!("size")), "{data}");
    put(&mut owner, "new", &long[..1024]).await;
    assert_eq!(called(&mut owner, json!(["kept"])).await, 1);
    // Nothing runs when a script is stored.
    put(&mut owner, "acts", "store.set(\"a\", 1); loop {}").await;
    let run = owner.play("store.keys(\"\")").await.unwrap();
    assert_eq!(run["value"], json!([]));
}

async fn names_are_names() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let longest = "n".repeat(64);
    for name in ["a", "_", "Z9", "a-b_c.d/e", "_1", "on_stripe", &longest] {
        put(&mut owner, name, "1").await;
        assert_eq!(called(&mut owner, json!([name])).await, 1, "{name}");
    }
    let too_long = "n".repeat(65);
    for name in [
        "", " ", "1a", "-a", ".a", "/a", "a b", "a:b", "a\n", "a\0", "é", "aé", "a\\b", &too_long,
    ] {
        let answer = owner.call("put_script", json!([name, "1"])).await;
        assert_invalid(&format!("{name:?}"), answer, "name");
        for method in ["get_script", "call"] {
            let what = format!("{method} {name:?}");
            assert_not_found(&what, owner.call(method, json!([name])).await, "script");
        }
        let deleted = ok(&mut owner, "delete_script", json!([name])).await;
        assert_eq!(deleted["deleted"], false);
    }
    assert_eq!(listed(&mut owner).await.len(), 7);
}

async fn parameters_are_what_they_must_be() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "a", "1").await;
    for (method, params) in [
        ("put_script", json!({})),
        ("put_script", json!(["a"])),
        ("put_script", json!(["a", 1])),
        ("put_script", json!([1, "1"])),
        ("put_script", json!(["a", "1", null, "more"])),
        ("put_script", json!({ "name": "a", "source": null })),
        (
            "put_script",
            json!({ "name": "a", "source": "1", "more": 1 }),
        ),
        ("get_script", json!({})),
        ("get_script", json!([7])),
        ("get_script", json!(["a", 7])),
        ("list_scripts", json!([7])),
        ("list_scripts", json!({ "name": "a" })),
        ("delete_script", json!({})),
        ("delete_script", json!([["a"]])),
        ("call", json!({})),
        ("call", json!([7])),
        ("call", json!({ "name": "a", "source": "1" })),
        ("call", json!({ "name": "a", "version": 7 })),
    ] {
        let what = format!("{method} {params}");
        assert_invalid(&what, owner.call(method, params).await, "");
    }
    for version in ["", "nonsense", &version("2"), &version("1").to_uppercase()] {
        for method in ["get_script", "call"] {
            let params = json!({ "name": "a", "version": version });
            let what = format!("{method} {params}");
            assert_not_found(&what, owner.call(method, params).await, "version");
        }
    }
    for method in ["get_script", "call"] {
        let params = json!({ "name": "b", "version": version("1") });
        assert_not_found(method, owner.call(method, params).await, "script");
    }
}

async fn so_many_versions_are_kept() {
    let server = TestServer::builder()
        .env("CIRCLED_CIRCLES__SCRIPT_VERSIONS", "3")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let mut versions = Vec::new();
    for n in 0..6 {
        versions.push(put(&mut owner, "a", &n.to_string()).await);
        let shown = ok(&mut owner, "get_script", json!(["a"])).await;
        let kept: Vec<&Value> = shown["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|put| &put["version"])
            .collect();
        let newest = versions.iter().rev().take(3).collect::<Vec<_>>();
        assert_eq!(json!(kept), json!(newest));
    }
    for (n, version) in versions.iter().enumerate() {
        let params = json!({ "name": "a", "version": version });
        let answer = owner.call("call", params).await;
        if n < 3 {
            assert_not_found("an old version", answer, "version");
        } else {
            assert_eq!(answer.unwrap()["value"], n);
        }
    }
    // The version that comes back is the newest, and is kept longest.
    put(&mut owner, "a", "3").await;
    put(&mut owner, "a", "6").await;
    let kept = ok(&mut owner, "get_script", json!(["a"])).await["versions"].take();
    let kept: Vec<&str> = kept
        .as_array()
        .unwrap()
        .iter()
        .map(|put| put["version"].as_str().unwrap())
        .collect();
    assert_eq!(kept, ["6", "3", "5"].map(version));
}

async fn a_circle_has_as_many_names_as_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let start = |most: &str| {
        TestServer::builder()
            .env("CIRCLED_CIRCLES__MAX_SCRIPTS", most)
            .data(folder.path())
            .start()
    };
    let server = start("3").await;
    let mut owner = server.log_in(&key(1)).await;
    for name in ["a", "b", "c"] {
        put(&mut owner, name, "1").await;
    }
    let (code, data) = refused(
        "one more",
        owner.call("put_script", json!(["d", "1"])).await,
    );
    assert_eq!(
        (code, &data["limit"]),
        (-32005, &json!("circles.max_scripts"))
    );
    assert!(data["retry_after_ms"].is_u64(), "{data}");
    put(&mut owner, "a", "2").await;
    ok(&mut owner, "delete_script", json!(["b"])).await;
    put(&mut owner, "d", "1").await;
    // Of two concurrent ones, one has a place.
    ok(&mut owner, "delete_script", json!(["d"])).await;
    let calls = [
        owner.begin("put_script", json!(["e", "1"])).await,
        owner.begin("put_script", json!(["f", "1"])).await,
    ];
    let mut placed = 0;
    for call in calls {
        placed += usize::from(owner.answer(call).await.is_ok());
    }
    assert_eq!(placed, 1);
    // Another circle has its own limit.
    let mut other = server.connect_to(key(5).public()).await;
    other.login(&key(5)).await;
    put(&mut other, "a", "1").await;

    server.kill();
    let server = start("1").await;
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(listed(&mut owner).await.len(), 3);
    let (code, data) = refused(
        "one more",
        owner.call("put_script", json!(["d", "1"])).await,
    );
    assert_eq!(
        (code, &data["limit"]),
        (-32005, &json!("circles.max_scripts"))
    );
    put(&mut owner, "a", "3").await;
    assert_eq!(called(&mut owner, json!(["a"])).await, 3);
}

async fn scripts_take_of_the_quota() {
    let server = TestServer::builder()
        .env("CIRCLED_STORE__QUOTA", "2000B")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let large = format!("// {}\n", "x".repeat(1300));
    put(&mut owner, "a", &format!("{large}1")).await;
    let over = json!(["a", format!("{large}2")]);
    let (code, data) = refused("one more", owner.call("put_script", over).await);
    assert_eq!((code, &data["limit"]), (-32005, &json!("store.quota")));
    let (code, data) = refused(
        "a value",
        owner
            .play("let s = \"\"; s.pad(600, 'x'); store.set(\"a\", s)")
            .await,
    );
    assert_eq!((code, &data["limit"]), (-32005, &json!("store.quota")));
    assert_eq!(called(&mut owner, json!(["a"])).await, 1);
    ok(&mut owner, "delete_script", json!(["a"])).await;
    put(&mut owner, "a", &format!("{large}3")).await;
}

async fn the_caller_who_put_a_script_is_named() {
    let server = closed("manage = \"member\"").start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "a", "1").await;
    let mut member = server.log_in(&key(2)).await;
    put(&mut member, "a", "2").await;
    let shown = ok(&mut member, "get_script", json!(["a"])).await;
    assert_eq!(shown["put_by"], json!(key(2).public()));
    assert_eq!(shown["versions"][1]["put_by"], json!(key(1).public()));
    let mut guest = server.log_in(&key(60)).await;
    let answer = guest.call("put_script", json!(["a", "3"])).await;
    assert_refused("put_script", answer, -32003, json!({ "needs": "member" }));
    // Only a caller who may store it learns if it compiles.
    let answer = guest.call("put_script", json!(["a", "let"])).await;
    assert_refused("put_script", answer, -32003, json!({ "needs": "member" }));
}

async fn names_are_no_keys_of_the_store() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "a", "store.keys(\"\")").await;
    assert_eq!(called(&mut owner, json!(["a"])).await, json!([]));
    for script in [
        "store.keys(\"\")",
        "store.keys(\"s\")",
        "store.set(\"a\", 1); store.delete(\"a\"); store.keys(\"\")",
    ] {
        let run = owner.play(script).await.unwrap();
        assert_eq!(run["value"], json!([]), "{script}");
    }
    for name in ["a", "sa", "\\xffsa", "\\u00ffsa"] {
        let script = format!("[store.has(\"{name}\"), store.get(\"{name}\")]");
        let run = owner.play(&script).await;
        if let Ok(run) = run {
            assert_eq!(run["value"], json!([false, null]), "{script}");
        }
    }
}

/// Calls get one version or the other, whole; and after the new one is stored, the new one.
async fn calls_beside_a_put_see_one_version_or_the_other() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut guest = server.log_in(&key(2)).await;
    put(&mut owner, "a", "0").await;
    for n in 1..30 {
        let mut calls = Vec::new();
        for _ in 0..4 {
            calls.push(guest.begin("call", json!(["a"])).await);
        }
        let source = n.to_string();
        let version = put(&mut owner, "a", &source).await;
        for call in calls {
            let run = guest.answer(call).await.unwrap();
            assert!(run["value"] == n || run["value"] == n - 1, "{n}: {run}");
        }
        let run = ok(&mut guest, "call", json!(["a"])).await;
        assert_eq!(
            (&run["value"], &run["version"]),
            (&json!(n), &json!(version))
        );
    }
}

async fn mistakes_are_found_when_a_script_is_put() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "lib", "fn f(n) { n }").await;
    for (source, line, column, told) in [
        ("let x =", 1, 8, "incomplete"),
        (
            "import \"lib\" as l;\nimport \"gone\" as g; 1",
            2,
            8,
            "\"gone\"",
        ),
        (
            "fn f() { nothing(1) }\n2",
            1,
            10,
            "\"nothing\" with 1 argument",
        ),
        (
            "fn f(n) { n }\n\n[1].map(|x| f(x, 2))",
            3,
            13,
            "\"f\" with 2 arguments",
        ),
        (
            "switch 1 { 1 => 2, _ => nowhere() }",
            1,
            25,
            "\"nowhere\" with 0 arguments",
        ),
    ] {
        for (method, params) in [
            ("put_script", json!(["main", source])),
            ("check_script", json!([source])),
        ] {
            let error = owner.call(method, params).await.unwrap_err();
            let data = &error["data"];
            assert_eq!(
                (&error["code"], &data["kind"]),
                (&json!(-32000), &json!("compile"))
            );
            assert!(
                error["message"].as_str().unwrap().contains(told),
                "{source}: {error}"
            );
            assert_eq!(
                (&data["line"], &data["column"]),
                (&json!(line), &json!(column)),
                "{source}"
            );
        }
    }
    for source in [
        "import \"lib\" as l; l::f(1)",
        "import \"main\" as me; 1",
        "let m = #{ f: |x| x }; m.f(1); fn g() { this } 1.g()",
        "if is_def_fn(\"maybe\", 0) { maybe() }",
        "print(type_of(now())); debug(1); call(Fn(\"g\").curry(1)); fn g(x) { -x + 1 } is_shared(ARGS)",
        "require(\"guest\"); random(1, 2); parse_json(\"1\"); to_json(#{}); floor(1.5); [1, 2].sort(|a, b| a - b)",
    ] {
        let checked = ok(&mut owner, "check_script", json!([source])).await;
        assert_eq!(checked, json!({ "version": version(source) }), "{source}");
        put(&mut owner, "main", source).await;
    }
    let mut guest = server.log_in(&key(2)).await;
    let needs = json!({ "needs": "owner" });
    assert_refused(
        "check",
        guest.call("check_script", json!(["1"])).await,
        -32003,
        needs,
    );
}

async fn a_script_changes_only_if_its_newest_version_is_the_expected_one() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let put_if = |source: &str, version: &str| json!({ "name": "a", "source": source, "if_version": version });
    let none = json!({ "version": null });
    assert_refused(
        "none",
        owner.call("put_script", put_if("1", "aa")).await,
        -32009,
        none.clone(),
    );
    let gone = json!({ "name": "a", "if_version": "aa" });
    assert_refused(
        "none",
        owner.call("delete_script", gone).await,
        -32009,
        none,
    );
    put(&mut owner, "a", "1").await;
    let put = ok(&mut owner, "put_script", put_if("2", &version("1"))).await;
    assert_eq!(put["version"], version("2"));
    let newest = json!({ "version": version("2") });
    for old in [&version("1"), &version("2")[..8], ""] {
        let refused = owner.call("put_script", put_if("3", old)).await;
        assert_refused(old, refused, -32009, newest.clone());
        let delete = json!({ "name": "a", "if_version": old });
        let refused = owner.call("delete_script", delete).await;
        assert_refused(old, refused, -32009, newest.clone());
    }
    assert_eq!(called(&mut owner, json!(["a"])).await, 2);
    let delete = json!({ "name": "a", "if_version": version("2") });
    assert_eq!(
        ok(&mut owner, "delete_script", delete).await,
        json!({ "deleted": true })
    );
}

async fn a_script_may_have_a_rule_of_its_own() {
    let server = closed("call = \"member\"").start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut member = server.log_in(&key(2)).await;
    let mut guest = server.log_in(&key(3)).await;
    let put_as = |source: &str, call: &str| json!({ "name": "a", "source": source, "call": call });
    let answers = async |sessions: [&mut Ws; 3], needs: [Option<&str>; 3]| {
        for (session, needs) in sessions.into_iter().zip(needs) {
            // Read first, and then in the fast lane.
            for _ in 0..2 {
                let called = session.call("call", json!(["a"])).await;
                match needs {
                    None => assert!(called.is_ok(), "{called:?}"),
                    Some(needs) => {
                        assert_refused("call", called, -32003, json!({ "needs": needs }));
                    }
                }
            }
        }
    };
    put(&mut owner, "a", "1").await;
    let by_circle = [None, None, Some("member")];
    answers([&mut owner, &mut member, &mut guest], by_circle).await;
    let put_again = ok(&mut owner, "put_script", put_as("1", "owner")).await;
    assert_eq!(put_again["created"], false);
    let by_owner = [None, Some("owner"), Some("owner")];
    answers([&mut owner, &mut member, &mut guest], by_owner).await;
    let job = calls::submit(&mut member, json!({ "name": "a" })).await;
    calls::until(&mut member, &job, "dead").await;
    // It stays with the next version.
    put(&mut owner, "a", "2").await;
    answers([&mut owner, &mut member, &mut guest], by_owner).await;
    let shown = ok(&mut owner, "get_script", json!(["a"])).await;
    let list = ok(&mut owner, "list_scripts", json!({})).await;
    assert_eq!(
        (&shown["call"], &list["scripts"][0]["call"]),
        (&json!("owner"), &json!("owner"))
    );
    let refused = owner.call("put_script", put_as("2", "anyone")).await;
    assert_eq!(refused.unwrap_err()["code"], -32602);
    ok(&mut owner, "put_script", put_as("2", "guest")).await;
    answers([&mut owner, &mut member, &mut guest], [None, None, None]).await;
    let old = json!({ "name": "a", "version": shown["version"] });
    let refused = guest.call("call", old).await;
    assert_refused("a version", refused, -32003, json!({ "needs": "owner" }));
    ok(&mut owner, "put_script", put_as("2", "auto")).await;
    answers([&mut owner, &mut member, &mut guest], by_circle).await;
    let shown = ok(&mut owner, "get_script", json!(["a"])).await;
    assert_eq!(shown.get("call"), None);
}

async fn the_owner_is_told_of_scripts_that_change() {
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut member = server.log_in(&key(2)).await;
    for session in [&mut owner, &mut member] {
        calls::subscribe(session, json!({})).await;
    }
    let put_as =
        |source: &str, call: &str| json!({ "name": "a/b", "source": source, "call": call });
    for (source, call) in [("1", "auto"), ("1", "auto"), ("2", "auto"), ("2", "owner")] {
        ok(&mut owner, "put_script", put_as(source, call)).await;
    }
    ok(&mut owner, "delete_script", json!(["a/b"])).await;
    ok(&mut owner, "delete_script", json!(["a/b"])).await;
    for (id, topic) in (1..).zip([
        "circle.script_put",
        "circle.script_put",
        "circle.script_put",
        "circle.script_deleted",
    ]) {
        let event = owner.event().await;
        assert_eq!((&event["id"], &event["topic"]), (&json!(id), &json!(topic)));
        assert_eq!(event["data"], json!({ "name": "a/b" }));
    }
    owner.assert_silent().await;
    member.assert_silent().await;
}

on_both!(
    the_owner_is_told_of_scripts_that_change,
    a_script_may_have_a_rule_of_its_own,
    mistakes_are_found_when_a_script_is_put,
    a_script_changes_only_if_its_newest_version_is_the_expected_one,
    scripts_are_put_shown_listed_called_and_deleted,
    a_call_is_answered_as_a_play_is,
    a_call_ends_in_time,
    scripts_that_do_not_compile_are_not_stored,
    names_are_names,
    parameters_are_what_they_must_be,
    so_many_versions_are_kept,
    a_circle_has_as_many_names_as_it_may,
    scripts_take_of_the_quota,
    the_caller_who_put_a_script_is_named,
    names_are_no_keys_of_the_store,
    calls_beside_a_put_see_one_version_or_the_other,
);
