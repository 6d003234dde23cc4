//! Calls that are handed on as they are, with a key of one project: any method, any path, bodies as streams.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use http::header::{HeaderMap, LOCATION, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use tidegate_scheduler::{KeyId, KeyState, Outcome};

use crate::backend::{Reply, TransportError};
use crate::builder::BuildError;
use crate::classify::classify;
use crate::driver::Driver;
use crate::passage::PassageError;
use crate::redact;
use crate::transport::{AGENT, Address, HttpVersion, Resolver, connector, explain, key_header};

/// Why the body of a relayed request broke off.
pub type BodyFault = Box<dyn StdError + Send + Sync>;
/// The body of a relayed request.
pub type RelayBody = UnsyncBoxBody<Bytes, BodyFault>;

/// So many keys of a project are tried.
const MOST_KEYS: usize = 3;

/// A call to be handed on.
#[derive(Debug, Clone)]
pub struct Relayed {
    /// Its method.
    pub method: Method,
    /// Path and query behind the host and its prefix, version included: `v1beta/files?pageSize=5`. It must hold no key.
    pub path: String,
    /// Its headers; one with a key is added.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// An answer to a relayed call whose body is still to come.
pub struct Relaying {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// Who was asked.
    pub project: u32,
    /// The body as it comes.
    pub body: BoxStream<'static, Result<Bytes, TransportError>>,
    key: Option<Arc<SecretString>>,
}

impl Relaying {
    /// The whole body, without the key.
    ///
    /// # Errors
    /// When it breaks off, or is longer than `most` bytes.
    pub async fn whole(mut self, most: usize) -> Result<Reply, TransportError> {
        use futures_util::StreamExt as _;
        let mut body = Vec::new();
        while let Some(piece) = self.body.next().await {
            body.extend_from_slice(&piece?);
            if body.len() > most {
                return Err(TransportError::Cut { reason: format!("the answer has more than {most} bytes") });
            }
        }
        let text = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_string);
        let (content_type, retry_after) = (text("content-type"), text("retry-after"));
        let reply = Reply { status: self.status, content_type, retry_after, body: body.into() };
        Ok(self.key.as_ref().and_then(|key| redact::hidden_whole(&reply, key)).unwrap_or(reply))
    }

    /// The same answer, of which somebody sees every piece on its way.
    pub fn tapped(mut self, mut see: impl FnMut(&Bytes) + Send + 'static) -> Relaying {
        use futures_util::StreamExt as _;
        self.body = self
            .body
            .inspect(move |piece| {
                if let Ok(piece) = piece {
                    see(piece)
                }
            })
            .boxed();
        self
    }

    /// True when a text holds the key that was used.
    pub fn tells_key(&self, text: &str) -> bool {
        self.key.as_ref().is_some_and(|key| text.contains(key.expose_secret().trim()))
    }
}

/// The HTTP client of relayed calls; connections are opened when they are needed.
pub(crate) struct Relay {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, RelayBody>,
    address: Address,
}

impl Relay {
    pub(crate) fn new(base_url: &str) -> Result<Relay, BuildError> {
        let address = Address::parse(base_url)?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(90));
        // One call a connection: no chunk of an upload waits behind the window of another.
        Ok(Relay { client: builder.build(connector(Resolver::new(), address.secure, HttpVersion::One)?), address })
    }

    async fn once(
        &self,
        driver: &Driver,
        project: u32,
        key: Arc<SecretString>,
        relayed: Relayed,
    ) -> Result<Relaying, TransportError> {
        let Relayed { method, path, headers, body } = relayed;
        let url = format!("{}/{path}", self.address.root);
        let bound = driver.terms.now().attempt_timeout;
        let response = self.send(method, &url, headers, Some(&key), whole(body), bound).await?;
        Ok(opened(driver, response, project, Some(key)))
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        key: Option<&SecretString>,
        body: RelayBody,
        bound: Duration,
    ) -> Result<Response<Incoming>, TransportError> {
        let request = Request::builder().method(method).uri(url).header(USER_AGENT, AGENT).body(body);
        let mut request =
            request.map_err(|fault| TransportError::Cut { reason: format!("the address cannot be used: {fault}") })?;
        request.headers_mut().extend(headers);
        if let Some(key) = key {
            request.headers_mut().insert("x-goog-api-key", key_header(key).map_err(|_| TransportError::Key)?);
        }
        let sent = tokio::time::timeout(bound, self.client.request(request)).await;
        let answered = sent.map_err(|_| TransportError::Timeout { seconds: bound.as_secs() })?;
        answered.map_err(|fault| explain(&self.address.authority, &fault))
    }
}

