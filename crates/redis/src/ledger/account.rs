//! What one process knows of one bucket: its names in Redis, the state it saw last, what it was promised, what it owes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::{Clock, Verdict};
use super::terms::{Bucket, Cost, Grant, Learned, Permit, Return, Sent};
use super::trace::{Change, Trace};
use super::wire::{self, Known, Shape};
use crate::connection::CallError;
use crate::names;

/// One bucket's account.
#[derive(Debug)]
pub(crate) struct Account {
    /// State, three readable counters, live processes, facts, flight: as the scripts count them.
    pub keys: Vec<String>,
    /// Who has told of the day what was sent without Redis.
    pub machines: String,
    /// The process, as it is known to others in this bucket.
    pub process: Vec<u8>,
    /// Held while the state is told what it lost, so that it is told once.
    pub telling: tokio::sync::Mutex<()>,
    book: Mutex<Book>,
}

/// The part that changes.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub clock: Clock,
    pub epoch: i64,
    pub seq: i64,
    trace: Trace,
    /// What is not told yet.
    owed: Vec<Change>,
    /// Permits handed out and not given back.
    pub under_way: u32,
    today: i64,
    day_end: i64,
    heard: Option<f64>,
}

/// The header of a grant, as the script writes it.
const HEADER: usize = 17;
/// Milliseconds between two signs of life.
const BEAT: f64 = 1_000.0;

impl Account {
    /// The account of a bucket nothing is known of yet.
    pub(crate) fn new(bucket: &Bucket, process: &str) -> Account {
        let part = |part| names::quota(&bucket.project, &bucket.family, part);
        let keys = vec![
            part("state"),
            part("rpm"),
            part("tpm"),
            part("rpd"),
            part("live"),
            names::project(&bucket.project, "facts"),
            names::project(&bucket.project, "flight"),
        ];
        let process = format!("{process}/{}", bucket.family).into_bytes();
        Account { keys, machines: part("machines"), process, telling: tokio::sync::Mutex::default(), book: Mutex::default() }
    }

    /// The book, for a moment.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// What the next call tells about what it knows.
    pub(crate) fn known(&self, pretended: Option<f64>, now: f64) -> Known {
        let (expected, slack) = self.clock.expected(now).unwrap_or_default();
        Known { pretended: pretended.unwrap_or(0.0), expected, slack, epoch: self.epoch, seq: self.seq }
    }

    /// Takes permits back; what that changes is owed to Redis.
    pub(crate) fn take_back(&mut self, returns: Vec<Return>) {
        for returned in returns {
            let (permit, requests, used) = match returned {
                Return::Used { permit, tokens } => (permit, 0.0, tokens.min(u64::from(u32::MAX)) as f64),
                Return::Unused(permit) => (permit, -1.0, 0.0),
            };
            self.under_way = self.under_way.saturating_sub(1);
            let risk = -f64::from(permit.spread).powi(2);
            if let Some(change) = self.trace.change(permit.entry, requests, used - f64::from(permit.tokens), risk) {
                self.owe(change);
            }
        }
    }

    /// Whether Redis' clock is known beside ours.
    pub(crate) fn knows_the_time(&self, now: f64) -> bool {
        self.clock.expected(now).is_some()
    }

    /// Notes calls that went without a permit, where they lie on Redis' clock; they are owed. Nothing while that is not known.
    pub(crate) fn charge(&mut self, sent: &[Sent], shape: Shape, now: f64) {
        let Some((there, _)) = self.clock.expected(now) else { return };
        for sent in sent {
            let slot = ((there - wire::millis(sent.ago)).max(0.0) / shape.slot) as u64;
            let change = self.trace.charge(self.seq + 1, slot, sent.requests as f64, sent.tokens as f64);
            self.owed.push(change);
        }
    }

