//! Pumps: one task a quota that carries the scheduler's questions to the ledger and its answers back.
//!
//! What ended goes along with the next question, or by itself when none comes. While the ledger is away one task looks for
//! it; nothing ends for that, and what could not be told is told when it is back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tidegate_scheduler::{Ask, Event as Stimulus, Grant, Hearsay, KeyId, Knowledge, Limits, Permit, QuotaId, Refusal, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Answer, Fact, Ledger, LedgerError, Place, Question, Return, Warning};
use crate::driver::Driver;

/// Permits that were not used are wanted by others: they wait so long for company.
const RELEASE_WITHIN: Duration = Duration::from_millis(20);
/// What permits really used may wait this part of a minute for a question that carries it, where tokens are limited; elsewhere
/// nobody waits for it and it may take the whole.
const SETTLE_WITHIN: u32 = 10;
/// Where the calls of a project are counted, who has some under way is heard at least so often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// No more is kept for a ledger that stays away; what is older has left every window.
const MOST_KEPT: usize = 100_000;
/// Pauses between two looks for a ledger that is away: short, for one that comes back empty waits no longer than a second
/// before it promises anything, and by then everybody is to have told what he was promised.
const LOOKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];
/// One that answers, and refuses what it is asked, is not asked over and over.
const REFUSING: Duration = Duration::from_secs(1);
/// Nobody is held for longer by another's word; who asks then hears it for himself.
const LONGEST_HOLD: Duration = Duration::from_secs(86_400);
/// What is left to tell at the end is given up after that.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Something for the ledger.
#[derive(Debug)]
pub(crate) enum Order {
    Ask(Ask),
    Settle(u64, u64),
    Release(Vec<u64>),
    /// A refusal, until when nothing may start.
    Hold(Timestamp),
    /// Until then nobody is to be promised anything: a large prompt waits for room.
    Room(Timestamp),
    /// Somebody told something new.
    Look,
    /// What is known of the limits has changed.
    Learned,
    /// Tell everything at once, and say when that is done.
    Flush(oneshot::Sender<()>),
}

/// All pumps of an engine.
pub(crate) struct Pumps {
    ledger: Arc<dyn Ledger>,
    quotas: Mutex<HashMap<QuotaId, mpsc::UnboundedSender<Order>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    away: AtomicBool,
    /// When it was found again last.
    back: Mutex<Option<Instant>>,
    /// Version of each project's facts that was read last.
    facts: Mutex<HashMap<Arc<str>, u64>>,
    minute: Duration,
}

impl Pumps {
    /// Pumps for quotas whose server counts by this minute.
    pub(crate) fn new(ledger: Arc<dyn Ledger>, minute: Duration) -> Pumps {
        Pumps {
            ledger,
            quotas: Mutex::default(),
            tasks: Mutex::default(),
            away: AtomicBool::new(false),
            back: Mutex::default(),
            facts: Mutex::default(),
            minute,
        }
    }

    /// From now on what others tell is heard when they tell it.
    pub(crate) fn listen(self: &Arc<Pumps>, driver: &Arc<Driver>) {
        let (pumps, weak, mut news) = (Arc::downgrade(self), Arc::downgrade(driver), self.ledger.news());
        let heard = async move {
            while let Some(news) = news.next().await {
                let (Some(pumps), Some(driver)) = (pumps.upgrade(), weak.upgrade()) else { return };
                pumps.look(&driver, news.as_ref());
            }
        };
        self.tasks.lock().push(driver.runtime().spawn(heard));
    }

    /// Has a quota looked at, or every one.
    fn look(&self, driver: &Arc<Driver>, place: Option<&Place>) {
        let quotas: Vec<_> = self.quotas.lock().iter().map(|(quota, sender)| (*quota, sender.clone())).collect();
        for (quota, sender) in quotas {
            if place.is_none_or(|place| knowledge(driver, quota).is_some_and(|(known, _)| known == *place)) {
                let _ = sender.send(Order::Look);
            }
        }
    }

    /// Passes something on to the pump of a quota.
    pub(crate) fn order(self: &Arc<Pumps>, driver: &Arc<Driver>, quota: QuotaId, order: Order) {
        let mut quotas = self.quotas.lock();
        let sender = quotas.entry(quota).or_insert_with(|| {
            let (sender, orders) = mpsc::unbounded_channel();
            let pump = Pump::new(self.clone(), Arc::downgrade(driver), quota);
            self.tasks.lock().push(driver.runtime().spawn(pump.run(orders)));
            sender
        });
        let _ = sender.send(order);
    }

