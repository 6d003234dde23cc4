//! What followed from one answer, for the memory and for those who watch.

use tidegate_scheduler::{Action, JobId, KeyId, Timestamp};

use crate::classify::FaultWords;
use crate::event::AttemptFault;

/// What followed from an answer: a pause and whether it is a long one, dead keys, projects parked until or let go again.
#[derive(Default)]
pub(crate) struct Consequences {
    pub held: Option<(Timestamp, bool)>,
    pub dead: Vec<KeyId>,
    pub parked: Vec<(u32, Option<Timestamp>)>,
}

/// Reads them from what the scheduler wants done.
pub(crate) fn consequences(actions: &[Action]) -> Consequences {
    let mut all = Consequences::default();
    for action in actions {
        match action {
            Action::Held { until, fully, .. } => all.held = all.held.or(Some((*until, *fully))),
            Action::KeyDead { key, .. } => all.dead.push(*key),
            Action::Parked { projects, until, .. } => all.parked.extend(projects.iter().map(|&project| (project, Some(*until)))),
            Action::Unparked { projects } => all.parked.extend(projects.iter().map(|&project| (project, None))),
            Action::Start { .. } | Action::Complete { .. } | Action::Retry { .. } | Action::Learned { .. } => {}
        }
    }
    all
}

/// A fault in words, with what the scheduler made of it.
pub(crate) fn told(words: FaultWords, now: Timestamp, job: JobId, dead: bool, actions: &[Action]) -> AttemptFault {
    let mut retry_in = None;
    let mut permanent = dead;
    for action in actions {
        match action {
            Action::Retry { job: paused, until } if *paused == job => retry_in = Some(*until - now),
            Action::Held { until, .. } if until.is_never() => permanent = true,
            Action::Held { until, .. } | Action::Parked { until, .. } => retry_in = Some(*until - now),
            Action::Complete { job: ended, .. } if *ended == job => permanent = true,
            _ => {}
        }
    }
    let FaultWords { blame, http_status, status, code, message, quota_id } = words;
    AttemptFault { blame, http_status, status, code, message, quota_id, retry_in, permanent }
}
