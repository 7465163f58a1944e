//! `now`, `iso` and `parse_time`: times in milliseconds since 1970, UTC.

use jiff::Timestamp;
use rhai::{EvalAltResult, ImmutableString, Module, Position};

use super::{Failed, native};
use crate::script::{
    budget,
    run_context::{self, RunContext},
};

/// The cost of writing or reading a time, in operations.
const COST: usize = 4;
/// The longest text that may be a time.
const MAX_TEXT: usize = 64;

pub(super) fn register(module: &mut Module) {
    native!(module, pure: true, "now", || run_context::with(RunContext::time));
    native!(module, pure: true, "iso", iso);
    native!(module, pure: true, "parse_time", |text: ImmutableString| parse_time(&text));
}

/// Returns a time as in `2026-11-23T16:45:00.000Z`.
fn iso(millis: i64) -> Result<ImmutableString, Failed> {
    budget::charge(COST)?;
    match Timestamp::from_millisecond(millis) {
        Ok(time) => Ok(format!("{time:.3}").into()),
        Err(_) => Err(failed(format!(
            "iso: {millis} ms is before the year -9999 or after 9999"
        ))),
    }
}

fn parse_time(text: &str) -> Result<i64, Failed> {
    budget::charge(COST)?;
    let time = (text.len() <= MAX_TEXT).then(|| text.parse::<Timestamp>());
    match time {
        Some(Ok(time)) => Ok(time.as_millisecond()),
        Some(Err(_)) | None => Err(failed(
            "parse_time: this is no time as in \"2026-11-23T16:45:00Z\" or \"2026-11-23T17:45:00+01:00\"".to_owned(),
        )),
    }
}

fn failed(message: String) -> Failed {
    EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into()
}
