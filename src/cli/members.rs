//! `circled members`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use circled_protocol::{PublicKey, methods::Members as List};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    output::{remark, stdout},
    script::{print_line, seconds},
    with_login::{Login, TOO_SLOW, exit_codes},
};

const EXAMPLES: &str = "\
  circled members add C --key circle.key 03...
  circled members list C --key circle.key
  circled members remove C --key circle.key 03...";

/// Add, remove and list a circle's members. Its owner holds the circle's own key.
#[derive(Debug, Args)]
pub(super) struct Members {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make someone a member; only the owner can.
    #[command(after_help = exit_codes(&[TOO_SLOW], EXAMPLES))]
    Add {
        #[command(flatten)]
        login: Login,
        /// Their public key, as `circled keygen` prints it.
        pubkey: PublicKey,
    },
    /// Remove a member, at once and in all their sessions; only the owner can.
    #[command(after_help = exit_codes(&[TOO_SLOW], EXAMPLES))]
    Remove {
        #[command(flatten)]
        login: Login,
        /// Their public key.
        pubkey: PublicKey,
        /// Also cancel their jobs that are not over. Otherwise these end as dead when they are due.
        #[arg(long)]
        stop_jobs: bool,
    },
    /// List the members: key, and when it was added, or that it is in the server's settings.
    #[command(after_help = exit_codes(&[TOO_SLOW], EXAMPLES))]
    List {
        #[command(flatten)]
        login: Login,
    },
}

impl Members {
    pub(super) fn run(&self) -> ExitCode {
        match &self.command {
            Command::Add { login, pubkey } => login.run(
                None,
                async |client| {
                    let added = client.add_member(pubkey).await?;
                    Ok(json!({ "added": added }))
                },
                |answer| match answer["added"] == true {
                    true => writeln!(stdout(), "added {pubkey}"),
                    false => writeln!(stdout(), "{pubkey} is a member already"),
                },
            ),
            Command::Remove {
                login,
                pubkey,
                stop_jobs,
            } => login.run(
                None,
                async |client| client.remove_member(pubkey, *stop_jobs).await,
                |answer| {
                    match answer.removed {
                        true => writeln!(stdout(), "removed {pubkey}")?,
                        false => writeln!(stdout(), "{pubkey} was no member")?,
                    }
                    if let Some(failed) = answer.failed {
                        remark!("jobs that could not be cancelled: {failed}; try again");
                    }
                    match answer.stopped {
                        Some(1) => writeln!(stdout(), "cancelled 1 job"),
                        Some(stopped) => writeln!(stdout(), "cancelled {stopped} jobs"),
                        None => Ok(()),
                    }
                },
            ),
            Command::List { login } => {
                login.run(None, async |client| client.list_members().await, print)
            }
        }
    }
}

fn print(list: &List) -> io::Result<()> {
    let List { members, fixed } = list;
    for key in fixed {
        print_line(&[&key.to_string(), "in the server's settings"])?;
    }
    for member in members {
        let since = format!("since {}", seconds(member.added_at));
        let unknown = member.unknown_role.as_ref();
        let unknown = unknown.map(|role| format!("with the rights of a guest: role {role}"));
        let key = member.pubkey.to_string();
        let fields = [Some(key.as_str()), Some(&since), unknown.as_deref()];
        print_line(&fields.into_iter().flatten().collect::<Vec<_>>())?;
    }
    if members.is_empty() && fixed.is_empty() {
        remark!("no members; `circled members add` adds one");
    }
    Ok(())
}
