//! Resumable uploads: a start, chunks of any size at their offsets, a question, an end; bytes are hashed as they pass.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::bodies::{self, ErrorBody};
use crate::exchange::{SimAnswer, SimRequest};
use crate::faults::{Circumstances, FaultKind, Phase};
use crate::files::StoredFile;
use crate::identity::{Digest, field};
use crate::multipart::{Parts, parts};
use crate::probe::Probe;
use crate::routes::{Call, Target};
use crate::simulator::Simulator;

/// The bytes of one chunk on their way in: fed outside the server's lock, then handed to
/// [`Simulator::received`]. One that is dropped leaves the upload as it was.
pub struct Reception {
    upload: String,
    project: Option<usize>,
    from: u64,
    finalize: bool,
    fate: Fate,
    hash: Context,
    probe: Probe,
    /// The bytes of a file of JSON lines.
    lines: Option<Vec<u8>>,
    taken: u64,
}

/// What becomes of the chunk.
enum Fate {
    Keep,
    Refuse(ErrorBody),
    Fault(FaultKind),
    /// After so many bytes the connection ends.
    Cut(u64),
}

/// The uploads that were started.
#[derive(Default)]
pub(crate) struct Uploads {
    sessions: HashMap<String, Session>,
}

struct Session {
    file: StoredFile,
    declared: Option<u64>,
    received: u64,
    hash: Context,
    probe: Probe,
    end: Option<End>,
}

#[derive(Clone)]
enum End {
    Final(Value),
    Cancelled,
}

// === impl Reception ===

impl Reception {
    /// Takes the next bytes; `false` once the server wants no more of them.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        let room = if let Fate::Cut(at) = self.fate { at.saturating_sub(self.taken) } else { u64::MAX };
        let fits = &bytes[..usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len())];
        if matches!(self.fate, Fate::Keep | Fate::Cut(_)) {
            self.hash.update(fits);
            self.probe.feed(fits);
            if let Some(lines) = &mut self.lines {
                lines.extend_from_slice(fits);
            }
        }
        self.taken += fits.len() as u64;
        fits.len() == bytes.len()
    }
}

// === impl Simulator ===

impl Simulator {
    /// Begins to take a chunk, when this request (its body not needed yet) carries one.
    pub fn receive(&mut self, now: u64, head: &SimRequest<'_>) -> Option<Reception> {
        let Target::Upload { upload: Some(upload) } = Call::parse(head).target else { return None };
        let command = head.header("x-goog-upload-command").unwrap_or_default().to_owned();
        let finalize = command.contains("finalize");
        if !finalize && !command.contains("upload") {
            return None;
        }
        self.arrived(now, head);
        let number = |name: &str| head.header(name).and_then(|value| value.trim().parse::<u64>().ok());
        let project = self.uploads.sessions.get(&upload).map(|session| session.file.project);
        let mut reception = Reception {
            project,
            from: number("x-goog-upload-offset").unwrap_or(0),
            finalize,
            fate: Fate::Keep,
            hash: Context::new(&SHA256),
            probe: Probe::default(),
            lines: None,
            taken: 0,
            upload,
        };
        let bare_end = command.trim() == "finalize";
        match self.uploads.join(&mut reception, bare_end) {
            Err(error) => reception.fate = Fate::Refuse(error),
            Ok(name) => {
                let fault = self.upload_fault(now, &reception, &name);
                reception.fate = match fault {
                    Some(FaultKind::UploadCut) => Fate::Cut(number("content-length").unwrap_or(0) / 2),
                    Some(kind) => Fate::Fault(kind),
                    None => Fate::Keep,
                };
            }
        }
        Some(reception)
    }