/// Hands a call on with this key of `project`, and brings whatever is answered.
pub(crate) async fn once(
    driver: &Driver,
    project: u32,
    key: Arc<SecretString>,
    relayed: Relayed,
) -> Result<Relaying, TransportError> {
    match &driver.relay {
        Some(relay) => relay.once(driver, project, key, relayed).await,
        None => Err(TransportError::Cut { reason: PassageError::NoRelay.to_string() }),
    }
}

/// Hands a call on with a key of `project`; with another one of it when the fault is the key's.
pub(crate) async fn relay(driver: &Driver, project: u32, relayed: Relayed) -> Result<Relaying, PassageError> {
    let relay = driver.relay.as_ref().ok_or(PassageError::NoRelay)?;
    let keys = keys_of(driver, project)?;
    let turn = driver.counted.fetch_add(1, Ordering::Relaxed);
    let mut last = PassageError::NoKey;
    for key in keys.iter().cycle().skip(turn % keys.len().max(1)).take(keys.len().min(MOST_KEYS)) {
        match relay.once(driver, project, key.clone(), relayed.clone()).await {
            Ok(relaying) => match judged(driver, relaying).await? {
                Some(relaying) => return Ok(relaying),
                None => last = PassageError::NoKey,
            },
            // What changes nothing may be asked twice.
            Err(fault) if relayed.method == Method::GET => last = fault.into(),
            Err(fault) => return Err(fault.into()),
        }
    }
    Err(last)
}

/// The same for a body that can be sent but once.
pub(crate) async fn relay_stream(
    driver: &Driver,
    project: u32,
    relayed: Relayed,
    body: RelayBody,
) -> Result<Relaying, PassageError> {
    let relay = driver.relay.as_ref().ok_or(PassageError::NoRelay)?;
    let keys = keys_of(driver, project)?;
    let turn = driver.counted.fetch_add(1, Ordering::Relaxed);
    let key = keys.get(turn % keys.len().max(1)).ok_or(PassageError::NoKey)?;
    let Relayed { method, path, headers, .. } = relayed;
    let url = format!("{}/{path}", relay.address.root);
    let response = relay.send(method, &url, headers, Some(key), body, driver.terms.now().attempt_timeout).await?;
    let relaying = opened(driver, response, project, Some(key.clone()));
    judged(driver, relaying).await?.ok_or(PassageError::NoKey)
}

/// Sends what belongs to an upload that was begun: its address is all it is known by, no key goes along.
pub(crate) async fn upload(
    driver: &Driver,
    project: u32,
    url: &str,
    headers: HeaderMap,
    body: RelayBody,
) -> Result<Relaying, PassageError> {
    let relay = driver.relay.as_ref().ok_or(PassageError::NoRelay)?;
    let response = relay.send(Method::POST, url, headers, None, body, driver.terms.now().attempt_timeout).await?;
    Ok(opened(driver, response, project, None))
}

