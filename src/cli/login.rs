//! `circled login`

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use circled_client::Error;
use circled_protocol::{DeviceSecretKey, Scope, methods::Device};
use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde_json::json;

use super::{
    device_keys::{self, Place},
    output::{remark, stdout},
    with_login::{Login, LoginOptions, duration, exit_codes, print_json, unreadable},
};

const EXAMPLES: &str = "\
  circled login C --key me.key --device                  # from then on, commands need no --key
  circled login C --key me.key --device --scope call:greet,subscribe --expires 7d
  circled login --list                                   # the circles for which there is a device key
  circled login C --remove                               # removes it, here and at the server";

/// Log in once for all, by a key of this device.
///
/// `--device` makes a key, has it act for the holder of --key, and keeps it in your config folder, for this circle of this
/// server. The other commands use it where no --key is given.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&[], EXAMPLES))]
#[command(group = ArgGroup::new("what").required(true).args(["device", "list", "remove"]))]
pub(super) struct LogIn {
    /// The circle: ws://host:port/<circle_pk>, or wss://
    #[arg(required_unless_present = "list")]
    url: Option<String>,
    /// The file with your secret key, made by `circled keygen`; never the key itself.
    #[arg(long, value_name = "FILE", required_if_eq("device", "true"))]
    key: Option<PathBuf>,
    /// Make a device key, and keep it.
    #[arg(long)]
    device: bool,
    /// List the device keys that are kept here.
    #[arg(long, conflicts_with_all = ["url", "key"])]
    list: bool,
    /// Remove the device key of this circle, here and at the server.
    #[arg(long, conflicts_with = "key")]
    remove: bool,
    /// A name for the key, for people.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "circled",
        requires = "device"
    )]
    label: String,
    /// What the key may do: play, subscribe, jobs, call, `call:<name of a script>`; joined by commas.
    #[arg(
        long,
        value_name = "SCOPE",
        default_value = "play,subscribe,jobs,call",
        requires = "device"
    )]
    scope: Scope,
    /// The time after which the key counts no more; at most as the server permits.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = duration, requires = "device")]
    expires: Duration,
    #[command(flatten)]
    manner: LoginOptions,
}

impl LogIn {
    pub(super) fn run(&self) -> ExitCode {
        let done = match &self.url {
            None => self.list(),
            Some(url) => self.run_at(url),
        };
        done.unwrap_or_else(|error| unreadable(&error))
    }

    fn run_at(&self, url: &str) -> anyhow::Result<ExitCode> {
        let folder = device_keys::users_folder()?;
        let place = Place::of(&folder, url)?;
        let login = Login {
            url: url.to_owned(),
            key: self.key.clone(),
            manner: self.manner.clone(),
        };
        if self.remove {
            return remove(&login, &place);
        }
        self.add(&login, &place)
    }

    /// Makes a device key, adds it, and keeps it.
    fn add(&self, login: &Login, place: &Place) -> anyhow::Result<ExitCode> {
        let before = place.find()?;
        let old = before.as_ref().and_then(|kept| kept.read().ok());
        let device =
            DeviceSecretKey::generate().context("the operating system gives no randomness")?;
        let caller = login.key()?.caller;
        // Where it can't be kept, it isn't added.
        let new = place.prepare(&caller, &device);
        let new = new.context("the device key cannot be kept")?;
        let expires = i64::try_from(self.expires.as_secs()).unwrap_or(i64::MAX);
        let expires = Timestamp::now().as_second().saturating_add(expires);
        let expires = Timestamp::from_second(expires).unwrap_or(Timestamp::MAX);
        let mut kept = Ok(PathBuf::new());
        let code = login.run(
            None,
            async |client| {
                let (label, scope) = (&self.label, self.scope.clone());
                let added = client.add_device_key(caller, &device, label, scope, expires);
                let added = added.await?;
                if let Some(old) = &old {
                    // It may be gone, or another caller's.
                    let _ = client.remove_device_key(&old.public()).await;
                }
                kept = new.keep(before.as_ref());
                Ok(added)
            },
            |added: &Device| writeln!(stdout(), "{}", added.pubkey),
        );
        let file = kept.context("the device key cannot be kept")?;
        if code == ExitCode::SUCCESS {
            remark!(
                "Kept in {} until {expires}: commands for this circle need no --key.",
                file.display()
            );
        }
        Ok(code)
    }

    fn list(&self) -> anyhow::Result<ExitCode> {
        for kept in device_keys::all(&device_keys::users_folder()?)? {
            let pubkey = kept.read().map(|key| key.public()).ok();
            let url = format!("{}/{}", kept.origin, kept.circle);
            let written = if self.manner.json {
                print_json(&json!({ "url": url, "caller": kept.caller, "pubkey": pubkey }))
            } else {
                writeln!(stdout(), "{url}  as {}", kept.caller)
            };
            written?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Removes the device key of a circle: at the server, as far as it is known there, and here.
fn remove(login: &Login, place: &Place) -> anyhow::Result<ExitCode> {
    let kept = place.find()?;
    let kept = kept.context("no device key is kept for this circle")?;
    let device = kept.read()?.public();
    let mut deleted = Ok(());
    let code = login.run_connecting(
        async |key| {
            let removed = match login.connect(key).await {
                Ok(client) => match client.remove_device_key(&device).await {
                    // The server closes the session with the key.
                    Ok(_) | Err(Error::Closed(_)) => Ok(()),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if !error.is_unknown_device() => return Err(error),
                // It has expired, or was removed elsewhere.
                Ok(()) | Err(_) => {}
            }
            deleted = kept.delete();
            Ok(device)
        },
        |_| io::Result::Ok(()),
    );
    deleted?;
    Ok(code)
}
