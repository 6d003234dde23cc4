//! A body with holes: the JSON around the media of a request, which are put in only when it is sent.

use bytes::Bytes;

/// The JSON of a request, with one hole for each medium. Without media it is the whole body.
///
/// A hole stands where the part's `inlineData` or `fileData` member belongs, name included, see
/// [`inline_start`](crate::media::inline_start) and [`file_data`](crate::media::file_data). Clones share the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skeleton {
    text: Bytes,
    holes: Vec<Hole>,
}

/// Stands in a hole where only the rest of the body matters.
pub(super) const NO_MEDIA: &str = "\"media\":0";

/// Where one medium belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hole {
    /// The offset in the text.
    at: usize,
    /// The number of the medium among the request's.
    item: usize,
}

/// A stretch of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes to be sent as they are.
    Text(Bytes),
    /// The place of the medium with this number in [`Request::media`](super::Request::media).
    Media(usize),
}

impl Skeleton {
    /// A body without holes.
    pub fn whole(text: impl Into<Bytes>) -> Skeleton {
        Skeleton { text: text.into(), holes: Vec::new() }
    }

    /// The bytes around the holes: the whole body, where there is no hole.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Whether media have to be put in before it can be sent.
    pub fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// The body as valid JSON with a mark in place of each medium, for those who want to know the rest of it.
    pub fn without_media(&self) -> Bytes {
        if self.has_holes() { self.filled(|_| NO_MEDIA.to_owned()).into() } else { self.text.clone() }
    }

    /// The stretches of the body in their order; no text is empty.
    pub fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(2 * self.holes.len() + 1);
        let mut from = 0;
        for hole in &self.holes {
            pieces.push(Piece::Text(self.text.slice(from..hole.at)));
            pieces.push(Piece::Media(hole.item));
            from = hole.at;
        }
        pieces.push(Piece::Text(self.text.slice(from..)));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        pieces
    }

    /// The body with what `fill` gives for each medium.
    pub fn filled(&self, fill: impl Fn(usize) -> String) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len());
        for piece in self.pieces() {
            match piece {
                Piece::Text(text) => out.extend_from_slice(&text),
                Piece::Media(item) => out.extend_from_slice(fill(item).as_bytes()),
            }
        }
        out
    }
}

/// A skeleton being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    text: String,
    holes: Vec<Hole>,
}

impl Writer {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn hole(&mut self, item: usize) {
        self.holes.push(Hole { at: self.text.len(), item });
    }

    pub(super) fn finish(self) -> Skeleton {
        Skeleton { text: self.text.into(), holes: self.holes }
    }
}
