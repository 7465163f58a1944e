//! Blobs: making them, and padding them.

use rhai::{Blob, Module};

use super::{Failed, native, too_many};
use crate::script::Limits;

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let most = limits.max_string.get();
    native!(module, pure: true, "blob", move |length: i64| blob(length, 0, most));
    native!(module, pure: true, "blob", move |length: i64, value: i64| blob(length, value, most));
    native!(module, pure: false, "pad", move |blob: &mut Blob, length: i64, value: i64| {
        let length = within(length, most)?;
        if length > blob.len() {
            blob.resize(length, byte(value));
        }
        Ok::<(), Failed>(())
    });
}

fn blob(length: i64, value: i64, most: usize) -> Result<Blob, Failed> {
    Ok(vec![byte(value); within(length, most)?])
}

fn within(length: i64, most: usize) -> Result<usize, Failed> {
    let length = usize::try_from(length).unwrap_or(0);
    if length > most {
        return Err(too_many());
    }
    Ok(length)
}

/// The lowest byte of a number, as Rhai has it.
fn byte(value: i64) -> u8 {
    let [byte, ..] = value.to_le_bytes();
    byte
}
