//! Compares values, and searches arrays for them: the same string may stand in an array any number of times, so that
//! memory says nothing of how long it takes to compare.

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, ImmutableString, Map, Module, NativeCallContext};

use super::{
    Failed,
    callbacks::{Context, first, index_of, place},
    native,
};
use crate::script::budget;

/// Bytes of strings compared that count as one operation.
const BYTES_PER_OPERATION: usize = 4096;
/// Elements compared that count as one operation.
const PER_OPERATION: usize = 16;

pub(super) fn register(module: &mut Module) {
    native!(module, pure: true, "==", |ctx: NativeCallContext, left: &mut Array, right: Array| lists(&ctx, left, &right));
    native!(module, pure: true, "!=", |ctx: NativeCallContext, left: &mut Array, right: Array| {
        lists(&ctx, left, &right).map(|equal| !equal)
    });
    native!(module, pure: true, "==", |ctx: NativeCallContext, left: &mut Map, right: Map| maps(&ctx, left, &right));
    native!(module, pure: true, "!=", |ctx: NativeCallContext, left: &mut Map, right: Map| {
        maps(&ctx, left, &right).map(|equal| !equal)
    });
    native!(module, pure: true, "contains", |ctx: NativeCallContext, list: &mut Array, value: Dynamic| {
        Ok::<_, Failed>(find(&ctx, list, &value, 0)? >= 0)
    });
    native!(module, pure: true, "index_of", |ctx: NativeCallContext, list: &mut Array, value: Dynamic| {
        find(&ctx, list, &value, 0)
    });
    native!(module, pure: true, "index_of", |ctx: NativeCallContext, list: &mut Array, value: Dynamic, start: i64| {
        find(&ctx, list, &value, start)
    });
    native!(module, pure: true, "index_of", |ctx: NativeCallContext, list: &mut Array, text: ImmutableString| {
        named_or_equal(&ctx, list, &text, 0)
    });
    native!(module, pure: true, "index_of", |ctx: NativeCallContext, list: &mut Array, text: ImmutableString, start: i64| {
        named_or_equal(&ctx, list, &text, start)
    });
}

/// Compares as Rhai's `==`: a function of the script's own is asked where there is nothing else to go by.
pub(super) fn equal(
    ctx: &Context<'_>,
    left: &Dynamic,
    right: &Dynamic,
    work: &mut usize,
) -> Result<bool, Failed> {
    *work += 1;
    if let (Ok(left), Ok(right)) = (
        left.as_immutable_string_ref(),
        right.as_immutable_string_ref(),
    ) {
        if left.len() != right.len() {
            return Ok(false);
        }
        *work += left.len() * PER_OPERATION / BYTES_PER_OPERATION;
        pay(work)?;
        return Ok(left.as_str() == right.as_str());
    }
    pay(work)?;
    if let (Ok(left), Ok(right)) = (left.as_array_ref(), right.as_array_ref()) {
        return lists_so_far(ctx, &left, &right, work);
    }
    if let (Ok(left), Ok(right)) = (left.as_map_ref(), right.as_map_ref()) {
        return maps_so_far(ctx, &left, &right, work);
    }
    if let (Ok(left), Ok(right)) = (left.as_int(), right.as_int()) {
        return Ok(left == right);
    }
    match ctx.call_native_fn_raw("==", true, &mut [&mut left.clone(), &mut right.clone()]) {
        Ok(equal) => Ok(equal.as_bool().unwrap_or(false)),
        // Nothing says when two of another type are equal.
        Err(error)
            if matches!(*error, EvalAltResult::ErrorFunctionNotFound(..))
                && left.type_id() != right.type_id() =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Charges whole operations.
fn pay(work: &mut usize) -> Result<(), Failed> {
    if *work >= PER_OPERATION {
        budget::charge(*work / PER_OPERATION)?;
        *work %= PER_OPERATION;
    }
    Ok(())
}

fn lists(ctx: &Context<'_>, left: &[Dynamic], right: &[Dynamic]) -> Result<bool, Failed> {
    lists_so_far(ctx, left, right, &mut 0)
}

fn lists_so_far(
    ctx: &Context<'_>,
    left: &[Dynamic],
    right: &[Dynamic],
    work: &mut usize,
) -> Result<bool, Failed> {
    // It recurses.
    budget::charge_one()?;
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right) {
        if !equal(ctx, left, right, work)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps(ctx: &Context<'_>, left: &Map, right: &Map) -> Result<bool, Failed> {
    maps_so_far(ctx, left, right, &mut 0)
}

fn maps_so_far(
    ctx: &Context<'_>,
    left: &Map,
    right: &Map,
    work: &mut usize,
) -> Result<bool, Failed> {
    budget::charge_one()?;
    if left.len() != right.len() {
        return Ok(false);
    }
    for ((key, left), (other, right)) in left.iter().zip(right) {
        *work += key.len().min(other.len()) * PER_OPERATION / BYTES_PER_OPERATION;
        if key != other || !equal(ctx, left, right, work)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn find(ctx: &Context<'_>, list: &[Dynamic], value: &Dynamic, start: i64) -> Result<i64, Failed> {
    let (start, mut work) = (first(list.len(), start), 0);
    for (index, item) in list.iter().enumerate().skip(start) {
        if equal(ctx, item, value, &mut work)? {
            return Ok(place(index));
        }
    }
    Ok(-1)
}

/// A text that names a function of the script's is that function; any other is what is looked for.
fn named_or_equal(
    ctx: &Context<'_>,
    list: &mut Array,
    text: &ImmutableString,
    start: i64,
) -> Result<i64, Failed> {
    let names_function = ctx.iter_namespaces().any(|functions| {
        let mut functions = functions.iter_script_fn_info();
        functions.any(|(_, _, name, _, _)| name == text.as_str())
    });
    if names_function && let Ok(function) = FnPtr::new(text.clone()) {
        return index_of(ctx, list, &function, start);
    }
    find(ctx, list, &text.clone().into(), start)
}
