//! A prompt made from a row's fields: `Classify: {{ text }}`.

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value as Filled};
use serde_json::{Map, Number, Value};

/// A minijinja template in which an unknown field is an error.
#[derive(Debug)]
pub struct Template(Environment<'static>);

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is not written as one.
    #[error("prompt template, line {line}: {reason}")]
    Syntax {
        /// Line in the template, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The row lacks fields it names.
    #[error("the prompt template names {}, and this row has {}", quoted(.missing), quoted(.present))]
    MissingField {
        /// What the template names and the row has not.
        missing: Vec<String>,
        /// What the row has.
        present: Vec<String>,
    },
    /// It fails on this row for another reason.
    #[error("the prompt template fails on this row: {0}")]
    Failed(String),
}

const NAME: &str = "prompt";

impl Template {
    /// Reads a template.
    pub fn new(source: &str) -> Result<Template, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_keep_trailing_newline(true);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| TemplateError::Syntax {
            line: error.line().unwrap_or(1),
            reason: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        })?;
        Ok(Template(environment))
    }

    /// The prompt for a row of these fields.
    ///
    /// ```
    /// use serde_json::json;
    /// let template = tidegate_batch::template::Template::new("Classify: {{ text }}").unwrap();
    /// let row = json!({"text": "good"});
    /// assert_eq!(template.render(row.as_object().unwrap()).unwrap(), "Classify: good");
    /// ```
    pub fn render(&self, fields: &Map<String, Value>) -> Result<String, TemplateError> {
        let failed = |error: minijinja::Error| TemplateError::Failed(error.to_string());
        let template = self.0.get_template(NAME).map_err(failed)?;
        let context: Filled = fields.iter().map(|(name, value)| (name.clone(), filled(value))).collect();
        template.render(context).map_err(|error| {
            let named = template.undeclared_variables(true).into_iter();
            let mut missing: Vec<String> = named.filter(|path| !has(fields, path)).collect();
            missing.sort();
            if error.kind() == ErrorKind::UndefinedError && !missing.is_empty() {
                return TemplateError::MissingField { missing, present: fields.keys().cloned().collect() };
            }
            failed(error)
        })
    }
}

fn has(fields: &Map<String, Value>, path: &str) -> bool {
    let mut steps = path.split('.');
    let first = steps.next().and_then(|name| fields.get(name));
    steps.try_fold(first, |value, step| value.map(|value| value.get(step))).flatten().is_some()
}

/// A JSON value as the template engine knows it; numbers keep their digits.
fn filled(value: &Value) -> Filled {
    match value {
        Value::Null => Filled::from(()),
        Value::Bool(yes) => Filled::from(*yes),
        Value::Number(number) => filled_number(number),
        Value::String(text) => Filled::from(text.as_str()),
        Value::Array(items) => items.iter().map(filled).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), filled(value))).collect(),
    }
}

fn filled_number(number: &Number) -> Filled {
    let text = number.to_string();
    if let Some(whole) = number.as_i64() {
        return Filled::from(whole);
    }
    match number.as_f64().map(Filled::from) {
        Some(float) if float.to_string() == text => float,
        _ => Filled::from(text),
    }
}

fn quoted(names: &[String]) -> String {
    match names {
        [] => "no fields".to_owned(),
        names => names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    fn render(source: &str, row: Value) -> Result<String, TemplateError> {
        Template::new(source)?.render(row.as_object().unwrap())
    }

    #[test]
    fn fields_are_filled_in_and_numbers_keep_their_digits() {
        let row = json!({"a": "x", "n": 12, "deep": {"b": [true, null]}});
        assert_eq!(render("{{a}}-{{n}}-{{n + 1}}-{{deep.b[0]}}", row).unwrap(), "x-12-13-True");
        let row: Value = serde_json::from_str(r#"{"big": 123456789012345678901234567890, "f": 1.50, "g": 0.5}"#).unwrap();
        assert_eq!(render("{{big}} {{f}} {{g}}", row).unwrap(), "123456789012345678901234567890 1.50 0.5");
    }

    #[test]
    fn a_field_the_row_lacks_is_named() {
        let error = render("{{ text }} {{ id }}", json!({"id": 1, "body": "x"})).unwrap_err();
        assert_eq!(error.to_string(), r#"the prompt template names "text", and this row has "id", "body""#);
        let error = render("{{ user.name }}", json!({"user": {"first": "x"}})).unwrap_err();
        assert_eq!(error.to_string(), r#"the prompt template names "user.name", and this row has "user""#);
    }

    #[test]
    fn a_template_that_is_none_is_refused_at_its_line() {
        let error = Template::new("one\n{{ two").unwrap_err();
        assert!(matches!(&error, TemplateError::Syntax { line: 2, .. }), "{error}");
    }

    #[test]
    fn markup_is_passed_through_as_it_is() {
        assert_eq!(render("{{a}}\n", json!({"a": "<b>&\"'"})).unwrap(), "<b>&\"'\n");
    }
}
