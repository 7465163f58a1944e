//! The web console, as far as every build has it: where it is, and who may use it. What its files are served like is in
//! the tests beside `src/server/console.rs`; the pages themselves are tested in `console/test`.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::harness::server::{TestServer, circle, send};

/// The headers of each answer.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-cache"),
];

#[tokio::test]
async fn all_answers_have_the_headers_that_protect_the_console() {
    let server = TestServer::start().await;
    for (method, path) in [
        ("GET", "/console"),
        ("GET", "/console/"),
        ("GET", "/console/console.js"),
        ("GET", "/console/nothing"),
        ("GET", "/console/a/b"),
        ("GET", "/console/%ff"),
        ("POST", "/console/"),
        ("POST", "/console/console.js"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let answer = send(server.address, &request).await;
        for (name, value) in HEADERS {
            assert_eq!(answer.header(name), Some(value), "{method} {path}");
        }
        if method == "POST" {
            assert_eq!(answer.status, 405, "{path}");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{path}");
        }
    }
    let redirect = server.get("/console", &[]).await;
    assert_eq!(redirect.status, 308);
    assert_eq!(redirect.header("location"), Some("console/"));
}

#[tokio::test]
async fn the_setting_turns_it_off() {
    let server = TestServer::builder()
        .env("CIRCLED_SERVER__CONSOLE", false)
        .start()
        .await;
    for path in ["/console", "/console/", "/console/console.js"] {
        server.get(path, &[]).await.assert_is_an_error(404);
    }
}

/// The list of pages is the whole list, also for the console's. The start says so.
#[tokio::test]
async fn its_pages_must_be_listed_like_all_others() {
    let app = "https://app.example";
    let own = "https://circles.example.org";
    for (listed, status) in [(app.to_owned(), 403), (format!("{app}, {own}"), 101)] {
        let mut server = TestServer::builder()
            .env("CIRCLED_SERVER__PUBLIC_URL", "wss://circles.example.org")
            .env("CIRCLED_SERVER__ALLOWED_ORIGINS", listed)
            .start()
            .await;
        let path = format!("/{}", circle());
        let answer = server.upgrade(&path, &[("Origin", own)]).await;
        assert_eq!(answer.status, status);
        let answer = server.upgrade(&path, &[("Origin", app)]).await;
        assert_eq!(answer.status, 101);
        if status == 403 && server.get("/console/", &[]).await.status == 200 {
            let warning = server.logged("that its pages may not connect", |line| {
                let said = line["message"].as_str().unwrap_or_default();
                said.contains("the console's pages may not connect") && said.contains(own)
            });
            warning.await;
        }
    }
}

/// The start says where the console is, or that it is missing, as the page itself does.
#[tokio::test]
async fn the_start_says_if_it_is_there() {
    let mut server = TestServer::start().await;
    let serving = server
        .logged("that it serves", |line| line["message"] == "serving")
        .await;
    let page = server.get("/console/", &[]).await;
    let kind = page.header("content-type");
    if page.status == 200 {
        assert_eq!(kind, Some("text/html; charset=utf-8"));
        let url = format!("http://{}/console/", server.address);
        assert_eq!(serving["console"], url);
    } else {
        assert_eq!(page.status, 404);
        assert_eq!(kind, Some("text/plain; charset=utf-8"));
        assert!(page.body.contains("make console"), "{}", page.body);
        assert!(serving["console"].is_null(), "{serving}");
        server
            .logged("that the console is missing", |line| {
                let said = line["message"].as_str().unwrap_or_default();
                said.contains("WITHOUT ITS WEB CONSOLE")
            })
            .await;
    }
}

/// A copy of `build.rs`, compiled, in a folder without anything else.
struct Build(tempfile::TempDir);

impl Build {
    /// Returns the names that it wants, each with that of its compressed form.
    fn names() -> Vec<String> {
        let names = include_str!("../../../console/files.txt").lines();
        let names: Vec<_> = names
            .flat_map(|name| [name.to_owned(), format!("{name}.gz")])
            .collect();
        assert!(names.len() >= 12, "{names:?}");
        names
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        let compiled = Command::new(rustc)
            .args(["--edition", "2024", "-o"])
            .arg(folder.path().join("build"))
            .arg(source)
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{compiled:?}");
        Self(folder)
    }

    fn put(&self, names: &[String]) {
        let dist = self.0.path().join("console/dist");
        fs::create_dir_all(&dist).unwrap();
        for name in names {
            fs::write(dist.join(name), name).unwrap();
        }
    }

    /// Runs it. Returns its output, and the list that it has written.
    fn run(&self, required: bool) -> (Output, Option<String>) {
        let folder = self.0.path();
        let output = Command::new(folder.join("build"))
            .env("CARGO_FEATURE_CONSOLE", "1")
            .env("CARGO_MANIFEST_DIR", folder)
            .env("OUT_DIR", folder)
            .env("REQUIRE_CONSOLE", if required { "1" } else { "" })
            .output()
            .unwrap();
        let list = folder.join("console.rs");
        let written = fs::read_to_string(&list).ok();
        let _ = fs::remove_file(list);
        (output, written)
    }
}

#[test]
fn a_build_has_the_whole_console_or_says_that_it_has_none() {
    let build = Build::new();
    let said = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    build.put(&[]);
    let (output, list) = build.run(false);
    assert!(output.status.success());
    assert_eq!(list.unwrap().split_whitespace().collect::<String>(), "&[]");
    assert!(said(&output).contains("cargo::warning=this circled will have NO WEB CONSOLE"));

    let names = Build::names();
    for (n, name) in names.iter().enumerate() {
        build.put(&names);
        fs::remove_file(build.0.path().join("console/dist").join(name)).unwrap();
        let (output, list) = build.run(false);
        assert!(!output.status.success() && list.is_none(), "{n} {name}");
        assert!(said(&output).contains(&format!("lacks {name}:")), "{name}");
    }

    build.put(&names);
    for required in [false, true] {
        let (output, list) = build.run(required);
        assert!(output.status.success());
        assert!(!said(&output).contains("warning"));
        let list = list.unwrap();
        for name in &names {
            assert!(list.contains(&format!("console/dist/{name}\"")), "{list}");
        }
    }
}

/// What is released is built with the variable that has a build without the console fail. It isn't named as a setting is:
/// a server that is started where it is set would refuse it.
#[test]
fn a_release_never_lacks_it() {
    let build = Build::new();
    build.put(&[]);
    let (output, list) = build.run(true);
    assert!(!output.status.success() && list.is_none());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, sets) in [
        ("Dockerfile", "ENV REQUIRE_CONSOLE=1\n"),
        (".ci/run", "export REQUIRE_CONSOLE=1\n"),
    ] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let built = text.find("cargo build --release").unwrap_or(usize::MAX);
        assert!(text.find(sets).is_some_and(|at| at < built), "{file}");
    }
}
