//! A certificate with its key, from the two files that the settings name.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use rustls::{
    Error, SignatureScheme,
    client::verify_server_name,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::validity::Validity;
use crate::files;

/// The most bytes of a file: a long chain has a tenth of that.
const LONGEST: usize = 1 << 20;
/// The time before the end of a certificate in which it is noted; of a short-lived one, the last third.
const NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateFiles {
    /// The certificate, and those that lead from it to a known one.
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// A certificate that can be used.
#[derive(Debug)]
pub(super) struct Certificate {
    files: CertificateFiles,
    /// The digest of the files as they were read.
    read: [u8; 32],
    key: Arc<CertifiedKey>,
    validity: Validity,
    /// True if everybody on this machine can read the key.
    is_key_open: bool,
}

/// The reason why a certificate can't be used.
#[derive(Debug)]
pub(super) struct UnusableCertificate {
    part: Part,
    why: Why,
}

/// The file that a mistake is in.
#[derive(Debug, Clone, Copy)]
enum Part {
    Cert,
    Key,
}

#[derive(Debug, Error)]
enum Why {
    #[error("there is no such file")]
    NoFile,
    #[error("the file cannot be read: {0}")]
    Unreadable(io::Error),
    #[error(
        "there is no certificate in the file: it must be PEM, with \"-----BEGIN CERTIFICATE-----\""
    )]
    NoCertificate,
    #[error("the first certificate in the file is damaged, or no certificate of a server")]
    Damaged,
    #[error(
        "there is no key in the file: it must be PEM, with \"-----BEGIN PRIVATE KEY-----\", and not encrypted"
    )]
    NoKey,
    #[error(
        "TLS can't use this kind of key ({0}): take ECDSA (P-256, P-384), Ed25519 or RSA (2048 to 8192 bits)"
    )]
    UnknownKey(Error),
    #[error("is not the key of the first certificate in `cert`, which must be the server's own")]
    Mismatch,
    #[error("the new certificate has ended on {0} already")]
    Ended(Timestamp),
    #[error("the new certificate begins on {0} only, and is taken up then")]
    NotBegun(Timestamp),
}

/// A remark on a certificate that can be used all the same.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum CertificateNote {
    #[error("the certificate has ended on {0}, so clients refuse it: renew it")]
    HasEnded(Timestamp),
    #[error("the certificate ends on {0}: renew it")]
    EndsSoon(Timestamp),
    #[error("the certificate begins on {0}, and clients refuse it before")]
    NotBegun(Timestamp),
    #[error("everybody on this machine can read its key: `chmod o= {}` keeps them out", .0.display())]
    OpenKey(PathBuf),
}

impl CertificateFiles {
    /// Reads the certificate.
    ///
    /// # Errors
    /// It can't be used.
    pub(super) fn read(&self) -> Result<Certificate, UnusableCertificate> {
        self.read_unless([0; 32])
            .and_then(|read| read.ok_or_else(|| UnusableCertificate::of_cert(Why::NoCertificate)))
    }

    /// Reads the certificate; `None` if the files are as they were `before`.
    fn read_unless(&self, before: [u8; 32]) -> Result<Option<Certificate>, UnusableCertificate> {
        let read = |file| match files::read(file, LONGEST) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Why::NoFile),
            Err(error) => Err(Why::Unreadable(error)),
        };
        let cert = read(&self.cert).map_err(UnusableCertificate::of_cert)?;
        let key = read(&self.key).map_err(UnusableCertificate::of_key)?;
        let digest = Sha256::new_with_prefix(cert.len().to_be_bytes());
        let digest = digest.chain_update(&cert).chain_update(&key).finalize();
        if digest[..] == before {
            return Ok(None);
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert).collect();
        let chain = chain.unwrap_or_default();
        let own = chain
            .first()
            .ok_or_else(|| UnusableCertificate::of_cert(Why::NoCertificate))?;
        let validity = Validity::of(own).filter(|_| ParsedCertificate::try_from(own).is_ok());
        let validity = validity.ok_or_else(|| UnusableCertificate::of_cert(Why::Damaged))?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| UnusableCertificate::of_key(Why::NoKey))?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let key = key.map_err(|error| {
            let is_mismatch = matches!(error, Error::InconsistentKeys(_));
            UnusableCertificate::of_key(match is_mismatch {
                true => Why::Mismatch,
                false => Why::UnknownKey(error),
            })
        })?;
        let mode = fs::metadata(&self.key).map_or(0, |file| file.mode());
        Ok(Some(Certificate {
            files: self.clone(),
            read: digest.into(),
            key: Arc::new(key),
            validity,
            is_key_open: mode & 0o004 != 0,
        }))
    }
}

impl Certificate {
    /// Reads the files again; `None` if they are as they were.
    ///
    /// # Errors
    /// The new certificate can't be used, or has ended or not begun though this one is valid.
    pub(super) fn renewed(&self, now: Timestamp) -> Result<Option<Self>, UnusableCertificate> {
        let renewed = self.files.read_unless(self.read)?;
        let why = match &renewed {
            Some(Self { validity, .. })
                if self.validity.begins <= now && now < self.validity.ends =>
            {
                let ended = (validity.ends <= now).then_some(Why::Ended(validity.ends));
                ended.or((now < validity.begins).then_some(Why::NotBegun(validity.begins)))
            }
            _ => None,
        };
        match why {
            Some(why) => Err(UnusableCertificate::of_cert(why)),
            None => Ok(renewed),
        }
    }

    pub(super) fn files(&self) -> &CertificateFiles {
        &self.files
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Returns the digest of the files as they were read.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.read
    }

    /// Returns the time when it ends.
    pub(super) fn ends(&self) -> Timestamp {
        self.validity.ends
    }

    /// Checks that it is for a name.
    ///
    /// # Errors
    /// The names that it is for.
    pub(super) fn check_name(&self, name: &ServerName<'_>) -> Result<(), Error> {
        let own = self.key.end_entity_cert()?;
        verify_server_name(&ParsedCertificate::try_from(own)?, name)
    }

    /// Returns true if its key signs in one of these ways.
    pub(super) fn signs(&self, schemes: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(schemes).is_some()
    }

    pub(super) fn notes(&self, now: Timestamp) -> Vec<CertificateNote> {
        let Validity { begins, ends } = self.validity;
        let near = NEAR.min(ends.duration_since(begins) / 3);
        let mut notes = Vec::new();
        if ends <= now {
            notes.push(CertificateNote::HasEnded(ends));
        } else if ends.duration_since(now) < near {
            notes.push(CertificateNote::EndsSoon(ends));
        } else if now < begins {
            notes.push(CertificateNote::NotBegun(begins));
        }
        if self.is_key_open {
            notes.push(CertificateNote::OpenKey(self.files.key.clone()));
        }
        notes
    }
}

impl UnusableCertificate {
    fn of_cert(why: Why) -> Self {
        let part = Part::Cert;
        Self { part, why }
    }

    fn of_key(why: Why) -> Self {
        let part = Part::Key;
        Self { part, why }
    }

    /// Returns the name of the setting with the file.
    pub(super) fn setting(&self) -> &'static str {
        match self.part {
            Part::Cert => "cert",
            Part::Key => "key",
        }
    }
}

impl fmt::Display for UnusableCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}
