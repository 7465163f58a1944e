//! All kinds of requests that providers send: their presets accept each, and respond as the provider wants.

use std::time::Duration;

use circled::webhooks::Preset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    server::{ENDLESS, TestServer, busy, circle},
    webhooks::{SECRET, Webhook, ask, job, scripted, taking_stripes},
};

const ANY_SECRET: &str = "long enough";

fn taking(preset: &str, more: &str) -> crate::harness::server::Builder {
    TestServer::builder().toml(format!(
        "[webhooks.{preset}]\npreset = \"{preset}\"\nsecrets = [\"{ANY_SECRET}\"]\n{more}"
    ))
}

async fn all_that_stripe_sends_is_taken() {
    let server = taking_stripes().start().await;
    let thin = json!({
        "id": "evt_test_1",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "livemode": false,
        "created": "2026-11-23T16:45:00.000Z",
        "context": null,
        "related_object": { "id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1" },
        "reason": null,
    });
    let mut ping = thin.clone();
    ping["id"] = json!("evt_test_2");
    ping["type"] = json!("v2.core.event_destination.ping");
    let mut about_nothing = thin.clone();
    about_nothing["id"] = json!("evt_test_3");
    about_nothing["related_object"] = Value::Null;
    let connect = json!({
        "id": "evt_4",
        "object": "event",
        "account": "acct_1",
        "type": "test_helpers.test_clock.ready",
        "data": { "object": { "id": "clock_1", "object": "test_helpers.test_clock" } },
    });
    for sent in [&thin, &ping, &about_nothing, &connect] {
        let (id, status) = Webhook::stripe(sent.to_string()).kept(&server).await;
        assert_eq!(status, "finished", "{sent}");
        let job = job(&server, &id).await;
        assert_eq!(
            (&job["event_id"], &job["event_type"]),
            (&sent["id"], &sent["type"])
        );
    }
    // The known members of each kind are checked.
    for missing in ["id", "type"] {
        let mut thin = thin.clone();
        thin[missing] = Value::Null;
        let refused = Webhook::stripe(thin.to_string()).send(&server).await;
        refused.assert_is_an_error(400);
    }
    let mut snapshot = connect;
    snapshot["data"] = json!({});
    let refused = Webhook::stripe(snapshot.to_string()).send(&server).await;
    refused.assert_is_an_error(400);
}