    /// Answers a chunk whose bytes have all arrived at `now`.
    pub fn received(&mut self, now: u64, reception: Reception) -> SimAnswer {
        self.tally.account.uploads.bytes += reception.taken;
        self.occupied(now, Duration::ZERO);
        let project = reception.project;
        match &reception.fate {
            Fate::Keep => {}
            Fate::Refuse(error) => return self.upload_error(project, "invalid_argument", error, &reception.upload),
            Fate::Fault(FaultKind::UploadUnavailable) => {
                let error = ErrorBody::new(503, "UNAVAILABLE", "The service is currently unavailable.");
                return self.upload_error(project, FaultKind::UploadUnavailable.name(), &error, &reception.upload);
            }
            Fate::Fault(kind) => {
                self.tally.failed(project, "", kind.name());
                return SimAnswer::json(200, &json!({}), Duration::ZERO);
            }
            Fate::Cut(_) => {
                self.tally.failed(project, "", FaultKind::UploadCut.name());
                let _ = self.uploads.commit(reception);
                return SimAnswer::silence(Duration::ZERO);
            }
        }
        let (upload, finalize) = (reception.upload.clone(), reception.finalize);
        match self.uploads.commit(reception) {
            Err(error) => self.upload_error(project, "invalid_argument", &error, &upload),
            Ok(()) if finalize => self.finalize(now, &upload),
            Ok(()) => self.with_status(SimAnswer::json(200, &json!({}), Duration::ZERO), &upload),
        }
    }

    /// `start`: checks what is announced and gives out an address.
    pub(crate) fn start_upload(&mut self, now: u64, project: usize, version: &str, request: &SimRequest<'_>) -> Answer {
        let invalid = |what: &str| ("invalid_argument", bodies::invalid(what));
        let is_start = request.header("x-goog-upload-command").is_some_and(|command| command.trim() == "start");
        let is_resumable = request.header("x-goog-upload-protocol").is_some_and(|protocol| protocol.trim() == "resumable");
        if request.header("x-goog-upload-protocol").is_some_and(|protocol| protocol.trim() == "multipart") {
            return self.upload_at_once(now, project, version, request);
        }
        if !is_start || !is_resumable {
            return Err(invalid("Only multipart and resumable uploads are served; the latter begin with the command start."));
        }
        let (file, declared) = self.announced(now, project, version, request)?;
        let id = URL_SAFE_NO_PAD
            .encode([self.names.next_u64(), self.names.next_u64(), self.names.next_u64()].map(u64::to_be_bytes).concat());
        let host = request.header("host").unwrap_or("localhost");
        let url = format!("http://{host}/upload/{version}/files?upload_id={id}&upload_protocol=resumable");
        let (hash, probe) = (Context::new(&SHA256), Probe::default());
        self.uploads.sessions.insert(id, Session { file, declared, received: 0, hash, probe, end: None });
        self.tally.account.uploads.started += 1;
        Ok(SimAnswer::json(200, &json!({}), Duration::ZERO).with_header(STATUS, "active").with_header("x-goog-upload-url", &url))
    }

    /// A whole file with its description.
    fn upload_at_once(&mut self, now: u64, project: usize, version: &str, request: &SimRequest<'_>) -> Answer {
        let Some(Parts { about, mime, content }) = parts(request.header("content-type").unwrap_or_default(), request.body) else {
            return Err(("invalid_argument", bodies::invalid("The body is not multipart/related with two parts.")));
        };
        let headers: Vec<_> = mime.map(|mime| ("x-goog-upload-header-content-type".to_owned(), mime)).into_iter().collect();
        let (mut file, declared) =
            self.announced(now, project, version, &SimRequest { headers: &headers, body: about, ..*request })?;
        if let Some(lines) = &mut file.lines {
            lines.extend_from_slice(content);
        }
        let (mut hash, mut probe) = (Context::new(&SHA256), Probe::default());
        hash.update(content);
        probe.feed(content);
        let (id, received) = (self.new_id(), content.len() as u64);
        self.uploads.sessions.insert(id.clone(), Session { file, declared, received, hash, probe, end: None });
        self.tally.account.uploads.started += 1;
        self.tally.account.uploads.bytes += received;
        Ok(self.finalize(now, &id))
    }

