//! The lines that the run on this thread has printed.

use std::cell::{Cell, RefCell};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static ROOM: Cell<usize> = const { Cell::new(0) };
    static CUT: Cell<bool> = const { Cell::new(false) };
}

/// Bytes that a line counts besides its text.
const PER_LINE: usize = 32;

/// Starts over, with room for so many bytes.
pub(super) fn start(room: usize) {
    LINES.with_borrow_mut(Vec::clear);
    ROOM.set(room);
    CUT.set(false);
}

/// Keeps the lines of `text` while there is room.
pub(super) fn push(text: &str) {
    for line in text.split('\n') {
        let Some(room) = ROOM.get().checked_sub(line.len() + PER_LINE) else {
            ROOM.set(0);
            CUT.set(true);
            return;
        };
        ROOM.set(room);
        LINES.with_borrow_mut(|lines| lines.push(line.to_owned()));
    }
}

/// All lines; a last one says so if some were dropped.
pub(super) fn take() -> Vec<String> {
    let mut lines = LINES.take();
    if CUT.replace(false) {
        lines.push("(more was logged than is kept)".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_split_and_capped() {
        super::start(100);
        super::push("one\ntwo");
        super::push("three");
        super::push("four");
        super::push("");
        assert_eq!(
            super::take(),
            ["one", "two", "(more was logged than is kept)"]
        );
        super::start(100);
        super::push("");
        assert_eq!(super::take(), [""]);
    }
}
