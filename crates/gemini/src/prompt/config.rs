//! Checks of generation settings whose rule is known, before a call is spent on them. What is not known here passes.

use serde_json::{Map, Value};

/// A setting the API would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{field}\" {reason}")]
pub struct ConfigFault {
    /// The setting under the name it was given, with its path.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub reason: String,
}

type Checked = Result<(), ConfigFault>;

/// Fields of another service of the same name.
const VERTEX: [&str; 4] = ["routingConfig", "modelSelectionConfig", "audioTimestamp", "modelArmorConfig"];

/// Checks one `generationConfig`, in either case style.
pub(crate) fn check(config: &Map<String, Value>) -> Checked {
    for (name, value) in config.iter().filter(|(_, value)| !value.is_null()) {
        let field = camel(name);
        if field != *name && config.contains_key(&field) {
            return fault(name, format!("is the same as \"{field}\": keep one of them"));
        }
        one(name, &field, value)?;
    }
    schemas(config)
}

fn one(name: &str, field: &str, value: &Value) -> Checked {
    match field {
        "temperature" => number(name, value, 0.0, 2.0),
        "topP" => number(name, value, 0.0, 1.0),
        "topK" => number(name, value, 0.0, f64::INFINITY),
        "presencePenalty" | "frequencyPenalty" => number(name, value, f64::NEG_INFINITY, f64::INFINITY),
        "candidateCount" => whole(name, value, 1, 8),
        "maxOutputTokens" => whole(name, value, 1, i64::from(i32::MAX)),
        "seed" => whole(name, value, i64::from(i32::MIN), i64::from(i32::MAX)),
        "logprobs" => whole(name, value, 0, 20),
        "responseLogprobs" | "enableEnhancedCivicAnswers" => flag(name, value),
        "stopSequences" => match texts(value) {
            Some(texts) if texts.len() <= 5 && texts.iter().all(|text| !text.is_empty()) => Ok(()),
            _ => fault(name, "must be a list of at most 5 texts, none of them empty"),
        },
        "responseModalities" => match texts(value) {
            Some(texts) if texts.iter().all(|text| is_one_of(text, &["TEXT", "IMAGE", "AUDIO"])) => Ok(()),
            _ => fault(name, "must be a list of TEXT, IMAGE, AUDIO"),
        },
        "mediaResolution" => {
            let levels = ["MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH"];
            one_of(name, value, &levels, "MEDIA_RESOLUTION_UNSPECIFIED")
        }
        "responseMimeType" if !value.is_string() => fault(name, "must be a text such as \"application/json\""),
        "thinkingConfig" => thinking(name, value),
        _ if VERTEX.contains(&field) => fault(name, "is known to Vertex AI only: remove it"),
        _ => Ok(()),
    }
}

fn thinking(name: &str, value: &Value) -> Checked {
    let Some(members) = value.as_object() else { return fault(name, "must be an object") };
    let given = |camel: &str, snake: &str| {
        let both = [camel, snake].into_iter().find_map(|name| Some((name.to_owned(), members.get(name)?)));
        both.filter(|(_, value)| !value.is_null())
    };
    let (level, budget) = (given("thinkingLevel", "thinking_level"), given("thinkingBudget", "thinking_budget"));
    if let (Some((level, _)), Some((budget, _))) = (&level, &budget) {
        return fault(name, format!("has both {level} and {budget}: keep the level for Gemini 3, the budget for 2.5"));
    }
    if let Some((budget, value)) = budget {
        whole(&format!("{name}.{budget}"), value, -1, i64::from(i32::MAX))?;
    }
    if let Some((level, value)) = level.filter(|(_, value)| !value.is_string() && !value.is_u64()) {
        return fault(&format!("{name}.{level}"), format!("must be a text such as \"LOW\", not {value}"));
    }
    match given("includeThoughts", "include_thoughts") {
        Some((member, value)) => flag(&format!("{name}.{member}"), value),
        None => Ok(()),
    }
}

