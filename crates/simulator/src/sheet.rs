//! A prompt that holds several numbered ones and wants a list of answers: what each of them would be, asked alone.

use serde_json::{Value, json};

use crate::identity::field;

/// One of several numbered prompts.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// Its number, as it stands there.
    pub(crate) index: Value,
    /// The request that would ask it alone.
    pub(crate) alone: Value,
}

/// The numbered prompts in the last part of a request for JSON; empty for any other request.
///
/// That part is a JSON object: `prompts` is a list of objects with `index` and `text`, `before` and `after` are words that all
/// of them share.
pub(crate) fn entries(body: &Value) -> Vec<Entry> {
    read(body).unwrap_or_default()
}

fn read(body: &Value) -> Option<Vec<Entry>> {
    let config = field(body, "generationConfig")?;
    field(config, "responseMimeType").filter(|mime| *mime == "application/json")?;
    let parts = field(field(body, "contents")?.as_array()?.last()?, "parts")?.as_array()?;
    let sheet: Value = serde_json::from_str(parts.last()?.get("text")?.as_str()?).ok()?;
    let word = |name: &str| sheet.get(name).and_then(Value::as_str).unwrap_or_default();
    let entry = |one: &Value| {
        let text = format!("{}{}{}", word("before"), one.get("text")?.as_str()?, word("after"));
        Some(Entry { index: one.get("index")?.clone(), alone: alone(body, config, &text) })
    };
    sheet.get("prompts")?.as_array()?.iter().map(entry).collect()
}

/// The same request for one text: its answer follows what the schema says of each answer, or is free of any.
fn alone(body: &Value, config: &Value, text: &str) -> Value {
    let mut body = body.clone();
    body["contents"] = json!([{"role": "user", "parts": [{"text": text}]}]);
    let mut settings = config.as_object().cloned().unwrap_or_default();
    settings.retain(|name, _| !crate::identity::camel(name).to_ascii_lowercase().contains("response"));
    let schema = ["responseSchema", "responseJsonSchema"].into_iter().find_map(|name| Some((name, field(config, name)?)));
    match schema.map(|(name, all)| (name, all.pointer("/items/properties/answer").cloned(), all.get("$defs"))) {
        Some((_, Some(answer), _)) if answer == json!({"type": "string"}) => {}
        Some((name, answer, definitions)) => {
            let mut answer = answer.unwrap_or_default();
            if let (Some(answer), Some(definitions)) = (answer.as_object_mut(), definitions) {
                answer.insert("$defs".to_owned(), definitions.clone());
            }
            settings.insert("responseMimeType".to_owned(), json!("application/json"));
            settings.insert(name.to_owned(), answer);
        }
        None => drop(settings.insert("responseMimeType".to_owned(), json!("application/json"))),
    }
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| crate::identity::camel(name) != "generationConfig");
        if !settings.is_empty() {
            members.insert("generationConfig".to_owned(), Value::Object(settings));
        }
    }
    body
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn body(sheet: &Value, config: &Value) -> Value {
        json!({
            "contents": [{"role": "user", "parts": [{"text": "Answer all."}, {"text": sheet.to_string()}]}],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": config,
        })
    }

    #[test]
    fn each_numbered_prompt_becomes_the_request_that_asks_it_alone() {
        let each = json!({"type": "object", "properties": {"index": {"type": "integer"}, "answer": {"type": "string"}}});
        let schema = json!({"type": "array", "items": each});
        let config = json!({"temperature": 0.5, "responseMimeType": "application/json", "responseJsonSchema": schema});
        let sheet = json!({"before": "Name ", "after": ".", "prompts": [{"index": 1, "text": "a wader"}, {"index": 2, "text": "a gull"}]});
        let found = entries(&body(&sheet, &config));
        assert_eq!(found.len(), 2);
        assert_eq!((&found[1].index, &found[1].alone["contents"][0]["parts"][0]["text"]), (&json!(2), &json!("Name a gull.")));
        assert_eq!(found[0].alone["generationConfig"], json!({"temperature": 0.5}));
        assert_eq!(found[0].alone["systemInstruction"]["parts"][0]["text"], "Be brief.");
    }

    #[test]
    fn an_answer_in_json_is_asked_for_by_its_own_schema() {
        let each = json!({"type": "object", "properties": {"index": {"type": "integer"}, "answer": {"$ref": "#/$defs/n"}}});
        let schema = json!({"type": "array", "items": each, "$defs": {"n": {"type": "integer"}}});
        let config = json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
        let found = entries(&body(&json!({"prompts": [{"index": 1, "text": "how many?"}]}), &config));
        let alone = &found[0].alone["generationConfig"];
        assert_eq!(alone["responseJsonSchema"], json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}));
        assert_eq!(alone["responseMimeType"], "application/json");
    }

    #[test]
    fn any_other_request_holds_none() {
        let json = json!({"responseMimeType": "application/json"});
        for sheet in [json!({"prompts": [{"text": "no number"}]}), json!(["x"]), json!("x")] {
            assert_eq!(entries(&body(&sheet, &json)), []);
        }
        assert_eq!(entries(&body(&json!({"prompts": [{"index": 1, "text": "x"}]}), &json!({}))), []);
    }
}
