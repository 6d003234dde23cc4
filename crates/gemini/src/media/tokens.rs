//! What a medium costs in input tokens, by the generation of the model.

use serde_json::{Map, Value};

use super::{Facts, VideoMetadata, seconds};
use crate::tokens::{Estimate, Modality};

/// How closely media are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Cheapest.
    Low,
    /// Between.
    Medium,
    /// Closest for a whole request.
    High,
    /// Closest for a single part.
    UltraHigh,
}

impl Resolution {
    /// The resolution a generation configuration asks for, in either case style.
    pub fn of_config(config: &Map<String, Value>) -> Option<Resolution> {
        let value = config.get("mediaResolution").or_else(|| config.get("media_resolution"))?;
        Some(match value.as_str()? {
            "MEDIA_RESOLUTION_LOW" => Resolution::Low,
            "MEDIA_RESOLUTION_MEDIUM" => Resolution::Medium,
            "MEDIA_RESOLUTION_HIGH" => Resolution::High,
            "MEDIA_RESOLUTION_ULTRA_HIGH" => Resolution::UltraHigh,
            _ => return None,
        })
    }
}

/// Bytes of a second of sound of unknown length: compressed speech at 64 kbit/s.
const SOUND_BYTES: f64 = 8_000.0;
/// Bytes of a second of film of unknown length: small pictures at 500 kbit/s.
const FILM_BYTES: f64 = 62_500.0;
/// Bytes of a page of a document of unknown length, and the most pages the API takes.
const PAGE_BYTES: u64 = 20_000;
const MOST_PAGES: u64 = 1_000;
/// Bytes of a picture of unknown size that one tile stands for, and the most tiles it is charged with then.
const TILE_BYTES: u64 = 50_000;
const MOST_TILES: u64 = 12;
/// The most tiles of a picture that says it is larger than any camera's.
const ALL_TILES: u64 = 100;
/// Bytes that a second of sound or film has at least: a file that claims to be longer is broken, or not worth believing.
const LEAST_BYTES: f64 = 100.0;
/// Seconds of a film or sound given by address, of which not even the size is known.
const UNSEEN_SECONDS: f64 = 60.0;

/// Estimated input tokens of one medium for `model`; `part` is the part of a film that is meant.
///
/// Figures per generation are those of the API's pages on tokens and media resolution; what answers teach corrects them. A
/// medium whose length or size is unknown is reckoned from its bytes.
pub fn tokens(model: &str, facts: &Facts, resolution: Option<Resolution>, part: Option<&VideoMetadata>) -> Estimate {
    let rates = Rates::of(model, resolution);
    let modality = Modality::of_mime(&facts.mime);
    let guessed = |bytes: f64| if facts.size == 0 { UNSEEN_SECONDS } else { (facts.size as f64 / bytes).max(1.0) };
    let known = facts.seconds.map(|seconds| seconds.min((facts.size as f64 / LEAST_BYTES).max(UNSEEN_SECONDS)));
    match modality {
        Modality::Image => Estimate::of(modality, rates.picture(facts)),
        Modality::Audio => {
            let length = known.unwrap_or_else(|| guessed(SOUND_BYTES));
            Estimate::of(modality, whole(length * rates.sound))
        }
        Modality::Video => {
            let part = Part::of(part, known, guessed(FILM_BYTES));
            let frames = (part.length * part.fps).max(1.0);
            let sound = if facts.has_sound == Some(false) { 0.0 } else { part.length * rates.sound };
            // The API counts what is heard in a film as sound.
            Estimate { video: whole(frames * rates.frame), audio: whole(sound), ..Estimate::default() }
        }
        Modality::Text | Modality::Document => Estimate::of(modality, rates.document(facts)),
    }
}

/// Tokens per unit of each kind.
struct Rates {
    /// One picture, or one tile of it.
    picture: u64,
    /// Whether large pictures are cut into tiles.
    tiles: bool,
    frame: f64,
    sound: f64,
    page: u64,
}

