//! Records made elsewhere, kept in an output as a run keeps its own: journaled, safe before they count, each id once.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::budget::Spending;
use crate::home::Home;
use crate::identity::Digest;
use crate::journal::{self, JournalError, Writer};
use crate::manifest::{FormatVersion, Manifest};
use crate::options::{Durability, Options, Task};
use crate::output::Output;
use crate::prepare::{Earlier, earlier};
use crate::record::Status;
use crate::refresh::Edited;
use crate::resume::{Index, Row};
use crate::run::RunError;
use crate::summary::Counts;
use crate::supersede::take_out;

/// An output that is being filled with records of others.
pub struct Collection {
    home: Home,
    writer: Option<Writer<()>>,
    options: Options,
    /// What each id's record says, in short.
    known: HashMap<Digest, Digest>,
    counts: Counts,
}

/// A record that came, with the id it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The row.
    pub id: &'a str,
    /// One line of JSON.
    pub line: &'a str,
}

/// What came as a record and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record of {id:?} cannot be kept: {reason}")]
pub struct NoRecord {
    /// The row.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Records that share one wait for the disk.
const TOGETHER: usize = 512;

impl Collection {
    /// Opens an output for the records of `source` (`("queue", "NAME")`), and goes on from what it holds. Of `options`,
    /// `fresh`, `accept_changes`, `ordered` and `durability` count. Also tells what was repaired.
    ///
    /// # Errors
    /// When the output cannot be used, is another run's, or was filled from elsewhere.
    pub fn open(output: Output, source: (&str, &str), options: Options) -> Result<(Collection, Vec<String>), RunError> {
        let mut home = Home::open(output, options.ordered, &Task::Answer)?;
        let manifest = manifest(source);
        let files = home.files().filter(|_| !options.fresh);
        let earlier =
            files.map(|files| earlier(files, &manifest, options.accept_changes, &mut Spending::of(None))).transpose()?;
        let Earlier { mut index, warnings } = earlier.unwrap_or_default();
        home.settle(&mut index, &mut Edited::default(), &options, &manifest)?;
        let mut collection = Collection { home, writer: None, options, known: HashMap::new(), counts: Counts::default() };
        collection.learn()?;
        collection.start()?;
        Ok((collection, warnings))
    }

    /// Rows by what became of them: those that came, and those that were there.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Writes the records that are new and returns once they are safe. A second one of an id takes the place of the first,
    /// which is kept in `superseded.jsonl`; the same once more changes nothing. Records that are none are told.
    ///
    /// # Errors
    /// When the output cannot be written. What was safe before is.
    pub async fn keep(&mut self, records: &[Record<'_>]) -> Result<Vec<NoRecord>, RunError> {
        let (mut refused, mut new) = (Vec::new(), Vec::with_capacity(records.len()));
        for record in records {
            match status_of(record) {
                Ok(status) => new.push((record, status)),
                Err(reason) => refused.push(NoRecord { id: record.id.to_owned(), reason }),
            }
        }
        new.retain(|(record, _)| self.known.get(&Digest::of(record.id)) != Some(&Digest::of(record.line)));
        // Of several records of an id that come together the last counts.
        let mut seen = HashSet::new();
        new.reverse();
        new.retain(|(record, _)| seen.insert(Digest::of(record.id)));
        new.reverse();
        let replaced: Vec<&str> = new
            .iter()
            .filter(|(record, _)| self.known.contains_key(&Digest::of(record.id)))
            .map(|(record, _)| record.id)
            .collect();
        if !replaced.is_empty() {
            self.take_out(&replaced).await?;
        }
        for chunk in new.chunks(TOGETHER) {
            self.write(chunk.iter().map(|(record, _)| record.line)).await?;
            for (record, status) in chunk {
                self.known.insert(Digest::of(record.id), Digest::of(record.line));
                self.counts.count(*status);
                self.counts.seen += 1;
            }
        }
        Ok(refused)
    }

    /// Brings the output into its final form.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn finish(mut self) -> Result<Counts, RunError> {
        self.close().await?;
        let (home, ordered) = (self.home, self.options.ordered);
        let finished = tokio::task::spawn_blocking(move || home.finish(ordered)).await;
        finished.unwrap_or_else(|error| Err(RunError::Broken(error.to_string())))?;
        Ok(self.counts)
    }

    async fn write<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> Result<(), RunError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut out = 0;
        for line in lines {
            writer.append(Vec::new(), format!("{line}\n").into_bytes(), ());
            out += 1;
        }
        writer.flush();
        while out > 0 {
            match writer.safe().await {
                Some(Ok(safe)) => out -= safe.len(),
                Some(Err(error)) => return Err(self.home.failed(&error).into()),
                None => return Err(RunError::Broken("the journal is closed".to_owned())),
            }
        }
        Ok(())
    }

