//! The Files API over HTTP: resumable uploads that go on where a cut connection left them, looks, deletions.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Setback;
use crate::backend::{Reply, TransportError};
use crate::builder::BuildError;
use crate::media::{Payload, Piece, Sending, Source};
use crate::transport::{AGENT, Address, HttpVersion, Resolver, connector, explain, key_header, read};

/// Sent in one request of an upload: what Google's own clients use, and a multiple of what the protocol asks for.
const CHUNK: u64 = 8 << 20;
/// Failures in a row, without a byte getting through, after which an upload is given up.
const TRIES: u32 = 6;
/// Sessions the service may lose before an upload is given up.
const SESSIONS: u32 = 3;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Before the first repetition of a failed request; each further one waits twice as long.
    pub pause: Duration,
    /// Before the first look at a file that is being processed; each further one waits 1.6 times as long.
    pub look: Duration,
    /// The longest of these pauses.
    pub longest: Duration,
    /// For one request, its answer included.
    pub request: Duration,
    /// For a file to be processed.
    pub processing: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            pause: Duration::from_millis(500),
            look: Duration::from_millis(250),
            longest: Duration::from_secs(10),
            request: Duration::from_secs(300),
            processing: Duration::from_secs(3600),
        }
    }
}

/// A file in a project's storage, as the service describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    pub name: String,
    pub uri: String,
    pub state: RemoteState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RemoteState {
    /// The answer does not say; it is missing right after some uploads.
    Untold,
    Processing,
    Active,
    /// With the service's reason.
    Failed(String),
}

/// Speaks to the Files API; connections are opened when they are needed.
pub(crate) struct FilesClient {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Sending>,
    address: Address,
    pub(super) patience: Patience,
}

/// An answer with what the upload protocol says in its headers.
struct Answered {
    reply: Reply,
    status: Option<String>,
    url: Option<String>,
    received: Option<u64>,
}

/// How far a session is.
enum Standing {
    At(u64),
    Done(Remote),
    Lost,
}

impl FilesClient {
    pub(crate) fn new(base_url: &str, patience: Patience) -> Result<FilesClient, BuildError> {
        let mut address = Address::parse(base_url)?;
        if address.version == "v1" {
            // The stable version of the API has no files.
            address.version = "v1beta".to_string();
        }
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(90));
        // One upload a connection: none waits behind the window of another.
        let client = builder.build(connector(Resolver::new(), address.secure, HttpVersion::One)?);
        Ok(FilesClient { client, address, patience })
    }

    /// Uploads the whole source. `progress` hears how many bytes the service has.
    ///
    /// # Errors
    /// The answer or the fault that ended it; whose it is, the caller judges.
    pub(crate) async fn upload(
        &self,
        key: &SecretString,
        source: &Source,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Remote, Setback> {
        let mut sessions = 0;
        loop {
            sessions += 1;
            let url = self.start(key, source).await?;
            match self.send(&url, source, progress).await {
                Ok(Some(remote)) => return Ok(remote),
                Ok(None) if sessions < SESSIONS => progress(0),
                Ok(None) => return Err(Setback::Lost(cut("the upload session was lost again and again"))),
                Err(setback) => return Err(setback),
            }
        }
    }

    /// What the service says of a file.
    pub(crate) async fn look(&self, key: &SecretString, name: &str) -> Result<Remote, Setback> {
        let answered = self.plain(Method::GET, key, name).await?;
        remote(&answered.reply).ok_or(Setback::Refused(answered.reply))
    }

    /// Deletes a file. One that is gone already counts as deleted.
    pub(crate) async fn delete(&self, key: &SecretString, name: &str) -> Result<(), Setback> {
        let answered = self.plain(Method::DELETE, key, name).await?;
        match answered.reply.status {
            200..=299 | 403 | 404 => Ok(()),
            _ => Err(Setback::Refused(answered.reply)),
        }
    }

    async fn start(&self, key: &SecretString, source: &Source) -> Result<String, Setback> {
        let Address { root, version, .. } = &self.address;
        let about =
            json!({"file": {"displayName": source.name, "mimeType": source.mime, "sizeBytes": source.file.size().to_string()}});
        let request = Request::post(format!("{root}/upload/{version}/files"))
            .header("x-goog-api-key", header(key)?)
            .header("x-goog-upload-protocol", "resumable")
            .header("x-goog-upload-command", "start")
            .header("x-goog-upload-header-content-length", source.file.size())
            .header("x-goog-upload-header-content-type", source.mime.as_ref())
            .header(CONTENT_TYPE, "application/json");
        let answered = self.exchange(request, Bytes::from(about.to_string()).into()).await?;
        match answered.url {
            Some(url) if answered.reply.status == 200 => Ok(url),
            _ if answered.reply.status == 200 => Err(Setback::Lost(cut("the answer to an upload's start names no address"))),
            _ => Err(Setback::Refused(answered.reply)),
        }
    }

    /// Sends the bytes of one session, chunk by chunk; `None` when the service does not know the session any more.
    async fn send(&self, url: &str, source: &Source, progress: &(dyn Fn(u64) + Send + Sync)) -> Result<Option<Remote>, Setback> {
        let (mut at, mut failures) = (0, 0);
        loop {
            let setback = match self.chunk(url, source, at).await {
                Ok(Standing::Done(remote)) => return Ok(Some(remote)),
                Ok(Standing::Lost) => return Ok(None),
                Ok(Standing::At(next)) => {
                    (at, failures) = (next, 0);
                    progress(at);
                    continue;
                }
                Err(setback) if setback.is_final() => return Err(setback),
                Err(setback) => setback,
            };
            failures += 1;
            if failures >= TRIES {
                return Err(setback);
            }
            tokio::time::sleep(self.pause(failures)).await;
            match self.query(url).await {
                Ok(Standing::Done(remote)) => return Ok(Some(remote)),
                Ok(Standing::Lost) => return Ok(None),
                Ok(Standing::At(next)) if next <= source.file.size() => {
                    failures = if next > at { 0 } else { failures };
                    at = next;
                    progress(at);
                }
                // The chunk is sent once more; if the service has it already, it says so.
                Ok(Standing::At(_)) | Err(_) => {}
            }
        }
    }

    async fn chunk(&self, url: &str, source: &Source, at: u64) -> Result<Standing, Setback> {
        let length = (source.file.size() - at).min(CHUNK);
        let is_last = at + length == source.file.size();
        let request = Request::post(url)
            .header("x-goog-upload-command", if is_last { "upload, finalize" } else { "upload" })
            .header("x-goog-upload-offset", at);
        let slice = Payload::of(vec![Piece::Slice { file: source.file.clone(), from: at, length }]);
        let answered = self.exchange(request, slice).await?;
        match standing(&answered)? {
            Standing::At(_) if is_last => Err(Setback::Lost(cut("the upload was not closed with its last bytes"))),
            Standing::At(_) => Ok(Standing::At(at + length)),
            other => Ok(other),
        }
    }

    async fn query(&self, url: &str) -> Result<Standing, Setback> {
        let request = Request::post(url).header("x-goog-upload-command", "query").header(CONTENT_LENGTH, 0);
        let answered = self.exchange(request, Bytes::new().into()).await?;
        match (standing(&answered)?, answered.received) {
            (Standing::At(_), Some(received)) => Ok(Standing::At(received)),
            (Standing::At(_), None) => Err(Setback::Lost(cut("the service does not say how much it has"))),
            (other, _) => Ok(other),
        }
    }

    async fn plain(&self, method: Method, key: &SecretString, name: &str) -> Result<Answered, Setback> {
        let Address { root, version, .. } = &self.address;
        let request = Request::builder().method(method).uri(format!("{root}/{version}/{name}"));
        self.exchange(request.header("x-goog-api-key", header(key)?), Bytes::new().into()).await
    }

    async fn exchange(&self, request: http::request::Builder, body: Payload) -> Result<Answered, Setback> {
        let request = request.header(USER_AGENT, AGENT).body(body.sending());
        let request = request.map_err(|fault| Setback::Lost(cut(&format!("the address cannot be used: {fault}"))))?;
        let bound = self.patience.request;
        let exchanged = tokio::time::timeout(bound, async {
            let response = self.client.request(request).await.map_err(|fault| explain(&self.address.authority, &fault))?;
            let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_string);
            let received = text("x-goog-upload-size-received").and_then(|size| size.parse().ok());
            let (status, url) = (text("x-goog-upload-status"), text("x-goog-upload-url"));
            Ok(Answered { status, url, received, reply: read(response).await? })
        });
        let exchanged = exchanged.await.unwrap_or(Err(TransportError::Timeout { seconds: bound.as_secs() }));
        exchanged.map_err(Setback::Lost)
    }

    /// The pause before the repetition of this number.
    fn pause(&self, failures: u32) -> Duration {
        self.patience.pause.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.patience.longest)
    }
}

