//! Files and pipes as the rows come out of them: a file must stay as it is while a run reads it, twice.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(found: &Metadata) -> Stamp {
        #[cfg(unix)]
        let identity = (std::os::unix::fs::MetadataExt::dev(found), std::os::unix::fs::MetadataExt::ino(found));
        #[cfg(not(unix))]
        let identity = (0, 0);
        Stamp { identity, length: found.len(), modified: found.modified().ok() }
    }
}

/// A file whose every read is followed by a look whether it is still the one it was: what has been handed over was
/// not changed before.
pub(super) struct Steady {
    file: File,
    stamp: Stamp,
}

impl Steady {
    /// Of a file just opened; an error when it is not what it was when `first` was noted.
    pub(super) fn new(file: File, first: &OnceLock<Stamp>) -> io::Result<Steady> {
        let now = Stamp::of(&file.metadata()?);
        let stamp = first.get_or_init(|| now.clone()).clone();
        if now == stamp { Ok(Steady { file, stamp }) } else { Err(altered()) }
    }
}

impl Read for Steady {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if Stamp::of(&self.file.metadata()?) == self.stamp { Ok(read) } else { Err(altered()) }
    }
}

/// A pipe that is opened when it is first read: opening one waits for its writer.
pub(super) enum Pipe {
    Closed(PathBuf),
    Open(File),
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                Pipe::Closed(path) => *self = Pipe::Open(File::open(path)?),
                Pipe::Open(file) => return file.read(buffer),
            }
        }
    }
}

/// True when a read failed since the file is not what it was.
pub(super) fn is_altered(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Altered>())
}

fn altered() -> io::Error {
    io::Error::other(Altered)
}

#[derive(Debug)]
struct Altered;

impl fmt::Display for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file was changed meanwhile")
    }
}

impl std::error::Error for Altered {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::fs;

    use super::*;

    #[test]
    fn nothing_is_handed_over_once_the_file_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in");
        fs::write(&path, "one two").unwrap();
        let first = OnceLock::new();
        let mut steady = Steady::new(File::open(&path).unwrap(), &first).unwrap();
        let mut word = [0; 3];
        assert_eq!(steady.read(&mut word).unwrap(), 3);
        fs::write(&path, "one two three").unwrap();
        assert!(is_altered(&steady.read(&mut word).unwrap_err()));
        assert!(is_altered(&Steady::new(File::open(&path).unwrap(), &first).err().unwrap()));
    }
}
