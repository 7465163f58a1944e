//! The files in `ops/`, and the table in the guide: they name the metrics that there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{Scrape, promtool, server, use_all};
use crate::harness::{
    redis::{Fleet, RedisServer},
    server::{eventually, key},
    tls::Authority,
};

const DASHBOARD: &str = "ops/grafana/circled.json";
const ALERTS: &str = "ops/prometheus/alerts.yml";
const GUIDE: &str = "docs/OPERATIONS.md";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a scrape of each kind of server: of one machine, with TLS, of a gateway, and of a worker.
async fn scrapes() -> Vec<Scrape> {
    let alone = server().start().await;
    use_all(&alone).await;
    let authority = Authority::new();
    authority.issue("own", &["a.example"]);
    let secure = authority.server(&["own"]).start().await;
    let redis = RedisServer::start().await;
    let fleet = Fleet::on(redis.url());
    let (gateway, worker) = (fleet.gateway().await, fleet.worker().await);
    gateway.log_in(&key(1)).await.play("1").await.unwrap();
    eventually("the gateway to see its worker", async || {
        Scrape::of(&gateway).await.has("circled_workers")
    })
    .await;
    vec![
        Scrape::of(&alone).await,
        Scrape::of(&secure).await,
        Scrape::of(&gateway).await,
        Scrape::of(&worker).await,
    ]
}

/// Returns the names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_of_name(c));
    let names = words.filter(|word| word.starts_with("circled_"));
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_that_the_dashboard_and_the_alerts_name_is_there() {
    let scrapes = scrapes().await;
    for file in [DASHBOARD, ALERTS] {
        let names = named(&read(file));
        assert!(names.len() > 10, "{file}: {names:?}");
        for name in names {
            let is_there = scrapes.iter().any(|scrape| scrape.has(&name));
            assert!(is_there, "{file} names {name}, which no server has");
        }
    }
}

#[tokio::test]
async fn the_guide_has_every_metric_with_its_kind() {
    let scrapes = scrapes().await;
    let served: BTreeMap<_, _> = scrapes.iter().flat_map(Scrape::kinds).collect();
    let guide = read(GUIDE);
    let table = guide
        .split("| metric |")
        .nth(1)
        .expect("a table of metrics");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let rows: BTreeMap<_, _> = rows
        .map(|row| {
            let mut cells = row.trim_matches('|').split('|').map(str::trim);
            let name = cells
                .next()
                .unwrap()
                .trim_matches('`')
                .split('{')
                .next()
                .unwrap();
            (name, cells.next().unwrap())
        })
        .collect();
    for (name, kind) in &served {
        assert_eq!(
            rows.get(name.as_str()),
            Some(&kind.as_str()),
            "{GUIDE}: {name}"
        );
    }
    for name in rows.keys() {
        assert!(
            served.contains_key(&(*name).to_owned()),
            "{GUIDE} has {name}, which no server has"
        );
    }
}

#[test]
fn the_guide_says_what_each_alert_means() {
    let (guide, alerts) = (read(GUIDE), read(ALERTS));
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let missing: Vec<_> = alerts
        .filter(|alert| !guide.contains(&format!("`{alert}`")))
        .collect();
    assert!(missing.is_empty(), "{GUIDE} lacks {missing:?}");
}

#[test]
fn the_alerts_are_rules_that_fire_when_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/prometheus");
    for (what, file) in [("check", "alerts.yml"), ("test", "alerts_test.yml")] {
        let file = folder.join(file);
        let (passes, told) = promtool(&[what, "rules", file.to_str().unwrap()], "");
        assert!(passes, "{told}");
    }
}
