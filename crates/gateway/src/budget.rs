//! What a client may use: requests and tokens a minute, tokens a day. Pure: the time is handed in.
//!
//! A minute slides. Who is over it gets the instant at which it is not, and keeps that place; who is over the day has to wait for
//! its end. Tokens are estimated first and settled by what was used, prompt and answer together.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tidegate_engine::scheduler::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
/// Requests within a tenth of a second are one entry.
const SLOT_MICROS: u64 = 100_000;

/// The limits of a client; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Tokens of a quota day.
    pub tokens_per_day: Option<u64>,
}

/// What a client has used.
#[derive(Debug, Default)]
pub struct Account {
    entries: VecDeque<Entry>,
    day_end: Timestamp,
    today: u64,
}

/// Requests that begin within one slot, now or later.
#[derive(Debug)]
struct Entry {
    slot: u64,
    last: Timestamp,
    requests: u64,
    tokens: u64,
}

/// A place in a client's minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When it begins.
    pub at: Timestamp,
    tokens: u64,
    day_end: Timestamp,
}

/// What counts of a client's account at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Requests that began within the last minute.
    pub requests: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Tokens of the day, those of requests that wait for their place included.
    pub today: u64,
}

/// Why a request does not go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// What is used up.
    pub limit: Limit,
    /// When it would go; `None` for never.
    pub until: Option<Timestamp>,
}

/// A limit of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many requests a minute.
    Rpm(u64),
    /// So many tokens a minute.
    Tpm(u64),
    /// So many tokens a day.
    Day(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Rpm(most) => write!(out, "{most} requests a minute"),
            Limit::Tpm(most) => write!(out, "{most} tokens a minute"),
            Limit::Day(most) => write!(out, "{most} tokens a day"),
        }
    }
}

impl Account {
    /// An account that has used `today` tokens of the day that ends at `day_end`.
    pub fn with_day(day_end: Timestamp, today: u64) -> Account {
        Account { day_end, today, ..Account::default() }
    }

    /// Takes the next place, if it begins at `latest` or before. `day_end` is the end of the quota day of `now`.
    ///
    /// # Errors
    /// [`Over`] names the limit; nothing is taken then.
    pub fn reserve(
        &mut self,
        now: Timestamp,
        latest: Timestamp,
        tokens: u64,
        allowance: &Allowance,
        day_end: Timestamp,
    ) -> Result<Place, Over> {
        self.advance(now, day_end);
        if let Some(limit) = allowance.tokens_per_day.filter(|limit| self.today.saturating_add(tokens) > *limit) {
            return Err(Over { limit: Limit::Day(limit), until: (tokens <= limit).then_some(self.day_end) });
        }
        let mut at = self.entries.back().map_or(now, |entry| entry.last.max(now));
        let mut binding = None;
        let limits = [allowance.rpm.map(Limit::Rpm), allowance.tpm.map(Limit::Tpm)];
        for limit in limits.into_iter().flatten() {
            let over = |until| Over { limit, until };
            let free = self.free(limit, tokens).ok_or(over(None))?;
            if free > at {
                (at, binding) = (free, Some(limit));
            }
        }
        if at > latest {
            let limit = binding.or(allowance.rpm.map(Limit::Rpm)).or(allowance.tpm.map(Limit::Tpm));
            return Err(Over { limit: limit.unwrap_or(Limit::Rpm(0)), until: Some(at) });
        }
        if allowance.rpm.is_some() || allowance.tpm.is_some() {
            self.enter(at, tokens);
        }
        self.today = self.today.saturating_add(tokens);
        Ok(Place { at, tokens, day_end: self.day_end })
    }

    /// Replaces what was estimated by what was used.
    pub fn settle(&mut self, place: Place, used: u64) {
        self.replace(place, used, 0);
    }

    /// Gives a place back that was not used.
    pub fn refund(&mut self, place: Place) {
        self.replace(place, 0, 1);
    }

    /// What counts at `now`; places that begin later have no part in the minute yet.
    pub fn used(&self, now: Timestamp) -> Used {
        let begun = self.entries.iter().filter(|entry| entry.last <= now && now < entry.last + MINUTE);
        let (requests, tokens) =
            begun.fold((0, 0_u64), |(requests, tokens), entry| (requests + entry.requests, tokens.saturating_add(entry.tokens)));
        Used { requests, tokens, today: if now < self.day_end { self.today } else { 0 } }
    }

    fn advance(&mut self, now: Timestamp, day_end: Timestamp) {
        while self.entries.front().is_some_and(|entry| entry.last + MINUTE <= now) {
            self.entries.pop_front();
        }
        if day_end > self.day_end {
            (self.day_end, self.today) = (day_end, 0);
        }
    }

    /// When enough of the entries before have left for one more; `None` for never.
    fn free(&self, limit: Limit, tokens: u64) -> Option<Timestamp> {
        let (most, wanted) = match limit {
            Limit::Rpm(most) => (most, 1),
            Limit::Tpm(most) | Limit::Day(most) => (most, tokens),
        };
        let mut left = most.checked_sub(wanted)?;
        for entry in self.entries.iter().rev() {
            let used = if matches!(limit, Limit::Rpm(_)) { entry.requests } else { entry.tokens };
            match left.checked_sub(used) {
                Some(rest) => left = rest,
                None => return Some(entry.last + MINUTE),
            }
        }
        Some(Timestamp::ZERO)
    }

