//! Responses to senders, row by row.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{
    backend::on_both,
    server::{OPEN, TestServer, busy, circle, eventually, key, send, within},
    webhooks::{SECRET, Webhook, ask, event, scripted, taking_stripes},
};

async fn signed_deliveries_are_kept_and_run() {
    let server = taking_stripes().start().await;
    let (job, status) = Webhook::stripe(event("evt_1")).kept(&server).await;
    assert_eq!(status, "finished");
    let kept = ask(&server, 1, r#"store.get("webhook/stripe/evt_1")"#).await;
    assert_eq!(kept["job_id"], job.as_str());
    assert_eq!(kept["id"], "evt_1");
    assert_eq!(kept["type"], "payment_intent.succeeded");
}

async fn every_spelling_of_the_circle_is_the_same() {
    let server = taking_stripes().start().await;
    let mut webhook = Webhook::stripe(event("evt_1"));
    let (job, _) = webhook.kept(&server).await;
    webhook.circle = format!("0x{}", webhook.circle.to_uppercase());
    assert_eq!(webhook.kept(&server).await, (job, "duplicate".to_owned()));
}

async fn the_second_time_nothing_runs() {
    let (_folder, settings) = scripted(r#"store.incr("runs", 1)"#);
    let server = taking_stripes().toml(settings).start().await;
    let (first, status) = Webhook::stripe(event("evt_1")).kept(&server).await;
    assert_eq!(status, "finished");
    // The same event, signed anew and written differently.
    let again = event("evt_1").replace(':', ": ");
    let (job, status) = Webhook::stripe(again).kept(&server).await;
    assert_eq!((job, status.as_str()), (first.clone(), "duplicate"));
    let (other, status) = Webhook::stripe(event("evt_2")).kept(&server).await;
    assert_eq!(status, "finished");
    assert_ne!(other, first);
    // Another circle doesn't know it.
    let elsewhere = Webhook::stripe(event("evt_1")).to(key(2).public());
    assert_eq!(elsewhere.kept(&server).await.1, "finished");
    assert_eq!(ask(&server, 1, r#"store.get("runs")"#).await, 2);
    assert_eq!(ask(&server, 2, r#"store.get("runs")"#).await, 1);
}

async fn of_many_at_once_one_runs() {
    let (_folder, settings) = scripted(r#"store.incr("runs", 1)"#);
    let server = taking_stripes().toml(settings).start().await;
    let webhook = Webhook::stripe(event("evt_1"));
    let all = (0..32).map(|_| webhook.kept(&server));
    let answers = futures_util::future::join_all(all).await;
    let new = answers.iter().filter(|(_, status)| status != "duplicate");
    assert_eq!(new.count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(job, _)| *job == answers[0].0));
    eventually("the run", async || {
        ask(&server, 1, r#"store.get("runs", 0)"#).await == 1
    })
    .await;
}

async fn refused_senders_learn_no_reason() {
    let mut server = taking_stripes().start().await;
    let body = event("evt_1");
    let hours = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
    let right = Webhook::stripe(&body);
    let signature = right.headers["stripe-signature"]
        .to_str()
        .unwrap()
        .to_owned();
    let mut changed = Webhook::stripe(&body);
    changed.body[10] ^= 1;
    let mut twice = Webhook::stripe(&body);
    twice
        .headers
        .append("stripe-signature", signature.parse().unwrap());
    let mut bodies = Vec::new();
    for (webhook, reason) in [
        (
            Webhook::stripe(&body).with("stripe-signature", None),
            "the signature header is missing",
        ),
        (twice, "a header of the signature is repeated"),
        (
            Webhook::stripe(&body).with("stripe-signature", Some("nonsense")),
            "the signature is malformed",
        ),
        (changed, "the signature is wrong"),
        (
            Webhook::signed(circled::webhooks::Preset::Stripe, "whsec_other", &body),
            "the signature is wrong",
        ),
        (
            Webhook::signed_at(hours(-1), &body),
            "signed 3600 s ago, which is past the tolerance",
        ),
        (Webhook::signed_at(hours(1), &body), "signed -3"),
    ] {
        let response = webhook.send(&server).await;
        response.assert_is_an_error(401);
        bodies.push(response.body);
        server
            .logged(reason, |line| {
                line["message"] == "webhook refused"
                    && line["reason"].as_str().unwrap().starts_with(reason)
                    && line["provider"] == "stripe"
            })
            .await;
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    let keys = ask(&server, 1, r#"store.keys("")"#).await;
    assert_eq!(keys, json!([]), "nothing has run");
}

async fn bodies_that_the_provider_doesnt_send_are_bad_requests() {
    let server = taking_stripes().start().await;
    for body in [
        "",
        "Hello, World!",
        "{",
        "[]",
        "null",
        r#"{"id":"evt_1","type":"x"}"#,
        r#"{"type":"x","data":{"object":{}}}"#,
        r#"{"id":{},"type":"x","data":{"object":{}}}"#,
        r#"{"id":"evt_1","type":[],"data":{"object":{}}}"#,
        r#"{"id":"evt_1","type":"x","data":{"object":null}}"#,
        "{\"id\":\"\u{1}\"}",
        &event(&"x".repeat(300)),
    ] {
        Webhook::stripe(body)
            .send(&server)
            .await
            .assert_is_an_error(400);
    }
    // Signed or not, the result is the same.
    let keys = ask(&server, 1, r#"store.keys("")"#).await;
    assert_eq!(keys, json!([]));
}

async fn providers_circles_and_methods_that_there_arent() {
    let server = TestServer::builder()
        .env("STRIPE_WEBHOOK_SECRET", SECRET)
        .toml(format!(
            "[circles]\nopen = false\n[[circle]]\nkey = \"{}\"\n",
            circle()
        ))
        .start()
        .await;
    let body = event("evt_1");
    let to = |provider: &str, circle: &str| {
        let mut webhook = Webhook::stripe(&body);
        webhook.provider = provider.to_owned();
        webhook.circle = circle.to_owned();
        webhook
    };
    let (here, elsewhere) = (circle().to_string(), key(2).public().to_string());
    for (webhook, code) in [
        (to("acme", &here), "unknown_provider"),
        (to("STRIPE", &here), "unknown_provider"),
        // Its secret isn't set.
        (to("idenfy", &here), "unknown_provider"),
        (to("stripe", &elsewhere), "unknown_circle"),
        (to("stripe", "nonsense"), "invalid_circle"),
        (to("stripe", &here[..64]), "invalid_circle"),
    ] {
        let response = webhook.send(&server).await;
        response.assert_is_an_error(404);
        assert_eq!(response.json()["error"]["code"], code);
    }
    // An easy mistake in a provider's form, which is clear all the same.
    let slashed = to("stripe", &format!("{here}/")).send(&server).await;
    assert_eq!(slashed.status, 200, "{slashed:?}");
    for path in [
        "/webhooks",
        "/webhooks/stripe",
        "/webhooks/stripe/",
        &format!("/webhooks/stripe/{here}/more"),
    ] {
        let response = server.get(path, &[]).await;
        response.assert_is_an_error(404);
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let request = format!(
            "{method} /webhooks/stripe/{here} HTTP/1.1\r\nHost: {}\r\n\r\n",
            server.address
        );
        let response = send(server.address, &request).await;
        response.assert_is_an_error(405);
        assert_eq!(response.header("allow"), Some("POST"));
    }
    assert_eq!(Webhook::stripe(&body).kept(&server).await.1, "duplicate");
}

async fn media_types_that_the_provider_doesnt_send() {
    let server = taking_stripes().start().await;
    let body = event("evt_1");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
    ] {
        let webhook = Webhook::stripe(&body).with("content-type", Some(kind));
        webhook.send(&server).await.assert_is_an_error(415);
    }
    for (n, kind) in [
        Some("application/json; charset=utf-8"),
        Some("application/vnd.stripe+json"),
        None,
    ]
    .into_iter()
    .enumerate()
    {
        let webhook = Webhook::stripe(event(&format!("evt_{n}"))).with("content-type", kind);
        assert_eq!(webhook.kept(&server).await.1, "finished", "{kind:?}");
    }
}

async fn bodies_have_a_longest_length() {
    let server = taking_stripes()
        .env("CIRCLED_WEBHOOKS__MAX_BODY", "1KiB")
        .start()
        .await;
    let padded = |length: usize| {
        let id = "x".repeat(10);
        let body = event(&id);
        body.replace(
            "2000",
            &format!("\"{}\"", "y".repeat(length - body.len() + 2)),
        )
    };
    assert_eq!(padded(1024).len(), 1024);
    assert_eq!(
        Webhook::stripe(padded(1024)).kept(&server).await.1,
        "finished"
    );
    let long = Webhook::stripe(padded(1025));
    long.send(&server).await.assert_is_an_error(413);
    // In chunks, its length isn't announced.
    let signature = long.headers["stripe-signature"].to_str().unwrap();
    let head = format!(
        "POST /webhooks/stripe/{} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nStripe-Signature: {signature}\r\nTransfer-Encoding: chunked\r\n\r\n",
        long.circle
    );
    let body = String::from_utf8(long.body.clone()).unwrap();
    let chunked = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    send(server.address, &chunked).await.assert_is_an_error(413);
}

async fn bodies_that_take_their_time_are_not_waited_for() {
    let server = taking_stripes()
        .env("CIRCLED_WEBHOOKS__RECEIVE_TIMEOUT", "2s")
        .env("CIRCLED_WEBHOOKS__MAX_BUFFERED", "4KiB")
        .env("CIRCLED_WEBHOOKS__MAX_BODY", "4KiB")
        .start()
        .await;
    let webhook = Webhook::stripe(event("evt_1"));
    let signature = webhook.headers["stripe-signature"].to_str().unwrap();
    let half = format!(
        "POST /webhooks/stripe/{} HTTP/1.1\r\nHost: x\r\nStripe-Signature: {signature}\r\nContent-Length: 4000\r\n\r\n{{",
        webhook.circle
    );
    let begin = async || {
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(half.as_bytes()).await.unwrap();
        slow
    };
    let end = async |mut slow: TcpStream| {
        let mut answer = Vec::new();
        within("an answer", slow.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = end(begin().await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // It has all the memory there is, and is given up for one that is here already.
    let slow = begin().await;
    assert_eq!(webhook.send(&server).await.status, 200);
    let answer = end(slow).await;
    let gave_way = answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: ");
    // The other one may have ended before it began.
    assert!(gave_way || answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

async fn a_sender_waits_no_longer_than_the_setting_says() {
    let (_folder, settings) = scripted(&busy(
        Duration::from_millis(400),
        "store.set(\"done\", true)",
    ));
    let server = taking_stripes()
        .toml(settings + "wait = \"50ms\"\n")
        .env(
            "CIRCLED_SCRIPT__MAX_OPERATIONS",
            crate::harness::server::ENDLESS,
        )
        .start()
        .await;
    let webhook = Webhook::stripe(event("evt_1"));
    let (job, status) = webhook.kept(&server).await;
    assert_eq!(status, "accepted");
    assert_eq!(webhook.kept(&server).await, (job, "duplicate".to_owned()));
    eventually("it to be done", async || {
        ask(&server, 1, r#"store.get("done", false)"#).await == true
    })
    .await;
}

async fn a_backlog_has_an_end() {
    let (_folder, settings) = scripted("loop {}");
    let server = taking_stripes()
        .toml(settings + "wait = \"0s\"\n")
        .env(
            "CIRCLED_SCRIPT__MAX_OPERATIONS",
            crate::harness::server::ENDLESS,
        )
        .env("CIRCLED_SCRIPT__TIMEOUT", "60s")
        .env("CIRCLED_DISPATCH__DURABLE__PER_CIRCLE", "1")
        .env("CIRCLED_DISPATCH__REDIS__PER_CIRCLE", "1")
        .env("CIRCLED_DISPATCH__DURABLE__BACKLOG", "3")
        .start()
        .await;
    // One runs, three wait.
    for n in 0..4 {
        let webhook = Webhook::stripe(event(&format!("evt_{n}")));
        assert_eq!(webhook.kept(&server).await.1, "accepted");
    }
    let response = Webhook::stripe(event("evt_5")).send(&server).await;
    response.assert_is_an_error(503);
    assert!(
        response
            .header("retry-after")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    // Other circles, and this circle's plays, aren't affected.
    let elsewhere = Webhook::stripe(event("evt_1")).to(key(2).public());
    assert_eq!(elsewhere.kept(&server).await.1, "accepted");
}

async fn a_server_that_stops_sends_senders_away() {
    let (_folder, settings) = scripted(&busy(Duration::from_secs(1), "1"));
    let mut server = taking_stripes()
        .toml(settings)
        .env(
            "CIRCLED_SCRIPT__MAX_OPERATIONS",
            crate::harness::server::ENDLESS,
        )
        .start()
        .await;
    // A connection that is open already.
    let webhook = Webhook::stripe(event("evt_1"));
    let mut session = server.log_in(&key(2)).await;
    let running = session.begin_play(&busy(Duration::from_secs(2), "1")).await;
    session.fence().await;
    let waiting = webhook.send(&server);
    let stopping = async {
        eventually("the job", async || server.jobs(OPEN).await.len() == 1).await;
        server.begin_to_stop().await;
    };
    let (response, ()) = tokio::join!(waiting, stopping);
    assert_eq!(response.status, 200, "it was begun: {response:?}");
    session.answer(running).await.unwrap();
    assert_eq!(server.wait().await.code(), Some(0));
}

on_both!(
    signed_deliveries_are_kept_and_run,
    every_spelling_of_the_circle_is_the_same,
    the_second_time_nothing_runs,
    of_many_at_once_one_runs,
    refused_senders_learn_no_reason,
    bodies_that_the_provider_doesnt_send_are_bad_requests,
    providers_circles_and_methods_that_there_arent,
    media_types_that_the_provider_doesnt_send,
    bodies_have_a_longest_length,
    bodies_that_take_their_time_are_not_waited_for,
    a_sender_waits_no_longer_than_the_setting_says,
    a_backlog_has_an_end,
    a_server_that_stops_sends_senders_away,
);