    /// Takes the records of these ids out of the output, into `superseded.jsonl`.
    async fn take_out(&mut self, ids: &[&str]) -> Result<(), RunError> {
        self.close().await?;
        if let Some(files) = self.home.files() {
            let mut index = Index::default();
            journal::scan(&files.journal(), |line| {
                index.add(&line.head, line.number);
                Ok::<(), JournalError>(())
            })?;
            index.seal();
            for id in ids {
                // A fingerprint that no record has: the one there is leaves.
                let row = Row { id, fingerprint: || "another".to_owned(), riders: || Digest::of("") };
                index.judge(row, u64::MAX, false, true);
            }
            take_out(files, &mut index, &mut Edited::default(), false)?;
            self.learn()?;
        }
        self.start()
    }

    /// Reads what the output holds.
    fn learn(&mut self) -> Result<(), RunError> {
        self.known.clear();
        self.counts = Counts::default();
        let Some(files) = self.home.files() else { return Ok(()) };
        let (known, counts) = (&mut self.known, &mut self.counts);
        journal::scan::<RunError>(&files.journal(), |line| {
            known.insert(Digest::of(&line.head.id), Digest::of(&String::from_utf8_lossy(line.bytes)));
            counts.count(line.head.status);
            counts.seen += 1;
            Ok(())
        })
    }

    fn start(&mut self) -> Result<(), RunError> {
        let durability = if self.home.files().is_some() { self.options.durability } else { Durability::None };
        let started = Writer::start(self.home.store()?, durability, TOGETHER + 1);
        self.writer = Some(started.map_err(|error| RunError::Broken(error.to_string()))?);
        Ok(())
    }

    async fn close(&mut self) -> Result<(), RunError> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        writer.close();
        while let Some(safe) = writer.safe().await {
            safe.map_err(|error| self.home.failed(&error))?;
        }
        Ok(())
    }
}

fn manifest((kind, name): (&str, &str)) -> Manifest {
    Manifest {
        format: FormatVersion::CURRENT,
        written_by: concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned(),
        settings: [(kind.to_owned(), Value::from(name))].into(),
    }
}

/// What a record says of its row; an error when it is no record of that row.
fn status_of(record: &Record<'_>) -> Result<Status, String> {
    if record.line.contains(['\n', '\r']) {
        return Err("it is more than one line".to_owned());
    }
    let head = journal::head(record.line.as_bytes())?;
    if head.id != record.id {
        return Err(format!("it names another row, {:?}", head.id));
    }
    Ok(head.status)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::fs;
    use std::path::Path;

    use super::*;

    fn line(id: &str, index: u64, text: &str) -> String {
        format!(r#"{{"id":"{id}","index":{index},"status":"ok","success":true,"text":"{text}"}}"#)
    }

    async fn keep(path: &Path, records: &[(&str, String)]) -> (Vec<NoRecord>, Counts) {
        let (mut collection, _) = Collection::open(Output::new(path), ("queue", "q"), Options::default()).unwrap();
        let records: Vec<Record<'_>> = records.iter().map(|(id, line)| Record { id, line }).collect();
        let refused = collection.keep(&records).await.unwrap();
        (refused, collection.finish().await.unwrap())
    }

    #[tokio::test]
    async fn a_record_is_kept_once_however_often_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        keep(&path, &[("a", line("a", 0, "x")), ("b", line("b", 1, "x"))]).await;
        let (_, counts) = keep(&path, &[("b", line("b", 1, "x")), ("c", line("c", 2, "x"))]).await;
        assert_eq!((counts.ok, counts.seen), (3, 3));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[tokio::test]
    async fn a_later_record_of_an_id_takes_the_place_of_the_first_which_is_kept_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        keep(&path, &[("a", line("a", 0, "old")), ("b", line("b", 1, "x"))]).await;
        keep(&path, &[("a", line("a", 0, "new"))]).await;
        let out = fs::read_to_string(&path).unwrap();
        assert!(out.contains("new") && !out.contains("old") && out.lines().count() == 2, "{out}");
        keep(&path, &[("c", line("c", 2, "first")), ("c", line("c", 2, "last"))]).await;
        let out = fs::read_to_string(&path).unwrap();
        assert!(out.contains("last") && !out.contains("first") && out.lines().count() == 3, "{out}");
        let beside = fs::read_to_string(folder.path().join("out.jsonl.tidegate/superseded.jsonl")).unwrap();
        assert!(beside.contains("old"), "{beside}");
    }

    #[tokio::test]
    async fn what_is_no_record_of_its_row_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let (refused, counts) = keep(&path, &[("a", "nonsense".to_owned()), ("b", line("c", 0, "x"))]).await;
        assert_eq!((refused.len(), counts.seen), (2, 0));
        assert!(refused[1].to_string().contains("names another row"), "{refused:?}");
    }

    #[tokio::test]
    async fn an_output_of_another_queue_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        keep(&path, &[("a", line("a", 0, "x"))]).await;
        let refused = Collection::open(Output::new(&path), ("queue", "other"), Options::default());
        assert!(matches!(refused.map(|_| ()), Err(RunError::SettingsChanged { .. })));
    }
}
