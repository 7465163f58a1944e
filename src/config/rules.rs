//! What no single module can tell: values that make no sense, alone or together.

use std::net::{IpAddr, SocketAddr};

use circled_protocol::Origin;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::{Problem, Settings};
use crate::{
    auth::AllowedPage,
    dispatch::{self, RedisSettings},
    memory::share_of,
    rpc::QuotaSettings,
    script::Limits,
    webhooks,
};

/// A rate is counted in whole nanoseconds: with more, it would be off by more than a hundredth.
const MOST_EACH_SECOND: u32 = 10_000_000;

/// A rule that the settings break.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The settings that the rule is about; the first is the one to look at.
    pub(super) about: &'static [&'static str],
    /// Whether the settings can be used all the same.
    pub(super) doubtful: bool,
    /// What is wrong, and what would be right.
    pub(super) message: String,
}

/// Every rule that the settings break. Those about a setting that has a problem already say nothing:
/// nobody knows what it will be. Nor does a doubt about one that breaks another rule.
pub(super) fn check(settings: &Settings, problems: &[Problem]) -> Vec<Broken> {
    let is_unknown = |key: &&str| {
        problems
            .iter()
            .any(|problem| problem.key.split('[').next() == Some(key))
    };
    let mut broken = Vec::new();
    origins(settings, &mut broken);
    addresses(settings, &mut broken);
    circles(settings, &mut broken);
    redis(&settings.dispatch.redis, &mut broken);
    scripts(&settings.script, &mut broken);
    rates(&settings.limits, &mut broken);
    webhooks(&settings.webhooks, &mut broken);
    data_dir(settings, &mut broken);
    budgets(settings, &mut broken);
    relations(settings, &mut broken);
    if let Err(message) = level(&settings.log.level) {
        broken.push(Broken::new(&["log.level"], message));
    }
    broken.retain(|rule| !rule.about.iter().any(is_unknown));
    // What a setting that must be another will have to do with others, nobody knows either.
    let wrong = broken.iter().filter(|rule| !rule.doubtful);
    let wrong: Vec<&str> = wrong.map(|rule| rule.about[0]).collect();
    broken.retain(|rule| !rule.doubtful || !rule.about.iter().any(|key| wrong.contains(key)));
    broken
}

impl Broken {
    fn new(about: &'static [&'static str], message: impl Into<String>) -> Self {
        Self {
            about,
            doubtful: false,
            message: message.into(),
        }
    }

    fn doubtful(about: &'static [&'static str], message: impl Into<String>) -> Self {
        Self {
            doubtful: true,
            ..Self::new(about, message)
        }
    }
}

fn scripts(script: &Limits, broken: &mut Vec<Broken>) {
    if script.max_aside > 0 && script.max_aside_memory < script.max_memory.get() {
        broken.push(Broken::new(
            &["script.max_aside_memory", "script.max_memory"],
            "must be at least script.max_memory, or a run that holds more can't be set aside for others",
        ));
    }
}

fn rates(limits: &QuotaSettings, broken: &mut Vec<Broken>) {
    let rates: [(&'static [&'static str], u32); 2] = [
        (&["limits.caller_rate"], limits.caller_rate),
        (&["limits.circle_rate"], limits.circle_rate),
    ];
    for (about, rate) in rates {
        if rate > MOST_EACH_SECOND {
            let message = format!("must be {MOST_EACH_SECOND} at most, or 0 for no limit");
            broken.push(Broken::new(about, message));
        }
    }
}

fn redis(redis: &RedisSettings, broken: &mut Vec<Broken>) {
    if let Err(message) = dispatch::check_url(&redis.url) {
        broken.push(Broken::new(&["dispatch.redis.url"], message));
    }
    if redis.namespace.is_empty() || redis.namespace.contains(['{', '}']) {
        let message = "must be a name, without braces";
        broken.push(Broken::new(&["dispatch.redis.namespace"], message));
    }
}

