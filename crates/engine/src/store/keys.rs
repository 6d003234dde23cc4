//! The states of keys, as a whole and for one model's quota, with why and until when.

use rusqlite::{Row, params};
use tidegate_scheduler::Timestamp;

use super::columns::{instant, instant_if_any, micros};
use super::fingerprint::Fingerprint;
use super::{Store, StoreError};

/// A key's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Which key.
    pub key: Fingerprint,
    /// The model family whose quota is meant; empty for the key itself.
    pub model: String,
    /// The state's name, as [`KeyState::name`](tidegate_scheduler::KeyState::name) gives it.
    pub state: String,
    /// Until when, where it ends by itself.
    pub until: Option<Timestamp>,
    /// Why: the API's word or ours; never a text that could quote a key.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Store {
    /// Keeps a state; it takes the place of the one before.
    pub fn set_key_state(&self, record: &KeyRecord) -> Result<(), StoreError> {
        self.write(
            "INSERT OR REPLACE INTO key_states (scope, fingerprint, model, state, until_us, reason, since_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.scope,
                record.key.to_string(),
                record.model,
                record.state,
                record.until.map(micros),
                record.reason,
                micros(record.since)
            ],
        )?;
        Ok(())
    }

    /// All kept states, also those whose time is over: who reads them knows the clock.
    pub fn key_states(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let rows = self.rows(
            "SELECT fingerprint, model, state, until_us, reason, since_us FROM key_states WHERE scope = ?1
             ORDER BY fingerprint, model",
            params![self.scope],
            record,
        )?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Forgets the state of `key` for `model` (empty: of the key itself): it is available again.
    pub fn clear_key_state(&self, key: Fingerprint, model: &str) -> Result<(), StoreError> {
        self.write(
            "DELETE FROM key_states WHERE scope = ?1 AND fingerprint = ?2 AND model = ?3",
            params![self.scope, key.to_string(), model],
        )?;
        Ok(())
    }
}

/// `None` for a row whose fingerprint is of another form than ours.
fn record(row: &Row<'_>) -> rusqlite::Result<Option<KeyRecord>> {
    let Ok(key) = row.get::<_, String>(0)?.parse() else {
        return Ok(None);
    };
    Ok(Some(KeyRecord {
        key,
        model: row.get(1)?,
        state: row.get(2)?,
        until: instant_if_any(row, 3)?,
        reason: row.get(4)?,
        since: instant(row, 5)?,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use secrecy::SecretString;

    fn dead(key: &str, model: &str) -> KeyRecord {
        KeyRecord {
            key: Fingerprint::of(&SecretString::from(key)),
            model: model.into(),
            state: "FAILED_INIT".into(),
            until: None,
            reason: "API_KEY_INVALID".into(),
            since: Timestamp::from_secs(3),
        }
    }

    #[test]
    fn the_latest_state_counts_and_models_have_their_own() {
        let store = Store::in_memory("http://a").unwrap();
        let until = Some(Timestamp::from_secs(100));
        let exhausted = KeyRecord { state: "FULLY_EXHAUSTED".into(), until, ..dead("one", "") };
        store.set_key_state(&exhausted).unwrap();
        store.set_key_state(&dead("one", "m")).unwrap();
        assert_eq!(store.key_states(), Ok(vec![exhausted, dead("one", "m")]));
        store.set_key_state(&dead("one", "")).unwrap();
        assert_eq!(store.key_states(), Ok(vec![dead("one", ""), dead("one", "m")]));
    }

    #[test]
    fn clearing_touches_one_key_and_one_model() {
        let store = Store::in_memory("http://a").unwrap();
        for (key, model) in [("one", ""), ("one", "m"), ("two", "")] {
            store.set_key_state(&dead(key, model)).unwrap();
        }
        store.clear_key_state(dead("one", "").key, "").unwrap();
        let left = store.key_states().unwrap();
        assert_eq!(left.len(), 2);
        assert!(left.contains(&dead("one", "m")) && left.contains(&dead("two", "")));
    }
}
