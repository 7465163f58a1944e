//! Methods: how each is found, called and described.

use circled_protocol::Permission;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    Answer, Context, Error, Id, Reply, call, context::Admitted, counted::CountedCall, methods,
};
use crate::{auth::Action, field_names::field_names};

/// A method: everything about it, for calling and for describing it.
pub struct Method {
    /// The name on the wire.
    pub name: &'static str,
    /// One sentence about what the method does.
    pub summary: &'static str,
    /// True if the method changes nothing.
    pub reads: bool,
    /// The requirement on the caller.
    pub needs: Needs,
    /// The requirement on the key of a device, if the session has logged in by one.
    pub device: DeviceNeeds,
    /// The codes of the method's own errors.
    pub(super) errors: &'static [i32],
    pub(super) params: fn(&mut SchemaGenerator) -> Schema,
    pub(super) result: fn(&mut SchemaGenerator) -> Schema,
    pub(super) call: fn(&mut Context, Admitted, CountedCall, Option<Id<'_>>, Option<&str>) -> Reply,
}

/// A requirement on the caller of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// None: everyone who has connected.
    Nothing,
    /// None, but the call shows credentials, or asks the server for its own.
    Credentials,
    /// A login.
    Login,
    /// A login, and the call shows a proof of another key.
    Proof,
    /// The role that permits the action in the circle.
    To(Action),
    /// The role that permits to play in the circle, or to call: the parameters decide.
    ToPlayOrCall,
    /// The circle's own key.
    Owner,
}

/// A requirement on the scope of a device key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceNeeds {
    /// None.
    Nothing,
    /// A permission.
    Scope(Permission),
    /// The permission to call the script.
    ToCall,
    /// The permission to play, or to call the script: the parameters decide.
    ToPlayOrCall,
    /// Durable jobs; and where one is submitted or run again, the permission to play, or to call its script.
    Jobs,
    /// No device key will do, only the caller's own.
    OwnKey,
}

impl Method {
    /// Returns all methods.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        methods::TOPICS.iter().copied().flatten()
    }

    /// Returns the method of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().find(|method| method.name == name)
    }

    /// Returns its number among all methods.
    pub(super) fn number(&self) -> Option<usize> {
        Self::all().position(|method| method.name == self.name)
    }

    pub(super) const fn of<C: Call>() -> Self {
        Self {
            name: C::NAME,
            summary: C::SUMMARY,
            reads: C::READS,
            needs: C::NEEDS,
            device: C::DEVICE,
            errors: C::ERRORS,
            params: |schemas| schemas.subschema_for::<C::Params<'static>>(),
            result: |schemas| schemas.subschema_for::<C::Result>(),
            call: |context, admitted, counted, id, params| {
                let answer = read_and_call::<C>(context, admitted, params);
                let answer = answer.unwrap_or_else(|error| Answer::Now(Err(error)));
                call::reply(answer, counted, id, &context.memory)
            },
        }
    }
}

/// A call that is done or under way, or the error that refuses it.
pub(super) type CallResult<T> = Result<Answer<T>, Error>;

/// The server's side of a method that `circled_protocol` declares.
pub(super) trait Call: circled_protocol::Method {
    const NEEDS: Needs;
    const DEVICE: DeviceNeeds;
    /// The parameters, which may be borrowed from the message. Read by name from an object, by position from an array.
    type Params<'a>: Deserialize<'a> + JsonSchema;
    /// The result, as the server holds it.
    type Output: Serialize + Send + 'static;

    fn call(
        context: &mut Context,
        admitted: Admitted,
        params: Self::Params<'_>,
    ) -> CallResult<Self::Output>;

    /// Reacts to parameters that can't be read.
    fn refused(_context: &mut Context) {}
}

fn read_and_call<C: Call>(
    context: &mut Context,
    admitted: Admitted,
    params: Option<&str>,
) -> CallResult<C::Output> {
    let params = params.unwrap_or("{}");
    let error = match circled_json::borrowed(params) {
        Ok(read) => return C::call(context, admitted, read),
        Err(error) => error,
    };
    let Some(mended) = circled_json::mended(params) else {
        return Err(refuse::<C>(context, params, &error));
    };
    match circled_json::borrowed(&mended) {
        Ok(read) => C::call(context, admitted, read),
        Err(error) => Err(refuse::<C>(context, &mended, &error)),
    }
}

/// Builds the error about parameters that can't be read.
fn refuse<C: Call>(context: &mut Context, params: &str, error: &serde_json::Error) -> Error {
    C::refused(context);
    let reason = reason(error);
    if params.trim_start().starts_with('[')
        && let Some(reason) = misnumbered(field_names::<C::Params<'_>>(), &reason)
    {
        return Error::InvalidParams { reason };
    }
    let reason = match circled_json::misfit::<C::Params<'_>>(params) {
        Some(place) => format!("`{}`: {reason}", cut(&place, ECHOED)),
        None => reason,
    };
    Error::InvalidParams { reason }
}

/// Returns what is wrong with the number of parameters by position, by serde's message about that.
fn misnumbered(names: &[&str], message: &str) -> Option<String> {
    let all: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    let all = match &all[..] {
        [] => "there are none".to_owned(),
        all => format!("by position, they are {}", all.join(", ")),
    };
    if message.starts_with("trailing characters") {
        return Some(format!("too many parameters: {all}"));
    }
    let given = message.strip_prefix("invalid length ")?.split(',').next()?;
    let missing = names.get(given.parse::<usize>().ok()?)?;
    Some(format!("the parameter `{missing}` is missing: {all}"))
}

/// The most bytes of a sent value that an error repeats, at a time.
const ECHOED: usize = 100;
/// The most bytes of an error's own words.
const SAID: usize = 400;

/// Returns serde's message, with sent values shortened. The position is removed: serde_json counts lines and columns
/// from the start of the parameters, which the caller can't see.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(text, _)| text);
    let ours = text
        .rfind(", expected ")
        .or_else(|| text.rfind(", there are no "));
    match ours.map(|ours| text.split_at(ours)) {
        Some((found, ours)) => format!("{}{}", cut(found, ECHOED), cut(ours, SAID)),
        None => cut(text, SAID),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.split_at_checked(text.floor_char_boundary(most)) {
        Some((kept, rest)) if !rest.is_empty() => format!("{kept}…"),
        _ => text.to_owned(),
    }
}
