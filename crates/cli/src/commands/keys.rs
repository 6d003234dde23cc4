//! `tidegate keys`: puts keys where they are found, shows them masked, asks the API about them.

mod add;
mod card;
mod check;
mod entry;
mod env_file;
mod explain;
mod git;
mod list;
mod remove;
mod standing;
mod table;

use super::Context;
use crate::args::{KeysArgs, KeysCommand};
use crate::exit_code::{ExitCode, Failure};

/// Does one thing with the keys.
///
/// # Errors
/// When it cannot be done; the message never holds a key.
pub async fn run(wanted: KeysArgs, context: Context) -> Result<ExitCode, Failure> {
    match wanted.command {
        KeysCommand::Init(wanted) => add::init(&wanted, &context),
        KeysCommand::Add(wanted) => add::add(&wanted, &context),
        KeysCommand::List(wanted) => list::list(&wanted, &context),
        KeysCommand::Remove(wanted) => remove::remove(&wanted, &context),
        KeysCommand::Check(wanted) => check::check(&wanted, &context).await,
        KeysCommand::Explain(wanted) => explain::explain(&wanted, &context),
    }
}
