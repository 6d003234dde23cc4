//! The driver: makes events, lets the scheduler decide, does what it says.
//!
//! Whoever has an event locks the state for some microseconds, decides, and starts what is due: a finishing attempt
//! starts the next one itself. One timer task sleeps until the scheduler's next wake-up. Bodies stay here, under their
//! job's number; the scheduler moves ids and numbers only.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use foldhash::HashMap;
use futures_util::FutureExt;
use parking_lot::Mutex;
use secrecy::SecretString;
use tidegate_gemini::embedding::MOST_TEXTS;
use tidegate_gemini::models;
use tidegate_gemini::response::Usage;
use tidegate_gemini::tokens::{Calibration, Estimate};
use tidegate_scheduler::{
    Action, Event as Stimulus, JobId, KeyId, Outcome, QuotaId, Scheduler, Scope, Submission, Timestamp, Verdict,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, broadcast, oneshot};
use tokio::task::AbortHandle;

use crate::backend::{Backend, Call, Method, Reply, TransportError};
use crate::change::{Change, UnknownProject};
use crate::classify::{Reading, classify, without_retry};
use crate::clock::Clock;
use crate::consequences::{Consequences, consequences, learn, refused, told};
use crate::counting;
use crate::ending::{Last, abandoned, cancelled, conclude, unheard_of};
use crate::errand::Recipient;
use crate::event::{Attempt, Event, EventKind, Observer, Seat};
use crate::kinship::Kinship;
use crate::ledger::{Order, Pumps};
use crate::media::{Body, Desk, Payload};
use crate::memory::{Answered, Memory};
use crate::outlier::{CountTokens, Sizes};
use crate::redact;
use crate::relay::Relay;
use crate::request::{Error, Request, Response, Trace};
use crate::residence::Residence;
use crate::retry_on::RetryOn;
use crate::roster::{KeyCard, Roster, RosterChange, SharedRoster, Turnover};
use crate::stats::Stats;
use crate::stream;
use crate::structured::{Judge, Next};
use crate::terms::Terms;
use crate::uploads::{Owner, Setback, Upload};
use crate::withdraw::Withdraw;

/// Everything the engine's handles and tasks share.
pub(crate) struct Driver {
    pub state: Mutex<State>,
    pub clock: Clock,
    roster: SharedRoster,
    pub events: broadcast::Sender<Event>,
    pub desk: Desk,
    pub residence: Residence,
    /// For calls that are handed on as they are; `None` where no HTTP is spoken.
    pub relay: Option<Relay>,
    pub backend: Arc<dyn Backend>,
    /// Whose tokens are counted before they are sent, how many were, and the turns to ask.
    pub count_tokens: CountTokens,
    pub counted: AtomicUsize,
    /// Whose turn it is among projects that are equally free.
    pub turns: AtomicUsize,
    pub counting: Semaphore,
    pub terms: Arc<Terms>,
    /// Where quotas are shared with other engines.
    pub pumps: Option<Arc<Pumps>>,
    runtime: Handle,
    rearm: Notify,
    armed: AtomicU64,
    /// Notified whenever the last prompt has left.
    pub idle: Notify,
}

/// What the lock guards.
pub(crate) struct State {
    pub scheduler: Scheduler,
    pub stats: Stats,
    pub observers: Vec<Arc<dyn Observer>>,
    pub closed: bool,
    pub tickets: HashMap<JobId, Box<Ticket>>,
    pub calibration: Calibration,
    pub sizes: Sizes,
    pub kinship: Kinship,
    pub memory: Option<Memory>,
    /// Prompts with an admission that have not begun.
    pub waiting: usize,
    last: u64,
}

