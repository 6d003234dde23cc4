//! Projects that are probably one.

use rusqlite::params;
use tidegate_scheduler::Timestamp;

use super::columns::micros;
use super::{Store, StoreError};
use crate::kinship::Kin;

impl Store {
    /// Keeps a pair, seen at `now`.
    pub fn add_kin(&self, kin: &Kin, now: Timestamp) -> Result<(), StoreError> {
        self.write(
            "INSERT OR REPLACE INTO kin (scope, one, other, seen_at_us) VALUES (?1, ?2, ?3, ?4)",
            params![self.scope, &*kin.one, &*kin.other, micros(now)],
        )?;
        Ok(())
    }

    /// Pairs that were seen since `since`, by name.
    pub fn kin(&self, since: Timestamp) -> Result<Vec<Kin>, StoreError> {
        self.rows(
            "SELECT one, other FROM kin WHERE scope = ?1 AND seen_at_us >= ?2 ORDER BY one, other",
            params![self.scope, micros(since)],
            |row| Ok(Kin { one: row.get::<_, String>(0)?.into(), other: row.get::<_, String>(1)?.into() }),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_pair_is_kept_once_with_the_last_time_it_was_seen() {
        let store = Store::in_memory("http://a").unwrap();
        let kin = Kin { one: "a".into(), other: "b".into() };
        store.add_kin(&kin, Timestamp::from_secs(1)).unwrap();
        store.add_kin(&kin, Timestamp::from_secs(5)).unwrap();
        assert_eq!(store.kin(Timestamp::from_secs(5)), Ok(vec![kin]));
        assert_eq!(store.kin(Timestamp::from_secs(6)), Ok(vec![]));
    }
}
