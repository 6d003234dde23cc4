//! A scenario: the server's truth and its script, read from TOML.

use std::time::Duration;

use serde::Deserialize;

use crate::answers::Answers;
use crate::batches::BatchRules;
use crate::client::ClientProject;
use crate::faults::Fault;
use crate::files::FileRules;
use crate::keys::{KeyChange, SimKey};
use crate::latency::{Latency, Transit};
use crate::model::{Day, LimitTable, WindowKind};
use crate::scenario_error::ScenarioError;

/// Everything a simulated server is told before it starts.
///
/// ```
/// use tidegate_simulator::Scenario;
/// let scenario = Scenario::from_toml(r#"
///     name = "small"
///     [quota]
///     minute_ms = 1000
///     [[projects]]
///     name = "one"
///     keys = ["SIM-small-one-key-1-0123456789abc"]
///     [projects.limits."*"]
///     rpm = 5
/// "#)?;
/// assert_eq!(scenario.minute().as_secs(), 1);
/// # Ok::<(), tidegate_simulator::ScenarioError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Its name, for reports.
    pub name: String,
    /// One sentence about it.
    pub about: String,
    /// The seed of all chance.
    pub seed: u64,
    /// The model a client should ask for when it has no wish of its own.
    pub default_model: String,
    /// The models served, beside those that have limits.
    pub models: Vec<String>,
    /// Models that answer "no longer available to new users".
    pub closed_models: Vec<String>,
    /// The most input tokens of one request.
    pub input_token_limit: u64,
    /// Whether each unknown key is a project of its own with the scenario's limits; else it is invalid.
    pub accept_any_key: bool,
    /// Whether unknown fields of a request are an error.
    pub strict: bool,
    /// How many chances (faults with a rate below 1) may hit one prompt; none: no bound.
    pub max_faults_per_prompt: Option<u32>,
    /// How quotas are measured.
    pub quota: QuotaSpec,
    /// The limits of every project that does not say otherwise.
    pub limits: LimitTable,
    /// How long the model takes.
    pub latency: Latency,
    /// How long the way to the server takes.
    pub transit: Transit,
    /// How answers look.
    pub answers: Answers,
    /// Who has keys and quota.
    pub projects: Vec<Project>,
    /// What becomes of uploaded files.
    pub files: FileRules,
    /// What becomes of batches.
    pub batches: BatchRules,
    /// How many of the latest requests the report shows; none unless told.
    pub record_requests: usize,
    /// The fewest tokens that can be cached.
    pub min_cached_tokens: u64,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// How the server measures, and what it tells about it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaSpec {
    /// How a minute is counted.
    pub window: WindowKind,
    /// The length of the server's minute, milliseconds; 60000 at the real API.
    pub minute_ms: u64,
    /// The length of a day, milliseconds, from the first request on; none: Pacific calendar days.
    pub day_ms: Option<u64>,
    /// How far the server's clock is ahead, milliseconds; negative: behind. Windows and days turn by it.
    pub clock_ms: i64,
    /// What a refusal of the day's quota says about waiting.
    pub per_day_delay: PerDayDelay,
    /// Whether the client is told the kind of window.
    pub tell_window: bool,
    /// Whether the client is told which keys belong together.
    pub tell_projects: bool,
}

/// The delay told when a day's quota is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PerDayDelay {
    /// 15 to 59 s (of a real minute), as the API mostly says, though it helps nobody.
    #[default]
    Short,
    /// Until the day ends.
    True,
}

/// One project of the server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Project {
    /// Its name, unique.
    pub name: String,
    /// `"free"` or the name of a paid tier; decides how limits are named in refusals.
    pub tier: String,
    /// Its keys, unique over all projects.
    pub keys: Vec<SimKey>,
    /// When keys change.
    pub key_changes: Vec<KeyChange>,
    /// Its limits; models not named here have the scenario's.
    pub limits: LimitTable,
    /// The limits the client is told; none: the true ones, an empty table: nothing.
    pub told: Option<LimitTable>,
    /// After so many admitted requests the prepaid credit is gone: 402.
    pub credit_requests: Option<u64>,
}

