//! Streamed answers: until the first piece came everything is tried again, after it nothing is.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use secrecy::{ExposeSecret, SecretString};
use tidegate_gemini::response::Usage;
use tidegate_gemini::stream::{Chunk, StreamError, StreamReader};
use tidegate_scheduler::{JobId, Outcome, TaskFault, Used};
use tokio::sync::{mpsc, oneshot};

use crate::backend::{Call, Method, Opened, Reply, TransportError};
use crate::classify::{Reading, answered, classify, failed, transient};
use crate::driver::Driver;
use crate::ending::cancelled;
use crate::redact;
use crate::request::{Error, Response, Trace};
use crate::withdraw::Withdraw;

/// Pieces that wait for a slow reader; then the API has to wait as well.
const AHEAD: usize = 16;

/// How long a reader may take nothing before its place goes to others; what the system keeps for it comes on top.
const READER_PATIENCE: Duration = Duration::from_secs(60);

/// An answer that comes piece by piece. Dropping it cancels the rest.
pub struct AnswerStream {
    first: Option<Bytes>,
    pieces: mpsc::Receiver<Bytes>,
    end: Option<oneshot::Receiver<Result<Response, Error>>>,
    /// The end, where it was looked at before it was asked for.
    ended: Option<Result<Response, Error>>,
    trace: Trace,
    withdraw: Withdraw,
}

impl AnswerStream {
    /// The next piece, the JSON of one event to the letter; `None` at the proper end, an error where the rest is missing.
    /// An answer that was blocked or cut short by the model has said so in its last piece, and ends properly.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if let Some(piece) = self.pieces.recv().await {
            return Some(Ok(piece));
        }
        let ended = match self.ended.take() {
            Some(ended) => ended,
            None => told(self.end.take()?).await,
        };
        self.trace = trace_of(&ended).clone();
        match ended {
            Ok(_) | Err(Error { http_status: Some(200), .. }) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// How it came about so far; what it cost is known after its end.
    pub fn trace(&mut self) -> &Trace {
        if let Some(trace) = self.withdraw.trace() {
            self.trace = trace;
        } else if let Some(Ok(ended)) = self.end.as_mut().map(oneshot::Receiver::try_recv) {
            self.end = None;
            self.trace = trace_of(&ended).clone();
            self.ended = Some(ended);
        }
        &self.trace
    }
}

fn trace_of(ended: &Result<Response, Error>) -> &Trace {
    match ended {
        Ok(response) => &response.trace,
        Err(error) => &error.trace,
    }
}

/// Where the pieces of an answer go.
pub(crate) type Listener = mpsc::Sender<Bytes>;

/// Waits for the first piece of a prompt that was handed in with a listener.
pub(crate) async fn begin(
    submit: impl FnOnce(Listener) -> (oneshot::Receiver<Result<Response, Error>>, Withdraw),
) -> Result<AnswerStream, Error> {
    let (listener, mut pieces) = mpsc::channel(AHEAD);
    let (end, withdraw) = submit(listener);
    match pieces.recv().await {
        Some(first) => {
            let (first, end, trace) = (Some(first), Some(end), Trace::default());
            Ok(AnswerStream { first, pieces, end, ended: None, trace, withdraw })
        }
        None => Err(match told(end).await {
            Err(error) => error,
            Ok(_) => cancelled("the answer ended before it began"),
        }),
    }
}

async fn told(end: oneshot::Receiver<Result<Response, Error>>) -> Result<Response, Error> {
    end.await.unwrap_or_else(|_| Err(cancelled("the engine went away")))
}

/// One attempt: opens the stream, hands every piece on, and judges how it ended.
pub(crate) async fn attempt(driver: &Arc<Driver>, job: JobId, call: Call, listener: &Listener) -> (Option<Bytes>, Reading) {
    let key = call.key.clone();
    // A backend of somebody else's may panic; its prompt must not wait for ever.
    let asked = AssertUnwindSafe(ask(driver, job, call, listener)).catch_unwind().await;
    let panicked = |_| {
        let fault = TransportError::Cut { reason: "the backend panicked".to_string() };
        (None, classify(Method::Generate, &Err(fault), &driver.terms.now().retry_on))
    };
    let (body, mut reading) = asked.unwrap_or_else(panicked);
    if let Some(words) = &mut reading.fault {
        words.message = redact::without(&words.message, key.expose_secret().trim());
    }
    (body, reading)
}

