//! A template: the fields of a form, read from YAML, TOML, JSON or a JSON Schema, each fault told with its place.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::field::Field;

mod raw;
mod schema;

use raw::RawTemplate;

/// The fields of a form.
#[derive(Debug, Clone, Default)]
pub struct Template {
    /// What the form is called.
    pub name: String,
    /// What it is for; the model is told.
    pub description: String,
    /// Its fields, in the order in which they are shown.
    pub fields: Vec<Field>,
}

/// How a template is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateFormat {
    /// `.yaml`, `.yml`
    Yaml,
    /// `.toml`
    Toml,
    /// `.json`, also a JSON Schema
    Json,
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The file cannot be read.
    #[error("template {path}: {reason}")]
    Read {
        /// Its path.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A file of another kind.
    #[error(
        "template {path}: not a form that can be read: give .yaml, .toml or .json with fields, or .txt, .md or .docx with placeholders"
    )]
    UnknownFormat {
        /// Its path.
        path: String,
    },
    /// Not the language it claims to be, or with members it may not have.
    #[error("template {place}: {reason}")]
    Syntax {
        /// File, line and column.
        place: String,
        /// What the parser says.
        reason: String,
    },
    /// Nothing to fill.
    #[error("template {name}: it has no fields: name at least one")]
    NoFields {
        /// Which template.
        name: String,
    },
    /// A field that cannot be asked.
    #[error("template {name}, {place}: {fault}")]
    Field {
        /// Which template.
        name: String,
        /// Which field: its number from 0, and its name.
        place: String,
        /// What is wrong with it.
        fault: FieldFault,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldFault {
    /// No name.
    #[error("it has no name: give it one")]
    NoName,
    /// A name that was there before.
    #[error("its name is that of {first}: rename one of them")]
    Twice {
        /// The one before.
        first: String,
    },
    /// A type that is none.
    #[error("unknown type {found:?}: one of {}{}", crate::field::TYPE_NAMES.join(", "), nearest(found))]
    UnknownType {
        /// What is written there.
        found: String,
    },
    /// An enum of no words.
    #[error("an enum needs its words: add values: [...]")]
    NoValues,
    /// Parts or items that are none.
    #[error("{member}: {reason}")]
    BadPart {
        /// Which member.
        member: String,
        /// What is wrong.
        reason: String,
    },
    /// A pattern that is no regular expression.
    #[error("pattern: {reason}")]
    BadPattern {
        /// What the parser says.
        reason: String,
    },
    /// It waits for a field that is not there.
    #[error("depends_on names {missing:?}, which is no field")]
    UnknownDependency {
        /// The name.
        missing: String,
    },
    /// It waits for itself.
    #[error("depends_on goes in a circle: {}", circle.join(" -> "))]
    Circle {
        /// The names along the circle.
        circle: Vec<String>,
    },
}

fn nearest(found: &str) -> String {
    let near = |name: &&&str| strsim::damerau_levenshtein(found, name) <= 2;
    crate::field::TYPE_NAMES.iter().find(near).map_or_else(String::new, |name| format!(" (is {name} meant?)"))
}

impl Template {
    /// Reads a template file. Text forms with placeholders are read by [`TextTemplate`](crate::TextTemplate).
    ///
    /// # Errors
    /// [`TemplateError`] when the file cannot be read or is no template; every fault names its place.
    pub fn read(path: &Path) -> Result<Template, TemplateError> {
        let name = path.display().to_string();
        let format = TemplateFormat::of(path).ok_or_else(|| TemplateError::UnknownFormat { path: name.clone() })?;
        let text = std::fs::read_to_string(path)
            .map_err(|error| TemplateError::Read { path: name.clone(), reason: error.to_string() })?;
        Template::parse(&text, format, &name)
    }

    /// Reads a template from text; `source` is what faults call it.
    ///
    /// # Errors
    /// [`TemplateError`] when it is no template; every fault names its place.
    ///
    /// ```
    /// use tidegate_template::{Template, TemplateFormat};
    /// let text = "fields:\n  - name: rent\n    type: number\n";
    /// let template = Template::parse(text, TemplateFormat::Yaml, "lease.yaml")?;
    /// assert_eq!(template.fields[0].name, "rent");
    /// # Ok::<(), tidegate_template::TemplateError>(())
    /// ```
    pub fn parse(text: &str, format: TemplateFormat, source: &str) -> Result<Template, TemplateError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if let Ok(schema @ Value::Object(_)) = format.read::<Value>(text, source)
            && schema::is_schema(&schema)
        {
            return Template::from_json_schema(&schema, source);
        }
        let raw: RawTemplate = format.read(text, source)?;
        let stem = PathBuf::from(source).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = raw.name.clone().or(stem).unwrap_or_default();
        let fields = raw.fields(source)?;
        Template { name, description: raw.description.unwrap_or_default(), fields }.checked(source)
    }

    /// The properties of a JSON Schema as fields.
    ///
    /// # Errors
    /// [`TemplateError`] when a property has a type no field can have; the place is its path in the schema.
    pub fn from_json_schema(schema: &Value, source: &str) -> Result<Template, TemplateError> {
        schema::import(schema, source)?.checked(source)
    }

    /// The same, if its fields go together.
    ///
    /// # Errors
    /// [`TemplateError`] for names that stand twice, dependencies that are not there or go in a circle, and no fields at all.
    pub fn checked(self, source: &str) -> Result<Template, TemplateError> {
        if self.fields.is_empty() {
            return Err(TemplateError::NoFields { name: source.to_owned() });
        }
        let fault = |number: usize, fault| TemplateError::Field {
            name: source.to_owned(),
            place: place(number, &self.fields[number].name),
            fault,
        };
        for (number, field) in self.fields.iter().enumerate() {
            if field.name.trim().is_empty() {
                return Err(fault(number, FieldFault::NoName));
            }
            if let Some(first) = self.number(&field.name).filter(|first| *first < number) {
                return Err(fault(number, FieldFault::Twice { first: format!("fields[{first}]") }));
            }
            for needed in &field.depends_on {
                if self.number(needed).is_none() {
                    return Err(fault(number, FieldFault::UnknownDependency { missing: needed.clone() }));
                }
            }
        }
        for number in 0..self.fields.len() {
            if let Some(circle) = self.circle(number) {
                return Err(fault(number, FieldFault::Circle { circle }));
            }
        }
        Ok(self)
    }

    /// The place of a field by its name.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The way from a field back to itself along `depends_on`.
    fn circle(&self, start: usize) -> Option<Vec<String>> {
        let mut seen = HashSet::new();
        let mut ways = vec![vec![start]];
        while let Some(way) = ways.pop() {
            let Some(last) = way.last() else { continue };
            for next in self.fields[*last].depends_on.iter().filter_map(|name| self.number(name)) {
                let longer: Vec<usize> = way.iter().copied().chain([next]).collect();
                if next == start {
                    return Some(longer.into_iter().map(|number| self.fields[number].name.clone()).collect());
                }
                if seen.insert(next) {
                    ways.push(longer);
                }
            }
        }
        None
    }
}

