//! One writer an output: an advisory lock that the system gives back when its holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("held by process {}", .pid.as_deref().unwrap_or("(unknown)"))]
    Held {
        /// What the holder wrote into the lock file.
        pid: Option<String>,
    },
    /// The file cannot be made or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock at `path` and writes this process's number into the file.
    pub fn take(path: &Path) -> Result<Lock, LockError> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            // A holder that had nothing to keep has removed the file meanwhile: locked is what nobody else will find.
            Ok(()) if !is_at(&file, path) => Lock::take(path),
            Ok(()) => {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Lock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                Err(LockError::Held { pid: Some(pid.trim().to_owned()).filter(|pid| !pid.is_empty()) })
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(held), Ok(named)) = (file.metadata(), path.metadata()) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_number_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        let refusal = Lock::take(&path).unwrap_err();
        assert_eq!(refusal.to_string(), format!("held by process {}", std::process::id()));
        drop(first);
        Lock::take(&path).unwrap();
    }
}
