//! The last minute's requests and tokens, by slot: what a server may still remember of a process that is gone.

use std::time::Duration;

use rusqlite::params;
use tidegate_scheduler::Timestamp;

use super::columns::{count, instant, micros};
use super::{Store, StoreError};

/// How long slots are kept. A server's window is a minute; the rest is for clocks that disagree.
const KEPT: Duration = Duration::from_secs(600);
/// How often old slots are removed, in passing.
const PRUNED_EVERY: Duration = Duration::from_secs(60);

/// What one process sent in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// The project's name.
    pub project: String,
    /// The model family.
    pub model: String,
    /// When the slot begins.
    pub start: Timestamp,
    /// Who wrote it: see [`Store::process`].
    pub process: u64,
    /// Requests sent.
    pub requests: u64,
    /// Input tokens charged.
    pub tokens: u64,
}

impl Store {
    /// Adds to the slot that begins at `start`. Negative numbers take back what settling or a cancelled call freed.
    ///
    /// Slots older than ten minutes are removed in passing.
    pub fn add_slot(&self, project: &str, model: &str, start: Timestamp, requests: i64, tokens: i64) -> Result<(), StoreError> {
        self.write(
            "INSERT INTO slots (scope, start_us, project, model, process, requests, tokens) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, tokens = tokens + excluded.tokens",
            params![self.scope, micros(start), project, model, self.process.cast_signed(), requests, tokens],
        )?;
        if start.since(self.pruned_at.get()) >= PRUNED_EVERY {
            self.pruned_at.set(start);
            let oldest = micros(start.before(KEPT));
            self.write("DELETE FROM slots WHERE scope = ?1 AND start_us < ?2", params![self.scope, oldest])?;
        }
        Ok(())
    }

    /// Every slot that begins at `since` or later, of all processes, this one too; the oldest first.
    pub fn recent_slots(&self, since: Timestamp) -> Result<Vec<SlotRow>, StoreError> {
        self.rows(
            "SELECT project, model, start_us, process, requests, tokens FROM slots WHERE scope = ?1 AND start_us >= ?2
             ORDER BY start_us, project, model, process",
            params![self.scope, micros(since)],
            |row| {
                Ok(SlotRow {
                    project: row.get(0)?,
                    model: row.get(1)?,
                    start: instant(row, 2)?,
                    process: row.get::<_, i64>(3)?.cast_unsigned(),
                    requests: count(row, 4)?,
                    tokens: count(row, 5)?,
                })
            },
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn a_slot_is_added_to_and_settled() {
        let store = Store::in_memory("http://a").unwrap();
        store.add_slot("p", "m", at(5), 2, 700).unwrap();
        store.add_slot("p", "m", at(5), 1, 300).unwrap();
        store.add_slot("p", "m", at(5), 0, -100).unwrap();
        let process = store.process();
        let row = SlotRow { project: "p".into(), model: "m".into(), start: at(5), process, requests: 3, tokens: 900 };
        assert_eq!(store.recent_slots(at(5)), Ok(vec![row]));
        assert_eq!(store.recent_slots(at(6)), Ok(vec![]));
    }

    #[test]
    fn a_slot_that_was_settled_below_zero_reads_as_empty() {
        let store = Store::in_memory("http://a").unwrap();
        store.add_slot("p", "m", at(5), 0, -100).unwrap();
        assert_eq!(store.recent_slots(at(0)).unwrap()[0].tokens, 0);
    }

    #[test]
    fn slots_come_back_in_the_order_of_time() {
        let store = Store::in_memory("http://a").unwrap();
        for (project, second) in [("b", 3), ("a", 2), ("c", 1)] {
            store.add_slot(project, "m", at(second), 1, 1).unwrap();
        }
        let projects: Vec<String> = store.recent_slots(at(0)).unwrap().into_iter().map(|row| row.project).collect();
        assert_eq!(projects, ["c", "a", "b"]);
    }

    #[test]
    fn slots_older_than_ten_minutes_are_removed_in_passing() {
        let store = Store::in_memory("http://a").unwrap();
        for second in 0..2_000 {
            store.add_slot("p", "m", at(second), 1, 1).unwrap();
        }
        let rows = store.recent_slots(Timestamp::ZERO).unwrap();
        assert!((600..=661).contains(&rows.len()), "{} rows are left", rows.len());
        assert_eq!(rows.last().unwrap().start, at(1_999));
    }
}
