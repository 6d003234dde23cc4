//! What an answer brings beside its text: thoughts, calls, sources, further candidates, pictures and sound.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::media;

/// Everything of a body but the text of its first candidate. Borrows from the body; nothing is decoded before it is wanted.
#[derive(Debug, Default)]
pub struct Extras<'a> {
    /// Summaries of what the model thought, one after the other.
    pub thoughts: Option<String>,
    /// The `functionCall` of each part that has one, as it came.
    pub function_calls: Vec<&'a RawValue>,
    /// The `groundingMetadata` of the first candidate, as it came.
    pub grounding: Option<&'a RawValue>,
    /// All candidates, the first included, where there is more than one.
    pub candidates: Vec<Candidate>,
    /// Pictures and sound, candidate by candidate.
    pub inline: Vec<Inline<'a>>,
}

/// One of several answers to the same prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Candidate {
    /// Its number, from 0.
    pub index: u64,
    /// Its visible text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
}

/// Content that came as base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inline<'a> {
    /// Its MIME type; empty when not given.
    pub mime: Cow<'a, str>,
    data: Cow<'a, str>,
}

impl Inline<'_> {
    /// The content; `None` when it is no base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        media::decode(&self.data)
    }
}

/// Reads the extras of the body of a 200. A body that is no answer has none.
///
/// ```
/// let body = br#"{"candidates":[{"content":{"parts":[{"text":"Hm.","thought":true},{"functionCall":{"name":"find"}}]}}]}"#;
/// let extras = tidegate_gemini::response::extras(body);
/// assert_eq!(extras.thoughts.as_deref(), Some("Hm."));
/// assert_eq!(extras.function_calls[0].get(), r#"{"name":"find"}"#);
/// ```
pub fn extras(body: &[u8]) -> Extras<'_> {
    let mut extras = Extras::default();
    let Some(list) = json::<Body<'_>>(body).and_then(|body| body.candidates) else { return extras };
    let candidates = list.into_iter().filter_map(|raw| json::<RawCandidate<'_>>(raw.get().as_bytes()));
    let mut told: Vec<Candidate> = Vec::new();
    for (number, candidate) in candidates.enumerate() {
        told.push(extras.add(number, &candidate));
    }
    extras.candidates = if told.len() > 1 { told } else { Vec::new() };
    extras
}

impl<'a> Extras<'a> {
    /// Takes in one candidate; of all but the first only its text, its end and its pictures are kept.
    fn add(&mut self, number: usize, candidate: &RawCandidate<'a>) -> Candidate {
        if number == 0 {
            self.grounding = candidate.grounding_metadata.filter(|raw| raw.get() != "null");
        }
        let mut text = String::new();
        for part in parts(candidate) {
            let is_thought = part.thought.is_some_and(|thought| thought.get() == "true");
            let said = part.text.and_then(|raw| json::<String>(raw.get().as_bytes()));
            match (said, is_thought) {
                (Some(said), true) if number == 0 => self.thoughts.get_or_insert_default().push_str(&said),
                (Some(said), false) => text.push_str(&said),
                _ => {}
            }
            if is_thought {
                continue;
            }
            self.function_calls.extend(part.function_call.filter(|_| number == 0));
            self.inline.extend(part.inline_data.and_then(inline));
        }
        let string = |raw: Option<&RawValue>| raw.and_then(|raw| json::<String>(raw.get().as_bytes()));
        let index = candidate.index.and_then(|raw| json(raw.get().as_bytes())).unwrap_or(number as u64);
        let text = Some(text).filter(|text| !text.trim().is_empty());
        Candidate { index, text, finish_reason: string(candidate.finish_reason) }
    }
}

fn parts<'a>(candidate: &RawCandidate<'a>) -> Vec<RawPart<'a>> {
    let content = candidate.content.and_then(|raw| json::<RawContent<'a>>(raw.get().as_bytes()));
    let parts = content.and_then(|content| json::<Vec<&'a RawValue>>(content.parts?.get().as_bytes())).unwrap_or_default();
    parts.into_iter().filter_map(|raw| json(raw.get().as_bytes())).collect()
}

fn inline(raw: &RawValue) -> Option<Inline<'_>> {
    let RawInline { mime_type, data } = json(raw.get().as_bytes())?;
    Some(Inline { mime: mime_type, data }).filter(|inline| !inline.data.is_empty())
}

