//! The quota truth: every (project, model family) with its windows, its day and its witness; pure and O(1) a request.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::Chance;
pub use crate::day::Day;
use crate::day::{Calendar, micros};
use crate::window::MinuteWindow;
pub use crate::window::WindowKind;
pub use crate::witness::{Load, Witness};

/// The quotas of all projects of a server.
///
/// ```
/// use tidegate_simulator::model::{Dimension, Limits, Quotas, Rules};
/// let mut quotas = Quotas::new(Rules::default());
/// let limits = Limits { rpm: Some(2), ..Limits::default() };
/// let main = quotas.add_project("main", [("*".to_owned(), limits)].into());
/// assert!(quotas.admit(0, main, "gemini-3.8-flash", 100).is_ok());
/// assert!(quotas.admit(1, main, "gemini-3.8-flash", 100).is_ok());
/// let refused = quotas.admit(2, main, "gemini-3.8-flash", 100).unwrap_err();
/// assert_eq!(refused[0].dimension, Dimension::RequestsPerMinute);
/// assert_eq!(refused[0].retry_after.as_micros(), 59_999_998);
/// ```
#[derive(Debug)]
pub struct Quotas {
    rules: Rules,
    minute: u64,
    calendar: Calendar,
    chance: Chance,
    now: u64,
    projects: Vec<ProjectQuota>,
}

/// How a server measures, the same for all its projects.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How a minute is counted.
    pub window: WindowKind,
    /// The length of the server's minute; 60 s at the real API, shorter in scaled scenarios.
    pub minute: Duration,
    /// What a day is.
    pub day: Day,
    /// Draws the phases of the fixed minutes.
    pub seed: u64,
}

/// Limits of one project and model; a missing one is unlimited, zero means "no quota at all".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Input tokens a minute.
    pub tpm: Option<u64>,
    /// Requests a day.
    pub rpd: Option<u64>,
    /// Input tokens a day.
    pub tpd: Option<u64>,
}

/// Limits by model id or model family; `"*"` stands for every other model.
pub type LimitTable = BTreeMap<String, Limits>;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// RPM.
    RequestsPerMinute,
    /// TPM, input tokens.
    TokensPerMinute,
    /// RPD.
    RequestsPerDay,
    /// TPD, input tokens.
    TokensPerDay,
}

/// One limit that a request would have broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The limit's kind.
    pub dimension: Dimension,
    /// The limit's value.
    pub limit: u64,
    /// The true time until this limit alone would admit the request.
    pub retry_after: Duration,
}

/// The quota of one project: its limits, and a cell for each model family that was asked for.
#[derive(Debug)]
pub struct ProjectQuota {
    /// The project's name.
    pub name: String,
    limits: LimitTable,
    /// A project asks for a handful of models, which makes looking through a list the fastest way.
    cells: Vec<(String, Cell)>,
}

#[derive(Debug)]
struct Cell {
    limits: Limits,
    requests: Option<MinuteWindow>,
    tokens: Option<MinuteWindow>,
    day: u64,
    today: Load,
    witness: Witness,
}

// === impl Quotas ===

impl Quotas {
    /// A server without projects.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            minute: micros(rules.minute),
            calendar: Calendar::new(rules.day),
            chance: Chance::new(rules.seed),
            now: 0,
            projects: Vec::new(),
            rules,
        }
    }

    /// Adds a project and returns its index, counted from 0.
    pub fn add_project(&mut self, name: impl Into<String>, limits: LimitTable) -> usize {
        self.projects.push(ProjectQuota { name: name.into(), limits, cells: Vec::new() });
        self.projects.len() - 1
    }

    /// Gives a project other limits, in force at once; what was used of a minute or a day stays used.
    pub fn set_limits(&mut self, project: usize, limits: LimitTable) {
        let Some(project) = self.projects.get_mut(project) else { return };
        project.limits = limits;
        for position in 0..project.cells.len() {
            let limits = project.limits(&project.cells[position].0);
            project.cells[position].1.set_limits(limits, &self.rules, self.chance.next_u64());
        }
    }

    /// Asks for one request of `tokens` input tokens at `now` (microseconds since the Unix epoch).
    ///
    /// All limits are examined first and taken only when every one agrees: a refused request
    /// consumes nothing. An unknown project has no limits and leaves no trace.
    /// A `now` before an earlier one counts as that earlier one.
    ///
    /// # Errors
    /// Every limit that would be broken, in the order RPM, TPM, RPD, TPD.
    pub fn admit(&mut self, now: u64, project: usize, model: &str, tokens: u64) -> Result<(), Vec<Violation>> {
        self.admit_load(now, project, model, Load::one(tokens))
    }

    /// The same for several requests at once, all or none: the texts of a batch of embeddings.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn admit_load(&mut self, now: u64, project: usize, model: &str, load: Load) -> Result<(), Vec<Violation>> {
        self.now = self.now.max(now);
        let (now, minute) = (self.now, self.minute);
        let (start, end) = self.calendar.span(now);
        let Some(project) = self.projects.get_mut(project) else { return Ok(()) };
        let cell = project.cell(model, &self.rules, &mut self.chance);
        let violations = cell.examine(now, start, end, load);
        cell.witness.saw(now, minute, start, load, violations.is_empty());
        if violations.is_empty() {
            cell.take(now, load);
            return Ok(());
        }
        cell.witness.refused(&violations);
        Err(violations)
    }

    /// What was seen of one project and model (or its family), if anything was.
    #[must_use]
    pub fn witness(&self, project: usize, model: &str) -> Option<&Witness> {
        let cells = &self.projects.get(project)?.cells;
        cells.iter().find(|(known, _)| known == family(model)).map(|(_, cell)| &cell.witness)
    }

    /// Everything that was seen: project index, model family, limits, witness; in a stable order.
    pub fn seen(&self) -> impl Iterator<Item = (usize, &str, &Limits, &Witness)> {
        self.projects.iter().enumerate().flat_map(|(index, project)| {
            let mut cells: Vec<_> = project.cells.iter().collect();
            cells.sort_by_key(|(family, _)| family);
            cells.into_iter().map(move |(family, c)| (index, family.as_str(), &c.limits, &c.witness))
        })
    }

    /// The projects in the order in which they were added.
    #[must_use]
    pub fn projects(&self) -> &[ProjectQuota] {
        &self.projects
    }

    /// How this server measures.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

