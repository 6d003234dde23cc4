//! Fills templates: many fields per call, from documents that are searched first, every answer checked.

mod answer;
mod ask;
mod bm25;
mod check;
mod chunk;
mod documents;
mod duplicates;
mod field;
mod model;
mod pack;
mod quote;
mod search;
mod settings;
mod store;
mod template;
mod throttle;
mod values;
mod vectors;
mod words;

pub use ask::PROMPT_VERSION;
pub use bm25::Bm25;
pub use check::checked;
pub use chunk::{Chunk, ChunkSize, chunks};
pub use documents::{Block, BlockKind, Content, Document, DocumentError, Documents, Place};
pub use field::{Field, FieldType, Origin};
pub use model::{Answered, Ask, Medium, Model, ModelError, Purpose};
pub use pack::{Bounds, Load, Pack, packs};
pub use search::{Index, Question, shared_context};
pub use settings::{Profile, Settings, UnknownProfile};
pub use store::{Kept, Store, StoreError};
pub use template::{FieldFault, Template, TemplateError, TemplateFormat};
pub use throttle::{Permit, Throttle};
pub use vectors::Vectors;
