//! What followed from one answer, for the memory and for those who watch.

use tidegate_gemini::response::Usage;
use tidegate_gemini::tokens::{self, Calibration, Estimate};
use tidegate_scheduler::{Action, Dimension, JobId, KeyId, Limits, Outcome, Timestamp};

use crate::classify::FaultWords;
use crate::event::{AttemptFault, Refused};

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
            Action::Start { .. }
            | Action::Complete { .. }
            | Action::Retry { .. }
            | Action::Learned { .. }
            | Action::Forgotten { .. }
            | Action::Reserve { .. }
            | Action::Settle { .. }
            | Action::Release { .. } => {}
        }
    }
    all
}

/// A fault in words, with what the scheduler made of it.
pub(crate) fn told(
    words: FaultWords,
    now: Timestamp,
    job: JobId,
    dead: bool,
    refused: Option<Refused>,
    actions: &[Action],
) -> AttemptFault {
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
    AttemptFault { blame, http_status, status, code, message, quota_id, refused, retry_in, permanent }
}

/// The limit that an attempt ran into, `known` being those in force before.
pub(crate) fn refused(outcome: &Outcome, known: Limits) -> Option<Refused> {
    let Outcome::KeyLimited(denied) = outcome else { return None };
    let dimension = denied.dimension?;
    let before = match dimension {
        Dimension::Rpm => known.rpm,
        Dimension::Tpm => known.tpm,
        Dimension::Rpd => known.rpd,
        Dimension::Tpd => None,
    };
    Some(Refused { dimension, limit: denied.limit.or(before), pause: denied.retry_after })
}

/// What an answer taught about its model's tokens.
pub(crate) fn learn(calibration: &mut Calibration, family: &str, estimate: Estimate, usage: &Usage, body: Option<&[u8]>) {
    if usage.input_tokens == 0 {
        return;
    }
    // Of a text alone the sum says everything.
    let by_kind = body.filter(|_| estimate.text < estimate.total()).and_then(tokens::input_by_kind);
    match by_kind.filter(|counted| counted.total() == usage.input_tokens) {
        Some(counted) => calibration.observe_parts(family, estimate, &counted),
        None => calibration.observe(family, estimate, usage.input_tokens),
    }
    calibration.observe_output(family, usage.total_tokens.saturating_sub(usage.input_tokens));
}
