//! The method table.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{Answer, Context, Error, Id, Reply, call, methods};

/// One row of the table: all that is known of a method, for calling it and for describing it.
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What a caller must be.
    pub needs: Needs,
    pub(super) params: fn(&mut SchemaGenerator) -> Schema,
    pub(super) result: fn(&mut SchemaGenerator) -> Schema,
    pub(super) call: fn(&mut Context, Option<Id<'_>>, Option<&str>) -> Reply,
}

/// What a caller must be for a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anyone who has connected.
    Nothing,
    /// Anyone, with credentials to show.
    Credentials,
    /// Someone who may run scripts in this circle.
    Play,
}

impl Method {
    /// Every method there is.
    pub const TABLE: &'static [Self] = &[
        Self::of::<methods::Play>(),
        Self::of::<methods::FetchNonce>(),
        Self::of::<methods::Authenticate>(),
        Self::of::<methods::Whoami>(),
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
            params: |schemas| schemas.subschema_for::<C::Params<'static>>(),
            result: |schemas| schemas.subschema_for::<C::Output>(),
            call: |context, id, params| {
                let answer = match read_params::<C>(params) {
                    Ok(params) => C::call(context, params),
                    Err(error) => {
                        C::refused(context);
                        Answer::Now(Err(error))
                    }
                };
                call::reply(answer, id)
            },
        }
    }
}

/// What a method's file implements.
pub(super) trait Call {
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const NEEDS: Needs;
    /// Read by name from an object, by position from an array: fields stand in the order of positions.
    type Params<'a>: Deserialize<'a> + JsonSchema;
    type Output: Serialize + JsonSchema + Send + 'static;

    fn call(context: &mut Context, params: Self::Params<'_>) -> Answer<Self::Output>;

    /// The parameters could not be read.
    fn refused(_context: &mut Context) {}
}

/// The parameters of a method that has none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

fn read_params<'a, C: Call>(params: Option<&'a str>) -> Result<C::Params<'a>, Error> {
    serde_json::from_str(params.unwrap_or("{}")).map_err(|error| Error::InvalidParams {
        reason: without_position(&error),
    })
}

/// serde_json counts lines and columns from the start of the parameters, which nobody can see.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or(text.clone(), |(reason, _)| reason.to_owned())
}
