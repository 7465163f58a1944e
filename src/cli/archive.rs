//! Makes, reads and restores archives.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, bail};
use circled_protocol::PublicKey;
use clap::Args;
use jiff::Timestamp;
use rustix::process::geteuid;
use tokio::task::spawn_blocking;

use super::{
    ConfigFile, client_runtime,
    http::{admin_url, download},
};
use crate::{
    backup::{Failure, Header, NewFile, Reader, Summary, pack, pipe, unpack},
    config::Settings,
    dispatch::{self, Backend, Target, read_stopped, verify},
    store::{Disk, OpenError},
};

/// The place where the circles are.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// The running server to ask, at its server.admin_listen: http://host:port. Without it, that of the settings.
    #[arg(long, value_name = "URL", id = "admin_url")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Archives all circles, or one. Returns what was read again of the file before it got its name.
pub(super) fn create(
    source: &Source,
    only: Option<PublicKey>,
    file: &Path,
) -> anyhow::Result<Summary> {
    let named = || file.display().to_string();
    let mut new = NewFile::create(file).with_context(named)?;
    let made = client_runtime()?.block_on(async move {
        let header = Header::new(Timestamp::now(), only);
        let url = match &source.url {
            Some(url) => admin_url(Some(url), None)?,
            None => match stopped(&source.config.settings()?, only).await? {
                Stopped::Parts(parts) => {
                    let packed = spawn_blocking(move || pack(parts, new, header)).await?;
                    new = packed.with_context(named)?.0;
                    return Ok(new);
                }
                Stopped::Served(url) => url,
            },
        };
        let circle = only.map(|circle| format!("?circle={circle}"));
        let url = format!("{url}/backup{}", circle.unwrap_or_default());
        download(&url, &mut new).await?;
        anyhow::Ok(new)
    });
    let made = made?;
    let summary = read(made.partial())?;
    if let Some(circle) = only
        && summary.circles == 0
    {
        bail!("there is no circle {circle}");
    }
    made.finish().with_context(named)?;
    Ok(summary)
}

/// The circles' data, as found where the settings have it.
enum Stopped {
    /// No server uses it.
    Parts(crate::backup::PartsOut),
    /// A server does, and has this admin listener.
    Served(String),
}

async fn stopped(settings: &Settings, only: Option<PublicKey>) -> anyhow::Result<Stopped> {
    let Settings {
        server,
        dispatch,
        store,
        ..
    } = settings;
    let folder = dispatch.embedded.data_dir.display();
    let is_embedded = dispatch.backend == Backend::Embedded;
    if is_embedded && !Disk::is_there(&dispatch.embedded) {
        bail!(
            "there is no data folder {folder} (dispatch.embedded.data_dir): run this where the server was started, or with its --config"
        );
    }
    if is_embedded && would_take(&dispatch.embedded.data_dir)? && !Disk::is_used(&dispatch.embedded)
    {
        bail!(
            "the data folder {folder} belongs to another user, who can't open what root writes there: run this as that user, like `runuser -u circled -- circled ...`"
        );
    }
    match read_stopped(dispatch, store, only).await {
        Ok(parts) => Ok(Stopped::Parts(parts)),
        Err(Failure::Folder(OpenError::Locked(_))) => {
            let url = admin_url(None, server.admin_listen).with_context(|| {
                format!("a server uses {folder}, and can't be asked: stop it, or set its server.admin_listen")
            })?;
            Ok(Stopped::Served(url))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns true if this process is root's and the folder isn't: files that it makes there would be root's.
fn would_take(folder: &Path) -> io::Result<bool> {
    let user = geteuid();
    Ok(user.is_root() && fs::metadata(folder)?.uid() != user.as_raw())
}

/// Reads all of an archive, and returns what is in it.
pub(super) fn read(file: &Path) -> anyhow::Result<Summary> {
    verify(open(file)?).with_context(|| file.display().to_string())
}

fn open(file: &Path) -> anyhow::Result<Reader<BufReader<File>>> {
    let named = || file.display().to_string();
    let reader = BufReader::new(File::open(file).with_context(named)?);
    Reader::open(reader).with_context(named)
}

/// Restores an archive. Returns what was in it.
pub(super) fn restore(config: &ConfigFile, file: &Path) -> anyhow::Result<Summary> {
    put_back(config, file, read(file)?, Target::Empty)
}

/// Imports an archive of one circle. Returns what was in it.
pub(super) fn import(config: &ConfigFile, file: &Path) -> anyhow::Result<Summary> {
    let summary = read(file)?;
    let Some(circle) = summary.header.circle else {
        bail!(
            "{} is not of one circle: `circled circle export` makes such a file, and `circled backup restore` restores this one",
            file.display()
        );
    };
    put_back(config, file, summary, Target::Beside(circle))
}

fn put_back(
    config: &ConfigFile,
    file: &Path,
    summary: Summary,
    target: Target,
) -> anyhow::Result<Summary> {
    let Settings {
        dispatch, store, ..
    } = config.settings()?;
    let archive = open(file)?;
    client_runtime()?.block_on(async {
        let (parts, out) = pipe();
        let reading = spawn_blocking(move || unpack(archive, &parts));
        let restored = dispatch::restore(&dispatch, &store, out, target).await;
        reading.await?;
        restored.context("nothing was restored")
    })?;
    Ok(summary)
}
