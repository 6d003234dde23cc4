//! Appends records on a thread of its own: never a part of one, syncs shared by a group, and only then a word of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::attachment::Attachment;
use crate::options::Durability;

/// The most records that share a sync.
const GROUP_ROWS: usize = 64;
/// The longest a record waits for others to share its sync.
const GROUP_TIME: Duration = Duration::from_millis(50);

/// Where records are appended.
pub(crate) trait Store: Write + Send + 'static {
    /// Returns once everything written is safe.
    fn sync(&mut self) -> io::Result<()>;
}

impl Store for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Store for Box<dyn Write + Send> {
    fn sync(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Store for Box<dyn Store> {
    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }
}

/// A record on its way, with the files it names.
struct Entry<T> {
    files: Vec<Attachment>,
    record: Vec<u8>,
    ticket: T,
}

/// The near end of the writing thread; `T` is what the caller gets back for a record that is safe.
pub(crate) struct Writer<T> {
    records: Option<SyncSender<Vec<Entry<T>>>>,
    /// Handed over together: waking the thread costs more than writing a record.
    ready: Vec<Entry<T>>,
    safe: UnboundedReceiver<io::Result<Vec<T>>>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread. `capacity` bounds the records under way; with no more than that out, nothing here blocks.
    pub(crate) fn start(store: impl Store, durability: Durability, capacity: usize) -> io::Result<Writer<T>> {
        let (records, incoming) = sync_channel(capacity);
        let (outgoing, safe) = unbounded_channel();
        thread::Builder::new().name("journal".to_owned()).spawn(move || {
            if let Err(error) = write(store, incoming, &outgoing, durability) {
                let _ = outgoing.send(Err(error));
            }
        })?;
        Ok(Writer { records: Some(records), ready: Vec::new(), safe })
    }

    /// Takes a record, to be written from the next [`Writer::flush`] on.
    pub(crate) fn append(&mut self, files: Vec<Attachment>, record: Vec<u8>, ticket: T) {
        self.ready.push(Entry { files, record, ticket });
    }

    /// Hands the records over. After a failure of the thread they are dropped; [`Writer::safe`] tells the failure.
    pub(crate) fn flush(&mut self) {
        if let Some(records) = self.records.as_ref().filter(|_| !self.ready.is_empty()) {
            let _ = records.send(std::mem::take(&mut self.ready));
        }
    }

    /// Says that no record will follow.
    pub(crate) fn close(&mut self) {
        self.flush();
        self.records = None;
    }

