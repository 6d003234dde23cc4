//! Sends bytes to a server that is not the API, such as a collector of traces: the engine's TLS and resolver, none of its keys.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::backend::TransportError;
use crate::builder::BuildError;
use crate::transport::{AGENT, HttpVersion, Resolver, connector, explain};

/// The most bytes of an answer that are read.
const MOST_ANSWER: usize = 1 << 20;
/// Connections that are not used for so long are closed.
const IDLE: Duration = Duration::from_secs(90);

/// Carries requests to other servers and brings their answers.
#[derive(Debug, Clone)]
pub struct Courier {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    patience: Duration,
}

impl Courier {
    /// A courier that waits so long for a whole answer; it carries to `https://` addresses when it is `secure`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(secure: bool, patience: Duration) -> Result<Courier, BuildError> {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        let client = builder.build(connector(Resolver::new(), secure, HttpVersion::One)?);
        Ok(Courier { client, patience })
    }

    /// The answer, whatever its status. To be called on the runtime that serves the connections.
    ///
    /// # Errors
    /// When no whole answer came in time, or it is larger than 1 MiB.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let late = |_| TransportError::Timeout { seconds: self.patience.as_secs() };
        tokio::time::timeout(self.patience, self.exchange(request)).await.map_err(late)?
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let host = request.uri().host().unwrap_or_default().to_string();
        let mut request = request.map(Full::new);
        request.headers_mut().entry(header::USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        let response = self.client.request(request).await.map_err(|fault| explain(&host, &fault))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MOST_ANSWER).collect().await;
        let body = body.map_err(|fault| TransportError::Cut { reason: fault.to_string() })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
