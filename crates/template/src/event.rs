//! What a filling tells while it runs: for progress, for pages that show fields as they arrive.

use serde::Serialize;

use crate::filled::FilledField;
use crate::stats::Stats;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The documents are cut.
    Read {
        /// Chunks of all documents.
        chunks: usize,
        /// Whether they fit into a call whole, so that nothing needs to be searched.
        is_whole: bool,
    },
    /// Something a reader of the result must know.
    Note {
        /// In words.
        text: String,
    },
    /// Vectors are being made.
    Embedding {
        /// Texts done.
        done: usize,
        /// Texts in all.
        of: usize,
    },
    /// The fields are packed.
    Packed {
        /// Names of the fields of each call.
        packs: Vec<Vec<String>>,
    },
    /// A question was asked.
    Asked {
        /// Number of the call, from 1.
        call: u64,
        /// Names of its fields.
        fields: Vec<String>,
        /// They were asked before, without success.
        again: bool,
    },
    /// Everybody waits, because the API asks for it.
    Paused {
        /// For so long.
        seconds: f64,
    },
    /// A field has its value, or is known to have none.
    Field(Box<FilledField>),
    /// All is done.
    Done(Box<Stats>),
}

/// Who is told.
pub trait Observer: Send + Sync {
    /// Is told of one thing; called in order, and waited for.
    fn saw(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn saw(&self, event: &Event) {
        self(event);
    }
}

/// Nobody is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn saw(&self, _: &Event) {}
}
