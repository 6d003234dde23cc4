//! Watches a run for reasons to stop it: an API that cannot be reached at all, a day's quota that is used up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_batch::{Control, StopReason};
use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::{AttemptFault, Engine, ErrorClass, Event, EventKind, Observer, Status};

/// How long nothing may have been reached before the run gives up: a network that comes back within it does no harm.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the watch looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Sees the events of a run and knows whether anything was ever reached.
pub struct Watch {
    control: Control,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    reached: bool,
    first_fault: Option<Timestamp>,
    last_fault: Option<String>,
    exhausted_for: Option<Duration>,
    without_quota: BTreeSet<(String, String)>,
    parked: BTreeMap<String, String>,
}

impl Watch {
    /// A watch that stops the run by `control`.
    pub fn new(control: Control) -> Watch {
        Watch { control, seen: Mutex::new(Seen::default()) }
    }

    /// Why nothing could be reached, when that is what stopped the run.
    pub fn unreachable(&self) -> Option<String> {
        let seen = self.seen();
        seen.last_fault.clone().filter(|_| !seen.reached)
    }

    /// Projects that turned out to have no quota at all for a model, each with the model.
    pub fn without_quota(&self) -> BTreeSet<(String, String)> {
        self.seen().without_quota.clone()
    }

    /// Projects that the API has put on hold as a whole, each with the reason.
    pub fn parked(&self) -> BTreeMap<String, String> {
        self.seen().parked.clone()
    }

    /// How long the day's quota stays used up, counted from when the run stopped for it.
    pub fn exhausted_for(&self) -> Option<Duration> {
        self.seen().exhausted_for
    }

    /// Looks at the engine until the run has ended; `stop_when_exhausted`: a used up day ends it.
    pub async fn keep(self: Arc<Self>, engine: Engine, stop_when_exhausted: bool) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            if self.out_of_patience(engine.now()) {
                self.control.cancel(StopReason::Unreachable);
            }
            if stop_when_exhausted && let Some(wait) = exhausted(&engine.status()) {
                self.seen().exhausted_for.get_or_insert(wait);
                self.control.stop(StopReason::Exhausted, Duration::ZERO);
            }
        }
    }

    fn out_of_patience(&self, now: Timestamp) -> bool {
        let seen = self.seen();
        !seen.reached && seen.first_fault.is_some_and(|first| now.since(first) >= PATIENCE)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn observe(&self, event: &Event) {
        let mut seen = self.seen();
        match &event.kind {
            EventKind::Attempted(attempt) => match attempt.fault.as_ref() {
                Some(fault) if never_arrived(fault) => {
                    seen.first_fault.get_or_insert(event.at);
                    seen.last_fault = Some(fault.message.clone());
                }
                Some(fault) if fault.code == "cancelled" => {}
                Some(_) | None => seen.reached = true,
            },
            EventKind::Completed { failed: Some(ErrorClass::Upstream), .. } if !seen.reached && seen.first_fault.is_some() => {
                drop(seen);
                self.control.cancel(StopReason::Unreachable);
            }
            EventKind::Held { project, model, until, .. } if until.is_never() => {
                seen.without_quota.insert((project.to_string(), model.to_string()));
            }
            EventKind::Parked { projects, reason, .. } => {
                seen.parked.extend(projects.iter().map(|project| (project.to_string(), reason.to_string())));
            }
            EventKind::Unparked { projects } => {
                seen.parked.retain(|parked, _| !projects.iter().any(|project| **project == **parked))
            }
            EventKind::Submitted { .. }
            | EventKind::Started { .. }
            | EventKind::Completed { .. }
            | EventKind::Held { .. }
            | EventKind::KeyDead { .. }
            | EventKind::Upload(_)
            | EventKind::Reconfigured => {}
        }
    }
}

/// The call did not get as far as the API.
fn never_arrived(fault: &AttemptFault) -> bool {
    fault.http_status.is_none() && matches!(fault.code.as_str(), "dns" | "connect" | "tls")
}

