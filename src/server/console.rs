//! The web console at `/console/`: files that are built into the binary, see `build.rs`.
//!
//! All of its addresses are relative, so it works behind any path prefix. It has no rights: its page speaks with the server
//! as every other client does.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use sha2::{Digest, Sha256};

/// A file of the console.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    name: &'static str,
    plain: &'static [u8],
    gzipped: &'static [u8],
}

/// The files that are built in; none if `make console` had built none.
pub(super) const BUILT_IN: &[File] = include!(concat!(env!("OUT_DIR"), "/console.rs"));

/// The first page.
const INDEX: &str = "index.html";

/// The answer of a server that has no console.
const MISSING: &str = "\
This circled was built without its web console.

To have it, build circled again, in its folder:

    make console     # needs Node.js 20 or newer, with npm
    make run
";

/// The headers of all answers here. Nothing comes from another origin, runs from the page's own text, or frames it; and no
/// other page gets hold of its window.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    // It may be kept, and is asked for again each time: the next version has the same names.
    (header::CACHE_CONTROL, "no-cache"),
];

/// A file with its tag, which changes with its content.
#[derive(Debug)]
struct Asset {
    file: File,
    tag: HeaderValue,
}

type Assets = Arc<[Asset]>;

/// Builds the routes of a console that has these files.
pub(super) fn routes(files: &[File]) -> Router {
    let assets: Assets = files.iter().map(Asset::of).collect();
    Router::new()
        .route("/console", only_read(get(to_folder)))
        .route("/console/", only_read(get(index)))
        .route("/console/{*name}", only_read(get(asset)))
        .layer(map_response(with_headers))
        .with_state(assets)
}

