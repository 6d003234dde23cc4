//! HTTP to the API: one pooled client for the whole engine, HTTP/1.1 or sharded HTTP/2, faults told apart by phase.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use tower_service::Service;

use crate::backend::{Backend, Call, Opened, Passage, Reply, TransportError};
use crate::builder::BuildError;
use crate::media::{FileError, Payload, Sending};
use crate::redact::public_url;
use crate::retry_after;
use crate::terms::Terms;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// HTTP/2 where TLS negotiates it, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    One,
    /// HTTP/2 only, without negotiation on plain `http://` addresses.
    Two,
}

/// Calls in flight on one HTTP/2 connection before another is opened: 0.8 of the 100 streams that servers usually allow.
const STREAMS_PER_CONNECTION: usize = 80;
/// Receive window of an HTTP/2 connection. Many small frames against a small window make h2 0.4.16 and later close it.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Receive window of one HTTP/2 stream.
const STREAM_WINDOW: u32 = 2 << 20;

/// How we introduce ourselves.
pub(crate) const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

const INTRODUCTION: HeaderValue = HeaderValue::from_static(AGENT);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const KEY_HEADER: HeaderName = HeaderName::from_static("x-goog-api-key");
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-server-timeout");

type HttpClient = Client<HttpsConnector<HttpConnector<Resolver>>, Sending>;

/// The default [`Backend`].
pub(crate) struct HttpBackend {
    connector: HttpsConnector<HttpConnector<Resolver>>,
    version: HttpVersion,
    shards: RwLock<Vec<Arc<Shard>>>,
    /// Scheme, host and path up to the API version, without a slash at the end.
    prefix: String,
    /// The same, taken apart.
    base: Uri,
    authority: String,
    terms: Arc<Terms>,
}

/// Where the API lives, in the parts that its addresses are made of.
pub(crate) struct Address {
    /// Scheme, host and path before the version, without a slash at the end.
    pub root: String,
    /// `v1beta` unless the address says otherwise.
    pub version: String,
    /// Host and port.
    pub authority: String,
    /// Whether TLS is spoken.
    pub secure: bool,
}

impl Address {
    pub(crate) fn parse(base_url: &str) -> Result<Address, BuildError> {
        let public = public_url(base_url);
        let wrong = |reason: String| BuildError::BaseUrl { url: public.to_string(), reason };
        if public != base_url {
            return Err(wrong("it must not hold a query, a fragment or a password".to_string()));
        }
        let uri: Uri = base_url.parse().map_err(|fault: http::uri::InvalidUri| wrong(fault.to_string()))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it must begin with https:// or http://".to_string())),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host".to_string()))?.to_string();
        let path = uri.path().trim_end_matches('/');
        let versioned = ["/v1", "/v1beta", "/v1alpha"].iter().find_map(|version| Some((path.strip_suffix(version)?, *version)));
        let (path, version) = versioned.unwrap_or((path, "/v1beta"));
        let scheme = if secure { "https" } else { "http" };
        Ok(Address { root: format!("{scheme}://{authority}{path}"), version: version[1..].to_string(), authority, secure })
    }
}

/// One client: one HTTP/2 connection, or a pool of HTTP/1.1 connections.
struct Shard {
    client: HttpClient,
    in_flight: AtomicUsize,
}

