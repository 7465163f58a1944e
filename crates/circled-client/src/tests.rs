//! Tests of the client against a scripted server, which has a log of events and treats each connection as the test
//! says.

use std::{collections::HashMap, sync::Arc, time::Duration};

use circled_protocol::{Challenge, RpcError, Scheme, SecretKey, code};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{Message, protocol::CloseFrame},
};

use super::*;

const CIRCLE: &str = "024e3b81af9c2234cad09d679ce6035ed1392347ce64ce405f5dcd36228a25de6e";

#[test]
fn an_address_names_a_server_and_a_circle() {
    let (origin, circle) = parse(&format!("WSS://Example.org:443/0x{CIRCLE}")).unwrap();
    assert_eq!(origin.to_string(), "wss://example.org");
    assert_eq!(circle.to_string(), CIRCLE);
    for wrong in [
        "",
        "localhost:8080",
        &format!("http://localhost/{CIRCLE}"),
        &format!("ws://me@localhost/{CIRCLE}"),
    ] {
        assert!(matches!(parse(wrong), Err(Error::Address(_))), "{wrong}");
    }
    for missing in ["ws://localhost", "ws://localhost:80/"] {
        assert!(
            matches!(parse(missing), Err(Error::NoCircle(_))),
            "{missing}"
        );
    }
    let other = parse("ws://localhost/02aa");
    assert!(matches!(other, Err(Error::Circle(_))), "{other:?}");
}

/// The script for one connection.
#[derive(Clone, Default)]
struct Fate {
    /// The connection is cut after so many events.
    cut_after: Option<usize>,
    /// The connection is closed with this code instead of a reply to `subscribe`.
    close: Option<u16>,
    /// `subscribe` fails with this error.
    refuse: Option<Value>,
    /// The log begins after this id.
    log_begins: u64,
    /// Events come before the reply of `subscribe`.
    early: bool,
    /// A subscription ends after so many events.
    end_after: Option<usize>,
    /// No client can read the event with this id.
    odd: Option<u64>,
    /// The number of login calls that are refused first, because there are too many.
    crowded: usize,
    /// The result of `play`.
    play: PlayFate,
}

/// The result of `play`.
#[derive(Clone, Default)]
enum PlayFate {
    #[default]
    Played,
    /// The connection is lost.
    Lost,
    /// It fails with this error.
    Refused(Value),
    /// The server knows no ids.
    Old,
}

struct Fake {
    url: String,
    /// The id of the last event in the log.
    log: watch::Sender<u64>,
    /// The methods that were called.
    called: mpsc::UnboundedReceiver<String>,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn start(fate: impl Fn(usize) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("ws://{}", listener.local_addr().unwrap());
        let url = format!("{origin}/{CIRCLE}");
        let log = watch::Sender::new(0);
        let (calls, called) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let source = log.clone();
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let session = serve(
                    stream,
                    origin.clone(),
                    fate(number),
                    source.subscribe(),
                    calls.clone(),
                );
                sessions.spawn(session);
            }
        });
        Self {
            url,
            log,
            called,
            _tasks: tasks,
        }
    }

    fn emit(&self, count: u64) {
        self.log.send_modify(|last| *last += count);
    }

    fn follow(&self) -> Follow {
        Follow::new(&self.url, key())
    }

    async fn client(&self) -> Client {
        let client = Client::connect(&self.url).await.unwrap();
        client.authenticate(&key(), Scheme::Eip191).await.unwrap();
        client
    }

    /// Waits for a call of this method.
    async fn called(&mut self, method: &str) {
        let waiting = async { while self.called.recv().await.unwrap() != method {} };
        timeout(Duration::from_secs(10), waiting).await.unwrap();
    }
}

