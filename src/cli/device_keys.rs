//! The device keys that `circled login --device` keeps: a file for each circle of each server, in the user's folder.
//!
//! `<config>/circled/devices/<origin>/<circle>.<caller>.key`, where `<config>` is `$XDG_CONFIG_HOME`, or `~/.config`.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use circled_client::{load_device_key, save_device_key};
use circled_protocol::{DeviceSecretKey, Origin, PublicKey};
use form_urlencoded::{byte_serialize, parse};
use http::Uri;

use super::with_login::LoginKey;

/// A device key that is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeptKey {
    pub(super) origin: String,
    pub(super) circle: PublicKey,
    pub(super) caller: PublicKey,
    pub(super) file: PathBuf,
}

/// A device key that is written, but not kept yet. Dropping it deletes it.
#[derive(Debug)]
pub(super) struct NewKey {
    new: PathBuf,
    file: PathBuf,
}

/// A circle of a server: the place of a device key.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    pub(super) circle: PublicKey,
}

/// Returns the folder of all device keys. `None` without a home folder.
fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(config.join("circled").join("devices"))
}

/// Returns the folder of all device keys of this user.
///
/// # Errors
/// There is no home folder.
pub(super) fn users_folder() -> anyhow::Result<PathBuf> {
    folder(|name| std::env::var_os(name))
        .context("there is no home folder for device keys: set HOME, or XDG_CONFIG_HOME")
}

/// Returns the device key that is kept for a circle.
///
/// # Errors
/// There is none, or it can't be read.
pub(super) fn kept(url: &str) -> anyhow::Result<LoginKey> {
    let missing = || {
        format!(
            "the key to log in with is missing: give --key FILE, or log in once for all with `circled login {url} --key FILE --device`"
        )
    };
    let folder = users_folder().with_context(missing)?;
    let kept = Place::of(&folder, url)?.find()?;
    let kept = kept.with_context(missing)?;
    Ok(LoginKey {
        signer: kept.read()?.into(),
        caller: kept.caller,
    })
}

impl Place {
    /// Returns the place of a circle's device key in the folder of all.
    ///
    /// # Errors
    /// It is no address of a circle.
    pub(super) fn of(folder: &Path, url: &str) -> anyhow::Result<Self> {
        let no_circle = || format!("{url:?} is not ws://host:port/<circle_pk>, or wss://");
        let uri: Uri = url.parse().with_context(no_circle)?;
        let origin = Origin::of_socket(&uri).with_context(no_circle)?;
        let circle = uri.path().trim_start_matches('/').parse();
        let name: String = byte_serialize(origin.to_string().as_bytes()).collect();
        Ok(Self {
            folder: folder.join(name),
            circle: circle.with_context(no_circle)?,
        })
    }

    /// Returns the device key that is kept here, if there is one.
    pub(super) fn find(&self) -> anyhow::Result<Option<KeptKey>> {
        let kept = keys_in(&self.folder)?;
        Ok(kept.into_iter().find(|kept| kept.circle == self.circle))
    }

    /// Writes a device key, to be kept once it is known to the server.
    pub(super) fn prepare(&self, caller: &PublicKey, key: &DeviceSecretKey) -> io::Result<NewKey> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let file = self.folder.join(format!("{}.{caller}.key", self.circle));
        let new = file.with_extension(format!("{}.new", key.public()));
        save_device_key(&new, key)?;
        Ok(NewKey { new, file })
    }
}

impl NewKey {
    /// Keeps the key, in place of those before. Returns its file.
    pub(super) fn keep(self, before: Option<&KeptKey>) -> io::Result<PathBuf> {
        fs::rename(&self.new, &self.file)?;
        match before {
            Some(before) if before.file != self.file => fs::remove_file(&before.file)?,
            _ => {}
        }
        Ok(self.file.clone())
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        // If it was kept, there is no such file.
        let _ = fs::remove_file(&self.new);
    }
}

impl KeptKey {
    fn at(file: PathBuf) -> Option<Self> {
        let (circle, caller) = file
            .file_name()?
            .to_str()?
            .strip_suffix(".key")?
            .split_once('.')?;
        let origin = file.parent()?.file_name()?.to_str()?;
        let (origin, _) = parse(origin.as_bytes()).next()?;
        Some(Self {
            origin: origin.into_owned(),
            circle: circle.parse().ok()?,
            caller: caller.parse().ok()?,
            file,
        })
    }

