//! `circled deploy`

mod plan;

use std::{
    io::{self, IsTerminal, Write, stdin},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use circled_client::{Caller, Client, Error};
use circled_protocol::{FailureKind, RpcError, code, methods::Deployed};
use clap::Args;
use serde_json::json;

use self::plan::Plan;
use super::{
    client_runtime,
    events::remark_connection,
    explain::located,
    folder::{self, Folder, Problems, ScriptFile},
    output::remark,
    with_login::{Login, LoginKey, TOO_SLOW, exit_codes, print_json, print_text},
};
use crate::{
    config::Settings,
    script::{RunError, Sandbox},
};

const EXAMPLES: &str = "\
  circled deploy my-circle C --key circle.key --dry-run    # in CI: exits with 10 if anything would change
  circled deploy my-circle C --key circle.key --yes --prune
  circled deploy my-circle C --key circle.key --watch      # while you write";

/// The exit code if the circle is not as the folder says, and nothing was changed.
const DIFFERS: u8 = 10;

/// The exit codes besides those of all commands with a login.
const CODES: [(u8, &str); 4] = [
    (0, "it is done, or the circle was as the folder says"),
    (
        1,
        "a script doesn't compile, or calls or imports what isn't there",
    ),
    TOO_SLOW,
    (
        DIFFERS,
        "with --dry-run: something would change; else: nobody said yes. Nothing was changed",
    ),
];

/// The time between two looks at the folder.
const LOOK: Duration = Duration::from_millis(200);
/// The looks after which a deployment that failed for lack of a connection is tried again.
const AGAIN: u32 = 15;

/// Make a circle's scripts those of a folder, as one change: all of them, or none.
///
/// The folder has a file for each script, greet.rhai, or lib/money.rhai for the script lib/money. circle.toml says who
/// may call them, and which scripts run for webhooks. Tests (*_test.rhai) and hidden files stay where they are.
///
/// Shows the difference first, and asks. If anybody changes one of these scripts meanwhile, nothing is done.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&CODES, EXAMPLES))]
pub(super) struct Deploy {
    /// The folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    login: Login,
    /// Only show the difference.
    #[arg(long, conflicts_with_all = ["yes", "watch"])]
    dry_run: bool,
    /// Delete the scripts that the folder doesn't have. Without it, they stay.
    #[arg(long)]
    prune: bool,
    /// Don't ask.
    #[arg(short, long)]
    yes: bool,
    /// Deploy again whenever the folder changes, without asking, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

/// The reason why nothing was deployed.
enum NotDeployed {
    Folder(Problems),
    Key(anyhow::Error),
    Runtime(io::Error),
    /// The problems of the scripts are told.
    Scripts,
    Call(Box<LoginKey>, Box<Error>),
    /// It isn't known if it was deployed.
    Unanswered(Box<LoginKey>, Box<Error>),
}

impl Deploy {
    pub(super) fn run(&self) -> ExitCode {
        if !self.watch {
            return ExitCode::from(self.deploy());
        }
        let mut seen = folder::Stamp::new();
        loop {
            let mut now = folder::stamp(&self.folder);
            if now == seen {
                thread::sleep(LOOK);
                continue;
            }
            // Whoever writes several files gets to the last one.
            loop {
                thread::sleep(LOOK);
                let then = std::mem::replace(&mut now, folder::stamp(&self.folder));
                if then == now {
                    break;
                }
            }
            seen = now;
            // Without a connection, or if the server is busy, it may succeed without another change.
            if matches!(self.deploy(), 3 | 7) {
                seen.clear();
                thread::sleep(LOOK * AGAIN);
                continue;
            }
            remark!(
                "waiting for changes in {}; Ctrl-C ends",
                self.folder.display()
            );
        }
    }

    /// Deploys the folder as it is now, and returns the exit code.
    fn deploy(&self) -> u8 {
        let folder = match Folder::read(&self.folder) {
            Ok(folder) => folder,
            Err(problems) => return self.tell(&Folder::default(), NotDeployed::Folder(problems)),
        };
        self.deploy_folder(&folder)
            .unwrap_or_else(|error| self.tell(&folder, error))
    }

    fn deploy_folder(&self, folder: &Folder) -> Result<u8, NotDeployed> {
        let key = self.login.key().map_err(NotDeployed::Key)?;
        let runtime = client_runtime().map_err(NotDeployed::Runtime)?;
        let call = |error| NotDeployed::Call(Box::new(key.clone()), Box::new(error));
        let imports = self.check(folder)?;
        let plan = runtime.block_on(async {
            let client = self.login.connect(&key).await?;
            let plan = self.plan(folder, &client).await;
            client.close().await;
            plan
        });
        let plan = plan.map_err(call)?;
        self.check_imports(folder, &imports, &plan)?;
        // A failed write is reported at the end of the command.
        let json = self.login.manner.json;
        let _ = plan.print(json);
        if plan.changes_nothing() {
            if !json {
                remark!("the circle is as the folder says");
            }
            return Ok(0);
        }
        if self.dry_run || !self.confirmed(&plan) {
            return Ok(DIFFERS);
        }
        let deployed = runtime.block_on(async {
            let caller = Caller::new(&self.login.url, key.signer.clone())
                .login(self.login.manner.login())
                .on_change(remark_connection());
            caller.connect().await?;
            let deployed = caller.deploy_scripts(&plan.deployment()).await;
            caller.close().await;
            deployed
        });
        match deployed {
            Ok(deployed) => {
                let _ = self.print(&deployed);
                Ok(0)
            }
            Err(Error::Unanswered { last, .. }) => {
                Err(NotDeployed::Unanswered(Box::new(key.clone()), last))
            }
            Err(error) => Err(call(error)),
        }
    }

    /// Compares the folder with the circle. Reads the sources of the scripts that differ.
    async fn plan<'a>(&self, folder: &'a Folder, client: &Client) -> Result<Plan<'a>, Error> {
        let listed = client.list_scripts().await?;
        let mut plan = Plan::new(folder, &listed, self.prune);
        for change in plan.unread() {
            let (name, version) = change.wanted();
            let script = client.get_script(name, Some(version)).await?;
            change.was_source = script.source;
        }
        Ok(plan)
    }

    /// Compiles the scripts, and returns what each imports: the server has the last word, but this tells all mistakes at
    /// once, and before anything else is done.
    fn check<'a>(&self, folder: &'a Folder) -> Result<Imports<'a>, NotDeployed> {
        let Ok(settings) = Settings::load(None, []) else {
            return Ok(Imports::new());
        };
        let sandbox = Sandbox::new(settings.settings.script);
        let mut imports = Imports::new();
        let mut is_good = true;
        for script in folder.scripts.values() {
            match sandbox.examine(&script.source, None, &Arc::default()) {
                Ok(found) => imports.extend(found.into_iter().map(|import| (script, import))),
                // Limits are the server's.
                Err(RunError::Failed(failure)) if failure.kind == FailureKind::Compile => {
                    is_good = false;
                    self.tell_failure(script, &failure);
                }
                Err(_) => {}
            }
        }
        if is_good {
            Ok(imports)
        } else {
            Err(NotDeployed::Scripts)
        }
    }

    /// Checks that all that is imported is there afterwards.
    fn check_imports(
        &self,
        folder: &Folder,
        imports: &Imports<'_>,
        plan: &Plan<'_>,
    ) -> Result<(), NotDeployed> {
        let mut is_good = true;
        for (script, import) in imports {
            if !folder.scripts.contains_key(&*import.name) && !plan.keeps(&import.name) {
                is_good = false;
                self.tell_failure(script, &import.is_missing());
            }
        }
        if is_good {
            Ok(())
        } else {
            Err(NotDeployed::Scripts)
        }
    }

    fn tell_failure(&self, script: &ScriptFile, failure: &crate::script::Failure) {
        if self.login.manner.json {
            let error = RpcError {
                code: code::EXECUTION_ERROR,
                message: failure.message.clone(),
                data: json!({ "script": script.path, "line": failure.line, "column": failure.column }),
            };
            let _ = print_json(&json!({ "error": error }));
            return;
        }
        remark!(
            "{}",
            located(
                &failure.message,
                &script.shown(),
                failure.line,
                failure.column
            )
        );
    }

    /// Asks at the terminal if the changes are to be made, unless that is known.
    fn confirmed(&self, plan: &Plan<'_>) -> bool {
        if self.yes || self.watch {
            return true;
        }
        let count = plan.count();
        if !stdin().is_terminal() {
            remark!("{count}; with --yes, they are deployed");
            return false;
        }
        if write!(io::stderr(), "{count}. Deploy them? [y/N] ").is_err() {
            return false;
        }
        let mut answer = String::new();
        stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    fn print(&self, deployed: &Deployed) -> io::Result<()> {
        if self.login.manner.json {
            return print_json(&json!({ "deployed": deployed }));
        }
        let Deployed { put, deleted } = deployed;
        print_text(&format!(
            "deployed: {} put, {} deleted",
            put.len(),
            deleted.len()
        ))
    }

    /// Prints why nothing was deployed, and returns the exit code.
    fn tell(&self, folder: &Folder, error: NotDeployed) -> u8 {
        match error {
            NotDeployed::Folder(problems) => {
                let says = anyhow::anyhow!("the folder can't be deployed:\n{problems}");
                self.login.unusable(&says);
                2
            }
            NotDeployed::Key(error) => {
                self.login.unusable(&error);
                2
            }
            NotDeployed::Runtime(error) => {
                remark!("error: {error}");
                3
            }
            NotDeployed::Scripts => 1,
            NotDeployed::Call(key, error) => self.tell_call(folder, &key, &error),
            NotDeployed::Unanswered(key, error) => {
                let code = self.tell_call(folder, &key, &error);
                remark!(
                    "  = help: the folder may be deployed, or not: the same command shows what is left to do"
                );
                code
            }
        }
    }

    fn tell_call(&self, folder: &Folder, key: &LoginKey, error: &Error) -> u8 {
        let script = if let Error::Rpc(error) = error {
            error.data["script"].as_str()
        } else {
            None
        };
        let script = script.and_then(|name| folder.scripts.get(name));
        let _ = self.login.failed(error, script.map(ScriptFile::shown), key);
        super::explain::exit_code(error)
    }
}

/// The imports of scripts.
type Imports<'a> = Vec<(&'a ScriptFile, crate::script::Import)>;
