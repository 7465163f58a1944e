//! Limits of one session, or one address, and the treatment of callers who exceed them.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::harness::{
    backend::on_both,
    server::{Builder, ENDLESS, Received, TestServer, Ws, busy, circle, eventually, key, within},
};

const WHOAMI: &str = r#"{"jsonrpc":"2.0","id":1,"method":"whoami"}"#;

/// Returns `text` with white space behind it, so many bytes long.
fn padded(text: &str, length: usize) -> String {
    format!("{text}{}", " ".repeat(length - text.len()))
}

/// Builds a server whose scripts may run for long.
fn patient() -> Builder {
    TestServer::builder()
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_DISPATCH__JOB_TIMEOUT", "60s")
}

/// Returns the header of a masked text frame, in the form of a client (RFC 6455, section 5.2).
fn frame_header(length: usize) -> Vec<u8> {
    let mut header = vec![0x81, 0x80 | 127];
    header.extend((length as u64).to_be_bytes());
    header.extend([0; 4]);
    header
}

/// Returns the code of the close frame at the end of `bytes` from a server.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let mut rest = bytes;
    loop {
        let (&[opcode, length], tail) = rest.split_first_chunk::<2>()?;
        let (length, tail) = match length {
            126 => {
                let (length, tail) = tail.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), tail)
            }
            127 => {
                let (length, tail) = tail.split_first_chunk::<8>()?;
                (usize::try_from(u64::from_be_bytes(*length)).ok()?, tail)
            }
            length => (usize::from(length), tail),
        };
        let (payload, tail) = tail.split_at_checked(length)?;
        if opcode == 0x88 {
            assert!(tail.is_empty(), "a close frame is the last");
            return Some(u16::from_be_bytes(*payload.first_chunk()?));
        }
        rest = tail;
    }
}

/// Reads until the server closes, and returns the close code.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> Option<u16> {
    let mut received = Vec::new();
    let reading = async {
        while close_code(&received).is_none() && stream.read_buf(&mut received).await.unwrap() > 0 {
        }
    };
    within("the end", reading).await;
    close_code(&received)
}

#[tokio::test]
async fn a_message_may_be_so_long_and_no_longer() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_MESSAGE", "64KiB")
        .start()
        .await;
    let mut session = server.connect().await;
    for _ in 0..3 {
        let reply = session.ask(padded(WHOAMI, 64 << 10)).await;
        assert!(reply["result"].is_object(), "{reply}");
    }
    session.send_text(padded(WHOAMI, (64 << 10) + 1)).await;
    assert_eq!(session.closed().await, 1009);
}

#[tokio::test]
async fn senders_of_too_much_learn_why_they_are_closed() {
    let server = TestServer::start().await;
    for size in [1 << 20, 12 << 20] {
        let stream = server.connect().await.into_stream();
        let (mut reader, mut writer) = stream.into_split();
        let send = async {
            let mut sent = 0;
            let mut result = writer.write_all(&frame_header(size)).await;
            while sent < size && result.is_ok() {
                result = writer.write_all(&[b' '; 16 << 10]).await;
                sent += 16 << 10;
            }
        };
        let ((), code) = tokio::join!(send, closed(&mut reader));
        assert_eq!(code, Some(1009), "{size}");
    }
}

#[tokio::test]
async fn a_message_in_pieces_may_be_no_longer() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_MESSAGE", "64KiB")
        .start()
        .await;
    let piece = |opcode: u8, length: u16| {
        let mut frame = vec![opcode, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(vec![b' '; usize::from(length)]);
        frame
    };
    let (first, more, last) = (0x01, 0x00, 0x80);
    let mut stream = server.connect().await.into_stream();
    let fits = [
        (first, 0x4000),
        (more, 0x4000),
        (more, 0x4000),
        (last, 0x4000),
    ];
    for (opcode, length) in fits {
        stream.write_all(&piece(opcode, length)).await.unwrap();
    }
    let mut reply = vec![0; 64];
    within("an answer", stream.read_exact(&mut reply))
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&reply).contains("-32700"));

    let mut stream = server.connect().await.into_stream();
    for (opcode, length) in fits.into_iter().take(3).chain([(more, 0x4000), (last, 1)]) {
        stream.write_all(&piece(opcode, length)).await.unwrap();
    }
    assert_eq!(closed(&mut stream).await, Some(1009));
}

