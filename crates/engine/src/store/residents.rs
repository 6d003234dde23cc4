//! Which project a thing of the API lives in: a file, a cache, a batch, by its name.

use rusqlite::{Row, params};
use tidegate_scheduler::Timestamp;

use super::columns::{instant, micros};
use super::{Store, StoreError};
use crate::media::ContentHash;

/// The step that makes the table.
pub(super) const TABLE: &str = "
CREATE TABLE residents (
    scope      INTEGER NOT NULL,
    name       TEXT NOT NULL,
    project    TEXT NOT NULL,
    hash       TEXT,
    mime       TEXT,
    expires_us INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;
";

/// A thing that lives in one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// The API's name for it: `files/...`, `cachedContents/...`, `batches/...`.
    pub name: String,
    /// The project's name.
    pub project: String,
    /// What is in it, where its bytes went through here.
    pub hash: Option<ContentHash>,
    /// Its type, where that is known.
    pub mime: Option<String>,
    /// When it is forgotten.
    pub expires: Timestamp,
}

impl Store {
    /// Keeps where something lives. What was known of its content stays known when this does not tell.
    pub fn keep_resident(&self, resident: &Resident, now: Timestamp) -> Result<(), StoreError> {
        let Resident { name, project, hash, mime, expires } = resident;
        self.together(|| {
            self.write(
                "INSERT INTO residents (scope, name, project, hash, mime, expires_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET project = excluded.project, hash = coalesce(excluded.hash, hash),
                 mime = coalesce(excluded.mime, mime), expires_us = excluded.expires_us",
                params![self.scope, name, project, hash.map(|hash| hash.to_string()), mime, micros(*expires)],
            )?;
            self.write("DELETE FROM residents WHERE scope = ?1 AND expires_us <= ?2", params![self.scope, micros(now)])?;
            Ok(())
        })
    }

    /// Where the thing of this name lives, if it still does at `now`.
    pub fn resident(&self, name: &str, now: Timestamp) -> Result<Option<Resident>, StoreError> {
        let rows = self.rows(
            "SELECT name, project, hash, mime, expires_us FROM residents WHERE scope = ?1 AND name = ?2 AND expires_us > ?3",
            params![self.scope, name, micros(now)],
            resident,
        )?;
        Ok(rows.into_iter().next())
    }

    /// Forgets the thing of this name.
    pub fn forget_resident(&self, name: &str) -> Result<(), StoreError> {
        self.write("DELETE FROM residents WHERE scope = ?1 AND name = ?2", params![self.scope, name])?;
        Ok(())
    }
}

fn resident(row: &Row<'_>) -> rusqlite::Result<Resident> {
    let hash: Option<String> = row.get(2)?;
    let hash = hash.and_then(|hex| ContentHash::from_hex(&hex));
    Ok(Resident { name: row.get(0)?, project: row.get(1)?, hash, mime: row.get(3)?, expires: instant(row, 4)? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn lives(project: &str, hash: Option<ContentHash>, expires: u64) -> Resident {
        Resident { name: "files/a".into(), project: project.into(), hash, mime: None, expires: at(expires) }
    }

    #[test]
    fn a_thing_is_found_in_its_project_until_it_expires_or_is_forgotten() {
        let store = Store::in_memory("http://a").unwrap();
        let hash = Some(ContentHash::of(b"film"));
        store.keep_resident(&lives("main", hash, 100), at(1)).unwrap();
        assert_eq!(store.resident("files/a", at(99)), Ok(Some(lives("main", hash, 100))));
        assert_eq!(store.resident("files/a", at(100)), Ok(None));
        assert_eq!(store.resident("files/b", at(1)), Ok(None));
        store.keep_resident(&lives("main", None, 200), at(1)).unwrap();
        assert_eq!(store.resident("files/a", at(150)), Ok(Some(lives("main", hash, 200))), "what is in it stays known");
        store.forget_resident("files/a").unwrap();
        assert_eq!(store.resident("files/a", at(1)), Ok(None));
    }
}
