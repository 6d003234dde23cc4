//! Adds up the input tokens of a whole body: texts by their characters, everything else by rough figures per kind.

use super::plain::Plain;
use super::tokens::{Estimate, Modality, estimate_text};
use super::view::View;

/// Tokens of one image: Gemini 3 at its default resolution, and the older models' single tile.
const IMAGE: u64 = 1_120;
const OLD_IMAGE: u64 = 258;

/// Tokens of media given by address, whose length nobody here knows: about half a minute of film.
const UNKNOWN_FILE: u64 = 8_000;

/// Bytes of compressed sound or film that one token stands for, from 128 kbit/s sound at 25 tokens a second.
const BYTES_PER_TOKEN: u64 = 640;

/// The same as [`tokens`] for a body of one turn of texts and a system instruction, without reading it again.
pub(super) fn texts(texts: &[String], system: Option<&str>) -> Estimate {
    Estimate::from(texts.iter().map(|text| estimate_text(text)).sum::<u64>() + system.map_or(0, estimate_text) + 1)
}

/// Estimated input tokens of `body`, with one more for every turn and one for the frame.
pub(super) fn tokens(body: &str, model: &str) -> Estimate {
    if let Some(plain) = Plain::read(body) {
        return plain.tokens().into();
    }
    thoroughly(body, model)
}

fn thoroughly(body: &str, model: &str) -> Estimate {
    let Some(body) = View::read(body) else { return estimate_text(body).into() };
    let old = model.starts_with("gemini-1") || model.starts_with("gemini-2");
    let turns = members(&body, "contents", "contents").map_or(0, |contents| match contents {
        View::List(turns) => turns.len(),
        _ => 1,
    });
    let image = if old { OLD_IMAGE } else { IMAGE };
    let said = |camel, snake| members(&body, camel, snake).map(|value| content(value, image)).unwrap_or_default();
    let written = |camel, snake| members(&body, camel, snake).map_or(0, json_text);
    let written = written("tools", "tools") + written("toolConfig", "tool_config") + schema(&body) + turns as u64;
    said("contents", "contents") + said("systemInstruction", "system_instruction") + Estimate::from(written)
}

fn schema(body: &View<'_>) -> u64 {
    let Some(config) = members(body, "generationConfig", "generation_config") else { return 0 };
    let names = [("responseSchema", "response_schema"), ("responseJsonSchema", "response_json_schema")];
    names.iter().filter_map(|(camel, snake)| members(config, camel, snake)).map(json_text).sum()
}

/// Walks Content objects and lists of them, in whatever shape they were given.
fn content(value: &View<'_>, image: u64) -> Estimate {
    match value {
        View::Text(text) => estimate_text(text).into(),
        View::List(items) => items.iter().map(|item| content(item, image)).sum(),
        View::Object(_) => match value.get("parts") {
            Some(parts) => content(parts, image),
            None => part(value, image),
        },
        View::Word(_) => Estimate::default(),
    }
}

fn part(part: &View<'_>, image: u64) -> Estimate {
    let text = part.get("text").and_then(View::as_str).map_or(0, estimate_text);
    let inline = members(part, "inlineData", "inline_data").map(|data| inline(data, image)).unwrap_or_default();
    let file = members(part, "fileData", "file_data").map(|data| file(data, image)).unwrap_or_default();
    let calls = [("functionCall", "function_call"), ("functionResponse", "function_response")];
    let calls: u64 = calls.iter().filter_map(|(camel, snake)| members(part, camel, snake)).map(json_text).sum();
    Estimate::from(text + calls) + inline + file
}

fn inline(data: &View<'_>, image: u64) -> Estimate {
    // Four characters of base64 are three bytes.
    let bytes = data.get("data").and_then(View::as_str).map_or(0, str::len) as u64 / 4 * 3;
    media(data, image, bytes.div_ceil(BYTES_PER_TOKEN))
}

fn file(data: &View<'_>, image: u64) -> Estimate {
    media(data, image, UNKNOWN_FILE)
}

