//! Results of tests, as JUnit writes them.

use std::fmt::Write;

use super::Ran;

/// Returns the report about tests that ran.
pub(super) fn report(ran: &[Ran]) -> String {
    let failed = ran.iter().filter(|ran| ran.failed.is_some()).count();
    let time: f64 = ran.iter().map(|ran| ran.time.as_secs_f64()).sum();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"circled\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{time:.3}\">\n",
        ran.len()
    );
    for ran in ran {
        let _ = write!(
            xml,
            "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            escaped(&ran.file),
            escaped(&ran.name),
            ran.time.as_secs_f64()
        );
        let Some(failed) = &ran.failed else {
            xml.push_str("/>\n");
            continue;
        };
        let _ = write!(
            xml,
            " file=\"{}\"><failure message=\"{}\">{}</failure>",
            escaped(&failed.path),
            escaped(&failed.message),
            escaped(&failed.text)
        );
        if !failed.logs.is_empty() {
            let _ = write!(
                xml,
                "<system-out>{}</system-out>",
                escaped(&failed.logs.join("\n"))
            );
        }
        xml.push_str("</testcase>\n");
    }
    xml.push_str("</testsuite>\n</testsuites>\n");
    xml
}

/// Returns a text for an attribute or an element. What XML has no form for becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '&' => xml.push_str("&amp;"),
            '"' => xml.push_str("&quot;"),
            '\n' | '\r' | '\t' => {
                let _ = write!(xml, "&#{};", u32::from(sign));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            _ => xml.push(sign),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::Failed, *};

    #[test]
    fn results_are_written_as_junit_does() {
        let ran = |name: &str, failed| Ran {
            file: "a_test".to_owned(),
            name: name.to_owned(),
            time: Duration::from_millis(1500),
            failed,
        };
        let failed = Failed {
            text: "1 < 2\n\u{1b}[2J]]>".to_owned(),
            message: "\"a\" & 'b'".to_owned(),
            path: "x/a_test.rhai".to_owned(),
            line: Some(1),
            column: Some(2),
            logs: vec!["one".to_owned(), "two".to_owned()],
        };
        assert_eq!(
            report(&[ran("test_good", None), ran("test_bad", Some(failed))]),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
             <testsuite name=\"circled\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"3.000\">\n\
             <testcase classname=\"a_test\" name=\"test_good\" time=\"1.500\"/>\n\
             <testcase classname=\"a_test\" name=\"test_bad\" time=\"1.500\" file=\"x/a_test.rhai\">\
             <failure message=\"&quot;a&quot; &amp; 'b'\">1 &lt; 2&#10;\u{fffd}[2J]]&gt;</failure>\
             <system-out>one&#10;two</system-out></testcase>\n</testsuite>\n</testsuites>\n"
        );
    }
}
