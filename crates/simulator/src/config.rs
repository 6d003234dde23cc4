//! The generationConfig and tools of a request: what they ask for, and the combinations that the API refuses.

use serde_json::Value;

use crate::bodies::{self, ErrorBody};
use crate::identity::field;

/// What shapes an answer beside the prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Config {
    pub(crate) max_output: Option<u64>,
    /// Whether JSON is asked for, and the schema it should follow.
    pub(crate) json: bool,
    /// One of a list of words, without JSON around it.
    pub(crate) choice: bool,
    pub(crate) schema: Option<Value>,
    pub(crate) candidates: u64,
    /// Whether summaries of the thoughts are wanted.
    pub(crate) thoughts: bool,
    /// `IMAGE` and `AUDIO` among the wanted modalities.
    pub(crate) image: bool,
    pub(crate) audio: bool,
    pub(crate) resolution: Option<String>,
    /// The functions one of which must be called: name and schema of the arguments.
    pub(crate) must_call: Vec<(String, Value)>,
    /// The functions that may be called, which a prompt does by naming them.
    pub(crate) may_call: Vec<(String, Value)>,
    /// Where an answer ends at the latest.
    pub(crate) stops: Vec<String>,
    pub(crate) searches: bool,
}

impl Config {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// The 400 of a value out of range or of two settings that exclude each other.
    pub(crate) fn read(body: &Value, model: &str) -> Result<Self, ErrorBody> {
        let config = field(body, "generationConfig").unwrap_or(&Value::Null);
        let text = |name| field(config, name).and_then(Value::as_str);
        let schemas: Vec<_> = SCHEMAS.iter().filter_map(|name| field(config, name)).collect();
        let mime = text("responseMimeType").unwrap_or("text/plain");
        check_ranges(config)?;
        check_schemas(&schemas, mime)?;
        check_thinking(field(config, "thinkingConfig").unwrap_or(&Value::Null), model)?;
        let modalities: Vec<_> = list(field(config, "responseModalities")).iter().filter_map(Value::as_str).collect();
        let thinking = field(config, "thinkingConfig").and_then(|thinking| field(thinking, "includeThoughts"));
        Ok(Self {
            max_output: field(config, "maxOutputTokens").and_then(Value::as_u64),
            json: mime == "application/json",
            choice: mime == "text/x.enum",
            schema: schemas.first().map(|schema| (*schema).clone()),
            candidates: field(config, "candidateCount").and_then(Value::as_u64).unwrap_or(1),
            thoughts: thinking == Some(&Value::Bool(true)),
            image: modalities.contains(&"IMAGE"),
            audio: modalities.contains(&"AUDIO"),
            resolution: text("mediaResolution").map(str::to_owned),
            must_call: functions(body, &["ANY"]),
            may_call: functions(body, &["AUTO", "VALIDATED", "MODE_UNSPECIFIED"]),
            stops: list(field(config, "stopSequences")).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            searches: list(field(body, "tools")).iter().any(|tool| field(tool, "googleSearch").is_some()),
        })
    }
}

const SCHEMAS: [&str; 3] = ["responseSchema", "responseJsonSchema", "_responseJsonSchema"];

pub(crate) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn check_ranges(config: &Value) -> Result<(), ErrorBody> {
    const RANGES: [(&str, &str, f64, f64); 8] = [
        ("temperature", "temperature", 0.0, 2.0),
        ("topP", "top_p", 0.0, 1.0),
        ("topK", "top_k", 1.0, 1e9),
        ("candidateCount", "candidate_count", 1.0, 8.0),
        ("maxOutputTokens", "max_output_tokens", 1.0, 65_536.0),
        ("presencePenalty", "presence_penalty", -2.0, 2.0),
        ("frequencyPenalty", "frequency_penalty", -2.0, 2.0),
        ("logprobs", "logprobs", 0.0, 20.0),
    ];
    for (name, place, low, high) in RANGES {
        let Some(value) = field(config, name) else { continue };
        if !value.as_f64().is_some_and(|value| (low..=high).contains(&value)) {
            let message =
                format!("* GenerateContentRequest.generation_config.{place}: {place} must be in the range [{low}, {high}].\n");
            return Err(bodies::invalid(message));
        }
    }
    if list(field(config, "stopSequences")).len() > 5 {
        let message = "* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences are allowed.\n";
        return Err(bodies::invalid(message));
    }
    Ok(())
}

fn check_schemas(schemas: &[&Value], mime: &str) -> Result<(), ErrorBody> {
    let place = "* GenerateContentRequest.generation_config";
    if !matches!(mime, "text/plain" | "application/json" | "text/x.enum") {
        let message = format!(
            "{place}.response_mime_type: allowed mimetypes are `text/plain`, `application/json`, `application/xml`, `application/yaml` and `text/x.enum`.\n"
        );
        return Err(bodies::invalid(message));
    }
    if schemas.len() > 1 {
        let message = format!("{place}: only one of response_schema and response_json_schema can be set.\n");
        return Err(bodies::invalid(message));
    }
    if !schemas.is_empty() && mime == "text/plain" {
        let message = format!(
            "{place}.response_schema: only allowed when response_mime_type is `application/json` or `text/x.enum`, but got `{mime}`.\n"
        );
        return Err(bodies::invalid(message));
    }
    Ok(())
}

