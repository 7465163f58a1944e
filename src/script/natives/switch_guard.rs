//! The function that `switch_guard` puts around the subject of a `switch`.

use rhai::{Dynamic, EvalAltResult, FnPtr, Module, Position};

use super::{Failed, native};
use crate::script::{Limits, budget};

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let longest = limits.max_string.get();
    native!(module, pure: true, "__subject", move |value: Dynamic| {
        let mut room = longest;
        weigh(&value, &mut room)?;
        Ok::<Dynamic, Failed>(value)
    });
}

/// `switch` hashes its subject in one go, however large, and strings as often as they are referred to.
fn weigh(value: &Dynamic, room: &mut usize) -> Result<(), Failed> {
    budget::charge_one()?;
    if let Ok(text) = value.as_immutable_string_ref() {
        take(room, text.len())?;
    } else if let Ok(items) = value.as_array_ref() {
        for item in items.iter() {
            weigh(item, room)?;
        }
    } else if let Ok(entries) = value.as_map_ref() {
        for (key, item) in entries.iter() {
            take(room, key.len())?;
            weigh(item, room)?;
        }
    } else if let Some(function) = value.read_lock::<FnPtr>() {
        for item in function.curry() {
            weigh(item, room)?;
        }
    }
    Ok(())
}

fn take(room: &mut usize, bytes: usize) -> Result<(), Failed> {
    let too_large =
        || EvalAltResult::ErrorDataTooLarge("Subject of switch".to_owned(), Position::NONE);
    *room = room.checked_sub(bytes).ok_or_else(too_large)?;
    Ok(())
}