fn webhooks(webhooks: &webhooks::Settings, broken: &mut Vec<Broken>) {
    let rooms: [(&'static [&'static str], usize); 3] = [
        (
            &["webhooks.max_buffered", "webhooks.max_body"],
            webhooks.max_buffered,
        ),
        (
            &["webhooks.max_buffered_per_address", "webhooks.max_body"],
            webhooks.max_buffered_per_address,
        ),
        (
            &["webhooks.max_buffered_per_circle", "webhooks.max_body"],
            webhooks.max_buffered_per_circle,
        ),
    ];
    for (about, room) in rooms {
        if room < webhooks.max_body {
            let message = "must have room for one body at least: see webhooks.max_body";
            broken.push(Broken::new(about, message));
        }
    }
}

fn origins(settings: &Settings, broken: &mut Vec<Broken>) {
    let server = &settings.server;
    let is_socket = |text: &str| text.parse::<Origin>().ok().map(|origin| origin.is_socket());
    if !server.public_url.is_empty() && is_socket(&server.public_url) != Some(true) {
        broken.push(Broken::new(
            &["server.public_url"],
            "must be what clients dial, ws:// or wss:// and a host without a path, like \"wss://circles.example.org\"",
        ));
    }
    for page in &server.allowed_origins {
        if let Err(error) = page.parse::<AllowedPage>() {
            broken.push(Broken::new(&["server.allowed_origins"], error.to_string()));
        }
    }
}

fn addresses(settings: &Settings, broken: &mut Vec<Broken>) {
    let server = &settings.server;
    if !server.admin_listen.is_empty() {
        match server.admin_listen.parse() {
            Err(_) => broken.push(Broken::new(
                &["server.admin_listen"],
                "must be an IP address and a port, like \"127.0.0.1:8081\", or \"\" for none",
            )),
            Ok(address) if collide(server.listen, address) => broken.push(Broken::new(
                &["server.admin_listen", "server.listen"],
                format!(
                    "that port is taken by server.listen = \"{}\": choose another",
                    server.listen
                ),
            )),
            Ok(_) => {}
        }
    }
    if server.listen.ip().is_loopback() {
        return;
    }
    if settings.circles.open && !settings.circles.allow_open {
        broken.push(Broken::new(
            &["circles.open", "circles.allow_open", "server.listen"],
            format!(
                "server.listen = \"{}\" is past loopback, and anyone who finds it may run scripts: set circles.open = false and list your circles as [[circle]], or permit it with circles.allow_open = true",
                server.listen
            ),
        ));
    }
    if server.public_url.is_empty() {
        broken.push(Broken::new(
            &["server.public_url", "server.listen"],
            format!(
                "server.listen = \"{}\" is past loopback, and the text that people sign to log in must name the server: set it to what they dial, like \"wss://circles.example.org\"",
                server.listen
            ),
        ));
    }
}

/// Whether two listeners would want the same port of the same address.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    // An unspecified address is all of its family; that of IPv6 takes IPv4 in as well.
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

fn circles(settings: &Settings, broken: &mut Vec<Broken>) {
    if !settings.circles.open && settings.circle.is_empty() {
        broken.push(Broken::new(
            &["circles.open", "circle"],
            "there is no circle to serve: list them as [[circle]], or set circles.open = true",
        ));
    }
}

