//! Calls that are handed on as they are and yet take a permit: they wait their turn like prompts, and go with the key it is for.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use secrecy::SecretString;
use tidegate_gemini::response::{Answer, Usage};
use tidegate_scheduler::{JobId, Outcome, TaskFault};
use tokio::sync::{mpsc, oneshot};

use crate::backend::{Method, TransportError};
use crate::classify::{Reading, classify};
use crate::driver::Driver;
use crate::ending::cancelled;
use crate::passage::PassageError;
use crate::relay::{self, Relayed, Relaying};
use crate::request::{Error, Response, Trace};
use crate::withdraw::Withdraw;

/// What is handed on once there is a permit, and who waits for the answer.
pub(crate) struct Errand {
    relayed: Relayed,
    answer: mpsc::Sender<Brought>,
}

/// An answer whose body is still to come, and whom to tell when it has come.
struct Brought {
    relaying: Relaying,
    read: oneshot::Sender<()>,
}

/// Hands `relayed` in through `submit`, and waits for the head of its answer.
pub(crate) async fn run(
    relayed: Relayed,
    submit: impl FnOnce(Arc<Errand>) -> (oneshot::Receiver<Result<Response, Error>>, Withdraw),
) -> Result<(Relaying, Trace), Error> {
    let (answer, mut brought) = mpsc::channel(1);
    let (end, withdraw) = submit(Arc::new(Errand { relayed, answer }));
    match brought.recv().await {
        Some(Brought { relaying, read }) => {
            let trace = withdraw.trace().unwrap_or_default();
            Ok((escorted(relaying, read, end, withdraw), trace))
        }
        None => Err(match end.await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => cancelled("the engine went away"),
        }),
    }
}

/// The answer, whose call is over for the engine with the last of its body, or when nobody wants the rest.
fn escorted(
    mut relaying: Relaying,
    read: oneshot::Sender<()>,
    end: oneshot::Receiver<Result<Response, Error>>,
    withdraw: Withdraw,
) -> Relaying {
    let body = std::mem::replace(&mut relaying.body, stream::empty().boxed());
    let escort = (read, end, withdraw);
    relaying.body = stream::unfold((body, Some(escort)), |(mut body, escort)| async move {
        let piece = body.next().await;
        if !matches!(piece, Some(Ok(_)))
            && let Some((read, end, withdraw)) = escort
        {
            let _ = read.send(());
            let _ = end.await;
            withdraw.ended();
            return Some((piece?, (body, None)));
        }
        Some((piece?, (body, escort)))
    })
    .boxed();
    relaying
}

impl Errand {
    /// One attempt with this key: refusals are judged like those of prompts, whatever else came is the caller's.
    pub(crate) async fn attempt(
        &self,
        driver: &Arc<Driver>,
        job: JobId,
        project: u32,
        key: Arc<SecretString>,
    ) -> (Option<Bytes>, Reading) {
        let judge = |result| classify(Method::Generate, &result, &driver.terms.now().retry_on);
        let relaying = match relay::once(driver, project, key, self.relayed.clone()).await {
            Ok(relaying) if relay::leads_away(&relaying) => {
                let fault = TransportError::Cut { reason: PassageError::Elsewhere.to_string() };
                return (None, for_good(judge(Err(fault))));
            }
            Ok(relaying) => relaying,
            // What was never sent may go again; of what was, nobody knows what it has made.
            Err(fault @ (TransportError::Dns { .. } | TransportError::Connect { .. })) => return (None, judge(Err(fault))),
            Err(fault) => return (None, for_good(judge(Err(fault)))),
        };
        if relaying.status >= 400 {
            return match relay::error_of(relaying).await {
                Ok(reply) => {
                    let (body, of_thing) = (reply.body.clone(), relay::is_of_thing(&reply.body));
                    let reading = judge(Ok(reply));
                    (Some(body), if of_thing { for_good(reading) } else { reading })
                }
                Err(fault) => (None, judge(Err(fault))),
            };
        }
        driver.answering(job);
        let (read, whole) = oneshot::channel();
        if self.answer.send(Brought { relaying, read }).await.is_ok() {
            let _ = whole.await;
        }
        (Some(Bytes::new()), done())
    }
}

/// What it used nobody reads: the estimate stands.
fn done() -> Reading {
    let outcome = Outcome::Done { used: None };
    Reading { outcome, answer: Some(Answer::default()), usage: Usage::default(), fault: None, stale_file: false }
}

/// Not to be tried again here.
fn for_good(reading: Reading) -> Reading {
    Reading { outcome: Outcome::TaskFailed(TaskFault { retry: false, used: None }), ..reading }
}

/// Who gets the answer of a prompt, beside its end.
#[derive(Clone)]
pub(crate) enum Recipient {
    /// Somebody who wants it piece by piece.
    Listener(crate::stream::Listener),
    /// Somebody for whom a call is handed on as it is.
    Errand(Arc<Errand>),
}
