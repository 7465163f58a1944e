use circled_protocol::SecretKey;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::notice::Notice;
use super::*;
use crate::memory::MemoryBudget;

fn key(seed: u8) -> PublicKey {
    let secret = SecretKey::from_hex(&hex::encode([seed; 32]));
    secret.unwrap().public()
}

fn event(id: u64, topic: &str, data: &Value, to: Option<PublicKey>) -> Arc<Event> {
    let data = serde_json::value::to_raw_value(data).unwrap();
    Arc::new(Event::new(id, topic, data, Timestamp::UNIX_EPOCH, to))
}

fn news(id: u64) -> Arc<Event> {
    event(id, "news", &json!(id), None)
}

fn removed(id: u64, seed: u8) -> Arc<Event> {
    event(
        id,
        MEMBER_REMOVED,
        &json!({ "pubkey": key(seed) }),
        Some(key(1)),
    )
}

/// Returns a cursor of the holder of `key(2)`, in the circle of `key(1)`, whose next event is `next`.
fn cursor(name: u64, next: u64) -> Cursor {
    Cursor {
        name,
        topic: "".into(),
        caller: Some(key(2)),
        device: None,
        requires: None,
        confirmed_at: 0,
        next,
        is_behind: false,
        needs: 0,
    }
}

fn cursors_of(list: impl Into<Vec<Cursor>>) -> Cursors {
    Cursors {
        last_name: 0,
        list: list.into(),
    }
}

fn missed(first: u64, last: u64, ids: impl IntoIterator<Item = u64>) -> Missed {
    Missed {
        log: Log {
            first,
            last,
            events: ids.into_iter().map(news).collect(),
        },
        stays: true,
    }
}

/// Returns the notifications in short: `1: 7`, `1: gap 7`, `1: ended`.
fn sent(batch: NoticeBatch<'_>) -> Vec<String> {
    let describe = |notice: Notice| {
        let message: Value = circled_json::parse(notice.text.as_str()).unwrap();
        assert_eq!(
            (&message["jsonrpc"], &message["method"]),
            (&json!("2.0"), &json!("event"))
        );
        let params = &message["params"];
        let name = params["subscription"].as_str().unwrap();
        if params["gap"] == true {
            format!("{name}: gap {}", params["since"])
        } else if params["ended"] == true {
            match params["needs"].as_str() {
                Some(needs) => {
                    assert_eq!(needs, "member");
                    format!("{name}: ended")
                }
                None => format!("{name}: ended, needs no role"),
            }
        } else {
            format!("{name}: {}", params["id"])
        }
    };
    batch.into_notices().into_iter().map(describe).collect()
}

fn memory(bytes: usize) -> MemoryBudget {
    MemoryBudget::new("session.max_buffered", bytes)
}

fn offered(cursors: &mut Cursors, event: &Arc<Event>) -> Vec<String> {
    let memory = memory(1 << 20);
    let mut batch = NoticeBatch::new(&memory);
    cursors.offer(event, &key(1), &mut batch);
    let mut sent = sent(batch);
    sent.sort();
    sent
}

fn caught_up(cursors: &mut Cursors, name: u64, missed: &Missed) -> Vec<String> {
    let memory = memory(1 << 20);
    let mut batch = NoticeBatch::new(&memory);
    cursors.catch_up(name, missed, &key(1), &mut batch);
    sent(batch)
}

#[test]
fn the_next_event_is_sent_and_earlier_ones_are_not() {
    let cursors = &mut cursors_of([cursor(1, 5), cursor(2, 7)]);
    assert!(offered(cursors, &news(4)).is_empty());
    assert_eq!(offered(cursors, &news(5)), ["1: 5"]);
    assert!(offered(cursors, &news(5)).is_empty());
    assert_eq!(offered(cursors, &news(6)), ["1: 6"]);
    assert_eq!(offered(cursors, &news(7)), ["1: 7", "2: 7"]);
    assert!(
        cursors
            .list
            .iter()
            .all(|one| one.next == 8 && !one.is_behind)
    );
}

