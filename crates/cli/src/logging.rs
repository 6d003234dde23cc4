//! The log: levels, text or JSON, to standard error or to a file. Log records never hold a key.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use crate::args::{GlobalArgs, LogFormat, LogLevel};
use crate::env_vars::{self, Environment};
use crate::exit_code::{ExitCode, Failure};
use crate::keys::shown;
use crate::screen::Screen;
use clap::ValueEnum;

/// How the log is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
    /// Where, if not on standard error.
    pub file: Option<PathBuf>,
}

impl LogSettings {
    /// From flags over variables over defaults; `-v` and `-q` move the default.
    ///
    /// # Errors
    /// When a variable holds no known word.
    pub fn resolve(global: &GlobalArgs, environment: &Environment) -> Result<LogSettings, Failure> {
        let usual = match (global.quiet, global.verbose) {
            (true, _) => LogLevel::Error,
            (_, 0) => LogLevel::Warn,
            (_, 1) => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        let level = global.log_level.map_or_else(|| word(environment, env_vars::LOG_LEVEL), |level| Ok(Some(level)))?;
        let format = global.log_format.map_or_else(|| word(environment, env_vars::LOG_FORMAT), |format| Ok(Some(format)))?;
        let file = global.log_file.clone().or_else(|| environment.get(env_vars::LOG_FILE).map(PathBuf::from));
        Ok(LogSettings { level: level.unwrap_or(usual), format: format.unwrap_or_default(), file })
    }

    /// Starts logging for the rest of the program's life.
    ///
    /// # Errors
    /// When the log file cannot be opened.
    pub fn start(&self, screen: &Screen) -> Result<(), Failure> {
        let builder = tracing_subscriber::fmt().with_env_filter(self.filter()).with_target(false);
        match &self.file {
            Some(path) => {
                let file = File::options().create(true).append(true).open(path).map_err(|error| {
                    Failure::new(ExitCode::Unreachable, format!("log file {}: cannot be opened: {error}", path.display()))
                })?;
                self.install(builder.with_ansi(false).with_writer(Mutex::new(file)));
            }
            None => self.install(builder.with_ansi(screen.look().color).with_writer(screen.clone())),
        }
        Ok(())
    }

    /// Our own crates at the level asked for; libraries only warn, for they might show a header.
    fn filter(&self) -> EnvFilter {
        let level = format!("{:?}", self.level).to_lowercase();
        let libraries = if self.level == LogLevel::Error { "error" } else { "warn" };
        let ours = ["tidegate", "tidegate_engine", "tidegate_batch", "tidegate_simulator"];
        let ours: Vec<String> = ours.iter().map(|name| format!("{name}={level}")).collect();
        EnvFilter::new(format!("{libraries},{}", ours.join(",")))
    }

    fn install<W>(
        &self,
        builder: SubscriberBuilder<
            tracing_subscriber::fmt::format::DefaultFields,
            tracing_subscriber::fmt::format::Format,
            EnvFilter,
            W,
        >,
    ) where
        W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
    {
        match self.format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
    }
}

/// A word of a variable that has a few known values.
///
/// # Errors
/// Names the variable and the known values.
pub fn word<T: ValueEnum>(environment: &Environment, name: &str) -> Result<Option<T>, Failure> {
    let Some(text) = environment.get(name) else { return Ok(None) };
    let known: Vec<String> =
        T::value_variants().iter().filter_map(|value| Some(value.to_possible_value()?.get_name().to_string())).collect();
    T::from_str(text, true)
        .map(Some)
        .map_err(|_| Failure::usage(format!("environment variable {name}: {:?} is not one of {}", shown(text), known.join(", "))))
}
