//! A file on this machine that goes along with prompts: looked at once, read in pieces, never whole.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use tempfile::TempPath;

/// Read at a time while hashing.
const BUFFER: usize = 256 << 10;

/// A regular file with something in it, as it was when it was looked at.
#[derive(Debug)]
pub struct LocalFile {
    path: PathBuf,
    size: u64,
    modified: SystemTime,
    hash: OnceLock<ContentHash>,
    /// Removes the file when the last prompt that needs it has ended.
    _temporary: Option<TempPath>,
}

/// Why a file cannot go along. Names the path and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Nothing there.
    #[error("{path}: there is no such file; check the path (it is taken from the current folder)")]
    Missing {
        /// As given.
        path: String,
    },
    /// Nothing in it.
    #[error("{path}: the file is empty")]
    Empty {
        /// As given.
        path: String,
    },
    /// A folder, a pipe, a device.
    #[error("{path}: it is {what}, a file was expected")]
    NotAFile {
        /// As given.
        path: String,
        /// What it is instead.
        what: &'static str,
    },
    /// It cannot be opened or read.
    #[error("{path}: cannot be read: {reason}")]
    Unreadable {
        /// As given.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// It is not what it was when the run looked at it first.
    #[error("{path}: the file changed while the run was going on; run again to send what it holds now")]
    Changed {
        /// As given.
        path: String,
    },
}

impl LocalFile {
    /// Looks at the file of this path, and opens it once to see that it can be read.
    ///
    /// # Errors
    /// [`FileError`] says what is wrong with it.
    pub fn open(path: &Path) -> Result<LocalFile, FileError> {
        let named = || path.display().to_string();
        // Asked before opening: to open a pipe would wait for its writer.
        let metadata = fs::metadata(path).map_err(|fault| refused(path, &fault))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "no regular file" };
            return Err(FileError::NotAFile { path: named(), what });
        }
        if metadata.len() == 0 {
            return Err(FileError::Empty { path: named() });
        }
        File::open(path).map_err(|fault| refused(path, &fault))?;
        let modified = metadata.modified().map_err(|fault| refused(path, &fault))?;
        Ok(LocalFile { path: path.to_path_buf(), size: metadata.len(), modified, hash: OnceLock::new(), _temporary: None })
    }

    /// A file of our own making, removed with the last of its users.
    ///
    /// # Errors
    /// As [`LocalFile::open`].
    pub(crate) fn temporary(path: TempPath, hash: ContentHash) -> Result<LocalFile, FileError> {
        let file = LocalFile::open(&path)?;
        Ok(LocalFile { hash: OnceLock::from(hash), _temporary: Some(path), ..file })
    }

    /// Where it lies, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it; never 0.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When it was last written to.
    pub fn modified(&self) -> SystemTime {
        self.modified
    }

    /// Its last name, for displays.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The file opened at its start, if it is still the one that was looked at.
    pub(crate) fn reader(&self) -> Result<File, FileError> {
        let file = File::open(&self.path).map_err(|fault| refused(&self.path, &fault))?;
        let metadata = file.metadata().map_err(|fault| refused(&self.path, &fault))?;
        let same = metadata.len() == self.size && metadata.modified().is_ok_and(|at| at == self.modified);
        same.then_some(file).ok_or_else(|| self.changed())
    }

    pub(crate) fn changed(&self) -> FileError {
        FileError::Changed { path: self.path.display().to_string() }
    }

    /// The digest of what is in it, if it is known already.
    pub(crate) fn known_hash(&self) -> Option<ContentHash> {
        self.hash.get().copied()
    }

    /// Takes over a digest that somebody remembered.
    pub(crate) fn remember_hash(&self, hash: ContentHash) {
        let _ = self.hash.set(hash);
    }

    /// The digest of what is in it; reads the whole file, piece by piece, when nobody knows it.
    ///
    /// # Errors
    /// When the file cannot be read to its end, or is no longer the one that was looked at.
    pub(crate) fn hash(&self) -> Result<ContentHash, FileError> {
        if let Some(known) = self.known_hash() {
            return Ok(known);
        }
        let (hash, read) = digest(self.reader()?).map_err(|fault| refused(&self.path, &fault))?;
        if read != self.size {
            return Err(self.changed());
        }
        Ok(*self.hash.get_or_init(|| hash))
    }
}

fn refused(path: &Path, fault: &io::Error) -> FileError {
    let path = path.display().to_string();
    match fault.kind() {
        ErrorKind::NotFound => FileError::Missing { path },
        ErrorKind::IsADirectory => FileError::NotAFile { path, what: "a folder" },
        _ => FileError::Unreadable { path, reason: fault.to_string() },
    }
}

fn digest(mut reader: impl Read) -> io::Result<(ContentHash, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    let mut read = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((ContentHash(*hasher.finalize().as_bytes()), read)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                read += count as u64;
            }
            Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
}

/// BLAKE3 of a file's bytes: equal files have equal hashes, whatever their names. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> ContentHash {
        ContentHash(*blake3::hash(bytes).as_bytes())
    }

    /// The hash of all that is left to read.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub fn of_rest(reader: impl Read) -> io::Result<ContentHash> {
        digest(reader).map(|(hash, _)| hash)
    }

    pub(crate) fn from_digest(digest: blake3::Hash) -> ContentHash {
        ContentHash(*digest.as_bytes())
    }

    /// Reads what `Display` writes.
    pub(crate) fn from_hex(text: &str) -> Option<ContentHash> {
        blake3::Hash::from_hex(text).ok().map(ContentHash::from_digest)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_cannot_go_along_is_told_by_its_path_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("empty.png"), b"").unwrap();
        for (name, words) in [
            ("none.png", "there is no such file"),
            ("empty.png", "the file is empty"),
            ("", "it is a folder, a file was expected"),
        ] {
            let error = LocalFile::open(&at(name)).unwrap_err().to_string();
            assert!(error.starts_with(&at(name).display().to_string()) && error.contains(words), "{error}");
        }
    }

    #[test]
    fn equal_bytes_have_one_hash_and_it_can_be_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let bytes = vec![7; 3 * BUFFER + 5];
        fs::write(&one, &bytes).unwrap();
        fs::write(&two, &bytes).unwrap();
        let hash = LocalFile::open(&one).unwrap().hash().unwrap();
        assert_eq!(hash, LocalFile::open(&two).unwrap().hash().unwrap());
        assert_eq!(hash, ContentHash::of(&bytes));
        assert_eq!(ContentHash::from_hex(&hash.to_string()), Some(hash));
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.wav");
        fs::write(&path, b"before").unwrap();
        let file = LocalFile::open(&path).unwrap();
        fs::write(&path, b"after it").unwrap();
        assert_eq!(file.reader().unwrap_err(), file.changed());
        assert_eq!(file.hash(), Err(file.changed()));
    }
}
