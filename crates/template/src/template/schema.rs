//! A JSON Schema read as a template: every property of its object becomes a field.

use regex::Regex;
use serde_json::{Map, Value};

use super::raw::{pattern_fault, plain};
use super::{FieldFault, Template, TemplateError};
use crate::field::{Field, FieldType};

/// References are followed so often, which ends those that go in a circle.
const DEEPEST: usize = 12;

/// Whether this is a JSON Schema and no template of our own.
pub(super) fn is_schema(value: &Value) -> bool {
    value.get("fields").is_none() && (value.get("properties").is_some() || value.get("$schema").is_some())
}

pub(super) fn import(schema: &Value, source: &str) -> Result<Template, TemplateError> {
    let reader = Reader { root: schema, source };
    let top = reader.resolved(schema, DEEPEST);
    let required: Vec<&str> = top["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let none = Map::new();
    let properties = top["properties"].as_object().unwrap_or(&none);
    let fields = properties.iter().map(|(name, property)| {
        let field = reader.field(name, property)?;
        Ok(Field { required: required.contains(&name.as_str()), ..field })
    });
    Ok(Template {
        name: words(schema, "title").unwrap_or_else(|| source.to_owned()),
        description: words(schema, "description").unwrap_or_default(),
        fields: fields.collect::<Result<_, _>>()?,
    })
}

struct Reader<'a> {
    root: &'a Value,
    source: &'a str,
}

impl<'a> Reader<'a> {
    fn field(&self, name: &str, property: &'a Value) -> Result<Field, TemplateError> {
        let path = format!("properties.{name}");
        let schema = self.resolved(property, DEEPEST);
        // What stands beside a reference is said of this very field.
        let said = |member: &str| words(property, member).or_else(|| words(schema, member));
        let pattern = schema["pattern"].as_str().map(Regex::new).transpose();
        let pattern = pattern.map_err(|error| self.fault(&path, FieldFault::BadPattern { reason: pattern_fault(&error) }))?;
        Ok(Field {
            description: said("description").or_else(|| said("title")).unwrap_or_default(),
            examples: schema["examples"].as_array().into_iter().flatten().map(plain).collect(),
            pattern,
            max_chars: schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok()),
            ..Field::new(name, self.kind(schema, &path, DEEPEST)?)
        })
    }

    fn kind(&self, schema: &'a Value, path: &str, depth: usize) -> Result<FieldType, TemplateError> {
        let schema = self.resolved(schema, depth);
        if let Some(words) = schema["enum"].as_array() {
            return Ok(FieldType::Enum(words.iter().filter(|word| !word.is_null()).map(plain).collect()));
        }
        let name = type_name(schema).unwrap_or("");
        Ok(match name {
            "string" if matches!(schema["format"].as_str(), Some("date" | "date-time")) => FieldType::Date,
            "string" => FieldType::String,
            "number" => FieldType::Number,
            "integer" => FieldType::Integer,
            "boolean" => FieldType::Boolean,
            "array" if depth > 0 && schema.get("items").is_some() => {
                FieldType::List(Box::new(self.kind(&schema["items"], &format!("{path}.items"), depth - 1)?))
            }
            "array" => FieldType::List(Box::new(FieldType::String)),
            "object" if depth > 0 => FieldType::Object(self.parts(schema, path, depth)?),
            "object" => FieldType::Object(Vec::new()),
            other => return Err(self.fault(path, FieldFault::UnknownType { found: other.to_owned() })),
        })
    }

    fn parts(&self, schema: &'a Value, path: &str, depth: usize) -> Result<Vec<(String, FieldType)>, TemplateError> {
        let each = schema["properties"].as_object().into_iter().flatten();
        let part = |(name, part): (&String, &'a Value)| {
            Ok((name.clone(), self.kind(part, &format!("{path}.properties.{name}"), depth - 1)?))
        };
        each.map(part).collect()
    }

    /// The schema itself: references inside the file and single choices beside `null` followed.
    fn resolved(&self, schema: &'a Value, depth: usize) -> &'a Value {
        let referred = schema["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
        let choices = ["anyOf", "oneOf", "allOf"].iter().find_map(|member| schema[*member].as_array());
        let chosen = choices.and_then(|all| all.iter().find(|choice| choice["type"] != "null"));
        let next = referred.and_then(|place| self.root.pointer(place)).or(chosen);
        match next {
            Some(next) if depth > 0 => self.resolved(next, depth - 1),
            _ => schema,
        }
    }

    fn fault(&self, path: &str, fault: FieldFault) -> TemplateError {
        TemplateError::Field { name: self.source.to_owned(), place: path.to_owned(), fault }
    }
}

/// The type, where `null` may stand beside it; what has properties is an object.
fn type_name(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ if schema.get("properties").is_some() => Some("object"),
        _ if schema.get("items").is_some() => Some("array"),
        _ => None,
    }
}

fn words(schema: &Value, member: &str) -> Option<String> {
    schema[member].as_str().map(str::to_owned)
}
