//! Rules of budgets in bytes: those that are part of others, and those that must have room for something.

use super::{Amount, Findings, Settings, named};
use crate::memory::share_of;

/// The most bytes around the data of an event in a message.
const AROUND_AN_EVENT: u128 = 2 << 10;
const NO_ROOM: &str = "or there is never room for the largest";
const TAKES_ALL: &str = "or one of them may take what is there for all";

pub(super) fn check(settings: &Settings, findings: &mut Findings) {
    events(settings, findings);
    clients(settings, findings);
    webhooks(settings, findings);
    workers(settings, findings);
}

fn events(s: &Settings, findings: &mut Findings) {
    let event = named!(s, store.max_event);
    let in_all = named!(s, server.max_buffered);
    let of_address = named!(s, session.max_buffered_per_address);
    let rooms = [
        (named!(s, session.max_buffered), "session.max_buffered"),
        (of_address, of_address.0),
        (in_all, in_all.0),
        (
            (in_all.0, share_of_address(s)),
            "half of server.max_buffered",
        ),
    ];
    if let Some(((room, bytes), name)) = rooms.into_iter().min_by_key(|((_, bytes), _)| *bytes)
        && event.1 + AROUND_AN_EVENT > bytes
    {
        let message = format!(
            "must be less than {name} by 2KiB: an event that never has room holds up all that come after it"
        );
        findings.refuse(&[event.0, room], message);
    }
    let of_anonymous = named!(s, session.anonymous_buffered);
    if event.1 + AROUND_AN_EVENT > of_anonymous.1 {
        findings.doubt(
            &[event.0, of_anonymous.0],
            "should be less than session.anonymous_buffered by 2KiB, or the largest never reaches whoever hasn't logged in",
        );
    }
    let (waiting, in_all) = (
        named!(s, store.events_waiting),
        named!(s, store.events_waiting_in_all),
    );
    let log = named!(s, store.event_log_bytes);
    findings.part(event, log, NO_ROOM);
    findings.part(event, waiting, NO_ROOM);
    findings.part(waiting, in_all, TAKES_ALL);
    let (number, inbox) = (
        named!(s, store.max_events),
        named!(s, dispatch.redis.inbox_bytes),
    );
    if number.1 * event.1 > log.1 {
        findings.doubt(
            &[log.0, number.0, event.0],
            "should be store.max_events times store.max_event, or what one job may emit is more than the log keeps",
        );
    }
    if number.1 * event.1 > inbox.1 / 2 {
        findings.doubt(
            &[inbox.0, number.0, event.0],
            "should be twice store.max_events times store.max_event, or what one job may emit never has room, and is read from the log",
        );
    }
}

fn clients(s: &Settings, findings: &mut Findings) {
    const BOUNDS_NOTHING: &str = "or it bounds nothing";

    let session = named!(s, session.max_buffered);
    let address = named!(s, session.max_buffered_per_address);
    let in_all = named!(s, server.max_buffered);
    if share_of_address(s) < address.1 {
        findings.doubt(
            &[address.0, in_all.0],
            "should be no more than half of server.max_buffered, or all of it: anything between counts as half",
        );
    }
    findings.part(address, in_all, TAKES_ALL);
    findings.part(session, address, TAKES_ALL);
    let anonymous = named!(s, session.anonymous_buffered);
    let of_address = named!(s, session.anonymous_buffered_per_address);
    let of_all = named!(s, session.anonymous_buffered_in_all);
    findings.part(anonymous, session, BOUNDS_NOTHING);
    // 0 is a share of the next one.
    if of_address.1 > 0 {
        findings.part(anonymous, of_address, BOUNDS_NOTHING);
    }
    let share = s.session.of_strangers(s.server.max_buffered.get());
    findings.part(
        of_address,
        (of_all.0, share.amount()),
        "or strangers of one address may take what is there for all of them",
    );
    findings.part(
        of_all,
        in_all,
        "or strangers may take what is there for all",
    );
    findings.part(named!(s, session.max_message), session, NO_ROOM);
    findings.part(named!(s, session.anonymous_message), anonymous, NO_ROOM);
    findings.part(named!(s, session.max_reply), session, NO_ROOM);
    findings.part(named!(s, script.max_result), session, NO_ROOM);
    let queries = named!(s, circles.query_bytes);
    findings.part(named!(s, script.max_result), queries, NO_ROOM);
    findings.part(named!(s, session.watch_reads), queries, NO_ROOM);
    findings.part(named!(s, dispatch.durable.max_page), session, NO_ROOM);
}

fn webhooks(s: &Settings, findings: &mut Findings) {
    let body = named!(s, webhooks.max_body);
    let address = named!(s, webhooks.max_buffered_per_address);
    let circle = named!(s, webhooks.max_buffered_per_circle);
    let in_all = named!(s, webhooks.max_buffered);
    for room in [in_all, address, circle] {
        if room.1 < body.1 {
            findings.refuse(
                &[room.0, body.0],
                "must have room for one body at least: see webhooks.max_body",
            );
        }
    }
    findings.part(address, circle, TAKES_ALL);
    findings.part(circle, in_all, TAKES_ALL);
    findings.part(body, named!(s, script.max_memory), NO_ROOM);
}

fn workers(s: &Settings, findings: &mut Findings) {
    findings.part(
        named!(s, script.max_result),
        named!(s, dispatch.redis.inbox_bytes),
        NO_ROOM,
    );
    let hold = named!(s, dispatch.redis.hold_bytes);
    for input in [named!(s, webhooks.max_body), named!(s, session.max_message)] {
        if input.1 > hold.1 / 4 {
            findings.doubt(
                &[input.0, hold.0],
                "should be no more than a quarter of dispatch.redis.hold_bytes, or a worker takes nothing else before there is room for the largest",
            );
        }
    }
    let (aside, memory) = (
        named!(s, script.max_aside_memory),
        named!(s, script.max_memory),
    );
    if s.script.max_aside > 0 && aside.1 < memory.1 {
        findings.refuse(
            &[aside.0, memory.0],
            "must be at least script.max_memory, or a run that uses more can't be paused for others",
        );
    }
}

/// Returns the most bytes that one address can have of `server.max_buffered`.
fn share_of_address(s: &Settings) -> u128 {
    let (all, of_address) = (s.server.max_buffered, s.session.max_buffered_per_address);
    share_of(all.get(), of_address.get()).amount()
}
