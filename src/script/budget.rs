//! The budget of the run on this thread, checked at every step of the interpreter.
//!
//! The interpreter can't be interrupted from outside and the functions it calls know nothing of limits, so the budget
//! is in the thread's `run_context`, where any of them can reach it.

use std::{
    cell::{Cell, RefCell},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use circled_protocol::Role;
use rhai::Dynamic;

use super::{meter, run_context, run_slot, stack};

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 8;
/// The time between two looks after which the next step is followed by a look: one step may take as long.
const LONG_STEPS: Duration = Duration::from_millis(1);
/// Bytes allocated after which the clock is looked at in any case: such steps take long.
const BYTES_PER_LOOK: usize = 128 << 10;
/// The longest allocation that isn't taken for a script's value, however small those must be: the interpreter's own
/// lists (variables in scope, arguments) are made by the same allocator.
const INTERPRETERS_OWN: usize = 16 << 10;

/// The reason why a run was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Operations,
    Memory,
    Depth,
    Size,
    Time,
    Cancelled,
    Unavailable,
    /// Its caller would need this role.
    Forbidden(Role),
    /// There was no room to set it aside for others.
    Displaced,
}

/// The limits of a run.
pub(super) struct Allowance {
    pub(super) operations: u64,
    pub(super) memory: usize,
    /// Bytes of one string or blob, and of the elements of one array. What grows has room for twice as much.
    pub(super) text: usize,
    pub(super) list: usize,
    /// The longest that it may run. Time during which it is set aside doesn't count.
    pub(super) time: Duration,
    /// The time when it must be over in any case.
    pub(super) deadline: Option<Instant>,
    pub(super) cancel: Option<Arc<AtomicBool>>,
    /// True if it may be set aside for others.
    pub(super) may_yield: bool,
}

/// Calls `work` with the budget of this thread's run.
#[inline]
fn with<R>(work: impl FnOnce(&Budget) -> R) -> R {
    run_context::with(|context| work(&context.budget))
}

/// Does `work` that allocates other things than a script's values, such as compiling; these may be larger.
pub(super) fn unmeasured<R>(work: impl FnOnce() -> R) -> R {
    let before = with(|budget| budget.measures.replace(false));
    let result = work();
    meter::forget_largest();
    with(|budget| budget.measures.set(before));
    result
}

/// Unwinds the interpreter.
struct Unwind;

/// The budget of a run.
pub(super) struct Budget {
    active: Cell<bool>,
    operations: Cell<u64>,
    steps: Cell<u32>,
    /// The time of the last look at the clock.
    looked: Cell<Option<Instant>>,
    gross: Cell<usize>,
    memory_start: Cell<isize>,
    memory_end: Cell<isize>,
    peak: Cell<isize>,
    text_end: Cell<usize>,
    list_end: Cell<usize>,
    /// True while what is allocated are the script's values.
    measures: Cell<bool>,
    stack_floor: Cell<usize>,
    unwind: Cell<bool>,
    time_end: Cell<Option<Instant>>,
    deadline: Cell<Option<Instant>>,
    /// The time when others may have a turn, if the run yields its slot.
    turn_end: Cell<Option<Instant>>,
    stop: Cell<Option<Stop>>,
    cancel: RefCell<Option<Arc<AtomicBool>>>,
}

/// The budget holds until this is dropped.
pub(super) struct Guard {
    /// The time when the run began.
    pub(super) begun: Instant,
    operations: u64,
    net: Cell<isize>,
}

impl Guard {
    /// Starts a run on this thread.
    pub(super) fn start(allowance: Allowance) -> Self {
        let net = meter::net();
        let now = Instant::now();
        with(|budget| {
            budget.active.set(true);
            budget.operations.set(allowance.operations);
            budget.steps.set(STEPS_PER_LOOK);
            budget.looked.set(Some(now));
            budget.gross.set(meter::gross());
            budget.memory_start.set(net);
            budget
                .memory_end
                .set(net.saturating_add_unsigned(allowance.memory));
            budget.peak.set(net);
            let end = |most: usize| most.saturating_mul(2).max(INTERPRETERS_OWN);
            budget.text_end.set(end(allowance.text));
            budget.list_end.set(end(allowance.list));
            budget.measures.set(true);
            meter::forget_largest();
            budget.stack_floor.set(stack::floor());
            budget.time_end.set(Some(now + allowance.time));
            budget.deadline.set(allowance.deadline);
            let turn_end = allowance.may_yield.then(|| now + run_slot::slice());
            budget.turn_end.set(turn_end);
            budget.unwind.set(false);
            budget.stop.set(None);
            if allowance.cancel.is_some() {
                *budget.cancel.borrow_mut() = allowance.cancel;
            }
        });
        Self {
            begun: now,
            operations: allowance.operations,
            net: Cell::new(net),
        }
    }

