//! Hashes, encodings and signatures.

use circled_protocol::{Scheme, sign};
use serde_json::{Value, json};

use crate::harness::{
    backend::on_both,
    server::{TestServer, Ws, key},
};

async fn value(session: &mut Ws, script: &str, args: Value) -> Value {
    let params = json!({ "script": script, "args": args });
    let ran = session.call("play", params).await.unwrap();
    ran["value"].clone()
}

async fn hashes_are_those_of_the_standards() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    // FIPS 180-2, RFC 4231 and RFC 4648.
    let script = r#"[
        sha256("abc"), sha256(""), sha256(from_hex("616263")),
        hmac_sha256("Jefe", "what do ya want for nothing?"),
        hmac_sha256(from_hex("4a656665"), "what do ya want for nothing?".to_blob()),
        base64("foob"), base64(blob(3, 255)), from_base64("Zm9vYg==").as_string(), from_base64("Zm9vYg").as_string(),
        from_base64("_-__") == from_base64("/+//"),
        hex("grüße"), from_hex("67 72".replace(" ", "")).as_string(), hex(from_hex("00FFab")),
    ]"#;
    let jefe = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let script = script.replace(
        "from_hex(\"67 72\".replace(\" \", \"\"))",
        "from_hex(\"6772\")",
    );
    assert_eq!(
        value(&mut session, &script, json!(null)).await,
        json!([
            abc,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            abc,
            jefe,
            jefe,
            "Zm9vYg==",
            "////",
            "foob",
            "foob",
            true,
            "6772c3bcc39f65",
            "gr",
            "00ffab"
        ])
    );
    for wrong in [
        "from_hex(\"0\")",
        "from_hex(\"0g\")",
        "from_base64(\"a\")",
        "from_base64(\"+_==\")",
    ] {
        let caught = format!(
            "let told = \"\"; try {{ {wrong} }} catch (error) {{ told = error }} told.contains(\"from_\")"
        );
        assert_eq!(
            value(&mut session, &caught, json!(null)).await,
            true,
            "{wrong}"
        );
    }
}

async fn a_signature_is_checked_in_every_scheme_that_logins_have() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let signer = key(3);
    let public = signer.public().to_string();
    let script = "ARGS.map(|a| verify(a[0], a[1], a[2]))";
    for scheme in [Scheme::Eip191, Scheme::Sha256, Scheme::Schnorr] {
        let signature = sign(scheme, &signer, "grüße").unwrap();
        let x_only = &public[2..];
        let args = json!([
            [public, "grüße", signature],
            [format!("0x{public}"), "grüße", signature],
            [x_only, "grüße", signature],
            [public, "gruße", signature],
            [key(2).public(), "grüße", signature],
            [public, "grüße", &signature[..signature.len() - 4]],
            ["", "grüße", signature],
            [public, "grüße", ""],
        ]);
        let is_schnorr = matches!(scheme, Scheme::Schnorr);
        assert_eq!(
            value(&mut session, script, args).await,
            json!([true, true, is_schnorr, false, false, false, false, false]),
            "{scheme:?}"
        );
    }
}

on_both!(
    hashes_are_those_of_the_standards,
    a_signature_is_checked_in_every_scheme_that_logins_have,
);
