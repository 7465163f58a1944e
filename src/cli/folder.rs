//! A folder with a circle's scripts: `name.rhai`, the tests `*_test.rhai`, and `circle.toml` with rules and hooks.

mod circle_toml;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use circled_protocol::{CallRule, is_script_name};

use self::circle_toml::CircleToml;
use super::with_login::{MAX_SENT, ScriptSource};
use crate::{circle::NAME_RULE, files};

/// The file with rules and hooks.
const CIRCLE_TOML: &str = "circle.toml";
const SCRIPT: &str = ".rhai";
const TEST: &str = "_test";

/// The content of a folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The scripts, by their names.
    pub(super) scripts: BTreeMap<String, ScriptFile>,
    /// The tests, by their names.
    pub(super) tests: BTreeMap<String, ScriptFile>,
}

/// A script in a folder.
#[derive(Debug, Clone)]
pub(super) struct ScriptFile {
    /// Its path, for messages.
    pub(super) path: String,
    pub(super) source: String,
    /// The rule that `circle.toml` gives it.
    pub(super) call: CallRule,
}

impl ScriptFile {
    /// Returns the script, for messages.
    pub(super) fn shown(&self) -> ScriptSource<'_> {
        ScriptSource {
            name: &self.path,
            text: Some(&self.source),
        }
    }
}

/// All that is wrong with a folder, a line each.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, path: &Path, problem: impl fmt::Display) {
        self.0.push(format!("{}: {problem}", path.display()));
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

impl Folder {
    /// Reads a folder.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn read(folder: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut read = Self::default();
        let mut room = MAX_SENT;
        for file in list(folder, &mut problems) {
            let relative = file.strip_prefix(folder).unwrap_or(&file);
            let name = relative.to_str().and_then(|name| name.strip_suffix(SCRIPT));
            let Some(name) = name.filter(|name| is_script_name(name)) else {
                problems.add(
                    &file,
                    format_args!("its name can be no script's: {NAME_RULE}"),
                );
                continue;
            };
            let source = match files::read_text(&file, room) {
                Ok(source) => source,
                Err(error) => {
                    problems.add(&file, error);
                    continue;
                }
            };
            room -= source.len();
            let script = ScriptFile {
                path: file.display().to_string(),
                source,
                call: CallRule::Auto,
            };
            let scripts = match name.ends_with(TEST) {
                true => &mut read.tests,
                false => &mut read.scripts,
            };
            scripts.insert(name.to_owned(), script);
        }
        read.apply(&folder.join(CIRCLE_TOML), &mut problems);
        match problems.0.is_empty() {
            true => Ok(read),
            false => Err(problems),
        }
    }

    /// Gives scripts their rules, and adds the hooks.
    fn apply(&mut self, file: &Path, problems: &mut Problems) {
        let text = match files::read_text(file, MAX_SENT) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return problems.add(file, error),
        };
        let CircleToml { hooks, calls } = match CircleToml::read(&text) {
            Ok(read) => read,
            Err(wrong) => {
                let lines = wrong.into_iter();
                let path = file.display();
                return problems
                    .0
                    .extend(lines.map(|line| format!("{path}:{line}")));
            }
        };
        for (hook, name) in hooks {
            let script = match self.scripts.get(&name.value) {
                Some(_) if self.scripts.contains_key(&hook) => {
                    let why = format!("there is also {hook}{SCRIPT}, which is the same hook");
                    problems.0.push(name.says(file, &why));
                    continue;
                }
                Some(script) => script.clone(),
                None => {
                    let why = format!("there is no {}{SCRIPT}", name.value);
                    problems.0.push(name.says(file, &why));
                    continue;
                }
            };
            self.scripts.insert(hook, script);
        }
        for (name, call) in calls {
            match self.scripts.get_mut(&name) {
                Some(script) => script.call = call.value,
                None => problems
                    .0
                    .push(call.says(file, &format!("there is no {name}{SCRIPT}"))),
            }
        }
    }
}

