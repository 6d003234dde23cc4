//! One look at a run: every number a display may want, taken at one instant.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tidegate_batch::Counts;
use tidegate_engine::scheduler::{Day, Timestamp};
use tidegate_engine::{QuotaStatus, Status};

use super::eta::Outlook;
use super::rate::{Bounds, Rate};

/// What a run looks like now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Since the run began.
    pub elapsed: Duration,
    /// Calls under way, and the most there may be.
    pub active: (u64, u64),
    /// Rows that wait for their turn.
    pub queued: u64,
    /// Rows with a successful answer, those of earlier runs included.
    pub done: u64,
    /// Rows that ended without one.
    pub failed: u64,
    /// Rows that wait out a pause after a fault.
    pub paused: u64,
    /// Rows this run is about, those kept from earlier included; `None` while a stream has not ended.
    pub total: Option<u64>,
    /// Calls a minute now.
    pub rpm: f64,
    /// Calls a minute that the known quotas permit; `None` when one has no limit.
    pub permitted_rpm: Option<f64>,
    /// Tokens used so far.
    pub tokens: u64,
    /// Calls made so far, where rows share them.
    pub packed_calls: Option<u64>,
    /// Calls refused for a quota.
    pub refused: u64,
    /// Files being uploaded: how many, bytes that have arrived, bytes in all.
    pub uploads: (u64, u64, u64),
    /// Keys by state.
    pub keys: BTreeMap<&'static str, u64>,
    /// Why the next prompt is not sent now.
    pub waiting: Option<Wait>,
    /// Time to the end.
    pub eta: Option<Duration>,
}

/// What the engine does not know of its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Length of the server's minute.
    pub minute: Duration,
    /// How long after a minute a permit is there again.
    pub guard: Duration,
    /// When a quota day ends.
    pub day: Day,
    /// Slots of all keys together, where slots are bounded.
    pub seats: Option<u64>,
    /// The most rows this run asks.
    pub limit: Option<u64>,
    /// The most rows that share a call; 1 where each has its own.
    pub pack: u64,
}

/// The limiting factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// `RPM`, `TPM`, `RPD`, `backoff`, ...
    pub reason: &'static str,
    /// Whose.
    pub project: Option<String>,
    /// Until the next permit, where time alone decides.
    pub next: Option<Duration>,
}

impl Snapshot {
    /// Looks at engine and run.
    pub fn take(status: &Status, counts: &Counts, began: Timestamp, scale: Scale, rate: &mut Rate) -> Snapshot {
        let elapsed = status.at.since(began);
        let quotas = serving(status);
        let permitted_rpm = permitted(quotas.iter().copied(), scale.minute);
        let bounds = bounds(status, permitted_rpm, scale);
        let pack = scale.pack.max(1);
        // Quotas and speeds are of calls.
        rate.note(elapsed, status.stats.attempts, counts.ended() / pack, &bounds);
        let left = left(counts, scale.limit);
        let outlook = Outlook { status, quotas: &quotas, elapsed, left: left.div_ceil(pack), bounds, day: scale.day };
        Snapshot {
            elapsed,
            active: (status.active, scale.seats.map_or(status.max_active, |seats| seats.min(status.max_active))),
            queued: match counts.total {
                Some(_) => left.saturating_sub((status.active + status.paused) * pack),
                None => status.queued,
            },
            done: counts.ok + counts.kept.saturating_sub(counts.kept_failed),
            failed: counts.unsuccessful() + counts.kept_failed,
            paused: status.paused,
            total: counts.total.map(|total| total.min(counts.kept + counts.ended() + left)),
            rpm: rate.sent_a_minute(&bounds).min(most_shown(status, permitted_rpm)),
            permitted_rpm,
            tokens: status.stats.usage.total_tokens,
            packed_calls: (pack > 1).then_some(status.stats.attempts),
            refused: status.stats.refused,
            uploads: status.stats.uploads.under_way(),
            keys: keys(status),
            waiting: status.waiting.as_ref().map(|waiting| Wait {
                reason: waiting.reason,
                project: waiting.project.as_ref().map(ToString::to_string),
                next: waiting.until.map(|until| until.since(status.at)),
            }),
            eta: counts.total.and_then(|_| outlook.eta(rate)),
        }
    }

