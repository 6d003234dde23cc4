//! Uploads: begun in the freest project, gone on with at an address of ours, passed through piece by piece and never collected.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use http::{HeaderValue, Method};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use serde_json::Value;
use tidegate_engine::{BodyFault, PassageError, RelayBody, Relayed, Relaying, Reply};
use tokio::time::timeout;

use super::headers::{of_request, own_address, target, whole};
use super::member::{collected, first};
use super::multipart;
use crate::affinity::learn;
use crate::answer::Answer;
use crate::call::Call;
use crate::error::Refusal;
use crate::server::Gate;
use crate::sessions::{Copy, Session};
use crate::spool::Spooling;

const PROTOCOL: &str = "x-goog-upload-protocol";
const OFFSET: &str = "x-goog-upload-offset";
const STATUS: &str = "x-goog-upload-status";
const URL: &str = "x-goog-upload-url";

/// `POST /upload/V/files`: a resumable upload begins, or a whole file comes in one request.
pub async fn begin(gate: &Gate, mut call: Call) -> Result<Answer, Refusal> {
    let is =
        |name: &str, wanted: &str| header(&call.head.headers, name).is_some_and(|told| told.trim().eq_ignore_ascii_case(wanted));
    if !is(PROTOCOL, "resumable") && !call.query().contains("uploadType=resumable") {
        return at_once(gate, call).await;
    }
    let body = call.body(&gate.settings).await?;
    let size = announced(&call.head.headers, &body);
    let relayed = Relayed { method: Method::POST, path: target(&call.head), headers: of_request(&call.head), body };
    let mut last = Err(PassageError::NoKey);
    for project in gate.engine.freest_projects()? {
        last = gate.engine.relay(project, relayed.clone()).await;
        // Full storage answers 429: another project may have room.
        if !matches!(last, Err(PassageError::NoKey) | Ok(Relaying { status: 429, .. })) {
            break;
        }
    }
    let answer = last?;
    let (project, url) = (answer.project, header(&answer.headers, URL).map(without_key));
    let (headers, reply) = collected(gate, answer).await?;
    let Some(url) = url.filter(|_| reply.status == 200) else { return Ok(whole(&headers, reply)) };
    let spooling = gate.spool.as_ref().and_then(|spool| spool.begin(size));
    let id = gate
        .uploads
        .begin(url.clone(), project, spooling)
        .ok_or_else(|| Refusal::new(500, "INTERNAL", "there is no chance to be had"))?;
    gate.engine.residence().begin_upload(&id, project, &url);
    let path = call.head.uri.path().trim_end_matches('/');
    let own = format!("{}{path}?upload_id={id}&upload_protocol=resumable", own_address(&call.head)?);
    let mut told = whole(&headers, reply);
    let own = HeaderValue::from_str(&own).map_err(|_| Refusal::invalid("the Host header names no host"))?;
    told.headers_mut().insert(HeaderName::from_static(URL), own);
    Ok(told)
}

/// A command of an upload that was begun. Its name is all that is asked of who sends it.
pub async fn go_on(gate: &Gate, call: Call, id: &str) -> Result<Answer, Refusal> {
    let session = gate.uploads.find(id).or_else(|| resumed(gate, id)).ok_or_else(|| Refusal::not_found("Upload not found."))?;
    if !matches!(call.head.method, Method::POST | Method::PUT) {
        return Err(Refusal::new(405, "UNIMPLEMENTED", "an upload takes POST or PUT"));
    }
    let headers = passed_on(&call.head.headers, of_request(&call.head));
    let at = header(&call.head.headers, OFFSET).and_then(|at| at.trim().parse().ok()).unwrap_or(0);
    let body = teed(call.body, session.copy.clone(), at, gate.settings.body_timeout);
    let answer = gate.engine.continue_upload(session.project, &session.url, headers, body).await?;
    let (headers, reply) = collected(gate, answer).await?;
    let ended = |word: &str| header(&headers, STATUS).is_some_and(|status| status.eq_ignore_ascii_case(word));
    if ended("final") || ended("cancelled") {
        gate.engine.residence().end_upload(id);
    }
    if ended("final") {
        let copy = session.copy.lock().await.take();
        finished(gate, session.project, &reply, copy).await;
    }
    Ok(whole(&headers, reply))
}

/// An upload that was begun before a restart.
fn resumed(gate: &Gate, id: &str) -> Option<Arc<Session>> {
    let (project, url) = gate.engine.residence().upload(id)?;
    Some(gate.uploads.resume(id, project, url))
}

