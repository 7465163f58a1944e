//! The dependencies of the crates that others may use.

use std::process::Command;

/// Returns the names of all crates that come with a crate of this workspace.
fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal"])
        .args(["--prefix", "none", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let names = lines.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn no_crate_for_others_brings_the_server_along() {
    let server = ["circled", "axum", "rhai", "fjall", "fred", "clap"];
    let sockets = ["tokio", "hyper", "rustls", "tokio-tungstenite"];
    for (package, needed, others) in [
        (
            "circled-json",
            "serde_json",
            &["circled-protocol", "k256"][..],
        ),
        (
            "circled-payloads",
            "circled-json",
            &["circled-protocol", "k256"],
        ),
        (
            "circled-protocol",
            "circled-json",
            &["circled-client", "circled-payloads"],
        ),
        ("circled-client", "circled-protocol", &["circled-payloads"]),
    ] {
        let found = tree(package);
        assert!(found.iter().any(|name| name == needed), "{found:?}");
        let mut forbidden: Vec<_> = server.iter().chain(others).collect();
        if package != "circled-client" {
            forbidden.extend(&sockets);
        }
        for name in forbidden {
            assert!(
                !found.iter().any(|found| found == name),
                "{package}: {name}"
            );
        }
    }
}