impl Default for Rules {
    /// A sliding minute of 60 s and Pacific days.
    fn default() -> Self {
        Self { window: WindowKind::default(), minute: Duration::from_secs(60), day: Day::default(), seed: 0 }
    }
}

// === impl ProjectQuota ===

impl ProjectQuota {
    /// The limits that hold for a model: its own, its family's, those of `"*"`, or none.
    #[must_use]
    pub fn limits(&self, model: &str) -> Limits {
        let table = &self.limits;
        let found = table.get(model).or_else(|| table.get(family(model))).or_else(|| table.get("*"));
        found.copied().unwrap_or_default()
    }

    fn cell(&mut self, model: &str, rules: &Rules, chance: &mut Chance) -> &mut Cell {
        let family = family(model);
        let known = self.cells.iter().position(|(known, _)| known == family);
        let index = known.unwrap_or_else(|| {
            let cell = Cell::new(self.limits(model), rules, chance.next_u64());
            self.cells.push((family.to_owned(), cell));
            self.cells.len() - 1
        });
        &mut self.cells[index].1
    }
}

// === impl Cell ===

impl Cell {
    fn new(limits: Limits, rules: &Rules, phase: u64) -> Self {
        let window = |limit: Option<u64>| limit.map(|limit| MinuteWindow::new(rules.window, micros(rules.minute), limit, phase));
        Self {
            limits,
            requests: window(limits.rpm),
            tokens: window(limits.tpm),
            day: 0,
            today: Load::default(),
            witness: Witness::default(),
        }
    }

    fn set_limits(&mut self, limits: Limits, rules: &Rules, phase: u64) {
        let fresh = Cell::new(limits, rules, phase);
        for (window, fresh) in [(&mut self.requests, fresh.requests), (&mut self.tokens, fresh.tokens)] {
            match (window.as_mut(), fresh) {
                (Some(window), Some(fresh)) => window.set_limit(fresh.limit()),
                (_, fresh) => *window = fresh,
            }
        }
        self.limits = limits;
    }

    fn examine(&mut self, now: u64, day: u64, day_end: u64, load: Load) -> Vec<Violation> {
        if self.day != day {
            (self.day, self.today) = (day, Load::default());
        }
        let mut violations = Vec::new();
        let mut broken = |dimension, limit, wait| {
            let retry_after = Duration::from_micros(wait);
            violations.push(Violation { dimension, limit, retry_after });
        };
        if let Some(window) = &mut self.requests
            && let Some(wait) = window.wait(now, load.requests)
        {
            broken(Dimension::RequestsPerMinute, window.limit(), wait);
        }
        if let Some(window) = &mut self.tokens
            && let Some(wait) = window.wait(now, load.tokens)
        {
            broken(Dimension::TokensPerMinute, window.limit(), wait);
        }
        if let Some(limit) = self.limits.rpd.filter(|limit| *limit == 0 || self.today.requests + load.requests > *limit) {
            broken(Dimension::RequestsPerDay, limit, day_end - now);
        }
        let tokens_today = self.today.tokens + load.tokens;
        if let Some(limit) = self.limits.tpd.filter(|limit| *limit == 0 || tokens_today > *limit) {
            broken(Dimension::TokensPerDay, limit, day_end - now);
        }
        violations
    }