/// A whole body.
pub(crate) fn whole(bytes: Bytes) -> RelayBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// `None` for an answer that blames the key, which nobody outside is to be told of.
async fn judged(driver: &Driver, relaying: Relaying) -> Result<Option<Relaying>, PassageError> {
    if relaying.status < 400 {
        return if leads_away(&relaying) { Err(PassageError::Elsewhere) } else { Ok(Some(relaying)) };
    }
    let (project, headers) = (relaying.project, relaying.headers.clone());
    let reply = error_of(relaying).await?;
    let outcome = classify(crate::backend::Method::Generate, &Ok(reply.clone()), &driver.terms.now().retry_on).outcome;
    if matches!(outcome, Outcome::KeyRejected(_)) && !is_of_thing(&reply.body) {
        return Ok(None);
    }
    let body = Box::pin(stream::once(std::future::ready(Ok(reply.body))));
    Ok(Some(Relaying { status: reply.status, headers, project, body, key: None }))
}

/// Whether an answer sends its reader elsewhere: whoever follows would show its key there, or none at all.
pub(crate) fn leads_away(relaying: &Relaying) -> bool {
    (300..400).contains(&relaying.status) && relaying.headers.contains_key(LOCATION)
}

/// The whole of an error.
pub(crate) async fn error_of(relaying: Relaying) -> Result<Reply, TransportError> {
    relaying.whole(MOST_OF_ERRORS).await
}

/// Whether an error that seems to be of the key may be of a thing that is another project's: the words are the same.
pub(crate) fn is_of_thing(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("The caller does not have permission")
}

/// An error body has not so many bytes.
const MOST_OF_ERRORS: usize = 1 << 20;

fn opened(driver: &Driver, response: Response<Incoming>, project: u32, key: Option<Arc<SecretString>>) -> Relaying {
    let (head, body) = response.into_parts();
    let pause = driver.terms.now().attempt_timeout;
    let body = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        loop {
            match tokio::time::timeout(pause, body.frame()).await {
                Err(_) => return Some((Err(TransportError::Timeout { seconds: pause.as_secs() }), None)),
                Ok(None) => return None,
                Ok(Some(Err(fault))) => return Some((Err(TransportError::Cut { reason: fault.to_string() }), None)),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Some((Ok(data), Some(body))),
                    Err(_) => continue,
                },
            }
        }
    });
    Relaying { status: head.status.as_u16(), headers: head.headers, project, body: Box::pin(body), key }
}

/// Every key of a project that is not known to be dead.
pub(crate) fn keys_of(driver: &Driver, project: u32) -> Result<Vec<Arc<SecretString>>, PassageError> {
    let of = alive(driver)?.into_iter().filter(|(key, _)| driver.key(*key).project == project);
    Ok(of.map(|(key, _)| driver.key(key).secret.clone()).collect())
}

/// Projects with a good key, the freest first; those that are equally free take turns.
pub(crate) fn freest(driver: &Driver, takes_turn: bool) -> Result<Vec<u32>, PassageError> {
    let mut ranks: Vec<(u8, u32)> = Vec::new();
    for (key, state) in alive(driver)? {
        let rank = match state {
            KeyState::Available | KeyState::Cooldown { .. } => 0,
            KeyState::TemporarilyExhausted { .. } => 1,
            KeyState::FullyExhausted { .. } | KeyState::FailedInit { .. } => 2,
        };
        let project = driver.key(key).project;
        match ranks.iter_mut().find(|(_, known)| *known == project) {
            Some(known) => known.0 = known.0.min(rank),
            None => ranks.push((rank, project)),
        }
    }
    let turn = driver.turns.fetch_add(usize::from(takes_turn), Ordering::Relaxed) % ranks.len().max(1);
    ranks.rotate_left(turn);
    ranks.sort_by_key(|(rank, _)| *rank);
    Ok(ranks.into_iter().map(|(_, project)| project).collect())
}

fn alive(driver: &Driver) -> Result<Vec<(KeyId, KeyState)>, PassageError> {
    let mut state = driver.state.lock();
    if state.closed {
        return Err(PassageError::Closed);
    }
    let keys = state.scheduler.keys(driver.clock.now()).into_iter().map(|key| (key.key, key.state));
    Ok(keys.filter(|(_, state)| !matches!(state, KeyState::FailedInit { .. })).collect())
}
