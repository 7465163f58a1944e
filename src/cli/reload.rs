//! Reads the settings again on SIGHUP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{JoinHandle, spawn_blocking};

use super::{ConfigFile, logging::LevelHandle, mistakes};
use crate::{
    config::{Loaded, Settings},
    server::Live,
};

/// Reads the settings again, and applies those that a running server can change.
pub(super) struct Reload {
    config: ConfigFile,
    level: LevelHandle,
    live: Live,
    /// The settings that the server was started with.
    started: Loaded,
    /// The settings that were read last.
    last: Mutex<Loaded>,
}

/// Runs a read each time it is asked to, one at a time. Nothing waits for it, because files may be slow or have no end.
pub(super) struct Reloading {
    read: Arc<dyn Fn() + Send + Sync>,
    reading: Option<JoinHandle<()>>,
    /// True if another read was asked for during this one.
    again: bool,
}

impl Reloading {
    pub(super) fn new(read: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            read: Arc::new(read),
            reading: None,
            again: false,
        }
    }

    /// Starts a read; if one is running, another one follows it.
    pub(super) fn ask(&mut self) {
        if self.reading.is_some() {
            self.again = true;
            tracing::warn!(
                "the settings are still being read, and are read once more after that: a file may be slow, or have no end"
            );
            return;
        }
        let read = self.read.clone();
        self.reading = Some(spawn_blocking(move || read()));
    }

    /// Returns true if a read is running.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Waits until a read has ended; forever if none is running.
    pub(super) async fn ended(&mut self) {
        let Some(reading) = &mut self.reading else {
            return std::future::pending().await;
        };
        if let Err(error) = reading.await {
            tracing::error!(%error, "failed to read the settings: the old ones stay in force");
        }
        self.reading = None;
        if std::mem::take(&mut self.again) {
            self.ask();
        }
    }
}

impl Reload {
    pub(super) fn new(config: ConfigFile, started: Loaded, level: LevelHandle, live: Live) -> Self {
        Self {
            config,
            level,
            live,
            last: Mutex::new(started.clone()),
            started,
        }
    }

    /// Reads the settings, applies them, and logs what has changed and what needs a restart. If there is a mistake in
    /// the settings, or one together with those that need a restart, nothing changes.
    pub(super) fn run(&self) {
        let check = |settings: &Settings| self.live.check(settings);
        let is_live = |key: &str| key == LevelHandle::KEY || self.live.has(key);
        let loaded = match self.config.load_and_try(check) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!(%problem, "a setting is wrong");
                }
                tracing::error!("the new settings can't be used: the old ones stay in force");
                return;
            }
        };
        let mut waiting = loaded.changed_since(&self.started);
        waiting.retain(|key| !is_live(key));
        let try_out = |settings: &Settings| mistakes(check(settings));
        let runs = match loaded.taken_up(&self.started, is_live, try_out) {
            Ok(runs) => runs,
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!(%problem, "a setting does not fit those that wait for a restart");
                }
                tracing::error!(
                    settings = waiting.join(", "),
                    "the new settings can't be used without a restart: the old ones stay in force"
                );
                return;
            }
        };
        let taken = match self.live.set(&runs.settings) {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(%error, "the new settings can't be used: the old ones stay in force");
                return;
            }
        };
        warn_of_doubts(&runs);
        if let Err(error) = self.level.set(&runs.settings.log) {
            tracing::error!(%error, "the log level stays as it was");
        }
        let mut last = self.last();
        let mut changed = loaded.changed_since(&last);
        changed.retain(|key| is_live(key));
        for key in &taken.read_anew {
            if !changed.contains(&key.as_str()) {
                changed.push(key);
            }
        }
        tracing::info!(
            changed = changed.join(", "),
            sessions_ended = taken.sessions_ended,
            "the settings were read again"
        );
        if !waiting.is_empty() {
            tracing::warn!(
                settings = waiting.join(", "),
                "settings that need a restart have changed"
            );
        }
        *last = loaded;
    }

    fn last(&self) -> MutexGuard<'_, Loaded> {
        // The value is only ever replaced as a whole.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs settings that are probably not meant so.
pub(super) fn warn_of_doubts(loaded: &Loaded) {
    for doubt in &loaded.doubts {
        tracing::warn!(setting = %doubt, "a setting is probably a mistake");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    };

    use super::*;

    #[tokio::test]
    async fn a_reading_that_panics_keeps_no_other_from_being_begun() {
        let times = Arc::new(AtomicUsize::new(0));
        let counted = times.clone();
        let mut reloading = Reloading::new(move || {
            let before = counted.fetch_add(1, SeqCst);
            assert!(before > 0, "the first one panics");
        });
        for expected in 1..=3 {
            reloading.ask();
            reloading.ended().await;
            assert_eq!(times.load(SeqCst), expected);
        }
    }

    #[tokio::test]
    async fn requests_during_a_read_cause_one_more_read() {
        let times = Arc::new(AtomicUsize::new(0));
        let counted = times.clone();
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let mut reloading = Reloading::new(move || {
            counted.fetch_add(1, SeqCst);
            wait.lock().unwrap().recv().unwrap();
        });
        for _ in 0..3 {
            reloading.ask();
        }
        go_on.send(()).unwrap();
        reloading.ended().await;
        go_on.send(()).unwrap();
        reloading.ended().await;
        assert!(reloading.reading.is_none());
        assert_eq!(times.load(SeqCst), 2);
    }
}
