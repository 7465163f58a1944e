//! Strings: printing, joining, replacing, padding, splitting.

use std::mem;

use rhai::{Array, Dynamic, ImmutableString, Map, Module};

use super::{Failed, native, too_long, too_many, unprintable};
use crate::script::{
    Limits, budget,
    print::{self, Bounds},
};

/// Bytes that count as one operation.
const BYTES_PER_OPERATION: usize = 1024;
/// Pieces of a string that count as one operation.
const PIECES_PER_OPERATION: usize = 64;

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let bounds = Bounds {
        length: limits.max_string.get(),
        depth: limits.max_result_depth.get(),
    };
    printing(module, bounds);
    joining(module, bounds);
    replacing(module, limits.max_string.get());
    padding(module, limits.max_string.get());
    splitting(module, limits.max_array.get());
}

/// The value as `print` shows it, within bounds.
fn shown(value: &Dynamic, bounds: Bounds) -> Result<ImmutableString, Failed> {
    let text = print::display(value, bounds).map_err(unprintable)?;
    budget::charge(text.len() / BYTES_PER_OPERATION)?;
    Ok(text.into())
}

fn debugged(value: &Dynamic, bounds: Bounds) -> Result<ImmutableString, Failed> {
    let text = print::debug(value, bounds).map_err(unprintable)?;
    budget::charge(text.len() / BYTES_PER_OPERATION)?;
    Ok(text.into())
}

/// For `to_string`, which interpolation calls: when it fails, Rhai prints the value without bounds instead.
fn certain(text: Result<ImmutableString, Failed>) -> Result<ImmutableString, Failed> {
    text.map_err(budget::insist)
}

fn printing(module: &mut Module, bounds: Bounds) {
    native!(module, pure: true, "print", move |value: &mut Dynamic| shown(value, bounds));
    native!(module, pure: true, "debug" | "to_debug", move |value: &mut Dynamic| debugged(value, bounds));
    native!(module, pure: true, "to_string", move |value: &mut Dynamic| {
        certain(shown(value, bounds))
    });
    // Rhai has these apart from `Dynamic`, and the exact type is found first.
    native!(module, pure: true, "print" | "debug" | "to_debug", move |list: &mut Array| {
        with_array(list, |value| debugged(value, bounds))
    });
    native!(module, pure: true, "print" | "debug" | "to_debug", move |map: &mut Map| {
        with_map(map, |value| debugged(value, bounds))
    });
    native!(module, pure: true, "to_string", move |list: &mut Array| {
        with_array(list, |value| certain(debugged(value, bounds)))
    });
    native!(module, pure: true, "to_string", move |map: &mut Map| {
        with_map(map, |value| certain(debugged(value, bounds)))
    });
}

/// Lends the array as a [`Dynamic`], without copying it.
fn with_array<R>(place: &mut Array, work: impl FnOnce(&Dynamic) -> R) -> R {
    let value = Dynamic::from_array(mem::take(place));
    let result = work(&value);
    *place = value.into_array().unwrap_or_default();
    result
}

/// Lends the map as a [`Dynamic`], without copying it.
pub(super) fn with_map<R>(place: &mut Map, work: impl FnOnce(&Dynamic) -> R) -> R {
    let value = Dynamic::from_map(mem::take(place));
    let result = work(&value);
    *place = value.try_cast().unwrap_or_default();
    result
}

fn joining(module: &mut Module, bounds: Bounds) {
    let join = move |left: &str, right: &str| -> Result<ImmutableString, Failed> {
        if left.len() + right.len() > bounds.length {
            return Err(too_long());
        }
        budget::charge((left.len() + right.len()) / BYTES_PER_OPERATION)?;
        let mut text = String::with_capacity(left.len() + right.len());
        text.push_str(left);
        text.push_str(right);
        Ok(text.into())
    };
    native!(module, pure: true, "+", move |text: &mut ImmutableString, value: Dynamic| {
        join(text, &shown(&value, bounds)?)
    });
    native!(module, pure: true, "+", move |value: &mut Dynamic, text: ImmutableString| {
        join(&shown(value, bounds)?, &text)
    });
    native!(module, pure: false, "+=" | "append", move |text: &mut ImmutableString, value: Dynamic| {
        *text = join(text, &shown(&value, bounds)?)?;
        Ok::<(), Failed>(())
    });
}

