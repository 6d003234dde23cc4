//! What follows from the outcome of an attempt: settle, hold, park, bury, pause, complete.

use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::breaker::Earned;
use crate::event::Action;
use crate::job::{JobId, ModelId, Running, State};
use crate::key::KeyId;
use crate::outcome::{Denied, KeyFault, Outcome, Reason, Scope, TaskFault, Verdict};
use crate::quota::Hold;
use crate::scheduler::Scheduler;
use crate::time::Timestamp;

/// How long a prompt spares the key it last failed with while others are at hand.
const AVOID: Duration = Duration::from_secs(10);

impl Scheduler {
    pub(crate) fn finished(&mut self, now: Timestamp, id: JobId, outcome: Outcome, actions: &mut Vec<Action>) {
        let Some(running) = self.stop_running(now, id) else { return };
        if outcome == Outcome::Postponed {
            return self.postponed(now, id, &running);
        }
        self.note_health(now, &running, &outcome, actions);
        if matches!(outcome, Outcome::Done { .. }) {
            let model = self.quotas[running.bucket as usize].model;
            self.lanes[model.0 as usize].answered_in(now - running.permit.at);
        }
        self.note_probe(now, id, &outcome, actions);
        self.note_proof(self.quotas[running.bucket as usize].model, &outcome);
        let bucket = &mut self.quotas[running.bucket as usize].bucket;
        match outcome {
            Outcome::Done { used } => {
                let beyond = bucket.settle(running.permit, used);
                bucket.succeeded(running.permit);
                let lane = self.quotas[running.bucket as usize].model.0 as usize;
                self.lanes[lane].forecast.iter_mut().for_each(|forecast| forecast.settled(beyond));
                self.relist(running.bucket, now);
                self.complete(now, id, Verdict::Done, actions);
            }
            Outcome::KeyLimited(denied) => self.key_limited(now, id, &running, denied, actions),
            Outcome::KeyRejected(fault) => self.key_rejected(now, id, &running, &fault, actions),
            Outcome::TaskFailed(fault) => self.task_failed(now, id, &running, fault, actions),
            Outcome::FailedInCompany => {
                bucket.settle(running.permit, None);
                bucket.succeeded(running.permit);
                self.relist(running.bucket, now);
                // Not even the bound of all attempts ends a prompt for what may be another's fault.
                self.enqueue(now, id, actions);
            }
            Outcome::HostRefused => {
                let day = self.calendar.day(now);
                self.quotas[running.bucket as usize].bucket.refund(running.permit, day);
                self.relist(running.bucket, now);
                match self.host.is_lasting() {
                    true => self.count_transient(now, id, running.key, None, None, actions),
                    false => self.again(now, id, actions),
                }
            }
            Outcome::Transient { retry_after } => self.transient(now, id, &running, retry_after, actions),
            Outcome::Postponed => {}
        }
    }

    pub(crate) fn answering(&mut self, now: Timestamp, id: JobId) {
        let Some(State::Running(running)) = self.jobs.get(&id).map(|job| &job.state) else { return };
        let (bucket, permit) = (running.bucket, running.permit);
        self.quotas[bucket as usize].bucket.succeeded(permit);
        self.prove(self.quotas[bucket as usize].model);
        self.relist(bucket, now);
    }

