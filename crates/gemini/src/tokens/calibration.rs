//! Learns from answers how far estimates are off, for each model and kind of content, and how long answers are.

use foldhash::HashMap;

use super::{Estimate, Modality};

/// What one answer leaves of the older observations: 63/64, so that about the last sixty answers decide.
const MEMORY: f64 = 63.0 / 64.0;
/// How far a calibrated estimate is taken to be off (one standard deviation, relative) before answers have told.
const FIRST_SPREAD: f64 = 0.3;
/// How many answers that first guess weighs as much as.
const FIRST_WEIGHT: f64 = 4.0;

/// Per model and kind of content, the ratio of the tokens the API counted to the tokens we had estimated; per model, the
/// tokens of an answer.
///
/// Sums rather than single ratios are kept, so a long prompt says more than a short one; older answers fade slowly.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calibration {
    models: HashMap<String, Lessons>,
}

/// What is known of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Lessons {
    /// In the order of [`Modality::ALL`].
    input: [Sums; 5],
    /// Answers against their tokens.
    output: Sums,
    /// Squares of the relative errors left after the ratios, and how many there were.
    squares: f64,
    count: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    estimated: f64,
    actual: f64,
}

impl Sums {
    fn add(&mut self, estimated: f64, actual: f64) {
        self.estimated = self.estimated * MEMORY + estimated;
        self.actual = self.actual * MEMORY + actual;
    }

    fn ratio(&self) -> Option<f64> {
        (self.estimated > 0.0 && self.actual > 0.0).then(|| self.actual / self.estimated)
    }
}

/// One pair of sums, as it is kept from run to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lesson<'a> {
    /// The model.
    pub model: &'a str,
    /// The name of a [`Modality`]; `output` for answers, each of which counts as one estimated token.
    pub about: &'static str,
    /// Tokens estimated.
    pub estimated: f64,
    /// Tokens counted.
    pub actual: f64,
}

/// What [`Lesson::about`] says of the length of answers.
const OUTPUT: &str = "output";

impl Calibration {
    /// Learns from one answer of which only the sum is told: it is shared out as was expected.
    /// Observations without a count on either side are ignored.
    pub fn observe(&mut self, model: &str, estimated: impl Into<Estimate>, actual: u64) {
        let estimated = estimated.into();
        let expected = self.expected(model, estimated);
        let sum: f64 = expected.iter().sum();
        if sum > 0.0 {
            self.learn(model, estimated, expected.map(|part| part / sum * actual as f64));
        }
    }

    /// Learns from one answer that tells its tokens by kind. Where the API saw a kind that we did not, the sum alone counts.
    pub fn observe_parts(&mut self, model: &str, estimated: impl Into<Estimate>, actual: &Estimate) {
        let estimated = estimated.into();
        let mut pairs = estimated.parts().into_iter().zip(actual.parts());
        if pairs.any(|((_, ours), (_, theirs))| ours == 0 && theirs > 0) {
            return self.observe(model, estimated, actual.total());
        }
        self.learn(model, estimated, actual.parts().map(|(_, tokens)| tokens as f64));
    }

    /// Learns how long an answer was, thinking included.
    pub fn observe_output(&mut self, model: &str, tokens: u64) {
        self.of(model).output.add(1.0, tokens as f64);
    }

    fn learn(&mut self, model: &str, estimated: Estimate, actual: [f64; 5]) {
        let counted: f64 = actual.iter().sum();
        if estimated.total() == 0 || counted <= 0.0 {
            return;
        }
        let expected: f64 = self.expected(model, estimated).iter().sum();
        let lessons = self.of(model);
        if lessons.input.iter().any(|sums| sums.estimated > 0.0) {
            let error = (counted - expected) / expected.max(1.0);
            // One wild answer must not stop the traffic: what is off by more than its whole counts as that.
            lessons.squares = lessons.squares * MEMORY + (error * error).min(1.0);
            lessons.count = lessons.count * MEMORY + 1.0;
        }
        for ((sums, (_, ours)), theirs) in lessons.input.iter_mut().zip(estimated.parts()).zip(actual) {
            if ours > 0 {
                sums.add(ours as f64, theirs);
            }
        }
    }