#[test]
fn missing_events_are_read_from_the_log_first() {
    let cursors = &mut cursors_of([cursor(1, 8)]);
    assert!(offered(cursors, &news(10)).is_empty());
    assert!(cursors.list[0].is_behind && cursors.list[0].next == 8);
    // The log also has the events since then.
    assert_eq!(
        caught_up(cursors, 1, &missed(1, 11, 8..=11)),
        ["1: 8", "1: 9", "1: 10", "1: 11"]
    );
    assert!(!cursors.list[0].is_behind);
    assert!(offered(cursors, &news(11)).is_empty());
    assert_eq!(offered(cursors, &news(12)), ["1: 12"]);
    assert!(caught_up(cursors, 1, &missed(1, 12, [])).is_empty());
    assert!(
        caught_up(cursors, 7, &missed(1, 12, [])).is_empty(),
        "no such subscription"
    );
}

#[test]
fn events_without_memory_stay_in_the_log() {
    let (none, some) = (memory(10), memory(180));
    let cursors = &mut cursors_of([cursor(1, 5), cursor(2, 5)]);
    let mut batch = NoticeBatch::new(&none);
    cursors.offer(&news(5), &key(1), &mut batch);
    assert!(batch.is_full() && sent(batch).is_empty());
    assert!(
        cursors
            .list
            .iter()
            .all(|one| one.is_behind && one.next == 5)
    );
    assert!(
        cursors.list.iter().all(|one| one.needs > 10),
        "memory for it is reserved first"
    );
    // Memory for one of three.
    let mut batch = NoticeBatch::new(&some);
    let log = missed(1, 7, 5..=7);
    cursors.catch_up(1, &log, &key(1), &mut batch);
    assert!(batch.is_full() && some.used() > 100);
    assert_eq!(sent(batch), ["1: 5"]);
    assert_eq!(some.used(), 0);
    assert!(cursors.list[0].is_behind && cursors.list[0].next == 6);
    assert_eq!(
        caught_up(cursors, 1, &missed(1, 7, 6..=7)),
        ["1: 6", "1: 7"]
    );
    assert_eq!(caught_up(cursors, 2, &log).len(), 3);
    assert!(
        cursors
            .list
            .iter()
            .all(|one| !one.is_behind && one.next == 8)
    );
    assert!(cursors.list.iter().all(|one| one.needs == 0));
}

#[test]
fn after_a_full_page_the_log_is_read_again() {
    let cursors = &mut cursors_of([cursor(1, 1)]);
    let page = PAGE as u64;
    assert_eq!(
        caught_up(cursors, 1, &missed(1, page, 1..=page)).len(),
        PAGE
    );
    assert!(cursors.list[0].is_behind, "there may be more by now");
    assert!(caught_up(cursors, 1, &missed(1, page, [])).is_empty());
    assert!(!cursors.list[0].is_behind);
    assert_eq!(
        caught_up(cursors, 1, &missed(1, page + 9, [page + 1])).len(),
        1
    );
    assert!(cursors.list[0].is_behind, "the log has more");
}

#[test]
fn events_that_the_log_has_lost_are_a_gap() {
    let cursors = &mut cursors_of([cursor(1, 5)]);
    assert_eq!(
        caught_up(cursors, 1, &missed(8, 9, 8..=9)),
        ["1: gap 7", "1: 8", "1: 9"]
    );
    // Unreadable events in the middle and at the end.
    assert_eq!(caught_up(cursors, 1, &missed(8, 12, [10, 12])), ["1: 10"]);
    assert!(cursors.list[0].is_behind);
    assert_eq!(
        caught_up(cursors, 1, &missed(8, 12, [12])),
        ["1: gap 11", "1: 12"]
    );
    assert_eq!(caught_up(cursors, 1, &missed(8, 14, [])), ["1: gap 14"]);
    assert!(!cursors.list[0].is_behind && cursors.list[0].next == 15);
}

