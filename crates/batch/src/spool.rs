//! Streams copied to files: one can be compared with earlier records only once it is here as a whole.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::control::Control;
use crate::input::Input;
use crate::output::{Layout, OutputError};
use crate::summary::{ProgressSink, Update};

/// Copies of streams, which go when it goes.
#[derive(Debug, Default)]
pub(crate) struct Spool(Vec<PathBuf>);

impl Spool {
    /// Puts files in the place of streams; `None` when the caller stopped the run while one was being read.
    pub(crate) fn fill(
        &mut self,
        inputs: Vec<Input>,
        files: &Layout,
        control: &Control,
        sink: &dyn ProgressSink,
    ) -> Result<Option<Vec<Input>>, OutputError> {
        let mut here = Vec::with_capacity(inputs.len());
        for input in inputs {
            if input.path().is_some() {
                here.push(input);
                continue;
            }
            let name = input.name();
            let note = format!("{name} is read to its end first, to compare it with the answers in {}", files.out.display());
            sink.update(Update::Warning(&note));
            let copy = files.spool(self.0.len());
            self.0.push(copy.clone());
            let Some(copied) = unless_stopped(control, {
                let copy = copy.clone();
                move || input.spool(&copy)
            }) else {
                return Ok(None);
            };
            here.push(copied.map_err(|error| OutputError::failed(&copy, &error))?);
        }
        Ok(Some(here))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        for copy in &self.0 {
            let _ = fs::remove_file(copy);
        }
    }
}

/// Does something that may take for ever on a thread of its own; `None` when the run is stopped before it ends. The
/// thread then ends by itself, or with the process.
fn unless_stopped<T: Send + 'static>(
    control: &Control,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<io::Result<T>> {
    let (tell, told) = oneshot::channel();
    let started = thread::Builder::new().name("spool".to_owned()).spawn(move || drop(tell.send(work())));
    if let Err(error) = started {
        return Some(Err(error));
    }
    let mut stops = control.stops();
    Handle::current().block_on(async {
        tokio::select! {
            _ = stops.wait_for(Option::is_some) => None,
            done = told => Some(done.unwrap_or_else(|_| Err(io::Error::other("its reader broke off")))),
        }
    })
}
