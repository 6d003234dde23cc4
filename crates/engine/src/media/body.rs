//! The body of a prompt with media: its JSON, and for each hole the way its content goes.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_gemini::media::{INLINE_END, file_data, inline_start};
use tidegate_gemini::request;

use super::file::{ContentHash, LocalFile};
use super::payload::{Payload, Piece};
use crate::store::RemoteFile;

/// The body of a request as it is handed to the engine.
#[derive(Debug, Clone)]
pub enum Body {
    /// The bytes of `generateContent`, exactly as they go over the wire.
    Ready(Bytes),
    /// One whose media are read, uploaded or fetched when it is sent.
    Media(Arc<MediaBody>),
}

impl Body {
    /// The bytes, where no media have to be put in.
    pub fn ready(&self) -> Option<&Bytes> {
        match self {
            Body::Ready(bytes) => Some(bytes),
            Body::Media(_) => None,
        }
    }

    /// The JSON with a mark in place of each medium, to be changed and given to [`Body::remade`].
    pub(crate) fn marked(&self) -> Bytes {
        match self {
            Body::Ready(bytes) => bytes.clone(),
            Body::Media(media) => media.marked(),
        }
    }

    /// The same media in a changed JSON: one that came of [`Body::marked`].
    pub(crate) fn remade(&self, changed: Bytes) -> Body {
        match self {
            Body::Ready(_) => Body::Ready(changed),
            Body::Media(media) => Body::Media(Arc::new(media.remade(&changed))),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Body {
        Body::Ready(bytes.into())
    }
}

/// JSON with holes, and what goes into them. Made by [`Resolver::resolve`](super::Resolver::resolve).
#[derive(Debug, Clone)]
pub struct MediaBody {
    pub(crate) pieces: Arc<[request::Piece]>,
    pub(crate) parts: Vec<Part>,
}

/// What goes into one hole.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The type it is sent with; an address that tells none has none.
    pub mime: Option<Arc<str>>,
    pub content: Content,
    /// Whether a file goes to the storage of the project instead of into the body.
    pub upload: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    File(Arc<LocalFile>),
    /// Base64 as its author wrote it.
    Base64(Bytes),
    /// An address that the API opens itself.
    Address(Arc<str>),
    /// An address that is opened here, before the prompt is handed on.
    Fetch(Arc<str>),
}

/// A file that has to lie in the project's storage before the prompt can be sent.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub file: Arc<LocalFile>,
    pub hash: ContentHash,
    pub mime: Arc<str>,
    /// For displays, here and at the service.
    pub name: Arc<str>,
}

/// Sent as the type of what nothing tells the type of.
const UNKNOWN: &str = "application/octet-stream";

impl Part {
    /// Bytes of its content, where it is here.
    pub(crate) fn size(&self) -> u64 {
        match &self.content {
            Content::File(file) => file.size(),
            Content::Base64(text) => text.len() as u64 / 4 * 3,
            Content::Address(_) | Content::Fetch(_) => 0,
        }
    }

    pub(crate) fn mime(&self) -> Arc<str> {
        self.mime.clone().unwrap_or_else(|| UNKNOWN.into())
    }

    fn source(&self) -> Option<Source> {
        let (Content::File(file), true) = (&self.content, self.upload) else { return None };
        // Known since it was decided that the file is uploaded.
        let hash = file.known_hash()?;
        Some(Source { file: file.clone(), hash, mime: self.mime(), name: file.name().into() })
    }
}

impl MediaBody {
    /// The files that have to be uploaded for it, each content once.
    pub(crate) fn uploads(&self) -> Vec<Source> {
        let mut sources: Vec<Source> = self.parts.iter().filter_map(Part::source).collect();
        sources.sort_by_key(|source| source.hash);
        sources.dedup_by_key(|source| source.hash);
        sources
    }

    /// What no text can hold by chance: it begins with a digest of all of them.
    fn mark(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for piece in self.pieces.iter() {
            if let request::Piece::Text(text) = piece {
                hasher.update(text);
            }
        }
        format!("\"{}-", hasher.finalize().to_hex())
    }

    fn marked(&self) -> Bytes {
        let mark = self.mark();
        let mut out = Vec::new();
        for piece in self.pieces.iter() {
            match piece {
                request::Piece::Text(text) => out.extend_from_slice(text),
                request::Piece::Media(number) => out.extend_from_slice(format!("{mark}{number}\":0").as_bytes()),
            }
        }
        out.into()
    }

    fn remade(&self, changed: &Bytes) -> MediaBody {
        let mark = self.mark();
        let text = std::str::from_utf8(changed).unwrap_or("");
        let (mut pieces, mut from) = (Vec::new(), 0);
        for (at, _) in text.match_indices(&mark) {
            let rest = &text[at + mark.len()..];
            let Some((number, _)) = rest.split_once("\":0") else { continue };
            let Ok(medium) = number.parse() else { continue };
            pieces.extend([request::Piece::Text(changed.slice(from..at)), request::Piece::Media(medium)]);
            from = at + mark.len() + number.len() + "\":0".len();
        }
        pieces.push(request::Piece::Text(changed.slice(from..)));
        MediaBody { pieces: pieces.into(), parts: self.parts.clone() }
    }

    /// What goes over the wire, if `remote` knows where each of its uploads lies.
    pub(crate) fn payload(&self, remote: impl Fn(ContentHash) -> Option<Arc<RemoteFile>>) -> Option<Payload> {
        let mut pieces = Vec::new();
        for piece in self.pieces.iter() {
            match piece {
                request::Piece::Text(text) => pieces.push(Piece::Bytes(text.clone())),
                request::Piece::Media(number) => fill(self.parts.get(*number)?, &remote, &mut pieces)?,
            }
        }
        Some(Payload::of(pieces))
    }
}

fn fill(part: &Part, remote: impl Fn(ContentHash) -> Option<Arc<RemoteFile>>, pieces: &mut Vec<Piece>) -> Option<()> {
    let text = |text: String| Piece::Bytes(text.into());
    if let Some(source) = part.source() {
        pieces.push(text(file_data(Some(&source.mime), &remote(source.hash)?.uri)));
        return Some(());
    }
    let content = match &part.content {
        Content::Address(uri) => {
            pieces.push(text(file_data(part.mime.as_deref(), uri)));
            return Some(());
        }
        Content::File(file) => Piece::Base64(file.clone()),
        Content::Base64(base64) => Piece::Bytes(base64.clone()),
        Content::Fetch(_) => return None,
    };
    pieces.extend([text(inline_start(&part.mime())), content, Piece::Bytes(Bytes::from_static(INLINE_END.as_bytes()))]);
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn a_changed_question_keeps_its_media_in_their_places() {
        let text = |text: &'static str| request::Piece::Text(Bytes::from_static(text.as_bytes()));
        let pieces = [text("[{"), request::Piece::Media(1), text("},{"), request::Piece::Media(0), text("}]")];
        let part = |uri: &str| Part { mime: None, content: Content::Address(uri.into()), upload: false };
        let body = Body::Media(Arc::new(MediaBody { pieces: pieces.into(), parts: vec![part("a"), part("b")] }));
        let marked = String::from_utf8(body.marked().to_vec()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&marked).is_ok(), "{marked}");
        let changed = marked.replace("}]", "},{\"text\":\"again\"}]");
        let Body::Media(remade) = body.remade(changed.into()) else { panic!("no media left") };
        let sent = remade.payload(|_| None).unwrap().read().await.unwrap();
        assert_eq!(sent, r#"[{"fileData":{"fileUri":"b"}},{"fileData":{"fileUri":"a"}},{"text":"again"}]"#);
    }
}
