//! The input lines of rows that failed, as JSON lines that can be run again.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::claims::{directory_of, followed, is_device};
use crate::output::{OutputError, appender};

/// Collects lines beside its target and takes the target's place when the run ends; dropped before that, it leaves
/// everything as it was. A device gets its lines at once.
pub(crate) struct ErrorsFile {
    target: PathBuf,
    lines: Lines,
}

enum Lines {
    Straight(Box<dyn Write + Send>),
    Beside(BufWriter<NamedTempFile>),
}

impl ErrorsFile {
    /// The file at `target`, or standard output for `-`.
    pub(crate) fn create(target: &Path) -> Result<ErrorsFile, OutputError> {
        let not_writable = |error: io::Error| OutputError::not_writable(target, &error);
        if target == Path::new("-") {
            return Ok(ErrorsFile { target: PathBuf::from("stdout"), lines: Lines::Straight(Box::new(io::stdout())) });
        }
        if is_device(target) {
            let device = appender(target).map_err(not_writable)?;
            return Ok(ErrorsFile { target: target.to_owned(), lines: Lines::Straight(Box::new(device)) });
        }
        let target = followed(target);
        if target.is_dir() {
            return Err(OutputError::Directory { path: target.display().to_string() });
        }
        let directory = directory_of(&target);
        if !directory.is_dir() {
            let (path, directory) = (target.display().to_string(), directory.display().to_string());
            return Err(OutputError::NoDirectory { path, directory });
        }
        let scratch = scratch(directory).map_err(not_writable)?;
        Ok(ErrorsFile { lines: Lines::Beside(BufWriter::new(scratch)), target })
    }

    pub(crate) fn push(&mut self, line: &str) -> Result<(), OutputError> {
        let line = format!("{line}\n");
        let written = match &mut self.lines {
            Lines::Straight(device) => device.write_all(line.as_bytes()),
            Lines::Beside(scratch) => scratch.write_all(line.as_bytes()),
        };
        written.map_err(|error| OutputError::failed(&self.target, &error))
    }

    pub(crate) fn finish(self) -> Result<(), OutputError> {
        let ErrorsFile { target, lines } = self;
        let finish = || match lines {
            Lines::Straight(mut device) => device.flush(),
            Lines::Beside(writer) => {
                let scratch = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                if let Ok(found) = fs::metadata(&target) {
                    fs::set_permissions(scratch.path(), found.permissions())?;
                }
                scratch.as_file().sync_all()?;
                scratch.persist(&target).map(drop).map_err(|error| error.error)
            }
        };
        finish().map_err(|error| OutputError::failed(&target, &error))
    }
}

fn scratch(directory: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tidegate-errors-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory)
}
