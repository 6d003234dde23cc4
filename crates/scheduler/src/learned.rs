//! What refusals have taught about one limit, and how it carefully finds its way up again.

use std::time::Duration;

use crate::time::Timestamp;

/// Windows without a refusal, used nearly whole, before a limit is tried a little higher.
const WINDOWS_AFTER_A_GUESS: u32 = 2;
const WINDOWS_AFTER_A_WORD: u32 = 60;
const MOST_WINDOWS: u32 = 600;
/// Part of a limit from which on it counts as used up.
const NEARLY_WHOLE: f64 = 0.95;

/// A limit per minute that is not (only) what the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Learned {
    /// What the settings say: never exceeded.
    ceiling: Option<u64>,
    /// True once a refusal has told, or let us count, a value.
    active: bool,
    /// The value is our own count and not the server's word.
    guessed: bool,
    windows: u32,
    raise_at: Timestamp,
    was_full: bool,
}

impl Learned {
    pub(crate) fn new(configured: Option<u64>) -> Learned {
        Learned { ceiling: configured, ..Learned::default() }
    }

    /// A refusal arrived. `told` is the server's value, `counted` what we had in the window, `news` whether the refused
    /// request left after the last refusal was known. Returns the limit in force from now on.
    pub(crate) fn refused(
        &mut self,
        now: Timestamp,
        limit: Option<u64>,
        told: Option<u64>,
        counted: u64,
        news: bool,
        window: Duration,
    ) -> Option<u64> {
        let guess = told.is_none() && (limit.is_none() || self.guessed);
        let value = match told {
            Some(told) => told.min(self.ceiling.unwrap_or(told)),
            None if guess => counted.max(1),
            None => return limit,
        };
        if told.is_some() && self.ceiling == Some(value) {
            return limit.or(Some(value));
        }
        let first = if guess { WINDOWS_AFTER_A_GUESS } else { WINDOWS_AFTER_A_WORD };
        // Each time the way up ended in a refusal, the next attempt waits twice as long.
        self.windows = if !self.active {
            first
        } else if news {
            (self.windows * 2).min(MOST_WINDOWS)
        } else {
            self.windows
        };
        (self.active, self.guessed, self.was_full) = (true, guess, false);
        self.raise_at = now + window.saturating_mul(self.windows);
        Some(value)
    }

    /// The settings changed; `limit` is in force. A value that refusals told is kept where it is the smaller one.
    pub(crate) fn reconfigured(&mut self, limit: Option<u64>, configured: Option<u64>) -> Option<u64> {
        self.ceiling = configured;
        let told = limit.filter(|_| self.active);
        told.into_iter().chain(configured).min()
    }

    /// An earlier run learned the limit that is in force: its way up is open as after a refusal.
    pub(crate) fn resume(&mut self, now: Timestamp, window: Duration) {
        self.active = true;
        self.windows = WINDOWS_AFTER_A_WORD;
        self.raise_at = now + window.saturating_mul(self.windows);
    }

    /// Whether a refusal has told it.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// Another process tells the limit in force: the one from now on. Where it is news, the way up begins again here.
    pub(crate) fn heard(&mut self, now: Timestamp, told: u64, window: Duration) -> u64 {
        if !self.active {
            self.resume(now, window);
        }
        self.ceiling.map_or(told, |ceiling| told.min(ceiling))
    }

    /// A request was charged; `used` of `limit` are now in the window.
    pub(crate) fn charged(&mut self, used: u64, limit: u64) {
        self.was_full |= self.active && used as f64 >= limit as f64 * NEARLY_WHOLE;
    }

    /// The limit at `now`: a tenth higher when it has been used up without a refusal for long enough.
    pub(crate) fn raised(&mut self, now: Timestamp, limit: u64, window: Duration) -> u64 {
        if !self.active || now < self.raise_at {
            return limit;
        }
        self.raise_at = now + window.saturating_mul(self.windows);
        if !std::mem::take(&mut self.was_full) {
            return limit;
        }
        let higher = limit + (limit / 10).max(1);
        self.ceiling.map_or(higher, |ceiling| higher.min(ceiling))
    }
}

/// Longest wait, in days, before a learned limit of the day is tried again.
const MOST_DAYS: u32 = 8;
const DAY: Duration = Duration::from_secs(86_400);

/// A limit per day that a refusal told. On a later day that uses it up one request tries whether there is more by now; each
/// try that is refused doubles the days until the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LearnedDay {
    /// What the settings say: never exceeded.
    ceiling: Option<u64>,
    active: bool,
    days: u32,
    try_at: Timestamp,
}

