//! Counts everything by key, project and model: an observer beside the engine, with memory that does not grow with the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_gemini::prices::{Date, Prices, Usd};
use tidegate_gemini::response::Usage;
use tidegate_scheduler::Timestamp;

use super::{Histogram, QuotaStatus, Status};
use crate::event::{Attempt, AttemptFault, Blame, Event, EventKind, Observer};

/// Kinds of faults told apart, and codes of them in each row; what comes later is counted as `other`.
const KINDS: usize = 64;
/// Attempt numbers told apart; later ones count as this one.
const NUMBERS: u32 = 10;

/// Watches an engine and keeps [`Figures`]. Give it to [`Builder::observer`](crate::Builder::observer), and show it a
/// [`Status`] every now and then, for what events do not tell: waiting and use of quotas.
#[derive(Debug, Default)]
pub struct Census {
    prices: Prices,
    figures: Mutex<Figures>,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Everything together.
    pub total: Row,
    /// By project and display name of the key.
    pub keys: BTreeMap<(Arc<str>, Arc<str>), Row>,
    /// By project.
    pub projects: BTreeMap<Arc<str>, Row>,
    /// By model.
    pub models: BTreeMap<Arc<str>, Row>,
    /// Use of quotas by project and model family, as sampled.
    pub quotas: BTreeMap<(Arc<str>, Arc<str>), QuotaUse>,
    /// Why calls failed, by kind.
    pub faults: Vec<FaultKind>,
    /// Successes by the number of the attempt that brought them; 10 stands for all later ones, too.
    pub succeeded_at: BTreeMap<u32, u64>,
    /// How long the next prompt was held back, by reason ([`Waiting::reason`](crate::Waiting::reason)), as sampled.
    pub waiting: BTreeMap<&'static str, Duration>,
    /// Models whose tokens cost something nobody knows.
    pub unpriced: BTreeMap<Arc<str>, u64>,
    last_sample: Option<(Timestamp, Option<&'static str>)>,
}

/// Counts of one key, project or model, or of all.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Calls that have ended.
    pub requests: u64,
    /// Of those, calls with a successful answer.
    pub successes: u64,
    /// The others, by the word of their fault.
    pub errors: BTreeMap<String, u64>,
    /// Tokens of all calls.
    pub usage: Usage,
    /// What they cost, as far as prices are known.
    pub cost: Usd,
    /// How long successful calls took.
    pub latency: Histogram,
}

/// One kind of fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultKind {
    /// Whose it is.
    pub blame: Blame,
    /// `None` when no HTTP answer came.
    pub http_status: Option<u16>,
    /// Its word.
    pub code: String,
    /// How often.
    pub count: u64,
    /// The latest one in words, in one line.
    pub message: String,
    /// The prompt it hit, by the caller's name.
    pub label: Option<Arc<str>>,
}

/// How much of a (project, model family)'s quota was in use.
#[derive(Debug, Clone, Default)]
pub struct QuotaUse {
    /// Requests in the running minute.
    pub rpm: Share,
    /// Input tokens in the running minute.
    pub tpm: Share,
    /// Requests of the day and their limit, at the last look.
    pub rpd: (u64, Option<u64>),
}

/// Use of one limit over time.
#[derive(Debug, Clone, Default)]
pub struct Share {
    /// The limit in force at the last look.
    pub limit: Option<u64>,
    /// The most seen in use.
    pub most: u64,
    seconds: f64,
    share_seconds: f64,
}

impl Census {
    /// Counts nothing yet; money by `prices`.
    pub fn new(prices: Prices) -> Census {
        Census { prices, figures: Mutex::default() }
    }

    /// Looks at the engine: the time since the last look goes to the reason of waiting seen then.
    pub fn sample(&self, status: &Status) {
        let mut figures = self.figures.lock();
        let reason = status.waiting.as_ref().map(|waiting| waiting.reason);
        let since = figures.last_sample.replace((status.at, reason));
        let Some((at, before)) = since else { return };
        let span = status.at.since(at);
        if let Some(reason) = before {
            *figures.waiting.entry(reason).or_default() += span;
        }
        for quota in &status.quotas {
            let key = (quota.project.clone(), quota.model.clone());
            figures.quotas.entry(key).or_default().look(quota, span);
        }
    }

    /// What was counted until now.
    pub fn figures(&self) -> Figures {
        self.figures.lock().clone()
    }
}