    /// `query` and `cancel`, authorised by the address alone.
    pub(crate) fn ask_upload(&mut self, upload: &str, request: &SimRequest<'_>) -> SimAnswer {
        let command = request.header("x-goog-upload-command").unwrap_or_default().trim();
        let Some(session) = self.uploads.sessions.get_mut(upload) else {
            return self.upload_error(None, "not_found", &unknown_upload(), upload);
        };
        let project = Some(session.file.project);
        match command {
            "cancel" => {
                if session.end.is_none() {
                    self.tally.account.uploads.cancelled += 1;
                    session.end = Some(End::Cancelled);
                }
            }
            "query" => {}
            _ => return self.upload_error(project, "invalid_argument", &bodies::invalid("Unknown upload command."), upload),
        }
        let body = if let Some(End::Final(file)) = &session.end { file.clone() } else { json!({}) };
        self.with_status(SimAnswer::json(200, &body, Duration::ZERO), upload)
    }

    fn announced(&mut self, now: u64, project: usize, version: &str, request: &SimRequest<'_>) -> Result<Announced, Refused> {
        let invalid = |what: &str| ("invalid_argument", bodies::invalid(what));
        let body: Value = if request.body.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(request.body).map_err(|error| invalid(&format!("Invalid JSON payload received. {error}")))?
        };
        let wanted = field(&body, "file").cloned().unwrap_or_default();
        let text = |name: &str| field(&wanted, name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let header = |name: &str| request.header(name).map(str::trim);
        let size = field(&wanted, "sizeBytes").and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()));
        let declared = header("x-goog-upload-header-content-length").and_then(|length| length.parse().ok()).or(size);
        let mime = header("x-goog-upload-header-content-type").map_or_else(|| text("mimeType"), str::to_owned);
        let id = match text("name") {
            name if name.is_empty() => self.new_id(),
            name => {
                checked_id(&name).ok_or_else(|| invalid("File name must be files/ and up to 40 of a-z, 0-9 and - in between."))?
            }
        };
        if self.files.is_taken(&id, now) {
            return Err(("already_exists", ErrorBody::new(409, "ALREADY_EXISTS", "Requested entity already exists")));
        }
        let display_name = text("displayName");
        if display_name.chars().count() > 512 {
            return Err(invalid("display_name must be at most 512 characters."));
        }
        let rules = self.files.rules();
        if declared.is_some_and(|size| size > rules.max_file_bytes) {
            return Err(invalid(&format!("File is too large: the limit is {} bytes.", rules.max_file_bytes)));
        }
        if self.files.stored(project, now) + declared.unwrap_or(0) > rules.storage_bytes {
            return Err(("storage_full", bodies::storage_full(rules.storage_bytes)));
        }
        Ok((StoredFile::new(id, project, display_name, mime, version.to_owned()), declared))
    }

    fn finalize(&mut self, now: u64, upload: &str) -> SimAnswer {
        let Some(session) = self.uploads.sessions.get_mut(upload) else {
            return self.upload_error(None, "not_found", &unknown_upload(), upload);
        };
        let mut file = session.file.clone();
        let project = file.project;
        if session.declared.is_some_and(|declared| declared != session.received) {
            let message =
                format!("Upload ended at {} bytes, {} were announced.", session.received, session.declared.unwrap_or(0));
            return self.upload_error(Some(project), "invalid_argument", &bodies::invalid(message), upload);
        }
        file.sha256 = hexadecimal(session.hash.clone().finish().as_ref());
        file.facts = session.probe.facts();
        file.created = now;
        let name = self.owners.get(project).map_or("", |owner| &owner.name);
        self.tally.account.uploaded(name, &file.sha256, file.facts.bytes);
        let shown = json!({ "file": self.files.keep(file, now) });
        session.end = Some(End::Final(shown.clone()));
        session.probe = Probe::default();
        SimAnswer::json(200, &shown, Duration::ZERO).with_header(STATUS, "final")
    }

    fn upload_fault(&mut self, now: u64, reception: &Reception, name: &str) -> Option<FaultKind> {
        let mut digest = Digest::new();
        digest.write(reception.upload.as_bytes());
        let circumstances = Circumstances {
            elapsed_ms: self.elapsed_ms(now),
            model: "",
            project: reception.project.and_then(|project| self.owners.get(project)).map_or("", |owner| &owner.name),
            text: name,
            identity: digest.finish(),
        };
        self.faults.pick(Phase::Upload, &circumstances, &mut self.fate).map(|(kind, _)| kind)
    }

    fn upload_error(&mut self, project: Option<usize>, kind: &'static str, error: &ErrorBody, upload: &str) -> SimAnswer {
        let answer = self.fail(project, "", kind, error, false);
        self.with_status(answer, upload)
    }

    /// Tells how an upload stands, when there is one.
    fn with_status(&self, answer: SimAnswer, upload: &str) -> SimAnswer {
        let Some(session) = self.uploads.sessions.get(upload) else { return answer };
        let status = match &session.end {
            None => "active",
            Some(End::Final(_)) => "final",
            Some(End::Cancelled) => "cancelled",
        };
        answer.with_header(STATUS, status).with_header("x-goog-upload-size-received", &session.received.to_string())
    }

    /// Twelve letters and digits, as the API makes up names.
    pub(crate) fn new_id(&mut self) -> String {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        (0..12).map(|_| char::from(LETTERS[self.names.below(LETTERS.len()).min(35)])).collect()
    }
}