    /// The same at the end of a run: nothing is to come, nothing is waited for.
    pub fn at_the_end(self) -> Snapshot {
        Snapshot { waiting: None, eta: None, uploads: (0, 0, 0), ..self }
    }
}

/// Calls a (real) minute that all quotas together permit.
pub fn permitted<'a>(quotas: impl IntoIterator<Item = &'a QuotaStatus>, minute: Duration) -> Option<f64> {
    let limits: Option<Vec<u64>> = quotas.into_iter().map(|quota| quota.rpm.1).collect();
    let limits = limits.filter(|limits| !limits.is_empty())?;
    Some(limits.iter().sum::<u64>() as f64 * 60.0 / minute.as_secs_f64())
}

/// Quotas of projects that still have a key.
fn serving(status: &Status) -> Vec<&QuotaStatus> {
    let (dead, alive): (Vec<_>, Vec<_>) = status.keys.iter().partition(|key| key.state == "FAILED_INIT");
    let alive: HashSet<&str> = alive.into_iter().map(|key| &*key.project).collect();
    let gone: HashSet<&str> = dead.into_iter().map(|key| &*key.project).filter(|project| !alive.contains(project)).collect();
    status.quotas.iter().filter(|quota| !gone.contains(&*quota.project)).collect()
}

fn bounds(status: &Status, permitted: Option<f64>, scale: Scale) -> Bounds {
    let in_bursts = status.waiting.as_ref().is_some_and(|waiting| waiting.reason == "TPM");
    if permitted.is_none() && !in_bursts {
        return Bounds::none();
    }
    Bounds { window: scale.minute, period: scale.minute + scale.guard, permitted, in_bursts }
}

/// Where no quota was refused, calls beyond the quotas are those of keys that have died: they used up nothing that counts.
fn most_shown(status: &Status, permitted: Option<f64>) -> f64 {
    permitted.filter(|_| status.stats.refused == 0).unwrap_or(f64::INFINITY)
}

/// Rows this run has still to bring to an end.
fn left(counts: &Counts, limit: Option<u64>) -> u64 {
    let of_limit = limit.map_or(u64::MAX, |limit| limit.saturating_sub(counts.ended()));
    counts.outstanding().min(of_limit)
}

