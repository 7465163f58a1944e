//! Scripts that import others of their circle.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{ok, put, refused, submit, until},
    server::{TestServer, Ws, key},
};

async fn called(session: &mut Ws, name: &str) -> Value {
    ok(session, "call", json!([name])).await["value"].take()
}

async fn scripts_import_scripts_of_their_circle() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "lib/math", "fn twice(n) { n * 2 }").await;
    put(
        &mut owner,
        "lib/more",
        "import \"lib/math\" as math; fn four(n) { math::twice(math::twice(n)) }",
    )
    .await;
    let main = "import \"lib/more\" as more; more::four(10) + 2";
    put(&mut owner, "main", main).await;
    let mut guest = server.log_in(&key(2)).await;
    for _ in 0..3 {
        assert_eq!(called(&mut guest, "main").await, 42);
        assert_eq!(guest.play(main).await.unwrap()["value"], 42);
    }
    // The import is read as it is now.
    put(&mut owner, "lib/math", "fn twice(n) { n * 3 }").await;
    for _ in 0..3 {
        assert_eq!(called(&mut guest, "main").await, 92);
        assert_eq!(guest.play(main).await.unwrap()["value"], 92);
    }
    server.kill();
    let server = start().await;
    let mut guest = server.log_in(&key(2)).await;
    assert_eq!(called(&mut guest, "main").await, 92);
    // Another circle has none of them.
    let mut other = server.connect_to(key(5).public()).await;
    other.login(&key(2)).await;
    refused("another circle's", other.play(main).await);
}

async fn failed_imports_fail_at_their_place() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_MODULES", "3")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    for script in [
        "\n import \"none\" as none; 1",
        "\n import \"/etc/passwd\" as none; 1",
        "\n import \"../none\" as none; 1",
    ] {
        for _ in 0..2 {
            let (code, data) = refused(script, owner.play(script).await);
            assert_eq!(
                (code, &data["line"]),
                (-32000, &json!(2)),
                "{script}: {data}"
            );
        }
    }
    // A cycle, and a script that imports itself.
    put(&mut owner, "b", "1").await;
    put(&mut owner, "a", "import \"b\" as b; 1").await;
    put(&mut owner, "b", "import \"a\" as a; 1").await;
    put(&mut owner, "self", "import \"self\" as me; 1").await;
    for name in ["a", "b", "self"] {
        let (code, data) = refused(name, owner.call("call", json!([name])).await);
        assert_eq!(code, -32000, "{name}: {data}");
    }
    for n in 0..5 {
        put(&mut owner, &format!("m{n}"), "fn one() { 1 }").await;
    }
    let import = |most: usize| -> String {
        let imports = (0..most).map(|n| format!("import \"m{n}\" as m{n}; "));
        imports.collect::<String>() + "m0::one()"
    };
    assert_eq!(owner.play(&import(3)).await.unwrap()["value"], 1);
    let (code, data) = refused("too many", owner.play(&import(4)).await);
    assert_eq!(code, -32000, "{data}");
}

async fn a_job_has_what_it_imported_when_it_was_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestServer::builder().data(folder.path()).start();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "lib", "fn n() { 1 }").await;
    let main = "import \"lib\" as lib; lib::n()";
    let version = put(&mut owner, "main", main).await;
    let run_at = (Timestamp::now() + Duration::from_secs(1)).to_string();
    let version = json!({ "name": "main", "version": version, "run_at": run_at });
    let jobs = [
        submit(&mut owner, version).await,
        submit(&mut owner, json!({ "script": main, "run_at": run_at })).await,
    ];
    let newest = json!({ "name": "main", "run_at": run_at });
    let newest = submit(&mut owner, newest).await;
    put(&mut owner, "lib", "fn n() { 2 }").await;
    put(&mut owner, "main", "import \"lib\" as lib; lib::n() + 1").await;
    server.kill();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    for job in &jobs {
        assert_eq!(until(&mut owner, job, "finished").await["value"], 1);
    }
    assert_eq!(until(&mut owner, &newest, "finished").await["value"], 3);
    let now = submit(&mut owner, json!({ "script": main })).await;
    assert_eq!(until(&mut owner, &now, "finished").await["value"], 2);
}

/// A run that imports is checked like one that reads: everything that is committed fits one moment.
async fn imports_are_read_with_the_rest_of_the_run() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "lib", "fn n() { 0 }").await;
    let mut guest = server.log_in(&key(2)).await;
    for n in 1..20 {
        let script = "import \"lib\" as lib; store.set(\"n\", lib::n())";
        let call = guest.begin_play(script).await;
        put(&mut owner, "lib", &format!("fn n() {{ {n} }}")).await;
        guest.answer(call).await.unwrap();
        guest.play(script).await.unwrap();
        let run = guest.play("store.get(\"n\")").await.unwrap();
        assert_eq!(run["value"], n);
    }
}

on_both!(
    scripts_import_scripts_of_their_circle,
    failed_imports_fail_at_their_place,
    a_job_has_what_it_imported_when_it_was_accepted,
    imports_are_read_with_the_rest_of_the_run,
);
