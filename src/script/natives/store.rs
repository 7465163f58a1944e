//! `store`: what a circle keeps. Everything goes through the run's transaction.

use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, Module, Position};

use super::{Failed, json::parsed, native, range_options, unprintable};
use crate::{
    script::{
        Limits, budget, failure, json,
        print::Bounds,
        run_context::{self, RunContext},
    },
    store::{Key, KeyRange, Transaction, Value, WriteError},
    units::duration,
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
/// Keys that are counted in one operation.
const COUNTED_PER_OPERATION: usize = 8;
/// Milliseconds that a key may live, if it expires: ten years.
const LONGEST_TTL: i64 = 3650 * 24 * 3_600_000;
/// Entries that a range returns unless it has a limit.
const PAGE: usize = 100;

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
    native!(module, pure: true, "set", move |_: &mut Store, key: ImmutableString, value: Dynamic, options: Map| {
        let ttl = ttl(&options).map_err(failed)?;
        let value = stored(&value, bounds)?;
        within(|transaction| match ttl {
            Some(ttl) => transaction.set_until(&key, &value, now().saturating_add(ttl)),
            None => transaction.set(&key, Some(value)),
        })
    });
    native!(module, pure: true, "ttl", |_: &mut Store, key: ImmutableString| {
        budget::charge(READ_COST)?;
        let end = within(|transaction| transaction.expires_at(&key))?;
        Ok::<_, Failed>(end.map_or(Dynamic::UNIT, |end| Dynamic::from_int(end.saturating_sub(now()))))
    });
    native!(module, pure: true, "push", move |_: &mut Store, prefix: ImmutableString, value: Dynamic| {
        let value = stored(&value, bounds)?;
        within(|transaction| transaction.push(&prefix, value))
    });
    native!(module, pure: true, "delete", |_: &mut Store, key: ImmutableString| {
        budget::charge(READ_COST)?;
        within(|transaction| transaction.set(&key, None))
    });
    native!(module, pure: true, "add", |_: &mut Store, key: ImmutableString, by: i64| {
        budget::charge(READ_COST)?;
        within(|transaction| transaction.add(&key, by))
    });
    native!(module, pure: true, "add", |_: &mut Store, _key: ImmutableString, _by: f64| {
        let message = "store.add adds whole numbers, and store.incr others, too";
        Err::<(), _>(failed(message.to_owned()))
    });
    native!(module, pure: true, "incr", move |_: &mut Store, key: ImmutableString, by: i64| {
        incr(&key, by.into(), bounds)
    });
    native!(module, pure: true, "incr", move |_: &mut Store, key: ImmutableString, by: f64| {
        incr(&key, by.into(), bounds)
    });
    let max_array = max_array.get();
    let max_memory = limits.max_memory.get();
    native!(module, pure: true, "keys", move |_: &mut Store, prefix: ImmutableString| {
        keys(|transaction| transaction.keys(&prefix, max_array))
    });
    native!(module, pure: true, "keys", move |_: &mut Store, options: Map| {
        let range = range(&options, PAGE, max_array)?;
        keys(|transaction| transaction.scan(range))
    });
    native!(module, pure: true, "scan", move |_: &mut Store, options: Map| {
        scan(range(&options, PAGE, max_array)?, max_memory)
    });
    native!(module, pure: true, "delete_range", move |_: &mut Store, options: Map| {
        budget::charge(READ_COST)?;
        let range = range(&options, usize::MAX, max_array)?;
        if range.limit < usize::MAX {
            budget::charge(range.limit)?;
        }
        budget::unmeasured(|| within(|transaction| transaction.delete_range(range)))
    });
    native!(module, pure: true, "count", |_: &mut Store, prefix: ImmutableString| {
        count(KeyRange::of_prefix(prefix.as_bytes()))
    });
    native!(module, pure: true, "count", move |_: &mut Store, options: Map| {
        count(range(&options, usize::MAX, max_array)?)
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
    let value = stored(value, bounds)?;
    within(|transaction| transaction.set(key, Some(value)))
}

/// Returns the time of the run, from which a time to live counts.
fn now() -> i64 {
    run_context::with(RunContext::time)
}

/// Returns the time to live that the options of a `set` say, in milliseconds.
fn ttl(options: &Map) -> Result<Option<i64>, String> {
    let mut ttl = None;
    for (name, value) in options.iter().filter(|(_, value)| !value.is_unit()) {
        if name != "ttl" {
            return Err(format!("there is no \"{name}\": set has the option ttl"));
        }
        let millis = value.as_int().ok().or_else(|| {
            let text = value.read_lock::<ImmutableString>()?;
            let duration = duration::parse(&text)?;
            i64::try_from(duration.as_millis()).ok()
        });
        let millis = millis.filter(|millis| (1..=LONGEST_TTL).contains(millis));
        ttl = Some(millis.ok_or(
            "\"ttl\" must be a text like \"90s\", \"1h\" or \"30d\", or whole milliseconds, and at most 3650 days",
        )?);
    }
    Ok(ttl)
}

/// Returns a value as it is stored.
fn stored(value: &Dynamic, bounds: Bounds) -> Result<Value, Failed> {
    if let Err(kind) = json::check(value, bounds.depth) {
        return Err(failed(format!(
            "a {kind} can't be stored: it has no JSON form"
        )));
    }
    let raw = json::to_raw(value, bounds).map_err(unprintable)?;
    budget::charge(READ_COST + raw.get().len() / BYTES_PER_OPERATION)?;
    Ok(Value::new(raw.get().as_bytes()))
}

/// Adds a number to the one that is kept, 0 where there is none. Whole numbers stay whole.
fn incr(key: &str, by: Dynamic, bounds: Bounds) -> Result<Dynamic, Failed> {
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
    let value = stored(&new, bounds)?;
    within(|transaction| transaction.set_keeping_expiry(key, value))?;
    Ok(new)
}

fn range(options: &Map, unlimited: usize, most: usize) -> Result<KeyRange, Failed> {
    range_options::parse(options, unlimited, most).map_err(failed)
}

fn keys(
    read: impl FnOnce(&mut Transaction) -> Result<Vec<Key>, WriteError>,
) -> Result<rhai::Array, Failed> {
    budget::charge(READ_COST)?;
    let keys = budget::unmeasured(|| within(read))?;
    budget::charge(keys.len())?;
    Ok(keys.iter().map(text).collect())
}

/// Returns the keys and the values of a range, each pair as a map.
fn scan(range: KeyRange, max_bytes: usize) -> Result<rhai::Array, Failed> {
    budget::charge(READ_COST)?;
    let entries =
        budget::unmeasured(|| within(|transaction| transaction.scan_entries(range, max_bytes)))?;
    let entry = |(key, value): (Key, Value)| {
        budget::charge_one()?;
        let value = parsed(&value)?;
        let entry = [("key".into(), text(&key)), ("value".into(), value)];
        Ok(Dynamic::from_map(entry.into_iter().collect()))
    };
    entries.into_iter().map(entry).collect()
}

fn count(range: KeyRange) -> Result<i64, Failed> {
    budget::charge(READ_COST)?;
    let mut stopped = None;
    let mut on_counted = |keys: usize| {
        let charged = budget::charge(keys / COUNTED_PER_OPERATION);
        charged.map_err(|error| stopped = Some(error)).is_ok()
    };
    let counted =
        budget::unmeasured(|| within(|transaction| transaction.count(range, &mut on_counted)))?;
    match (counted, stopped) {
        (Some(count), _) => Ok(i64::try_from(count).unwrap_or(i64::MAX)),
        (None, Some(error)) => Err(error),
        (None, None) => Err(budget::give_up()),
    }
}

fn text(key: &Key) -> Dynamic {
    String::from_utf8_lossy(key).as_ref().into()
}

fn within<R>(work: impl FnOnce(&mut Transaction) -> Result<R, WriteError>) -> Result<R, Failed> {
    match run_context::with_transaction(work) {
        Some(Ok(result)) => Ok(result),
        Some(Err(WriteError::Unavailable(_))) => Err(budget::give_up()),
        Some(Err(error @ WriteError::Keys { .. })) => Err(limit(format!(
            "{error}: read them in parts, with store.scan(#{{prefix: ..., after: ...}})"
        ))),
        Some(Err(error @ (WriteError::Add { .. } | WriteError::ReadOnly))) => {
            Err(failed(error.to_string()))
        }
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