    /// The next records that are safe; `None` after [`Writer::close`] once all are told.
    pub(crate) async fn safe(&mut self) -> Option<io::Result<Vec<T>>> {
        self.safe.recv().await
    }
}

/// The far end: records at hand, and those that come.
struct Queue<T> {
    incoming: Receiver<Vec<Entry<T>>>,
    at_hand: VecDeque<Entry<T>>,
}

impl<T> Queue<T> {
    /// Up to `most` records as soon as there is one, waited for no longer than `end`; `None` when there is none till then.
    fn take(&mut self, most: usize, end: Option<Instant>) -> Option<Vec<Entry<T>>> {
        if self.at_hand.is_empty() {
            let come = match end {
                None => self.incoming.recv().ok(),
                Some(end) => self.incoming.recv_timeout(end.saturating_duration_since(Instant::now())).ok(),
            };
            self.at_hand = come?.into();
        }
        let many = most.min(self.at_hand.len());
        Some(self.at_hand.drain(..many).collect())
    }
}

fn write<T>(
    mut store: impl Store,
    incoming: Receiver<Vec<Entry<T>>>,
    outgoing: &UnboundedSender<io::Result<Vec<T>>>,
    durability: Durability,
) -> io::Result<()> {
    let most = if durability == Durability::Batch { GROUP_ROWS } else { 1 };
    let mut queue = Queue { incoming, at_hand: VecDeque::new() };
    while let Some(first) = queue.take(most, None) {
        let mut group = written(first, &mut store)?;
        let end = Instant::now() + GROUP_TIME;
        while group.len() < most {
            let Some(more) = queue.take(most - group.len(), Some(end)) else { break };
            group.extend(written(more, &mut store)?);
        }
        if durability != Durability::None {
            store.sync()?;
        }
        let _ = outgoing.send(Ok(group));
    }
    store.sync()
}

/// Writes records in one go. Files are safe before the records that name them are written.
fn written<T>(entries: Vec<Entry<T>>, store: &mut impl Store) -> io::Result<Vec<T>> {
    for file in entries.iter().flat_map(|entry| &entry.files) {
        file.write()?;
    }
    let mut records: Vec<IoSlice<'_>> = entries.iter().map(|entry| IoSlice::new(&entry.record)).collect();
    write_all(&mut records, store)?;
    Ok(entries.into_iter().map(|entry| entry.ticket).collect())
}

fn write_all(mut records: &mut [IoSlice<'_>], store: &mut impl Store) -> io::Result<()> {
    IoSlice::advance_slices(&mut records, 0);
    while !records.is_empty() {
        match store.write_vectored(records) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut records, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<Log>>);

    #[derive(Default)]
    struct Log {
        written: usize,
        synced: usize,
        most_unsynced: usize,
        writes: Vec<Vec<u8>>,
        full_after: Option<usize>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut log = self.0.lock().unwrap();
            if log.full_after == Some(log.written) {
                return Err(io::Error::other("disk full"));
            }
            log.written += 1;
            log.most_unsynced = log.most_unsynced.max(log.written - log.synced);
            log.writes.push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Store for Disk {
        fn sync(&mut self) -> io::Result<()> {
            let mut log = self.0.lock().unwrap();
            log.synced = log.written;
            Ok(())
        }
    }

    async fn write_all(disk: &Disk, durability: Durability, rows: usize) {
        let mut writer = Writer::start(disk.clone(), durability, rows).unwrap();
        for row in 0..rows {
            writer.append(Vec::new(), format!("{row}\n").into_bytes(), row);
        }
        writer.close();
        let mut told = 0;
        while let Some(safe) = writer.safe().await {
            for row in safe.unwrap() {
                assert_eq!(row, told, "told in order");
                told += 1;
                let log = disk.0.lock().unwrap();
                assert!(durability == Durability::None || log.synced >= told, "told before it was safe");
            }
        }
        assert_eq!(told, rows);
    }

    #[tokio::test]
    async fn a_record_is_told_only_after_its_sync_and_a_group_is_bounded() {
        for (durability, most) in [(Durability::Each, 1), (Durability::Batch, GROUP_ROWS)] {
            let disk = Disk::default();
            write_all(&disk, durability, 300).await;
            let log = disk.0.lock().unwrap();
            assert!(log.most_unsynced <= most, "{durability:?}: {}", log.most_unsynced);
            assert_eq!(log.synced, 300);
        }
    }

    #[tokio::test]
    async fn a_record_is_one_write() {
        let disk = Disk::default();
        write_all(&disk, Durability::None, 3).await;
        assert_eq!(disk.0.lock().unwrap().writes, [b"0\n".to_vec(), b"1\n".to_vec(), b"2\n".to_vec()]);
    }

    #[tokio::test]
    async fn a_file_is_there_before_the_record_that_names_it() {
        let disk = Disk::default();
        let folder = tempfile::tempdir().unwrap();
        let body = br#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"QUJD"}}]}}]}"#;
        let inline = tidegate_gemini::response::extras(body).inline;
        let files = |folder: &std::path::Path| Attachment::of(folder, "a", &inline).into_iter().map(|(_, file)| file).collect();
        let mut writer = Writer::start(disk.clone(), Durability::Each, 8).unwrap();
        writer.append(files(folder.path()), b"a\n".to_vec(), 0);
        writer.flush();
        assert_eq!(writer.safe().await.unwrap().unwrap(), [0]);
        assert_eq!(std::fs::read(folder.path().join("a-1.bin")).unwrap(), b"ABC");
        std::fs::write(folder.path().join("taken"), "").unwrap();
        writer.append(files(&folder.path().join("taken")), b"b\n".to_vec(), 1);
        writer.flush();
        assert!(writer.safe().await.unwrap().is_err());
        assert_eq!(disk.0.lock().unwrap().writes, [b"a\n".to_vec()], "no record names a file that is not there");
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_no_record_after_it_is_called_safe() {
        let disk = Disk::default();
        disk.0.lock().unwrap().full_after = Some(1);
        let mut writer = Writer::start(disk, Durability::Each, 8).unwrap();
        writer.append(Vec::new(), b"a\n".to_vec(), 0);
        writer.append(Vec::new(), b"b\n".to_vec(), 1);
        writer.append(Vec::new(), b"c\n".to_vec(), 2);
        writer.flush();
        assert_eq!(writer.safe().await.unwrap().unwrap(), [0]);
        assert_eq!(writer.safe().await.unwrap().unwrap_err().to_string(), "disk full");
        assert!(writer.safe().await.is_none());
    }
}