fn replacing(module: &mut Module, longest: usize) {
    let replace = move |text: &mut ImmutableString, from: &str, to: &str| -> Result<(), Failed> {
        if text.is_empty() {
            return Ok(());
        }
        budget::charge(text.len() / BYTES_PER_OPERATION)?;
        let matches = text.matches(from).count();
        let kept = text.len() - matches * from.len();
        if matches.saturating_mul(to.len()).saturating_add(kept) > longest {
            return Err(too_long());
        }
        if matches > 0 {
            *text = text.replace(from, to).into();
        }
        budget::charge(text.len() / BYTES_PER_OPERATION)
    };
    native!(
        module, pure: false, "replace",
        move |text: &mut ImmutableString, from: ImmutableString, to: ImmutableString| replace(text, &from, &to)
    );
    native!(module, pure: false, "replace", move |text: &mut ImmutableString, from: ImmutableString, to: char| {
        replace(text, &from, to.encode_utf8(&mut [0; 4]))
    });
    native!(module, pure: false, "replace", move |text: &mut ImmutableString, from: char, to: ImmutableString| {
        replace(text, from.encode_utf8(&mut [0; 4]), &to)
    });
    native!(module, pure: false, "replace", move |text: &mut ImmutableString, from: char, to: char| {
        replace(text, from.encode_utf8(&mut [0; 4]), to.encode_utf8(&mut [0; 4]))
    });
}

fn padding(module: &mut Module, longest: usize) {
    let pad = move |text: &mut ImmutableString, length: i64, padding: &str| -> Result<(), Failed> {
        let Ok(length) = usize::try_from(length) else {
            return Ok(());
        };
        budget::charge(text.len() / BYTES_PER_OPERATION)?;
        let Some(missing) = length
            .checked_sub(text.chars().count())
            .filter(|missing| *missing > 0)
        else {
            return Ok(());
        };
        // Rhai goes on for ever with an empty padding.
        if padding.is_empty() {
            return Ok(());
        }
        if length > longest {
            return Err(too_long());
        }
        let mut padded = text.to_string();
        for character in padding.chars().cycle().take(missing) {
            padded.push(character);
            if padded.len() > longest {
                return Err(too_long());
            }
        }
        budget::charge(padded.len() / BYTES_PER_OPERATION)?;
        *text = padded.into();
        Ok(())
    };
    native!(module, pure: false, "pad", move |text: &mut ImmutableString, length: i64, padding: char| {
        pad(text, length, padding.encode_utf8(&mut [0; 4]))
    });
    native!(module, pure: false, "pad", move |text: &mut ImmutableString, length: i64, padding: ImmutableString| {
        pad(text, length, &padding)
    });
}

fn splitting(module: &mut Module, most: usize) {
    let list = move |pieces: &mut dyn Iterator<Item = Dynamic>| -> Result<Array, Failed> {
        let mut list = Array::new();
        for piece in pieces {
            if list.len() >= most {
                return Err(too_many());
            }
            list.push(piece);
            if list.len().is_multiple_of(PIECES_PER_OPERATION) {
                budget::charge(1)?;
            }
        }
        Ok(list)
    };
    let at_most = |pieces: i64| usize::try_from(pieces).unwrap_or(1).max(1);

    native!(module, pure: true, "to_chars", move |text: ImmutableString| list(&mut text.chars().map(Into::into)));
    native!(module, pure: true, "split", move |text: &mut ImmutableString| {
        if text.is_empty() { list(&mut [text.clone().into()].into_iter()) } else { list(&mut text.split_whitespace().map(Into::into)) }
    });

    /// One sort of split, by string and by character, with and without a number of pieces.
    macro_rules! split {
        ($name:literal, $split:ident, $splitn:ident) => {
            native!(module, pure: true, $name, move |text: &mut ImmutableString, at: ImmutableString| {
                if text.is_empty() {
                    return list(&mut [text.clone().into()].into_iter());
                }
                list(&mut text.$split(at.as_str()).map(Into::into))
            });
            native!(module, pure: true, $name, move |text: &mut ImmutableString, at: char| {
                list(&mut text.$split(at).map(Into::into))
            });
            native!(module, pure: true, $name, move |text: &mut ImmutableString, at: ImmutableString, pieces: i64| {
                if text.is_empty() {
                    return list(&mut [text.clone().into()].into_iter());
                }
                list(&mut text.$splitn(at_most(pieces), at.as_str()).map(Into::into))
            });
            native!(module, pure: true, $name, move |text: &mut ImmutableString, at: char, pieces: i64| {
                list(&mut text.$splitn(at_most(pieces), at).map(Into::into))
            });
        };
    }
    split!("split", split, splitn);
    split!("split_rev", rsplit, rsplitn);
}
