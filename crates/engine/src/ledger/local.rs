//! A ledger in this process: the scheduler's own windows behind a lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use tidegate_scheduler::{Book, Knowledge, Limits, QuotaRules, Timestamp};
use tokio::sync::broadcast;

use super::{Answer, Fact, Leave, Ledger, LedgerError, Place, Question, Return, Warning};
use crate::clock::Clock;

/// A ledger for several engines of one process. Each joins with a handle of its own ([`LocalLedger::join`]).
///
/// ```
/// # async fn example(one: tidegate_engine::Builder, other: tidegate_engine::Builder) -> Result<(), tidegate_engine::BuildError> {
/// use tidegate_engine::ledger::LocalLedger;
/// let ledger = LocalLedger::new(&Default::default(), None);
/// let one = one.ledger(ledger.join()).build()?;
/// let other = other.ledger(ledger.join()).build()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LocalLedger {
    shelf: Arc<Shelf>,
    who: u64,
}

struct Shelf {
    clock: Clock,
    rules: QuotaRules,
    content: Mutex<Content>,
    members: AtomicU64,
    away: AtomicBool,
    calls: AtomicU64,
    news: broadcast::Sender<Place>,
}

struct Content {
    book: Book,
    warnings: HashMap<Place, (Timestamp, Limits)>,
    /// What is known of each project, and until when.
    facts: HashMap<Arc<str>, Vec<(Fact, Timestamp)>>,
    version: u64,
}

impl LocalLedger {
    /// An empty ledger whose server counts by `rules`. Its clock begins at `start`, or at the wall clock's time.
    pub fn new(rules: &QuotaRules, start: Option<Timestamp>) -> LocalLedger {
        let shelf = Shelf {
            clock: Clock::new(start),
            rules: rules.clone(),
            content: Mutex::new(Content::new(rules)),
            members: AtomicU64::new(1),
            away: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            news: broadcast::channel(64).0,
        };
        LocalLedger { shelf: Arc::new(shelf), who: 0 }
    }

    /// The same ledger for another engine.
    pub fn join(&self) -> LocalLedger {
        LocalLedger { shelf: self.shelf.clone(), who: self.shelf.members.fetch_add(1, Ordering::Relaxed) }
    }

    /// From now on nobody reaches it, or everybody again: for rehearsals of an outage.
    pub fn set_away(&self, away: bool) {
        self.shelf.away.store(away, Ordering::Relaxed);
    }

    /// Forgets everything, as a server does that restarts empty.
    pub fn lose(&self) {
        *self.shelf.content.lock() = Content::new(&self.shelf.rules);
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.shelf.calls.load(Ordering::Relaxed)
    }

    /// Does something with the content, if it can be reached.
    fn with<T>(&self, act: impl FnOnce(Timestamp, &mut Content) -> T) -> Result<T, LedgerError> {
        if self.shelf.away.load(Ordering::Relaxed) {
            return Err(LedgerError("the ledger is away".to_owned()));
        }
        self.shelf.calls.fetch_add(1, Ordering::Relaxed);
        Ok(act(self.shelf.clock.now(), &mut self.shelf.content.lock()))
    }
}

impl Content {
    fn new(rules: &QuotaRules) -> Content {
        Content { book: Book::new(rules), warnings: HashMap::new(), facts: HashMap::new(), version: 0 }
    }

    fn give_back(&mut self, now: Timestamp, returns: &[Return]) {
        for back in returns {
            match *back {
                Return::Used(id, tokens) => self.book.settle(id, tokens),
                Return::Unused(id) => self.book.release(now, &[id]),
            }
        }
    }

    fn answer(&mut self, now: Timestamp, who: u64, question: &Question) -> Answer {
        let Question { place, known, ask, returns } = question;
        self.give_back(now, returns);
        let grant = self.book.reserve(now, place, who, known, ask);
        let leave = |permit: tidegate_scheduler::Permit| Leave {
            id: permit.id,
            wait: permit.at - now,
            late: Duration::ZERO,
            tokens: permit.tokens,
        };
        let (held, learned) = self.warnings.get(place).copied().unwrap_or((Timestamp::ZERO, Limits::default()));
        Answer {
            leaves: grant.permits.into_iter().map(leave).collect(),
            refused: grant.refused.map(|refusal| (refusal.dimension, refusal.until - now)),
            busy: grant.busy,
            used: grant.used,
            today: grant.today,
            live: grant.live,
            held: (held > now).then(|| held - now),
            learned,
            facts: self.version,
        }
    }
}

impl Ledger for LocalLedger {
    fn reserve(&self, question: Question) -> BoxFuture<'_, Result<Answer, LedgerError>> {
        let answer = self.with(|now, content| content.answer(now, self.who, &question));
        std::future::ready(answer).boxed()
    }

    fn warn(&self, place: Place, known: Knowledge, warning: Warning) -> BoxFuture<'_, Result<(), LedgerError>> {
        let told = self.with(|now, content| {
            let until = now + warning.hold;
            if !warning.hold.is_zero() {
                content.book.hold(now, &place, until, known.limits);
            }
            let entry = content.warnings.entry(place.clone()).or_default();
            *entry = (entry.0.max(until), warning.learned);
            if warning.urgent {
                let _ = self.shelf.news.send(place);
            }
        });
        std::future::ready(told).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        std::future::ready(self.with(|_, _| ())).boxed()
    }

    fn remind(&self, place: Place, known: Knowledge, sent: Vec<(Duration, u64, u64)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        let told = self.with(|now, content| {
            let at = |(ago, requests, tokens)| (now.before(ago), requests, tokens);
            let sent: Vec<_> = sent.into_iter().map(at).collect();
            content.book.learn(now, &place, &known, &sent);
        });
        std::future::ready(told).boxed()
    }

    fn news(&self) -> BoxStream<'static, Option<Place>> {
        let next = |mut told: broadcast::Receiver<Place>| async move {
            match told.recv().await {
                Ok(place) => Some((Some(place), told)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((None, told)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        };
        stream::unfold(self.shelf.news.subscribe(), next).boxed()
    }

    fn facts(&self, project: Arc<str>) -> BoxFuture<'_, Result<Vec<Fact>, LedgerError>> {
        let facts = self.with(|now, content| {
            let known = content.facts.get(&project).into_iter().flatten().filter(|(_, until)| *until > now);
            let left = |(fact, until): &(Fact, Timestamp)| match fact {
                Fact::KeyDead { .. } => fact.clone(),
                Fact::Parked { reason, .. } => Fact::Parked { reason: reason.clone(), length: *until - now },
            };
            known.map(left).collect()
        });
        std::future::ready(facts).boxed()
    }

    fn tell(&self, project: Arc<str>, fact: Fact) -> BoxFuture<'_, Result<(), LedgerError>> {
        let told = self.with(|now, content| {
            let facts = content.facts.entry(project).or_default();
            let until = match &fact {
                Fact::KeyDead { .. } => Timestamp::NEVER,
                Fact::Parked { length, .. } => now + *length,
            };
            if !facts.iter().any(|(known, _)| *known == fact) {
                facts.push((fact, until));
                content.version += 1;
            }
        });
        std::future::ready(told).boxed()
    }
}
