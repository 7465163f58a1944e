//! `circled test`

mod junit;
mod world;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::{FailureKind, JobId};
use clap::Args;
use serde_json::{Value, json};

use self::world::{BEGIN, World};
use super::{
    ConfigFile,
    explain::{located, printable},
    folder::{Folder, ScriptFile},
    output::{remark, stdout},
    with_login::{duration, print_json, unreadable},
};
use crate::{
    config::Settings,
    script::{Failure, Inputs, Occasion, PinnedModules, RunError, Sandbox, Seed},
    units::PositiveDuration,
};

/// Run a folder's tests, without a server: the functions test_* of its *_test.rhai.
///
/// Each test has a circle of its own, in memory, with the scripts of the folder. It runs them as a server does: in the
/// same sandbox and with the same limits, as transactions.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  all tests passed
  1  a test failed, or a script doesn't compile
  2  the command line is wrong, or the folder can't be read
  9  the tests ran, but the output could not be written

Examples:
  circled test my-circle
  circled test my-circle --filter top --junit tests.xml")]
pub(super) struct Test {
    /// The folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Run only tests whose names have this text: leaderboard_test::test_top.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the results into a file, as JUnit does.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The longest that a test may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Print each result as one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// A test that ran.
struct Ran {
    /// The name of its file.
    file: String,
    name: String,
    time: Duration,
    /// The reason why it failed, if it did.
    failed: Option<Failed>,
}

/// The reason why a test failed.
struct Failed {
    /// The error with the line where it is.
    text: String,
    message: String,
    path: String,
    line: Option<usize>,
    column: Option<usize>,
    logs: Vec<String>,
}

impl Ran {
    /// Returns its whole name.
    fn title(&self) -> String {
        format!("{}::{}", self.file, self.name)
    }
}

impl Test {
    pub(super) fn run(&self) -> ExitCode {
        match self.results() {
            Ok(code) => code,
            Err(error) => unreadable(&error),
        }
    }

