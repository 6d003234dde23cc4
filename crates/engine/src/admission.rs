//! At the door of the queue: who would wait in vain is told so at once, and when it could start.

use std::sync::Arc;

use tidegate_scheduler::{Deadline, Event as Stimulus, JobId, Timestamp};

use crate::driver::{Driver, State};
use crate::ending::{cancelled, fails_everybody};
use crate::request::{Admission, Error, ErrorClass, QUEUE_FULL, Trace};

impl Driver {
    /// Looks at the prospect of a prompt that was just handed in and could not start.
    pub(crate) fn admit(
        self: &Arc<Driver>,
        state: &mut State,
        now: Timestamp,
        job: JobId,
        admission: Admission,
        deadline: Option<Deadline>,
    ) {
        let Some(ticket) = state.tickets.get_mut(&job).filter(|ticket| ticket.trace.attempts == 0) else { return };
        if state.waiting >= admission.most_waiting {
            let due = state.scheduler.next_start().map(|at| at.max(now));
            return self.turn_away(state, now, job, full(state.waiting, due));
        }
        let due = state.scheduler.forecast(now, job);
        ticket.trace.due = due;
        let (trace, model) = (ticket.trace.clone(), ticket.model().clone());
        let broken = state.scheduler.outage(now, ticket.family());
        let last = deadline.map_or(Timestamp::NEVER, |(Deadline::Answer(at) | Deadline::Start(at))| at);
        if let Some(until) = broken.filter(|until| *until > last) {
            return self.turn_away(state, now, job, failing(&model, Trace { due: Some(until), ..trace }));
        }
        if due.is_some_and(|due| due > last) {
            return self.turn_away(state, now, job, late(trace));
        }
        ticket.waits = true;
        state.waiting += 1;
    }

    fn turn_away(self: &Arc<Driver>, state: &mut State, now: Timestamp, job: JobId, error: Error) {
        let Some(ticket) = state.tickets.remove(&job) else { return };
        self.leave(state, now, job, ticket, Err(error));
        self.decide(state, now, Stimulus::Cancelled(job));
    }
}

/// Its permit would come too late.
fn late(trace: Trace) -> Error {
    let message = "Request timeout: no permit comes before its deadline";
    Error { class: ErrorClass::Deadline, code: "deadline".to_string(), trace, ..cancelled(message) }
}

/// Its model is not looked at again before its caller gives up.
fn failing(model: &str, trace: Trace) -> Error {
    Error { class: ErrorClass::Upstream, code: "UNAVAILABLE".to_string(), trace, ..cancelled(&fails_everybody(model)) }
}

/// Too many wait before it.
fn full(waiting: usize, due: Option<Timestamp>) -> Error {
    let message = format!("the queue is full: {waiting} requests wait for a permit");
    let trace = Trace { due, ..Trace::default() };
    Error { class: ErrorClass::Deadline, code: QUEUE_FULL.to_string(), trace, ..cancelled(&message) }
}
