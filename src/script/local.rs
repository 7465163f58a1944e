//! The engines of one thread, and the scripts that it has compiled.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashSet,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use circled_protocol::FailureKind;
use quick_cache::{Weighter, unsync::Cache};
use rhai::{AST, ASTFlags, ASTNode, Engine, Expr, ImmutableString, Position, Stmt, Token};

use super::{
    Failure, Host, Limits, budget, calls,
    constants::{self, Mentioned, Names},
    engine,
    literal_bounds::LiteralBounds,
    meter, natives, run_context,
    switch_guard::{self, Checker, Insertions},
};

/// Sandboxes whose engines a thread keeps: one in a server, several in tests.
const SANDBOXES: usize = 4;
/// A script is expected to take this much of the cache.
const TYPICAL_SCRIPT: usize = 4 << 10;

/// A thread's engines and compiled scripts for one sandbox.
pub(super) struct Local {
    plain: Engine,
    resolving: Engine,
    scripts: RefCell<Cache<Box<str>, Rc<Compiled>, BySize>>,
    pub(super) names: Names,
    /// The functions that scripts can call, once that was asked.
    functions: OnceCell<HashSet<Box<str>>>,
}

/// A compiled script and what is known of its runs on this thread.
pub(super) struct Compiled {
    pub(super) ast: AST,
    pub(super) uses: Uses,
    pub(super) insertions: Insertions,
    /// The scripts that it imports, each once.
    pub(super) imports: Vec<Import>,
    /// Variables that it exports, and under which names.
    pub(super) exports: Vec<(ImmutableString, ImmutableString)>,
    /// Tries on this thread to leave out, because it ran out of the fast budget, and how many it was last.
    pub(super) skip: Cell<u32>,
    pub(super) skipped: Cell<u32>,
    pub(super) compile_time: Duration,
    size: usize,
}

/// An import in a script.
#[derive(Debug, Clone)]
pub struct Import {
    /// The name of the script that it imports.
    pub name: Box<str>,
    position: Position,
}

impl Import {
    /// Returns the failure of a script with this import, which there is no script for.
    pub fn is_missing(&self) -> Failure {
        let message = format!("there is no script \"{}\" to import", self.name);
        Failure::new(FailureKind::Compile, message).at(self.position)
    }
}

/// The names that a script mentions; the others need no setting up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uses {
    pub(super) constants: Mentioned,
    /// The script, or one that it imports, may ask about people.
    pub(super) people: bool,
    /// Variables are resolved by the engine that watches them: closures may capture some, or functions mention the
    /// constants, here or in what is imported.
    pub(super) resolver: bool,
    /// `${...}` in strings.
    pub(super) interpolation: bool,
    pub(super) switch: bool,
}

#[derive(Clone)]
struct BySize;

impl Weighter<Box<str>, Rc<Compiled>> for BySize {
    fn weight(&self, source: &Box<str>, compiled: &Rc<Compiled>) -> u64 {
        (source.len() + compiled.size) as u64
    }
}

/// Follows the tokens of a script while it is parsed.
pub(super) struct Parsing {
    /// There if it has a `switch`.
    checker: Option<Checker>,
    bounds: LiteralBounds,
}

thread_local! {
    static LOCALS: RefCell<Vec<(u64, Rc<Local>)>> = const { RefCell::new(Vec::new()) };
    /// The thread is one more than have a share of the cache.
    static IS_EXTRA: Cell<bool> = const { Cell::new(false) };
}

/// Has this thread keep no compiled scripts from here on.
pub(super) fn keep_nothing() {
    IS_EXTRA.set(true);
}

/// Returns whether the parser may have this token.
pub(super) fn allows(token: &Token) -> bool {
    run_context::with(|context| {
        let mut parsing = context.parsing.borrow_mut();
        parsing.as_mut().is_none_or(|parsing| parsing.allows(token))
    })
}

/// Returns this thread's engines for the sandbox `id`.
pub(super) fn get(id: u64, limits: &Limits, host: Option<&Arc<dyn Host>>) -> Rc<Local> {
    LOCALS.with_borrow_mut(|locals| {
        if let Some((_, local)) = locals.iter().find(|(known, _)| *known == id) {
            return Rc::clone(local);
        }
        let local = Rc::new(Local::new(limits, host));
        if locals.len() >= SANDBOXES {
            locals.remove(0);
        }
        locals.push((id, Rc::clone(&local)));
        local
    })
}

