//! The form that is filled: fields by name, or a text with placeholders.

use std::path::Path;

use tidegate_template::{Filled, Template, TemplateError, TextTemplate};

use crate::exit_code::{ExitCode, Failure};

/// What is filled.
pub enum Form {
    /// A list of fields.
    Fields(Template),
    /// A text with placeholders.
    Text(TextTemplate, String),
}

impl Form {
    /// Reads a template of either kind; the ending of its name tells which.
    ///
    /// # Errors
    /// When it cannot be read, or is no template; the message names the place.
    pub fn read(path: &Path) -> Result<Form, Failure> {
        let ending = ending(path);
        let read = match ending.as_str() {
            "txt" | "text" | "md" | "markdown" | "docx" => TextTemplate::read(path).map(|text| Form::Text(text, ending)),
            _ => Template::read(path).map(Form::Fields),
        };
        read.map_err(|error| match error {
            TemplateError::Read { .. } => Failure::new(ExitCode::Unreachable, error),
            error => Failure::usage(error),
        })
    }

    /// Its fields.
    pub fn template(&self) -> &Template {
        match self {
            Form::Fields(template) => template,
            Form::Text(text, _) => text.template(),
        }
    }

    /// Whether a file with this ending is the form itself, filled.
    pub fn is_written_as(&self, path: &Path) -> bool {
        matches!(self, Form::Text(_, own) if *own == ending(path))
    }

    /// The text with its placeholders filled.
    ///
    /// # Errors
    /// When a Word file cannot be written again, or there is no text.
    pub fn filled(&self, filled: &Filled) -> Result<Vec<u8>, Failure> {
        match self {
            Form::Fields(template) => Err(Failure::usage(format!("template {} is no text: give -o a .json", template.name))),
            Form::Text(text, _) => text.filled(&filled.values).map_err(Failure::usage),
        }
    }
}

/// The ending of a file's name in small letters.
pub fn ending(path: &Path) -> String {
    path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}