type Refused = (&'static str, ErrorBody);
type Answer = Result<SimAnswer, Refused>;
type Announced = (StoredFile, Option<u64>);

const STATUS: &str = "x-goog-upload-status";

// === impl Uploads ===

impl Uploads {
    /// Continues an upload where it stands; its display name.
    fn join(&self, reception: &mut Reception, bare_end: bool) -> Result<String, ErrorBody> {
        let session = self.sessions.get(&reception.upload).ok_or_else(unknown_upload)?;
        if session.end.is_some() {
            return Err(bodies::invalid("Upload has already been terminated."));
        }
        if bare_end {
            reception.from = session.received;
        }
        if reception.from != session.received {
            let message = format!(
                "Invalid upload offset: {} bytes were received, the chunk begins at {}.",
                session.received, reception.from
            );
            return Err(bodies::invalid(message));
        }
        reception.hash = session.hash.clone();
        reception.probe = session.probe.clone();
        reception.lines = session.file.lines.as_ref().map(|_| Vec::new());
        Ok(session.file.display_name.clone())
    }

    /// Keeps the bytes of a chunk, unless another one came in between.
    fn commit(&mut self, reception: Reception) -> Result<(), ErrorBody> {
        let session = self.sessions.get_mut(&reception.upload).ok_or_else(unknown_upload)?;
        let reached = reception.from + reception.taken;
        if session.end.is_some() || reception.from != session.received {
            return Err(bodies::invalid("Upload was continued by another request."));
        }
        if session.declared.is_some_and(|declared| reached > declared) {
            return Err(bodies::invalid("Upload is longer than was announced."));
        }
        if let Some((all, more)) = session.file.lines.as_mut().zip(reception.lines) {
            all.extend(more);
        }
        (session.received, session.hash, session.probe) = (reached, reception.hash, reception.probe);
        Ok(())
    }
}

fn unknown_upload() -> ErrorBody {
    ErrorBody::new(404, "NOT_FOUND", "Upload not found.")
}

fn checked_id(name: &str) -> Option<String> {
    let id = name.strip_prefix("files/").unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let sound = (1..=40).contains(&id.len()) && id.bytes().all(allowed) && !id.starts_with('-') && !id.ends_with('-');
    sound.then(|| id.to_owned())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
