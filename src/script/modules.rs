//! `import`: other scripts of the circle as modules of the run on this thread.
//!
//! A module is compiled and evaluated within the run's budget, once in a run, and is gone with the run.
//! Its functions are handed out as native ones that enter it: with its own functions and imports on top of
//! the caller's, and with a cache of its own for what their names mean. Rhai's own way shares one such cache
//! among all scripts of a run, and so mixes up functions of the same name; and it copies whatever a module
//! imports into each one above it, which nothing bounds.

use std::{any::TypeId, cell::RefCell, collections::BTreeMap, fmt, rc::Rc, str, sync::Arc};

use circled_protocol::FailureKind;
use rhai::{
    Dynamic, Engine, EvalAltResult, FnAccess, FuncRegistration, GlobalRuntimeState,
    ImmutableString, Module, ModuleResolver, NativeCallContext, Position, RhaiFunc,
};

use super::{
    Failure, Sandbox, budget, constants,
    failure::IMPORT_LIMIT,
    local::{Compiled, Local},
    run_context,
};
use crate::store::{Transaction, Value, WriteError};

/// Finds the source of a circle's script by its name: UTF-8.
pub type FindModule = fn(&mut Transaction, &str) -> Result<Option<Value>, WriteError>;

/// The scripts that a run may import, by name, where they are not to be looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PinnedModules(pub BTreeMap<String, Arc<str>>);

type Failed = Box<EvalAltResult>;
type SharedModule = Rc<Module>;

/// The cost of an import, in operations.
const IMPORT: usize = 8;
/// Bytes of a module that count as one operation.
const BYTES_PER_OPERATION: usize = 256;
/// Parameters of a function that other scripts may call: Rhai looks for it in two to that power of ways.
const MAX_PARAMETERS: usize = 10;
/// Imports in scope at once, those of who calls a module included. Rhai goes through all of them to find
/// out that there is no such function.
const MAX_IN_SCOPE: usize = 64;
/// The prefix of closures' names.
const CLOSURE: &str = "anon$";

/// The imports of a run: what it needs for them, and what it has imported.
pub(super) struct Imports {
    sandbox: Sandbox,
    local: Rc<Local>,
    pinned: Option<Arc<PinnedModules>>,
    modules: Vec<Loaded>,
}

/// An imported script.
struct Loaded {
    name: ImmutableString,
    compiled: Rc<Compiled>,
    /// Not there while it is evaluated.
    module: Option<SharedModule>,
}

/// A module's functions, and what they see.
struct Instance {
    name: ImmutableString,
    functions: SharedModule,
    imports: Vec<(ImmutableString, SharedModule)>,
    /// The `global::` ones.
    constants: Option<Rc<RefCell<BTreeMap<ImmutableString, Dynamic>>>>,
}

/// A module that doesn't compile, on its way through Rhai, which can't catch it.
#[derive(Debug)]
struct Uncompiled {
    failure: Failure,
    /// The position where it is imported, in the script that the run began with.
    at: Position,
}

impl fmt::Display for Uncompiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for Uncompiled {}

impl Imports {
    pub(super) fn new(
        sandbox: Sandbox,
        local: Rc<Local>,
        pinned: Option<Arc<PinnedModules>>,
    ) -> Self {
        Self {
            sandbox,
            local,
            pinned,
            modules: Vec::new(),
        }
    }

    fn compiled(&self, module: &str) -> Option<&Rc<Compiled>> {
        let loaded = self.modules.iter().find(|loaded| loaded.name == module);
        loaded.map(|loaded| &loaded.compiled)
    }

    /// The modules that are being evaluated, each imported by the one before, and this one.
    fn chain(&self, name: &str) -> String {
        let under_way = self.modules.iter().filter(|loaded| loaded.module.is_none());
        let mut chain: Vec<_> = under_way.map(|loaded| loaded.name.as_str()).collect();
        chain.push(name);
        chain.join(" -> ")
    }
}

/// Lets the run import from here on.
pub(super) fn start(imports: Imports) {
    run_context::with(|context| context.imports.replace(Some(imports)));
}

/// Returns the place in a module where the run was stopped, if it was in one.
pub(super) fn blame() -> Option<String> {
    run_context::with(|context| context.blame.borrow().clone())
}

