//! Runs scripts.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use rhai::{Dynamic, EvalAltResult};

use crate::store::Transaction;

use circled_protocol::FailureKind;

use super::{
    Failure, FindModule, Host, Import, Inputs, Limits, Outcome, People, RunError, Success,
    budget::{self, Allowance, Guard, Stop},
    constants,
    counted::{self, Lane},
    json,
    local::{self, Compiled, Local},
    logs,
    modules::{self, Imports},
    people::Known,
    print::{self, Bounds},
    run_context,
    short_scripts::ShortScripts,
    stack,
};

/// Runs scripts within [`Limits`]. A cheap handle; what it needs, each thread that uses it has for itself.
#[derive(Debug, Clone)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Tells sandboxes apart in a thread's own storage.
    id: u64,
    limits: Limits,
    finder: Option<FindModule>,
    people: Option<Arc<dyn People>>,
    host: Option<Arc<dyn Host>>,
    short_scripts: ShortScripts,
}

/// A run that was stopped, or the failure it ended with.
enum Ended {
    Stopped(Stop, Failure),
    Failed(Failure),
}

impl Sandbox {
    /// A sandbox with these limits, in which there is nothing to import.
    pub fn new(limits: Limits) -> Self {
        Self::with(limits, None, None, None)
    }

    /// A sandbox with these limits, whose scripts can also call what `host` does.
    pub fn with_host(limits: Limits, host: Arc<dyn Host>) -> Self {
        Self::with(limits, None, None, Some(host))
    }

    /// A sandbox with these limits, in which scripts may import what `finder` finds.
    pub fn with_modules(limits: Limits, finder: FindModule) -> Self {
        Self::with(limits, Some(finder), None, None)
    }

    /// A sandbox for the scripts of circles: they may import what `finder` finds, and ask about the people.
    pub fn for_circles(limits: Limits, finder: FindModule, people: Arc<dyn People>) -> Self {
        Self::with(limits, Some(finder), Some(people), None)
    }

