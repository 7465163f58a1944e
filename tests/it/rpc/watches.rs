//! Live queries: sessions get the value of a script again whenever it changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use circled_client::{Watch, WatchNotice, protocol::Json};
use futures_util::{StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::harness::{
    backend::{on_both, on_other_servers},
    calls::{add, assert_invalid, assert_refused, closed, ok, put, refused, remove},
    server::{Builder, TestServer, Ws, circle, key},
};

/// A server that logs each run of a query.
fn logging() -> Builder {
    TestServer::builder().env("CIRCLED_LOG__LEVEL", "debug")
}

/// Watches a script. Returns the watch's name, its value, and the commit.
async fn watch(session: &mut Ws, script: &str) -> (String, Value, u64) {
    let begun = ok(session, "watch", json!({ "script": script })).await;
    read(begun)
}

fn read(mut begun: Value) -> (String, Value, u64) {
    assert_eq!(begun.as_object().unwrap().len(), 3, "{begun}");
    let name = begun["subscription"].as_str().unwrap().to_owned();
    let at = begun["at"].as_u64().unwrap();
    (name, begun["value"].take(), at)
}

async fn set(session: &mut Ws, key: &str, value: impl Into<Value>) {
    let params = json!({ "script": "store.set(ARGS.key, ARGS.value)", "args": { "key": key, "value": value.into() } });
    ok(session, "play", params).await;
}

/// Returns the watch and the value of the next notification.
async fn next(session: &mut Ws) -> (String, Value) {
    let mut told = session.value().await;
    assert_eq!(told.as_object().unwrap().len(), 3, "{told}");
    assert!(told["at"].is_u64(), "{told}");
    let name = told["subscription"].as_str().unwrap().to_owned();
    (name, told["value"].take())
}

/// Returns the number of runs of queries so far, after all commits by now have been noticed: `fence` watches the key
/// "fence" and nothing else.
async fn runs(server: &mut TestServer, fence: &mut Ws, n: &mut u64) -> usize {
    *n += 1;
    set(fence, "fence", *n).await;
    let told = fence.value().await;
    assert_eq!(told["value"], json!(*n));
    // What was logged before is there once this is.
    let ran = |line: &Value| line["message"] == "a query ran" && line["at"] == told["at"];
    server.logged("the run of the fence", ran).await;
    let own = usize::try_from(*n).unwrap() + 1;
    server.count_logged(|line| line["message"] == "a query ran") - own
}

async fn a_value_comes_whenever_it_changes() {
    let server = TestServer::start().await;
    let mut one = server.log_in(&key(2)).await;
    let mut two = server.log_in(&key(3)).await;
    let (name, value, at) = watch(&mut one, "store.get(\"n\")").await;
    assert_eq!((name.as_str(), value, at), ("1", json!(null), 0));
    for (n, value) in [json!(1), json!("é"), json!({ "a": [1.0, null] })]
        .into_iter()
        .enumerate()
    {
        set(&mut two, "n", value.clone()).await;
        let told = one.value().await;
        assert_eq!(
            told,
            json!({ "subscription": "1", "value": value, "at": n + 1 })
        );
    }
    // What doesn't change isn't told; nor is what others watch.
    set(&mut two, "n", json!({ "a": [1.0, null] })).await;
    set(&mut two, "m", 1).await;
    ok(&mut two, "play", json!(["store.delete(\"n\")"])).await;
    assert_eq!(next(&mut one).await, ("1".to_owned(), json!(null)));
    // Names are those of all subscriptions.
    let begun = ok(&mut one, "subscribe", json!({})).await;
    assert_eq!(begun["subscription"], "2");
    let params = json!({ "script": "[ARGS, store.get(\"n\")]", "args": [7] });
    let (name, value, _) = read(ok(&mut one, "watch", params).await);
    assert_eq!((name.as_str(), value), ("3", json!([[7], null])));
    for (ended, expected) in [("3", true), ("3", false), ("1", true), ("9", false)] {
        let was_there = ok(&mut one, "unsubscribe", json!([ended])).await;
        assert_eq!(was_there, json!(expected), "{ended}");
    }
    set(&mut two, "n", 2).await;
    let (_, value, _) = watch(&mut one, "store.get(\"n\")").await;
    assert_eq!(value, json!(2));
    one.fence().await;
    one.assert_silent().await;
}

async fn only_what_a_script_has_read_has_it_run_again() {
    let mut server = logging().start().await;
    let mut fence = server.log_in(&key(2)).await;
    let mut session = server.log_in(&key(3)).await;
    watch(&mut fence, "store.get(\"fence\")").await;
    let mut n = 0;
    // Which key it reads depends on another.
    let pointer = "let key = store.get(\"pointer\"); if key == () { 0 } else { store.get(key) }";
    let ranges = "[store.keys(\"list/\"), store.scan(#{ prefix: \"log/\", limit: 2, reverse: true }).map(|e| e.value), store.count(\"n/\")]";
    let (pointer, ..) = watch(&mut session, pointer).await;
    let (ranges, ..) = watch(&mut session, ranges).await;
    // A gateway that has just started may have missed commits, and runs all queries again.
    let mut ran = runs(&mut server, &mut fence, &mut n).await;
    assert!(ran >= 2, "{ran}");
    for (key, value, told) in [
        ("target", json!(1), None),
        ("pointer", json!("target"), Some((&pointer, json!(1)))),
        ("target", json!(2), Some((&pointer, json!(2)))),
        ("other", json!(2), None),
        (
            "list/b",
            json!(1),
            Some((&ranges, json!([["list/b"], [], 0]))),
        ),
        (
            "log/1",
            json!(1),
            Some((&ranges, json!([["list/b"], [1], 0]))),
        ),
        (
            "log/2",
            json!(2),
            Some((&ranges, json!([["list/b"], [2, 1], 0]))),
        ),
        (
            "log/3",
            json!(3),
            Some((&ranges, json!([["list/b"], [3, 2], 0]))),
        ),
        // The old end of the list isn't read.
        ("log/0", json!(0), None),
        (
            "n/1",
            json!(0),
            Some((&ranges, json!([["list/b"], [3, 2], 1]))),
        ),
        ("lisu", json!(0), None),
    ] {
        set(&mut session, key, value).await;
        if let Some((name, value)) = told {
            ran += 1;
            assert_eq!(next(&mut session).await, (name.clone(), value), "{key}");
        }
        assert_eq!(runs(&mut server, &mut fence, &mut n).await, ran, "{key}");
    }
    session.assert_silent().await;
}

async fn sessions_share_the_runs_of_the_same_query() {
    let mut server = logging().start().await;
    let mut fence = server.log_in(&key(2)).await;
    watch(&mut fence, "store.get(\"fence\")").await;
    let (all, mut n) = (&server, 0);
    let mut sessions = join_all((3..23).map(|n| async move {
        let mut session = all.log_in(&key(n)).await;
        watch(&mut session, "store.get(\"n\")").await;
        session
    }))
    .await;
    // A gateway that has just started may have missed commits, and runs all queries again.
    let first = runs(&mut server, &mut fence, &mut n).await;
    assert!((1..4).contains(&first), "{first}");
    for value in 1..4 {
        set(&mut fence, "n", value).await;
        for session in &mut sessions {
            assert_eq!(next(session).await.1, json!(value));
        }
        let ran = runs(&mut server, &mut fence, &mut n).await;
        assert_eq!(ran, first + usize::try_from(value).unwrap());
    }
    // Others leave, and it goes on.
    sessions.truncate(1);
    set(&mut fence, "n", 7).await;
    assert_eq!(next(&mut sessions[0]).await.1, json!(7));
}

async fn who_uses_the_caller_gets_their_own_value() {
    let server = TestServer::start().await;
    let mut writer = server.log_in(&key(2)).await;
    let mut sessions = Vec::new();
    for n in 3..6 {
        sessions.push((server.log_in(&key(n)).await, key(n).public()));
    }
    // Only sometimes, and by an import.
    put(
        &mut server.log_in(&key(1)).await,
        "who",
        "fn me() { CALLER_ID }",
    )
    .await;
    let script = "import \"who\" as who; if store.get(\"n\") == 1 { [who::me(), 1] } else { store.get(\"n\") }";
    for (session, _) in &mut sessions {
        assert_eq!(watch(session, script).await.1, json!(null));
    }
    for n in [1, 2, 1, 3] {
        set(&mut writer, "n", n).await;
        for (session, pubkey) in &mut sessions {
            let expected = if n == 1 { json!([pubkey, 1]) } else { json!(n) };
            assert_eq!(next(session).await.1, expected);
        }
    }
    for (session, pubkey) in &mut sessions {
        let (_, value, _) = watch(session, "[CALLER_ROLE, CALLER_ID]").await;
        assert_eq!(value, json!(["guest", pubkey]));
    }
}

async fn a_watched_script_only_reads() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    for script in [
        "store.set(\"a\", 1)",
        "store.delete(\"a\")",
        "store.add(\"a\", 1)",
        "store.push(\"a\", 1)",
        "store.delete_range(#{ prefix: \"a\" })",
        "emit(\"a\", 1)",
    ] {
        let answer = session.call("watch", json!({ "script": script })).await;
        let error = answer.unwrap_err();
        assert_eq!(
            (&error["code"], &error["data"]["kind"]),
            (&json!(-32000), &json!("runtime"))
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("a watched script only reads"), "{message}");
    }
    assert_eq!(
        ok(&mut session, "play", json!(["store.count(\"\")"])).await["value"],
        0
    );
    // Later, too; and then it is told, and watched on.
    let script = "let n = store.get(\"n\"); if n == 1 { store.set(\"m\", 1) } if n == 2 { throw #{ n: n } } n";
    watch(&mut session, script).await;
    set(&mut session, "n", 1).await;
    let told = session.value().await;
    assert_eq!(told["error"]["code"], -32000, "{told}");
    set(&mut session, "n", 2).await;
    let told = session.value().await;
    assert_eq!(told["error"]["data"]["thrown"], json!({ "n": 2 }), "{told}");
    set(&mut session, "n", 3).await;
    assert_eq!(next(&mut session).await.1, json!(3));
}

