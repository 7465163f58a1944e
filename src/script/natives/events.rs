//! `emit` and `emit_to`: what a circle's sessions are told once the run is committed.

use circled_protocol::PublicKey;
use rhai::{Dynamic, EvalAltResult, ImmutableString, Module, Position};

use super::{Failed, native, unprintable};
use crate::{
    script::{Limits, budget, failure::EMIT_LIMIT, json, print::Bounds, run_context},
    store::{Value, WriteError},
};

/// The cost of an event, in operations.
const EVENT: usize = 8;
/// Bytes that count as one operation.
const BYTES_PER_OPERATION: usize = 256;

pub(super) fn register(module: &mut Module, limits: &Limits) {
    let bounds = Bounds {
        length: limits.max_string.get(),
        depth: limits.max_result_depth.get(),
    };
    native!(module, pure: true, "emit", move |topic: ImmutableString, value: Dynamic| {
        emit(&topic, &value, bounds, None)
    });
    native!(module, pure: true, "emit_to", move |key: ImmutableString, topic: ImmutableString, value: Dynamic| {
        let to = key.parse::<PublicKey>();
        let to = to.map_err(|error| failed(format!("the first argument is no public key: {error}")))?;
        emit(&topic, &value, bounds, Some(to))
    });
}

fn emit(topic: &str, value: &Dynamic, bounds: Bounds, to: Option<PublicKey>) -> Result<(), Failed> {
    if let Err(kind) = json::check(value, bounds.depth) {
        return Err(failed(format!(
            "a {kind} can't be emitted: it has no JSON form"
        )));
    }
    let raw = json::to_raw(value, bounds).map_err(unprintable)?;
    budget::charge(EVENT + raw.get().len() / BYTES_PER_OPERATION)?;
    let data = Value::new(raw.get().as_bytes());
    match run_context::with_transaction(|transaction| transaction.emit(topic, data, to)) {
        Some(Ok(())) => Ok(()),
        Some(Err(WriteError::Unavailable(_))) => Err(budget::give_up()),
        Some(Err(
            error @ (WriteError::Topic { .. } | WriteError::Reserved | WriteError::ReadOnly),
        )) => Err(failed(error.to_string())),
        Some(Err(error)) => {
            let message = format!("{EMIT_LIMIT}{error}");
            Err(EvalAltResult::ErrorDataTooLarge(message, Position::NONE).into())
        }
        None => Err(failed("events can't be emitted here".to_owned())),
    }
}

fn failed(message: String) -> Failed {
    EvalAltResult::ErrorRuntime(format!("emit: {message}").into(), Position::NONE).into()
}
