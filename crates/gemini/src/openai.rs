//! OpenAI's wire as far as it has a counterpart: requests become prompts, answers become completions. What has none is refused by name.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::prompt::{Prompt, PromptError, Record};

mod embeddings;
mod error;
mod messages;
mod models;
mod request;
mod response;
mod stream;

pub use embeddings::{Embeddings, Encoding, embeddings, vectors};
pub use error::{error, of_google};
pub use models::{model, models};
pub use request::{Chat, Untranslatable, chat};
pub use response::{Completion, Unfinished, completion};
pub use stream::Chunks;

/// The prompt of one `{"custom_id","method","url","body"}` line of OpenAI's batch format.
pub(crate) fn prompt(mut record: Record<'_>) -> Result<Prompt, PromptError> {
    let id = record.id(&["custom_id"])?;
    check_call(&mut record)?;
    let Some((name, raw)) = record.take(&["body"])? else { return Err(PromptError::Missing) };
    let body: Map<String, Value> = record.typed(name, raw, "an object")?;
    let place = record.place(raw);
    let refused = |Untranslatable { field, reason }| match field.as_str() {
        "messages" if reason == request::EMPTY => PromptError::Empty { field: "messages", place },
        _ => PromptError::Untranslatable { field, reason, place },
    };
    let chat = request::translated(body).map_err(refused)?;
    if chat.answers > 1 {
        return Err(refused(Untranslatable { field: "n".to_owned(), reason: "only one answer a line can be asked for" }));
    }
    if chat.stream {
        return Err(refused(Untranslatable { field: "stream".to_owned(), reason: "a batch line cannot be streamed" }));
    }
    record.finish(Prompt { id, ..chat.prompt })
}

fn check_call(record: &mut Record<'_>) -> Result<(), PromptError> {
    let refuse = |field: &str, reason, place| Err(PromptError::Untranslatable { field: field.to_owned(), reason, place });
    if let Some((_, raw)) = record.take(&["url"])?
        && !text(raw).trim_end_matches('/').ends_with("/chat/completions")
    {
        return refuse("url", "only /v1/chat/completions is read", record.place(raw));
    }
    if let Some((_, raw)) = record.take(&["method"])?
        && !text(raw).eq_ignore_ascii_case("POST")
    {
        return refuse("method", "only POST is read", record.place(raw));
    }
    Ok(())
}

fn text(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_default()
}
