//! A JSON object as its members in order, each value still the raw text it was: nothing is rounded, nothing is reordered.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of one object, borrowed from the text they were read from.
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Fields<'a>, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The first of `names` that stands in the object, with its value.
    pub(crate) fn get(&self, names: &[&str]) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
            members.push(member);
        }
        Ok(Fields(members))
    }
}

/// What kind of JSON value a raw text is, in words for error messages.
pub(crate) fn kind(raw: &str) -> &'static str {
    match raw.trim_start().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// `object` (the text of a JSON object) with one member more at its end; every other byte stays.
pub(crate) fn with_member(object: &str, name: &str, value: &str) -> String {
    let body = object.trim().strip_suffix('}').unwrap_or(object).trim_end();
    let comma = if body.ends_with('{') { "" } else { "," };
    format!("{body}{comma}\"{name}\":{value}}}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn values_keep_their_exact_text() {
        let fields = Fields::read(r#"{"a": 1e400, "b":[1.0,  2]}"#).unwrap();
        assert_eq!(fields.get(&["a"]).unwrap().get(), "1e400");
        assert_eq!(fields.get(&["x", "b"]).unwrap().get(), "[1.0,  2]");
        assert!(fields.get(&["c"]).is_none());
    }

    #[test]
    fn a_member_is_added_without_touching_the_others() {
        assert_eq!(with_member(r#"{"n":1.0 }"#, "t", "2"), r#"{"n":1.0,"t":2}"#);
        assert_eq!(with_member("{}", "t", "2"), r#"{"t":2}"#);
        assert_eq!(with_member(" { } ", "t", "2"), r#"{"t":2}"#);
    }
}
