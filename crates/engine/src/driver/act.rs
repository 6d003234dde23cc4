//! What the scheduler decides is done: prompts are started, others are told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidegate_scheduler::{Action, Event as Stimulus, JobId, KeyId, Outcome, Timestamp};

use super::{Driver, State, attempt};
use crate::event::{EventKind, Seat};
use crate::ledger::Order;
use crate::structured::Judge;

impl Driver {
    pub(crate) fn decide(self: &Arc<Driver>, state: &mut State, now: Timestamp, stimulus: Stimulus) {
        let mut actions = Vec::new();
        state.scheduler.handle(now, stimulus, &mut actions);
        self.act(state, now, actions);
    }

    pub(super) fn act(self: &Arc<Driver>, state: &mut State, now: Timestamp, actions: Vec<Action>) {
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
        let setback = ticket.media.setback.take().filter(|(carrier, setback)| *carrier == key || !attempt::is_of_key(setback));
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
            (Some((_, setback)), _) => attempt::Met::Setback(setback),
            (None, payload) => attempt::Met::Open(payload.unwrap_or_else(|| Bytes::new().into())),
        };
        let (tokens, method, model) = (ticket.tokens, ticket.request.method, ticket.model.clone());
        let (key, project, recipient) = (card.secret.clone(), card.project, ticket.recipient.clone());
        let (queued, after) = (ticket.trace.queued, ticket.last.fault.as_ref().map(|words| words.code.as_str().into()));
        let attempt = attempt::attempt_once(
            self.clone(),
            job,
            attempt,
            attempt::Asked { method, model, project, key, judge, recipient },
            met,
        );
        if let Some(memory) = &mut state.memory {
            memory.started(&mut state.scheduler, now, card.project, &ticket.family, tokens);
        }
        ticket.abort = Some(self.runtime.spawn(attempt).abort_handle());
        self.emit(state, now, EventKind::Started { job, seat, tokens, queued, after });
        true
    }
}
