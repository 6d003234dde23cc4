//! The journal: an append-only file of records, healed at its end, read in constant memory.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::Deserialize;

use crate::record::Status;

mod writer;

pub(crate) use writer::{Store, Writer};

/// Why a journal cannot be read. Nothing in it was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A line in its middle is no record.
    #[error("{path}:{line}: is no record of a run: {reason}; remove the line (its row is asked again), or choose another output")]
    BadLine {
        /// The journal.
        path: String,
        /// The line, from 1.
        line: u64,
        /// Why not.
        reason: String,
    },
    /// Two records of the same row.
    #[error("{path}: lines {first} and {second} are records of the same id; remove one of them")]
    Twice {
        /// The journal.
        path: String,
        /// One of the lines, from 1.
        first: u64,
        /// The other.
        second: u64,
    },
    /// The system refuses.
    #[error("{path}: cannot be read: {reason}")]
    Unreadable {
        /// The journal.
        path: String,
        /// In the system's words.
        reason: String,
    },
}

/// What resuming needs to know of a record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(default)]
    pub(crate) index: u64,
    pub(crate) status: Status,
    #[serde(borrow, default)]
    pub(crate) fingerprint: Cow<'a, str>,
    #[serde(default)]
    error: Option<HeadError>,
    #[serde(default)]
    usage: Option<HeadUsage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct HeadError {
    #[serde(default)]
    retryable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct HeadUsage {
    #[serde(default)]
    total_tokens: u64,
}

impl Head<'_> {
    pub(crate) fn retryable(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.retryable)
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.usage.as_ref().map_or(0, |usage| usage.total_tokens)
    }
}

/// One record as it stands in the journal.
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: u64,
    /// Of its first byte.
    pub(crate) offset: u64,
    /// Its end not included.
    pub(crate) bytes: &'a [u8],
    pub(crate) head: Head<'a>,
}

/// Reads every record of a journal; one that does not exist is empty.
pub(crate) fn scan<E: From<JournalError>>(path: &Path, mut each: impl FnMut(Line<'_>) -> Result<(), E>) -> Result<(), E> {
    let unreadable = |error: io::Error| unreadable(path, &error);
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::with_capacity(64 * 1024, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error).into()),
    };
    let (mut buffer, mut number, mut offset) = (Vec::new(), 0, 0);
    loop {
        buffer.clear();
        let read = reader.read_until(b'\n', &mut buffer).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let bytes = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
        let head = head(bytes).map_err(|reason| {
            let path = path.display().to_string();
            JournalError::BadLine { path, line: number, reason }
        })?;
        each(Line { number, offset, bytes, head })?;
        offset += read as u64;
    }
}

/// Repairs the end of a journal whose writer was killed within its last line. Tells what was done, if anything was.
pub(crate) fn heal(path: &Path) -> Result<Option<String>, JournalError> {
    let healed = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => heal_end(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    };
    let healed = healed.map_err(|error| unreadable(path, &error))?;
    Ok(healed.map(|what| format!("{}: {what}", path.display())))
}

fn heal_end(mut file: File) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    let (mut buffer, mut start) = (Vec::new(), 0);
    let mut reader = BufReader::with_capacity(64 * 1024, &file);
    while start + (buffer.len() as u64) < length {
        start += buffer.len() as u64;
        buffer.clear();
        reader.read_until(b'\n', &mut buffer)?;
    }
    if buffer.is_empty() || buffer.ends_with(b"\n") {
        return Ok(None);
    }
    if head(&buffer).is_ok() {
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        file.write_all(b"\n")?;
        file.sync_data()?;
        return Ok(None);
    }
    file.set_len(start)?;
    file.sync_data()?;
    let cut = length - start;
    Ok(Some(format!("the last record was torn when its writer ended; {cut} bytes were cut off, its row is asked again")))
}

fn head(bytes: &[u8]) -> Result<Head<'_>, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn unreadable(path: &Path, error: &io::Error) -> JournalError {
    JournalError::Unreadable { path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::fs;

    use super::*;

    const ONE: &str =
        r#"{"id":"a","index":0,"status":"ok","success":true,"fingerprint":"b3:1","text":"x","usage":{"total_tokens":7}}"#;
    const TWO: &str = r#"{"id":"b","index":1,"status":"failed","error":{"class":"task","retryable":true}}"#;

    fn ids(path: &Path) -> Result<Vec<String>, JournalError> {
        let mut ids = Vec::new();
        scan(path, |line| {
            ids.push(line.head.id.into_owned());
            Ok::<(), JournalError>(())
        })?;
        Ok(ids)
    }

    #[test]
    fn a_record_tells_what_resuming_needs() {
        let one = head(ONE.as_bytes()).unwrap();
        assert_eq!((one.id.as_ref(), one.index, one.status, one.retryable(), one.tokens()), ("a", 0, Status::Ok, false, 7));
        let two = head(TWO.as_bytes()).unwrap();
        assert_eq!((two.status, two.retryable(), two.tokens()), (Status::Failed, true, 0));
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_every_whole_record_and_loses_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        let whole = format!("{ONE}\n{TWO}\n");
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let warning = heal(&path).unwrap();
            let expected: &[&str] = match cut {
                _ if cut >= whole.len() - 1 => &["a", "b"],
                _ if cut >= ONE.len() => &["a"],
                _ => &[],
            };
            assert_eq!(ids(&path).unwrap(), expected, "cut at {cut}");
            let clean = cut == 0 || cut == ONE.len() || cut == ONE.len() + 1 || cut >= whole.len() - 1;
            assert_eq!(warning.is_none(), clean, "cut at {cut}: {warning:?}");
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
        }
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        fs::write(&path, format!("{ONE}\nnonsense\n{TWO}\n")).unwrap();
        assert_eq!(heal(&path).unwrap(), None);
        let error = ids(&path).unwrap_err().to_string();
        assert!(error.contains("j.jsonl:2: is no record of a run: "), "{error}");
        assert!(error.ends_with("; remove the line (its row is asked again), or choose another output"), "{error}");
    }

    #[test]
    fn a_journal_that_does_not_exist_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.jsonl");
        assert_eq!(heal(&path).unwrap(), None);
        assert!(ids(&path).unwrap().is_empty());
    }
}