/// Forgets this thread's engines for the sandbox `id`: after a panic in one, nobody knows its state.
pub(super) fn forget(id: u64) {
    LOCALS.with_borrow_mut(|locals| locals.retain(|(known, _)| *known != id));
}

impl Parsing {
    fn allows(&mut self, token: &Token) -> bool {
        self.bounds.allows(token)
            && self
                .checker
                .as_mut()
                .is_none_or(|checker| checker.allows(token))
    }
}

impl Local {
    fn new(limits: &Limits, host: Option<&Arc<dyn Host>>) -> Self {
        let library = engine::Library::new(limits, host);
        let capacity = limits.cache_per_thread();
        let plain = engine::build(limits, &library, false);
        Self {
            plain,
            resolving: engine::build(limits, &library, true),
            scripts: RefCell::new(Cache::with_weighter(
                capacity / TYPICAL_SCRIPT + 1,
                capacity as u64,
                BySize,
            )),
            names: constants::names(),
            functions: OnceCell::new(),
        }
    }

    /// Returns the engine for this script.
    pub(super) fn engine(&self, uses: Uses) -> &Engine {
        if uses.resolver {
            &self.resolving
        } else {
            &self.plain
        }
    }

    /// Returns the script if it is compiled already.
    pub(super) fn compiled(&self, source: &str) -> Option<Rc<Compiled>> {
        self.scripts.borrow_mut().get(source).map(Rc::clone)
    }

    /// Compiles the script, within this thread's current budget.
    pub(super) fn compile(&self, source: &str, limits: &Limits) -> Result<Rc<Compiled>, Failure> {
        budget::unmeasured(|| self.compile_unmeasured(source, limits))
    }

    fn compile_unmeasured(&self, source: &str, limits: &Limits) -> Result<Rc<Compiled>, Failure> {
        if source.len() > limits.max_source.get() {
            let message = format!(
                "the script is longer than {} bytes",
                limits.max_source.get()
            );
            return Err(Failure::new(FailureKind::Size, message));
        }
        let source = script_of(source);
        let mut uses = Uses::of(source);
        let start = Instant::now();
        let before = meter::net();
        let (wrapped, insertions) = if uses.switch {
            switch_guard::insert(source)
        } else {
            Default::default()
        };
        let parsing = Parsing {
            checker: uses.switch.then(Checker::default),
            bounds: LiteralBounds::new(limits.max_variables.get()),
        };
        run_context::with(|context| context.parsing.replace(Some(parsing)));
        let ast = self
            .plain
            .compile(if uses.switch { &wrapped } else { source });
        let parsing = run_context::with(|context| context.parsing.take());
        let refusal = parsing.and_then(|parsing| parsing.bounds.refusal());
        let ast = ast.map_err(|error| {
            let failure = match refusal {
                Some(refusal) => Failure::new(FailureKind::Size, refusal).at(error.position()),
                None => Failure::from_parse(&error),
            };
            failure.originally(&insertions)
        })?;
        let found = inspect(&ast, limits).map_err(|failure| failure.originally(&insertions))?;
        uses.people |= !found.imports.is_empty();
        uses.resolver = found.captures
            || !found.imports.is_empty()
            || (uses.constants.any() && ast.iter_functions().next().is_some());
        let exports = exports(&ast);
        let compiled = Rc::new(Compiled {
            ast,
            insertions,
            imports: found.imports,
            exports,
            uses,
            skip: Cell::new(0),
            skipped: Cell::new(0),
            compile_time: start.elapsed(),
            size: usize::try_from(meter::net() - before).unwrap_or(0),
        });
        Ok(compiled)
    }

    /// Checks that each function which a script calls by its name exists, as far as that can be known.
    pub(super) fn check_calls(&self, compiled: &Compiled) -> Result<(), Failure> {
        budget::unmeasured(|| {
            let known = self.functions.get_or_init(|| calls::names(&self.plain));
            let checked = calls::check(&compiled.ast, known);
            checked.map_err(|failure| failure.originally(&compiled.insertions))
        })
    }

    /// Keeps a compiled script, where there is room for any.
    pub(super) fn keep(&self, source: &str, compiled: &Rc<Compiled>) {
        if IS_EXTRA.get() {
            return;
        }
        self.scripts
            .borrow_mut()
            .insert(source.into(), Rc::clone(compiled));
    }
}

