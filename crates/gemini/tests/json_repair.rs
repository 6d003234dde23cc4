//! JSON repair against damaged answers as they were seen, and against promises that hold for any text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Number, Value};
use tidegate_gemini::json_repair::read;

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[test]
fn every_damaged_answer_that_was_seen_is_read_as_it_was_meant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/json_repair");
    let mut wrong = Vec::new();
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let case = parsed(&std::fs::read_to_string(&path).unwrap());
        let input = case["input"].as_str().unwrap();
        let accepted: Vec<Value> = case["accept"].as_array().unwrap().iter().map(|json| parsed(json.as_str().unwrap())).collect();
        let read = read(input);
        let holds = read.as_ref().is_ok_and(|json| accepted.contains(&parsed(&json.text)));
        if !holds {
            wrong.push(format!("{}: {read:?}", path.file_stem().unwrap().display()));
        }
        cases += 1;
    }
    assert!(cases >= 50 && wrong.is_empty(), "{} of {cases} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn number() -> impl Strategy<Value = Number> {
    "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?".prop_map(|digits| digits.parse().unwrap())
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![".{0,12}", "[{}\\[\\]\":,\\\\`\n\t/# ]{0,12}", "(true|if \\{|\\u{1f600}|é| ){0,4}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        text.clone().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn container() -> impl Strategy<Value = Value> {
    value().prop_filter("a container", |value| value.is_array() || value.is_object())
}

/// Nothing is in `part` that is not in `whole` at the same place; only a last string may be shorter.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Array(part), Value::Array(whole)) => {
            part.len() <= whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part(part, whole))
        }
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().zip(whole).all(|((name, part), (whole_name, whole))| name == whole_name && is_part(part, whole))
                && part.len() <= whole.len()
        }
        (Value::String(part), Value::String(whole)) => whole.starts_with(part.as_str()),
        _ => part == whole,
    }
}

/// Text that has much of JSON in it and little of its order.
fn rubble() -> impl Strategy<Value = String> {
    let bit = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("\""),
        Just("'"),
        Just(":"),
        Just(","),
        Just("\\"),
        Just("\\u"),
        Just("\n"),
        Just("```json\n"),
        Just("```"),
        Just("true"),
        Just("NaN"),
        Just("12"),
        Just("-0."),
        Just("a"),
        Just("\"a\""),
        Just("“"),
        Just("//"),
        Just("/*"),
        Just("..."),
        Just("é"),
        Just("\u{feff}"),
        Just(" "),
        Just("{\"a\": 1}"),
        Just("\\ud83d"),
    ];
    prop::collection::vec(bit, 0..60).prop_map(|bits| bits.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_json_is_never_changed(value in value(), pretty in any::<bool>(), blanks in "[ \t\r\n]{0,3}") {
        let json = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let read = read(&format!("{blanks}{json}{blanks}")).unwrap();
        prop_assert_eq!(&read.text, &json);
        prop_assert!(!read.repaired && !read.truncated && !read.lossy);
    }

    #[test]
    fn valid_json_in_a_fence_or_in_prose_is_never_changed(value in container(), fenced in any::<bool>()) {
        let json = serde_json::to_string_pretty(&value).unwrap();
        let answer = if fenced { format!("Here it is:\n\n```json\n{json}\n```\n\nAsk {{me}}!") } else { format!("Sure! {json}\nDone.") };
        let read = read(&answer).unwrap();
        prop_assert_eq!(&read.text, &json);
        prop_assert!(read.repaired && !read.truncated && !read.lossy);
    }

    #[test]
    fn cut_anywhere_json_gives_a_part_of_itself(value in container(), at in any::<prop::sample::Index>()) {
        let json = value.to_string();
        let cuts: Vec<usize> = json.char_indices().map(|(at, _)| at).skip(1).collect();
        let cut = cuts[at.index(cuts.len())];
        let read = read(&json[..cut]).unwrap();
        prop_assert!(read.repaired && read.truncated && !read.lossy, "{} -> {read:?}", &json[..cut]);
        prop_assert!(is_part(&parsed(&read.text), &value), "{} -> {}", &json[..cut], read.text);
    }

    #[test]
    fn rubble_gives_valid_json_or_an_error(text in prop_oneof![rubble(), ".{0,80}"]) {
        if let Ok(read) = read(&text) {
            parsed(&read.text);
        }
    }

    #[test]
    fn damaged_json_gives_valid_json_or_an_error(value in container(), at in any::<prop::sample::Index>(), bit in rubble()) {
        let mut json = value.to_string();
        let places: Vec<usize> = json.char_indices().map(|(at, _)| at).collect();
        json.insert_str(places[at.index(places.len())], &bit);
        if let Ok(read) = read(&json) {
            parsed(&read.text);
        }
    }
}
