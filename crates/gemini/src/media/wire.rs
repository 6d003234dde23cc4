//! The JSON of a media part, as it is put into the holes of a request at sending time.

use serde_json::{Value, json};

/// What goes before the base64 text of a medium sent along; [`INLINE_END`] goes after it.
pub fn inline_start(mime: &str) -> String {
    format!("\"inlineData\":{{\"mimeType\":{},\"data\":\"", Value::from(mime))
}

/// What goes after the base64 text of a medium sent along.
pub const INLINE_END: &str = "\"}";

/// A medium the API has already, or can fetch: an uploaded file's `uri`, a public address.
pub fn file_data(mime: Option<&str>, uri: &str) -> String {
    let data = match mime {
        Some(mime) => json!({"mimeType": mime, "fileUri": uri}),
        None => json!({"fileUri": uri}),
    };
    format!("\"fileData\":{data}")
}