/// Budgets that are part of others, and what must have room in them.
fn budgets(settings: &Settings, broken: &mut Vec<Broken>) {
    const NO_ROOM: &str = "or there is never room for the largest";
    /// What stands around the data of an event as it is told, at most.
    const AROUND_AN_EVENT: usize = 2 << 10;
    const TAKES_ALL: &str = "or one of them may take what is there for all";

    let Settings {
        server,
        session,
        limits,
        dispatch,
        store,
        script,
        webhooks,
        ..
    } = settings;
    let redis = &dispatch.redis;
    let of_address = share_of(
        server.max_buffered.get(),
        session.max_buffered_per_address.get(),
    );
    let of_an_event: [(&'static [&'static str; 2], usize, &str); 4] = [
        (
            &["store.max_event", "session.max_buffered"],
            session.max_buffered.get(),
            "session.max_buffered",
        ),
        (
            &["store.max_event", "session.max_buffered_per_address"],
            session.max_buffered_per_address.get(),
            "session.max_buffered_per_address",
        ),
        (
            &["store.max_event", "server.max_buffered"],
            server.max_buffered.get(),
            "server.max_buffered",
        ),
        (
            &["store.max_event", "server.max_buffered"],
            of_address,
            "half of server.max_buffered",
        ),
    ];
    if let Some((about, least, name)) = of_an_event.into_iter().min_by_key(|(_, bytes, _)| *bytes)
        && store.max_event.saturating_add(AROUND_AN_EVENT) > least
    {
        let message = format!(
            "must be less than {name} by 2KiB: an event that never has room holds up all that come after it"
        );
        broken.push(Broken::new(about, message));
    }
    if of_address < session.max_buffered_per_address.get() {
        broken.push(Broken::doubtful(
            &["session.max_buffered_per_address", "server.max_buffered"],
            "should be no more than half of server.max_buffered, or all of it: an address has no more than it leaves",
        ));
    }
    if store.max_event.saturating_add(AROUND_AN_EVENT) > session.anonymous_buffered.get() {
        broken.push(Broken::doubtful(
            &["store.max_event", "session.anonymous_buffered"],
            "should be less than session.anonymous_buffered by 2KiB, or the largest never reaches whoever hasn't logged in",
        ));
    }
    let of_strangers = session.of_strangers(server.max_buffered.get());
    let of_strangers_here = match session.anonymous_buffered_per_address {
        0 => usize::MAX,
        bytes => bytes,
    };
    let parts: [(&'static [&'static str; 2], usize, usize, &str); 18] = [
        (
            &["session.max_buffered_per_address", "server.max_buffered"],
            session.max_buffered_per_address.get(),
            server.max_buffered.get(),
            TAKES_ALL,
        ),
        (
            &["session.max_buffered", "session.max_buffered_per_address"],
            session.max_buffered.get(),
            session.max_buffered_per_address.get(),
            TAKES_ALL,
        ),
        (
            &["session.anonymous_buffered", "session.max_buffered"],
            session.anonymous_buffered.get(),
            session.max_buffered.get(),
            "or it bounds nothing",
        ),
        (
            &[
                "session.anonymous_buffered",
                "session.anonymous_buffered_per_address",
            ],
            session.anonymous_buffered.get(),
            of_strangers_here,
            "or it bounds nothing",
        ),
        (
            &[
                "session.anonymous_buffered_per_address",
                "session.anonymous_buffered_in_all",
            ],
            session.anonymous_buffered_per_address,
            of_strangers,
            "or strangers of one address may take what is there for all of them",
        ),
        (
            &["session.anonymous_buffered_in_all", "server.max_buffered"],
            session
                .anonymous_buffered_in_all
                .map_or(0, |bytes| bytes.get()),
            server.max_buffered.get(),
            "or strangers may take what is there for all",
        ),
        (
            &["session.max_message", "session.max_buffered"],
            session.max_message.get(),
            session.max_buffered.get(),
            NO_ROOM,
        ),
        (
            &["session.anonymous_message", "session.anonymous_buffered"],
            session.anonymous_message.get(),
            session.anonymous_buffered.get(),
            NO_ROOM,
        ),
        (
            &["session.max_reply", "session.max_buffered"],
            session.max_reply.get(),
            session.max_buffered.get(),
            NO_ROOM,
        ),
        (
            &["script.max_result", "session.max_buffered"],
            script.max_result.get(),
            session.max_buffered.get(),
            NO_ROOM,
        ),
        (
            &["dispatch.durable.max_page", "session.max_buffered"],
            dispatch.durable.max_page.get(),
            session.max_buffered.get(),
            NO_ROOM,
        ),
        (
            &["store.max_event", "store.events_waiting"],
            store.max_event,
            store.events_waiting.get(),
            NO_ROOM,
        ),
        (
            &["store.events_waiting", "store.events_waiting_in_all"],
            store.events_waiting.get(),
            store.events_waiting_in_all.get(),
            TAKES_ALL,
        ),
        (
            &["session.max_sessions_per_address", "session.max_sessions"],
            session.max_sessions_per_address.get(),
            session.max_sessions.get(),
            TAKES_ALL,
        ),
        (
            &[
                "webhooks.max_buffered_per_address",
                "webhooks.max_buffered_per_circle",
            ],
            webhooks.max_buffered_per_address,
            webhooks.max_buffered_per_circle,
            TAKES_ALL,
        ),
        (
            &["webhooks.max_buffered_per_circle", "webhooks.max_buffered"],
            webhooks.max_buffered_per_circle,
            webhooks.max_buffered,
            TAKES_ALL,
        ),
        (
            &["webhooks.max_body", "script.max_memory"],
            webhooks.max_body,
            script.max_memory.get(),
            NO_ROOM,
        ),
        (
            &["script.max_result", "dispatch.redis.inbox_bytes"],
            script.max_result.get(),
            redis.inbox_bytes.get(),
            NO_ROOM,
        ),
    ];
    for (about, part, whole, why) in parts {
        if part > whole {
            let message = format!("should be no more than {}, {why}", about[1]);
            broken.push(Broken::doubtful(about, message));
        }
    }
    let inputs: [(&'static [&'static str; 2], usize); 2] = [
        (
            &["webhooks.max_body", "dispatch.redis.hold_bytes"],
            webhooks.max_body,
        ),
        (
            &["session.max_message", "dispatch.redis.hold_bytes"],
            session.max_message.get(),
        ),
    ];
    for (about, input) in inputs {
        if input > redis.hold_bytes / 4 {
            broken.push(Broken::doubtful(
                about,
                "should be no more than a quarter of dispatch.redis.hold_bytes, or a worker takes nothing else before there is room for the largest",
            ));
        }
    }
    let of_callers: [(&'static [&'static str; 2], u32, u32); 2] = [
        (
            &["limits.caller_rate", "limits.circle_rate"],
            limits.caller_rate,
            limits.circle_rate,
        ),
        (
            &["limits.caller_jobs", "limits.circle_jobs"],
            limits.caller_jobs,
            limits.circle_jobs,
        ),
    ];
    for (about, part, whole) in of_callers {
        // 0 is no limit.
        if part > whole && whole > 0 {
            let message = format!("should be no more than {}, {TAKES_ALL}", about[1]);
            broken.push(Broken::doubtful(about, message));
        }
    }
    if store.max_events.get().saturating_mul(store.max_event) > redis.inbox_bytes.get() / 2 {
        broken.push(Broken::doubtful(
            &[
                "dispatch.redis.inbox_bytes",
                "store.max_events",
                "store.max_event",
            ],
            "should be twice store.max_events times store.max_event, or what one job may emit never has room, and is read from the log",
        ));
    }
}