/// A whole file in one request, by the multipart or the raw protocol.
async fn at_once(gate: &Gate, call: Call) -> Result<Answer, Refusal> {
    let project = first(gate)?;
    let relayed = Relayed { method: Method::POST, path: target(&call.head), headers: of_request(&call.head), body: Bytes::new() };
    let boundary = header(&call.head.headers, "content-type").and_then(|kind| multipart::boundary(&kind));
    let foretold = call.body.size_hint().exact();
    let copy: Copy = Arc::new(tokio::sync::Mutex::new(gate.spool.as_ref().and_then(|spool| spool.begin(foretold))));
    let headers = passed_on(&call.head.headers, relayed.headers.clone());
    let body = teed(call.body, copy.clone(), 0, gate.settings.body_timeout);
    let answer = gate.engine.relay_stream(project, Relayed { headers, ..relayed }, body).await?;
    let spooling = copy.lock().await.take();
    let (headers, reply) = collected(gate, answer).await?;
    let spooling = match (spooling, boundary) {
        (Some(spooling), Some(boundary)) => spooling.strip(move |file| multipart::content(file, &boundary)).await,
        (spooling, _) => spooling,
    };
    finished(gate, project, &reply, spooling).await;
    Ok(whole(&headers, reply))
}

/// The file is there: where it lives is remembered, and its bytes are kept under their hash.
async fn finished(gate: &Gate, project: u32, reply: &Reply, spooling: Option<Spooling>) {
    if reply.status != 200 {
        return;
    }
    learn(gate, project, &reply.body);
    let told: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let Some(file) = told.as_ref().map(|told| told.get("file").unwrap_or(told)) else { return };
    let size = file["sizeBytes"].as_str().and_then(|size| size.parse().ok()).or_else(|| file["sizeBytes"].as_u64());
    let (Some(name), Some(size), Some(spooling)) = (file["name"].as_str(), size, spooling) else { return };
    if let Some(hash) = spooling.keep(size, file["sha256Hash"].as_str()).await {
        gate.engine.residence().settle_file(name, project, hash, file["mimeType"].as_str());
    }
}

/// A body on its way to the API: each piece is written down before it goes on, and no other is read before.
fn teed(from: Incoming, copy: Copy, at: u64, pause: Duration) -> RelayBody {
    let hint = from.size_hint();
    let pieces = stream::try_unfold((from, at), move |(mut from, at)| {
        let copy = copy.clone();
        async move {
            loop {
                let come = timeout(pause, from.frame()).await.map_err(|_| broken("the request's body came too slowly"))?;
                let Some(frame) = come else { return Ok(None) };
                let frame = frame.map_err(|_| broken("the request's body broke off"))?;
                let Ok(data) = frame.into_data() else { continue };
                let length = data.len() as u64;
                let mut copy = copy.lock().await;
                if let Some(writing) = copy.take() {
                    *copy = writing.write(at, data.clone()).await;
                }
                return Ok(Some((data, (from, at + length))));
            }
        }
    });
    Sized { pieces: pieces.boxed(), hint }.boxed_unsync()
}

/// A stream that knows its length, so that it need not be sent in chunks.
struct Sized {
    pieces: BoxStream<'static, Result<Bytes, BodyFault>>,
    hint: SizeHint,
}

impl Body for Sized {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.pieces.poll_next_unpin(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

fn broken(reason: &'static str) -> BodyFault {
    io::Error::other(reason).into()
}

/// The headers of an upload with the length of its body, which is all the same after us.
fn passed_on(told: &HeaderMap, mut headers: HeaderMap) -> HeaderMap {
    if let Some(length) = told.get(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.clone());
    }
    headers
}

/// The size that an upload announces, in a header or in its body.
fn announced(headers: &HeaderMap, body: &[u8]) -> Option<u64> {
    let told = header(headers, "x-goog-upload-header-content-length").and_then(|size| size.trim().parse().ok());
    told.or_else(|| {
        let about: Value = serde_json::from_slice(body).ok()?;
        let size = ["sizeBytes", "size_bytes"].iter().find_map(|name| about["file"].get(name))?;
        size.as_u64().or_else(|| size.as_str()?.parse().ok())
    })
}

/// The service's own address without a key that it may quote: who goes on with an upload needs none.
fn without_key(url: String) -> String {
    let Some((path, query)) = url.split_once('?') else { return url };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("key=")).collect();
    format!("{path}?{}", kept.join("&"))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_string)
}
