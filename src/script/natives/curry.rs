//! `curry`, with a bound on the arguments.
//!
//! Rhai looks an unknown function up in 65,536 variants of its parameters' types, each time through all of
//! them. `curry` is built into the language, so the parser is given another name for it.

use rhai::{Dynamic, EvalAltResult, FnPtr, Module, Position, Token};

use super::{Failed, native};

/// Arguments of one call, and arguments bound to one function.
pub(in crate::script) const MAX_ARGUMENTS: usize = 64;

const NAME: &str = "__curry";

/// The token to parse in place of this one.
pub(in crate::script) fn renamed(token: Token) -> Token {
    let is_curry = if let Token::Identifier(name) | Token::Reserved(name) = &token {
        name.as_str() == "curry"
    } else {
        false
    };
    if is_curry {
        Token::Identifier(Box::new(NAME.into()))
    } else {
        token
    }
}

pub(super) fn register(module: &mut Module) {
    native!(module, pure: true, "__curry", |f: &mut FnPtr, a: Dynamic| curry(f, [a]));
    native!(module, pure: true, "__curry", |f: &mut FnPtr, a: Dynamic, b: Dynamic| curry(f, [a, b]));
    native!(module, pure: true, "__curry", |f: &mut FnPtr, a: Dynamic, b: Dynamic, c: Dynamic| {
        curry(f, [a, b, c])
    });
    native!(
        module,
        pure: true,
        "__curry",
        |f: &mut FnPtr, a: Dynamic, b: Dynamic, c: Dynamic, d: Dynamic| curry(f, [a, b, c, d])
    );
}

fn curry<const N: usize>(function: &FnPtr, arguments: [Dynamic; N]) -> Result<FnPtr, Failed> {
    if function.curry().len() + N > MAX_ARGUMENTS {
        let what = "Number of curried arguments".to_owned();
        return Err(EvalAltResult::ErrorDataTooLarge(what, Position::NONE).into());
    }
    let mut function = function.clone();
    function.extend(arguments);
    Ok(function)
}
