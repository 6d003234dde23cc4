//! What the server saw: the witness's figures, ready to be read by people and by tests.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::account::{Account, EmbeddingReport, UploadReport};
use crate::model::{Dimension, Limits, Quotas, Witness};
use crate::record::{RecordedRequest, Recorder};

/// The whole account of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// From the first request to the moment of the report.
    pub seconds: f64,
    /// All requests that arrived, of every kind.
    pub requests: u64,
    /// Generate requests answered well: HTTP 200, text, a proper end.
    pub answered: u64,
    /// Different prompts among them.
    pub prompts: u64,
    /// Good answers to prompts that had one already: work paid for twice.
    pub answered_again: u64,
    /// Generate requests refused for their quota.
    pub refused: u64,
    /// Requests being answered now.
    pub in_flight: usize,
    /// The most that were answered at the same time.
    pub max_in_flight: usize,
    /// Answers other than good ones by kind, over all projects.
    pub errors: BTreeMap<String, u64>,
    /// Each project and model that was asked for.
    pub quotas: Vec<QuotaReport>,
    /// Files sent to the server.
    pub uploads: UploadReport,
    /// Texts made into vectors.
    pub embeddings: EmbeddingReport,
    /// Parts of the prompts that were answered, by sort: `text`, `inline_image`, `file_video`, `url`, ...
    pub parts: BTreeMap<&'static str, u64>,
    /// Answers in JSON that were spoilt, by kind; those that can be repaired count as answered.
    pub json_damage: BTreeMap<&'static str, u64>,
    /// The latest requests, the oldest first, when the scenario records them.
    pub recorded: Vec<RecordedRequest>,
}

/// One project and model. Fractions are of the limit, 1.0 the whole; absent without a limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuotaReport {
    /// The project's name.
    pub project: String,
    /// The model family.
    pub model: String,
    /// The true limits.
    pub limits: Limits,
    /// Requests that asked for quota.
    pub requests: u64,
    /// Requests that got it.
    pub admitted: u64,
    /// Input tokens of the admitted ones.
    pub tokens: u64,
    /// Refused for their quota.
    pub refused: u64,
    /// The refusals by broken limit; one refusal may break several.
    pub refused_by: BTreeMap<&'static str, u64>,
    /// The most requests that arrived in any minute, refused ones too.
    pub peak_requests: Option<f64>,
    /// The most tokens that arrived in any minute, of refused requests too.
    pub peak_tokens: Option<f64>,
    /// Admitted requests of what the minutes from the first to the last arrival gave.
    pub use_requests: Option<f64>,
    /// The same for tokens.
    pub use_tokens: Option<f64>,
    /// The busiest day's admitted requests.
    pub use_day: Option<f64>,
    /// Good answers.
    pub answered: u64,
    /// Other answers by kind.
    pub errors: BTreeMap<String, u64>,
}

/// The counters a running server keeps beside the quotas' witnesses.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) account: Account,
    pub(crate) recorder: Recorder,
    answered_prompts: HashSet<u128>,
    answered_again: u64,
    by_project: HashMap<Option<usize>, Vec<(String, Counts)>>,
    in_flight: BinaryHeap<Reverse<u64>>,
    max_in_flight: usize,
}

#[derive(Debug, Default)]
struct Counts {
    answered: u64,
    errors: HashMap<&'static str, u64>,
}

impl Tally {
    /// Nothing seen yet; so many of the latest requests are to be kept.
    pub(crate) fn new(record_requests: usize) -> Self {
        Self { recorder: Recorder::new(record_requests), ..Self::default() }
    }

    /// Notes a good answer to the prompt of this identity.
    pub(crate) fn answered(&mut self, project: usize, family: &str, identity: u128) {
        self.answered_again += u64::from(!self.answered_prompts.insert(identity));
        self.counts(Some(project), family).answered += 1;
    }

    /// Notes an answer of another kind; `project` is `None` for a caller nobody knows.
    pub(crate) fn failed(&mut self, project: Option<usize>, family: &str, kind: &'static str) {
        *self.counts(project, family).errors.entry(kind).or_default() += 1;
    }

