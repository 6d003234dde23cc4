//! Guesses how many input tokens a text costs, and learns per model how far the guess is off.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// One token, in the unit the character weights are given in.
const TOKEN: u64 = 20;

/// What one answer leaves of the older observations: 63/64, so that about the last sixty answers decide.
const MEMORY: f64 = 63.0 / 64.0;

/// Estimated input tokens of `text`, before calibration.
///
/// Every character weighs by its class: four Latin letters a token, one token a digit (the tokenizer splits numbers), two and a
/// half Cyrillic letters, five Chinese, Japanese or Korean characters in four tokens. The sum is rounded up.
///
/// ```
/// assert_eq!(tidegate_gemini::tokens::estimate_text("What's the highest mountain in Africa?"), 10);
/// assert_eq!(tidegate_gemini::tokens::estimate_text(""), 0);
/// ```
pub fn estimate_text(text: &str) -> u64 {
    let weights = if text.is_ascii() {
        text.bytes().map(|byte| u64::from(ASCII[usize::from(byte & 127)])).sum::<u64>()
    } else {
        text.chars().map(weight).sum::<u64>()
    };
    weights.div_ceil(TOKEN)
}

/// The weights of the first 128 characters: most prompts hold no others, and a look-up is several times faster.
const ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut code = 0;
    while code < 128 {
        table[code] = ascii_weight(code as u8);
        code += 1;
    }
    table
};

const fn ascii_weight(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => TOKEN as u8,
        0x21..=0x2f | 0x3a..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e => 10,
        _ => 5,
    }
}

/// Per model, the ratio of the tokens the API counted to the tokens we had estimated.
///
/// Sums rather than single ratios are kept, so a long prompt says more than a short one; older answers fade slowly.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    models: HashMap<String, Sums>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    estimated: f64,
    actual: f64,
    /// Squares of the relative errors left after the ratio, and how many there were.
    #[serde(default)]
    squares: f64,
    #[serde(default)]
    count: f64,
}

/// How far a calibrated estimate is taken to be off (one standard deviation, relative) before answers have told.
const FIRST_SPREAD: f64 = 0.3;
/// How many answers that first guess weighs as much as.
const FIRST_WEIGHT: f64 = 4.0;

impl Calibration {
    /// Learns from one answer. Observations without a count on either side are ignored.
    pub fn observe(&mut self, model: &str, estimated: u64, actual: u64) {
        if estimated == 0 || actual == 0 {
            return;
        }
        let sums = match self.models.get_mut(model) {
            Some(sums) => sums,
            None => self.models.entry(model.to_owned()).or_default(),
        };
        if sums.estimated > 0.0 {
            let expected = estimated as f64 * sums.actual / sums.estimated;
            let error = (actual as f64 - expected) / expected.max(1.0);
            // One wild answer must not stop the traffic: what is off by more than its whole counts as that.
            sums.squares = sums.squares * MEMORY + (error * error).min(1.0);
            sums.count = sums.count * MEMORY + 1.0;
        }
        sums.estimated = sums.estimated * MEMORY + estimated as f64;
        sums.actual = sums.actual * MEMORY + actual as f64;
    }

    /// What has been learned so far: model, tokens estimated, tokens counted.
    pub fn sums(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        self.models.iter().map(|(model, sums)| (model.as_str(), sums.estimated, sums.actual))
    }

    /// Goes on from sums that an earlier run left.
    pub fn restore(&mut self, model: &str, estimated: f64, actual: f64) {
        if estimated > 0.0 && actual > 0.0 {
            let sums = self.models.entry(model.to_owned()).or_default();
            (sums.estimated, sums.actual) = (estimated, actual);
        }
    }

    /// Counted tokens per estimated token; 1.0 before the first answer of that model.
    pub fn ratio(&self, model: &str) -> f64 {
        let known = self.models.get(model).filter(|sums| sums.estimated > 0.0 && sums.actual > 0.0);
        known.map_or(1.0, |sums| sums.actual / sums.estimated)
    }

    /// How far a calibrated estimate of `tokens` is usually off: one standard deviation, in tokens.
    pub fn spread(&self, model: &str, tokens: u64) -> u64 {
        let (squares, count) = self.models.get(model).map_or((0.0, 0.0), |sums| (sums.squares, sums.count));
        let first = FIRST_SPREAD * FIRST_SPREAD * FIRST_WEIGHT;
        (tokens as f64 * ((squares + first) / (count + FIRST_WEIGHT)).sqrt()).ceil() as u64
    }