impl Observer for Census {
    fn observe(&self, event: &Event) {
        let EventKind::Attempted(attempt) = &event.kind else { return };
        let date = Date::of_unix_seconds(event.at.as_micros() / 1_000_000);
        let cost = self.prices.cost(&attempt.seat.model, &attempt.usage, date);
        self.figures.lock().count(attempt, cost);
    }
}

impl Figures {
    fn count(&mut self, attempt: &Attempt, cost: Option<Usd>) {
        let seat = &attempt.seat;
        if cost.is_none() && attempt.usage.total_tokens > 0 {
            *self.unpriced.entry(seat.model.clone()).or_default() += attempt.usage.total_tokens;
        }
        let cost = cost.unwrap_or_default();
        self.total.count(attempt, cost);
        self.keys.entry((seat.project.clone(), seat.key.clone())).or_default().count(attempt, cost);
        self.projects.entry(seat.project.clone()).or_default().count(attempt, cost);
        self.models.entry(seat.model.clone()).or_default().count(attempt, cost);
        match &attempt.fault {
            None => *self.succeeded_at.entry(attempt.number.min(NUMBERS)).or_default() += 1,
            Some(fault) => self.fault(attempt, fault),
        }
    }

    fn fault(&mut self, attempt: &Attempt, fault: &AttemptFault) {
        let same =
            |kind: &FaultKind| kind.blame == fault.blame && kind.http_status == fault.http_status && kind.code == fault.code;
        let known = self.faults.iter().position(same).or((self.faults.len() > KINDS).then_some(KINDS));
        let at = known.unwrap_or_else(|| {
            let full = self.faults.len() == KINDS;
            let code = if full { "other".to_string() } else { fault.code.clone() };
            let http_status = fault.http_status.filter(|_| !full);
            let (message, label) = (String::new(), None);
            self.faults.push(FaultKind { blame: fault.blame, http_status, code, count: 0, message, label });
            self.faults.len() - 1
        });
        let kind = &mut self.faults[at];
        kind.count += 1;
        kind.message.clone_from(&fault.message);
        kind.label.clone_from(&attempt.label);
    }
}

impl Row {
    fn count(&mut self, attempt: &Attempt, cost: Usd) {
        self.requests += 1;
        self.usage.add(&attempt.usage);
        self.cost += cost;
        match &attempt.fault {
            None => {
                self.successes += 1;
                self.latency.record(attempt.latency);
            }
            Some(fault) => {
                let known = self.errors.len() < KINDS || self.errors.contains_key(&fault.code);
                let code = if known { fault.code.as_str() } else { "other" };
                match self.errors.get_mut(code) {
                    Some(count) => *count += 1,
                    None => drop(self.errors.insert(code.to_string(), 1)),
                }
            }
        }
    }
}

impl QuotaUse {
    fn look(&mut self, quota: &QuotaStatus, span: Duration) {
        self.rpm.look(quota.rpm, span);
        self.tpm.look(quota.tpm, span);
        self.rpd = quota.rpd;
    }
}

impl Share {
    fn look(&mut self, (used, limit): (u64, Option<u64>), span: Duration) {
        self.limit = limit;
        self.most = self.most.max(used);
        if let Some(limit) = limit.filter(|limit| *limit > 0) {
            self.seconds += span.as_secs_f64();
            self.share_seconds += span.as_secs_f64() * used as f64 / limit as f64;
        }
    }

