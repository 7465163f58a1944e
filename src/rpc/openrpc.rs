//! The OpenRPC 1.3 document (<https://spec.open-rpc.org>), generated from the methods.

use std::sync::OnceLock;

use circled_protocol::{
    Permission, code,
    methods::{Notification, ValueNotification},
};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};

use super::{DeviceNeeds, Method, Needs};
use crate::auth::Action;

/// Returns the document of this server.
pub fn discover() -> &'static RawValue {
    static DOCUMENT: OnceLock<Box<RawValue>> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        // Maps with strings for keys can always be written.
        let mut document = generate();
        join_lines(&mut document);
        to_raw_value(&document).unwrap_or_else(|_| RawValue::NULL.to_owned())
    })
}

fn generate() -> Value {
    let settings = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let methods: Vec<Value> = Method::all()
        .map(|method| describe(method, &mut schemas))
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "circled",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs sandboxed scripts in circles. A circle is a community, named by a secp256k1 public key. `x-needs` of a method says who may call it: `anyone`; who has logged in (`login`); whom this rule of the circle permits (`play`, `call`, `subscribe`, `manage`; `play or call`: the parameters decide); or the `owner`. `x-scope` says which scope a session needs that has logged in by a device key: `any`; `play`, `call`, `subscribe` or `jobs`; `play or call`: the parameters decide; `none`: it must log in by the caller's own key. `x-reads` says if a method changes nothing: if its reply is lost, it can be asked again.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "methods": methods,
        // OpenRPC has no field for notifications of the server.
        "x-notifications": [{
            "name": <Notification>::NAME,
            "summary": <Notification>::SUMMARY,
            "params": schemas.subschema_for::<Notification>(),
        }, {
            "name": <ValueNotification>::NAME,
            "summary": <ValueNotification>::SUMMARY,
            "params": schemas.subschema_for::<ValueNotification>(),
        }],
        "components": { "schemas": schemas.take_definitions(true) },
    })
}

fn describe(method: &Method, schemas: &mut SchemaGenerator) -> Value {
    let params = resolve((method.params)(schemas), schemas);
    let required = params
        .get("required")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let properties = params
        .get("properties")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let params: Vec<Value> = properties
        .into_iter()
        .map(|(name, schema)| json!({ "required": required.contains(&json!(name)), "name": name, "schema": schema }))
        .collect();
    json!({
        "name": method.name,
        "summary": method.summary,
        "x-needs": needs(method),
        "x-scope": scope(method),
        "x-reads": method.reads,
        "paramStructure": "either",
        "params": params,
        "result": { "name": "result", "schema": (method.result)(schemas) },
        "errors": errors(method),
    })
}

/// Resolves a reference: the document lists parameters one by one, not as one object.
fn resolve(schema: Schema, schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let value = schema.to_value();
    let Some(name) = value
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| path.rsplit('/').next())
    else {
        return value.as_object().cloned().unwrap_or_default();
    };
    schemas
        .definitions_mut()
        .remove(name)
        .and_then(|schema| schema.as_object().cloned())
        .unwrap_or_default()
}

/// Joins the lines of each description: doc comments have line breaks where their lines are full.
fn join_lines(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let Value::String(text) = member
                    && name == "description"
                {
                    *text = text.replace('\n', " ");
                }
                join_lines(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Returns the word for the requirement on the caller.
fn needs(method: &Method) -> &'static str {
    match method.needs {
        Needs::Nothing | Needs::Credentials => "anyone",
        Needs::Login | Needs::Proof => "login",
        Needs::To(Action::Play) => "play",
        Needs::To(Action::Call) => "call",
        Needs::ToPlayOrCall => "play or call",
        Needs::To(Action::Subscribe) => "subscribe",
        Needs::To(Action::Manage) => "manage",
        Needs::Owner => "owner",
    }
}

/// Returns the word for the requirement on the scope of a device key.
fn scope(method: &Method) -> &'static str {
    match method.device {
        DeviceNeeds::Nothing => "any",
        DeviceNeeds::Scope(Permission::Play) => "play",
        DeviceNeeds::Scope(Permission::Call | Permission::CallNamed(_)) | DeviceNeeds::ToCall => {
            "call"
        }
        DeviceNeeds::Scope(Permission::Subscribe) => "subscribe",
        DeviceNeeds::Scope(Permission::Jobs) | DeviceNeeds::Jobs => "jobs",
        DeviceNeeds::ToPlayOrCall => "play or call",
        DeviceNeeds::OwnKey => "none",
    }
}

/// Returns the errors of the method.
fn errors(method: &Method) -> Vec<Value> {
    let denied = [
        code::AUTHENTICATION_REQUIRED,
        // The session's device key was removed.
        code::INVALID_CREDENTIALS,
        code::FORBIDDEN,
        code::UNAVAILABLE,
    ];
    let of_needs: &[i32] = match method.needs {
        Needs::Nothing => &[],
        Needs::Credentials => &[code::INVALID_CREDENTIALS],
        Needs::Login | Needs::Proof | Needs::To(_) | Needs::ToPlayOrCall | Needs::Owner => &denied,
    };
    let of_all = [code::INVALID_PARAMS, code::LIMIT_EXCEEDED];
    let own = of_all.iter().chain(of_needs).chain(method.errors);
    own.map(|number| json!({ "code": number, "message": code::message(*number) }))
        .collect()
}