    /// Notes that a request is being answered from `now` until `end`.
    pub(crate) fn occupied(&mut self, now: u64, end: u64) {
        while self.in_flight.peek().is_some_and(|Reverse(end)| *end <= now) {
            self.in_flight.pop();
        }
        self.in_flight.push(Reverse(end));
        self.max_in_flight = self.max_in_flight.max(self.in_flight.len());
    }

    fn counts(&mut self, project: Option<usize>, family: &str) -> &mut Counts {
        let models = self.by_project.entry(project).or_default();
        let known = models.iter().position(|(known, _)| known == family);
        let index = known.unwrap_or_else(|| {
            models.push((family.to_owned(), Counts::default()));
            models.len() - 1
        });
        &mut models[index].1
    }

    fn errors<'a>(counts: impl Iterator<Item = &'a Counts>) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for (kind, count) in counts.flat_map(|counts| &counts.errors) {
            *sum.entry((*kind).to_owned()).or_default() += count;
        }
        sum
    }

    pub(crate) fn report(&self, scenario: &str, elapsed: Duration, now: u64, quotas: &Quotas) -> Report {
        let all = || self.by_project.values().flatten().map(|(_, counts)| counts);
        Report {
            scenario: scenario.to_owned(),
            seconds: elapsed.as_secs_f64(),
            requests: self.requests,
            answered: all().map(|counts| counts.answered).sum(),
            prompts: self.answered_prompts.len() as u64,
            answered_again: self.answered_again,
            refused: quotas.seen().map(|(_, _, _, seen)| seen.refused).sum(),
            in_flight: self.in_flight.iter().filter(|Reverse(end)| *end > now).count(),
            max_in_flight: self.max_in_flight,
            errors: Self::errors(all()),
            quotas: quotas.seen().map(|(p, family, l, w)| self.quota(quotas, p, family, l, w)).collect(),
            uploads: self.account.uploads.clone(),
            embeddings: self.account.embeddings,
            parts: self.account.parts.clone(),
            json_damage: self.account.json_damage.clone(),
            recorded: self.recorder.recorded(),
        }
    }

    fn quota(&self, quotas: &Quotas, project: usize, family: &str, limits: &Limits, seen: &Witness) -> QuotaReport {
        let counts = self
            .by_project
            .get(&Some(project))
            .and_then(|models| models.iter().find(|(known, _)| known == family))
            .map(|(_, counts)| counts);
        let (peak_requests, peak_tokens) = Witness::fraction(seen.peak_offered, limits);
        let (use_requests, use_tokens) = seen.minute_use(limits, quotas.rules().minute, seen.active());
        let refused = Dimension::ALL.iter().zip(seen.refused_by).filter(|(_, count)| *count > 0);
        QuotaReport {
            project: quotas.projects().get(project).map(|p| p.name.clone()).unwrap_or_default(),
            model: family.to_owned(),
            limits: *limits,
            requests: seen.offered.requests,
            admitted: seen.admitted.requests,
            tokens: seen.admitted.tokens,
            refused: seen.refused,
            refused_by: refused.map(|(dimension, count)| (dimension.short(), count)).collect(),
            peak_requests,
            peak_tokens,
            use_requests,
            use_tokens,
            use_day: limits.rpd.filter(|rpd| *rpd > 0).map(|rpd| seen.peak_day.requests as f64 / rpd as f64),
            answered: counts.map_or(0, |counts| counts.answered),
            errors: Self::errors(counts.into_iter()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenario {}: {} requests in {:.1} s", self.scenario, self.requests, self.seconds)?;
        writeln!(
            f,
            "answered {} ({} prompts, {} again) | refused {} | in flight {}, at most {} | errors: {}",
            self.answered,
            self.prompts,
            self.answered_again,
            self.refused,
            self.in_flight,
            self.max_in_flight,
            listed(&self.errors),
        )?;
        if self.uploads.started > 0 {
            let (uploads, again) = (&self.uploads, self.uploads.files.iter().filter(|file| file.times > 1).count());
            let (started, finished, bytes) = (uploads.started, uploads.finished, uploads.bytes);
            writeln!(f, "uploads {started} | finished {finished} | bytes {bytes} | sent twice to a project {again}")?;
        }
        if self.embeddings.calls > 0 {
            let EmbeddingReport { calls, texts, texts_again } = self.embeddings;
            writeln!(f, "embedded {texts} texts ({texts_again} again) in {calls} calls")?;
        }
        for quota in &self.quotas {
            write!(f, "\n{quota}")?;
        }
        Ok(())
    }
}

impl fmt::Display for QuotaReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: Vec<_> = self.refused_by.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(
            f,
            "{} / {}: {} requests, {} admitted, {} tokens, {} answered",
            self.project, self.model, self.requests, self.admitted, self.tokens, self.answered
        )?;
        writeln!(f, "  busiest minute: requests {}, tokens {}", percent(self.peak_requests), percent(self.peak_tokens))?;
        writeln!(
            f,
            "  used: requests {}, tokens {}, day {}",
            percent(self.use_requests),
            percent(self.use_tokens),
            percent(self.use_day)
        )?;
        writeln!(
            f,
            "  refused: {} ({}) | errors: {}",
            self.refused,
            if refused.is_empty() { "none".to_owned() } else { refused.join(", ") },
            listed(&self.errors)
        )
    }
}

