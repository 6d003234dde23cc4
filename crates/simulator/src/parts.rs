//! Reads the parts of a prompt: text, media in the request, files of the project, addresses elsewhere.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use crate::bodies::{self, ErrorBody};
use crate::files::{Shelf, id_of};
use crate::identity::field;
use crate::media::{Facts, Kind};
use crate::probe::Probe;
use crate::tokens::{Tokens, View, of_text};

/// What one part is and costs.
#[derive(Debug, PartialEq)]
pub(crate) struct Part<'a> {
    pub(crate) name: &'static str,
    pub(crate) text: &'a str,
    pub(crate) tokens: Tokens,
}

/// What the parts of one request have in common.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) shelf: Shelf<'a>,
    pub(crate) model: &'a str,
    /// The request's media resolution.
    pub(crate) resolution: Option<&'a str>,
}

type Answer<T> = Result<T, (&'static str, ErrorBody)>;

/// The most bytes of a request, and of a document within it.
pub(crate) const MOST_INLINE: u64 = 100 << 20;
pub(crate) const MOST_INLINE_PDF: u64 = 50 << 20;

/// What an address elsewhere is taken for: a film of a minute, or a file of 1 MB.
const NOMINAL_SECONDS: f64 = 60.0;
const NOMINAL_BYTES: u64 = 1_000_000;

impl Reader<'_> {
    /// Reads one part; `place` names it in errors.
    pub(crate) fn part<'p>(&self, part: &'p Value, place: &str) -> Answer<Part<'p>> {
        if let Some(text) = field(part, "text").and_then(Value::as_str) {
            return Ok(Part { name: "text", text, tokens: Tokens::of_plain_text(text) });
        }
        if let Some(blob) = field(part, "inlineData") {
            return self.inline(blob, part, place);
        }
        if let Some(file) = field(part, "fileData") {
            return self.file(file, part);
        }
        let names = [("functionCall", "function_call"), ("functionResponse", "function_response")];
        let name = names.iter().find(|(name, _)| field(part, name).is_some()).map_or("other", |(_, name)| *name);
        Ok(Part { name, text: "", tokens: Tokens { text: of_text(&part.to_string()), ..Tokens::default() } })
    }

    fn inline<'p>(&self, blob: &Value, part: &Value, place: &str) -> Answer<Part<'p>> {
        let (mime, kind) = kind_of(blob)?;
        let data = field(blob, "data").and_then(Value::as_str).unwrap_or_default();
        let probe = decoded(data).ok_or_else(|| {
            let message = format!("Invalid value at '{place}.inline_data.data' (TYPE_BYTES), Base64 decoding failed.");
            ("invalid_argument", bodies::invalid(message))
        })?;
        let facts = probe.facts();
        if kind == Kind::Document && facts.bytes > MOST_INLINE_PDF {
            return Err(("invalid_argument", bodies::too_large(MOST_INLINE_PDF)));
        }
        if facts.bytes == 0 {
            return Err(("invalid_argument", bodies::invalid(format!("Unable to process the empty {mime} at '{place}'."))));
        }
        if kind == Kind::Image && !facts.is_image {
            return Err(("invalid_argument", bodies::undecodable_image()));
        }
        Ok(self.media("inline", kind, &facts, part))
    }

    fn file<'p>(&self, file: &Value, part: &Value) -> Answer<Part<'p>> {
        let uri = field(file, "fileUri").and_then(Value::as_str).unwrap_or_default();
        if id_of(uri).is_some() {
            let stored = self.shelf.take(uri)?;
            let kind =
                field(file, "mimeType").map_or_else(|| mime_kind(&stored.mime), |_| kind_of(file).map(|(_, kind)| kind))?;
            if kind == Kind::Image && !stored.facts.is_image {
                return Err(("invalid_argument", bodies::undecodable_image()));
            }
            return Ok(self.media("file", kind, &stored.facts, part));
        }
        if is_film_site(uri) {
            let facts = Facts { seconds: Some(NOMINAL_SECONDS), ..Facts::default() };
            return Ok(Part { name: "youtube", ..self.media("url", Kind::Video, &facts, part) });
        }
        if !uri.starts_with("https://") {
            return Err(("invalid_argument", bodies::invalid(format!("Invalid or unsupported file uri: {uri}"))));
        }
        let (_, kind) = kind_of(file)?;
        Ok(self.media("url", kind, &Facts { bytes: NOMINAL_BYTES, ..Facts::default() }, part))
    }

    fn media<'p>(&self, way: &'static str, kind: Kind, facts: &Facts, part: &Value) -> Part<'p> {
        let own = field(part, "mediaResolution").and_then(|r| field(r, "level")).and_then(Value::as_str);
        let metadata = field(part, "videoMetadata").unwrap_or(&Value::Null);
        let offset = |name| field(metadata, name)?.as_str()?.strip_suffix('s')?.parse::<f64>().ok();
        let view = View {
            resolution: own.or(self.resolution),
            start: offset("startOffset"),
            end: offset("endOffset"),
            fps: field(metadata, "fps").and_then(Value::as_f64),
        };
        Part { name: name_of(way, kind), text: "", tokens: Tokens::of_media(kind, facts, view, self.model) }
    }
}

