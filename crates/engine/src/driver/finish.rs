//! What becomes of a prompt whose attempt came back, or that leaves without one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_gemini::response::Usage;
use tidegate_scheduler::{Action, Event as Stimulus, JobId, Outcome, Scope, Timestamp, Verdict};

use super::{Driver, FREE_REFUSALS, State, Ticket, attempt};
use crate::classify::{Reading, without_retry};
use crate::consequences::{Consequences, consequences, learn, refused, told};
use crate::ending::{Last, abandoned, cancelled, conclude};
use crate::event::{Attempt, EventKind, Seat};
use crate::memory::Answered;
use crate::request::{Error, Response};
use crate::structured::Next;

impl Driver {
    /// An attempt came back: judge it, let the scheduler decide, tell the world, act.
    pub(super) fn finish(
        self: &Arc<Driver>,
        job: JobId,
        attempt: u32,
        body: Option<Bytes>,
        reading: Reading,
        next: Option<Next>,
    ) {
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
        let usage = attempt::spent(&reported, &outcome, ticket.request.method, ticket.tokens);
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
            attempt::reweigh(&mut state.scheduler, &state.calibration, now, job, ticket, next);
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

    pub(super) fn complete(self: &Arc<Driver>, state: &mut State, now: Timestamp, job: JobId, verdict: Verdict) {
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
}
