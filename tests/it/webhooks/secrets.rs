//! Providers' secrets, and which providers are on or off.

use circled::webhooks::Preset;

use crate::harness::{
    backend::on_both,
    server::{TestServer, key},
    webhooks::{SECRET, Webhook, event, taking_stripes},
};

async fn secrets_come_from_everywhere_and_can_be_changed_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "from-a-file\n").unwrap();
    let file = folder.path().join("secret");
    let server = TestServer::builder()
        .env("NEW_SECRET", "from-the-environment")
        .toml(format!(
            "[webhooks.stripe]\nsecrets = [\"env:NEW_SECRET\", \"file:{}\", \"a literal\", \"env:UNSET\"]\n",
            file.display()
        ))
        .start()
        .await;
    for (n, (secret, status)) in [
        ("from-the-environment", 200),
        ("from-a-file", 200),
        ("a literal", 200),
        ("from-a-file\n", 401),
        ("other", 401),
        ("", 401),
    ]
    .into_iter()
    .enumerate()
    {
        let webhook = Webhook::signed(
            Preset::Stripe,
            if secret.is_empty() { "\0" } else { secret },
            event(&format!("evt_{n}")),
        );
        assert_eq!(webhook.send(&server).await.status, status, "{secret:?}");
    }
}

async fn a_circles_own_secret_counts_there_alone() {
    let (own, other) = (key(1).public(), key(2).public());
    let server = taking_stripes()
        .toml(format!(
            "[[circle]]\nkey = \"{own}\"\nsecrets = {{ stripe = [\"its very own\"] }}\n[[circle]]\nkey = \"{other}\"\n"
        ))
        .start()
        .await;
    for (circle, secret, status) in [
        (own, "its very own", 200),
        (own, SECRET, 401),
        (other, "its very own", 401),
        (other, SECRET, 200),
    ] {
        let webhook = Webhook::signed(Preset::Stripe, secret, event("evt_1")).to(circle);
        assert_eq!(
            webhook.send(&server).await.status,
            status,
            "{circle} {secret}"
        );
    }
}

async fn providers_that_are_on_are_logged_at_the_start() {
    let mut server = taking_stripes().start().await;
    let on = server
        .logged("who is on", |line| line["message"] == "taking webhooks")
        .await;
    assert_eq!(on["providers"], "stripe");
    let off = server
        .logged("who is off", |line| {
            line["message"] == "webhooks are off: none of the secrets is set"
        })
        .await;
    assert_eq!(off["provider"], "idenfy");
    assert_eq!(off["secrets"], "env:IDENFY_WEBHOOK_SECRET");

    let own = key(1).public();
    let mut server = taking_stripes()
        .toml(format!(
            "[webhooks.stripe]\nsecrets = [\"env:STRIPE_WEBHOOK_SECRET\", \"env:NEW_ONE\"]\n[[circle]]\nkey = \"{own}\"\nsecrets = {{ stripe = [\"env:ITS_OWN\"] }}\n"
        ))
        .start()
        .await;
    for (secret, circle) in [
        ("env:NEW_ONE", None),
        ("env:ITS_OWN", Some(own.to_string())),
    ] {
        let unset = server
            .logged("what isn't set", |line| line["secret"] == secret)
            .await;
        assert_eq!(unset["level"], "WARN");
        assert_eq!(unset["circle"].as_str(), circle.as_deref());
    }
}

#[tokio::test]
async fn providers_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("broken.rhai");
    std::fs::write(&script, "let x = 1;\nlet y = ;\n").unwrap();
    let unknown = format!(
        "[[circle]]\nkey = \"{}\"\nsecrets = {{ strpie = [\"env:X\"] }}\n",
        key(1).public()
    );
    let broken = format!("[webhooks.stripe]\nscript = {script:?}\n");
    for (settings, expected) in [
        (
            "[webhooks.acme]\nsecrets = [\"long enough\"]\n",
            "circled.toml:1:11): signature_header is missing",
        ),
        (
            "[webhooks.acme]\nsignature_header = \"X\"\nsigned = \"{timestamp}.{body}\"\n",
            "signed has {timestamp} in it",
        ),
        (
            "[webhooks.acme]\nsignature_header = \"X\"\nsigned = \"{timestamp}\"\n",
            "must have {body} in it",
        ),
        (
            "[webhooks.acme]\npreset = \"strip\"\n",
            "must be one of \"stripe\"",
        ),
        (
            "[webhooks.acme]\npreset = \"stripe\"\nsecret = \"x\"\n",
            "did you mean `secrets`?",
        ),
        (
            "[webhooks.acme]\npreset = \"stripe\"\ntolerance = 5\n",
            "must be a duration",
        ),
        (
            "[webhooks.Acme]\npreset = \"stripe\"\n",
            "can't be the name of a provider",
        ),
        (
            "[webhooks.hooks]\npreset = \"standard\"\nsecrets = [\"not base64!\"]\n",
            "the secret *** cannot be used",
        ),
        (
            "[webhooks.stripe]\nscript = \"missing.rhai\"\n",
            "missing.rhai cannot be read",
        ),
        ("[webhooks]\nmax_body = 5\n", "webhooks.max_body = 5"),
        ("[webhooks.acme]\n", "has nothing in it"),
        (
            "[webhooks.stripe]\nsecrets = [\"***\"]\n",
            "put the secret itself there",
        ),
        (
            "[webhooks.acme]\nsignature_header = \"X\"\nsigned = \"{body}\"\ntimestamp_header = \"T\"\n",
            "the time isn't signed",
        ),
        (
            "[webhooks.stripe]\nseries = \"/id\"\n",
            "series needs series_final",
        ),
        (
            "[webhooks.stripe]\nrequired = [\"id\"]\n",
            "must be a JSON pointer",
        ),
        (
            "[webhooks.stripe]\nsecrts = [\"not base64!\"]\n",
            "did you mean `secrets`?",
        ),
        (
            "[webhooks.stripe]\nkey = \"not base64!\"\n",
            "must be one of \"text\"",
        ),
        (
            "[webhooks.stripe]\nsigning_key = \"not base64!\"\n",
            "webhooks.stripe.signing_key",
        ),
        (unknown.as_str(), "there is no [webhooks.strpie]"),
        (broken.as_str(), "broken.rhai:2:9 is not valid Rhai"),
    ] {
        let (status, said) = TestServer::builder().toml(settings).give_up().await;
        assert_eq!(status.code(), Some(1), "{settings}");
        assert!(said.contains(expected), "{settings}: {said}");
        assert!(!said.contains("not base64!"), "a secret is told: {said}");
    }
}

