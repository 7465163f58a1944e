//! Functions from outside, for scripts that a tool runs: those of `circled test`.

use std::{fmt, sync::Arc};

use rhai::{Dynamic, EvalAltResult, Module, Position};
use serde_json::Value;

use super::{Limits, budget, json, print::Bounds};

/// The cost of a call, in operations.
const CALL: usize = 64;
/// Bytes of JSON that count as one operation.
const BYTES_PER_OPERATION: usize = 256;

type Failed = Box<EvalAltResult>;

/// The functions from outside. Values go in and out as JSON. The script waits meanwhile, and nothing counts in its
/// memory.
pub trait Host: fmt::Debug + Send + Sync {
    /// Returns the names of all functions, each with the fewest and the most arguments, up to 3.
    fn functions(&self) -> &'static [(&'static str, usize, usize)];

    /// Calls a function.
    ///
    /// # Errors
    /// The text that the script throws then.
    fn call(&self, name: &'static str, arguments: Vec<Value>) -> Result<Value, String>;
}

/// Returns a module with the functions of a host.
pub(super) fn module(limits: &Limits, host: &Arc<dyn Host>) -> Module {
    let mut module = Module::new();
    for (name, fewest, most) in host.functions() {
        for arity in *fewest..=*most {
            register(&mut module, name, arity, limits, host);
        }
    }
    module
}

fn register(
    module: &mut Module,
    name: &'static str,
    arity: usize,
    limits: &Limits,
    host: &Arc<dyn Host>,
) {
    let bounds = Bounds {
        length: limits.max_string.get(),
        depth: limits.max_result_depth.get(),
    };
    let host = Arc::clone(host);
    let call = move |arguments: &[Dynamic]| call(&*host, name, arguments, bounds);
    let function = rhai::FuncRegistration::new(name).with_purity(true);
    let _ = match arity {
        0 => function.set_into_module(module, move || call(&[])),
        1 => function.set_into_module(module, move |one: Dynamic| call(&[one])),
        2 => function.set_into_module(module, move |one: Dynamic, two: Dynamic| call(&[one, two])),
        _ => function.set_into_module(module, move |one: Dynamic, two: Dynamic, three: Dynamic| {
            call(&[one, two, three])
        }),
    };
}

fn call(
    host: &dyn Host,
    name: &'static str,
    arguments: &[Dynamic],
    bounds: Bounds,
) -> Result<Dynamic, Failed> {
    let failed = |message: String| -> Failed {
        EvalAltResult::ErrorRuntime(message.into(), Position::NONE).into()
    };
    let mut size = 0;
    for argument in arguments {
        if let Err(kind) = json::check(argument, bounds.depth) {
            return Err(failed(format!("{name}: a {kind} has no JSON form")));
        }
        let raw = json::to_raw(argument, bounds)
            .map_err(|_| failed(format!("{name}: an argument is too large")))?;
        size += raw.get().len();
    }
    budget::charge(CALL + size / BYTES_PER_OPERATION)?;
    let result = budget::unmeasured(|| {
        let values = arguments.iter().map(|argument| {
            let raw = json::to_raw(argument, bounds).ok()?;
            circled_json::parse(raw.get()).ok()
        });
        let values = values.map(Option::unwrap_or_default).collect();
        host.call(name, values)
    });
    match result {
        Ok(value) => Ok(json::to_dynamic(&value)),
        Err(message) => Err(failed(message)),
    }
}
