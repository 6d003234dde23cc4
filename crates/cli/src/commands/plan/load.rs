//! What the inputs come to: prompts, tokens and cost, by model.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_batch::survey::{Prospect, survey};
use tidegate_batch::{Input, Options};
use tidegate_engine::rehearsal::Part;
use tidegate_gemini::models::family;
use tidegate_gemini::prices::{Date, Prices, Usd};
use tidegate_gemini::response::Usage;
use tidegate_gemini::tokens::{Calibration, Estimate};

use crate::commands::run;
use crate::exit_code::Failure;

/// What nobody knows before the first answer.
#[derive(Debug, Clone, Copy)]
pub struct Assumed {
    /// Tokens of an answer, where its prompt does not allow fewer.
    pub output_tokens: u64,
    /// How long a call takes.
    pub latency: Duration,
}

/// What reading the inputs takes.
#[derive(Debug)]
pub struct Given<'a> {
    /// How rows become prompts.
    pub options: Options,
    /// What answers have taught about each model's tokens.
    pub calibration: &'a Calibration,
    /// What models charge.
    pub prices: Prices,
    /// What nobody knows.
    pub assumed: Assumed,
}

/// All prompts of the inputs.
#[derive(Debug, Default)]
pub struct Load {
    /// What each model is asked, in the order of their first prompts.
    pub models: Vec<ModelLoad>,
    /// Quota families, in the order of their first prompts.
    pub families: Vec<String>,
    /// Every call, in the order of the inputs.
    pub parts: Vec<Part>,
    /// Malformed rows passed over.
    pub skipped: u64,
    /// The day whose prices were used.
    pub priced_on: Option<Date>,
}

/// What one model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLoad {
    /// Its id.
    pub model: String,
    /// Prompts.
    pub prompts: u64,
    /// Input tokens, calibrated.
    pub input_tokens: u64,
    /// Expected output tokens.
    pub output_tokens: u64,
    /// What these cost; `None` when no price is known.
    pub cost: Option<Usd>,
    /// True when earlier answers of this model have corrected the estimates.
    pub calibrated: bool,
    family: u16,
    estimate: Estimate,
}

impl Load {
    /// Reads the inputs.
    ///
    /// # Errors
    /// What would stop a run before its first call.
    pub fn read(inputs: Vec<Input>, given: Given<'_>) -> Result<Load, Failure> {
        let Given { options, calibration, prices, assumed } = given;
        let today = Date::of_unix_seconds(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
        let mut reader = Reader { load: Load::default(), places: HashMap::new(), prices, today, assumed };
        let skipped = survey(inputs, &options, |row| reader.add(&row, calibration)).map_err(|error| run::broken(&error))?;
        let mut load = Load { skipped, priced_on: Some(today), ..reader.load };
        for model in &mut load.models {
            // One rounding for all: each prompt's own would add up to half a token a prompt.
            let family = &load.families[usize::from(model.family)];
            model.calibrated = calibration.knows(family);
            model.input_tokens = calibration.apply(family, model.estimate);
        }
        Ok(load)
    }

    /// Prompts in all.
    pub fn prompts(&self) -> u64 {
        self.models.iter().map(|model| model.prompts).sum()
    }

    /// Calls in all: as many as prompts, unless some share one.
    pub fn calls(&self) -> u64 {
        self.parts.len() as u64
    }

    /// Calls to one family.
    pub fn calls_of(&self, number: usize) -> u64 {
        self.parts.iter().filter(|part| usize::from(part.model) == number).count() as u64
    }

    /// Input tokens in all.
    pub fn input_tokens(&self) -> u64 {
        self.models.iter().map(|model| model.input_tokens).sum()
    }

    /// Expected output tokens in all.
    pub fn output_tokens(&self) -> u64 {
        self.models.iter().map(|model| model.output_tokens).sum()
    }

    /// What everything costs that has a price; `None` when nothing has.
    pub fn cost(&self) -> Option<Usd> {
        let nanos: Vec<u64> = self.models.iter().filter_map(|model| model.cost).map(Usd::nanos).collect();
        (!nanos.is_empty()).then(|| Usd::of_nanos(nanos.iter().sum()))
    }

    /// Models without a known price.
    pub fn unpriced(&self) -> Vec<&str> {
        self.models.iter().filter(|model| model.cost.is_none()).map(|model| model.model.as_str()).collect()
    }
}

struct Reader {
    load: Load,
    places: HashMap<String, usize>,
    prices: Prices,
    today: Date,
    assumed: Assumed,
}

impl Reader {
    fn add(&mut self, row: &Prospect, calibration: &Calibration) {
        let place = self.place(&row.model);
        let model = &mut self.load.models[place];
        let output =
            row.max_output_tokens.map_or(self.assumed.output_tokens, |most| most.min(self.assumed.output_tokens)) * row.rows;
        let input = calibration.apply(&self.load.families[usize::from(model.family)], row.estimate);
        let usage = Usage { input_tokens: input, output_tokens: output, total_tokens: input + output, ..Usage::default() };
        let cost = self.prices.cost(&row.model, &usage, self.today);
        model.cost = model.cost.zip(cost).map(|(sum, one)| Usd::of_nanos(sum.nanos().saturating_add(one.nanos())));
        model.prompts += row.rows;
        model.estimate += row.estimate;
        model.output_tokens += output;
        let tokens = u32::try_from(input).unwrap_or(u32::MAX);
        self.load.parts.push(Part { model: model.family, tokens, priority: row.priority });
    }

