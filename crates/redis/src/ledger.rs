//! The shared limiter: permits for calls from one bucket per project and model family, however many processes ask.
//!
//! One script looks at all limits and takes from all of them in one step, by Redis' own clock. Permits are promised ahead,
//! each with its instant; what a call really cost is told with the next request for permits. When Redis has lost what it
//! knew, or its clock has jumped, every process tells it what it was promised itself before anything is granted again.

mod account;
mod clock;
mod terms;
mod trace;
mod wire;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{BoxStream, StreamExt};
pub use terms::{
    Bucket, Class, Cost, Dimension, Grant, Hold, Learned, Limits, MachineDay, Permit, Refusal, Reserve, Return, Sent,
};

use crate::connection::{CallError, Connection};
use crate::names;
use crate::script::Script;
use account::Account;
use clock::Verdict;
use trace::Change;
use wire::{Answer, Asking, Shape};

/// The limiter, as one process sees it; any number of tasks may use it at once.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    process: String,
    patience: Duration,
    calls: AtomicU64,
    begun: Instant,
    accounts: Arc<Mutex<HashMap<Bucket, Arc<Account>>>>,
    pretended: Mutex<Option<(f64, f64)>>,
}

/// Why there is no grant. Nothing was promised; what was to be given back is kept, as far as that is safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Redis did not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The limits cannot be counted.
    #[error("the limits of {project}/{family} cannot be counted: {reason}")]
    Limits {
        /// Whose.
        project: String,
        /// Of which models.
        family: String,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// Others count this bucket in other slots.
    #[error(
        "other processes count {project}/{family} in {slots} slots of {slot} ms; give all the same minute, or wait until they are done"
    )]
    Shape {
        /// Whose.
        project: String,
        /// Of which models.
        family: String,
        /// Their slot, in milliseconds.
        slot: i64,
        /// How many of them.
        slots: i64,
    },
    /// State or clock changed with every attempt.
    #[error("redis at {place} keeps losing {project}/{family} or its clock keeps jumping; see its memory policy and its clock")]
    Unsteady {
        /// Host and port.
        place: String,
        /// Whose.
        project: String,
        /// Of which models.
        family: String,
    },
    /// An answer of no known form.
    #[error("redis at {place} answered the limiter in an unknown form; another version may be at work there")]
    Form {
        /// Host and port.
        place: String,
    },
}

/// A script of the limiter: its own part between what all of them begin and end with.
macro_rules! limiter {
    ($name:ident, $($part:literal)+) => {
        static $name: Script = {
            const BODY: &str = concat!(
                include_str!("scripts/limiter_state.lua"),
                $(include_str!(concat!("scripts/limiter_", $part, ".lua")),)+
                include_str!("scripts/limiter_save.lua"),
            );
            Script::new(BODY)
        };
    };
}

limiter!(RESERVE, "change" "day" "reserve");
limiter!(HOLD, "hold");
limiter!(RESEED, "change" "day" "reseed");

/// Attempts of one call: a lost state, a jumped clock and a slow way may each cost one.
const ATTEMPTS: u32 = 5;
/// Changes of slots that one call tells; the rest go with the next.
const CHANGES: usize = 512;

impl Ledger {
    /// A limiter that waits at most two seconds for an answer.
    pub fn new(connection: Connection) -> Ledger {
        let chance = RandomState::new().build_hasher().finish();
        Ledger {
            connection,
            process: format!("{}-{chance:016x}", std::process::id()),
            // Few enough to be told from each other as a float.
            calls: AtomicU64::new(chance >> 12),
            patience: Duration::from_secs(2),
            begun: Instant::now(),
            accounts: Arc::default(),
            pretended: Mutex::default(),
        }
    }

    /// The same with another patience.
    pub fn with_patience(self, patience: Duration) -> Ledger {
        Ledger { patience, ..self }
    }