/// A prompt on its way.
pub(crate) struct Ticket {
    request: Request,
    model: Arc<str>,
    family: Arc<str>,
    reply_to: oneshot::Sender<Result<Response, Error>>,
    submitted: Timestamp,
    started: Timestamp,
    tokens: u64,
    /// What the next attempt asks instead of the request's body, and what it adds to the request's tokens.
    again: Option<(Body, u64)>,
    seat: Option<Seat>,
    key: KeyId,
    pub trace: Trace,
    last: Last,
    abort: Option<AbortHandle>,
    media: MediaState,
    recipient: Option<Recipient>,
    /// It was admitted to the queue, and has not begun.
    pub waits: bool,
}

impl Ticket {
    /// Whose quota it uses.
    pub(crate) fn family(&self) -> &str {
        &self.family
    }

    /// The model as it was asked for.
    pub(crate) fn model(&self) -> &Arc<str> {
        &self.model
    }

    /// What is asked now.
    fn body(&self) -> &Body {
        self.again.as_ref().map_or(&self.request.body, |(body, _)| body)
    }

    /// Input tokens of what is asked now, before calibration.
    fn estimate(&self) -> Estimate {
        let mut estimate = self.request.estimate;
        estimate.text += self.again.as_ref().map_or(0, |(_, added)| *added);
        estimate
    }
}

/// What stood in the way of a prompt's media.
#[derive(Default)]
struct MediaState {
    /// An upload that failed: told as an attempt of the key that carried it.
    setback: Option<(KeyId, Setback)>,
    /// How often the service refused a file that was thought to be there.
    refusals: u32,
}

/// Refusals of its files that a prompt is not charged with.
const FREE_REFUSALS: u32 = 3;

/// What the driver is made of, beside the scheduler.
pub(crate) struct Parts {
    pub scheduler: Scheduler,
    pub clock: Clock,
    pub roster: SharedRoster,
    pub backend: Arc<dyn Backend>,
    pub count_tokens: CountTokens,
    pub observers: Vec<Arc<dyn Observer>>,
    pub terms: Arc<Terms>,
    pub calibration: Calibration,
    pub minute: Duration,
    pub memory: Option<Memory>,
    pub desk: Desk,
    pub residence: Residence,
    pub relay: Option<Relay>,
    pub pumps: Option<Arc<Pumps>>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Arc<Driver> {
        let state = State {
            scheduler: parts.scheduler,
            stats: Stats::default(),
            observers: parts.observers,
            closed: false,
            tickets: HashMap::default(),
            calibration: parts.calibration,
            sizes: Sizes::default(),
            kinship: Kinship::new(parts.minute),
            memory: parts.memory,
            waiting: 0,
            last: 0,
        };
        Arc::new(Driver {
            state: Mutex::new(state),
            clock: parts.clock,
            roster: parts.roster,
            events: broadcast::channel(1024).0,
            desk: parts.desk,
            residence: parts.residence,
            relay: parts.relay,
            backend: parts.backend,
            count_tokens: parts.count_tokens,
            counted: AtomicUsize::new(0),
            turns: AtomicUsize::new(0),
            counting: Semaphore::new(counting::AT_ONCE),
            terms: parts.terms,
            pumps: parts.pumps,
            runtime: Handle::current(),
            rearm: Notify::new(),
            armed: AtomicU64::new(u64::MAX),
            idle: Notify::new(),
        })
    }

    // === from outside ===

