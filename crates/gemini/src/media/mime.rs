//! The MIME type of a medium: as its author says, else as its content says, else as its name says.

use std::borrow::Cow;

/// How many bytes of a medium [`sniff`] looks at.
pub const HEAD: usize = 1_024;

/// The type a medium is sent with; `head` holds its first [`HEAD`] bytes. `None` when nothing tells.
///
/// ```
/// use tidegate_gemini::media::mime;
/// assert_eq!(mime(None, b"%PDF-1.7", "scan.png").as_deref(), Some("application/pdf"));
/// assert_eq!(mime(None, b"\x00\x01", "clip.mpg").as_deref(), Some("video/mpg"));
/// assert_eq!(mime(Some("audio/L16"), b"ID3", "a.mp3").as_deref(), Some("audio/L16"));
/// ```
pub fn mime<'a>(given: Option<&'a str>, head: &[u8], name: &str) -> Option<Cow<'a, str>> {
    let found = || sniff(head).or_else(|| mime_of_name(name)).or_else(|| is_text(head).then_some("text/plain"));
    given.map(Cow::Borrowed).or_else(|| found().map(Cow::Borrowed))
}

/// The type the first bytes of a medium give away, in the API's spelling. Texts have no such mark.
pub fn sniff(head: &[u8]) -> Option<&'static str> {
    let marks: [(&[u8], &str); 17] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"ID3", "audio/mp3"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"ADIF", "audio/aac"),
        (b"#!AMR", "audio/amr"),
        (b"FLV\x01", "video/x-flv"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/wmv"),
        (b"\x00\x00\x01\xba", "video/mpeg"),
        (b"\x00\x00\x01\xb3", "video/mpeg"),
        (b"{\\rtf", "text/rtf"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"\xef\xbb\xbf%PDF-", "application/pdf"),
    ];
    let marked = marks.iter().find(|(mark, _)| head.starts_with(mark)).map(|(_, mime)| *mime);
    match marked {
        Some("audio/ogg") if find(head, b"theora").is_some() => Some("video/ogg"),
        Some(mime) => Some(mime),
        None => riff(head).or_else(|| iso(head)).or_else(|| matroska(head)).or_else(|| frames(head)).or_else(|| late(head)),
    }
}

fn riff(head: &[u8]) -> Option<&'static str> {
    match (head.get(..4)?, head.get(8..12)?) {
        (b"RIFF", b"WAVE") | (b"RF64", b"WAVE") => Some("audio/wav"),
        (b"RIFF", b"WEBP") => Some("image/webp"),
        (b"RIFF", b"AVI ") => Some("video/avi"),
        (b"FORM", b"AIFF" | b"AIFC") => Some("audio/aiff"),
        _ => None,
    }
}

/// The family of MP4, whose brand tells what it is.
fn iso(head: &[u8]) -> Option<&'static str> {
    match head.get(4..8)? {
        b"ftyp" => {}
        b"moov" | b"mdat" | b"wide" => return Some("video/mov"),
        _ => return None,
    }
    Some(match head.get(8..12)? {
        b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" => "image/heic",
        b"mif1" | b"msf1" => "image/heif",
        b"avif" | b"avis" => "image/avif",
        b"M4A " | b"M4B " => "audio/mp4",
        b"qt  " => "video/mov",
        [b'3', b'g', ..] => "video/3gpp",
        _ => "video/mp4",
    })
}

fn matroska(head: &[u8]) -> Option<&'static str> {
    let rest = head.strip_prefix(b"\x1a\x45\xdf\xa3")?;
    Some(if find(&rest[..rest.len().min(64)], b"webm").is_some() { "video/webm" } else { "video/x-matroska" })
}

/// Sound that begins with a frame rather than a mark.
fn frames(head: &[u8]) -> Option<&'static str> {
    let [0xff, flags, rates, ..] = *head else { return None };
    match flags & 0xf6 {
        0xf0 if rates >> 2 & 0xf < 13 => Some("audio/aac"),
        0xf2 | 0xe2 if rates >> 4 != 0xf && rates >> 2 & 3 != 3 => Some("audio/mp3"),
        _ => None,
    }
}

/// Marks that need not stand at the very start, and weak ones.
fn late(head: &[u8]) -> Option<&'static str> {
    if find(&head[..head.len().min(HEAD)], b"%PDF-").is_some() {
        return Some("application/pdf");
    }
    if head.starts_with(b"BM") && head.get(6..10) == Some(&[0; 4]) {
        return Some("image/bmp");
    }
    let packets = head.len() > 376 && [0, 188, 376].iter().all(|at| head[*at] == 0x47);
    packets.then_some("video/mpeg")
}

/// Where `needle` stands first.
pub(super) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

fn is_text(head: &[u8]) -> bool {
    let control = head.iter().any(|byte| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b));
    // A character may be cut in two at the end of the head.
    let whole = std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true);
    !head.is_empty() && !control && whole
}