fn json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    serde_json::from_slice(text).ok()
}

// One level at a time, so that an odd value in one place leaves the others readable.

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCandidate<'a> {
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
    #[serde(alias = "finish_reason")]
    finish_reason: Option<&'a RawValue>,
    #[serde(alias = "grounding_metadata")]
    grounding_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawContent<'a> {
    #[serde(borrow)]
    parts: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPart<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    thought: Option<&'a RawValue>,
    #[serde(alias = "function_call")]
    function_call: Option<&'a RawValue>,
    #[serde(alias = "inline_data")]
    inline_data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawInline<'a> {
    #[serde(default, borrow, alias = "mime_type")]
    mime_type: Cow<'a, str>,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn one(parts: &str) -> String {
        format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}},"finishReason":"STOP"}}]}}"#)
    }

    #[test]
    fn a_plain_answer_has_no_extras() {
        let body = one(r#"{"text":"wren","thoughtSignature":"Eo4B"}"#);
        let Extras { thoughts, function_calls, grounding, candidates, inline } = extras(body.as_bytes());
        assert!(thoughts.is_none() && function_calls.is_empty() && grounding.is_none());
        assert!(candidates.is_empty() && inline.is_empty());
    }

    #[test]
    fn pictures_are_borrowed_from_the_body_until_their_bytes_are_wanted() {
        let body = one(r#"{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}},{"text":"draft","thought":true},
               {"inlineData":{"mimeType":"image/png","data":"AAAA"},"thought":true},{"inline_data":{"mime_type":"audio/L16","data":"-_8"}}"#);
        let extras = extras(body.as_bytes());
        assert_eq!(extras.inline.iter().map(|inline| inline.mime.as_ref()).collect::<Vec<_>>(), ["image/png", "audio/L16"]);
        assert!(matches!(extras.inline[0].data, Cow::Borrowed(_)));
        assert_eq!(extras.inline[0].bytes().unwrap(), b"\x89PNG\r\n\x1a\n");
        assert_eq!(extras.inline[1].bytes().unwrap(), [0xfb, 0xff]);
        assert_eq!(extras.thoughts.as_deref(), Some("draft"));
    }

    #[test]
    fn several_candidates_are_all_told_with_their_ends() {
        let body = br#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"b"}]},"finishReason":"STOP","index":0,
            "groundingMetadata":{"webSearchQueries":["q"]}},{"content":{"parts":[{"text":"c"}]},"finishReason":"MAX_TOKENS","index":1},
            {"finishReason":"SAFETY","index":2}]}"#;
        let extras = extras(body);
        let told = serde_json::to_string(&extras.candidates).unwrap();
        assert_eq!(
            told,
            r#"[{"index":0,"text":"ab","finish_reason":"STOP"},{"index":1,"text":"c","finish_reason":"MAX_TOKENS"},{"index":2,"finish_reason":"SAFETY"}]"#
        );
        assert_eq!(extras.grounding.unwrap().get(), r#"{"webSearchQueries":["q"]}"#);
    }

    #[test]
    fn odd_values_in_one_place_leave_the_others_readable() {
        let body = r#"{"candidates":[5,{"index":"x","finishReason":7,"content":{"parts":[5,{"text":5},{"inlineData":5},
            {"inlineData":{"mimeType":5,"data":"AAAA"}},{"functionCall":{"name":"f"}}]}}],"usageMetadata":[]}"#;
        assert_eq!(extras(body.as_bytes()).function_calls.len(), 1);
        for body in ["", "[]", "{", r#"{"candidates":{}}"#, r#"{"candidates":[{"content":[]}]}"#] {
            assert!(extras(body.as_bytes()).function_calls.is_empty(), "{body}");
        }
    }
}