async fn ask(driver: &Arc<Driver>, job: JobId, call: Call, listener: &Listener) -> (Option<Bytes>, Reading) {
    let key = call.key.clone();
    let bound = driver.terms.now().attempt_timeout;
    let opened = match within(bound, driver.backend.open(call)).await {
        Ok(opened) => opened,
        Err(fault) => return (None, classify(Method::Generate, &Err(fault), &driver.terms.now().retry_on)),
    };
    if opened.status != 200 {
        return refused(driver, opened, &key).await;
    }
    let begins = || driver.answering(job);
    let mut relay = Relay { reader: StreamReader::default(), last: Bytes::new(), begun: false, begins: &begins, listener };
    let ended = relay.run(opened, bound).await;
    relay.judged(driver, ended)
}

async fn within<T>(bound: Duration, asked: impl Future<Output = Result<T, TransportError>>) -> Result<T, TransportError> {
    let answered = tokio::time::timeout(bound, asked).await;
    answered.unwrap_or(Err(TransportError::Timeout { seconds: bound.as_secs() }))
}

/// A refusal is read to its end and judged like any other.
async fn refused(driver: &Driver, mut opened: Opened, key: &Arc<SecretString>) -> (Option<Bytes>, Reading) {
    let mut body = Vec::new();
    let read = within(driver.terms.now().attempt_timeout, async {
        while let Some(piece) = opened.body.next().await {
            body.extend_from_slice(&piece?);
        }
        Ok(())
    });
    let read = read.await;
    let Opened { status, content_type, retry_after, .. } = opened;
    let reply = read.map(|()| Reply { status, content_type, retry_after, body: body.into() });
    let reply = reply.map(|reply| redact::hidden(&reply, key).unwrap_or(reply));
    let reading = classify(Method::Generate, &reply, &driver.terms.now().retry_on);
    (reply.ok().map(|reply| reply.body), reading)
}

/// How the bytes ended.
enum End {
    /// The connection was closed in order; whether the answer is whole, the reader knows.
    Closed,
    Transport(TransportError),
    Stream(StreamError),
}

struct Relay<'a> {
    reader: StreamReader,
    /// The last piece, which tells the cost.
    last: Bytes,
    begun: bool,
    /// Told once, with the first piece.
    begins: &'a (dyn Fn() + Sync),
    listener: &'a Listener,
}

impl Relay<'_> {
    async fn run(&mut self, mut opened: Opened, bound: Duration) -> End {
        loop {
            let next = within(bound, async { opened.body.next().await.transpose() }).await;
            match next {
                Ok(Some(bytes)) => match self.reader.feed(&bytes) {
                    Ok(chunks) => {
                        if let Err(fault) = self.hand_on(chunks).await {
                            return End::Transport(fault);
                        }
                    }
                    Err(fault) => return End::Stream(fault),
                },
                Ok(None) => return End::Closed,
                Err(fault) => return End::Transport(fault),
            }
        }
    }

    async fn hand_on(&mut self, chunks: Vec<Chunk>) -> Result<(), TransportError> {
        for chunk in chunks {
            self.last = Bytes::from(chunk.json);
            if !std::mem::replace(&mut self.begun, true) {
                (self.begins)();
            }
            // Whoever does not listen any more withdraws the prompt, which ends this.
            let taken = tokio::time::timeout(READER_PATIENCE, self.listener.send(self.last.clone())).await;
            if taken.is_err() {
                let reason = format!("its reader took nothing for {} s", READER_PATIENCE.as_secs());
                return Err(TransportError::Cut { reason });
            }
        }
        Ok(())
    }

    fn judged(self, driver: &Driver, end: End) -> (Option<Bytes>, Reading) {
        let usage = self.reader.usage().clone();
        let reading = match end {
            End::Closed => match self.reader.finish() {
                Ok(answer) => answered(answer),
                Err(fault) => broken(driver, fault),
            },
            End::Transport(fault) => classify(Method::Generate, &Err(fault), &driver.terms.now().retry_on),
            End::Stream(fault) => broken(driver, fault),
        };
        let reading = if self.begun { for_good(reading, usage) } else { reading };
        (Some(self.last), reading)
    }
}

fn broken(driver: &Driver, fault: StreamError) -> Reading {
    match fault {
        StreamError::Fault(fault) => failed(&fault, &driver.terms.now().retry_on),
        StreamError::Unfinished { .. } | StreamError::Unreadable(_) => transient(None, "CUT", fault.to_string()),
    }
}

/// Half an answer is with the caller: whatever happened, it is not asked for again.
fn for_good(reading: Reading, usage: Usage) -> Reading {
    let used =
        (usage.input_tokens > 0).then(|| Used { input: usage.input_tokens, total: usage.total_tokens.max(usage.input_tokens) });
    let outcome = match reading.outcome {
        Outcome::Done { used } => Outcome::Done { used },
        _ => Outcome::TaskFailed(TaskFault { retry: false, used }),
    };
    let fault = reading.fault.map(|mut words| {
        if words.http_status != Some(200) {
            words.blame = crate::event::Blame::Upstream;
        }
        words
    });
    Reading { outcome, usage, fault, ..reading }
}
