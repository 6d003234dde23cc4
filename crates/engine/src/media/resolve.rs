//! From the media a record names to parts that can be sent: files looked at, types found out, tokens estimated.

use std::fs::File;
use std::io::{Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tidegate_gemini::media::{self, Facts, HEAD, Item, Kind, Resolution};
use tidegate_gemini::request;
use tidegate_gemini::tokens::Estimate;
use tidegate_scheduler::Timestamp;

use super::body::{Content, MediaBody, Part};
use super::file::{ContentHash, FileError, LocalFile};
use crate::fetch::is_public_address;
use crate::store::{Store, StoreError};

/// The most bytes of one file in a project's storage.
const LARGEST_FILE: u64 = 2 << 30;
/// The most bytes of a request and of a PDF inside one; a little is left for the JSON around.
const LARGEST_BODY: u64 = (100 << 20) - (1 << 20);
const LARGEST_PDF: u64 = 50 << 20;

/// How media are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSettings {
    /// Media of a prompt that are together at most this many bytes go inside it; else the largest are uploaded.
    pub inline_limit: u64,
    /// Fetch every address here instead of letting the API open public ones.
    pub fetch_urls: bool,
    /// Hosts that may be fetched from although their addresses are private.
    pub allow_hosts: Vec<String>,
}

impl Default for MediaSettings {
    /// 20 MB inside, public addresses left to the API, no private host.
    fn default() -> MediaSettings {
        MediaSettings { inline_limit: 20_000_000, fetch_urls: false, allow_hosts: Vec::new() }
    }
}

/// Why a medium cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Its file.
    #[error("\"{field}\": {fault}")]
    File {
        /// The field that names it.
        field: String,
        /// What is wrong with it.
        fault: FileError,
    },
    /// More than the API takes.
    #[error("\"{field}\": {what} has {size} bytes, the API takes at most {LARGEST_FILE}: split it")]
    TooLarge {
        /// The field that names it.
        field: String,
        /// The path.
        what: String,
        /// Its size.
        size: u64,
    },
    /// Nothing tells what it is.
    #[error("\"{field}\": nothing tells the type of {what}: give \"{kind}_mime_type\"")]
    UnknownType {
        /// The field that names it.
        field: String,
        /// The path, or what stands for it.
        what: String,
        /// `image`, `audio`, ...
        kind: &'static str,
    },
}

/// Media of one request, ready to be sent.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The body with them.
    pub body: Arc<MediaBody>,
    /// What they cost, on top of the texts.
    pub estimate: Estimate,
}

/// Looks at media. One serves a whole run; digests it works out are kept in the local store.
pub struct Resolver {
    settings: MediaSettings,
    store: Mutex<Store>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Resolver {
    /// With the local store of `state_dir`, or one that ends with the process.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn new(settings: MediaSettings, state_dir: Option<&Path>) -> Result<Resolver, StoreError> {
        // Digests belong to no service: the scope does not matter.
        let store = match state_dir {
            Some(folder) => Store::open(folder, "").or_else(|_| Store::in_memory(""))?,
            None => Store::in_memory("")?,
        };
        Ok(Resolver { settings, store: Mutex::new(store) })
    }

    /// Looks at every medium of `built` and decides how it goes: [`Resolver::look`], then [`Resolver::place`].
    ///
    /// # Errors
    /// [`MediaError`] names the field and the path.
    pub fn resolve(&self, built: &request::Request) -> Result<Resolved, MediaError> {
        self.place(built, self.look(built)?)
    }

