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
}
