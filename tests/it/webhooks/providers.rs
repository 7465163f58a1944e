//! Providers: presets, custom ones, and their secrets.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName};
use circled::webhooks::Preset;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    server::{TestServer, circle, post},
    webhooks::{Webhook, ask, event, taking_stripes},
};

/// A base64 text, for providers that need one.
const ANY_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Returns the settings of every preset, under its own name.
fn all() -> String {
    let table = |preset: Preset| {
        let name = format!("{preset:?}").to_lowercase();
        format!("[webhooks.{name}]\npreset = \"{name}\"\nsecrets = [\"{ANY_SECRET}\"]\n")
    };
    Preset::all().iter().copied().map(table).collect()
}

async fn every_preset_is_taken() {
    let server = TestServer::builder().toml(all()).start().await;
    for (preset, body, id, kind) in [
        (
            Preset::Stripe,
            event("evt_1"),
            "evt_1",
            "payment_intent.succeeded",
        ),
        (
            Preset::Github,
            json!({ "zen": "Keep it logically awesome." }).to_string(),
            "delivery",
            "test",
        ),
        (
            Preset::Shopify,
            json!({ "id": 820982911946154508_i64 }).to_string(),
            "delivery",
            "test",
        ),
        (
            Preset::Slack,
            json!({ "event_id": "Ev1", "event": { "type": "app_mention" } }).to_string(),
            "Ev1",
            "app_mention",
        ),
        (
            Preset::Standard,
            json!({ "type": "user.created" }).to_string(),
            "delivery",
            "user.created",
        ),
    ] {
        let webhook = Webhook::signed(preset, ANY_SECRET, body);
        let (job, status) = webhook.kept(&server).await;
        assert_eq!(status, "finished", "{preset:?}");
        assert_eq!(webhook.kept(&server).await, (job, "duplicate".to_owned()));
        let script = format!(
            "store.keys(\"webhook/{}/{id}\").map(|key| store.get(key))",
            webhook.provider
        );
        let kept = ask(&server, 1, &script).await;
        assert_eq!(kept.as_array().unwrap().len(), 1, "{preset:?}: {kept}");
        assert!(kept[0]["id"].as_str().unwrap().starts_with(id), "{kept}");
        assert_eq!(kept[0]["type"], kind);
    }
}

#[derive(Deserialize)]
struct Vector {
    provider: String,
    secret: String,
    now: Option<i64>,
    body: String,
    headers: BTreeMap<String, String>,
}

async fn requests_signed_by_providers_are_accepted() {
    let vectors: Vec<Vector> =
        circled_json::from_str(include_str!("../../vectors/webhooks.json")).unwrap();
    // Vectors with a time are stale by now, and a secret of four letters is refused: the verifier's own tests cover
    // both.
    let timeless = vectors
        .iter()
        .filter(|vector| vector.now.is_none() && vector.secret.len() >= 8);
    let mut seen = 0;
    for vector in timeless {
        let settings = format!(
            "[webhooks.{0}]\npreset = \"{0}\"\nsecrets = [{1:?}]\n",
            vector.provider, vector.secret
        );
        let server = TestServer::builder().toml(settings).start().await;
        let headers: HeaderMap = vector
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let path = format!("/webhooks/{}/{}", vector.provider, circle());
        let response = post(server.address, &path, &headers, vector.body.as_bytes()).await;
        // GitHub's own example is no JSON.
        let expected = if vector.provider == "github" {
            400
        } else {
            200
        };
        assert_eq!(
            response.status, expected,
            "{}: {response:?}",
            vector.provider
        );
        seen += 1;
    }
    assert_eq!(seen, 2);
}

async fn a_signed_id_cant_be_replaced_by_another() {
    let server = TestServer::builder().toml(all()).start().await;
    let body = json!({ "type": "user.created" }).to_string();
    let mut webhook = Webhook::signed(Preset::Standard, ANY_SECRET, body);
    for part in ["id", "timestamp", "signature"] {
        let value = webhook.headers.remove(format!("webhook-{part}")).unwrap();
        let name: HeaderName = format!("svix-{part}").parse().unwrap();
        webhook.headers.insert(name, value);
    }
    let (job, status) = webhook.kept(&server).await;
    assert_eq!(status, "finished");
    let again = webhook.with("webhook-id", Some("forged"));
    assert_eq!(again.kept(&server).await, (job, "duplicate".to_owned()));
}

