//! The method table.

use circled_protocol::methods;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{Answer, Context, Error, Id, Reply, call, context::Admitted};
use crate::auth::Action;

/// One row of the table: all that is known of a method, for calling it and for describing it.
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What a caller must be.
    pub needs: Needs,
    /// Codes of errors that are its own.
    pub(super) errors: &'static [i32],
    pub(super) params: fn(&mut SchemaGenerator) -> Schema,
    pub(super) result: fn(&mut SchemaGenerator) -> Schema,
    pub(super) call: fn(&mut Context, Admitted, Option<Id<'_>>, Option<&str>) -> Reply,
}

/// What a caller must be for a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anyone who has connected.
    Nothing,
    /// Anyone, with credentials to show.
    Credentials,
    /// Someone who has logged in.
    Login,
    /// Someone who may do this in the circle.
    To(Action),
    /// The circle's owner.
    Owner,
}

impl Method {
    /// Every method there is.
    pub const TABLE: &'static [Self] = &[
        Self::of::<methods::Play<'static>>(),
        Self::of::<methods::CallScript<'static>>(),
        Self::of::<methods::FetchNonce>(),
        Self::of::<methods::Authenticate>(),
        Self::of::<methods::Whoami>(),
        Self::of::<methods::PutScript>(),
        Self::of::<methods::GetScript>(),
        Self::of::<methods::ListScripts>(),
        Self::of::<methods::DeleteScript>(),
        Self::of::<methods::AddMember>(),
        Self::of::<methods::RemoveMember>(),
        Self::of::<methods::ListMembers>(),
        Self::of::<methods::SubmitJob>(),
        Self::of::<methods::GetJob>(),
        Self::of::<methods::ListJobs>(),
        Self::of::<methods::StopJob>(),
        Self::of::<methods::RetryJob>(),
        Self::of::<methods::ListDeliveries>(),
        Self::of::<methods::GetDelivery>(),
        Self::of::<methods::Redeliver>(),
        Self::of::<methods::Subscribe>(),
        Self::of::<methods::Unsubscribe>(),
        Self::of::<methods::Discover>(),
    ];

    /// The method of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::TABLE.iter().find(|method| method.name == name)
    }

    const fn of<C: Call>() -> Self {
        Self {
            name: C::NAME,
            summary: C::SUMMARY,
            needs: C::NEEDS,
            errors: C::ERRORS,
            params: |schemas| schemas.subschema_for::<C::Params<'static>>(),
            result: |schemas| schemas.subschema_for::<C::Result>(),
            call: |context, admitted, id, params| {
                let answer = read_and_call::<C>(context, admitted, params);
                call::reply(answer, id, &context.memory)
            },
        }
    }
}

/// What a method's file implements, for the method as it is declared for the wire.
pub(super) trait Call: circled_protocol::Method {
    const NEEDS: Needs;
    /// The method itself, maybe borrowed from the message. Read by name from an object, by position from an array.
    type Params<'a>: Deserialize<'a> + JsonSchema;
    /// Its result, as the server has it.
    type Output: Serialize + Send + 'static;

    fn call(
        context: &mut Context,
        admitted: Admitted,
        params: Self::Params<'_>,
    ) -> Answer<Self::Output>;

    /// The parameters could not be read.
    fn refused(_context: &mut Context) {}
}

fn read_and_call<C: Call>(
    context: &mut Context,
    admitted: Admitted,
    params: Option<&str>,
) -> Answer<C::Output> {
    let params = params.unwrap_or("{}");
    let error = match circled_json::borrowed(params) {
        Ok(read) => return C::call(context, admitted, read),
        Err(error) => error,
    };
    let Some(mended) = circled_json::mended(params) else {
        return refuse::<C>(context, params, &error);
    };
    match circled_json::borrowed(&mended) {
        Ok(read) => C::call(context, admitted, read),
        Err(error) => refuse::<C>(context, &mended, &error),
    }
}

/// Says what is wrong with parameters, and where.
fn refuse<C: Call>(
    context: &mut Context,
    params: &str,
    error: &serde_json::Error,
) -> Answer<C::Output> {
    C::refused(context);
    let reason = reason(error);
    let reason = match circled_json::misfit::<C::Params<'_>>(params) {
        Some(place) => format!("`{}`: {reason}", cut(&place, ECHOED)),
        None => reason,
    };
    Answer::Now(Err(Error::InvalidParams { reason }))
}

/// Bytes that an error says again of what was sent, at a time.
const ECHOED: usize = 100;
/// Bytes of what it says in words of ours.
const SAID: usize = 400;

/// Returns what serde says, with a beginning of what was sent. Without the place: serde_json counts lines and columns
/// from the start of the parameters, which nobody can see.
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
