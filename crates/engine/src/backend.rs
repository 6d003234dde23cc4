//! The door to whatever answers prompts: HTTP by default, anything that implements [`Backend`] otherwise.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
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

/// Carries attempts to a service. Must be cheap to share; dropping the future must end the call.
pub trait Backend: Send + Sync + 'static {
    /// Sends one call and waits for the whole answer.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>>;

    /// Asks how many input tokens the call would have, without sending it for an answer. A backend that cannot tell says
    /// so with another status than 200, and the estimate stands.
    fn count_tokens(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let reply = Reply { status: 501, content_type: None, retry_after: None, body: Bytes::new() };
        std::future::ready(Ok(reply)).boxed()
    }
}
