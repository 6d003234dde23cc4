//! Where answers go: which file is the journal, what lies beside it, and what is written at the end.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::claims::{directory_of, followed};
use crate::options::Task;

/// The output of a run.
pub struct Output(pub(crate) Target);

pub(crate) enum Target {
    File(PathBuf),
    Stdout,
    Stream(Box<dyn Write + Send>),
}

/// Why an output cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// It is called nothing.
    #[error("the output has no name; name a file, or - for standard output")]
    Unnamed,
    /// Its name promises a form that is not written here.
    #[error(
        "{path}: .{extension} is no form answers are written in; end the name in .jsonl, .json, .csv, .tsv or .txt, and in .gz or .zst behind that to pack it"
    )]
    UnknownForm {
        /// The output.
        path: String,
        /// The end of its name.
        extension: String,
    },
    /// Its name promises a form for something else than what is asked.
    #[error("{path}: .{extension} holds {holds}; end the name of this output in .jsonl, .json or {instead}")]
    WrongForm {
        /// The output.
        path: String,
        /// The end of its name.
        extension: &'static str,
        /// What such a file holds.
        holds: &'static str,
        /// What fits here.
        instead: &'static str,
    },
    /// It is a directory.
    #[error("{path}: is a directory; name a file, for example {path}/answers.jsonl")]
    Directory {
        /// The directory.
        path: String,
    },
    /// The directory it should lie in is not there.
    #[error("{path}: the directory {directory} does not exist; create it first")]
    NoDirectory {
        /// The output.
        path: String,
        /// Its directory.
        directory: String,
    },
    /// The system does not let it be written.
    #[error("{path}: cannot be written: {reason}; choose a place this user may write to")]
    NotWritable {
        /// The file or directory.
        path: String,
        /// In the system's words.
        reason: String,
    },
    /// Something else stands there.
    #[error(
        "{path}: holds something that no run has written; choose another output, or add --fresh to replace it (it is kept beside)"
    )]
    Foreign {
        /// The output.
        path: String,
    },
    /// It is an input, too.
    #[error("{path}: is an input and an output; choose another output")]
    IsInput {
        /// The file.
        path: String,
    },
    /// A file to be written serves for something else already.
    #[error("{path}: {flag} cannot write there: it is {by}; choose another file")]
    InUse {
        /// The file.
        path: String,
        /// The flag that names it.
        flag: String,
        /// What it serves for.
        by: String,
    },
    /// Writing to a stream failed, most often since its reader is gone.
    #[error(
        "writing to the stream of answers failed: {reason}; a stream keeps nothing, the same command again asks everything again"
    )]
    StreamGone {
        /// In the system's words.
        reason: String,
    },
    /// Writing failed on the way.
    #[error("{path}: writing failed: {reason}; every record before is safe, the same command again goes on from there")]
    Failed {
        /// The file.
        path: String,
        /// In the system's words.
        reason: String,
    },
    /// The manifest beside it cannot be used.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: String,
        /// Why not.
        reason: String,
    },
}

impl OutputError {
    /// True when it or something beside it cannot be had, false when another should have been named.
    pub fn is_unreachable(&self) -> bool {
        match self {
            OutputError::NoDirectory { .. }
            | OutputError::NotWritable { .. }
            | OutputError::Failed { .. }
            | OutputError::StreamGone { .. }
            | OutputError::Manifest { .. } => true,
            OutputError::Unnamed
            | OutputError::UnknownForm { .. }
            | OutputError::WrongForm { .. }
            | OutputError::Directory { .. }
            | OutputError::Foreign { .. }
            | OutputError::IsInput { .. }
            | OutputError::InUse { .. } => false,
        }
    }

    pub(crate) fn not_writable(path: &Path, error: &io::Error) -> OutputError {
        OutputError::NotWritable { path: path.display().to_string(), reason: error.to_string() }
    }

