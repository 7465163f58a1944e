//! Deliveries that repeat an earlier one, and their treatment.

use circled::webhooks::Preset;
use serde_json::json;

use crate::harness::{
    backend::{on_both, on_other_servers},
    server::{Response, TestServer, Ws, circle, key, post},
    webhooks::{STUBBORN, Webhook, ask, event, job, scripted, taking_stripes, until},
};

const ANY_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn an_id_that_is_used_again_for_another_type_is_another_event() {
    let server = taking_stripes().start().await;
    let (first, _) = Webhook::stripe(event("evt_1")).kept(&server).await;
    let other = event("evt_1").replace("payment_intent.succeeded", "payment_intent.created");
    let (second, status) = Webhook::stripe(&other).kept(&server).await;
    assert_eq!(status, "finished");
    assert_ne!(first, second);
    assert_eq!(
        Webhook::stripe(&other).kept(&server).await,
        (second, "duplicate".to_owned())
    );
    // A repeated delivery of Stripe's may say that fewer endpoints are left.
    let again = event("evt_1").replacen('{', "{\"pending_webhooks\": 0,", 1);
    assert_eq!(
        Webhook::stripe(again).kept(&server).await,
        (first, "duplicate".to_owned())
    );
}

async fn tests_of_stripes_dashboard_are_told_apart_by_their_bodies() {
    let server = taking_stripes().start().await;
    let test = event("evt_00000000000000");
    let (first, status) = Webhook::stripe(&test).kept(&server).await;
    assert_eq!(status, "finished");
    let other = test.replace("2000", "2001");
    assert_eq!(Webhook::stripe(other).kept(&server).await.1, "finished");
    let again = Webhook::stripe(&test).kept(&server).await;
    assert_eq!(again, (first, "duplicate".to_owned()));
    let kept = ask(
        &server,
        1,
        r#"store.get("webhook/stripe/evt_00000000000000")"#,
    )
    .await;
    assert_eq!(kept["id"], "evt_00000000000000");
}

