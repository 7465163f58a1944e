//! `circled repl`

mod connection;
mod helper;
mod history;
mod input;
mod names;

use std::{
    io::{self, IsTerminal, Write, stdin},
    path::Path,
    process::ExitCode,
    rc::Rc,
};

use anyhow::anyhow;
use circled_client::{Error, Options};
use circled_protocol::{
    Word,
    methods::{ListJobs, Played},
};
use clap::Args;
use rustyline::{CompletionType, Config, Editor, error::ReadlineError, history::FileHistory};
use serde_json::Value;

use super::{
    explain::printable,
    jobs,
    output::{remark, stdout},
    play::print_played,
    script,
    with_login::{Login, LoginKey, ScriptSource, print_json},
};
use connection::{Ended, ReplConnection};
use helper::Prompt;

const EXAMPLES: &str = "\
Exit codes:
  0  the prompt was left
  1  the input came from a file or pipe, and a part of it failed
  2  the command line is wrong; or the file ended in the middle of an input, which was not run
  3, 4, 5, 7  the session could not begin; see `circled help play`

Example:
  circled repl ws://127.0.0.1:8080/<circle_pk> --key me.key";

/// The commands that can be typed after a colon.
const COMMANDS: [(&str, &str); 5] = [
    (
        "call",
        ":call NAME [ARGS]   run the circle's script of this name; ARGS is JSON",
    ),
    (
        "help",
        ":help               show this; so does the word help",
    ),
    ("jobs", ":jobs               your last durable jobs"),
    (
        "quit",
        ":quit               leave; so do the words exit and quit, and Ctrl-D",
    ),
    ("scripts", ":scripts            the circle's scripts"),
];

const KEYS: &str = "\
Each input is a script of its own: variables don't last, the store does. While a bracket is open, an input continues on
the next line, which says so. Tab completes keys of the store, names of scripts, and functions. The arrow keys bring back
earlier inputs; an input that begins with a space is not kept. Ctrl-C drops an input, or cancels the run.";

/// Log in to a circle and run scripts there, line by line.
///
/// Inputs are kept in $XDG_STATE_HOME/circled/history (or ~/.local/state), which only you can read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Repl {
    #[command(flatten)]
    login: Login,
}

type Lines<'a> = Editor<Prompt<'a>, FileHistory>;

impl Repl {
    pub(super) fn run(&self) -> ExitCode {
        let key = match self.login.key() {
            Ok(key) => key,
            Err(error) => return self.login.unusable(&error),
        };
        let connection = match ReplConnection::new(&self.login, &key) {
            Ok(connection) => Rc::new(connection),
            Err(error) => {
                remark!("error: {error}");
                return ExitCode::from(3);
            }
        };
        match connection.ask(async |client| client.whoami().await) {
            Ended::Answered(me) => {
                if stdin().is_terminal() {
                    let role = printable(me.role.as_ref().map_or("unknown", Word::name));
                    remark!(
                        "You are {} here, as {role}. :help lists the commands.",
                        key.caller
                    );
                }
            }
            Ended::Failed(error) => return self.login.failed(&error, None, &key),
            Ended::Interrupted => return ExitCode::from(130),
        }
        let ended = self.prompt(&connection, &key);
        connection.close();
        ended.unwrap_or_else(|error| {
            remark!("error: {error}");
            ExitCode::from(3)
        })
    }