    /// Whether something is owed.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    fn owe(&mut self, change: Change) {
        match self.owed.iter_mut().rev().take(8).find(|owed| owed.entry == change.entry) {
            Some(owed) => {
                owed.requests += change.requests;
                owed.tokens += change.tokens;
                owed.risk += change.risk;
            }
            None => self.owed.push(change),
        }
    }

    /// Everything owed, where it lies now; what has left is let go.
    pub(crate) fn pay(&mut self, most: usize) -> Vec<Change> {
        let rest = self.owed.split_off(self.owed.len().min(most));
        let owed = std::mem::replace(&mut self.owed, rest);
        let placed = |change: Change| Some(Change { slot: self.trace.slot(change.entry)?, ..change });
        owed.into_iter().filter_map(placed).collect()
    }

    /// A call that was certainly not done has paid nothing.
    pub(crate) fn unpaid(&mut self, changes: Vec<Change>) {
        self.owed.extend(changes);
    }

    /// What is still owed after a call that failed.
    pub(crate) fn owe_after(&mut self, error: &CallError, changes: Vec<Change>) {
        match error {
            CallError::Full { .. } | CallError::Refused { .. } => self.unpaid(changes),
            CallError::Away { .. } | CallError::Late { .. } => self.unsure(changes),
        }
    }

    /// A call that may or may not have been done: what it would have given back is forgone, what it would have charged is
    /// told again. A permit counted twice is harmless, one given back twice is not.
    fn unsure(&mut self, changes: Vec<Change>) {
        let charged = changes.into_iter().filter(|change| change.tokens > 0.0 || change.requests > 0.0);
        self.owed.extend(charged.map(|change| Change { requests: change.requests.max(0.0), risk: 0.0, ..change }));
    }

    /// Whether this call shall be a sign of life.
    pub(crate) fn beats(&mut self, now: f64) -> bool {
        let due = self.heard.is_none_or(|heard| now - heard >= BEAT);
        if due {
            self.heard = Some(now);
        }
        due
    }

    /// Reads a grant. None when its numbers are not those of a grant.
    pub(crate) fn accept(&mut self, costs: &[Cost], told: &[i64], shape: Shape, sent: f64, received: f64) -> Option<Grant> {
        if told.len() < HEADER {
            return None;
        }
        let (head, waits) = told.split_at(HEADER);
        let &[
            raw,
            now,
            epoch,
            seq,
            held,
            live,
            requests,
            tokens,
            today,
            disputed,
            facts,
            rpm,
            tpm,
            rpd,
            dimension,
            hint,
            day_end,
        ] = head
        else {
            return None;
        };
        let length = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let learned = |limit: i64| (limit > 0).then_some(count(limit));
        let mut grant = Grant {
            permits: Vec::with_capacity(waits.len()),
            refused: wire::refusal(dimension, hint),
            held: length(held),
            epoch: count(epoch),
            live: u32::try_from(live).unwrap_or(1),
            requests: count(requests),
            tokens: count(tokens),
            today: count(today),
            disputed: disputed != 0,
            learned: Learned { rpm: learned(rpm), tpm: learned(tpm), rpd: learned(rpd) },
            facts: count(facts),
        };
        if self.epoch != 0 && self.epoch != epoch {
            // A later life has begun while this answer was on its way; it does not know these permits.
            return Some(grant);
        }
        self.epoch = epoch;
        self.seq = self.seq.max(seq);
        (self.today, self.day_end) = (today, day_end);
        // The script has looked at the clocks already; what is left is to learn from them.
        let _: Verdict = self.clock.observe(raw as f64, sent, received);
        let current = now as f64 / shape.slot;
        self.trace.forget((current as u64).saturating_sub(shape.reach()));
        for (cost, wait) in costs.iter().zip(waits) {
            let slot = ((now + wait) as f64 / shape.slot) as u64;
            let due = self.clock.here((raw + wait) as f64) - received;
            let entry = self.trace.note(seq, slot, cost.tokens, f64::from(cost.spread).powi(2));
            grant.permits.push(Permit {
                wait: Duration::from_secs_f64(due.max(0.0) / 1e3),
                late: Duration::from_secs_f64((-due).max(0.0) / 1e3),
                tokens: cost.tokens,
                spread: cost.spread,
                entry,
            });
        }
        self.under_way += u32::try_from(grant.permits.len()).unwrap_or(0);
        Some(grant)
    }

    /// What a new life has to be told: all this process was promised after what survived, and the day as it saw it.
    pub(crate) fn tell(&self, before: i64, survived: i64) -> Testimony {
        // Lives were missed in between: what those knew is not known.
        let survived = if before == self.epoch { survived } else { i64::MIN };
        Testimony { survived, entries: self.trace.since(survived), today: self.today, day_end: self.day_end }
    }

    /// The new life knows it now.
    pub(crate) fn told(&mut self, testimony: &Testimony, epoch: i64, seq: i64) {
        self.trace.told(testimony.survived, seq);
        let known = |owed: &Change| !testimony.entries.iter().any(|entry| entry.entry == owed.entry);
        self.owed.retain(known);
        (self.epoch, self.seq) = (epoch, seq);
    }

    /// Moves what was promised by some slots, into the time after a jump of Redis' clock; returns the life it belongs to.
    pub(crate) fn shifted(&mut self, slots: i64) -> i64 {
        self.trace.shift(slots);
        self.epoch
    }
}

/// What one process remembers.
#[derive(Debug)]
pub(crate) struct Testimony {
    survived: i64,
    pub entries: Vec<Change>,
    pub today: i64,
    pub day_end: i64,
}