#[test]
fn another_log_is_sent_from_its_beginning() {
    let cursors = &mut cursors_of([cursor(1, 100)]);
    cursors.list[0].requires = Some(Role::Member);
    cursors.list[0].confirmed_at = 99;
    assert_eq!(caught_up(cursors, 1, &missed(3, 7, [])), ["1: gap 2"]);
    assert!(cursors.list[0].is_behind && cursors.list[0].next == 3);
    // A removal from here on counts.
    assert_eq!(cursors.list[0].confirmed_at, 7);
    assert_eq!(caught_up(cursors, 1, &missed(3, 7, 3..=7)).len(), 5);
    let cursors = &mut cursors_of([cursor(1, u64::MAX)]);
    assert_eq!(caught_up(cursors, 1, &missed(0, 0, [])), ["1: gap 0"]);
    assert!(!cursors.list[0].is_behind);
    assert_eq!(offered(cursors, &news(1)), ["1: 1"]);
}

#[test]
fn the_subscriptions_of_a_removed_device_end() {
    let device = |seed: u8| DeviceKey::from_stored([seed; 33]);
    let of = |seed: u8, name| Cursor {
        device: Some(device(seed)),
        confirmed_at: 2,
        ..cursor(name, 1)
    };
    let removed = |id, seed| {
        let data = json!({ "pubkey": device(seed) });
        event(id, DEVICE_REMOVED, &data, Some(key(2)))
    };
    let cursors = &mut cursors_of([of(2, 1), of(3, 2), cursor(3, 1)]);
    // It was added again before the subscription began.
    let before = offered(cursors, &removed(1, 2));
    assert_eq!(before.len(), 3, "{before:?}");
    offered(cursors, &news(2));
    let after = offered(cursors, &removed(3, 2));
    assert!(
        after.contains(&"1: ended, needs no role".to_owned()),
        "{after:?}"
    );
    assert_eq!(cursors.len(), 2);
    assert_eq!(offered(cursors, &news(4)).len(), 2);
}

#[test]
fn a_removed_members_subscriptions_end() {
    let member = |name| Cursor {
        requires: Some(Role::Member),
        confirmed_at: 4,
        ..cursor(name, 3)
    };
    let cursors = &mut cursors_of([
        member(1),
        cursor(2, 3),
        Cursor {
            topic: "none".into(),
            ..member(3)
        },
        Cursor {
            caller: Some(key(3)),
            ..member(4)
        },
    ]);
    // The caller was a member again after that.
    assert!(offered(cursors, &removed(3, 2)).is_empty());
    assert_eq!(offered(cursors, &news(4)), ["1: 4", "2: 4", "4: 4"]);
    assert_eq!(offered(cursors, &removed(5, 2)), ["1: ended", "3: ended"]);
    assert_eq!(offered(cursors, &news(6)), ["2: 6", "4: 6"]);
    // The removal is in the log, or the log has lost it.
    let cursors = &mut cursors_of([member(1), member(2)]);
    let mut log = missed(3, 6, [3, 4]);
    log.log.events.extend([removed(5, 2), news(6)]);
    assert_eq!(caught_up(cursors, 1, &log), ["1: 3", "1: 4", "1: ended"]);
    let gone = Missed {
        stays: false,
        ..missed(9, 9, [9])
    };
    assert_eq!(caught_up(cursors, 2, &gone), ["2: ended"]);
    assert!(cursors.list.is_empty());
}