fn only_read(reading: MethodRouter<Assets>) -> MethodRouter<Assets> {
    reading.fallback(async || {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        text(status, "The console's files can only be read: GET, HEAD.\n")
    })
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Redirects to the folder, by a relative address: a proxy may serve it under a path of its own.
async fn to_folder() -> Response {
    let location = [(header::LOCATION, "console/")];
    (StatusCode::PERMANENT_REDIRECT, location).into_response()
}

async fn index(State(assets): State<Assets>, headers: HeaderMap) -> Response {
    answer(&assets, INDEX, &headers)
}

async fn asset(
    State(assets): State<Assets>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(&assets, &name, &headers)
}

fn answer(assets: &[Asset], name: &str, asked: &HeaderMap) -> Response {
    if assets.is_empty() {
        return text(StatusCode::NOT_FOUND, MISSING);
    }
    match assets.iter().find(|asset| asset.file.name == name) {
        Some(asset) => asset.answer(asked),
        None => text(StatusCode::NOT_FOUND, "The console has no such file.\n"),
    }
}

fn text(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

impl Asset {
    fn of(file: &File) -> Self {
        let hash = hex::encode(&Sha256::digest(file.plain)[..16]);
        // Weak: it is the same for both forms of the file.
        let tag = HeaderValue::try_from(format!("W/\"{hash}\""));
        Self {
            file: *file,
            tag: tag.unwrap_or(HeaderValue::from_static("*")),
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let own = [
            (header::ETAG, self.tag.clone()),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if self.is_known(asked) {
            return (StatusCode::NOT_MODIFIED, own).into_response();
        }
        let kind = [(header::CONTENT_TYPE, self.file.kind())];
        if takes_gzip(asked) {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            let body = Bytes::from_static(self.file.gzipped);
            return (own, kind, encoding, body).into_response();
        }
        (own, kind, Bytes::from_static(self.file.plain)).into_response()
    }

    /// Returns true if the client has this content already.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = self.tag.to_str().map(strong).unwrap_or_default();
        items(asked, &header::IF_NONE_MATCH).any(|tag| tag.trim() == "*" || strong(tag) == own)
    }
}

impl File {
    fn kind(&self) -> &'static str {
        match self.name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        }
    }
}

/// Returns true if the client takes gzip.
fn takes_gzip(asked: &HeaderMap) -> bool {
    items(asked, &header::ACCEPT_ENCODING).any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.split_once('=');
        let is_refused = weight.is_some_and(|(name, weight)| {
            name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0)
        });
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

/// Returns the items of a list, which may have several lines.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Method, Request},
    };
    use tower::ServiceExt;

    use super::*;

    const FILES: &[File] = &[
        File {
            name: "index.html",
            plain: b"<!doctype html>",
            gzipped: b"gzipped html",
        },
        File {
            name: "console.js",
            plain: b"let a",
            gzipped: b"gzipped js",
        },
    ];

    /// The status, the headers and the body of an answer.
    struct Answer(StatusCode, HeaderMap, String);

    impl Answer {
        fn header(&self, name: &str) -> Option<&str> {
            self.1.get(name).map(|value| value.to_str().unwrap())
        }
    }

    async fn send(files: &[File], method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = routes(files).oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let answer = Answer(
            parts.status,
            parts.headers,
            String::from_utf8(body.into()).unwrap(),
        );
        for (name, value) in HEADERS {
            assert_eq!(answer.header(name.as_str()), Some(value), "{path}");
        }
        answer
    }

    async fn get(path: &str, headers: &[(&str, &str)]) -> Answer {
        send(FILES, Method::GET, path, headers).await
    }

    #[tokio::test]
    async fn files_are_served_by_their_names() {
        for (path, kind, body) in [
            ("/console/", "text/html; charset=utf-8", "<!doctype html>"),
            (
                "/console/index.html",
                "text/html; charset=utf-8",
                "<!doctype html>",
            ),
            (
                "/console/console.js",
                "text/javascript; charset=utf-8",
                "let a",
            ),
        ] {
            let answer = get(path, &[]).await;
            assert_eq!((answer.0, &*answer.2), (StatusCode::OK, body), "{path}");
            assert_eq!(answer.header("content-type"), Some(kind));
            assert_eq!(answer.header("content-encoding"), None);
            assert_eq!(answer.header("vary"), Some("accept-encoding"));
        }
        for path in ["/console/a", "/console/a/b", "/console/../index.html"] {
            assert_eq!(get(path, &[]).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn who_takes_gzip_gets_it() {
        for (accepts, is_gzipped) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("gzip;Q=0", false),
            ("identity", false),
        ] {
            let answer = get("/console/", &[("accept-encoding", accepts)]).await;
            let encoding = is_gzipped.then_some("gzip");
            assert_eq!(answer.header("content-encoding"), encoding, "{accepts}");
            assert_eq!(answer.2 == "gzipped html", is_gzipped, "{accepts}");
        }
    }

    #[tokio::test]
    async fn known_content_is_not_sent_again() {
        let answer = get("/console/", &[]).await;
        let tag = answer.header("etag").unwrap().to_owned();
        let other = get("/console/console.js", &[]).await;
        let other = other.header("etag").unwrap().to_owned();
        assert_ne!(tag, other);
        let strong = tag.trim_start_matches("W/").to_owned();
        for (known, is_known) in [
            (tag.clone(), true),
            (strong, true),
            (format!("\"a\", {tag}"), true),
            ("*".to_owned(), true),
            (other, false),
            ("\"a\"".to_owned(), false),
        ] {
            let answer = get("/console/", &[("if-none-match", &known)]).await;
            let status = match is_known {
                true => StatusCode::NOT_MODIFIED,
                false => StatusCode::OK,
            };
            assert_eq!(answer.0, status, "{known}");
            assert_eq!(answer.2.is_empty(), is_known, "{known}");
            assert_eq!(answer.header("etag"), Some(&*tag));
        }
    }

    #[tokio::test]
    async fn nothing_but_reading_is_possible() {
        for path in ["/console", "/console/", "/console/a"] {
            let answer = send(FILES, Method::POST, path, &[]).await;
            assert_eq!(answer.0, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{path}");
        }
        let head = send(FILES, Method::HEAD, "/console/", &[]).await;
        assert_eq!((head.0, &*head.2), (StatusCode::OK, ""));
        assert_eq!(head.header("content-length"), Some("15"));
    }

    #[tokio::test]
    async fn the_folder_is_found_without_its_slash_behind_any_prefix() {
        let answer = get("/console", &[]).await;
        assert_eq!(answer.0, StatusCode::PERMANENT_REDIRECT);
        assert_eq!(answer.header("location"), Some("console/"));
    }

    #[tokio::test]
    async fn a_server_without_it_says_how_to_get_it() {
        for path in ["/console/", "/console/console.js"] {
            let answer = send(&[], Method::GET, path, &[]).await;
            assert_eq!(answer.0, StatusCode::NOT_FOUND);
            assert!(answer.2.contains("make console"), "{}", answer.2);
            let kind = Some("text/plain; charset=utf-8");
            assert_eq!(answer.header("content-type"), kind);
        }
    }
}
