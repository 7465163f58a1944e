//! Functions of arrays that call a script's function for each element.

use std::mem;

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, ImmutableString, Module, NativeCallContext};

use super::{Failed, native};

/// A limit that was hit in the called function stays one: wrapped, a script could catch it.
pub(super) fn seal(error: Failed) -> Failed {
    let mut inner = &error;
    while let EvalAltResult::ErrorInFunctionCall(_, _, next, _) = &**inner {
        inner = next;
    }
    if !inner.is_system_exception() {
        return error;
    }
    let mut error = *error;
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = error {
        error = *inner;
    }
    error.into()
}

/// Registers a function that takes a function pointer for one that takes a function's name, too.
macro_rules! callback {
    ($module:ident, pure: $pure:literal, $name:literal, $function:path $(, $argument:ident: $type:ty)*) => {
        native!($module, pure: $pure, $name, |ctx: NativeCallContext, list: &mut Array, f: FnPtr $(, $argument: $type)*| {
            $function(&ctx, list, &f $(, $argument)*)
        });
        native!($module, pure: $pure, $name, |ctx: NativeCallContext, list: &mut Array, f: ImmutableString $(, $argument: $type)*| {
            $function(&ctx, list, &FnPtr::new(f)? $(, $argument)*)
        });
    };
}

pub(super) fn register(module: &mut Module) {
    callback!(module, pure: false, "for_each", for_each);
    callback!(module, pure: true, "map", map);
    callback!(module, pure: true, "filter", filter);
    callback!(module, pure: true, "find", find);
    callback!(module, pure: true, "find", find_from, start: i64);
    callback!(module, pure: true, "find_map", find_map);
    callback!(module, pure: true, "find_map", find_map_from, start: i64);
    callback!(module, pure: true, "some", some);
    callback!(module, pure: true, "all", all);
    callback!(module, pure: true, "reduce", reduce);
    callback!(module, pure: true, "reduce", reduce_with, initial: Dynamic);
    callback!(module, pure: true, "reduce_rev", reduce_rev);
    callback!(module, pure: true, "reduce_rev", reduce_rev_with, initial: Dynamic);
    callback!(module, pure: false, "drain", drain);
    callback!(module, pure: false, "retain", retain);
    native!(module, pure: true, "index_of", |ctx: NativeCallContext, list: &mut Array, f: FnPtr| {
        index_of(&ctx, list, &f, 0)
    });
    native!(module, pure: true, "index_of", |ctx: NativeCallContext, list: &mut Array, f: FnPtr, start: i64| {
        index_of(&ctx, list, &f, start)
    });
    native!(module, pure: true, "zip", |ctx: NativeCallContext, list: &mut Array, other: Array, f: FnPtr| {
        zip(&ctx, list, other, &f)
    });
}

pub(super) type Context<'a> = NativeCallContext<'a>;

/// Calls `f` with the element as `this` or as its first parameter, and the index if it takes one more.
fn call(
    name: &str,
    ctx: &Context<'_>,
    f: &FnPtr,
    item: &mut Dynamic,
    index: usize,
) -> Result<Dynamic, Failed> {
    f.call_raw_with_extra_args(name, ctx, Some(item), [], [place(index).into()], Some(0))
        .map_err(seal)
}

fn holds(
    name: &str,
    ctx: &Context<'_>,
    f: &FnPtr,
    item: &mut Dynamic,
    index: usize,
) -> Result<bool, Failed> {
    Ok(call(name, ctx, f, item, index)?.as_bool().unwrap_or(false))
}

pub(super) fn place(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// Returns where to start; negative numbers count from the end.
pub(super) fn first(length: usize, start: i64) -> usize {
    match usize::try_from(start) {
        Ok(start) => start.min(length),
        Err(_) => {
            length.saturating_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX))
        }
    }
}

