//! Files for shells and for `man`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use super::{circled, file, text};

#[test]
fn completions_are_made_for_every_shell() {
    for (shell, sign) in [
        ("bash", "complete -F _circled"),
        ("zsh", "#compdef circled"),
        ("fish", "complete -c circled"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let made = circled(&["completions", shell]);
        assert!(made.status.success(), "{shell}");
        let script = text(&made.stdout);
        assert!(script.contains(sign), "{shell}: {script}");
        assert!(script.contains("redeliver"), "{shell}: {script}");
    }
    assert_eq!(circled(&["completions", "sh"]).status.code(), Some(2));
}

#[test]
fn bash_completes_commands_and_options() {
    let (_folder, script) = file("circled", text(&circled(&["completions", "bash"]).stdout));
    let complete = |words: &str| {
        let ask = "source \"$0\"; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                   last=${COMP_WORDS[COMP_CWORD]}; _circled circled \"$last\" \"\"; echo \"${COMPREPLY[@]}\"";
        let ran = Command::new("bash")
            .args(["--norc", "-c", ask])
            .arg(&script)
            .arg(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        text(&ran.stdout).trim().to_owned()
    };
    assert_eq!(complete("circled wor"), "worker");
    assert_eq!(complete("circled keygen --sh"), "--show");
    assert_eq!(complete("circled jobs ret"), "retry");
    assert_eq!(complete("circled no-such-com"), "");
}

#[test]
fn every_command_has_a_manual_page_that_everybody_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let made = circled(&["man", folder.path().to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let mut pages = BTreeSet::new();
    for page in fs::read_dir(folder.path()).unwrap() {
        let page = page.unwrap();
        assert_eq!(page.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        pages.insert(page.file_name().into_string().unwrap());
    }
    let help = circled(&["--help"]);
    let commands = text(&help.stdout)
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help");
    let commands: Vec<_> = commands.collect();
    assert!(commands.contains(&"serve") && commands.contains(&"completions"));
    for command in commands {
        assert!(
            pages.contains(&format!("circled-{command}.1")),
            "{command}: {pages:?}"
        );
    }
    assert!(pages.contains("circled.1") && pages.contains("circled-jobs-retry.1"));
    assert!(!pages.contains("circled-man.1"), "it is for packages");
    let page = fs::read_to_string(folder.path().join("circled-serve.1")).unwrap();
    assert!(page.contains(".TH circled-serve 1"), "{page}");
    let examples = page.split(".SH EXAMPLES\n.nf\n").nth(1).unwrap();
    assert!(examples.contains("  circled serve \\-\\-config circled.toml"));

    let nowhere = circled(&["man", "/nowhere"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("/nowhere cannot be written to"));
}