async fn serve(
    stream: TcpStream,
    origin: String,
    mut fate: Fate,
    mut log: watch::Receiver<u64>,
    calls: mpsc::UnboundedSender<String>,
) {
    let mut ws: WebSocketStream<TcpStream> = accept_async(stream).await.unwrap();
    // Cursors into the log, by name.
    let mut subscriptions: HashMap<String, u64> = HashMap::new();
    let (mut names, mut sent) = (0, 0);
    log.mark_changed();
    loop {
        tokio::select! {
            biased;
            message = ws.next() => {
                let Some(Ok(message)) = message else { return };
                let Message::Text(request) = message else { continue };
                let request: Value = circled_json::parse(&request).unwrap();
                let params = &request["params"];
                let method = request["method"].as_str().unwrap();
                if method != "prove" {
                    let _ = calls.send(match method {
                        "play" => format!("play {} {}", params["request_id"], params["timeout_ms"]),
                        _ => method.to_owned(),
                    });
                }
                let mut error = Value::Null;
                let result = match method {
                    "fetch_nonce" | "authenticate" if fate.crowded > 0 => {
                        fate.crowded -= 1;
                        let data = json!({ "limit": "auth.queue", "retry_after_ms": 1 });
                        error = json!({ "code": code::LIMIT_EXCEEDED, "message": "", "data": data });
                        Value::Null
                    }
                    "fetch_nonce" => {
                        let pubkey: PublicKey = params["pubkey"].as_str().unwrap().parse().unwrap();
                        let circle = CIRCLE.parse().unwrap();
                        let minute = Duration::from_secs(60);
                        Challenge::new(origin.clone(), circle, pubkey, minute, jiff::Timestamp::now(), [7; 32]).text().into()
                    }
                    "prove" => {
                        error = json!({ "code": code::NOT_FOUND, "message": "" });
                        Value::Null
                    }
                    "subscribe" => {
                        if let Some(code) = fate.close {
                            let frame = CloseFrame { code: code.into(), reason: "so".into() };
                            let _ = ws.close(Some(frame)).await;
                            continue;
                        }
                        error = fate.refuse.clone().unwrap_or_default();
                        let since = params["since"].as_u64().unwrap_or(*log.borrow());
                        names += 1;
                        let name = names.to_string();
                        if error.is_null() {
                            subscriptions.insert(name.clone(), since);
                            log.mark_changed();
                        }
                        if fate.early {
                            let _ = ws.send(Message::text(event(&name, since + 1))).await;
                            subscriptions.insert(name.clone(), since + 1);
                        }
                        json!({ "subscription": name, "since": since })
                    }
                    "unsubscribe" => {
                        let name = params["subscription"].as_str().unwrap();
                        subscriptions.remove(name).is_some().into()
                    }
                    "play" => {
                        match &fate.play {
                            PlayFate::Played => {}
                            PlayFate::Lost => return,
                            PlayFate::Refused(with) => error = with.clone(),
                            PlayFate::Old if params["request_id"].is_null() => {}
                            PlayFate::Old => {
                                let data = json!({ "reason": "unknown field `request_id`, expected `script`" });
                                error = json!({ "code": code::INVALID_PARAMS, "message": "", "data": data });
                            }
                        }
                        json!({ "output": "1", "value": 1, "logs": [], "job_id": protocol::JobId::new() })
                    }
                    _ => true.into(),
                };
                if request["id"].is_null() {
                    continue;
                }
                let mut reply = json!({ "jsonrpc": "2.0", "id": request["id"] });
                if error.is_null() {
                    reply["result"] = result;
                } else {
                    reply["error"] = error;
                }
                let _ = ws.send(Message::text(reply.to_string())).await;
            }
            _ = log.changed() => {
                let last = *log.borrow_and_update();
                for (name, cursor) in &mut subscriptions {
                    if *cursor < fate.log_begins {
                        *cursor = fate.log_begins;
                        let params = json!({ "subscription": name, "gap": true, "since": cursor });
                        let gap = json!({ "jsonrpc": "2.0", "method": "event", "params": params });
                        let _ = ws.send(Message::text(gap.to_string())).await;
                    }
                    while *cursor < last {
                        if fate.cut_after == Some(sent) {
                            let _ = ws.flush().await;
                            return;
                        }
                        if fate.end_after == Some(sent) {
                            let params = json!({ "subscription": name, "ended": true, "needs": "member" });
                            let ended = json!({ "jsonrpc": "2.0", "method": "event", "params": params });
                            let _ = ws.send(Message::text(ended.to_string())).await;
                            *cursor = u64::MAX;
                            continue;
                        }
                        *cursor += 1;
                        sent += 1;
                        let mut event = event(name, *cursor);
                        if fate.odd == Some(*cursor) {
                            let deep = "[".repeat(500) + &*"]".repeat(500);
                            event = event.replace("\"data\":", &format!("\"data\":{deep},\"was\":"));
                        }
                        if ws.feed(Message::text(event)).await.is_err() {
                            return;
                        }
                    }
                }
                let _ = ws.flush().await;
            }
        }
    }
}