#[test]
fn some_events_are_for_one_key_and_the_owner() {
    let of = |name, caller| Cursor {
        caller,
        ..cursor(name, 1)
    };
    let cursors = &mut cursors_of([
        of(1, Some(key(1))),
        of(2, Some(key(2))),
        of(3, Some(key(3))),
        of(4, None),
    ]);
    let own = event(1, "job.x", &json!(1), Some(key(2)));
    assert_eq!(offered(cursors, &own), ["1: 1", "2: 1"]);
    let owners = event(2, "circle.x", &json!(1), Some(key(1)));
    assert_eq!(offered(cursors, &owners), ["1: 2"]);
    assert_eq!(offered(cursors, &news(3)).len(), 4);
}

#[test]
fn topics_are_selected_by_prefix() {
    let of = |name, topic: &str| Cursor {
        topic: topic.into(),
        ..cursor(name, 1)
    };
    let cursors = &mut cursors_of([
        of(1, ""),
        of(2, "news"),
        of(3, "news/"),
        of(4, "new\u{301}"),
    ]);
    assert_eq!(offered(cursors, &news(1)), ["1: 1", "2: 1"]);
    let topic = event(2, "news/a", &json!(1), None);
    assert_eq!(offered(cursors, &topic), ["1: 2", "2: 2", "3: 2"]);
    assert!(cursors.list.iter().all(|one| one.next == 3));
}

#[test]
fn notifications_bear_the_subscriptions_name() {
    let event = news(1);
    for name in [1, 2, 1, 3] {
        let cursors = &mut cursors_of([cursor(name, 1)]);
        assert_eq!(offered(cursors, &event), [format!("{name}: 1")]);
    }
}

#[test]
fn an_events_text_is_written_once_for_all_sessions() {
    let (event, memory) = (news(1), memory(1 << 20));
    let texts = [(), ()].map(|()| {
        let mut batch = NoticeBatch::new(&memory);
        cursors_of([cursor(1, 1)]).offer(&event, &key(1), &mut batch);
        batch.into_notices().remove(0).text
    });
    assert_eq!(texts[0].as_ptr(), texts[1].as_ptr());
}

/// An event around a subscription.
#[derive(Debug, Clone)]
enum Step {
    /// So many events are committed.
    Commit(u64),
    /// So many of the committed events reach the session.
    Arrive(usize),
    /// The events on their way are lost, and the log must be read.
    Lost,
    /// The log is read.
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u64..100).prop_map(Step::Commit),
        (1_usize..100).prop_map(Step::Arrive),
        Just(Step::Lost),
        Just(Step::Read),
    ]
}

proptest! {
    #[test]
    fn each_event_comes_once_and_in_order(
        since in 0_u64..50,
        all in proptest::collection::vec(step(), 1..60),
    ) {
        let (mut last, mut arriving) = (50, std::collections::VecDeque::new());
        let cursors = &mut cursors_of([Cursor { is_behind: true, ..cursor(1, since + 1) }]);
        let mut seen = Vec::new();
        let read = |cursors: &mut Cursors, last: u64| {
            let from = cursors.list[0].next;
            let page = (from..=last).take(PAGE);
            caught_up(cursors, 1, &missed(1, last, page))
        };
        for one in all {
            match one {
                Step::Commit(count) => {
                    arriving.extend(last + 1..=last + count);
                    last += count;
                }
                Step::Arrive(count) => {
                    for _ in 0..count.min(arriving.len()) {
                        let id = arriving.pop_front().unwrap();
                        seen.extend(offered(cursors, &news(id)));
                    }
                }
                Step::Lost => {
                    arriving.clear();
                    cursors.list[0].is_behind = true;
                }
                Step::Read if cursors.list[0].is_behind => seen.extend(read(cursors, last)),
                Step::Read => {}
            }
        }
        for id in arriving {
            seen.extend(offered(cursors, &news(id)));
        }
        while cursors.list[0].is_behind {
            seen.extend(read(cursors, last));
        }
        let expected: Vec<String> = (since + 1..=last).map(|id| format!("1: {id}")).collect();
        prop_assert_eq!(seen, expected);
    }
}
