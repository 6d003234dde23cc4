//! What can be wrong with an input line, said so that its author can mend it.

use super::ConfigFault;
use crate::media::MediaFault;

/// Where in the input text something stands, counted from 1; columns count bytes, as JSON parsers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line within the text that was read; 1 for JSONL.
    pub line: usize,
    /// The column within that line.
    pub column: usize,
}

impl Place {
    /// Where `inner`, a part of `outer`'s own memory, begins; `None` for a text from elsewhere.
    pub(crate) fn of(outer: &str, inner: &str) -> Option<Place> {
        let offset = (inner.as_ptr() as usize).checked_sub(outer.as_ptr() as usize)?;
        let before = outer.get(..offset)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
        Some(Place { line, column })
    }
}

/// Why an input line is no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The line is not JSON.
    #[error("not valid JSON: {reason}")]
    NotJson {
        /// The parser's words, without the place.
        reason: String,
        /// Where it stopped.
        place: Option<Place>,
    },
    /// JSON, but neither a string nor an object.
    #[error("a prompt is a string or an object, not {found}")]
    NotAPrompt {
        /// What stood there.
        found: &'static str,
    },
    /// Nothing to ask.
    #[error("no prompt: give \"prompt\", \"messages\", \"contents\" or \"request\"")]
    Missing,
    /// A field that asks for nothing.
    #[error("\"{field}\" is empty: give some text")]
    Empty {
        /// The field.
        field: &'static str,
        /// Where its value begins.
        place: Option<Place>,
    },
    /// A field of the wrong type.
    #[error("\"{field}\" must be {expected}, not {found}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
        /// Where its value begins.
        place: Option<Place>,
    },
    /// Two fields that exclude each other.
    #[error("\"{first}\" and \"{second}\" exclude each other: give one of them")]
    Both {
        /// The one field.
        first: &'static str,
        /// The other field.
        second: &'static str,
        /// Where the value of the second begins.
        place: Option<Place>,
    },
    /// One name twice in one object.
    #[error("\"{field}\" stands twice: keep one of them")]
    Twice {
        /// The field.
        field: String,
        /// Where its second value begins.
        place: Option<Place>,
    },
    /// A field for images, sound, films or files.
    #[error("\"{field}\": {fault}")]
    Media {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        fault: MediaFault,
        /// Where its value begins.
        place: Option<Place>,
    },
    /// A setting the API would refuse.
    #[error("{fault}")]
    Config {
        /// The setting, and what is wrong with it.
        fault: ConfigFault,
        /// Where the settings begin.
        place: Option<Place>,
    },
    /// A message that is no turn of a conversation.
    #[error("\"messages\", entry {at}: {reason}")]
    Message {
        /// Its place in the list, from 1.
        at: usize,
        /// What is wrong with it, or what would do.
        reason: &'static str,
        /// Where the list begins.
        place: Option<Place>,
    },
    /// Something of an OpenAI line that has no counterpart.
    #[error("\"{field}\" of this OpenAI line cannot be translated: {reason}")]
    Untranslatable {
        /// The field, with its path inside the body.
        field: String,
        /// Why not, or what would do.
        reason: &'static str,
        /// Where the line's body begins.
        place: Option<Place>,
    },
}

impl PromptError {
    /// Where in the text the fault lies, if known.
    pub fn place(&self) -> Option<Place> {
        match self {
            PromptError::NotAPrompt { .. } | PromptError::Missing => None,
            PromptError::NotJson { place, .. }
            | PromptError::Empty { place, .. }
            | PromptError::WrongType { place, .. }
            | PromptError::Both { place, .. }
            | PromptError::Twice { place, .. }
            | PromptError::Media { place, .. }
            | PromptError::Config { place, .. }
            | PromptError::Message { place, .. }
            | PromptError::Untranslatable { place, .. } => *place,
        }
    }

    /// The column of the fault, counted in bytes from 1, if known.
    pub fn column(&self) -> Option<usize> {
        self.place().map(|place| place.column)
    }

    /// The line of the fault within the text that was read, counted from 1, if known.
    pub fn line(&self) -> Option<usize> {
        self.place().map(|place| place.line)
    }

    pub(crate) fn not_json(error: &serde_json::Error) -> PromptError {
        let words = error.to_string();
        let reason = words.split(" at line ").next().unwrap_or_default().to_owned();
        let place = (error.line() > 0).then(|| Place { line: error.line(), column: error.column() });
        PromptError::NotJson { reason, place }
    }

    /// The same fault at another place; `None` for a text its author never saw.
    pub(crate) fn at(mut self, new: Option<Place>) -> PromptError {
        match &mut self {
            PromptError::NotAPrompt { .. } | PromptError::Missing => {}
            PromptError::NotJson { place, .. }
            | PromptError::Empty { place, .. }
            | PromptError::WrongType { place, .. }
            | PromptError::Both { place, .. }
            | PromptError::Twice { place, .. }
            | PromptError::Media { place, .. }
            | PromptError::Config { place, .. }
            | PromptError::Message { place, .. }
            | PromptError::Untranslatable { place, .. } => *place = new,
        }
        self
    }
}
