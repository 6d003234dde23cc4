//! The input lines of rows that failed, as JSON lines that can be run again.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::output::OutputError;

/// Collects lines beside its target and takes the target's place when the run ends.
pub(crate) struct ErrorsFile {
    target: PathBuf,
    scratch: PathBuf,
    writer: BufWriter<File>,
}

impl ErrorsFile {
    pub(crate) fn create(target: &Path) -> Result<ErrorsFile, OutputError> {
        let mut scratch = target.as_os_str().to_owned();
        scratch.push(".part");
        let scratch = PathBuf::from(scratch);
        let file = File::create(&scratch).map_err(|error| OutputError::not_writable(target, &error))?;
        Ok(ErrorsFile { target: target.to_owned(), scratch, writer: BufWriter::new(file) })
    }

    pub(crate) fn push(&mut self, line: &str) -> Result<(), OutputError> {
        let mut write = || -> io::Result<()> {
            self.writer.write_all(line.as_bytes())?;
            self.writer.write_all(b"\n")
        };
        write().map_err(|error| OutputError::failed(&self.target, &error))
    }

    pub(crate) fn finish(self) -> Result<(), OutputError> {
        let ErrorsFile { target, scratch, writer } = self;
        let finish = || -> io::Result<()> {
            writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&scratch, &target)
        };
        finish().map_err(|error| OutputError::failed(&target, &error))
    }
}