fn for_each(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<(), Failed> {
    for (index, item) in list.iter_mut().enumerate() {
        let _ = f
            .call_raw_with_extra_args("for_each", ctx, Some(item), [], [place(index).into()], None)
            .map_err(seal)?;
    }
    Ok(())
}

fn map(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<Array, Failed> {
    list.iter_mut()
        .enumerate()
        .map(|(index, item)| call("map", ctx, f, item, index))
        .collect()
}

fn filter(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<Array, Failed> {
    let mut kept = Array::new();
    for (index, item) in list.iter_mut().enumerate() {
        if holds("filter", ctx, f, item, index)? {
            kept.push(item.clone());
        }
    }
    Ok(kept)
}

fn position(
    ctx: &Context<'_>,
    list: &mut Array,
    f: &FnPtr,
    start: i64,
) -> Result<Option<usize>, Failed> {
    let start = first(list.len(), start);
    for (index, item) in list.iter_mut().enumerate().skip(start) {
        if holds("index_of", ctx, f, item, index)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

pub(super) fn index_of(
    ctx: &Context<'_>,
    list: &mut Array,
    f: &FnPtr,
    start: i64,
) -> Result<i64, Failed> {
    Ok(position(ctx, list, f, start)?.map_or(-1, place))
}

fn find(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<Dynamic, Failed> {
    find_from(ctx, list, f, 0)
}

fn find_from(
    ctx: &Context<'_>,
    list: &mut Array,
    f: &FnPtr,
    start: i64,
) -> Result<Dynamic, Failed> {
    let found = position(ctx, list, f, start)?;
    Ok(found
        .and_then(|index| list.get(index).cloned())
        .unwrap_or(Dynamic::UNIT))
}

fn find_map(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<Dynamic, Failed> {
    find_map_from(ctx, list, f, 0)
}

fn find_map_from(
    ctx: &Context<'_>,
    list: &mut Array,
    f: &FnPtr,
    start: i64,
) -> Result<Dynamic, Failed> {
    let start = first(list.len(), start);
    for (index, item) in list.iter_mut().enumerate().skip(start) {
        let value = call("find_map", ctx, f, item, index)?;
        if !value.is_unit() {
            return Ok(value);
        }
    }
    Ok(Dynamic::UNIT)
}

fn some(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<bool, Failed> {
    for (index, item) in list.iter_mut().enumerate() {
        if holds("some", ctx, f, item, index)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn all(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<bool, Failed> {
    for (index, item) in list.iter_mut().enumerate() {
        if !holds("all", ctx, f, item, index)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fold<'a>(
    name: &str,
    ctx: &Context<'_>,
    items: impl Iterator<Item = (usize, &'a mut Dynamic)>,
    f: &FnPtr,
    initial: Dynamic,
) -> Result<Dynamic, Failed> {
    let mut result = initial;
    for (index, item) in items {
        let extra = [place(index).into()];
        result = f
            .call_raw_with_extra_args(name, ctx, Some(item), [result], extra, Some(1))
            .map_err(seal)?;
    }
    Ok(result)
}

fn reduce(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<Dynamic, Failed> {
    reduce_with(ctx, list, f, Dynamic::UNIT)
}

fn reduce_with(
    ctx: &Context<'_>,
    list: &mut Array,
    f: &FnPtr,
    initial: Dynamic,
) -> Result<Dynamic, Failed> {
    fold("reduce", ctx, list.iter_mut().enumerate(), f, initial)
}

fn reduce_rev(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<Dynamic, Failed> {
    reduce_rev_with(ctx, list, f, Dynamic::UNIT)
}

fn reduce_rev_with(
    ctx: &Context<'_>,
    list: &mut Array,
    f: &FnPtr,
    initial: Dynamic,
) -> Result<Dynamic, Failed> {
    fold(
        "reduce_rev",
        ctx,
        list.iter_mut().enumerate().rev(),
        f,
        initial,
    )
}

/// Takes out what `f` holds for, in one pass; puts everything back if it fails.
fn drain(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<Array, Failed> {
    part(ctx, list, f, "drain", true)
}

fn retain(ctx: &Context<'_>, list: &mut Array, f: &FnPtr) -> Result<Array, Failed> {
    part(ctx, list, f, "retain", false)
}

fn part(
    ctx: &Context<'_>,
    list: &mut Array,
    f: &FnPtr,
    name: &str,
    take: bool,
) -> Result<Array, Failed> {
    let mut takes = Vec::with_capacity(list.len());
    for (index, item) in list.iter_mut().enumerate() {
        takes.push(holds(name, ctx, f, item, index)? == take);
    }
    let (mut taken, mut kept) = (Array::new(), Array::new());
    for (item, take) in mem::take(list).into_iter().zip(takes) {
        if take {
            taken.push(item)
        } else {
            kept.push(item)
        }
    }
    *list = kept;
    Ok(taken)
}

fn zip(ctx: &Context<'_>, list: &mut Array, other: Array, f: &FnPtr) -> Result<Array, Failed> {
    let pairs = list.iter().zip(other).enumerate();
    pairs
        .map(|(index, (left, right))| {
            let (args, extra) = ([left.clone(), right], [place(index).into()]);
            f.call_raw_with_extra_args("zip", ctx, None, args, extra, None)
                .map_err(seal)
        })
        .collect()
}