    fn with(
        limits: Limits,
        finder: Option<FindModule>,
        people: Option<Arc<dyn People>>,
        host: Option<Arc<dyn Host>>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(Arc::new(Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            short_scripts: ShortScripts::new(),
            limits,
            finder,
            people,
            host,
        }))
    }

    /// The limits that hold here.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn finder(&self) -> Option<FindModule> {
        self.0.finder
    }

    /// Compiles the script, to find out whether it can run at all.
    ///
    /// # Errors
    /// It can't.
    pub fn check(&self, source: &str) -> Result<(), Failure> {
        match self.compile(source, None, &Arc::default(), |_, _| Ok(())) {
            Ok(_) => Ok(()),
            Err(RunError::Failed(failure)) => Err(*failure),
            Err(_) => {
                let message = "compiling takes longer than script.timeout";
                Err(Failure::new(FailureKind::Compile, message))
            }
        }
    }

    /// Compiles the script, and returns the names of the scripts that it imports, each once.
    ///
    /// # Errors
    /// It doesn't compile; or the deadline passed, or the caller cancelled.
    pub fn imports(
        &self,
        source: &str,
        deadline: Option<Instant>,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Vec<String>, RunError> {
        self.compile(source, deadline, cancel, |_, compiled| {
            let names = compiled
                .imports
                .iter()
                .map(|import| import.name.clone().into());
            Ok(names.collect())
        })
    }

    /// Compiles the script, and finds what would fail whenever it runs. Returns its imports: whether there are such
    /// scripts, only the circle knows.
    ///
    /// # Errors
    /// The same as [`Self::imports`], or it calls a function that doesn't exist.
    pub fn examine(
        &self,
        source: &str,
        deadline: Option<Instant>,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Vec<Import>, RunError> {
        self.compile(source, deadline, cancel, |local, compiled| {
            local.check_calls(compiled).map_err(Ended::Failed)?;
            Ok(compiled.imports.clone())
        })
    }

    /// Compiles the script, and finds what would fail whenever it runs. Returns the names of its tests, in order: those of
    /// its functions that begin with `test_`.
    ///
    /// # Errors
    /// The same as [`Self::examine`].
    pub fn tests(&self, source: &str) -> Result<Vec<String>, RunError> {
        self.compile(source, None, &Arc::default(), |local, compiled| {
            local.check_calls(compiled).map_err(Ended::Failed)?;
            let functions = compiled.ast.iter_functions().map(|function| function.name);
            let mut tests: Vec<_> = functions.filter(|name| name.starts_with("test_")).collect();
            tests.sort_unstable();
            tests.dedup();
            tests.sort_by_key(|name| source.find(&format!("fn {name}(")));
            Ok(tests.into_iter().map(str::to_owned).collect())
        })
    }

    fn local(&self) -> Rc<Local> {
        local::get(self.0.id, &self.0.limits, self.0.host.as_ref())
    }

    fn compile<T: Send>(
        &self,
        source: &str,
        deadline: Option<Instant>,
        cancel: &Arc<AtomicBool>,
        examine: impl FnOnce(&Local, &Compiled) -> Result<T, Ended> + Send,
    ) -> Result<T, RunError> {
        let check = || {
            let limits = &self.0.limits;
            let local = self.local();
            let guard = Guard::start(self.full(deadline, cancel));
            let examined = self.contain(&guard, || {
                let compiled = match local.compiled(source) {
                    Some(compiled) => compiled,
                    None => {
                        let compiled = local.compile(source, limits).map_err(Ended::Failed)?;
                        local.keep(source, &compiled);
                        compiled
                    }
                };
                examine(&local, &compiled)
            });
            examined.map_err(|ended| self.error(ended))
        };
        let check = || run_context::within(&mut None, None, 0, check);
        stack::with_large(check).unwrap_or(Err(RunError::Unavailable))
    }

    /// Runs the script on this thread, or on one made for it if this one is none of a
    /// [`Runner`](super::Runner)'s: scripts need a large stack. It may take as long as the limits say, and is over at
    /// the deadline in any case. What it reads and writes goes through the transaction; committing that is the caller's.
    pub fn run(
        &self,
        source: &str,
        inputs: &Inputs<'_>,
        transaction: &mut Option<Box<Transaction>>,
        deadline: Option<Instant>,
        cancel: &Arc<AtomicBool>,
    ) -> Outcome {
        let run = || {
            run_context::within(
                transaction,
                Some(inputs.occasion),
                self.0.limits.max_logs,
                || self.run_here(source, inputs, deadline, cancel),
            )
        };
        stack::with_large(run).unwrap_or(Err(RunError::Unavailable))
    }

    fn run_here(
        &self,
        source: &str,
        inputs: &Inputs<'_>,
        deadline: Option<Instant>,
        cancel: &Arc<AtomicBool>,
    ) -> Outcome {
        let limits = &self.0.limits;
        let local = self.local();
        let guard = Guard::start(self.full(deadline, cancel));
        let ended = self.contain(&guard, || {
            let compiled = match local.compiled(source) {
                Some(compiled) => compiled,
                None => {
                    let compiled = local.compile(source, limits).map_err(Ended::Failed)?;
                    local.keep(source, &compiled);
                    compiled
                }
            };
            guard.restart_memory();
            let start = Instant::now();
            let success = self.evaluate(&local, &compiled, inputs)?;
            let short = guard.operations() <= limits.fast_operations
                && guard.peak() <= limits.fast_memory.get()
                && start.elapsed().max(compiled.compile_time) <= limits.fast_time;
            if short {
                self.0.short_scripts.add(source);
            }
            Ok(success)
        });
        if guard.peak() > stack::SHALLOW_MEMORY {
            stack::mark_spent();
        }
        let outcome = ended.map_err(|ended| self.error(ended));
        counted::count(Lane::Thread, Some(&outcome), guard.begun);
        outcome
    }

    /// Runs the script here and now if it is known to be short; for threads that mustn't block.
    ///
    /// `None`: it is not compiled here, it is known to be long, or it ran out of its small budget. Nothing
    /// has happened then, though the transaction may have been used; give it to a
    /// [`Runner`](super::Runner).
    pub fn try_run(
        &self,
        source: &str,
        inputs: &Inputs<'_>,
        transaction: &mut Option<Box<Transaction>>,
    ) -> Option<Outcome> {
        if local::is_busy() {
            return None;
        }
        run_context::within(
            transaction,
            Some(inputs.occasion),
            self.0.limits.max_logs,
            || self.try_run_here(source, inputs),
        )
    }

    fn try_run_here(&self, source: &str, inputs: &Inputs<'_>) -> Option<Outcome> {
        let limits = &self.0.limits;
        let local = self.local();
        let compiled = local.compiled(source);
        if compiled.is_none() && !self.0.short_scripts.has(source) {
            return None;
        }
        if let Some(compiled) = &compiled
            && !compiled.worth_trying()
        {
            return None;
        }
        let guard = Guard::start(Allowance {
            operations: limits.fast_operations,
            memory: limits.fast_memory.get(),
            text: limits.max_string.get(),
            list: limits.max_array.get().saturating_mul(size_of::<Dynamic>()),
            time: limits.fast_time,
            deadline: None,
            cancel: None,
            may_yield: false,
        });
        let ended = self.contain(&guard, || {
            let compiled = match &compiled {
                Some(compiled) => Rc::clone(compiled),
                None => {
                    let compiled = local.compile(source, limits).map_err(Ended::Failed)?;
                    local.keep(source, &compiled);
                    guard.restart_memory();
                    compiled
                }
            };
            self.evaluate(&local, &compiled, inputs)
        });
        let outcome = match ended {
            Ok(success) => {
                if let Some(compiled) = compiled {
                    compiled.was_short();
                }
                Some(Ok(success))
            }
            Err(Ended::Failed(failure)) => Some(Err(failure.into())),
            Err(Ended::Stopped(Stop::Forbidden(needs), _)) => {
                Some(Err(RunError::Forbidden { needs }))
            }
            // It would have had to wait, which says nothing about its length.
            Err(Ended::Stopped(Stop::Unavailable, _)) => None,
            Err(Ended::Stopped(..)) => {
                match compiled.or_else(|| local.compiled(source)) {
                    Some(compiled) => compiled.was_long(),
                    None => self.0.short_scripts.remove(source),
                }
                None
            }
        };
        counted::count(Lane::Inline, outcome.as_ref(), guard.begun);
        outcome
    }

    /// Lets [`Sandbox::try_run`] compile and try this script, whatever it is.
    #[cfg(test)]
    pub(super) fn assume_short(&self, source: &str) {
        self.0.short_scripts.add(source);
        if let Some(compiled) = self.local().compiled(source) {
            compiled.skip.set(0);
        }
    }

    fn full(&self, deadline: Option<Instant>, cancel: &Arc<AtomicBool>) -> Allowance {
        let limits = &self.0.limits;
        Allowance {
            operations: limits.max_operations.get(),
            memory: limits.max_memory.get(),
            text: limits.max_string.get(),
            list: limits.max_array.get().saturating_mul(size_of::<Dynamic>()),
            time: limits.timeout.get(),
            deadline,
            cancel: Some(Arc::clone(cancel)),
            may_yield: true,
        }
    }

    fn error(&self, ended: Ended) -> RunError {
        let (stop, failure) = match ended {
            Ended::Failed(failure) => return failure.into(),
            Ended::Stopped(stop, failure) => (stop, failure),
        };
        let limits = &self.0.limits;
        let mut told = match stop {
            Stop::Time => {
                let after = limits.timeout.get();
                return RunError::TimedOut {
                    after,
                    version: None,
                };
            }
            Stop::Cancelled => return RunError::Cancelled,
            Stop::Unavailable => return RunError::Unavailable,
            Stop::Forbidden(needs) => return RunError::Forbidden { needs },
            Stop::Displaced => return RunError::Displaced,
            Stop::Operations => Failure::operations(limits),
            Stop::Memory => Failure::memory(limits),
            Stop::Depth => Failure::depth(),
            Stop::Size => Failure::size(),
        };
        if let Some(location) = modules::blame() {
            told.message.insert_str(0, &location);
        }
        told.line = failure.line;
        told.column = failure.column;
        told.logs = failure.logs;
        told.into()
    }

    /// Does `work`, and catches panics.
    fn contain<T>(
        &self,
        guard: &Guard,
        work: impl FnOnce() -> Result<T, Ended>,
    ) -> Result<T, Ended> {
        let ended = catch_unwind(AssertUnwindSafe(work));
        let mut ended = match (ended, guard.stop()) {
            // A limit that was swallowed on its last step still counts.
            (Ok(Ok(_)), Some(stop)) => Err(Ended::Stopped(stop, Failure::panicked())),
            (Ok(Err(Ended::Failed(failure))), Some(stop)) => Err(Ended::Stopped(stop, failure)),
            (Ok(ended), _) => ended,
            (Err(_), Some(stop)) => Err(Ended::Stopped(stop, Failure::panicked())),
            (Err(_), None) => {
                tracing::error!("a function panicked while a script ran");
                local::forget(self.0.id);
                Err(Ended::Failed(Failure::panicked()))
            }
        };
        if let Err(Ended::Stopped(_, failure) | Ended::Failed(failure)) = &mut ended {
            failure.logs = logs::take();
        }
        ended
    }

    fn evaluate(
        &self,
        local: &Rc<Local>,
        compiled: &Compiled,
        inputs: &Inputs<'_>,
    ) -> Result<Success, Ended> {
        if compiled.uses.interpolation {
            budget::unwind();
        }
        if !compiled.imports.is_empty() {
            let pinned = inputs.modules.cloned();
            modules::start(Imports::new(self.clone(), Rc::clone(local), pinned));
        }
        if compiled.uses.people
            && let Some(people) = &self.0.people
        {
            let known = Known {
                people: Arc::clone(people),
                caller: inputs.caller.copied(),
            };
            run_context::with(|context| context.people.replace(Some(known)));
        }
        if compiled.uses.resolver {
            constants::start(inputs);
        }
        let limits = &self.0.limits;
        let bounds = Bounds {
            length: limits.max_result.get(),
            depth: limits.max_result_depth.get(),
        };
        let failed =
            |error: Box<EvalAltResult>| Ended::Failed(Failure::from_run(&error, compiled, bounds));
        let mut scope =
            constants::scope(&local.names, compiled.uses.constants, inputs).map_err(failed)?;
        let value = local
            .engine(compiled.uses)
            .eval_ast_with_scope::<Dynamic>(&mut scope, &compiled.ast)
            .map_err(failed)?;
        let failed = |problem| Ended::Failed(Failure::result(problem));
        Ok(Success {
            output: print::display(&value, bounds).map_err(failed)?,
            value: json::to_raw(&value, bounds).map_err(failed)?,
            logs: logs::take(),
            version: None,
            queried: None,
            replayed: None,
            effects: None,
        })
    }
}

#[cfg(test)]
#[path = "sandbox_tests.rs"]
mod tests;