/// Returns the script in a file: without the mark that some editors begin it with, and without a first line for the
/// shell, whose end stays, so that lines have their numbers.
fn script_of(source: &str) -> &str {
    let script = source.strip_prefix('\u{feff}').unwrap_or(source);
    match script.strip_prefix("#!") {
        Some(line) => line.find('\n').map_or("", |end| &line[end..]),
        None => script,
    }
}

/// The findings in a script.
#[derive(Default)]
struct Inspection {
    /// Closures capture variables (see `captured_variables`).
    captures: bool,
    imports: Vec<Import>,
}

/// Looks through a script. Refuses calls with too many arguments: Rhai bounds neither them nor a function's
/// parameters, captured variables included. And imports of anything but a name, which nobody could look up
/// before it runs. And arrays and maps that are too large as they stand there.
fn inspect(ast: &AST, limits: &Limits) -> Result<Inspection, Failure> {
    let mut found = Inspection::default();
    let (mut unnamed, mut too_large) = (None, None);
    let mut too_many = ast
        .iter_functions()
        .any(|function| function.params.len() > natives::MAX_ARGUMENTS)
        .then_some(Position::NONE);
    ast.walk(&mut |path| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Share(..))) => found.captures = true,
            Some(ASTNode::Stmt(Stmt::Import(import, _))) => {
                if let Expr::StringConstant(name, _) = &import.0 {
                    if !found.imports.iter().any(|import| *import.name == **name) {
                        let name = name.as_str().into();
                        let position = import.0.position();
                        found.imports.push(Import { name, position });
                    }
                } else {
                    unnamed = Some(import.0.position());
                }
            }
            Some(
                ASTNode::Expr(Expr::FnCall(call, position) | Expr::MethodCall(call, position))
                | ASTNode::Stmt(Stmt::FnCall(call, position)),
            ) if call.args.len() > natives::MAX_ARGUMENTS => too_many = Some(*position),
            Some(ASTNode::Expr(Expr::Array(items, position)))
                if items.len() > limits.max_array.get() =>
            {
                too_large = Some(*position);
            }
            Some(ASTNode::Expr(Expr::Map(map, position))) if map.0.len() > limits.max_map.get() => {
                too_large = Some(*position);
            }
            _ => {}
        }
        too_many.is_none() && unnamed.is_none() && too_large.is_none()
    });
    if let Some(position) = too_large {
        return Err(Failure::size().at(position));
    }
    if let Some(position) = unnamed {
        let message = "an import needs the name itself, in quotes: import \"name\" as x";
        return Err(Failure::new(FailureKind::Compile, message).at(position));
    }
    let Some(position) = too_many else {
        return Ok(found);
    };
    let message = format!(
        "a function has more than {} arguments",
        natives::MAX_ARGUMENTS
    );
    Err(Failure::new(FailureKind::Size, message).at(position))
}

/// Returns the variables that a script exports, which can only be done at its top.
fn exports(ast: &AST) -> Vec<(ImmutableString, ImmutableString)> {
    let export = |statement: &Stmt| {
        if let Stmt::Var(variable, flags, _) = statement
            && flags.contains(ASTFlags::EXPORTED)
        {
            let name = &variable.0.name;
            return Some((name.clone(), name.clone()));
        }
        let Stmt::Export(export, _) = statement else {
            return None;
        };
        let (name, alias) = (&export.0.name, &export.1.name);
        let alias = if alias.is_empty() { name } else { alias };
        Some((name.clone(), alias.clone()))
    };
    ast.statements().iter().filter_map(export).collect()
}

impl Uses {
    fn of(source: &str) -> Self {
        Self {
            constants: Mentioned::of(source),
            people: ["CALLER_ROLE", "require", "members", "is_def_var"]
                .iter()
                .any(|name| source.contains(name)),
            resolver: false,
            interpolation: source.contains("${"),
            switch: source.contains("switch"),
        }
    }
}

impl Compiled {
    /// Returns whether to try this script on a session's thread.
    pub(super) fn worth_trying(&self) -> bool {
        let skip = self.skip.get();
        self.skip.set(skip.saturating_sub(1));
        skip == 0
    }

    /// The script ran out of the fast budget: leaves out twice as many tries as last time. Its next
    /// arguments may make it short again.
    pub(super) fn was_long(&self) {
        let skip = (self.skipped.get() * 2).clamp(8, 1024);
        self.skipped.set(skip);
        self.skip.set(skip);
    }

    pub(super) fn was_short(&self) {
        self.skipped.set(0);
    }
}

/// Returns whether a run is under way on this thread.
pub(super) fn is_busy() -> bool {
    budget::is_active()
}
