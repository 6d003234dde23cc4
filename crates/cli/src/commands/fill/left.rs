//! What a filling left undone, kept beside its output until nothing is left.

use std::path::PathBuf;

use tidegate_template::Filled;

use super::outputs::{Outputs, write_whole};
use crate::exit_code::Failure;

/// The folder `OUT.tidegate`; it is there as long as there is something to go on with.
#[derive(Debug)]
pub struct Left(Option<PathBuf>);

impl Left {
    /// Beside the first output; nowhere when all goes to standard output.
    pub fn beside(outputs: &Outputs) -> Left {
        Left(outputs.left())
    }

    /// What an earlier run made of a set.
    pub fn read(&self, name: &str) -> Option<Filled> {
        let path = self.path(name)?;
        let text = std::fs::read_to_string(&path).ok()?;
        let read = serde_json::from_str(&text);
        read.inspect_err(|error| tracing::warn!("{}: passed over: {error}", path.display())).ok()
    }

    /// Keeps a result for a later run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, name: &str, filled: &Filled) -> Result<(), Failure> {
        let Some(path) = self.path(name) else { return Ok(()) };
        let text = serde_json::to_vec(filled).map_err(Failure::usage)?;
        write_whole(&path, &text)
    }

    /// Nothing is left.
    pub fn clear(&self) {
        if let Some(folder) = self.0.as_ref().filter(|folder| folder.is_dir())
            && let Err(error) = std::fs::remove_dir_all(folder)
        {
            tracing::warn!("{}: {error}", folder.display());
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(format!("{name}.json")))
    }
}
