//! What a run may be told.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::Structured;
use tidegate_engine::media::Resolver;
use tidegate_gemini::embedding::EmbedSettings;
use tidegate_gemini::request::Defaults;

use crate::budget::Budget;

/// How a run behaves. `Options::default()` asks every row once, resumes, and syncs in groups.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is asked for each row.
    pub task: Task,
    /// What rows take over when they do not say it themselves: model, system instruction, temperature, output bound.
    pub defaults: Defaults,
    /// A minijinja template over a row's fields that makes the prompt, for example `Classify: {{ text }}`.
    pub template: Option<String>,
    /// So many small prompts of one kind share a call: fewer calls for the same answers. 0 and 1 = each goes alone.
    pub pack: usize,
    /// The most rows handed to the engine at a time. Memory grows with this, never with the input.
    pub admit: usize,
    /// Ask no more than this many rows in this run.
    pub limit: Option<u64>,
    /// Ask rows again, too, whose recorded failure is permanent.
    pub retry_failed: bool,
    /// Start over; what the output held is moved to `superseded.jsonl`.
    pub fresh: bool,
    /// Ask again for better JSON only while all attempts of a row use no more than so many tokens; 0 = no bound.
    pub max_json_tokens: u64,
    /// Take records out of the output whose row is gone from the input.
    pub prune: bool,
    /// Go on although the model or another setting differs from the one the output was begun with.
    pub accept_changes: bool,
    /// Put a `.jsonl` output in input order at the end (other kinds always are).
    pub ordered: bool,
    /// Record a line that cannot be read as `skipped` instead of refusing the whole input.
    pub skip_invalid: bool,
    /// Record the API's whole answer under `response`.
    pub full_response: bool,
    /// When a record counts as safe.
    pub durability: Durability,
    /// Where the input lines of failed rows go, as JSON lines that can be run again; `-` is standard output.
    pub errors: Option<PathBuf>,
    /// Further files the caller writes meanwhile, each with the flag that names it: a run onto one of them is refused.
    pub in_use: Vec<(String, PathBuf)>,
    /// Who answers, in a word such as `api` or `simulated`: answers of different ones are not mixed unasked.
    pub endpoint: Option<String>,
    /// Stop once the records of the output, earlier ones included, add up to this many tokens.
    pub max_tokens: Option<u64>,
    /// Stop once the records of the output, earlier ones included, have cost this much.
    pub max_cost: Option<Budget>,
    /// Stop once too many rows of this run failed.
    pub fail_on_error: Option<FailOn>,
    /// Stop this long after the start.
    pub deadline: Option<Duration>,
    /// How long what is in flight may go on once the deadline has passed.
    pub grace: Duration,
    /// Looks at the media of rows: that of the engine the run asks. Without one, media are sent as an engine would by default.
    pub media: Option<Arc<Resolver>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            task: Task::Answer,
            defaults: Defaults::default(),
            template: None,
            pack: 0,
            admit: 512,
            limit: None,
            retry_failed: false,
            fresh: false,
            max_json_tokens: Structured::MAX_TOKENS,
            prune: false,
            accept_changes: false,
            ordered: false,
            skip_invalid: false,
            full_response: false,
            durability: Durability::Batch,
            errors: None,
            in_use: Vec::new(),
            endpoint: None,
            max_tokens: None,
            max_cost: None,
            fail_on_error: None,
            deadline: None,
            grace: Duration::from_secs(10),
            media: None,
        }
    }
}

/// What is asked for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Task {
    /// The model's answer to a prompt.
    #[default]
    Answer,
    /// The vector of a text.
    Embed(EmbedSettings),
}

/// When a record counts as safe and is reported as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After its own `fdatasync`.
    Each,
    /// After an `fdatasync` shared by at most 64 records or 50 ms.
    #[default]
    Batch,
    /// After `write`: survives a kill of the process, not a power cut.
    None,
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Durability, String> {
        match text {
            "each" => Ok(Durability::Each),
            "batch" => Ok(Durability::Batch),
            "none" => Ok(Durability::None),
            other => Err(format!("unknown durability {other:?}: one of each, batch, none")),
        }
    }
}

/// How many failures end a run early.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FailOn {
    /// This many rows.
    Count(u64),
    /// This share of the rows that ended, in percent; judged once [`FailOn::SAMPLE`] rows have ended.
    Percent(f64),
}

impl FailOn {
    /// Rows that must have ended before a percentage is judged: less says little about the rest.
    pub const SAMPLE: u64 = 20;

    /// True when `failed` of `ended` rows are too many.
    pub fn reached(self, failed: u64, ended: u64) -> bool {
        match self {
            FailOn::Count(most) => failed >= most.max(1),
            FailOn::Percent(most) => ended >= FailOn::SAMPLE && failed > 0 && failed as f64 * 100.0 >= most * ended as f64,
        }
    }
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<FailOn, String> {
        let parsed = match text.strip_suffix('%') {
            Some(number) => number.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(FailOn::Percent),
            None => text.trim().parse().ok().map(FailOn::Count),
        };
        parsed.ok_or_else(|| format!("cannot read {text:?}: give a number of rows (10) or a share of them (5%)"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_count_is_reached_at_that_count_and_a_share_only_after_a_sample() {
        assert!(!FailOn::Count(3).reached(2, 100));
        assert!(FailOn::Count(3).reached(3, 3));
        assert!(!FailOn::Percent(10.0).reached(5, 5));
        assert!(FailOn::Percent(10.0).reached(2, 20));
        assert!(!FailOn::Percent(10.0).reached(1, 20));
        assert!(!FailOn::Percent(0.0).reached(0, 20));
    }

    #[test]
    fn limits_are_read_as_people_write_them() {
        assert_eq!("12".parse(), Ok(FailOn::Count(12)));
        assert_eq!("2.5%".parse(), Ok(FailOn::Percent(2.5)));
        assert!("many".parse::<FailOn>().is_err());
        assert!("101%".parse::<FailOn>().is_err());
        assert_eq!("each".parse(), Ok(Durability::Each));
        assert!("often".parse::<Durability>().is_err());
    }
}
