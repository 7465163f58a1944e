//! What no single module can tell: values that make no sense, alone or together.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use tracing_subscriber::EnvFilter;

use super::{Problem, Settings, layers::Layers};
use crate::auth::Origin;

/// Everything that is wrong with settings that could all be read.
pub(super) fn check(settings: &Settings, layers: &Layers) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse =
        |key: &str, message: &str| problems.push(layers.problem(key, message.to_owned()));

    let Settings {
        server,
        session,
        circles,
        circle,
        dispatch,
        script,
        auth,
        log,
    } = settings;
    for (key, number) in [
        ("session.max_message", session.max_message),
        ("session.max_batch", session.max_batch),
        ("session.max_in_flight", session.max_in_flight),
        ("session.max_sessions", session.max_sessions),
        (
            "session.max_sessions_per_address",
            session.max_sessions_per_address,
        ),
        ("session.outbound_queue", session.outbound_queue),
        ("session.outbound_bytes", session.outbound_bytes),
        ("script.queue", script.queue),
    ] {
        if number == 0 {
            refuse(key, "must be at least 1");
        }
    }
    for (key, duration) in [
        ("server.handshake_timeout", server.handshake_timeout),
        ("session.ping_interval", session.ping_interval),
        ("session.pong_timeout", session.pong_timeout),
        ("session.login_deadline", session.login_deadline),
        ("session.write_timeout", session.write_timeout),
        ("auth.nonce_ttl", auth.nonce_ttl),
        ("dispatch.job_timeout", dispatch.job_timeout),
        ("script.timeout", script.timeout),
    ] {
        if duration.is_zero() {
            refuse(key, "must be longer than nothing, like \"10s\"");
        } else if duration > Duration::from_secs(365 * 24 * 3600) {
            refuse(key, "must be a year at most");
        }
    }

    if !server.public_url.is_empty()
        && !server
            .public_url
            .parse::<Origin>()
            .is_ok_and(|origin| origin.is_socket())
    {
        refuse(
            "server.public_url",
            "must be what clients dial, without a path: \"wss://circles.example.org\"",
        );
    }
    if server.allowed_origins.iter().any(|page| {
        !page
            .parse::<Origin>()
            .is_ok_and(|origin| !origin.is_socket())
    }) {
        refuse(
            "server.allowed_origins",
            "must be the origins of web pages, like [\"https://app.example.org\"]",
        );
    }
    match server.admin_listen.parse::<SocketAddr>() {
        Err(_) if !server.admin_listen.is_empty() => refuse(
            "server.admin_listen",
            "must be an address and a port like \"127.0.0.1:8081\", or \"\" for none",
        ),
        Ok(address) if address == server.listen && address.port() != 0 => {
            refuse("server.admin_listen", "must differ from server.listen")
        }
        Ok(_) | Err(_) => {}
    }

    if !server.listen.ip().is_loopback() {
        if circles.open && !circles.allow_open {
            refuse(
                "circles.open",
                "anyone who finds a server past loopback could run scripts on it; set circles.open = false and list your circles as [[circle]], or permit it with circles.allow_open = true",
            );
        }
        if server.public_url.is_empty() {
            refuse(
                "server.public_url",
                "a server past loopback needs it: it stands in the text that people sign to log in, \"wss://circles.example.org\"",
            );
        }
    }
    if !circles.open && circle.is_empty() {
        refuse(
            "circles.open",
            "there is no circle to serve: list them as [[circle]], or set it to true",
        );
    }
    let mut seen = HashSet::new();
    if let Some(twice) = circle.iter().find(|circle| !seen.insert(circle.key)) {
        refuse(
            "circle",
            &format!("the circle {} is listed twice", twice.key),
        );
    }

    if let Err(error) = EnvFilter::try_new(&log.level) {
        refuse(
            "log.level",
            &format!(
                "{error}; write error, warn, info, debug or trace, also per module: \"info,circled::session=debug\""
            ),
        );
    }
    problems
}
