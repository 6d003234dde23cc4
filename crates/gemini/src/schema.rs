//! Schemas of the API's own dialect become JSON Schema: types in lower case, `nullable` as a type, names in one style.

use serde_json::{Map, Value, json};

/// The keywords of the dialect that have two words, in the style of JSON Schema.
const KEYWORDS: [(&str, &str); 12] = [
    ("any_of", "anyOf"),
    ("max_items", "maxItems"),
    ("min_items", "minItems"),
    ("max_length", "maxLength"),
    ("min_length", "minLength"),
    ("max_properties", "maxProperties"),
    ("min_properties", "minProperties"),
    ("additional_properties", "additionalProperties"),
    ("prefix_items", "prefixItems"),
    ("property_ordering", "propertyOrdering"),
    ("ref", "$ref"),
    ("defs", "$defs"),
];

/// Whether a schema is written in the API's dialect: some `type` of it is in upper case, or something is `nullable`.
pub fn is_open_api(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(name, value)| match (name.as_str(), value) {
            ("type", Value::String(name)) => name.chars().any(char::is_uppercase),
            ("nullable", Value::Bool(_)) => true,
            ("properties" | "$defs" | "defs", Value::Object(schemas)) => schemas.values().any(is_open_api),
            ("enum" | "default" | "example" | "const", _) => false,
            (_, inner) => is_open_api(inner),
        }),
        Value::Array(items) => items.iter().any(is_open_api),
        _ => false,
    }
}

/// The JSON Schema that allows what a schema of the API's dialect allows.
///
/// ```
/// use serde_json::json;
/// let dialect = json!({"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "nullable": true}}});
/// let schema = json!({"type": "object", "properties": {"n": {"type": ["integer", "null"]}}});
/// assert_eq!(tidegate_gemini::schema::to_json_schema(&dialect), schema);
/// ```
pub fn to_json_schema(dialect: &Value) -> Value {
    let Value::Object(members) = dialect else { return dialect.clone() };
    let mut schema: Map<String, Value> = Map::new();
    for (name, value) in members {
        let name = KEYWORDS.iter().find(|(snake, _)| snake == name).map_or(name.as_str(), |(_, camel)| camel);
        if name != "nullable" {
            schema.insert(name.to_owned(), keyword(name, value));
        }
    }
    if members.get("nullable") == Some(&Value::Bool(true)) {
        allow_null(&mut schema);
    }
    Value::Object(schema)
}

fn keyword(name: &str, value: &Value) -> Value {
    match (name, value) {
        ("type", Value::String(name)) => Value::from(name.to_ascii_lowercase()),
        ("properties" | "$defs", Value::Object(schemas)) => {
            Value::Object(schemas.iter().map(|(name, schema)| (name.clone(), to_json_schema(schema))).collect())
        }
        ("anyOf" | "prefixItems", Value::Array(schemas)) => Value::Array(schemas.iter().map(to_json_schema).collect()),
        ("items" | "additionalProperties", schema) => to_json_schema(schema),
        // Whole numbers of 64 bits may be written as strings.
        ("maxItems" | "minItems" | "maxLength" | "minLength" | "maxProperties" | "minProperties", Value::String(digits)) => {
            digits.parse::<u64>().map_or_else(|_| value.clone(), Value::from)
        }
        _ => value.clone(),
    }
}

fn allow_null(schema: &mut Map<String, Value>) {
    if let Some(kind @ Value::String(_)) = schema.get("type").cloned() {
        schema.insert("type".to_owned(), json!([kind, "null"]));
    }
    let null_too = |list: &mut Value, null: Value| {
        if let Value::Array(items) = list
            && !items.contains(&null)
        {
            items.push(null);
        }
    };
    if let Some(values) = schema.get_mut("enum") {
        null_too(values, Value::Null);
    }
    if let Some(schemas) = schema.get_mut("anyOf") {
        null_too(schemas, json!({"type": "null"}));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_dialect_is_told_by_its_types_not_by_names_of_properties() {
        assert!(is_open_api(&json!({"properties": {"a": {"type": "STRING"}}})));
        assert!(is_open_api(&json!({"type": "array", "items": {"type": "string", "nullable": true}})));
        assert!(!is_open_api(&json!({"type": "object", "properties": {"nullable": {"type": "string"}, "type": {"const": "A"}}})));
        assert!(!is_open_api(&json!({"type": ["string", "null"], "enum": [{"type": "A"}]})));
    }

    #[test]
    fn every_keyword_of_the_dialect_finds_its_counterpart() {
        let dialect = json!({
            "type": "OBJECT", "property_ordering": ["a"], "required": ["a"],
            "properties": {
                "min_items": {"type": "ARRAY", "min_items": "1", "maxItems": "3", "items": {"type": "NUMBER"}},
                "a": {"type": "STRING", "enum": ["X", "Y"], "nullable": true, "format": "enum"},
                "b": {"any_of": [{"type": "BOOLEAN"}, {"ref": "#/defs/c"}], "nullable": true},
            },
            "additionalProperties": false,
        });
        let expected = json!({
            "type": "object", "propertyOrdering": ["a"], "required": ["a"],
            "properties": {
                "min_items": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "number"}},
                "a": {"type": ["string", "null"], "enum": ["X", "Y", null], "format": "enum"},
                "b": {"anyOf": [{"type": "boolean"}, {"$ref": "#/defs/c"}, {"type": "null"}]},
            },
            "additionalProperties": false,
        });
        assert_eq!(to_json_schema(&dialect), expected);
    }
}
