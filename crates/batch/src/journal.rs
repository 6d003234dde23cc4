//! The journal: an append-only file of records, healed at its end, read in constant memory.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tidegate_gemini::Usage;
use tidegate_gemini::prices::Date;

use crate::budget::Spending;
use crate::record::Status;
use crate::refresh::Riders;

mod writer;

pub(crate) use writer::{Store, Writer};

/// Why a journal cannot be read. Nothing in it was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A line in its middle is no record.
    #[error(
        "{path}:{line}: is no record of a run: {reason}; remove the line (its row is asked again), choose another output, or start over with --fresh (everything is kept beside)"
    )]
    BadLine {
        /// The journal.
        path: String,
        /// The line, from 1.
        line: u64,
        /// Why not.
        reason: String,
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
#[derive(Debug, Clone, Deserialize)]
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
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(default)]
    usage: Option<HeadUsage>,
    #[serde(borrow, default)]
    finished_at: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    extra: Option<&'a RawValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct HeadError {
    #[serde(default)]
    retryable: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct HeadUsage {
    input_tokens: u64,
    output_tokens: u64,
    thinking_tokens: u64,
    cached_tokens: u64,
    total_tokens: u64,
    estimated_tokens: u64,
}

impl Head<'_> {
    pub(crate) fn retryable(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.retryable)
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.usage.as_ref().map_or(0, |usage| usage.total_tokens)
    }

    pub(crate) fn riders(&self) -> Riders {
        let extra = self.extra.and_then(|raw| serde_json::from_str(raw.get()).ok());
        Riders::of(self.metadata, extra.unwrap_or_default())
    }

    /// Counts what the record cost when it was made; one without a day is as old as can be.
    pub(crate) fn spend(&self, spending: &mut Spending) -> Option<String> {
        let HeadUsage { input_tokens, output_tokens, thinking_tokens, cached_tokens, total_tokens, estimated_tokens } =
            self.usage?;
        let usage = Usage { input_tokens, output_tokens, thinking_tokens, cached_tokens, total_tokens, estimated_tokens };
        let date: Date = self.finished_at.parse().unwrap_or_else(|_| Date::of_unix_seconds(0));
        spending.add(&self.model, &usage, date)
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
/// A file not known to be `ours` is cut only when all before its last line are records.
pub(crate) fn heal(path: &Path, ours: bool) -> Result<Option<String>, JournalError> {
    let healed = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => heal_end(file, ours),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    };
    let healed = healed.map_err(|error| unreadable(path, &error))?;
    Ok(healed.map(|what| format!("{}: {what}", path.display())))
}

fn heal_end(mut file: File, ours: bool) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    let (mut buffer, mut start) = (Vec::new(), 0);
    let mut is_journal = ours;
    let mut reader = BufReader::with_capacity(64 * 1024, &file);
    while start + (buffer.len() as u64) < length {
        if !buffer.is_empty() {
            is_journal = ours || (head(&buffer).is_ok() && (start == 0 || is_journal));
        }
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
    // No part of a record is a whole JSON value: such a line is somebody's own.
    if !is_journal || serde_json::from_slice::<IgnoredAny>(&buffer).is_ok() {
        return Ok(None);
    }
    file.set_len(start)?;
    file.sync_data()?;
    let cut = length - start;
    Ok(Some(format!("the last record was torn when its writer ended; {cut} bytes were cut off, its row is asked again")))
}

/// What a line says of its row.
pub(crate) fn head(bytes: &[u8]) -> Result<Head<'_>, String> {
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
            let warning = heal(&path, true).unwrap();
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
    fn a_file_without_a_manifest_is_healed_when_all_before_its_last_line_are_records() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        let whole = format!("{ONE}\n{TWO}\n");
        for (written, healed) in [
            (format!("{ONE}\n{TWO}"), whole.clone()),
            (ONE.to_owned(), format!("{ONE}\n")),
            (format!("{whole}{{\"id\":\"c\",\"ind"), whole.clone()),
            (format!("{ONE}\ntheirs\n{{\"id\""), format!("{ONE}\ntheirs\n{{\"id\"")),
            (format!("theirs\n{ONE}\n{{\"id\""), format!("theirs\n{ONE}\n{{\"id\"")),
            ("a letter to".to_owned(), "a letter to".to_owned()),
            (format!("{ONE}\n{{\"mine\":1}}"), format!("{ONE}\n{{\"mine\":1}}")),
        ] {
            fs::write(&path, &written).unwrap();
            heal(&path, false).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), healed, "{written}");
        }
    }

    #[test]
    fn a_bad_line_in_the_middle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.jsonl");
        fs::write(&path, format!("{ONE}\nnonsense\n{TWO}\n")).unwrap();
        assert_eq!(heal(&path, true).unwrap(), None);
        let error = ids(&path).unwrap_err().to_string();
        assert!(error.contains("j.jsonl:2: is no record of a run: "), "{error}");
        assert!(error.contains("; remove the line (its row is asked again), choose another output, or "), "{error}");
    }

    #[test]
    fn a_journal_that_does_not_exist_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.jsonl");
        assert_eq!(heal(&path, true).unwrap(), None);
        assert!(ids(&path).unwrap().is_empty());
    }
}
