//! Finds out what makes a medium cost tokens: its dimensions, its length, its pages. Reads little, and believes nothing.

use std::io::{Read, Seek, SeekFrom};

mod film;
mod frames;
mod matroska;
mod mp4;
mod pdf;
mod picture;
mod sound;

use crate::tokens::estimate_text;

/// How much of a medium is read at most, whatever it claims.
const BUDGET: u64 = 12 << 20;

/// What each look at another place costs of that, so that a file of crafted offsets comes to an end as well.
const LOOK: u64 = 256;

/// How much of a text is counted before the rest is reckoned from it.
const SAMPLE: usize = 1 << 20;

/// What is known of a medium. A field that could not be found out is `None`; `size` then bounds the estimate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Its MIME type.
    pub mime: String,
    /// Its length in bytes.
    pub size: u64,
    /// Width and height of a picture, in pixels.
    pub dimensions: Option<(u32, u32)>,
    /// Length of sound or film, in seconds.
    pub seconds: Option<f64>,
    /// Whether a film has sound.
    pub has_sound: Option<bool>,
    /// Pages of a document.
    pub pages: Option<u32>,
    /// Tokens of a text, by its characters.
    pub text_tokens: Option<u64>,
}

/// Reads what can be known of a medium of `size` bytes and type `mime`. Broken and unreadable content leaves the facts open.
///
/// ```
/// use tidegate_gemini::media::probe;
/// let gif = b"GIF89a\x40\x01\xf0\x00\x00\x00\x00";
/// let facts = probe(&mut std::io::Cursor::new(gif), gif.len() as u64, "image/gif");
/// assert_eq!(facts.dimensions, Some((320, 240)));
/// ```
pub fn probe(reader: &mut (impl Read + Seek), size: u64, mime: &str) -> Facts {
    let mut window = Window { reader, size, budget: BUDGET };
    let mut facts = Facts { mime: mime.to_owned(), size, ..Facts::default() };
    let bare = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match bare.as_str() {
        "application/pdf" => facts.pages = pdf::pages(&mut window),
        _ if is_text(&bare) => facts.text_tokens = text_tokens(&mut window),
        _ if bare.starts_with("image/") => facts.dimensions = picture::dimensions(&mut window),
        // What stands in the file decides how it is read: names like video/mp4 are given to sound as well.
        _ => (facts.seconds, facts.has_sound) = film::length(&mut window).unwrap_or_else(|| (sound::seconds(&mut window), None)),
    }
    facts.seconds = facts.seconds.filter(|seconds| seconds.is_finite() && (0.0..1e9).contains(seconds));
    facts.dimensions = facts.dimensions.filter(|(width, height)| *width > 0 && *height > 0);
    facts
}

fn is_text(mime: &str) -> bool {
    mime.starts_with("text/")
        || matches!(
            mime,
            "application/json"
                | "application/xml"
                | "application/x-javascript"
                | "application/javascript"
                | "application/x-python-code"
        )
}

fn text_tokens(window: &mut Window<'_>) -> Option<u64> {
    let sample = window.upto(0, SAMPLE)?;
    let tokens = estimate_text(&String::from_utf8_lossy(&sample));
    let times = window.size as f64 / sample.len().max(1) as f64;
    Some((tokens as f64 * times).ceil() as u64)
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// A medium seen in pieces, until the budget is used up.
struct Window<'a> {
    reader: &'a mut dyn ReadSeek,
    size: u64,
    budget: u64,
}

impl Window<'_> {
    /// Exactly `N` bytes at `at`.
    fn array<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        self.upto(at, N)?.try_into().ok()
    }

    /// `length` bytes at `at`, or as many as there are.
    fn upto(&mut self, at: u64, length: usize) -> Option<Vec<u8>> {
        let length = (length as u64).min(self.size.checked_sub(at)?);
        self.budget = self.budget.checked_sub(length + LOOK)?;
        self.reader.seek(SeekFrom::Start(at)).ok()?;
        let mut bytes = Vec::with_capacity(length as usize);
        (&mut *self.reader).take(length).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn u32(&mut self, at: u64) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn u64(&mut self, at: u64) -> Option<u64> {
        self.array(at).map(u64::from_be_bytes)
    }
}

/// Fields of a piece that was read; `None` beyond its end.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    be32(bytes, at).map(u32::swap_bytes)
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?)))
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?)))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
