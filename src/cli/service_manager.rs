//! Tells the service manager how the server is doing: the protocol of `sd_notify(3)`, for a unit of `Type=notify`.

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::{
    env,
    ffi::OsString,
    io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

/// The longest time that telling may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The beats in the time after which the service manager takes a quiet server for stuck.
const BEATS: u32 = 3;

/// The service manager that has started this process: systemd, or none.
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    beats: Option<Interval>,
}

impl ServiceManager {
    /// Finds the service manager by its variables in the environment. It must be called within the runtime.
    pub(super) fn find() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            connect(&name)
                .inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET can't be used: the service manager isn't told that the server is ready"))
                .ok()
        });
        let beats = socket.as_ref().and_then(|_| watchdog()).map(|limit| {
            let mut beats = interval(limit / BEATS);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats
        });
        Self { socket, beats }
    }

    /// Tells that the server serves, with the settings that were read last.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Tells that the settings are read again; [`ready`](Self::ready) ends it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// Tells that the server stops.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Waits until it is time for the next beat, and tells that the server is alive, if its threads still take new
    /// tasks. Waits forever if nobody wants to know.
    pub(super) async fn beat(&mut self) {
        let Some(beats) = &mut self.beats else {
            return std::future::pending().await;
        };
        beats.tick().await;
        if TaskTracker::new().spawn(async {}).await.is_ok() {
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, state: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send(state.as_bytes()) {
            tracing::warn!(%error, state, "the service manager can't be told");
        }
    }
}

fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// Returns the time after which this process counts as stuck, if it tells nothing.
fn watchdog() -> Option<Duration> {
    let variable = |name| env::var(name).ok();
    let (limit, pid) = (variable("WATCHDOG_USEC")?, variable("WATCHDOG_PID"));
    limit_for(process::id(), &limit, pid.as_deref())
}

/// Returns the limit in microseconds, if it is for the process `own`.
fn limit_for(own: u32, limit: &str, pid: Option<&str>) -> Option<Duration> {
    let is_own = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let limit = limit.parse().ok().filter(|limit| is_own && *limit > 0)?;
    Some(Duration::from_micros(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_for_another_process_is_none() {
        let limit = Some(Duration::from_secs(60));
        assert_eq!(limit_for(7, "60000000", None), limit);
        assert_eq!(limit_for(7, "60000000", Some("7")), limit);
        assert_eq!(limit_for(7, "60000000", Some("8")), None);
        assert_eq!(limit_for(7, "60000000", Some("")), None);
        assert_eq!(limit_for(7, "0", None), None);
        assert_eq!(limit_for(7, "a minute", None), None);
    }
}
