//! Where rows come from: files and streams, opened, unpacked and read row by row in constant memory.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

mod csv;
mod gzip;
mod json_array;
mod jsonl;
mod reader;
mod steady;
mod txt;

use serde_json::{Map, Value};

use crate::claims::is_device;
use steady::{Pipe, Stamp, Steady};

/// One input of a run.
pub struct Input {
    name: String,
    source: Source,
    format: Format,
}

enum Source {
    /// The stamp of its first opening, which every later one must find again.
    File(PathBuf, OnceLock<Stamp>),
    Stream(Box<dyn Read + Send>),
}

/// How an input is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON string or object a line.
    Jsonl,
    /// One JSON array of strings and objects.
    Json,
    /// Comma separated, the first row names the fields.
    Csv,
    /// Tab separated, the first row names the fields.
    Tsv,
    /// One prompt a line; blank lines do not count.
    Txt,
}

/// A place in the inputs, as people look it up: `rows.jsonl:12:3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the input.
    pub input: String,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters or bytes as the parser counts, from 1, when it is known.
    pub column: Option<u64>,
}

/// Why the inputs cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// No such file.
    #[error("{path}: no such file; check the path")]
    Missing {
        /// The file.
        path: String,
    },
    /// A directory where a file is needed.
    #[error("{path}: is a directory; name the files in it")]
    Directory {
        /// The directory.
        path: String,
    },
    /// The system refuses to read it, or its packing is broken.
    #[error("{path}: cannot be read: {reason}")]
    Unreadable {
        /// The input.
        path: String,
        /// In the system's words.
        reason: String,
    },
    /// The name does not tell the format.
    #[error("{path}: cannot tell its format from its name; add --format jsonl, json, csv, tsv or txt")]
    UnknownFormat {
        /// The file.
        path: String,
    },
    /// A row is no prompt.
    #[error("{place}: {reason}; correct the line, or add --skip-invalid to record it as skipped")]
    Malformed {
        /// Where.
        place: Place,
        /// Why.
        reason: String,
    },
    /// The file as a whole is not what its format says.
    #[error("{place}: {reason}")]
    Structure {
        /// Where.
        place: Place,
        /// Why, and what to do.
        reason: String,
    },
    /// An id stands twice.
    #[error("id {id:?} stands twice: at {first} and at {second}; give each row its own id, or leave ids out")]
    Duplicate {
        /// The id.
        id: String,
        /// Its first place.
        first: Place,
        /// Its second place.
        second: Place,
    },
    /// An id of its own that is the one derived for another row.
    #[error("{place}: id {id:?} is the one that a row without an id gets for its content; give this row another id")]
    Derived {
        /// The id.
        id: String,
        /// Where it stands.
        place: Place,
    },
    /// A stream can be read once only.
    #[error("{name}: is named twice, and can be read once only; name it once")]
    StreamTwice {
        /// The stream.
        name: String,
    },
    /// A file is not what it was when the run began.
    #[error("{path}: was changed while the run was reading it; every answer is saved, the same command again compares it anew")]
    Changed {
        /// The file.
        path: String,
    },
}

impl InputError {
    /// True when a file could not be had at all, false when its content or the way it was named is wrong.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, InputError::Missing { .. } | InputError::Directory { .. } | InputError::Unreadable { .. })
    }
}