async fn headers_that_are_read_stand_there_once() {
    let server = TestServer::builder().toml(all()).start().await;
    let twice = |preset, name: &'static str, value: &str| {
        let mut webhook = Webhook::signed(preset, ANY_SECRET, event("evt_1"));
        webhook.headers.append(name, value.parse().unwrap());
        webhook
    };
    let delivery = twice(Preset::Github, "x-github-delivery", "another");
    delivery.send(&server).await.assert_is_an_error(400);
    let kind = twice(Preset::Github, "x-github-event", "another");
    kind.send(&server).await.assert_is_an_error(400);
    let media = twice(Preset::Stripe, "content-type", "text/plain");
    media.send(&server).await.assert_is_an_error(415);
}

async fn slack_gets_its_challenge_back_and_its_forms_are_read() {
    let server = TestServer::builder().toml(all()).start().await;
    let challenge = json!({ "type": "url_verification", "challenge": "3eZbrw1aB" }).to_string();
    let response = Webhook::signed(Preset::Slack, ANY_SECRET, &challenge)
        .send(&server)
        .await;
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, "3eZbrw1aB")
    );
    // Other senders than Slack get nothing back.
    let response = Webhook::signed(Preset::Slack, "other", &challenge)
        .send(&server)
        .await;
    response.assert_is_an_error(401);
    let keys = ask(&server, 1, r#"store.keys("")"#).await;
    assert_eq!(keys, json!([]), "there is nothing to run");

    let form = "command=%2Fweather&text=94070&user_name=Steve";
    let webhook = Webhook::signed(Preset::Slack, ANY_SECRET, form)
        .with("content-type", Some("application/x-www-form-urlencoded"));
    let said = webhook.send(&server).await;
    assert_eq!((said.status, said.body.as_str()), (200, ""));
    let kept = ask(&server, 1, r#"store.get(store.keys("webhook/slack/")[0])"#).await;
    assert_eq!(kept["type"], "/weather");
}

async fn a_final_result_of_idenfy_stands() {
    let server = TestServer::builder().toml(all()).start().await;
    let result = |scan: &str, is_final: bool, overall: &str| {
        let body = json!({
            "final": is_final,
            "status": { "overall": overall },
            "scanRef": scan,
            "clientId": "user-1",
        });
        Webhook::signed(Preset::Idenfy, ANY_SECRET, body.to_string())
    };
    let stands = async |scan: &str| {
        let kept = ask(&server, 1, &format!("store.get(\"webhook/idenfy/{scan}\")")).await;
        (
            kept["type"].as_str().unwrap().to_owned(),
            kept["final"].as_bool().unwrap(),
        )
    };
    assert_eq!(
        result("one", false, "SUSPECTED").kept(&server).await.1,
        "finished"
    );
    assert_eq!(stands("one").await, ("SUSPECTED".to_owned(), false));
    assert_eq!(
        result("one", true, "APPROVED").kept(&server).await.1,
        "finished"
    );
    assert_eq!(stands("one").await, ("APPROVED".to_owned(), true));
    let (job, status) = result("one", false, "DENIED").kept(&server).await;
    assert_eq!(status, "finished");
    assert_eq!(stands("one").await, ("APPROVED".to_owned(), true));
    let job = server.admin(&format!("/jobs/{job}")).await.json();
    assert_eq!(job["output"], "superseded by the final delivery");
    // Another final one may correct it, and other verifications are separate.
    assert_eq!(
        result("one", true, "EXPIRED").kept(&server).await.1,
        "finished"
    );
    assert_eq!(stands("one").await, ("EXPIRED".to_owned(), true));
    assert_eq!(
        result("two", false, "ACTIVE").kept(&server).await.1,
        "finished"
    );
    assert_eq!(stands("two").await, ("ACTIVE".to_owned(), false));
}

async fn no_script_undoes_what_is_final_not_even_by_trying_again() {
    let folder = tempfile::tempdir().unwrap();
    // A delivery that isn't final fails the first time, and would come after the final one.
    let script = r#"
        if !EVENT.payload.final && !store.has("open") { throw "not yet" }
        store.set(EVENT.payload.scanRef, EVENT.payload.status.overall);
    "#;
    std::fs::write(folder.path().join("idenfy.rhai"), script).unwrap();
    let settings = folder.path().join("idenfy.rhai");
    let server = TestServer::builder()
        .toml(format!(
            "[webhooks.idenfy]\nsecrets = [\"{ANY_SECRET}\"]\nscript = {settings:?}\n"
        ))
        .env("CIRCLED_DISPATCH__DURABLE__RETRY_AFTER", "300ms")
        .start()
        .await;
    let result = |is_final: bool, overall: &str| {
        let body = json!({ "final": is_final, "status": { "overall": overall }, "scanRef": "one" });
        Webhook::signed(Preset::Idenfy, ANY_SECRET, body.to_string())
    };
    let (job, status) = result(false, "SUSPECTED").kept(&server).await;
    assert_eq!(status, "failed");
    assert_eq!(result(true, "APPROVED").kept(&server).await.1, "finished");
    ask(&server, 1, r#"store.set("open", true)"#).await;
    crate::harness::server::eventually("the other one to be over", async || {
        let job = server.admin(&format!("/jobs/{job}")).await.json();
        job["status"] == "finished"
    })
    .await;
    assert_eq!(ask(&server, 1, r#"store.get("one")"#).await, "APPROVED");
}

async fn one_can_describe_ones_own() {
    let settings = r#"
        [webhooks.acme]
        secrets = ["00ff10aabbccddee"]
        key = "hex"
        signature_header = "X-Acme-Signature"
        separator = ";"
        signature_prefix = "sig="
        timestamp_prefix = "time="
        signed = "acme|{timestamp}|{body}"
        hash = "sha512"
        encoding = "base64url"
        event_id = "body:/meta/id"
        event_type = ["header:X-Acme-Kind", "body:/meta/kind"]
        required = ["/meta"]
        tolerance = "1h"
    "#;
    let server = TestServer::builder().toml(settings).start().await;
    let mut description = Preset::Stripe.description();
    description.key = Some(circled_json::from_value(json!("hex")).unwrap());
    description.signature_header = Some(vec!["x-acme-signature".parse().unwrap()]);
    description.separator = Some(";".to_owned());
    description.signature_prefix = Some("sig=".to_owned());
    description.timestamp_prefix = Some("time=".to_owned());
    description.signed = Some("acme|{timestamp}|{body}".parse().unwrap());
    description.hash = Some(circled_json::from_value(json!("sha512")).unwrap());
    description.encoding = Some(circled_json::from_value(json!("base64url")).unwrap());
    let body = json!({ "meta": { "id": 7, "kind": "made" } }).to_string();
    let at = Timestamp::now() - jiff::SignedDuration::from_mins(50);
    let webhook = Webhook::described("acme", &description, "00ff10aabbccddee", &body, at);
    assert_eq!(webhook.kept(&server).await.1, "finished");
    let kept = ask(&server, 1, r#"store.get("webhook/acme/7")"#).await;
    assert_eq!((&kept["id"], &kept["type"]), (&json!("7"), &json!("made")));
    let webhook = Webhook::described("acme", &description, "00ff10aabbccddee", "{}", at);
    webhook.send(&server).await.assert_is_an_error(400);
    let webhook = Webhook::described("acme", &description, "00ff11aabbccddee", &body, at);
    webhook.send(&server).await.assert_is_an_error(401);
}

async fn scripts_see_the_event_and_who_sent_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"store.set("seen", [CALLER_ID, CONTEXT_ID, EVENT, JOB_ID, ARGS])"#;
    std::fs::write(folder.path().join("stripe.rhai"), script).unwrap();
    // Relative to the settings file.
    let settings = folder.path().join("circled.toml");
    std::fs::write(&settings, "[webhooks.stripe]\nscript = \"stripe.rhai\"\n").unwrap();
    let server = taking_stripes().config(&settings).start().await;
    let (job, status) = Webhook::stripe(event("evt_1")).kept(&server).await;
    assert_eq!(status, "finished");
    let seen = ask(&server, 1, r#"store.get("seen")"#).await;
    assert_eq!(seen[0], "webhook:stripe");
    assert_eq!(seen[1], circle().to_string());
    let payload: Value = circled_json::parse(event("evt_1")).unwrap();
    assert_eq!(seen[2]["payload"], payload);
    assert_eq!(seen[2]["provider"], "stripe");
    assert_eq!(seen[2]["id"], "evt_1");
    assert_eq!(seen[2]["type"], "payment_intent.succeeded");
    assert!(
        seen[2]["received_at"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .is_ok()
    );
    assert_eq!(seen[3], job);
    assert_eq!(seen[4], Value::Null);
}

on_both!(
    every_preset_is_taken,
    requests_signed_by_providers_are_accepted,
    a_signed_id_cant_be_replaced_by_another,
    headers_that_are_read_stand_there_once,
    slack_gets_its_challenge_back_and_its_forms_are_read,
    a_final_result_of_idenfy_stands,
    no_script_undoes_what_is_final_not_even_by_trying_again,
    one_can_describe_ones_own,
    scripts_see_the_event_and_who_sent_it,
);
