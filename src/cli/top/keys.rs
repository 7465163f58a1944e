//! Reads the keys that the user presses, and notices changes of the window.

use std::{io, thread::Builder};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc::{Receiver, channel};

/// An input of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// They want to leave.
    Leave,
    /// Anything else: the window may have another size.
    Other,
}

/// Begins to read, until the process ends.
pub(super) fn read() -> io::Result<Receiver<Key>> {
    let (sender, keys) = channel(16);
    let read = move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(key(&event)).is_err() {
                return;
            }
        }
    };
    Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(keys)
}

fn key(event: &Event) -> Key {
    let Event::Key(key) = event else {
        return Key::Other;
    };
    let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let leaves = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
        || has_control && matches!(key.code, KeyCode::Char('c' | 'd'));
    match leaves && key.kind == KeyEventKind::Press {
        true => Key::Leave,
        false => Key::Other,
    }
}
