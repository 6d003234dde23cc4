//! The server's own token counter: text by script, media by kind and generation of the model.

use serde_json::{Value, json};

use crate::media::{Facts, Kind};

/// Tokens of a request by modality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) text: u64,
    pub(crate) image: u64,
    pub(crate) audio: u64,
    pub(crate) video: u64,
    pub(crate) document: u64,
}

/// What a request says about how closely a medium is to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct View<'a> {
    /// `MEDIA_RESOLUTION_LOW`, ...; the part's own word, else the request's.
    pub(crate) resolution: Option<&'a str>,
    /// Seconds from the start of a film.
    pub(crate) start: Option<f64>,
    pub(crate) end: Option<f64>,
    /// Frames a second; 1 unless told.
    pub(crate) fps: Option<f64>,
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

    pub(crate) fn add(&mut self, other: Self) {
        self.text += other.text;
        self.image += other.image;
        self.audio += other.audio;
        self.video += other.video;
        self.document += other.document;
    }

    pub(crate) fn of_plain_text(text: &str) -> Self {
        Self { text: of_text(text), ..Self::default() }
    }

    /// What one medium costs with this model; where its bytes told nothing, its size must do.
    pub(crate) fn of_media(kind: Kind, facts: &Facts, view: View<'_>, model: &str) -> Self {
        let generation = Generation::of(model);
        let (mut tokens, bytes) = (Self::default(), facts.bytes as f64);
        match kind {
            Kind::Image => tokens.image = generation.image(facts.pixels, view.resolution),
            Kind::Audio => {
                let seconds = facts.seconds.unwrap_or(bytes / MP3_BYTES_A_SECOND);
                tokens.audio = per_second(seconds, generation.audio());
            }
            Kind::Video => {
                let whole = facts.seconds.unwrap_or(bytes / VIDEO_BYTES_A_SECOND);
                let start = view.start.unwrap_or(0.0);
                let seconds = (view.end.unwrap_or(whole).min(whole) - start).max(0.0);
                tokens.video = per_second(seconds * view.fps.unwrap_or(1.0), generation.frame(view.resolution));
                tokens.audio = per_second(seconds, generation.audio());
            }
            Kind::Document => {
                let pages = facts.pages.unwrap_or_else(|| (bytes / PAGE_BYTES).ceil().max(1.0) as u64);
                tokens.document = pages * generation.page(view.resolution);
            }
            Kind::Text => tokens.text = facts.bytes.div_ceil(4),
        }
        tokens
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

const LOW: Option<&str> = Some("MEDIA_RESOLUTION_LOW");
const MEDIUM: Option<&str> = Some("MEDIA_RESOLUTION_MEDIUM");
const HIGH: Option<&str> = Some("MEDIA_RESOLUTION_HIGH");
const ULTRA_HIGH: Option<&str> = Some("MEDIA_RESOLUTION_ULTRA_HIGH");

impl Generation {
    fn of(model: &str) -> Self {
        let older = ["gemini-1", "gemini-2"].iter().any(|old| model.starts_with(old));
        if older { Self::Two } else { Self::Three }
    }

    /// The older generation cuts a large image into tiles, unless a resolution says otherwise.
    fn image(self, pixels: Option<(u32, u32)>, resolution: Option<&str>) -> u64 {
        let tiles = match pixels {
            Some((width, height)) if width > 384 || height > 384 => {
                u64::from(width.div_ceil(768)) * u64::from(height.div_ceil(768))
            }
            _ => 1,
        };
        match (self, resolution) {
            (Self::Two, LOW) => 64,
            (Self::Two, MEDIUM) => 256,
            (Self::Two, _) => 258 * tiles,
            (Self::Three, LOW) => 280,
            (Self::Three, MEDIUM) => 560,
            (Self::Three, ULTRA_HIGH) => 2_240,
            (Self::Three, _) => 1_120,
        }
    }

    fn audio(self) -> f64 {
        if self == Self::Two { 32.0 } else { 25.0 }
    }

    fn frame(self, resolution: Option<&str>) -> f64 {
        match (self, resolution) {
            (Self::Two, LOW) => 66.0,
            (Self::Two, _) => 258.0,
            (Self::Three, HIGH | ULTRA_HIGH) => 280.0,
            (Self::Three, _) => 70.0,
        }
    }

    fn page(self, resolution: Option<&str>) -> u64 {
        match (self, resolution) {
            (Self::Two, LOW) => 64,
            (Self::Two, _) => 258,
            (Self::Three, LOW) => 280,
            (Self::Three, HIGH | ULTRA_HIGH) => 1_120,
            (Self::Three, _) => 560,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const THREE: &str = "gemini-3.8-flash";
    const TWO: &str = "gemini-2.5-flash";

    fn count(kind: Kind, facts: Facts, resolution: Option<&str>, model: &str) -> Tokens {
        Tokens::of_media(kind, &facts, View { resolution, ..View::default() }, model)
    }

    #[test]
    fn text_counts_about_four_latin_letters_a_token() {
        assert_eq!(of_text("What's the highest mountain in Africa?"), 10);
        assert_eq!(of_text(""), 0);
        assert!(of_text("東京は日本の首都です") > of_text("Tokyo is a"));
    }

    #[test]
    fn an_image_costs_what_its_generation_size_and_resolution_say() {
        let image = |pixels, resolution, model| count(Kind::Image, Facts { pixels, ..Facts::default() }, resolution, model).image;
        assert_eq!(image(Some((4_000, 3_000)), None, THREE), 1_120);
        assert_eq!((image(None, LOW, THREE), image(None, ULTRA_HIGH, THREE)), (280, 2_240));
        assert_eq!((image(Some((384, 384)), None, TWO), image(Some((800, 600)), None, TWO)), (258, 516));
        assert_eq!((image(Some((1_600, 1_600)), None, TWO), image(Some((1_600, 1_600)), LOW, TWO)), (9 * 258, 64));
    }

    #[test]
    fn a_recording_costs_its_seconds_or_its_size() {
        let told = Facts { seconds: Some(10.0), ..Facts::default() };
        assert_eq!((count(Kind::Audio, told, None, THREE).audio, count(Kind::Audio, told, None, TWO).audio), (250, 320));
        let sized = Facts { bytes: 32_000, ..Facts::default() };
        assert_eq!(count(Kind::Audio, sized, None, THREE).audio, 50);
    }

    #[test]
    fn a_film_counts_frames_and_sound_between_its_offsets() {
        let film = Facts { seconds: Some(60.0), ..Facts::default() };
        let view = View { start: Some(10.0), end: Some(20.0), fps: Some(0.5), ..View::default() };
        let tokens = Tokens::of_media(Kind::Video, &film, view, THREE);
        assert_eq!((tokens.video, tokens.audio), (350, 250));
        let beyond = View { start: Some(50.0), end: Some(90.0), ..View::default() };
        assert_eq!(Tokens::of_media(Kind::Video, &film, beyond, TWO).video, 2_580);
        assert_eq!(count(Kind::Video, film, HIGH, THREE).video, 60 * 280);
    }

    #[test]
    fn a_document_costs_its_pages() {
        let pages = Facts { pages: Some(3), ..Facts::default() };
        assert_eq!(
            (count(Kind::Document, pages, None, THREE).document, count(Kind::Document, pages, None, TWO).document),
            (1_680, 774)
        );
    }

    #[test]
    fn the_details_name_only_what_is_there() {
        let tokens = Tokens { text: 3, document: 560, ..Tokens::default() };
        assert_eq!(tokens.details(), json!([{"modality": "TEXT", "tokenCount": 3}, {"modality": "DOCUMENT", "tokenCount": 560}]));
        assert_eq!(tokens.total(), 563);
    }
}
