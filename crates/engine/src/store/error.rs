//! Why the store cannot be used, with the file and the remedy in every message.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// What is wrong with the store. Work can go on without one: see [`Store::in_memory`](super::Store::in_memory).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Folder or file cannot be made, read or written.
    #[error(
        "state file {}: {reason}; make its folder writable, or name another one in TIDEGATE_STATE_DIR or state_dir",
        path.display()
    )]
    Unwritable {
        /// The folder or the file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is no database, or a damaged one.
    #[error("state file {}: damaged ({reason}); move it away, and the next run begins a new one", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A newer tidegate has written it.
    #[error(
        "state file {}: written by a newer tidegate (format {found}, this one reads up to {known}); \
         update tidegate, or name another folder in TIDEGATE_STATE_DIR or state_dir",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: i64,
        /// The newest format this program reads.
        known: i64,
    },
    /// Another process kept it locked for ten seconds.
    #[error("state file {}: locked by another process; end the one that hangs, then try again", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Anything else: a full disk, a failing one.
    #[error("state file {}: {reason}; free space or mend the disk, then try again", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn from_sqlite(path: &Path, fault: &rusqlite::Error) -> StoreError {
        let path = path.to_path_buf();
        let reason = fault.to_string();
        match fault.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Corrupt { path, reason },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                StoreError::Unwritable { path, reason }
            }
            // Tables that are missing or hold the wrong types: somebody else's file, or a half of ours.
            None | Some(ErrorCode::Unknown | ErrorCode::TypeMismatch) => StoreError::Corrupt { path, reason },
            Some(_) => StoreError::Failed { path, reason },
        }
    }
}

/// True when waiting may help.
pub(super) fn is_busy(fault: &rusqlite::Error) -> bool {
    matches!(fault.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn read(code: i32) -> StoreError {
        StoreError::from_sqlite(Path::new("s.db"), &rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("it says".into())))
    }

    #[test]
    fn each_cause_has_its_own_remedy_and_names_the_file() {
        let cases = [
            (ffi::SQLITE_BUSY, "end the one that hangs"),
            (ffi::SQLITE_NOTADB, "move it away"),
            (ffi::SQLITE_CORRUPT, "move it away"),
            (ffi::SQLITE_ERROR, "move it away"),
            (ffi::SQLITE_CANTOPEN, "TIDEGATE_STATE_DIR"),
            (ffi::SQLITE_READONLY, "TIDEGATE_STATE_DIR"),
            (ffi::SQLITE_FULL, "free space"),
            (ffi::SQLITE_IOERR, "free space"),
        ];
        for (code, remedy) in cases {
            let text = read(code).to_string();
            assert!(text.starts_with("state file s.db: ") && text.contains(remedy), "{code}: {text}");
        }
    }
}