/// The two kinds of schema exclude each other, and both want an answer in JSON.
fn schemas(config: &Map<String, Value>) -> Checked {
    let given =
        |names: &[&'static str]| names.iter().find(|name| config.get(**name).is_some_and(|value| !value.is_null())).copied();
    let open = given(&["responseSchema", "response_schema"]);
    let json = given(&["responseJsonSchema", "response_json_schema", "_responseJsonSchema"]);
    if let (Some(open), Some(json)) = (open, json) {
        return fault(json, format!("and \"{open}\" exclude each other: keep one of them"));
    }
    let mime = given(&["responseMimeType", "response_mime_type"]).and_then(|name| config[name].as_str());
    match open.or(json) {
        Some(schema) if !matches!(mime, Some("application/json" | "text/x.enum")) => {
            fault(schema, "needs \"responseMimeType\": \"application/json\" beside it")
        }
        _ => Ok(()),
    }
}

/// Checks `safetySettings`: each names a category and a threshold.
pub(crate) fn check_safety(settings: &[Value]) -> Checked {
    let thresholds = ["BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"];
    for (at, setting) in settings.iter().enumerate() {
        let name = |member: &str| format!("safety_settings[{at}]{member}");
        let Some(members) = setting.as_object() else { return fault(&name(""), "must be an object with category and threshold") };
        let is_category = |value: &Value| value.is_u64() || value.as_str().is_some_and(|text| text.starts_with("HARM_CATEGORY_"));
        if !members.get("category").is_some_and(is_category) {
            return fault(&name(".category"), "must be a name such as \"HARM_CATEGORY_HARASSMENT\"");
        }
        let threshold = members.get("threshold").unwrap_or(&Value::Null);
        one_of(&name(".threshold"), threshold, &thresholds, "HARM_BLOCK_THRESHOLD_UNSPECIFIED")?;
        if members.contains_key("method") {
            return fault(&name(".method"), "is known to Vertex AI only: remove it");
        }
    }
    Ok(())
}

/// Checks the mode of `toolConfig`'s function calling.
pub(crate) fn check_tools(config: &Map<String, Value>) -> Checked {
    let calling = config.get("functionCallingConfig").or_else(|| config.get("function_calling_config"));
    match calling.and_then(|calling| calling.get("mode")) {
        Some(mode) => {
            one_of("tool_config.function_calling_config.mode", mode, &["AUTO", "ANY", "NONE", "VALIDATED"], "MODE_UNSPECIFIED")
        }
        None => Ok(()),
    }
}

/// Checks `serviceTier`, which the API spells in lower case.
pub(crate) fn is_tier(tier: &str) -> bool {
    is_one_of(tier, &["standard", "flex", "priority"])
}

fn fault<T>(field: &str, reason: impl Into<String>) -> Result<T, ConfigFault> {
    Err(ConfigFault { field: field.to_owned(), reason: reason.into() })
}

fn number(name: &str, value: &Value, least: f64, most: f64) -> Checked {
    // Protocol buffers read a number in quotes as well.
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite());
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(()),
        _ if most.is_finite() => fault(name, format!("must be a number from {least} to {most}, not {}", short(value))),
        _ if least.is_finite() => fault(name, format!("must be a number of at least {least}, not {}", short(value))),
        _ => fault(name, format!("must be a number, not {}", short(value))),
    }
}

fn whole(name: &str, value: &Value, least: i64, most: i64) -> Checked {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    match number {
        Some(number) if number.fract() == 0.0 && (least as f64..=most as f64).contains(&number) => Ok(()),
        _ => fault(name, format!("must be a whole number from {least} to {most}, not {}", short(value))),
    }
}

fn flag(name: &str, value: &Value) -> Checked {
    if value.is_boolean() { Ok(()) } else { fault(name, format!("must be true or false, not {}", short(value))) }
}

/// An enumeration by name; its number passes as well.
fn one_of(name: &str, value: &Value, names: &[&str], none: &str) -> Checked {
    match value.as_str() {
        Some(text) if names.contains(&text) || text == none => Ok(()),
        None if value.is_u64() => Ok(()),
        _ => fault(name, format!("must be one of {}, not {}", names.join(", "), short(value))),
    }
}

fn is_one_of(text: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(text))
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

