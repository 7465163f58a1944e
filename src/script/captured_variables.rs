//! Variables that closures capture live in shared, counted cells, and a script can tie them into a cycle
//! (`let a = [0]; let f = || a; a[0] = f`) that nothing would ever free. This module keeps a weak reference
//! to every such cell of a run and empties them all when the run ends.
//!
//! Rhai shares a variable at the closure's definition and reads it right after, to bind it to the closure.
//! That read goes through the variable resolver, as every read does, so no shared cell can get anywhere
//! before it was seen here.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    mem,
    rc::{Rc, Weak},
};

use rhai::{Dynamic, EvalContext};

use super::run_context;

type SharedCell = RefCell<Dynamic>;

/// Cells to begin with before the dead ones are looked for.
const FIRST_SWEEP: usize = 64;

/// The cells of a run.
#[derive(Default)]
pub(super) struct CapturedVariables {
    /// The cells, each with the address of its value. A weak reference keeps the allocation, so that no other cell gets
    /// the same address.
    list: Vec<(Weak<SharedCell>, usize)>,
    /// Cells of constants, which can't be replaced in the scope.
    constants: Vec<Dynamic>,
    known: BTreeSet<usize>,
    sweep_at: usize,
}

/// The variable resolver: replaces a cell of Rhai's with one that is known here, and resolves nothing.
pub(super) fn on_variable(
    name: &str,
    index: usize,
    context: &mut EvalContext<'_, '_, '_, '_, '_, '_>,
) {
    let scope = context.scope_mut();
    // An index counts from the newest variable, from 1, and so does the iterator; 0 means to look for the name.
    let variable = match index.checked_sub(1) {
        Some(index) => scope.iter_raw().nth(index).map(|(_, _, variable)| variable),
        None => scope.get(name),
    };
    // A cell that is locked right now was read before.
    let Some(variable) = variable.filter(|variable| variable.is_shared() && !variable.is_locked())
    else {
        return;
    };
    let Some(at) = address(variable) else { return };
    let pinned = variable.clone();
    run_context::with(|context| {
        let captured = &mut *context.captured.borrow_mut();
        if !captured.known.insert(at) {
            return;
        }
        match scope.get_mut(name) {
            Some(variable) if address(variable) == Some(at) => {
                drop(pinned);
                captured.known.remove(&at);
                captured.replace_cell(variable);
            }
            _ => captured.constants.push(pinned),
        }
    });
}

fn address(variable: &Dynamic) -> Option<usize> {
    if variable.is_locked() {
        return None;
    }
    variable
        .read_lock::<Dynamic>()
        .map(|inner| std::ptr::from_ref(&*inner).addr())
}

impl CapturedVariables {
    pub(super) const fn new() -> Self {
        Self {
            list: Vec::new(),
            constants: Vec::new(),
            known: BTreeSet::new(),
            sweep_at: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn replace_cell(&mut self, variable: &mut Dynamic) {
        // Rhai's cell was made a moment ago and has no second owner, so this moves the value.
        let cell = Rc::new(RefCell::new(variable.take().flatten()));
        let at = cell.as_ptr().addr();
        self.known.insert(at);
        self.list.push((Rc::downgrade(&cell), at));
        *variable = Dynamic::from(cell);
        if self.list.len() > self.sweep_at.max(FIRST_SWEEP) {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let known = &mut self.known;
        self.list.retain(|(cell, at)| {
            let alive = cell.strong_count() > 0;
            if !alive {
                known.remove(at);
            }
            alive
        });
        self.sweep_at = 2 * self.list.len();
    }
}

#[cfg(test)]
thread_local! {
    static BROKEN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Cells that had outlived the last run on this thread.
#[cfg(test)]
pub(super) fn broken() -> usize {
    BROKEN.get()
}

/// Empties every cell of the run, so that no cycle is left.
pub(super) fn release(captured: &RefCell<CapturedVariables>) {
    #[cfg(test)]
    BROKEN.set(0);
    if captured.borrow().is_empty() {
        return;
    }
    let captured = captured.take();
    #[cfg(test)]
    BROKEN.set(
        captured
            .list
            .iter()
            .filter(|(cell, _)| cell.strong_count() > 0)
            .count()
            + captured.constants.len(),
    );
    for (cell, _) in captured.list {
        if let Some(cell) = cell.upgrade() {
            let value = cell
                .try_borrow_mut()
                .map(|mut inner| mem::take(&mut *inner));
            drop(value);
        }
    }
    for mut constant in captured.constants {
        let value = constant
            .write_lock::<Dynamic>()
            .map(|mut inner| mem::take(&mut *inner));
        drop(value);
    }
}