impl Input {
    /// A file, or standard input for `-`. Without a `format` the file's extension tells; `.gz` and `.zst` are unpacked
    /// (the content tells), standard input is taken as JSON lines. So is a pipe without an extension: like standard
    /// input it is read once, as it comes.
    ///
    /// ```
    /// use tidegate_batch::{Format, Input, InputError};
    /// assert!(Input::new("rows.csv.gz", None).is_ok());
    /// assert!(Input::new("rows.dat", Some(Format::Jsonl)).is_ok());
    /// assert!(matches!(Input::new("rows.dat", None), Err(InputError::UnknownFormat { .. })));
    /// ```
    pub fn new(path: impl AsRef<Path>, format: Option<Format>) -> Result<Input, InputError> {
        let path = path.as_ref();
        if STDIN.iter().any(|name| path == Path::new(name)) {
            return Ok(Input::stream("stdin", format.unwrap_or(Format::Jsonl), io::stdin()));
        }
        let name = path.display().to_string();
        let format = format.or_else(|| Format::of(path));
        if is_device(path) {
            return Ok(Input::stream(name, format.unwrap_or(Format::Jsonl), Pipe::Closed(path.to_owned())));
        }
        let format = format.ok_or(InputError::UnknownFormat { path: name.clone() })?;
        Ok(Input { name, source: Source::File(path.to_owned(), OnceLock::new()), format })
    }

    /// Any other stream, under a name for messages. It is read once, as it comes.
    pub fn stream(name: impl Into<String>, format: Format, reader: impl Read + Send + 'static) -> Input {
        Input { name: name.into(), source: Source::Stream(Box::new(reader)), format }
    }

    /// How messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path, _) => Some(path),
            Source::Stream(_) => None,
        }
    }

    /// An error when the file is not there or is none.
    fn check(&self) -> Result<(), InputError> {
        let Some(path) = self.path() else { return Ok(()) };
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(InputError::Directory { path: self.name.clone() }),
            Ok(_) => Ok(()),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// Copies a stream to a file, so that it can be read twice; files stay as they are.
    pub(crate) fn spool(self, to: &Path) -> io::Result<Input> {
        let Source::Stream(mut stream) = self.source else { return Ok(self) };
        io::copy(&mut stream, &mut File::create(to)?)?;
        Ok(Input { name: self.name, source: Source::File(to.to_owned(), OnceLock::new()), format: self.format })
    }

    /// Reads all rows of a file. A stream can be read by [`Input::into_rows`] only.
    pub(crate) fn rows(&self) -> Result<Rows, InputError> {
        let Source::File(path, stamp) = &self.source else { return Ok(Box::new(std::iter::empty())) };
        let opened = File::open(path).and_then(|file| Steady::new(file, stamp));
        let file = opened.map_err(|error| self.unreadable(&error))?;
        rows(self.name.clone(), self.format, Box::new(file))
    }

    /// Reads all rows of a file or a stream.
    pub(crate) fn into_rows(self) -> Result<Rows, InputError> {
        match self.source {
            Source::File(..) => self.rows(),
            Source::Stream(stream) => rows(self.name, self.format, stream),
        }
    }

    fn unreadable(&self, error: &io::Error) -> InputError {
        match error.kind() {
            io::ErrorKind::NotFound => InputError::Missing { path: self.name.clone() },
            _ => broke_off(&self.name, error),
        }
    }
}

/// Names under which standard input is known.
const STDIN: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// Refuses inputs that are not there, and a stream that would have to be read twice.
pub(crate) fn check(inputs: &[Input]) -> Result<(), InputError> {
    let mut streams: Vec<&str> = Vec::new();
    for input in inputs {
        input.check()?;
        if input.path().is_none() {
            if streams.contains(&input.name()) {
                return Err(InputError::StreamTwice { name: input.name.clone() });
            }
            streams.push(input.name());
        }
    }
    Ok(())
}

fn broke_off(name: &str, error: &io::Error) -> InputError {
    if steady::is_altered(error) {
        return InputError::Changed { path: name.to_owned() };
    }
    InputError::Unreadable { path: name.to_owned(), reason: error.to_string() }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({}, {:?})", self.name, self.format)
    }
}

impl Format {
    /// What the name of a file tells, `.gz` and `.zst` set aside.
    pub fn of(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "json" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "txt" => Some(Format::Txt),
            _ => None,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "jsonl" => Ok(Format::Jsonl),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            "tsv" => Ok(Format::Tsv),
            "txt" => Ok(Format::Txt),
            other => Err(format!("unknown format {other:?}: one of jsonl, json, csv, tsv, txt")),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "{}:{}:{column}", self.input, self.line),
            None => write!(f, "{}:{}", self.input, self.line),
        }
    }
}