async fn a_named_script_is_watched_in_its_newest_version() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut session = server.log_in(&key(2)).await;
    let missing = session.call("watch", json!({ "name": "top" })).await;
    assert_refused("missing", missing, -32006, json!({ "what": "script" }));
    let first = put(&mut owner, "top", "[1, ARGS]").await;
    let params = json!({ "name": "top", "args": 5 });
    assert_eq!(
        ok(&mut session, "watch", params).await["value"],
        json!([1, 5])
    );
    let params = json!({ "name": "top", "version": first, "args": 6 });
    let refused = session.call("watch", params.clone()).await;
    assert_refused("a version", refused, -32003, json!({ "needs": "owner" }));
    assert_eq!(
        ok(&mut owner, "watch", params).await["value"],
        json!([1, 6])
    );
    put(&mut owner, "top", "[2, ARGS]").await;
    assert_eq!(next(&mut session).await.1, json!([2, 5]));
    ok(&mut owner, "delete_script", json!(["top"])).await;
    assert_eq!(session.value().await["error"]["code"], -32006);
    for params in [
        json!({}),
        json!({ "name": "a", "script": "1" }),
        json!({ "script": "1", "version": "ab" }),
    ] {
        let answer = session.call("watch", params.clone()).await;
        assert_invalid(&params.to_string(), answer, "either `script`");
    }
}

