//! Flags of `run` and `work` about asking again.

use clap::Args;

use crate::settings::layers::RetryLayer;

/// How often a prompt is asked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Retries")]
pub struct AttemptArgs {
    /// Attempts that may fail by the prompt's own fault (default 3)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_task_attempts: Option<u32>,
    /// Attempts of any outcome; 1 = one request a prompt
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: Option<u32>,
}

impl AttemptArgs {
    /// What these flags say.
    pub fn layer(&self) -> RetryLayer {
        RetryLayer { max_task_attempts: self.max_task_attempts, max_attempts: self.max_attempts, ..RetryLayer::default() }
    }
}
