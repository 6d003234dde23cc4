//! A JSON text seen without a copy: its strings stay where they are, however long they are.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Under this name the parser hands over a number with all of its digits.
const NUMBER: &str = "$serde_json::private::Number";

/// One value.
#[derive(Debug, PartialEq)]
pub(super) enum View<'a> {
    Text(Cow<'a, str>),
    List(Vec<View<'a>>),
    Object(Vec<(Cow<'a, str>, View<'a>)>),
    /// A number, `true`, `false` or `null`, as it is written.
    Word(Cow<'a, str>),
}

impl<'a> View<'a> {
    /// `None` for what is no JSON.
    pub(super) fn read(text: &'a str) -> Option<View<'a>> {
        serde_json::from_str(text).ok()
    }

    /// A member of an object; of several of one name, the last.
    pub(super) fn get(&self, name: &str) -> Option<&View<'a>> {
        let View::Object(members) = self else { return None };
        members.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let View::Text(text) = self { Some(text) } else { None }
    }

    /// The text of the value, without spaces.
    pub(super) fn written(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            View::Text(text) => to.push_str(&quoted(text)),
            View::Word(word) => to.push_str(word),
            View::List(items) => {
                to.push('[');
                for (nth, item) in items.iter().enumerate() {
                    to.push_str(if nth > 0 { "," } else { "" });
                    item.write(to);
                }
                to.push(']');
            }
            View::Object(members) => {
                to.push('{');
                for (nth, (name, value)) in members.iter().enumerate() {
                    to.push_str(if nth > 0 { "," } else { "" });
                    to.push_str(&quoted(name));
                    to.push(':');
                    value.write(to);
                }
                to.push('}');
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for View<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<View<'a>, D::Error> {
        deserializer.deserialize_any(Look).map(shortened)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = View<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<View<'de>, E> {
        Ok(View::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<View<'de>, E> {
        Ok(View::Text(text.to_owned().into()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<View<'de>, E> {
        Ok(View::Word(if value { "true" } else { "false" }.into()))
    }

    fn visit_unit<E>(self) -> Result<View<'de>, E> {
        Ok(View::Word("null".into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<View<'de>, E> {
        Ok(View::Word(number.to_string().into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<View<'de>, E> {
        Ok(View::Word(number.to_string().into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<View<'de>, E> {
        Ok(View::Word(number.to_string().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<View<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(View::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<View<'de>, A::Error> {
        let mut object = Vec::new();
        while let Some(Name(name)) = members.next_key()? {
            object.push((name, members.next_value()?));
        }
        Ok(View::Object(object))
    }
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The number that an object stands for.
fn shortened(view: View<'_>) -> View<'_> {
    match view {
        View::Object(mut members) if members.len() == 1 && members[0].0 == NUMBER => match members.pop() {
            Some((_, View::Text(number))) => View::Word(number),
            other => View::Object(other.into_iter().collect()),
        },
        view => view,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn long_strings_stay_where_they_are() {
        let text = format!(r#"{{"data":"{}","escaped":"a\nb"}}"#, "A".repeat(1_000));
        let view = View::read(&text).unwrap();
        assert!(matches!(view.get("data"), Some(View::Text(Cow::Borrowed(data))) if data.len() == 1_000));
        assert_eq!(view.get("escaped").and_then(View::as_str), Some("a\nb"));
    }

    #[test]
    fn what_is_written_is_what_was_read_without_its_spaces() {
        let text = r#"{"a": [1, -2.50, 123456789012345678901234567890, true, null], "b" : {"é\"": "x\\y"}, "c": {}}"#;
        let written = View::read(text).unwrap().written();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).unwrap().to_string());
        assert!(written.contains("[1,-2.50,123456789012345678901234567890,true,null]"), "{written}");
        assert_eq!(View::read("{"), None);
    }
}