fn is_film_site(uri: &str) -> bool {
    let host = uri.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    matches!(host, "www.youtube.com" | "youtube.com" | "m.youtube.com" | "youtu.be")
}

fn kind_of(blob: &Value) -> Answer<(&str, Kind)> {
    let mime = field(blob, "mimeType").and_then(Value::as_str).unwrap_or_default();
    mime_kind(mime).map(|kind| (mime, kind))
}

fn mime_kind(mime: &str) -> Answer<Kind> {
    Kind::of(mime).ok_or_else(|| ("invalid_argument", bodies::unsupported_mime(mime)))
}

fn name_of(way: &str, kind: Kind) -> &'static str {
    match (way, kind) {
        ("inline", Kind::Image) => "inline_image",
        ("inline", Kind::Audio) => "inline_audio",
        ("inline", Kind::Video) => "inline_video",
        ("inline", Kind::Document) => "inline_document",
        ("inline", Kind::Text) => "inline_text",
        ("file", Kind::Image) => "file_image",
        ("file", Kind::Audio) => "file_audio",
        ("file", Kind::Video) => "file_video",
        ("file", Kind::Document) => "file_document",
        ("file", Kind::Text) => "file_text",
        _ => "url",
    }
}

/// Decodes piece by piece, standard or URL-safe, padded or not; `None` for what is no base64.
fn decoded(data: &str) -> Option<Probe> {
    const PIECE: usize = 64 * 1024;
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = data.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = GeneralPurpose::new(if url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD }, config);
    let (mut probe, mut bytes) = (Probe::default(), Vec::with_capacity(PIECE));
    let pieces = data.as_bytes().chunks(PIECE);
    let last = pieces.len().saturating_sub(1);
    for (index, piece) in pieces.enumerate() {
        if index < last && piece.contains(&b'=') {
            return None;
        }
        bytes.clear();
        engine.decode_vec(piece, &mut bytes).ok()?;
        probe.feed(&bytes);
    }
    Some(probe)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::files::{FileRules, Files};
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use serde_json::json;

    fn read(part: &Value) -> Result<(&'static str, Tokens), String> {
        let files = Files::new(FileRules::default());
        let reader = Reader { shelf: files.shelf(0, 0), model: "gemini-3.8-flash", resolution: None };
        reader.part(part, "contents[0].parts[0]").map(|part| (part.name, part.tokens)).map_err(|(_, error)| error.message)
    }

    fn inline(mime: &str, bytes: &[u8]) -> Value {
        json!({"inline_data": {"mime_type": mime, "data": STANDARD.encode(bytes)}})
    }

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08";

    #[test]
    fn inline_media_are_decoded_and_counted() {
        let (name, tokens) = read(&inline("image/png", PNG)).unwrap();
        assert_eq!((name, tokens.image, tokens.total()), ("inline_image", 1_120, 1_120));
        let safe = json!({"inlineData": {"mimeType": "text/plain", "data": URL_SAFE_NO_PAD.encode([0xFB, 0xFF, 0xFE, 65])}});
        assert_eq!(read(&safe).unwrap().1.text, 1);
        let long = inline("text/plain", &vec![b'a'; 200_000]);
        assert_eq!(read(&long).unwrap().1.text, 50_000);
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_the_apis_words() {
        assert_eq!(read(&inline("image/gif", PNG)).unwrap_err(), "Unsupported MIME type: image/gif");
        assert!(read(&inline("image/png", b"not a png")).unwrap_err().starts_with("Unable to process input image."));
        let bad = json!({"inlineData": {"mimeType": "image/png", "data": "*"}});
        assert!(read(&bad).unwrap_err().contains("'contents[0].parts[0].inline_data.data' (TYPE_BYTES)"));
        assert!(read(&inline("text/plain", b"")).is_err());
    }

    #[test]
    fn addresses_elsewhere_cost_a_nominal_sum_and_only_https_is_taken() {
        let at = |uri: &str| json!({"fileData": {"fileUri": uri, "mimeType": "image/png"}});
        assert_eq!(read(&at("https://www.youtube.com/watch?v=abc")).unwrap().1.video, 60 * 70);
        assert_eq!(read(&at("https://example.org/a.png")).unwrap(), ("url", Tokens { image: 1_120, ..Tokens::default() }));
        assert!(read(&at("http://example.org/a.png")).unwrap_err().starts_with("Invalid or unsupported file uri"));
        assert!(read(&at("files/nothing")).unwrap_err().contains("permission to access the File nothing"));
    }
}