impl Scenario {
    /// A scenario file with every setting and its meaning, to be read by people.
    pub const REFERENCE: &'static str = include_str!("../scenarios/reference.toml");

    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`] with the line and the nearest known name, or what contradicts itself.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::syntax(text, &error))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// A shipped scenario by name.
    #[must_use]
    pub fn builtin(name: &str) -> Option<Self> {
        let (_, text) = BUILTIN.iter().find(|(known, _)| *known == name)?;
        Self::from_toml(text).ok()
    }

    /// The names of the shipped scenarios, the default one first.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// The text of a shipped scenario, to start one's own from.
    #[must_use]
    pub fn builtin_text(name: &str) -> Option<&'static str> {
        BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// A server for tests: any key is welcome, no limits, no faults, no waiting.
    #[must_use]
    pub fn open() -> Self {
        Self { name: "open".to_owned(), accept_any_key: true, ..Self::default() }
    }

    /// The length of the server's minute.
    #[must_use]
    pub fn minute(&self) -> Duration {
        Duration::from_millis(self.quota.minute_ms)
    }

    /// The length of the server's day; `None` for Pacific calendar days.
    #[must_use]
    pub fn day(&self) -> Option<Duration> {
        self.quota.day_ms.map(Duration::from_millis)
    }

    /// The kind of window, when the client is told.
    #[must_use]
    pub fn told_window(&self) -> Option<WindowKind> {
        self.quota.tell_window.then_some(self.quota.window)
    }

    /// What a client is told about its projects, keys and limits.
    #[must_use]
    pub fn client_projects(&self) -> Vec<ClientProject> {
        crate::client::projects_of(self)
    }

    /// The true limits of a project: its own over the scenario's.
    #[must_use]
    pub fn limits_of(&self, project: &Project) -> LimitTable {
        let mut limits = self.limits.clone();
        limits.extend(project.limits.clone());
        limits
    }

    pub(crate) fn day_kind(&self) -> Day {
        self.day().map_or(Day::Pacific, Day::Every)
    }

    /// Whether requests may ask for this model.
    pub(crate) fn serves(&self, model: &str) -> bool {
        self.models.iter().any(|known| known == model)
            || self.limits.contains_key(model)
            || self.projects.iter().any(|project| project.limits.contains_key(model))
    }

    fn check(&self) -> Result<(), ScenarioError> {
        if self.projects.is_empty() && !self.accept_any_key {
            return Err(ScenarioError::NoProjects);
        }
        let rates = self.faults.iter().map(|fault| ("faults.rate", fault.rate));
        let others = [("transit.stall_rate", self.transit.stall_rate), ("answers.cached_share", self.answers.cached_share)];
        if let Some((place, _)) = rates.chain(others).find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            return Err(ScenarioError::NotARate(place));
        }
        let draws = [
            ("latency.base", self.latency.base),
            ("latency.error", self.latency.error),
            ("transit.way", self.transit.way),
            ("transit.stall", self.transit.stall),
        ];
        if let Some((place, _)) = draws.iter().find(|(_, draw)| !draw.is_sound()) {
            return Err(ScenarioError::NotADraw(place));
        }
        if self.answers.scripts.iter().any(|script| script.replies.is_empty()) {
            return Err(ScenarioError::NoReply);
        }
        if self.faults.iter().any(|fault| fault.to_ms.is_some_and(|to| to <= fault.from_ms)) {
            return Err(ScenarioError::EmptySpan);
        }
        if self.quota.minute_ms == 0 || self.quota.day_ms == Some(0) {
            return Err(ScenarioError::NoLength);
        }
        self.check_keys()
    }

    fn check_keys(&self) -> Result<(), ScenarioError> {
        let mut seen = std::collections::HashSet::new();
        for project in &self.projects {
            let name = || project.name.clone();
            if !project.keys.iter().all(|key| seen.insert(key)) {
                return Err(ScenarioError::KeyTwice { project: name() });
            }
            if !project.key_changes.iter().all(|change| project.keys.contains(&change.key)) {
                return Err(ScenarioError::StrangeKey { project: name() });
            }
        }
        Ok(())
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "plain".to_owned(),
            about: String::new(),
            seed: 0,
            default_model: MODELS[0].to_owned(),
            models: MODELS.iter().map(|model| (*model).to_owned()).collect(),
            closed_models: Vec::new(),
            input_token_limit: 1_048_576,
            accept_any_key: false,
            strict: false,
            max_faults_per_prompt: None,
            quota: QuotaSpec::default(),
            limits: LimitTable::new(),
            latency: Latency::default(),
            transit: Transit::default(),
            answers: Answers::default(),
            projects: Vec::new(),
            files: FileRules::default(),
            batches: BatchRules::default(),
            record_requests: 0,
            min_cached_tokens: 1_024,
            faults: Vec::new(),
        }
    }
}

impl Default for QuotaSpec {
    fn default() -> Self {
        Self {
            window: WindowKind::default(),
            minute_ms: 60_000,
            day_ms: None,
            clock_ms: 0,
            per_day_delay: PerDayDelay::default(),
            tell_window: false,
            tell_projects: true,
        }
    }
}

const MODELS: [&str; 11] = [
    "gemini-3.8-flash",
    "gemini-3.7-flash",
    "gemini-3.6-flash",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-embedding-001",
    "gemini-embedding-2",
];

const BUILTIN: [(&str, &str); 6] = [
    ("demo", include_str!("../scenarios/demo.toml")),
    ("free", include_str!("../scenarios/free.toml")),
    ("tier1", include_str!("../scenarios/tier1.toml")),
    ("flaky", include_str!("../scenarios/flaky.toml")),
    ("storm", include_str!("../scenarios/storm.toml")),
    ("dying-keys", include_str!("../scenarios/dying-keys.toml")),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_shipped_scenario_reads_and_bears_its_name() {
        for name in Scenario::builtin_names() {
            let scenario = Scenario::from_toml(Scenario::builtin_text(name).unwrap()).unwrap();
            assert_eq!(scenario.name, name);
            assert!(!scenario.about.is_empty() && scenario.serves(&scenario.default_model));
            assert!(scenario.projects.iter().flat_map(|p| &p.keys).all(|key| key.as_str().len() >= 30));
        }
        assert_eq!(Scenario::builtin_names().next(), Some("demo"));
        assert_eq!(Scenario::builtin("nothing"), None);
    }

    #[test]
    fn the_reference_shows_every_kind_of_fault_and_key() {
        let reference = Scenario::from_toml(Scenario::REFERENCE).unwrap();
        let kinds: std::collections::HashSet<_> = reference.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!((kinds.len(), reference.faults.len()), (37, 37));
        assert_eq!(reference.projects.iter().map(|p| p.key_changes.len()).sum::<usize>(), 9);
    }

    #[test]
    fn the_demo_gives_three_hundred_prompts_in_about_a_minute() {
        let demo = Scenario::builtin("demo").unwrap();
        let of = |get: fn(&crate::model::Limits) -> Option<u64>| -> u64 {
            demo.projects.iter().map(|p| get(&demo.limits_of(p)[&demo.default_model]).unwrap()).sum()
        };
        let seconds = 300.0 / of(|l| l.rpm) as f64 * demo.minute().as_secs_f64();
        assert!((55.0..=68.0).contains(&seconds), "{seconds}");
        assert!(of(|l| l.rpd) >= 600);
    }

    #[test]
    fn scenarios_that_contradict_themselves_are_refused() {
        let error = |text: &str| Scenario::from_toml(text).unwrap_err();
        assert_eq!(error("name = 'x'"), ScenarioError::NoProjects);
        let any = "accept_any_key = true\n";
        assert_eq!(error(&format!("{any}[[faults]]\nkind='reset'\nrate=1.5")), ScenarioError::NotARate("faults.rate"));
        assert_eq!(error(&format!("{any}[[faults]]\nkind='reset'\nfrom_ms=5\nto_ms=5")), ScenarioError::EmptySpan);
        assert_eq!(error(&format!("{any}[latency]\nbase={{uniform=[3,1]}}")), ScenarioError::NotADraw("latency.base"));
        assert_eq!(error(&format!("{any}[quota]\nminute_ms=0")), ScenarioError::NoLength);
        let twice = "[[projects]]\nname='a'\nkeys=['k','k']";
        assert_eq!(error(twice), ScenarioError::KeyTwice { project: "a".to_owned() });
        let silent = format!("{any}[[answers.scripts]]\ncontains='x'\nreplies=[]");
        assert_eq!(error(&silent), ScenarioError::NoReply);
        let strange = "[[projects]]\nname='a'\nkeys=['k']\n[[projects.key_changes]]\nkey='j'\nbecomes='leaked'";
        assert_eq!(error(strange), ScenarioError::StrangeKey { project: "a".to_owned() });
    }
}
