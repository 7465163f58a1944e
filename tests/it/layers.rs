//! The layers of the server: a module imports only modules below itself.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The modules of `src`, from top to bottom.
const LAYERS: [&str; 26] = [
    "cli",
    "server",
    "config",
    "session",
    "webhooks",
    "rpc",
    "dispatch",
    "circle",
    "auth",
    "turns",
    "script",
    "backup",
    "store",
    "weight",
    "memory",
    "metrics",
    "address",
    "document",
    "farewell",
    "field_names",
    "files",
    "log_limit",
    "pace",
    "refusal",
    "shares",
    "units",
];

/// A source file of the server that isn't a test.
struct Source {
    /// Its place below `src`, such as `rpc/call.rs`.
    path: PathBuf,
    /// Its code, without comments and tests.
    code: String,
}

impl Source {
    /// Returns the module of `src` that the file belongs to.
    fn layer(&self) -> String {
        let first = self.path.components().next().unwrap();
        let first = Path::new(first.as_os_str()).file_stem().unwrap();
        first.to_str().unwrap().to_owned()
    }

    /// Returns the number of modules that the file is within, itself included.
    fn depth(&self) -> usize {
        let is_folder = self.path.ends_with("mod.rs");
        self.path.components().count() - usize::from(is_folder)
    }

    /// Returns the modules of `src` that the file names.
    fn imports(&self) -> BTreeSet<String> {
        let above = "super::".repeat(self.depth());
        let mut imports = self.names_after("crate::");
        // In a module within the file, these lead to the file itself.
        let others = self.names_after(&above).into_iter();
        imports.extend(others.filter(|name| LAYERS.contains(&&**name)));
        imports
    }

    /// Returns the first names of the paths that begin like this.
    fn names_after(&self, beginning: &str) -> BTreeSet<String> {
        let paths = self.code.match_indices(beginning).filter_map(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let is_begun = before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c));
            (!is_begun).then(|| &self.code[at + beginning.len()..])
        });
        paths.flat_map(first_names).collect()
    }
}

/// Returns the first names of a path, which may be a list of paths in braces.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let is_of_name = |c: &char| c.is_alphanumeric() || *c == '_';
        text.trim_start().chars().take_while(is_of_name).collect()
    };
    let Some(list) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let (mut depth, mut item, mut names) = (0, String::new(), Vec::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&std::mem::take(&mut item))),
            _ => item.push(c),
        }
    }
    names.push(name(&item));
    names.retain(|name| !name.is_empty());
    names
}

/// Returns the sources below a folder that aren't tests.
fn sources(root: &Path, folder: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut tests = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(root, &path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.trim().starts_with("//"));
            let code: Vec<&str> = lines.collect();
            let code = code.join("\n");
            let modules = match path.file_stem().unwrap().to_str().unwrap() {
                "mod" | "lib" | "main" => folder.to_owned(),
                stem => folder.join(stem),
            };
            let mut parts = code.split("#[cfg(test)]\n");
            let mut kept = parts.next().unwrap().to_owned();
            for part in parts {
                let (item, rest) = part.split_once('\n').unwrap_or((part, ""));
                match item.trim().strip_prefix("mod ") {
                    Some(module) if module.ends_with(';') => {
                        tests.push(modules.join(module.trim_end_matches(';')));
                        kept += rest;
                    }
                    // The tests in a file are at its end.
                    Some(_) => break,
                    None => kept += part,
                }
            }
            let path = path.strip_prefix(root).unwrap().to_owned();
            found.push(Source { path, code: kept });
        }
    }
    found.retain(|source| {
        let module = root.join(source.path.with_extension(""));
        !tests.iter().any(|test| module.starts_with(test))
    });
    found
}

fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = sources(&root, &root);
    all.retain(|source| !matches!(&*source.layer(), "lib" | "main"));
    assert!(all.len() > 150, "{}", all.len());
    all
}

fn level(layer: &str) -> usize {
    let level = LAYERS.iter().position(|one| *one == layer);
    level.unwrap_or_else(|| panic!("`{layer}` is not in the list of layers"))
}

#[test]
fn nothing_imports_upwards() {
    let mut upwards = Vec::new();
    for source in all() {
        let own = level(&source.layer());
        for import in source.imports() {
            if level(&import) < own {
                upwards.push(format!("{}: {import}", source.path.display()));
            }
        }
    }
    assert!(upwards.is_empty(), "{upwards:#?}");
}

#[test]
fn json_rpc_and_everything_below_know_no_http() {
    for source in all() {
        let layer = source.layer();
        if (level("rpc")..=level("store")).contains(&level(&layer)) {
            let names_http = source.code.contains("axum::") || source.code.contains("hyper::");
            assert!(!names_http, "{}", source.path.display());
        }
    }
}

#[test]
fn dispatch_and_everything_below_know_no_notification() {
    for source in all() {
        let layer = source.layer();
        if (level("dispatch")..=level("store")).contains(&level(&layer)) {
            for of_the_wire in ["tungstenite", "Utf8Bytes", "Notice"] {
                let names_it = source.code.contains(of_the_wire);
                assert!(!names_it, "{}: {of_the_wire}", source.path.display());
            }
        }
    }
}

#[test]
fn the_guide_lists_the_layers_in_their_order() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let guide = fs::read_to_string(guide).unwrap();
    let mut listed = Vec::new();
    for row in guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `src/"))
    {
        let (path, _) = row.split_once('`').unwrap();
        let layer = path.trim_end_matches('/').trim_end_matches(".rs");
        if LAYERS.contains(&layer) {
            listed.push(layer);
        }
    }
    assert!(listed.len() > 10, "{listed:?}");
    assert!(listed.is_sorted_by_key(|layer| level(layer)), "{listed:?}");
}