    fn enter(&mut self, at: Timestamp, tokens: u64) {
        let slot = at.as_micros() / SLOT_MICROS;
        match self.entries.back_mut().filter(|entry| entry.slot == slot) {
            Some(entry) => {
                entry.last = entry.last.max(at);
                entry.requests += 1;
                entry.tokens = entry.tokens.saturating_add(tokens);
            }
            None => self.entries.push_back(Entry { slot, last: at, requests: 1, tokens }),
        }
    }

    fn replace(&mut self, place: Place, used: u64, requests: u64) {
        let slot = place.at.as_micros() / SLOT_MICROS;
        if let Ok(nth) = self.entries.binary_search_by_key(&slot, |entry| entry.slot) {
            let entry = &mut self.entries[nth];
            entry.requests = entry.requests.saturating_sub(requests);
            entry.tokens = entry.tokens.saturating_sub(place.tokens).saturating_add(used);
        }
        if place.day_end == self.day_end {
            self.today = self.today.saturating_sub(place.tokens).saturating_add(used);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const DAY_END: Timestamp = Timestamp::from_secs(50_000);

    fn after(seconds: u64) -> Timestamp {
        NOW + Duration::from_secs(seconds)
    }

    fn allowed(rpm: Option<u64>, tpm: Option<u64>, tokens_per_day: Option<u64>) -> Allowance {
        Allowance { rpm, tpm, tokens_per_day }
    }

    #[test]
    fn no_minute_holds_more_requests_than_allowed_and_each_gets_the_first_place() {
        let (mut account, allowance) = (Account::default(), allowed(Some(2), None, None));
        let mut begins = |now| account.reserve(now, after(600), 5, &allowance, DAY_END).unwrap().at;
        assert_eq!(
            [begins(NOW), begins(after(10)), begins(after(11)), begins(after(12))],
            [NOW, after(10), after(60), after(70)]
        );
        assert_eq!(begins(after(13)), after(120), "those that wait count as well");
    }

    #[test]
    fn tokens_are_settled_by_what_was_used() {
        let (mut account, allowance) = (Account::default(), allowed(None, Some(100), None));
        let place = account.reserve(NOW, NOW, 40, &allowance, DAY_END).unwrap();
        assert!(account.reserve(NOW, NOW, 60, &allowance, DAY_END).is_ok());
        let over = account.reserve(after(1), after(2), 1, &allowance, DAY_END).unwrap_err();
        assert_eq!(over, Over { limit: Limit::Tpm(100), until: Some(after(60)) });
        account.settle(place, 10);
        assert!(account.reserve(after(1), after(2), 30, &allowance, DAY_END).is_ok());
        let never = account.reserve(NOW, after(999), 101, &allowance, DAY_END).unwrap_err();
        assert_eq!(never.until, None);
    }

    #[test]
    fn a_place_that_was_given_back_is_free_again() {
        let (mut account, allowance) = (Account::default(), allowed(Some(1), None, Some(10)));
        let place = account.reserve(NOW, NOW, 10, &allowance, DAY_END).unwrap();
        assert!(account.reserve(NOW, NOW, 1, &allowance, DAY_END).is_err());
        account.refund(place);
        assert_eq!(account.used(NOW), Used::default());
        assert!(account.reserve(NOW, NOW, 10, &allowance, DAY_END).is_ok());
    }

    #[test]
    fn a_day_ends_and_begins_anew() {
        let (mut account, allowance) = (Account::with_day(DAY_END, 95), allowed(None, None, Some(100)));
        let over = account.reserve(NOW, after(900), 6, &allowance, DAY_END).unwrap_err();
        assert_eq!(over, Over { limit: Limit::Day(100), until: Some(DAY_END) });
        let place = account.reserve(NOW, NOW, 5, &allowance, DAY_END).unwrap();
        let next = DAY_END + Duration::from_secs(86_400);
        assert!(account.reserve(DAY_END, DAY_END, 100, &allowance, next).is_ok());
        account.settle(place, 50);
        assert_eq!(account.used(DAY_END).today, 100, "yesterday's tokens are yesterday's");
    }

    #[test]
    fn a_look_counts_what_has_begun_and_changes_nothing() {
        let (mut account, allowance) = (Account::default(), allowed(Some(1), None, None));
        account.reserve(NOW, NOW, 5, &allowance, DAY_END).unwrap();
        account.reserve(NOW, after(60), 7, &allowance, DAY_END).unwrap();
        assert_eq!(account.used(after(59)), Used { requests: 1, tokens: 5, today: 12 });
        assert_eq!(account.used(after(60)), Used { requests: 1, tokens: 7, today: 12 });
        assert_eq!(account.used(DAY_END), Used::default());
        assert_eq!(account.used(after(59)).requests, 1);
    }
}
