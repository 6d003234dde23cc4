//! Bytes of uploads kept on disk while the API keeps them: for the day when another project needs the same file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tidegate_engine::media::ContentHash;

/// The API keeps files for so long.
const KEPT: Duration = Duration::from_secs(48 * 3600);
/// Moved at a time.
const BUFFER: usize = 256 << 10;
/// The end of names of what is still being written.
const PART: &str = ".part";

/// A folder with files named by what is in them. Bounded: the oldest go first.
pub struct Spool {
    folder: PathBuf,
    most: u64,
    last: AtomicU64,
    run: u64,
}

/// A file that is being written. Dropped without [`Spooling::keep`] it is removed.
pub struct Spooling {
    file: Option<File>,
    path: PathBuf,
    most: u64,
}

impl Spool {
    /// A spool in `folder` of at most so many bytes; `None` where the folder cannot be had.
    pub fn open(folder: &Path, most: u64) -> Option<Arc<Spool>> {
        if let Err(fault) = fs::create_dir_all(folder) {
            tracing::warn!("{}: uploads are not kept: {fault}", folder.display());
            return None;
        }
        let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64);
        let spool = Spool { folder: folder.to_path_buf(), most, last: AtomicU64::new(0), run };
        spool.make_room(0);
        Some(Arc::new(spool))
    }

    /// Where the bytes of this hash lie, if they still do.
    pub fn find(&self, hash: ContentHash) -> Option<PathBuf> {
        let path = self.folder.join(hash.to_string());
        let modified = fs::metadata(&path).ok()?.modified().ok()?;
        (!is_old(modified)).then_some(path)
    }

    /// Begins a file whose size may be known; `None` when there is no room for it.
    pub fn begin(&self, size: Option<u64>) -> Option<Spooling> {
        let size = size.unwrap_or(0);
        if size > self.most {
            return None;
        }
        self.make_room(size);
        let name = format!("{:x}-{:x}-{}{PART}", self.run, std::process::id(), self.last.fetch_add(1, Ordering::Relaxed));
        let path = self.folder.join(name);
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path);
        let file = file.map_err(|fault| tracing::warn!("{}: an upload is not kept: {fault}", path.display())).ok()?;
        Some(Spooling { file: Some(file), path, most: self.most })
    }

    /// Removes what is too old, and the oldest until there is room.
    fn make_room(&self, size: u64) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, length, _)| length).sum();
        for (modified, length, path) in kept {
            let is_part = path.to_string_lossy().ends_with(PART);
            let is_needed = !is_old(modified) && (is_part || total.saturating_add(size) <= self.most);
            if !is_needed && fs::remove_file(&path).is_ok() {
                total -= length;
            }
        }
    }
}

/// Reads and digests.
struct Hashed<'a> {
    file: &'a mut File,
    digest: Context,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

/// Whether the API's word is this digest: Base64 of its digits as the API writes it, or of the digest itself.
fn is_digest(told: &str, digest: &[u8]) -> bool {
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    [STANDARD.encode(&digits), STANDARD.encode(digest), digits].iter().any(|form| form == told)
}

fn is_old(modified: SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age > KEPT)
}

impl Spooling {
    /// Writes bytes at their offset; `None` when they cannot be kept.
    pub async fn write(self, at: u64, bytes: Bytes) -> Option<Spooling> {
        if at.saturating_add(bytes.len() as u64) > self.most {
            return None;
        }
        off_the_runtime(self, move |file| {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&bytes)
        })
        .await
        .map(|(spooling, ())| spooling)
    }

    /// Keeps of the file only a stretch of it, which `find` tells; `None` when there is none.
    pub async fn strip(self, find: impl FnOnce(&mut File) -> io::Result<Range<u64>> + Send + 'static) -> Option<Spooling> {
        let stripped = off_the_runtime(self, move |file| {
            let Range { start, end } = find(file)?;
            let (mut buffer, mut at) = (vec![0; BUFFER], start);
            while at < end {
                let step = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(&mut buffer[..step])?;
                file.seek(SeekFrom::Start(at - start))?;
                file.write_all(&buffer[..step])?;
                at += step as u64;
            }
            file.set_len(end - start)
        });
        stripped.await.map(|(spooling, ())| spooling)
    }

    /// Keeps the file under its hash if it has this size, and the SHA-256 that the API tells: a client may have sent a stretch
    /// of it twice and differently.
    pub async fn keep(self, size: u64, told: Option<&str>) -> Option<ContentHash> {
        let told = told.map(str::to_string);
        let (mut spooling, hash) = off_the_runtime(self, move |file| {
            file.set_len(size.min(file.metadata()?.len()))?;
            if file.metadata()?.len() != size || size == 0 {
                return Err(io::Error::other("it has another size than the API says"));
            }
            file.rewind()?;
            let mut hashed = Hashed { file, digest: Context::new(&SHA256) };
            let hash = ContentHash::of_rest(&mut hashed)?;
            let same = told.is_none_or(|told| is_digest(&told, hashed.digest.finish().as_ref()));
            same.then_some(hash).ok_or_else(|| io::Error::other("it is not what the API has"))
        })
        .await?;
        let kept = spooling.path.parent()?.join(hash.to_string());
        fs::rename(&spooling.path, kept).ok()?;
        spooling.file = None;
        Some(hash)
    }
}

impl Drop for Spooling {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What cannot be removed now is old some day.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Works on the file where waiting for a disk holds nobody up.
async fn off_the_runtime<T: Send + 'static>(
    mut spooling: Spooling,
    work: impl FnOnce(&mut File) -> io::Result<T> + Send + 'static,
) -> Option<(Spooling, T)> {
    let done = tokio::task::spawn_blocking(move || {
        let file = spooling.file.as_mut()?;
        let done = work(file);
        done.map_err(|fault| tracing::warn!("{}: an upload is not kept: {fault}", spooling.path.display()))
            .ok()
            .map(|done| (spooling, done))
    });
    done.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    async fn kept(spool: &Spool, text: &str) -> Option<ContentHash> {
        let (first, second) = text.split_at(text.len() / 2);
        let spooling = spool.begin(Some(text.len() as u64))?.write(0, Bytes::from(first.to_owned())).await?;
        let spooling = spooling.write(first.len() as u64, Bytes::from(second.to_owned())).await?;
        spooling.keep(text.len() as u64, None).await
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn what_is_written_is_found_by_its_hash_and_the_oldest_goes_when_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 10).unwrap();
        let first = kept(&spool, "abcdef").await.unwrap();
        assert_eq!(first, ContentHash::of(b"abcdef"));
        assert_eq!(fs::read(spool.find(first).unwrap()).unwrap(), b"abcdef");
        let second = kept(&spool, "ghijkl").await.unwrap();
        assert!(spool.find(first).is_none() && spool.find(second).is_some());
        assert_eq!(kept(&spool, "longer than ten").await, None);
        assert_eq!(names(folder.path()), 1);
    }

    #[tokio::test]
    async fn half_a_file_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 100).unwrap();
        let spooling = spool.begin(None).unwrap().write(0, Bytes::from_static(b"half")).await.unwrap();
        assert_eq!(spooling.keep(8, None).await, None);
        drop(spool.begin(None).unwrap());
        assert_eq!(names(folder.path()), 0);
    }
}
