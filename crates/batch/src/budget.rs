//! Money: what the answers have cost so far, against what the caller allows.

use std::collections::BTreeSet;

use tidegate_gemini::Usage;
use tidegate_gemini::prices::{Date, Prices, Usd};

/// The most money a run may spend, by which prices.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Nothing more is asked once this much is spent.
    pub most: Usd,
    /// What models charge. A model without a price costs nothing here, and the run warns of it.
    pub prices: Prices,
}

/// What was spent of a budget; without one nothing is counted.
#[derive(Debug, Default)]
pub(crate) struct Spending {
    budget: Option<Budget>,
    spent: Usd,
    unpriced: BTreeSet<String>,
}

impl Spending {
    pub(crate) fn of(budget: Option<Budget>) -> Spending {
        Spending { budget, ..Spending::default() }
    }

    /// Counts an answer. The first one of a model without a price gives a warning.
    ///
    /// The attempts of one row are priced as one: where several long prompts add up to more than the model's bound for
    /// long ones, they count dearer than they are, never cheaper.
    pub(crate) fn add(&mut self, model: &str, usage: &Usage, date: Date) -> Option<String> {
        let budget = self.budget.as_ref().filter(|_| *usage != Usage::default())?;
        if let Some(cost) = budget.prices.cost(model, usage, date) {
            self.spent += cost;
            return None;
        }
        self.unpriced.insert(model.to_owned()).then(|| {
            format!("no price of model {model} is known: its answers do not count against --max-cost; add [prices.\"{model}\"] to tidegate.toml")
        })
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| self.spent >= budget.most)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn answers_add_up_until_the_budget_is_used_up() {
        let usage = Usage { output_tokens: 100, total_tokens: 100, ..Usage::default() };
        let most = Usd::of_nanos(2 * 100 * 3_750);
        let mut spending = Spending::of(Some(Budget { most, prices: Prices::default() }));
        let date = "2026-11-22".parse().unwrap();
        assert_eq!(spending.add("gemini-3.8-flash", &usage, date), None);
        assert!(!spending.is_used_up());
        assert_eq!(spending.add("gemini-3.8-flash", &usage, date), None);
        assert!(spending.is_used_up());
    }

    #[test]
    fn a_model_without_a_price_is_named_once() {
        let usage = Usage { output_tokens: 1, total_tokens: 1, ..Usage::default() };
        let mut spending = Spending::of(Some(Budget { most: Usd::of_nanos(1), prices: Prices::default() }));
        let date = "2026-11-22".parse().unwrap();
        assert_eq!(spending.add("homemade", &Usage::default(), date), None, "nothing was used");
        assert!(spending.add("homemade", &usage, date).unwrap().contains("[prices.\"homemade\"]"));
        assert_eq!(spending.add("homemade", &usage, date), None);
        assert!(!spending.is_used_up());
    }
}
