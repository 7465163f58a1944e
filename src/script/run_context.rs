//! All that belongs to the run on this thread. Functions that scripts call know nothing of their run, so they find it here.
//!
//! All that belongs to the thread is elsewhere: its engines and compiled scripts in `local`, its slot in `run_slot`, its stack
//! in `stack`, and what it has allocated in `meter`.

use std::cell::{Cell, RefCell};

use super::{
    budget::Budget,
    captured_variables::{self, CapturedVariables},
    constants::Constants,
    local::Parsing,
    logs::Logs,
    modules::Imports,
    occasion::Occasion,
    people::Known,
};
use crate::store::{Transaction, WriteError};

/// The things of one run. Between two runs, there is nothing in it.
pub(super) struct RunContext {
    pub(super) budget: Budget,
    pub(super) logs: Logs,
    /// There if functions or what is imported may see them.
    pub(super) constants: RefCell<Option<Box<Constants>>>,
    pub(super) captured: RefCell<CapturedVariables>,
    /// There if the script may import.
    pub(super) imports: RefCell<Option<Imports>>,
    /// The place in a module where the run was stopped.
    pub(super) blame: RefCell<Option<String>>,
    /// There while a script is parsed.
    pub(super) parsing: RefCell<Option<Parsing>>,
    /// There if the script, or one that it imports, may ask about people.
    pub(super) people: RefCell<Option<Known>>,
    /// There if the run has a store.
    transaction: RefCell<Option<Box<Transaction>>>,
    /// There while a script runs.
    occasion: Cell<Option<Occasion>>,
    /// The random numbers that it has drawn.
    drawn: Cell<u64>,
}

thread_local! {
    static CONTEXT: RunContext = const {
        RunContext {
            budget: Budget::new(),
            logs: Logs::new(),
            constants: RefCell::new(None),
            captured: RefCell::new(CapturedVariables::new()),
            imports: RefCell::new(None),
            blame: RefCell::new(None),
            parsing: RefCell::new(None),
            people: RefCell::new(None),
            transaction: RefCell::new(None),
            occasion: Cell::new(None),
            drawn: Cell::new(0),
        }
    };
}

/// Calls `work` with the context of this thread's run.
#[inline]
pub(super) fn with<R>(work: impl FnOnce(&RunContext) -> R) -> R {
    CONTEXT.with(work)
}

/// Calls `run`, which is a run with this transaction, on this occasion, and with room for so many bytes of logs. However
/// it ends, its transaction is given back then, and all else that it had is gone.
pub(super) fn within<R>(
    transaction: &mut Option<Box<Transaction>>,
    occasion: Option<Occasion>,
    max_logs: usize,
    run: impl FnOnce() -> R,
) -> R {
    struct End<'a>(&'a mut Option<Box<Transaction>>);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            with(|context| context.end(self.0));
        }
    }

    with(|context| {
        context.logs.start(max_logs);
        *context.transaction.borrow_mut() = transaction.take();
        context.occasion.set(occasion);
        context.drawn.set(0);
    });
    let _end = End(transaction);
    run()
}

/// Calls `work` with the run's transaction. Returns nothing if the run has no store.
pub(super) fn with_transaction<R>(
    work: impl FnOnce(&mut Transaction) -> Result<R, WriteError>,
) -> Option<Result<R, WriteError>> {
    with(|context| context.transaction.borrow_mut().as_deref_mut().map(work))
}

/// Notes that another caller may get another value from here on.
pub(super) fn see_caller() {
    with(|context| {
        if let Some(transaction) = context.transaction.borrow_mut().as_mut() {
            transaction.see_caller();
        }
    });
}

impl RunContext {
    /// Returns the time of the run, in milliseconds since 1970.
    pub(super) fn time(&self) -> i64 {
        self.occasion.get().map_or(0, |occasion| occasion.time)
    }

    /// Draws the run's next random number.
    pub(super) fn draw(&self) -> u128 {
        let number = self.drawn.get();
        self.drawn.set(number + 1);
        let occasion = self.occasion.get().unwrap_or_else(Occasion::now);
        occasion.seed.random(number)
    }

    /// Drops all that the run had, and gives its transaction back.
    fn end(&self, transaction: &mut Option<Box<Transaction>>) {
        drop(self.imports.take());
        drop(self.constants.take());
        drop(self.people.take());
        captured_variables::release(&self.captured);
        drop(self.blame.take());
        drop(self.parsing.take());
        drop(self.logs.take());
        *transaction = self.transaction.borrow_mut().take();
    }
}
