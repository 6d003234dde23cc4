//! The local store: what a restart must not forget, in one SQLite file that any number of processes share.
//!
//! Everything in it belongs to one base URL (the *scope*), so that a test server's limits never mix with the real
//! ones. Counters are added, never overwritten. A key enters only as its [`Fingerprint`], a body only as [`Redacted`].
//!
//! After `kill -9` nothing that was written is missing; after a power cut the last moments may be (write-ahead log,
//! `synchronous = NORMAL`), but the file stays whole.
//!
//! ```
//! use tidegate_engine::scheduler::Timestamp;
//! use tidegate_engine::store::Store;
//!
//! let store = Store::in_memory("https://generativelanguage.googleapis.com")?;
//! let midnight = Timestamp::from_secs(1_795_420_800);
//! // Ten requests are written down before the first of them is sent; two of them were not needed in the end.
//! assert_eq!(store.reserve_day("main", "gemini-3.8-flash", midnight, 10)?, 10);
//! store.return_day("main", "gemini-3.8-flash", midnight, 2)?;
//! assert_eq!(store.day_total("main", "gemini-3.8-flash", midnight)?, 8);
//! # Ok::<(), tidegate_engine::store::StoreError>(())
//! ```

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Params, Row, Transaction, TransactionBehavior};
use tidegate_scheduler::Timestamp;

mod calibration;
mod clients;
mod columns;
mod days;
mod error;
mod files;
mod fingerprint;
mod journal;
mod keys;
mod kin;
mod limits;
pub(crate) mod place;
mod redacted;
mod residents;
mod schema;
mod sessions;
mod slots;

pub use calibration::CalibrationSums;
pub use days::DayRow;
pub use error::StoreError;
pub use files::RemoteFile;
pub use fingerprint::{Fingerprint, NotAFingerprint};
pub use journal::KeyEvent;
pub use keys::KeyRecord;
pub use limits::{LearnedLimit, LearnedWindow, LimitSource};
pub use place::default_state_dir;
pub use redacted::Redacted;
pub use residents::Resident;
pub use slots::SlotRow;

/// The file's name in the state folder.
const FILE: &str = "tidegate.db";
/// How long a write waits for another process's write, which takes well under a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);
/// Prepared statements kept; all the store's own fit.
const STATEMENTS: usize = 48;

/// An open store, seen from one base URL.
///
/// Can be moved to another thread but not shared between threads: each opens its own. Calls are synchronous and take
/// some ten microseconds; group many with [`Store::together`]. Each fails with a [`StoreError`] that names the file, and
/// has then written nothing.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    scope: i64,
    process: u64,
    /// Start of the slot at whose writing old slots were last removed.
    pruned_at: Cell<Timestamp>,
}

impl Store {
    /// Opens `state_dir/tidegate.db` for `base_url`; makes folder and file where they are missing.
    ///
    /// # Errors
    /// [`StoreError`] names the file and the remedy. The caller may go on with [`Store::in_memory`]: nothing then
    /// survives the process, and nothing else changes.
    pub fn open(state_dir: &Path, base_url: &str) -> Result<Store, StoreError> {
        place::create(state_dir)?;
        let path = state_dir.join(FILE);
        let connection = Connection::open(&path).map_err(|fault| StoreError::from_sqlite(&path, &fault))?;
        Store::prepare(connection, path, base_url)
    }

    /// A store of its own that ends with the process: for simulations and tests, and where no file can be had.
    ///
    /// # Errors
    /// Only when memory cannot be had.
    pub fn in_memory(base_url: &str) -> Result<Store, StoreError> {
        let path = PathBuf::from(":memory:");
        let connection = Connection::open_in_memory().map_err(|fault| StoreError::from_sqlite(&path, &fault))?;
        Store::prepare(connection, path, base_url)
    }