async fn a_scripts_own_rule_decides_who_is_told() {
    let server = TestServer::start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut guest = server.log_in(&key(2)).await;
    let put_as = |rule: &str| json!({ "name": "top", "source": "store.get(\"n\")", "call": rule });
    ok(&mut owner, "put_script", put_as("guest")).await;
    let params = json!({ "name": "top" });
    for session in [&mut owner, &mut guest] {
        ok(session, "watch", params.clone()).await;
    }
    ok(&mut owner, "put_script", put_as("owner")).await;
    assert_eq!(guest.value().await["error"]["code"], -32003);
    set(&mut owner, "n", 1).await;
    assert_eq!(next(&mut owner).await.1, json!(1));
    let refused = guest.call("watch", params).await;
    assert_refused("guest", refused, -32003, json!({ "needs": "owner" }));
    ok(&mut owner, "put_script", put_as("auto")).await;
    assert_eq!(next(&mut guest).await.1, json!(1));
    owner.fence().await;
    owner.assert_silent().await;
}

async fn a_removed_member_is_told_nothing_more() {
    let server = closed("play = \"member\"").start().await;
    let mut owner = server.log_in(&key(1)).await;
    let mut fixed = server.log_in(&key(2)).await;
    let mut added = server.log_in(&key(3)).await;
    let stranger = server
        .connect()
        .await
        .call("watch", json!({ "script": "1" }))
        .await;
    assert_refused("stranger", stranger, -32001, json!(null));
    let guest = added.call("watch", json!({ "script": "1" })).await;
    assert_refused("guest", guest, -32003, json!({ "needs": "member" }));
    add(&mut owner, &key(3)).await;
    for session in [&mut fixed, &mut added] {
        watch(session, "store.get(\"n\")").await;
    }
    set(&mut owner, "n", 1).await;
    for session in [&mut fixed, &mut added] {
        assert_eq!(next(session).await.1, json!(1));
    }
    remove(&mut owner, &key(3)).await;
    set(&mut owner, "n", 2).await;
    assert_eq!(next(&mut fixed).await.1, json!(2));
    // Its first one was refused.
    let ended = json!({ "subscription": "2", "ended": true, "needs": "member" });
    assert_eq!(added.value().await, ended);
    assert_eq!(
        ok(&mut added, "unsubscribe", json!(["2"])).await,
        json!(false)
    );
    // Another caller of the same session isn't told what the one before watches.
    fixed.login(&key(1)).await;
    assert_eq!(
        fixed.value().await,
        json!({ "subscription": "1", "ended": true })
    );
}