/// A picture costs the same whatever its size; anything else what its size lets one think.
fn media(data: &View<'_>, image: u64, by_size: u64) -> Estimate {
    let mime = members(data, "mimeType", "mime_type").and_then(View::as_str).unwrap_or_default();
    match Modality::of_mime(mime) {
        Modality::Image => Estimate::of(Modality::Image, image),
        other => Estimate::of(other, by_size),
    }
}

fn json_text(value: &View<'_>) -> u64 {
    estimate_text(&value.written())
}

fn members<'v, 'a>(object: &'v View<'a>, camel: &str, snake: &str) -> Option<&'v View<'a>> {
    object.get(camel).or_else(|| object.get(snake))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_text_of_the_body_counts_once_in_either_style() {
        let body = r#"{"contents":[{"parts":[{"text":"abcdabcd"}]}],"systemInstruction":{"parts":[{"text":"abcd"}]}}"#;
        assert_eq!(tokens(body, "gemini-3.8-flash"), 4.into());
        assert_eq!(tokens(&body.replace("systemInstruction", "system_instruction"), "gemini-3.8-flash"), 4.into());
    }

    #[test]
    fn a_plain_body_is_estimated_like_by_a_thorough_reading() {
        for body in [
            r#"{"contents":[{"parts":[{"text":"a wren"}]}]}"#,
            r#"{"contents":[{"role":"user","parts":[{"text":"a \"wren\" \u00e9"},{"text":"b"}]},{"role":"model","parts":[]}]}"#,
            r#"{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[],"generationConfig":{"topK":3}}"#,
            r#"{"system_instruction":{"parts":[{"text":"be brief"}]},"contents":[],"safety_settings":[{"category":"x"}]}"#,
        ] {
            assert_eq!(Plain::read(body).unwrap().tokens(), thoroughly(body, "m").total(), "{body}");
        }
        for body in [
            r#"{"contents":[{"parts":[{"text":"a","inlineData":{}}]}]}"#,
            r#"{"contents":[{"parts":[{"functionCall":{}}]}]}"#,
            r#"{"contents":[],"tools":[]}"#,
            r#"{"contents":[],"generation_config":{"response_schema":{}}}"#,
            r#"{"contents":{"parts":[{"text":"a"}]}}"#,
            r#"{"contents":"a wren"}"#,
            "a wren",
        ] {
            assert!(Plain::read(body).is_none(), "{body}");
        }
    }

    #[test]
    fn an_image_costs_what_its_generation_of_models_asks() {
        let body = r#"{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"AAAA"}}]}]}"#;
        assert_eq!(tokens(body, "gemini-3.8-flash"), Estimate { text: 1, image: 1_120, ..Estimate::default() });
        assert_eq!(tokens(body, "gemini-2.5-flash").total(), 259);
    }

    #[test]
    fn sound_is_estimated_by_its_size_and_files_by_a_flat_figure() {
        let sound = format!(
            r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"audio/mp3","data":"{}"}}}}]}}]}}"#,
            "A".repeat(4 * 6_400)
        );
        assert_eq!(tokens(&sound, "gemini-3.8-flash"), Estimate { text: 1, audio: 30, ..Estimate::default() });
        let file = r#"{"contents":[{"parts":[{"fileData":{"mimeType":"video/mp4","fileUri":"files/a"}}]}]}"#;
        assert_eq!(tokens(file, "gemini-3.8-flash"), Estimate { text: 1, video: 8_000, ..Estimate::default() });
    }

    #[test]
    fn calls_tools_and_schemas_count_as_the_json_they_are() {
        let bare = r#"{"contents":[{"parts":[{"text":"a"}]}]}"#;
        let with = [
            r#"{"contents":[{"parts":[{"text":"a"},{"functionCall":{"name":"find","args":{"bird":"wren"}}}]}]}"#,
            r#"{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"function_declarations":[{"name":"find"}]}]}"#,
            r#"{"contents":[{"parts":[{"text":"a"}]}],"generation_config":{"response_schema":{"type":"OBJECT"}}}"#,
        ];
        for body in with {
            assert!(tokens(body, "m").total() > tokens(bare, "m").total(), "{body}");
        }
    }
}
