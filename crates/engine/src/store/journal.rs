//! The journal of each key: every change of its state, with the cause.

use rusqlite::{Row, params};
use tidegate_scheduler::Timestamp;

use super::columns::{instant, micros};
use super::fingerprint::Fingerprint;
use super::redacted::Redacted;
use super::{Store, StoreError};

/// Entries kept for each key.
const KEPT: i64 = 500;

/// One change of a key's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEvent {
    /// When.
    pub at: Timestamp,
    /// Which key.
    pub key: Fingerprint,
    /// Its display name at the time.
    pub name: String,
    /// Its project at the time.
    pub project: String,
    /// The model family whose quota it was about; empty for the key itself.
    pub model: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why: one line for people; never a text that could quote a key.
    pub cause: String,
    /// HTTP status of the answer that caused it, if one did.
    pub http_status: Option<u16>,
    /// That answer's body.
    pub body: Option<Redacted>,
}

impl Store {
    /// Appends to the key's journal and drops what is older than its last 500 entries.
    pub fn append_key_event(&self, event: &KeyEvent) -> Result<(), StoreError> {
        self.together(|| {
            self.write(
                "INSERT INTO key_events
                     (scope, at_us, fingerprint, name, project, model, from_state, to_state, cause, http_status, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    self.scope,
                    micros(event.at),
                    event.key.to_string(),
                    event.name,
                    event.project,
                    event.model,
                    event.from,
                    event.to,
                    event.cause,
                    event.http_status,
                    event.body.as_ref().map(Redacted::as_str)
                ],
            )?;
            self.drop_old_events(event.key)
        })
    }

    /// The last `limit` changes of a key, the newest last. `who` is its fingerprint or its display name.
    pub fn key_journal(&self, who: &str, limit: usize) -> Result<Vec<KeyEvent>, StoreError> {
        let mut rows = self.rows(
            "SELECT at_us, fingerprint, name, project, model, from_state, to_state, cause, http_status, body
             FROM key_events WHERE scope = ?1 AND (fingerprint = ?2 OR name = ?2) ORDER BY id DESC LIMIT ?3",
            params![self.scope, who, i64::try_from(limit).unwrap_or(i64::MAX)],
            event,
        )?;
        rows.reverse();
        Ok(rows.into_iter().flatten().collect())
    }

    fn drop_old_events(&self, key: Fingerprint) -> Result<(), StoreError> {
        self.write(
            "DELETE FROM key_events WHERE scope = ?1 AND fingerprint = ?2 AND id <=
                (SELECT id FROM key_events WHERE scope = ?1 AND fingerprint = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
            params![self.scope, key.to_string(), KEPT],
        )?;
        Ok(())
    }
}

/// `None` for a row whose fingerprint is of another form than ours.
fn event(row: &Row<'_>) -> rusqlite::Result<Option<KeyEvent>> {
    let Ok(key) = row.get::<_, String>(1)?.parse() else {
        return Ok(None);
    };
    Ok(Some(KeyEvent {
        at: instant(row, 0)?,
        key,
        name: row.get(2)?,
        project: row.get(3)?,
        model: row.get(4)?,
        from: row.get(5)?,
        to: row.get(6)?,
        cause: row.get(7)?,
        http_status: row.get(8)?,
        body: row.get::<_, Option<String>>(9)?.map(Redacted::from_store),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use secrecy::SecretString;

    fn change(key: &str, second: u64) -> KeyEvent {
        let secret = SecretString::from(key);
        KeyEvent {
            at: Timestamp::from_secs(second),
            key: Fingerprint::of(&secret),
            name: format!("main/{key}"),
            project: "main".into(),
            model: "gemini-3.8-flash".into(),
            from: "AVAILABLE".into(),
            to: "TEMPORARILY_EXHAUSTED".into(),
            cause: "RPM refused".into(),
            http_status: Some(429),
            body: Some(Redacted::new("{}", [&secret])),
        }
    }

    #[test]
    fn a_journal_is_found_by_fingerprint_and_by_name_newest_last() {
        let store = Store::in_memory("http://a").unwrap();
        for second in 1..=3 {
            store.append_key_event(&change("one", second)).unwrap();
        }
        store.append_key_event(&change("two", 9)).unwrap();
        let last_two = Ok(vec![change("one", 2), change("one", 3)]);
        assert_eq!(store.key_journal("main/one", 2), last_two);
        assert_eq!(store.key_journal(&change("one", 0).key.to_string(), 2), last_two);
        assert_eq!(store.key_journal("main/three", 2), Ok(vec![]));
    }

    #[test]
    fn a_change_without_an_answer_has_neither_status_nor_body() {
        let store = Store::in_memory("http://a").unwrap();
        let rested = KeyEvent { http_status: None, body: None, ..change("one", 1) };
        store.append_key_event(&rested).unwrap();
        assert_eq!(store.key_journal("main/one", usize::MAX), Ok(vec![rested]));
    }

    #[test]
    fn the_last_five_hundred_changes_of_each_key_are_kept() {
        let store = Store::in_memory("http://a").unwrap();
        store.append_key_event(&change("two", 0)).unwrap();
        for second in 0..520 {
            store.append_key_event(&change("one", second)).unwrap();
        }
        let kept = store.key_journal("main/one", usize::MAX).unwrap();
        assert_eq!((kept.len(), kept[0].at), (500, Timestamp::from_secs(20)));
        assert_eq!(store.key_journal("main/two", usize::MAX).unwrap().len(), 1);
    }
}
