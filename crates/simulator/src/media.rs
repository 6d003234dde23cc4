//! Media as the server knows them: which types it takes, of which kind they are, and what was found out about one.

/// What a medium is, for counting and for saying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Image,
    Audio,
    Video,
    Document,
    Text,
}

/// What the bytes of a medium told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) bytes: u64,
    /// Whether the bytes begin like an image that can be decoded.
    pub(crate) is_image: bool,
    /// Width and height.
    pub(crate) pixels: Option<(u32, u32)>,
    pub(crate) seconds: Option<f64>,
    pub(crate) pages: Option<u64>,
}

impl Kind {
    /// The kind of a MIME type (parameters ignored); `None` for one the API refuses.
    pub(crate) fn of(mime: &str) -> Option<Self> {
        let mime = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (class, format) = mime.split_once('/')?;
        let kind = match class {
            "image" => (Self::Image, IMAGES),
            "audio" => (Self::Audio, AUDIO),
            "video" => (Self::Video, VIDEO),
            "text" => (Self::Text, TEXTS),
            _ if mime == "application/pdf" => return Some(Self::Document),
            _ if TEXT_APPLICATIONS.contains(&format) => return Some(Self::Text),
            _ => return None,
        };
        kind.1.contains(&format).then_some(kind.0)
    }

    /// Whether an upload of this kind is looked at before it can be used.
    pub(crate) fn is_processed(self) -> bool {
        matches!(self, Self::Audio | Self::Video)
    }

    /// `image`, `audio`, ...
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
            Self::Text => "text_file",
        }
    }
}

const IMAGES: &[&str] = &["png", "jpeg", "jpg", "webp", "heic", "heif"];
const AUDIO: &[&str] = &[
    "wav", "x-wav", "wave", "mp3", "mpeg", "aiff", "x-aiff", "aac", "ogg", "flac", "x-flac", "mp4", "m4a", "x-m4a", "webm",
    "opus",
];
const VIDEO: &[&str] =
    &["mp4", "mpeg", "mov", "quicktime", "avi", "x-msvideo", "x-flv", "mpg", "webm", "wmv", "x-ms-wmv", "3gpp", "x-matroska"];
const TEXTS: &[&str] = &[
    "plain",
    "html",
    "css",
    "csv",
    "md",
    "markdown",
    "x-markdown",
    "xml",
    "rtf",
    "javascript",
    "x-python",
    "x-typescript",
    "x-script.python",
    "tab-separated-values",
];
const TEXT_APPLICATIONS: &[&str] =
    &["json", "rtf", "x-javascript", "javascript", "x-python", "x-python-code", "x-typescript", "xml"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn documented_types_have_a_kind_and_others_none() {
        assert_eq!(Kind::of("image/png"), Some(Kind::Image));
        assert_eq!(Kind::of("Audio/WAV"), Some(Kind::Audio));
        assert_eq!(Kind::of("video/quicktime"), Some(Kind::Video));
        assert_eq!(Kind::of("application/pdf"), Some(Kind::Document));
        assert_eq!(Kind::of("text/plain; charset=utf-8"), Some(Kind::Text));
        for refused in ["", "image", "image/gif", "image/tiff", "application/zip", "application/octet-stream", "video/"] {
            assert_eq!(Kind::of(refused), None, "{refused}");
        }
    }
}