    fn place(&mut self, model: &str) -> usize {
        if let Some(&place) = self.places.get(model) {
            return place;
        }
        let place = self.load.models.len();
        let family = self.family(family(model));
        let cost = self.prices.knows(model, self.today).then(|| Usd::of_nanos(0));
        let model = model.to_string();
        self.places.insert(model.clone(), place);
        let (prompts, input_tokens, output_tokens, calibrated) = (0, 0, 0, false);
        let estimate = Estimate::default();
        self.load.models.push(ModelLoad { model, prompts, input_tokens, output_tokens, cost, calibrated, family, estimate });
        place
    }

    fn family(&mut self, name: &str) -> u16 {
        let families = &mut self.load.families;
        let place = families.iter().position(|known| known == name).unwrap_or_else(|| {
            families.push(name.to_string());
            families.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::io::Cursor;

    use tidegate_batch::Format;

    use super::*;

    fn load(text: &'static str, calibration: &Calibration) -> Load {
        let mut options = Options::default();
        options.defaults.model = Some("gemini-3.8-flash".into());
        let assumed = Assumed { output_tokens: 500, latency: Duration::from_secs(3) };
        let given = Given { options, calibration, prices: Prices::default(), assumed };
        Load::read(vec![Input::stream("in", Format::Jsonl, Cursor::new(text))], given).unwrap()
    }

    #[test]
    fn prompts_and_tokens_are_summed_by_model_and_aliases_share_a_family() {
        let load = load(
            "\"abcdefgh\"\n{\"prompt\":\"abcd\",\"model\":\"gemini-3.1-pro-preview\"}\n\
             {\"prompt\":\"abcd\",\"model\":\"gemini-3.1-pro-preview-customtools\",\"generation_config\":{\"maxOutputTokens\":7}}\n",
            &Calibration::default(),
        );
        let names: Vec<_> = load.models.iter().map(|model| (model.prompts, model.output_tokens, model.family)).collect();
        assert_eq!(names, [(1, 500, 0), (1, 500, 1), (1, 7, 1)]);
        assert_eq!((load.prompts(), load.calls_of(1), load.output_tokens()), (3, 2, 1_007));
        assert_eq!(load.input_tokens(), load.parts.iter().map(|part| u64::from(part.tokens)).sum::<u64>());
    }

    #[test]
    fn what_answers_have_taught_corrects_the_sum_with_one_rounding() {
        let mut calibration = Calibration::default();
        calibration.observe("gemini-3.8-flash", 100, 120);
        let load = load("\"abcd\"\n\"abcd\"\n\"abcd\"\n\"abcd\"\n\"abcd\"\n", &calibration);
        let estimated = load.models[0].estimate.total();
        assert_eq!((load.input_tokens(), load.models[0].calibrated), ((estimated * 12).div_ceil(10), true));
    }

    #[test]
    fn a_model_without_a_price_is_named_and_the_others_are_counted() {
        let load = load("\"abcd\"\n{\"prompt\":\"abcd\",\"model\":\"tunedModels/birds\"}\n", &Calibration::default());
        assert_eq!(load.unpriced(), ["tunedModels/birds"]);
        assert!(load.cost().unwrap().nanos() > 0);
    }
}
