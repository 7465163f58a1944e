//! Names that every script can use.

use super::COMMANDS;

/// The functions of `store`.
const STORE: &[&str] = &[
    "add(",
    "count(",
    "delete(",
    "delete_range(",
    "get(",
    "has(",
    "incr(",
    "keys(",
    "push(",
    "scan(",
    "set(",
    "ttl(",
];

/// Keywords, constants, and functions that aren't called on a value.
const WORDS: &[&str] = &[
    "ARGS",
    "CALLER_ID",
    "CALLER_ROLE",
    "CONTEXT_ID",
    "EVENT",
    "JOB",
    "JOB_ID",
    "PI()",
    "E()",
    "base64(",
    "break",
    "catch",
    "const",
    "continue",
    "debug(",
    "do",
    "else",
    "emit(",
    "emit_to(",
    "exp(",
    "export",
    "false",
    "floor(",
    "for",
    "fn ",
    "from_base64(",
    "from_hex(",
    "hex(",
    "hmac_sha256(",
    "if",
    "import",
    "in",
    "is_def_fn(",
    "is_def_var(",
    "iso(",
    "let",
    "loop",
    "members.",
    "now()",
    "parse_float(",
    "parse_int(",
    "parse_json(",
    "parse_time(",
    "print(",
    "private",
    "random(",
    "require(",
    "return",
    "sha256(",
    "sqrt(",
    "store.",
    "switch",
    "this",
    "throw",
    "timestamp()",
    "to_json(",
    "true",
    "try",
    "type_of(",
    "until",
    "uuid()",
    "verify(",
    "while",
];

/// The functions that are called on a value.
const METHODS: &[&str] = &[
    "abs(",
    "all(",
    "append(",
    "bytes",
    "ceiling(",
    "chars()",
    "chop(",
    "clear()",
    "contains(",
    "crop(",
    "dedup(",
    "drain(",
    "elapsed",
    "ends_with(",
    "extract(",
    "fill_with(",
    "filter(",
    "find(",
    "find_map(",
    "floor(",
    "for_each(",
    "get(",
    "index_of(",
    "insert(",
    "int(",
    "is_empty()",
    "keys()",
    "len()",
    "make_lower()",
    "make_upper()",
    "map(",
    "mixin(",
    "pad(",
    "parse_int(",
    "pop()",
    "push(",
    "reduce(",
    "reduce_rev(",
    "remove(",
    "replace(",
    "retain(",
    "reverse()",
    "round(",
    "set(",
    "shift()",
    "some(",
    "sort(",
    "splice(",
    "split(",
    "split_rev(",
    "starts_with(",
    "sub_string(",
    "to_float()",
    "to_int()",
    "to_json()",
    "to_lower()",
    "to_string()",
    "to_upper()",
    "trim()",
    "truncate(",
    "type_of()",
    "values()",
    "zip(",
];

pub(super) fn of_store(prefix: &str) -> Vec<String> {
    beginning(STORE.iter().copied(), prefix)
}

pub(super) fn of_values(prefix: &str) -> Vec<String> {
    beginning(METHODS.iter().copied(), prefix)
}

pub(super) fn of_the_language(prefix: &str) -> Vec<String> {
    beginning(WORDS.iter().copied(), prefix)
}

pub(super) fn of_the_prompt(prefix: &str) -> Vec<String> {
    beginning(COMMANDS.iter().map(|(name, _)| *name), prefix)
}

fn beginning<'a>(names: impl Iterator<Item = &'a str>, prefix: &str) -> Vec<String> {
    names
        .filter(|word| word.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rhai::Engine;

    use super::*;

    #[test]
    fn words_are_found_by_their_beginning() {
        assert_eq!(of_store("g"), ["get("]);
        assert_eq!(of_values("index"), ["index_of("]);
        assert_eq!(of_the_language("CALL"), ["CALLER_ID", "CALLER_ROLE"]);
        assert_eq!(of_the_prompt("c"), ["call"]);
        assert!(of_the_language("unheard").is_empty());
    }

    #[test]
    fn every_function_of_the_store_is_completed() {
        let natives = include_str!("../../script/natives/store.rs");
        let mut names = BTreeSet::new();
        for native in natives.split("native!(module, pure: true, \"").skip(1) {
            let (name, function) = native.split_once('"').unwrap();
            names.insert(format!("{name}("));
            // The prompt completes any text that comes first as a key.
            let (_, first) = function.split_once("_: &mut Store, ").unwrap();
            let takes_key = first.trim_start_matches('_').starts_with("key: ");
            assert!(
                takes_key || first.starts_with("prefix: ") || first.starts_with("options: Map"),
                "{name}"
            );
        }
        assert_eq!(names.iter().collect::<Vec<_>>(), STORE);
    }

    /// Checks that Rhai has each method: a missing function is another error than wrong arguments.
    #[test]
    fn methods_are_ones_that_rhai_has() {
        let engine = Engine::new();
        let subjects = [
            "\"a\"",
            "1",
            "1.5",
            "[1]",
            "#{ a: 1 }",
            "blob(1)",
            "timestamp()",
        ];
        let arguments = [
            "",
            "1",
            "\"a\"",
            "[1]",
            "1, 1",
            "|x| x",
            "0, |x, y| 1",
            "#{}",
            "[1], |x, y| 1",
            "1, 1, [1]",
            "|x, y| 1",
            "1, \"a\"",
            "\"a\", \"b\"",
        ];
        let unknown = METHODS.iter().filter(|method| {
            let name = method.trim_end_matches("()").trim_end_matches('(');
            let known = subjects.iter().any(|subject| {
                if !method.contains('(') {
                    return engine.eval::<rhai::Dynamic>(&format!("{subject}.{name}")).is_ok();
                }
                arguments.iter().any(|arguments| {
                    let script = format!("let s = {subject}; s.{name}({arguments})");
                    !matches!(
                        engine.eval::<rhai::Dynamic>(&script).map_err(|error| *error),
                        Err(rhai::EvalAltResult::ErrorFunctionNotFound(missing, _)) if missing.starts_with(name)
                    )
                })
            });
            !known
        });
        assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&&str>::new());
    }
}
