//! Embeds the web console: what `make console` has built in `console/dist`, with the names that `src/server/console.rs`
//! serves.

use std::{env, fs, path::Path, process::ExitCode};

/// The names of a console's files, one a line. Each is there twice: as it is, and compressed, with `.gz` behind its name.
const FILES: &str = include_str!("console/files.txt");

/// The folder that has them. Git keeps it, empty: a build would begin anew each time if it watched a folder that isn't there.
const FOLDER: &str = "console/dist";

/// The variable that has a build without a console fail.
const REQUIRED: &str = "REQUIRE_CONSOLE";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CONSOLE").is_none() {
        return ExitCode::SUCCESS;
    }
    println!("cargo::rerun-if-env-changed={REQUIRED}");
    let variable = |name| env::var(name).unwrap_or_default();
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")).join(FOLDER);
    if folder.is_dir() {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    let names = FILES
        .lines()
        .flat_map(|name| [name.to_owned(), format!("{name}.gz")]);
    let (there, missing): (Vec<_>, Vec<_>) = names.partition(|name| folder.join(name).is_file());
    if !there.is_empty() && !missing.is_empty() {
        let missing = missing.join(", ");
        println!("cargo::error={FOLDER} lacks {missing}: run `make console` again");
        return ExitCode::FAILURE;
    }
    if there.is_empty() {
        if variable(REQUIRED) == "1" {
            println!(
                "cargo::error={FOLDER} is empty, and {REQUIRED} is 1: run `make console` first"
            );
            return ExitCode::FAILURE;
        }
        println!(
            "cargo::warning=this circled will have NO WEB CONSOLE: run `make console` first, which needs Node.js 20 or newer"
        );
    }
    let files = if there.is_empty() { "" } else { FILES };
    let written = files.lines().map(|name| {
        let path = |name: &str| folder.join(name).display().to_string();
        let (plain, gzipped) = (path(name), path(&format!("{name}.gz")));
        format!("    File {{ name: {name:?}, plain: include_bytes!({plain:?}), gzipped: include_bytes!({gzipped:?}) }},\n")
    });
    let list = format!("&[\n{}]\n", written.collect::<String>());
    match fs::write(Path::new(&variable("OUT_DIR")).join("console.rs"), list) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error=failed to write the list of the console's files: {error}");
            ExitCode::FAILURE
        }
    }
}
