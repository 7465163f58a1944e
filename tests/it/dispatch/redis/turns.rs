//! Fairness between callers of a circle: no caller keeps another one waiting, whichever gateways they use.

use circled_protocol::SecretKey;
use serde_json::json;

use crate::harness::{
    redis::{Fleet, RedisServer, backlog::ONE_PARTITION},
    server::{TestServer, Ws, circle, eventually, key, within},
};

const SPIN: &str = "loop {}";

/// The most plays that a session has under way.
const EACH: usize = 60;

fn fleet(redis: &RedisServer, per_circle: usize) -> Fleet {
    Fleet::on(redis.url())
        .with(ONE_PARTITION.0, ONE_PARTITION.1)
        .with("DISPATCH__REDIS__PER_CIRCLE", per_circle)
        .with("DISPATCH__JOB_TIMEOUT", "60s")
        .with("SCRIPT__TIMEOUT", "60s")
        .with("SCRIPT__MAX_ASIDE", 1000)
}

/// Returns one of many keys.
fn nth(n: u16) -> SecretKey {
    SecretKey::from_hex(&hex::encode(n.to_be_bytes().repeat(16))).unwrap()
}

/// Opens a session with so many plays under way that don't end.
async fn flood(gateway: &TestServer, me: &SecretKey, plays: usize) -> Ws {
    let mut session = gateway.log_in(me).await;
    for _ in 0..plays {
        session.begin_play(SPIN).await;
    }
    session.fence().await;
    session
}

/// Plays new scripts, one after the other.
async fn assert_served(gateway: &TestServer, me: &SecretKey) {
    let mut session = gateway.log_in(me).await;
    for n in 0..20 {
        let script = format!("{n} + 1");
        let run = within("a play beside a flood", session.play(&script)).await;
        assert_eq!(run.unwrap()["value"], n + 1);
    }
}

/// Waits until so many plays of the circle are in the stream or wait.
async fn until_there(redis: &RedisServer, plays: usize) {
    let waiting = format!("{{circled:00}}:waiting_plays:{}", circle());
    eventually(&format!("{plays} plays"), async || {
        let number =
            async |command: &[&str]| -> usize { redis.command(command).await.parse().unwrap() };
        let in_stream = number(&["XLEN", "{circled:00}:jobs"]).await;
        in_stream + number(&["ZCARD", &waiting]).await == plays
    })
    .await;
}

async fn nothing_is_left(redis: &RedisServer) {
    redis.until_no_plays().await;
    redis.until_held(0).await;
}

/// One caller has more under way than are with the workers at a time, of so many.
async fn one_caller_floods(per_circle: usize) {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis, per_circle);
    let gateways = fleet.gateways(2).await;
    let _worker = fleet.worker().await;
    let mut floods = Vec::new();
    for n in 0..2 + 2 * per_circle / EACH {
        floods.push(flood(&gateways[n % 2], &key(2), EACH).await);
    }
    until_there(&redis, EACH * floods.len()).await;
    for gateway in &gateways {
        assert_served(gateway, &key(3)).await;
    }
    for flood in floods {
        flood.leave().await;
    }
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn one_callers_plays_that_do_not_end_keep_no_other_caller_waiting() {
    one_caller_floods(8).await;
}

#[tokio::test]
async fn ten_times_as_many_keep_no_other_caller_waiting_either() {
    one_caller_floods(80).await;
}

/// Each caller has several plays under way, and all of them together more than the workers have at a time.
async fn many_callers_flood(per_circle: usize, callers: u16) {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis, per_circle);
    let gateways = fleet.gateways(2).await;
    let _worker = fleet.worker().await;
    let mut floods = Vec::new();
    for n in 0..callers {
        let gateway = &gateways[usize::from(n) % 2];
        floods.push(flood(gateway, &nth(1000 + n), 4).await);
    }
    until_there(&redis, 4 * usize::from(callers)).await;
    assert_served(&gateways[0], &key(3)).await;
    for flood in floods {
        flood.leave().await;
    }
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn forty_callers_with_several_plays_each_keep_no_other_caller_waiting() {
    many_callers_flood(8, 40).await;
}

#[tokio::test]
async fn a_hundred_callers_with_several_plays_each_keep_no_other_caller_waiting() {
    many_callers_flood(80, 100).await;
}

/// Two callers have one play with the workers and another that waits, when so many more come, with one each. The first
/// play of one is cancelled, that of the other ends: their waiting plays get a place at once, as a newcomer's would.
async fn newcomers_come(callers: u16) {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis, 1);
    let gateways = fleet.gateways(2).await;
    let (mut firsts, mut waiting) = (Vec::new(), Vec::new());
    for (n, script) in [SPIN, "1"].into_iter().enumerate() {
        let me = key(2 + n as u8);
        let mut session = gateways[0].log_in(&me).await;
        session.begin_play(script).await;
        firsts.push(session);
        until_there(&redis, 2 * n + 1).await;
        let mut session = gateways[1].log_in(&me).await;
        let run = session.begin_play("40 + 2").await;
        waiting.push((session, run));
        until_there(&redis, 2 * n + 2).await;
    }
    let mut floods = Vec::new();
    for n in 0..callers {
        let gateway = &gateways[usize::from(n) % 2];
        floods.push(flood(gateway, &nth(1000 + n), 1).await);
    }
    until_there(&redis, 4 + usize::from(callers)).await;
    firsts.remove(0).leave().await;
    let _worker = fleet.worker().await;
    for (mut session, run) in waiting {
        let run = within("a play that others came after", session.answer(run)).await;
        assert_eq!(run.unwrap()["value"], 42);
    }
    for session in floods.into_iter().chain(firsts) {
        session.leave().await;
    }
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn callers_without_a_place_are_not_overtaken() {
    newcomers_come(5).await;
}

