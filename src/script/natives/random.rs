//! `random` and `uuid`: drawn from the run's seed, so that a run which is repeated gets the same ones.

use rhai::{EvalAltResult, ImmutableString, Module, Position};

use super::{Failed, native};
use crate::script::{
    budget,
    run_context::{self, RunContext},
};

/// The cost of a random number, in operations.
const COST: usize = 4;

pub(super) fn register(module: &mut Module) {
    native!(module, pure: true, "random", fraction);
    native!(module, pure: true, "random", within);
    native!(module, pure: true, "uuid", || {
        let uuid = uuid::Builder::from_random_bytes(draw()?.to_be_bytes()).into_uuid();
        Ok::<ImmutableString, Failed>(uuid.to_string().into())
    });
}

/// Returns a whole number from `least` to `most`, each as likely as the others.
fn within(least: i64, most: i64) -> Result<i64, Failed> {
    if least > most {
        let message = format!("random: {least} is greater than {most}");
        return Err(EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into());
    }
    let Some(count) = least.abs_diff(most).checked_add(1) else {
        return Ok(draw_number()?.cast_signed());
    };
    // Numbers from the last, incomplete round would make the first ones more likely.
    let end = u64::MAX - (u64::MAX % count + 1) % count;
    loop {
        let drawn = draw_number()?;
        if drawn <= end {
            return Ok(least.wrapping_add_unsigned(drawn % count));
        }
    }
}

/// Returns a number from 0 to 1, without 1, of 53 random bits: as many as a float has.
fn fraction() -> Result<f64, Failed> {
    Ok((draw_number()? >> 11) as f64 / (1_u64 << 53) as f64)
}

fn draw_number() -> Result<u64, Failed> {
    Ok((draw()? >> 64) as u64)
}

fn draw() -> Result<u128, Failed> {
    budget::charge(COST)?;
    Ok(run_context::with(RunContext::draw))
}
