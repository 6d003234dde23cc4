//! A ledger in Redis, for engines on any number of machines.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use tidegate_redis::{
    Address, Bucket, Class, Connection, Cost, Facts, Grant, Hold, Learned, MachineDay, OpenError, Permit, Refusal, Reserve, Sent,
};
use tidegate_scheduler::{Dimension, Knowledge, Limits, Timestamp};

use super::{Answer, Fact, Leave, Ledger, LedgerError, Place, Question, Return, Warning};

/// For so long a learned limit holds for those who have not met it; whoever has goes his own way up.
const LEARNED_FOR: Duration = Duration::from_secs(3_600);
/// For so long a key that somebody found dead is left alone by all.
const DEAD_FOR: Duration = Duration::from_secs(86_400);
/// Names of facts: of a key, with its fingerprint behind; of a project.
const DEAD: &str = "dead:";
const PARKED: &str = "parked";
/// Nothing is promised for longer before it is looked at again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A shorter pause is told by its refusals well enough; so is the second for which a new state waits.
const SHORT_HOLD: Duration = Duration::from_millis(1_500);
/// The longest a call waits for an answer before the ledger counts as away.
const PATIENCE: Duration = Duration::from_secs(2);
/// Permits whose end nobody told are forgotten beyond so many.
const MOST_OPEN: usize = 200_000;

/// A ledger in Redis. It comes back by itself however long Redis is away.
pub struct RedisLedger {
    ledger: tidegate_redis::Ledger,
    facts: Facts,
    permits: Mutex<Open>,
    last: AtomicU64,
}

/// Permits that are out, by number.
#[derive(Default)]
struct Open {
    permits: HashMap<u64, Permit>,
    oldest: u64,
}

impl RedisLedger {
    /// Connects to `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, within five seconds.
    ///
    /// # Errors
    /// [`OpenError`] says place, reason and remedy; it never holds a password.
    pub async fn open(url: &str) -> Result<RedisLedger, OpenError> {
        Ok(RedisLedger::new(Connection::open(&Address::parse(url)?).await?))
    }

    /// The same over a connection that is open.
    pub fn new(connection: Connection) -> RedisLedger {
        let facts = Facts::new(connection.clone());
        let ledger = tidegate_redis::Ledger::new(connection).with_patience(PATIENCE);
        RedisLedger { ledger, facts, permits: Mutex::default(), last: AtomicU64::new(0) }
    }

    async fn ask(&self, question: Question) -> Result<Answer, LedgerError> {
        let Question { place, known, ask, returns } = question;
        let returns = self.permits.lock().take(&returns);
        let cost = |cost: &tidegate_scheduler::Cost| Cost { tokens: narrow(cost.tokens), spread: narrow(cost.spread) };
        let class = Some(if ask.low { Class::LOW } else { Class::FULL });
        let wanted = Reserve { costs: ask.costs.iter().map(cost).collect(), class, returns, machine: machine(&known) };
        let limits = limits(&known, ask.horizon);
        let grant = self.ledger.reserve(&bucket(&place), &limits, wanted).await.map_err(told)?;
        Ok(self.answer(grant))
    }

    fn answer(&self, grant: Grant) -> Answer {
        let mut open = self.permits.lock();
        let leaves = grant.permits.into_iter().map(|permit| {
            let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
            let leave = Leave { id, wait: permit.wait, late: permit.late, tokens: u64::from(permit.tokens) };
            open.put(id, permit);
            leave
        });
        let busy = grant.refused.is_some_and(|refusal| refusal.dimension == tidegate_redis::Dimension::Concurrency);
        Answer {
            busy,
            leaves: leaves.collect(),
            refused: grant.refused.and_then(refusal),
            used: (grant.requests, grant.tokens),
            today: grant.today,
            live: grant.live,
            held: Some(grant.held).filter(|held| *held > SHORT_HOLD),
            learned: Limits { rpm: grant.learned.rpm, tpm: grant.learned.tpm, rpd: grant.learned.rpd },
            facts: grant.facts,
        }
    }
}

impl Open {
    fn put(&mut self, id: u64, permit: Permit) {
        self.permits.insert(id, permit);
        while self.permits.len() > MOST_OPEN {
            self.oldest += 1;
            self.permits.remove(&self.oldest);
        }
    }

    fn take(&mut self, returns: &[Return]) -> Vec<tidegate_redis::Return> {
        let back = |back: &Return| match *back {
            Return::Used(id, tokens) => {
                self.permits.remove(&id).map(|permit| tidegate_redis::Return::Used { permit, tokens: narrow(tokens).into() })
            }
            Return::Unused(id) => self.permits.remove(&id).map(tidegate_redis::Return::Unused),
        };
        returns.iter().filter_map(back).collect()
    }
}

