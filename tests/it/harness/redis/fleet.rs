//! Gateways and workers around one Redis.

use circled_protocol::PublicKey;
use futures_util::future::join_all;

use crate::harness::{
    load,
    server::{Builder, ENDLESS, TestServer, key},
    webhooks::{scripted, taking_stripes},
};

/// The settings of the servers.
pub(crate) struct Fleet {
    settings: Vec<(String, String)>,
    toml: String,
    /// The folder of the scripts that the settings name.
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// Creates a fleet that quickly notices when a server is gone. Stripe's deliveries run the script of [`load`].
    pub(crate) fn on(url: impl Into<String>) -> Self {
        Self::running(url, load::DELIVERY)
    }

    /// Creates a fleet whose Stripe deliveries run this script.
    pub(crate) fn running(url: impl Into<String>, script: &str) -> Self {
        let (folder, toml) = scripted(script);
        let fleet = Self {
            settings: Vec::new(),
            toml,
            _folder: folder,
        };
        fleet
            .with("DISPATCH__BACKEND", "redis")
            .with("DISPATCH__REDIS__URL", url.into())
            .with("DISPATCH__REDIS__LEASE", "1s")
            .with("DISPATCH__REDIS__TIMEOUT", "900ms")
            .with("DISPATCH__JOB_TIMEOUT", "8s")
            .with("DISPATCH__DURABLE__RETRY_AFTER", "20ms")
            .with("DISPATCH__DURABLE__RETRY_AT_MOST", "20ms")
            .with("DISPATCH__DURABLE__MAX_TRIES", 1_000_000)
            .with("SCRIPT__MAX_OPERATIONS", ENDLESS)
    }

    /// Sets or replaces a setting.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        let name = format!("CIRCLED_{name}");
        self.settings.push((name, value.to_string()));
        self
    }

    /// Trusts only the certificates of the authorities in this file.
    pub(crate) fn trusting(mut self, authorities: &str) -> Self {
        let setting = ("SSL_CERT_FILE".to_owned(), authorities.to_owned());
        self.settings.push(setting);
        self
    }

    pub(crate) fn builder(&self) -> Builder {
        let builder = taking_stripes().toml(&self.toml);
        let settings = self.settings.iter();
        settings.fold(builder, |builder, (name, value)| builder.env(name, value))
    }

    pub(crate) async fn gateway(&self) -> TestServer {
        self.builder().start().await
    }

    pub(crate) async fn worker(&self) -> TestServer {
        self.builder().worker().start().await
    }

    pub(crate) async fn gateways(&self, count: usize) -> Vec<TestServer> {
        join_all((0..count).map(|_| self.gateway())).await
    }

    pub(crate) async fn workers(&self, count: usize) -> Vec<TestServer> {
        join_all((0..count).map(|_| self.worker())).await
    }
}

/// Returns circles by number.
pub(crate) fn circle(number: u8) -> PublicKey {
    key(100 + number).public()
}
