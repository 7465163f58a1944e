//! `circled watch`

use std::{io::Write, process::ExitCode};

use circled_client::{Error, Watch as Watched, WatchNotice};
use circled_protocol::Word;
use clap::Args;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{
    client_runtime,
    events::remark_connection,
    output::{remark, stdout},
    with_login::{Login, LoginKey, exit_codes, json_value, print_json},
};

const EXAMPLES: &str = "\
  circled watch C --key me.key top_ten
  circled watch C --key me.key room --args '{\"room\": 7}' | while read -r value; do ...; done
  circled watch C --key me.key --script 'store.count(\"online/\")'";

/// Watch what a script of the circle returns: print its value, and again whenever it changes, a line of JSON each.
///
/// The script may only read. Of values that follow each other quickly, only the newest may be printed. If the script
/// fails, standard error says so, and the command goes on; with --json there is also a line {"error": ...}, and each
/// value is in a line {"value": ...}. It reconnects whenever the connection is lost, and says so on standard error.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&[], EXAMPLES))]
pub(super) struct Watch {
    #[command(flatten)]
    login: Login,
    /// The name of the script.
    #[arg(required_unless_present = "script")]
    name: Option<String>,
    /// Watch this script instead of one of the circle's.
    #[arg(long, value_name = "SOURCE", conflicts_with = "name")]
    script: Option<String>,
    /// The value that the script sees as ARGS, as JSON.
    #[arg(long, value_name = "JSON", allow_negative_numbers = true, value_parser = json_value)]
    args: Option<Value>,
    /// The version of the script, or its first digits; only for callers who may manage.
    #[arg(long, value_name = "VERSION", requires = "name")]
    version: Option<String>,
}

/// The reason why the command ended.
enum End {
    /// Nobody reads the output.
    Unread,
    /// The caller may not run the script any more.
    Forbidden,
    Failed(Error),
}

impl Watch {
    pub(super) fn run(&self) -> ExitCode {
        let key = match self.login.key() {
            Ok(key) => key,
            Err(error) => return self.login.unusable(&error),
        };
        let end = match client_runtime() {
            Ok(runtime) => runtime.block_on(self.watch(key.clone())),
            Err(error) => {
                remark!("error: {error}");
                return ExitCode::from(3);
            }
        };
        match end {
            End::Unread => ExitCode::SUCCESS,
            End::Forbidden => ExitCode::from(5),
            End::Failed(error) => self.login.failed(&error, None, &key),
        }
    }

    async fn watch(&self, key: LoginKey) -> End {
        let url = &self.login.url;
        let mut watch = match (&self.name, &self.script) {
            (Some(name), _) => Watched::named(url, key.signer, name),
            (None, script) => Watched::script(url, key.signer, script.clone().unwrap_or_default()),
        };
        watch = watch
            .args(self.args.clone().unwrap_or_default())
            .login(self.login.manner.login())
            .on_change(remark_connection());
        if let Some(version) = &self.version {
            watch = watch.version(version);
        }
        let mut values = watch.start();
        while let Some(next) = values.next().await {
            match next.map(|notice| self.print(&notice)) {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return End::Failed(error),
            }
        }
        End::Unread
    }

    /// Prints a notice. Returns the reason for the end if it was the last one.
    fn print(&self, notice: &WatchNotice) -> Option<End> {
        let json = self.login.manner.json;
        let printed = match notice {
            WatchNotice::Value(value) if json => print_json(&json!({ "value": value })),
            WatchNotice::Value(value) => print_json(value),
            WatchNotice::Failed(error) => {
                remark!("the script fails now: {error}");
                match json {
                    true => print_json(&json!({ "error": error })),
                    false => Ok(()),
                }
            }
            WatchNotice::Ended { needs } => {
                let needs = needs.as_ref().map_or("another", Word::name);
                remark!("error: you may not run this script any more: that needs the role {needs}");
                return Some(End::Forbidden);
            }
        };
        // Somebody may be waiting for the value, so it is printed at once.
        printed
            .and_then(|()| stdout().flush())
            .err()
            .map(|_| End::Unread)
    }
}