impl LearnedDay {
    /// Whether a refusal has told it.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    pub(crate) fn new(configured: Option<u64>) -> LearnedDay {
        LearnedDay { ceiling: configured, active: false, days: 1, try_at: Timestamp::ZERO }
    }

    /// A refusal for the day arrived that ends at `day_end`, after `today` requests. Returns the limit in force from now on.
    pub(crate) fn refused(&mut self, limit: Option<u64>, told: Option<u64>, today: u64, day_end: Timestamp) -> Option<u64> {
        if told.is_none() && !self.active {
            return limit;
        }
        let value = told.unwrap_or(today.max(1));
        // Others of the same burst tell nothing new.
        if self.active && day_end > self.try_at {
            self.days = (self.days * 2).min(MOST_DAYS);
        }
        self.active = true;
        self.try_at = day_end + DAY.saturating_mul(self.days - 1);
        Some(value.min(self.ceiling.unwrap_or(value)))
    }

    /// The settings changed; `limit` is in force. A value that refusals told is kept where it is the smaller one.
    pub(crate) fn reconfigured(&mut self, limit: Option<u64>, configured: Option<u64>) -> Option<u64> {
        self.ceiling = configured;
        let told = limit.filter(|_| self.active);
        told.into_iter().chain(configured).min()
    }

    /// An earlier run learned the limit that is in force.
    pub(crate) fn resume(&mut self) {
        self.active = true;
    }

    /// Another process was told a limit of the day that ends at `day_end`: the one in force from now on.
    pub(crate) fn heard(&mut self, limit: Option<u64>, told: u64, day_end: Timestamp) -> u64 {
        self.active = true;
        self.try_at = self.try_at.max(day_end);
        limit.into_iter().chain(self.ceiling).fold(told, u64::min)
    }

    /// A tenth more than `limit`, when it is used up and it is time to try.
    pub(crate) fn raised(&self, now: Timestamp, limit: u64, today: u64) -> Option<u64> {
        let due = self.active && now >= self.try_at && today >= limit;
        let higher = limit + (limit / 10).max(1);
        let higher = self.ceiling.map_or(higher, |ceiling| higher.min(ceiling));
        Some(higher).filter(|higher| due && *higher > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn the_servers_word_is_believed_but_never_above_the_settings() {
        let mut learned = Learned::new(Some(60));
        assert_eq!(learned.refused(NOW, Some(60), Some(20), 21, true, WINDOW), Some(20));
        let mut learned = Learned::new(Some(10));
        assert_eq!(learned.refused(NOW, Some(10), Some(1_000), 10, true, WINDOW), Some(10));
    }

    #[test]
    fn without_a_word_an_unknown_limit_is_what_was_in_the_window() {
        let mut learned = Learned::new(None);
        assert_eq!(learned.refused(NOW, None, None, 104, true, WINDOW), Some(104));
        // The others of the same burst come back refused as well: fewer were let in than it seemed.
        assert_eq!(learned.refused(NOW, Some(104), None, 100, false, WINDOW), Some(100));
        assert_eq!(learned.windows, WINDOWS_AFTER_A_GUESS);
    }

    #[test]
    fn a_configured_limit_is_not_guessed_away() {
        let mut learned = Learned::new(Some(60));
        assert_eq!(learned.refused(NOW, Some(60), None, 12, true, WINDOW), Some(60));
    }

    #[test]
    fn a_limit_that_was_used_up_in_peace_rises_by_a_tenth_up_to_the_settings() {
        let mut learned = Learned::new(Some(110));
        learned.refused(NOW, Some(110), Some(100), 101, true, WINDOW);
        let later = NOW + WINDOW * WINDOWS_AFTER_A_WORD;
        assert_eq!(learned.raised(later, 100, WINDOW), 100, "it was never full");
        learned.charged(95, 100);
        assert_eq!(learned.raised(later, 100, WINDOW), 100, "not yet again");
        let again = later + WINDOW * WINDOWS_AFTER_A_WORD;
        assert_eq!(learned.raised(again, 100, WINDOW), 110);
        learned.charged(110, 110);
        assert_eq!(learned.raised(again + WINDOW * WINDOWS_AFTER_A_WORD, 110, WINDOW), 110);
    }

    #[test]
    fn a_rise_that_is_refused_waits_twice_as_long_for_the_next() {
        let mut learned = Learned::new(None);
        learned.refused(NOW, None, None, 100, true, WINDOW);
        learned.refused(NOW + WINDOW * 3, Some(110), None, 100, true, WINDOW);
        assert_eq!(learned.windows, 2 * WINDOWS_AFTER_A_GUESS);
    }

    #[test]
    fn a_days_limit_is_tried_again_the_next_day_and_then_ever_more_rarely() {
        let mut learned = LearnedDay::new(Some(1_000));
        let midnight = NOW + DAY;
        assert_eq!(learned.raised(NOW, 1_000, 1_000), None, "nothing was learned");
        assert_eq!(learned.refused(Some(1_000), Some(500), 500, midnight), Some(500));
        assert_eq!(learned.raised(NOW, 500, 500), None, "not on the same day");
        assert_eq!(learned.raised(midnight, 500, 499), None, "not before it is used up");
        assert_eq!(learned.raised(midnight, 500, 500), Some(550));
        assert_eq!(learned.raised(midnight, 990, 990), Some(1_000), "never above the settings");
        assert_eq!(learned.raised(midnight, 1_000, 1_000), None);
        let second = midnight + DAY;
        assert_eq!(learned.refused(Some(550), None, 500, second), Some(500));
        assert_eq!(learned.raised(second, 500, 500), None);
        assert_eq!(learned.raised(second + DAY, 500, 500), Some(550));
    }
}
