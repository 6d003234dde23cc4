//! What a filling took, and what all fillings of a process took together.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field::Origin;
use crate::filled::{FilledField, Support};
use crate::settings::Settings;

/// Counts of one filling.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Fields of the template.
    pub fields: u64,
    /// Calls that generate text, search questions and questions asked again included.
    pub generation_calls: u64,
    /// Of these, questions that ask again for what was missing, invalid or cut.
    pub asked_again: u64,
    /// Texts whose vectors were asked for.
    pub embedded_texts: u64,
    /// Chunks of the documents, and those of them whose vector was known.
    pub chunks: u64,
    /// See `chunks`.
    pub chunks_known: u64,
    /// Packs the fields were first asked in.
    pub packs: u64,
    /// Fields answered from kept answers.
    pub cache_hits: u64,
    /// Fields that were looked for there in vain.
    pub cache_misses: u64,
    /// Answers whose JSON had to be repaired.
    pub repaired_answers: u64,
    /// Values whose quote stands in no source.
    pub unsupported: u64,
    /// Values by origin.
    pub from_model: u64,
    /// See `from_model`.
    pub from_cache: u64,
    /// See `from_model`.
    pub from_pattern: u64,
    /// Fields without a value.
    pub missing: u64,
    /// Times that everybody had to wait because the API asked for it.
    pub pauses: u64,
    /// Tokens of all questions, as the API counted them.
    pub input_tokens: u64,
    /// Tokens of all answers.
    pub output_tokens: u64,
    /// From start to end, in milliseconds.
    pub elapsed_ms: u64,
}

impl Stats {
    /// Counts the fields as they came out.
    pub(crate) fn count(&mut self, fields: &[FilledField]) {
        self.fields = fields.len() as u64;
        for field in fields {
            match field.origin {
                Origin::Model => self.from_model += 1,
                Origin::Cache => self.from_cache += 1,
                Origin::Pattern => self.from_pattern += 1,
                Origin::Missing => self.missing += 1,
            }
            self.unsupported += u64::from(field.support == Some(Support::Unsupported));
        }
    }

    /// Both together.
    pub fn plus(&self, one: &Stats) -> Stats {
        let mut all = self.clone();
        for (sum, part) in [
            (&mut all.fields, one.fields),
            (&mut all.generation_calls, one.generation_calls),
            (&mut all.asked_again, one.asked_again),
            (&mut all.embedded_texts, one.embedded_texts),
            (&mut all.chunks, one.chunks),
            (&mut all.chunks_known, one.chunks_known),
            (&mut all.packs, one.packs),
            (&mut all.cache_hits, one.cache_hits),
            (&mut all.cache_misses, one.cache_misses),
            (&mut all.repaired_answers, one.repaired_answers),
            (&mut all.unsupported, one.unsupported),
            (&mut all.from_model, one.from_model),
            (&mut all.from_cache, one.from_cache),
            (&mut all.from_pattern, one.from_pattern),
            (&mut all.missing, one.missing),
            (&mut all.pauses, one.pauses),
            (&mut all.input_tokens, one.input_tokens),
            (&mut all.output_tokens, one.output_tokens),
            (&mut all.elapsed_ms, one.elapsed_ms),
        ] {
            *sum += part;
        }
        all
    }

    /// Fields for each call that was made; all of them where none was.
    pub fn fields_per_call(&self) -> f64 {
        self.fields as f64 / self.generation_calls.max(1) as f64
    }
}

/// Counts of all fillings of a process; cheap to share.
#[derive(Debug, Default)]
pub struct Totals {
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    fills: u64,
    all: Stats,
    is_out_of_reach: bool,
}

impl Totals {
    /// Adds one filling. One that was left with fields nobody could be asked for shows that the API is out of reach.
    pub fn add(&self, filled: &crate::filled::Filled) {
        let mut sums = self.sums.lock();
        let one = &filled.stats;
        sums.fills += 1;
        sums.is_out_of_reach = !filled.pending().is_empty();
        sums.all = sums.all.plus(one);
    }

    /// Adds the calls of a filling that was given up before it had a result.
    pub fn add_calls(&self, generation_calls: u64) {
        self.sums.lock().all.generation_calls += generation_calls;
    }

    /// What `GET /api/templates/stats/api-usage` shows; `kept` is the number of kept answers.
    pub fn api_usage(&self, settings: &Settings, kept: u64) -> Value {
        let sums = self.sums.lock();
        let all = &sums.all;
        json!({
            "gemini_api_stats": {
                "total_api_calls": all.generation_calls,
                "cache_size": kept,
                "service_available": !sums.is_out_of_reach,
                "cache_hits": all.cache_hits,
                "cache_misses": all.cache_misses,
                "embedded_texts": all.embedded_texts,
                "input_tokens": all.input_tokens,
                "output_tokens": all.output_tokens,
                "pauses": all.pauses,
            },
            "optimization_info": {
                "parallel_processing_enabled": settings.max_concurrent_api_calls > 1,
                "max_concurrent_batches": settings.max_concurrent_api_calls,
                "min_delay_between_calls": settings.min_delay_between_calls.as_secs_f64(),
                "max_batch_size": settings.max_batch_size,
                "fields_per_api_call_efficiency": (all.fields_per_call() * 100.0).round() / 100.0,
                "templates_filled": sums.fills,
                "fields": all.fields,
                "asked_again": all.asked_again,
                "unsupported": all.unsupported,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filled::Filled;

    #[test]
    fn usage_of_all_fillings_is_shown_under_its_known_names() {
        let totals = Totals::default();
        for calls in [2, 4] {
            let stats = Stats { fields: 30, generation_calls: calls, ..Stats::default() };
            totals.add(&Filled { stats, ..Filled::default() });
        }
        let usage = totals.api_usage(&Settings::default(), 7);
        let (api, info) = (&usage["gemini_api_stats"], &usage["optimization_info"]);
        assert_eq!(
            (&api["total_api_calls"], &api["cache_size"], &api["service_available"]),
            (&json!(6), &json!(7), &json!(true))
        );
        assert_eq!((&info["parallel_processing_enabled"], &info["max_concurrent_batches"]), (&json!(true), &json!(2)));
        assert_eq!(info["fields_per_api_call_efficiency"], json!(10.0));
    }
}
