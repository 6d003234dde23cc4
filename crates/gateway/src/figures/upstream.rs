//! What the engine did for the gateway, as its events tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::scheduler::{JobId, Timestamp};
use tidegate_engine::{Attempt, AttemptFault, Event, EventKind, Histogram};
use tidegate_gemini::Usage;
use tidegate_gemini::models::family;

use super::buckets::Buckets;
use super::faults::{Fault, Faults, line};
use super::names::{Name, Names};
use super::ring::Ring;
use super::{minute, tally};

/// Models with a name of their own in labels.
const MODELS: u16 = 64;
/// Clients with figures of their own.
const CLIENTS: u16 = 1_000;

/// The fold over the engine's events.
pub struct Upstream {
    tickets: BTreeMap<JobId, Ticket>,
    models: Names,
    families: Names,
    by_model: Vec<OfModel>,
    clients: Names,
    by_client: Vec<OfClient>,
    minutes: Ring<Minute>,
    /// Attempts by HTTP status, or by a word where no answer came.
    pub attempts: BTreeMap<Arc<str>, u64>,
    /// Attempts that were not the first of their prompt, by the fault of the one before.
    pub retries: BTreeMap<Arc<str>, u64>,
    pub faults: Faults,
}

/// A prompt that has not ended.
struct Ticket {
    client: Name,
    /// Since when it waits.
    since: Timestamp,
    waits: bool,
    /// What its first attempt waited.
    queued: Duration,
}

/// Figures of one model.
#[derive(Debug, Clone, Default)]
pub struct OfModel {
    /// From a prompt's arrival to its first attempt.
    pub queue: Buckets,
    /// From sending to the end of the answer.
    pub latency: Buckets,
    /// Tokens of all attempts.
    pub usage: Usage,
}

/// Figures of one client.
#[derive(Debug, Clone, Copy, Default)]
pub struct OfClient {
    /// Prompts that wait for a permit.
    pub waiting: u64,
    /// Tokens of all attempts.
    pub tokens: u64,
}

/// Figures of one minute.
#[derive(Debug, Default)]
pub struct Minute {
    pub retries: u64,
    /// What first attempts had waited.
    pub queue: Histogram,
}

impl Upstream {
    pub(super) fn new() -> Upstream {
        Upstream {
            tickets: BTreeMap::new(),
            models: Names::up_to(MODELS),
            families: Names::up_to(MODELS),
            by_model: Vec::new(),
            clients: Names::up_to(CLIENTS),
            by_client: Vec::new(),
            minutes: Ring::new(),
            attempts: BTreeMap::new(),
            retries: BTreeMap::new(),
            faults: Faults::default(),
        }
    }

