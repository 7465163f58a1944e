//! The time of a run.

use circled_protocol::JobId;
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    server::{TestServer, key},
};

async fn a_run_has_the_time_when_it_was_accepted_however_often_it_starts_over() {
    let mut server = TestServer::builder()
        .env("CIRCLED_LOG__LEVEL", "debug")
        .start()
        .await;
    let mut reader = server.log_in(&key(2)).await;
    let starts_over = |server: &TestServer| {
        server.count_logged(|line| line["message"] == "a run conflicted, and starts over")
    };
    let script = "let begun = timestamp(); let read = store.get(\"n\"); while begun.elapsed < 0.02 {}
        store.set(\"seen\", read); [now(), iso(now()), parse_time(iso(now())), parse_time(\"2026-11-23T17:45:00.5+01:00\")]";
    // Until one run has started over: on a busy machine, nobody may write while it runs.
    while starts_over(&server) == 0 {
        let mut writer = server.log_in(&key(3)).await;
        let call = reader.begin_play(script).await;
        let writes = async {
            loop {
                writer.play("store.incr(\"n\", 1)").await.unwrap();
            }
        };
        let ran = tokio::select! {
            answer = reader.answer(call) => answer.unwrap(),
            () = writes => unreachable!(),
        };
        let ended = |line: &Value| line["message"] == "a job ended" && line["job"] == ran["job_id"];
        server.logged("the end of the run", ended).await;
        let id: JobId = ran["job_id"].as_str().unwrap().parse().unwrap();
        let accepted = id.made_at().as_millisecond();
        let text = format!("{:.3}", id.made_at());
        let fixed = 1_795_452_300_500_i64;
        assert_eq!(ran["value"], json!([accepted, text, accepted, fixed]));
    }
}

async fn a_durable_job_has_the_time_of_its_try_and_knows_when_it_was_due() {
    let server = TestServer::builder()
        .toml("[dispatch.durable]\nretry_after = \"10ms\"")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let script = "if JOB.tries < 2 { throw \"not yet\" } [now(), JOB, random() < 1.0]";
    let due = jiff::Timestamp::now() + std::time::Duration::from_millis(50);
    let params = json!({ "script": script, "run_at": due });
    let job = session.call("submit_job", params).await.unwrap();
    let params = json!({ "job_id": job["job_id"], "wait": 10_000 });
    let job = session.call("get_job", params).await.unwrap();
    let due = due.as_millisecond();
    let value = &job["value"];
    assert!(value[0].as_i64().unwrap() >= due, "{job}");
    let received: jiff::Timestamp = job["submitted_at"].as_str().unwrap().parse().unwrap();
    let known = json!({ "due": due, "submitted_at": received.as_millisecond(), "tries": 2 });
    assert_eq!((&value[1], &value[2]), (&known, &json!(true)));
}

on_both!(
    a_run_has_the_time_when_it_was_accepted_however_often_it_starts_over,
    a_durable_job_has_the_time_of_its_try_and_knows_when_it_was_due,
);