    /// A key is no good: everybody is told.
    pub(crate) fn key_dead(self: &Arc<Pumps>, driver: &Arc<Driver>, key: KeyId, reason: &str) {
        let card = driver.key(key);
        let fact = Fact::KeyDead { fingerprint: card.fingerprint.to_string(), reason: reason.to_owned() };
        self.tell(driver, driver.project(card.project), fact);
    }

    /// Projects answer nothing until then: everybody is told.
    pub(crate) fn parked(self: &Arc<Pumps>, driver: &Arc<Driver>, projects: &[Arc<str>], reason: &str, until: Timestamp) {
        let length = until - driver.clock.now();
        for project in projects {
            self.tell(driver, project.clone(), Fact::Parked { reason: reason.to_owned(), length });
        }
    }

    fn tell(self: &Arc<Pumps>, driver: &Arc<Driver>, project: Arc<str>, fact: Fact) {
        let pumps = self.clone();
        let told = async move {
            if let Err(fault) = pumps.ledger.tell(project, fact).await {
                tracing::warn!("other processes are not told what was found out: {fault}");
            }
        };
        self.tasks.lock().push(driver.runtime().spawn(told));
    }

    /// Tells the ledger everything that is not told yet, as far as it can be reached soon.
    pub(crate) async fn finish(&self) {
        let senders: Vec<_> = self.quotas.lock().values().cloned().collect();
        let all = async {
            for sender in senders {
                let (done, told) = oneshot::channel();
                if sender.send(Order::Flush(done)).is_ok() {
                    let _ = told.await;
                }
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }

    /// Ends all tasks.
    pub(crate) fn stop(&self) {
        self.quotas.lock().clear();
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }

    /// The ledger gave no answer: nobody asks until it does.
    fn lost(self: &Arc<Pumps>, driver: &Arc<Driver>, fault: &LedgerError) {
        if self.away.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!("the shared limiter cannot be asked, nothing starts without it: {fault}");
        driver.stimulate(Stimulus::Unreachable);
        let (pumps, driver) = (self.clone(), Arc::downgrade(driver));
        self.tasks.lock().push(tokio::spawn(async move { pumps.look_for_it(driver).await }));
    }

    async fn look_for_it(self: Arc<Pumps>, driver: Weak<Driver>) {
        let since = Instant::now();
        let just_back = self.back.lock().is_some_and(|back| back.elapsed() < REFUSING * 2);
        let mut pause = if just_back { REFUSING } else { LOOKS[0] };
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOKS[1]);
            if self.ledger.ping().await.is_ok() {
                break;
            }
        }
        let Some(driver) = driver.upgrade() else { return };
        tracing::info!("the shared limiter answers again after {:?}", since.elapsed());
        // From here on nothing starts without a permit, and none is asked for before all is told.
        driver.stimulate(Stimulus::Reached);
        self.remind(&driver).await;
        *self.back.lock() = Some(Instant::now());
        self.away.store(false, Ordering::Relaxed);
        let senders: Vec<_> = self.quotas.lock().values().cloned().collect();
        senders.iter().for_each(|sender| drop(sender.send(Order::Settle(0, 0))));
    }

    /// Every quota is looked at, so that a ledger that has lost it hears of it, and is told what was sent without it.
    async fn remind(&self, driver: &Arc<Driver>) {
        let quotas: Vec<QuotaId> = self.quotas.lock().keys().copied().collect();
        futures_util::future::join_all(quotas.into_iter().map(|quota| self.remind_of(driver, quota))).await;
    }

    async fn remind_of(&self, driver: &Arc<Driver>, quota: QuotaId) {
        let Some((place, known)) = knowledge(driver, quota) else { return };
        let now = driver.clock.now();
        let sent = {
            let scheduler = &mut driver.state.lock().scheduler;
            if scheduler.goes_on_alone() { scheduler.sent_alone(now, quota).to_vec() } else { Vec::new() }
        };
        if sent.is_empty() {
            let _ = self.ledger.reserve(Question { place, known, ask: nothing(), returns: Vec::new() }).await;
            return;
        }
        let ago = sent.into_iter().map(|(at, requests, tokens)| (now - at, requests, tokens)).collect();
        match self.ledger.remind(place, known, ago).await {
            Ok(()) => driver.state.lock().scheduler.told_alone(quota),
            Err(fault) => tracing::warn!("the shared limiter is not told yet what was sent without it: {fault}"),
        }
    }
}

/// A question that asks for nothing.
fn nothing() -> Ask {
    Ask { number: 0, costs: Vec::new(), low: false, horizon: Duration::ZERO }
}