    /// The prompt waits outside the queue, and the attempt does not count. One that never left gives everything back.
    fn postponed(&mut self, now: Timestamp, id: JobId, running: &Running) {
        self.probe_lost(now, id);
        if running.permit.at == now {
            self.never_left(now, running);
        } else {
            self.quotas[running.bucket as usize].bucket.settle(running.permit, None);
        }
        self.relist(running.bucket, now);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.attempts = job.attempts.saturating_sub(1);
            job.state = State::Away;
        }
    }

    fn never_left(&mut self, now: Timestamp, running: &Running) {
        let day = self.calendar.day(now);
        self.quotas[running.bucket as usize].bucket.never_left(running.permit, day);
        let key = &mut self.keys[running.key.0 as usize];
        self.projects[key.project as usize].ring.unused(running.key, key, running.seat, &self.settings.pacing);
        self.workers.unused(running.worker);
        self.next_call = self.next_call.min(now);
    }

    /// A postponed prompt takes its old place in the queue, for the quota of `project` if that can serve it soon.
    pub(crate) fn resumed(&mut self, now: Timestamp, id: JobId, project: Option<u32>, actions: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id).filter(|job| matches!(job.state, State::Away)) else { return };
        let (model, place) = (job.model.0 as usize, job.place);
        self.enqueue(now, id, actions);
        let bucket = project.and_then(|project| self.projects.get(project as usize)?.buckets.get(model).copied());
        if let Some(entry) = self.lanes[model].queue.get_mut(&place) {
            entry.bind(bucket);
        }
        if let Some(bucket) = bucket.filter(|bucket| self.quotas[*bucket as usize].standing.listed_at().is_never()) {
            self.relist(bucket, now);
        }
    }

    /// What an outcome says of the host and of the model.
    fn note_health(&mut self, now: Timestamp, running: &Running, outcome: &Outcome, actions: &mut Vec<Action>) {
        let model = self.quotas[running.bucket as usize].model;
        let lane = &mut self.lanes[model.0 as usize];
        match outcome {
            Outcome::HostRefused => self.host.refused(now, running.permit.at),
            Outcome::Transient { .. } if lane.company.shared_pause(now, running.permit.at).is_some() => {}
            Outcome::Transient { .. } => {
                if lane.breaker.failed(now) && lane.breaker.is_lasting() {
                    self.tell_of_outage(now, model, actions);
                }
            }
            Outcome::Done { .. }
            | Outcome::KeyLimited(_)
            | Outcome::KeyRejected(_)
            | Outcome::TaskFailed(_)
            | Outcome::FailedInCompany => {
                self.host.answered();
                if lane.breaker.answered(now) {
                    self.look_after_hold(now, model);
                }
            }
            Outcome::Postponed => {}
        }
        if matches!(outcome, Outcome::Done { .. } | Outcome::TaskFailed(_)) {
            self.earn_repetition(now, model, actions);
        }
    }

    /// A breaker has closed: quotas that found nobody who had waited long enough find everybody now.
    fn look_after_hold(&mut self, now: Timestamp, model: ModelId) {
        for bucket in self.lanes[model.0 as usize].all_starved() {
            let why = self.quotas[bucket as usize].standing.why;
            if why.is_some_and(|why| why.reason == Reason::Breaker) {
                self.relist(bucket, now);
            }
        }
    }

    /// A good answer earns a repetition: a prompt that waits for one goes after its usual pause.
    fn earn_repetition(&mut self, now: Timestamp, model: ModelId, actions: &mut Vec<Action>) {
        while let Some(Earned { job: id, from, to }) = self.lanes[model.0 as usize].budget.earn() {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if !matches!(job.state, State::Paused(until) if until == from) {
                continue;
            }
            let until = to.max(now);
            job.state = State::Paused(until);
            self.paused.remove(&(from, id));
            self.paused.insert((until, id));
            actions.push(Action::Retry { job: id, until });
            return;
        }
    }

    fn transient(
        &mut self,
        now: Timestamp,
        id: JobId,
        running: &Running,
        retry_after: Option<Duration>,
        actions: &mut Vec<Action>,
    ) {
        let quota = &mut self.quotas[running.bucket as usize];
        let model = quota.model.0;
        quota.bucket.unanswered(running.permit);
        self.relist(running.bucket, now);
        let shared = self.lanes[model as usize].company.shared_pause(now, running.permit.at);
        self.count_transient(now, id, running.key, retry_after, shared, actions);
    }

    /// Counts a fault of the API or the network against the bound of a prompt. `shared` is the pause of others that had it.
    fn count_transient(
        &mut self,
        now: Timestamp,
        id: JobId,
        key: KeyId,
        hint: Option<Duration>,
        shared: Option<Timestamp>,
        actions: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.faults().transient += 1;
        let faults = job.faults().transient;
        let lane = job.model.0 as usize;
        // Who waits for a model that fails everybody is not kept for one attempt more.
        let in_vain = job.is_awaited() && self.lanes[lane].breaker.is_lasting();
        if in_vain || faults >= self.settings.retry.max_transient_attempts {
            return self.complete(now, id, Verdict::Upstream, actions);
        }
        if let Some(until) = shared {
            return self.pause(now, id, key, until, actions);
        }
        let usual = now + self.backoff(faults, hint);
        let until = if self.lanes[lane].budget.spend() {
            usual
        } else {
            // Until a good answer earns it a repetition, the prompt waits as long as any may.
            let latest = usual.max(now + self.backoff(u32::MAX, hint));
            self.lanes[lane].budget.wait(now, id, usual, latest);
            latest
        };
        self.lanes[lane].company.paused(now, until);
        self.pause(now, id, key, until, actions);
    }

    fn key_limited(&mut self, now: Timestamp, id: JobId, running: &Running, denied: Denied, actions: &mut Vec<Action>) {
        let day = self.calendar.day(now);
        let quota = &mut self.quotas[running.bucket as usize];
        let (project, model, tpm) = (quota.project, quota.model, quota.bucket.limits.tpm);
        let known = quota.bucket.counting(&self.rules);
        let Hold { until, dimension, fully } = quota.bucket.refused(now, running.permit, denied, day, &self.rules);
        actions.push(Action::Held { project, model: self.lanes[model.0 as usize].name.clone(), dimension, until, fully });
        let learned = quota.bucket.counting(&self.rules) != known;
        if learned {
            actions.push(Action::Learned { project, model: self.lanes[model.0 as usize].name.clone() });
        }
        self.relist(running.bucket, now);
        if until.is_never() || self.quotas[running.bucket as usize].bucket.limits.tpm != tpm {
            self.recount_and_end(now, model, actions);
        }
        self.again(now, id, actions);
    }

    fn key_rejected(&mut self, now: Timestamp, id: JobId, running: &Running, fault: &KeyFault, actions: &mut Vec<Action>) {
        let day = self.calendar.day(now);
        self.quotas[running.bucket as usize].bucket.refund(running.permit, day);
        self.relist(running.bucket, now);
        let project = self.keys[running.key.0 as usize].project;
        match fault.scope {
            Scope::Key => self.bury_key(now, running.key, project, &fault.reason, actions),
            Scope::Project | Scope::Account => self.park(now, id, project, fault, actions),
        }
        self.again(now, id, actions);
    }

    /// Another process was told that a key is no good.
    pub(crate) fn lose_key(&mut self, now: Timestamp, key: KeyId, reason: &Arc<str>, actions: &mut Vec<Action>) {
        let project = self.keys.get(key.0 as usize).filter(|known| known.dead.is_none()).map(|known| known.project);
        if let Some(project) = project {
            self.bury_key(now, key, project, reason, actions);
        }
    }

    fn bury_key(&mut self, now: Timestamp, key: KeyId, project: u32, reason: &Arc<str>, actions: &mut Vec<Action>) {
        let ring = &mut self.projects[project as usize].ring;
        if !ring.bury(key, &mut self.keys[key.0 as usize], reason.clone(), &self.settings.pacing) {
            return;
        }
        actions.push(Action::KeyDead { key, reason: reason.clone() });
        if self.projects[project as usize].ring.live == 0 {
            self.recount_all_and_end(now, actions);
        }
    }

    fn task_failed(&mut self, now: Timestamp, id: JobId, running: &Running, fault: TaskFault, actions: &mut Vec<Action>) {
        let bucket = &mut self.quotas[running.bucket as usize].bucket;
        bucket.settle(running.permit, fault.used);
        bucket.succeeded(running.permit);
        self.relist(running.bucket, now);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.faults().task += 1;
        let faults = job.faults().task;
        if !fault.retry || faults >= self.settings.retry.max_task_attempts {
            return self.complete(now, id, Verdict::TaskFailed, actions);
        }
        let until = now + self.backoff(faults, None);
        self.pause(now, id, running.key, until, actions);
    }

    /// Back to its old place in the queue, at once.
    fn again(&mut self, now: Timestamp, id: JobId, actions: &mut Vec<Action>) {
        if self.is_late(now, id) {
            return self.complete(now, id, Verdict::Deadline, actions);
        }
        if self.attempts_spent(id) {
            return self.complete(now, id, Verdict::AttemptsSpent, actions);
        }
        self.enqueue(now, id, actions);
    }

    /// Back to its old place in the queue after a pause, if possible with another key.
    fn pause(&mut self, now: Timestamp, id: JobId, key: KeyId, until: Timestamp, actions: &mut Vec<Action>) {
        if self.is_late(now, id) {
            return self.complete(now, id, Verdict::Deadline, actions);
        }
        if self.attempts_spent(id) {
            return self.complete(now, id, Verdict::AttemptsSpent, actions);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.faults().avoid = Some((key, until + AVOID));
        job.state = State::Paused(until);
        self.paused.insert((until, id));
        actions.push(Action::Retry { job: id, until });
    }

    fn backoff(&mut self, nth: u32, hint: Option<Duration>) -> Duration {
        let retry = &self.settings.retry;
        Backoff { initial: retry.initial_backoff, max: retry.max_backoff }.pause(nth, hint, &mut self.rng)
    }

    /// Its caller gave up while an attempt was under way.
    fn is_late(&self, now: Timestamp, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| job.deadline <= now)
    }

    fn attempts_spent(&self, id: JobId) -> bool {
        let most = self.settings.retry.max_attempts;
        most > 0 && self.jobs.get(&id).is_some_and(|job| job.attempts >= most)
    }
}