    pub(super) fn fold(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Submitted { job, client } => {
                let client = client.as_ref().map_or(0, |client| self.clients.admit(client));
                let ticket = Ticket { client, since: event.at, waits: true, queued: Duration::ZERO };
                self.tickets.insert(*job, ticket);
                place(&mut self.by_client, client).waiting += 1;
            }
            EventKind::Started { job, queued, after, .. } => self.started(event.at, *job, *queued, after.as_deref()),
            EventKind::Attempted(attempt) => self.attempted(event.at, attempt),
            EventKind::Completed { job, .. } => {
                if let Some(ticket) = self.tickets.remove(job).filter(|ticket| ticket.waits) {
                    leave(&mut self.by_client, ticket.client);
                }
            }
            EventKind::Held { .. } | EventKind::KeyDead { .. } | EventKind::Upload(_) => {}
            EventKind::Parked { .. } | EventKind::Unparked { .. } | EventKind::Reconfigured => {}
        }
    }

    fn started(&mut self, at: Timestamp, job: JobId, queued: Duration, after: Option<&str>) {
        let of_minute = self.minutes.at(minute(at));
        match after {
            Some(fault) => {
                of_minute.retries += 1;
                tally(&mut self.retries, fault);
            }
            None => of_minute.queue.record(queued),
        }
        let Some(ticket) = self.tickets.get_mut(&job) else { return };
        if after.is_none() {
            ticket.queued = queued;
        }
        if std::mem::take(&mut ticket.waits) {
            leave(&mut self.by_client, ticket.client);
        }
    }

    fn attempted(&mut self, at: Timestamp, attempt: &Attempt) {
        let model = self.proven(attempt);
        let mut client = 0;
        if let Some(ticket) = self.tickets.get_mut(&attempt.job) {
            client = ticket.client;
            if attempt.fault.is_some() && !std::mem::replace(&mut ticket.waits, true) {
                ticket.since = at;
                place(&mut self.by_client, client).waiting += 1;
            }
            if attempt.number == 1 {
                place(&mut self.by_model, model).queue.record(ticket.queued);
            }
        }
        let of_model = place(&mut self.by_model, model);
        of_model.latency.record(attempt.latency);
        of_model.usage.add(&attempt.usage);
        place(&mut self.by_client, client).tokens += attempt.usage.total_tokens;
        match &attempt.fault {
            None => tally(&mut self.attempts, "200"),
            Some(fault) => self.failed(at, client, attempt, fault),
        }
    }

    fn failed(&mut self, at: Timestamp, client: Name, attempt: &Attempt, fault: &AttemptFault) {
        match fault.http_status {
            Some(status) => tally(&mut self.attempts, &status.to_string()),
            None => tally(&mut self.attempts, &fault.code),
        }
        // Whoever went away knows it.
        if fault.code == "cancelled" {
            return;
        }
        self.faults.push(Fault {
            at,
            code: fault.code.as_str().into(),
            http_status: fault.http_status,
            message: line(&fault.message),
            project: Some(attempt.seat.project.clone()),
            key: Some(attempt.seat.key.clone()),
            client: (client > 0).then(|| self.clients.name(client)),
            request_id: attempt.label.clone(),
        });
    }

    /// The number of an attempt's model: its own once the API has answered for it or named a quota of it.
    fn proven(&mut self, attempt: &Attempt) -> Name {
        let model = &attempt.seat.model;
        let number = self.models.find(model);
        let proves = attempt.fault.as_ref().is_none_or(|fault| fault.http_status == Some(429));
        if number > 0 || !proves {
            return number;
        }
        self.families.admit(&family(model).into());
        self.models.admit(model)
    }

    /// How a model is called in labels.
    pub fn label(&self, model: &str) -> Arc<str> {
        self.models.name(self.models.find(model))
    }

    /// Whether the API is known to have models of this family.
    pub fn knows(&self, family: &str) -> bool {
        self.families.holds(family)
    }

    /// Since when the prompt waits that waits longest.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.tickets.values().find(|ticket| ticket.waits).map(|ticket| ticket.since)
    }

    /// Figures of each model.
    pub fn models(&self) -> impl Iterator<Item = (Arc<str>, &OfModel)> {
        self.by_model
            .iter()
            .zip(0..)
            .filter(|(of_model, _)| of_model.latency.count() > 0)
            .map(|(of, n)| (self.models.name(n), of))
    }

    /// Figures of a client.
    pub fn client(&self, name: &str) -> OfClient {
        let number = self.clients.find(name);
        self.by_client.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// Tokens of all attempts.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        self.by_model.iter().for_each(|of_model| sum.add(&of_model.usage));
        sum
    }

    /// What happened in a minute.
    pub fn minute(&self, number: u64) -> Option<&Minute> {
        self.minutes.get(number)
    }
}

fn place<T: Default + Clone>(places: &mut Vec<T>, number: Name) -> &mut T {
    let number = usize::from(number);
    if places.len() <= number {
        places.resize(number + 1, T::default());
    }
    &mut places[number]
}

fn leave(by_client: &mut Vec<OfClient>, client: Name) {
    let of_client = place(by_client, client);
    of_client.waiting = of_client.waiting.saturating_sub(1);
}
