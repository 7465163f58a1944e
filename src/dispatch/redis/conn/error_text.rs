//! Says errors of Redis in words.

use fred::error::Error;

/// Returns what an error says. The library passes on what others write for those who debug them,
/// `Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }`.
pub(crate) fn error_text(error: &Error) -> String {
    let details = error.details().trim();
    let after = |name| details.split_once(name).map(|(_, rest)| rest);
    let text = if let Some(message) = after("message: \"").or_else(|| after("error: \"")) {
        message.split('"').next().unwrap_or(message).to_owned()
    } else if let Some(inner) = after("error: ") {
        spelled_out(inner.trim_end_matches([' ', '}']))
    } else if details.contains(' ') {
        details.trim_end_matches('.').to_owned()
    } else {
        spelled_out(details.trim_start_matches("Kind(").trim_end_matches(')'))
    };
    let kind = error.kind().to_str().trim_end_matches(" Error");
    match text.as_str() {
        "" => kind.to_owned(),
        _ => text,
    }
}

/// `InvalidCertificate(UnknownIssuer)`: invalid certificate: unknown issuer.
fn spelled_out(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            '(' | '{' => text.push_str(": "),
            ')' | '}' => {}
            c if c.is_uppercase() => {
                if text.ends_with(|last: char| last.is_alphanumeric()) {
                    text.push(' ');
                }
                text.extend(c.to_lowercase());
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use fred::error::ErrorKind;

    use super::*;

    #[test]
    fn an_error_is_told_as_people_say_it() {
        let refused = Error::from(io::Error::from_raw_os_error(111));
        assert_eq!(error_text(&refused), "Connection refused");
        let eof = Error::from(io::Error::from(io::ErrorKind::UnexpectedEof));
        assert_eq!(error_text(&eof), "unexpected eof");
        for (kind, details, expected) in [
            (
                ErrorKind::IO,
                "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }",
                "invalid certificate: unknown issuer",
            ),
            (
                ErrorKind::IO,
                "Custom { kind: Other, error: \"failed to lookup address\" }",
                "failed to lookup address",
            ),
            (
                ErrorKind::Auth,
                "WRONGPASS invalid username-password pair or user is disabled.",
                "WRONGPASS invalid username-password pair or user is disabled",
            ),
            (ErrorKind::Timeout, "", "Timeout"),
        ] {
            assert_eq!(error_text(&Error::new(kind, details)), expected);
        }
    }
}
