//! Limits on the parameters of a function, on the keys of a map as it stands in a script, and on the variables in scope.
//!
//! Rhai's parser compares each of them with all before it, so parsing takes time with the square of their number. These
//! limits hold while they are parsed.

use std::collections::HashSet;

use rhai::Token;

use super::natives::MAX_ARGUMENTS;

/// The most commas between the keys of one map, as it stands in a script.
const MAX_KEYS: usize = 4096;

const OPENING: &[Token] = &[Token::LeftParen, Token::LeftBracket, Token::QuestionBracket];
const CLOSING: &[Token] = &[Token::RightParen, Token::RightBrace, Token::RightBracket];

/// Counts parameters, keys and variables while the parser takes the tokens.
#[derive(Debug)]
pub(super) struct LiteralBounds {
    max_variables: usize,
    /// Variables in scope, of the function that is being parsed.
    variables: usize,
    /// Those of the block that is being parsed: one that is declared again is the same.
    names: HashSet<Box<str>>,
    /// A variable's name comes next.
    is_declaration: bool,
    open: Vec<Open>,
    /// The block that begins with the next token is a function's body.
    is_body: bool,
    /// The parameters of a `fn` come with the next parenthesis.
    is_definition: bool,
    /// Commas of a closure's parameters, while it has nothing but names and commas.
    closure: Option<usize>,
    /// True if the token before ends a value: then `|` is an operator. A closing brace doesn't count, because it may end a
    /// statement, and a closure may come next.
    ends_value: bool,
    refusal: Option<&'static str>,
}

/// A bracket that is open.
#[derive(Debug)]
enum Open {
    /// So many commas are in it.
    Parameters(usize),
    Map(usize),
    /// Around it, so many variables are in scope, and these are of the block itself.
    Block(usize, HashSet<Box<str>>),
    Other,
}

impl LiteralBounds {
    pub(super) fn new(max_variables: usize) -> Self {
        Self {
            max_variables,
            variables: 0,
            names: HashSet::new(),
            is_declaration: false,
            open: Vec::new(),
            is_body: false,
            is_definition: false,
            closure: None,
            ends_value: false,
            refusal: None,
        }
    }

    /// Returns whether this token may come now.
    pub(super) fn allows(&mut self, token: &Token) -> bool {
        let was_value = std::mem::replace(&mut self.ends_value, ends_value(token));
        let is_body = std::mem::take(&mut self.is_body);
        self.is_body = *token == Token::Pipe && self.closure.is_some()
            || *token == Token::Or && !was_value
            || *token == Token::Unit && self.is_definition
            || *token == Token::RightParen && matches!(self.open.last(), Some(Open::Parameters(_)));
        let is_declaration = matches!(token, Token::Let | Token::Const);
        if std::mem::replace(&mut self.is_declaration, is_declaration)
            && let Token::Identifier(name) = token
            && self.names.insert(name.as_str().into())
        {
            self.variables += 1;
        }
        self.closure = if *token == Token::Pipe && !was_value {
            Some(0)
        } else {
            let names_only = matches!(token, Token::Comma | Token::Identifier(_));
            let commas = self.closure.filter(|_| names_only);
            commas.map(|commas| commas + usize::from(*token == Token::Comma))
        };
        if *token == Token::Fn {
            self.is_definition = true;
        } else if *token == Token::Unit {
            self.is_definition = false;
        } else if *token == Token::LeftParen && std::mem::take(&mut self.is_definition) {
            self.open.push(Open::Parameters(0));
        } else if *token == Token::LeftBrace {
            let names = std::mem::take(&mut self.names);
            self.open.push(Open::Block(self.variables, names));
            if is_body {
                self.variables = 0;
            }
        } else if *token == Token::MapStart {
            self.open.push(Open::Map(0));
        } else if OPENING.contains(token) {
            self.open.push(Open::Other);
        } else if CLOSING.contains(token) {
            if let Some(Open::Block(variables, names)) = self.open.pop() {
                (self.variables, self.names) = (variables, names);
            }
        } else if *token == Token::Comma
            && self.closure.is_none()
            && let Some(Open::Parameters(commas) | Open::Map(commas)) = self.open.last_mut()
        {
            *commas += 1;
        }
        let (parameters, keys) = match self.open.last() {
            Some(Open::Parameters(commas)) => (*commas, 0),
            Some(Open::Map(commas)) => (0, *commas),
            Some(Open::Block(..) | Open::Other) | None => (0, 0),
        };
        if parameters.max(self.closure.unwrap_or(0)) > MAX_ARGUMENTS {
            self.refusal = Some("a function has more than 64 arguments");
        } else if keys > MAX_KEYS {
            self.refusal = Some("a map has more than 4096 keys as it stands in the script");
        } else if self.variables > self.max_variables {
            self.refusal = Some("too many variables are in scope (script.max_variables)");
        }
        self.refusal.is_none()
    }

    /// Returns the message of the limit that was exceeded.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }
}

fn ends_value(token: &Token) -> bool {
    matches!(
        token,
        Token::Identifier(_)
            | Token::IntegerConstant(_)
            | Token::FloatConstant(_)
            | Token::StringConstant(_)
            | Token::CharConstant(_)
            | Token::InterpolatedString(_)
            | Token::True
            | Token::False
            | Token::Reserved(_)
            | Token::Unit
            | Token::RightParen
            | Token::RightBracket
    )
}
