//! Members that the owner adds and removes while the server runs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    calls::{
        add, assert_invalid, assert_refused, closed, get_job, ok, put, refused, remove, submit,
        subscribe, until,
    },
    server::{ENDLESS, TestServer, Ws, circle, key},
};

/// Returns the keys on the circle's member list.
async fn listed(session: &mut Ws) -> Vec<Value> {
    let list = ok(session, "list_members", json!({})).await;
    assert_eq!(list.as_object().unwrap().len(), 2, "{list}");
    let members = list["members"].as_array().unwrap().iter();
    members
        .map(|member| {
            assert_eq!(member.as_object().unwrap().len(), 2, "{member}");
            let at = member["added_at"].as_str().unwrap();
            assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
            member["pubkey"].clone()
        })
        .collect()
}

async fn members_come_and_go_and_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let start = || closed("").data(folder.path()).start();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    assert!(listed(&mut owner).await.is_empty());
    for (method, seed, answer) in [
        ("add_member", 60, json!({ "added": true })),
        ("add_member", 60, json!({ "added": false })),
        ("add_member", 61, json!({ "added": true })),
        ("remove_member", 62, json!({ "removed": false })),
        ("add_member", 62, json!({ "added": true })),
        ("remove_member", 62, json!({ "removed": true })),
        ("remove_member", 62, json!({ "removed": false })),
    ] {
        let params = json!([key(seed).public()]);
        assert_eq!(ok(&mut owner, method, params).await, answer, "{method}");
    }
    let mut keys: Vec<String> = [60, 61].map(|seed| key(seed).public().to_string()).into();
    keys.sort();
    assert_eq!(json!(listed(&mut owner).await), json!(keys));
    let fixed = ok(&mut owner, "list_members", json!({})).await["fixed"].take();
    assert_eq!(fixed, json!([key(2).public()]));

    server.kill();
    let server = start().await;
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(json!(listed(&mut owner).await), json!(keys));
    let mut member = server.log_in(&key(60)).await;
    assert_eq!(member.whoami().await["role"], "member");
    assert_eq!(member.play("1").await.unwrap()["value"], 1);
    remove(&mut owner, &key(60)).await;
    assert_eq!(member.whoami().await["role"], "guest");

    server.kill();
    let server = start().await;
    let mut guest = server.log_in(&key(60)).await;
    let answer = guest.play("1").await;
    assert_refused("play", answer, -32003, json!({ "needs": "member" }));
    // Scripts see nothing of it.
    let mut member = server.log_in(&key(61)).await;
    let run = member.play("store.keys(\"\")").await.unwrap();
    assert_eq!(run["value"], json!([]));
}

async fn a_key_is_taken_however_it_is_written() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let text = key(60).public().to_string();
    for written in [
        text.clone(),
        format!("0x{text}"),
        text.to_uppercase(),
        key(60).public().to_string(),
    ] {
        let added = ok(&mut owner, "add_member", json!({ "pubkey": written })).await;
        assert_eq!(added["added"], true);
        assert_eq!(json!(listed(&mut owner).await), json!([text]));
        let removed = ok(&mut owner, "remove_member", json!([written])).await;
        assert_eq!(removed["removed"], true);
    }
}

async fn parameters_must_be_a_key() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let text = key(60).public().to_string();
    for method in ["add_member", "remove_member"] {
        for params in [
            json!({}),
            json!([]),
            json!([text, text]),
            json!({ "pubkey": text, "more": 1 }),
            json!({ "pubkey": null }),
            json!({ "pubkey": 7 }),
            json!({ "pubkey": "" }),
            json!({ "pubkey": &text[1..] }),
            json!({ "pubkey": "05".repeat(33) }),
        ] {
            let what = format!("{method} {params}");
            assert_invalid(&what, owner.call(method, params).await, "");
        }
    }
    let answer = owner.call("list_members", json!([1])).await;
    assert_invalid("list_members [1]", answer, "");
    assert!(listed(&mut owner).await.is_empty());
}

