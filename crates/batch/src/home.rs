//! Where the records of a run go: its files and their lock, or a stream; opened, and brought into final form.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::identity::Digest;
use crate::input::Input;
use crate::journal::Store;
use crate::lock::{Lock, LockError};
use crate::manifest::Manifest;
use crate::options::Options;
use crate::output::{Layout, Output, OutputError, Packing, Shape, Target, appender, sync_directory_of};
use crate::render::{Order, render};
use crate::resume::Index;
use crate::run::RunError;
use crate::supersede::{set_aside, take_out};

/// Where the records go, held for as long as the run lasts.
pub(crate) struct Home {
    files: Option<Layout>,
    _lock: Option<Lock>,
    /// A journal that is printed in order at the end.
    temporary: Option<TempDir>,
    stream: Option<Box<dyn Write + Send>>,
    gone: HashSet<Digest>,
}

impl Home {
    pub(crate) fn open(output: Output, inputs: &[Input], ordered: bool) -> Result<Home, RunError> {
        let mut home = Home { files: None, _lock: None, temporary: None, stream: None, gone: HashSet::new() };
        match output.0 {
            Target::Stream(stream) => {
                home.stream = Some(stream);
                if ordered {
                    let made = TempDir::new();
                    home.temporary = Some(made.map_err(|error| OutputError::not_writable(&std::env::temp_dir(), &error))?);
                }
            }
            Target::File(path) if is_device(&path) => {
                let device = appender(&path).map_err(|error| OutputError::not_writable(&path, &error))?;
                home.stream = Some(Box::new(device));
            }
            Target::File(path) => {
                let files = Layout::of(&path)?;
                refuse_input(&files, inputs)?;
                home._lock = Some(lock(&files)?);
                home.files = Some(files);
            }
        }
        Ok(home)
    }

    /// Brings what lies there into the shape the run starts from, and notes the settings.
    pub(crate) fn settle(&mut self, index: &mut Index, options: &Options, manifest: &Manifest) -> Result<(), RunError> {
        let Some(files) = &self.files else { return Ok(()) };
        if options.fresh {
            set_aside(files)?;
        } else if index.has_changes(options.prune) {
            take_out(files, index, options.prune)?;
        }
        if !options.prune {
            self.gone = index.gone().collect();
        }
        if Manifest::read(&files.manifest()).ok().flatten().as_ref() != Some(manifest) {
            files.replace(&files.manifest(), |writer| writer.write_all(&manifest.to_json()))?;
        }
        Ok(())
    }

    /// Where the writer appends.
    pub(crate) fn store(&mut self) -> Result<Box<dyn Store>, OutputError> {
        if self.temporary.is_none()
            && let Some(stream) = self.stream.take()
        {
            return Ok(Box::new(stream));
        }
        let journal = self.journal();
        let made = || -> io::Result<Box<dyn Store>> {
            let file = appender(&journal)?;
            sync_directory_of(&journal)?;
            Ok(Box::new(file))
        };
        made().map_err(|error| OutputError::not_writable(&journal, &error))
    }

    /// The files, unless records go to a stream.
    pub(crate) fn files(&self) -> Option<&Layout> {
        self.files.as_ref()
    }

    fn journal(&self) -> PathBuf {
        match (&self.files, &self.temporary) {
            (Some(files), _) => files.journal(),
            (None, Some(temporary)) => temporary.path().join("journal.jsonl"),
            (None, None) => PathBuf::from("the output stream"),
        }
    }

    /// How messages call the place records are written to.
    pub(crate) fn failed(&self, error: &io::Error) -> OutputError {
        OutputError::failed(&self.journal(), error)
    }

    /// Writes the final form of the output.
    pub(crate) fn finish(self, ordered: bool) -> Result<(), RunError> {
        let journal = self.journal();
        match (&self.files, self.stream) {
            (Some(files), _) if !files.is_journal() || ordered => {
                let order = Order::of(&journal, &self.gone)?;
                if !(files.is_journal() && order.is_sorted()) {
                    files.replace(&files.out, |writer| render(&journal, &order, files.shape, files.packing, writer))?;
                }
                let _ = fs::remove_file(files.spool());
            }
            (Some(files), _) => drop(fs::remove_file(files.spool())),
            (None, Some(mut stream)) if self.temporary.is_some() => {
                let order = Order::of(&journal, &self.gone)?;
                let printed = render(&journal, &order, Shape::Lines, Packing::Plain, &mut stream);
                printed.and_then(|()| stream.flush()).map_err(|error| OutputError::failed(&journal, &error))?;
            }
            (None, _) => {}
        }
        Ok(())
    }
}

fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn refuse_input(files: &Layout, inputs: &[Input]) -> Result<(), OutputError> {
    match inputs.iter().find(|input| input.is_at(&files.out)) {
        Some(input) => Err(OutputError::IsInput { path: input.name().to_owned() }),
        None => Ok(()),
    }
}

fn lock(files: &Layout) -> Result<Lock, RunError> {
    let not_writable = |error: &io::Error| RunError::from(OutputError::not_writable(&files.out, error));
    match fs::create_dir(&files.state) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(not_writable(&error)),
        _ => {}
    }
    Lock::take(&files.lock()).map_err(|error| match error {
        LockError::Held { pid } => RunError::Locked { output: files.out.display().to_string(), pid },
        LockError::Io(error) => not_writable(&error),
    })
}