    fn of(&mut self, model: &str) -> &mut Lessons {
        self.models.entry(model.to_owned()).or_default()
    }

    /// What has been learned so far.
    pub fn lessons(&self) -> impl Iterator<Item = Lesson<'_>> {
        self.models.iter().flat_map(|(model, lessons)| {
            let input = Modality::ALL.into_iter().zip(lessons.input).map(|(modality, sums)| (modality.name(), sums));
            let all = input.chain([(OUTPUT, lessons.output)]).filter(|(_, sums)| sums.estimated > 0.0);
            all.map(move |(about, Sums { estimated, actual })| Lesson { model, about, estimated, actual })
        })
    }

    /// Goes on from sums that an earlier run left. Nothing named counts as text: so did older files.
    pub fn restore(&mut self, model: &str, about: &str, estimated: f64, actual: f64) {
        let usable = |sum: f64| sum.is_finite() && sum > 0.0;
        if !usable(estimated) || !usable(actual) {
            return;
        }
        let sums = Sums { estimated, actual };
        let modality = if about.is_empty() { Some(Modality::Text) } else { Modality::named(about) };
        match modality {
            Some(modality) => self.of(model).input[modality as usize] = sums,
            None if about == OUTPUT => self.of(model).output = sums,
            None => {}
        }
    }

    /// Counted tokens per estimated token of one kind; 1.0 before the first answer that had some.
    pub fn ratio(&self, model: &str, modality: Modality) -> f64 {
        self.models.get(model).and_then(|lessons| lessons.input[modality as usize].ratio()).unwrap_or(1.0)
    }

    /// Whether an answer of that model has taught anything about its input.
    pub fn knows(&self, model: &str) -> bool {
        self.models.get(model).is_some_and(|lessons| lessons.input.iter().any(|sums| sums.ratio().is_some()))
    }

    /// How far a calibrated estimate of `tokens` is usually off: one standard deviation, in tokens.
    pub fn spread(&self, model: &str, tokens: u64) -> u64 {
        let (squares, count) = self.models.get(model).map_or((0.0, 0.0), |lessons| (lessons.squares, lessons.count));
        let first = FIRST_SPREAD * FIRST_SPREAD * FIRST_WEIGHT;
        (tokens as f64 * ((squares + first) / (count + FIRST_WEIGHT)).sqrt()).ceil() as u64
    }

    /// The estimate as this model would count it, rounded up, at least 1.
    pub fn apply(&self, model: &str, estimated: impl Into<Estimate>) -> u64 {
        let exact: f64 = self.expected(model, estimated.into()).iter().sum();
        // A hair is taken off so that 100 x 1.1 does not become 111 by rounding noise.
        ((exact - 1e-6).ceil().max(1.0)) as u64
    }

    /// Tokens that an answer of this model usually has, thinking included; 0 before the first.
    pub fn expected_output(&self, model: &str) -> u64 {
        let mean = self.models.get(model).and_then(|lessons| lessons.output.ratio());
        mean.map_or(0, |tokens| tokens.ceil() as u64)
    }

    fn expected(&self, model: &str, estimated: Estimate) -> [f64; 5] {
        let lessons = self.models.get(model);
        let ratio = |modality: Modality| lessons.and_then(|lessons| lessons.input[modality as usize].ratio()).unwrap_or(1.0);
        estimated.parts().map(|(modality, tokens)| if tokens == 0 { 0.0 } else { tokens as f64 * ratio(modality) })
    }
}

