//! What a filling costs, call by call; it stops asking when the money is spent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_batch::{Control, StopReason};
use tidegate_engine::{Event, EventKind, Observer};
use tidegate_gemini::prices::{Date, Prices, Usd};

/// What is under way is paid for: it may end.
const GRACE: Duration = Duration::from_secs(600);

/// Adds up the price of every attempt.
pub struct Spending {
    prices: Prices,
    most: Option<Usd>,
    control: Control,
    spent: Mutex<Option<Usd>>,
}

impl Spending {
    /// Counts at these prices; stops `control` at `most`.
    pub fn new(prices: Prices, most: Option<Usd>, control: Control) -> Spending {
        Spending { prices, most, control, spent: Mutex::new(None) }
    }

    /// What was spent; `None` when no price was known.
    pub fn cost(&self) -> Option<Usd> {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Spending {
    fn observe(&self, event: &Event) {
        let EventKind::Attempted(attempt) = &event.kind else { return };
        let today = Date::of_unix_seconds(jiff::Timestamp::now().as_second().unsigned_abs());
        let Some(price) = self.prices.cost(&attempt.seat.model, &attempt.usage, today) else { return };
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let total = spent.map_or(price, |before| before + price);
        *spent = Some(total);
        if self.most.is_some_and(|most| total >= most) {
            self.control.stop(StopReason::Cost, GRACE);
        }
    }
}
