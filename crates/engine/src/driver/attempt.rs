//! One attempt of a prompt: the call, and what its answer means.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use secrecy::SecretString;
use tidegate_gemini::response::Usage;
use tidegate_gemini::tokens::Calibration;
use tidegate_scheduler::{Event as Stimulus, JobId, Outcome, Scheduler, Scope, Timestamp};

use super::{Driver, Ticket};
use crate::backend::{Call, Method, Reply, TransportError};
use crate::classify::{Reading, classify};
use crate::errand::Recipient;
use crate::media::Payload;
use crate::retry_on::RetryOn;
use crate::structured::{Judge, Next};
use crate::uploads::Setback;
use crate::{redact, stream};

/// What an attempt meets.
pub(super) enum Met {
    /// Nothing that keeps this body from being sent.
    Open(Payload),
    /// An upload before it that failed.
    Setback(Setback),
}

/// What an attempt asks, and with which key.
pub(super) struct Asked {
    pub method: Method,
    pub model: Arc<str>,
    pub project: u32,
    pub key: Arc<SecretString>,
    pub judge: Option<Judge>,
    pub recipient: Option<Recipient>,
}

pub(super) async fn attempt_once(driver: Arc<Driver>, job: JobId, attempt: u32, asked: Asked, met: Met) {
    let Asked { method, model, project, key, judge, recipient } = asked;
    let met = match (met, recipient) {
        (Met::Open(_), Some(Recipient::Errand(errand))) => {
            let (body, reading) = Box::pin(errand.attempt(&driver, job, project, key)).await;
            return driver.finish(job, attempt, body, reading, None);
        }
        (Met::Open(body), Some(Recipient::Listener(listener))) => {
            let streamed = stream::attempt(&driver, job, Call { model, method, body, key }, &listener);
            // Most attempts are none of these and need not have the room for one.
            let (body, reading) = Box::pin(streamed).await;
            return driver.finish(job, attempt, body, reading, None);
        }
        (met, _) => met,
    };
    let result = match met {
        Met::Open(body) => called(&driver, Call { model, method, body, key: key.clone() }).await,
        Met::Setback(setback) => setback.into_result(),
    };
    let (body, reading) = judged(method, result, &driver.terms.now().retry_on, &key);
    let (reading, next) = match judge {
        Some(judge) => judge.judge(reading),
        None => (reading, None),
    };
    driver.finish(job, attempt, body, reading, next);
}

async fn called(driver: &Driver, call: Call) -> Result<Reply, TransportError> {
    let bound = driver.terms.now().attempt_timeout;
    let called = AssertUnwindSafe(driver.backend.call(call)).catch_unwind();
    let result = tokio::time::timeout(bound, called).await;
    // A backend of somebody else's may panic; its prompt must not wait for ever.
    let result =
        result.map(|called| called.unwrap_or_else(|_| Err(TransportError::Cut { reason: "the backend panicked".to_string() })));
    result.unwrap_or(Err(TransportError::Timeout { seconds: bound.as_secs() }))
}

/// True when the fault is the key's alone: another key of the project is not to be blamed for it.
pub(super) fn is_of_key(setback: &Setback) -> bool {
    let Reading { outcome, .. } = classify(Method::Generate, &setback.clone().into_result(), &RetryOn::default());
    matches!(outcome, Outcome::KeyRejected(fault) if fault.scope == Scope::Key)
}

/// What an attempt cost. An embedding that does not tell it cost what it was estimated at, so that budgets hold.
pub(super) fn spent(reported: &Usage, outcome: &Outcome, method: Method, estimate: u64) -> Usage {
    let silent = reported.input_tokens == 0 && matches!(outcome, Outcome::Done { .. });
    if silent && method == Method::Embed { Usage::estimated(estimate) } else { reported.clone() }
}

/// What came back and what it means, with the key taken out of both. What a model said never saw the key and passes untouched.
fn judged(
    method: Method,
    result: Result<Reply, TransportError>,
    retry_on: &RetryOn,
    key: &SecretString,
) -> (Option<Bytes>, Reading) {
    let reading = classify(method, &result, retry_on);
    let quotable = reading.fault.is_some() && reading.answer.is_none();
    let clean = result.as_ref().ok().filter(|_| quotable).and_then(|reply| redact::hidden(reply, key));
    match clean {
        Some(reply) => {
            let body = reply.body.clone();
            let Reading { fault, .. } = classify(method, &Ok(reply), retry_on);
            (Some(body), Reading { fault, ..reading })
        }
        None => (result.ok().map(|reply| reply.body), reading),
    }
}

/// What the next attempt asks weighs something else; the scheduler is told before it decides.
pub(super) fn reweigh(
    scheduler: &mut Scheduler,
    calibration: &Calibration,
    now: Timestamp,
    job: JobId,
    ticket: &mut Ticket,
    next: Next,
) {
    ticket.again = match next {
        Next::Roomier(body) => {
            ticket.request.body = ticket.request.body.remade(body);
            None
        }
        Next::Corrected(body, added) => Some((ticket.request.body.remade(body), added)),
    };
    let estimate = ticket.estimate();
    ticket.tokens = calibration.apply(&ticket.family, estimate);
    let spread = calibration.spread(&ticket.family, ticket.tokens);
    let stimulus = Stimulus::Reweighed { job, tokens: ticket.tokens, least: estimate.total(), spread };
    scheduler.handle(now, stimulus, &mut Vec::new());
}