fn check_thinking(thinking: &Value, model: &str) -> Result<(), ErrorBody> {
    let level = field(thinking, "thinkingLevel").and_then(Value::as_str).map(str::to_ascii_lowercase);
    let budget = field(thinking, "thinkingBudget").and_then(Value::as_i64);
    if level.is_some() && budget.is_some() {
        return Err(bodies::invalid("You can only set only one of thinking budget and thinking level."));
    }
    if let Some(level) = level.filter(|level| !levels(model).contains(&level.as_str())) {
        return Err(bodies::invalid(if levels(model).is_empty() {
            "Thinking level is not supported for this model.".to_owned()
        } else {
            format!("'{level}' is not a supported thinking level for this model")
        }));
    }
    if let (Some(budget), Some((low, high))) = (budget, budgets(model)) {
        let sound = budget == -1 || (low..=high).contains(&budget) || (budget == 0 && low != 128);
        if !sound {
            let message = format!("The thinking budget {budget} is invalid. Please choose a value between {low} and {high}.");
            return Err(bodies::invalid(message));
        }
    }
    Ok(())
}

/// The thinking levels of a model; none for the older generation.
fn levels(model: &str) -> &'static [&'static str] {
    if ["gemini-1", "gemini-2"].iter().any(|old| model.starts_with(old)) {
        return &[];
    }
    let without_minimal = ["gemini-3.8-flash", "gemini-3.7-flash", "gemini-3.1-pro"];
    if without_minimal.iter().any(|known| model.starts_with(known)) {
        return &["low", "medium", "high"];
    }
    &["minimal", "low", "medium", "high"]
}

fn budgets(model: &str) -> Option<(i64, i64)> {
    match model {
        _ if model.starts_with("gemini-2.5-pro") => Some((128, 32_768)),
        _ if model.starts_with("gemini-2.5-flash-lite") => Some((512, 24_576)),
        _ if model.starts_with("gemini-2.5-flash") => Some((0, 24_576)),
        _ => None,
    }
}

/// The functions that are declared, when the mode of calling is one of these.
fn functions(body: &Value, modes: &[&str]) -> Vec<(String, Value)> {
    let calling = field(body, "toolConfig").and_then(|config| field(config, "functionCallingConfig")).unwrap_or(&Value::Null);
    if !modes.contains(&field(calling, "mode").and_then(Value::as_str).unwrap_or("AUTO")) {
        return Vec::new();
    }
    let allowed = list(field(calling, "allowedFunctionNames"));
    let all = list(field(body, "tools")).iter().flat_map(|tool| list(field(tool, "functionDeclarations")));
    let named = all.filter_map(|function| {
        let name = field(function, "name")?;
        let schema = field(function, "parameters").or_else(|| field(function, "parametersJsonSchema"));
        let permitted = allowed.is_empty() || allowed.contains(name);
        permitted.then(|| Some((name.as_str()?.to_owned(), schema.cloned().unwrap_or_default())))?
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn error(config: &Value, model: &str) -> String {
        Config::read(&json!({ "generationConfig": config }), model).unwrap_err().message
    }

    #[test]
    fn settings_that_exclude_each_other_are_refused() {
        let new = "gemini-3.8-flash";
        let both = json!({"responseMimeType": "application/json", "responseSchema": {}, "response_json_schema": {}});
        assert!(error(&both, new).contains("only one of response_schema and response_json_schema"));
        assert!(error(&json!({"responseSchema": {}}), new).contains("response_mime_type"));
        assert!(error(&json!({"responseMimeType": "text/xml"}), new).contains("allowed mimetypes"));
        let thinking = json!({"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 5}});
        assert!(error(&thinking, new).contains("only one of thinking budget and thinking level"));
    }

    #[test]
    fn each_model_has_its_levels_and_budgets_of_thought() {
        let level = |level: &str| json!({"thinking_config": {"thinking_level": level}});
        let budget = |budget: i64| json!({"thinkingConfig": {"thinkingBudget": budget}});
        let minimal = "'minimal' is not a supported thinking level for this model";
        assert_eq!(error(&level("MINIMAL"), "gemini-3.8-flash"), minimal);
        assert!(Config::read(&json!({"generationConfig": level("minimal")}), "gemini-3.5-flash").is_ok());
        assert!(error(&level("low"), "gemini-2.5-flash").contains("not supported"));
        assert!(error(&budget(0), "gemini-2.5-pro").contains("between 128 and 32768"));
        assert!(Config::read(&json!({"generationConfig": budget(0)}), "gemini-2.5-flash").is_ok());
    }

    #[test]
    fn numbers_outside_their_range_are_named() {
        for (name, value) in [("temperature", 2.5), ("topP", -0.1), ("candidateCount", 0.0), ("maxOutputTokens", 0.0)] {
            let message = error(&json!({ name: value }), "gemini-3.8-flash");
            assert!(message.contains("must be in the range"), "{message}");
        }
        assert!(error(&json!({"stopSequences": ["a", "b", "c", "d", "e", "f"]}), "m").contains("at most 5"));
    }

    #[test]
    fn only_the_allowed_functions_are_called_and_only_when_one_must_be() {
        let body = |mode: &str| {
            json!({
                "tools": [{"functionDeclarations": [{"name": "a"}, {"name": "b", "parameters": {"type": "OBJECT"}}]}],
                "toolConfig": {"functionCallingConfig": {"mode": mode, "allowedFunctionNames": ["b"]}},
            })
        };
        let calls = Config::read(&body("ANY"), "m").unwrap().must_call;
        assert_eq!(calls, [("b".to_owned(), json!({"type": "OBJECT"}))]);
        let auto = Config::read(&body("AUTO"), "m").unwrap();
        assert_eq!((auto.must_call, auto.may_call), (Vec::new(), calls));
        assert_eq!(Config::read(&body("NONE"), "m").unwrap().may_call, []);
    }
}