    /// Takes a prompt in, with its tokens if the API has counted them. The answer arrives on the channel; the guard withdraws the prompt when it is dropped.
    pub(crate) fn submit(
        self: &Arc<Driver>,
        request: Box<Request>,
        counted: Option<u64>,
        recipient: Option<Recipient>,
    ) -> (oneshot::Receiver<Result<Response, Error>>, Withdraw) {
        let (reply_to, reply) = oneshot::channel();
        let now = self.clock.now();
        let mut state = self.state.lock();
        let state = &mut *state;
        state.last += 1;
        let job = JobId(state.last);
        let withdraw = Withdraw::new(self.clone(), job);
        if state.closed {
            let _ = reply_to.send(Err(cancelled("the engine is shut down: Workers not running")));
            return (reply, withdraw);
        }
        let family = models::family(&request.model);
        let Some(model) = state.scheduler.admit(family) else {
            let _ = reply_to.send(Err(unheard_of(&request.model, request.method)));
            return (reply, withdraw);
        };
        if request.method == Method::Embed {
            state.scheduler.travel_together(model, MOST_TEXTS as u32);
        }
        let family: Arc<str> = family.into();
        if let Some(memory) = &mut state.memory {
            memory.prepare(&mut state.scheduler, now, &family);
        }
        let tokens = counted.unwrap_or_else(|| state.calibration.apply(&family, request.estimate));
        let spread = counted.map_or_else(|| state.calibration.spread(&family, tokens), |_| 0);
        let deadline = request.deadline.map(|deadline| deadline.from(now));
        let least = counted.unwrap_or_else(|| request.estimate.total());
        let output = u32::try_from(state.calibration.expected_output(&family)).unwrap_or(u32::MAX);
        let (priority, party, admission, only) = (request.priority, request.party, request.admission, request.only);
        let submission = Submission { job, model, tokens, least, spread, output, priority, party, deadline };
        let model = Arc::from(request.model.as_str());
        let (trace, last) = (Trace::default(), Last::default());
        let ticket = Box::new(Ticket {
            request: *request,
            model,
            family,
            reply_to,
            submitted: now,
            started: now,
            tokens,
            again: None,
            seat: None,
            key: KeyId(0),
            trace,
            last,
            abort: None,
            media: MediaState::default(),
            recipient,
            waits: false,
        });
        let client = ticket.request.client.clone();
        state.tickets.insert(job, ticket);
        self.emit(state, now, EventKind::Submitted { job, client });
        let submitted = match only {
            None => Stimulus::Submitted(submission),
            Some(project) => Stimulus::SubmittedTo { project, submission },
        };
        self.decide(state, now, submitted);
        if let Some(admission) = admission {
            self.admit(state, now, job, admission, deadline);
        }
        (reply, withdraw)
    }

