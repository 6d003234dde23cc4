//! A log file that never grows beyond a bound: when it is full it becomes `FILE.1`, and the oldest goes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// When a file is full, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotation {
    /// Bytes after which a file gets no further line.
    pub(super) bytes: u64,
    /// Files kept, the current one included.
    pub(super) files: u32,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { bytes: 100_000_000, files: 5 }
    }
}

/// Writes to the current file. Each write must hold whole lines, or a line may be torn between two files.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    written: u64,
    /// `None` for what is no file of its own, such as a pipe or a terminal.
    rotation: Option<Rotation>,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<RotatingFile> {
        let file = append(path)?;
        let found = file.metadata()?;
        Ok(RotatingFile { path: path.to_path_buf(), file, written: found.len(), rotation: found.is_file().then_some(rotation) })
    }

    fn rotate(&mut self, files: u32) -> io::Result<()> {
        for number in (1..files.saturating_sub(1)).rev() {
            move_if_there(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
        }
        move_if_there(&self.path, &numbered(&self.path, 1))?;
        self.file = append(&self.path)?;
        self.written = 0;
        Ok(())
    }
}

impl Write for RotatingFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if let Some(Rotation { bytes, files }) = self.rotation
            && self.written > 0
            && self.written + lines.len() as u64 > bytes
        {
            self.rotate(files)?;
        }
        let written = self.file.write(lines)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Another process may have moved it a moment ago.
fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_moves_on_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("errors.log");
        let mut file = RotatingFile::open(&path, Rotation { bytes: 20, files: 3 }).unwrap();
        for number in 0..10 {
            file.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(names(dir.path()), ["errors.log", "errors.log.1", "errors.log.2"]);
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("errors.log"), "line 8\nline 9\n");
        assert_eq!(read("errors.log.1"), "line 6\nline 7\n");
        assert_eq!(read("errors.log.2"), "line 4\nline 5\n");
    }

    #[test]
    fn what_an_earlier_run_wrote_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("errors.log");
        fs::write(&path, "x".repeat(20)).unwrap();
        RotatingFile::open(&path, Rotation { bytes: 20, files: 5 }).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn a_line_longer_than_the_bound_is_still_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("errors.log");
        let mut file = RotatingFile::open(&path, Rotation { bytes: 4, files: 2 }).unwrap();
        file.write_all(b"much too long\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "much too long\n");
        assert_eq!(names(dir.path()), ["errors.log"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_never_moved() {
        let mut file = RotatingFile::open(Path::new("/dev/null"), Rotation { bytes: 1, files: 2 }).unwrap();
        file.write_all(b"away\n").unwrap();
        file.write_all(b"with it\n").unwrap();
        assert!(!Path::new("/dev/null.1").exists());
    }
}
