//! When a prompt could start: the answer for those who ask whether waiting is worth it.

use crate::job::{ModelId, Place};
use crate::lane::{obstacle, obstacle_apart};
use crate::scheduler::Scheduler;
use crate::time::Timestamp;
use crate::window::Weight;

impl Scheduler {
    /// When a prompt of `tokens` for `model` could start that was handed in now: behind all that wait at its priority or a
    /// higher one.
    ///
    /// `None` when no key, no quota or no time by itself will ever let it go, or nobody can know.
    pub fn due(&mut self, now: Timestamp, model: ModelId, tokens: u64, priority: i32) -> Option<Timestamp> {
        // A look must not start the first day.
        if !self.started {
            return Some(now);
        }
        let number = model.0 as usize;
        if !self.lanes[number].queue.is_empty() {
            return self.foresee(now, number, Place::last(priority), Weight::new(tokens, 0, 0));
        }
        let day = self.calendar.day(now);
        let weight = Weight::new(tokens, 0, 0);
        let gates = [self.gate(), self.lanes[model.0 as usize].gate()];
        let open_at = gates.into_iter().flatten().map(|gate| gate.until).fold(now, Timestamp::max);
        let parks: Vec<_> = (0..self.quotas.len()).map(|at| self.parked(self.quotas[at].project)).collect();
        let mut first = Timestamp::NEVER;
        for (quota, parked) in self.quotas.iter_mut().zip(parks).filter(|(quota, _)| quota.model == model) {
            let project = &self.projects[quota.project as usize];
            if project.ring.live == 0 {
                continue;
            }
            quota.bucket.advance(now, day, &self.rules);
            let keys = project.ring.blocked(now, &self.settings.pacing);
            if let Some(shared) = quota.bucket.ledger() {
                let why = obstacle_apart(&quota.bucket, keys, parked, now, &self.rules);
                let why = [why, shared.refusal(now)].into_iter().flatten().map(|why| why.until);
                first = first.min(why.fold(now, Timestamp::max));
                continue;
            }
            let why = [obstacle(&quota.bucket, keys, now, day, &self.rules), parked];
            let room = quota.bucket.room_for_tokens(now, weight, &self.rules).0;
            first = first.min(why.into_iter().flatten().map(|why| why.until).fold(room, Timestamp::max));
        }
        Some(first.max(open_at)).filter(|at| !at.is_never())
    }
}
