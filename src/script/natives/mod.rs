//! Functions of Rhai's standard library that could do unbounded work or allocate without bound in one call,
//! again, with bounds. The interpreter checks the budget between calls only, and the results' size only
//! afterwards.
//!
//! These stand before the standard ones and have the same names, parameters and results. Besides:
//!
//! - What runs a script's function (`map`, `sort`, ...) passes limits on as they are. Rhai's versions wrap
//!   them in an error that scripts can catch, or swallow them.
//! - `sleep` is gone.
//! - `parse_json` takes any JSON, not only objects.

mod callbacks;
mod json;
mod lists;
mod sort;
mod subject;
mod text;

use rhai::{EvalAltResult, Module, Position};

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
    subject::register(&mut module, limits);
    for_sleep(&mut module);
    module
}

fn for_sleep(module: &mut Module) {
    let gone = || -> Failed {
        EvalAltResult::ErrorFunctionNotFound("sleep".to_owned(), Position::NONE).into()
    };
    native!(module, pure: true, "sleep", move |_seconds: i64| Err::<(), Failed>(gone()));
    native!(module, pure: true, "sleep", move |_seconds: f64| Err::<(), Failed>(gone()));
}

fn too_long() -> Failed {
    EvalAltResult::ErrorDataTooLarge("Length of string".to_owned(), Position::NONE).into()
}

fn too_many() -> Failed {
    EvalAltResult::ErrorDataTooLarge("Size of array/BLOB".to_owned(), Position::NONE).into()
}

fn unprintable(problem: Unprintable) -> Failed {
    match problem {
        Unprintable::TooLong => too_long(),
        Unprintable::TooDeep => EvalAltResult::ErrorStackOverflow(Position::NONE).into(),
    }
}