/// Calls `work` with the imports of this thread's run, if it has any.
fn with_imports<R>(work: impl FnOnce(Option<&mut Imports>) -> R) -> R {
    run_context::with(|context| work(context.imports.borrow_mut().as_mut()))
}

/// Returns the script that a function is of: `None` for the one that the run began with. `current`: the script before
/// it in the call chain.
pub(super) fn owner(
    current: Option<ImmutableString>,
    function: &str,
    script: &Compiled,
) -> Option<ImmutableString> {
    let has = |compiled: &Compiled| {
        let mut functions = compiled.ast.iter_functions();
        functions.any(|other| other.name == function)
    };
    with_imports(|run| {
        let run = run?;
        match &current {
            Some(module) if run.compiled(module).is_some_and(|module| has(module)) => current,
            _ if has(script) => None,
            _ => {
                let other = run.modules.iter().find(|other| has(&other.compiled));
                other.map_or(current, |other| Some(other.name.clone()))
            }
        }
    })
}

/// `in "name", line 1, column 2: `
pub(super) fn location(module: &str, position: Position) -> String {
    with_imports(|run| {
        let compiled = run.as_ref().and_then(|run| run.compiled(module));
        let failure = Failure::new(FailureKind::Runtime, "").at(position);
        let failure = match compiled {
            Some(compiled) => failure.originally(&compiled.insertions),
            None => failure,
        };
        failure.location_in(module)
    })
}

/// Returns the failure, if it is that a module doesn't compile.
pub(super) fn uncompiled(error: &EvalAltResult) -> Option<Failure> {
    let EvalAltResult::ErrorSystem(_, inner) = error else {
        return None;
    };
    let Uncompiled { failure, at } = inner.downcast_ref()?;
    Some(failure.clone().at(*at))
}

/// Imports scripts of the run's circle.
pub(super) struct Resolver;

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        _engine: &Engine,
        _source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<SharedModule, Failed> {
        Err(EvalAltResult::ErrorModuleNotFound(path.to_owned(), position).into())
    }

    fn resolve_raw(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        _scope: &mut rhai::Scope<'_>,
        path: &str,
        position: Position,
    ) -> Result<SharedModule, Failed> {
        import(engine, global, path, position).map_err(|error| at(error, position))
    }
}

fn import(
    engine: &Engine,
    global: &GlobalRuntimeState,
    name: &str,
    position: Position,
) -> Result<SharedModule, Failed> {
    budget::charge(IMPORT)?;
    if global.num_imports() >= MAX_IN_SCOPE {
        return Err(too_many_in_scope());
    }
    let loaded = with_imports(|run| {
        let run = run?;
        let loaded = run.modules.iter().find(|loaded| loaded.name == name)?;
        Some(loaded.module.clone().ok_or_else(|| run.chain(name)))
    });
    match loaded {
        Some(Ok(module)) => Ok(module),
        Some(Err(chain)) => Err(failed(format!(
            "scripts import one another in a cycle: {chain}"
        ))),
        None => load(engine, global, name, position),
    }
}

fn load(
    engine: &Engine,
    global: &GlobalRuntimeState,
    name: &str,
    position: Position,
) -> Result<SharedModule, Failed> {
    let missing = || failed(format!("there is no script named \"{name}\""));
    let run = with_imports(|run| {
        let run = run?;
        let pinned = run.pinned.as_ref();
        let pinned = pinned.map(|pinned| pinned.0.get(name).cloned());
        let (sandbox, local) = (run.sandbox.clone(), run.local.clone());
        Some((sandbox, local, pinned, run.modules.len()))
    });
    let Some((sandbox, local, pinned, count)) = run else {
        return Err(missing());
    };
    let max = sandbox.limits().max_modules;
    if count >= max {
        return Err(limit(format!("a run may import at most {max} scripts")));
    }
    let compiled = match pinned {
        Some(source) => compile(&sandbox, &local, name, &source.ok_or_else(missing)?)?,
        None => {
            let source = find(&sandbox, name)?.ok_or_else(missing)?;
            let unreadable = || failed(format!("the script \"{name}\" is not text"));
            let source = str::from_utf8(&source).map_err(|_| unreadable())?;
            compile(&sandbox, &local, name, source)?
        }
    };
    let name = ImmutableString::from(name);
    with_imports(|run| {
        if let Some(run) = run {
            run.modules.push(Loaded {
                name: name.clone(),
                compiled: compiled.clone(),
                module: None,
            });
        }
    });
    let scope = constants::scope_of_module(&local.names, compiled.uses.constants);
    let evaluated =
        scope.and_then(|scope| evaluate(engine, global, &name, &compiled, scope, position));
    with_imports(|run| {
        let Some(run) = run else { return };
        match &evaluated {
            Ok(module) => {
                let mut modules = run.modules.iter_mut();
                if let Some(loaded) = modules.find(|loaded| loaded.name == name) {
                    loaded.module = Some(module.clone());
                }
            }
            // Its failure is still to be told of: the next attempt, if there is one, takes its place.
            Err(error) if !error.is_system_exception() => {
                run.modules.retain(|loaded| loaded.name != name);
            }
            Err(_) => {}
        }
    });
    evaluated
}

