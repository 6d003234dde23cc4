//! One request as the figures see it: from its head to the last piece of its answer, however that comes about.

use std::sync::{Arc, OnceLock};
use std::task::Poll;

use futures_util::{StreamExt, stream};
use http::StatusCode;
use http::request::Parts;
use tidegate_engine::Engine;
use tidegate_engine::scheduler::Timestamp;

use crate::answer::{Answer, Body};
use crate::error::{Dialect, Refusal};
use crate::figures::{End, Fault, Figures, Outcome, line};
use crate::follower::{Arrival, Departure, Follower};

/// A request that is counted when this is dropped: as answered, as refused or failed, or as one whose client went away.
pub struct Visit {
    figures: Arc<Figures>,
    engine: Engine,
    route: &'static str,
    client: Arc<str>,
    id: Arc<str>,
    begun: Timestamp,
    note: Arc<Note>,
    fault: Option<Fault>,
    follower: Option<Arc<dyn Follower>>,
    status: Option<StatusCode>,
}

/// What is learned of a request on its way.
#[derive(Debug, Default)]
pub struct Note {
    model: OnceLock<String>,
    outcome: OnceLock<Outcome>,
}

impl Note {
    /// It asks this model.
    pub fn asks(&self, model: &str) {
        let _ = self.model.set(model.to_owned());
    }

    /// Its answer has ended; the first word counts.
    pub fn ends(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
    }
}

impl Visit {
    /// A request has come.
    pub fn begin(figures: &Arc<Figures>, engine: &Engine, route: &'static str, client: &Arc<str>, id: &Arc<str>) -> Visit {
        Visit {
            figures: figures.clone(),
            engine: engine.clone(),
            route,
            client: client.clone(),
            id: id.clone(),
            begun: engine.now(),
            note: Arc::default(),
            fault: None,
            follower: None,
            status: None,
        }
    }

    /// The same visit, with somebody who follows it to its end.
    pub fn followed(mut self, follower: Option<&Arc<dyn Follower>>, head: &Parts) -> Visit {
        if let Some(follower) = follower {
            let Parts { method, uri, headers, .. } = head;
            let (at, route, id, client) = (self.begun, self.route, &self.id, &self.client);
            follower.arrived(&Arrival { at, id, route, client, method, path: uri.path(), headers });
            self.follower = Some(follower.clone());
        }
        self
    }

    /// Where the request's way is noted.
    pub fn note(&self) -> Arc<Note> {
        self.note.clone()
    }

    /// What goes back. A growing answer takes the visit along, and has noted how it ended when it is dropped.
    pub fn told(mut self, told: Result<Answer, Refusal>, dialect: Dialect) -> Answer {
        match told {
            Ok(answer) => {
                self.status = Some(answer.status());
                self.carried(answer)
            }
            Err(refusal) => {
                self.note.ends(refusal.outcome());
                self.fault = refusal.words().map(|(http_status, code, message)| self.fault(http_status, code, message));
                let answer = refusal.answer(dialect);
                self.status = Some(answer.status());
                answer
            }
        }
    }

    fn carried(self, answer: Answer) -> Answer {
        let (head, body) = answer.into_parts();
        let body = match body {
            Body::Whole(body) => {
                self.note.ends(of(head.status));
                Body::Whole(body)
            }
            Body::Growing(pieces) => Body::Growing(
                pieces
                    .inspect(move |_| {
                        let _carried = &self;
                    })
                    .boxed(),
            ),
            Body::Relayed(pieces) => {
                let note = self.note.clone();
                let status = head.status;
                let relayed = pieces.inspect(move |piece| {
                    if piece.is_err() {
                        note.ends(Outcome::Failed);
                    }
                });
                let end = stream::poll_fn(move |_| {
                    self.note.ends(of(status));
                    Poll::Ready(None)
                });
                Body::Relayed(relayed.chain(end).boxed())
            }
        };
        Answer::from_parts(head, body)
    }

    fn fault(&self, http_status: u16, code: &str, message: &str) -> Fault {
        Fault {
            at: self.engine.now(),
            code: code.into(),
            http_status: Some(http_status),
            message: line(message),
            project: None,
            key: None,
            client: Some(self.client.clone()),
            request_id: Some(self.id.clone()),
        }
    }
}

/// How a whole answer of this status ended.
fn of(status: StatusCode) -> Outcome {
    if status.is_server_error() {
        Outcome::Failed
    } else if status.is_client_error() {
        Outcome::Invalid
    } else {
        Outcome::Answered
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let at = self.engine.now();
        let model = self.note.model.get().map(String::as_str);
        let outcome = self.note.outcome.get().copied().unwrap_or(Outcome::Gone);
        if let Some(follower) = &self.follower {
            let (status, outcome) = (self.status.map(|status| status.as_u16()), outcome.name());
            follower.left(&Departure { at, id: &self.id, status, model, outcome });
        }
        self.figures.ended(End {
            at,
            took: at - self.begun,
            route: self.route,
            model,
            outcome,
            client: &self.client,
            fault: self.fault.take(),
        });
    }
}
