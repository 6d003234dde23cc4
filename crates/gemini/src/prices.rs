//! What tokens cost: the dated table of prices.toml, prices of the user's own over it, and sums in whole nano-dollars.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::models::family;
use crate::response::Usage;

mod money;

pub use money::{Date, MoneyError, Usd};

/// Who charges what: the shipped table, under prices the user has set.
///
/// ```
/// use tidegate_gemini::prices::{Price, Prices};
/// use tidegate_gemini::Usage;
///
/// let usage = Usage { input_tokens: 1_000, output_tokens: 200, thinking_tokens: 100, ..Usage::default() };
/// let (autumn, spring) = ("2026-11-22".parse()?, "2027-04-01".parse()?);
/// let prices = Prices::default();
/// assert_eq!(prices.cost("gemini-3.8-flash", &usage, autumn).unwrap().to_string(), "$0.0019");
/// assert_eq!(prices.cost("gemini-3.8-flash", &usage, spring).unwrap().to_string(), "$0.0038");
/// assert_eq!(prices.cost("tunedModels/birds", &usage, spring), None);
///
/// let prices = prices.with("tunedModels/birds", Price::per_million(1.0, 2.0, None)?);
/// assert_eq!(prices.cost("tunedModels/birds", &usage, spring).unwrap().to_string(), "$0.0016");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices {
    own: BTreeMap<String, Price>,
}

/// What one model charges, in nano-dollars per 1,000,000 tokens. Read from `input`, `output` and `cached` in USD, as in
/// [`Price::per_million`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PerMillion")]
pub struct Price {
    input: u64,
    output: u64,
    cached: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PerMillion {
    input: f64,
    output: f64,
    cached: Option<f64>,
}

impl TryFrom<PerMillion> for Price {
    type Error = MoneyError;

    fn try_from(written: PerMillion) -> Result<Price, MoneyError> {
        Price::per_million(written.input, written.output, written.cached)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    dated: String,
    prices: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    models: Vec<String>,
    from: Option<Date>,
    until: Option<Date>,
    input: f64,
    output: f64,
    cached: Option<f64>,
    long: Option<Long>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    over: u64,
    input: f64,
    output: f64,
}

// The text is compiled in and a test parses it, so the fallback is never taken in a build that passed its tests.
static TABLE: LazyLock<Table> = LazyLock::new(|| toml::from_str(include_str!("../prices.toml")).unwrap_or_default());

impl Prices {
    /// The same with a price for `model` that goes before the table, on every day.
    pub fn with(mut self, model: &str, price: Price) -> Prices {
        self.own.insert(family(model).to_string(), price);
        self
    }

    /// What one answer of `model` costs on `date`, rounded to the nearest nano-dollar; `None` when no price is known.
    ///
    /// The price of an interactive call for text. It is the length of one prompt that decides about long-prompt prices,
    /// so hand in the usage of one attempt, not a sum.
    pub fn cost(&self, model: &str, usage: &Usage, date: Date) -> Option<Usd> {
        let price = match self.own.get(family(model)) {
            Some(own) => *own,
            None => row(model, date)?.price(usage.input_tokens)?,
        };
        Some(price.of(usage))
    }

    /// True when [`Prices::cost`] has an answer for `model` on `date`.
    pub fn knows(&self, model: &str, date: Date) -> bool {
        self.cost(model, &Usage::default(), date).is_some()
    }
}

impl Price {
    /// From USD per 1,000,000 tokens, as price lists write it. Without a price for `cached` tokens `input` is charged.
    ///
    /// # Errors
    /// [`MoneyError`] when a number is negative or beyond $1,000,000.
    pub fn per_million(input: f64, output: f64, cached: Option<f64>) -> Result<Price, MoneyError> {
        let nanos = |dollars| Usd::of_dollars(dollars).map(Usd::nanos);
        Ok(Price { input: nanos(input)?, output: nanos(output)?, cached: nanos(cached.unwrap_or(input))? })
    }

    fn of(self, usage: &Usage) -> Usd {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let parts = [
            (usage.input_tokens - cached, self.input),
            (cached, self.cached),
            (usage.output_tokens.saturating_add(usage.thinking_tokens), self.output),
        ];
        let millionths: u128 = parts.iter().map(|&(tokens, price)| u128::from(tokens) * u128::from(price)).sum();
        Usd::of_nanos(u64::try_from((millionths + 500_000) / 1_000_000).unwrap_or(u64::MAX))
    }
}

impl Row {
    fn holds(&self, model: &str, date: Date) -> bool {
        let begun = self.from.is_none_or(|from| from <= date);
        let over = self.until.is_some_and(|until| until < date);
        begun && !over && self.models.iter().any(|name| name == model)
    }

