//! Concurrent runs have the same effect as runs one after another.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::value;
use crate::harness::{
    backend::{on_both, on_other_servers},
    server::{ENDLESS, TestServer, Ws, busy, key},
};

/// Opens so many sessions of so many callers.
async fn sessions(server: &TestServer, count: u8) -> Vec<Ws> {
    let mut sessions = Vec::new();
    for n in 0..count {
        sessions.push(server.log_in(&key(100 + n)).await);
    }
    sessions
}

async fn many_callers_count_on_one_key() {
    let server = TestServer::start().await;
    let mut callers = JoinSet::new();
    for mut session in sessions(&server, 64).await {
        callers.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..5 {
                seen.push(
                    value(&mut session, "store.incr(\"n\", 1)")
                        .await
                        .as_i64()
                        .unwrap(),
                );
            }
            assert!(seen.is_sorted(), "{seen:?}");
            seen
        });
    }
    let mut seen: Vec<i64> = callers.join_all().await.into_iter().flatten().collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=320).collect::<Vec<_>>(), "each number once");
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(value(&mut session, "store.get(\"n\")").await, json!(320));
}

/// All of them together are more than fit into any queue.
async fn sessions_with_many_calls_under_way_are_refused_nothing() {
    const CALLS: usize = 40;
    let server = TestServer::start().await;
    let mut callers = JoinSet::new();
    for mut session in sessions(&server, 64).await {
        callers.spawn(async move {
            let mut calls = Vec::new();
            for _ in 0..CALLS {
                calls.push(session.begin_play("store.incr(\"n\", 1)").await);
            }
            for call in calls {
                session.answer(call).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let mut session = server.log_in(&key(2)).await;
    assert_eq!(
        value(&mut session, "store.get(\"n\")").await,
        json!(64 * CALLS)
    );
}

async fn transfers_keep_the_total() {
    const ACCOUNTS: u64 = 5;
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    value(
        &mut session,
        "for n in 0..5 { store.set(`account/${n}`, 100) }",
    )
    .await;

    let mut transfers = JoinSet::new();
    for (caller, mut session) in (0..).zip(sessions(&server, 8).await) {
        transfers.spawn(async move {
            for n in 0..60_u64 {
                let from = (caller + n) % ACCOUNTS;
                let to = (from + 1 + (caller * n) % (ACCOUNTS - 1)) % ACCOUNTS;
                let script = format!(
                    "let n = {};
                    let from = store.get(\"account/{from}\");
                    if from < n {{ return \"too little\" }}
                    store.set(\"account/{from}\", from - n);
                    store.incr(\"account/{to}\", n);",
                    1 + (caller * 31 + n * 17) % 60
                );
                value(&mut session, &script).await;
            }
        });
    }
    let sum = "let sum = 0; let least = 0;
        for k in store.keys(\"account/\") {
            let n = store.get(k);
            sum += n;
            least = if n < least { n } else { least }
        }
        [sum, least]";
    let mut looks = 0;
    while !transfers.is_empty() {
        assert_eq!(value(&mut session, sum).await, json!([500, 0]));
        looks += 1;
        while let Some(ended) = transfers.try_join_next() {
            ended.unwrap();
        }
    }
    assert!(looks > 5, "{looks}");
    assert_eq!(value(&mut session, sum).await, json!([500, 0]));
}

/// Each look takes many round trips where the store is elsewhere, and all of them see others' commits in between.
async fn a_script_that_reads_many_hot_keys_gets_there() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let writers = sessions(&server, 8).await;
    let writes = futures_util::future::join_all(writers.into_iter().map(async |mut session| {
        for n in 0.. {
            value(&mut session, &format!("store.incr(\"hot/{}\", 1)", n % 40)).await;
        }
    }));
    let looks = async {
        for _ in 0..5 {
            let sum = "let sum = 0; for n in 0..40 { sum += store.get(`hot/${n}`, 0) }";
            let script = format!("{sum} store.set(\"sum\", sum); sum");
            value(&mut session, &script).await;
            value(&mut session, sum).await;
        }
    };
    tokio::select! {
        () = looks => {}
        _ = writes => {}
    }
}

async fn of_two_that_depend_on_each_other_one_comes_first() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let mut doctors = sessions(&server, 2).await;
    // Each leaves if the other one stays. The runs are long enough to look before either is done, and once as short as
    // can be.
    let ways = [
        (
            "",
            "store.get(\"on/0\", false) && store.get(\"on/1\", false)",
        ),
        (
            "let start = timestamp(); while start.elapsed < 0.02 {}",
            "store.get(\"on/0\", false) && store.get(\"on/1\", false)",
        ),
        (
            "let start = timestamp(); while start.elapsed < 0.02 {}",
            "store.keys(\"on/\").len() == 2",
        ),
    ];
    for (pause, both) in ways {
        for round in 0..10 {
            value(
                &mut session,
                "store.set(\"on/0\", true); store.set(\"on/1\", true)",
            )
            .await;
            let mut calls = Vec::new();
            for (n, doctor) in doctors.iter_mut().enumerate() {
                let script = format!(
                    "let both = {both}; {pause} if both {{ store.delete(\"on/{n}\") }} both"
                );
                calls.push(doctor.begin_play(&script).await);
            }
            let mut left = Vec::new();
            for (doctor, call) in doctors.iter_mut().zip(calls) {
                left.push(
                    doctor.answer(call).await.unwrap()["value"]
                        .as_bool()
                        .unwrap(),
                );
            }
            left.sort_unstable();
            assert_eq!(left, [false, true], "round {round} of {both}");
            assert_eq!(
                value(&mut session, "store.keys(\"on/\").len()").await,
                json!(1)
            );
        }
    }
}

async fn only_one_run_creates_a_missing_key() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let mut callers = sessions(&server, 8).await;
    for round in 0..10 {
        for seen in ["store.has(NAME)", "store.keys(NAME).len() > 0"] {
            let name = format!("\"{round}/{}\"", seen.len());
            let script = format!(
                "if {} {{ return false }} store.set({name}, CALLER_ID); true",
                seen.replace("NAME", &name)
            );
            let mut calls = Vec::new();
            for caller in &mut callers {
                calls.push(caller.begin_play(&script).await);
            }
            let mut made = 0;
            for (caller, call) in callers.iter_mut().zip(calls) {
                made += usize::from(caller.answer(call).await.unwrap()["value"] == true);
            }
            assert_eq!(made, 1, "{script}");
        }
    }
    assert_eq!(
        value(&mut session, "store.keys(\"\").len()").await,
        json!(20)
    );
}

async fn a_long_script_that_keeps_colliding_is_told_and_leaves_nothing() {
    let server = TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_SCRIPT__FAST_TIME", "5s")
        .start()
        .await;
    let (mut slow, mut quick) = (server.log_in(&key(2)).await, server.log_in(&key(3)).await);
    let script = format!(
        "let n = store.get(\"hot\", 0); {} store.set(\"out\", n)",
        busy(Duration::from_millis(300), ";")
    );
    let call = slow.begin_play(&script).await;
    slow.fence().await;
    let told = async {
        let error = slow.answer(call).await.unwrap_err();
        assert_eq!(error["code"], -32009, "{error}");
        assert_eq!(error["message"], "Conflict");
    };
    let writes = async {
        loop {
            value(&mut quick, "store.incr(\"hot\", 1)").await;
        }
    };
    tokio::select! {
        () = told => {}
        () = writes => {}
    }
    let mut session = server.log_in(&key(4)).await;
    assert_eq!(
        value(&mut session, "store.has(\"out\")").await,
        json!(false)
    );
    // Left alone, it gets there.
    slow.play(&script).await.unwrap();
    let same = "store.get(\"out\") == store.get(\"hot\")";
    assert_eq!(value(&mut session, same).await, json!(true));
}

on_both!(
    many_callers_count_on_one_key,
    sessions_with_many_calls_under_way_are_refused_nothing,
    transfers_keep_the_total,
    a_script_that_reads_many_hot_keys_gets_there,
    of_two_that_depend_on_each_other_one_comes_first,
    only_one_run_creates_a_missing_key,
    a_long_script_that_keeps_colliding_is_told_and_leaves_nothing,
);

on_other_servers!(
    transfers_keep_the_total,
    of_two_that_depend_on_each_other_one_comes_first,
);
