//! What must hold for any input: nothing panics, nothing is lost, and one question has one canonical text.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_gemini::stream::StreamReader;
use tidegate_gemini::{Content, Defaults, Prompt, error, request, response, tokens};

/// Bytes that are often nearly right: JSON with a hole, real words of the protocol, rubbish.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\n",
        "data: ",
        "null",
        "5",
        "1e400",
        "\"error\"",
        "\"message\"",
        "\"details\"",
        "\"@type\"",
        "\"candidates\"",
        "\"parts\"",
        "\"text\"",
        "\"prompt\"",
        "\"contents\"",
        "\"request\"",
        "\"body\"",
        "\"custom_id\"",
        "\"messages\"",
        "{\"error\":",
        "* Quota exceeded for metric: ",
        ", limit: ",
        "Please retry in ",
        "9h",
        "<html>",
        "AIza",
        "api_key:",
        "é",
        "\u{feff}",
    ]);
    let nearly = prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes());
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), nearly, json_value().prop_map(|value| value.to_string().into_bytes())]
}

/// Any JSON, with names of the protocol among the keys.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~é]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "error",
        "message",
        "details",
        "@type",
        "violations",
        "quotaValue",
        "retryDelay",
        "candidates",
        "content",
        "parts",
        "text",
        "thought",
        "finishReason",
        "usageMetadata",
        "promptTokenCount",
        "prompt",
        "contents",
        "request",
        "body",
        "custom_id",
        "url",
        "messages",
        "role",
        "id",
        "model",
        "priority",
        "generation_config",
        "system_instruction",
        "response_format",
        "stop",
    ]);
    prop_oneof![3 => known.prop_map(str::to_owned), 1 => "[a-z_A-Z]{1,8}"]
}

fn defaults() -> Defaults {
    Defaults {
        model: Some("gemini-3.8-flash".to_owned()),
        system_instruction: Some("Be brief.".to_owned()),
        temperature: Some(0.5),
        max_output_tokens: Some(9),
        ..Defaults::default()
    }
}

/// One request whose API names are written by `name`; texts, arguments and property names stay as they are.
fn body(name: impl Fn(&str) -> String, data: &Value, property: &str, text: &str, reversed: bool) -> Value {
    let mut schema = serde_json::Map::new();
    schema.insert(name("max_items"), json!(3));
    schema.insert("properties".to_owned(), json!({ property: { name("min_length"): 1 } }));
    let config = json!({ name("max_output_tokens"): 5, name("top_p"): 0.5, name("response_schema"): schema });
    let parts = json!([{"text": text}, { name("function_call"): {"name": "f", "args": data} }]);
    let mut members = vec![
        ("contents".to_owned(), json!([{"role": "user", "parts": parts}])),
        (name("generation_config"), config),
        (name("system_instruction"), json!({"parts": [{"text": text}]})),
        (name("tool_config"), json!({ name("function_calling_config"): { name("allowed_function_names"): ["f"] } })),
    ];
    if reversed {
        members.reverse();
    }
    Value::Object(members.into_iter().collect())
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |so_far, word| so_far + &word[..1].to_uppercase() + &word[1..])
}

fn canonical(body: &Value) -> String {
    let prompt = Prompt::from_json(&json!({ "request": body }).to_string()).unwrap();
    let defaults = Defaults { model: Some("m".to_owned()), ..Defaults::default() };
    request::build(&prompt, &defaults).unwrap().canonical()
}

proptest! {
    #[test]
    fn reading_an_error_never_panics(body in bytes(), status in 0u16..700, header in prop::option::of("[ -~]{0,20}")) {
        let fault = error::read(status, Some("text/html"), header.as_deref(), &body);
        prop_assert!(fault.message.chars().count() <= 2_000);
        error::read(status, None, None, &body);
    }

    #[test]
    fn reading_an_answer_never_panics(body in bytes()) {
        let _ = response::read(&body);
    }

    #[test]
    fn reading_a_stream_never_panics(pieces in prop::collection::vec(bytes(), 0..5)) {
        let mut reader = StreamReader::default();
        if pieces.iter().all(|piece| reader.feed(piece).is_ok()) {
            let _ = reader.finish();
        }
    }

    #[test]
    fn reading_and_building_a_prompt_never_panics(line in bytes()) {
        if let Ok(prompt) = Prompt::from_json(&String::from_utf8_lossy(&line))
            && let Ok(request) = request::build(&prompt, &defaults())
        {
            request.canonical();
            prop_assert!(serde_json::from_slice::<Value>(request.body.text()).is_ok());
        }
    }

    #[test]
    fn a_faulty_line_has_its_column_within_the_line(line in "\\{(\"[a-z_]{1,6}\": ?[0-9\"{}\\[\\],a-z]{0,6},?){0,4}\\}") {
        if let Err(error) = Prompt::from_json(&line)
            && let Some(column) = error.column()
        {
            prop_assert!(column <= line.len() + 1, "{} in {}", column, line);
        }
    }

    #[test]
    fn any_text_with_something_to_read_arrives_as_it_was(text in "\\PC*[a-z]\\PC*") {
        let prompt = Prompt::from_json(&Value::from(text.clone()).to_string()).unwrap();
        prop_assert!(matches!(&prompt.content, Content::Text(texts) if *texts == [text.clone()]));
        let request = request::build(&prompt, &defaults()).unwrap();
        let body: Value = serde_json::from_slice(request.body.text()).unwrap();
        prop_assert_eq!(body["contents"][0]["parts"][0]["text"].as_str(), Some(text.as_str()));
        prop_assert!(request.estimate.total() >= tokens::estimate_text(&text));
    }

    #[test]
    fn raw_contents_are_embedded_byte_for_byte(value in prop::collection::vec(json_value(), 1..4)) {
        let raw = Value::from(value).to_string();
        let prompt = Prompt::from_json(&format!("{{\"contents\": {raw} }}")).unwrap();
        let request = request::build(&prompt, &defaults()).unwrap();
        let body = String::from_utf8(request.body.text().to_vec()).unwrap();
        let start = format!("{{\"contents\":{raw},");
        prop_assert!(body.starts_with(&start));
    }

    #[test]
    fn both_case_styles_have_one_canonical_text(data in json_value(), property in "[a-z]{1,4}_[a-z]{1,4}", text in "\\PC{0,20}") {
        let snake = body(str::to_owned, &data, &property, &text, false);
        let camels = body(camel, &data, &property, &text, true);
        prop_assert_eq!(canonical(&snake), canonical(&camels));
        let renamed = body(camel, &data, &camel(&property), &text, true);
        prop_assert_ne!(canonical(&camels), canonical(&renamed));
    }

    #[test]
    fn another_text_is_another_question(one in "\\PC{0,20}", two in "\\PC{0,20}") {
        let of = |text: &str| canonical(&body(camel, &Value::Null, "p_q", text, false));
        prop_assert_eq!(one == two, of(&one) == of(&two));
    }

    #[test]
    fn an_estimate_grows_with_the_text(one in "\\PC{0,40}", two in "\\PC{0,40}") {
        let both = tokens::estimate_text(&(one.clone() + &two));
        prop_assert!(both >= tokens::estimate_text(&one).max(tokens::estimate_text(&two)));
        prop_assert!(both <= tokens::estimate_text(&one) + tokens::estimate_text(&two));
    }
}
