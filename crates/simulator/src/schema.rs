//! Values that a schema accepts: the API's own subset of OpenAPI and JSON Schema of the same shape, the same for the same chance.

use serde_json::{Map, Value, json};

use crate::chance::Chance;
use crate::config::list;
use crate::identity::field;

/// A value that the schema accepts.
pub(crate) fn value_of(schema: &Value, chance: &mut Chance) -> Value {
    Maker { root: schema, chance }.value(schema, 0)
}

/// The value with one of its typed places given a value of another type; `None` when nothing in it is typed.
pub(crate) fn of_wrong_type(schema: &Value, value: &Value) -> Option<Value> {
    match (kind_of(schema).as_str(), value) {
        ("OBJECT", Value::Object(fields)) => {
            let properties = field(schema, "properties")?;
            let (name, wrong) =
                fields.iter().find_map(|(name, value)| Some((name, of_wrong_type(properties.get(name)?, value)?)))?;
            let mut fields = fields.clone();
            fields.insert(name.clone(), wrong);
            Some(Value::Object(fields))
        }
        ("INTEGER" | "NUMBER", Value::Number(_)) => Some(json!({"value": "about so much"})),
        ("BOOLEAN", Value::Bool(_)) => Some(json!("it depends")),
        ("STRING", Value::String(_)) => Some(json!([17])),
        ("ARRAY", Value::Array(_)) => Some(json!("several")),
        _ => None,
    }
}

struct Maker<'a> {
    root: &'a Value,
    chance: &'a mut Chance,
}

/// Deeper than this only what is required is made, and at twice the depth nothing.
const DEEP: u32 = 6;

