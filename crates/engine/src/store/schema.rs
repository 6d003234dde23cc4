//! The tables, and how a file of an earlier format becomes one of this format.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, clients, days, files, residents, sessions};

/// The format of a file: how many steps made it. Kept in SQLite's `user_version`; a new file has format 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SchemaVersion(i64);

/// Step `n` turns format `n` into format `n + 1`.
///
/// A step that was once released is never edited, and only adds (a table, a column with a default): a program of the
/// format before may still have the file open while a newer one takes the step.
pub(super) const STEPS: [&str; 7] =
    [FIRST, SECOND, files::TABLES, clients::TABLES, residents::TABLE, days::MACHINE, sessions::TABLE];

/// Times are microseconds since the epoch; the greatest integer means "never".
const FIRST: &str = "
CREATE TABLE scopes (
    id            INTEGER PRIMARY KEY,
    base_url      TEXT NOT NULL UNIQUE,
    day_anchor_us INTEGER
) STRICT;

CREATE TABLE days (
    scope      INTEGER NOT NULL,
    project    TEXT NOT NULL,
    model      TEXT NOT NULL,
    day_end_us INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    PRIMARY KEY (scope, project, model, day_end_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE slots (
    scope    INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    project  TEXT NOT NULL,
    model    TEXT NOT NULL,
    process  INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    PRIMARY KEY (scope, start_us, project, model, process)
) STRICT, WITHOUT ROWID;

CREATE TABLE limits (
    scope         INTEGER NOT NULL,
    project       TEXT NOT NULL,
    model         TEXT NOT NULL,
    dimension     TEXT NOT NULL,
    value         INTEGER NOT NULL,
    learned_at_us INTEGER NOT NULL,
    source        TEXT NOT NULL,
    PRIMARY KEY (scope, project, model, dimension)
) STRICT, WITHOUT ROWID;

CREATE TABLE windows (
    scope         INTEGER NOT NULL,
    project       TEXT NOT NULL,
    model         TEXT NOT NULL,
    dimension     TEXT NOT NULL,
    kind          TEXT NOT NULL,
    burst         REAL NOT NULL,
    guard_us      INTEGER NOT NULL,
    learned_at_us INTEGER NOT NULL,
    PRIMARY KEY (scope, project, model, dimension)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_states (
    scope       INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    model       TEXT NOT NULL,
    state       TEXT NOT NULL,
    until_us    INTEGER,
    reason      TEXT NOT NULL,
    since_us    INTEGER NOT NULL,
    PRIMARY KEY (scope, fingerprint, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_events (
    id          INTEGER PRIMARY KEY,
    scope       INTEGER NOT NULL,
    at_us       INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    name        TEXT NOT NULL,
    project     TEXT NOT NULL,
    model       TEXT NOT NULL,
    from_state  TEXT NOT NULL,
    to_state    TEXT NOT NULL,
    cause       TEXT NOT NULL,
    http_status INTEGER,
    body        TEXT
) STRICT;
CREATE INDEX key_events_by_fingerprint ON key_events (scope, fingerprint, id);
CREATE INDEX key_events_by_name ON key_events (scope, name, id);

CREATE TABLE calibration (
    scope     INTEGER NOT NULL,
    model     TEXT NOT NULL,
    modality  TEXT NOT NULL,
    estimated REAL NOT NULL,
    actual    REAL NOT NULL,
    PRIMARY KEY (scope, model, modality)
) STRICT, WITHOUT ROWID;
";

const SECOND: &str = "
ALTER TABLE windows ADD COLUMN counts_total INTEGER NOT NULL DEFAULT 0;

CREATE TABLE kin (
    scope      INTEGER NOT NULL,
    one        TEXT NOT NULL,
    other      TEXT NOT NULL,
    seen_at_us INTEGER NOT NULL,
    PRIMARY KEY (scope, one, other)
) STRICT, WITHOUT ROWID;
";

/// Takes the steps that the file at `path` still lacks, all in one transaction.
///
/// # Errors
/// [`StoreError::Newer`] when the file has taken steps that are not known here; it is left as it is.
pub(super) fn migrate(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StoreError> {
    let failed = |fault: rusqlite::Error| StoreError::from_sqlite(path, &fault);
    let known = SchemaVersion(i64::try_from(steps.len()).unwrap_or(i64::MAX));
    if version(connection).map_err(failed)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Asked again under the lock: another process may have taken the steps just now.
    let found = version(&transaction).map_err(failed)?;
    if found > known {
        return Err(StoreError::Newer { path: path.to_path_buf(), found: found.0, known: known.0 });
    }
    for step in steps.iter().skip(usize::try_from(found.0).unwrap_or(0)) {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", known.0).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn version(connection: &Connection) -> rusqlite::Result<SchemaVersion> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map(SchemaVersion)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const LATER: &str = "ALTER TABLE days ADD COLUMN tokens INTEGER NOT NULL DEFAULT 7";

    fn path() -> &'static Path {
        Path::new("s.db")
    }

    #[test]
    fn a_file_of_an_earlier_format_keeps_its_rows_and_takes_only_the_missing_steps() {
        let mut file = Connection::open_in_memory().unwrap();
        migrate(&mut file, path(), &[FIRST]).unwrap();
        file.execute("INSERT INTO days VALUES (1, 'p', 'm', 5, 3)", []).unwrap();
        migrate(&mut file, path(), &[FIRST, LATER]).unwrap();
        let row = file.query_row("SELECT requests, tokens FROM days", [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(row, Ok((3, 7)));
        assert_eq!(version(&file), Ok(SchemaVersion(2)));
    }

    #[test]
    fn a_file_of_a_later_format_is_refused_and_left_as_it_is() {
        let mut file = Connection::open_in_memory().unwrap();
        migrate(&mut file, path(), &[FIRST, LATER]).unwrap();
        let refusal = migrate(&mut file, path(), &[FIRST]).unwrap_err();
        assert_eq!(refusal, StoreError::Newer { path: path().into(), found: 2, known: 1 });
        assert_eq!(version(&file), Ok(SchemaVersion(2)));
    }

    #[test]
    fn a_step_that_fails_leaves_no_half_of_itself() {
        let mut file = Connection::open_in_memory().unwrap();
        migrate(&mut file, path(), &[FIRST]).unwrap();
        let torn = format!("{LATER}; CREATE TABLE days (a INTEGER)");
        assert!(migrate(&mut file, path(), &[FIRST, &torn]).is_err());
        assert_eq!(version(&file), Ok(SchemaVersion(1)));
        migrate(&mut file, path(), &[FIRST, LATER]).unwrap();
    }
}
