//! Requests of a quota day, counted over all processes, and the instant that scaled days are counted from.

use rusqlite::params;
use tidegate_scheduler::Timestamp;

use super::columns::{count, instant, micros, number};
use super::{Store, StoreError};

/// Days kept for each (project, model): a month of real ones.
const KEPT: i64 = 30;

/// What the store is called among those that share quotas.
pub(super) const MACHINE: &str = "ALTER TABLE scopes ADD COLUMN machine INTEGER";

/// What is known of one quota day of a (project, model).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRow {
    /// The project's name.
    pub project: String,
    /// The model family.
    pub model: String,
    /// When the day ends.
    pub day_end: Timestamp,
    /// Requests taken by all processes together, the unused rest of their blocks included.
    pub requests: u64,
}

impl Store {
    /// Takes a block of `n` requests of the day that ends at `day_end`; returns the day's total with them, over all
    /// processes. To be called before the first request of the block is sent, so that a crash only ever overcounts.
    ///
    /// A total above the limit tells how much of the block is not there: hand it back by [`Store::return_day`].
    pub fn reserve_day(&self, project: &str, model: &str, day_end: Timestamp, n: u64) -> Result<u64, StoreError> {
        let totals = self.rows(
            "INSERT INTO days (scope, project, model, day_end_us, requests) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET requests = requests + excluded.requests RETURNING requests",
            params![self.scope, project, model, micros(day_end), number(n)],
            |row| count(row, 0),
        )?;
        let total = totals.first().copied().unwrap_or(n);
        if total == n {
            self.drop_old_days(project, model)?;
        }
        Ok(total)
    }

    /// Gives the unused rest of a block back, on an orderly end.
    pub fn return_day(&self, project: &str, model: &str, day_end: Timestamp, n: u64) -> Result<(), StoreError> {
        self.write(
            "UPDATE days SET requests = max(0, requests - ?5)
             WHERE scope = ?1 AND project = ?2 AND model = ?3 AND day_end_us = ?4",
            params![self.scope, project, model, micros(day_end), number(n)],
        )?;
        Ok(())
    }

    /// Requests taken so far of the day that ends at `day_end`, by all processes.
    pub fn day_total(&self, project: &str, model: &str, day_end: Timestamp) -> Result<u64, StoreError> {
        let totals = self.rows(
            "SELECT requests FROM days WHERE scope = ?1 AND project = ?2 AND model = ?3 AND day_end_us = ?4",
            params![self.scope, project, model, micros(day_end)],
            |row| count(row, 0),
        )?;
        Ok(totals.first().copied().unwrap_or(0))
    }

    /// The days that are not over at `now`, of every (project, model), by name.
    pub fn open_days(&self, now: Timestamp) -> Result<Vec<DayRow>, StoreError> {
        self.rows(
            "SELECT project, model, day_end_us, requests FROM days WHERE scope = ?1 AND day_end_us > ?2
             ORDER BY project, model, day_end_us",
            params![self.scope, micros(now)],
            |row| Ok(DayRow { project: row.get(0)?, model: row.get(1)?, day_end: instant(row, 2)?, requests: count(row, 3)? }),
        )
    }

    /// The instant from which days of a fixed length are counted at this base URL: `first`, unless an earlier caller,
    /// in whichever process, has set it.
    pub fn day_anchor(&self, first: Timestamp) -> Result<Timestamp, StoreError> {
        let anchors = self.rows(
            "UPDATE scopes SET day_anchor_us = coalesce(day_anchor_us, ?2) WHERE id = ?1 RETURNING day_anchor_us",
            params![self.scope, micros(first)],
            |row| instant(row, 0),
        )?;
        Ok(anchors.first().copied().unwrap_or(first))
    }

    /// A number that no other store has: `fresh`, unless an earlier caller has set it.
    pub fn machine(&self, fresh: u64) -> Result<u64, StoreError> {
        let known = self.rows(
            "UPDATE scopes SET machine = coalesce(machine, ?2) WHERE id = ?1 RETURNING machine",
            params![self.scope, number(fresh >> 1)],
            |row| count(row, 0),
        )?;
        Ok(known.first().copied().unwrap_or(fresh))
    }