fn event(subscription: &str, id: u64) -> String {
    let params = json!({
        "subscription": subscription, "id": id, "topic": "n", "data": id, "at": "2026-11-25T10:00:00Z",
    });
    json!({ "jsonrpc": "2.0", "method": "event", "params": params }).to_string()
}

fn key() -> SecretKey {
    SecretKey::from_hex(&"17".repeat(32)).unwrap()
}

/// Returns the next item, in a word.
async fn next(
    stream: &mut (impl futures_util::Stream<Item = Result<Notice, Error>> + Unpin),
) -> String {
    match timeout(Duration::from_secs(20), stream.next())
        .await
        .unwrap()
    {
        Some(Ok(Notice::Event(event))) => event.id.to_string(),
        Some(Ok(notice)) => format!("{notice:?}"),
        Some(Err(error)) => format!("error: {error}"),
        None => "end".to_owned(),
    }
}

#[tokio::test]
async fn a_login_comes_again_where_many_wait_for_theirs() {
    let fake = Fake::start(|_| Fate {
        crowded: 5,
        ..Fate::default()
    })
    .await;
    fake.client().await;
}

#[tokio::test]
async fn a_subscription_begins_where_it_is_told_and_ends_when_it_is_dropped() {
    let mut fake = Fake::start(|_| Fate::default()).await;
    fake.emit(3);
    let client = fake.client().await;
    let mut old = client.subscribe("", Some(1)).await.unwrap();
    let mut new = client.subscribe("", None).await.unwrap();
    assert_eq!((old.since(), new.since()), (1, 3));
    fake.emit(1);
    for expected in ["2", "3", "4"] {
        assert_eq!(next(&mut old).await, expected);
    }
    assert_eq!(next(&mut new).await, "4");
    drop(old);
    fake.called("unsubscribe").await;
    // The others continue, and so does the connection while there are any.
    drop(client);
    fake.emit(1);
    assert_eq!(next(&mut new).await, "5");
}

#[tokio::test]
async fn an_event_before_the_reply_is_not_lost() {
    let fake = Fake::start(|_| Fate {
        early: true,
        ..Fate::default()
    })
    .await;
    fake.emit(2);
    let client = fake.client().await;
    let mut events = client.subscribe("", Some(0)).await.unwrap();
    assert_eq!(next(&mut events).await, "1");
    assert_eq!(next(&mut events).await, "2");
}

#[tokio::test]
async fn followers_skip_an_event_that_cannot_be_read() {
    let fake = Fake::start(|number| Fate {
        cut_after: (number < 2).then_some(2),
        odd: Some(2),
        ..Fate::default()
    })
    .await;
    fake.emit(6);
    let mut events = fake.follow().since(0).start();
    assert_eq!(next(&mut events).await, "1");
    let odd = next(&mut events).await;
    assert!(odd.starts_with("Unreadable { id: Some(2), why: "), "{odd}");
    for expected in ["3", "4", "5", "6"] {
        assert_eq!(next(&mut events).await, expected);
    }
}

