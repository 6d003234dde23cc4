//! Fetches what an address gives into a temporary file: bounded in size, time and redirects, never from private places.

use std::io::{Seek, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;

use crate::builder::BuildError;
use crate::media::{Content, ContentHash, FileError, LocalFile, Part, Payload, Sending, mime_of};
use crate::transport::{AGENT, HttpVersion, connector, explain};

mod guard;

pub(crate) use guard::is_public_address;
use guard::{Forbidden, Guard};

/// How much is fetched from where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The most bytes of one address: what the API itself takes.
    pub size: u64,
    /// For the whole of it, redirects included.
    pub time: Duration,
    pub redirects: u32,
    /// Addresses fetched at the same time.
    pub at_once: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { size: 100_000_000, time: Duration::from_secs(60), redirects: 5, at_once: 16 }
    }
}

/// Why an address gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{url}: {0}", url = .1)]
    Forbidden(Forbidden, String),
    #[error("{url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url}: answered with HTTP status {status}")]
    Status { url: String, status: u16 },
    #[error("{url}: redirected more than {most} times")]
    Redirects { url: String, most: u32 },
    #[error("{url}: more than {most} bytes; download it and give its path")]
    TooLarge { url: String, most: u64 },
    #[error("{url}: not whole within {seconds} s")]
    TooSlow { url: String, seconds: u64 },
    #[error("{url}: it is {found}, no image, sound, film or document")]
    WrongType { url: String, found: String },
    #[error("{url}: {fault}")]
    File { url: String, fault: FileError },
}

impl FetchError {
    /// Whether asking again later may help.
    pub(crate) fn retryable(&self) -> bool {
        match self {
            FetchError::Unreachable { .. } | FetchError::TooSlow { .. } => true,
            FetchError::Status { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            _ => false,
        }
    }
}

type HttpClient = Client<HttpsConnector<HttpConnector<Guard>>, Sending>;

/// Fetches addresses.
pub(crate) struct Fetcher {
    /// Made when it is first needed: most runs fetch nothing, and the roots of TLS weigh megabytes.
    client: OnceLock<HttpClient>,
    guard: Guard,
    bounds: Bounds,
    seats: Semaphore,
}

impl Fetcher {
    pub(crate) fn new(allow_hosts: &[String], bounds: Bounds) -> Fetcher {
        let (client, guard) = (OnceLock::new(), Guard::new(allow_hosts));
        Fetcher { client, guard, bounds, seats: Semaphore::new(bounds.at_once) }
    }

