//! Tokens that clients of the gateway have used, by quota day.

use rusqlite::params;
use tidegate_scheduler::Timestamp;

use super::columns::{count, instant, micros};
use super::{Store, StoreError};

pub(super) const TABLES: &str = "
CREATE TABLE client_days (
    scope      INTEGER NOT NULL,
    client     TEXT NOT NULL,
    day_end_us INTEGER NOT NULL,
    tokens     INTEGER NOT NULL,
    PRIMARY KEY (scope, client, day_end_us)
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// Adds tokens to a client's day, and forgets the days before.
    pub fn add_client_tokens(&self, client: &str, day_end: Timestamp, tokens: u64) -> Result<(), StoreError> {
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        self.write(
            "INSERT INTO client_days (scope, client, day_end_us, tokens) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens",
            params![self.scope, client, micros(day_end), tokens],
        )?;
        self.write(
            "DELETE FROM client_days WHERE scope = ?1 AND client = ?2 AND day_end_us < ?3",
            params![self.scope, client, micros(day_end)],
        )?;
        Ok(())
    }

    /// The days that are not over at `now`: client, end of the day, tokens.
    pub fn client_days(&self, now: Timestamp) -> Result<Vec<(String, Timestamp, u64)>, StoreError> {
        self.rows(
            "SELECT client, day_end_us, tokens FROM client_days WHERE scope = ?1 AND day_end_us > ?2 ORDER BY client",
            params![self.scope, micros(now)],
            |row| Ok((row.get(0)?, instant(row, 1)?, count(row, 2)?)),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn tokens_of_a_day_add_up_and_earlier_days_are_forgotten() {
        let store = Store::in_memory("http://a").unwrap();
        let (one, two) = (Timestamp::from_secs(10), Timestamp::from_secs(20));
        for (client, day, tokens) in [("a", one, 5), ("a", one, 6), ("b", one, 7), ("a", two, 8)] {
            store.add_client_tokens(client, day, tokens).unwrap();
        }
        let days = store.client_days(Timestamp::from_secs(1)).unwrap();
        assert_eq!(days, [("a".to_string(), two, 8), ("b".to_string(), one, 7)]);
        assert_eq!(store.client_days(one).unwrap().len(), 1);
    }
}
