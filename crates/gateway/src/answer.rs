//! What goes back to a caller: a whole body, or one that grows piece by piece.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde_json::Value;

/// A response of the gateway.
pub type Answer = Response<Body>;

/// A body, whole or growing.
pub enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// Piece by piece, each sent as soon as it is there.
    Growing(BoxStream<'static, Bytes>),
    /// As another server sends it; when that one breaks off, so does this.
    Relayed(BoxStream<'static, io::Result<Bytes>>),
}

/// JSON as Google sends it.
pub fn json(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::Whole(Full::new(body.into())));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    answer
}

/// A value as JSON.
pub fn value(status: u16, value: &Value) -> Answer {
    json(status, value.to_string())
}

/// A stream of pieces.
pub fn growing(content_type: &'static str, pieces: BoxStream<'static, Bytes>) -> Answer {
    let mut answer = Response::new(Body::Growing(pieces));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Body::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Body::Growing(pieces) => pieces.poll_next_unpin(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
            Body::Relayed(pieces) => pieces.poll_next_unpin(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(body) => body.is_end_stream(),
            Body::Growing(_) | Body::Relayed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(body) => body.size_hint(),
            Body::Growing(_) | Body::Relayed(_) => SizeHint::default(),
        }
    }
}