#[tokio::test]
async fn a_subscription_that_is_not_read_holds_up_nobody() {
    let fake = Fake::start(|_| Fate::default()).await;
    let client = fake.client().await;
    let mut events = client.subscribe("", None).await.unwrap();
    fake.emit(10_000);
    // The reply comes after the events.
    let reply = timeout(Duration::from_secs(10), async {
        while client.subscribe("", None).await.unwrap().since() < 10_000 {}
        client.call::<bool>("whoami", json!({})).await
    });
    assert!(reply.await.unwrap().unwrap());
    for expected in 1..=4096 {
        assert_eq!(next(&mut events).await, expected.to_string());
    }
    assert_eq!(next(&mut events).await, format!("error: {}", Error::Behind));
    assert_eq!(next(&mut events).await, "end");
}

#[tokio::test]
async fn followers_see_every_event_once_across_lost_connections() {
    let fake = Fake::start(|number| match number {
        1 => Fate {
            close: Some(1013),
            ..Fate::default()
        },
        3 => Fate {
            refuse: Some(json!({ "code": code::UNAVAILABLE, "message": "", "data": { "retry_after_ms": 10 } })),
            ..Fate::default()
        },
        number => Fate {
            cut_after: (number < 8).then_some(number * 300),
            ..Fate::default()
        },
    })
    .await;
    let changes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = changes.clone();
    let mut events = fake
        .follow()
        .since(0)
        .on_change(move |change| {
            let change = match change {
                Change::Connected => "connected".to_owned(),
                Change::Lost { why, .. } => why.to_string(),
            };
            told.lock().unwrap().push(change);
        })
        .start();
    for id in 1..=10_000 {
        fake.emit(u64::from(id % 10 == 0) * 10);
        if id > 100 {
            assert_eq!(next(&mut events).await, (id - 100).to_string());
        }
    }
    for id in 9_901..=10_000 {
        assert_eq!(next(&mut events).await, id.to_string());
    }
    let changes = changes.lock().unwrap();
    assert_eq!(
        changes
            .iter()
            .filter(|change| *change == "connected")
            .count(),
        7
    );
    assert!(
        changes.iter().any(|change| change.contains("1013")),
        "{changes:?}"
    );
    assert!(
        changes.iter().any(|change| change.contains("-32007")),
        "{changes:?}"
    );
}

#[tokio::test]
async fn slow_followers_miss_nothing() {
    let fake = Fake::start(|_| Fate::default()).await;
    let mut events = fake.follow().since(0).start();
    fake.emit(1);
    assert_eq!(next(&mut events).await, "1");
    fake.emit(9_999);
    let client = fake.client().await;
    let other = timeout(Duration::from_secs(10), async {
        let mut other = client.subscribe("", Some(0)).await.unwrap();
        while next(&mut other).await != "4000" {}
    });
    other.await.unwrap();
    for id in 2..=10_000 {
        assert_eq!(next(&mut events).await, id.to_string());
    }
}

#[tokio::test]
async fn a_gap_is_told_and_the_end_too() {
    let fake = Fake::start(|number| Fate {
        log_begins: if number == 0 { 0 } else { 5 },
        cut_after: (number == 0).then_some(2),
        end_after: Some(3),
        ..Fate::default()
    })
    .await;
    fake.emit(9);
    let mut events = fake.follow().since(0).start();
    for expected in [
        "1",
        "2",
        "Gap { since: 5 }",
        "6",
        "7",
        "8",
        "Ended { needs: Some(\"member\") }",
        "end",
        "end",
    ] {
        assert_eq!(next(&mut events).await, expected);
    }
}

