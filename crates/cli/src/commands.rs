//! The commands, one file each, and what all of them start from.

pub mod collect;
pub mod completions;
pub mod embed;
pub mod fill;
mod hook;
pub mod keys;
mod past;
pub mod plan;
pub mod queue;
pub mod run;
pub mod serve;
mod sharing;
pub mod simulate;
pub mod submit;
pub mod work;

use std::path::PathBuf;

use crate::args::{Color, GlobalArgs};
use crate::embedded;
use crate::env_vars::{self, Environment};
use crate::exit_code::Failure;
use crate::logging::{self, LogSettings};
use crate::screen::{Look, Screen};
use crate::settings::layers::Layer;
use crate::settings::{Given, Settings, projects};

/// What every command starts from.
pub struct Context {
    /// Flags of every command.
    pub global: GlobalArgs,
    /// The environment over `.env`.
    pub environment: Environment,
    /// The current folder.
    pub folder: PathBuf,
    /// How the log is wanted.
    pub log: LogSettings,
    /// Where people are talked to.
    pub screen: Screen,
}

impl Context {
    /// Reads the environment.
    ///
    /// # Errors
    /// When `.env` or a variable cannot be understood.
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
        Ok(Context { global, environment, folder, log, screen })
    }

    /// The settings in force: `flags` over the scenario over the environment over files. Their warnings are said.
    ///
    /// # Errors
    /// When a source is wrong; the message names the place.
    pub fn settings(&self, flags: Layer, scenario: Option<Layer>) -> Result<Settings, Failure> {
        let settings = self.settings_unsaid(flags, scenario)?;
        for warning in &settings.warnings {
            self.screen.warn(warning);
        }
        for origin in &settings.origins {
            tracing::info!("{origin}");
        }
        for project in &settings.projects {
            tracing::info!("{}", projects::told(project, &settings.model));
        }
        Ok(settings)
    }

    /// The same without a word.
    ///
    /// # Errors
    /// When a source is wrong; the message names the place.
    pub fn settings_unsaid(&self, flags: Layer, scenario: Option<Layer>) -> Result<Settings, Failure> {
        let named = self.global.named_config(&self.environment);
        let given = Given { flags, scenario };
        Settings::load(given, named, &self.folder, &self.environment).map_err(Failure::from)
    }

    /// What the scenario of `--sim` tells its clients, with no server behind it.
    ///
    /// # Errors
    /// When there is no such scenario, or it is wrong.
    pub fn scenario(&self) -> Result<Option<Layer>, Failure> {
        let Some(named) = &self.global.sim else { return Ok(None) };
        Ok(Some(embedded::layer(&embedded::scenario(named)?, "http://127.0.0.1")))
    }
}
