//! Unsigned requests of strangers keep no delivery out.

use std::{future::pending, net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    harness::{
        server::{TestServer, within},
        webhooks::{Webhook, event, taking_stripes},
    },
    server::doors::from,
};

/// The manner of sending a body that never becomes whole.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Not at all.
    Silent,
    /// A byte now and then.
    Dripping,
    /// The slowest permitted pace.
    Least,
    /// Some of it at once, and then hardly faster than it must.
    Trickling,
    /// All but its end, at once.
    AllButTheEnd,
    /// The same, without an announced length.
    Chunked,
}

/// Begins one delivery after the other, with a pause between them.
async fn attack(
    to: SocketAddr,
    last: u8,
    head: &str,
    manner: Manner,
    bulk: &[u8],
    pause: Duration,
) {
    loop {
        let mut stream = from(last, to).await;
        let length = bulk.len();
        let body = match manner {
            Manner::Chunked => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", length),
            _ => format!("Content-Length: {length}\r\n\r\n"),
        };
        let request = format!("{head}{body}");
        let (mut reader, mut writer) = stream.split();
        let send = async {
            writer.write_all(request.as_bytes()).await?;
            let (piece, pace) = match manner {
                Manner::Silent => pending().await,
                Manner::Dripping => (1, 300),
                Manner::Least => (1 << 9, 400),
                Manner::Trickling => {
                    writer.write_all(&bulk[..42 << 10]).await?;
                    (700, 300)
                }
                Manner::AllButTheEnd | Manner::Chunked => {
                    writer.write_all(&bulk[1..]).await?;
                    pending().await
                }
            };
            let piece = vec![b'x'; piece];
            loop {
                writer.write_all(&piece).await?;
                tokio::time::sleep(Duration::from_millis(pace)).await;
            }
        };
        let mut answer = Vec::new();
        let result: std::io::Result<usize> = tokio::select! {
            sent = send => sent,
            end = reader.read_to_end(&mut answer) => end,
        };
        let _ = result;
        tokio::time::sleep(pause).await;
    }
}

/// Returns the head of a delivery like this one, up to its length.
fn head(webhook: &Webhook) -> String {
    format!(
        "POST /webhooks/stripe/{} HTTP/1.1\r\nHost: x\r\nStripe-Signature: {}\r\n",
        webhook.circle,
        webhook.headers["stripe-signature"].to_str().unwrap(),
    )
}