impl Maker<'_> {
    fn value(&mut self, schema: &Value, depth: u32) -> Value {
        if let Some(target) = field(schema, "$ref").and_then(Value::as_str).and_then(|name| self.target(name)) {
            return if depth < 2 * DEEP { self.value(&target, depth + 1) } else { Value::Null };
        }
        if let Some(only) = field(schema, "const") {
            return only.clone();
        }
        let choices = list(field(schema, "enum"));
        if !choices.is_empty() {
            return choices.get(self.chance.below(choices.len())).cloned().unwrap_or_default();
        }
        for name in ["anyOf", "oneOf"] {
            let choices = list(field(schema, name));
            if !choices.is_empty() {
                // Far down, the choice without further depth ends a schema that contains itself.
                let flat = choices.iter().find(|choice| !is_deep(choice)).filter(|_| depth >= DEEP);
                let chosen = flat.or_else(|| choices.get(self.chance.below(choices.len())));
                return chosen.map(|chosen| self.value(&merged(schema, chosen, name), depth + 1)).unwrap_or_default();
            }
        }
        if let [first, rest @ ..] = list(field(schema, "allOf")) {
            let all = rest.iter().fold(merged(schema, first, "allOf"), |all, next| merged(&all, next, "allOf"));
            return self.value(&all, depth + 1);
        }
        if field(schema, "nullable") == Some(&Value::Bool(true)) && self.chance.happens(0.1) {
            return Value::Null;
        }
        self.typed(schema, depth)
    }

    fn typed(&mut self, schema: &Value, depth: u32) -> Value {
        match kind_of(schema).as_str() {
            "OBJECT" => self.object(schema, depth),
            "ARRAY" => self.array(schema, depth),
            "INTEGER" => json!(self.integer(schema)),
            "NUMBER" => self.number(schema),
            "BOOLEAN" => json!(self.chance.happens(0.5)),
            "NULL" => Value::Null,
            _ => json!(self.string(schema)),
        }
    }

    fn target(&self, name: &str) -> Option<Value> {
        let path = name.strip_prefix('#')?;
        let snake = path.replacen("/$defs/", "/defs/", 1);
        self.root.pointer(path).or_else(|| self.root.pointer(&snake)).cloned()
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let Some(properties) = field(schema, "properties").and_then(Value::as_object) else { return json!({}) };
        let required = list(field(schema, "required"));
        let ordered = list(field(schema, "propertyOrdering")).iter().filter_map(Value::as_str);
        let mut names: Vec<&str> = ordered.filter(|name| properties.contains_key(*name)).collect();
        names.extend(properties.keys().map(String::as_str));
        let mut made = Map::new();
        for name in names {
            let wanted = depth < DEEP || required.iter().any(|required| required == name);
            if wanted && !made.contains_key(name) {
                let value = self.value(&properties[name], depth + 1);
                made.insert(name.to_owned(), value);
            }
        }
        Value::Object(made)
    }

    fn array(&mut self, schema: &Value, depth: u32) -> Value {
        let first = list(field(schema, "prefixItems"));
        let bound = |name| field(schema, name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        let least = bound("minItems").unwrap_or(0).max(first.len());
        let most = bound("maxItems").unwrap_or(least.max(3)).max(least);
        let wished = if depth < DEEP { 1 + self.chance.below(3) } else { 0 };
        let any = json!({"type": "STRING"});
        let items = field(schema, "items").filter(|items| items.is_object()).unwrap_or(&any);
        let wished = if field(schema, "items") == Some(&Value::Bool(false)) { first.len() } else { wished.clamp(least, most) };
        let unique = field(schema, "uniqueItems") == Some(&Value::Bool(true));
        let mut made: Vec<Value> = Vec::new();
        let mut tries = 0;
        while made.len() < wished && tries < 20 * wished {
            tries += 1;
            let value = self.value(first.get(made.len()).unwrap_or(items), depth + 1);
            if !(unique && made.contains(&value)) {
                made.push(value);
            }
        }
        Value::Array(made)
    }

    fn integer(&mut self, schema: &Value) -> i64 {
        let (low, high) = bounds(schema, 1.0, 100.0);
        let step = field(schema, "multipleOf").and_then(Value::as_f64).filter(|step| *step >= 1.0).unwrap_or(1.0);
        let (first, last) = ((low / step).ceil(), (high / step).floor());
        let drawn = self.chance.between(first, (last + 1.0).max(first)).floor().min(last.max(first));
        (drawn * step) as i64
    }

    fn number(&mut self, schema: &Value) -> Value {
        let (low, high) = bounds(schema, 1e-3, 1.0);
        let drawn = self.chance.between(low, high);
        let rounded = (drawn * 1_000.0).round() / 1_000.0;
        json!(if (low..=high).contains(&rounded) { rounded } else { drawn })
    }

    fn string(&mut self, schema: &Value) -> String {
        let bound = |name| field(schema, name).and_then(|bound| bound.as_u64().or_else(|| bound.as_str()?.parse().ok()));
        let day = 1 + self.chance.below(28);
        let text = match field(schema, "format").and_then(Value::as_str) {
            Some("date-time") => return format!("2026-11-{day:02}T12:00:00Z"),
            Some("date") => return format!("2026-11-{day:02}"),
            Some("time") => return format!("12:{day:02}:00Z"),
            Some("email") => return format!("pilot{day}@example.org"),
            Some("uri") => return format!("https://example.org/{day}"),
            Some("uuid") => return format!("00000000-0000-4000-8000-{day:012}"),
            _ => crate::phrases::sentences([6, 6], self.chance),
        };
        let length = |bound: Option<u64>| bound.and_then(|bound| usize::try_from(bound).ok());
        let mut letters: Vec<char> = text.chars().collect();
        while length(bound("minLength")).is_some_and(|least| letters.len() < least) {
            letters.extend_from_within(..letters.len());
        }
        letters.truncate(length(bound("maxLength")).unwrap_or(text.len()).max(length(bound("minLength")).unwrap_or(0)));
        letters.into_iter().collect()
    }
}