/// Settings, files beside them and variables, each with a secret that can only be a mistake.
#[tokio::test]
async fn secrets_that_can_only_be_mistakes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("blank", " \n"), ("short", "canary\n")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let at = |name: &str| format!("file:{}", folder.path().join(name).display());
    for (source, expected) in [
        ("${CANARY_SECRET}".to_owned(), "name of a variable"),
        ("$CANARY_SECRET".to_owned(), "name of a variable"),
        ("ENV:CANARY_SECRET".to_owned(), "write \"env:NAME\""),
        ("  ".to_owned(), "is empty"),
        ("canary".to_owned(), "shorter than 8 bytes"),
        (
            " canary with space around it ".to_owned(),
            "white space around it",
        ),
        ("env:A_BLANK".to_owned(), "it is empty"),
        ("env:A_SHORT_ONE".to_owned(), "shorter than 8 bytes"),
        (at("missing"), "there is no such file"),
        (at("blank"), "it is empty"),
        (at("short"), "shorter than 8 bytes"),
        (at(""), "the file cannot be read"),
    ] {
        let here = format!("[webhooks.stripe]\nsecrets = [{source:?}]\n");
        let of_a_circle = format!(
            "[[circle]]\nkey = \"{}\"\nsecrets = {{ stripe = [{source:?}] }}\n",
            key(1).public()
        );
        for settings in [here, of_a_circle] {
            let builder = || {
                TestServer::builder()
                    .toml(&settings)
                    .env("A_BLANK", " \n")
                    .env("A_SHORT_ONE", "canary")
            };
            let (status, said) = builder().give_up().await;
            assert_eq!(status.code(), Some(1), "{settings}");
            assert!(said.contains(expected), "{settings}: {said}");
            assert!(!said.contains("canary"), "a secret is told: {said}");
        }
    }
}

#[tokio::test]
async fn every_mistake_of_the_providers_is_told_at_once() {
    let settings = "[webhooks.stripe]\nsecrets = [\"file:missing\", \"env:A_SHORT_ONE\"]\nscript = \"missing.rhai\"\n[webhooks.acme]\nsecrets = [\"long enough\"]\n";
    let builder = TestServer::builder()
        .toml(settings)
        .env("A_SHORT_ONE", "canary");
    let (_, said) = builder.give_up().await;
    for expected in [
        "circled.toml:2:1): the secret file:missing cannot be used: there is no such file",
        "circled.toml:2:1): the secret env:A_SHORT_ONE cannot be used: it is shorter",
        "circled.toml:3:1): the script ",
        "missing.rhai cannot be read",
        "circled.toml:4:11): signature_header is missing",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

async fn white_space_around_a_secret_is_none_of_it_and_that_is_said() {
    let mut server = TestServer::builder()
        .toml("[webhooks.stripe]\nsecrets = [\"env:PADDED_SECRET\"]\n")
        .env("PADDED_SECRET", format!(" {SECRET}\n"))
        .start()
        .await;
    let webhook = Webhook::stripe(event("evt_1"));
    assert_eq!(webhook.kept(&server).await.1, "finished");
    let said = server
        .logged("what was trimmed", |line| {
            line["message"] == "white space or a byte order mark around a secret is removed"
        })
        .await;
    assert_eq!(said["provider"], "stripe");
    assert_eq!(said["secret"], "env:PADDED_SECRET");
}

on_both!(
    white_space_around_a_secret_is_none_of_it_and_that_is_said,
    secrets_come_from_everywhere_and_can_be_changed_without_a_gap,
    a_circles_own_secret_counts_there_alone,
    providers_that_are_on_are_logged_at_the_start,
);