/// How long nothing can be sent because the day's quota is used up; `None` while something is under way or will be soon.
fn exhausted(status: &Status) -> Option<Duration> {
    let waiting = status.waiting.as_ref().filter(|_| status.active == 0)?;
    let day_is_over = matches!(waiting.reason, "RPD" | "TPD")
        || waiting.reason == "hold" && status.keys.iter().all(|key| key.state == "FULLY_EXHAUSTED" || key.state == "FAILED_INIT");
    day_is_over.then(|| waiting.until.map_or(Duration::ZERO, |until| until.since(status.at)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_engine::scheduler::JobId;
    use tidegate_engine::{Attempt, Blame, Seat, Stats, Waiting};

    fn attempted(code: Option<(&str, Option<u16>)>) -> Event {
        let fault = code.map(|(code, http_status)| AttemptFault {
            blame: Blame::Upstream,
            http_status,
            status: None,
            code: code.into(),
            message: format!("{code} failed"),
            quota_id: None,
            refused: None,
            retry_in: None,
            permanent: false,
        });
        let seat = Seat { project: "p".into(), key: "k".into(), model: "m".into(), slot: 0 };
        let usage = Default::default();
        let attempt = Attempt { job: JobId(1), label: None, number: 1, seat, latency: Duration::ZERO, usage, fault };
        Event { at: Timestamp::ZERO, kind: EventKind::Attempted(Box::new(attempt)) }
    }

    fn given_up() -> Event {
        let kind =
            EventKind::Completed { job: JobId(1), label: None, failed: Some(ErrorClass::Upstream), usage: Default::default() };
        Event { at: Timestamp::ZERO, kind }
    }

    #[test]
    fn a_prompt_given_up_before_anything_was_reached_ends_the_run() {
        let control = Control::new();
        let watch = Watch::new(control.clone());
        for code in ["dns", "connect", "tls"] {
            watch.observe(&attempted(Some((code, None))));
        }
        assert_eq!(control.reason(), None);
        watch.observe(&given_up());
        assert_eq!(control.reason(), Some(StopReason::Unreachable));
        watch.observe(&attempted(Some(("cancelled", None))));
        assert_eq!(watch.unreachable().as_deref(), Some("tls failed"));
    }

    #[test]
    fn an_api_that_answered_once_counts_as_reached() {
        for reached in [None, Some(("INTERNAL", Some(500))), Some(("timeout", None))] {
            let control = Control::new();
            let watch = Watch::new(control.clone());
            watch.observe(&attempted(reached));
            watch.observe(&attempted(Some(("connect", None))));
            watch.observe(&given_up());
            assert_eq!(control.reason(), None, "{reached:?}");
            assert_eq!(watch.unreachable(), None);
        }
    }

    #[test]
    fn patience_lasts_ten_seconds_from_the_first_fault() {
        let watch = Watch::new(Control::new());
        watch.observe(&attempted(Some(("connect", None))));
        assert!(!watch.out_of_patience(Timestamp::ZERO + Duration::from_millis(9_999)));
        assert!(watch.out_of_patience(Timestamp::ZERO + PATIENCE));
    }

    #[test]
    fn only_a_used_up_day_with_nothing_under_way_counts_as_exhausted() {
        let status = |reason, active| Status {
            at: Timestamp::ZERO,
            queued: 1,
            paused: 0,
            active,
            max_active: 1,
            stats: Stats::default(),
            keys: vec![],
            quotas: vec![],
            waiting: Some(Waiting {
                reason,
                project: None,
                model: None,
                until: Some(Timestamp::ZERO + Duration::from_secs(3600)),
            }),
        };
        assert_eq!(exhausted(&status("RPD", 0)), Some(Duration::from_secs(3600)));
        assert_eq!(exhausted(&status("RPD", 1)), None);
        assert_eq!(exhausted(&status("RPM", 0)), None);
    }
}