    fn price(&self, prompt_tokens: u64) -> Option<Price> {
        match &self.long {
            Some(long) if prompt_tokens > long.over => Price::per_million(long.input, long.output, None),
            _ => Price::per_million(self.input, self.output, self.cached),
        }
        .ok()
    }
}

fn row(model: &str, date: Date) -> Option<&'static Row> {
    TABLE.prices.iter().find(|row| row.holds(family(model), date))
}

/// The day the table was last checked.
pub fn dated() -> Option<Date> {
    Date::from_str(&TABLE.dated).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn usage(input: u64, output: u64, thinking: u64, cached: u64) -> Usage {
        let total_tokens = input + output + thinking;
        Usage {
            input_tokens: input,
            output_tokens: output,
            thinking_tokens: thinking,
            cached_tokens: cached,
            total_tokens,
            ..Usage::default()
        }
    }

    fn nanos(model: &str, usage: &Usage, date: &str) -> Option<u64> {
        Prices::default().cost(model, usage, date.parse().unwrap()).map(Usd::nanos)
    }

    #[test]
    fn the_table_parses_and_every_row_has_a_name_that_is_looked_for() {
        let table: Table = toml::from_str(include_str!("../prices.toml")).unwrap();
        assert_eq!(dated().unwrap().to_string(), table.dated);
        for row in &table.prices {
            assert!(row.price(0).is_some() && row.price(u64::MAX).is_some());
            for name in &row.models {
                assert_eq!(family(name), name, "a price under an alias would never be found");
            }
        }
    }

    #[test]
    fn two_rows_never_hold_for_one_model_on_one_day() {
        for date in ["2026-10-04", "2026-12-31", "2027-01-01", "2030-06-15"] {
            let date = date.parse().unwrap();
            for name in TABLE.prices.iter().flat_map(|row| &row.models) {
                let rows = TABLE.prices.iter().filter(|row| row.holds(name, date)).count();
                assert_eq!(rows, 1, "{name} on {date}");
            }
        }
    }

    #[test]
    fn the_flash_price_changes_with_the_year() {
        let million = usage(1_000_000, 1_000_000, 0, 0);
        assert_eq!(nanos("gemini-3.8-flash", &million, "2026-12-31"), Some(4_500_000_000));
        assert_eq!(nanos("models/gemini-3.8-flash", &million, "2027-01-01"), Some(9_000_000_000));
    }

    #[test]
    fn thinking_is_charged_as_output_and_a_cached_part_by_its_own_price() {
        assert_eq!(nanos("gemini-3.8-flash", &usage(100, 10, 30, 40), "2026-11-22"), Some(60 * 750 + 40 * 75 + 40 * 3750));
        assert_eq!(nanos("gemini-3.1-flash-lite", &usage(100, 0, 0, 40), "2026-11-22"), Some(100 * 250), "no price known");
        assert_eq!(nanos("gemini-3.8-flash", &usage(10, 0, 0, 99), "2026-11-22"), Some(10 * 75), "never less than nothing");
    }

    #[test]
    fn a_long_prompt_has_its_own_price() {
        assert_eq!(nanos("gemini-3.1-pro-preview", &usage(200_000, 10, 0, 0), "2026-11-22"), Some(200_000 * 2_000 + 10 * 12_000));
        assert_eq!(nanos("gemini-3.1-pro-preview", &usage(200_001, 10, 0, 0), "2026-11-22"), Some(200_001 * 4_000 + 10 * 18_000));
    }

    #[test]
    fn a_price_of_ones_own_goes_before_the_table_under_every_name_of_the_model() {
        let prices = Prices::default().with("models/gemini-3.8-flash", Price::per_million(2.0, 0.0, Some(0.5)).unwrap());
        let date = "2027-05-05".parse().unwrap();
        assert_eq!(prices.cost("gemini-3.8-flash", &usage(10, 5, 0, 4), date), Some(Usd::of_nanos(6 * 2_000 + 4 * 500)));
        assert!(prices.knows("gemini-3.5-flash", date));
        assert!(!prices.knows("gemini-flash-latest", date), "nobody can say today what that will be");
    }

    #[test]
    fn a_price_is_read_as_price_lists_write_it() {
        let price: Price = toml::from_str("input = 1\noutput = 2.5").unwrap();
        assert_eq!(price, Price::per_million(1.0, 2.5, None).unwrap());
        assert!(toml::from_str::<Price>("input = -1\noutput = 2.5").is_err());
        assert!(toml::from_str::<Price>("input = 1\noutput = 2\nthinking = 3").is_err());
    }

    #[test]
    fn prices_that_cannot_be_are_refused() {
        assert!(Price::per_million(-1.0, 0.0, None).is_err());
        assert!(Price::per_million(1.0, f64::NAN, None).is_err());
        assert!(Price::per_million(1.0, 1.0, Some(f64::INFINITY)).is_err());
    }
}
