//! What filling needs of a model: answers as JSON, and vectors. Whoever has these can be asked.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

/// A model that answers questions and, perhaps, makes vectors.
pub trait Model: Send + Sync {
    /// Its name; kept answers belong to it.
    fn name(&self) -> &str;

    /// The most tokens of one answer.
    fn output_limit(&self) -> u64 {
        8192
    }

    /// Why it cannot be asked at all, where that is known; then nothing is.
    fn unavailable(&self) -> Option<String> {
        None
    }

    /// Ends once nothing more may be asked: nobody waits for his turn then.
    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Asks one question.
    fn generate(&self, ask: Ask) -> BoxFuture<'_, Result<Answered, ModelError>>;

    /// Who makes the vectors, with their length where it is not the usual: kept vectors belong to it. `None`: nobody does.
    fn embedding(&self) -> Option<&str> {
        None
    }

    /// The vectors of texts, one for each, in their order.
    fn embed<'a>(&'a self, texts: &'a [String], purpose: Purpose) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        let _ = (texts, purpose);
        Box::pin(async { Err(ModelError::Unavailable { reason: "this model makes no vectors".to_owned() }) })
    }

    /// Whether it can be shown such a file.
    fn sees(&self, mime: &str) -> bool {
        let _ = mime;
        false
    }
}

/// What a vector is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be found.
    Document,
    /// To find.
    Query,
}

/// One question.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// What holds for every question.
    pub system: String,
    /// The question.
    pub prompt: String,
    /// The JSON Schema that the answer is to follow.
    pub schema: Value,
    /// Files shown beside the text.
    pub media: Vec<Medium>,
    /// A name for events and logs.
    pub label: String,
    /// It asks for several things: where it is refused, less is asked at a time rather than the same again.
    pub is_divisible: bool,
}

/// A file that is shown.
#[derive(Debug, Clone)]
pub struct Medium {
    /// What it is.
    pub mime: &'static str,
    /// Its bytes.
    pub bytes: std::sync::Arc<[u8]>,
}

/// One answer.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// Its text: JSON, if all went well.
    pub text: String,
    /// Whether it stopped at the output limit.
    pub truncated: bool,
    /// Tokens of the question, as the API counted them.
    pub input_tokens: u64,
    /// Tokens of the answer, thinking included.
    pub output_tokens: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Too many at the moment: everybody waits, then this question goes again.
    #[error("asked to wait{}", retry_after.map_or_else(String::new, |span| format!(" {} s", span.as_secs())))]
    Limited {
        /// How long, where the API said so.
        retry_after: Option<Duration>,
    },
    /// The quota is used up for longer than anybody waits.
    #[error("quota used up: {reason}")]
    Exhausted {
        /// Which, and until when, as far as that is known.
        reason: String,
    },
    /// The API cannot be had at all: offline, no key.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// This question is not answered: blocked, too large, invalid.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// Faults of the API or the way there, past what is worth trying again.
    #[error("failed: {reason}")]
    Failed {
        /// The last of them.
        reason: String,
    },
}
