//! Parked projects: an unpaid bill or a reached spending cap is asked about by one slow probe at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::job::JobId;
use crate::outcome::{Blocked, Reason};
use crate::time::Timestamp;

/// Minutes before the first probe and the most between two: ten doubling to sixty.
const FIRST_PAUSE: u32 = 10;
const LONGEST_PAUSE: u32 = 60;

/// Who is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Debtor {
    Project(u32),
    Account(u32),
}

#[derive(Debug)]
pub(crate) struct Park {
    pub reason: Arc<str>,
    /// The next probe.
    pub until: Timestamp,
    pause: Duration,
    probe: Option<JobId>,
}

/// All that is parked.
#[derive(Debug, Default)]
pub(crate) struct Parks {
    parks: BTreeMap<Debtor, Park>,
}

impl Parks {
    /// A request of `debtor` was turned away. Returns the next probe; `None` when that is known already.
    pub(crate) fn refused(
        &mut self,
        now: Timestamp,
        debtor: Debtor,
        job: JobId,
        reason: &Arc<str>,
        minute: Duration,
    ) -> Option<Timestamp> {
        let pause = match self.parks.get(&debtor) {
            None => minute * FIRST_PAUSE,
            Some(park) if park.probe == Some(job) => (park.pause * 2).min(minute * LONGEST_PAUSE),
            Some(_) => return None,
        };
        let park = Park { reason: reason.clone(), until: now + pause, pause, probe: None };
        self.parks.insert(debtor, park);
        Some(now + pause)
    }

    /// What keeps the projects of these debtors from serving; never-ending while a probe is under way.
    pub(crate) fn blocked(&self, debtors: [Option<Debtor>; 2]) -> Option<Blocked> {
        let parks = debtors.into_iter().flatten().filter_map(|debtor| self.parks.get(&debtor));
        let until = parks.map(|park| if park.probe.is_some() { Timestamp::NEVER } else { park.until }).max()?;
        Some(Blocked { reason: Reason::Parked, until })
    }

    /// The park with the latest probe among these debtors.
    pub(crate) fn of(&self, debtors: [Option<Debtor>; 2]) -> Option<&Park> {
        debtors.into_iter().flatten().filter_map(|debtor| self.parks.get(&debtor)).max_by_key(|park| park.until)
    }

    /// A request of these debtors goes out; where they are parked, it is the probe.
    pub(crate) fn started(&mut self, debtors: [Option<Debtor>; 2], job: JobId) {
        for debtor in debtors.into_iter().flatten() {
            if let Some(park) = self.parks.get_mut(&debtor) {
                park.probe = Some(job);
            }
        }
    }

    /// A probe was answered: its debtors have paid. Returns them.
    pub(crate) fn answered(&mut self, job: JobId) -> Vec<Debtor> {
        let paid: Vec<_> = self.probed_by(job).collect();
        self.parks.retain(|_, park| park.probe != Some(job));
        paid
    }

    /// A probe came to an end that says nothing: another is sent after the same pause. Returns its debtors.
    pub(crate) fn unanswered(&mut self, now: Timestamp, job: JobId) -> Vec<Debtor> {
        let debtors: Vec<_> = self.probed_by(job).collect();
        for debtor in &debtors {
            if let Some(park) = self.parks.get_mut(debtor) {
                (park.probe, park.until) = (None, now + park.pause);
            }
        }
        debtors
    }

    fn probed_by(&self, job: JobId) -> impl Iterator<Item = Debtor> {
        self.parks.iter().filter(move |(_, park)| park.probe == Some(job)).map(|(&debtor, _)| debtor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const DEBTOR: Debtor = Debtor::Account(7);
    const BOTH: [Option<Debtor>; 2] = [Some(Debtor::Project(0)), Some(DEBTOR)];

    #[test]
    fn probes_come_after_ten_minutes_doubling_to_an_hour() {
        let mut parks = Parks::default();
        let reason: Arc<str> = "CREDIT_DEPLETED".into();
        let (mut now, mut pauses) = (NOW, Vec::new());
        for _ in 0..5 {
            let until = parks.refused(now, DEBTOR, JobId(1), &reason, MINUTE).unwrap_or(now);
            pauses.push((until - now).as_secs() / 60);
            now = until;
            parks.started(BOTH, JobId(1));
        }
        assert_eq!(pauses, [10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_request_that_was_under_way_changes_nothing() {
        let mut parks = Parks::default();
        let reason: Arc<str> = "CREDIT_DEPLETED".into();
        parks.refused(NOW, DEBTOR, JobId(1), &reason, MINUTE);
        assert_eq!(parks.refused(NOW, DEBTOR, JobId(2), &reason, MINUTE), None);
        assert_eq!(parks.blocked(BOTH).map(|blocked| blocked.until), Some(NOW + MINUTE * 10));
    }

    #[test]
    fn only_an_answer_lifts_a_park() {
        let mut parks = Parks::default();
        parks.refused(NOW, DEBTOR, JobId(1), &"CREDIT_DEPLETED".into(), MINUTE);
        parks.started(BOTH, JobId(2));
        assert_eq!(parks.blocked(BOTH).map(|blocked| blocked.until), Some(Timestamp::NEVER));
        assert_eq!(parks.unanswered(NOW, JobId(2)), [DEBTOR]);
        assert!(parks.answered(JobId(2)).is_empty());
        parks.started(BOTH, JobId(3));
        assert_eq!(parks.answered(JobId(3)), [DEBTOR]);
        assert_eq!(parks.blocked(BOTH), None);
    }
}
