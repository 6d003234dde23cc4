//! Any text gives valid JSON or an error, never a panic; valid JSON is never changed; a text cut short is never lossy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tidegate_gemini::json_repair::read;

fuzz_target!(|text: &str| {
    let Ok(json) = read(text) else { return };
    assert!(serde_json::from_str::<&RawValue>(&json.text).is_ok(), "not JSON: {}", json.text);
    let again = read(&json.text).expect("JSON is JSON");
    assert!(again.text == json.text && !again.repaired, "changed: {}", json.text);
    if !json.repaired && json.text.starts_with(['{', '[']) {
        let cut = json.text.floor_char_boundary(json.text.len() / 2).max(1);
        let part = read(&json.text[..cut]).expect("the beginning of JSON can be closed");
        assert!(part.truncated && !part.lossy);
    }
});
