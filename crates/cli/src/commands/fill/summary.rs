//! How a filling ended: lines for people, JSON for programs, a code for scripts.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_batch::StopReason;
use tidegate_gemini::prices::Usd;
use tidegate_template::{Filled, Stats};

use super::model::in_words;
use super::progress::counted;
use crate::deadline::local_time_in;
use crate::duration;
use crate::exit_code::ExitCode;

/// What became of one set.
#[derive(Debug)]
pub struct Outcome {
    /// Its place among all sets.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// The result, or why its documents could not be read.
    pub filled: Result<Filled, String>,
}

/// Everything the end of the command tells.
#[derive(Debug)]
pub struct Account {
    /// Sets that were filled, or could not be read.
    pub outcomes: Vec<Outcome>,
    /// All sets.
    pub sets: usize,
    /// Why asking stopped.
    pub stopped: Option<StopReason>,
    /// How long it takes until the model can be asked again.
    pub more_in: Option<Duration>,
    /// At list prices, where they are known.
    pub cost: Option<Usd>,
    /// Where results were written.
    pub outputs: Vec<String>,
    /// The command that goes on.
    pub again: String,
}

impl Account {
    /// Whether the same command has something to do.
    pub fn has_work_left(&self) -> bool {
        self.outcomes.len() < self.sets || self.filled().any(|(_, filled)| !filled.pending().is_empty())
    }

    /// The code that scripts see.
    pub fn exit_code(&self) -> ExitCode {
        let is_incomplete = self.outcomes.iter().any(|outcome| match &outcome.filled {
            Ok(filled) => !filled.missing_required().is_empty(),
            Err(_) => true,
        });
        match self.stopped.filter(|_| self.has_work_left()) {
            Some(StopReason::Interrupted) => ExitCode::Interrupted,
            Some(StopReason::Terminated) => ExitCode::Terminated,
            Some(StopReason::Exhausted | StopReason::Deadline | StopReason::Cost | StopReason::Budget) => ExitCode::WorkLeft,
            _ if is_incomplete => ExitCode::SomeFailed,
            _ => ExitCode::AllOk,
        }
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let stats = self.stats();
        let mut lines = vec![format!(
            "{}: {} from the model, {} kept, {} by pattern, {} empty",
            counted(stats.fields as usize, "field"),
            stats.from_model,
            stats.from_cache,
            stats.from_pattern,
            stats.missing
        )];
        let again = if stats.asked_again > 0 { format!(", {} of them to ask again", stats.asked_again) } else { String::new() };
        let took = duration::show(Duration::from_millis(stats.elapsed_ms));
        let cost = self.cost.map(|cost| format!(", {cost} at list prices")).unwrap_or_default();
        lines.push(format!(
            "{}{again}, {} fewer than a search and a question for each field; {} + {} tokens{cost}; {took}",
            counted(stats.generation_calls as usize, "call"),
            saved(&stats),
            stats.input_tokens,
            stats.output_tokens
        ));
        if stats.cache_hits + stats.cache_misses > 0 {
            lines.push(format!("cache: {} hits, {} misses", stats.cache_hits, stats.cache_misses));
        }
        if stats.embedded_texts > 0 {
            lines.push(format!("vectors: {} made, {} known", stats.embedded_texts, stats.chunks_known));
        }
        for (name, filled) in self.filled() {
            self.tell(name, filled, &mut lines);
        }
        if let Some(reason) = self.stopped {
            let again =
                self.run_again_in().map(|wait| format!("; run again at {} (in {})", local_time_in(wait), duration::show(wait)));
            lines.push(format!("{}{}", in_words(reason), again.unwrap_or_default()));
        }
        if self.has_work_left() {
            lines.push(format!("to go on: {}", self.again));
        }
        lines
    }

    /// What somebody has to look at.
    fn tell(&self, name: &str, filled: &Filled, lines: &mut Vec<String>) {
        let prefix = if self.sets > 1 { format!("{name}: ") } else { String::new() };
        let unsupported: Vec<&str> = filled
            .fields
            .iter()
            .filter(|field| field.support == Some(tidegate_template::Support::Unsupported))
            .map(|field| field.name.as_str())
            .collect();
        let lists = [
            ("required and empty", filled.missing_required()),
            ("the quote is not in the source", unsupported),
            ("not asked yet", filled.pending()),
        ];
        for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            lines.push(format!("{prefix}{what}: {}", names.join(", ")));
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let stats = self.stats();
        let sets = self.outcomes.iter().map(|outcome| match &outcome.filled {
            Err(error) => json!({"name": outcome.name, "error": error}),
            Ok(filled) => json!({
                "name": outcome.name,
                "values": filled.values,
                "pending": filled.pending(),
                "missing_required": filled.missing_required(),
                "notes": filled.notes,
                "stats": filled.stats,
            }),
        });
        json!({
            "sets": sets.collect::<Vec<_>>(),
            "outputs": self.outputs,
            "stats": stats,
            "calls_one_by_one": one_by_one(&stats),
            "calls_saved": saved(&stats),
            "fields_per_call": stats.fields_per_call(),
            "cost_usd": self.cost.map(Usd::dollars),
            "stopped": self.stopped.map(StopReason::name),
            "run_again_in_ms": self.run_again_in().map(|wait| wait.as_millis() as u64),
            "sets_left": self.sets - self.outcomes.len(),
            "resume": self.has_work_left().then_some(&self.again),
        })
    }

    /// The wait for more of a quota that stopped the asking.
    fn run_again_in(&self) -> Option<Duration> {
        self.more_in.filter(|_| self.stopped == Some(StopReason::Exhausted))
    }

    fn filled(&self) -> impl Iterator<Item = (&str, &Filled)> {
        self.outcomes.iter().filter_map(|outcome| Some((outcome.name.as_str(), outcome.filled.as_ref().ok()?)))
    }

    /// Of all sets together.
    fn stats(&self) -> Stats {
        self.filled().fold(Stats::default(), |sum, (_, filled)| sum.plus(&filled.stats))
    }
}

/// Calls of one search and one question for each field that is not kept.
fn one_by_one(stats: &Stats) -> u64 {
    2 * (stats.fields - stats.from_cache.min(stats.fields))
}

fn saved(stats: &Stats) -> u64 {
    one_by_one(stats).saturating_sub(stats.generation_calls)
}
