//! `circled script`

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use circled_protocol::{
    CallRule, Role, Vocabulary,
    methods::{PutScript, Script, ScriptEntry},
};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::{
    explain::printable,
    output::{remark, stdout},
    with_login::{
        Login, ScriptSource, TOO_SLOW, exit_codes, print_json, print_text, read_script, unreadable,
    },
};

const EXAMPLES: &str = "\
  circled script put C --key circle.key greet greet.rhai
  circled script list C --key me.key
  circled script get C --key circle.key greet > greet.rhai
  circled script get C --key circle.key greet --versions
  circled script delete C --key circle.key greet";

/// A circle's named scripts: `circled call` runs them, scripts import them, and webhooks run `on_stripe`, `on_idenfy`.
#[derive(Debug, Args)]
pub(super) struct Scripts {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put a script under a name, or a new version of it. Compiles it first, and prints the version.
    #[command(after_help = exit_codes(&[(1, "the script doesn't compile"), TOO_SLOW], EXAMPLES))]
    Put {
        #[command(flatten)]
        login: Login,
        /// The script's name: letters, digits and _ - . /, the first a letter or _
        name: String,
        /// The source; - is standard input.
        file: PathBuf,
        /// Put it only if this is the newest version.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<String>,
        #[arg(long, value_name = "ROLE", help = call_help())]
        call: Option<CallRule>,
    },
    /// Compile a script without putting it. Prints the version that it would have.
    #[command(after_help = exit_codes(&[(1, "the script doesn't compile"), TOO_SLOW], EXAMPLES))]
    Check {
        #[command(flatten)]
        login: Login,
        /// The source; - is standard input.
        file: PathBuf,
    },
    /// Print the source of a script.
    #[command(after_help = exit_codes(&[TOO_SLOW, (8, "there is no such script or version")], EXAMPLES))]
    Get {
        #[command(flatten)]
        login: Login,
        /// The script's name.
        name: String,
        /// The version to print; without it, the newest one.
        #[arg(long)]
        version: Option<String>,
        /// List the versions that are kept, the newest first, instead of the source.
        #[arg(long, conflicts_with = "version")]
        versions: bool,
    },
    /// List the scripts: name, version, when and by whom each was put.
    #[command(after_help = exit_codes(&[TOO_SLOW], EXAMPLES))]
    List {
        #[command(flatten)]
        login: Login,
    },
    /// Remove a script with all its versions.
    #[command(after_help = exit_codes(&[(0, "it is done, or there was no such script"), TOO_SLOW], EXAMPLES))]
    Delete {
        #[command(flatten)]
        login: Login,
        /// The script's name.
        name: String,
        /// Remove it only if this is the newest version.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<String>,
    },
}

impl Scripts {
    pub(super) fn run(&self) -> ExitCode {
        match &self.command {
            Command::Put {
                login,
                name,
                file,
                if_version,
                call,
            } => put(login, name, file, if_version.as_deref(), *call),
            Command::Check { login, file } => check(login, file),
            Command::Get {
                login,
                name,
                version,
                versions,
            } => login.run(
                Some(ScriptSource { name, text: None }),
                async |client| client.get_script(name, version.as_deref()).await,
                |script| {
                    if *versions {
                        print_versions(script)
                    } else {
                        print_source(script)
                    }
                },
            ),
            Command::List { login } => login.run_to(
                None,
                async |client| client.list_scripts().await,
                |scripts| {
                    if scripts.is_empty() && !login.manner.json {
                        remark!("no scripts; `circled script put` puts one");
                    }
                    print_all(scripts, login.manner.json)
                },
            ),
            Command::Delete {
                login,
                name,
                if_version,
            } => login.run(
                None,
                async |client| {
                    let deleted = client.delete_script_if(name, if_version.as_deref()).await?;
                    Ok(json!({ "deleted": deleted }))
                },
                |answer| {
                    if answer["deleted"] == true {
                        writeln!(stdout(), "deleted {name}")
                    } else {
                        writeln!(stdout(), "there was no script {name}")
                    }
                },
            ),
        }
    }
}

fn call_help() -> String {
    let roles: Vec<_> = Role::ALL.iter().rev().map(|role| role.name()).collect();
    format!(
        "The least role of its callers, in place of the circle's rule: {}, or auto for the circle's rule again",
        roles.join(", ")
    )
}

fn put(
    login: &Login,
    name: &str,
    file: &Path,
    if_version: Option<&str>,
    call: Option<CallRule>,
) -> ExitCode {
    let text = match read_script(file) {
        Ok(text) => text,
        Err(error) => return unreadable(&error),
    };
    let put = PutScript {
        name: name.to_owned(),
        source: text.clone(),
        if_version: if_version.map(str::to_owned),
        call,
    };
    let path = file.to_str().filter(|path| *path != "-");
    let source = ScriptSource {
        name: path.unwrap_or(name),
        text: Some(&text),
    };
    login.run(
        Some(source),
        async |client| client.put_script_with(&put).await,
        |put| {
            if !put.created {
                remark!("{name} is at this version already");
            }
            print_text(&put.version)
        },
    )
}

fn check(login: &Login, file: &Path) -> ExitCode {
    let text = match read_script(file) {
        Ok(text) => text,
        Err(error) => return unreadable(&error),
    };
    let source = ScriptSource {
        name: file.to_str().unwrap_or("-"),
        text: Some(&text),
    };
    login.run(
        Some(source),
        async |client| client.check_script(&text).await,
        |version| print_text(version),
    )
}

/// Prints a source unchanged, without an additional line end, so that storing it again gives the same version.
fn print_source(script: &Script) -> io::Result<()> {
    let mut out = stdout();
    if out.is_terminal() {
        write!(out, "{}", printable(&script.source))?;
        if !script.source.ends_with('\n') {
            writeln!(out)?;
        }
    } else {
        write!(out, "{}", script.source)?;
    }
    out.flush()
}

fn print_versions(script: &Script) -> io::Result<()> {
    for version in &script.versions {
        print_line(&[&version.version, &seconds(version.put_at), &version.put_by])?;
    }
    Ok(())
}

pub(super) fn print_all(scripts: &[ScriptEntry], json: bool) -> io::Result<()> {
    let width = scripts.iter().map(|script| script.name.len()).max();
    for script in scripts {
        if json {
            print_json(script)?;
            continue;
        }
        let ScriptEntry {
            name,
            current,
            call,
        } = script;
        let name = format!("{name:width$}", width = width.unwrap_or_default());
        let version = current.version.get(..12).unwrap_or(&current.version);
        let call = call.as_ref().map(|role| format!("call: {role}"));
        print_line(&[
            &name,
            version,
            &seconds(current.put_at),
            &current.put_by,
            call.as_deref().unwrap_or_default(),
        ])?;
    }
    Ok(())
}

/// Formats a time to the second.
pub(super) fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// Prints one line of a list, for people.
pub(super) fn print_line(fields: &[&str]) -> io::Result<()> {
    let line = fields.join("  ");
    writeln!(stdout(), "{}", printable(line.trim_end()))
}
