//! The response cache: answers by everything that shaped them, in one SQLite file, bounded in size and age.
//!
//! An answer is found again only for the very same request (model, contents, configuration, media by content), sent to the
//! same service. Only good answers are kept; what was not used for longest goes first when room is needed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use tidegate_scheduler::Timestamp;

use crate::store::{StoreError, place, write_ahead};

/// The file's name in the state folder.
const FILE: &str = "answers.db";
/// How long a write waits for another process's.
const PATIENCE: Duration = Duration::from_secs(10);
/// The part of the bound that is left when room is made: so that not every further answer has to make room again.
const AFTER_CLEARING: f64 = 0.9;

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS answers (
    key     BLOB PRIMARY KEY,
    made_us INTEGER NOT NULL,
    used_us INTEGER NOT NULL,
    body    BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS answers_by_use ON answers (used_us);
";

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBounds {
    /// Bytes of answers; the file is somewhat larger.
    pub bytes: u64,
    /// An answer older than this is asked anew.
    pub age: Duration,
}

impl Default for CacheBounds {
    /// 1 GB and 30 days.
    fn default() -> CacheBounds {
        CacheBounds { bytes: 1_000_000_000, age: Duration::from_secs(30 * 86_400) }
    }
}

/// What a request is known by: a BLAKE3 hash of the service's address and the canonical request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key of a canonical request at this base URL.
    pub(crate) fn of(base_url: &str, canonical: &str) -> CacheKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(base_url.len() as u64).to_le_bytes());
        hasher.update(base_url.as_bytes());
        hasher.update(canonical.as_bytes());
        CacheKey(*hasher.finalize().as_bytes())
    }
}

/// Answers kept on disk. Any number of threads and processes share one.
pub(crate) struct AnswerCache {
    path: PathBuf,
    bounds: CacheBounds,
    open: Mutex<Open>,
}

struct Open {
    connection: Connection,
    /// Bytes of answers as far as this process knows; counted anew whenever room is made.
    bytes: u64,
}

impl AnswerCache {
    /// Opens the cache in `state_dir`; makes folder and file where they are missing.
    ///
    /// # Errors
    /// [`StoreError`] names the file and the remedy.
    pub(crate) fn open(state_dir: &Path, bounds: CacheBounds) -> Result<AnswerCache, StoreError> {
        place::create(state_dir)?;
        let path = state_dir.join(FILE);
        let failed = |fault: rusqlite::Error| StoreError::from_sqlite(&path, &fault);
        let connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        // What a power cut takes is asked again, no more.
        write_ahead(&connection).map_err(failed)?;
        connection.execute_batch(TABLE).map_err(failed)?;
        let bytes = total(&connection).map_err(failed)?;
        Ok(AnswerCache { path, bounds, open: Mutex::new(Open { connection, bytes }) })
    }

    /// The answer kept for this request, unless it is too old.
    ///
    /// # Errors
    /// When the file cannot be read; the caller asks the API then.
    pub(crate) fn get(&self, key: &CacheKey, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
        let open = self.open.lock();
        let oldest = micros(now).saturating_sub(i64::try_from(self.bounds.age.as_micros()).unwrap_or(i64::MAX));
        let mut read = open
            .connection
            .prepare_cached("UPDATE answers SET used_us = ?2 WHERE key = ?1 AND made_us >= ?3 RETURNING body")
            .map_err(|fault| self.fault(&fault))?;
        read.query_row(params![key.0, micros(now), oldest], |row| row.get(0)).optional().map_err(|fault| self.fault(&fault))
    }

    /// Keeps a good answer, and makes room for it where it is needed. One larger than the whole bound is not kept.
    ///
    /// # Errors
    /// When the file cannot be written; nothing else depends on it.
    pub(crate) fn put(&self, key: &CacheKey, now: Timestamp, body: &[u8]) -> Result<(), StoreError> {
        let size = body.len() as u64;
        if size > self.bounds.bytes {
            return Ok(());
        }
        let mut open = self.open.lock();
        open.connection
            .prepare_cached("INSERT OR REPLACE INTO answers (key, made_us, used_us, body) VALUES (?1, ?2, ?2, ?3)")
            .and_then(|mut write| write.execute(params![key.0, micros(now), body]))
            .map_err(|fault| self.fault(&fault))?;
        open.bytes += size;
        if open.bytes > self.bounds.bytes { self.clear(&mut open, now) } else { Ok(()) }
    }

