//! Keys that log in: the caller's own, or a device's; and the files of device keys.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use circled_protocol::{Challenge, DeviceSecretKey, Origin, PublicKey, Scheme, SecretKey, sign};

use crate::Error;

/// The most bytes of a key file.
const LARGEST_FILE: u64 = 1024;

/// A key that logs in.
#[derive(Debug, Clone)]
pub enum Signer {
    /// The caller's own key.
    Key(SecretKey),
    /// The key of a device that acts for the caller, see [`Client::add_device_key`](crate::Client::add_device_key).
    Device(DeviceSecretKey),
}

impl Signer {
    /// Returns the public key, as `fetch_nonce` takes it.
    pub(crate) fn public(&self) -> String {
        match self {
            Self::Key(key) => key.public().to_string(),
            Self::Device(key) => key.public().to_string(),
        }
    }

    /// Returns the scheme, if keys of this kind have only one.
    pub(crate) fn own_scheme(&self) -> Option<Scheme> {
        match self {
            Self::Key(_) => None,
            Self::Device(_) => Some(Scheme::Es256),
        }
    }

    /// Checks that a login text is for this server, circle and key, and signs it.
    pub(crate) fn sign(
        &self,
        text: &str,
        origin: &Origin,
        circle: &PublicKey,
        scheme: Scheme,
    ) -> Result<String, Error> {
        match self {
            Self::Key(key) => {
                let pubkey = key.public();
                Challenge::check(text, origin, circle, &pubkey)?;
                sign(scheme, key, text).ok_or(Error::Unsigned(pubkey, scheme))
            }
            Self::Device(key) => {
                Challenge::check(text, origin, circle, &key.public())?;
                Ok(key.sign(text))
            }
        }
    }
}

impl From<&SecretKey> for Signer {
    fn from(key: &SecretKey) -> Self {
        Self::Key(key.clone())
    }
}

impl From<&DeviceSecretKey> for Signer {
    fn from(key: &DeviceSecretKey) -> Self {
        Self::Device(key.clone())
    }
}

impl From<&Self> for Signer {
    fn from(signer: &Self) -> Self {
        signer.clone()
    }
}

impl From<SecretKey> for Signer {
    fn from(key: SecretKey) -> Self {
        Self::Key(key)
    }
}

impl From<DeviceSecretKey> for Signer {
    fn from(key: DeviceSecretKey) -> Self {
        Self::Device(key)
    }
}

/// Writes a device key into a new file, which only its user can read: 64 hex digits and a line break, as `circled keygen`
/// writes other keys.
///
/// # Errors
/// The file exists already, or can't be written.
pub fn save_device_key(file: &Path, key: &DeviceSecretKey) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut written = options.open(file)?;
    let done = writeln!(written, "{}", key.to_hex()).and_then(|()| written.sync_all());
    done.inspect_err(|_| {
        // Half a key is useless, and would be in the way of the next attempt.
        let _ = fs::remove_file(file);
    })
}

/// Reads a device key from its file.
///
/// # Errors
/// The file can't be read, or is no key file.
pub fn load_device_key(file: &Path) -> io::Result<DeviceSecretKey> {
    let mut text = String::new();
    fs::File::open(file)?
        .take(LARGEST_FILE)
        .read_to_string(&mut text)?;
    DeviceSecretKey::from_hex(text.trim())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
