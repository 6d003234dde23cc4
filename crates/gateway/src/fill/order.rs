//! What a client wants filled: a template, documents and settings, from a form or from JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::path::Path;
use tidegate_template::{Document, Template, TemplateError, TemplateFormat, TextTemplate};

use super::form::Field;
use super::wishes::Wishes;
use crate::error::Refusal;

/// The most documents of one job.
const MOST_DOCUMENTS: usize = 1_000;
/// The most fields of one template.
const MOST_FIELDS: usize = 2_000;
/// The most letters of a document's name.
const LONGEST_NAME: usize = 300;

/// Everything one job begins with, as it was sent.
#[derive(Debug, Default)]
pub struct Order {
    template: Option<File>,
    documents: Vec<File>,
    pub wishes: Wishes,
}

/// A file as it was sent.
#[derive(Debug)]
struct File {
    name: String,
    content: Bytes,
}

/// The same, read.
pub struct Read {
    pub template: Template,
    /// The template as a text with placeholders, where it is one.
    pub text: Option<TextTemplate>,
    pub documents: Vec<Document>,
}

impl Order {
    /// From the fields of a form: `template`, any number of `documents`, and settings by their names.
    ///
    /// # Errors
    /// A 400 that names the field.
    pub fn of_form(fields: Vec<Field>) -> Result<Order, Refusal> {
        let mut order = Order::default();
        let mut template_name = None;
        for Field { name, file, content } in fields {
            match name.as_str() {
                "template" => order.template = Some(File { name: file.unwrap_or_default(), content }),
                "template_name" => template_name = Some(String::from_utf8_lossy(&content).trim().to_owned()),
                "documents" | "documents[]" | "document" => order.document(file, content)?,
                _ => {
                    let text = String::from_utf8_lossy(&content);
                    let text = text.trim();
                    let is_text = matches!(name.as_str(), "model" | "profile");
                    let value = if is_text { None } else { serde_json::from_str(text).ok() };
                    order.wishes.set(&name, &value.unwrap_or_else(|| text.into()))?;
                }
            }
        }
        order.named(template_name)
    }

    /// From a JSON object: `template` as an object or as text, `documents` with `name` and `text` or `base64`, and settings.
    ///
    /// # Errors
    /// A 400 that names the member.
    pub fn of_json(body: &[u8]) -> Result<Order, Refusal> {
        let members: Map<String, Value> =
            serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("the body is no JSON object: {error}")))?;
        let mut order = Order::default();
        let mut template_name = None;
        for (name, value) in members {
            match (name.as_str(), value) {
                ("template", Value::String(text)) => {
                    order.template = Some(File { name: String::new(), content: text.into() });
                }
                ("template", Value::Object(template)) => {
                    let content = Value::Object(template).to_string().into();
                    order.template = Some(File { name: "template.json".to_owned(), content });
                }
                ("template", _) => return Err(Refusal::of_field("template", "template must be an object or a text")),
                ("template_name", value) => template_name = value.as_str().map(str::to_owned),
                ("documents", Value::Array(documents)) => {
                    for (number, document) in documents.into_iter().enumerate() {
                        let (name, content) = inline(number, document)?;
                        order.document(name, content)?;
                    }
                }
                ("documents", _) => return Err(Refusal::of_field("documents", "documents must be an array")),
                (name, value) => order.wishes.set(name, &value)?,
            }
        }
        order.named(template_name)
    }

    /// Bytes of everything in it.
    pub fn bytes(&self) -> usize {
        self.template.iter().chain(&self.documents).map(|file| file.content.len()).sum()
    }

    /// Reads template and documents, which takes long for large ones.
    ///
    /// # Errors
    /// A 400 that names the template's fault and its place, or the document that cannot be read.
    pub fn read(self) -> Result<Read, Refusal> {
        let missing = || Refusal::of_field("template", "template is missing: send one as a file, as text or as an object");
        let (template, text) =
            template(&self.template.ok_or_else(missing)?).map_err(|fault| Refusal::of_field("template", fault.to_string()))?;
        if template.fields.len() > MOST_FIELDS {
            let message = format!("template has {} fields: at most {MOST_FIELDS} go into one job", template.fields.len());
            return Err(Refusal::of_field("template", message));
        }
        let read = |file: &File| Document::from_bytes(&file.name, &file.content);
        let documents: Result<Vec<Document>, _> = self.documents.iter().map(read).collect();
        let documents = documents.map_err(|fault| Refusal::of_field("documents", fault.to_string()))?;
        Ok(Read { template, text, documents })
    }

    fn document(&mut self, name: Option<String>, content: Bytes) -> Result<(), Refusal> {
        if self.documents.len() == MOST_DOCUMENTS {
            return Err(Refusal::of_field("documents", format!("documents: at most {MOST_DOCUMENTS} go into one job")));
        }
        let number = self.documents.len() + 1;
        let name = name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| format!("document-{number}.txt"));
        self.documents.push(File { name: name.chars().take(LONGEST_NAME).collect(), content });
        Ok(())
    }

    /// Gives the template the name it was told to have, or the one its first letter suggests.
    fn named(mut self, told: Option<String>) -> Result<Order, Refusal> {
        if let Some(file) = &mut self.template {
            if let Some(told) = told.filter(|told| !told.is_empty()) {
                file.name = told;
            } else if file.name.is_empty() {
                let is_json = file.content.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
                file.name = if is_json { "template.json" } else { "template.yaml" }.to_owned();
            }
        }
        Ok(self)
    }
}