struct Occupied(Arc<Shard>);

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpBackend {
    /// A backend for `base_url`; connections are opened when they are needed.
    pub(crate) fn new(base_url: &str, version: HttpVersion, terms: Arc<Terms>) -> Result<HttpBackend, BuildError> {
        let address = Address::parse(base_url)?;
        let prefix = format!("{}/{}", address.root, address.version);
        let wrong = |fault: http::uri::InvalidUri| BuildError::BaseUrl { url: base_url.to_string(), reason: fault.to_string() };
        Ok(HttpBackend {
            connector: connector(Resolver::new(), address.secure, version)?,
            version,
            shards: RwLock::new(Vec::new()),
            base: prefix.parse().map_err(wrong)?,
            prefix,
            authority: address.authority,
            terms,
        })
    }

    /// The first client with room, or a new one.
    fn shard(&self) -> Occupied {
        // HTTP/1.1 opens a connection for every call in flight; only HTTP/2 needs more than one client.
        let room = match self.version {
            HttpVersion::One => usize::MAX,
            HttpVersion::Auto if self.prefix.starts_with("http://") => usize::MAX,
            HttpVersion::Auto | HttpVersion::Two => STREAMS_PER_CONNECTION,
        };
        let free = |shard: &&Arc<Shard>| {
            let taken = shard.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < room).then_some(n + 1));
            taken.is_ok()
        };
        if let Some(shard) = self.shards.read().iter().find(free) {
            return Occupied(shard.clone());
        }
        let mut shards = self.shards.write();
        if let Some(shard) = shards.iter().find(free) {
            return Occupied(shard.clone());
        }
        let shard = Arc::new(Shard { client: self.client(), in_flight: AtomicUsize::new(1) });
        shards.push(shard.clone());
        Occupied(shard)
    }

    fn client(&self) -> HttpClient {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .http2_only(self.version == HttpVersion::Two)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_initial_stream_window_size(STREAM_WINDOW);
        builder.build(self.connector.clone())
    }

    /// Made in place: a builder would move all of it with every header.
    fn request(&self, call: &Call, method: &str) -> Result<Request<Sending>, http::Error> {
        let kind = if call.model.contains('/') { "" } else { "models/" };
        let path = [self.base.path(), "/", kind, &*call.model, ":", method].concat();
        let mut parts = http::uri::Parts::default();
        parts.scheme = self.base.scheme().cloned();
        parts.authority = self.base.authority().cloned();
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(path))?);
        let mut request = Request::new(call.body.clone().sending());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = Uri::from_parts(parts)?;
        // Room for the host as well.
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(KEY_HEADER, key_header(&call.key)?);
        headers.insert(USER_AGENT, INTRODUCTION);
        headers.insert(TIMEOUT_HEADER, self.terms.now().server_timeout.clone());
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn send(&self, call: Call, method: &str) -> Result<Reply, TransportError> {
        let request = self.request(&call, method).map_err(|_| TransportError::Key)?;
        self.exchange(request).await
    }

    /// The first entry of the model list: the cheapest thing to ask that needs a good key.
    pub(crate) async fn list_models(&self, key: &SecretString) -> Result<Reply, TransportError> {
        let request = key_header(key).and_then(|key| {
            let request = Request::get(format!("{}/models?pageSize=1", self.prefix)).header("x-goog-api-key", key);
            request.header(USER_AGENT, AGENT).body(Payload::from(Bytes::new()).sending())
        });
        self.exchange(request.map_err(|_| TransportError::Key)?).await
    }

    fn passing(&self, passage: Passage, key: &SecretString) -> Result<Request<Sending>, http::Error> {
        let method = if passage.body.is_some() { http::Method::POST } else { http::Method::GET };
        let mut request = Request::builder().method(method).uri(format!("{}/{}", self.prefix, passage.path));
        if passage.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.header("x-goog-api-key", key_header(key)?).header(USER_AGENT, AGENT);
        request.body(Payload::from(passage.body.unwrap_or_default()).sending())
    }

    async fn exchange(&self, request: Request<Sending>) -> Result<Reply, TransportError> {
        let shard = self.shard();
        let response = shard.0.client.request(request).await.map_err(|fault| explain(&self.authority, &fault))?;
        read(response).await
    }
}

impl Backend for HttpBackend {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let method = call.method.name();
        self.send(call, method).boxed()
    }

    fn open(&self, call: Call) -> BoxFuture<'_, Result<Opened, TransportError>> {
        async move {
            let request = self.request(&call, "streamGenerateContent?alt=sse").map_err(|_| TransportError::Key)?;
            let shard = self.shard();
            let response = shard.0.client.request(request).await.map_err(|fault| explain(&self.authority, &fault))?;
            Ok(opened(response, shard))
        }
        .boxed()
    }

    fn count_tokens(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.send(call, "countTokens").boxed()
    }

    fn pass(&self, passage: Passage, key: Arc<SecretString>) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            // Whoever hands on a path sees to it that it is one; a key that HTTP cannot carry is the usual fault.
            let request = self.passing(passage, &key).map_err(|_| TransportError::Key)?;
            self.exchange(request).await
        }
        .boxed()
    }
}

/// The head of an answer and its body as it comes; the client counts it as in flight until the body is dropped.
fn opened(response: Response<Incoming>, shard: Occupied) -> Opened {
    let (parts, body) = response.into_parts();
    let (content_type, retry_after) = told(&parts.headers);
    let body = stream::unfold((body, shard), |(mut body, shard)| async {
        loop {
            match body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some((Ok(data), (body, shard))),
                    Err(_) => continue,
                },
                Err(fault) => return Some((Err(TransportError::Cut { reason: innermost(&fault) }), (body, shard))),
            }
        }
    });
    Opened { status: parts.status.as_u16(), content_type, retry_after, body: body.boxed() }
}