async fn watches_and_queries_are_bounded() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_WATCHES", 2)
        .env("CIRCLED_SESSION__WATCH_READS", "1KiB")
        .env("CIRCLED_CIRCLES__MAX_QUERIES", 5)
        .start()
        .await;
    let mut one = server.log_in(&key(2)).await;
    let mut two = server.log_in(&key(3)).await;
    let limit = |answer| {
        let (code, data) = refused("one too many", answer);
        assert_eq!(code, -32005);
        data["limit"].as_str().unwrap().to_owned()
    };
    let greedy = "for n in 0..20 { store.get(`k${n}`) }";
    let answer = one.call("watch", json!({ "script": greedy })).await;
    assert_eq!(limit(answer), "session.watch_reads");
    watch(&mut one, "1").await;
    watch(&mut one, "2").await;
    let answer = one.call("watch", json!({ "script": "1" })).await;
    assert_eq!(limit(answer), "session.max_watches");
    watch(&mut two, "3").await;
    let answer = two.call("watch", json!({ "script": "4" })).await;
    assert_eq!(limit(answer), "circles.max_queries");
    // One that is there already needs no room.
    watch(&mut two, "1").await;
    ok(&mut two, "unsubscribe", json!(["1"])).await;
    watch(&mut two, "4").await;
    // It leaves some for others.
    let mut other = server.connect_to(key(5).public()).await;
    other.login(&key(5)).await;
    watch(&mut other, "4").await;
}

