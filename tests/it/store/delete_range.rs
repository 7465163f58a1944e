//! Ranges that are deleted at once: one write, however many keys they have.

use serde_json::json;

use super::{failure, starts_over, value};
use crate::harness::{
    backend::{on_both, on_other_servers},
    server::{TestServer, key},
};

async fn a_range_is_deleted_and_what_comes_after_it_stays() {
    let server = TestServer::start().await;
    let mut session = server.log_in(&key(2)).await;
    let fill = "for n in 0..8 { store.set(`n/${n}`, n) } store.set(\"m\", 1); store.set(\"o\", 1)";
    let keys = |numbers: &[u32]| {
        let numbers = numbers.iter().map(|n| format!("n/{n}"));
        let keys = std::iter::once("m".to_owned()).chain(numbers);
        json!(keys.chain(["o".to_owned()]).collect::<Vec<_>>())
    };
    for (options, left) in [
        ("prefix: \"n/\"", &[][..]),
        ("start: \"n/2\", end: \"n/4\"", &[0, 1, 4, 5, 6, 7]),
        ("prefix: \"n/\", after: \"n/5\"", &[0, 1, 2, 3, 4, 5]),
        ("prefix: \"n/\", limit: 3", &[3, 4, 5, 6, 7]),
        ("prefix: \"n/\", limit: 3, reverse: true", &[0, 1, 2, 3, 4]),
        ("prefix: \"n/\", limit: 0", &[0, 1, 2, 3, 4, 5, 6, 7]),
        ("prefix: \"n/\", limit: 9", &[]),
    ] {
        value(&mut session, fill).await;
        let script = format!(
            "store.delete_range(#{{{options}}});
            let keys = store.scan(#{{}}).map(|entry| entry.key);
            if store.keys(\"\") != keys || store.count(\"\") != keys.len() {{ throw keys }}
            keys"
        );
        // In the run itself, and after it.
        assert_eq!(value(&mut session, &script).await, keys(left), "{script}");
        assert_eq!(
            value(&mut session, "store.keys(\"\")").await,
            keys(left),
            "{script}"
        );
    }
    value(&mut session, fill).await;
    let script = "store.add(\"n/1\", 1); store.push(\"n/\", 1); store.set(\"n/9\", 1);
        store.delete_range(#{ prefix: \"n/\" });
        let gone = [store.get(\"n/1\"), store.has(\"n/9\")];
        store.add(\"n/1\", 7); store.set(\"n/2\", 8); store.delete(\"n/3\"); store.incr(\"n/4\", 9);
        [gone, store.scan(#{ prefix: \"n/\" }).map(|entry| entry.value), store.count(\"n/\"), store.keys(#{ reverse: true, limit: 2 })]";
    let seen = json!([[null, false], [7, 8, 9], 3, ["o", "n/4"]]);
    assert_eq!(value(&mut session, script).await, seen);
    assert_eq!(
        value(&mut session, "store.keys(\"\")").await,
        keys(&[1, 2, 4])
    );
}

async fn many_keys_are_one_write_and_too_many_none() {
    let mut server = TestServer::builder()
        .env("CIRCLED_STORE__MAX_WRITES", 1000)
        .env("CIRCLED_STORE__MAX_RANGE_DELETE", 4000)
        .env("CIRCLED_STORE__QUOTA", "60KiB")
        .env("CIRCLED_STORE__MAX_VALUE", "1KiB")
        .env("CIRCLED_LOG__LEVEL", "debug")
        .start()
        .await;
    let mut session = server.log_in(&key(2)).await;
    let fill = async |session: &mut _, from: u32, to: u32| {
        for n in from..to {
            let script = format!("for n in 0..1000 {{ store.set(`m/${{{n}000 + n}}`, 12345) }}");
            value(session, &script).await;
        }
    };
    fill(&mut session, 0, 4).await;
    value(&mut session, "store.set(\"m/x\", 1)").await;
    let delete = "store.set(\"before\", 1); store.delete_range(#{ prefix: \"m/\" })";
    let (kind, message) = failure(&mut session, delete).await;
    assert_eq!(kind, "size", "{message}");
    let says = "a job may delete at most 4000 keys by ranges: use a limit, and run it again";
    assert!(message.contains(says), "{message}");
    assert_eq!(
        value(&mut session, "[store.count(\"m/\"), store.has(\"before\")]").await,
        json!([4001, false])
    );
    // What it writes again isn't deleted, and space is there at once.
    value(
        &mut session,
        &format!("store.set(\"m/x\", 1); {delete}; store.set(\"m/x\", 2)"),
    )
    .await;
    assert_eq!(
        value(&mut session, "store.scan(#{ prefix: \"m/\" })").await,
        json!([{ "key": "m/x", "value": 2 }])
    );
    fill(&mut session, 0, 4).await;
    value(&mut session, "store.delete_range(#{ limit: 4000 })").await;
    assert_eq!(value(&mut session, "store.count(\"\")").await, json!(2));
    assert_eq!(starts_over(&mut server, &mut session).await, 0);
}

on_both!(
    a_range_is_deleted_and_what_comes_after_it_stays,
    many_keys_are_one_write_and_too_many_none,
);

on_other_servers!(a_range_is_deleted_and_what_comes_after_it_stays,);