fn find(sandbox: &Sandbox, name: &str) -> Result<Option<Value>, Failed> {
    let Some(finder) = sandbox.finder() else {
        return Ok(None);
    };
    match run_context::with_transaction(|transaction| finder(transaction, name)) {
        Some(Ok(source)) => Ok(source),
        Some(Err(WriteError::Unavailable(_))) => Err(budget::give_up()),
        Some(Err(error)) => Err(limit(error.to_string())),
        None => Ok(None),
    }
}

fn compile(
    sandbox: &Sandbox,
    local: &Local,
    name: &str,
    source: &str,
) -> Result<Rc<Compiled>, Failed> {
    budget::charge(source.len() / BYTES_PER_OPERATION)?;
    let refuse = |failure: Failure| -> Failed {
        let message = failure.location_in(name) + failure.message.as_str();
        let failure = Failure::new(failure.kind, message);
        let at = Position::NONE;
        EvalAltResult::ErrorSystem(String::new(), Box::new(Uncompiled { failure, at })).into()
    };
    let compiled = match local.compiled(source) {
        Some(compiled) => compiled,
        None => match local.compile(source, sandbox.limits()) {
            Ok(compiled) => {
                local.keep(source, &compiled);
                compiled
            }
            Err(failure) => {
                // It may be for want of memory or time.
                budget::charge(0)?;
                return Err(refuse(failure));
            }
        },
    };
    let too_many = public(&compiled).find(|function| function.params.len() > MAX_PARAMETERS);
    if let Some(function) = too_many {
        let name = function.name;
        let message = format!(
            "{name} has more than the {MAX_PARAMETERS} parameters of a function that others may call; make it private"
        );
        return Err(refuse(Failure::new(FailureKind::Size, message)));
    }
    Ok(compiled)
}

/// The functions that others may call.
fn public(compiled: &Compiled) -> impl Iterator<Item = rhai::ScriptFnMetadata<'_>> {
    compiled.ast.iter_functions().filter(|function| {
        function.access == FnAccess::Public
            && function.this_type.is_none()
            && !function.name.starts_with(CLOSURE)
    })
}

#[expect(
    deprecated,
    reason = "Rhai marks what may change with the version; ours is pinned by Cargo.lock"
)]
fn evaluate(
    engine: &Engine,
    global: &GlobalRuntimeState,
    name: &ImmutableString,
    compiled: &Compiled,
    mut scope: rhai::Scope<'static>,
    position: Position,
) -> Result<SharedModule, Failed> {
    if compiled.uses.interpolation {
        budget::unwind();
    }
    let functions = compiled.ast.shared_lib().clone();
    let mut inside = engine.new_global_runtime_state();
    inside.level = global.level;
    inside.source = Some(name.clone());
    inside.lib.push(functions.clone());
    let statements = compiled.ast.statements();
    let caches = &mut rhai::Caches::new();
    let _ = engine
        .eval_statements_raw(&mut inside, caches, &mut scope, statements)
        .map_err(|error| within(error, name, position))?;
    let mut module = Module::new();
    module.set_id(name.clone());
    for (variable, alias) in &compiled.exports {
        // What it copies is looked at each time.
        budget::charge(1)?;
        if let Some(value) = scope.get(variable) {
            module.set_var(alias.as_str(), value.clone().flatten());
        }
    }
    let imports = inside.scan_imports_raw();
    let instance = Rc::new(Instance {
        name: name.clone(),
        functions,
        imports: imports
            .map(|(name, module)| (name.clone(), module.clone()))
            .collect(),
        constants: inside.constants.take(),
    });
    for function in public(compiled) {
        budget::charge(1)?;
        let instance = instance.clone();
        let name = ImmutableString::from(function.name);
        let call = move |context: Option<NativeCallContext<'_>>, args: &mut [&mut Dynamic]| {
            let Some(context) = context else {
                return Err(failed("there is nobody who calls".to_owned()));
            };
            instance.call(&context, &name, args)
        };
        let native = RhaiFunc::Pure {
            func: Rc::new(call),
            has_context: true,
            is_pure: true,
            is_volatile: true,
        };
        let parameters = vec![TypeId::of::<Dynamic>(); function.params.len()];
        let registration = FuncRegistration::new(function.name);
        let _ = module.set_fn_raw_with_options(registration, parameters, native);
    }
    module.build_index();
    budget::charge(1)?;
    Ok(module.into())
}