    fn prompt(
        &self,
        connection: &Rc<ReplConnection<'_>>,
        key: &LoginKey,
    ) -> rustyline::Result<ExitCode> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .max_history_size(history::LENGTH)?
            .build();
        let mut lines: Lines<'_> = Editor::with_config(config)?;
        lines.set_helper(Some(Prompt::new(connection.clone())));
        let history =
            history::file(|name| std::env::var_os(name)).filter(|_| stdin().is_terminal());
        if let Some(file) = &history {
            load_history(&mut lines, file);
        }
        // The exit code: at a terminal, one sees what failed.
        let mut code = ExitCode::SUCCESS;
        loop {
            let input = match lines.readline("> ") {
                Ok(input) => input,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(self.end(&lines).unwrap_or(code)),
                Err(error) => return Err(error),
            };
            if input.trim().is_empty() {
                continue;
            }
            if let Some(file) = &history {
                let _ = lines.add_history_entry(&input);
                // The input is saved at once, so that it survives if the command is killed.
                let _ = lines.append_history(file);
            }
            let printed = match command(&input) {
                Some("quit" | "q" | "exit") => return Ok(code),
                Some(command) => self.command(connection, key, command),
                None => {
                    let source = ScriptSource {
                        name: "input",
                        text: Some(&input),
                    };
                    let played = connection.ask(async |client| client.play(&input).await);
                    self.show(played, Some(source), key, |played| self.print(played))
                }
            };
            match printed {
                Ok(true) => {}
                Ok(false) if stdin().is_terminal() => {}
                Ok(false) => code = ExitCode::FAILURE,
                // Nobody can read the output.
                Err(_) => return Ok(ExitCode::SUCCESS),
            }
        }
    }

    /// Prints the error of an unfinished input at the end of a file, and returns its exit code.
    fn end(&self, lines: &Lines<'_>) -> Option<ExitCode> {
        // At a terminal, an unfinished input has been dropped before.
        let unfinished = !stdin().is_terminal() && lines.helper().is_some_and(Prompt::goes_on);
        unfinished.then(|| {
            self.login.unusable(&anyhow!(
                "the last input was not run: a bracket, string or comment is not closed"
            ))
        })
    }

    /// Runs a command. Returns false if it failed.
    fn command(
        &self,
        connection: &ReplConnection<'_>,
        key: &LoginKey,
        command: &str,
    ) -> io::Result<bool> {
        let (name, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        match name {
            "help" => {
                for (_, help) in COMMANDS {
                    writeln!(stdout(), "{help}")?;
                }
                writeln!(stdout(), "\n{KEYS}")?;
                Ok(true)
            }
            "call" => {
                let rest = rest.trim();
                let (name, args) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let args = match args.trim() {
                    "" => Value::Null,
                    args => match circled_json::parse(args) {
                        Ok(args) => args,
                        Err(error) => {
                            remark!("error: the arguments are not JSON: {error}");
                            return Ok(false);
                        }
                    },
                };
                let options = Options {
                    args,
                    ..Options::default()
                };
                let source = ScriptSource { name, text: None };
                let called =
                    connection.ask(async |client| client.call_script(name, None, &options).await);
                self.show(called, Some(source), key, |called| {
                    self.print(&called.played)
                })
            }
            "jobs" => {
                let found = connection.ask(async |client| {
                    jobs::list_some(client, &[], &ListJobs::default(), 20, |job| job).await
                });
                self.show(found, None, key, |found| {
                    found.iter().try_for_each(|job| jobs::print(job, false))
                })
            }
            "scripts" => {
                let found = connection.ask(async |client| client.list_scripts().await);
                self.show(found, None, key, |found| script::print_all(found, false))
            }
            _ => {
                remark!("there is no such command; :help lists them");
                Ok(false)
            }
        }
    }

    fn print(&self, played: &Played) -> io::Result<()> {
        if self.login.manner.json {
            print_json(played)
        } else {
            print_played(played)
        }
    }

    /// Prints the result of a call, or its error. Returns false if it failed.
    fn show<T>(
        &self,
        ended: Ended<T>,
        source: Option<ScriptSource<'_>>,
        key: &LoginKey,
        print: impl FnOnce(&T) -> io::Result<()>,
    ) -> io::Result<bool> {
        match ended {
            Ended::Answered(answer) => print(&answer).map(|()| true),
            Ended::Failed(error) => {
                let _ = self.login.failed(&error, source, key);
                if matches!(error, Error::Closed(_)) {
                    remark!("The next input connects again.");
                }
                Ok(false)
            }
            Ended::Interrupted => {
                remark!("cancelled");
                Ok(false)
            }
        }
    }
}

/// Returns the command in an input. These words alone aren't useful scripts.
fn command(input: &str) -> Option<&str> {
    let input = input.trim();
    match input {
        "exit" | "quit" | "help" => Some(input),
        "exit()" | "quit()" => Some("quit"),
        _ => input.strip_prefix(':'),
    }
}

/// Loads earlier inputs. Without the file, there are none to bring back.
fn load_history(lines: &mut Lines<'_>, file: &Path) {
    if let Err(error) = history::make_folder(file) {
        remark!(
            "warning: what you type is not kept: {}: {error}",
            file.display()
        );
        return;
    }
    if file.exists()
        && let Err(error) = lines.load_history(file)
    {
        remark!("warning: {} cannot be read: {error}", file.display());
    }
}