#[tokio::test]
async fn a_message_in_pieces_is_one_message() {
    let server = TestServer::start().await;
    let mut stream = server.connect().await.into_stream();
    let (first, second) = WHOAMI.split_at(9);
    for (opcode, part) in [(0x01, first), (0x89, "ping"), (0x80, second)] {
        let mut frame = vec![opcode, 0x80 | u8::try_from(part.len()).unwrap(), 0, 0, 0, 0];
        frame.extend(part.as_bytes());
        stream.write_all(&frame).await.unwrap();
    }
    let mut received = vec![0; 6];
    within("a pong", stream.read_exact(&mut received))
        .await
        .unwrap();
    assert_eq!(received, b"\x8a\x04ping");
    let mut header = [0; 4];
    within("the reply", stream.read_exact(&mut header))
        .await
        .unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]]))];
    within("the reply", stream.read_exact(&mut reply))
        .await
        .unwrap();
    let reply: Value = circled_json::parse(&reply).unwrap();
    assert_eq!(reply["result"]["authenticated"], false, "{reply}");
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_the_session() {
    let server = TestServer::start().await;
    for (code, what, frame) in [
        (1007, "no UTF-8", &[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28][..]),
        (1002, "not masked", &[0x81, 0x02, b'{', b'}']),
        (
            1002,
            "an opcode that there isn't",
            &[0x83, 0x80, 0, 0, 0, 0],
        ),
        (
            1002,
            "a bit that means nothing here",
            &[0xc1, 0x80, 0, 0, 0, 0],
        ),
        (1002, "more of nothing", &[0x80, 0x80, 0, 0, 0, 0]),
    ] {
        let mut stream = server.connect().await.into_stream();
        stream.write_all(frame).await.unwrap();
        assert_eq!(closed(&mut stream).await, Some(code), "{what}");
    }
}

#[tokio::test]
async fn a_batch_may_be_so_long_and_no_longer() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_BATCH", "4")
        .start()
        .await;
    let mut session = server.connect().await;
    let batch = |length: usize| format!("[{}]", vec![WHOAMI; length].join(","));
    assert_eq!(session.ask(batch(4)).await.as_array().unwrap().len(), 4);
    let refused = session.ask(batch(5)).await;
    assert_eq!(refused["id"], Value::Null);
    assert_eq!(refused["error"]["code"], -32005);
    assert_eq!(refused["error"]["message"], "Limit Exceeded");
    assert_eq!(refused["error"]["data"]["limit"], "session.max_batch");
    session.assert_silent().await;
}

async fn one_request_too_many_is_refused_at_once() {
    let server = patient()
        .env("CIRCLED_SESSION__MAX_IN_FLIGHT", "2")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let long = busy(Duration::from_millis(500), "\"done\"");
    let calls = [
        session.begin_play(&long).await,
        session.begin_play(&long).await,
    ];
    let error = session.play("1").await.unwrap_err();
    assert_eq!(error["code"], -32005);
    assert_eq!(error["message"], "Limit Exceeded");
    assert_eq!(error["data"]["limit"], "session.max_in_flight");
    assert!(error["data"]["retry_after_ms"].as_u64().unwrap() > 0);
    assert!(
        !calls.iter().any(|call| session.has_answer(*call)),
        "it was not refused at once"
    );
    for call in calls {
        assert_eq!(session.answer(call).await.unwrap()["output"], "done");
    }
    assert_eq!(
        session.play("1").await.unwrap()["output"],
        "1",
        "there is room again"
    );

    // A batch has the same memory as single requests.
    let call = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "play", "params": [long] });
    let replies = session
        .ask(json!([call(1), call(2), call(3)]).to_string())
        .await;
    let replies = replies.as_array().unwrap();
    let refused = replies
        .iter()
        .filter(|reply| reply["error"]["code"] == -32005)
        .count();
    let done = replies
        .iter()
        .filter(|reply| reply["result"]["output"] == "done")
        .count();
    assert_eq!((refused, done), (1, 2), "{replies:?}");

    // Another session has its own budget.
    let mut other = server.log_in(&key(2)).await;
    let call = session.begin_play(&long).await;
    assert_eq!(other.play("1").await.unwrap()["output"], "1");
    session.answer(call).await.unwrap();
}

/// Builds a server with one thread and one place in each queue.
fn with_little_room() -> Builder {
    patient()
        .env("CIRCLED_SCRIPT__THREADS", "1")
        .env("CIRCLED_SCRIPT__QUEUE", "1")
        .env("CIRCLED_SCRIPT__MAX_ASIDE", "0")
        .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "1")
        .env("CIRCLED_DISPATCH__REDIS__QUEUE", "1")
}

/// Has more scripts run and wait than there is room for in the queue.
async fn fill_queue(session: &mut Ws) -> Vec<u64> {
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(session.begin_play("loop {}").await);
    }
    session.fence().await;
    calls
}