impl Rates {
    fn of(model: &str, resolution: Option<Resolution>) -> Rates {
        use Resolution::{High, Low, Medium, UltraHigh};
        if is_before_3(model) {
            let (picture, frame, page) = match resolution {
                Some(Low) => (64, 66.0, 64),
                Some(Medium) => (256, 258.0, 258),
                Some(High | UltraHigh) => (2_048, 258.0, 258),
                None => (258, 258.0, 258),
            };
            return Rates { picture, tiles: resolution.is_none(), frame, sound: 32.0, page };
        }
        let (picture, frame, page) = match resolution {
            Some(Low) => (280, 70.0, 280),
            Some(Medium) => (560, 70.0, 560),
            Some(High) => (1_120, 280.0, 1_120),
            Some(UltraHigh) => (2_240, 280.0, 1_120),
            None => (1_120, 70.0, 560),
        };
        Rates { picture, tiles: false, frame, sound: 25.0, page }
    }

    fn picture(&self, facts: &Facts) -> u64 {
        const SMALL: u32 = 384;
        const TILE: u32 = 768;
        let tiles = match facts.dimensions {
            _ if !self.tiles => 1,
            Some((width, height)) if width <= SMALL && height <= SMALL => 1,
            Some((width, height)) => (u64::from(width.div_ceil(TILE)) * u64::from(height.div_ceil(TILE))).min(ALL_TILES),
            None => facts.size.div_ceil(TILE_BYTES).clamp(1, MOST_TILES),
        };
        self.picture.saturating_mul(tiles)
    }

    fn document(&self, facts: &Facts) -> u64 {
        if facts.mime.starts_with("application/pdf") {
            let pages = facts.pages.map(u64::from).unwrap_or_else(|| facts.size.div_ceil(PAGE_BYTES).max(1));
            return self.page * pages.min(MOST_PAGES);
        }
        // Four bytes a token, as of plain text.
        facts.text_tokens.unwrap_or_else(|| facts.size.div_ceil(4)).max(1)
    }
}

/// Models of the generations before 3; an alias such as `gemini-flash-latest` means a newer one.
pub(crate) fn is_before_3(model: &str) -> bool {
    let bare = model.strip_prefix("models/").unwrap_or(model);
    bare.starts_with("gemini-1") || bare.starts_with("gemini-2")
}

/// The part of a film that is looked at.
struct Part {
    length: f64,
    fps: f64,
}

impl Part {
    fn of(part: Option<&VideoMetadata>, known: Option<f64>, guessed: f64) -> Part {
        let offset = |text: &Option<String>| text.as_deref().and_then(seconds);
        let start = part.and_then(|part| offset(&part.start_offset)).unwrap_or(0.0);
        let end = part.and_then(|part| offset(&part.end_offset));
        let fps = part.and_then(|part| part.fps.as_ref()?.as_f64()).unwrap_or(1.0);
        let end = match (end, known) {
            (Some(end), Some(known)) => end.min(known),
            (Some(end), None) => end,
            (None, known) => known.unwrap_or(guessed),
        };
        Part { length: (end - start).max(0.0), fps }
    }
}

