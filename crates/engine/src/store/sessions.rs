//! Uploads of the gateway's clients that are under way: what our name for one stands for.

use rusqlite::params;
use tidegate_scheduler::Timestamp;

use super::columns::micros;
use super::{Store, StoreError};

pub(super) const TABLE: &str = "
CREATE TABLE upload_sessions (
    scope      INTEGER NOT NULL,
    id         TEXT NOT NULL,
    project    TEXT NOT NULL,
    url        TEXT NOT NULL,
    expires_us INTEGER NOT NULL,
    PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;
";

impl Store {
    /// Keeps an upload: the name of its project and the service's own address for it. Those that have expired are forgotten.
    pub fn keep_session(&self, id: &str, project: &str, url: &str, now: Timestamp, expires: Timestamp) -> Result<(), StoreError> {
        self.together(|| {
            self.write(
                "INSERT OR REPLACE INTO upload_sessions (scope, id, project, url, expires_us) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![self.scope, id, project, url, micros(expires)],
            )?;
            self.write("DELETE FROM upload_sessions WHERE scope = ?1 AND expires_us <= ?2", params![self.scope, micros(now)])?;
            Ok(())
        })
    }

    /// The project's name and the address of an upload that has not expired at `now`.
    pub fn session(&self, id: &str, now: Timestamp) -> Result<Option<(String, String)>, StoreError> {
        let rows = self.rows(
            "SELECT project, url FROM upload_sessions WHERE scope = ?1 AND id = ?2 AND expires_us > ?3",
            params![self.scope, id, micros(now)],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(rows.into_iter().next())
    }

    /// Forgets an upload.
    pub fn end_session(&self, id: &str) -> Result<(), StoreError> {
        self.write("DELETE FROM upload_sessions WHERE scope = ?1 AND id = ?2", params![self.scope, id])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_upload_is_known_until_it_ends_or_expires() {
        let store = Store::in_memory("http://a").unwrap();
        let at = Timestamp::from_secs;
        store.keep_session("one", "main", "http://a/1", at(1), at(100)).unwrap();
        store.keep_session("two", "main", "http://a/2", at(1), at(200)).unwrap();
        assert_eq!(store.session("one", at(99)), Ok(Some(("main".into(), "http://a/1".into()))));
        assert_eq!((store.session("one", at(100)), store.session("three", at(1))), (Ok(None), Ok(None)));
        store.end_session("two").unwrap();
        assert_eq!(store.session("two", at(1)), Ok(None));
    }
}