async fn queries_that_have_ended_take_no_memory_from_others() {
    let server = TestServer::builder()
        .env("CIRCLED_CIRCLES__QUERY_BYTES", "2MiB")
        .start()
        .await;
    let args = "x".repeat(100_000);
    for seed in [2, 5, 6] {
        let mut session = server.connect_to(key(seed).public()).await;
        session.login(&key(seed)).await;
        for n in 0..30 {
            let watch = json!({ "script": "ARGS.len()", "args": format!("{args}{n}") });
            let (name, ..) = read(ok(&mut session, "watch", watch).await);
            ok(&mut session, "unsubscribe", json!([name])).await;
        }
    }
}

async fn a_key_that_expires_is_noticed() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    watch(&mut session, "[store.get(\"n\"), store.count(\"n\")]").await;
    let script = "store.set(\"n\", 1, #{ ttl: \"100ms\" })";
    ok(&mut session, "play", json!([script])).await;
    assert_eq!(next(&mut session).await.1, json!([1, 1]));
    assert_eq!(next(&mut session).await.1, json!([null, 0]));
}

async fn who_resumes_gets_a_value_only_if_it_is_another() {
    let server = TestServer::start().await;
    let mut writer = server.log_in(&key(2)).await;
    set(&mut writer, "n", 1).await;
    let script = "store.get(\"n\")";
    let mut session = server.log_in(&key(3)).await;
    let (_, value, at) = watch(&mut session, script).await;
    assert_eq!(value, json!(1));
    session.leave().await;
    set(&mut writer, "m", 1).await;
    let mut session = server.log_in(&key(3)).await;
    let since = |since: u64| json!({ "script": script, "since": since });
    let begun = ok(&mut session, "watch", since(at)).await;
    assert_eq!(begun.as_object().unwrap().len(), 2, "{begun}");
    assert_eq!(begun["at"], at + 1);
    // What it can't know about, it sends.
    for since in [since(0), since(at + 7)] {
        assert_eq!(ok(&mut session, "watch", since).await["value"], 1);
    }
    set(&mut writer, "n", 2).await;
    let told = [
        next(&mut session).await,
        next(&mut session).await,
        next(&mut session).await,
    ];
    let told: BTreeMap<_, _> = told.into_iter().collect();
    assert_eq!(json!(told), json!({ "1": 2, "2": 2, "3": 2 }));
    assert_eq!(ok(&mut session, "watch", since(at)).await["value"], 2);
}

async fn a_slow_client_gets_the_newest_value() {
    let server = TestServer::start().await;
    let mut writer = server.log_in(&key(2)).await;
    let mut slow = server.connect_narrow().await;
    slow.login(&key(3)).await;
    let script = "let n = store.get(\"n\"); let text = \"\"; text.pad(60_000, 'x'); [n, text]";
    watch(&mut slow, script).await;
    for n in 1..=200 {
        set(&mut writer, "n", n).await;
    }
    let mut told = 0;
    loop {
        let (_, value) = next(&mut slow).await;
        told += 1;
        if value[0] == 200 {
            break;
        }
    }
    assert!(told < 200, "{told}");
    slow.assert_silent().await;
}

/// Watches through all that happens, and keeps the last value of each.
pub(crate) struct Followers {
    last: Vec<Arc<Mutex<Option<Value>>>>,
    _tasks: JoinSet<()>,
}

impl Followers {
    /// Begins to watch these scripts at these addresses.
    pub(crate) fn of(addresses: &[String], scripts: &[&str]) -> Self {
        let mut tasks = JoinSet::new();
        let mut last = Vec::new();
        for address in addresses {
            for script in scripts {
                let seen = Arc::new(Mutex::new(None));
                last.push(seen.clone());
                let mut values = Watch::script(address, key(3), *script).start();
                tasks.spawn(async move {
                    while let Some(next) = values.next().await {
                        let WatchNotice::Value(Json(value)) = next.unwrap() else {
                            panic!("it neither fails nor ends");
                        };
                        let before = seen.lock().unwrap().replace(value.clone());
                        assert_ne!(before, Some(value), "it has that value");
                    }
                });
            }
        }
        Self {
            last,
            _tasks: tasks,
        }
    }

