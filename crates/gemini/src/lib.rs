//! Speaks the Gemini wire: prompts become requests, bodies become answers or faults. Pure: no I/O, no clock, no async.
//!
//! ```
//! use tidegate_gemini::prompt::Prompt;
//! use tidegate_gemini::request::{self, Defaults};
//!
//! let prompt = Prompt::from_json(r#"{"id":"a","prompt":"Name a wader."}"#)?;
//! let defaults = Defaults { model: Some("gemini-3.8-flash".into()), ..Defaults::default() };
//! let request = request::build(&prompt, &defaults)?;
//! assert_eq!(request.model, "gemini-3.8-flash");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod embedding;
pub mod error;
mod fields;
pub mod json_repair;
mod json_text;
pub mod media;
pub mod models;
pub mod openai;
pub mod pack;
pub mod prices;
pub mod prompt;
mod redact;
pub mod request;
pub mod response;
pub mod schema;
pub mod stream;
pub mod tokens;
mod utf8;
mod wait;

pub use error::{Fault, FaultKind, QuotaDimension, Violation};
pub use models::Limits;
pub use prompt::{Content, Prompt, PromptError};
pub use request::{Defaults, Request, RequestError};
pub use response::{Answer, AnswerStatus, ResponseError, Usage};
pub use tokens::{Calibration, Estimate};