fn percent(fraction: Option<f64>) -> String {
    fraction.map_or_else(|| "no limit".to_owned(), |fraction| format!("{:.1} %", fraction * 100.0))
}

fn listed(counts: &BTreeMap<String, u64>) -> String {
    let all: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::model::Rules;

    const SECOND: u64 = 1_000_000;

    /// Ten requests of 30 tokens, one every 6 s, then one too many tokens, and one refusal for the rate.
    fn traced() -> Report {
        let mut quotas = Quotas::new(Rules::default());
        let limits = Limits { rpm: Some(12), tpm: Some(600), rpd: Some(100), tpd: None };
        let one = quotas.add_project("one", [("*".to_owned(), limits)].into());
        let mut tally = Tally::default();
        for n in 0..11 {
            let now = 1_000 * SECOND + n * 6 * SECOND;
            quotas.admit(now, one, "m", 30).unwrap();
            tally.requests += 1;
            tally.occupied(now, now + 10 * SECOND);
            tally.answered(one, "m", u128::from(n % 10));
        }
        quotas.admit(1_060 * SECOND, one, "m", 601).unwrap_err();
        tally.failed(Some(one), "m", "overloaded");
        tally.failed(None, "", "key_invalid");
        tally.report("traced", Duration::from_secs(60), 1_061 * SECOND, &quotas)
    }

    #[test]
    fn the_figures_of_a_trace_made_by_hand_are_right() {
        let report = traced();
        assert_eq!((report.answered, report.prompts, report.answered_again), (11, 10, 1));
        assert_eq!((report.in_flight, report.max_in_flight), (2, 2));
        assert_eq!(report.errors, [("key_invalid".to_owned(), 1), ("overloaded".to_owned(), 1)].into());
        let quota = &report.quotas[0];
        assert_eq!((quota.requests, quota.admitted, quota.tokens, quota.refused), (12, 11, 330, 1));
        assert_eq!(quota.refused_by, [("tpm", 1)].into());
        assert_eq!(quota.peak_requests, Some(11.0 / 12.0), "ten admitted and one refused in one minute");
        assert_eq!(quota.peak_tokens, Some(901.0 / 600.0));
        assert_eq!(quota.use_requests, Some(11.0 / 12.0));
        assert_eq!(quota.use_tokens, Some(0.55));
        assert_eq!(quota.use_day, Some(0.11));
        assert_eq!(quota.errors, [("overloaded".to_owned(), 1)].into());
    }

    #[test]
    fn a_request_that_ends_as_another_comes_is_not_in_flight_with_it() {
        let mut tally = Tally::default();
        tally.occupied(0, 10);
        tally.occupied(10, 20);
        assert_eq!(tally.max_in_flight, 1);
        tally.occupied(19, 30);
        assert_eq!(tally.max_in_flight, 2);
    }

    #[test]
    fn the_report_reads_well_and_serialises() {
        let report = traced();
        let text = report.to_string();
        for line in ["answered 11 (10 prompts, 1 again)", "one / m: 12 requests", "used: requests 91.7 %", "refused: 1 (tpm 1)"] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert_eq!(serde_json::to_value(&report).unwrap()["quotas"][0]["refused_by"]["tpm"], 1);
    }
}