    /// Removes what is too old, then what was not used for longest.
    fn clear(&self, open: &mut Open, now: Timestamp) -> Result<(), StoreError> {
        let failed = |fault: rusqlite::Error| self.fault(&fault);
        let oldest = micros(now).saturating_sub(i64::try_from(self.bounds.age.as_micros()).unwrap_or(i64::MAX));
        open.connection.execute("DELETE FROM answers WHERE made_us < ?1", [oldest]).map_err(failed)?;
        open.bytes = total(&open.connection).map_err(failed)?;
        let target = (self.bounds.bytes as f64 * AFTER_CLEARING) as u64;
        if open.bytes > self.bounds.bytes {
            let surplus = i64::try_from(open.bytes - target).unwrap_or(i64::MAX);
            let sql = "DELETE FROM answers WHERE key IN (SELECT key FROM
                           (SELECT key, sum(length(body)) OVER (ORDER BY used_us, key) - length(body) AS before FROM answers)
                       WHERE before < ?1)";
            open.connection.execute(sql, [surplus]).map_err(failed)?;
            open.bytes = total(&open.connection).map_err(failed)?;
        }
        Ok(())
    }

    fn fault(&self, fault: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path, fault)
    }
}

fn total(connection: &Connection) -> rusqlite::Result<u64> {
    let bytes: i64 = connection.query_row("SELECT coalesce(sum(length(body)), 0) FROM answers", [], |row| row.get(0))?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

fn micros(at: Timestamp) -> i64 {
    i64::try_from(at.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    fn cache(bytes: u64, age: u64) -> (tempfile::TempDir, AnswerCache) {
        let folder = tempfile::tempdir().unwrap();
        let bounds = CacheBounds { bytes, age: Duration::from_secs(age) };
        let cache = AnswerCache::open(&folder.path().join("new"), bounds).unwrap();
        (folder, cache)
    }

    fn key(name: &str) -> CacheKey {
        CacheKey::of("https://a", name)
    }

    #[test]
    fn an_answer_is_found_for_the_same_request_at_the_same_service_only() {
        let (_folder, cache) = cache(1_000, 60);
        cache.put(&key("q"), NOW, b"a").unwrap();
        assert_eq!(cache.get(&key("q"), NOW).unwrap().as_deref(), Some(&b"a"[..]));
        assert_eq!(cache.get(&key("other"), NOW).unwrap(), None);
        assert_eq!(cache.get(&CacheKey::of("https://b", "q"), NOW).unwrap(), None);
        assert_ne!(CacheKey::of("ab", "c"), CacheKey::of("a", "bc"));
    }

    #[test]
    fn an_answer_that_is_too_old_is_asked_anew() {
        let (_folder, cache) = cache(1_000, 60);
        cache.put(&key("q"), NOW, b"a").unwrap();
        assert!(cache.get(&key("q"), NOW + Duration::from_secs(60)).unwrap().is_some());
        assert!(cache.get(&key("q"), NOW + Duration::from_secs(61)).unwrap().is_none());
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let (_folder, cache) = cache(100, 1_000_000);
        for (nth, name) in ["one", "two", "three", "four"].into_iter().enumerate() {
            cache.put(&key(name), NOW + Duration::from_secs(nth as u64), &[0; 25]).unwrap();
        }
        assert!(cache.get(&key("one"), NOW + Duration::from_secs(10)).unwrap().is_some());
        cache.put(&key("five"), NOW + Duration::from_secs(11), &[0; 25]).unwrap();
        let kept: Vec<bool> = ["one", "two", "three", "four", "five"]
            .map(|name| cache.get(&key(name), NOW + Duration::from_secs(12)).unwrap().is_some())
            .to_vec();
        assert_eq!(kept, [true, false, false, true, true]);
        assert!(cache.open.lock().bytes <= 100);
        cache.put(&key("huge"), NOW, &[0; 101]).unwrap();
        assert!(cache.get(&key("huge"), NOW).unwrap().is_none());
    }

    #[test]
    fn two_processes_share_one_file() {
        let (folder, one) = cache(1_000, 60);
        let two = AnswerCache::open(&folder.path().join("new"), CacheBounds::default()).unwrap();
        one.put(&key("q"), NOW, b"a").unwrap();
        assert_eq!(two.get(&key("q"), NOW).unwrap().as_deref(), Some(&b"a"[..]));
    }
}