    /// Where it lies; `:memory:` for one without a file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number under which this open store writes its slots; drawn anew at each opening.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// Does several calls as one write: all of them, or on an error none. Calls inside may themselves group.
    ///
    /// # Errors
    /// The first error of `work`, or that of the write itself.
    pub fn together<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        if !self.connection.is_autocommit() {
            return work();
        }
        let begun = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        let transaction = begun.map_err(|fault| self.fault(&fault))?;
        let result = work()?;
        transaction.commit().map_err(|fault| self.fault(&fault))?;
        Ok(result)
    }

    fn prepare(mut connection: Connection, path: PathBuf, base_url: &str) -> Result<Store, StoreError> {
        let failed = |fault: rusqlite::Error| StoreError::from_sqlite(&path, &fault);
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        write_ahead(&connection).map_err(failed)?;
        schema::migrate(&mut connection, &path, &schema::STEPS)?;
        let scope = scope_number(&connection, &place::scope(base_url)).map_err(failed)?;
        // Process numbers repeat between containers that share a folder; a hasher's random seed does not.
        let process = RandomState::new().hash_one(std::process::id());
        Ok(Store { connection, path, scope, process, pruned_at: Cell::new(Timestamp::ZERO) })
    }

    fn fault(&self, fault: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path, fault)
    }

    /// Runs a statement that returns no rows; tells how many rows it changed.
    fn write(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params));
        done.map_err(|fault| self.fault(&fault))
    }

    /// Runs a statement to its end, so that an error of its commit is seen too, and reads its rows.
    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let all = |fault: rusqlite::Error| self.fault(&fault);
        let mut statement = self.connection.prepare_cached(sql).map_err(all)?;
        let rows = statement.query_map(params, read).map_err(all)?;
        rows.collect::<rusqlite::Result<Vec<T>>>().map_err(all)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Switches to the write-ahead log, which a power cut may cost its last moments. SQLite does not wait by itself when several
/// processes switch a new file at once.
pub(crate) fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    // A file without a page has nothing to lose yet: the switch need not wait for the disk four times.
    if connection.query_row("PRAGMA page_count", [], |row| row.get(0)) == Ok(0) {
        connection.pragma_update(None, "synchronous", "OFF")?;
    }
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(fault) if error::is_busy(&fault) && start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
            Err(fault) => return Err(fault),
            Ok(()) => return connection.pragma_update(None, "synchronous", "NORMAL"),
        }
    }
}

/// The number of the scope named `base_url`, given to it at its first opening.
fn scope_number(connection: &Connection, base_url: &str) -> rusqlite::Result<i64> {
    connection.execute("INSERT INTO scopes (base_url) VALUES (?1) ON CONFLICT DO NOTHING", [base_url])?;
    connection.query_row("SELECT id FROM scopes WHERE base_url = ?1", [base_url], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const DAY: Timestamp = Timestamp::from_secs(1_000);

    fn failure() -> StoreError {
        StoreError::Busy { path: PathBuf::from("x") }
    }

    #[test]
    fn a_group_that_fails_writes_nothing() {
        let store = Store::in_memory("http://a").unwrap();
        let result = store.together(|| {
            store.reserve_day("p", "m", DAY, 5)?;
            Err::<(), _>(failure())
        });
        assert_eq!(result, Err(failure()));
        assert_eq!(store.day_total("p", "m", DAY), Ok(0));
    }

    #[test]
    fn groups_inside_groups_are_one_write() {
        let store = Store::in_memory("http://a").unwrap();
        let inner = || store.together(|| store.reserve_day("p", "m", DAY, 5));
        let failed: Result<(), _> = store.together(|| inner().and_then(|_| Err(failure())));
        assert_eq!(failed, Err(failure()));
        assert_eq!(store.day_total("p", "m", DAY), Ok(0));
        assert_eq!(store.together(inner), Ok(5));
    }

    #[test]
    fn every_opening_writes_its_slots_under_its_own_number() {
        let numbers: Vec<u64> = (0..3).map(|_| Store::in_memory("http://a").unwrap().process()).collect();
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2]);
    }

    #[test]
    fn a_debug_print_shows_the_file_and_nothing_of_its_content() {
        let store = Store::in_memory("http://user:secret@a").unwrap();
        assert_eq!(format!("{store:?}"), r#"Store { path: ":memory:", scope: 1, .. }"#);
    }
}
