//! Functions of Rhai's standard library that could do unbounded work or allocate without bound in one call,
//! again, with bounds. The interpreter checks the budget between calls only, and the results' size only
//! afterwards.
//!
//! These stand before the standard ones and have the same names, parameters and results. Besides:
//!
//! - What runs a script's function (`map`, `sort`, ...) passes limits on as they are. Rhai's versions wrap
//!   them in an error that scripts can catch, or swallow them.
//! - `sleep` is gone, and `curry` takes up to four arguments at a time.
//! - `parse_json` takes any JSON, not only objects.

mod blobs;
mod callbacks;
mod curry;
mod equal;
mod events;
mod hashes;
mod json;
mod lists;
mod maps;
mod people;
mod random;
mod range_options;
mod sort;
mod store;
mod switch_guard;
mod text;
mod time;

use rhai::{EvalAltResult, Module, Position};

pub(super) use curry::{MAX_ARGUMENTS, renamed};
pub(super) use people::{MEMBERS, Members};
pub(super) use store::{STORE, Store};

use super::{Limits, print::Unprintable};

type Failed = Box<EvalAltResult>;

/// Registers a function under its names; `pure` functions may be called on constants.
macro_rules! native {
    ($module:ident, pure: $pure:literal, $($name:literal)|+, $function:expr) => {
        $(let _ = rhai::FuncRegistration::new($name).with_purity($pure).set_into_module($module, $function);)+
    };
}
use native;

/// All of them.
pub(super) fn module(limits: &Limits) -> Module {
    let mut module = Module::new();
    text::register(&mut module, limits);
    json::register(&mut module, limits);
    lists::register(&mut module, limits);
    sort::register(&mut module);
    callbacks::register(&mut module);
    maps::register(&mut module, limits);
    blobs::register(&mut module, limits);
    equal::register(&mut module);
    curry::register(&mut module);
    switch_guard::register(&mut module, limits);
    store::register(&mut module, limits);
    events::register(&mut module, limits);
    people::register(&mut module);
    time::register(&mut module);
    random::register(&mut module);
    hashes::register(&mut module, limits);
    for_sleep(&mut module);
    #[cfg(test)]
    for_panics(&mut module);
    module
}

fn for_sleep(module: &mut Module) {
    let gone = || -> Failed {
        EvalAltResult::ErrorFunctionNotFound("sleep".to_owned(), Position::NONE).into()
    };
    native!(module, pure: true, "sleep", move |_seconds: i64| Err::<(), Failed>(gone()));
    native!(module, pure: true, "sleep", move |_seconds: f64| Err::<(), Failed>(gone()));
}

/// The library has no function left that is known to panic.
#[cfg(test)]
fn for_panics(module: &mut Module) {
    let panic = |value: i64| {
        if value < 0 {
            // As a panic, without the message on standard error.
            std::panic::resume_unwind(Box::new(()));
        }
        value
    };
    native!(module, pure: true, "panic_below_zero", panic);
}

fn too_long() -> Failed {
    EvalAltResult::ErrorDataTooLarge("Length of string".to_owned(), Position::NONE).into()
}

fn too_many() -> Failed {
    EvalAltResult::ErrorDataTooLarge("Size of array/BLOB".to_owned(), Position::NONE).into()
}

fn too_many_entries() -> Failed {
    EvalAltResult::ErrorDataTooLarge("Size of object map".to_owned(), Position::NONE).into()
}

fn unprintable(problem: Unprintable) -> Failed {
    match problem {
        Unprintable::TooLong => too_long(),
        Unprintable::TooDeep => EvalAltResult::ErrorStackOverflow(Position::NONE).into(),
    }
}