async fn what_finds_a_full_queue_waits_for_its_turn() {
    let server = with_little_room().start().await;
    let mut session = server.log_in(&key(2)).await;
    let calls = fill_queue(&mut session).await;
    let mut same = [server.log_in(&key(2)).await, server.log_in(&key(2)).await];
    let params = json!({ "script": "1", "timeout_ms": 300 });
    let error = same[0].call("play", params).await.unwrap_err();
    assert_eq!(error["code"], -32004, "{error}");
    let mut waiting = Vec::new();
    for n in 0..3 {
        for session in &mut same {
            waiting.push((n, session.begin_play("store.incr(CONTEXT_ID, 1)").await));
        }
    }
    for session in &mut same {
        session.fence().await;
    }
    let has_answer = |session: &Ws, call| session.has_answer(call);
    assert!(calls.iter().all(|call| !has_answer(&session, *call)));
    assert!(
        waiting
            .iter()
            .all(|(_, call)| same.iter().all(|session| !has_answer(session, *call)))
    );
    session.leave().await;
    let mut seen = Vec::new();
    for (n, session) in same.iter_mut().enumerate() {
        let mut last = 0;
        for (_, call) in waiting.iter().skip(n).step_by(2) {
            let value = within("a turn", session.answer(*call)).await.unwrap()["value"].clone();
            let value = value.as_u64().unwrap();
            assert!(value > last, "first in, first out");
            last = value;
            seen.push(value);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}

async fn more_than_may_wait_is_refused() {
    let server = with_little_room()
        .env("CIRCLED_DISPATCH__MAX_WAITING", "0B")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let calls = fill_queue(&mut session).await;
    let refused = *calls.last().unwrap();
    let error = session.answer(refused).await.unwrap_err();
    assert_eq!(error["code"], -32005);
    assert_eq!(error["data"]["limit"], "dispatch.max_waiting");
    assert!(error["data"]["retry_after_ms"].as_u64().unwrap() > 0);
    let mut same = server.log_in(&key(2)).await;
    assert_eq!(same.play("1").await.unwrap_err()["code"], -32005);
    session.leave().await;
    eventually("room in the queue", async || same.play("1").await.is_ok()).await;
}

/// A server that runs its own jobs has one queue for all circles; in Redis, each circle has one.
#[tokio::test]
async fn one_circle_does_not_keep_another_waiting_longer() {
    let server = with_little_room().start().await;
    let mut session = server.log_in(&key(2)).await;
    fill_queue(&mut session).await;
    let mut others = Vec::new();
    for n in [3, 4, 5] {
        let mut other = server.connect_to(key(n).public()).await;
        other.login(&key(n)).await;
        let waiting = other.begin_play("1").await;
        other.fence().await;
        assert!(!other.has_answer(waiting));
        others.push((other, waiting));
    }
    session.leave().await;
    for (mut other, waiting) in others {
        assert_eq!(other.answer(waiting).await.unwrap()["output"], "1");
    }
}

#[tokio::test]
async fn sessions_without_a_login_are_closed() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__LOGIN_DEADLINE", "500ms")
        .start()
        .await;
    let start = Instant::now();
    let mut known = server.log_in(&key(2)).await;
    let (silent, mut chatty) = (server.connect().await, server.connect().await);
    chatty.fetch_nonce(key(2).public()).await;
    let chat = async {
        loop {
            chatty.send_text(WHOAMI).await;
            if let Received::Close(code, _) = chatty.next().await {
                return code;
            }
        }
    };
    let (silent, chatty) = tokio::join!(silent.closed(), within("the deadline", chat));
    assert_eq!((silent, chatty), (1008, 1008));
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert_eq!(known.play("40 + 2").await.unwrap()["output"], "42");
}

#[tokio::test]
async fn sessions_that_answer_pings_stay() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__PING_INTERVAL", "100ms")
        .env("CIRCLED_SESSION__PONG_TIMEOUT", "1s")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < Duration::from_millis(1500) {
        let message = session.message().await.expect("a ping");
        assert!(message.is_ping(), "{message:?}");
        pings += 1;
    }
    assert!(pings >= 5, "{pings}");
    assert_eq!(session.play("40 + 2").await.unwrap()["output"], "42");
}