async fn only_the_owner_changes_who_is_a_member() {
    // A member who may manage may look, and no more.
    let server = closed("manage = \"member\"").start().await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(60)).await;
    for seed in [2, 60, 70] {
        let mut session = server.log_in(&key(seed)).await;
        for method in ["add_member", "remove_member"] {
            for target in [seed, 60, 71] {
                let answer = session.call(method, json!([key(target).public()])).await;
                assert_refused(method, answer, -32003, json!({ "needs": "owner" }));
            }
        }
    }
    for method in ["add_member", "remove_member", "list_members"] {
        let mut session = server.connect().await;
        let answer = session.call(method, json!([key(60).public()])).await;
        assert_refused(method, answer, -32001, Value::Null);
    }
    let mut member = server.log_in(&key(60)).await;
    assert_eq!(json!(listed(&mut member).await), json!([key(60).public()]));
    let mut guest = server.log_in(&key(70)).await;
    let answer = guest.call("list_members", json!({})).await;
    assert_refused("list_members", answer, -32003, json!({ "needs": "member" }));
}

async fn members_by_the_settings_stay() {
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    let params = json!([key(2).public()]);
    let answer = owner.call("remove_member", params).await;
    assert_invalid("remove_member", answer, "settings");
    let mut member = server.log_in(&key(2)).await;
    assert_eq!(member.whoami().await["role"], "member");
    assert!(member.play("1").await.is_ok());
}

async fn removed_members_have_no_permissions() {
    let server = closed("manage = \"member\"").start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "hello", "7").await;
    add(&mut owner, &key(60)).await;
    let mut sessions = [server.log_in(&key(60)).await, server.log_in(&key(60)).await];
    let calls = [
        ("play", json!(["store.incr(\"plays\", 1)"])),
        ("play", json!(["1"])),
        ("call", json!(["hello"])),
        ("put_script", json!(["other", "7"])),
        ("get_script", json!(["hello"])),
        ("list_scripts", json!([])),
        ("delete_script", json!(["other"])),
        ("list_members", json!([])),
    ];
    for session in &mut sessions {
        for (method, params) in calls.clone() {
            ok(session, method, params).await;
        }
    }
    for round in 0..3 {
        remove(&mut owner, &key(60)).await;
        for session in &mut sessions {
            for (method, params) in calls.clone() {
                let what = format!("{method} {params}, round {round}");
                let answer = session.call(method, params).await;
                assert_refused(&what, answer, -32003, json!({ "needs": "member" }));
            }
        }
        add(&mut owner, &key(60)).await;
        for session in &mut sessions {
            assert_eq!(session.play("1").await.unwrap()["value"], 1);
        }
    }
    let run = owner.play("store.get(\"plays\")").await.unwrap();
    assert_eq!(run["value"], 2, "nothing of what was refused has landed");
}

async fn a_run_that_is_under_way_lands_only_for_a_member() {
    let server = closed("")
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(60)).await;
    let mut member = server.log_in(&key(60)).await;
    let slow = crate::harness::server::busy(std::time::Duration::from_millis(700), "1");
    let call = member
        .begin_play(&format!("store.set(\"started\", 1); {slow}"))
        .await;
    member.fence().await;
    remove(&mut owner, &key(60)).await;
    let answer = member.answer(call).await;
    assert_refused("play", answer, -32003, json!({ "needs": "member" }));
    let run = owner.play("store.keys(\"\")").await.unwrap();
    assert_eq!(run["value"], json!([]));
}