    /// Ends every prompt that no attempt is under way for, or every prompt.
    pub(crate) fn dismiss(self: &Arc<Driver>, running_too: bool) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.closed = true;
        state.scheduler.close();
        let leaving: Vec<JobId> =
            state.tickets.iter().filter(|(_, ticket)| running_too || ticket.abort.is_none()).map(|(&job, _)| job).collect();
        for job in leaving {
            if let Some(ticket) = state.tickets.remove(&job) {
                let error = Error { trace: ticket.trace.clone(), ..cancelled("the engine was shut down before an answer came") };
                self.leave(&mut state, now, job, ticket, Err(error));
            }
            self.decide(&mut state, now, Stimulus::Cancelled(job));
        }
    }

    /// Takes prompts again.
    pub(crate) fn reopen(&self) {
        let mut state = self.state.lock();
        state.closed = false;
        state.scheduler.open();
    }

    /// Nothing more will be sent: what memory reserved goes back, what it learned is written.
    pub(crate) fn close_memory(&self) {
        let memory = {
            let mut state = self.state.lock();
            let State { memory, scheduler, calibration, .. } = &mut *state;
            if let Some(memory) = memory {
                memory.keep_calibration(calibration);
                memory.keep_counting(scheduler, self.clock.now());
            }
            state.memory.take()
        };
        drop(memory);
    }

    /// Prompts taken in and not yet ended.
    pub(crate) fn outstanding(&self) -> usize {
        self.state.lock().tickets.len()
    }

    /// Projects and keys as they are now.
    pub(crate) fn roster(&self) -> Arc<Roster> {
        self.roster.read().clone()
    }

    /// A key by its number.
    pub(crate) fn key(&self, key: KeyId) -> Arc<KeyCard> {
        self.roster.read().key(key).clone()
    }

    /// A project's name by its number.
    pub(crate) fn project(&self, number: u32) -> Arc<str> {
        self.roster.read().project(number).clone()
    }

    /// Lets new settings take effect at once; tells what changed among projects and keys.
    pub(crate) fn reconfigure(self: &Arc<Driver>, change: Change) -> Result<Vec<RosterChange>, UnknownProject> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let state = &mut *state;
        let (roster, turnover) = match &change.projects {
            Some(projects) => self.roster().exchanged(projects),
            None => (Roster::clone(&self.roster()), Turnover::default()),
        };
        let (attempt_timeout, retry_on) = (change.attempt_timeout, change.retry_on.clone());
        let mut reconfiguration = change.numbered(&roster)?;
        self.terms.change(attempt_timeout, retry_on);
        let Turnover { projects, keys, leaving, tables, accounts, told } = turnover;
        (reconfiguration.leaving, reconfiguration.tables, reconfiguration.accounts) = (leaving, tables, accounts);
        state.scheduler.join(projects, &keys);
        if let Some(memory) = &mut state.memory {
            memory.enlist(&mut state.scheduler, now, &roster);
        }
        *self.roster.write() = Arc::new(roster);
        self.emit(state, now, EventKind::Reconfigured);
        self.decide(state, now, Stimulus::Reconfigured(Box::new(reconfiguration)));
        if let Some(memory) = &mut state.memory {
            memory.reconfigured(&mut state.scheduler);
        }
        Ok(told)
    }

    pub(crate) fn withdraw(self: &Arc<Driver>, job: JobId) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if let Some(ticket) = state.tickets.remove(&job) {
            self.leave(&mut state, now, job, ticket, Err(cancelled("the caller went away")));
            self.decide(&mut state, now, Stimulus::Cancelled(job));
        }
    }

    /// Sleeps until the scheduler's next wake-up, over and over.
    pub(crate) async fn keep_time(self: Arc<Driver>) {
        loop {
            let next = {
                let state = self.state.lock();
                let next = state.scheduler.next_wake();
                self.armed.store(next.map_or(u64::MAX, Timestamp::as_micros), Ordering::Relaxed);
                next
            };
            let changed = self.rearm.notified();
            match next {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => continue,
                    () = tokio::time::sleep_until(self.clock.instant(at)) => {}
                },
            }
            let now = self.clock.now();
            let mut state = self.state.lock();
            self.decide(&mut state, now, Stimulus::Woke);
        }
    }

    /// The runtime that attempts run on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Lets something that happened elsewhere take effect.
    pub(crate) fn stimulate(self: &Arc<Driver>, stimulus: Stimulus) {
        let now = self.clock.now();
        self.decide(&mut self.state.lock(), now, stimulus);
    }

    /// Passes something on to the ledger, where there is one.
    fn order(self: &Arc<Driver>, quota: Option<QuotaId>, order: Order) {
        if let (Some(pumps), Some(quota)) = (&self.pumps, quota) {
            pumps.order(self, quota, order);
        }
    }

    // === decide and act ===

    pub(crate) fn decide(self: &Arc<Driver>, state: &mut State, now: Timestamp, stimulus: Stimulus) {
        let mut actions = Vec::new();
        state.scheduler.handle(now, stimulus, &mut actions);
        self.act(state, now, actions);
    }

    fn act(self: &Arc<Driver>, state: &mut State, now: Timestamp, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Start { job, key, slot, attempt } => {
                    if !self.start(state, now, job, key, slot, attempt) {
                        let mut more = Vec::new();
                        state.scheduler.handle(now, Stimulus::Finished { job, outcome: Outcome::Postponed }, &mut more);
                        actions.extend(more);
                    }
                }
                Action::Complete { job, verdict } => self.complete(state, now, job, verdict),
                Action::Retry { .. } => {}
                Action::Held { project, model, dimension, until, .. } => {
                    self.order(state.scheduler.quota(project, &model), Order::Hold(until));
                    let project = self.project(project);
                    let dimension = dimension.map(tidegate_scheduler::Dimension::name);
                    self.emit(state, now, EventKind::Held { project, model, dimension, until });
                }
                Action::KeyDead { key, reason } => {
                    let card = self.key(key);
                    let project = self.project(card.project);
                    if let Some(pumps) = &self.pumps {
                        pumps.key_dead(self, key, &reason);
                    }
                    self.emit(state, now, EventKind::KeyDead { project, key: card.name.clone(), reason });
                }
                Action::Parked { projects, reason, until } => {
                    let projects: Vec<_> = projects.iter().map(|&project| self.project(project)).collect();
                    if let Some(pumps) = &self.pumps {
                        pumps.parked(self, &projects, &reason, until);
                    }
                    self.emit(state, now, EventKind::Parked { projects, reason, until });
                }
                Action::Unparked { projects } => {
                    let projects = projects.iter().map(|&project| self.project(project)).collect();
                    self.emit(state, now, EventKind::Unparked { projects });
                }
                Action::Reserve { quota, ask } => self.order(Some(quota), Order::Ask(ask)),
                Action::Settle { quota, permit, used } => self.order(Some(quota), Order::Settle(permit, used)),
                Action::KeepRoom { quota, until } => self.order(Some(quota), Order::Room(until)),
                Action::Release { quota, permits } => self.order(Some(quota), Order::Release(permits)),
                Action::Forgotten { model } => {
                    state.sizes.forget(&model);
                    if let Some(memory) = &mut state.memory {
                        memory.forget(&model);
                    }
                }
                Action::Learned { project, model } => {
                    self.order(state.scheduler.quota(project, &model), Order::Learned);
                    if let Some(memory) = &mut state.memory {
                        memory.learned(&mut state.scheduler, now, project, &model);
                    }
                }
            }
        }
        let next = state.scheduler.next_wake().map_or(u64::MAX, Timestamp::as_micros);
        if next < self.armed.load(Ordering::Relaxed) {
            self.armed.store(next, Ordering::Relaxed);
            self.rearm.notify_one();
        }
    }

    /// Sends a prompt. False when its media are not where they have to be: they are seen to, and nothing is sent.
    fn start(self: &Arc<Driver>, state: &mut State, now: Timestamp, job: JobId, key: KeyId, slot: u32, attempt: u32) -> bool {
        let card = self.key(key);
        let project = self.project(card.project);
        let Some(ticket) = state.tickets.get_mut(&job) else { return true };
        let setback = ticket.media.setback.take().filter(|(carrier, setback)| *carrier == key || !is_of_key(setback));
        let payload = self.desk.payload(card.project, ticket.body());
        if setback.is_none() && payload.is_none() {
            let body = ticket.body().clone();
            self.runtime.spawn(self.clone().provide(job, key, body));
            return false;
        }
        let seat = Seat { project: project.clone(), key: card.name.clone(), model: ticket.model.clone(), slot };
        ticket.started = now;
        ticket.key = key;
        ticket.seat = Some(seat.clone());
        ticket.trace.attempts = attempt;
        state.waiting -= usize::from(std::mem::take(&mut ticket.waits));
        ticket.trace.project = project;
        ticket.trace.key = card.name.clone();
        ticket.trace.queued = now - ticket.submitted;
        let judge = ticket.request.structured.clone().map(|structured| Judge {
            structured,
            question: ticket.request.body.marked(),
            model: ticket.model.clone(),
            spent: ticket.trace.usage.total_tokens,
        });
        let met = match (setback, payload) {
            (Some((_, setback)), _) => Met::Setback(setback),
            (None, payload) => Met::Open(payload.unwrap_or_else(|| Bytes::new().into())),
        };
        let (tokens, method, model) = (ticket.tokens, ticket.request.method, ticket.model.clone());
        let (key, project, recipient) = (card.secret.clone(), card.project, ticket.recipient.clone());
        let (queued, after) = (ticket.trace.queued, ticket.last.fault.as_ref().map(|words| words.code.as_str().into()));
        let attempt = attempt_once(self.clone(), job, attempt, Asked { method, model, project, key, judge, recipient }, met);
        if let Some(memory) = &mut state.memory {
            memory.started(&mut state.scheduler, now, card.project, &ticket.family, tokens);
        }
        ticket.abort = Some(self.runtime.spawn(attempt).abort_handle());
        self.emit(state, now, EventKind::Started { job, seat, tokens, queued, after });
        true
    }

    /// Brings a prompt's files into the storage of the key's project, then lets it go on.
    async fn provide(self: Arc<Driver>, job: JobId, key: KeyId, body: Body) {
        let card = self.key(key);
        let (number, name) = (card.project, self.project(card.project));
        let provided = self.desk.provide(Owner { number, name, key: card.secret.clone() }, &body).await;
        let now = self.clock.now();
        let mut state = self.state.lock();
        let Some(ticket) = state.tickets.get_mut(&job) else { return };
        ticket.media.setback = provided.err().map(|setback| (key, setback));
        self.decide(&mut state, now, Stimulus::Resumed { job, project: Some(number) });
    }

    /// The first piece of a streamed answer came.
    pub(crate) fn answering(self: &Arc<Driver>, job: JobId) {
        let now = self.clock.now();
        self.decide(&mut self.state.lock(), now, Stimulus::Answering(job));
    }

    /// Tells of an upload.
    pub(crate) fn uploading(&self, upload: Upload) {
        let now = self.clock.now();
        self.emit(&mut self.state.lock(), now, EventKind::Upload(upload));
    }

    /// An attempt came back: judge it, let the scheduler decide, tell the world, act.
    fn finish(self: &Arc<Driver>, job: JobId, attempt: u32, body: Option<Bytes>, reading: Reading, next: Option<Next>) {
        let Reading { mut outcome, answer, usage, fault, stale_file } = reading;
        let now = self.clock.now();
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(ticket) = state.tickets.get_mut(&job).filter(|ticket| ticket.trace.attempts == attempt) else { return };
        if ticket.request.divisible {
            outcome = without_retry(outcome);
        }
        ticket.abort = None;
        ticket.trace.latency = now - ticket.started;
        let reported = usage;
        let usage = spent(&reported, &outcome, ticket.request.method, ticket.tokens);
        ticket.trace.usage.add(&usage);
        ticket.last = Last { answer, body, fault: fault.clone() };
        let (label, latency) = (ticket.request.label.clone(), ticket.trace.latency);
        let (seat, sent) = (ticket.seat.clone(), ticket.started);
        let (key, family, body) = (ticket.key, ticket.family.clone(), ticket.last.body.clone().unwrap_or_default());
        learn(&mut state.calibration, &ticket.family, ticket.estimate(), &reported, ticket.last.body.as_deref());
        let project = self.key(key).project;
        if stale_file && ticket.media.refusals < FREE_REFUSALS && self.desk.doubt(project, &ticket.request.body) {
            ticket.media.refusals += 1;
            outcome = Outcome::Postponed;
            self.runtime.spawn(self.clone().provide(job, key, ticket.request.body.clone()));
        }
        let model = state.scheduler.model(&family);
        let refused = refused(&outcome, state.scheduler.limits(project, model));
        if let Some(next) = next {
            reweigh(&mut state.scheduler, &state.calibration, now, job, ticket, next);
        }
        let mut actions = Vec::new();
        state.scheduler.handle(now, Stimulus::Finished { job, outcome: outcome.clone() }, &mut actions);
        if let Some(memory) = &mut state.memory {
            let Consequences { held, dead, parked } = consequences(&actions);
            let card = &*self.key(key);
            let (outcome, fault, dead, parked, body) = (&outcome, fault.as_ref(), &dead, &parked, &body);
            let answered = Answered { now, sent, key, card, family, outcome, held, dead, parked, fault, body };
            memory.answered(&mut state.scheduler, &answered);
        }
        if let Some(seat) = seat {
            let dead = matches!(&outcome, Outcome::KeyRejected(fault) if fault.scope == Scope::Key);
            let fault = fault.map(|words| told(words, now, job, dead, refused, &actions));
            let ended = Attempt { job, label, number: attempt, seat, latency, usage, fault };
            self.emit(state, now, EventKind::Attempted(Box::new(ended)));
            if let Some(memory) = state.memory.as_mut().filter(|_| refused.is_some()) {
                memory.keep_kin(state.kinship.kin(), now);
            }
        }
        let ended = actions.iter().any(|action| matches!(action, Action::Complete { job: done, .. } if *done == job));
        self.act(state, now, actions);
        if state.closed && !ended {
            self.give_back(state, now, job);
        }
    }

    /// The engine is closing: a prompt that would be asked again goes back to its caller instead.
    fn give_back(self: &Arc<Driver>, state: &mut State, now: Timestamp, job: JobId) {
        let Some(ticket) = state.tickets.remove(&job) else { return };
        state.scheduler.handle(now, Stimulus::Cancelled(job), &mut Vec::new());
        let error = Error { trace: ticket.trace.clone(), ..cancelled("the engine was shut down before an answer came") };
        self.leave(state, now, job, ticket, Err(error));
    }

    fn complete(self: &Arc<Driver>, state: &mut State, now: Timestamp, job: JobId, verdict: Verdict) {
        let Some(mut ticket) = state.tickets.remove(&job) else { return };
        if verdict == Verdict::Upstream {
            ticket.trace.due = state.scheduler.outage(now, &ticket.family);
        }
        let result = conclude(std::mem::take(&mut ticket.last), ticket.trace.clone(), &ticket.model, verdict);
        self.leave(state, now, job, ticket, result);
    }

    pub(crate) fn leave(
        &self,
        state: &mut State,
        now: Timestamp,
        job: JobId,
        ticket: Box<Ticket>,
        result: Result<Response, Error>,
    ) {
        state.waiting -= usize::from(ticket.waits);
        if let Some(abort) = ticket.abort {
            abort.abort();
            self.emit_abandoned(state, now, job, ticket.seat, ticket.trace.attempts, ticket.request.label.clone());
        }
        let failed = result.as_ref().err().map(|error| error.class);
        let (label, usage) = (ticket.request.label, ticket.trace.usage);
        self.emit(state, now, EventKind::Completed { job, label, failed, usage });
        let _ = ticket.reply_to.send(result);
        if state.tickets.is_empty() {
            self.idle.notify_waiters();
        }
    }

    /// An attempt that was dropped has ended too, or displays would count it for ever.
    fn emit_abandoned(
        &self,
        state: &mut State,
        now: Timestamp,
        job: JobId,
        seat: Option<Seat>,
        number: u32,
        label: Option<Arc<str>>,
    ) {
        let Some(seat) = seat else { return };
        let usage = Usage::default();
        let ended = Attempt { job, label, number, seat, latency: Duration::ZERO, usage, fault: Some(abandoned()) };
        self.emit(state, now, EventKind::Attempted(Box::new(ended)));
    }

    fn emit(&self, state: &mut State, at: Timestamp, kind: EventKind) {
        let event = Event { at, kind };
        state.stats.fold(&event);
        if self.roster.read().projects() > 1 {
            state.kinship.fold(&event);
        }
        for observer in &state.observers {
            observer.observe(&event);
        }
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(event);
        }
    }
}