/// What a quota is called, and what is known of it.
fn knowledge(driver: &Arc<Driver>, quota: QuotaId) -> Option<(Place, Knowledge)> {
    let now = driver.clock.now();
    let known = driver.state.lock().scheduler.knowledge(now, quota)?;
    Some(((driver.project(known.project), known.model.clone()), known))
}

/// The task of one quota.
struct Pump {
    pumps: Arc<Pumps>,
    driver: Weak<Driver>,
    quota: QuotaId,
    /// Calls under way are counted over all processes, so that their ends are waited for.
    counted: bool,
    /// Tokens are limited.
    weighed: bool,
    /// When it was heard last.
    spoke: Instant,
    /// Limits others were told last.
    last: Option<Limits>,
    /// What was heard last: limits, and until when a pause lasts.
    heard: Option<(Limits, Timestamp)>,
}

/// What waits to be told.
#[derive(Default)]
struct Pending {
    ask: Option<Ask>,
    returns: Vec<Return>,
    /// When the returns go even without a question.
    due: Option<Instant>,
    hold: Option<Timestamp>,
    room: Option<Timestamp>,
    learned: bool,
    look: bool,
    flushed: Vec<oneshot::Sender<()>>,
}

impl Pending {
    fn add(&mut self, order: Order, settle_within: Duration) {
        let later = |known: Option<Timestamp>, until: Timestamp| Some(known.map_or(until, |known| known.max(until)));
        let within = |due: &mut Option<Instant>, wait: Duration| {
            let at = Instant::now() + wait;
            *due = Some(due.map_or(at, |due| due.min(at)));
        };
        match order {
            Order::Ask(ask) => self.ask = Some(ask),
            // Nothing to tell: only a look at what waits.
            Order::Settle(0, _) => {}
            Order::Settle(id, used) => {
                self.returns.push(Return::Used(id, used));
                within(&mut self.due, settle_within);
            }
            Order::Release(ids) => {
                self.returns.extend(ids.into_iter().map(Return::Unused));
                within(&mut self.due, RELEASE_WITHIN);
            }
            Order::Hold(until) => self.hold = later(self.hold, until),
            Order::Room(until) => self.room = later(self.room, until),
            Order::Look => self.look = true,
            Order::Learned => self.learned = true,
            Order::Flush(done) => {
                self.flushed.push(done);
                self.due = Some(Instant::now());
            }
        }
        if self.returns.len() > MOST_KEPT {
            self.returns.drain(..MOST_KEPT / 2);
        }
    }

    fn is_urgent(&self) -> bool {
        let told = self.hold.is_some() || self.room.is_some() || self.learned;
        told || self.look || self.ask.is_some() || self.due.is_some_and(|due| due <= Instant::now())
    }
}

impl Pump {
    fn new(pumps: Arc<Pumps>, driver: Weak<Driver>, quota: QuotaId) -> Pump {
        Pump { pumps, driver, quota, counted: false, weighed: true, spoke: Instant::now(), last: None, heard: None }
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut pending = Pending::default();
        loop {
            let sign = self.counted.then_some(self.spoke + SIGN_OF_LIFE);
            let due = pending.due.into_iter().chain(sign).min().filter(|_| !self.pumps.away.load(Ordering::Relaxed));
            let order = match due {
                None => orders.recv().await,
                Some(at) => tokio::select! {
                    order = orders.recv() => order,
                    () = tokio::time::sleep_until(at) => Some(Order::Settle(0, 0)),
                },
            };
            let Some(order) = order else { return };
            let settle_within = self.settle_within();
            pending.add(order, settle_within);
            while let Ok(order) = orders.try_recv() {
                pending.add(order, settle_within);
            }
            pending.look |= sign.is_some_and(|sign| sign <= Instant::now());
            let Some(driver) = self.driver.upgrade() else { return };
            let away = self.pumps.away.load(Ordering::Relaxed);
            if pending.is_urgent()
                && !away
                && let Err(fault) = self.carry(&driver, &mut pending).await
            {
                self.pumps.lost(&driver, &fault);
            }
            pending.flushed.drain(..).for_each(|done| {
                let _ = done.send(());
            });
        }
    }

    fn settle_within(&self) -> Duration {
        match (self.counted, self.weighed) {
            (true, _) => RELEASE_WITHIN,
            (false, true) => self.pumps.minute / SETTLE_WITHIN,
            (false, false) => self.pumps.minute,
        }
    }

