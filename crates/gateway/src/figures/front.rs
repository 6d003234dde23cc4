//! What became of the requests of the gateway's clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::Histogram;
use tidegate_engine::scheduler::Timestamp;

use super::buckets::Buckets;
use super::faults::{Fault, Faults};
use super::names::{Name, Names};
use super::ring::Ring;
use super::{minute, second};

/// Clients with figures of their own.
const CLIENTS: u16 = 1_000;

/// How a request ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// With an answer, whole.
    Answered,
    /// The request itself was wrong.
    Invalid,
    /// Turned away: no permit came in time, no budget, no room, no right to ask.
    Refused,
    /// The API or the gateway failed, or an answer broke off.
    Failed,
    /// Its client went away first.
    Gone,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 5] = [Outcome::Answered, Outcome::Invalid, Outcome::Refused, Outcome::Failed, Outcome::Gone];

    /// The word in labels.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Invalid => "invalid",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Gone => "gone",
        }
    }
}

/// A request that came to its end.
#[derive(Debug)]
pub struct End<'a> {
    pub at: Timestamp,
    /// From its head to the end of its answer.
    pub took: Duration,
    pub route: &'static str,
    /// The model that was asked for, as its client calls it.
    pub model: Option<&'a str>,
    pub outcome: Outcome,
    pub client: &'a Arc<str>,
    /// What went wrong, where that was not the API's own word.
    pub fault: Option<Fault>,
}

/// How many requests ended in each way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// Of one kind.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// With an error, be it the request's own or another's.
    pub fn failed(&self) -> u64 {
        self.of(Outcome::Invalid) + self.of(Outcome::Failed)
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Figures of one minute.
#[derive(Debug, Default)]
pub struct Minute {
    pub counts: Counts,
    /// How long answers took.
    pub took: Histogram,
}

/// What a count of requests is told apart by: route, model, client.
type Label = (&'static str, Arc<str>, Name);

/// The fold over the ends of requests.
pub struct Front {
    clients: Names,
    by_client: Vec<Counts>,
    requests: BTreeMap<Label, Counts>,
    durations: BTreeMap<&'static str, Buckets>,
    minutes: Ring<Minute>,
    seconds: Ring<Counts>,
    pub faults: Faults,
}

impl Front {
    pub(super) fn new() -> Front {
        Front {
            clients: Names::up_to(CLIENTS),
            by_client: Vec::new(),
            requests: BTreeMap::new(),
            durations: BTreeMap::new(),
            minutes: Ring::new(),
            seconds: Ring::new(),
            faults: Faults::default(),
        }
    }

    /// Counts an end; `model` as it is called in labels.
    pub(super) fn ended(&mut self, end: End<'_>, model: Arc<str>) {
        let client = self.clients.admit(end.client);
        let number = usize::from(client);
        if self.by_client.len() <= number {
            self.by_client.resize(number + 1, Counts::default());
        }
        self.by_client[number].add(end.outcome);
        self.requests.entry((end.route, model, client)).or_default().add(end.outcome);
        self.durations.entry(end.route).or_default().record(end.took);
        self.seconds.at(second(end.at)).add(end.outcome);
        let of_minute = self.minutes.at(minute(end.at));
        of_minute.counts.add(end.outcome);
        if end.outcome == Outcome::Answered {
            of_minute.took.record(end.took);
        }
        if let Some(fault) = end.fault {
            self.faults.push(fault);
        }
    }

    /// Requests by route, model and client.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &str, Arc<str>, Counts)> {
        self.requests.iter().map(|((route, model, client), counts)| (*route, &**model, self.clients.name(*client), *counts))
    }

    /// How long requests took, by route.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, &Buckets)> {
        self.durations.iter().map(|(route, buckets)| (*route, buckets))
    }

    /// Requests of each client that has ended one.
    pub fn clients(&self) -> impl Iterator<Item = (Arc<str>, Counts)> {
        let all = self.by_client.iter().zip(0..).filter(|(counts, _)| counts.sum() > 0);
        all.map(|(counts, number)| (self.clients.name(number), *counts))
    }

    /// What happened in a minute.
    pub fn minute(&self, number: u64) -> Option<&Minute> {
        self.minutes.get(number)
    }

    /// What happened in a second.
    pub fn second(&self, number: u64) -> Counts {
        self.seconds.get(number).copied().unwrap_or_default()
    }
}
