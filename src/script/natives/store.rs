//! `store`: what a circle keeps. Everything goes through the run's transaction.

use rhai::{Dynamic, EvalAltResult, ImmutableString, Module, Position};

use super::{Failed, json::parsed, native, unprintable};
use crate::{
    script::{Limits, budget, failure, json, print::Bounds, run_context},
    store::{Transaction, Value, WriteError},
};

/// The value of `store`. There is one in every scope, functions included.
#[derive(Debug, Clone, Copy)]
pub(in crate::script) struct Store;

/// Its name.
pub(in crate::script) const STORE: &str = "store";

/// The cost of reading the store, in operations.
const READ_COST: usize = 8;
/// Bytes that count as one operation.
const BYTES_PER_OPERATION: usize = 256;

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let bounds = Bounds {
        length: limits.max_string.get(),
        depth: limits.max_result_depth.get(),
    };
    let max_array = limits.max_array;
    module.set_custom_type::<Store>(STORE);
    module.set_var(STORE, Store);
    native!(module, pure: true, "get", |_: &mut Store, key: ImmutableString| get(&key));
    native!(module, pure: true, "get", |_: &mut Store, key: ImmutableString, default: Dynamic| {
        read(&key)?.map_or(Ok(default), |value| parsed(&value))
    });
    native!(module, pure: true, "has", |_: &mut Store, key: ImmutableString| {
        Ok::<_, Failed>(read(&key)?.is_some())
    });
    native!(module, pure: true, "set", move |_: &mut Store, key: ImmutableString, value: Dynamic| {
        set(&key, &value, bounds)
    });
    native!(module, pure: true, "delete", |_: &mut Store, key: ImmutableString| {
        budget::charge(READ_COST)?;
        within(|transaction| transaction.set(&key, None))
    });
    native!(module, pure: true, "incr", move |_: &mut Store, key: ImmutableString, by: i64| {
        add(&key, by.into(), bounds)
    });
    native!(module, pure: true, "incr", move |_: &mut Store, key: ImmutableString, by: f64| {
        add(&key, by.into(), bounds)
    });
    native!(module, pure: true, "keys", move |_: &mut Store, prefix: ImmutableString| {
        keys(&prefix, max_array.get())
    });
}

fn get(key: &str) -> Result<Dynamic, Failed> {
    read(key)?.map_or(Ok(Dynamic::UNIT), |value| parsed(&value))
}

fn read(key: &str) -> Result<Option<Value>, Failed> {
    budget::charge(READ_COST)?;
    within(|transaction| transaction.get(key))
}

fn set(key: &str, value: &Dynamic, bounds: Bounds) -> Result<(), Failed> {
    if let Err(kind) = json::check(value, bounds.depth) {
        return Err(failed(format!(
            "a {kind} can't be stored: it has no JSON form"
        )));
    }
    let raw = json::to_raw(value, bounds).map_err(unprintable)?;
    budget::charge(READ_COST + raw.get().len() / BYTES_PER_OPERATION)?;
    within(|transaction| transaction.set(key, Some(Value::new(raw.get().as_bytes()))))
}

/// Adds a number to the one that is kept, 0 where there is none. Whole numbers stay whole.
fn add(key: &str, by: Dynamic, bounds: Bounds) -> Result<Dynamic, Failed> {
    let old = match read(key)? {
        Some(value) => parsed(&value)?,
        None => Dynamic::from_int(0),
    };
    let float = |number: &Dynamic| {
        number
            .as_float()
            .or_else(|_| number.as_int().map(|number| number as f64))
    };
    let new = if let (Ok(old), Ok(by)) = (old.as_int(), by.as_int()) {
        let sum = old.checked_add(by);
        let too_large = || failed(format!("{old} + {by} is too large for a number"));
        Dynamic::from_int(sum.ok_or_else(too_large)?)
    } else if let (Ok(old), Ok(by)) = (float(&old), float(&by)) {
        Dynamic::from_float(old + by)
    } else {
        let kind = old.type_name();
        return Err(failed(format!(
            "the value of \"{key}\" is not a number but {kind}"
        )));
    };
    set(key, &new, bounds)?;
    Ok(new)
}

fn keys(prefix: &str, max: usize) -> Result<rhai::Array, Failed> {
    budget::charge(READ_COST)?;
    let keys = within(|transaction| transaction.keys(prefix, max))?;
    budget::charge(keys.len())?;
    let text = |key: crate::store::Key| String::from_utf8_lossy(&key).as_ref().into();
    Ok(keys.into_iter().map(text).collect())
}

fn within<R>(work: impl FnOnce(&mut Transaction) -> Result<R, WriteError>) -> Result<R, Failed> {
    match run_context::with_transaction(work) {
        Some(Ok(result)) => Ok(result),
        Some(Err(WriteError::Unavailable(_))) => Err(budget::give_up()),
        Some(Err(error)) => Err(limit(error.to_string())),
        None => Err(failed("there is no store here".to_owned())),
    }
}

fn failed(message: String) -> Failed {
    EvalAltResult::ErrorRuntime(format!("store: {message}").into(), Position::NONE).into()
}

fn limit(message: String) -> Failed {
    let message = format!("{}{message}", failure::STORE_LIMIT);
    EvalAltResult::ErrorDataTooLarge(message, Position::NONE).into()
}