    /// The estimate as this model would count it, rounded up, at least 1.
    pub fn apply(&self, model: &str, estimated: u64) -> u64 {
        let exact = estimated as f64 * self.ratio(model);
        // A hair is taken off so that 100 x 1.1 does not become 111 by rounding noise.
        ((exact - 1e-6).ceil().max(1.0)) as u64
    }
}

fn weight(c: char) -> u64 {
    match u32::from(c) {
        code @ 0x00..=0x7f => u64::from(ascii_weight(code as u8)),
        0x80..=0x024f | 0x1e00..=0x1eff => 5,
        0x0400..=0x052f => 8,
        0x0300..=0x03ff | 0x0530..=0x10ff | 0x1200..=0x1dff | 0x1f00..=0x1fff => 10,
        0x2000..=0x206f => 10,
        0x1100..=0x11ff | 0x2e80..=0xd7ff | 0xf900..=0xfaff | 0xff00..=0xffef | 0x20000..=0x3ffff => 16,
        _ => TOKEN,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_spread_shrinks_as_estimates_prove_exact_and_grows_as_they_do_not() {
        let mut exact = Calibration::default();
        let mut rough = Calibration::default();
        assert_eq!(exact.spread("m", 1_000), 300);
        for n in 0..200 {
            exact.observe("m", 1_000, 1_300);
            rough.observe("m", 1_000, if n % 2 == 0 { 800 } else { 1_200 });
        }
        assert!(exact.spread("m", 1_000) < 80, "{}", exact.spread("m", 1_000));
        assert!((150..260).contains(&rough.spread("m", 1_000)), "{}", rough.spread("m", 1_000));
    }

    #[test]
    fn latin_text_is_never_estimated_below_four_characters_a_token() {
        let text = "The wren sings louder than its size lets one expect, and it does so all year.";
        assert!(estimate_text(text) >= (text.chars().count() as u64).div_ceil(4));
        assert!(estimate_text(text) <= (text.chars().count() as u64).div_ceil(3));
    }

    #[test]
    fn each_script_weighs_by_its_own_class() {
        assert_eq!(estimate_text("abcdefgh"), 2);
        assert_eq!(estimate_text("20261122"), 8);
        assert_eq!(estimate_text("привет"), 3);
        assert_eq!(estimate_text("東京都千代"), 4);
        assert_eq!(estimate_text("안녕하세요"), 4);
        assert_eq!(estimate_text("🙂🙂"), 2);
    }

    #[test]
    fn a_model_never_seen_is_taken_at_its_estimate() {
        let calibration = Calibration::default();
        assert_eq!(calibration.ratio("gemini-3.8-flash"), 1.0);
        assert_eq!(calibration.apply("gemini-3.8-flash", 120), 120);
        assert_eq!(calibration.apply("gemini-3.8-flash", 0), 1);
    }

    #[test]
    fn the_first_answer_sets_the_ratio_and_models_do_not_mix() {
        let mut calibration = Calibration::default();
        calibration.observe("a", 100, 110);
        assert_eq!(calibration.apply("a", 100), 110);
        assert_eq!(calibration.apply("b", 100), 100);
    }

    #[test]
    fn old_answers_fade_so_a_changed_tokenizer_is_learned() {
        let mut calibration = Calibration::default();
        for _ in 0..500 {
            calibration.observe("a", 100, 100);
        }
        for _ in 0..500 {
            calibration.observe("a", 100, 200);
        }
        assert!(calibration.ratio("a") > 1.99, "{}", calibration.ratio("a"));
    }

    #[test]
    fn what_was_learned_survives_being_stored() {
        let mut calibration = Calibration::default();
        calibration.observe("a", 100, 110);
        let stored = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&stored).unwrap(), calibration);
        let spoiled: Calibration = serde_json::from_str(r#"{"models":{"a":{"estimated":0.0,"actual":5.0}}}"#).unwrap();
        assert_eq!(spoiled.apply("a", 100), 100);
    }

    #[test]
    fn an_answer_without_counts_teaches_nothing() {
        let mut calibration = Calibration::default();
        calibration.observe("a", 100, 0);
        calibration.observe("a", 0, 100);
        assert_eq!(calibration, Calibration::default());
    }
}