/// One row as it stands in its input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Line it begins at, from 1.
    pub(crate) line: u64,
    pub(crate) body: Body,
}

/// What a row holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// A JSON text; `start` is the column it begins at, from 1.
    Json { text: String, start: u64 },
    /// Named fields.
    Fields(Map<String, Value>),
    /// A bare prompt.
    Text(String),
    /// A row that is none; the next one can be read all the same.
    Bad { raw: String, column: Option<u64>, reason: String },
}

pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row, InputError>> + Send>;

/// What stops the reading of an input for good.
#[derive(Debug)]
enum Broken {
    Io(io::Error),
    Structure { line: u64, column: u64, reason: String },
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

fn rows(name: String, format: Format, reader: Box<dyn Read + Send>) -> Result<Rows, InputError> {
    let reader = reader::unpacked(reader).map_err(|error| broke_off(&name, &error))?;
    let rows: Box<dyn Iterator<Item = Result<Row, Broken>> + Send> = match format {
        Format::Jsonl => Box::new(jsonl::rows(reader)),
        Format::Json => Box::new(json_array::rows(reader)),
        Format::Csv => Box::new(csv::rows(reader, b',')),
        Format::Tsv => Box::new(csv::rows(reader, b'\t')),
        Format::Txt => Box::new(txt::rows(reader)),
    };
    Ok(Box::new(rows.map(move |row| {
        row.map_err(|broken| match broken {
            Broken::Io(error) => broke_off(&name, &error),
            Broken::Structure { line, column, reason } => {
                let place = Place { input: name.clone(), line, column: Some(column) };
                InputError::Structure { place, reason }
            }
        })
    })))
}

/// One line without its end; `None` at the end of the input. An invalid byte is told by its column.
fn read_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<Option<Result<String, (String, u64)>>> {
    buffer.clear();
    if reader.read_until(b'\n', buffer)? == 0 {
        return Ok(None);
    }
    while matches!(buffer.last(), Some(b'\n' | b'\r')) {
        buffer.pop();
    }
    Ok(Some(match std::str::from_utf8(buffer) {
        Ok(line) => Ok(line.to_owned()),
        Err(error) => Err((String::from_utf8_lossy(buffer).into_owned(), error.valid_up_to() as u64 + 1)),
    }))
}

const NOT_UTF8: &str = "not UTF-8: a byte here belongs to no character; save the file as UTF-8";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_extension_tells_the_format_behind_the_packing() {
        for (name, format) in [
            ("a.jsonl", Some(Format::Jsonl)),
            ("a.NDJSON", Some(Format::Jsonl)),
            ("a.json.gz", Some(Format::Json)),
            ("a.csv.zst", Some(Format::Csv)),
            ("a.tsv", Some(Format::Tsv)),
            ("a.txt", Some(Format::Txt)),
            ("a.gz", None),
            ("a", None),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn a_missing_file_and_a_directory_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Input::new(dir.path().join("none.jsonl"), None).unwrap().check().unwrap_err();
        assert!(missing.to_string().ends_with("none.jsonl: no such file; check the path"));
        let directory = Input::new(dir.path(), Some(Format::Jsonl)).unwrap().check().unwrap_err();
        assert!(directory.to_string().ends_with(": is a directory; name the files in it"));
        assert!(missing.is_unreachable() && directory.is_unreachable());
    }

    #[test]
    fn a_stream_is_spooled_into_a_file_that_reads_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let input = Input::stream("pipe", Format::Txt, io::Cursor::new("one\ntwo\n"));
        let spooled = input.spool(&dir.path().join("spool")).unwrap();
        assert_eq!(spooled.name(), "pipe");
        assert_eq!(spooled.rows().unwrap().count(), 2);
    }
}
