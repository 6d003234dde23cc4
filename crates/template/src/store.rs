//! What is kept between runs, in one SQLite file: vectors of texts and answers of the model.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

/// The file's name in the state folder.
pub const FILE: &str = "templates.db";
/// Bytes of answers that are kept, unless told otherwise.
const MOST_ANSWERS: i64 = 64 << 20;
/// Bytes of vectors that are kept: some 170,000 of 768 numbers.
const MOST_VECTORS: i64 = 512 << 20;
/// How long a write waits for another process's.
const PATIENCE: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS vectors (
        model TEXT NOT NULL, text TEXT NOT NULL, numbers BLOB NOT NULL, used INTEGER NOT NULL,
        PRIMARY KEY (model, text)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS answers (
        key TEXT PRIMARY KEY, field TEXT NOT NULL, documents TEXT NOT NULL, answer TEXT NOT NULL, used INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS answers_of_field ON answers (field, documents, used);
";

/// A fault of the store. Filling goes on without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store {path}: {reason}")]
pub struct StoreError {
    /// The file.
    pub path: String,
    /// What SQLite says.
    pub reason: String,
}

/// Kept vectors and answers. Any number of processes share the file.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    path: PathBuf,
    most_answers: i64,
    /// The last instant that was written down.
    last: AtomicI64,
}

/// An answer as it is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// Over everything it depends on: field, text, model, wording of the question.
    pub key: &'a str,
    /// The field alone.
    pub field: &'a str,
    /// All the documents.
    pub documents: &'a str,
    /// The answer, as JSON.
    pub answer: &'a str,
}

impl Store {
    /// Opens the store in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// [`StoreError`] when folder or file cannot be had.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        let path = folder.join(FILE);
        std::fs::create_dir_all(folder).map_err(|error| fault(&path, &error))?;
        let connection = Connection::open(&path).map_err(|error| fault(&path, &error))?;
        Store::prepared(connection, path)
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// [`StoreError`] when there is no memory for it.
    pub fn in_memory() -> Result<Store, StoreError> {
        let path = PathBuf::from(":memory:");
        let connection = Connection::open_in_memory().map_err(|error| fault(&path, &error))?;
        Store::prepared(connection, path)
    }

    fn prepared(connection: Connection, path: PathBuf) -> Result<Store, StoreError> {
        let ready = connection.busy_timeout(PATIENCE).and_then(|()| connection.execute_batch(SCHEMA));
        ready.map_err(|error| fault(&path, &error))?;
        Ok(Store { connection: Mutex::new(connection), path, most_answers: MOST_ANSWERS, last: AtomicI64::new(0) })
    }

    /// Bytes of answers that are kept, at most; the oldest go first.
    pub fn most_answers(self, bytes: u64) -> Store {
        Store { most_answers: i64::try_from(bytes).unwrap_or(i64::MAX), ..self }
    }

