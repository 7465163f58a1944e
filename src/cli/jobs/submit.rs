//! `circled jobs submit`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::bail;
use circled_protocol::methods::SubmitJob;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{
        output::remark,
        with_login::{
            Login, ScriptSource, TOO_SLOW, exit_codes, json_value, print_text, read_script,
            unreadable,
        },
    },
    EXAMPLES,
};

const OF_SUBMISSIONS: [(u8, &str); 3] = [
    (1, "the script doesn't compile"),
    TOO_SLOW,
    (8, "there is no such script or version"),
];

/// Submit a durable job: the server keeps it until its script has run. Prints the job's id.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&OF_SUBMISSIONS, EXAMPLES))]
pub(super) struct Submit {
    #[command(flatten)]
    login: Login,
    /// The script; - reads it from standard input.
    #[arg(required_unless_present_any = ["file", "name"])]
    script: Option<String>,
    /// Read the script from a file; - is standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "script")]
    file: Option<PathBuf>,
    /// Run the circle's script of this name.
    #[arg(short, long, conflicts_with_all = ["script", "file"])]
    name: Option<String>,
    /// The version of the named script; without it, the newest one.
    #[arg(long, requires = "name")]
    version: Option<String>,
    /// The value that the script sees as ARGS, as JSON.
    #[arg(long, value_name = "JSON", allow_negative_numbers = true, value_parser = json_value)]
    args: Option<Value>,
    /// The earliest time to run it: 2026-11-23T16:45:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<Timestamp>,
    /// Your own key for this job: a second job with the same key runs nothing, and prints the id of the first.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Submit {
    pub(super) fn run(&self) -> ExitCode {
        let submission = match self.submission() {
            Ok(submission) => submission,
            Err(error) => return unreadable(&error),
        };
        let source = match (&submission.script, &submission.name) {
            (Some(text), _) => {
                let file = self.file.as_deref().and_then(Path::to_str);
                Some(ScriptSource {
                    name: file.filter(|name| *name != "-").unwrap_or("script"),
                    text: Some(text),
                })
            }
            (None, name) => name
                .as_deref()
                .map(|name| ScriptSource { name, text: None }),
        };
        self.login.run(
            source,
            async |client| client.submit_job(&submission).await,
            |submitted| {
                if submitted.duplicate {
                    remark!("submitted earlier with this idempotency key");
                }
                print_text(&submitted.job_id.to_string())
            },
        )
    }

    fn submission(&self) -> anyhow::Result<SubmitJob> {
        let script = match (&self.name, self.file.as_deref(), self.script.as_deref()) {
            (Some(_), ..) => None,
            (None, Some(path), _) => Some(read_script(path)?),
            (None, None, Some("-")) => Some(read_script(Path::new("-"))?),
            (None, None, Some(script)) => Some(script.to_owned()),
            (None, None, None) => bail!("there is no script"),
        };
        Ok(SubmitJob {
            script,
            name: self.name.clone(),
            args: self.args.clone().unwrap_or_default(),
            idempotency_key: self.idempotency_key.clone(),
            run_at: self.run_at,
            version: self.version.clone(),
        })
    }
}
