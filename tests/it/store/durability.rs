//! A reply means that the write is on disk.

use serde_json::json;

use super::value;
use crate::harness::{
    backend::on_both,
    server::{TestServer, key},
};

async fn acknowledged_writes_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..10 {
        let server = TestServer::builder().data(folder.path()).start().await;
        let mut session = server.log_in(&key(2)).await;
        let kept = value(&mut session, "store.get(\"rounds\", [])").await;
        assert_eq!(kept, json!(expected), "before round {round}");
        let script =
            format!("let r = store.get(\"rounds\", []); r.push({round}); store.set(\"rounds\", r)");
        value(&mut session, &script).await;
        server.kill();
        expected.push(round);
    }
}

async fn writes_that_others_read_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = 0;
    for _ in 0..5 {
        let server = TestServer::builder().data(folder.path()).start().await;
        let (mut writer, mut reader) = (server.log_in(&key(2)).await, server.log_in(&key(3)).await);
        let kept = value(&mut reader, "store.get(\"n\", 0)").await;
        assert!(
            kept.as_i64().unwrap() >= told,
            "{kept}, but {told} was told"
        );
        // Nobody waits for the replies to these: everything that is read is on disk all the same.
        for _ in 0..50 {
            writer.begin_play("store.incr(\"n\", 1)").await;
        }
        for _ in 0..10 {
            told = value(&mut reader, "store.get(\"n\", 0)")
                .await
                .as_i64()
                .unwrap();
        }
        server.kill();
    }
    assert!(told > 0, "nothing was ever read");
}

on_both!(
    acknowledged_writes_survive_a_kill,
    writes_that_others_read_survive_a_kill,
);