    /// Waits until each has the value that its script has now.
    pub(crate) async fn agree_with(&self, session: &mut Ws, scripts: &[&str]) {
        let mut values = Vec::new();
        for script in scripts {
            values.push(ok(session, "play", json!([script])).await["value"].take());
        }
        let values = values.iter().cycle();
        for (seen, value) in self.last.iter().zip(values) {
            timeout(LONG, async {
                while seen.lock().unwrap().as_ref() != Some(value) {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await
            .unwrap_or_else(|_| panic!("{:?} isn't {value}", seen.lock().unwrap()));
        }
    }
}

/// The scripts that are watched through failures.
pub(crate) const FOLLOWED: [&str; 3] = [
    "store.get(\"n\")",
    "store.scan(#{ prefix: \"list/\", limit: 3, reverse: true })",
    "[store.count(\"list/\"), store.get(`k${store.get(\"which\")}`)]",
];

/// Writes what [`FOLLOWED`] read, as the n-th time.
pub(crate) const WRITES: &str = "let n = store.incr(\"n\", 1); store.push(\"list/\", n); store.set(\"which\", n % 3); store.set(`k${n % 3}`, n);";

/// A client waits up to 30 s until it tries again, after many failures.
const LONG: Duration = Duration::from_secs(40);

async fn all_have_the_last_value_after_many_have_written() {
    let server = TestServer::start().await;
    let scripts: Vec<_> = (0..10)
        .map(|n| format!("[store.get(\"k{n}\"), store.count(\"list{n}/\")]"))
        .collect();
    let scripts: Vec<&str> = scripts.iter().map(String::as_str).collect();
    let addresses = vec![server.url(circle()); 3];
    let followers = Followers::of(&addresses, &scripts);
    let writers = (10..14).map(|n| {
        let server = &server;
        async move {
            let mut writer = server.log_in(&key(n)).await;
            let script = "let n = store.incr(\"all\", 1); store.set(`k${n % 10}`, n); store.push(`list${n % 10}/`, n)";
            for _ in 0..75 {
                ok(&mut writer, "play", json!([script])).await;
            }
        }
    });
    join_all(writers).await;
    let mut session = server.log_in(&key(2)).await;
    followers.agree_with(&mut session, &scripts).await;
}

async fn whoever_comes_back_has_the_last_value_though_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let builder = || TestServer::builder().data(folder.path());
    let mut server = builder().start().await;
    let address = server.address;
    let followers = Followers::of(&[server.url(circle())], &FOLLOWED);
    for round in 0..4 {
        let mut writer = server.log_in(&key(2)).await;
        for _ in 0..20 + round {
            ok(&mut writer, "play", json!([WRITES])).await;
        }
        if round == 1 {
            followers.agree_with(&mut writer, &FOLLOWED).await;
        }
        // A play that nobody waits for.
        writer.begin_play(WRITES).await;
        server.kill();
        let restarted = builder().env("CIRCLED_SERVER__LISTEN", address);
        server = restarted.start().await;
    }
    let mut session = server.log_in(&key(2)).await;
    followers.agree_with(&mut session, &FOLLOWED).await;
}

on_both!(
    a_key_that_expires_is_noticed,
    a_named_script_is_watched_in_its_newest_version,
    a_removed_member_is_told_nothing_more,
    a_scripts_own_rule_decides_who_is_told,
    a_slow_client_gets_the_newest_value,
    a_value_comes_whenever_it_changes,
    a_watched_script_only_reads,
    all_have_the_last_value_after_many_have_written,
    only_what_a_script_has_read_has_it_run_again,
    sessions_share_the_runs_of_the_same_query,
    watches_and_queries_are_bounded,
    queries_that_have_ended_take_no_memory_from_others,
    whoever_comes_back_has_the_last_value_though_the_server_is_killed,
    who_resumes_gets_a_value_only_if_it_is_another,
    who_uses_the_caller_gets_their_own_value,
);

on_other_servers!(a_value_comes_whenever_it_changes,);
