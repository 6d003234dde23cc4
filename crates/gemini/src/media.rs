//! Images, sound, films and files of a prompt: what the author gave, and what is known of it without any I/O.

use std::sync::Arc;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use serde_json::{Map, Number, Value};

mod fault;
mod layout;
mod mime;
mod probe;
mod tokens;
mod wire;

pub use fault::MediaFault;
pub(crate) use layout::{Slot, layout};
pub use mime::{HEAD, extension, mime, mime_of_name, sniff};
pub use probe::{Facts, probe};
pub use tokens::{Resolution, tokens};
pub use wire::{INLINE_END, file_data, inline_start};

/// The four kinds of media a record can bring; each has fields and a position token of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A film.
    Video,
    /// Sound.
    Audio,
    /// A picture.
    Image,
    /// Anything else the API reads: PDF, text, tables.
    File,
}

impl Kind {
    /// All kinds, in the order in which media without position tokens go before the text.
    pub const ALL: [Kind; 4] = [Kind::Video, Kind::Audio, Kind::Image, Kind::File];

    /// The name its fields begin with: `image_path`, `imagePath`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Video => "video",
            Kind::Audio => "audio",
            Kind::Image => "image",
            Kind::File => "file",
        }
    }

    /// What stands in a prompt where one of these belongs.
    pub fn token(self) -> &'static str {
        match self {
            Kind::Video => "<video>",
            Kind::Audio => "<audio>",
            Kind::Image => "<image>",
            Kind::File => "<file>",
        }
    }
}

/// Where the content of one medium is to be had. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A file, as the author named it.
    Path(Arc<str>),
    /// The content itself as base64 without blanks, in either alphabet; [`decode`] gives the bytes.
    Bytes(Arc<str>),
    /// An `http` or `https` address.
    Url(Arc<str>),
}

/// Which part of a film is meant, and how closely it is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct VideoMetadata {
    /// Where to begin, as the API writes durations: `"1250s"`, `"3.5s"`.
    pub start_offset: Option<String>,
    /// Where to end, written likewise; after the start.
    pub end_offset: Option<String>,
    /// Frames a second, above 0 and at most 24; the API takes 1 when not given.
    pub fps: Option<Number>,
}

/// One medium of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Item {
    /// What the author called it.
    pub kind: Kind,
    /// Where its content is.
    pub source: Source,
    /// Its MIME type, where the author gave one; it goes before what content and name say.
    pub mime: Option<String>,
    /// For films: the part that is meant.
    pub video: Option<VideoMetadata>,
}

impl VideoMetadata {
    /// The part's `videoMetadata` as the API names its members.
    pub(crate) fn to_json(&self) -> Value {
        let mut members = Map::new();
        for (name, offset) in [("startOffset", &self.start_offset), ("endOffset", &self.end_offset)] {
            if let Some(offset) = offset {
                members.insert(name.to_owned(), Value::from(offset.as_str()));
            }
        }
        if let Some(fps) = &self.fps {
            members.insert("fps".to_owned(), Value::Number(fps.clone()));
        }
        Value::Object(members)
    }
}

/// The seconds a duration such as `"3.5s"` stands for; `None` when it is not written as the API writes them.
pub fn seconds(duration: &str) -> Option<f64> {
    let number = duration.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole, 12) && digits(fraction, 9) { number.parse().ok() } else { None }
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// The bytes of a base64 text, standard or URL-safe, with or without padding; `None` when it is neither.
///
/// ```
/// assert_eq!(tidegate_gemini::media::decode("-_8="), Some(vec![0xfb, 0xff]));
/// assert_eq!(tidegate_gemini::media::decode("+/8"), Some(vec![0xfb, 0xff]));
/// assert_eq!(tidegate_gemini::media::decode("no base64!"), None);
/// ```
pub fn decode(base64: &str) -> Option<Vec<u8>> {
    let alphabet = if base64.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    alphabet.decode(base64).ok()
}

/// The first bytes of a base64 text, enough of them for [`sniff`] and cheap however long the text is.
pub fn decode_head(base64: &str, bytes: usize) -> Option<Vec<u8>> {
    let whole_groups = base64.len().min(bytes.div_ceil(3) * 4) / 4 * 4;
    base64.get(..whole_groups.max(base64.len().min(4))).and_then(decode)
}