    /// Returns why the run was stopped, if it was.
    pub(super) fn stop(&self) -> Option<Stop> {
        with(|budget| budget.stop.get())
    }

    /// Returns how many operations were used so far.
    pub(super) fn operations(&self) -> u64 {
        with(|budget| self.operations - budget.operations.get())
    }

    /// Counts memory from here on: what was allocated before stays beyond the run.
    pub(super) fn restart_memory(&self) {
        with(|budget| {
            let memory = budget.memory_end.get().wrapping_sub(self.net.get());
            let net = meter::net();
            self.net.set(net);
            budget.peak.set(net);
            budget.memory_start.set(net);
            budget.memory_end.set(net.saturating_add(memory));
        });
    }

    /// Returns the most bytes held at once, as far as that was measured.
    pub(super) fn peak(&self) -> usize {
        let peak = with(|budget| budget.peak.get()).max(meter::net());
        usize::try_from(peak - self.net.get()).unwrap_or(0)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        with(|budget| {
            budget.active.set(false);
            budget.cancel.take();
        });
    }
}

/// Has limits unwind at once from here on, instead of returning an error (see [`insist`]).
pub(super) fn unwind() {
    with(|budget| budget.unwind.set(true));
}

/// Returns whether a run is under way on this thread.
pub(super) fn is_active() -> bool {
    with(|budget| budget.active.get())
}

/// Returns whether this thread's run, if there is one, has time left and is wanted still.
pub(crate) fn may_go_on() -> bool {
    with(|budget| !budget.active.get() || !budget.is_over(Instant::now()))
}

/// One step of the interpreter. The first one over the budget ends the run with an error that scripts can't
/// catch and that carries the position. Should anything swallow that error, the next step unwinds.
#[inline]
pub(super) fn step() -> Option<Dynamic> {
    with(|budget| {
        let left = budget.operations.get();
        let steps = budget.steps.get();
        if left == 0
            || steps == 0
            || meter::net() > budget.memory_end.get()
            || meter::gross().wrapping_sub(budget.gross.get()) > BYTES_PER_LOOK
            || stack::pointer() < budget.stack_floor.get()
        {
            return budget.check();
        }
        budget.operations.set(left - 1);
        budget.steps.set(steps - 1);
        None
    })
}

/// `work` further steps, in a function that does much in one call.
pub(super) fn charge(work: usize) -> Result<(), Box<rhai::EvalAltResult>> {
    let stopped = with(|budget| {
        let work = u64::try_from(work).unwrap_or(u64::MAX);
        budget
            .operations
            .set(budget.operations.get().saturating_sub(work));
        budget.check()
    });
    match stopped {
        Some(token) => {
            Err(rhai::EvalAltResult::ErrorTerminated(token, rhai::Position::NONE).into())
        }
        None => Ok(()),
    }
}

/// Does `work`, which counts as one operation if it takes no more than so many.
pub(super) fn as_one_operation<R>(most: u64, work: impl FnOnce() -> R) -> R {
    let before = with(|budget| budget.operations.get());
    let result = work();
    with(|budget| {
        let left = budget.operations.get();
        if left < before && before - left <= most {
            budget.operations.set(before - 1);
        }
    });
    result
}

/// One further step.
pub(super) fn charge_one() -> Result<(), Box<rhai::EvalAltResult>> {
    step().map_or(Ok(()), |token| {
        Err(rhai::EvalAltResult::ErrorTerminated(token, rhai::Position::NONE).into())
    })
}

/// Ends the run because the store can't be reached.
pub(super) fn give_up() -> Box<rhai::EvalAltResult> {
    end(Stop::Unavailable)
}

/// Ends the run because its caller would need this role.
pub(super) fn forbid(needs: Role) -> Box<rhai::EvalAltResult> {
    end(Stop::Forbidden(needs))
}

fn end(stop: Stop) -> Box<rhai::EvalAltResult> {
    with(|budget| {
        budget.stop.set(Some(stop));
        budget.steps.set(0);
        if budget.unwind.get() {
            panic::resume_unwind(Box::new(Unwind));
        }
    });
    rhai::EvalAltResult::ErrorTerminated(Dynamic::UNIT, rhai::Position::NONE).into()
}

