//! Appends records on a thread of its own: one write a record, syncs shared by a group, and only then a word of it.

use std::fs::File;
use std::io::{self, Write};
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

impl<T> Entry<T> {
    /// Files are safe before the record that names them is written.
    fn write(self, store: &mut impl Store) -> io::Result<T> {
        for file in &self.files {
            file.write()?;
        }
        store.write_all(&self.record)?;
        Ok(self.ticket)
    }
}

/// The near end of the writing thread; `T` is what the caller gets back for a record that is safe.
pub(crate) struct Writer<T> {
    records: Option<SyncSender<Entry<T>>>,
    safe: UnboundedReceiver<io::Result<Vec<T>>>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread. `capacity` bounds the records under way; with no more than that out, nothing here blocks.
    pub(crate) fn start(store: impl Store, durability: Durability, capacity: usize) -> io::Result<Writer<T>> {
        let (records, incoming) = sync_channel(capacity);
        let (outgoing, safe) = unbounded_channel();
        thread::Builder::new().name("journal".to_owned()).spawn(move || {
            if let Err(error) = write(store, &incoming, &outgoing, durability) {
                let _ = outgoing.send(Err(error));
            }
        })?;
        Ok(Writer { records: Some(records), safe })
    }

    /// Hands a record over. After a failure of the thread the record is dropped; [`Writer::safe`] tells the failure.
    pub(crate) fn append(&self, files: Vec<Attachment>, record: Vec<u8>, ticket: T) {
        if let Some(records) = &self.records {
            let _ = records.send(Entry { files, record, ticket });
        }
    }

    /// Says that no record will follow.
    pub(crate) fn close(&mut self) {
        self.records = None;
    }

    /// The next records that are safe; `None` after [`Writer::close`] once all are told.
    pub(crate) async fn safe(&mut self) -> Option<io::Result<Vec<T>>> {
        self.safe.recv().await
    }
}

fn write<T>(
    mut store: impl Store,
    incoming: &Receiver<Entry<T>>,
    outgoing: &UnboundedSender<io::Result<Vec<T>>>,
    durability: Durability,
) -> io::Result<()> {
    let most = if durability == Durability::Batch { GROUP_ROWS } else { 1 };
    while let Ok(entry) = incoming.recv() {
        let mut group = vec![entry.write(&mut store)?];
        let end = Instant::now() + GROUP_TIME;
        while group.len() < most {
            let Ok(entry) = incoming.recv_timeout(end.saturating_duration_since(Instant::now())) else { break };
            group.push(entry.write(&mut store)?);
        }
        if durability != Durability::None {
            store.sync()?;
        }
        let _ = outgoing.send(Ok(group));
    }
    store.sync()
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
        assert_eq!(writer.safe().await.unwrap().unwrap(), [0]);
        assert_eq!(std::fs::read(folder.path().join("a-1.bin")).unwrap(), b"ABC");
        std::fs::write(folder.path().join("taken"), "").unwrap();
        writer.append(files(&folder.path().join("taken")), b"b\n".to_vec(), 1);
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
        assert_eq!(writer.safe().await.unwrap().unwrap(), [0]);
        assert_eq!(writer.safe().await.unwrap().unwrap_err().to_string(), "disk full");
        assert!(writer.safe().await.is_none());
    }
}