/// A template by the ending of its name: fields, or a text with placeholders.
fn template(file: &File) -> Result<(Template, Option<TextTemplate>), TemplateError> {
    let Some(format) = TemplateFormat::of(Path::new(&file.name)) else {
        let text = TextTemplate::from_bytes(&file.name, &file.content)?;
        return Ok((text.template().clone(), Some(text)));
    };
    let binary = |_| TemplateError::Syntax { place: file.name.clone(), reason: "it is not UTF-8".to_owned() };
    let text = std::str::from_utf8(&file.content).map_err(binary)?;
    Ok((Template::parse(text, format, &file.name)?, None))
}

/// A document within JSON.
fn inline(number: usize, document: Value) -> Result<(Option<String>, Bytes), Refusal> {
    let place = format!("documents[{number}]");
    let wrong = |what: &str| Refusal::of_field(&place, format!("{place}: {what}"));
    let mut members = match document {
        Value::String(text) => return Ok((None, text.into())),
        Value::Object(members) => members,
        _ => return Err(wrong("it must be an object with name and text or base64")),
    };
    let name = members.get("name").and_then(Value::as_str).map(str::to_owned);
    match (members.remove("text"), members.remove("base64")) {
        (Some(Value::String(text)), None) => Ok((name, text.into())),
        (None, Some(Value::String(text))) => {
            let bytes = BASE64.decode(text.trim()).map_err(|error| wrong(&format!("base64: {error}")))?;
            Ok((name, bytes.into()))
        }
        _ => Err(wrong("it needs text, or base64, as a text")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn refused(body: Value) -> String {
        let refusal = Order::of_json(body.to_string().as_bytes()).and_then(Order::read).err().unwrap();
        let (status, _, message) = refusal.words().unwrap();
        assert_eq!(status, 400);
        message.to_owned()
    }

    #[test]
    fn a_fault_names_its_place() {
        let fields = json!({"fields": [{"name": "rent", "type": "nummer"}]});
        assert!(refused(json!({"template": fields})).contains("fields[0] (rent)"));
        assert!(refused(json!({"template": "fields:\n  - name: a\n  colour: red"})).contains("template.yaml"));
        assert!(refused(json!({"documents": []})).contains("template is missing"));
        let good = json!({"fields": [{"name": "rent"}]});
        assert!(refused(json!({"template": good, "documents": [{"name": "x.bin", "base64": "AAECAwA="}]})).contains("x.bin"));
        assert!(refused(json!({"template": good, "documents": ["a", {"base64": "%"}]})).contains("documents[1]"));
        assert!(refused(json!({"template": good, "colour": 1})).contains("colour"));
    }

    #[test]
    fn forms_of_text_and_lists_of_fields_are_told_apart_by_name() {
        let order = json!({"template": "Dear {tenant}", "template_name": "letter.txt", "documents": ["Ada rents."]});
        let read = Order::of_json(order.to_string().as_bytes()).unwrap().read().unwrap();
        assert!(read.text.is_some() && read.template.fields[0].name == "tenant");
        assert_eq!(&*read.documents[0].name, "document-1.txt");
        let field = |name: &str, file: Option<&str>, content: &'static str| Field {
            name: name.into(),
            file: file.map(Into::into),
            content: content.into(),
        };
        let fields = vec![
            field("template", Some("a.toml"), "[[fields]]\nname = 'rent'"),
            field("documents", Some("b.md"), "# Rent"),
            field("max_batch_size", None, "5"),
        ];
        let read = Order::of_form(fields).unwrap().read().unwrap();
        assert_eq!((read.template.name.as_str(), &*read.documents[0].name), ("a", "b.md"));
    }
}
