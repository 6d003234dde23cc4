//! Reads what the API counted: the total of `countTokens`, and the input of an answer by kind of content.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Estimate, Modality};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    usage_metadata: Details,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    prompt_tokens_details: Vec<Detail>,
    tool_use_prompt_tokens_details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    modality: String,
    token_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    total_tokens: u64,
}

/// Input tokens of an answer by kind of content; `None` where the body does not tell them, or tells a kind nobody knows.
///
/// ```
/// let body = br#"{"usageMetadata":{"promptTokensDetails":[{"modality":"TEXT","tokenCount":4},{"modality":"IMAGE","tokenCount":258}]}}"#;
/// let counted = tidegate_gemini::tokens::input_by_kind(body).unwrap_or_default();
/// assert_eq!((counted.text, counted.image), (4, 258));
/// ```
pub fn input_by_kind(body: &[u8]) -> Option<Estimate> {
    let Details { prompt_tokens_details, tool_use_prompt_tokens_details } =
        serde_json::from_slice::<Answered>(body).ok()?.usage_metadata;
    let details = prompt_tokens_details.iter().chain(&tool_use_prompt_tokens_details);
    let sum: Option<Estimate> =
        details.map(|detail| Some(Estimate::of(Modality::named(&detail.modality)?, detail.token_count))).sum();
    sum.filter(|sum| sum.total() > 0)
}

/// The total in an answer of `countTokens`; `None` when it is none.
///
/// ```
/// assert_eq!(tidegate_gemini::tokens::total_counted(br#"{"totalTokens":11}"#), Some(11));
/// ```
pub fn total_counted(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Count>(body).ok().map(|count| count.total_tokens)
}

/// The body of `countTokens` for a body of `generateContent`: the whole request, so that instructions, tools and schemas
/// count too. `None` when `body` is no JSON object.
///
/// ```
/// let body = tidegate_gemini::tokens::count_request("gemini-3.8-flash", br#"{"contents":[]}"#);
/// let wanted = br#"{"generateContentRequest":{"contents":[],"model":"models/gemini-3.8-flash"}}"#;
/// assert_eq!(body.as_deref(), Some(&wanted[..]));
/// ```
pub fn count_request(model: &str, body: &[u8]) -> Option<Vec<u8>> {
    let kind = if model.contains('/') { "" } else { "models/" };
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
    members.insert("model".to_string(), to_raw_value(&format!("{kind}{model}")).ok()?);
    serde_json::to_vec(&BTreeMap::from([("generateContentRequest", members)])).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_request_to_be_counted_is_the_whole_one_with_the_model_of_the_call() {
        let body = br#"{"model":"models/other","contents":[1.50],"tools":[]}"#;
        let count = String::from_utf8(count_request("tunedModels/birds", body).unwrap()).unwrap();
        assert_eq!(count, r#"{"generateContentRequest":{"contents":[1.50],"model":"tunedModels/birds","tools":[]}}"#);
        assert_eq!(count_request("m", b"[]"), None);
    }

    #[test]
    fn prompt_and_tool_results_are_added_up_by_kind() {
        let body = br#"{"candidates":[],"usageMetadata":{"promptTokenCount":9,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":5},{"modality":"AUDIO","tokenCount":4}],
            "toolUsePromptTokensDetails":[{"modality":"TEXT","tokenCount":3}]}}"#;
        assert_eq!(input_by_kind(body), Some(Estimate { text: 8, audio: 4, ..Estimate::default() }));
    }

    #[test]
    fn what_is_not_told_whole_is_not_told() {
        for body in [
            r#"{"usageMetadata":{"promptTokenCount":9}}"#,
            r#"{"usageMetadata":{"promptTokensDetails":[{"modality":"SCENT","tokenCount":5}]}}"#,
            r#"{"usageMetadata":{"promptTokensDetails":"many"}}"#,
            "{}",
            "no JSON",
        ] {
            assert_eq!(input_by_kind(body.as_bytes()), None, "{body}");
        }
        assert_eq!(total_counted(b"{\"error\":{\"code\":503}}"), None);
    }
}
