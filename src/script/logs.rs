//! The lines that the run on this thread has printed.

use std::cell::{Cell, RefCell};

use super::run_context;

/// Bytes that a line counts besides its text.
const PER_LINE: usize = 32;

/// The lines that a run has printed so far.
pub(super) struct Logs {
    lines: RefCell<Vec<String>>,
    room: Cell<usize>,
    is_cut: Cell<bool>,
}

impl Logs {
    pub(super) const fn new() -> Self {
        Self {
            lines: RefCell::new(Vec::new()),
            room: Cell::new(0),
            is_cut: Cell::new(false),
        }
    }

    /// Starts, with room for so many bytes.
    pub(super) fn start(&self, room: usize) {
        self.room.set(room);
    }

    /// Keeps the lines of `text` while there is room.
    fn push(&self, text: &str) {
        for line in text.split('\n') {
            let Some(room) = self.room.get().checked_sub(line.len() + PER_LINE) else {
                self.room.set(0);
                self.is_cut.set(true);
                return;
            };
            self.room.set(room);
            self.lines.borrow_mut().push(line.to_owned());
        }
    }

    /// Takes all lines; a last one says so if some were dropped.
    pub(super) fn take(&self) -> Vec<String> {
        let mut lines = self.lines.take();
        if self.is_cut.replace(false) {
            lines.push("(more was logged than is kept)".to_owned());
        }
        lines
    }
}

/// Keeps the lines of `text`, which the run has printed.
pub(super) fn push(text: &str) {
    run_context::with(|context| context.logs.push(text));
}

/// Takes the lines that the run has printed.
pub(super) fn take() -> Vec<String> {
    run_context::with(|context| context.logs.take())
}

#[cfg(test)]
mod tests {
    use super::Logs;

    #[test]
    fn lines_are_split_and_capped() {
        let logs = Logs::new();
        logs.start(100);
        logs.push("one\ntwo");
        logs.push("three");
        logs.push("four");
        logs.push("");
        assert_eq!(
            logs.take(),
            ["one", "two", "(more was logged than is kept)"]
        );
        logs.start(100);
        logs.push("");
        assert_eq!(logs.take(), [""]);
    }
}