    fn take(&mut self, now: u64, load: Load) {
        if let Some(window) = &mut self.requests {
            window.take(now, load.requests);
        }
        if let Some(window) = &mut self.tokens {
            window.take(now, load.tokens);
        }
        self.today.requests += load.requests;
        self.today.tokens += load.tokens;
    }
}

// === impl Dimension ===

impl Dimension {
    /// All four, in the order in which a refusal lists them.
    pub const ALL: [Self; 4] = [Self::RequestsPerMinute, Self::TokensPerMinute, Self::RequestsPerDay, Self::TokensPerDay];

    /// Whether the limit is one of a day.
    #[must_use]
    pub fn is_daily(self) -> bool {
        matches!(self, Self::RequestsPerDay | Self::TokensPerDay)
    }

    /// `rpm`, `tpm`, `rpd` or `tpd`.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "rpm",
            Self::TokensPerMinute => "tpm",
            Self::RequestsPerDay => "rpd",
            Self::TokensPerDay => "tpd",
        }
    }

    /// The API's `quotaId`, which depends on whether the project pays.
    #[must_use]
    pub fn quota_id(self, free: bool) -> &'static str {
        match (self, free) {
            (Self::RequestsPerMinute, true) => "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            (Self::RequestsPerMinute, false) => "GenerateRequestsPerMinutePerProjectPerModel",
            (Self::TokensPerMinute, true) => "GenerateContentInputTokensPerModelPerMinute-FreeTier",
            (Self::TokensPerMinute, false) => "GenerateContentPaidTierInputTokensPerModelPerMinute",
            (Self::RequestsPerDay, true) => "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
            (Self::RequestsPerDay, false) => "GenerateRequestsPerDayPerProjectPerModel",
            (Self::TokensPerDay, true) => "GenerateContentInputTokensPerModelPerDay-FreeTier",
            (Self::TokensPerDay, false) => "GenerateContentPaidTierInputTokensPerModelPerDay",
        }
    }

    /// The `quotaId` of an embedding model, which counts texts; of the tokens' two only the form is known.
    #[must_use]
    pub fn embedding_quota_id(self, free: bool) -> &'static str {
        match (self, free) {
            (Self::RequestsPerMinute, true) => "EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier",
            (Self::RequestsPerMinute, false) => "EmbedContentRequestsPerMinutePerProjectPerModel",
            (Self::RequestsPerDay, true) => "EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier",
            (Self::RequestsPerDay, false) => "EmbedContentRequestsPerDayPerProjectPerModel",
            (Self::TokensPerMinute, true) => "EmbedContentInputTokensPerMinutePerUserPerProjectPerModel-FreeTier",
            (Self::TokensPerMinute, false) => "EmbedContentPaidTierInputTokensPerMinutePerProjectPerModel",
            (Self::TokensPerDay, true) => "EmbedContentInputTokensPerDayPerUserPerProjectPerModel-FreeTier",
            (Self::TokensPerDay, false) => "EmbedContentPaidTierInputTokensPerDayPerProjectPerModel",
        }
    }

    /// The `quotaMetric` of an embedding model without its domain.
    #[must_use]
    pub fn embedding_metric(self, free: bool) -> &'static str {
        match (self, free) {
            (Self::RequestsPerMinute | Self::RequestsPerDay, true) => "embed_content_free_tier_requests",
            (Self::RequestsPerMinute | Self::RequestsPerDay, false) => "embed_content_paid_tier_requests",
            (_, true) => "embed_content_free_tier_input_token_count",
            (_, false) => "embed_content_paid_tier_input_token_count",
        }
    }

    /// The API's `quotaMetric` without its domain.
    #[must_use]
    pub fn metric(self, free: bool) -> &'static str {
        match (self, free) {
            (Self::RequestsPerMinute | Self::RequestsPerDay, true) => "generate_content_free_tier_requests",
            (Self::RequestsPerMinute, false) => "generate_requests_per_model",
            (Self::RequestsPerDay, false) => "generate_requests_per_model_per_day",
            (_, true) => "generate_content_free_tier_input_token_count",
            (_, false) => "generate_content_paid_tier_input_token_count",
        }
    }
}

