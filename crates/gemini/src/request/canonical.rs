//! One text for all bodies that mean the same, whatever the order and the case style of their keys.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The model on the first line, the folded body on the second.
pub(super) fn text(model: &str, body: &[u8]) -> String {
    let mut out = String::with_capacity(model.len() + body.len() + 16);
    out.push_str(model);
    out.push('\n');
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut members)) => {
            // The path of the call names the model; a copy of it inside the body changes nothing.
            members.remove("model");
            write(&Value::Object(members), Names::Api, &mut out);
        }
        Ok(other) => write(&other, Names::Api, &mut out),
        Err(_) => out.push_str(&String::from_utf8_lossy(body)),
    }
    out
}

/// What stands around the parts of a body that is one turn of the user's.
pub(super) const AROUND_PARTS: (&str, &str) = (r#"{"contents":[{"role":"user","parts":["#, "]}]}");

/// The same for a body of nothing but texts, as `build` writes it: it needs no second reading. `None` for any other.
pub(super) fn of_bare(model: &str, body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let parts = body.strip_prefix(AROUND_PARTS.0)?.strip_suffix(AROUND_PARTS.1)?;
    Some(format!("{model}\n{{\"contents\":[{{\"parts\":[{parts}],\"role\":\"user\"}}]}}"))
}

/// Whose names the keys of an object are.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// The API's own, which exist in two case styles.
    Api,
    /// Keywords of the API's schema dialect, in two case styles as well.
    Schema,
    /// Names chosen by the author, each of which holds a schema.
    Properties,
    /// The author's data: every name stays as it is.
    User,
}

impl Names {
    /// What the value under `key` (already folded) holds.
    fn under(self, key: &str) -> Names {
        match (self, key) {
            (Names::User, _) => Names::User,
            (Names::Properties, _) => Names::Schema,
            (Names::Schema, "properties" | "$defs" | "defs") => Names::Properties,
            (Names::Schema, "default" | "example" | "enum") => Names::User,
            (Names::Schema, _) => Names::Schema,
            (Names::Api, "responseSchema" | "parameters") => Names::Schema,
            // The schema a function declares for its answer; what a function answered is data.
            (Names::Api, "args" | "response" | "labels" | "partMetadata" | "headers") => Names::User,
            (Names::Api, "responseJsonSchema" | "_responseJsonSchema") => Names::User,
            (Names::Api, "parametersJsonSchema") => Names::User,
            (Names::Api, _) => Names::Api,
        }
    }

    fn fold(self, key: &str) -> Cow<'_, str> {
        match self {
            Names::Api | Names::Schema if key.contains('_') => Cow::Owned(camel(key)),
            _ => Cow::Borrowed(key),
        }
    }
}

fn write(value: &Value, names: Names, out: &mut String) {
    match value {
        Value::Object(members) => write_object(members, names, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, names, out);
            }
            out.push(']');
        }
        leaf => write_leaf(leaf, out),
    }
}

fn write_object(members: &Map<String, Value>, names: Names, out: &mut String) {
    let mut sorted: Vec<(Cow<'_, str>, &Value)> = members.iter().map(|(key, value)| (names.fold(key), value)).collect();
    sorted.sort_by(|(a, left), (b, right)| a.cmp(b).then_with(|| left.to_string().cmp(&right.to_string())));
    out.push('{');
    for (at, (key, value)) in sorted.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_leaf(&Value::from(key.as_ref()), out);
        out.push(':');
        write(value, names.under(key), out);
    }
    out.push('}');
}

fn write_leaf(leaf: &Value, out: &mut String) {
    use std::fmt::Write as _;
    // Writing to a string does not fail.
    let _ = write!(out, "{leaf}");
}

/// `max_output_tokens` as `maxOutputTokens`. Underscores at the front belong to the name.
pub(crate) fn camel(key: &str) -> String {
    let name = key.trim_start_matches('_');
    let mut out = key[..key.len() - name.len()].to_owned();
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            _ if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn canonical(body: &str) -> String {
        text("m", body.as_bytes())
    }

    #[test]
    fn both_case_styles_and_any_order_give_one_text() {
        let snake = r#"{"generation_config":{"top_p":0.9,"thinking_config":{"thinking_level":"LOW"}},"contents":[]}"#;
        let camel = r#"{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingLevel":"LOW"},"topP":0.9}}"#;
        assert_eq!(canonical(snake), canonical(camel));
    }

    #[test]
    fn schema_keywords_fold_but_property_names_and_sample_data_do_not() {
        let snake = r#"{"generation_config":{"response_schema":{"min_items":1,"items":{"any_of":[{"properties":{"my_key":{"max_length":2}}}]}}}}"#;
        let camel = r#"{"generationConfig":{"responseSchema":{"items":{"anyOf":[{"properties":{"my_key":{"maxLength":2}}}]},"minItems":1}}}"#;
        assert_eq!(canonical(snake), canonical(camel));
        assert_ne!(canonical(snake), canonical(&snake.replace("my_key", "myKey")));
        let default = r#"{"generationConfig":{"responseSchema":{"default":{"a_b":1}}}}"#;
        assert_ne!(canonical(default), canonical(&default.replace("a_b", "aB")));
    }

    #[test]
    fn the_names_inside_user_data_are_never_folded() {
        let bodies = [
            r#"{"contents":[{"parts":[{"functionCall":{"name":"f","args":{"a_b":{"c_d":1}}}}]}]}"#,
            r#"{"contents":[{"parts":[{"functionResponse":{"name":"f","response":{"a_b":{"c_d":1}}}}]}]}"#,
            r#"{"generationConfig":{"responseJsonSchema":{"properties":{"a_b":{"c_d":1}}}}}"#,
            r#"{"tools":[{"functionDeclarations":[{"parametersJsonSchema":{"a_b":{"c_d":1}}}]}]}"#,
            r#"{"labels":{"a_b":"c_d"}}"#,
        ];
        for body in bodies {
            assert_ne!(canonical(body), canonical(&body.replace("a_b", "aB")), "{body}");
        }
    }

    #[test]
    fn the_model_of_the_path_counts_and_its_copy_in_the_body_does_not() {
        assert_eq!(canonical(r#"{"model":"models/m","contents":[]}"#), canonical(r#"{"contents":[]}"#));
        assert_ne!(text("m", b"{}"), text("n", b"{}"));
    }

    #[test]
    fn a_body_of_texts_alone_has_the_same_text_without_being_read() {
        let defaults = crate::Defaults { model: Some("m".to_owned()), ..Default::default() };
        for line in [r#""a \"b\" \u00e9 \u0001 \u2028 /\/""#, r#"{"prompt":["a","]}]}"]}"#, r#""{\"role\":\"user\"}""#] {
            let prompt = crate::Prompt::from_json(line).unwrap();
            let request = crate::request::build(&prompt, &defaults).unwrap();
            assert_eq!(of_bare("m", request.body.text()).unwrap(), text("m", request.body.text()), "{line}");
            assert_eq!(request.canonical(), text("m", request.body.text()), "{line}");
            let warm = crate::Defaults { temperature: Some(0.5), ..defaults.clone() };
            let request = crate::request::build(&prompt, &warm).unwrap();
            assert_eq!(request.canonical(), text("m", request.body.text()), "{line}");
        }
    }

    #[test]
    fn names_fold_as_the_api_folds_them() {
        assert_eq!(camel("max_output_tokens"), "maxOutputTokens");
        assert_eq!(camel("maxOutputTokens"), "maxOutputTokens");
        assert_eq!(camel("_response_json_schema"), "_responseJsonSchema");
    }
}
