//! How prompts end: completed, forgotten, given up; and what ends with the last quota that could serve them.

use crate::event::Action;
use crate::forecast::Want;
use crate::job::{Job, JobId, ModelId, Running, State};
use crate::lane::Lane;
use crate::outcome::{Reason, Verdict};
use crate::scheduler::Scheduler;
use crate::time::Timestamp;

impl Scheduler {
    pub(crate) fn complete(&mut self, now: Timestamp, id: JobId, verdict: Verdict, actions: &mut Vec<Action>) {
        self.forget(now, id);
        actions.push(Action::Complete { job: id, verdict });
    }

    pub(crate) fn forget(&mut self, now: Timestamp, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        self.lane_left(job.model);
        if !job.deadline.is_never() {
            self.deadlines.remove(&(job.deadline, id));
        }
        match job.state {
            State::Queued => {
                let number = job.model.0 as usize;
                if let Some(entry) = self.lanes[number].remove(job.place) {
                    if let Some(forecast) = self.lanes[number].foreseen(now) {
                        forecast.left(job.place, Want { weight: entry.weight.settled(), only: entry.only() });
                    }
                    for id in self.lanes[number].starved() {
                        self.relist(id, now);
                    }
                    self.left_queue(number, now, entry.kept_by());
                }
            }
            State::Paused(until) => {
                self.paused.remove(&(until, id));
            }
            State::Running(_) | State::Away => {}
        }
    }

    /// A look at a model that has failed for long was in vain: callers who have waited for it, or had a fault of their own,
    /// hear so. Those who have just come wait for the next.
    pub(crate) fn tell_of_outage(&mut self, now: Timestamp, model: ModelId, actions: &mut Vec<Action>) {
        let Lane { queue, breaker, .. } = &self.lanes[model.0 as usize];
        let queued = queue.values().filter(|entry| breaker.has_kept(now, entry.held_from)).map(|entry| entry.job);
        let is_of_model = |id: &JobId| self.jobs.get(id).is_some_and(|job| job.model == model);
        let paused = self.paused.iter().map(|&(_, id)| id).filter(is_of_model);
        let is_awaited = |id: &JobId| self.jobs.get(id).is_some_and(Job::is_awaited);
        let told: Vec<JobId> = queued.chain(paused).filter(is_awaited).collect();
        for id in told {
            self.complete(now, id, Verdict::Upstream, actions);
        }
    }

    /// How a prompt ends whose caller waits no longer: what kept it back is not always a quota.
    pub(crate) fn too_late(&self, id: JobId) -> Verdict {
        let Some(job) = self.jobs.get(&id).filter(|job| job.spares_running && matches!(job.state, State::Queued)) else {
            return Verdict::Deadline;
        };
        let is_broken = self.lanes[job.model.0 as usize].breaker.holds_until().is_some();
        if is_broken { Verdict::Upstream } else { Verdict::Deadline }
    }

    /// When a model is looked at again that fails everybody now; `None` for one that does not.
    pub fn outage(&self, now: Timestamp, family: &str) -> Option<Timestamp> {
        let lane = self.names.get(family).map(|model| &self.lanes[model.0 as usize])?;
        lane.breaker.holds_until().filter(|until| *until > now)
    }

    /// Gives up an attempt under way; the server may have counted it, so its permit stays charged.
    pub(crate) fn abandon(&mut self, now: Timestamp, id: JobId) {
        if let Some(running) = self.stop_running(now, id) {
            self.probe_lost(now, id);
            self.quotas[running.bucket as usize].bucket.unanswered(running.permit);
            self.relist(running.bucket, now);
        }
    }

    /// Frees worker and key of an attempt.
    pub(crate) fn stop_running(&mut self, now: Timestamp, id: JobId) -> Option<Running> {
        let job = self.jobs.get_mut(&id)?;
        if !matches!(job.state, State::Running(_)) {
            return None;
        }
        let State::Running(running) = std::mem::replace(&mut job.state, State::Queued) else { return None };
        self.workers.end(now, running.worker);
        if let Some(shares) = &mut self.shares {
            shares.mark(running.bucket);
        }
        let key = &mut self.keys[running.key.0 as usize];
        let project = &mut self.projects[key.project as usize];
        if !project.ring.end(running.key, key, now, running.seat, &self.settings.pacing) {
            return Some(*running);
        }
        for bucket in project.buckets.clone() {
            let why = self.quotas[bucket as usize].standing.why;
            if why.is_some_and(|why| matches!(why.reason, Reason::Slots | Reason::KeyCooldown | Reason::Backoff)) {
                self.relist(bucket, now);
            }
        }
        Some(*running)
    }

    /// Counts again which buckets of a model can ever serve, and the largest prompt they take.
    pub(crate) fn recount(&mut self, model: ModelId) {
        let (mut live, mut most_tokens) = (0, Some(0));
        let (mut requests, mut tokens) = (0, 0);
        for (project, number) in self.projects.iter().zip(0..) {
            let bucket = &self.quotas[project.buckets[model.0 as usize] as usize].bucket;
            if project.ring.live > 0 && !bucket.parked && self.parked(number).is_none() {
                live += 1;
                if let (Some(rpm), Some(tpm)) = (bucket.limits.rpm, bucket.limits.tpm) {
                    (requests, tokens) = (requests + rpm, tokens + tpm);
                }
                most_tokens = most_tokens.zip(bucket.limits.tpm).map(|(most, limit): (u64, u64)| most.max(limit));
            }
        }
        let lane = &mut self.lanes[model.0 as usize];
        (lane.live, lane.most_tokens) = (live, most_tokens);
        lane.even = u64::checked_div(tokens, requests);
    }

    /// Ends queued and pausing prompts that no quota of their model can take any more.
    pub(crate) fn recount_and_end(&mut self, now: Timestamp, model: ModelId, actions: &mut Vec<Action>) {
        let before = self.lanes[model.0 as usize].most_tokens;
        self.recount(model);
        self.end_confined(now, model, actions);
        let lane = &self.lanes[model.0 as usize];
        if lane.live > 0 && lane.most_tokens == before {
            return;
        }
        let (live, most) = (lane.live, lane.most_tokens.unwrap_or(u64::MAX));
        let queued = lane.queue.values().map(|entry| entry.job);
        let paused = self.paused.iter().map(|&(_, id)| id).filter(|id| self.jobs.get(id).is_some_and(|job| job.model == model));
        let all: Vec<JobId> = queued.chain(paused).collect();
        for id in all {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if live == 0 {
                self.complete(now, id, Verdict::NoKey, actions);
            } else if u64::from(job.least) > most {
                let tokens = u64::from(job.least);
                self.complete(now, id, Verdict::TooLarge { tokens, limit: most }, actions);
            } else if u64::from(job.weight.tokens) > most {
                job.weight.tokens = u32::try_from(most).unwrap_or(u32::MAX);
                if let Some(entry) = self.lanes[model.0 as usize].queue.get_mut(&job.place) {
                    entry.weight = job.weight;
                }
            }
        }
    }
}