fn whole(tokens: f64) -> u64 {
    tokens.ceil() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const NEW: &str = "gemini-3.8-flash";
    const OLD: &str = "models/gemini-2.5-flash";

    fn facts(mime: &str) -> Facts {
        Facts { mime: mime.to_owned(), size: 1_000_000, ..Facts::default() }
    }

    fn total(model: &str, facts: &Facts, resolution: Option<Resolution>) -> u64 {
        tokens(model, facts, resolution, None).total()
    }

    #[test]
    fn a_picture_costs_by_resolution_now_and_by_tiles_before() {
        use Resolution::{High, Low, Medium, UltraHigh};
        let picture = |width, height| Facts { dimensions: Some((width, height)), ..facts("image/png") };
        let large = picture(4_000, 3_000);
        let now = [None, Some(Low), Some(Medium), Some(High), Some(UltraHigh)].map(|resolution| total(NEW, &large, resolution));
        assert_eq!(now, [1_120, 280, 560, 1_120, 2_240]);
        assert_eq!(tokens(NEW, &large, None, None).image, 1_120);
        let before = [(10, 10), (384, 384), (385, 100), (769, 768), (4_000, 3_000)];
        assert_eq!(before.map(|(width, height)| total(OLD, &picture(width, height), None)), [258, 258, 258, 516, 24 * 258]);
        assert_eq!([Low, Medium, High].map(|resolution| total(OLD, &large, Some(resolution))), [64, 256, 2_048]);
    }

    #[test]
    fn sound_costs_by_the_second() {
        let sound = Facts { seconds: Some(100.5), ..facts("audio/wav") };
        assert_eq!(tokens(NEW, &sound, None, None), Estimate { audio: 2_513, ..Estimate::default() });
        assert_eq!(total(OLD, &sound, None), 3_216);
    }

    #[test]
    fn a_film_costs_by_its_frames_and_its_sound_apart() {
        let film = Facts { seconds: Some(10.0), has_sound: Some(true), ..facts("video/mp4") };
        assert_eq!(tokens(NEW, &film, None, None), Estimate { video: 700, audio: 250, ..Estimate::default() });
        assert_eq!(tokens(OLD, &film, None, None), Estimate { video: 2_580, audio: 320, ..Estimate::default() });
        assert_eq!(tokens(OLD, &film, Some(Resolution::Low), None).video, 660);
        assert_eq!(tokens(NEW, &film, Some(Resolution::High), None).video, 2_800);
        assert_eq!(tokens(NEW, &Facts { has_sound: Some(false), ..film }, None, None).audio, 0);
    }

    #[test]
    fn offsets_cut_a_film_and_fps_multiplies_its_frames_but_not_its_sound() {
        let film = Facts { seconds: Some(100.0), has_sound: Some(true), ..facts("video/mp4") };
        let part = |start: Option<&str>, end: Option<&str>, fps: Option<f64>| VideoMetadata {
            start_offset: start.map(str::to_owned),
            end_offset: end.map(str::to_owned),
            fps: fps.and_then(serde_json::Number::from_f64),
        };
        let cost = |facts: &Facts, part: VideoMetadata| {
            let estimate = tokens(NEW, facts, None, Some(&part));
            (estimate.video, estimate.audio)
        };
        assert_eq!(cost(&film, part(Some("10s"), Some("30s"), Some(5.0))), (7_000, 500));
        assert_eq!(cost(&film, part(Some("90s"), Some("900s"), None)), (700, 250));
        assert_eq!(cost(&film, part(None, None, Some(0.5))), (3_500, 2_500));
        assert_eq!(cost(&film, part(Some("200s"), None, None)), (70, 0));
        assert_eq!(cost(&Facts { seconds: None, ..film }, part(Some("5s"), Some("15s"), None)), (700, 250));
    }

    #[test]
    fn a_document_costs_by_its_pages_and_a_text_by_its_characters() {
        let document = Facts { pages: Some(12), ..facts("application/pdf") };
        assert_eq!(tokens(NEW, &document, None, None).document, 6_720);
        assert_eq!(tokens(NEW, &document, Some(Resolution::High), None).document, 13_440);
        assert_eq!(total(OLD, &document, None), 3_096);
        assert_eq!(total(NEW, &Facts { text_tokens: Some(77), ..facts("text/csv") }, None), 77);
    }

    #[test]
    fn what_is_unknown_is_bounded_by_its_size() {
        for (mime, most) in
            [("image/png", 1_120), ("audio/mp3", 3_125), ("video/mp4", 1_520), ("application/pdf", 28_000), ("x/y", 250_000)]
        {
            assert_eq!(total(NEW, &facts(mime), None), most, "{mime}");
        }
        assert_eq!(total(OLD, &facts("image/png"), None), 12 * 258);
        let broken = Facts { dimensions: Some((u32::MAX, u32::MAX)), seconds: Some(1e8), ..facts("audio/mp3") };
        assert_eq!(total(NEW, &broken, None), 250_000);
        assert_eq!(total(OLD, &Facts { mime: "image/png".to_owned(), ..broken }, None), 25_800);
        let unseen = Facts { mime: "video/mp4".to_owned(), ..Facts::default() };
        assert_eq!(total(NEW, &unseen, None), 60 * 95);
    }
}
