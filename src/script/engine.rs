//! The interpreter, with every limit set in one function.

use std::sync::Arc;

use rhai::{
    Dynamic, Engine, LexError, OptimizationLevel, Shared, Token,
    packages::{Package, StandardPackage},
};

use super::{
    Host, Limits, budget, captured_variables, constants, host, local, logs, modules, natives,
};

/// The library that the engines of one thread share.
#[derive(Clone)]
pub(super) struct Library {
    standard: Shared<rhai::Module>,
    bounded: Shared<rhai::Module>,
    /// Functions from outside.
    host: Option<Shared<rhai::Module>>,
}

impl Library {
    pub(super) fn new(limits: &Limits, host: Option<&Arc<dyn Host>>) -> Self {
        Self {
            standard: StandardPackage::new().as_shared_module(),
            bounded: natives::module(limits).into(),
            host: host.map(|host| host::module(limits, host).into()),
        }
    }
}

/// Builds an engine with all limits. `resolving`: for scripts whose closures, or those of what they import, may capture
/// variables (see `captured_variables`), and those whose functions see the constants.
pub(super) fn build(limits: &Limits, library: &Library, resolving: bool) -> Engine {
    let mut engine = Engine::new_raw();
    // The later one is searched first, so the bounded functions stand before the standard ones.
    engine.register_global_module(library.standard.clone());
    engine.register_global_module(library.bounded.clone());
    if let Some(host) = &library.host {
        engine.register_global_module(host.clone());
    }

    // Counted in `budget`, together with time, memory and stack: Rhai's own counter starts over in callbacks.
    engine.set_max_operations(0);
    engine.on_progress(|_| budget::step());
    // To Rhai, 0 is no limit in most of these.
    engine.set_max_call_levels(limits.max_call_depth.get());
    engine.set_max_expr_depths(limits.max_expr_depth.get(), limits.max_expr_depth.get());
    // Rhai counts all that is in a value each time it is touched. Here, memory bounds the whole of it (`budget`), what
    // makes one value longer checks that (`natives`), and so does the allocator where operators do it.
    engine.set_max_string_size(0);
    engine.set_max_array_size(0);
    engine.set_max_map_size(0);
    engine.set_max_variables(limits.max_variables.get());
    engine.set_max_functions(limits.max_functions);
    // Bounded by the resolver, which knows one that is imported twice.
    engine.set_max_modules(usize::MAX);
    engine.set_module_resolver(modules::Resolver);
    // Interned strings outlive a run.
    engine.set_max_strings_interned(0);
    // Folding constants at compile time isn't bounded by anything.
    engine.set_optimization_level(OptimizationLevel::None);
    engine.disable_symbol("eval");

    engine.on_print(logs::push);
    engine.on_debug(|text, _, _| logs::push(text));
    on_token(&mut engine);
    if resolving {
        on_variable(&mut engine);
    }
    engine
}

/// Compiling recurses and takes time, too; and some names stand for bounded functions.
#[expect(
    deprecated,
    reason = "Rhai marks what may change with the version; ours is pinned by Cargo.lock"
)]
fn on_token(engine: &mut Engine) {
    engine.on_parse_token(|token, _, _| {
        let token = natives::renamed(token);
        if budget::compiling() && local::allows(&token) {
            token
        } else {
            Token::LexError(LexError::Runtime(String::new()).into())
        }
    });
}

#[expect(
    deprecated,
    reason = "Rhai marks what may change with the version; ours is pinned by Cargo.lock"
)]
fn on_variable(engine: &mut Engine) {
    engine.on_var(|name, index, mut context| {
        captured_variables::on_variable(name, index, &mut context);
        // What is in no scope: a function's has its parameters alone, and a closure captures what it mentions.
        if index != 0 || context.scope().contains(name) {
            return Ok(None);
        }
        if name == natives::STORE {
            return Ok(Some(Dynamic::from(natives::Store)));
        }
        if name == natives::MEMBERS {
            return Ok(Some(Dynamic::from(natives::Members)));
        }
        constants::find(name)
    });
}