/// The chosen part of a schema over what the rest of it says.
fn merged(whole: &Value, chosen: &Value, without: &str) -> Value {
    let mut all = whole.as_object().cloned().unwrap_or_default();
    all.retain(|name, _| crate::identity::camel(name) != without);
    for (name, value) in chosen.as_object().into_iter().flatten() {
        match (all.get_mut(name), value) {
            (Some(Value::Object(ours)), Value::Object(theirs)) if name == "properties" => ours.extend(theirs.clone()),
            (Some(Value::Array(ours)), Value::Array(theirs)) if name == "required" => ours.extend(theirs.clone()),
            _ => drop(all.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(all)
}

fn is_deep(schema: &Value) -> bool {
    field(schema, "$ref").is_some() || matches!(kind_of(schema).as_str(), "OBJECT" | "ARRAY")
}

/// The ends of a range; `tiny` inside those that are excluded, `span` wide where one end is open.
fn bounds(schema: &Value, tiny: f64, span: f64) -> (f64, f64) {
    let end = |name| field(schema, name).and_then(Value::as_f64);
    let low = end("exclusiveMinimum").map(|low| low + tiny).or(end("minimum"));
    let high = end("exclusiveMaximum").map(|high| high - tiny).or(end("maximum"));
    match (low, high) {
        (Some(low), Some(high)) => (low, high.max(low)),
        (Some(low), None) => (low, low + span),
        (None, Some(high)) => (if high < 0.0 { high - span } else { high.min(0.0) }, high),
        (None, None) => (0.0, span),
    }
}

/// The type in capitals; the first of several.
fn kind_of(schema: &Value) -> String {
    let kind = field(schema, "type").map(|kind| kind.get(0).unwrap_or(kind));
    match kind.and_then(Value::as_str) {
        Some(kind) => kind.to_ascii_uppercase(),
        None if field(schema, "properties").is_some() => "OBJECT".to_owned(),
        None if field(schema, "items").is_some() => "ARRAY".to_owned(),
        None => "STRING".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn made(schema: &Value) -> Vec<Value> {
        (0..50).map(|seed| value_of(schema, &mut Chance::new(seed))).collect()
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        for value in made(&json!({"type": "INTEGER", "minimum": 3, "maximum": 5})) {
            assert!((3..=5).contains(&value.as_i64().unwrap()));
        }
        for value in made(&json!({"type": "integer", "exclusiveMinimum": 0, "maximum": 30, "multipleOf": 7})) {
            assert!([7, 14, 21, 28].contains(&value.as_i64().unwrap()), "{value}");
        }
        for value in made(&json!({"type": "NUMBER", "minimum": -0.5, "maximum": -0.4995})) {
            assert!((-0.5..=-0.4995).contains(&value.as_f64().unwrap()), "{value}");
        }
        assert!(made(&json!({"type": "NUMBER", "maximum": -2})).iter().all(|v| v.as_f64().unwrap() <= -2.0));
    }

    #[test]
    fn arrays_keep_their_length_their_order_and_their_difference() {
        for value in made(
            &json!({"type": "ARRAY", "items": {"type": "STRING", "enum": ["a", "b", "c"]}, "minItems": 2, "maxItems": 3, "uniqueItems": true}),
        ) {
            let items = value.as_array().unwrap();
            assert!((2..=3).contains(&items.len()) && items.iter().all(|item| items.iter().filter(|i| *i == item).count() == 1));
        }
        let pair = json!({"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}], "items": false});
        for value in made(&pair) {
            assert!(value[0].is_boolean() && value[1].is_null() && value.as_array().unwrap().len() == 2);
        }
    }

    #[test]
    fn strings_keep_their_length_and_their_form() {
        for value in made(&json!({"type": "STRING", "minLength": 60, "maxLength": 70})) {
            assert!((60..=70).contains(&value.as_str().unwrap().len()));
        }
        assert!(made(&json!({"type": "STRING", "maxLength": "5"})).iter().all(|v| v.as_str().unwrap().len() == 5));
        assert!(made(&json!({"type": "string", "format": "date"})).iter().all(|v| v.as_str().unwrap().starts_with("2026-11-")));
    }

    #[test]
    fn choices_references_and_nullable_are_followed() {
        let tree = json!({
            "type": "object", "required": ["name", "children"],
            "properties": {"name": {"const": "node"}, "children": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
            "$defs": {"n": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        });
        assert!(made(&tree).iter().all(|v| v["name"] == "node" && v["children"].is_array()));
        let nullable = made(&json!({"type": "INTEGER", "nullable": true}));
        assert!(nullable.iter().any(Value::is_null) && nullable.iter().any(Value::is_i64));
        let all = json!({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"type": "boolean"}}}]});
        assert!(made(&all).iter().all(|v| v["a"].is_i64() && v["b"].is_boolean()));
    }

    #[test]
    fn properties_come_in_the_wished_order() {
        let schema = json!({"type": "OBJECT", "properties": {"a": {"type": "NULL"}, "b": {"type": "NULL"}}, "propertyOrdering": ["b", "a"]});
        assert_eq!(made(&schema)[0].to_string(), r#"{"b":null,"a":null}"#);
    }

    #[test]
    fn a_wrong_type_changes_one_typed_place() {
        let schema = json!({"type": "OBJECT", "properties": {"free": {"enum": [1]}, "count": {"type": "INTEGER"}}});
        let wrong = of_wrong_type(&schema, &json!({"free": 1, "count": 4})).unwrap();
        assert!(wrong["free"] == 1 && wrong["count"].is_object());
    }
}
