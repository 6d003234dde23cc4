//! The server's own token counter: text by script, media by kind and generation of the model.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::identity::field;

/// Tokens of a request by modality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) text: u64,
    pub(crate) image: u64,
    pub(crate) audio: u64,
    pub(crate) video: u64,
    pub(crate) document: u64,
}

impl Tokens {
    pub(crate) fn total(&self) -> u64 {
        self.text + self.image + self.audio + self.video + self.document
    }

    /// The API's `promptTokensDetails`, kinds without tokens left out.
    pub(crate) fn details(&self) -> Value {
        let all = [
            ("TEXT", self.text),
            ("IMAGE", self.image),
            ("AUDIO", self.audio),
            ("VIDEO", self.video),
            ("DOCUMENT", self.document),
        ];
        let present = all.into_iter().filter(|(_, count)| *count > 0);
        present.map(|(modality, count)| json!({"modality": modality, "tokenCount": count})).collect()
    }

    /// Adds one part of a content, as this model counts it.
    pub(crate) fn add_part(&mut self, part: &Value, model: &str) {
        let inline = field(part, "inlineData");
        if let Some(text) = field(part, "text").and_then(Value::as_str) {
            self.text += of_text(text);
        } else if let Some(blob) = inline.or_else(|| field(part, "fileData")) {
            let mime = field(blob, "mimeType").and_then(Value::as_str).unwrap_or_default();
            let data = field(blob, "data").and_then(Value::as_str);
            self.add_media(mime, data, part, Generation::of(model));
        } else {
            self.text += of_text(&part.to_string());
        }
    }

    fn add_media(&mut self, mime: &str, data: Option<&str>, part: &Value, generation: Generation) {
        let bytes = data.map(|data| data.len() as f64 * 0.75);
        match mime.split('/').next().unwrap_or_default() {
            "image" => self.image += generation.image(part),
            "audio" => {
                let seconds = data.and_then(wav_seconds).or(bytes.map(|b| b / MP3_BYTES_A_SECOND));
                self.audio += per_second(seconds.unwrap_or(UNKNOWN_SECONDS), generation.audio());
            }
            "video" => {
                let seconds = bytes.map_or(UNKNOWN_SECONDS, |b| b / VIDEO_BYTES_A_SECOND);
                let (seconds, fps) = clip(seconds, part);
                self.video += per_second(seconds * fps, generation.frame());
                self.audio += per_second(seconds, generation.audio());
            }
            "text" => self.text += bytes.map_or(0, |b| (b / 4.0).ceil() as u64),
            _ => {
                let pages = bytes.map_or(UNKNOWN_PAGES, |b| (b / PAGE_BYTES).ceil().max(1.0));
                self.document += per_second(pages, generation.page());
            }
        }
    }
}

/// Tokens of a text: a quarter of a token for a Latin letter, more for other scripts.
///
/// ```text
/// "What's the highest mountain in Africa?" -> 10
/// ```
pub(crate) fn of_text(text: &str) -> u64 {
    let hundredths: u64 = text.chars().map(weight).sum();
    hundredths.div_ceil(100)
}

const MP3_BYTES_A_SECOND: f64 = 16_000.0;
const VIDEO_BYTES_A_SECOND: f64 = 250_000.0;
const PAGE_BYTES: f64 = 50_000.0;
/// Uploaded files are not stored here, so their length is agreed.
const UNKNOWN_SECONDS: f64 = 60.0;
const UNKNOWN_PAGES: f64 = 10.0;

fn weight(letter: char) -> u64 {
    match letter {
        '\0'..='\u{2FF}' => 25,
        '\u{300}'..='\u{1FFF}' => 40,
        '\u{2000}'..='\u{2E7F}' => 50,
        '\u{2E80}'..='\u{FFFF}' => 80,
        _ => 150,
    }
}