/// How faults call a field.
fn place(number: usize, name: &str) -> String {
    if name.is_empty() { format!("fields[{number}]") } else { format!("fields[{number}] ({name})") }
}

impl TemplateFormat {
    /// The format of a file, by its ending.
    pub fn of(path: &Path) -> Option<TemplateFormat> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "yaml" | "yml" => Some(TemplateFormat::Yaml),
            "toml" => Some(TemplateFormat::Toml),
            "json" => Some(TemplateFormat::Json),
            _ => None,
        }
    }

    fn read<T: DeserializeOwned>(self, text: &str, source: &str) -> Result<T, TemplateError> {
        let syntax = |place: Option<(u64, u64)>, reason: String| {
            let place = place.map_or_else(|| source.to_owned(), |(line, column)| format!("{source}:{line}:{column}"));
            TemplateError::Syntax { place, reason }
        };
        match self {
            TemplateFormat::Yaml => serde_saphyr::from_str(text).map_err(|error| {
                let error = error.without_snippet();
                syntax(error.location().map(|place| (place.line(), place.column())), first_line(&error.to_string()))
            }),
            TemplateFormat::Toml => toml::from_str(text).map_err(|error| {
                let place = error.span().map(|span| line_and_column(text, span.start));
                syntax(place, error.message().to_owned())
            }),
            TemplateFormat::Json => {
                let mut reader = serde_json::Deserializer::from_str(text);
                let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
                    let path = error.path().to_string();
                    let inner = error.into_inner();
                    let place = (inner.line() > 0).then(|| (inner.line() as u64, inner.column() as u64));
                    syntax(place, if path == "." { inner.to_string() } else { format!("{path}: {inner}") })
                })?;
                reader.end().map_err(|error| syntax(Some((error.line() as u64, error.column() as u64)), error.to_string()))?;
                Ok(value)
            }
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn line_and_column(text: &str, offset: usize) -> (u64, u64) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line as u64, column as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::field::FieldType;

    fn yaml(text: &str) -> Result<Template, TemplateError> {
        Template::parse(text, TemplateFormat::Yaml, "lease.yaml")
    }

    const LEASE: &str = r"
name: Lease
fields:
  - name: tenant
    description: Who rents
    required: true
    examples: [Ada Byron]
    group: parties
  - name: deposit
    type: number
    depends_on: [rent]
    query: Kaution
    pattern: 'Kaution:\s*([\d.,]+)'
  - {name: rent, type: number}
  - {name: heating, type: enum, values: [gas, oil]}
  - {name: rooms, type: list, items: string, max_chars: 200}
  - name: landlord
    type: object
    fields: [{name: street}, {name: since, type: date}]
