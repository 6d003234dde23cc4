//! Parking projects whose bill is not paid, and letting them serve again when a probe is answered.

use crate::event::Action;
use crate::job::{JobId, ModelId};
use crate::outcome::{Blocked, KeyFault, Outcome, Scope, TaskFault};
use crate::park::{Debtor, Park};
use crate::scheduler::Scheduler;
use crate::time::Timestamp;

impl Scheduler {
    /// Parks the project or the account of a request that was turned away.
    pub(crate) fn park(&mut self, now: Timestamp, id: JobId, project: u32, fault: &KeyFault, actions: &mut Vec<Action>) {
        let account = self.projects[project as usize].spec.account.filter(|_| fault.scope == Scope::Account);
        let debtor = account.map_or(Debtor::Project(project), Debtor::Account);
        let minute = self.rules.minute;
        if let Some(until) = self.parks.refused(now, debtor, id, &fault.reason, minute) {
            let (projects, reason) = (self.projects_of(debtor), fault.reason.clone());
            self.look_at_projects(now, &projects);
            actions.push(Action::Parked { projects, reason, until });
            self.recount_all_and_end(now, actions);
        }
    }

    /// A probe came back: an answer lifts the park, anything else but the same fault says nothing.
    pub(crate) fn note_probe(&mut self, now: Timestamp, id: JobId, outcome: &Outcome, actions: &mut Vec<Action>) {
        match outcome {
            Outcome::Postponed => {}
            Outcome::Done { .. } | Outcome::TaskFailed(TaskFault { used: Some(_), .. }) => {
                for debtor in self.parks.answered(id) {
                    let projects = self.projects_of(debtor);
                    self.look_at_projects(now, &projects);
                    self.recount_all_and_end(now, actions);
                    actions.push(Action::Unparked { projects });
                }
            }
            Outcome::KeyRejected(KeyFault { scope: Scope::Project | Scope::Account, .. }) => {}
            Outcome::KeyRejected(_)
            | Outcome::KeyLimited(_)
            | Outcome::TaskFailed(_)
            | Outcome::FailedInCompany
            | Outcome::HostRefused
            | Outcome::Transient { .. } => self.probe_lost(now, id),
        }
    }

    /// A probe will never come back.
    pub(crate) fn probe_lost(&mut self, now: Timestamp, id: JobId) {
        for debtor in self.parks.unanswered(now, id) {
            let projects = self.projects_of(debtor);
            self.look_at_projects(now, &projects);
        }
    }

    /// What parks a project.
    pub(crate) fn parked(&self, project: u32) -> Option<Blocked> {
        self.parks.blocked(self.debtors(project))
    }

    /// The park of a project.
    pub(crate) fn park_of(&self, project: u32) -> Option<&Park> {
        self.parks.of(self.debtors(project))
    }

    /// Under whose name a project may be parked.
    pub(crate) fn debtors(&self, project: u32) -> [Option<Debtor>; 2] {
        [Some(Debtor::Project(project)), self.projects[project as usize].spec.account.map(Debtor::Account)]
    }

    fn projects_of(&self, debtor: Debtor) -> Vec<u32> {
        let numbered = self.projects.iter().zip(0_u32..);
        numbered.filter(|&(_, number)| self.debtors(number).contains(&Some(debtor))).map(|(_, number)| number).collect()
    }

    fn look_at_projects(&mut self, now: Timestamp, projects: &[u32]) {
        for &project in projects {
            for bucket in self.projects[project as usize].buckets.clone() {
                self.relist(bucket, now);
            }
        }
    }

    /// Counts again who can serve which model, and ends what nobody can.
    pub(crate) fn recount_all_and_end(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        for model in 0..self.lanes.len() {
            self.recount_and_end(now, ModelId(u32::try_from(model).unwrap_or(u32::MAX)), actions);
        }
    }
}