/// Lists the files with scripts, in order. Hidden files and folders are left out.
fn list(folder: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                problems.add(&folder, error);
                continue;
            }
        };
        for entry in entries {
            let file = entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?)));
            let (name, kind) = match file {
                Ok(file) => file,
                Err(error) => {
                    problems.add(&folder, error);
                    continue;
                }
            };
            let path = folder.join(&name);
            if name.as_bytes().starts_with(b".") {
                continue;
            }
            let is_script = name.as_bytes().ends_with(SCRIPT.as_bytes());
            if kind.is_symlink() && (is_script || path.is_dir() || name == CIRCLE_TOML) {
                problems.add(
                    &path,
                    "it is a symbolic link, which may lead elsewhere: put the file itself here",
                );
            } else if kind.is_dir() {
                folders.push(path);
            } else if is_script && !kind.is_file() {
                problems.add(&path, "it is no file");
            } else if is_script {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The state of a folder's files, to notice when one changes.
pub(super) type Stamp = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Returns the times and lengths of all files that count.
pub(super) fn stamp(folder: &Path) -> Stamp {
    let mut files = list(folder, &mut Problems::default());
    files.push(folder.join(CIRCLE_TOML));
    let state = |file: PathBuf| {
        let now = fs::metadata(&file).ok();
        let now = now.and_then(|now| Some((now.modified().ok()?, now.len())));
        (file, now)
    };
    files.into_iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::fs::symlink};

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    }

    /// Returns the problems, without the path of the folder.
    fn problems(folder: &Path) -> String {
        let told = Folder::read(folder).unwrap_err().to_string();
        told.replace(&format!("{}/", folder.display()), "")
    }

    #[test]
    fn scripts_tests_rules_and_hooks_are_read() {
        let folder = folder(&[
            ("main.rhai", "1"),
            ("lib/money.rhai", "2"),
            ("lib/money_test.rhai", "3"),
            ("README.md", "no script"),
            (".git/x.rhai", "hidden"),
            (
                "circle.toml",
                "[scripts]\n\"lib/money\" = { call = \"owner\" }\non_stripe.call = \"member\"\n[hooks]\nstripe = \"main\"",
            ),
        ]);
        let read = Folder::read(folder.path()).unwrap();
        let scripts: Vec<_> = read
            .scripts
            .iter()
            .map(|(name, script)| (name.as_str(), script.source.as_str(), script.call))
            .collect();
        assert_eq!(
            scripts,
            [
                ("lib/money", "2", CallRule::Owner),
                ("main", "1", CallRule::Auto),
                ("on_stripe", "1", CallRule::Member),
            ]
        );
        assert!(read.tests.keys().eq(["lib/money_test"]));
    }

    #[test]
    fn all_that_is_wrong_with_a_folder_is_told() {
        let wrong = folder(&[
            ("good.rhai", "1"),
            ("1st.rhai", "1"),
            ("a b/c.rhai", "1"),
            (
                "circle.toml",
                "[scripts]\nnone.call = \"owner\"\n[hooks]\nstripe = \"on_stripe\"",
            ),
        ]);
        let path = wrong.path();
        fs::write(path.join("latin.rhai"), b"\xe4").unwrap();
        fs::write(path.join(OsStr::from_bytes(b"\xe4.rhai")), "1").unwrap();
        symlink(path.join("good.rhai"), path.join("link.rhai")).unwrap();
        symlink("/etc", path.join("etc")).unwrap();
        let long = fs::File::create(path.join("long.rhai")).unwrap();
        long.set_len(MAX_SENT as u64 + 1).unwrap();
        let told = problems(path);
        let mut lines: Vec<_> = told.lines().collect();
        lines.sort_unstable();
        let link = "it is a symbolic link, which may lead elsewhere: put the file itself here";
        let name = format!("its name can be no script's: {NAME_RULE}");
        assert_eq!(
            lines,
            [
                format!("1st.rhai: {name}"),
                format!("a b/c.rhai: {name}"),
                "circle.toml:2:1: there is no none.rhai".to_owned(),
                "circle.toml:4:1: there is no on_stripe.rhai".to_owned(),
                format!("etc: {link}"),
                "latin.rhai: it is not UTF-8".to_owned(),
                format!("link.rhai: {link}"),
                "long.rhai: it is larger than 67108863 bytes".to_owned(),
                format!("\u{fffd}.rhai: {name}"),
            ]
        );
        assert!(Folder::read(&path.join("none")).is_err());
    }

    #[test]
    fn a_folder_that_has_changed_has_another_stamp() {
        let folder = folder(&[("a.rhai", "1")]);
        let path = folder.path();
        let mut last = stamp(path);
        assert_eq!(stamp(path), last);
        for (file, text) in [("a.rhai", "22"), ("b.rhai", "1"), ("circle.toml", "")] {
            fs::write(path.join(file), text).unwrap();
            let now = stamp(path);
            assert_ne!(now, last, "{file}");
            last = now;
        }
        fs::write(path.join("notes.txt"), "1").unwrap();
        assert_eq!(stamp(path), last);
    }
}