    pub(crate) fn failed(path: &Path, error: &io::Error) -> OutputError {
        OutputError::Failed { path: path.display().to_string(), reason: error.to_string() }
    }
}

impl Output {
    /// A file, or standard output for `-`.
    ///
    /// `.jsonl` grows record by record. `.json` (one array), `.csv`, `.tsv` and `.txt` (texts only), and anything
    /// packed (`.gz`, `.zst`), is written whole at the end of the run from a journal beside it, in input order.
    pub fn new(path: impl AsRef<Path>) -> Output {
        match path.as_ref() {
            path if path == Path::new("-") => Output(Target::Stdout),
            path => Output(Target::File(path.to_owned())),
        }
    }

    /// Any stream: records as lines as they come. Nothing can be resumed from it.
    pub fn stream(writer: impl Write + Send + 'static) -> Output {
        Output(Target::Stream(Box::new(writer)))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::File(path) => write!(f, "Output({})", path.display()),
            Target::Stdout => write!(f, "Output(stdout)"),
            Target::Stream(_) => write!(f, "Output(stream)"),
        }
    }
}

/// What the output looks like when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Lines,
    Array,
    Table {
        delimiter: u8,
    },
    Text,
    /// One matrix of vectors, for NumPy.
    Matrix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// The files of an output.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// What the user named.
    pub(crate) out: PathBuf,
    /// The folder beside it.
    pub(crate) state: PathBuf,
    pub(crate) shape: Shape,
    pub(crate) packing: Packing,
}

impl Layout {
    /// The files around `path`, which may be a link to the true output.
    pub(crate) fn of(path: &Path) -> Result<Layout, OutputError> {
        let shown = || path.display().to_string();
        if path.as_os_str().is_empty() {
            return Err(OutputError::Unnamed);
        }
        let out = followed(path);
        let Some(name) = out.file_name().filter(|_| !out.is_dir()) else {
            return Err(OutputError::Directory { path: shown().trim_end_matches('/').to_owned() });
        };
        let directory = directory_of(&out);
        if !directory.is_dir() {
            return Err(OutputError::NoDirectory { path: shown(), directory: directory.display().to_string() });
        }
        let mut state = OsString::from(name);
        state.push(".tidegate");
        let (shape, packing) = shape(&name.to_string_lossy().to_ascii_lowercase())
            .map_err(|extension| OutputError::UnknownForm { path: shown(), extension })?;
        Ok(Layout { state: out.with_file_name(state), out, shape, packing })
    }

    /// Refuses a form that cannot hold what is asked.
    pub(crate) fn fits(&self, task: &Task) -> Result<(), OutputError> {
        let path = || self.out.display().to_string();
        match (self.shape, task) {
            (Shape::Matrix, Task::Answer) => {
                Err(OutputError::WrongForm { path: path(), extension: "npy", holds: "vectors, not answers", instead: ".csv" })
            }
            (Shape::Text, Task::Embed(_)) => {
                Err(OutputError::WrongForm { path: path(), extension: "txt", holds: "texts, not vectors", instead: ".npy" })
            }
            _ => Ok(()),
        }
    }

    /// True when the output itself is the journal.
    pub(crate) fn is_journal(&self) -> bool {
        (self.shape, self.packing) == (Shape::Lines, Packing::Plain)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        if self.is_journal() { self.out.clone() } else { self.state.join("journal.jsonl") }
    }

    /// Where pictures and sound of answers go: `OUT.files`.
    pub(crate) fn attachments(&self) -> PathBuf {
        let mut name = self.out.file_name().unwrap_or_default().to_owned();
        name.push(".files");
        self.out.with_file_name(name)
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.state.join("manifest.json")
    }

    pub(crate) fn superseded(&self) -> PathBuf {
        self.state.join("superseded.jsonl")
    }

    /// Where the `number`th stream is copied to.
    pub(crate) fn spool(&self, number: usize) -> PathBuf {
        self.state.join(format!("stream-{number}"))
    }

