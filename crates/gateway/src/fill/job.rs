//! One filling as its client follows it: what happened so far, and how it ended.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value, json};
use tidegate_template::{Event, Filled, Template, TextTemplate};
use tokio::sync::watch;
use tokio::time::{Duration, timeout};

/// A watcher is told that nothing happened so often, lest anybody on the way takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(3);

/// A filling.
pub struct Job {
    pub id: Arc<str>,
    pub client: Arc<str>,
    /// What the template is called.
    pub template: String,
    /// How many fields it has.
    pub fields: usize,
    /// The template as a text to be written back, where it is one.
    pub text: Option<TextTemplate>,
    /// What it weighs while it is under way: the bytes that were sent.
    pub weight: usize,
    told: watch::Sender<Told>,
}

#[derive(Default)]
struct Told {
    /// Each a server-sent event, ready to go.
    events: Vec<Bytes>,
    bytes: usize,
    settled: usize,
    calls: u64,
    end: Option<End>,
}

/// How a filling ended.
#[derive(Debug, Clone)]
pub enum End {
    /// With a result, in which fields may be empty.
    Done(Arc<Filled>),
    /// Its client gave it up.
    Cancelled,
    /// Something broke that should not.
    Failed(&'static str),
}

impl End {
    /// Its name in answers.
    pub fn name(&self) -> &'static str {
        match self {
            End::Done(_) => "done",
            End::Cancelled => "cancelled",
            End::Failed(_) => "failed",
        }
    }
}

impl Job {
    pub fn new(id: Arc<str>, client: Arc<str>, template: &Template, weight: usize) -> Job {
        let (template, fields) = (template.name.clone(), template.fields.len());
        Job { id, client, template, fields, text: None, weight, told: watch::Sender::default() }
    }

    /// Notes what happened.
    pub fn saw(&self, event: &Event) {
        let Ok(value) = serde_json::to_value(event) else { return };
        let name = value["event"].as_str().unwrap_or("note").to_owned();
        self.told.send_modify(|told| {
            told.settled += usize::from(matches!(event, Event::Field(_)));
            told.calls += u64::from(matches!(event, Event::Asked { .. }));
            told.push(&name, &value);
        });
    }

    /// It has ended; the first word counts. Whether this was the first.
    pub fn ends(&self, end: End) -> bool {
        self.told.send_if_modified(|told| {
            if told.end.is_some() {
                return false;
            }
            let mut value = json!({"state": end.name()});
            if let End::Failed(reason) = &end {
                value["error"] = (*reason).into();
            }
            told.push("end", &value);
            if let End::Done(filled) = &end {
                // About as much as it takes as text.
                told.bytes += serde_json::to_vec(&**filled).map_or(0, |text| text.len());
            }
            told.end = Some(end);
            true
        })
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.told.borrow().end.clone()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Option<End> {
        let mut told = self.told.subscribe();
        let told = told.wait_for(|told| told.end.is_some()).await.ok()?;
        told.end.clone()
    }

    /// Fields that are settled so far.
    pub fn settled(&self) -> usize {
        self.told.borrow().settled
    }

    /// Calls it has made so far.
    pub fn calls(&self) -> u64 {
        self.told.borrow().calls
    }

    /// Bytes that are kept of it.
    pub fn kept(&self) -> usize {
        self.told.borrow().bytes
    }

    /// What happened after event number `after`, as it happens, until the end.
    pub fn events(self: &Arc<Job>, after: usize) -> BoxStream<'static, Bytes> {
        let next = |(job, mut told, at): (Arc<Job>, watch::Receiver<Told>, usize)| async move {
            let more = told.wait_for(|told| told.events.len() > at || told.end.is_some());
            let piece = match timeout(SILENCE, more).await {
                Ok(told) => Some(told.ok()?.events.get(at)?.clone()),
                Err(_) => None,
            };
            let at = at + usize::from(piece.is_some());
            Some((piece.unwrap_or(Bytes::from_static(b": still here\n\n")), (job, told, at)))
        };
        stream::unfold((self.clone(), self.told.subscribe(), after), next).boxed()
    }

    /// As its client reads it, the result included.
    pub fn answer(&self) -> Value {
        let told = self.told.borrow();
        let end = told.end.as_ref();
        let mut value = json!({
            "id": &*self.id,
            "state": end.map_or("running", End::name),
            "template": self.template,
            "fields": self.fields,
            "fields_settled": told.settled,
            "api_calls": told.calls,
            "events": format!("/api/templates/jobs/{}/events", self.id),
        });
        match end {
            Some(End::Done(filled)) => value["result"] = serde_json::to_value(&**filled).unwrap_or_default(),
            Some(End::Failed(reason)) => value["error"] = (*reason).into(),
            Some(End::Cancelled) | None => {}
        }
        value
    }
}

impl Told {
    fn push(&mut self, name: &str, value: &Value) {
        let event = Bytes::from(format!("id: {}\nevent: {name}\ndata: {value}\n\n", self.events.len() + 1));
        self.bytes += event.len();
        self.events.push(event);
    }
}
