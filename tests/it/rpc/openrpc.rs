//! The server's own description and docs/PROTOCOL.md, against each other. The tests of `clients/typescript` check it against
//! OpenRPC.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::server::TestServer;

const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");

/// The codes of JSON-RPC itself; `rpc.discover` lists only -32602 of them.
const CODES_OF_JSON_RPC: [i64; 5] = [-32700, -32600, -32601, -32602, -32603];

async fn document() -> Value {
    let server = TestServer::start().await;
    let mut session = server.connect().await;
    let document = session.call("rpc.discover", json!({})).await.unwrap();
    // Results and notifications of all tests are checked against that one.
    let known = circled_json::parse(circled::rpc::discover().get()).unwrap();
    assert_eq!(document, known);
    document
}

#[tokio::test]
async fn the_guide_has_every_method_with_its_parameters() {
    let mut described = BTreeMap::new();
    for method in document().await["methods"].as_array().unwrap() {
        let params = method["params"].as_array().unwrap().iter().map(|param| {
            let mark = if param["required"] == true { "" } else { "?" };
            format!("{}{mark}", param["name"].as_str().unwrap())
        });
        let params: Vec<String> = params.collect();
        described.insert(method["name"].as_str().unwrap().to_owned(), params);
    }
    let mut in_guide = BTreeMap::new();
    for row in rows("| method | params |") {
        let method = code(&row[0]).join("");
        let params = code(&row[1]).join(",");
        let params = params.split(',').map(str::trim).filter(|p| !p.is_empty());
        // The text after `?` says more: a default, or a range.
        let params: Vec<String> = params
            .map(|param| match param.split_once('?') {
                Some((name, _)) => format!("{name}?"),
                None => param.to_owned(),
            })
            .collect();
        let before = in_guide.insert(method.clone(), params);
        assert_eq!(before, None, "{method} has two rows");
    }
    assert_eq!(in_guide, described, "the guide, and rpc.discover");
}

#[test]
fn every_method_of_the_protocol_is_served() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crates/circled-protocol/src/methods"
    );
    let mut declared = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for method in source.split("Method for ").skip(1) {
            let name = method.split("NAME: &'static str = \"").nth(1).unwrap();
            declared.insert(name.split('"').next().unwrap().to_owned());
        }
    }
    let served = circled::rpc::Method::all().map(|method| method.name.to_owned());
    assert_eq!(declared, served.collect(), "declared, and served");
}

#[tokio::test]
async fn the_guide_has_every_error() {
    let mut described: BTreeMap<i64, String> = BTreeMap::new();
    for method in document().await["methods"].as_array().unwrap() {
        for error in method["errors"].as_array().unwrap() {
            let message = error["message"].as_str().unwrap();
            described.insert(error["code"].as_i64().unwrap(), message.to_owned());
        }
    }
    let in_guide: BTreeMap<i64, String> = rows("| code | message |")
        .into_iter()
        .map(|row| (row[0].parse().unwrap(), row[1].clone()))
        .collect();
    let codes: BTreeSet<i64> = described.keys().copied().chain(CODES_OF_JSON_RPC).collect();
    let codes_in_guide: BTreeSet<i64> = in_guide.keys().copied().collect();
    assert_eq!(codes_in_guide, codes, "the guide, and rpc.discover");
    for (code, message) in described {
        let said = &in_guide[&code];
        assert!(said.starts_with(&message), "{code}: {said}, not {message}");
    }
}

#[tokio::test]
async fn methods_that_compile_or_wait_may_be_cancelled() {
    let document = document().await;
    for (name, expected) in [
        ("submit_job", &[-32004, -32008][..]),
        ("retry_job", &[-32004, -32008]),
        ("get_job", &[-32008]),
        ("subscribe", &[-32008]),
        ("watch", &[-32004, -32008]),
    ] {
        let methods = document["methods"].as_array().unwrap();
        let method = methods.iter().find(|method| method["name"] == name);
        let errors = method.unwrap()["errors"].as_array().unwrap();
        let codes: Vec<_> = errors.iter().map(|error| &error["code"]).collect();
        for code in expected {
            assert!(codes.contains(&&json!(code)), "{name}: {codes:?}");
        }
    }
}

#[tokio::test]
async fn each_method_says_who_may_call_it_and_what_every_call_may_get() {
    let document = document().await;
    let mut needs = BTreeMap::new();
    for method in document["methods"].as_array().unwrap() {
        let name = method["name"].as_str().unwrap();
        needs.insert(name, method["x-needs"].as_str().unwrap());
        let errors = method["errors"].as_array().unwrap();
        let mut codes: Vec<_> = errors.iter().map(|error| error["code"].as_i64()).collect();
        assert!(
            codes.contains(&Some(-32602)) && codes.contains(&Some(-32005)),
            "{name}: {codes:?}"
        );
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count, "{name}: {codes:?}");
    }
    for (name, expected) in [
        ("fetch_nonce", "anyone"),
        ("prove", "anyone"),
        ("unsubscribe", "anyone"),
        ("play", "play"),
        ("call", "call"),
        ("watch", "play or call"),
        ("subscribe", "subscribe"),
        ("put_script", "manage"),
        ("list_jobs", "login"),
        ("add_device_key", "login"),
        ("add_member", "owner"),
    ] {
        assert_eq!(needs[name], expected, "{name}");
    }
}

/// Clients ask methods that read again if a reply is lost. So a method that changes something must not be among them.
#[tokio::test]
async fn each_method_says_if_it_changes_nothing() {
    let document = document().await;
    let methods = document["methods"].as_array().unwrap().iter();
    let reads = methods.filter(|method| method["x-reads"].as_bool().unwrap());
    let mut reads: Vec<_> = reads
        .map(|method| method["name"].as_str().unwrap())
        .collect();
    reads.sort_unstable();
    insta::assert_snapshot!(reads.join("\n"), @r"
    check_script
    get_delivery
    get_job
    get_script
    list_deliveries
    list_device_keys
    list_jobs
    list_members
    list_scripts
    prove
    rpc.discover
    store_get
    store_list
    usage
    whoami
    ");
}

#[tokio::test]
async fn descriptions_have_no_line_breaks() {
    fn check(value: &Value) {
        match value {
            Value::Object(members) => {
                let text = members.get("description").and_then(Value::as_str);
                assert!(!text.unwrap_or_default().contains('\n'), "{text:?}");
                members.values().for_each(check);
            }
            Value::Array(items) => items.iter().for_each(check),
            _ => {}
        }
    }
    check(&document().await);
}

/// Returns the cells of every row of the guide's tables whose heads begin like this.
fn rows(head: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut lines = PROTOCOL.lines();
    while let Some(line) = lines.next() {
        if line.starts_with(head) {
            let table = lines.by_ref().skip(1).take_while(|line| !line.is_empty());
            rows.extend(table.map(cells));
        }
    }
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

/// Returns the cells of a row; a bar in a cell is written `\|`.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|').trim_end_matches('|');
    let row = row.replace(r"\|", "\0");
    row.split('|')
        .map(|cell| cell.trim().replace('\0', "|"))
        .collect()
}

/// Returns the texts between backticks.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}