/// `Content-Type`, and the seconds of `Retry-After`.
fn told(headers: &http::HeaderMap) -> (Option<String>, Option<String>) {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_string);
    (content_type, retry_after::seconds(headers, SystemTime::now()))
}

/// The header a key travels in; it is marked so that no log shows it.
pub(crate) fn key_header(key: &SecretString) -> Result<HeaderValue, http::Error> {
    let mut key = HeaderValue::from_str(key.expose_secret().trim())?;
    key.set_sensitive(true);
    Ok(key)
}

/// Which phase of a request to `host` failed.
pub(crate) fn explain(host: &str, fault: &hyper_util::client::legacy::Error) -> TransportError {
    let host = host.to_string();
    if let Some(dns) = find::<DnsFailure>(fault) {
        return TransportError::Dns { host, reason: dns.0.to_string() };
    }
    if let Some(media) = find::<FileError>(fault) {
        return TransportError::Media { reason: media.to_string() };
    }
    if let Some(tls) = find::<rustls::Error>(fault) {
        return TransportError::Tls { host, reason: tls.to_string() };
    }
    if fault.is_connect() {
        return TransportError::Connect { host, reason: innermost(fault) };
    }
    TransportError::Cut { reason: innermost(fault) }
}

/// The whole answer.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Reply, TransportError> {
    let (parts, body) = response.into_parts();
    let (content_type, retry_after) = told(&parts.headers);
    let body = body.collect().await.map_err(|fault| TransportError::Cut { reason: innermost(&fault) })?;
    Ok(Reply { status: parts.status.as_u16(), content_type, retry_after, body: body.to_bytes() })
}

// === connecting ===

pub(crate) fn connector<R>(
    resolver: R,
    secure: bool,
    version: HttpVersion,
) -> Result<HttpsConnector<HttpConnector<R>>, BuildError> {
    let mut http = HttpConnector::new_with_resolver(resolver);
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(20)));
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls_config(secure)?).https_or_http();
    Ok(match version {
        HttpVersion::Auto => builder.enable_all_versions().wrap_connector(http),
        HttpVersion::One => builder.enable_http1().wrap_connector(http),
        HttpVersion::Two => builder.enable_http2().wrap_connector(http),
    })
}

/// Roots of the operating system (which honours `SSL_CERT_FILE`), or the compiled-in ones where it has none.
fn tls_config(secure: bool) -> Result<rustls::ClientConfig, BuildError> {
    let mut roots = rustls::RootCertStore::empty();
    if secure {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|fault| BuildError::Tls(fault.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The system's resolver, with failures that can be told from others by their type.
#[derive(Clone)]
pub(crate) struct Resolver(GaiResolver);

impl Resolver {
    pub(crate) fn new() -> Resolver {
        Resolver(GaiResolver::new())
    }
}

#[derive(Debug)]
pub(crate) struct DnsFailure(io::Error);

impl std::fmt::Display for DnsFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "name resolution failed: {}", self.0)
    }
}

impl StdError for DnsFailure {}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = DnsFailure;
    type Future = BoxFuture<'static, Result<Self::Response, DnsFailure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DnsFailure>> {
        self.0.poll_ready(cx).map_err(DnsFailure)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.0.call(name);
        async move { found.await.map(|found| found.collect::<Vec<_>>().into_iter()).map_err(DnsFailure) }.boxed()
    }
}

// === errors ===

type Cause<'a> = &'a (dyn StdError + 'static);

fn causes(fault: Cause<'_>) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(Some(fault), |fault| cause(*fault))
}

/// What lies one step behind an error; an `io::Error` keeps what it wraps apart from its source.
fn cause(fault: Cause<'_>) -> Option<Cause<'_>> {
    let wrapped = fault.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|inner| inner as Cause<'_>).or_else(|| fault.source())
}

fn find<'a, E: StdError + 'static>(fault: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(fault).find_map(|cause| cause.downcast_ref::<E>())
}

fn innermost(fault: &(dyn StdError + 'static)) -> String {
    causes(fault).last().map_or_else(String::new, ToString::to_string)
}