async fn removed_members_start_no_jobs_and_see_no_deliveries() {
    let server = closed("manage = \"member\"").start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "hello", "7").await;
    add(&mut owner, &key(60)).await;
    let mut member = server.log_in(&key(60)).await;
    let job = submit(&mut member, json!({ "script": "1" })).await;
    ok(&mut member, "list_deliveries", json!({})).await;
    remove(&mut owner, &key(60)).await;
    for (method, params) in [
        ("submit_job", json!({ "script": "1" })),
        ("submit_job", json!({ "name": "hello" })),
        ("list_deliveries", json!({})),
        ("redeliver", json!([job])),
        ("subscribe", json!({})),
    ] {
        let what = format!("{method} {params}");
        let answer = member.call(method, params).await;
        assert_refused(&what, answer, -32003, json!({ "needs": "member" }));
    }
    // They may still look at their own jobs.
    assert_eq!(get_job(&mut member, &job).await["job_id"], job);
}

/// Role and name are checked again when a job runs: a submitted job doesn't outlive the permission.
async fn jobs_of_removed_members_do_not_run() {
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    put(&mut owner, "hello", "store.set(\"called\", 1)").await;
    let mut sessions = Vec::new();
    for seed in [60, 61] {
        add(&mut owner, &key(seed)).await;
        sessions.push(server.log_in(&key(seed)).await);
    }
    let run_at = (jiff::Timestamp::now() + Duration::from_millis(700)).to_string();
    let mut jobs = Vec::new();
    for session in &mut sessions {
        for work in [
            json!({ "script": "store.set(\"played\", 1)" }),
            json!({ "name": "hello" }),
        ] {
            let mut params = work;
            params["run_at"] = json!(run_at);
            jobs.push(submit(session, params).await);
        }
    }
    remove(&mut owner, &key(60)).await;
    for id in &jobs[..2] {
        let job = until(&mut sessions[0], id, "dead").await;
        assert_eq!(job["tries"], 0, "{job}");
        let message = job["error"]["message"].as_str().unwrap();
        assert!(message.contains("role \"member\""), "{message}");
        // Nor does a retry run it.
        let answer = sessions[0].call("retry_job", json!([id])).await;
        assert_refused("retry_job", answer, -32003, json!({ "needs": "member" }));
    }
    for id in &jobs[2..] {
        until(&mut sessions[1], id, "finished").await;
    }
    remove(&mut owner, &key(61)).await;
    // Members again, they may.
    add(&mut owner, &key(60)).await;
    assert_eq!(
        ok(&mut sessions[0], "retry_job", json!([jobs[0]])).await["retried"],
        true
    );
    until(&mut sessions[0], &jobs[0], "finished").await;
}

async fn jobs_are_stopped_with_whoever_submitted_them() {
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(60)).await;
    let mut member = server.log_in(&key(60)).await;
    let mut other = server.log_in(&key(2)).await;
    let later = json!({ "script": "1", "run_at": (jiff::Timestamp::now() + Duration::from_secs(600)).to_string() });
    let done = submit(&mut member, json!({ "script": "1" })).await;
    until(&mut member, &done, "finished").await;
    let mut jobs = Vec::new();
    for _ in 0..40 {
        jobs.push(submit(&mut member, later.clone()).await);
    }
    let others = submit(&mut other, later).await;
    let params = json!({ "pubkey": key(60).public(), "stop_jobs": true });
    let answer = ok(&mut owner, "remove_member", params.clone()).await;
    assert_eq!(answer, json!({ "removed": true, "stopped": 40 }));
    for id in &jobs {
        assert_eq!(get_job(&mut member, id).await["status"], "cancelled");
    }
    assert_eq!(get_job(&mut other, &others).await["status"], "pending");
    assert_eq!(get_job(&mut member, &done).await["status"], "finished");
    let answer = ok(&mut owner, "remove_member", params).await;
    assert_eq!(answer, json!({ "removed": false, "stopped": 0 }));
}

/// Reads until the subscription ends; returns the number of events before.
async fn ended(session: &mut Ws, name: &str) -> usize {
    for n in 0.. {
        let event = session.event().await;
        if event["ended"] == true {
            let expected = json!({ "subscription": name, "ended": true, "needs": "member" });
            assert_eq!(event, expected);
            return n;
        }
        assert_eq!(event["subscription"], name, "{event}");
    }
    unreachable!()
}