    fn client(&self) -> Result<&HttpClient, BuildError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(10));
        let client = builder.build(connector(self.guard.clone(), true, HttpVersion::One)?);
        Ok(self.client.get_or_init(|| client))
    }

    /// The content behind `url` as a part to be sent. `given` is the type its author told.
    pub(crate) async fn fetch(&self, url: &str, given: Option<&str>) -> Result<Part, FetchError> {
        let _seat = self.seats.acquire().await;
        let fetched = tokio::time::timeout(self.bounds.time, self.within(url, given)).await;
        fetched.unwrap_or_else(|_| Err(FetchError::TooSlow { url: url.to_owned(), seconds: self.bounds.time.as_secs() }))
    }

    async fn within(&self, url: &str, given: Option<&str>) -> Result<Part, FetchError> {
        let response = self.follow(url).await?;
        let told = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let told = told.map(|told| told.split(';').next().unwrap_or("").trim().to_ascii_lowercase());
        let wrong = |found: &str| FetchError::WrongType { url: url.to_owned(), found: found.to_owned() };
        if let Some(page) =
            told.as_deref().filter(|told| given.is_none() && matches!(*told, "text/html" | "application/xhtml+xml"))
        {
            return Err(wrong(page));
        }
        let (mut file, hash) = self.keep(url, response).await?;
        let told = told.filter(|told| !told.is_empty() && told != "application/octet-stream" && told != "binary/octet-stream");
        let mime = mime_of(given, file.as_file_mut(), "").filter(|found| &**found != "text/plain");
        let named = || tidegate_gemini::media::mime_of_name(url).map(Arc::from);
        let mime = mime.or_else(|| told.as_deref().map(Arc::from)).or_else(named).ok_or_else(|| wrong("of unknown type"))?;
        let file = LocalFile::temporary(file.into_temp_path(), hash);
        let file = file.map_err(|fault| FetchError::File { url: url.to_owned(), fault })?;
        Ok(Part { mime: Some(mime), content: Content::File(Arc::new(file)), upload: false })
    }

    /// The answer at the end of the redirects. Each step is looked at anew.
    async fn follow(&self, url: &str) -> Result<Response<Incoming>, FetchError> {
        let unreachable = |reason: String| FetchError::Unreachable { url: url.to_owned(), reason };
        let mut at: Uri = url.parse().map_err(|fault: http::uri::InvalidUri| unreachable(fault.to_string()))?;
        for _ in 0..=self.bounds.redirects {
            self.guard.check(&at).map_err(|fault| FetchError::Forbidden(fault, url.to_owned()))?;
            let request = Request::get(at.clone()).header(USER_AGENT, AGENT).body(Payload::from(Bytes::new()).sending());
            let request = request.map_err(|fault| unreachable(fault.to_string()))?;
            let client = self.client().map_err(|fault| unreachable(fault.to_string()))?;
            let response = client.request(request).await.map_err(|fault| match guard::found(&fault) {
                Some(forbidden) => FetchError::Forbidden(forbidden, url.to_owned()),
                None => unreachable(explain(at.authority().map_or("", |host| host.as_str()), &fault).to_string()),
            })?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                status if status.is_redirection() => {
                    let next = response.headers().get(LOCATION).and_then(|location| joined(&at, location));
                    at = next.ok_or_else(|| unreachable("redirected to nowhere".to_owned()))?;
                }
                status => return Err(FetchError::Status { url: url.to_owned(), status: status.as_u16() }),
            }
        }
        Err(FetchError::Redirects { url: url.to_owned(), most: self.bounds.redirects })
    }

    /// Writes the body into a temporary file, piece by piece.
    async fn keep(&self, url: &str, response: Response<Incoming>) -> Result<(NamedTempFile, ContentHash), FetchError> {
        let most = self.bounds.size;
        let too_large = || FetchError::TooLarge { url: url.to_owned(), most };
        let failed = |fault: std::io::Error| FetchError::Unreachable { url: url.to_owned(), reason: fault.to_string() };
        let mut body = response.into_body();
        if body.size_hint().lower() > most {
            return Err(too_large());
        }
        let mut file = tempfile::Builder::new().prefix("tidegate-").tempfile().map_err(failed)?;
        let (mut hasher, mut left) = (blake3::Hasher::new(), most);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|fault| FetchError::Unreachable { url: url.to_owned(), reason: fault.to_string() })?;
            let Ok(bytes) = frame.into_data() else { continue };
            left = left.checked_sub(bytes.len() as u64).ok_or_else(too_large)?;
            hasher.update(&bytes);
            file.write_all(&bytes).map_err(failed)?;
        }
        file.rewind().map_err(failed)?;
        Ok((file, ContentHash::from_digest(hasher.finalize())))
    }
}

/// Where a redirect leads, relative to where it stands.
fn joined(at: &Uri, location: &HeaderValue) -> Option<Uri> {
    let location = location.to_str().ok()?;
    let location = location.split('#').next()?;
    if location.contains("://") {
        return location.parse().ok();
    }
    let scheme = at.scheme_str()?;
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = if location.starts_with('/') { location.to_owned() } else { format!("{folder}/{location}") };
    format!("{scheme}://{}{path}", at.authority()?).parse().ok()
}

#[cfg(test)]
mod tests;
