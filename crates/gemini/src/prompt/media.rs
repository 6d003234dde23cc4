//! The media fields of a record: `image_path`, `audioBytes`, `video_metadata` and their kin.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::{PromptError, Record};
use crate::fields;
use crate::media::{self, Item, Kind, MediaFault, Source, VideoMetadata};

/// The fields of one kind, each in both case styles.
struct Names {
    path: [&'static str; 2],
    bytes: [&'static str; 2],
    url: [&'static str; 2],
    mime: [&'static str; 2],
}

const VIDEO_METADATA: [&str; 2] = ["video_metadata", "videoMetadata"];

macro_rules! names {
    ($kind:literal) => {
        Names {
            path: [concat!($kind, "_path"), concat!($kind, "Path")],
            bytes: [concat!($kind, "_bytes"), concat!($kind, "Bytes")],
            url: [concat!($kind, "_url"), concat!($kind, "Url")],
            mime: [concat!($kind, "_mime_type"), concat!($kind, "MimeType")],
        }
    };
}

fn names(kind: Kind) -> Names {
    match kind {
        Kind::Video => names!("video"),
        Kind::Audio => names!("audio"),
        Kind::Image => names!("image"),
        Kind::File => names!("file"),
    }
}

type Entry<'a> = (&'static str, &'a RawValue);

impl<'a> Record<'a> {
    /// Takes every media field: the media by kind, and within a kind path, then bytes, then url.
    pub(super) fn media(&mut self, asked_in: &'static str) -> Result<Vec<Item>, PromptError> {
        let kinds = Kind::ALL.map(Kind::name);
        if !self.members.iter().any(|(name, _)| kinds.iter().any(|kind| name.starts_with(kind))) {
            return Ok(Vec::new());
        }
        if asked_in != "prompt" {
            self.no_media(asked_in)?;
        }
        let mut items = Vec::new();
        for kind in Kind::ALL {
            self.of_kind(kind, &mut items)?;
        }
        let Some(entry) = self.take_media(&VIDEO_METADATA)? else { return Ok(items) };
        let parts = self.video_metadata(entry)?;
        let videos = items.iter().filter(|item| item.kind == Kind::Video).count();
        if parts.len() > videos {
            return Err(self.fault(entry, MediaFault::MetadataCount { given: parts.len(), videos }));
        }
        for (item, part) in items.iter_mut().filter(|item| item.kind == Kind::Video).zip(parts) {
            item.video = part;
        }
        Ok(items)
    }

    /// Takes the media fields of a record that may have none: empty ones, as a table leaves them, say nothing.
    fn no_media(&mut self, other: &'static str) -> Result<(), PromptError> {
        for Names { path, bytes, url, mime } in Kind::ALL.map(names) {
            for field in [path, bytes, url, mime] {
                if let Some(entry) = self.take_media(&field)? {
                    return Err(self.fault(entry, MediaFault::BesideContents { other }));
                }
            }
        }
        match self.take_media(&VIDEO_METADATA)? {
            Some(entry) => Err(self.fault(entry, MediaFault::BesideContents { other })),
            None => Ok(()),
        }
    }

    fn of_kind(&mut self, kind: Kind, items: &mut Vec<Item>) -> Result<(), PromptError> {
        let names = names(kind);
        let first = items.len();
        let item = |source, mime| Item { kind, source, mime, video: None };
        if let Some(entry) = self.take_media(&names.path)? {
            items.extend(self.strings(entry)?.into_iter().map(|path| item(Source::Path(path.into()), None)));
        }
        if let Some(entry) = self.take_media(&names.bytes)? {
            for (at, text) in self.strings(entry)?.iter().enumerate() {
                let (mime, text) =
                    base64(text).map_err(|reason| self.fault(entry, MediaFault::NotBase64 { at: at + 1, reason }))?;
                items.push(item(Source::Bytes(text), mime));
            }
        }
        if let Some(entry) = self.take_media(&names.url)? {
            for url in self.strings(entry)? {
                if !is_address(&url) {
                    return Err(self.fault(entry, MediaFault::BadUrl { kind, url: short(&url) }));
                }
                items.push(item(Source::Url(url.into()), None));
            }
        }
        match self.take_media(&names.mime)? {
            Some(entry) => self.mimes(entry, kind, &mut items[first..]),
            None => Ok(()),
        }
    }

    /// One type for all, or a list with one for each, in which null leaves it to content and name.
    fn mimes(&self, entry: Entry<'a>, kind: Kind, items: &mut [Item]) -> Result<(), PromptError> {
        let odd = |found| self.fault(entry, MediaFault::NotStrings { found });
        let given: Vec<Option<String>> = match fields::kind(entry.1.get()) {
            "a string" => vec![Some(self.parse(entry.1)?); items.len()],
            "a list" => self.parse(entry.1).map_err(|_| odd("a list of other things"))?,
            found => return Err(odd(found)),
        };
        if given.len() != items.len() {
            return Err(self.fault(entry, MediaFault::MimeCount { kind, given: given.len(), items: items.len() }));
        }
        for (item, mime) in items.iter_mut().zip(given) {
            let Some(mime) = mime.map(|mime| mime.trim().to_owned()).filter(|mime| !mime.is_empty()) else { continue };
            if !is_mime(&mime) {
                return Err(self.fault(entry, MediaFault::BadMime { mime: short(&mime) }));
            }
            item.mime = Some(mime);
        }
        Ok(())
    }

    fn strings(&self, entry: Entry<'a>) -> Result<Vec<String>, PromptError> {
        let odd = |found| self.fault(entry, MediaFault::NotStrings { found });
        let strings: Vec<String> = match fields::kind(entry.1.get()) {
            "a string" => vec![self.parse(entry.1)?],
            "a list" => self.parse(entry.1).map_err(|_| odd("a list of other things"))?,
            found => return Err(odd(found)),
        };
        match strings.iter().position(|text| text.trim().is_empty()) {
            Some(at) => Err(self.fault(entry, MediaFault::EmptyEntry { at: at + 1 })),
            None => Ok(strings),
        }
    }

    fn video_metadata(&self, entry: Entry<'a>) -> Result<Vec<Option<VideoMetadata>>, PromptError> {
        let found = fields::kind(entry.1.get());
        let odd = |found| self.fault(entry, MediaFault::NotMetadata { found });
        let list: Vec<Option<Map<String, Value>>> = match found {
            "an object" => vec![Some(self.parse(entry.1)?)],
            "a list" => self.parse(entry.1).map_err(|_| odd("a list of other things"))?,
            _ => return Err(odd(found)),
        };
        let read = |(at, members): (usize, Option<Map<String, Value>>)| {
            members.filter(|members| !members.is_empty()).map(|members| part(at + 1, members)).transpose()
        };
        list.into_iter().enumerate().map(read).collect::<Result<_, _>>().map_err(|fault| self.fault(entry, fault))
    }

    /// As [`Record::take`]; an empty cell or list counts as absent.
    fn take_media(&mut self, names: &[&'static str; 2]) -> Result<Option<Entry<'a>>, PromptError> {
        Ok(self.take(names)?.filter(|(_, raw)| !matches!(raw.get(), "\"\"" | "[]")))
    }

    fn fault(&self, (field, raw): Entry<'a>, fault: MediaFault) -> PromptError {
        PromptError::Media { field, fault, place: self.place(raw) }
    }
}

/// A base64 text without blanks, and the MIME type of a `data:` address around it.
fn base64(text: &str) -> Result<(Option<String>, Arc<str>), &'static str> {
    let (mime, text) = match text.trim_start().strip_prefix("data:") {
        Some(rest) => {
            let (head, data) = rest.split_once(',').ok_or("a data address has a comma")?;
            let head = head.strip_suffix(";base64").ok_or("a data address must say ;base64")?;
            (Some(head.to_owned()).filter(|mime| is_mime(mime)), data)
        }
        None => (None, text),
    };
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let digits = text.trim_end_matches('=');
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')) {
        return Err("it holds other characters (is it a path or an address?)");
    }
    if digits.contains(['+', '/']) && digits.contains(['-', '_']) {
        return Err("it mixes the standard and the URL-safe alphabet");
    }
    if digits.is_empty() {
        return Err("it holds nothing");
    }
    if digits.len() % 4 == 1 || text.len() - digits.len() > 2 {
        return Err("its end is missing");
    }
    Ok((mime, text.into()))
}

fn is_address(url: &str) -> bool {
    let rest = url.split_once("://").filter(|(scheme, _)| matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https"));
    let has_host = |rest: &str| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']);
    rest.is_some_and(|(_, rest)| has_host(rest)) && !url.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// A type and a subtype, perhaps with parameters.
fn is_mime(text: &str) -> bool {
    let token =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte));
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let plain = parameters.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    plain && name.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn part(at: usize, members: Map<String, Value>) -> Result<VideoMetadata, MediaFault> {
    let mut part = VideoMetadata::default();
    for (name, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "start_offset" | "startOffset" => part.start_offset = Some(offset(at, "start_offset", &value)?),
            "end_offset" | "endOffset" => part.end_offset = Some(offset(at, "end_offset", &value)?),
            "fps" => part.fps = Some(fps(at, &value)?),
            _ => return Err(MediaFault::UnknownMember { at, member: short(&name) }),
        }
    }
    let (start, end) = (part.start_offset.as_deref().unwrap_or("0s"), part.end_offset.as_deref());
    if let Some(end) = end
        && media::seconds(end) <= media::seconds(start)
    {
        return Err(MediaFault::NoLength { at, start: start.to_owned(), end: end.to_owned() });
    }
    Ok(part)
}

fn offset(at: usize, member: &'static str, value: &Value) -> Result<String, MediaFault> {
    let text = value.as_str().map(str::trim).filter(|text| media::seconds(text).is_some());
    text.map(str::to_owned).ok_or_else(|| MediaFault::BadOffset { at, member, value: short(&value.to_string()) })
}

fn fps(at: usize, value: &Value) -> Result<Number, MediaFault> {
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|fps| fps > 0.0 && fps <= 24.0) => Ok(number.clone()),
        _ => Err(MediaFault::BadFps { at, value: short(&value.to_string()) }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::prompt::Prompt;

    fn read(line: &str) -> Vec<Item> {
        Prompt::from_json(line).unwrap().media
    }

    fn refused(fields: &str) -> String {
        Prompt::from_json(&format!(r#"{{"prompt":"a",{fields}}}"#)).unwrap_err().to_string()
    }

    #[test]
    fn every_field_is_read_in_both_styles_alone_and_as_a_list() {
        for kind in Kind::ALL {
            let name = kind.name();
            let one = read(&format!(r#"{{"prompt":"a","{name}_path":"p","{name}_bytes":"QUJD","{name}_url":"http://u/"}}"#));
            let sources = [Source::Path("p".into()), Source::Bytes("QUJD".into()), Source::Url("http://u/".into())];
            assert_eq!(one.iter().map(|item| item.source.clone()).collect::<Vec<_>>(), sources);
            assert!(one.iter().all(|item| item.kind == kind));
            let listed = format!(r#"{{"prompt":"a","{name}Url":["http://u/"],"{name}Bytes":["QUJD"],"{name}Path":["p"]}}"#);
            assert_eq!(read(&listed), one);
        }
    }

    #[test]
    fn empty_cells_and_nulls_bring_no_media() {
        assert!(
            read(r#"{"prompt":"<image>","image_path":"","audio_path":[],"video_url":null,"file_mime_type":"a/b"}"#).is_empty()
        );
    }

    #[test]
    fn types_go_to_their_media_and_null_leaves_one_open() {
        let mimes = |line| read(line).into_iter().map(|item| item.mime).collect::<Vec<_>>();
        let one = r#"{"prompt":"a","audio_path":["p","q"],"audio_mime_type":"audio/wav"}"#;
        assert_eq!(mimes(one), [Some("audio/wav".to_owned()), Some("audio/wav".to_owned())]);
        let list = r#"{"prompt":"a","audio_path":["p","q"],"audio_bytes":"QUI=","audioMimeType":["audio/wav",null,"audio/L16;rate=8000"]}"#;
        assert_eq!(mimes(list), [Some("audio/wav".to_owned()), None, Some("audio/L16;rate=8000".to_owned())]);
        assert!(refused(r#""audio_path":["p","q"],"audio_mime_type":["audio/wav"]"#).contains("1 MIME types for 2 audio files"));
        assert!(refused(r#""audio_path":"p","audio_mime_type":"wav""#).contains("\"wav\" is no MIME type"));
        assert!(refused(r#""image_path":"p","image_mime_type":"image/png\r\nx: y""#).contains("no MIME type"));
    }

    #[test]
    fn base64_is_kept_without_blanks_and_a_data_address_tells_its_type() {
        let items = read(r#"{"prompt":"a","image_bytes":["QU\n JD","data:image/png;base64,-_8="]}"#);
        assert_eq!(items[0].source, Source::Bytes("QUJD".into()));
        assert_eq!((&items[1].source, items[1].mime.as_deref()), (&Source::Bytes("-_8=".into()), Some("image/png")));
        for text in ["wren.png", "QUJDR", "+-AA", "====", "data:image/png,abc", "data:image/png;base64", "QQ===", "Q=Q="] {
            let message = refused(&format!(r#""image_bytes":["QUJD","{text}"]"#));
            assert!(message.starts_with("\"image_bytes\": entry 2 is not base64: "), "{text}: {message}");
        }
    }

    #[test]
    fn only_web_addresses_are_taken_for_one() {
        for url in ["ftp://a/b", "gs://bucket/x", "/etc/passwd", "http:///x", "https://", "http://a b/", "javascript:1"] {
            assert!(refused(&format!(r#""video_url":"{url}""#)).contains("is no http or https address"), "{url}");
        }
        assert_eq!(read(r#"{"prompt":"a","video_url":"HTTPS://youtu.be/x?t=1"}"#).len(), 1);
    }

    #[test]
    fn a_shorter_list_of_film_parts_is_for_the_first_films() {
        let items = read(
            r#"{"prompt":"a","video_path":["p","q","r"],"audio_path":"s",
                "video_metadata":[{"start_offset":"1250s","end_offset":"1570.5s","fps":5},null]}"#,
        );
        let part = items[0].video.as_ref().unwrap();
        assert_eq!(part.to_json().to_string(), r#"{"startOffset":"1250s","endOffset":"1570.5s","fps":5}"#);
        assert!(items[1..].iter().all(|item| item.video.is_none()));
        assert!(refused(r#""video_path":"p","video_metadata":[{},{}]"#).contains("2 entries for 1 video file:"));
        assert!(refused(r#""video_metadata":{"fps":1}"#).contains("1 entries for 0 video files:"));
    }

    #[test]
    fn a_film_part_that_makes_no_sense_is_refused_with_its_number() {
        let refused = |part: &str| refused(&format!(r#""video_path":["p","q"],"video_metadata":[{{}},{part}]"#));
        for offset in ["\"10\"", "10", "\"-1s\"", "\"1:30\"", "\"1e3s\"", "\"s\"", "\".5s\"", "\"1.s\"", "\"inf s\"", "true"] {
            let message = refused(&format!(r#"{{"start_offset":{offset}}}"#));
            assert!(message.contains("entry 2: start_offset ") && message.contains("is no duration"), "{message}");
        }
        for fps in ["0", "-1", "24.5", "\"5\"", "1e400"] {
            assert!(refused(&format!(r#"{{"fps":{fps}}}"#)).contains("above 0 and at most 24"), "{fps}");
        }
        assert!(
            refused(r#"{"startOffset":"5s","endOffset":"5.0s"}"#).contains("it ends at \"5.0s\", not after its start at \"5s\"")
        );
        assert!(refused(r#"{"end_offset":"0s"}"#).contains("not after its start at \"0s\""));
        assert!(refused(r#"{"begin":"5s"}"#).contains("unknown member \"begin\""));
        assert!(refused("5").contains("give a list of objects"));
    }

    #[test]
    fn media_beside_raw_contents_are_refused_with_the_remedy() {
        let line = r#"{"contents":[{"parts":[{"text":"a"}]}],"image_path":"p"}"#;
        let message = Prompt::from_json(line).unwrap_err().to_string();
        assert_eq!(
            message,
            "\"image_path\": media fields go with \"prompt\"; beside \"contents\" write the media as parts inside it"
        );
        assert!(Prompt::from_json(r#"{"request":{"contents":[]},"audio_url":"http://a/"}"#).is_err());
    }

    #[test]
    fn a_wrong_number_of_tokens_is_told_at_the_prompt() {
        let error = Prompt::from_json(r#"{"image_path":"p","prompt":["<image>","and <image>"]}"#).unwrap_err();
        assert_eq!((error.line(), error.column()), (Some(1), Some(28)));
        assert!(error.to_string().starts_with("\"prompt\": the prompt has 2 <image> tokens, the record 1 image file"));
    }
}