/// Settings that are right by themselves, and hardly together.
fn relations(settings: &Settings, broken: &mut Vec<Broken>) {
    let (durable, redis) = (&settings.dispatch.durable, &settings.dispatch.redis);
    if redis.lease.get() <= redis.timeout.get() {
        broken.push(Broken::doubtful(
            &["dispatch.redis.lease", "dispatch.redis.timeout"],
            format!(
                "should be longer than dispatch.redis.timeout = \"{:?}\", or one slow answer of Redis makes a worker silent, and its jobs run twice",
                redis.timeout
            ),
        ));
    }
    if durable.retry_at_most < durable.retry_after {
        broken.push(Broken::doubtful(
            &[
                "dispatch.durable.retry_at_most",
                "dispatch.durable.retry_after",
            ],
            format!(
                "should be no shorter than dispatch.durable.retry_after = \"{:?}\", the first wait",
                durable.retry_after
            ),
        ));
    }
    let of_circle = redis.most_of_circle();
    if redis.hold.get() < of_circle {
        broken.push(Broken::doubtful(
            &[
                "dispatch.redis.hold",
                "dispatch.redis.per_circle",
                "dispatch.redis.queue",
            ],
            format!(
                "should be at least {of_circle}: so many jobs of one circle may be with the workers (three times dispatch.redis.per_circle, and as many again or a quarter of dispatch.redis.queue), or it keeps a worker from all others"
            ),
        ));
    }
    if settings.store.quota < settings.store.max_value.get() {
        broken.push(Broken::doubtful(
            &["store.quota", "store.max_value"],
            "should be no less than store.max_value, or a value of that size never fits",
        ));
    }
    if settings.dispatch.job_timeout < settings.script.timeout {
        broken.push(Broken::doubtful(
            &["dispatch.job_timeout", "script.timeout"],
            format!(
                "should be no shorter than script.timeout = \"{:?}\", or no script gets that time",
                settings.script.timeout
            ),
        ));
    }
    if settings.session.outbound_queue.get() / 2 < settings.session.max_in_flight.get() {
        broken.push(Broken::doubtful(
            &["session.outbound_queue", "session.max_in_flight"],
            format!(
                "should be at least twice session.max_in_flight = {}, or a client that reads slowly is closed for what it may have under way",
                settings.session.max_in_flight
            ),
        ));
    }
    if settings.session.pong_timeout > settings.session.ping_interval {
        broken.push(Broken::doubtful(
            &["session.pong_timeout", "session.ping_interval"],
            "should be no longer than session.ping_interval: the next ping goes out before this one is given up",
        ));
    }
}