    /// Finds out what every medium is and costs. Reads little of each.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub fn look(&self, built: &request::Request) -> Result<Resolved, MediaError> {
        let resolution = resolution(&built.body.without_media());
        let mut parts = Vec::with_capacity(built.media.len());
        let mut estimate = Estimate::default();
        for item in &built.media {
            let (part, facts) = self.part(item)?;
            estimate = [estimate, media::tokens(&built.model, &facts, resolution, item.video.as_ref())].into_iter().sum();
            parts.push(part);
        }
        Ok(Resolved { body: Arc::new(MediaBody { pieces: built.body.pieces().into(), parts }), estimate })
    }

    /// Decides what goes inside and what is uploaded. Reads files whole that are uploaded and not known yet.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub fn place(&self, built: &request::Request, looked: Resolved) -> Result<Resolved, MediaError> {
        let mut parts = looked.body.parts.clone();
        self.assign(&mut parts).map_err(|(at, fault)| MediaError::File { field: field(&built.media[at]), fault })?;
        Ok(Resolved { body: Arc::new(MediaBody { pieces: looked.body.pieces.clone(), parts }), ..looked })
    }

    /// A text for the content of each medium that is the same for equal content: for fingerprints. Reads files whole
    /// whose digest is not known; addresses stand for themselves.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub fn names(&self, built: &request::Request, resolved: &Resolved) -> Result<Vec<String>, MediaError> {
        let of = |(item, part): (&Item, &Part)| match &part.content {
            Content::File(file) => {
                let hash = self.hash(file).map_err(|fault| MediaError::File { field: field(item), fault })?;
                Ok(format!("b3:{hash}"))
            }
            Content::Base64(text) => {
                let bytes = std::str::from_utf8(text).ok().and_then(media::decode).unwrap_or_default();
                Ok(format!("b3:{}", ContentHash::of(&bytes)))
            }
            Content::Address(url) | Content::Fetch(url) => Ok(url.to_string()),
        };
        built.media.iter().zip(&resolved.body.parts).map(of).collect()
    }

    /// The same body with what was fetched in the place of its address.
    pub(crate) fn with_fetched(&self, body: &MediaBody, fetched: Vec<(usize, Part)>) -> Result<MediaBody, FileError> {
        let mut body = body.clone();
        for (at, part) in fetched {
            body.parts[at] = part;
        }
        self.assign(&mut body.parts).map_err(|(_, fault)| fault)?;
        Ok(body)
    }

    fn part(&self, item: &Item) -> Result<(Part, Facts), MediaError> {
        let unknown = |what: &str| MediaError::UnknownType { field: field(item), what: what.to_owned(), kind: item.kind.name() };
        match &item.source {
            media::Source::Path(path) => {
                let of_file = |fault| MediaError::File { field: field(item), fault };
                let file = LocalFile::open(&expanded(path)).map_err(of_file)?;
                if file.size() > LARGEST_FILE {
                    return Err(MediaError::TooLarge { field: field(item), what: path.to_string(), size: file.size() });
                }
                let mut reader = file.reader().map_err(of_file)?;
                let mime = mime(item, &mut reader, path).ok_or_else(|| unknown(path))?;
                let facts = media::probe(&mut reader, file.size(), &mime);
                Ok((Part { mime: Some(mime), content: Content::File(Arc::new(file)), upload: false }, facts))
            }
            media::Source::Bytes(text) => {
                let bytes = media::decode(text).unwrap_or_default();
                let size = bytes.len() as u64;
                let mut reader = Cursor::new(bytes);
                let mime = mime(item, &mut reader, "").ok_or_else(|| unknown("the content"))?;
                let facts = media::probe(&mut reader, size, &mime);
                let content = Content::Base64(Bytes::copy_from_slice(text.as_bytes()));
                Ok((Part { mime: Some(mime), content, upload: false }, facts))
            }
            media::Source::Url(url) => Ok(self.address(item, url)),
        }
    }

    fn address(&self, item: &Item, url: &Arc<str>) -> (Part, Facts) {
        let told = item.mime.as_deref().or_else(|| media::mime_of_name(url));
        let is_known = is_uploaded_file(url) || is_youtube(url);
        let passes = is_known || (told.is_some() && !self.settings.fetch_urls && is_public_address(url));
        let content = if passes { Content::Address(url.clone()) } else { Content::Fetch(url.clone()) };
        let facts = Facts { mime: told.unwrap_or(usual(item.kind)).to_owned(), ..Facts::default() };
        // A film of YouTube has no type of its own, and what is fetched shows its type.
        let mime = if is_youtube(url) || !passes { item.mime.as_deref() } else { told };
        (Part { mime: mime.map(Arc::from), content, upload: false }, facts)
    }

    /// Decides which parts are uploaded: the largest, until the rest fits inside.
    fn assign(&self, parts: &mut [Part]) -> Result<(), (usize, FileError)> {
        let here = |part: &Part| matches!(part.content, Content::File(_) | Content::Base64(_));
        let mut order: Vec<usize> = (0..parts.len()).filter(|at| here(&parts[*at])).collect();
        order.sort_by_key(|at| std::cmp::Reverse(parts[*at].size()));
        let mut inside: u64 = order.iter().map(|at| parts[*at].size()).sum();
        for at in order {
            let part = &mut parts[at];
            let size = part.size();
            let encoded = inside.div_ceil(3) * 4;
            let is_large_pdf = part.mime.as_deref() == Some("application/pdf") && size > LARGEST_PDF;
            part.upload = inside > self.settings.inline_limit || encoded > LARGEST_BODY || is_large_pdf;
            if part.upload {
                inside -= size;
                self.make_file(part).map_err(|fault| (at, fault))?;
            }
        }
        Ok(())
    }

    /// What is uploaded is a file with a known digest.
    fn make_file(&self, part: &mut Part) -> Result<(), FileError> {
        if let Content::Base64(text) = &part.content {
            let bytes = std::str::from_utf8(text).ok().and_then(media::decode).unwrap_or_default();
            part.content = Content::File(Arc::new(spilled(&bytes)?));
        }
        if let Content::File(file) = &part.content {
            self.hash(file)?;
        }
        Ok(())
    }

    fn hash(&self, file: &LocalFile) -> Result<ContentHash, FileError> {
        if let Some(known) = file.known_hash() {
            return Ok(known);
        }
        if let Ok(Some(kept)) = self.store.lock().digest(file) {
            file.remember_hash(kept);
            return Ok(kept);
        }
        let hash = file.hash()?;
        if let Err(fault) = self.store.lock().keep_digest(file, hash, now()) {
            tracing::warn!("the digest of {} will be worked out again: {fault}", file.path().display());
        }
        Ok(hash)
    }
}

