//! Checks that a server's messages fit the schemas of `rpc.discover`.

use std::{collections::HashMap, sync::LazyLock};

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

static DISCOVERED: LazyLock<Discovered> = LazyLock::new(Discovered::new);

/// The schemas of all results and notifications.
struct Discovered {
    schemas: Schemas,
    results: HashMap<String, SchemaIndex>,
    notifications: HashMap<String, SchemaIndex>,
}

/// The calls of a session, to find the schema of each reply.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// The methods by the text of the calls' ids. Tests may call two methods with the same id.
    methods: HashMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: String,
}

impl Discovered {
    fn new() -> Self {
        const NAME: &str = "http://localhost/discover";
        let document = circled_json::parse(circled::rpc::discover().get()).unwrap();
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V7);
        compiler.add_resource(NAME, document.clone()).unwrap();
        let mut schemas = Schemas::new();
        let mut all = |list: &str, schema: &str| {
            let described = document[list].as_array().unwrap().iter().enumerate();
            let compiled = described.map(|(index, one)| {
                let place = format!("{NAME}#/{list}/{index}/{schema}");
                let name = one["name"].as_str().unwrap().to_owned();
                (name, compiler.compile(&place, &mut schemas).unwrap())
            });
            compiled.collect::<HashMap<_, _>>()
        };
        let results = all("methods", "result/schema");
        let notifications = all("x-notifications", "params");
        Self {
            schemas,
            results,
            notifications,
        }
    }

    fn problem(&self, schema: Option<&SchemaIndex>, value: &Value) -> Option<String> {
        let Some(schema) = schema else {
            return Some("it is not described".to_owned());
        };
        let checked = self.schemas.validate(value, *schema);
        checked.err().map(|error| format!("{error:#}"))
    }
}

impl Calls {
    /// Notes the calls in a message that a test sends, if there are any.
    pub(crate) fn sent(&mut self, text: &str) {
        let calls = match circled_json::borrowed::<Vec<&RawValue>>(text) {
            Ok(batch) => batch.into_iter().map(RawValue::get).collect(),
            Err(_) => vec![text],
        };
        for call in calls {
            if let Ok(Call { id, method }) = circled_json::borrowed(call) {
                let methods = self.methods.entry(id.get().to_owned()).or_default();
                if !methods.contains(&method) {
                    methods.push(method);
                }
            }
        }
    }

    /// Checks a message that the server has sent.
    pub(crate) fn check(&self, text: &str) {
        match circled_json::parse(text) {
            Ok(Value::Array(batch)) => batch.iter().for_each(|message| self.check_one(message)),
            Ok(message) => self.check_one(&message),
            Err(error) => panic!("no JSON: {error}: {text}"),
        }
    }

    fn check_one(&self, message: &Value) {
        let all = &*DISCOVERED;
        if let Some(name) = message["method"].as_str() {
            let problem = all.problem(all.notifications.get(name), &message["params"]);
            assert_eq!(problem, None, "{message}");
        } else if let Some(result) = message.get("result") {
            let methods = self.methods.get(&message["id"].to_string());
            let problems = methods
                .into_iter()
                .flatten()
                .map(|method| all.problem(all.results.get(method), result));
            let problems: Vec<_> = problems.collect();
            let fits = problems.is_empty() || problems.contains(&None);
            assert!(fits, "{problems:?}: {message}");
        }
    }
}