fn per_second(seconds: f64, rate: f64) -> u64 {
    (seconds * rate).ceil().max(0.0) as u64
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Generation {
    Two,
    Three,
}

impl Generation {
    fn of(model: &str) -> Self {
        let older = ["gemini-1", "gemini-2"].iter().any(|old| model.starts_with(old));
        if older { Self::Two } else { Self::Three }
    }

    fn image(self, part: &Value) -> u64 {
        let level = field(part, "mediaResolution").and_then(|r| field(r, "level"));
        match (self, level.and_then(Value::as_str)) {
            (Self::Two, _) => 258,
            (Self::Three, Some("MEDIA_RESOLUTION_LOW")) => 280,
            (Self::Three, Some("MEDIA_RESOLUTION_MEDIUM")) => 560,
            (Self::Three, Some("MEDIA_RESOLUTION_ULTRA_HIGH")) => 2_240,
            (Self::Three, _) => 1_120,
        }
    }

    fn audio(self) -> f64 {
        if self == Self::Two { 32.0 } else { 25.0 }
    }

    fn frame(self) -> f64 {
        if self == Self::Two { 258.0 } else { 70.0 }
    }

    fn page(self) -> f64 {
        if self == Self::Two { 258.0 } else { 560.0 }
    }
}

/// Seconds and frames a second of the part of a film that is asked for.
fn clip(whole: f64, part: &Value) -> (f64, f64) {
    let metadata = field(part, "videoMetadata");
    let offset = |name| {
        let text = metadata.and_then(|m| field(m, name)).and_then(Value::as_str)?;
        text.trim_end_matches('s').parse::<f64>().ok()
    };
    let start = offset("startOffset").unwrap_or(0.0);
    let end = offset("endOffset").unwrap_or(whole.max(start));
    let fps = metadata.and_then(|m| field(m, "fps")).and_then(Value::as_f64).unwrap_or(1.0);
    ((end - start).max(0.0), fps)
}

/// Reads the length of a WAV recording from the byte rate in its header.
fn wav_seconds(data: &str) -> Option<f64> {
    let header = STANDARD.decode(data.get(..60)?).ok()?;
    let rate = header.starts_with(b"RIFF").then(|| header.get(28..32))??;
    let rate = f64::from(u32::from_le_bytes(rate.try_into().ok()?));
    (rate > 0.0).then(|| (data.len() as f64 * 0.75 - 44.0).max(0.0) / rate)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn count(part: &Value, model: &str) -> Tokens {
        let mut tokens = Tokens::default();
        tokens.add_part(part, model);
        tokens
    }

    #[test]
    fn text_counts_about_four_latin_letters_a_token() {
        assert_eq!(of_text("What's the highest mountain in Africa?"), 10);
        assert_eq!(of_text(""), 0);
        assert!(of_text("東京は日本の首都です") > of_text("Tokyo is a"));
    }

    #[test]
    fn an_image_costs_what_its_generation_and_resolution_say() {
        let image = json!({"inline_data": {"mime_type": "image/png", "data": "AAAA"}});
        assert_eq!(count(&image, "gemini-3.8-flash").image, 1_120);
        assert_eq!(count(&image, "gemini-2.5-flash").image, 258);
        let low =
            json!({"inlineData": {"mimeType": "image/png", "data": ""}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}});
        assert_eq!(count(&low, "gemini-3.8-flash").image, 280);
    }

    #[test]
    fn a_wav_recording_is_counted_by_its_header() {
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend(16_000u32.to_le_bytes());
        wav.extend(32_000u32.to_le_bytes());
        wav.resize(44 + 64_000, 0);
        let data = STANDARD.encode(&wav);
        let part = json!({"inlineData": {"mimeType": "audio/wav", "data": data}});
        assert!((50..=51).contains(&count(&part, "gemini-3.8-flash").audio));
    }

    #[test]
    fn a_film_counts_frames_and_sound_between_its_offsets() {
        let part = json!({"fileData": {"mimeType": "video/mp4", "fileUri": "files/a"},
            "videoMetadata": {"startOffset": "10s", "endOffset": "20s", "fps": 0.5}});
        let tokens = count(&part, "gemini-3.8-flash");
        assert_eq!((tokens.video, tokens.audio), (350, 250));
    }

    #[test]
    fn the_details_name_only_what_is_there() {
        let tokens = Tokens { text: 3, document: 560, ..Tokens::default() };
        assert_eq!(tokens.details(), json!([{"modality": "TEXT", "tokenCount": 3}, {"modality": "DOCUMENT", "tokenCount": 560}]));
        assert_eq!(tokens.total(), 563);
    }
}
