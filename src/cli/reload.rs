//! What SIGHUP does.

use super::{ConfigFile, logging::LevelHandle, mistakes};
use crate::{
    config::{Loaded, Settings},
    server::Live,
};

/// Reads the settings again, and has a running server do as they say as far as it can.
pub(super) struct Reload {
    config: ConfigFile,
    level: LevelHandle,
    live: Live,
    /// What the server was started with.
    started: Loaded,
    /// What was read last.
    last: Loaded,
}

impl Reload {
    pub(super) fn new(config: ConfigFile, started: Loaded, level: LevelHandle, live: Live) -> Self {
        Self {
            config,
            level,
            live,
            last: started.clone(),
            started,
        }
    }

    /// Says what has changed, and what needs a restart. With a mistake in the settings, also together with those that a
    /// restart alone can change, nothing changes.
    pub(super) fn run(&mut self) {
        let check = |settings: &Settings| self.live.check(settings);
        let is_live = |key: &str| key == LevelHandle::KEY || self.live.has(key);
        let loaded = match self.config.load_and_try(check) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!(%problem, "a setting is wrong");
                }
                tracing::error!("the settings can't be used, and those from before stay in force");
                return;
            }
        };
        let mut waiting = loaded.changed_since(&self.started);
        waiting.retain(|key| !is_live(key));
        let try_out = |settings: &Settings| mistakes(check(settings), settings);
        let runs = match loaded.taken_up(&self.started, is_live, try_out) {
            Ok(runs) => runs,
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!(%problem, "a setting is wrong beside those that need a restart");
                }
                tracing::error!(
                    settings = waiting.join(", "),
                    "the settings can't be used without a restart, and those from before stay in force"
                );
                return;
            }
        };
        let taken = match self.live.set(&runs.settings) {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(%error, "the settings can't be used, and those from before stay in force");
                return;
            }
        };
        warn_of_doubts(&runs);
        if let Err(error) = self.level.set(&runs.settings.log) {
            tracing::error!(%error, "the log's level stays as it was");
        }
        let mut changed = loaded.changed_since(&self.last);
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
        self.last = loaded;
    }
}

/// Says what will hardly do what is wanted.
pub(super) fn warn_of_doubts(loaded: &Loaded) {
    for doubt in &loaded.doubts {
        tracing::warn!(setting = %doubt, "a setting will hardly do what is wanted");
    }
}