impl Ledger for RedisLedger {
    fn reserve(&self, question: Question) -> BoxFuture<'_, Result<Answer, LedgerError>> {
        self.ask(question).boxed()
    }

    fn warn(&self, place: Place, known: Knowledge, warning: Warning) -> BoxFuture<'_, Result<(), LedgerError>> {
        async move {
            let Limits { rpm, tpm, rpd } = warning.learned;
            let learned = Learned { rpm, tpm, rpd };
            let hold = Hold { length: warning.hold, learned, learned_for: LEARNED_FOR, urgent: warning.urgent };
            self.ledger.hold(&bucket(&place), &limits(&known, Duration::ZERO), hold).await.map(drop).map_err(told)
        }
        .boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        async move { self.ledger.connection().ping(PATIENCE).await.map_err(|fault| LedgerError(fault.to_string())) }.boxed()
    }

    fn remind(&self, place: Place, known: Knowledge, sent: Vec<(Duration, u64, u64)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        async move {
            let each = |&(ago, requests, tokens): &(Duration, u64, u64)| Sent { ago, requests, tokens };
            let sent: Vec<Sent> = sent.iter().map(each).collect();
            self.ledger.charge(&bucket(&place), &limits(&known, Duration::ZERO), machine(&known), &sent).await.map_err(told)
        }
        .boxed()
    }

    fn news(&self) -> BoxStream<'static, Option<Place>> {
        let place = |bucket: Bucket| (Arc::from(bucket.project), Arc::from(bucket.family));
        self.ledger.news().map(move |bucket| bucket.map(place)).boxed()
    }

    fn facts(&self, project: Arc<str>) -> BoxFuture<'_, Result<Vec<Fact>, LedgerError>> {
        async move {
            let known = self.facts.all(&project).await.map_err(|fault| LedgerError(fault.to_string()))?;
            Ok(known.facts.iter().filter_map(read).collect())
        }
        .boxed()
    }

    fn tell(&self, project: Arc<str>, fact: Fact) -> BoxFuture<'_, Result<(), LedgerError>> {
        async move {
            let (name, value, length) = written(&fact);
            self.facts.put(&project, &name, &value, length).await.map(drop).map_err(|fault| LedgerError(fault.to_string()))
        }
        .boxed()
    }
}

/// A fact as it stands in Redis: name, value, and how long it holds.
fn written(fact: &Fact) -> (String, String, Duration) {
    match fact {
        Fact::KeyDead { fingerprint, reason } => (format!("{DEAD}{fingerprint}"), reason.clone(), DEAD_FOR),
        Fact::Parked { reason, length } => {
            let until = wall() + *length;
            (PARKED.to_owned(), format!("{} {reason}", until.as_millis()), *length)
        }
    }
}

/// Its way back; what another version wrote says nothing.
fn read(fact: &tidegate_redis::Fact) -> Option<Fact> {
    if let Some(fingerprint) = fact.name.strip_prefix(DEAD) {
        return Some(Fact::KeyDead { fingerprint: fingerprint.to_owned(), reason: fact.value.clone() });
    }
    let (until, reason) = fact.value.split_once(' ').filter(|_| fact.name == PARKED)?;
    let until = Duration::from_millis(until.parse().ok()?);
    Some(Fact::Parked { reason: reason.to_owned(), length: until.saturating_sub(wall()) })
}

/// The wall clock: when a parked project is asked again need not be known to the second.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn told(fault: tidegate_redis::LedgerError) -> LedgerError {
    LedgerError(fault.to_string())
}

fn bucket((project, family): &Place) -> Bucket {
    Bucket { project: project.to_string(), family: family.to_string() }
}

fn machine(known: &Knowledge) -> Option<MachineDay> {
    known.machine.map(|day| MachineDay { machine: day.machine, requests: day.requests })
}

fn narrow(amount: u64) -> u32 {
    u32::try_from(amount).unwrap_or(u32::MAX)
}

/// What is asked under, in the ledger's words.
fn limits(known: &Knowledge, horizon: Duration) -> tidegate_redis::Limits {
    let Knowledge { limits, counting, minute, day_ends, slots, .. } = known;
    let millis = |at: Timestamp| at.as_micros() / 1_000;
    let longest = (*minute / 6).saturating_sub(counting.guard);
    tidegate_redis::Limits {
        rpm: limits.rpm,
        tpm: limits.tpm,
        rpd: limits.rpd,
        concurrency: *slots,
        minute: *minute,
        guard: counting.guard,
        slot: Duration::from_millis(u64::try_from(minute.as_millis() / 600).unwrap_or(u64::MAX).max(1)),
        burst: counting.request_burst.min(counting.token_burst),
        horizon: horizon.min(longest.mul_f64(0.9)),
        day_end: millis(day_ends[0]),
        next_day_end: millis(day_ends[1]),
        ..tidegate_redis::Limits::default()
    }
}

/// A refusal in the scheduler's words; a fair share is none.
fn refusal(refusal: Refusal) -> Option<(Option<Dimension>, Duration)> {
    use tidegate_redis::Dimension as Theirs;
    let dimension = match refusal.dimension {
        Theirs::Share | Theirs::Concurrency => return None,
        Theirs::Requests | Theirs::Pace => Some(Dimension::Rpm),
        Theirs::Tokens => Some(Dimension::Tpm),
        Theirs::Day => Some(Dimension::Rpd),
        Theirs::Held | Theirs::Turn | Theirs::Never => None,
    };
    Some((dimension, refusal.after.unwrap_or(ASK_AGAIN)))
}
