//! Flags of `run` and `work` about the display.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::duration;

/// How progress is shown, and how often.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct ProgressArgs {
    /// How progress is shown
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub progress: Progress,
    /// Time between two progress lines
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "2s")]
    pub progress_interval: Duration,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Progress {
    /// A bar on a terminal, else plain lines
    #[default]
    Auto,
    /// A bar
    Bar,
    /// Plain lines
    Plain,
    /// Nothing but the summary
    None,
}