/// Ends the run with this error where Rhai wouldn't pass it on: in scripts that interpolate strings, which
/// print a value without bounds when `to_string` fails.
pub(super) fn insist(error: Box<rhai::EvalAltResult>) -> Box<rhai::EvalAltResult> {
    with(|budget| {
        if budget.unwind.get() {
            let depth = matches!(*error, rhai::EvalAltResult::ErrorStackOverflow(_));
            budget
                .stop
                .set(Some(if depth { Stop::Depth } else { Stop::Size }));
            panic::resume_unwind(Box::new(Unwind));
        }
    });
    error
}

/// Returns whether compiling may go on: checks as [`step`] does, for a token, which is no operation.
pub(super) fn compiling() -> bool {
    with(|budget| {
        if !budget.active.get() {
            return true;
        }
        let left = budget.operations.get();
        let stopped = step().is_some();
        budget.operations.set(left);
        !stopped
    })
}

impl Budget {
    /// Creates the budget of no run.
    pub(super) const fn new() -> Self {
        Self {
            active: Cell::new(false),
            operations: Cell::new(0),
            steps: Cell::new(0),
            looked: Cell::new(None),
            gross: Cell::new(0),
            memory_start: Cell::new(0),
            memory_end: Cell::new(isize::MAX),
            peak: Cell::new(0),
            text_end: Cell::new(usize::MAX),
            list_end: Cell::new(usize::MAX),
            measures: Cell::new(false),
            stack_floor: Cell::new(0),
            unwind: Cell::new(false),
            time_end: Cell::new(None),
            deadline: Cell::new(None),
            turn_end: Cell::new(None),
            stop: Cell::new(None),
            cancel: RefCell::new(None),
        }
    }

    #[cold]
    fn check(&self) -> Option<Dynamic> {
        if self.stop.get().is_some() {
            panic::resume_unwind(Box::new(Unwind));
        }
        self.gross.set(meter::gross());
        self.peak.set(self.peak.get().max(meter::net()));
        let now = Instant::now();
        let looked = self.looked.replace(Some(now));
        let took_long = looked.is_some_and(|looked| now - looked > LONG_STEPS);
        self.steps.set(if took_long { 1 } else { STEPS_PER_LOOK });
        let mut stop = self.exceeded(now);
        if stop.is_none() {
            self.operations.set(self.operations.get() - 1);
            let had_turn = self.turn_end.get().is_some_and(|end| now >= end);
            if !had_turn || self.yield_slot(now) {
                return None;
            }
            stop = Some(Stop::Displaced);
        }
        self.stop.set(stop);
        self.steps.set(0);
        if self.unwind.get() {
            panic::resume_unwind(Box::new(Unwind));
        }
        Some(Dynamic::UNIT)
    }

    /// Yields the run's slot after its turn, if others wait. Returns whether the run may go on.
    #[cold]
    fn yield_slot(&self, now: Instant) -> bool {
        let mut next = now;
        let mut may_go_on = true;
        if run_slot::is_wanted() {
            let memory = meter::net().wrapping_sub(self.memory_start.get());
            may_go_on = run_slot::yield_slot(usize::try_from(memory).unwrap_or(0), &|| {
                self.is_cancelled() || self.is_late(Instant::now())
            });
            next = Instant::now();
            self.looked.set(Some(next));
            let end = self.time_end.get();
            self.time_end.set(end.map(|end| end + (next - now)));
        }
        self.turn_end.set(Some(next + run_slot::slice()));
        may_go_on
    }

    fn is_too_large(&self) -> bool {
        let (text, list) = meter::largest();
        text > self.text_end.get() || list > self.list_end.get()
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_out_of_time = || self.time_end.get().is_some_and(|end| now >= end);
        self.is_cancelled() || self.is_late(now) || is_out_of_time()
    }

    fn is_cancelled(&self) -> bool {
        let cancel = self.cancel.borrow();
        cancel
            .as_ref()
            .is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }

    fn is_late(&self, now: Instant) -> bool {
        self.deadline.get().is_some_and(|deadline| now >= deadline)
    }

    fn exceeded(&self, now: Instant) -> Option<Stop> {
        if self.operations.get() == 0 {
            Some(Stop::Operations)
        } else if meter::net() > self.memory_end.get() {
            Some(Stop::Memory)
        } else if stack::pointer() < self.stack_floor.get() {
            Some(Stop::Depth)
        } else if self.measures.get() && self.is_too_large() {
            Some(Stop::Size)
        } else if self.is_cancelled() {
            Some(Stop::Cancelled)
        } else if self.is_late(now) || self.time_end.get().is_some_and(|end| now >= end) {
            Some(Stop::Time)
        } else {
            None
        }
    }
}
