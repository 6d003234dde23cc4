//! A filled template: each field's value, where it came from, and the words of the source that show it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::documents::Place;
use crate::field::Origin;
use crate::stats::Stats;

/// A template with its values.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Filled {
    /// Name of the template.
    pub template: String,
    /// The values by name, in the order of the template; `null` where there is none.
    pub values: Map<String, Value>,
    /// Each field with all that is known of its value.
    pub fields: Vec<FilledField>,
    /// What a reader must know: keywords only, documents passed over, a quota used up.
    #[serde(default)]
    pub notes: Vec<String>,
    /// A hash of the documents.
    #[serde(default)]
    pub documents: String,
    /// What it took.
    #[serde(default)]
    pub stats: Stats,
}

/// One field with its value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FilledField {
    /// Its name.
    pub name: String,
    /// Its value, of its type; `null` where there is none.
    pub value: Value,
    /// Where the value came from.
    pub origin: Origin,
    /// How sure the model is, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The words that show the value, as they were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Whether the quote stands in a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<Support>,
    /// Where the quote stands, or the source the model names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Why the value is not what one might expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The template wants it.
    #[serde(default)]
    pub required: bool,
    /// The model could not be asked for it; a later run will.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// A hash of the field, by which a later run knows it.
    #[serde(default)]
    pub fingerprint: String,
}

/// What became of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// It stands in a source.
    Supported,
    /// It stands in none of the sources, or none was given.
    Unsupported,
    /// The source is a picture, which cannot be searched for words.
    Unchecked,
}

/// Where a value was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Name of the document.
    pub document: Arc<str>,
    /// The headings above the place.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub heading: Arc<str>,
    /// Page and line, as far as the document has them.
    #[serde(flatten)]
    pub place: Place,
    /// The text around it, for showing the quote where it stands.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Filled {
    /// One field by its name.
    pub fn field(&self, name: &str) -> Option<&FilledField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Names of required fields without a value.
    pub fn missing_required(&self) -> Vec<&str> {
        let missing = self.fields.iter().filter(|field| field.required && field.value.is_null());
        missing.map(|field| field.name.as_str()).collect()
    }

    /// Names of fields the model could not be asked for.
    pub fn pending(&self) -> Vec<&str> {
        self.fields.iter().filter(|field| field.pending).map(|field| field.name.as_str()).collect()
    }
}