async fn subscriptions_end_with_the_membership() {
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(60)).await;
    add(&mut owner, &key(61)).await;
    let mut one = server.log_in(&key(60)).await;
    let mut two = server.log_in(&key(60)).await;
    let mut fixed = server.log_in(&key(2)).await;
    let mut other = server.log_in(&key(61)).await;
    for session in [&mut one, &mut two, &mut fixed, &mut other] {
        subscribe(session, json!({})).await;
    }
    // One whose prefix fits nothing, and one that is behind.
    subscribe(&mut two, json!({ "topic": "none" })).await;
    subscribe(&mut two, json!({ "since": 0 })).await;
    owner.play("emit(\"news\", 1)").await.unwrap();
    for session in [&mut one, &mut fixed, &mut other] {
        assert_eq!(session.event().await["topic"], "news");
    }
    let mut told = Vec::new();
    for _ in 0..2 {
        let event = two.event().await;
        assert_eq!(event["topic"], "news");
        told.push(event["subscription"].as_str().unwrap().to_owned());
    }
    told.sort();
    assert_eq!(told, ["1", "3"]);
    remove(&mut owner, &key(60)).await;
    owner.play("emit(\"news\", 2)").await.unwrap();
    assert_eq!(ended(&mut one, "1").await, 0);
    let mut left = Vec::new();
    for _ in 0..3 {
        let event = two.event().await;
        assert_eq!(
            (&event["ended"], &event["needs"]),
            (&json!(true), &json!("member"))
        );
        left.push(event["subscription"].as_str().unwrap().to_owned());
    }
    left.sort();
    assert_eq!(left, ["1", "2", "3"]);
    two.assert_silent().await;
    for session in [&mut fixed, &mut other] {
        assert_eq!(session.event().await["data"], 2);
    }
    // There is no subscription to end any more, and no event comes.
    assert_eq!(ok(&mut one, "unsubscribe", json!(["1"])).await, false);
    let answer = one.call("subscribe", json!({})).await;
    assert_refused("subscribe", answer, -32003, json!({ "needs": "member" }));
    // Members again, they get events from where they like.
    add(&mut owner, &key(60)).await;
    let (name, _) = subscribe(&mut one, json!({ "topic": "news", "since": 0 })).await;
    for n in 1..=2 {
        let event = one.event().await;
        assert_eq!(event["subscription"], name, "{event}");
        assert_eq!(event["data"], n, "{event}");
    }
    owner.play("emit(\"news\", 3)").await.unwrap();
    assert_eq!(one.event().await["data"], 3);
    // They can be removed again.
    remove(&mut owner, &key(60)).await;
    assert_eq!(ended(&mut one, &name).await, 0);
}

/// If guests may subscribe, no subscription ends.
async fn former_members_get_the_events_of_guests() {
    let server = closed("subscribe = \"guest\"").start().await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(60)).await;
    let mut session = server.log_in(&key(60)).await;
    subscribe(&mut session, json!({})).await;
    remove(&mut owner, &key(60)).await;
    owner.play("emit(\"news\", 1)").await.unwrap();
    assert_eq!(session.event().await["data"], 1);
}

async fn the_owner_alone_is_told_who_comes_and_goes() {
    let server = closed("").start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut member = server.log_in(&key(2)).await;
    subscribe(&mut owner, json!({})).await;
    subscribe(&mut member, json!({})).await;
    add(&mut owner, &key(60)).await;
    // Nothing has changed, so there is no event.
    let again = ok(&mut owner, "add_member", json!([key(60).public()])).await;
    assert_eq!(again["added"], false);
    remove(&mut owner, &key(60)).await;
    owner.play("emit(\"last\", ())").await.unwrap();
    for (id, topic, data) in [
        (
            1,
            "circle.member_added",
            json!({ "pubkey": key(60).public() }),
        ),
        (
            2,
            "circle.member_removed",
            json!({ "pubkey": key(60).public() }),
        ),
        (3, "last", Value::Null),
    ] {
        let event = owner.event().await;
        assert_eq!(event["id"], id, "{event}");
        assert_eq!((&event["topic"], &event["data"]), (&json!(topic), &data));
    }
    let event = member.event().await;
    assert_eq!((&event["id"], &event["topic"]), (&json!(3), &json!("last")));
}

