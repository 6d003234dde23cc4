//! A template as it is written down, before its fields are checked.

use regex::Regex;
use serde_json::Value;

use super::{Deserialize, FieldFault, TemplateError, place};
use crate::field::{Field, FieldType};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTemplate {
    pub name: Option<String>,
    pub description: Option<String>,
    fields: Vec<RawField>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default, alias = "enum", alias = "options")]
    values: Vec<Value>,
    #[serde(default)]
    items: Option<Value>,
    #[serde(default)]
    fields: Vec<RawField>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    examples: Vec<Value>,
    pattern: Option<String>,
    query: Option<String>,
    #[serde(default)]
    depends_on: Vec<String>,
    group: Option<String>,
    max_chars: Option<usize>,
}

impl RawTemplate {
    pub fn fields(&self, source: &str) -> Result<Vec<Field>, TemplateError> {
        let field = |(number, raw): (usize, &RawField)| {
            raw.field().map_err(|fault| TemplateError::Field { name: source.to_owned(), place: place(number, &raw.name), fault })
        };
        self.fields.iter().enumerate().map(field).collect()
    }
}

impl RawField {
    fn field(&self) -> Result<Field, FieldFault> {
        let pattern = self.pattern.as_deref().map(Regex::new).transpose();
        Ok(Field {
            name: self.name.trim().to_owned(),
            description: self.description.clone(),
            kind: self.kind()?,
            required: self.required,
            examples: self.examples.iter().map(plain).collect(),
            pattern: pattern.map_err(|error| FieldFault::BadPattern { reason: pattern_fault(&error) })?,
            query: self.query.clone().filter(|query| !query.trim().is_empty()),
            depends_on: self.depends_on.clone(),
            group: self.group.clone(),
            max_chars: self.max_chars,
        })
    }

    fn kind(&self) -> Result<FieldType, FieldFault> {
        let implied = if self.values.is_empty() { "string" } else { "enum" };
        Ok(match self.kind.as_deref().unwrap_or(implied) {
            "string" => FieldType::String,
            "number" => FieldType::Number,
            "integer" => FieldType::Integer,
            "boolean" => FieldType::Boolean,
            "date" => FieldType::Date,
            "enum" if self.values.is_empty() => return Err(FieldFault::NoValues),
            "enum" => FieldType::Enum(self.values.iter().map(plain).collect()),
            "list" => FieldType::List(Box::new(self.items()?)),
            "object" => FieldType::Object(self.parts()?),
            other => return Err(FieldFault::UnknownType { found: other.to_owned() }),
        })
    }

    fn items(&self) -> Result<FieldType, FieldFault> {
        let part = |reason: String| FieldFault::BadPart { member: "items".to_owned(), reason };
        match &self.items {
            // Parts beside a list are those of its items.
            None if !self.fields.is_empty() => Ok(FieldType::Object(self.parts()?)),
            None => Ok(FieldType::String),
            Some(Value::String(name)) => {
                let item = RawField { kind: Some(name.clone()), items: None, ..self.clone() };
                item.kind().map_err(|fault| part(fault.to_string()))
            }
            Some(other) => {
                let item: RawField = serde_json::from_value(other.clone()).map_err(|error| part(error.to_string()))?;
                item.kind().map_err(|fault| part(fault.to_string()))
            }
        }
    }

    fn parts(&self) -> Result<Vec<(String, FieldType)>, FieldFault> {
        let part = |raw: &RawField| match (raw.name.trim(), raw.kind()) {
            ("", _) => Err(FieldFault::BadPart { member: "fields".to_owned(), reason: FieldFault::NoName.to_string() }),
            (name, Ok(kind)) => Ok((name.to_owned(), kind)),
            (name, Err(fault)) => Err(FieldFault::BadPart { member: format!("fields ({name})"), reason: fault.to_string() }),
        };
        self.fields.iter().map(part).collect()
    }
}

/// A scalar as a person would write it.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The last line of a pattern's fault says what is wrong; those before draw it.
pub(super) fn pattern_fault(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
