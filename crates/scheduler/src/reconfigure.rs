//! New settings while it runs: applied at once, and nothing is forgotten.

use crate::event::{Action, ProjectSpec, Reconfiguration};
use crate::key::KeyId;
use crate::quota::Limits;
use crate::scheduler::{Scheduler, limits_for, most_calls, worker_rest};
use crate::settings::Pacing;
use crate::time::Timestamp;

impl Scheduler {
    /// Takes in further projects, and a further key for each project that `keys` names by number; all are numbered on. What
    /// is remembered of them can be restored before anything is sent: they serve from the next event on.
    pub fn join(&mut self, projects: Vec<ProjectSpec>, keys: &[u32]) {
        projects.into_iter().for_each(|spec| self.add_project(spec));
        keys.iter().for_each(|&project| self.add_key(project));
    }

    pub(crate) fn reconfigured(&mut self, now: Timestamp, change: Reconfiguration, actions: &mut Vec<Action>) {
        let Reconfiguration { pacing, retry, keys, limits, tables, accounts, leaving } = change;
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
        for (project, limits) in tables {
            self.change_table(now, project, limits);
        }
        for (project, family, limits) in limits {
            self.change_limits(now, project, &family, limits);
        }
        for (project, account) in accounts {
            if let Some(owner) = self.projects.get_mut(project as usize) {
                owner.spec.account = account;
            }
        }
        leaving.into_iter().for_each(|key| self.dismiss_key(key));
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

    /// Prompts that wait go on with the keys that are left: who ends for want of any is looked at when all have come and gone.
    fn dismiss_key(&mut self, id: KeyId) {
        let Some(key) = self.keys.get_mut(id.0 as usize) else { return };
        key.left = true;
        self.projects[key.project as usize].ring.bury(id, key, "removed from the settings".into(), &self.settings.pacing);
    }

    fn change_table(&mut self, now: Timestamp, project: u32, limits: Vec<(String, Limits)>) {
        let Some(owner) = self.projects.get_mut(project as usize) else { return };
        let before = std::mem::replace(&mut owner.spec.limits, limits);
        let before = ProjectSpec { limits: before, ..owner.spec.clone() };
        for &id in &owner.buckets {
            let quota = &mut self.quotas[id as usize];
            let name = &self.lanes[quota.model.0 as usize].name;
            let limits = limits_for(&owner.spec, name);
            if limits != limits_for(&before, name) {
                quota.bucket.reconfigure(now, limits, &self.rules);
            }
        }
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
