//! `rpc.discover`: this server, described by itself.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::rpc::{
    Answer, Context,
    context::Admitted,
    method::{Call, Needs, NoParams},
    openrpc,
};

pub(in crate::rpc) struct Discover;

/// The document, written once.
#[derive(Serialize)]
#[serde(transparent)]
pub(in crate::rpc) struct Document(&'static RawValue);

impl JsonSchema for Document {
    fn schema_name() -> Cow<'static, str> {
        Value::schema_name()
    }

    fn inline_schema() -> bool {
        Value::inline_schema()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        Value::json_schema(schemas)
    }
}

impl Call for Discover {
    const NAME: &'static str = "rpc.discover";
    const SUMMARY: &'static str =
        "Returns this document: the methods of this server, in OpenRPC 1.3.";
    const NEEDS: Needs = Needs::Nothing;
    type Params<'a> = NoParams;
    type Output = Document;

    fn call(_: &mut Context, _: Admitted, _: NoParams) -> Answer<Document> {
        Answer::Now(Ok(Document(openrpc::document())))
    }
}
