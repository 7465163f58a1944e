//! The backend of one process.

mod crash;
mod unreadable;
