//! The schema of a list of answers, made of the schema of one.

use serde_json::{Map, Value, json};

use crate::request::JsonWish;

/// How one answer is to look, ready to be put into the schema of all.
#[derive(Debug)]
pub(super) enum Wished {
    /// No schema can say it: it stands in the words of the task.
    Unsaid,
    /// JSON Schema, and the definitions it refers to, which stay at the top.
    JsonSchema(Value, Option<Value>),
    /// The API's own dialect.
    OpenApi(Value),
}

/// What an answer is to look like, from the wish of each prompt; `None` for a schema that cannot stand inside another one.
pub(super) fn of_answer(wish: Option<&JsonWish>) -> Option<Wished> {
    match wish {
        None => Some(Wished::JsonSchema(json!({"type": "string"}), None)),
        Some(JsonWish::Any) => Some(Wished::Unsaid),
        Some(JsonWish::OpenApi(text)) => serde_json::from_str(text).ok().map(Wished::OpenApi),
        Some(JsonWish::JsonSchema(text)) => {
            let mut schema: Value = serde_json::from_str(text).ok()?;
            let mut definitions = None;
            if let Some(members) = schema.as_object_mut() {
                members.remove("$schema");
                definitions = members.remove("$defs");
            }
            (is_movable(&schema) && definitions.as_ref().is_none_or(is_movable))
                .then_some(Wished::JsonSchema(schema, definitions))
        }
    }
}

/// Whether all references of a schema lead to definitions at the top, and it has no address of its own.
fn is_movable(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().all(|(name, value)| match (name.as_str(), value) {
            ("$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor", Value::String(_)) => false,
            ("$ref", Value::String(target)) => target.starts_with("#/$defs/"),
            _ => is_movable(value),
        }),
        Value::Array(items) => items.iter().all(is_movable),
        _ => true,
    }
}

impl Wished {
    /// The setting that asks for `count` numbered answers.
    pub(super) fn of_all(self, count: usize) -> Map<String, Value> {
        let (name, schema) = match self {
            Wished::Unsaid => return Map::new(),
            Wished::JsonSchema(answer, definitions) => {
                let properties = json!({"index": {"type": "integer"}, "answer": answer});
                let each = json!({"type": "object", "properties": properties, "required": ["index", "answer"]});
                let mut all = json!({"type": "array", "items": each, "minItems": count, "maxItems": count});
                if let (Some(members), Some(definitions)) = (all.as_object_mut(), definitions) {
                    members.insert("$defs".to_owned(), definitions);
                }
                ("responseJsonSchema", all)
            }
            Wished::OpenApi(answer) => {
                let properties = json!({"index": {"type": "INTEGER"}, "answer": answer});
                let order = ["index", "answer"];
                let each = json!({"type": "OBJECT", "properties": properties, "required": order, "propertyOrdering": order});
                ("responseSchema", json!({"type": "ARRAY", "items": each, "minItems": count, "maxItems": count}))
            }
        };
        Map::from_iter([(name.to_owned(), schema)])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn wished(text: &str) -> Option<Wished> {
        of_answer(Some(&JsonWish::JsonSchema(text.to_owned())))
    }

    #[test]
    fn definitions_stay_at_the_top_where_references_look_for_them() {
        let schema =
            r##"{"$schema":"x","type":"object","properties":{"a":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}"##;
        let all = wished(schema).unwrap().of_all(3);
        let all = &all["responseJsonSchema"];
        assert_eq!(all["$defs"]["n"]["type"], "integer");
        assert_eq!(all["items"]["properties"]["answer"], json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}}));
        assert_eq!((&all["minItems"], &all["maxItems"]), (&json!(3), &json!(3)));
    }

    #[test]
    fn a_schema_that_refers_to_itself_as_a_whole_cannot_stand_inside_another() {
        assert!(wished(r##"{"properties":{"a":{"$ref":"#"}}}"##).is_none());
        assert!(wished(r##"{"$id":"https://example.org/s","type":"object"}"##).is_none());
        assert!(wished(r##"{"properties":{"$ref":{"type":"string"}}}"##).is_some(), "a property of that name is none");
    }

    #[test]
    fn the_apis_dialect_stays_what_it_is() {
        let all = of_answer(Some(&JsonWish::OpenApi(r#"{"type":"STRING"}"#.to_owned()))).unwrap().of_all(2);
        assert_eq!(all["responseSchema"]["items"]["properties"]["answer"]["type"], "STRING");
        assert!(of_answer(Some(&JsonWish::Any)).unwrap().of_all(2).is_empty());
    }
}