    /// Where it is kept.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Gives back what is over and asks for permits, in one call.
    pub async fn reserve(&self, bucket: &Bucket, limits: &Limits, mut wanted: Reserve) -> Result<Grant, LedgerError> {
        let shape = shape(bucket, limits)?;
        let account = self.account(bucket);
        wanted.costs.truncate(Reserve::MOST);
        account.book().take_back(std::mem::take(&mut wanted.returns));
        let at = At { account: &account, bucket, limits, shape, machine: wanted.machine };
        if wanted.machine.is_some() && account.book().epoch == 0 {
            self.introduce(at).await?;
        }
        for _ in 0..ATTEMPTS {
            let (arguments, owed, heard, sent) = self.prepare(&account, limits, shape, &wanted);
            let keys = if heard || limits.concurrency.is_some() { &account.keys[..] } else { &account.keys[..4] };
            let arguments: [&[u8]; 4] = std::array::from_fn(|at| arguments[at].as_slice());
            let told = match self.run(&RESERVE, keys, &arguments).await {
                Ok(told) => told,
                Err(error) => {
                    account.book().owe_after(&error, owed);
                    return Err(error.into());
                }
            };
            let received = self.now();
            match wire::answer(&told) {
                Some(Answer::Done(rest)) => {
                    let grant = account.book().accept(&wanted.costs, rest, shape, sent, received);
                    return grant.ok_or_else(|| self.form());
                }
                Some(answer) => {
                    account.book().unpaid(owed);
                    self.mend(at, answer, (sent, received)).await?;
                }
                None => return Err(self.form()),
            }
        }
        Err(self.unsteady(bucket))
    }

    /// Gives permits back, each with what its call was charged or unused.
    pub async fn settle(&self, bucket: &Bucket, limits: &Limits, returns: Vec<Return>) -> Result<Grant, LedgerError> {
        self.reserve(bucket, limits, Reserve { returns, ..Reserve::default() }).await
    }

    /// Gives permits back that were not used.
    pub async fn release(&self, bucket: &Bucket, limits: &Limits, permits: Vec<Permit>) -> Result<Grant, LedgerError> {
        self.settle(bucket, limits, permits.into_iter().map(Return::Unused).collect()).await
    }