fn keys(status: &Status) -> BTreeMap<&'static str, u64> {
    let mut by_state = BTreeMap::new();
    for key in &status.keys {
        *by_state.entry(key.state).or_default() += 1;
    }
    by_state
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_engine::{KeyStatus, Stats};

    fn status() -> Status {
        let stats = Stats { attempts: 30, ..Stats::default() };
        Status {
            at: Timestamp::ZERO,
            queued: 10,
            paused: 1,
            active: 8,
            max_active: 4096,
            stats,
            keys: vec![],
            quotas: vec![],
            waiting: None,
        }
    }

    fn look(status: &Status, counts: &Counts, seats: Option<u64>) -> Snapshot {
        look_under(status, counts, Scale { seats, ..scale() })
    }

    fn scale() -> Scale {
        Scale {
            minute: Duration::from_secs(60),
            guard: Duration::from_secs(1),
            day: Day::Pacific,
            seats: None,
            limit: None,
            pack: 1,
        }
    }

    fn look_under(status: &Status, counts: &Counts, scale: Scale) -> Snapshot {
        Snapshot::take(status, counts, Timestamp::ZERO, scale, &mut Rate::default())
    }

    #[test]
    fn queued_rows_are_those_of_the_whole_input_and_everything_adds_up() {
        let counts = Counts { total: Some(500), kept: 300, kept_failed: 1, ok: 20, failed: 2, seen: 500, ..Counts::default() };
        let seen = look(&status(), &counts, None);
        assert_eq!((seen.queued, seen.done, seen.failed), (169, 319, 3));
        assert_eq!(seen.active.0 + seen.queued + seen.done + seen.failed + seen.paused, 500);
    }

    #[test]
    fn rows_are_counted_as_rows_and_speed_as_calls_where_they_share_them() {
        let counts = Counts { total: Some(500), ok: 100, seen: 500, ..Counts::default() };
        let packed = look_under(&status(), &counts, Scale { pack: 10, ..scale() });
        assert_eq!((packed.packed_calls, packed.queued, packed.done), (Some(30), 400 - 9 * 10, 100));
        let alone = look(&status(), &counts, None);
        assert_eq!(alone.packed_calls, None);
        assert_eq!(packed.eta, look(&status(), &Counts { total: Some(50), ok: 10, seen: 50, ..Counts::default() }, None).eta);
    }

    #[test]
    fn a_limit_bounds_queue_total_and_time_left() {
        let counts = Counts { total: Some(500), kept: 100, ok: 10, seen: 500, ..Counts::default() };
        let seen = look_under(&status(), &counts, Scale { limit: Some(30), ..scale() });
        assert_eq!((seen.queued, seen.done, seen.total), (11, 110, Some(130)));
        assert_eq!(seen.active.0 + seen.queued + seen.done + seen.failed + seen.paused, 130);
        assert_eq!(look_under(&status(), &counts, Scale { limit: Some(10), ..scale() }).eta, None);
    }

    #[test]
    fn the_speed_shown_is_above_the_quota_only_when_quotas_were_refused() {
        let quota = |rpm| QuotaStatus {
            project: "p".into(),
            model: "m".into(),
            rpm: (0, Some(rpm)),
            tpm: (0, None),
            rpd: (0, None),
            held_until: None,
            frees_at: None,
        };
        let shown = |refused| {
            let stats = Stats { attempts: 30, refused, ..Stats::default() };
            look(&Status { stats, quotas: vec![quota(20)], ..status() }, &Counts::default(), None).rpm
        };
        assert_eq!(shown(0), 20.0);
        assert_eq!(shown(3), 30.0);
    }

    #[test]
    fn at_the_end_nothing_is_waited_for() {
        let counts = Counts { total: Some(500), ok: 10, seen: 500, ..Counts::default() };
        let seen = look(&status(), &counts, None);
        assert!(seen.eta.is_some());
        let last = seen.at_the_end();
        assert_eq!((last.eta, last.waiting), (None, None));
    }

    #[test]
    fn the_queue_of_a_stream_is_the_engines() {
        assert_eq!(look(&status(), &Counts { seen: 19, ..Counts::default() }, None).queued, 10);
    }

    #[test]
    fn slots_bound_the_number_of_seats() {
        assert_eq!(look(&status(), &Counts::default(), Some(48)).active, (8, 48));
    }

    #[test]
    fn quotas_add_up_to_a_real_minute_and_one_without_limit_lifts_the_bound() {
        let quota = |rpm| QuotaStatus {
            project: "p".into(),
            model: "m".into(),
            rpm: (0, rpm),
            tpm: (0, None),
            rpd: (0, None),
            held_until: None,
            frees_at: None,
        };
        let scaled = Duration::from_secs(6);
        let key = |state, project: &str| KeyStatus {
            project: project.into(),
            name: "k".into(),
            state,
            until: None,
            reason: None,
            active: 0,
            exhausted: 0,
        };
        let of = |project: &str| QuotaStatus { project: project.into(), ..quota(Some(5)) };
        let keys = vec![key("FAILED_INIT", "p"), key("FAILED_INIT", "q"), key("COOLDOWN", "q")];
        let status = Status { keys, quotas: vec![of("p"), of("q")], ..status() };
        assert_eq!(permitted(serving(&status), scaled), Some(50.0), "a project without a living key serves nothing");
        assert_eq!(permitted(&[quota(Some(10)), quota(Some(20))], scaled), Some(300.0));
        assert_eq!(permitted(&[quota(Some(10)), quota(None)], scaled), None);
        assert_eq!(permitted(&[], scaled), None);
    }
}