    fn results(&self) -> anyhow::Result<ExitCode> {
        let settings = self.config.settings()?;
        let folder = Folder::read(&self.folder);
        let folder = folder.map_err(|problems| anyhow::anyhow!("{problems}"))?;
        let begun = Instant::now();
        let (ran, left_out) = match self.run_all(Arc::new(folder), &settings) {
            Ok(ran) => ran,
            Err(mistakes) => {
                mistakes.iter().for_each(|told| remark!("{told}"));
                return Ok(ExitCode::FAILURE);
            }
        };
        let failed = ran.iter().filter(|ran| ran.failed.is_some()).count();
        // A failed write is reported at the end of the command.
        let _ = self.print_end(&ran, failed, left_out, begun.elapsed());
        if let Some(file) = &self.junit {
            std::fs::write(file, junit::report(&ran)).map_err(|error| {
                anyhow::anyhow!("{} cannot be written: {error}", file.display())
            })?;
        }
        Ok(match failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }

    /// Runs all tests. Returns what ran, and how many didn't.
    ///
    /// # Errors
    /// The mistakes in the scripts, for which no test can run.
    fn run_all(
        &self,
        folder: Arc<Folder>,
        settings: &Settings,
    ) -> Result<(Vec<Ran>, usize), Vec<String>> {
        check(&folder, settings)?;
        let world = World::new(Arc::clone(&folder), settings);
        let world = Arc::new(world.map_err(|error| vec![format!("error: {error}")])?);
        let mut limits = settings.script.clone();
        if let Some(timeout) = PositiveDuration::new(self.timeout) {
            limits.timeout = timeout;
        }
        let sandbox = Sandbox::with_host(limits, Arc::<World>::clone(&world));
        let scripts = folder.scripts.iter();
        let modules = scripts.map(|(name, script)| (name.clone(), script.source.as_str().into()));
        let modules = Arc::new(PinnedModules(modules.collect()));
        let (mut all, mut left_out) = (Vec::new(), 0);
        for (file, script) in &folder.tests {
            let tests = match sandbox.tests(&script.source) {
                Ok(tests) => tests,
                Err(error) => {
                    let ran = Ran {
                        file: file.clone(),
                        name: "compiles".to_owned(),
                        time: Duration::ZERO,
                        failed: Some(Failed::of(script, error, usize::MAX)),
                    };
                    let _ = self.print(&ran);
                    all.push(ran);
                    continue;
                }
            };
            for name in tests {
                let title = format!("{file}::{name}");
                let is_wanted = self.filter.as_ref().is_none_or(|text| title.contains(text));
                if !is_wanted {
                    left_out += 1;
                    continue;
                }
                world.begin();
                let begun = Instant::now();
                let failed = run(&sandbox, script, &name, &modules);
                let ran = Ran {
                    file: file.clone(),
                    name,
                    time: begun.elapsed(),
                    failed,
                };
                let _ = self.print(&ran);
                all.push(ran);
            }
        }
        Ok((all, left_out))
    }

    fn print(&self, ran: &Ran) -> io::Result<()> {
        let title = ran.title();
        let is_good = ran.failed.is_none();
        if self.json {
            let ms = u64::try_from(ran.time.as_millis()).unwrap_or(u64::MAX);
            let mut line = json!({ "test": title, "ok": is_good, "ms": ms });
            if let Some(failed) = &ran.failed {
                line["error"] = json!({
                    "message": failed.message,
                    "path": failed.path,
                    "line": failed.line,
                    "column": failed.column,
                    "logs": failed.logs,
                });
            }
            return print_json(&line);
        }
        let word = if is_good { "ok" } else { "FAILED" };
        writeln!(stdout(), "test {title} ... {word}")
    }

    fn print_end(
        &self,
        ran: &[Ran],
        failed: usize,
        left_out: usize,
        time: Duration,
    ) -> io::Result<()> {
        let passed = ran.len() - failed;
        if self.json {
            return print_json(
                &json!({ "passed": passed, "failed": failed, "filtered_out": left_out }),
            );
        }
        let mut out = stdout();
        let failures = ran
            .iter()
            .filter_map(|ran| Some((ran, ran.failed.as_ref()?)));
        for (n, (ran, failed)) in failures.enumerate() {
            if n == 0 {
                writeln!(out, "\nfailures:")?;
            }
            writeln!(out, "\n---- {}\n{}", ran.title(), failed.text)?;
            for line in &failed.logs {
                writeln!(out, "printed: {}", printable(line))?;
            }
        }
        let word = if failed == 0 { "ok" } else { "FAILED" };
        let seconds = time.as_secs_f64();
        writeln!(
            out,
            "\ntest result: {word}. {passed} passed; {failed} failed; {left_out} filtered out; finished in {seconds:.2}s"
        )
    }
}

/// Checks that all scripts compile, and import only what is there.
fn check(folder: &Folder, settings: &Settings) -> Result<(), Vec<String>> {
    let sandbox = Sandbox::new(settings.script.clone());
    let mut mistakes = Vec::new();
    for script in folder.scripts.values() {
        let told = |error: RunError| Failed::of(script, error, usize::MAX).text;
        match sandbox.examine(&script.source, None, &Arc::default()) {
            Ok(imports) => {
                let is_missing = |name: &str| !folder.scripts.contains_key(name);
                let missing = imports.iter().filter(|import| is_missing(&import.name));
                mistakes.extend(missing.map(|import| told(import.is_missing().into())));
            }
            Err(error) => mistakes.push(told(error)),
        }
    }
    match mistakes.is_empty() {
        true => Ok(()),
        false => Err(mistakes),
    }
}

/// Runs a test. Returns why it failed, if it did.
fn run(
    sandbox: &Sandbox,
    script: &ScriptFile,
    name: &str,
    modules: &Arc<PinnedModules>,
) -> Option<Failed> {
    // Behind the source, so that all lines have their numbers.
    let lines = script.source.lines().count();
    let source = format!("{}\n;{name}();", script.source);
    let inputs = Inputs {
        caller_id: &"test",
        caller: None,
        context_id: &"test",
        job_id: &JobId::from_bytes([0; 16]),
        args: &Value::Null,
        event: None,
        durable: None,
        occasion: Occasion {
            time: BEGIN,
            seed: Seed::draw(),
        },
        modules: Some(modules),
    };
    let outcome = sandbox.run(&source, &inputs, &mut None, None, &Arc::default());
    outcome.err().map(|error| Failed::of(script, error, lines))
}

impl Failed {
    /// Describes an error in a script, which has so many lines.
    fn of(script: &ScriptFile, error: RunError, lines: usize) -> Self {
        let failure = if let RunError::Failed(failure) = error {
            *failure
        } else {
            Failure::new(FailureKind::Runtime, error.to_string())
        };
        let message = failure.message.strip_prefix("Runtime error: ");
        let message = message.unwrap_or(&failure.message).to_owned();
        // The call of the test is in no file.
        let line = failure.line.filter(|line| *line <= lines);
        Self {
            text: located(&message, &script.shown(), line, failure.column),
            message,
            path: script.path.clone(),
            line,
            column: failure.column.filter(|_| line.is_some()),
            logs: failure.logs,
        }
    }
}