    pub(super) fn read(&self) -> anyhow::Result<DeviceSecretKey> {
        let path = self.file.display();
        load_device_key(&self.file).with_context(|| format!("the device key {path} cannot be read"))
    }

    pub(super) fn delete(&self) -> anyhow::Result<()> {
        let path = self.file.display();
        fs::remove_file(&self.file).with_context(|| format!("{path} cannot be deleted"))
    }
}

/// Returns all device keys that are kept.
///
/// # Errors
/// The folder can't be read.
pub(super) fn all(folder: &Path) -> anyhow::Result<Vec<KeptKey>> {
    let mut kept = Vec::new();
    for origin in entries(folder)? {
        kept.extend(keys_in(&origin)?);
    }
    Ok(kept)
}

fn keys_in(folder: &Path) -> anyhow::Result<Vec<KeptKey>> {
    let files = entries(folder)?;
    Ok(files.into_iter().filter_map(KeptKey::at).collect())
}

/// Returns what is in a folder, in order; nothing if there is no folder.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("{} cannot be read", folder.display());
    let found = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.with_context(unreadable)?,
    };
    let mut paths = Vec::new();
    for entry in found {
        paths.push(entry.with_context(unreadable)?.path());
    }
    paths.sort();
    if paths.len() > MOST {
        bail!("{} has too many files", folder.display());
    }
    Ok(paths)
}

/// The most files in a folder.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use circled_protocol::SecretKey;

    use super::*;

    #[test]
    fn the_folder_is_where_the_environment_says() {
        let found = |config: &str, home: &str| {
            folder(|name| match name {
                "XDG_CONFIG_HOME" if !config.is_empty() => Some(config.into()),
                "HOME" if !home.is_empty() => Some(home.into()),
                _ => None,
            })
        };
        let config = Some("/config/circled/devices".into());
        assert_eq!(found("/config", "/home/me"), config);
        for config in ["", "relative"] {
            let home = Some("/home/me/.config/circled/devices".into());
            assert_eq!(found(config, "/home/me"), home);
        }
        assert_eq!(found("", ""), None);
    }

    #[test]
    fn a_key_is_kept_by_circle_and_origin() {
        let folder = tempfile::tempdir().unwrap();
        let key = |seed: &str| SecretKey::from_hex(&seed.repeat(32)).unwrap().public();
        let (circle, caller, other) = (key("01"), key("02"), key("03"));
        let place = |url: String| Place::of(folder.path(), &url).unwrap();
        let here = place(format!("ws://127.0.0.1:8080/{circle}"));
        assert_eq!(here.find().unwrap(), None);
        let device = DeviceSecretKey::generate().unwrap();
        drop(here.prepare(&caller, &device).unwrap());
        assert_eq!(all(folder.path()).unwrap(), []);
        let new = here.prepare(&caller, &device).unwrap();
        let file = new.keep(None).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let above = file.parent().unwrap();
        assert_eq!(fs::metadata(above).unwrap().mode() & 0o777, 0o700);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("{}\n", device.to_hex()));
        // The same place, in another spelling.
        let kept = place(format!("ws://127.0.0.1:8080/0x{circle}"));
        let kept = kept.find().unwrap().unwrap();
        assert_eq!((kept.circle, kept.caller), (circle, caller));
        assert_eq!(kept.origin, "ws://127.0.0.1:8080");
        assert_eq!(kept.read().unwrap().public(), device.public());
        for elsewhere in [
            format!("ws://127.0.0.1:8081/{circle}"),
            format!("wss://127.0.0.1:8080/{circle}"),
            format!("ws://[::1]:8080/{circle}"),
            format!("ws://127.0.0.1:8080/{other}"),
        ] {
            assert_eq!(place(elsewhere).find().unwrap(), None);
        }
        assert_eq!(all(folder.path()).unwrap(), [kept]);
        let again = DeviceSecretKey::generate().unwrap();
        let before = here.find().unwrap();
        let new = here.prepare(&other, &again).unwrap();
        new.keep(before.as_ref()).unwrap();
        let [kept] = &all(folder.path()).unwrap()[..] else {
            panic!("one takes the place of the other");
        };
        assert_eq!(kept.read().unwrap().public(), again.public());
        kept.delete().unwrap();
        assert_eq!(here.find().unwrap(), None);
        for wrong in ["hello", "ws://127.0.0.1:8080", "http://127.0.0.1:8080/02"] {
            assert!(Place::of(folder.path(), wrong).is_err(), "{wrong}");
        }
    }
}