impl Instance {
    fn call(
        &self,
        context: &NativeCallContext<'_>,
        function: &str,
        args: &mut [&mut Dynamic],
    ) -> Result<Dynamic, Failed> {
        let position = context.call_position();
        let inside = self.enter(context)?;
        NativeCallContext::new_with_all_fields(
            context.engine(),
            function,
            Some(&self.name),
            &inside,
            position,
        )
        .call_fn_raw(function, false, false, args)
        .map_err(|error| within(error, &self.name, position))
    }

    /// Returns what a function of the module sees: its own, and below that what its caller sees, since a closure of the
    /// caller's may have come along.
    fn enter(&self, context: &NativeCallContext<'_>) -> Result<GlobalRuntimeState, Failed> {
        let caller = context.global_runtime_state();
        let mut inside = context.engine().new_global_runtime_state();
        inside.level = caller.level;
        inside.scope_level = caller.scope_level;
        inside.source = Some(self.name.clone());
        inside.constants = self.constants.clone();
        // Closures are looked for in the first one, names from the last one on.
        inside.lib.push(self.functions.clone());
        for functions in &caller.lib {
            if !inside.lib.iter().any(|other| Rc::ptr_eq(other, functions)) {
                inside.lib.push(functions.clone());
            }
        }
        inside.lib.push(self.functions.clone());
        for (name, module) in caller.scan_imports_raw() {
            let own = &mut self.imports.iter();
            if !own.any(|(other, own)| other == name && Rc::ptr_eq(own, module)) {
                inside.push_import(name.clone(), module.clone());
            }
        }
        for (name, module) in &self.imports {
            inside.push_import(name.clone(), module.clone());
        }
        if inside.num_imports() > MAX_IN_SCOPE {
            return Err(at(too_many_in_scope(), context.call_position()));
        }
        Ok(inside)
    }
}

/// An error in a module, for who imports it or calls it at this position.
fn within(error: Failed, module: &str, position: Position) -> Failed {
    if error.is_pseudo_error() {
        return at(error, position);
    }
    if error.is_system_exception() {
        if uncompiled(&error).is_none() {
            let location = location(module, error.position());
            run_context::with(|context| {
                context.blame.borrow_mut().get_or_insert(location);
            });
        }
        return at(error, position);
    }
    EvalAltResult::ErrorInModule(module.to_owned(), error, position).into()
}

/// Has an error that says nothing of modules be at a position of who imports one or calls it.
fn at(mut error: Failed, position: Position) -> Failed {
    if let EvalAltResult::ErrorSystem(_, inner) = &mut *error {
        if let Some(uncompiled) = inner.downcast_mut::<Uncompiled>() {
            uncompiled.at = position;
        }
    } else if !matches!(*error, EvalAltResult::ErrorInModule(..)) {
        error.set_position(position);
    }
    error
}

fn failed(message: String) -> Failed {
    EvalAltResult::ErrorRuntime(format!("import: {message}").into(), Position::NONE).into()
}

fn limit(message: String) -> Failed {
    let message = format!("{IMPORT_LIMIT}{message}");
    EvalAltResult::ErrorDataTooLarge(message, Position::NONE).into()
}

fn too_many_in_scope() -> Failed {
    limit(format!("more than {MAX_IN_SCOPE} imports are in scope"))
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