fn header(key: &SecretString) -> Result<http::HeaderValue, Setback> {
    key_header(key).map_err(|_| Setback::Lost(TransportError::Key))
}

fn cut(reason: &str) -> TransportError {
    TransportError::Cut { reason: reason.to_string() }
}

/// What an answer says of its session. An answer without the protocol's header says nothing.
fn standing(answered: &Answered) -> Result<Standing, Setback> {
    let reply = &answered.reply;
    match (reply.status, answered.status.as_deref()) {
        (200..=299, Some("final")) => {
            remote(reply).map(Standing::Done).ok_or_else(|| Setback::Lost(cut("the answer to a whole upload describes no file")))
        }
        (200..=299, Some("active")) => Ok(Standing::At(0)),
        (_, Some("cancelled")) | (404 | 410, _) => Ok(Standing::Lost),
        (200..=299, _) => Err(Setback::Lost(cut("an answer to an upload without its status"))),
        _ => Err(Setback::Refused(reply.clone())),
    }
}

/// The file that an answer describes, by itself or under `file`.
fn remote(reply: &Reply) -> Option<Remote> {
    let body: Value = serde_json::from_slice(&reply.body).ok().filter(|_| reply.status == 200)?;
    let file = body.get("file").unwrap_or(&body);
    let text = |field: &str| file.get(field).and_then(Value::as_str);
    let state = match text("state") {
        Some("ACTIVE") => RemoteState::Active,
        Some("FAILED") => {
            let reason = file.pointer("/error/message").and_then(Value::as_str);
            RemoteState::Failed(reason.unwrap_or("no reason was given").to_string())
        }
        Some("PROCESSING") => RemoteState::Processing,
        _ => RemoteState::Untold,
    };
    Some(Remote { name: text("name").filter(|name| is_name(name))?.to_string(), uri: text("uri")?.to_string(), state })
}

/// The name becomes part of an address.
fn is_name(name: &str) -> bool {
    let id = name.strip_prefix("files/").unwrap_or("");
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