/// The family under which the API counts a model: aliases share one quota.
#[must_use]
pub fn family(model: &str) -> &str {
    match model {
        "gemini-3-pro-preview" => "gemini-3-pro",
        "gemini-3.1-pro-preview" | "gemini-3.1-pro-preview-customtools" => "gemini-3.1-pro",
        "gemini-embedding-001" => "gemini-embedding-1.0",
        "gemini-2.5-flash-image-preview" => "gemini-2.5-flash-preview-image",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    const SECOND: u64 = 1_000_000;
    const MODEL: &str = "gemini-3.8-flash";

    fn quotas(limits: Limits) -> Quotas {
        let mut quotas = Quotas::new(Rules::default());
        quotas.add_project("one", [("*".to_owned(), limits)].into());
        quotas
    }

    fn dimensions(refused: Result<(), Vec<Violation>>) -> Vec<Dimension> {
        refused.unwrap_err().iter().map(|v| v.dimension).collect()
    }

    #[test]
    fn a_refusal_lists_every_broken_limit_and_takes_nothing() {
        let limits = Limits { rpm: Some(2), tpm: Some(100), rpd: Some(2), tpd: Some(150) };
        let mut quotas = quotas(limits);
        quotas.admit(0, 0, MODEL, 50).unwrap();
        assert_eq!(dimensions(quotas.admit(1, 0, MODEL, 60)), [Dimension::TokensPerMinute]);
        quotas.admit(2, 0, MODEL, 50).unwrap();
        assert_eq!(dimensions(quotas.admit(3, 0, MODEL, 51)), Dimension::ALL);
        let witness = quotas.witness(0, MODEL).unwrap();
        assert_eq!(witness.refused_by, [1, 2, 1, 1]);
        assert_eq!(witness.admitted, Load { requests: 2, tokens: 100 });
        assert_eq!(witness.offered.requests, 4);
    }

    #[test]
    fn requests_of_a_day_come_back_at_midnight_in_los_angeles() {
        let mut quotas = quotas(Limits { rpd: Some(1), ..Limits::default() });
        let eleven_pm = 1_772_953_200 * SECOND; // 2026-03-07T23:00 in Los Angeles, eve of a 23-hour day
        quotas.admit(eleven_pm, 0, MODEL, 1).unwrap();
        let refused = quotas.admit(eleven_pm + SECOND, 0, MODEL, 1).unwrap_err();
        assert_eq!(refused[0].retry_after, Duration::from_secs(3_599));
        quotas.admit(eleven_pm + 3_600 * SECOND, 0, MODEL, 1).unwrap();
        let refused = quotas.admit(eleven_pm + 3_601 * SECOND, 0, MODEL, 1).unwrap_err();
        assert_eq!(refused[0].retry_after, Duration::from_secs(23 * 3_600 - 1));
    }

    #[test]
    fn limits_that_change_in_the_middle_of_a_day_keep_its_count() {
        let mut quotas = quotas(Limits { rpd: Some(2), ..Limits::default() });
        quotas.admit(0, 0, MODEL, 1).unwrap();
        quotas.set_limits(0, [("*".to_owned(), Limits { rpm: Some(9), rpd: Some(1), ..Limits::default() })].into());
        assert_eq!(dimensions(quotas.admit(1, 0, MODEL, 1)), [Dimension::RequestsPerDay]);
        quotas.set_limits(0, [("*".to_owned(), Limits { rpd: Some(2), ..Limits::default() })].into());
        quotas.admit(2, 0, MODEL, 1).unwrap();
        assert_eq!(dimensions(quotas.admit(3, 0, MODEL, 1)), [Dimension::RequestsPerDay]);
    }

    #[test]
    fn aliases_share_one_quota_and_other_models_have_their_own() {
        let mut quotas = quotas(Limits { rpm: Some(1), ..Limits::default() });
        quotas.admit(0, 0, "gemini-3.1-pro-preview", 1).unwrap();
        assert!(quotas.admit(1, 0, "gemini-3.1-pro-preview-customtools", 1).is_err());
        quotas.admit(2, 0, MODEL, 1).unwrap();
    }

    #[test]
    fn a_fixed_minute_has_a_phase_of_its_own() {
        let turns = |seed| {
            let mut quotas = Quotas::new(Rules { window: WindowKind::Fixed, seed, ..Rules::default() });
            quotas.add_project("one", [("*".to_owned(), Limits { rpm: Some(1), ..Limits::default() })].into());
            quotas.admit(0, 0, MODEL, 1).unwrap();
            quotas.admit(0, 0, MODEL, 1).unwrap_err()[0].retry_after
        };
        assert_eq!(turns(1), turns(1));
        assert_ne!(turns(1), turns(2));
        assert!(turns(1) <= Duration::from_secs(60));
    }

    #[test]
    fn the_admitted_peak_of_a_full_bucket_is_close_to_twice_the_limit() {
        let mut quotas = Quotas::new(Rules { window: WindowKind::Bucket, ..Rules::default() });
        let limits = Limits { rpm: Some(600), ..Limits::default() };
        quotas.add_project("one", [("*".to_owned(), limits)].into());
        for step in 0..1_300 {
            let _ = quotas.admit(step * SECOND / 20, 0, MODEL, 1);
        }
        let peak = quotas.witness(0, MODEL).unwrap().peak_admitted;
        assert!((1_150..=1_201).contains(&peak.requests), "{peak:?}");
    }
}