/// What an attempt meets.
enum Met {
    /// Nothing that keeps this body from being sent.
    Open(Payload),
    /// An upload before it that failed.
    Setback(Setback),
}

/// What an attempt asks, and with which key.
struct Asked {
    method: Method,
    model: Arc<str>,
    project: u32,
    key: Arc<SecretString>,
    judge: Option<Judge>,
    recipient: Option<Recipient>,
}

async fn attempt_once(driver: Arc<Driver>, job: JobId, attempt: u32, asked: Asked, met: Met) {
    let Asked { method, model, project, key, judge, recipient } = asked;
    let met = match (met, recipient) {
        (Met::Open(_), Some(Recipient::Errand(errand))) => {
            let (body, reading) = Box::pin(errand.attempt(&driver, job, project, key)).await;
            return driver.finish(job, attempt, body, reading, None);
        }
        (Met::Open(body), Some(Recipient::Listener(listener))) => {
            let streamed = stream::attempt(&driver, job, Call { model, method, body, key }, &listener);
            // Most attempts are none of these and need not have the room for one.
            let (body, reading) = Box::pin(streamed).await;
            return driver.finish(job, attempt, body, reading, None);
        }
        (met, _) => met,
    };
    let result = match met {
        Met::Open(body) => called(&driver, Call { model, method, body, key: key.clone() }).await,
        Met::Setback(setback) => setback.into_result(),
    };
    let (body, reading) = judged(method, result, &driver.terms.now().retry_on, &key);
    let (reading, next) = match judge {
        Some(judge) => judge.judge(reading),
        None => (reading, None),
    };
    driver.finish(job, attempt, body, reading, next);
}