async fn a_circle_has_as_many_members_as_it_may() {
    let server = closed("")
        .env("CIRCLED_CIRCLES__MAX_MEMBERS", "3")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    for seed in [60, 61, 62] {
        add(&mut owner, &key(seed)).await;
    }
    let params = json!([key(63).public()]);
    let (code, data) = refused("add_member", owner.call("add_member", params.clone()).await);
    assert_eq!(code, -32005, "{data}");
    assert_eq!(data["limit"], "circles.max_members");
    assert!(data["retry_after_ms"].is_u64(), "{data}");
    // Adding a member again takes no place.
    let again = ok(&mut owner, "add_member", json!([key(60).public()])).await;
    assert_eq!(again["added"], false);
    remove(&mut owner, &key(61)).await;
    assert_eq!(ok(&mut owner, "add_member", params).await["added"], true);
}

async fn fewer_members_may_be_than_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let start = |most: &str| {
        closed("")
            .env("CIRCLED_CIRCLES__MAX_MEMBERS", most)
            .data(folder.path())
            .start()
    };
    let server = start("3").await;
    let mut owner = server.log_in(&key(1)).await;
    for seed in [60, 61, 62] {
        add(&mut owner, &key(seed)).await;
    }
    server.kill();
    let server = start("1").await;
    let mut owner = server.log_in(&key(1)).await;
    assert_eq!(listed(&mut owner).await.len(), 3);
    let answer = owner.call("add_member", json!([key(63).public()])).await;
    let (code, data) = refused("add_member", answer);
    assert_eq!(
        (code, &data["limit"]),
        (-32005, &json!("circles.max_members"))
    );
    let mut member = server.log_in(&key(62)).await;
    assert!(member.play("1").await.is_ok());
    remove(&mut owner, &key(62)).await;
    assert_eq!(listed(&mut owner).await.len(), 2);
}

async fn circles_have_members_of_their_own() {
    let server = TestServer::builder()
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"\n[[circle]]\nkey = \"{}\"\n",
            circle(),
            key(3).public(),
        ))
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    add(&mut owner, &key(60)).await;
    let mut elsewhere = server.connect_to(key(3).public()).await;
    elsewhere.login(&key(60)).await;
    assert_eq!(elsewhere.whoami().await["role"], "guest");
    let answer = elsewhere.play("1").await;
    assert_refused("play", answer, -32003, json!({ "needs": "member" }));
    // The owner of one circle is nobody in the other.
    let mut elsewhere = server.connect_to(key(3).public()).await;
    elsewhere.login(&key(1)).await;
    let answer = elsewhere
        .call("add_member", json!([key(60).public()]))
        .await;
    assert_refused("add_member", answer, -32003, json!({ "needs": "owner" }));
}

on_both!(
    members_come_and_go_and_are_kept,
    a_key_is_taken_however_it_is_written,
    parameters_must_be_a_key,
    only_the_owner_changes_who_is_a_member,
    members_by_the_settings_stay,
    removed_members_have_no_permissions,
    a_run_that_is_under_way_lands_only_for_a_member,
    removed_members_start_no_jobs_and_see_no_deliveries,
    jobs_of_removed_members_do_not_run,
    jobs_are_stopped_with_whoever_submitted_them,
    subscriptions_end_with_the_membership,
    former_members_get_the_events_of_guests,
    the_owner_alone_is_told_who_comes_and_goes,
    a_circle_has_as_many_members_as_it_may,
    fewer_members_may_be_than_there_are,
    circles_have_members_of_their_own,
);