    /// Counts calls that went out without a permit, because Redis was away, each where it went. They count even while a
    /// state that was lost still listens; what the machine has written down of the day holds them already.
    ///
    /// # Errors
    /// Only before anything is noted: what was noted and cannot be told now goes with the next question.
    pub async fn charge(
        &self,
        bucket: &Bucket,
        limits: &Limits,
        machine: Option<MachineDay>,
        sent: &[Sent],
    ) -> Result<(), LedgerError> {
        let shape = shape(bucket, limits)?;
        let account = self.account(bucket);
        let look = || self.reserve(bucket, limits, Reserve { machine, ..Reserve::default() });
        // A lost day is told by the machine, or else counted on from here.
        if machine.is_none() || !account.book().knows_the_time(self.now()) {
            look().await?;
        }
        account.book().charge(sent, shape, self.now());
        for _ in 0..=sent.len() / CHANGES {
            if !account.book().owes() || look().await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// What the bucket counts at present.
    pub async fn peek(&self, bucket: &Bucket, limits: &Limits) -> Result<Grant, LedgerError> {
        self.reserve(bucket, limits, Reserve::default()).await
    }

    /// Stops the bucket for everybody; returns for how long it is held now.
    pub async fn hold(&self, bucket: &Bucket, limits: &Limits, hold: Hold) -> Result<Duration, LedgerError> {
        let shape = shape(bucket, limits)?;
        let account = self.account(bucket);
        let rule = |limit: Option<u64>| limit.map_or(0.0, |limit| limit.max(1) as f64);
        let learned = if hold.learned == Learned::default() { 0.0 } else { wire::millis(hold.learned_for) };
        let at = At { account: &account, bucket, limits, shape, machine: None };
        let urgent = f64::from(u8::from(hold.urgent));
        let Learned { rpm, tpm, rpd } = hold.learned;
        let words = [wire::millis(hold.length), rule(rpm), rule(tpm), rule(rpd), learned, urgent];
        for _ in 0..ATTEMPTS {
            let (sent, known) = self.known(&account);
            let arguments = [wire::common(known, shape, limits), wire::numbers(&words)];
            let told = self.run(&HOLD, &account.keys[..1], &[&arguments[0], &arguments[1]]).await?;
            match wire::answer(&told) {
                Some(Answer::Done(&[_, _, _, held])) => return Ok(Duration::from_millis(u64::try_from(held).unwrap_or(0))),
                Some(Answer::Done(_)) | None => return Err(self.form()),
                Some(answer) => self.mend(at, answer, (sent, self.now())).await?,
            }
        }
        Err(self.unsteady(bucket))
    }

    /// Buckets of this process that somebody told something new about, each time; `None` when some may have been missed. A
    /// [`peek`](Ledger::peek) tells what it is.
    pub fn news(&self) -> BoxStream<'static, Option<Bucket>> {
        let accounts = self.accounts.clone();
        let known = move |key: String| {
            let accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.iter().find(|(_, account)| account.keys[0] == key).map(|(bucket, _)| bucket.clone())
        };
        let news = self.connection.listen(names::NEWS);
        news.filter_map(move |told| std::future::ready(told.map_or(Some(None), |key| known(key).map(Some)))).boxed()
    }

    /// Gives tests a clock: what Redis takes for its own and what this process takes for its, in milliseconds.
    #[doc(hidden)]
    pub fn pretend(&self, redis: u64, here: u64) {
        *self.pretended.lock().unwrap_or_else(PoisonError::into_inner) = Some((redis as f64, here as f64));
    }
}

impl Ledger {
    fn account(&self, bucket: &Bucket) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(bucket) {
            return account.clone();
        }
        accounts.entry(bucket.clone()).or_insert_with(|| Arc::new(Account::new(bucket, &self.process))).clone()
    }

    /// Our time in milliseconds; never the wall clock.
    fn now(&self) -> f64 {
        self.pretended().map_or_else(|| self.begun.elapsed().as_secs_f64() * 1e3, |(_, here)| here)
    }

    fn pretended(&self) -> Option<(f64, f64)> {
        *self.pretended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, account: &Account) -> (f64, wire::Known) {
        let sent = self.now();
        (sent, account.book().known(self.pretended().map(|(redis, _)| redis), sent))
    }

    fn prepare(
        &self,
        account: &Account,
        limits: &Limits,
        shape: Shape,
        wanted: &Reserve,
    ) -> ([Vec<u8>; 4], Vec<Change>, bool, f64) {
        let (sent, known) = self.known(account);
        let mut book = account.book();
        let owed = book.pay(CHANGES);
        let heard = !wanted.costs.is_empty() && book.beats(sent);
        let class = wanted.class.unwrap_or(Class::FULL);
        let mut terms = wire::common(known, shape, limits);
        let number = self.calls.fetch_add(1, Ordering::Relaxed) as f64;
        terms.extend(wire::limits(limits, shape, class, Asking { under_way: book.under_way, heard, number }));
        let arguments = [terms, wire::costs(&wanted.costs), wire::changes(&owed), account.process.clone()];
        (arguments, owed, heard, sent)
    }

    async fn run(&self, script: &Script, keys: &[String], arguments: &[&[u8]]) -> Result<Vec<i64>, CallError> {
        script.run(&self.connection, keys, arguments, self.patience).await
    }