async fn one_event_of_shopifys_comes_in_several_deliveries() {
    let server = TestServer::builder()
        .toml(format!(
            "[webhooks.shopify]\npreset = \"shopify\"\nsecrets = [\"{ANY_SECRET}\"]\n"
        ))
        .start()
        .await;
    let delivery = |id: &'static str, topic: &'static str| {
        Webhook::signed(Preset::Shopify, ANY_SECRET, r#"{"id":1}"#)
            .with("x-shopify-event-id", Some("the-event"))
            .with("x-shopify-webhook-id", Some(id))
            .with("x-shopify-topic", Some(topic))
    };
    let (first, status) = delivery("one", "orders/create").kept(&server).await;
    assert_eq!(status, "finished");
    for (id, topic) in [
        ("two", "orders/create"),
        ("three", "orders/updated"),
        ("one", "orders/paid"),
    ] {
        let (job, status) = delivery(id, topic).kept(&server).await;
        assert_eq!(status, "finished", "{id} {topic}");
        assert_ne!(job, first);
    }
    let again = delivery("one", "orders/create").kept(&server).await;
    assert_eq!(again, (first, "duplicate".to_owned()));

    // The names of its newer Events.
    let mut newer = delivery("four", "products/update");
    for (old, new) in [
        ("x-shopify-hmac-sha256", "shopify-hmac-sha256"),
        ("x-shopify-webhook-id", "shopify-webhook-id"),
        ("x-shopify-topic", "shopify-topic"),
    ] {
        let value = newer.headers.remove(old).unwrap();
        newer.headers.insert(new, value);
    }
    let (job_id, status) = newer.kept(&server).await;
    assert_eq!(status, "finished");
    let job = job(&server, &job_id).await;
    assert_eq!(
        (&job["event_id"], &job["event_type"]),
        (&json!("four"), &json!("products/update"))
    );
    assert_eq!(newer.kept(&server).await.1, "duplicate");
}

async fn dead_deliveries_run_when_they_come_again() {
    let (_folder, settings) = scripted(STUBBORN);
    let server = taking_stripes()
        .toml(settings)
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        .start()
        .await;
    let webhook = Webhook::stripe(event("evt_1"));
    let (id, status) = webhook.kept(&server).await;
    assert_eq!(status, "failed");
    until(&server, &id, "dead").await;
    // It fails once more, and is given up once more.
    assert_eq!(
        webhook.kept(&server).await,
        (id.clone(), "failed".to_owned())
    );
    let dead = until(&server, &id, "dead").await;
    assert_eq!(dead["tries"], 1);
    ask(&server, 1, r#"store.set("give in", true)"#).await;
    assert_eq!(
        webhook.kept(&server).await,
        (id.clone(), "finished".to_owned())
    );
    until(&server, &id, "finished").await;
    assert_eq!(
        webhook.kept(&server).await,
        (id.clone(), "duplicate".to_owned())
    );
    assert_eq!(ask(&server, 1, r#"store.get("runs")"#).await, 1);
    assert!(server.jobs("dead").await.is_empty());
}

async fn of_many_that_come_again_at_once_one_runs() {
    let (_folder, settings) = scripted(STUBBORN);
    let server = taking_stripes()
        .toml(settings)
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        .start()
        .await;
    let webhook = Webhook::stripe(event("evt_1"));
    let (id, _) = webhook.kept(&server).await;
    until(&server, &id, "dead").await;
    ask(&server, 1, r#"store.set("give in", true)"#).await;
    let all = (0..16).map(|_| webhook.kept(&server));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|(job, _)| *job == id), "{answers:?}");
    until(&server, &id, "finished").await;
    assert_eq!(ask(&server, 1, r#"store.get("runs")"#).await, 1);
}

async fn without_deduplication_each_delivery_is_new() {
    let data = tempfile::tempdir().unwrap();
    let (_folder, settings) = scripted(STUBBORN);
    let start = |dedupe_for: &'static str| {
        taking_stripes()
            .data(data.path())
            .toml(&settings)
            .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
            .env("CIRCLED_DISPATCH__DURABLE__DEDUPE_FOR", dedupe_for)
            .start()
    };
    let mut server = start("1h").await;
    let webhook = Webhook::stripe(event("evt_1"));
    let (id, status) = webhook.kept(&server).await;
    assert_eq!(status, "failed");
    until(&server, &id, "dead").await;
    server.sigterm();
    assert!(server.wait().await.success());
    // The mark of the first one is still there.
    let server = start("0s").await;
    let (second, status) = webhook.kept(&server).await;
    assert_eq!(status, "failed");
    ask(&server, 1, r#"store.set("give in", true)"#).await;
    let (third, status) = webhook.kept(&server).await;
    assert_eq!(status, "finished");
    assert!(id != second && id != third && second != third);
    until(&server, &id, "dead").await;
}

async fn repeated_deliveries_run_the_script_as_it_is_now() {
    let server = taking_stripes()
        .env("CIRCLED_DISPATCH__DURABLE__MAX_TRIES", "1")
        .start()
        .await;
    let mut owner = server.log_in(&key(1)).await;
    let put = async |owner: &mut Ws, source: &str| {
        let params = json!({ "name": "on_stripe", "source": source });
        owner.call("put_script", params).await.unwrap();
    };
    put(&mut owner, r#"throw "broken""#).await;
    let webhook = Webhook::stripe(event("evt_1"));
    let (id, status) = webhook.kept(&server).await;
    assert_eq!(status, "failed");
    until(&server, &id, "dead").await;
    put(&mut owner, r#"store.set("mended", EVENT.id)"#).await;
    assert_eq!(webhook.kept(&server).await, (id, "finished".to_owned()));
    assert_eq!(ask(&server, 1, r#"store.get("mended")"#).await, "evt_1");
}

/// Sends a GET to a provider's address.
async fn get(server: &TestServer, provider: &str, query: &str) -> Response {
    let path = format!("/webhooks/{provider}/{}?{query}", circle());
    server.get(&path, &[]).await
}

async fn an_address_is_verified_by_whoever_knows_the_token() {
    // The settings from docs/WEBHOOKS.md.
    let meta = r#"
        [webhooks.meta]
        secrets = ["env:META_APP_SECRET"]
        signature_header = "X-Hub-Signature-256"
        signature_prefix = "sha256="
        signed = "{body}"
        event_type = "body:/object"
        get_challenge = "hub.challenge"
        get_token = "hub.verify_token"
        get_mode = "hub.mode=subscribe"
        get_tokens = ["env:META_VERIFY_TOKEN"]
    "#;
    let mut server = taking_stripes()
        .toml(meta)
        .env("META_APP_SECRET", "the app's secret")
        .env("META_VERIFY_TOKEN", "meatyhamhock")
        .start()
        .await;
    let query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock";
    let told = get(&server, "meta", query).await;
    assert_eq!((told.status, told.body.as_str()), (200, "1158201444"));
    assert!(
        told.header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    assert_eq!(told.header("x-content-type-options"), Some("nosniff"));
    for wrong in ["meatyhamhocks", "", "MEATYHAMHOCK"] {
        let query = query.replace("meatyhamhock", wrong);
        let refused = get(&server, "meta", &query).await;
        refused.assert_is_an_error(401);
        assert!(!refused.body.contains("1158201444"));
    }
    get(&server, "meta", "").await.assert_is_an_error(401);
    server
        .logged("why", |line| {
            line["message"] == "webhook refused" && line["reason"] == "the GET has a wrong token"
        })
        .await;
    // Providers that send no such GET get no answer to one.
    get(&server, "stripe", query).await.assert_is_an_error(405);
    get(&server, "other", query).await.assert_is_an_error(405);

    let body = br#"{"object":"page","entry":[]}"#;
    let mut description = Preset::Github.description();
    description.event_id = None;
    let signed = Webhook::described(
        "meta",
        &description,
        "the app's secret",
        std::str::from_utf8(body).unwrap(),
        jiff::Timestamp::now(),
    );
    let path = format!("/webhooks/meta/{}", circle());
    let kept = post(server.address, &path, &signed.headers, body).await;
    assert_eq!(kept.json()["status"], "finished", "{kept:?}");
}

#[tokio::test]
async fn half_of_a_verification_is_refused() {
    for (settings, expected) in [
        ("get_challenge = \"c\"", "get_challenge needs get_token"),
        ("get_token = \"t\"", "get_token needs get_challenge"),
        (
            "get_challenge = \"c\"\nget_token = \"t\"",
            "get_challenge needs get_tokens",
        ),
        (
            "get_tokens = [\"long enough\"]",
            "get_tokens needs get_challenge",
        ),
        ("get_tokens = [\"short\"]", "shorter than 8"),
        (
            "get_challenge = \"c\"\nget_token = \"t\"\nget_tokens = [\"long enough\"]\nget_mode = \"m\"",
            "circled.toml:5:1): must be a parameter and its value",
        ),
    ] {
        let settings = format!("[webhooks.stripe]\n{settings}\n");
        let (status, said) = TestServer::builder().toml(settings).give_up().await;
        assert_eq!(status.code(), Some(1));
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

on_both!(
    an_id_that_is_used_again_for_another_type_is_another_event,
    tests_of_stripes_dashboard_are_told_apart_by_their_bodies,
    one_event_of_shopifys_comes_in_several_deliveries,
    dead_deliveries_run_when_they_come_again,
    of_many_that_come_again_at_once_one_runs,
    without_deduplication_each_delivery_is_new,
    repeated_deliveries_run_the_script_as_it_is_now,
    an_address_is_verified_by_whoever_knows_the_token,
);

on_other_servers!(
    dead_deliveries_run_when_they_come_again,
    of_many_that_come_again_at_once_one_runs,
);
