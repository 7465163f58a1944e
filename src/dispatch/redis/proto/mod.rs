//! The words that servers and Redis exchange: names of keys, Lua scripts, arguments, replies and messages.

pub(crate) mod keys;
pub(crate) mod reply;
pub(crate) mod script;
pub(crate) mod scripts;
pub(crate) mod values;
pub(crate) mod wire;

pub(crate) use crate::store::event_record;
