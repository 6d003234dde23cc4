//! Where the records of a run go: its files and their lock, or a stream; opened, and brought into final form.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::claims::is_device;
use crate::control::Control;
use crate::identity::Digest;
use crate::input::Input;
use crate::journal::Store;
use crate::lock::{Lock, LockError};
use crate::manifest::Manifest;
use crate::options::{Options, Task};
use crate::output::{Layout, Output, OutputError, Packing, Shape, Target, appender, sync_directory_of};
use crate::refresh::Edited;
use crate::render::{Order, render};
use crate::resume::Index;
use crate::run::RunError;
use crate::spool::Spool;
use crate::summary::ProgressSink;
use crate::supersede::{set_aside, take_out};

/// Where the records go, held for as long as the run lasts.
pub(crate) struct Home {
    files: Option<Layout>,
    spool: Spool,
    /// The folder of the output while it may go again; it goes before the lock in it.
    unused: Unused,
    _lock: Option<Lock>,
    /// A journal that is printed in order at the end.
    temporary: Option<TempDir>,
    stream: Option<Box<dyn Write + Send>>,
    gone: HashSet<Digest>,
}

impl Home {
    pub(crate) fn open(output: Output, ordered: bool, task: &Task) -> Result<Home, RunError> {
        let mut home = Home {
            files: None,
            spool: Spool::default(),
            unused: Unused(None),
            _lock: None,
            temporary: None,
            stream: None,
            gone: HashSet::new(),
        };
        match output.0 {
            Target::Stdout => home.print(Box::new(io::stdout()), ordered)?,
            Target::Stream(stream) => home.print(stream, ordered)?,
            Target::File(path) if is_device(&path) => {
                let device = appender(&path).map_err(|error| OutputError::not_writable(&path, &error))?;
                home.print(Box::new(device), ordered)?;
            }
            Target::File(path) => {
                let files = Layout::of(&path)?;
                files.fits(task)?;
                home.unused = Unused::make(&files)?;
                home._lock = Some(lock(&files)?);
                home.files = Some(files);
            }
        }
        Ok(home)
    }

    fn print(&mut self, stream: Box<dyn Write + Send>, ordered: bool) -> Result<(), OutputError> {
        self.stream = Some(stream);
        if ordered {
            let made = TempDir::new();
            self.temporary = Some(made.map_err(|error| OutputError::not_writable(&std::env::temp_dir(), &error))?);
        }
        Ok(())
    }

    /// Puts files in the place of streams; `None` when the caller stopped the run while one was being read.
    pub(crate) fn spool(
        &mut self,
        inputs: Vec<Input>,
        control: &Control,
        sink: &dyn ProgressSink,
    ) -> Result<Option<Vec<Input>>, OutputError> {
        match &self.files {
            Some(files) => self.spool.fill(inputs, files, control, sink),
            None => Ok(Some(inputs)),
        }
    }

    /// Brings what lies there into the shape the run starts from, and notes the settings.
    pub(crate) fn settle(
        &mut self,
        index: &mut Index,
        edited: &mut Edited,
        options: &Options,
        manifest: &Manifest,
    ) -> Result<(), RunError> {
        let Some(files) = &self.files else { return Ok(()) };
        self.unused.0 = None;
        if options.fresh {
            set_aside(files)?;
        } else if index.has_changes(options.prune) {
            take_out(files, index, edited, options.prune)?;
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
        match &self.files {
            Some(_) => OutputError::failed(&self.journal(), error),
            None => OutputError::StreamGone { reason: error.to_string() },
        }
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
            }
            (Some(_), _) => {}
            (None, Some(mut stream)) if self.temporary.is_some() => {
                let order = Order::of(&journal, &self.gone)?;
                let printed = render(&journal, &order, Shape::Lines, Packing::Plain, &mut stream);
                let gone = |error: io::Error| OutputError::StreamGone { reason: error.to_string() };
                printed.and_then(|()| stream.flush()).map_err(gone)?;
            }
            (None, _) => {}
        }
        Ok(())
    }
}

/// A folder this run has made and nothing stands in yet; it goes with its lock when the run ends that early.
struct Unused(Option<Layout>);

impl Unused {
    fn make(files: &Layout) -> Result<Unused, OutputError> {
        match fs::create_dir(&files.state) {
            Ok(()) => Ok(Unused(Some(files.clone()))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Unused(None)),
            Err(error) => Err(OutputError::not_writable(&files.out, &error)),
        }
    }
}

impl Drop for Unused {
    fn drop(&mut self) {
        if let Some(files) = &self.0 {
            let _ = fs::remove_file(files.lock());
            let _ = fs::remove_dir(&files.state);
        }
    }
}

fn lock(files: &Layout) -> Result<Lock, RunError> {
    let not_writable = |error: &io::Error| RunError::from(OutputError::not_writable(&files.out, error));
    Lock::take(&files.lock()).map_err(|error| match error {
        LockError::Held { pid } => RunError::Locked { output: files.out.display().to_string(), pid },
        LockError::Io(error) => not_writable(&error),
    })
}