async fn called(driver: &Driver, call: Call) -> Result<Reply, TransportError> {
    let bound = driver.terms.now().attempt_timeout;
    let called = AssertUnwindSafe(driver.backend.call(call)).catch_unwind();
    let result = tokio::time::timeout(bound, called).await;
    // A backend of somebody else's may panic; its prompt must not wait for ever.
    let result =
        result.map(|called| called.unwrap_or_else(|_| Err(TransportError::Cut { reason: "the backend panicked".to_string() })));
    result.unwrap_or(Err(TransportError::Timeout { seconds: bound.as_secs() }))
}

/// True when the fault is the key's alone: another key of the project is not to be blamed for it.
fn is_of_key(setback: &Setback) -> bool {
    let Reading { outcome, .. } = classify(Method::Generate, &setback.clone().into_result(), &RetryOn::default());
    matches!(outcome, Outcome::KeyRejected(fault) if fault.scope == Scope::Key)
}

/// What an attempt cost. An embedding that does not tell it cost what it was estimated at, so that budgets hold.
fn spent(reported: &Usage, outcome: &Outcome, method: Method, estimate: u64) -> Usage {
    let silent = reported.input_tokens == 0 && matches!(outcome, Outcome::Done { .. });
    if silent && method == Method::Embed { Usage::estimated(estimate) } else { reported.clone() }
}

