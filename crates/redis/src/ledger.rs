//! The shared limiter: permits for calls from one bucket per project and model family, however many processes ask.
//!
//! One script looks at all limits and takes from all of them in one step, by Redis' own clock. Permits are promised ahead,
//! each with its instant; what a call really cost is told with the next request for permits. When Redis has lost what it
//! knew, or its clock has jumped, every process tells it what it was promised itself before anything is granted again.

mod account;
mod clock;
mod script;
mod terms;
mod trace;
mod wire;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use terms::{Bucket, Class, Cost, Dimension, Grant, Hold, Learned, Limits, Permit, Refusal, Reserve, Return};

use crate::connection::{CallError, Connection};
use account::Account;
use clock::Verdict;
use script::Script;
use trace::Change;
use wire::{Answer, Shape};

/// The limiter, as one process sees it; any number of tasks may use it at once.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    process: String,
    patience: Duration,
    begun: Instant,
    accounts: Mutex<HashMap<Bucket, Arc<Account>>>,
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

/// Attempts of one call: a lost state, a jumped clock and a slow way may each cost one.
const ATTEMPTS: u32 = 5;
/// Changes of slots that one call tells; the rest go with the next.
const CHANGES: usize = 512;

impl Ledger {
    /// A limiter that waits at most two seconds for an answer.
    pub fn new(connection: Connection) -> Ledger {
        let process = format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish());
        Ledger {
            connection,
            process,
            patience: Duration::from_secs(2),
            begun: Instant::now(),
            accounts: Mutex::default(),
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
        for _ in 0..ATTEMPTS {
            let (arguments, owed, sent) = self.prepare(&account, limits, shape, &wanted);
            let arguments: [&[u8]; 6] = std::array::from_fn(|at| arguments[at].as_slice());
            let told = match self.run(&script::RESERVE, &account, &arguments).await {
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
                    self.mend(&account, bucket, limits, shape, answer, (sent, received)).await?;
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
        let words = [wire::millis(hold.length), rule(hold.learned.rpm), rule(hold.learned.tpm), learned];
        for _ in 0..ATTEMPTS {
            let (sent, known) = self.known(&account);
            let arguments = [wire::common(known, shape, limits), wire::numbers(&words)];
            let told = self.run(&script::HOLD, &account, &[&arguments[0], &arguments[1]]).await?;
            match wire::answer(&told) {
                Some(Answer::Done(&[_, _, _, held])) => return Ok(Duration::from_millis(u64::try_from(held).unwrap_or(0))),
                Some(Answer::Done(_)) | None => return Err(self.form()),
                Some(answer) => self.mend(&account, bucket, limits, shape, answer, (sent, self.now())).await?,
            }
        }
        Err(self.unsteady(bucket))
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
        accounts.entry(bucket.clone()).or_insert_with(|| Arc::new(Account::new(bucket))).clone()
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

    fn prepare(&self, account: &Account, limits: &Limits, shape: Shape, wanted: &Reserve) -> ([Vec<u8>; 6], Vec<Change>, f64) {
        let (sent, known) = self.known(account);
        let mut book = account.book();
        let owed = book.pay(CHANGES);
        let sign = if !wanted.costs.is_empty() && book.beats(sent) { self.process.as_str() } else { "" };
        let arguments = [
            wire::common(known, shape, limits),
            wire::limits(limits, shape, wanted.class.unwrap_or(Class::FULL), book.under_way),
            wire::costs(&wanted.costs),
            wire::changes(&owed),
            sign.as_bytes().to_vec(),
            self.process.as_bytes().to_vec(),
        ];
        (arguments, owed, sent)
    }

    async fn run(&self, script: &Script, account: &Account, arguments: &[&[u8]]) -> Result<Vec<i64>, CallError> {
        script.run(&self.connection, &account.keys, arguments, self.patience).await
    }

    /// Deals with an answer that is no grant, so that the next attempt may be one.
    async fn mend(
        &self,
        account: &Account,
        bucket: &Bucket,
        limits: &Limits,
        shape: Shape,
        answer: Answer<'_>,
        (sent, received): (f64, f64),
    ) -> Result<(), LedgerError> {
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
                self.tell(account, limits, shape, Lost { epoch, before, survived, jumped: false }).await
            }
            Answer::Clock { told } => {
                let _one = account.telling.lock().await;
                let Verdict::Jumped(by) = account.book().clock.observe(told, sent, received) else { return Ok(()) };
                let slots = (by / shape.slot).ceil() as i64;
                let life = account.book().shifted(slots);
                let lost = Lost { epoch: life, before: life, survived: i64::MIN, jumped: true };
                let outcome = self.tell(account, limits, shape, lost).await;
                match outcome {
                    Ok(()) => account.book().clock.accept(told, sent, received),
                    // The state still lives in the time before: so does what is known of it.
                    Err(_) => _ = account.book().shifted(-slots),
                }
                outcome
            }
        }
    }

    /// Tells Redis what this process was promised and it does not know.
    async fn tell(&self, account: &Account, limits: &Limits, shape: Shape, lost: Lost) -> Result<(), LedgerError> {
        let testimony = account.book().tell(lost.before, lost.survived);
        let known =
            wire::Known { pretended: self.pretended().map_or(0.0, |(redis, _)| redis), epoch: lost.epoch, ..Default::default() };
        let day = [f64::from(u8::from(lost.jumped)), testimony.today as f64, testimony.day_end as f64];
        let arguments = [wire::common(known, shape, limits), wire::numbers(&day), wire::changes(&testimony.entries)];
        let arguments: [&[u8]; 3] = std::array::from_fn(|at| arguments[at].as_slice());
        let told = self.run(&script::RESEED, account, &arguments).await?;
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

fn shape(bucket: &Bucket, limits: &Limits) -> Result<Shape, LedgerError> {
    let (project, family) = (bucket.project.clone(), bucket.family.clone());
    Shape::new(limits).map_err(|reason| LedgerError::Limits { project, family, reason })
}
