//! What is called before and after each prompt, for programs that add something of their own to all of them.

use std::sync::Arc;

use crate::request::{Error, Request, Response};

/// Sees a prompt before it is handed in, may change it, and may turn it away.
pub type Before = dyn Fn(&mut Request) -> Result<(), Error> + Send + Sync;
/// Sees what became of a prompt; by its label, if it has one.
pub type After = dyn Fn(Option<&str>, &Result<Response, Error>) + Send + Sync;

/// The hooks of an engine, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Hooks {
    pub before: Vec<Arc<Before>>,
    pub after: Vec<Arc<After>>,
}

impl Hooks {
    /// Whether nobody wants to be called.
    pub(crate) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// Asks those before a prompt, until one turns it away.
    pub(crate) fn ask(&self, request: &mut Request) -> Result<(), Error> {
        self.before.iter().try_for_each(|hook| hook(request))
    }

    /// Tells those after it, the last one first: who came first at the beginning comes last at the end.
    pub(crate) fn tell(&self, label: Option<&str>, result: &Result<Response, Error>) {
        self.after.iter().rev().for_each(|hook| hook(label, result));
    }
}
