//! `circled move`

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Args;

use super::{ConfigFile, client_runtime, output::stdout};
use crate::{
    backup::{Counts, Part, PartsIn, PartsOut, pipe},
    config::Settings,
    dispatch::{Backend, Target, check_unserved, read_stopped, restore},
    store::Disk,
};

const EXAMPLES: &str = "\
Examples:
  circled move --from circled.toml --to redis.toml         # from a data folder to Redis
  circled move --from redis.toml --to circled.toml         # and back
  circled move --from redis.toml --to more-partitions.toml # to another namespace";

/// Move all circles to the other backend, another Redis, or other partitions.
///
/// Nothing is lost: stores, members, scripts, device keys, jobs, marks that tell duplicates, and the events with their
/// numbers. Stop all servers first. The target must be an empty data folder or namespace, and has all circles at the end, or
/// nothing. The source stays as it is: don't serve it any more.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Move {
    /// The settings of the servers that had the circles. The environment overrides both files.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The settings of the servers that will have them.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// All that is moved.
#[derive(Default)]
struct Moved {
    circles: u64,
    counts: Counts,
}

impl Move {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let settings = |file: &PathBuf| ConfigFile::of(file.clone()).settings();
        let (from, to) = (settings(&self.from)?, settings(&self.to)?);
        let folder = &from.dispatch.embedded;
        if from.dispatch.backend == Backend::Embedded && !Disk::is_there(folder) {
            let folder = folder.data_dir.display();
            bail!("there is no data folder {folder} (dispatch.embedded.data_dir of --from)");
        }
        let moved = client_runtime()?.block_on(async {
            check_unserved(&from.dispatch, &from.store).await?;
            let source = read_stopped(&from.dispatch, &from.store, None).await?;
            let (parts, out) = pipe();
            let (moved, restored) = tokio::join!(
                pass(source, parts, &from),
                restore(&to.dispatch, &to.store, out, Target::Empty)
            );
            restored.map(|()| moved)
        });
        let Moved { circles, counts } = moved.context("nothing was moved")?;
        writeln!(
            stdout(),
            "moved {circles} circles: {} entries, {} events, {} jobs, {} marks. The source is as it was: don't serve it any more",
            counts.entries,
            counts.events,
            counts.jobs,
            counts.seen,
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Passes all parts on, if no server has begun to use the source when they are at their end.
async fn pass(mut source: PartsOut, parts: PartsIn, from: &Settings) -> Moved {
    let mut moved = Moved::default();
    while let Some(mut part) = source.recv().await {
        match &part {
            Ok(Part::Circle(_)) => moved.circles += 1,
            Ok(Part::Records(records)) => records.iter().for_each(|one| moved.counts.add(one)),
            Ok(Part::Done) => {
                let unserved = check_unserved(&from.dispatch, &from.store).await;
                part = unserved.map(|()| Part::Done);
            }
            Ok(Part::End) | Err(_) => {}
        }
        if parts.send(part).await.is_err() {
            break;
        }
    }
    moved
}
