//! The models a server names: lists in pages, single cards, and what happens to requests for others.

use serde_json::{Value, json};

use crate::bodies::{self, ErrorBody};
use crate::scenario::Scenario;

type Answer<T> = Result<T, (&'static str, ErrorBody)>;

/// Whether this model answers to this method.
pub(crate) fn find(scenario: &Scenario, model: &str, version: &str, method: &str) -> Answer<()> {
    if scenario.closed_models.iter().any(|closed| closed == model) {
        return Err(("not_found", bodies::closed_model(model)));
    }
    let listing = matches!(method, "getModel" | "countTokens");
    if !scenario.serves(model) || !(listing || is_embedding(model) == method.contains("mbedContent")) {
        return Err(("not_found", bodies::unknown_model(model, version, method)));
    }
    Ok(())
}

/// Whether a model makes vectors instead of text.
pub(crate) fn is_embedding(model: &str) -> bool {
    model.starts_with("gemini-embedding") || model.starts_with("text-embedding")
}

/// One page of the list; `from` is `None` when the page token made no sense.
pub(crate) fn page(scenario: &Scenario, size: usize, from: Option<usize>) -> Answer<Value> {
    let invalid = || ("invalid_argument", ErrorBody::new(400, "INVALID_ARGUMENT", bodies::GENERIC));
    let from = from.ok_or_else(invalid)?;
    let models = &scenario.models;
    let cards: Vec<_> = models.iter().skip(from).take(size).map(|id| card(scenario, id)).collect();
    let next = from + cards.len();
    let mut page = json!({});
    if !cards.is_empty() {
        page["models"] = cards.into();
    }
    if next < models.len() {
        page["nextPageToken"] = format!("page-{next}").into();
    }
    Ok(page)
}

/// The card of one model.
pub(crate) fn card_of(scenario: &Scenario, model: &str, version: &str) -> Answer<Value> {
    find(scenario, model, version, "getModel").map(|()| card(scenario, model))
}

fn card(scenario: &Scenario, model: &str) -> Value {
    let name = bodies::display_name(model);
    if is_embedding(model) {
        return json!({
            "name": format!("models/{model}"),
            "version": "001",
            "displayName": name,
            "description": format!("Simulated {name}"),
            "inputTokenLimit": 2_048,
            "outputTokenLimit": 1,
            "supportedGenerationMethods": ["embedContent", "countTokens", "asyncBatchEmbedContent"],
        });
    }
    json!({
        "name": format!("models/{model}"),
        "version": "001",
        "displayName": name,
        "description": format!("Simulated {name}"),
        "inputTokenLimit": scenario.input_token_limit,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens", "createCachedContent"],
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
        "thinking": true,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn following_the_page_tokens_finds_every_model_once() {
        let scenario = Scenario::open();
        let (mut from, mut names) = (Some(0), Vec::new());
        while let Some(start) = from {
            let page = page(&scenario, 4, Some(start)).unwrap();
            names.extend(page["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()));
            let token = page.get("nextPageToken").and_then(Value::as_str);
            from = token.map(|token| token.strip_prefix("page-").unwrap().parse().unwrap());
        }
        let expected: Vec<_> = scenario.models.iter().map(|id| format!("models/{id}")).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn closed_and_unknown_models_are_not_found_in_different_words() {
        let scenario = Scenario { closed_models: vec!["gemini-2.5-pro".to_owned()], ..Scenario::open() };
        let message = |model| find(&scenario, model, "v1", "generateContent").unwrap_err().1.message;
        assert!(message("gemini-2.5-pro").ends_with("for the latest features and improvements."));
        assert!(message("gemini-0").starts_with("models/gemini-0 is not found for API version v1"));
    }

    #[test]
    fn a_page_behind_the_end_is_empty_and_a_bad_token_an_error() {
        assert_eq!(page(&Scenario::open(), 10, Some(1_000)).unwrap(), json!({}));
        assert_eq!(page(&Scenario::open(), 10, None).unwrap_err().1.code, 400);
    }
}
