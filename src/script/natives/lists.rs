//! Arrays: what makes them longer, and dropping repeated elements.

use std::mem;

use rhai::{Array, Dynamic, FnPtr, ImmutableString, Module, NativeCallContext};

use super::{
    Failed,
    callbacks::{first, seal},
    equal::equal,
    native, too_many,
};
use crate::script::{Limits, budget};

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let most = limits.max_array.get();
    native!(module, pure: false, "pad", move |array: &mut Array, length: i64, item: Dynamic| {
        pad(array, length, &item, most)
    });
    native!(module, pure: false, "push", move |array: &mut Array, item: Dynamic| {
        fits(array.len(), 1, most)?;
        array.push(item);
        Ok::<(), Failed>(())
    });
    native!(module, pure: false, "append", move |array: &mut Array, items: Array| {
        fits(array.len(), items.len(), most)?;
        array.extend(items);
        Ok::<(), Failed>(())
    });
    native!(module, pure: true, "+", move |array: Array, items: Array| {
        fits(array.len(), items.len(), most)?;
        let mut array = array;
        array.extend(items);
        Ok::<Array, Failed>(array)
    });
    native!(module, pure: false, "insert", move |array: &mut Array, index: i64, item: Dynamic| {
        fits(array.len(), 1, most)?;
        array.insert(first(array.len(), index), item);
        Ok::<(), Failed>(())
    });
    native!(module, pure: false, "dedup", |ctx: NativeCallContext, array: &mut Array| {
        let mut work = 0;
        dedup(array, |before, item| equal(&ctx, before, item, &mut work))
    });
    native!(module, pure: false, "dedup", |ctx: NativeCallContext, array: &mut Array, same: FnPtr| {
        dedup(array, |before, item| told(&ctx, &same, before, item))
    });
    native!(module, pure: false, "dedup", |ctx: NativeCallContext, array: &mut Array, same: ImmutableString| {
        let same = FnPtr::new(same)?;
        dedup(array, |before, item| told(&ctx, &same, before, item))
    });
}

/// Checks that an array can take so many more.
fn fits(length: usize, more: usize, most: usize) -> Result<(), Failed> {
    if length.saturating_add(more) > most {
        return Err(too_many());
    }
    Ok(())
}

/// Rhai multiplies sizes here without a check for overflow, and asks the allocator for petabytes.
fn pad(array: &mut Array, length: i64, item: &Dynamic, most: usize) -> Result<(), Failed> {
    let length = usize::try_from(length).unwrap_or(0);
    if length <= array.len() {
        return Ok(());
    }
    if length > most {
        return Err(too_many());
    }
    while array.len() < length {
        // What an item holds is cloned with it, and only memory tells how much that is.
        budget::charge(usize::from(array.len().is_multiple_of(16)))?;
        array.push(item.clone());
    }
    Ok(())
}

fn dedup(
    array: &mut Array,
    mut same: impl FnMut(&Dynamic, &Dynamic) -> Result<bool, Failed>,
) -> Result<(), Failed> {
    let mut keep = Vec::with_capacity(array.len());
    let mut last = 0;
    for index in 0..array.len() {
        let repeats = index > 0 && same(&array[last], &array[index])?;
        keep.push(!repeats);
        if !repeats {
            last = index;
        }
    }
    let kept = mem::take(array)
        .into_iter()
        .zip(keep)
        .filter_map(|(item, keep)| keep.then_some(item));
    *array = kept.collect();
    Ok(())
}

fn told(
    ctx: &NativeCallContext<'_>,
    same: &FnPtr,
    before: &Dynamic,
    item: &Dynamic,
) -> Result<bool, Failed> {
    let told = same
        .call_raw(ctx, None, [before.clone(), item.clone()])
        .map_err(seal)?;
    Ok(told.as_bool().unwrap_or(false))
}