/// What came back and what it means, with the key taken out of both. What a model said never saw the key and passes untouched.
fn judged(
    method: Method,
    result: Result<Reply, TransportError>,
    retry_on: &RetryOn,
    key: &SecretString,
) -> (Option<Bytes>, Reading) {
    let reading = classify(method, &result, retry_on);
    let quotable = reading.fault.is_some() && reading.answer.is_none();
    let clean = result.as_ref().ok().filter(|_| quotable).and_then(|reply| redact::hidden(reply, key));
    match clean {
        Some(reply) => {
            let body = reply.body.clone();
            let Reading { fault, .. } = classify(method, &Ok(reply), retry_on);
            (Some(body), Reading { fault, ..reading })
        }
        None => (result.ok().map(|reply| reply.body), reading),
    }
}

/// What the next attempt asks weighs something else; the scheduler is told before it decides.
fn reweigh(scheduler: &mut Scheduler, calibration: &Calibration, now: Timestamp, job: JobId, ticket: &mut Ticket, next: Next) {
    ticket.again = match next {
        Next::Roomier(body) => {
            ticket.request.body = ticket.request.body.remade(body);
            None
        }
        Next::Corrected(body, added) => Some((ticket.request.body.remade(body), added)),
    };
    let estimate = ticket.estimate();
    ticket.tokens = calibration.apply(&ticket.family, estimate);
    let spread = calibration.spread(&ticket.family, ticket.tokens);
    let stimulus = Stimulus::Reweighed { job, tokens: ticket.tokens, least: estimate.total(), spread };
    scheduler.handle(now, stimulus, &mut Vec::new());
}
