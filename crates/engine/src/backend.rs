//! The door to whatever answers prompts: HTTP by default, anything that implements [`Backend`] otherwise.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use secrecy::SecretString;

use crate::media::Payload;

/// One attempt as a backend sees it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Bare model id.
    pub model: Arc<str>,
    /// What is asked of it.
    pub method: Method,
    /// The body as it goes over the wire.
    pub body: Payload,
    /// The key to use; its `Debug` is redacted.
    pub key: Arc<SecretString>,
}

/// What a call asks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// `generateContent`.
    #[default]
    Generate,
    /// `embedContent`: the vector of one text.
    Embed,
    /// `batchEmbedContents`: what several [`Method::Embed`] calls become on their way.
    EmbedTogether,
}

impl Method {
    /// The name behind the colon of the address.
    pub fn name(self) -> &'static str {
        match self {
            Method::Generate => "generateContent",
            Method::Embed => "embedContent",
            Method::EmbedTogether => "batchEmbedContents",
        }
    }
}

/// A call that is handed on as it is and that no quota counts: a look at models, a count of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// What stands behind the version in the address, with its query: `models?pageSize=5`. It must hold no key.
    pub path: String,
    /// The body of a POST; `None` for a GET.
    pub body: Option<Bytes>,
}

/// What came back with an HTTP status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, if told.
    pub content_type: Option<String>,
    /// The seconds of `Retry-After`, if told; a date is to be turned into seconds first.
    pub retry_after: Option<String>,
    /// The whole body.
    pub body: Bytes,
}

/// Why no (whole) HTTP answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The host name has no address.
    #[error("cannot resolve {host}: {reason}")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No connection.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// No secure connection.
    #[error("TLS with {host} failed: {reason}")]
    Tls {
        /// Host and port.
        host: String,
        /// What the TLS library said.
        reason: String,
    },
    /// The key holds a character that HTTP does not carry.
    #[error("the key holds a character that HTTP does not allow")]
    Key,
    /// A file that belongs to the body cannot be read any more.
    #[error("{reason}")]
    Media {
        /// Which file, and what is wrong with it.
        reason: String,
    },
    /// The connection ended before the whole answer was there.
    #[error("connection lost: {reason}")]
    Cut {
        /// What the HTTP library said.
        reason: String,
    },
    /// The call was refused as malformed, and others shared it: this text's own fault, or another's.
    #[error("a text of this call was refused as malformed (HTTP {status}); all of them are asked again in smaller company")]
    Company {
        /// The call's HTTP status.
        status: u16,
    },
    /// The attempt took longer than it may.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// The bound.
        seconds: u64,
    },
}

/// An answer whose body is still to come.
pub struct Opened {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, if told.
    pub content_type: Option<String>,
    /// The seconds of `Retry-After`, if told.
    pub retry_after: Option<String>,
    /// The body as it comes: server-sent events, or a list of objects.
    pub body: BoxStream<'static, Result<Bytes, TransportError>>,
}

/// Carries attempts to a service. Must be cheap to share; dropping the future must end the call.
pub trait Backend: Send + Sync + 'static {
    /// Sends one call and waits for the whole answer.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>>;

    /// Sends one call whose answer is wanted piece by piece. A backend that cannot do so gives it in one piece.
    fn open(&self, call: Call) -> BoxFuture<'_, Result<Opened, TransportError>> {
        let whole = self.call(call);
        async move {
            let Reply { status, content_type, retry_after, body } = whole.await?;
            let body = stream::once(std::future::ready(Ok(body))).boxed();
            Ok(Opened { status, content_type, retry_after, body })
        }
        .boxed()
    }

    /// Asks how many input tokens the call would have, without sending it for an answer. A backend that cannot tell says
    /// so with another status than 200, and the estimate stands.
    fn count_tokens(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        std::future::ready(Ok(not_implemented())).boxed()
    }

    /// Hands on a call that no quota counts. A backend that knows no such calls says 501.
    fn pass(&self, _passage: Passage, _key: Arc<SecretString>) -> BoxFuture<'_, Result<Reply, TransportError>> {
        std::future::ready(Ok(not_implemented())).boxed()
    }
}

fn not_implemented() -> Reply {
    Reply { status: 501, content_type: None, retry_after: None, body: Bytes::new() }
}