    /// Deals with an answer that is no grant, so that the next attempt may be one.
    async fn mend(&self, at: At<'_>, answer: Answer<'_>, (sent, received): (f64, f64)) -> Result<(), LedgerError> {
        let At { account, bucket, shape, .. } = at;
        let (project, family) = (bucket.project.clone(), bucket.family.clone());
        match answer {
            Answer::Done(_) => Ok(()),
            Answer::Shape { slot, slots } => Err(LedgerError::Shape { project, family, slot, slots }),
            Answer::Lost { told, epoch, before, survived } => {
                account.book().clock.observe(told, sent, received);
                let _one = account.telling.lock().await;
                if account.book().epoch == epoch {
                    return Ok(());
                }
                self.tell(at, Lost { epoch, before, survived, jumped: false }).await
            }
            Answer::Clock { told } => {
                let _one = account.telling.lock().await;
                let Verdict::Jumped(by) = account.book().clock.observe(told, sent, received) else { return Ok(()) };
                let slots = (by / shape.slot).ceil() as i64;
                let life = account.book().shifted(slots);
                let lost = Lost { epoch: life, before: life, survived: i64::MIN, jumped: true };
                let outcome = self.tell(at, lost).await;
                match outcome {
                    Ok(()) => account.book().clock.accept(told, sent, received),
                    // The state still lives in the time before: so does what is known of it.
                    Err(_) => _ = account.book().shifted(-slots),
                }
                outcome
            }
        }
    }

    /// Before the first permit: what the machine sent on this day without Redis.
    async fn introduce(&self, at: At<'_>) -> Result<(), LedgerError> {
        let _one = at.account.telling.lock().await;
        if at.account.book().epoch != 0 {
            return Ok(());
        }
        match self.tell(at, Lost { epoch: 0, before: 0, survived: i64::MAX, jumped: false }).await {
            // What is wrong is told when permits are asked for.
            Err(LedgerError::Form { .. }) => Ok(()),
            told => told,
        }
    }

    /// Tells Redis what this process was promised and it does not know.
    async fn tell(&self, at: At<'_>, lost: Lost) -> Result<(), LedgerError> {
        let At { account, limits, shape, machine, .. } = at;
        let testimony = account.book().tell(lost.before, lost.survived);
        let known =
            wire::Known { pretended: self.pretended().map_or(0.0, |(redis, _)| redis), epoch: lost.epoch, ..Default::default() };
        let sent = machine.map_or(0.0, |day| day.requests as f64);
        let day = [f64::from(u8::from(lost.jumped)), testimony.today as f64, testimony.day_end as f64, sent];
        let machine = machine.map(|day| format!("{:x}", day.machine)).unwrap_or_default().into_bytes();
        let arguments = [wire::common(known, shape, limits), wire::numbers(&day), wire::changes(&testimony.entries), machine];
        let arguments: [&[u8]; 4] = std::array::from_fn(|at| arguments[at].as_slice());
        let keys = [account.keys[0].clone(), account.machines.clone()];
        let told = self.run(&RESEED, &keys, &arguments).await?;
        match wire::answer(&told) {
            Some(Answer::Done(&[_, epoch, seq])) => {
                account.book().told(&testimony, epoch, seq);
                Ok(())
            }
            _ => Err(self.form()),
        }
    }

    fn form(&self) -> LedgerError {
        LedgerError::Form { place: self.connection.place().to_owned() }
    }

    fn unsteady(&self, bucket: &Bucket) -> LedgerError {
        let (project, family) = (bucket.project.clone(), bucket.family.clone());
        LedgerError::Unsteady { place: self.connection.place().to_owned(), project, family }
    }
}

/// A life of the state that has to be told something.
struct Lost {
    epoch: i64,
    before: i64,
    survived: i64,
    jumped: bool,
}

/// What a call is about.
#[derive(Clone, Copy)]
struct At<'a> {
    account: &'a Account,
    bucket: &'a Bucket,
    limits: &'a Limits,
    shape: Shape,
    machine: Option<MachineDay>,
}

fn shape(bucket: &Bucket, limits: &Limits) -> Result<Shape, LedgerError> {
    let (project, family) = (bucket.project.clone(), bucket.family.clone());
    Shape::new(limits).map_err(|reason| LedgerError::Limits { project, family, reason })
}