    /// Replaces `target` in one step by what `write` writes: at no instant is it half there.
    pub(crate) fn replace(&self, target: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), OutputError> {
        let failed = |error: io::Error| OutputError::failed(target, &error);
        replace(&self.state.join("replacement"), target, write).map_err(failed)
    }
}

fn replace(scratch: &Path, target: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = io::BufWriter::new(File::create(scratch)?);
    if let Ok(found) = fs::metadata(target) {
        fs::set_permissions(scratch, found.permissions())?;
    }
    write(&mut writer)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(scratch, target)?;
    sync_directory_of(target)
}

/// Makes a new or renamed file's name as durable as its content.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        #[cfg(unix)]
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        #[cfg(unix)]
        _ => File::open(".")?.sync_all(),
        #[cfg(not(unix))]
        _ => Ok(()),
    }
}

/// A file to append to, made if need be.
pub(crate) fn appender(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// What a name in lower case tells; its extension when that is none we know.
fn shape(name: &str) -> Result<(Shape, Packing), String> {
    let (name, packing) = match name.rsplit_once('.') {
        Some((name, "gz")) => (name, Packing::Gzip),
        Some((name, "zst")) => (name, Packing::Zstd),
        _ => (name, Packing::Plain),
    };
    let shape = match name.rsplit_once('.') {
        None | Some(("", _) | (_, "jsonl" | "ndjson")) => Shape::Lines,
        Some((_, "json")) => Shape::Array,
        Some((_, "csv")) => Shape::Table { delimiter: b',' },
        Some((_, "tsv")) => Shape::Table { delimiter: b'\t' },
        Some((_, "txt")) => Shape::Text,
        Some((_, "npy")) => Shape::Matrix,
        Some((_, other)) => return Err(other.to_owned()),
    };
    Ok((shape, packing))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_name_tells_the_shape_and_the_packing() {
        assert_eq!(shape("a.jsonl"), Ok((Shape::Lines, Packing::Plain)));
        assert_eq!(shape("a.json"), Ok((Shape::Array, Packing::Plain)));
        assert_eq!(shape("a.csv.gz"), Ok((Shape::Table { delimiter: b',' }, Packing::Gzip)));
        assert_eq!(shape("a.jsonl.zst"), Ok((Shape::Lines, Packing::Zstd)));
        assert_eq!(shape("answers"), Ok((Shape::Lines, Packing::Plain)));
        assert_eq!(shape(".answers.gz"), Ok((Shape::Lines, Packing::Gzip)));
        assert_eq!(shape("a.parquet"), Err("parquet".to_owned()));
        assert_eq!(shape("a.json.zip"), Err("zip".to_owned()));
    }

    #[test]
    fn what_lies_beside_an_output_is_named_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::of(&dir.path().join("a.json")).unwrap();
        assert!(layout.journal().ends_with("a.json.tidegate/journal.jsonl"));
        let layout = Layout::of(&dir.path().join("a.jsonl")).unwrap();
        assert_eq!(layout.journal(), layout.out);
    }

    #[test]
    fn a_directory_and_a_missing_directory_are_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let error = Layout::of(dir.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("{path}: is a directory; name a file, for example {path}/answers.jsonl"));
        let error = Layout::of(&dir.path().join("no/a.jsonl")).unwrap_err();
        let expected = format!("{path}/no/a.jsonl: the directory {path}/no does not exist; create it first");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::of(&dir.path().join("a.json")).unwrap();
        fs::create_dir(&layout.state).unwrap();
        fs::write(&layout.out, "old").unwrap();
        let broken = layout.replace(&layout.out, |writer| {
            writer.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert!(matches!(broken, Err(OutputError::Failed { .. })));
        assert_eq!(fs::read_to_string(&layout.out).unwrap(), "old");
        layout.replace(&layout.out, |writer| writer.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&layout.out).unwrap(), "new");
    }
}
