//! New settings while it runs: applied at once, and nothing is forgotten.

use crate::event::{Action, ProjectSpec, Reconfiguration};
use crate::key::KeyId;
use crate::quota::Limits;
use crate::scheduler::{Scheduler, most_calls, worker_rest};
use crate::settings::Pacing;
use crate::time::Timestamp;

impl Scheduler {
    pub(crate) fn reconfigured(&mut self, now: Timestamp, change: Reconfiguration, actions: &mut Vec<Action>) {
        let Reconfiguration { pacing, retry, keys, limits } = change;
        if let Some(retry) = retry {
            self.settings.retry = retry;
        }
        if let Some(keys) = keys {
            self.rules.keys = keys.clone();
            self.settings.keys = keys;
        }
        if let Some(pacing) = pacing {
            self.change_pacing(now, pacing);
        }
        for (project, family, limits) in limits {
            self.change_limits(now, project, &family, limits);
        }
        for id in 0..u32::try_from(self.quotas.len()).unwrap_or(u32::MAX) {
            self.relist(id, now);
        }
        self.recount_all_and_end(now, actions);
    }

    fn change_pacing(&mut self, now: Timestamp, pacing: Pacing) {
        self.workers.resize(now, most_calls(&pacing), worker_rest(&pacing));
        self.next_call = self.next_call.min(now + pacing.call_interval);
        for (key, number) in self.keys.iter_mut().zip(0..) {
            key.reseat(now, &pacing);
            self.projects[key.project as usize].ring.relist(KeyId(number), key, &pacing);
        }
        self.settings.pacing = pacing;
    }

    fn change_limits(&mut self, now: Timestamp, project: u32, family: &str, limits: Limits) {
        let Some(owner) = self.projects.get_mut(project as usize) else { return };
        owner.spec.limits.retain(|(named, _)| named != family);
        owner.spec.limits.push((family.to_owned(), limits));
        let concerned = |name: &str| name == family || (family == "*" && !names(&owner.spec, name));
        for &id in &owner.buckets {
            let quota = &mut self.quotas[id as usize];
            if concerned(&self.lanes[quota.model.0 as usize].name) {
                quota.bucket.reconfigure(now, limits, &self.rules);
            }
        }
    }
}

fn names(spec: &ProjectSpec, family: &str) -> bool {
    spec.limits.iter().any(|(named, _)| named == family)
}