/// Delivers an event of `kib` KiB in pieces, like over a slow line. Returns the beginning of the response.
async fn in_pieces(to: SocketAddr, id: &str, kib: usize) -> std::io::Result<String> {
    let body = event(id) + " ".repeat(kib << 10).as_str();
    let webhook = Webhook::stripe(&body);
    let head = format!("{}Content-Length: {}\r\n\r\n", head(&webhook), body.len());
    let mut stream = from(1, to).await;
    stream.write_all(head.as_bytes()).await?;
    for piece in body.as_bytes().chunks(40 << 10) {
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.write_all(piece).await?;
    }
    let mut answer = [0; 12];
    within("an answer", stream.read_exact(&mut answer)).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Returns how many of `all` deliveries get a 200 while `attackers` send.
async fn answered(server: &TestServer, attackers: usize, manner: Manner, all: usize) -> usize {
    let claimed = Webhook::stripe("{}");
    let head = head(&claimed);
    // The pace of a line of a gigabit.
    let (bulk, pause) = (
        vec![b'x'; 1 << 20],
        Duration::from_millis(attackers as u64 * 7),
    );
    // One of four comes from the provider's own address.
    let attacking = (0..attackers).map(|n| {
        let last = u8::try_from(1 + n % 4).unwrap();
        attack(server.address, last, &head, manner, &bulk, pause)
    });
    let deliver = async {
        // Wait until the attack has really begun.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut kept = 0;
        for n in 0..all {
            let id = format!("evt_{manner:?}_{attackers}_{n}");
            let webhook = Webhook::stripe(event(&id));
            let response = webhook.send(server).await;
            kept += usize::from(response.status == 200);
        }
        kept
    };
    tokio::select! {
        _ = join_all(attacking) => unreachable!("it has no end"),
        kept = timeout(Duration::from_secs(60), deliver) => {
            kept.unwrap_or_else(|_| panic!("{attackers} {manner:?} took too long"))
        }
    }
}

#[tokio::test]
async fn bodies_that_never_become_whole_keep_nobody_out() {
    let server = taking_stripes().start().await;
    let before = server.memory_kib("VmRSS");
    for (manner, attackers) in [
        (Manner::Silent, 72),
        (Manner::Silent, 720),
        (Manner::Dripping, 720),
        (Manner::Least, 720),
        (Manner::AllButTheEnd, 72),
        (Manner::AllButTheEnd, 720),
        (Manner::Chunked, 720),
    ] {
        let kept = answered(&server, attackers, manner, 100).await;
        assert!(kept >= 99, "{attackers} {manner:?}: {kept} of 100");
    }
    // All bodies may take 64 MiB, and some of it twice while it grows.
    let most = server.memory_kib("VmHWM");
    assert!(
        most < before + (160 << 10),
        "from {before} KiB to {most} KiB"
    );
}

#[tokio::test]
async fn bodies_that_come_in_pieces_are_kept_beside_a_flood_from_elsewhere() {
    let server = taking_stripes().start().await;
    let (flood, bulk) = (head(&Webhook::stripe("{}")), vec![b'x'; 1 << 20]);
    let attacking = (0..100).map(|n| {
        let pause = Duration::from_millis(500);
        let last = 2 + n % 6;
        attack(
            server.address,
            last,
            &flood,
            Manner::AllButTheEnd,
            &bulk,
            pause,
        )
    });
    let deliver = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for n in 0..10 {
            let id = format!("evt_pieces_{n}");
            let answer = in_pieces(server.address, &id, 300).await.unwrap();
            assert_eq!(answer, "HTTP/1.1 200", "{n}");
        }
    };
    tokio::select! {
        _ = join_all(attacking) => unreachable!("it has no end"),
        delivered = timeout(Duration::from_secs(60), deliver) => delivered.unwrap(),
    }
}

#[tokio::test]
async fn large_bodies_are_kept_beside_a_hundred_addresses_that_send_slowly() {
    // Memory for about 64 of theirs.
    let server = taking_stripes()
        .env("CIRCLED_WEBHOOKS__MAX_BUFFERED", "4MiB")
        .env("CIRCLED_WEBHOOKS__MAX_BUFFERED_PER_CIRCLE", "4MiB")
        .start()
        .await;
    let (slow, bulk) = (head(&Webhook::stripe("{}")), vec![b'x'; 1 << 20]);
    // A delivery that was given up comes again.
    let pause = Duration::from_secs(4);
    let attacking =
        (2..102).map(|last| attack(server.address, last, &slow, Manner::Trickling, &bulk, pause));
    let deliver = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut answers = Vec::new();
        for n in 0..20 {
            let id = format!("evt_large_{n}");
            let answer = in_pieces(server.address, &id, 400).await;
            answers.push(answer.unwrap_or_else(|error| error.to_string()));
        }
        answers
    };
    let answers = tokio::select! {
        _ = join_all(attacking) => unreachable!("it has no end"),
        answers = timeout(Duration::from_secs(60), deliver) => answers.unwrap(),
    };
    assert_eq!(answers, ["HTTP/1.1 200"; 20]);
}

#[tokio::test]
async fn slow_senders_are_told() {
    let server = taking_stripes()
        .env("CIRCLED_WEBHOOKS__RECEIVE_TIMEOUT", "60s")
        .start()
        .await;
    let claimed = Webhook::stripe("{}");
    let head = format!(
        "POST /webhooks/stripe/{} HTTP/1.1\r\nHost: x\r\nStripe-Signature: {}\r\nContent-Length: 1000\r\n\r\n",
        claimed.circle,
        claimed.headers["stripe-signature"].to_str().unwrap(),
    );
    let mut slow = from(2, server.address).await;
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(b"{").await.unwrap();
    let mut answer = [0; 12];
    within("an answer", slow.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}