#[tokio::test]
async fn errors_that_a_new_attempt_would_not_mend_end_it() {
    let refusal =
        json!({ "code": code::FORBIDDEN, "message": "Forbidden", "data": { "needs": "member" } });
    let fake = Fake::start(move |_| Fate {
        refuse: Some(refusal.clone()),
        ..Fate::default()
    })
    .await;
    let mut refused = fake.follow().start();
    assert_eq!(next(&mut refused).await, "error: Forbidden (-32003)");
    assert_eq!(next(&mut refused).await, "end");
    let mut nowhere = Follow::new("http://localhost", key()).start();
    assert!(next(&mut nowhere).await.contains("not the address"));
    // A server that passes on another server's text.
    let other = fake.url.replace("127.0.0.1", "localhost");
    let mut passed_on = Follow::new(other, key()).start();
    assert!(next(&mut passed_on).await.contains("was not signed"));
}

impl Fake {
    fn caller(&self) -> Caller {
        Caller::new(&self.url, key())
    }

    /// Returns the ids and the time limits of the plays until now.
    fn plays(&mut self) -> Vec<(String, String)> {
        let mut plays = Vec::new();
        while let Ok(called) = self.called.try_recv() {
            if let Some(("play", with)) = called.split_once(' ') {
                let (id, limit) = with.split_once(' ').unwrap();
                plays.push((id.to_owned(), limit.to_owned()));
            }
        }
        plays
    }
}

fn error(code: i32, data: Value) -> Value {
    json!({ "code": code, "message": "", "data": data })
}

#[tokio::test]
async fn a_call_whose_reply_is_lost_is_asked_again_with_its_id() {
    let mut fake = Fake::start(|number| Fate {
        crowded: usize::from(number == 2),
        play: match number {
            0 => PlayFate::Lost,
            1 => PlayFate::Refused(error(code::UNAVAILABLE, json!({ "retry_after_ms": 1 }))),
            _ => PlayFate::Played,
        },
        ..Fate::default()
    })
    .await;
    let (told, mut changes) = mpsc::unbounded_channel();
    let caller = fake
        .caller()
        .on_change(move |change| told.send(matches!(change, Change::Connected)).unwrap());
    let played = caller.play("1", &Options::default()).await.unwrap();
    assert_eq!(played.output, "1");
    let plays = fake.plays();
    assert_eq!(plays.len(), 3);
    let (id, limit) = &plays[0];
    assert!(
        id.len() == 38 && limit == "null" && plays.iter().all(|play| play.0 == *id),
        "{plays:?}"
    );
    // Another one has another id.
    caller.play("1", &Options::default()).await.unwrap();
    assert_ne!(fake.plays()[0].0, *id);
    let mut known = Vec::new();
    changes.close();
    while let Some(connected) = changes.recv().await {
        known.push(connected);
    }
    assert_eq!(known, [true, false, true, false, true]);
}

#[tokio::test]
async fn calls_at_once_share_the_next_connection() {
    let mut fake = Fake::start(|number| Fate {
        play: match number {
            0 => PlayFate::Lost,
            _ => PlayFate::Played,
        },
        ..Fate::default()
    })
    .await;
    let caller = fake.caller();
    let options = Options::default();
    let plays = (0..20).map(|_| caller.play("1", &options));
    for played in futures_util::future::join_all(plays).await {
        played.unwrap();
    }
    let mut logins = 0;
    while let Ok(called) = fake.called.try_recv() {
        logins += usize::from(called == "authenticate");
    }
    assert_eq!(logins, 2);
}

#[tokio::test]
async fn a_call_is_given_up_once_its_time_is_over() {
    let mut fake = Fake::start(|_| Fate {
        play: PlayFate::Lost,
        ..Fate::default()
    })
    .await;
    let options = Options {
        timeout_ms: Some(900),
        request_id: Some("mine".to_owned()),
        ..Options::default()
    };
    let given_up = fake.caller().play("1", &options).await.unwrap_err();
    let Error::Unanswered { request_id, last } = given_up else {
        panic!("{given_up}")
    };
    assert_eq!(request_id, "mine");
    assert!(matches!(*last, Error::Closed(_)), "{last}");
    let plays = fake.plays();
    assert_eq!(plays[0], ("\"mine\"".to_owned(), "900".to_owned()));
    assert!(plays.iter().all(|(id, _)| id == "\"mine\""), "{plays:?}");
    let limits = plays.iter().map(|(_, limit)| limit.parse::<u64>().unwrap());
    assert!(limits.is_sorted_by(|a, b| a > b), "{plays:?}");
    // One that was never sent has not happened.
    let nowhere = Caller::new(format!("ws://127.0.0.1:1/{CIRCLE}"), key());
    let unreached = nowhere.play("1", &options).await.unwrap_err();
    assert!(matches!(unreached, Error::Connect { .. }), "{unreached}");
}

