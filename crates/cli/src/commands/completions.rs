//! `tidegate completions`: the completion script of a shell, on standard output.

use clap::CommandFactory;

use crate::args::{Arguments, CompletionsArgs};
use crate::exit_code::ExitCode;
use crate::screen;

/// Prints the script.
pub fn print(wanted: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(wanted.shell, &mut Arguments::command(), "tidegate", &mut script);
    screen::data(String::from_utf8_lossy(&script).trim_end());
    ExitCode::AllOk
}
