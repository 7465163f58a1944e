//! The signed text as a template.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer};

/// A text like `{timestamp}.{body}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Timestamp,
    Id,
    Body,
}

/// The values for the places of a template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling<'a> {
    pub(super) timestamp: &'a str,
    pub(super) id: &'a str,
    pub(super) body: &'a [u8],
}

/// The error of a text that is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have {{body}} in it, and may have {{timestamp}} and {{id}}, like \"{{timestamp}}.{{body}}\""
)]
pub struct InvalidTemplate;

impl Template {
    pub(super) fn has(&self, part: &Part) -> bool {
        self.0.contains(part)
    }

    /// Calls `take` with each piece in turn.
    pub(super) fn fill(&self, filling: Filling<'_>, mut take: impl FnMut(&[u8])) {
        for part in &self.0 {
            take(match part {
                Part::Text(text) => text.as_bytes(),
                Part::Timestamp => filling.timestamp.as_bytes(),
                Part::Id => filling.id.as_bytes(),
                Part::Body => filling.body,
            });
        }
    }
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(InvalidTemplate)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "timestamp" => Part::Timestamp,
                "id" => Part::Id,
                "body" => Part::Body,
                _ => return Err(InvalidTemplate),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let template = Self(parts);
        // Without the body in it, a signature would be valid for any body.
        template
            .has(&Part::Body)
            .then_some(template)
            .ok_or(InvalidTemplate)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| {
            f.write_str(match part {
                Part::Text(text) => text,
                Part::Timestamp => "{timestamp}",
                Part::Id => "{id}",
                Part::Body => "{body}",
            })
        })
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::units::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_piece_by_piece() {
        let filling = Filling {
            timestamp: "17",
            id: "evt",
            body: b"{body}",
        };
        for (template, expected) in [
            ("{body}", "{body}"),
            ("{timestamp}.{body}", "17.{body}"),
            ("v0:{timestamp}:{body}", "v0:17:{body}"),
            ("{id}.{timestamp}.{body}", "evt.17.{body}"),
            ("{body}end", "{body}end"),
        ] {
            let parsed: Template = template.parse().unwrap();
            let mut filled = Vec::new();
            parsed.fill(filling, |piece| filled.extend_from_slice(piece));
            assert_eq!(String::from_utf8(filled).unwrap(), expected);
            assert_eq!(parsed.to_string(), template);
        }
        for wrong in [
            "",
            "body",
            "{timestamp}",
            "{other}{body}",
            "{body",
            "{}{body}",
        ] {
            assert_eq!(wrong.parse::<Template>(), Err(InvalidTemplate), "{wrong}");
        }
    }
}