    /// The vector of a text, by its hash, as one model made it.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn vector(&self, model: &str, text: &str) -> Result<Option<Vec<f32>>, StoreError> {
        let sql = "UPDATE vectors SET used = ?3 WHERE model = ?1 AND text = ?2 RETURNING numbers";
        let bytes: Option<Vec<u8>> = self.one(sql, params![model, text, self.now()])?;
        Ok(bytes.map(|bytes| bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()))
    }

    /// Keeps the vectors of texts, by their hashes.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written; then none is kept.
    pub fn keep_vectors(&self, model: &str, vectors: &[(&str, &[f32])]) -> Result<(), StoreError> {
        let mut connection = self.connection.lock();
        let mut write = || -> rusqlite::Result<()> {
            let together = connection.transaction()?;
            for (text, numbers) in vectors {
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                let sql = "INSERT OR REPLACE INTO vectors (model, text, numbers, used) VALUES (?1, ?2, ?3, ?4)";
                together.prepare_cached(sql)?.execute(params![model, text, bytes, self.now()])?;
            }
            together.commit()
        };
        write().map_err(|error| fault(&self.path, &error))
    }

    /// The answer kept under a key.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn answer(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.one("UPDATE answers SET used = ?2 WHERE key = ?1 RETURNING answer", params![key, self.now()])
    }

    /// The latest answer for a field from the same documents, whatever model gave it from whatever part of them: for times
    /// when none can be asked.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn any_answer(&self, field: &str, documents: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT answer FROM answers WHERE field = ?1 AND documents = ?2 ORDER BY used DESC, rowid DESC LIMIT 1";
        self.one(sql, params![field, documents])
    }

    /// Keeps an answer, in place of an earlier one of its key.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub fn keep_answer(&self, kept: Kept<'_>) -> Result<(), StoreError> {
        let connection = self.connection.lock();
        let sql = "INSERT OR REPLACE INTO answers (key, field, documents, answer, used) VALUES (?1, ?2, ?3, ?4, ?5)";
        let written = connection
            .prepare_cached(sql)
            .and_then(|mut insert| insert.execute(params![kept.key, kept.field, kept.documents, kept.answer, self.now()]));
        written.map(|_| ()).map_err(|error| fault(&self.path, &error))
    }

    /// How many answers are kept.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn answers(&self) -> Result<u64, StoreError> {
        let count: Option<i64> = self.one("SELECT count(*) FROM answers", [])?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    /// Forgets what was not used for longest, until what is left is within bounds.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub fn trim(&self) -> Result<(), StoreError> {
        let connection = self.connection.lock();
        let bounds = [("answers", "length(answer) + 200", self.most_answers), ("vectors", "length(numbers) + 100", MOST_VECTORS)];
        for (table, size, most) in bounds {
            let key = if table == "answers" { "key" } else { "model || char(0) || text" };
            // What stands after the newest that fit is the rest.
            let sql = format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT k FROM (SELECT {key} AS k,
                 sum({size}) OVER (ORDER BY used DESC, {key} ROWS UNBOUNDED PRECEDING) AS total FROM {table}) WHERE total > ?1)"
            );
            let total: rusqlite::Result<i64> =
                connection.query_row(&format!("SELECT coalesce(sum({size}), 0) FROM {table}"), [], |row| row.get(0));
            let total = total.map_err(|error| fault(&self.path, &error))?;
            if total > most {
                connection.execute(&sql, [most]).map_err(|error| fault(&self.path, &error))?;
            }
        }
        Ok(())
    }

    /// Microseconds of the wall clock, each larger than the one before: what was used last can be told.
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
        last.map_or(now, |last| now.max(last + 1))
    }

    fn one<T: rusqlite::types::FromSql>(&self, sql: &str, values: impl rusqlite::Params) -> Result<Option<T>, StoreError> {
        let connection = self.connection.lock();
        let found = connection.prepare_cached(sql).and_then(|mut query| query.query_row(values, |row| row.get(0)).optional());
        found.map_err(|error| fault(&self.path, &error))
    }
}

fn fault(path: &Path, error: &dyn Display) -> StoreError {
    StoreError { path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn keep(store: &Store, key: &str, field: &str, answer: &str) {
        store.keep_answer(Kept { key, field, documents: "d", answer }).unwrap();
    }

    #[test]
    fn vectors_come_back_to_the_bit_and_belong_to_their_model() {
        let folder = tempfile::tempdir().unwrap();
        let vector = [1.5f32, -0.1, f32::MIN_POSITIVE];
        Store::open(folder.path()).unwrap().keep_vectors("m", &[("t", &vector)]).unwrap();
        let again = Store::open(folder.path()).unwrap();
        assert_eq!(again.vector("m", "t").unwrap().unwrap(), vector);
        assert_eq!(again.vector("other", "t").unwrap(), None);
    }

    #[test]
    fn answers_are_found_by_key_and_the_latest_by_field() {
        let store = Store::in_memory().unwrap();
        keep(&store, "1", "rent", "old");
        keep(&store, "2", "rent", "new");
        assert_eq!(store.answer("1").unwrap().unwrap(), "old");
        assert_eq!(store.answer("3").unwrap(), None);
        keep(&store, "2", "rent", "newer");
        assert_eq!(store.any_answer("rent", "d").unwrap().unwrap(), "newer");
        assert_eq!(store.any_answer("rent", "other").unwrap(), None);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let store = Store::in_memory().unwrap().most_answers(1000);
        for number in 0..8 {
            keep(&store, &number.to_string(), "f", "x");
        }
        store.answer("0").unwrap();
        store.trim().unwrap();
        assert_eq!(store.answers().unwrap(), 4);
        assert!(store.answer("0").unwrap().is_some() && store.answer("1").unwrap().is_none());
    }
}