#[tokio::test]
async fn sessions_that_answer_no_ping_end() {
    let mut server = TestServer::builder()
        .env("CIRCLED_SESSION__PING_INTERVAL", "200ms")
        .env("CIRCLED_SESSION__PONG_TIMEOUT", "300ms")
        .start()
        .await;
    let start = Instant::now();
    let mut stream = server.connect().await.into_stream();
    let mut received = Vec::new();
    within("the end", stream.read_to_end(&mut received))
        .await
        .unwrap();
    assert!(received.starts_with(&[0x89, 0]), "a ping: {received:?}");
    assert!(start.elapsed() >= Duration::from_millis(500));
    server
        .logged("why", |line| {
            line["message"] == "session ended: no answer to a ping"
        })
        .await;
    eventually("its place to be free", async || {
        server.admin("/readyz").await.json()["sessions"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_talks_must_answer_pings_too() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__PING_INTERVAL", "200ms")
        .env("CIRCLED_SESSION__PONG_TIMEOUT", "300ms")
        .start()
        .await;
    let stream = server.connect().await.into_stream();
    let (mut reader, mut writer) = stream.into_split();
    let frame = [frame_header(WHOAMI.len()), WHOAMI.into()].concat();
    let talk = async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        while writer.write_all(&frame).await.is_ok() {
            pace.tick().await;
        }
    };
    let mut received = Vec::new();
    let end = async {
        tokio::select! {
            _ = reader.read_to_end(&mut received) => {}
            () = talk => {}
        }
    };
    within("the end", end).await;
}

/// Checks that there is no place: the upgrade succeeds, so that the client can see the reason.
async fn assert_full(session: Ws) {
    assert_eq!(session.closed().await, 1013);
}

/// Returns true if there is a place.
async fn has_place(session: &mut Ws) -> bool {
    session.send_text(WHOAMI).await;
    matches!(session.next().await, Received::Text(_))
}

#[tokio::test]
async fn there_are_so_many_sessions_and_no_more() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_SESSIONS", "2")
        .start()
        .await;
    let mut one = server.connect().await;
    let mut two = server.connect_to(key(2).public()).await;
    assert!(has_place(&mut one).await && has_place(&mut two).await);
    assert_full(server.connect().await).await;
    assert_full(server.connect_to(key(3).public()).await).await;
    assert!(has_place(&mut one).await, "the others don't notice");

    for politely in [true, false] {
        if politely {
            one.leave().await;
        } else {
            drop(one.into_stream());
        }
        let mut next = None;
        eventually("a place to be free", async || {
            let mut session = server.connect().await;
            let has_place = has_place(&mut session).await;
            next = has_place.then_some(session);
            has_place
        })
        .await;
        one = next.unwrap();
        assert_full(server.connect().await).await;
    }
}

/// Connects from another address of this machine.
async fn from(address: [u8; 4], server: &TestServer, header: Option<&str>) -> Ws {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    let stream: TcpStream = socket.connect(server.address).await.unwrap();
    let mut request = server.url(circle()).into_client_request().unwrap();
    if let Some(forwarded) = header {
        let value = forwarded.parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", value);
    }
    Ws::over(stream, request).await
}

#[tokio::test]
async fn one_address_has_its_share_of_the_sessions() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_SESSIONS_PER_ADDRESS", "1")
        .start()
        .await;
    let mut here = from([127, 0, 0, 1], &server, None).await;
    assert!(has_place(&mut here).await);
    assert_full(from([127, 0, 0, 1], &server, None).await).await;
    assert_full(from([127, 0, 0, 1], &server, Some("192.0.2.1")).await).await;
    let mut there = from([127, 0, 0, 2], &server, None).await;
    assert!(has_place(&mut there).await);
    assert_full(from([127, 0, 0, 2], &server, None).await).await;

    here.leave().await;
    eventually("a place to be free", async || {
        has_place(&mut from([127, 0, 0, 1], &server, None).await).await
    })
    .await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_counted() {
    let server = TestServer::builder()
        .env("CIRCLED_SESSION__MAX_SESSIONS_PER_ADDRESS", "1")
        .env("CIRCLED_SERVER__TRUSTED_PROXIES", "127.0.0.2/31")
        .start()
        .await;
    let proxy = [127, 0, 0, 2];
    let mut one = from(proxy, &server, Some("192.0.2.1")).await;
    let mut two = from(proxy, &server, Some("192.0.2.2")).await;
    assert!(has_place(&mut one).await && has_place(&mut two).await);
    assert_full(from(proxy, &server, Some("192.0.2.1")).await).await;
    assert_full(from(proxy, &server, Some("198.51.100.7, 192.0.2.1")).await).await;
    // The forms of some proxies, and a chain of two proxies.
    for same in [
        "192.0.2.1:4711",
        "[::ffff:192.0.2.1]:4711",
        "192.0.2.1, 127.0.0.3",
    ] {
        assert_full(from(proxy, &server, Some(same)).await).await;
    }
}

#[tokio::test]
async fn sessions_that_read_nothing_are_closed_and_nothing_piles_up() {
    for (messages, bytes) in [("1_000_000", "4MiB"), ("4", "1GiB")] {
        let mut server = patient()
            .env("CIRCLED_SESSION__OUTBOUND_QUEUE", messages)
            .env("CIRCLED_SESSION__MAX_BUFFERED", bytes)
            .env("CIRCLED_SESSION__WRITE_TIMEOUT", "3s")
            // The allocator's own memory is not what is tested here.
            .env("TOKIO_WORKER_THREADS", 2)
            .env("MIMALLOC_PURGE_DELAY", 0)
            .env("MIMALLOC_ALLOW_THP", 0)
            .start()
            .await;
        let mut other = server.log_in(&key(3)).await;
        let large = "let s = \"\"; s.pad(900_000, 'x'); s";
        other.play(large).await.unwrap();
        let before = server.memory_kib("VmRSS");

        let mut slow = server.connect_narrow().await;
        slow.login(&key(2)).await;
        for _ in 0..64 {
            slow.begin_play(large).await;
        }
        assert_eq!(other.play("40 + 2").await.unwrap()["output"], "42");
        server
            .logged("that it closes", |line| line["code"] == 1013)
            .await;
        // All replies together have more than 110 MiB.
        let most = server.memory_kib("VmHWM");
        assert!(
            most < before + (48 << 10),
            "from {before} KiB to {most} KiB"
        );
        assert_eq!(other.play("40 + 2").await.unwrap()["output"], "42");

        // When it reads at last, it learns the reason.
        assert_eq!(closed(&mut slow.into_stream()).await, Some(1013));
        eventually("its place to be free", async || {
            server.admin("/readyz").await.json()["sessions"] == 1
        })
        .await;
    }
}

#[tokio::test]
async fn late_readers_get_every_reply() {
    let server = TestServer::start().await;
    let (mut sink, mut replies) = server.connect_narrow().await.split();
    let call = |id: usize| {
        let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"rpc.discover"}}"#);
        Message::text(padded(&call, 32 << 10))
    };
    // More than fits in the buffers of both directions.
    let all = 500;
    let sent = Cell::new(0);
    let send = async {
        while sent.get() < all {
            sink.send(call(sent.get())).await.unwrap();
            sent.set(sent.get() + 1);
        }
    };
    tokio::pin!(send);
    loop {
        let before = sent.get();
        let waited = timeout(Duration::from_millis(300), &mut send).await;
        waited.expect_err("the server read everything, and nobody took its replies");
        if sent.get() == before {
            break;
        }
    }
    let receive = async {
        for id in 0..all {
            let reply = replies.next().await.unwrap().unwrap();
            let reply: Value = circled_json::parse(reply.to_text().unwrap()).unwrap();
            assert_eq!(reply["id"], id, "{reply}");
        }
    };
    within("all replies", async { tokio::join!(send, receive) }).await;
}

