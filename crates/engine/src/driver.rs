//! The driver: makes events, lets the scheduler decide, does what it says.
//!
//! Whoever has an event locks the state for some microseconds, decides, and starts what is due: a finishing attempt
//! starts the next one itself. One timer task sleeps until the scheduler's next wake-up. Bodies stay here, under their
//! job's number; the scheduler moves ids and numbers only.

mod act;
mod attempt;
mod finish;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::HashMap;
use parking_lot::Mutex;
use tidegate_gemini::embedding::MOST_TEXTS;
use tidegate_gemini::models;
use tidegate_gemini::tokens::{Calibration, Estimate};
use tidegate_scheduler::{Event as Stimulus, JobId, KeyId, QuotaId, Scheduler, Submission, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, broadcast, oneshot};
use tokio::task::AbortHandle;

use crate::backend::{Backend, Method};
use crate::change::{Change, UnknownProject};
use crate::clock::Clock;
use crate::counting;
use crate::ending::{Last, cancelled, unheard_of};
use crate::errand::Recipient;
use crate::event::{Event, EventKind, Observer, Seat};
use crate::kinship::Kinship;
use crate::ledger::{Order, Pumps};
use crate::media::{Body, Desk};
use crate::memory::Memory;
use crate::outlier::{CountTokens, Sizes};
use crate::relay::Relay;
use crate::request::{Error, Request, Response, Trace};
use crate::residence::Residence;
use crate::roster::{KeyCard, Roster, RosterChange, SharedRoster, Turnover};
use crate::stats::Stats;
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
        let roster = Arc::new(roster);
        self.terms.change(attempt_timeout, retry_on);
        let Turnover { projects, keys, leaving, tables, accounts, told } = turnover;
        (reconfiguration.leaving, reconfiguration.tables, reconfiguration.accounts) = (leaving, tables, accounts);
        state.scheduler.join(projects, &keys);
        if let Some(memory) = &mut state.memory {
            memory.enlist(&mut state.scheduler, now, roster.clone());
        }
        *self.roster.write() = roster;
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
