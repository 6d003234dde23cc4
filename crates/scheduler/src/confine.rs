//! Prompts that only one project can serve, because what they name lives there: a file, a cache.

use crate::event::Action;
use crate::job::{JobId, ModelId, Submission};
use crate::outcome::Verdict;
use crate::scheduler::Scheduler;
use crate::time::Timestamp;

impl Scheduler {
    /// Takes in a prompt that no other project than this can serve.
    pub(crate) fn submitted_to(&mut self, now: Timestamp, project: u32, submission: Submission, actions: &mut Vec<Action>) {
        let (id, model) = (submission.job, submission.model);
        let Some(&bucket) = self.projects.get(project as usize).and_then(|owner| owner.buckets.get(model.0 as usize)) else {
            return actions.push(Action::Complete { job: id, verdict: Verdict::NoKey });
        };
        self.take_in(now, submission);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.faults().only = Some(bucket);
        }
        self.enqueue(now, id, actions);
        self.take_what_is_free(now, id, actions);
    }

    /// What a bucket can take for a prompt that only it may serve: `None` when it can never serve again, else the most tokens.
    pub(crate) fn takes(&self, bucket: u32) -> Option<Option<u64>> {
        let quota = &self.quotas[bucket as usize];
        let lives = self.projects[quota.project as usize].ring.live > 0 && !quota.bucket.parked;
        (lives && self.parked(quota.project).is_none()).then_some(quota.bucket.limits.tpm)
    }

    /// A confined prompt came into the queue: its own bucket looks at once, if it does not mean to look soon.
    pub(crate) fn look_at_confined(&mut self, now: Timestamp, bucket: u32) {
        let listed = self.quotas[bucket as usize].standing.listed_at();
        if listed.is_never() || self.lanes[self.quotas[bucket as usize].model.0 as usize].is_starved(bucket) {
            self.relist(bucket, now);
        }
    }

    /// Ends waiting prompts whose one project can never serve them any more.
    pub(crate) fn end_confined(&mut self, now: Timestamp, model: ModelId, actions: &mut Vec<Action>) {
        let lane = &self.lanes[model.0 as usize];
        if lane.confined == 0 {
            return;
        }
        let lost = |bucket: u32| self.takes(bucket).is_none();
        let lost: Vec<JobId> =
            lane.queue.values().filter(|entry| entry.only().is_some_and(lost)).map(|entry| entry.job).collect();
        lost.into_iter().for_each(|job| self.complete(now, job, Verdict::NoKey, actions));
    }
}