#[tokio::test]
async fn sessions_that_read_nothing_are_read_no_further() {
    let mut server = TestServer::builder()
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "1s")
        .start()
        .await;
    let before = server.memory_kib("VmRSS");
    let mut stream = server.connect_narrow().await.into_stream();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}"#;
    let frame = [frame_header(call.len()), call.into()].concat();
    let flood = async {
        // Until nothing is accepted any more, and the server closes.
        while stream.write_all(&frame.repeat(256)).await.is_ok() {}
    };
    let closing = server.logged("that it closes", |line| line["code"] == 1013);
    let both = async {
        tokio::select! {
            _ = closing => {}
            () = flood => {}
        }
    };
    within("the flood to end", both).await;
    server.logged("why", |line| line["code"] == 1013).await;
    let most = server.memory_kib("VmHWM");
    assert!(
        most < before + (64 << 10),
        "from {before} KiB to {most} KiB"
    );
    server.log_in(&key(2)).await;
}

#[tokio::test]
async fn sessions_that_never_read_are_given_up() {
    let server = patient()
        .env("CIRCLED_SESSION__WRITE_TIMEOUT", "300ms")
        .start()
        .await;
    let mut slow = server.connect_narrow().await;
    slow.login(&key(2)).await;
    for _ in 0..20 {
        slow.begin_play("let s = \"\"; s.pad(500_000, 'x'); s")
            .await;
    }
    eventually("its place to be free", async || {
        server.admin("/readyz").await.json()["sessions"] == 0
    })
    .await;
}

on_both!(
    one_request_too_many_is_refused_at_once,
    what_finds_a_full_queue_waits_for_its_turn,
    more_than_may_wait_is_refused,
);