    /// The share in use on average, 1.0 being all of it; `None` where there was no limit.
    pub fn average(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.share_seconds / self.seconds)
    }

    /// The largest share seen in use, measured by the limit of the last look.
    pub fn largest(&self) -> Option<f64> {
        self.limit.filter(|limit| *limit > 0).map(|limit| self.most as f64 / limit as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::event::Seat;
    use crate::stats::{Stats, Waiting};
    use tidegate_scheduler::JobId;

    /// Noon of 2026-11-22.
    const NOON: Timestamp = Timestamp::from_secs(1_795_348_800);

    fn call(key: &str, model: &str, millis: u64, code: Option<&str>) -> Event {
        let seat = Seat { project: "main".into(), key: key.into(), model: model.into(), slot: 0 };
        let fault = code.map(|code| AttemptFault {
            blame: Blame::Upstream,
            http_status: Some(503),
            status: None,
            code: code.into(),
            message: format!("{code} happened"),
            quota_id: None,
            refused: None,
            retry_in: None,
            permanent: false,
        });
        let usage = Usage { input_tokens: 100, output_tokens: 10, total_tokens: 110, ..Usage::default() };
        let usage = if fault.is_some() { Usage::default() } else { usage };
        let latency = Duration::from_millis(millis);
        let attempt = Attempt { job: JobId(1), label: Some("row 7".into()), number: 2, seat, latency, usage, fault };
        Event { at: NOON, kind: EventKind::Attempted(Box::new(attempt)) }
    }

    fn status(seconds: u64, reason: Option<&'static str>, rpm: (u64, Option<u64>)) -> Status {
        let quota = QuotaStatus {
            project: "main".into(),
            model: "m".into(),
            rpm,
            tpm: (0, None),
            rpd: (7, Some(20)),
            held_until: None,
            frees_at: None,
        };
        Status {
            at: NOON + Duration::from_secs(seconds),
            queued: 1,
            paused: 0,
            active: 0,
            max_active: 1,
            stats: Stats::default(),
            keys: vec![],
            quotas: vec![quota],
            waiting: reason.map(|reason| Waiting { reason, project: None, model: None, until: None }),
        }
    }

    #[test]
    fn every_call_is_counted_once_for_its_key_its_project_its_model_and_in_all() {
        let census = Census::default();
        census.observe(&call("one", "gemini-3.8-flash", 100, None));
        census.observe(&call("two", "gemini-3.5-flash", 300, None));
        census.observe(&call("two", "gemini-3.5-flash", 5, Some("UNAVAILABLE")));
        let figures = census.figures();
        assert_eq!((figures.total.requests, figures.total.successes), (3, 2));
        assert_eq!(figures.total.usage.input_tokens, 200);
        assert_eq!(figures.projects["main"].requests, 3);
        assert_eq!(figures.models["gemini-3.5-flash"].requests, 2);
        let two = &figures.keys[&("main".into(), "two".into())];
        assert_eq!(two.errors, BTreeMap::from([("UNAVAILABLE".to_string(), 1)]));
        assert_eq!(two.latency.count(), 1, "a failure says nothing of how long an answer takes");
        assert_eq!(figures.total.cost, Usd::of_nanos(100 * 750 + 10 * 3_750 + 100 * 1_500 + 10 * 9_000));
        assert_eq!(figures.succeeded_at, BTreeMap::from([(2, 2)]));
        assert_eq!(figures.faults.len(), 1);
        assert_eq!((figures.faults[0].count, figures.faults[0].message.as_str()), (1, "UNAVAILABLE happened"));
    }

    #[test]
    fn tokens_without_a_price_are_named_and_cost_nothing() {
        let census = Census::default();
        census.observe(&call("one", "homemade", 100, None));
        let figures = census.figures();
        assert_eq!(figures.total.cost, Usd::ZERO);
        assert_eq!(figures.unpriced, BTreeMap::from([("homemade".into(), 110)]));
    }

    #[test]
    fn kinds_of_faults_are_bounded_whatever_the_api_says() {
        let census = Census::default();
        for number in 0..1_000 {
            census.observe(&call("one", "m", 1, Some(&format!("CODE_{number}"))));
        }
        let figures = census.figures();
        assert_eq!(figures.faults.len(), KINDS + 1);
        assert_eq!(figures.faults[KINDS].code, "other");
        assert_eq!(figures.faults.iter().map(|kind| kind.count).sum::<u64>(), 1_000);
        assert_eq!(figures.total.errors.values().sum::<u64>(), 1_000);
        assert!(figures.total.errors.len() <= KINDS + 1);
    }

    #[test]
    fn time_between_two_looks_goes_to_the_reason_seen_at_the_first() {
        let census = Census::default();
        for (seconds, reason) in [(0, Some("RPM")), (10, None), (15, Some("TPM")), (18, Some("RPM")), (20, None)] {
            census.sample(&status(seconds, reason, (0, None)));
        }
        let waited = census.figures().waiting;
        assert_eq!(waited, BTreeMap::from([("RPM", Duration::from_secs(12)), ("TPM", Duration::from_secs(3))]));
    }

    #[test]
    fn use_of_a_quota_is_an_average_over_time_and_a_peak() {
        let census = Census::default();
        for (seconds, used) in [(0, 0), (10, 5), (40, 10)] {
            census.sample(&status(seconds, None, (used, Some(10))));
        }
        let figures = census.figures();
        let quota = &figures.quotas[&("main".into(), "m".into())];
        assert_eq!(quota.rpm.average(), Some((10.0 * 0.5 + 30.0 * 1.0) / 40.0));
        assert_eq!(quota.rpm.largest(), Some(1.0));
        assert_eq!(quota.tpm.average(), None);
        assert_eq!(quota.rpd, (7, Some(20)));
    }
}
