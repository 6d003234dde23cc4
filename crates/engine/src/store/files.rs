//! Files that lie in a project's storage, and the digests of files on this machine.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Row, params};
use tidegate_scheduler::Timestamp;

use super::columns::{instant, micros, number};
use super::{Store, StoreError};
use crate::media::{ContentHash, LocalFile};

/// The step that makes the tables.
pub(super) const TABLES: &str = "
CREATE TABLE files (
    scope      INTEGER NOT NULL,
    project    TEXT NOT NULL,
    hash       TEXT NOT NULL,
    name       TEXT NOT NULL,
    uri        TEXT NOT NULL,
    expires_us INTEGER NOT NULL,
    PRIMARY KEY (scope, project, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE digests (
    path        TEXT NOT NULL,
    size        INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    hash        TEXT NOT NULL,
    seen_us     INTEGER NOT NULL,
    PRIMARY KEY (path)
) STRICT, WITHOUT ROWID;
";

/// A digest that nobody asked for this long is dropped.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// A file in the storage of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// What is in it.
    pub hash: ContentHash,
    /// The API's name for it, `files/...`.
    pub name: String,
    /// The address prompts refer to it by.
    pub uri: String,
    /// From when on it is not to be counted on any more.
    pub expires: Timestamp,
}

impl Store {
    /// Keeps where `file` lies in `project`; it takes the place of an earlier upload of the same bytes.
    pub fn keep_file(&self, project: &str, file: &RemoteFile) -> Result<(), StoreError> {
        self.write(
            "INSERT OR REPLACE INTO files (scope, project, hash, name, uri, expires_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![self.scope, project, file.hash.to_string(), file.name, file.uri, micros(file.expires)],
        )?;
        Ok(())
    }

    /// Where these bytes lie in `project`, if they do and still will at `now`.
    pub fn file(&self, project: &str, hash: ContentHash, now: Timestamp) -> Result<Option<RemoteFile>, StoreError> {
        let rows = self.rows(
            "SELECT hash, name, uri, expires_us FROM files WHERE scope = ?1 AND project = ?2 AND hash = ?3 AND expires_us > ?4",
            params![self.scope, project, hash.to_string(), micros(now)],
            remote,
        )?;
        Ok(rows.into_iter().flatten().next())
    }

    /// Forgets an upload, and with it all whose time is over.
    pub fn forget_file(&self, project: &str, name: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(
            "DELETE FROM files WHERE scope = ?1 AND ((project = ?2 AND name = ?3) OR expires_us <= ?4)",
            params![self.scope, project, name, micros(now)],
        )?;
        Ok(())
    }

    /// The digest of `file`, if the same path had the same size and time of change when it was kept.
    pub fn digest(&self, file: &LocalFile) -> Result<Option<ContentHash>, StoreError> {
        let Some(path) = absolute(file.path()) else { return Ok(None) };
        let found = self.rows(
            "SELECT hash FROM digests WHERE path = ?1 AND size = ?2 AND modified_ns = ?3",
            params![path, number(file.size()), nanos(file.modified())],
            |row| row.get::<_, String>(0),
        )?;
        Ok(found.first().and_then(|hex| ContentHash::from_hex(hex)))
    }

    /// Keeps the digest of `file`, and drops those that were kept long before `now`.
    pub fn keep_digest(&self, file: &LocalFile, hash: ContentHash, now: Timestamp) -> Result<(), StoreError> {
        let Some(path) = absolute(file.path()) else { return Ok(()) };
        let long_ago = now.as_micros().saturating_sub(u64::try_from(FORGOTTEN_AFTER.as_micros()).unwrap_or(u64::MAX));
        self.together(|| {
            self.write(
                "INSERT OR REPLACE INTO digests (path, size, modified_ns, hash, seen_us) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![path, number(file.size()), nanos(file.modified()), hash.to_string(), micros(now)],
            )?;
            self.write("DELETE FROM digests WHERE seen_us < ?1", params![number(long_ago)])?;
            Ok(())
        })
    }
}

/// `None` for a row whose hash is of another form than ours.
fn remote(row: &Row<'_>) -> rusqlite::Result<Option<RemoteFile>> {
    let Some(hash) = ContentHash::from_hex(&row.get::<_, String>(0)?) else { return Ok(None) };
    Ok(Some(RemoteFile { hash, name: row.get(1)?, uri: row.get(2)?, expires: instant(row, 3)? }))
}

/// One file has one name in the table, wherever it is asked from. A name that is no Unicode is not kept.
fn absolute(path: &Path) -> Option<String> {
    path.canonicalize().ok()?.into_os_string().into_string().ok()
}

fn nanos(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn remote(expires: u64) -> RemoteFile {
        let hash = ContentHash::of(b"film");
        RemoteFile { hash, name: "files/a".into(), uri: "https://host/v1beta/files/a".into(), expires: at(expires) }
    }

    #[test]
    fn an_upload_is_found_in_its_project_until_its_time_is_over() {
        let store = Store::in_memory("http://a").unwrap();
        store.keep_file("main", &remote(100)).unwrap();
        let hash = ContentHash::of(b"film");
        assert_eq!(store.file("main", hash, at(99)), Ok(Some(remote(100))));
        assert_eq!(store.file("main", hash, at(100)), Ok(None));
        assert_eq!(store.file("other", hash, at(1)), Ok(None));
        assert_eq!(store.file("main", ContentHash::of(b"song"), at(1)), Ok(None));
        store.keep_file("main", &remote(200)).unwrap();
        assert_eq!(store.file("main", hash, at(150)), Ok(Some(remote(200))));
        store.forget_file("main", "files/a", at(150)).unwrap();
        assert_eq!(store.file("main", hash, at(150)), Ok(None));
    }

    #[test]
    fn a_digest_holds_for_the_same_size_and_time_only() {
        let store = Store::in_memory("http://a").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.wav");
        std::fs::write(&path, b"before").unwrap();
        let file = LocalFile::open(&path).unwrap();
        assert_eq!(store.digest(&file), Ok(None));
        store.keep_digest(&file, ContentHash::of(b"before"), at(1)).unwrap();
        assert_eq!(store.digest(&LocalFile::open(&path).unwrap()), Ok(Some(ContentHash::of(b"before"))));
        std::fs::write(&path, b"longer than before").unwrap();
        assert_eq!(store.digest(&LocalFile::open(&path).unwrap()), Ok(None));
    }

    #[test]
    fn digests_of_long_ago_are_dropped() {
        let store = Store::in_memory("http://a").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            std::fs::write(folder.path().join(name), b"x").unwrap();
            LocalFile::open(&folder.path().join(name)).unwrap()
        };
        let (old, new) = (file("old"), file("new"));
        store.keep_digest(&old, ContentHash::of(b"x"), at(1)).unwrap();
        store.keep_digest(&new, ContentHash::of(b"x"), at(2 + 30 * 86_400)).unwrap();
        assert_eq!(store.digest(&old), Ok(None));
        assert!(store.digest(&new).unwrap().is_some());
    }
}
