//! Functions of maps that call a script's function for each entry, and those that make maps larger.

use std::mem;

use rhai::{Dynamic, FnPtr, Identifier, ImmutableString, Map, Module, NativeCallContext};

use super::{
    Failed,
    callbacks::{Context, seal},
    native, too_many_entries,
};
use crate::script::Limits;

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let most = limits.max_map.get();
    native!(module, pure: false, "set", move |map: &mut Map, key: ImmutableString, value: Dynamic| {
        put(map, [(key.as_str().into(), value)], most)
    });
    native!(module, pure: false, "mixin" | "+=", move |map: &mut Map, other: Map| put(map, other, most));
    native!(module, pure: true, "+", move |map: Map, other: Map| {
        let mut map = map;
        put(&mut map, other, most).map(|()| map)
    });
    native!(module, pure: false, "fill_with", move |map: &mut Map, other: Map| {
        let missing: Map = other.into_iter().filter(|(key, _)| !map.contains_key(key)).collect();
        put(map, missing, most)
    });
    native!(module, pure: true, "map", |ctx: NativeCallContext, map: &mut Map, f: FnPtr| map_map(&ctx, map, &f));
    native!(module, pure: true, "filter", |ctx: NativeCallContext, map: &mut Map, f: FnPtr| map_filter(&ctx, map, &f));
    native!(module, pure: false, "drain", |ctx: NativeCallContext, map: &mut Map, f: FnPtr| {
        map_part(&ctx, map, &f, true)
    });
    native!(module, pure: false, "retain", |ctx: NativeCallContext, map: &mut Map, f: FnPtr| {
        map_part(&ctx, map, &f, false)
    });
}

fn put(
    map: &mut Map,
    entries: impl IntoIterator<Item = (Identifier, Dynamic)>,
    most: usize,
) -> Result<(), Failed> {
    map.extend(entries);
    if map.len() > most {
        return Err(too_many_entries());
    }
    Ok(())
}

/// Calls `f` with the key, and the entry as `this` or as the second parameter.
fn entry(
    name: &str,
    ctx: &Context<'_>,
    f: &FnPtr,
    key: &str,
    item: &mut Dynamic,
) -> Result<Dynamic, Failed> {
    f.call_raw_with_extra_args(name, ctx, Some(item), [key.into()], [], Some(1))
        .map_err(seal)
}

fn map_map(ctx: &Context<'_>, map: &mut Map, f: &FnPtr) -> Result<Map, Failed> {
    map.iter_mut()
        .map(|(key, item)| Ok((key.clone(), entry("map", ctx, f, key, item)?)))
        .collect()
}

fn map_filter(ctx: &Context<'_>, map: &mut Map, f: &FnPtr) -> Result<Map, Failed> {
    let mut kept = Map::new();
    for (key, item) in map.iter_mut() {
        if entry("filter", ctx, f, key, item)?
            .as_bool()
            .unwrap_or(false)
        {
            kept.insert(key.clone(), item.clone());
        }
    }
    Ok(kept)
}

fn map_part(ctx: &Context<'_>, map: &mut Map, f: &FnPtr, take: bool) -> Result<Map, Failed> {
    let name = if take { "drain" } else { "retain" };
    let mut takes = Vec::with_capacity(map.len());
    for (key, item) in map.iter_mut() {
        takes.push(entry(name, ctx, f, key, item)?.as_bool().unwrap_or(false) == take);
    }
    let (mut taken, mut kept) = (Map::new(), Map::new());
    for ((key, item), take) in mem::take(map).into_iter().zip(takes) {
        if take {
            taken.insert(key, item)
        } else {
            kept.insert(key, item)
        };
    }
    *map = kept;
    Ok(taken)
}
