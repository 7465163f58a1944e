//! The certificates of a listener: which one a client gets, and what is to be said about them.

use std::{path::Path, sync::Arc};

use circled_protocol::Origin;
use jiff::Timestamp;
use rustls::{SignatureScheme, pki_types::ServerName};
use tracing::Level;

use super::certificate::{Certificate, CertificateFiles, CertificateNote};
use crate::config::{self, Mistake};

/// The key of the setting.
pub(in crate::server) const KEY: &str = "server.tls.certificates";

/// The certificates that the settings name, in their order; at least one.
#[derive(Debug, Clone)]
pub struct Certificates {
    all: Vec<Arc<Certificate>>,
    public_url: Option<Origin>,
}

impl Certificates {
    /// Reads the certificates; `None` if the settings name none.
    ///
    /// # Errors
    /// All mistakes, each with the key of its setting.
    pub(in crate::server) fn read(
        settings: &config::Settings,
    ) -> Result<Option<Self>, Vec<Mistake>> {
        let (mut all, mut mistakes) = (Vec::new(), Vec::new());
        for (number, pair) in settings.server.tls.certificates.iter().enumerate() {
            let files = CertificateFiles {
                cert: settings.base.join(&pair.cert),
                key: settings.base.join(&pair.key),
            };
            match files.read() {
                Ok(certificate) => all.push(Arc::new(certificate)),
                Err(unusable) => mistakes.push(Mistake {
                    key: format!("{KEY}[{number}].{}", unusable.setting()),
                    message: unusable.to_string(),
                }),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let public_url = settings.server.public_url.clone();
        Ok((!all.is_empty()).then_some(Self { all, public_url }))
    }

    /// Returns the certificates, the first one first.
    pub(super) fn all(&self) -> &[Arc<Certificate>] {
        &self.all
    }

    /// Returns true if both are from the same files with the same contents.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let read = |all: &Self| all.all.iter().map(|one| *one.digest()).collect::<Vec<_>>();
        read(self) == read(other)
    }

    /// Returns these with others in their places.
    pub(super) fn with(&self, all: Vec<Arc<Certificate>>) -> Self {
        let public_url = self.public_url.clone();
        Self { all, public_url }
    }

    /// Returns the certificate for a client: of those whose keys it can check, the first one for this name, or else the
    /// first one.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<Certificate>> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let fits = |certificate: &&Arc<Certificate>| {
            name.as_ref()
                .is_some_and(|name| certificate.check_name(name).is_ok())
        };
        let usable = || self.all.iter().filter(|one| one.signs(schemes));
        usable().find(fits).or_else(|| usable().next())
    }

    /// Returns the file of each certificate, and the time when it ends.
    pub(in crate::server) fn ends(&self) -> impl Iterator<Item = (&Path, Timestamp)> {
        let all = self.all.iter();
        all.map(|one| (one.files().cert.as_path(), one.ends()))
    }

    /// Returns remarks on certificates that can be used all the same.
    pub(in crate::server) fn notes(&self, now: Timestamp) -> Vec<String> {
        let mut notes: Vec<_> = self.of_each(now).map(|(note, _)| note).collect();
        notes.extend(self.other_names());
        notes
    }

    /// Logs these remarks.
    pub(in crate::server) fn warn(&self, now: Timestamp) {
        for (note, level) in self.of_each(now) {
            match level {
                Level::ERROR => tracing::error!("{note}"),
                _ => tracing::warn!("{note}"),
            }
        }
        if let Some(note) = self.other_names() {
            tracing::warn!("{note}");
        }
    }

    fn of_each(&self, now: Timestamp) -> impl Iterator<Item = (String, Level)> {
        let numbered = self.all.iter().enumerate();
        numbered.flat_map(move |(number, certificate)| {
            let notes = certificate.notes(now).into_iter();
            notes.map(move |note| {
                let level = match note {
                    CertificateNote::HasEnded(_) => Level::ERROR,
                    CertificateNote::EndsSoon(_)
                    | CertificateNote::NotBegun(_)
                    | CertificateNote::OpenKey(_) => Level::WARN,
                };
                (format!("{KEY}[{number}]: {note}"), level)
            })
        })
    }

    /// Returns the remark that no certificate is for the name in `server.public_url`.
    fn other_names(&self) -> Option<String> {
        let authority: http::uri::Authority = self.public_url.as_ref()?.authority().parse().ok()?;
        let host = authority.host().trim_matches(['[', ']']);
        let name = ServerName::try_from(host).ok()?;
        let mut checks = self.all.iter().map(|one| one.check_name(&name));
        let first = checks.next()?.err()?;
        if checks.any(|check| check.is_ok()) {
            return None;
        }
        Some(format!(
            "{KEY}: no certificate is for the host in server.public_url, so clients refuse it: {first}"
        ))
    }
}