/// The type the extension of a file's name or of an address stands for, in the API's spelling.
///
/// ```
/// use tidegate_gemini::media::mime_of_name;
/// assert_eq!(mime_of_name("birds/Wren.JPG"), Some("image/jpeg"));
/// assert_eq!(mime_of_name("https://a.example/dawn.mp3?session=1#t"), Some("audio/mp3"));
/// assert_eq!(mime_of_name("README"), None);
/// ```
pub fn mime_of_name(name: &str) -> Option<&'static str> {
    let name = if name.contains("://") { name.split(['?', '#']).next().unwrap_or(name) } else { name };
    let (_, extension) = name.rsplit(['/', '\\']).next()?.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" | "jpe" | "jfif" => "image/jpeg",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "gif" => "image/gif",
        "avif" => "image/avif",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        "mp3" => "audio/mp3",
        "wav" | "wave" => "audio/wav",
        "m4a" | "m4b" => "audio/mp4",
        "flac" => "audio/flac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "aac" | "adts" => "audio/aac",
        "aiff" | "aif" | "aifc" => "audio/aiff",
        "amr" => "audio/amr",
        "mp4" | "m4v" => "video/mp4",
        "mov" | "qt" => "video/mov",
        "mpeg" | "mpe" | "m2v" | "ts" | "m2ts" => "video/mpeg",
        "mpg" => "video/mpg",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "avi" => "video/avi",
        "wmv" | "asf" => "video/wmv",
        "flv" => "video/x-flv",
        "3gp" | "3gpp" | "3g2" => "video/3gpp",
        "ogv" => "video/ogg",
        "pdf" => "application/pdf",
        "txt" | "text" | "log" => "text/plain",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "md" | "markdown" => "text/md",
        "xml" => "text/xml",
        "rtf" => "text/rtf",
        "js" | "mjs" => "text/javascript",
        "py" => "text/x-python",
        "json" | "jsonl" => "application/json",
        _ => return None,
    })
}

/// The extension of a file with content of type `mime`; `bin` for types that are not known here.
pub fn extension(mime: &str) -> &'static str {
    match mime.split(';').next().unwrap_or_default().trim() {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/webp" => "webp",
        "image/gif" => "gif",
        "audio/wav" | "audio/x-wav" => "wav",
        "audio/mp3" | "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        "audio/flac" => "flac",
        "audio/aac" => "aac",
        "audio/mp4" => "m4a",
        // Samples without a header, as models that speak give them.
        "audio/L16" | "audio/l16" | "audio/pcm" => "pcm",
        "video/mp4" => "mp4",
        "application/pdf" => "pdf",
        "application/json" => "json",
        "text/csv" => "csv",
        "text/html" => "html",
        mime if mime.starts_with("text/") => "txt",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn content_is_known_by_its_mark() {
        let cases: [(&[u8], &str); 27] = [
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
            (b"\0\0\0\x18ftypheic", "image/heic"),
            (b"\0\0\0\x18ftypmif1", "image/heif"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
            (b"ID3\x04\0\0", "audio/mp3"),
            (b"\xff\xfb\x90\x00", "audio/mp3"),
            (b"\xff\xf3\x40\x00", "audio/mp3"),
            (b"\xff\xf1\x50\x80", "audio/aac"),
            (b"fLaC\0\0\0\x22", "audio/flac"),
            (b"OggS\0\x02", "audio/ogg"),
            (b"FORM\0\0\0\0AIFF", "audio/aiff"),
            (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
            (b"\0\0\0\x20ftypisom", "video/mp4"),
            (b"\0\0\0\x14ftypqt  ", "video/mov"),
            (b"\0\0\0\x08wide\0\0", "video/mov"),
            (b"\0\0\0\x18ftyp3gp5", "video/3gpp"),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "video/webm"),
            (b"\x1a\x45\xdf\xa3\xa3\x42\x82\x88matroska", "video/x-matroska"),
            (b"RIFF\x24\0\0\0AVI LIST", "video/avi"),
            (b"FLV\x01\x05", "video/x-flv"),
            (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6", "video/wmv"),
            (b"\x00\x00\x01\xba\x44", "video/mpeg"),
            (b"%PDF-1.4\n", "application/pdf"),
            (b"junk before %PDF-1.4\n", "application/pdf"),
        ];
        for (head, mime) in cases {
            assert_eq!(sniff(head), Some(mime), "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn what_has_no_mark_goes_by_its_name_and_a_text_by_its_being_one() {
        for head in [&b""[..], b"\xff", b"\xff\xff\xff\xff", b"hello", b"PK\x03\x04", b"BMW"] {
            assert_eq!(sniff(head), None, "{head:?}");
        }
        assert_eq!(mime(None, b"\x01\x02", "a.wmv").as_deref(), Some("video/wmv"));
        assert_eq!(mime(None, b"# birds", "list.md").as_deref(), Some("text/md"));
        assert_eq!(mime(None, "caf\u{e9}".as_bytes().get(..4).unwrap(), "NOTES").as_deref(), Some("text/plain"));
        assert_eq!(mime(None, b"\x01\x02", "NOTES"), None);
        assert_eq!(mime(None, b"", "NOTES"), None);
    }

    #[test]
    fn only_the_last_part_of_a_name_counts() {
        assert_eq!(mime_of_name("v1.mp4/readme"), None);
        assert_eq!(mime_of_name("https://a.example/x.png/"), None);
        assert_eq!(mime_of_name("what?.png"), Some("image/png"));
        assert_eq!(mime_of_name(r"C:\birds\wren.webp"), Some("image/webp"));
    }
}