    /// The same instant where somebody has set it; a look sets nothing.
    pub fn known_day_anchor(&self) -> Result<Option<Timestamp>, StoreError> {
        let anchors = self.rows(
            "SELECT day_anchor_us FROM scopes WHERE id = ?1 AND day_anchor_us IS NOT NULL",
            params![self.scope],
            |row| instant(row, 0),
        )?;
        Ok(anchors.first().copied())
    }

    fn drop_old_days(&self, project: &str, model: &str) -> Result<(), StoreError> {
        self.write(
            "DELETE FROM days WHERE scope = ?1 AND project = ?2 AND model = ?3 AND day_end_us <=
                (SELECT day_end_us FROM days WHERE scope = ?1 AND project = ?2 AND model = ?3
                 ORDER BY day_end_us DESC LIMIT 1 OFFSET ?4)",
            params![self.scope, project, model, KEPT],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn end(day: u64) -> Timestamp {
        Timestamp::from_secs(day * 86_400)
    }

    #[test]
    fn blocks_add_up_and_days_projects_and_models_do_not_mix() {
        let store = Store::in_memory("http://a").unwrap();
        assert_eq!(store.reserve_day("p", "m", end(1), 5), Ok(5));
        assert_eq!(store.reserve_day("p", "m", end(1), 3), Ok(8));
        assert_eq!(store.reserve_day("p", "m", end(2), 1), Ok(1));
        assert_eq!(store.reserve_day("p", "n", end(1), 1), Ok(1));
        assert_eq!(store.reserve_day("q", "m", end(1), 1), Ok(1));
        assert_eq!(store.day_total("p", "m", end(1)), Ok(8));
        assert_eq!(store.day_total("p", "m", end(3)), Ok(0));
    }

    #[test]
    fn what_is_returned_can_be_taken_again_but_never_goes_below_nothing() {
        let store = Store::in_memory("http://a").unwrap();
        store.reserve_day("p", "m", end(1), 5).unwrap();
        store.return_day("p", "m", end(1), 2).unwrap();
        assert_eq!(store.day_total("p", "m", end(1)), Ok(3));
        store.return_day("p", "m", end(1), 9).unwrap();
        assert_eq!(store.reserve_day("p", "m", end(1), 1), Ok(1));
    }

    #[test]
    fn only_days_that_are_not_over_are_listed() {
        let store = Store::in_memory("http://a").unwrap();
        store.reserve_day("p", "m", end(1), 5).unwrap();
        store.reserve_day("p", "m", end(2), 6).unwrap();
        let row = DayRow { project: "p".into(), model: "m".into(), day_end: end(2), requests: 6 };
        assert_eq!(store.open_days(end(1)), Ok(vec![row]));
    }

    #[test]
    fn a_month_of_days_is_kept() {
        let store = Store::in_memory("http://a").unwrap();
        store.reserve_day("q", "m", end(1), 1).unwrap();
        for day in 1..=40 {
            store.reserve_day("p", "m", end(day), 1).unwrap();
        }
        let kept = store.open_days(Timestamp::ZERO).unwrap();
        assert_eq!(kept.iter().filter(|row| row.project == "p").count(), 30);
        assert_eq!(store.day_total("p", "m", end(10)), Ok(0));
        assert_eq!(store.day_total("p", "m", end(11)), Ok(1));
        assert_eq!(store.day_total("q", "m", end(1)), Ok(1), "another project's day is its own");
    }

    #[test]
    fn the_first_anchor_stays() {
        let store = Store::in_memory("http://a").unwrap();
        assert_eq!(store.day_anchor(Timestamp::from_secs(7)), Ok(Timestamp::from_secs(7)));
        assert_eq!(store.day_anchor(Timestamp::from_secs(3)), Ok(Timestamp::from_secs(7)));
    }
}
