//! Rules of numbers and times: of sessions, calls, jobs and scripts.

use super::{Amount, Findings, Settings, named};

pub(super) fn check(s: &Settings, findings: &mut Findings) {
    const TAKES_ALL: &str = "or one of them may take what is there for all";

    findings.part(
        named!(s, session.max_sessions_per_address),
        named!(s, session.max_sessions),
        TAKES_ALL,
    );
    for (caller, circle) in [
        (named!(s, limits.caller_rate), named!(s, limits.circle_rate)),
        (named!(s, limits.caller_jobs), named!(s, limits.circle_jobs)),
    ] {
        // 0 is no limit.
        if circle.1 > 0 {
            findings.part(caller, circle, TAKES_ALL);
        }
    }
    let (lease, timeout) = (
        named!(s, dispatch.redis.lease),
        named!(s, dispatch.redis.timeout),
    );
    if lease.1 <= timeout.1 {
        findings.doubt(
            &[lease.0, timeout.0],
            "should be longer than dispatch.redis.timeout, or one slow answer of Redis makes a worker silent, and its jobs run twice",
        );
    }
    let hold = named!(s, dispatch.redis.hold);
    let of_circle = s.dispatch.redis.most_of_circle();
    if hold.1 < of_circle.amount() {
        findings.doubt(
            &[hold.0, "dispatch.redis.per_circle", "dispatch.redis.queue"],
            format!(
                "should be at least {of_circle}: so many jobs of one circle may be with the workers (three times dispatch.redis.per_circle, and as many again or a quarter of dispatch.redis.queue), or it keeps a worker from all others"
            ),
        );
    }
    let (queue, in_flight) = (
        named!(s, session.outbound_queue),
        named!(s, session.max_in_flight),
    );
    if queue.1 / 2 < in_flight.1 {
        findings.doubt(
            &[queue.0, in_flight.0],
            "should be at least twice session.max_in_flight, or a client that reads slowly is closed for what it may have under way",
        );
    }
    for (setting, least, why) in [
        (
            named!(s, dispatch.durable.retry_at_most),
            named!(s, dispatch.durable.retry_after),
            "should be no shorter than dispatch.durable.retry_after, the first wait",
        ),
        (
            named!(s, store.quota),
            named!(s, store.max_value),
            "should be no less than store.max_value, or a value of that size never fits",
        ),
        (
            named!(s, dispatch.job_timeout),
            named!(s, script.timeout),
            "should be no shorter than script.timeout, or no script gets that time",
        ),
    ] {
        if setting.1 < least.1 {
            findings.doubt(&[setting.0, least.0], why);
        }
    }
    let (pong, ping) = (
        named!(s, session.pong_timeout),
        named!(s, session.ping_interval),
    );
    if pong.1 > ping.1 {
        findings.doubt(
            &[pong.0, ping.0],
            "should be no longer than session.ping_interval: the next ping goes out before this one is given up",
        );
    }
}