fn data_dir(settings: &Settings, broken: &mut Vec<Broken>) {
    let folder = &settings.dispatch.embedded.data_dir;
    if folder.as_os_str().is_empty() {
        let message = "must be the name of a folder, like \"data\"";
        broken.push(Broken::new(&["dispatch.embedded.data_dir"], message));
    }
}

/// Whether a text is a filter of log lines. A bare word could be the name of a module too, but then
/// "inof" would silence the log.
fn level(text: &str) -> Result<(), String> {
    let hint = "write error, warn, info, debug, trace or off, also per module: \"info,circled::session=debug\"";
    let wrong = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.contains(['=', '[', ']', '}']))
        .find(|item| item.is_empty() || item.parse::<LevelFilter>().is_err());
    if let Some(wrong) = wrong {
        return Err(format!("{wrong:?} is no level: {hint}"));
    }
    EnvFilter::try_new(text)
        .map(drop)
        .map_err(|error| format!("{error}: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_collide_where_they_overlap() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(collide(one, other), expected, "{one} {other}");
            assert_eq!(collide(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_level_that_would_silence_the_log_is_refused() {
        for right in [
            "info",
            "INFO",
            "off",
            "warn,circled::session=debug",
            "[session{id=1}]=debug",
        ] {
            assert_eq!(level(right), Ok(()), "{right}");
        }
        for wrong in ["inof", "", "info,circled", "info,circled=loud", "=loud="] {
            assert!(level(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules_about_what_is_unknown_say_nothing() {
        let mut settings = Settings::load(None, []).unwrap().settings;
        settings.server.listen = "0.0.0.0:8080".parse().unwrap();
        let about = |problems: &[Problem]| {
            let broken = check(&settings, problems);
            broken.iter().map(|rule| rule.about[0]).collect::<Vec<_>>()
        };
        assert_eq!(about(&[]), ["circles.open", "server.public_url"]);
        let unreadable = Problem {
            key: "circles.allow_open".to_owned(),
            value: None,
            source: None,
            place: None,
            message: String::new(),
        };
        assert_eq!(about(&[unreadable]), ["server.public_url"]);
    }
}