#[tokio::test]
async fn an_error_that_says_what_has_happened_is_not_asked_about_again() {
    let forbidden = || error(code::FORBIDDEN, json!({}));
    let failed = || error(code::EXECUTION_ERROR, json!({}));
    for (first, second, unknown) in [
        (PlayFate::Refused(failed()), PlayFate::Played, false),
        (
            PlayFate::Refused(error(code::LIMIT_EXCEEDED, json!({ "retry_after_ms": 1 }))),
            PlayFate::Played,
            false,
        ),
        (PlayFate::Lost, PlayFate::Refused(failed()), false),
        (PlayFate::Lost, PlayFate::Refused(forbidden()), true),
    ] {
        let fates = [first, second];
        let fake = Fake::start(move |number| Fate {
            play: fates[number].clone(),
            ..Fate::default()
        })
        .await;
        let failed = fake.caller().play("1", &Options::default()).await;
        let failed = failed.unwrap_err();
        let is_unknown = matches!(failed, Error::Unanswered { .. });
        assert_eq!(is_unknown, unknown, "{failed}");
    }
}

#[tokio::test]
async fn an_older_server_gets_calls_without_ids() {
    let mut fake = Fake::start(|_| Fate {
        play: PlayFate::Old,
        ..Fate::default()
    })
    .await;
    let caller = fake.caller();
    caller.play("1", &Options::default()).await.unwrap();
    let plays = fake.plays();
    assert_eq!((plays.len(), plays[1].0.as_str()), (2, "null"));
    let options = Options {
        request_id: Some("mine".to_owned()),
        ..Options::default()
    };
    let refused = caller.play("1", &options).await.unwrap_err();
    assert!(refused.lacks_request_ids(), "{refused}");
}

#[test]
fn some_errors_pass_and_some_do_not() {
    let connect = |status| Error::Connect {
        address: String::new(),
        reason: String::new(),
        status,
    };
    let rpc = |code, data| {
        Error::Rpc(RpcError {
            code,
            message: String::new(),
            data,
        })
    };
    for (error, passes) in [
        (connect(None), true),
        (connect(Some(404)), false),
        (connect(Some(403)), false),
        (connect(Some(200)), false),
        (connect(Some(502)), true),
        (connect(Some(503)), true),
        (connect(Some(429)), true),
        (Error::Closed(Closed::silently()), true),
        (Error::Behind, true),
        (rpc(code::FORBIDDEN, json!({})), false),
        (rpc(code::METHOD_NOT_FOUND, json!({})), false),
        (rpc(code::INVALID_PARAMS, json!({})), false),
        (rpc(code::LIMIT_EXCEEDED, json!({})), true),
        (rpc(code::UNAVAILABLE, json!({})), true),
        (rpc(code::INTERNAL_ERROR, json!({})), true),
        (
            rpc(
                code::INVALID_CREDENTIALS,
                json!({ "reason": "bad_signature" }),
            ),
            false,
        ),
        (
            rpc(code::INVALID_CREDENTIALS, json!({ "reason": "expired" })),
            true,
        ),
    ] {
        assert_eq!(error.may_pass(), passes, "{error:?}");
    }
    let busy = rpc(code::LIMIT_EXCEEDED, json!({ "retry_after_ms": 1500 }));
    assert_eq!(busy.retry_after(), Some(Duration::from_millis(1500)));
}
