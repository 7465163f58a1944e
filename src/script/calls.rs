//! Calls of functions that don't exist, found before a script runs.

use std::collections::HashSet;

use circled_protocol::FailureKind;
use rhai::{AST, ASTNode, Engine, Expr, ImmutableString, Position, Stmt};

use super::Failure;

/// Functions of the language itself.
const OF_THE_LANGUAGE: &[&str] = &[
    "Fn",
    "call",
    "curry",
    "debug",
    "eval",
    "is_def_fn",
    "is_def_var",
    "is_shared",
    "print",
    "type_of",
];

/// Returns the names of all functions that an engine has.
pub(super) fn names(engine: &Engine) -> HashSet<Box<str>> {
    let found =
        engine.collect_fn_metadata(None, |info| Some(info.metadata.name.as_str().into()), true);
    let own = OF_THE_LANGUAGE.iter().map(|name| Box::from(*name));
    found.into_iter().chain(own).collect()
}

/// Checks that each function which a script calls by its name exists: in the script, or among `known`. Methods aren't
/// judged, for a map may have a closure of that name, nor the functions of modules.
pub(super) fn check(ast: &AST, known: &HashSet<Box<str>>) -> Result<(), Failure> {
    let own: HashSet<_> = ast
        .iter_functions()
        .map(|function| (function.name, function.params.len()))
        .collect();
    let parameters = ast.iter_functions().flat_map(|function| function.params);
    let mut variables: HashSet<String> = parameters.map(str::to_owned).collect();
    let mut unknown: Vec<(ImmutableString, usize, Position)> = Vec::new();
    let mut asks = false;
    ast.walk(&mut |path| {
        let (call, position) = match path.last() {
            Some(
                ASTNode::Expr(Expr::FnCall(call, position))
                | ASTNode::Stmt(Stmt::FnCall(call, position)),
            ) => (call, *position),
            Some(ASTNode::Stmt(Stmt::Var(variable, ..))) => {
                variables.insert(variable.0.name.as_str().to_owned());
                return true;
            }
            _ => return true,
        };
        asks |= call.name == "is_def_fn";
        let is_name = call.name.starts_with(|first: char| first.is_alphabetic());
        if call.namespace.is_empty()
            && is_name
            && !call.name.contains('$')
            && !known.contains(call.name.as_str())
            && !own.contains(&(call.name.as_str(), call.args.len()))
        {
            unknown.push((call.name.clone(), call.args.len(), position));
        }
        true
    });
    // Who asks whether a function exists may call it where it does; and a variable may have a closure.
    let unknown = unknown.into_iter();
    let unknown = unknown.filter(|(name, _, _)| !asks && !variables.contains(name.as_str()));
    match unknown.min_by_key(|(_, _, position)| *position) {
        Some((name, arguments, position)) => {
            let message = format!(
                "there is no function \"{name}\" with {arguments} argument{}",
                if arguments == 1 { "" } else { "s" }
            );
            Err(Failure::new(FailureKind::Compile, message).at(position))
        }
        None => Ok(()),
    }
}
