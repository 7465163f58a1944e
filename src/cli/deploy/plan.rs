//! The difference between a folder and a circle.

use std::{collections::BTreeMap, io, time::Duration};

use circled_protocol::{
    CallRule, Role, Word,
    methods::{DeployScripts, ScriptEntry, ScriptState, ScriptToDelete, ScriptToPut},
};
use serde_json::json;
use similar::TextDiff;

use crate::{
    circle::version_of_source,
    cli::{
        folder::{Folder, ScriptFile},
        with_login::{print_json, print_text},
    },
};

/// The time after which a difference is shown as it is found by then, if the sources are long.
const PATIENCE: Duration = Duration::from_secs(1);
/// The lines around a change that are shown.
const AROUND: usize = 3;

/// All that is to be changed, and what stays though the folder doesn't have it.
pub(super) struct Plan<'a> {
    changes: BTreeMap<String, Change<'a>>,
}

/// A script that the circle and the folder don't have alike.
pub(super) struct Change<'a> {
    name: String,
    /// The script as the folder has it.
    script: Option<&'a ScriptFile>,
    /// The script as the circle has it.
    was: Option<ScriptState>,
    /// Its source in the circle, once it is read.
    pub(super) was_source: String,
    /// The folder doesn't have it, and it stays.
    is_kept: bool,
}

impl<'a> Plan<'a> {
    /// Compares a folder with the scripts of a circle.
    pub(super) fn new(folder: &'a Folder, listed: &[ScriptEntry], prune: bool) -> Self {
        let mut states: BTreeMap<&str, ScriptState> = listed
            .iter()
            .map(|entry| (entry.name.as_str(), state(entry)))
            .collect();
        let mut changes = BTreeMap::new();
        for (name, script) in &folder.scripts {
            let was = states.remove(name.as_str());
            let is_same = was.as_ref().is_some_and(|was| {
                was.version == version_of_source(&script.source) && was.call == script.call.role()
            });
            if !is_same {
                changes.insert(name.clone(), Change::new(name, Some(script), was, false));
            }
        }
        for (name, was) in states {
            let change = Change::new(name, None, Some(was), !prune);
            changes.insert(name.to_owned(), change);
        }
        Self { changes }
    }

    /// Returns the changes for which the circle's source is to be shown.
    pub(super) fn unread(&mut self) -> impl Iterator<Item = &mut Change<'a>> {
        let changes = self.changes.values_mut();
        changes
            .filter(|change| !change.is_kept && change.was.is_some() && change.has_other_source())
    }

    /// Returns true if a script stays that the folder doesn't have.
    pub(super) fn keeps(&self, name: &str) -> bool {
        self.changes.get(name).is_some_and(|change| change.is_kept)
    }

    fn made(&self) -> impl Iterator<Item = &Change<'a>> {
        self.changes.values().filter(|change| !change.is_kept)
    }

    /// Returns true if nothing is to be changed.
    pub(super) fn changes_nothing(&self) -> bool {
        self.made().next().is_none()
    }

    /// Returns the number of changes, in words.
    pub(super) fn count(&self) -> String {
        match self.made().count() {
            1 => "1 script would change".to_owned(),
            count => format!("{count} scripts would change"),
        }
    }

    /// Returns the change that is asked of the server.
    pub(super) fn deployment(&self) -> DeployScripts {
        let put = |change: &Change<'_>| {
            let script = change.script?;
            Some(ScriptToPut {
                name: change.name.clone(),
                source: script.source.clone(),
                call: Some(script.call),
                was: change.was.clone(),
            })
        };
        let delete = |change: &Change<'_>| {
            let was = change.was.clone().filter(|_| change.script.is_none())?;
            let name = change.name.clone();
            Some(ScriptToDelete { name, was })
        };
        DeployScripts {
            put: self.made().filter_map(put).collect(),
            delete: Some(self.made().filter_map(delete).collect()),
            request_id: None,
        }
    }

    /// Prints the difference.
    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        let (kept, made): (Vec<_>, Vec<_>) =
            self.changes.values().partition(|change| change.is_kept);
        for change in made.into_iter().chain(kept) {
            change.print(json)?;
        }
        Ok(())
    }
}

/// Returns the state of a script, as a deployment names it.
fn state(entry: &ScriptEntry) -> ScriptState {
    let call = entry.call.as_ref().and_then(|role| match role {
        Word::Known(role) => Some(*role),
        // The server refuses to change what this command doesn't understand.
        Word::Other(_) => None,
    });
    ScriptState {
        version: entry.current.version.clone(),
        call,
    }
}

impl<'a> Change<'a> {
    fn new(
        name: &str,
        script: Option<&'a ScriptFile>,
        was: Option<ScriptState>,
        is_kept: bool,
    ) -> Self {
        Self {
            name: name.to_owned(),
            script,
            was,
            was_source: String::new(),
            is_kept,
        }
    }

    /// Returns the name and version of the script in the circle.
    pub(super) fn wanted(&self) -> (&str, &str) {
        let version = self.was.as_ref().map(|was| was.version.as_str());
        (&self.name, version.unwrap_or_default())
    }

    fn has_other_source(&self) -> bool {
        let source = self.script.map(|script| version_of_source(&script.source));
        source.as_deref() != self.was.as_ref().map(|was| was.version.as_str())
    }

    /// Returns the word for it.
    fn kind(&self) -> &'static str {
        match (&self.was, self.script) {
            (None, _) => "add",
            (Some(_), Some(_)) => "change",
            (Some(_), None) if self.is_kept => "keep",
            (Some(_), None) => "delete",
        }
    }

    /// Returns the rule before and after, if it changes.
    fn rules(&self) -> Option<(&'static str, &'static str)> {
        let was = self.was.as_ref().and_then(|was| was.call);
        let is = self.script?.call.role();
        (was != is).then(|| (rule(was), rule(is)))
    }

    /// Returns the difference of the sources.
    fn diff(&self) -> Option<String> {
        if self.is_kept || !self.has_other_source() {
            return None;
        }
        let source = self.script.map_or("", |script| &script.source);
        let mut diff = TextDiff::configure();
        let diff = diff.timeout(PATIENCE);
        let diff = diff.diff_lines(self.was_source.as_str(), source);
        Some(diff.unified_diff().context_radius(AROUND).to_string())
    }

    fn print(&self, json: bool) -> io::Result<()> {
        let Self { name, .. } = self;
        let (kind, rules, diff) = (self.kind(), self.rules(), self.diff());
        if json {
            let mut line = json!({ "name": name, "change": kind });
            if let Some((was, is)) = rules {
                line["call"] = json!({ "was": was, "is": is });
            }
            if let Some(diff) = diff {
                line["diff"] = diff.into();
            }
            return print_json(&line);
        }
        let remark = match (kind, rules) {
            ("keep", _) => "  (the folder doesn't have it; --prune deletes it)".to_owned(),
            ("add", Some((_, is))) => format!("  call: {is}"),
            (_, Some((was, is))) => format!("  call: {was} -> {is}"),
            (_, None) => String::new(),
        };
        print_text(&format!("{kind:6}  {name}{remark}"))?;
        for line in diff.iter().flat_map(|diff| diff.lines()) {
            print_text(&format!("    {line}"))?;
        }
        Ok(())
    }
}

fn rule(role: Option<Role>) -> &'static str {
    use circled_protocol::Vocabulary;
    role.map_or(CallRule::Auto.name(), Role::name)
}