#[tokio::test]
async fn nor_by_ten_times_as_many() {
    newcomers_come(50).await;
}

#[tokio::test]
async fn a_queue_that_is_full_of_one_caller_is_not_full_for_another() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis, 2).with("DISPATCH__REDIS__QUEUE", 8);
    let gateways = fleet.gateways(2).await;
    let _worker = fleet.worker().await;
    let mut floods = Vec::new();
    for gateway in &gateways {
        floods.push(flood(gateway, &key(2), 5).await);
    }
    until_there(&redis, 2 + 8).await;
    // One more waits at its gateway.
    let one_more = floods[0].begin_play("1").await;
    floods[0].fence().await;
    for gateway in &gateways {
        assert_served(gateway, &key(3)).await;
    }
    // Their other plays wait, up to their share of the queue.
    let other = flood(&gateways[0], &key(3), 5).await;
    until_there(&redis, 2 + 8 + 5).await;
    // There are no more than twice as many in all, of any callers.
    for n in 0..20 {
        floods.push(flood(&gateways[1], &nth(1000 + n), 1).await);
    }
    until_there(&redis, 2 * 2 + 2 * 8).await;
    assert!(!floods[0].has_answer(one_more));
    for session in floods.into_iter().chain([other]) {
        session.leave().await;
    }
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn a_callers_plays_run_in_their_order_while_others_have_their_turns() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis, 1);
    let gateways = fleet.gateways(2).await;
    let mut sessions = Vec::new();
    for n in 0..3 {
        let gateway = &gateways[n % 2];
        sessions.push(gateway.log_in(&nth(1000 + n as u16)).await);
    }
    let mut calls = Vec::new();
    for n in 0..30 {
        for (who, session) in sessions.iter_mut().enumerate() {
            let script = format!("store.set(\"{who}\", store.get(\"{who}\", []) + [{n}]); {n}");
            calls.push((who, session.begin_play(&script).await));
        }
    }
    until_there(&redis, calls.len()).await;
    let _worker = fleet.worker().await;
    for (n, (who, call)) in calls.into_iter().enumerate() {
        let run = sessions[who].answer(call).await.unwrap();
        assert_eq!(run["value"], n / 3);
    }
    for who in 0..3 {
        let script = format!("store.get(\"{who}\")");
        let order = sessions[0].play(&script).await.unwrap();
        assert_eq!(order["value"], json!((0..30).collect::<Vec<_>>()));
    }
    nothing_is_left(&redis).await;
}

#[tokio::test]
async fn nothing_is_left_of_plays_whose_gateway_was_killed() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis, 2);
    let gateways = fleet.gateways(2).await;
    let [killed, stays] = gateways.try_into().ok().unwrap();
    let mut sessions = Vec::new();
    for n in 0..3 {
        for gateway in [&killed, &stays] {
            let mut session = gateway.log_in(&nth(1000 + n)).await;
            for _ in 0..10 {
                session.begin_play("store.incr(\"n\", 1)").await;
            }
            sessions.push(session);
        }
    }
    until_there(&redis, 60).await;
    killed.kill();
    // For one of them, half of its sessions leave.
    sessions.remove(1).leave().await;
    until_there(&redis, 50).await;
    let _worker = fleet.worker().await;
    nothing_is_left(&redis).await;
    let mut session = stays.log_in(&key(3)).await;
    let ran = session.play("store.get(\"n\")").await.unwrap();
    assert_eq!(ran["value"], 50);
}

/// Plays that nobody cancels any more, because their gateway is gone.
#[tokio::test]
async fn plays_that_wait_for_a_place_have_no_more_time() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis, 1);
    let gateway = fleet.gateway().await;
    let _worker = fleet.worker().await;
    let mut session = gateway.log_in(&key(2)).await;
    for _ in 0..3 {
        let params = json!({ "script": SPIN, "timeout_ms": 3000 });
        session.begin("play", params).await;
    }
    for _ in 0..3 {
        let params = json!({ "script": "store.set(\"late\", true)", "timeout_ms": 2000 });
        session.begin("play", params).await;
    }
    session.fence().await;
    until_there(&redis, 6).await;
    gateway.kill();
    nothing_is_left(&redis).await;
    let gateway = fleet.gateway().await;
    let mut other = gateway.log_in(&key(3)).await;
    let late = other.play("store.get(\"late\")").await.unwrap();
    assert!(late["value"].is_null(), "{late}");
}

#[tokio::test]
async fn a_damaged_count_keeps_nobody_waiting_for_good() {
    let redis = RedisServer::start().await;
    let fleet = fleet(&redis, 4);
    let gateway = fleet.gateway().await;
    let _worker = fleet.worker().await;
    let mut owner = gateway.log_in(&key(1)).await;
    let job_counts = format!("{{circled:00}}:job_counts:{}", circle());
    let me = key(1).public().to_string();
    for damage in [
        "garbage", "", "-3", "3", "7", "1000000", "1e300", "1.5", "nan", "inf",
    ] {
        for what in ["plays", "durable", "delayed", &me] {
            redis.command(&["HSET", &job_counts, what, damage]).await;
        }
        let mut calls = Vec::new();
        for n in 0..20 {
            calls.push(owner.begin_play(&format!("{n}")).await);
        }
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(owner.answer(call).await.unwrap()["value"], n, "{damage}");
        }
        let job = json!({ "script": format!("\"{damage}\"") });
        let job = owner.call("submit_job", job).await.unwrap()["job_id"].clone();
        eventually("the job to end", async || {
            let job = owner.call("get_job", json!([job])).await.unwrap();
            job["value"] == damage
        })
        .await;
    }
    redis.command(&["HDEL", &job_counts, "delayed"]).await;
    nothing_is_left(&redis).await;
}