    async fn carry(&mut self, driver: &Arc<Driver>, pending: &mut Pending) -> Result<(), LedgerError> {
        let Some((place, known)) = knowledge(driver, self.quota) else { return Ok(()) };
        let ledger = self.pumps.ledger.clone();
        self.spoke = Instant::now();
        (self.counted, self.weighed) = (known.slots.is_some(), known.limits.tpm.is_some());
        if pending.hold.is_some() || pending.room.is_some() || pending.learned {
            let now = driver.clock.now();
            let until = pending.hold.max(pending.room);
            let hold = until.map_or(Duration::ZERO, |until| until - now).min(LONGEST_HOLD);
            let (learned, urgent) = (known.learned, pending.hold.is_some() || self.last != Some(known.learned));
            if !hold.is_zero() || self.last != Some(learned) {
                ledger.warn(place.clone(), known.clone(), Warning { hold, learned, urgent }).await?;
                self.last = Some(learned);
            }
            (pending.hold, pending.room, pending.learned) = (None, None, false);
        }
        let look = std::mem::take(&mut pending.look);
        if pending.ask.is_none() && pending.returns.is_empty() && !look {
            pending.due = None;
            return Ok(());
        }
        let ask = pending.ask.take();
        let returns = std::mem::take(&mut pending.returns);
        pending.due = None;
        let number = ask.as_ref().map(|ask| ask.number);
        let ask = ask.unwrap_or_else(nothing);
        let guard = known.counting.guard;
        let answer = ledger.reserve(Question { place: place.clone(), known, ask, returns }).await?;
        // Waits are told from this instant on.
        let received = driver.clock.now();
        self.hear(driver, &answer);
        self.learn_facts(driver, &place.0, answer.facts).await;
        if let Some(number) = number {
            let grant = Box::new(granted(received, number, &answer, guard));
            driver.stimulate(Stimulus::Granted { quota: self.quota, grant });
        }
        Ok(())
    }

    /// Passes on what others found out, when it is news.
    fn hear(&mut self, driver: &Arc<Driver>, answer: &Answer) {
        let now = driver.clock.now();
        let held = answer.held.map(|held| now + held);
        let (learned, known_until) = self.heard.unwrap_or_default();
        // The same pause told twice ends a little later each time, by the ways of the answers.
        let longer = held.filter(|&until| until > known_until + Duration::from_millis(50));
        if longer.is_none() && learned == answer.learned {
            return;
        }
        self.heard = Some((answer.learned, longer.unwrap_or(known_until)));
        let hearsay = Hearsay { learned: answer.learned, held: longer, fully: false };
        driver.stimulate(Stimulus::Heard { quota: self.quota, hearsay });
    }

    /// Reads what is known of keys, when there is something new.
    async fn learn_facts(&self, driver: &Arc<Driver>, project: &Arc<str>, version: u64) {
        {
            let mut known = self.pumps.facts.lock();
            if known.insert(project.clone(), version).unwrap_or_default() == version {
                return;
            }
        }
        let Ok(facts) = self.pumps.ledger.facts(project.clone()).await else { return };
        for fact in facts {
            match fact {
                Fact::KeyDead { fingerprint, reason } => {
                    let roster = driver.roster();
                    let same = (0..).map(KeyId).zip(roster.keys()).find(|(_, card)| card.fingerprint.to_string() == fingerprint);
                    if let Some((key, _)) = same {
                        driver.stimulate(Stimulus::KeyLost { key, reason: reason.as_str().into() });
                    }
                }
                Fact::Parked { length, .. } => self.pause(driver, project, length),
            }
        }
    }

    /// Lets nothing of a project start for so long; its next call then tells whether it serves again.
    fn pause(&self, driver: &Arc<Driver>, project: &Arc<str>, length: Duration) {
        let until = driver.clock.now() + length;
        let quotas: Vec<QuotaId> = self.pumps.quotas.lock().keys().copied().collect();
        for quota in quotas {
            if knowledge(driver, quota).is_some_and(|((owner, _), _)| owner == *project) {
                let hearsay = Hearsay { held: Some(until), fully: true, ..Hearsay::default() };
                driver.stimulate(Stimulus::Heard { quota, hearsay });
            }
        }
    }
}

/// An answer in the scheduler's words and time.
fn granted(now: Timestamp, number: u64, answer: &Answer, guard: Duration) -> Grant {
    let permit = |leave: &super::Leave| {
        let at = now + leave.wait;
        Permit { id: leave.id, at, latest: (at + guard / 2).before(leave.late), tokens: leave.tokens }
    };
    Grant {
        number,
        permits: answer.leaves.iter().map(permit).collect(),
        refused: answer.refused.map(|(dimension, after)| Refusal { dimension, until: now + after }),
        busy: answer.busy,
        used: answer.used,
        today: answer.today,
        live: answer.live,
    }
}