#[cfg(test)]
mod tests {
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
    fn a_model_never_seen_is_taken_at_its_estimate() {
        let calibration = Calibration::default();
        assert_eq!(calibration.ratio("gemini-3.8-flash", Modality::Text), 1.0);
        assert_eq!(calibration.apply("gemini-3.8-flash", 120), 120);
        assert_eq!(calibration.apply("gemini-3.8-flash", 0), 1);
        assert!(!calibration.knows("gemini-3.8-flash"));
    }

    #[test]
    fn the_first_answer_sets_the_ratio_and_models_do_not_mix() {
        let mut calibration = Calibration::default();
        calibration.observe("a", 100, 110);
        assert_eq!(calibration.apply("a", 100), 110);
        assert_eq!(calibration.apply("b", 100), 100);
        assert!(calibration.knows("a") && !calibration.knows("b"));
    }

    #[test]
    fn each_kind_of_content_has_its_own_ratio() {
        let mut calibration = Calibration::default();
        let asked = Estimate { text: 100, image: 1_000, ..Estimate::default() };
        let counted = Estimate { text: 120, image: 500, ..Estimate::default() };
        for _ in 0..10 {
            calibration.observe_parts("m", asked, &counted);
        }
        assert_eq!(calibration.apply("m", 1_000), 1_200);
        assert_eq!(calibration.apply("m", Estimate::of(Modality::Image, 1_000)), 500);
        assert_eq!(calibration.apply("m", Estimate::of(Modality::Audio, 1_000)), 1_000);
    }

    #[test]
    fn an_answer_that_tells_only_the_sum_is_shared_out_as_was_expected() {
        let mut calibration = Calibration::default();
        let mixed = Estimate { text: 100, image: 300, ..Estimate::default() };
        calibration.observe("m", mixed, 800);
        assert_eq!(calibration.apply("m", mixed), 800);
        assert_eq!(calibration.apply("m", 100), 200);
        // Pages that the API counts as pictures: our own split goes on.
        let page = Estimate::of(Modality::Document, 258);
        calibration.observe_parts("m", page, &Estimate::of(Modality::Image, 516));
        assert_eq!(calibration.apply("m", page), 516);
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
        assert!(calibration.ratio("a", Modality::Text) > 1.99, "{}", calibration.ratio("a", Modality::Text));
    }

    #[test]
    fn the_length_of_answers_is_learned_as_their_mean() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.expected_output("m"), 0);
        for n in 0..400 {
            calibration.observe_output("m", if n % 2 == 0 { 100 } else { 300 });
        }
        assert!((198..=203).contains(&calibration.expected_output("m")), "{}", calibration.expected_output("m"));
    }

    #[test]
    fn what_was_learned_survives_being_kept() {
        let mut calibration = Calibration::default();
        calibration.observe("a", Estimate { text: 100, video: 900, ..Estimate::default() }, 1_110);
        calibration.observe_output("a", 55);
        let mut again = Calibration::default();
        for Lesson { model, about, estimated, actual } in calibration.lessons() {
            again.restore(model, about, estimated, actual);
        }
        assert_eq!(again, calibration);
    }

    #[test]
    fn sums_without_a_kind_are_text_and_spoiled_or_unknown_ones_teach_nothing() {
        let mut calibration = Calibration::default();
        calibration.restore("old", "", 100.0, 150.0);
        assert_eq!(calibration.apply("old", 100), 150);
        for (about, estimated, actual) in [("text", 0.0, 5.0), ("text", f64::NAN, 5.0), ("scent", 1.0, 2.0)] {
            calibration.restore("new", about, estimated, actual);
        }
        assert_eq!(calibration.apply("new", 100), 100);
    }

    #[test]
    fn an_answer_without_counts_teaches_nothing() {
        let mut calibration = Calibration::default();
        calibration.observe("a", 100, 0);
        calibration.observe("a", 0, 100);
        assert_eq!(calibration.lessons().count(), 0);
        assert!(!calibration.knows("a"));
    }
}
