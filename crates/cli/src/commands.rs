//! The commands, one file each, and what all of them start from.

pub mod completions;
pub mod run;
pub mod simulate;

use std::path::PathBuf;

use crate::args::{Color, GlobalArgs};
use crate::env_vars::{self, Environment};
use crate::exit_code::Failure;
use crate::logging::{self, LogSettings};
use crate::screen::{Look, Screen};

/// What every command starts from.
pub struct Context {
    /// Flags of every command.
    pub global: GlobalArgs,
    /// The environment over `.env`.
    pub environment: Environment,
    /// The current folder.
    pub folder: PathBuf,
    /// Where people are talked to.
    pub screen: Screen,
}

impl Context {
    /// Reads the environment and starts the log.
    ///
    /// # Errors
    /// When `.env` or a variable cannot be understood, or the log file cannot be opened.
    pub fn prepare(global: GlobalArgs) -> Result<Context, Failure> {
        let folder = PathBuf::from(".");
        let environment = Environment::of_process(&folder).map_err(Failure::usage)?;
        let log = LogSettings::resolve(&global, &environment)?;
        let color = match global.color {
            Some(color) => color,
            None => logging::word(&environment, env_vars::COLOR)?.unwrap_or(Color::Auto),
        };
        let no_color = environment.get(env_vars::NO_COLOR).is_some();
        let screen = Screen::new(Look::of_process(color, no_color, global.quiet, log.format));
        log.start(&screen)?;
        Ok(Context { global, environment, folder, screen })
    }
}
