//! The last requests as they came over the wire, without keys and without the bulk of media.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

use crate::exchange::SimRequest;
use crate::identity::camel;

/// One request that was recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordedRequest {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path and query, a key in it left out.
    pub path: String,
    /// The upload's protocol headers by name, when there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upload: Vec<(String, String)>,
    /// The body, when it is JSON; base64 data are replaced by their length.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

/// Keeps so many of the latest.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    most: usize,
    kept: VecDeque<RecordedRequest>,
}

/// Data longer than this are left out.
const LONG: usize = 256;

impl Recorder {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, kept: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, request: &SimRequest<'_>) {
        if self.most == 0 {
            return;
        }
        let mut body = serde_json::from_slice(request.body).unwrap_or_default();
        elide(&mut body);
        let headers = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let upload = headers.filter(|(name, _)| name.starts_with("x-goog-upload-"));
        let (method, path) = (request.method.to_owned(), without_key(request.path));
        self.kept.push_back(RecordedRequest { method, path, upload: upload.collect(), body });
        if self.kept.len() > self.most {
            self.kept.pop_front();
        }
    }

    /// The oldest first.
    pub(crate) fn recorded(&self) -> Vec<RecordedRequest> {
        self.kept.iter().cloned().collect()
    }
}

fn without_key(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let rest: Vec<_> = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("key=")).collect();
    if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) }
}

fn elide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let long = value.as_str().map(str::len).filter(|length| *length > LONG);
                match long.filter(|_| matches!(&*camel(name), "data" | "thoughtSignature")) {
                    Some(length) => *value = format!("<{length} characters of base64>").into(),
                    None => elide(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(elide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_latest_requests_are_kept_without_keys_and_bulk() {
        let mut recorder = Recorder::new(2);
        let headers = [("x-goog-api-key".to_owned(), "secret".to_owned()), ("X-Goog-Upload-Offset".to_owned(), "5".to_owned())];
        let body = json!({"contents": [{"inline_data": {"data": "A".repeat(1_000)}}, {"text": "b".repeat(1_000)}]}).to_string();
        for path in ["/old", "/v1/x?alt=sse&key=secret", "/v1/y?key=secret"] {
            recorder.note(&SimRequest { method: "POST", path, headers: &headers, body: body.as_bytes() });
        }
        let kept = recorder.recorded();
        assert_eq!(kept.iter().map(|r| r.path.as_str()).collect::<Vec<_>>(), ["/v1/x?alt=sse", "/v1/y"]);
        assert_eq!(kept[0].body["contents"][0]["inline_data"]["data"], "<1000 characters of base64>");
        assert_eq!(kept[0].body["contents"][1]["text"].as_str().unwrap().len(), 1_000);
        assert_eq!(kept[0].upload, [("x-goog-upload-offset".to_owned(), "5".to_owned())]);
        assert!(!serde_json::to_string(&kept).unwrap().contains("secret"));
    }
}
