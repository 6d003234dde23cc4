//! One request on its way through the gateway: its head, who sent it, and its body as it comes in.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tidegate_engine::{Admission, Deadline, Request};
use tokio::time::{Instant, timeout_at};

use crate::auth::Caller;
use crate::error::Refusal;
use crate::patience::patience;
use crate::rooms::{Room, Rooms};
use crate::settings::Settings;
use crate::story::Story;
use crate::visit::Note;

/// A body may take so many times as long as it may pause.
const PAUSES: u32 = 10;

/// Bytes of a body that is cheaper to copy than to keep with what surrounds it.
const SMALL: usize = 4 * 1_024;

/// A request and what is known of it.
pub struct Call {
    pub head: Parts,
    pub body: Incoming,
    pub caller: Caller,
    /// What it is called in logs and in the answer.
    pub id: Arc<str>,
    /// How long it waited, as its answer tells.
    pub story: Arc<Story>,
    /// Where is noted what the figures want to know of it.
    pub note: Arc<Note>,
    /// Where its body finds room.
    pub rooms: Arc<Rooms>,
    /// How long its body has waited for that.
    pub waited: Duration,
}

impl Call {
    /// What stands behind the `?`.
    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// How long this caller waits for a permit, of which it has waited for room already.
    pub fn patience(&self, settings: &Settings) -> Result<Duration, Refusal> {
        Ok(patience(&self.head.headers, settings.max_wait)?.saturating_sub(self.waited))
    }

    /// A prompt of this caller's, which waits for its permit as long as the caller does.
    ///
    /// # Errors
    /// When the caller may not ask that model, or says no sensible wait.
    pub fn asks(&self, prompt: Request, settings: &Settings) -> Result<Box<Request>, Refusal> {
        self.may_ask(&prompt.model)?;
        self.note.asks(&prompt.model);
        let deadline = Some(Deadline::Start(self.patience(settings)?));
        let admission = Some(Admission { most_waiting: settings.max_queue });
        let Caller { priority, party, .. } = self.caller;
        let (label, client) = (Some(self.id.clone()), Some(self.caller.name.clone()));
        Ok(Box::new(Request { priority, party, admission, deadline, label, client, ..prompt }))
    }

    /// Lets go of what the head says, before a long wait: it shares the connection's buffer, which would wait along.
    pub fn forget_head(&mut self) {
        (self.head.headers, self.head.uri) = Default::default();
    }

    /// Whether the caller may ask this model.
    pub fn may_ask(&self, model: &str) -> Result<(), Refusal> {
        if self.caller.may_ask(model) { Ok(()) } else { Err(Refusal::forbidden(&self.caller.name, model)) }
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it is larger than allowed, finds no room in time, comes too slowly or breaks off.
    pub async fn body(&mut self, settings: &Settings) -> Result<Bytes, Refusal> {
        let foretold = self.body.size_hint().lower();
        if foretold > settings.max_body as u64 {
            return Err(too_large(settings));
        }
        let (rooms, mut room) = (self.rooms.clone(), Room::default());
        if !room.has(foretold as usize) {
            self.within(settings, rooms.grow(&mut room, foretold as usize, foretold as usize)).await?;
        }
        let mut last = Instant::now() + settings.body_timeout.saturating_mul(PAUSES);
        let mut first = None;
        let mut more = BytesMut::new();
        let mut length = 0;
        while let Some(frame) = self.frame(last, settings.body_timeout).await? {
            length += frame.len();
            if length > settings.max_body {
                return Err(too_large(settings));
            }
            if !room.has(length) {
                last += self.within(settings, rooms.grow(&mut room, length, settings.max_body)).await?;
            }
            match first.take() {
                // A small body is copied: it shares the connection's buffer with the head, and would keep all of it.
                None if more.is_empty() && frame.len() <= SMALL => first = Some(Bytes::copy_from_slice(&frame)),
                // Most others come in one piece, which is not.
                None if more.is_empty() => first = Some(frame),
                None => more.extend_from_slice(&frame),
                Some(earlier) => {
                    more.reserve(usize::try_from(foretold).unwrap_or_default().max(length));
                    more.extend_from_slice(&earlier);
                    more.extend_from_slice(&frame);
                }
            }
        }
        Ok(room.hold(first.unwrap_or_else(|| more.freeze())))
    }

    /// Waits for room for the body, as long as its caller waits at all; how long that took.
    async fn within(&mut self, settings: &Settings, room: impl Future<Output = ()>) -> Result<Duration, Refusal> {
        let begun = Instant::now();
        let patience = self.patience(settings).unwrap_or(settings.max_wait);
        timeout_at(begun + patience, room).await.map_err(|_| Refusal::no_room())?;
        let waited = begun.elapsed();
        self.waited += waited;
        Ok(waited)
    }

    async fn frame(&mut self, last: Instant, pause: Duration) -> Result<Option<Bytes>, Refusal> {
        loop {
            let come = timeout_at(last.min(Instant::now() + pause), self.body.frame()).await;
            let Some(frame) = come.map_err(|_| Refusal::slow())? else { return Ok(None) };
            let frame = frame.map_err(|_| Refusal::invalid("the request's body broke off"))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

fn too_large(settings: &Settings) -> Refusal {
    Refusal::new(413, "INVALID_ARGUMENT", format!("Request payload size exceeds the limit: {} bytes.", settings.max_body))
}
