//! What SIGHUP does.

use super::{ConfigFile, logging::LevelHandle};
use crate::{config::Loaded, server::Live};

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

    /// Says what has changed, and what needs a restart. With a mistake in the settings, nothing changes.
    pub(super) fn run(&mut self) {
        let check = |settings: &_| self.live.check(settings);
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
        let ended = match self.live.set(&loaded.settings) {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "the settings can't be used, and those from before stay in force");
                return;
            }
        };
        warn_of_doubts(&loaded);
        if let Err(error) = self.level.set(&loaded.settings.log) {
            tracing::error!(%error, "the log's level stays as it was");
        }
        let is_live = |key: &&str| *key == LevelHandle::KEY || self.live.has(key);
        let mut changed = loaded.changed_since(&self.last);
        changed.retain(is_live);
        tracing::info!(
            changed = changed.join(", "),
            sessions_ended = ended,
            "the settings were read again"
        );
        let mut waiting = loaded.changed_since(&self.started);
        waiting.retain(|key| !is_live(key));
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