async fn all_that_idenfy_sends_is_taken() {
    let server = taking("idenfy", "").start().await;
    for (kind, body, expected, key) in [
        (
            Some("IDENTIFICATION_MANUAL_FINISHED"),
            json!({ "final": true, "scanRef": "scan", "status": { "overall": "APPROVED" }, "clientId": "user" }),
            "APPROVED",
            "scan",
        ),
        (
            Some("FACIAL_AUTHENTICATION"),
            json!({ "token": "t", "clientId": "user", "scanRef": "scan", "status": "SUCCESS", "type": "AUTHENTICATION", "method": "FACE_MATCHING", "facePhoto": null }),
            "FACIAL_AUTHENTICATION",
            "face/scan",
        ),
        (
            Some("AML_MONITORING"),
            json!({ "monitoringId": "m", "name": "Jane", "alertStatus": "ALERT", "status": "ALERT", "scanRefList": ["scan"], "results": [] }),
            "AML_MONITORING",
            "aml/m",
        ),
        (
            Some("COMPANY_SUBMIT"),
            json!({ "id": "c", "submissionTime": "2026-11-23T16:45:00Z", "clientId": "user", "soleProprietor": false }),
            "COMPANY_SUBMIT",
            "company/c",
        ),
        (
            Some("COMPANY_AML_REVIEW"),
            json!({ "amlReviewSubjectType": "COMPANY", "id": "review", "companyId": "c", "overallStatus": "NO_FLAGS" }),
            "COMPANY_AML_REVIEW",
            "company/c",
        ),
    ] {
        let webhook = Webhook::signed(Preset::Idenfy, ANY_SECRET, body.to_string())
            .with("idenfy-event-type", kind);
        let (id, status) = webhook.kept(&server).await;
        assert_eq!(status, "finished", "{body}");
        assert_eq!(job(&server, &id).await["event_type"], expected);
        assert_eq!(webhook.kept(&server).await, (id, "duplicate".to_owned()));
        let kept = ask(&server, 1, &format!("store.get(\"webhook/idenfy/{key}\")")).await;
        assert_eq!(kept["type"], expected, "{kept}");
        assert!(!kept.to_string().contains("Jane"), "{kept}");
    }
    // The result of the face comparison changed nothing in the verification.
    let kept = ask(&server, 1, r#"store.get("webhook/idenfy/scan")"#).await;
    assert_eq!(
        (&kept["type"], &kept["final"]),
        (&json!("APPROVED"), &json!(true))
    );
    let keys = ask(&server, 1, r#"store.keys("").len()"#).await;
    assert_eq!(keys, 4);
    // A kind of the future, and without the header, which isn't signed.
    let body = json!({ "something": { "new": true } }).to_string();
    let webhook = Webhook::signed(Preset::Idenfy, ANY_SECRET, body);
    assert_eq!(webhook.kept(&server).await.1, "finished");
    // A result must name its verification.
    for body in [
        json!({ "final": true, "status": { "overall": "APPROVED" } }),
        json!({ "final": true, "scanRef": "scan" }),
        json!({ "final": "yes", "scanRef": "scan", "status": { "overall": "APPROVED" } }),
    ] {
        let webhook = Webhook::signed(Preset::Idenfy, ANY_SECRET, body.to_string());
        webhook.send(&server).await.assert_is_an_error(400);
    }
}

async fn each_setting_of_a_preset_can_be_unset() {
    let server = taking("idenfy", "series = false\nevent_type = false\n")
        .start()
        .await;
    let result = |is_final: bool, overall: &str| {
        let body = json!({ "final": is_final, "scanRef": "one", "status": { "overall": overall } });
        Webhook::signed(Preset::Idenfy, ANY_SECRET, body.to_string())
    };
    result(true, "APPROVED").kept(&server).await;
    let (id, _) = result(false, "SUSPECTED").kept(&server).await;
    let job = job(&server, &id).await;
    assert_eq!(job["event_type"], Value::Null);
    assert_ne!(job["output"], "superseded by the final delivery");
    let kept = ask(&server, 1, r#"store.get("webhook/idenfy/one").final"#).await;
    assert_eq!(kept, false);

    let server = taking_stripes()
        .env("CIRCLED_WEBHOOKS__STRIPE__REQUIRED", "false")
        .env("CIRCLED_WEBHOOKS__STRIPE__KINDS", "false")
        .start()
        .await;
    assert_eq!(Webhook::stripe("{}").kept(&server).await.1, "finished");

    let (status, said) = taking("idenfy", "signed = false\n").give_up().await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("signed is missing"), "{said}");
    let (status, said) = taking("idenfy", "secrets = false\n").give_up().await;
    assert_eq!(status.code(), Some(1), "{said}");
}

fn interaction(body: &Value) -> Webhook {
    let form: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &body.to_string())
        .finish();
    as_form(&form)
}

fn as_form(form: &str) -> Webhook {
    Webhook::signed(Preset::Slack, ANY_SECRET, form)
        .with("content-type", Some("application/x-www-form-urlencoded"))
}

async fn slack_gets_what_the_script_says_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        let sent = EVENT.payload;
        if sent.command == "/throw" { throw "not now" }
        if sent.command == "/text" { return #{ respond: "It's 80 degrees right now." } }
        if sent.command == "/nothing" { return #{ respond: () } }
        if sent.command == "/other" { return 42 }
        if sent.type == "block_suggestion" {
            return #{ respond: #{ options: [#{ text: #{ type: "plain_text", text: sent.value }, value: `${store.incr("asked", 1)}` }] } };
        }
        store.incr("others", 1)
    "#;
    std::fs::write(folder.path().join("slack.rhai"), script).unwrap();
    let path = folder.path().join("slack.rhai");
    let server = taking("slack", &format!("script = {path:?}\nwait = \"10s\"\n"))
        .start()
        .await;
    for (command, expected) in [
        ("/text", "It's 80 degrees right now."),
        ("/nothing", ""),
        ("/other", ""),
        ("/throw", ""),
    ] {
        let form = format!("command={}&trigger_id=1", command.replace('/', "%2F"));
        let said = as_form(&form).send(&server).await;
        assert_eq!(
            (said.status, said.body.as_str()),
            (200, expected),
            "{command}"
        );
        if !expected.is_empty() {
            assert!(
                said.header("content-type")
                    .unwrap()
                    .starts_with("text/plain")
            );
        }
    }
    for kind in [
        "block_actions",
        "view_submission",
        "view_closed",
        "shortcut",
        "message_action",
        "interactive_message",
        "dialog_submission",
    ] {
        let said = interaction(&json!({ "type": kind })).send(&server).await;
        assert_eq!((said.status, said.body.as_str()), (200, ""), "{kind}");
    }
    assert_eq!(ask(&server, 1, r#"store.get("others")"#).await, 7);
    // Sent again, it is another question; the same request once more gets the same response.
    let question = json!({ "type": "block_suggestion", "value": "a" });
    let earlier = Timestamp::now() - SignedDuration::from_secs(60);
    let mut earlier = Webhook::described(
        "slack",
        &Preset::Slack.description(),
        ANY_SECRET,
        std::str::from_utf8(&interaction(&question).body).unwrap(),
        earlier,
    )
    .with("content-type", Some("application/x-www-form-urlencoded"));
    for (number, asked) in [("1", &mut earlier), ("2", &mut interaction(&question))] {
        for _ in 0..2 {
            let said = asked.send(&server).await;
            assert_eq!(said.header("content-type"), Some("application/json"));
            let option = &said.json()["options"][0];
            assert_eq!(option["value"], number, "{option}");
        }
    }
    // Messages for the server alone are acknowledged as usual.
    let body =
        json!({ "type": "event_callback", "event_id": "Ev1", "event": { "type": "app_mention" } });
    let event = Webhook::signed(Preset::Slack, ANY_SECRET, body.to_string());
    assert_eq!(event.kept(&server).await.1, "finished");
}

async fn slack_may_look_at_the_certificate() {
    let (_folder, script) = scripted(r#"store.incr("runs", 1)"#);
    let script = script.replace("[webhooks.stripe]", "wait = \"10s\"");
    let mut server = taking("slack", &script).start().await;
    let path = format!("/webhooks/slack/{}", circle());
    let ask_by_get = async |path: String| server.get(&path, &[]).await.status;
    assert_eq!(ask_by_get(format!("{path}?ssl_check=1&token=x")).await, 200);
    for query in ["", "?ssl_check=0", "?token=ssl_check%3D1"] {
        assert_eq!(ask_by_get(format!("{path}{query}")).await, 405, "{query}");
    }
    let elsewhere = format!("/webhooks/stripe/{}?ssl_check=1", circle());
    assert_eq!(ask_by_get(elsewhere).await, 405);

    // Signed or not, because the documentation doesn't say.
    let form = "application/x-www-form-urlencoded";
    let checks = |body: &str| {
        Webhook::signed(Preset::Slack, ANY_SECRET, body).with("content-type", Some(form))
    };
    let unsigned = |body: &str| checks(body).with("x-slack-signature", None);
    let long = format!("ssl_check=1&text={}", "x".repeat(1024));
    for (webhook, status) in [
        (checks("token=x&ssl_check=1"), 200),
        (unsigned("token=x&ssl_check=1"), 200),
        (unsigned("command=/x&ssl_check=0"), 401),
        (unsigned("command=/x&ssl_check=1&ssl_check=0"), 401),
        (unsigned(&long), 401),
        (
            unsigned("{\"ssl_check\":\"1\"}").with("content-type", Some("application/json")),
            401,
        ),
        (
            Webhook::signed(Preset::Slack, "another secret", "a=1")
                .with("content-type", Some(form)),
            401,
        ),
    ] {
        let response = webhook.send(&server).await;
        assert_eq!(response.status, status, "{response:?}");
        if status == 200 {
            assert_eq!(response.body, "", "{response:?}");
        }
    }
    assert_eq!(ask(&server, 1, r#"store.get("runs", 0)"#).await, 0);
    assert_eq!(checks("command=/x").send(&server).await.status, 200);
    assert_eq!(ask(&server, 1, r#"store.get("runs", 0)"#).await, 1);
    server.sigterm();
    assert!(server.wait().await.success());
}

async fn slack_is_not_kept_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let script = busy(Duration::from_millis(400), "#{ respond: \"late\" }");
    std::fs::write(folder.path().join("slack.rhai"), script).unwrap();
    let path = folder.path().join("slack.rhai");
    let server = taking("slack", &format!("script = {path:?}\nwait = \"50ms\"\n"))
        .env("CIRCLED_SCRIPT__MAX_OPERATIONS", ENDLESS)
        .start()
        .await;
    let said = as_form("command=%2Fslow").send(&server).await;
    assert_eq!((said.status, said.body.as_str()), (200, ""));
}

async fn times_are_read_as_ones_own_provider_writes_them() {
    for format in ["seconds", "milliseconds", "rfc3339"] {
        let table = format!(
            r#"
            [webhooks.acme]
            secrets = ["{SECRET}"]
            signature_header = "X-Acme-Signature"
            timestamp_header = "X-Acme-Time"
            timestamp_format = "{format}"
            signed = "{{timestamp}}.{{body}}"
            "#
        );
        let server = TestServer::builder().toml(table).start().await;
        let mut description = Preset::Github.description();
        description.signature_header = Some(vec!["x-acme-signature".parse().unwrap()]);
        description.signature_prefix = None;
        description.timestamp_header = Some(vec!["x-acme-time".parse().unwrap()]);
        description.timestamp_format = Some(circled_json::from_value(json!(format)).unwrap());
        description.signed = Some("{timestamp}.{body}".parse().unwrap());
        description.event_id = None;
        description.event_type = None;
        for (minutes, status) in [(0, 200), (4, 200), (6, 401)] {
            let at = Timestamp::now() - SignedDuration::from_mins(minutes);
            let body = json!({ "minutes": minutes }).to_string();
            let webhook = Webhook::described("acme", &description, SECRET, body, at);
            let said = webhook.send(&server).await;
            assert_eq!(said.status, status, "{format}: {minutes} min: {said:?}");
        }
    }
}

on_both!(
    all_that_stripe_sends_is_taken,
    all_that_idenfy_sends_is_taken,
    each_setting_of_a_preset_can_be_unset,
    slack_gets_what_the_script_says_or_nothing,
    slack_may_look_at_the_certificate,
    slack_is_not_kept_waiting,
    times_are_read_as_ones_own_provider_writes_them,
);