";

    #[test]
    fn every_attribute_of_a_field_is_read() {
        let template = yaml(LEASE).unwrap();
        let [tenant, deposit, _, heating, rooms, landlord] = &template.fields[..] else { panic!("{template:?}") };
        assert!(tenant.required && tenant.examples == ["Ada Byron"] && tenant.group.as_deref() == Some("parties"));
        assert_eq!((deposit.query.as_deref(), deposit.depends_on.as_slice()), (Some("Kaution"), &["rent".to_owned()][..]));
        assert!(deposit.pattern.as_ref().unwrap().is_match("Kaution: 1.200,00"));
        assert_eq!(heating.kind, FieldType::Enum(vec!["gas".into(), "oil".into()]));
        assert_eq!((&rooms.kind, rooms.max_chars), (&FieldType::List(Box::new(FieldType::String)), Some(200)));
        let parts = vec![("street".to_owned(), FieldType::String), ("since".to_owned(), FieldType::Date)];
        assert_eq!(landlord.kind, FieldType::Object(parts));
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = Template::parse("[[fields]]\nname = \"rent\"\ntype = \"number\"\n", TemplateFormat::Toml, "a.toml").unwrap();
        let json = Template::parse(r#"{"fields":[{"name":"rent","type":"number"}]}"#, TemplateFormat::Json, "a.json").unwrap();
        assert_eq!(toml.fields[0].fingerprint(), json.fields[0].fingerprint());
        assert_eq!(json.name, "a");
    }

    #[test]
    fn faults_of_the_language_name_line_and_column() {
        let faults = [
            (TemplateFormat::Yaml, "fields:\n  - name: a\n   type: b\n", "x:"),
            (TemplateFormat::Yaml, "fields:\n  - name: a\n    colour: b\n", "x:3:"),
            (TemplateFormat::Toml, "[[fields]]\nname = \"a\"\ncolour = 1\n", "x:3:1"),
            (TemplateFormat::Toml, "fields = [", "x:1:"),
            (TemplateFormat::Json, "{\"fields\":[\n{\"name\":1}]}", "x:2:9"),
            (TemplateFormat::Json, "{\"fields\":[]} more", "x:1:"),
        ];
        for (format, text, begins) in faults {
            match Template::parse(text, format, "x") {
                Err(TemplateError::Syntax { place, .. }) => assert!(place.starts_with(begins), "{text}: {place}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn faults_of_a_field_name_the_field_and_the_remedy() {
        let faults = [
            ("[{name: a}, {name: a}]", "template lease.yaml, fields[1] (a): its name is that of fields[0]: rename one of them"),
            ("[{name: a, type: strng}]", "fields[0] (a): unknown type \"strng\": one of string,"),
            ("[{name: a, type: strng}]", "(is string meant?)"),
            ("[{name: a, type: enum}]", "fields[0] (a): an enum needs its words"),
            ("[{name: a, pattern: '('}]", "fields[0] (a): pattern: "),
            ("[{name: a, depends_on: [b]}]", "fields[0] (a): depends_on names \"b\", which is no field"),
            ("[{name: a, depends_on: [b]}, {name: b, depends_on: [a]}]", "depends_on goes in a circle: a -> b -> a"),
            ("[{name: ' '}]", "it has no name"),
            ("[{name: a, type: list, items: nmber}]", "items: unknown type \"nmber\""),
            ("[]", "it has no fields"),
        ];
        for (fields, words) in faults {
            let error = yaml(&format!("fields: {fields}")).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_json_schema_becomes_fields() {
        let schema = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"Lease","required":["rent"],
            "$defs":{"day":{"type":"string","format":"date"}},
            "properties":{"rent":{"type":["number","null"],"description":"monthly"},"begin":{"$ref":"#/$defs/day"},
            "kind":{"enum":["flat","house"]},"keys":{"type":"array","items":{"type":"integer"}},
            "note":{"type":"string","maxLength":80,"examples":["x"],"pattern":"^N"},
            "who":{"type":"object","properties":{"name":{"type":"string"}}}}}"##;
        let template = Template::parse(schema, TemplateFormat::Json, "s.json").unwrap();
        let kinds: Vec<String> = template.fields.iter().map(|field| field.kind.to_string()).collect();
        let expected =
            ["number", "date (YYYY-MM-DD)", "one of flat | house", "list of integer", "string", "object {name: string}"];
        assert_eq!(kinds, expected);
        assert!(template.fields[0].required && !template.fields[1].required);
        assert_eq!((template.name.as_str(), template.fields[4].max_chars), ("Lease", Some(80)));
        let odd = r#"{"properties":{"a":{"type":"null"}}}"#;
        let error = Template::parse(odd, TemplateFormat::Json, "s.json").unwrap_err().to_string();
        assert!(error.contains("properties.a"), "{error}");
    }
}
