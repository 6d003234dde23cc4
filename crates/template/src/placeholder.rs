//! Text forms: their placeholders read as fields, and the same text written back filled.

use std::path::Path;

use serde_json::{Map, Value};

use crate::documents::{Archive, archive, decode};
use crate::field::{Field, FieldType};
use crate::template::{Template, TemplateError};

mod docx;
mod holes;

use holes::{Hole, holes};

/// A form of text with placeholders: `{name}`, `[name]`, `<name>` or `Label: ____`.
#[derive(Debug, Clone)]
pub struct TextTemplate {
    template: Template,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Text { text: String, is_markdown: bool },
    Docx(Archive),
}

/// So much of the text around a placeholder describes its field.
const DESCRIPTION: usize = 160;

impl TextTemplate {
    /// Reads a `.txt`, `.md` or `.docx` file.
    ///
    /// # Errors
    /// [`TemplateError`] when it cannot be read, is no such file, or has no placeholders.
    pub fn read(path: &Path) -> Result<TextTemplate, TemplateError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| TemplateError::Read { path: name.clone(), reason: error.to_string() })?;
        TextTemplate::from_bytes(&name, &bytes)
    }

    /// Reads the bytes of such a file; the ending of its name says which it is.
    ///
    /// # Errors
    /// As [`TextTemplate::read`].
    ///
    /// ```
    /// use serde_json::json;
    /// use tidegate_template::TextTemplate;
    /// let form = TextTemplate::from_bytes("letter.txt", b"Dear {tenant}, your rent is [rent].\nDate: ____")?;
    /// let values = json!({"tenant": "Ada", "rent": 800}).as_object().cloned().unwrap_or_default();
    /// assert_eq!(form.filled(&values)?, b"Dear Ada, your rent is 800.\nDate: ____");
    /// # Ok::<(), tidegate_template::TemplateError>(())
    /// ```
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<TextTemplate, TemplateError> {
        let ending = Path::new(name).extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let syntax = |reason: String| TemplateError::Syntax { place: name.to_owned(), reason };
        let (form, texts) = match ending.as_deref() {
            Some("docx") => {
                let parts = archive(bytes).map_err(syntax)?;
                let texts = docx::texts(&parts).map_err(syntax)?;
                (Form::Docx(parts), texts)
            }
            Some(ending @ ("txt" | "md" | "markdown" | "text")) => {
                let text = decode(bytes).ok_or_else(|| syntax("it is binary".to_owned()))?;
                (Form::Text { text: text.clone(), is_markdown: ending.starts_with('m') }, vec![text])
            }
            _ => return Err(TemplateError::UnknownFormat { path: name.to_owned() }),
        };
        let is_markdown = matches!(form, Form::Text { is_markdown: true, .. });
        let mut fields: Vec<Field> = Vec::new();
        for text in &texts {
            for hole in holes(text, is_markdown) {
                if !fields.iter().any(|field| field.name == hole.name) {
                    let description = around(text, &hole);
                    fields.push(Field { description, ..Field::new(hole.name, FieldType::String) });
                }
            }
        }
        let stem = Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let template = Template { name: stem, description: String::new(), fields }.checked(name)?;
        Ok(TextTemplate { template, form })
    }

    /// Its placeholders as fields, each once, in the order in which they come.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The file with the values in place of their placeholders. Where there is no value the placeholder stays.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`] when a Word file cannot be written again.
    pub fn filled(&self, values: &Map<String, Value>) -> Result<Vec<u8>, TemplateError> {
        let known = |name: &str| values.get(name).filter(|value| !value.is_null()).map(written);
        match &self.form {
            Form::Text { text, is_markdown } => Ok(filled_text(text, &holes(text, *is_markdown), known).into_bytes()),
            Form::Docx(parts) => {
                docx::filled(parts, &known).map_err(|reason| TemplateError::Syntax { place: self.template.name.clone(), reason })
            }
        }
    }
}

fn filled_text(text: &str, holes: &[Hole], known: impl Fn(&str) -> Option<String>) -> String {
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for hole in holes {
        if let Some(value) = known(&hole.name) {
            out.push_str(&text[from..hole.begin]);
            out.push_str(&value);
            from = hole.end;
        }
    }
    out.push_str(&text[from..]);
    out
}

/// A value as it stands in a text.
pub(crate) fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(written).collect::<Vec<_>>().join(", "),
        Value::Object(parts) => {
            let parts = parts.iter().filter(|(_, part)| !part.is_null());
            parts.map(|(name, part)| format!("{name}: {}", written(part))).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The line a placeholder stands in, for that is what says what is meant.
fn around(text: &str, hole: &Hole) -> String {
    let begin = text[..hole.begin].rfind('\n').map_or(0, |end| end + 1);
    let end = text[hole.end..].find('\n').map_or(text.len(), |at| hole.end + at);
    let begin = begin.max(text.ceil_char_boundary(hole.begin.saturating_sub(DESCRIPTION)));
    let end = end.min(text.floor_char_boundary(hole.end + DESCRIPTION));
    let line = format!("{}...{}", &text[begin..hole.begin], &text[hole.end..end]);
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line == "..." { String::new() } else { format!("what belongs at the dots: {line}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn values(values: Value) -> Map<String, Value> {
        values.as_object().cloned().unwrap()
    }

    #[test]
    fn a_text_is_read_as_fields_and_written_back() {
        let text = "Zwischen <Vermieter> und {mieter}.\nMiete: ______ EUR, fällig [Tag der Zahlung]\n{mieter} unterschreibt.";
        let form = TextTemplate::from_bytes("a.txt", text.as_bytes()).unwrap();
        let names: Vec<&str> = form.template().fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["Vermieter", "mieter", "Miete", "Tag der Zahlung"]);
        assert_eq!(form.template().fields[2].description, "what belongs at the dots: Miete: ... EUR, fällig [Tag der Zahlung]");
        let filled = form.filled(&values(json!({"mieter": "B & C", "Miete": 800.5, "Vermieter": null}))).unwrap();
        let expected = "Zwischen <Vermieter> und B & C.\nMiete: 800.5 EUR, fällig [Tag der Zahlung]\nB & C unterschreibt.";
        assert_eq!(String::from_utf8(filled).unwrap(), expected);
    }

    #[test]
    fn a_text_without_placeholders_is_no_form() {
        let error = TextTemplate::from_bytes("a.txt", b"nothing to fill").unwrap_err().to_string();
        assert!(error.contains("a.txt: it has no fields"), "{error}");
        assert!(TextTemplate::from_bytes("a.xls", b"{a}").is_err());
    }

    #[test]
    fn values_are_written_as_people_do() {
        for (value, text) in
            [(json!(["a", 2]), "a, 2"), (json!({"x": 1, "y": null}), "x: 1"), (json!(true), "yes"), (json!(1.50), "1.5")]
        {
            assert_eq!(written(&value), text);
        }
    }
}
