//! Nothing is silently replaced: what leaves an output is first appended to `superseded.jsonl` beside it.

use std::fs;
use std::io::{self, Read, Write};

use serde_json::{Map, Value};

use crate::journal::{self, JournalError};
use crate::output::{Layout, OutputError, appender, sync_directory_of};
use crate::refresh::{Edited, Riders};
use crate::resume::{Fate, Index};
use crate::run::RunError;

/// Moves everything there is to `superseded.jsonl`; what is no journal is kept under a name of its own.
pub(crate) fn set_aside(files: &Layout) -> Result<(), OutputError> {
    let journal = files.journal();
    if !files.is_journal() && files.out.exists() && !files.manifest().exists() {
        let name = files.out.file_name().unwrap_or_default().to_string_lossy();
        let free = (1..).map(|n| files.state.join(format!("replaced-{n}-{name}"))).find(|path| !path.exists());
        let kept = free.unwrap_or_else(|| files.state.join("replaced"));
        fs::rename(&files.out, kept).map_err(|error| OutputError::failed(&files.out, &error))?;
    }
    let mut earlier = match fs::File::open(&journal) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OutputError::failed(&journal, &error)),
    };
    append_superseded(files, |writer| {
        let mut chunk = vec![0; 64 * 1024];
        let mut last = b'\n';
        loop {
            let read = earlier.read(&mut chunk)?;
            let Some(end) = read.checked_sub(1) else { break };
            last = chunk[end];
            writer.write_all(&chunk[..read])?;
        }
        if last == b'\n' { Ok(()) } else { writer.write_all(b"\n") }
    })?;
    files.replace(&journal, |_| Ok(()))
}

/// Takes the records that are asked again (and pruned ones, and second ones of an id) out of the journal: first into
/// `superseded.jsonl`, then out of it by one replacement. Records whose row has moved get their new position, those whose
/// row has other metadata now get that.
pub(crate) fn take_out(files: &Layout, index: &mut Index, edited: &mut Edited, prune: bool) -> Result<(), RunError> {
    let journal = files.journal();
    let leaves = |fate: Fate| fate == Fate::Leaves || (prune && fate == Fate::Gone);
    append_superseded(files, |writer| {
        journal::scan::<Stopped>(&journal, |line| {
            if index.is_repeated(line.number) || leaves(index.fate(&line.head.id).0) {
                write_line(writer, line.bytes)?;
            }
            Ok(())
        })
        .map_err(Stopped::into_io)
    })?;
    files.replace(&journal, |writer| {
        journal::scan::<Stopped>(&journal, |line| {
            match index.fate(&line.head.id) {
                _ if index.is_repeated(line.number) => {}
                (fate, _) if leaves(fate) => {}
                (Fate::Moves, position) => {
                    write_line(writer, &moved(line.bytes, position, edited.of(&line.head.id)?)?)?;
                }
                _ => write_line(writer, line.bytes)?,
            }
            Ok(())
        })
        .map_err(Stopped::into_io)
    })?;
    Ok(())
}

fn moved(record: &[u8], position: u64, riders: Option<Riders>) -> io::Result<Vec<u8>> {
    let mut fields: Map<String, Value> = serde_json::from_slice(record)?;
    fields.insert("index".to_owned(), position.into());
    if let Some(riders) = riders {
        riders.put_into(&mut fields);
    }
    Ok(serde_json::to_vec(&fields)?)
}

fn write_line(writer: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes)?;
    writer.write_all(b"\n")
}

fn append_superseded(files: &Layout, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), OutputError> {
    let path = files.superseded();
    let append = || -> io::Result<()> {
        let mut writer = io::BufWriter::new(appender(&path)?);
        write(&mut writer)?;
        writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        sync_directory_of(&path)
    };
    append().map_err(|error| OutputError::failed(&path, &error))
}

/// Why copying a journal stopped.
enum Stopped {
    Journal(JournalError),
    Io(io::Error),
}

impl Stopped {
    fn into_io(self) -> io::Error {
        match self {
            Stopped::Journal(error) => io::Error::other(error),
            Stopped::Io(error) => error,
        }
    }
}

impl From<JournalError> for Stopped {
    fn from(error: JournalError) -> Stopped {
        Stopped::Journal(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Io(error)
    }
}
