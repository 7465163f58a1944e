//! The terminal while it shows a screen: it is as before afterwards, however that ends.

use std::io;

use ratatui::{DefaultTerminal, Frame};

/// The screen of the terminal. Dropping it gives the terminal back; so does a panic.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| {
            // Some of it may have been done.
            let _ = ratatui::try_restore();
        })
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = ratatui::try_restore();
    }
}