/// The type of content that begins with what `reader` gives; the reader stands at its start again.
pub(crate) fn mime(item: &Item, reader: &mut (impl Read + Seek), name: &str) -> Option<Arc<str>> {
    mime_of(item.mime.as_deref(), reader, name)
}

pub(crate) fn mime_of(given: Option<&str>, reader: &mut (impl Read + Seek), name: &str) -> Option<Arc<str>> {
    let mut head = Vec::with_capacity(HEAD);
    let read = reader.by_ref().take(HEAD as u64).read_to_end(&mut head).is_ok();
    let back = reader.rewind().is_ok();
    (read && back).then(|| media::mime(given, &head, name).map(|mime| Arc::from(&*mime))).flatten()
}

/// The field that named it, as its author would look for it.
fn field(item: &Item) -> String {
    let form = match item.source {
        media::Source::Path(_) => "path",
        media::Source::Bytes(_) => "bytes",
        media::Source::Url(_) => "url",
    };
    format!("{}_{form}", item.kind.name())
}

fn usual(kind: Kind) -> &'static str {
    match kind {
        Kind::Video => "video/mp4",
        Kind::Audio => "audio/mp3",
        Kind::Image => "image/png",
        Kind::File => "application/pdf",
    }
}

/// A `~/` at the start means the user's home, as it does in a shell.
fn expanded(path: &str) -> PathBuf {
    let home = path.strip_prefix("~/").and_then(|rest| Some(std::env::home_dir()?.join(rest)));
    home.unwrap_or_else(|| PathBuf::from(path))
}

fn is_youtube(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or("");
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or("").to_ascii_lowercase();
    matches!(host.as_str(), "youtube.com" | "www.youtube.com" | "m.youtube.com" | "youtu.be")
}

/// A file that lies in the storage of a project already, by the address the API gave it.
fn is_uploaded_file(url: &str) -> bool {
    url.split("://")
        .nth(1)
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(_, path)| ["v1beta/files/", "v1alpha/files/", "v1/files/"].iter().any(|start| path.starts_with(start)))
}

fn resolution(body: &[u8]) -> Option<Resolution> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let config = body.get("generationConfig").or_else(|| body.get("generation_config"))?;
    let config: &Map<String, Value> = config.as_object()?;
    Resolution::of_config(config)
}

fn spilled(bytes: &[u8]) -> Result<LocalFile, FileError> {
    let failed = |fault: std::io::Error| FileError::Unreadable { path: "a temporary file".to_owned(), reason: fault.to_string() };
    let mut file = tempfile::Builder::new().prefix("tidegate-").tempfile().map_err(failed)?;
    File::write_all(file.as_file_mut(), bytes).map_err(failed)?;
    LocalFile::temporary(file.into_temp_path(), ContentHash::of(bytes))
}

fn now() -> Timestamp {
    Timestamp::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}
