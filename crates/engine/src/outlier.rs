//! Which prompts are worth asking the API for an exact count of their tokens before they are sent.

use std::collections::HashMap;
use std::sync::Arc;

/// Whose tokens are counted by the API (`countTokens`: neither billed nor counted as a request) before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CountTokens {
    /// Nobody's: estimates are learned from answers.
    #[default]
    Never,
    /// Of prompts far larger than the others that weigh in a minute's tokens, or whose doubt alone does.
    Outliers,
    /// Everybody's.
    Always,
}

/// A prompt so many times larger than the mean of those before it is no usual one.
const TIMES_THE_MEAN: f64 = 10.0;
/// Less than this part of a minute's tokens is not worth a question.
const PART_OF_A_MINUTE: f64 = 0.05;
/// A doubt of this part of a minute's tokens is worth one whatever the size of others.
const DOUBT: f64 = 0.1;
/// What one prompt leaves of those before it: about the last sixty make the mean.
const MEMORY: f64 = 63.0 / 64.0;

/// The usual size of each model's prompts.
#[derive(Debug, Default)]
pub(crate) struct Sizes(HashMap<Arc<str>, Mean>);

#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Sizes {
    /// Nobody asks this model.
    pub(crate) fn forget(&mut self, family: &str) {
        self.0.remove(family);
    }

    /// Whether a prompt of `tokens`, one standard deviation of which is `spread`, stands out where `tpm` may be used a
    /// minute; counts it for those that follow.
    pub(crate) fn stands_out(&mut self, family: &Arc<str>, tokens: u64, spread: u64, tpm: Option<u64>) -> bool {
        let mean = self.0.entry(family.clone()).or_default();
        let tokens = tokens as f64;
        let is_large = mean.count > 0.0 && tokens > TIMES_THE_MEAN * mean.sum / mean.count;
        mean.sum = mean.sum * MEMORY + tokens;
        mean.count = mean.count * MEMORY + 1.0;
        let Some(tpm) = tpm else { return false };
        (is_large && tokens > PART_OF_A_MINUTE * tpm as f64) || spread as f64 > DOUBT * tpm as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(prompts: &[(u64, u64)], tpm: Option<u64>) -> Vec<bool> {
        let (mut sizes, family) = (Sizes::default(), Arc::from("m"));
        prompts.iter().map(|&(tokens, spread)| sizes.stands_out(&family, tokens, spread, tpm)).collect()
    }

    #[test]
    fn what_is_ten_times_the_mean_and_weighs_in_the_minute_stands_out() {
        let prompts = [(100, 10), (100, 10), (1_001, 10), (100, 10)];
        assert_eq!(asked(&prompts, Some(20_000)), [false, false, true, false]);
        assert_eq!(asked(&prompts, Some(21_000)), [false; 4]);
        assert_eq!(asked(&prompts, None), [false; 4]);
    }

    #[test]
    fn a_doubt_that_weighs_in_the_minute_is_asked_about_from_the_first_prompt_on() {
        assert_eq!(asked(&[(5_000, 1_500), (5_000, 900)], Some(10_000)), [true, false]);
    }

    #[test]
    fn what_was_large_becomes_usual() {
        let prompts: Vec<_> = std::iter::once((10, 1)).chain(std::iter::repeat_n((1_000, 1), 40)).collect();
        let asked = asked(&prompts, Some(1_000));
        assert!(asked[1] && !asked[40]);
    }
}