/// A name as the API writes it.
fn camel(name: &str) -> String {
    crate::request::camel(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn checked(config: &str) -> Checked {
        check(&serde_json::from_str(config).unwrap())
    }

    #[test]
    fn every_documented_field_passes_in_both_styles() {
        for config in [
            r#"{"temperature":0,"topP":1.0,"topK":40,"candidateCount":2,"maxOutputTokens":2048,"stopSequences":["a","b"],
                "responseMimeType":"application/json","responseSchema":{"type":"OBJECT"},"presencePenalty":-0.5,
                "frequencyPenalty":0.5,"seed":-7,"responseLogprobs":true,"logprobs":20,"enableEnhancedCivicAnswers":false,
                "responseModalities":["TEXT","IMAGE"],"speechConfig":{},"imageConfig":{"aspectRatio":"1:1"},
                "mediaResolution":"MEDIA_RESOLUTION_LOW","thinkingConfig":{"thinkingLevel":"LOW","includeThoughts":true},
                "audioTranscriptionConfig":{},"responseFormat":{},"translationConfig":{},"notYetKnown":[1]}"#,
            r#"{"temperature":2,"top_p":0.0,"top_k":"40","candidate_count":8,"max_output_tokens":"9","stop_sequences":[],
                "response_mime_type":"text/x.enum","response_json_schema":{"type":"string"},"presence_penalty":1,
                "frequency_penalty":1,"seed":2147483647,"response_logprobs":false,"logprobs":0,"response_modalities":["Audio"],
                "media_resolution":2,"thinking_config":{"thinking_budget":-1},"temperature_":null}"#,
            r#"{"temperature":null,"thinkingConfig":{"thinkingLevel":null,"thinkingBudget":0}}"#,
        ] {
            checked(config).unwrap();
        }
    }

    #[test]
    fn what_is_out_of_its_range_is_refused_under_the_name_it_was_given() {
        for (config, field) in [
            (r#"{"temperature":2.1}"#, "temperature"),
            (r#"{"temperature":"hot"}"#, "temperature"),
            (r#"{"top_p":1.5}"#, "top_p"),
            (r#"{"topK":-1}"#, "topK"),
            (r#"{"candidate_count":0}"#, "candidate_count"),
            (r#"{"candidateCount":9}"#, "candidateCount"),
            (r#"{"maxOutputTokens":0}"#, "maxOutputTokens"),
            (r#"{"maxOutputTokens":1.5}"#, "maxOutputTokens"),
            (r#"{"seed":2147483648}"#, "seed"),
            (r#"{"logprobs":21}"#, "logprobs"),
            (r#"{"responseLogprobs":"yes"}"#, "responseLogprobs"),
            (r#"{"stopSequences":["1","2","3","4","5","6"]}"#, "stopSequences"),
            (r#"{"stopSequences":"END"}"#, "stopSequences"),
            (r#"{"stop_sequences":[""]}"#, "stop_sequences"),
            (r#"{"responseModalities":["SMELL"]}"#, "responseModalities"),
            (r#"{"mediaResolution":"LOW"}"#, "mediaResolution"),
            (r#"{"responseMimeType":5}"#, "responseMimeType"),
            (r#"{"routing_config":{}}"#, "routing_config"),
            (r#"{"thinking_config":{"thinkingLevel":"LOW","thinking_budget":5}}"#, "thinking_config"),
            (r#"{"thinkingConfig":{"thinkingBudget":-2}}"#, "thinkingConfig.thinkingBudget"),
            (r#"{"thinkingConfig":{"include_thoughts":1}}"#, "thinkingConfig.include_thoughts"),
            (r#"{"thinkingConfig":{"thinkingLevel":["LOW"]}}"#, "thinkingConfig.thinkingLevel"),
            (r#"{"thinkingConfig":5}"#, "thinkingConfig"),
            (r#"{"top_p":0.5,"topP":0.5}"#, "top_p"),
            (r#"{"responseSchema":{}}"#, "responseSchema"),
            (r#"{"response_json_schema":{},"responseMimeType":"text/plain"}"#, "response_json_schema"),
            (r#"{"responseSchema":{},"responseJsonSchema":{},"responseMimeType":"application/json"}"#, "responseJsonSchema"),
        ] {
            let fault = checked(config).expect_err(config);
            assert_eq!(fault.field, field, "{config}: {fault}");
        }
    }

    #[test]
    fn safety_settings_and_modes_are_known_by_name() {
        let safety = |text: &str| check_safety(&serde_json::from_str::<Vec<Value>>(text).unwrap());
        safety(r#"[{"category":"HARM_CATEGORY_JAILBREAK","threshold":"OFF"},{"category":7,"threshold":2}]"#).unwrap();
        for (text, field) in [
            (r#"["OFF"]"#, "safety_settings[0]"),
            (r#"[{"threshold":"OFF"}]"#, "safety_settings[0].category"),
            (r#"[{"category":"HARASSMENT","threshold":"OFF"}]"#, "safety_settings[0].category"),
            (r#"[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"NONE"}]"#, "safety_settings[0].threshold"),
            (r#"[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF","method":"x"}]"#, "safety_settings[0].method"),
        ] {
            assert_eq!(safety(text).expect_err(text).field, field);
        }
        let tools = |text: &str| check_tools(&serde_json::from_str(text).unwrap());
        tools(r#"{"function_calling_config":{"mode":"ANY","allowedFunctionNames":["f"]}}"#).unwrap();
        assert!(tools(r#"{"functionCallingConfig":{"mode":"SOME"}}"#).is_err());
    }
}
