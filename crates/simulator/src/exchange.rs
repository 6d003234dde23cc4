//! A request as it arrives and an answer as it leaves: bytes with their times, and how the connection ends.

use std::time::Duration;

use serde_json::Value;

/// A request at the instant of its arrival.
pub struct SimRequest<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// All headers; names in any case.
    pub headers: &'a [(String, String)],
    /// The whole body.
    pub body: &'a [u8],
}

/// What the server does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimAnswer {
    /// The HTTP status, or [`SimAnswer::NO_ANSWER`].
    pub status: u16,
    /// The headers, without a length.
    pub headers: Vec<(String, String)>,
    /// The body in the order of sending; the status line leaves with the first piece.
    pub pieces: Vec<Piece>,
    /// The connection is torn after the last piece, without a proper end.
    pub cut: bool,
    /// A `content-length` larger than what is sent; `None`: the true one, or chunks.
    pub declared_length: Option<usize>,
}

/// Some bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Time since the previous piece, or since the arrival of the request.
    pub after: Duration,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl<'a> SimRequest<'a> {
    /// The first header of this name (given in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl SimAnswer {
    /// The status of a connection that is closed without any answer, once its one empty piece is due.
    pub const NO_ANSWER: u16 = 0;

    /// Whether a status line is ever sent.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.status != Self::NO_ANSWER
    }

    /// From the arrival of the request to the last byte.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.pieces.iter().map(|piece| piece.after).sum()
    }

    /// All bytes together.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect()
    }

    /// Silence for a while, then a closed connection.
    pub(crate) fn silence(after: Duration) -> Self {
        let pieces = vec![Piece { after, bytes: Vec::new() }];
        Self { status: Self::NO_ANSWER, headers: Vec::new(), pieces, cut: true, declared_length: None }
    }

    pub(crate) fn json(status: u16, body: &Value, after: Duration) -> Self {
        Self::of(status, "application/json; charset=UTF-8", format!("{body:#}\n"), after)
    }

    pub(crate) fn html(status: u16, page: &str, after: Duration) -> Self {
        Self::of(status, "text/html; charset=UTF-8", page.to_owned(), after)
    }

    /// JSON that was written already.
    pub(crate) fn written(status: u16, body: String, after: Duration) -> Self {
        Self::of(status, "application/json; charset=UTF-8", body, after)
    }

    /// The content of a file that was made here.
    pub(crate) fn lines(body: String) -> Self {
        Self::of(200, "application/jsonl", body, Duration::ZERO)
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn of(status: u16, kind: &str, body: String, after: Duration) -> Self {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        let pieces = vec![Piece { after, bytes: body.into_bytes() }];
        Self { status, headers, pieces, cut: false, declared_length: None }
    }
}
