//! Flags of every command that sends prompts, or foretells how it would: limits and pacing.

use std::time::Duration;

use clap::Args;

use crate::duration;
use crate::settings::layers::{Layer, LimitsLayer, PacingLayer};

/// Limits and pacing.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Quota and pacing")]
pub struct PacingArgs {
    /// Requests a minute, for every project and model
    #[arg(long, value_name = "N")]
    pub rpm: Option<u64>,
    /// Input tokens a minute, for every project and model
    #[arg(long, value_name = "N")]
    pub tpm: Option<u64>,
    /// Requests a day, for every project and model
    #[arg(long, value_name = "N")]
    pub rpd: Option<u64>,
    /// Most calls at once; 0 = up to 4096
    #[arg(long, value_name = "N")]
    pub max_concurrency: Option<usize>,
    /// Most calls at once with one key; 0 = no bound
    #[arg(long, value_name = "N")]
    pub slots_per_key: Option<usize>,
    /// Least time between two starts in one slot of a key
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub slot_interval: Option<Duration>,
    /// Rest of a key after each use
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub key_cooldown: Option<Duration>,
    /// Rest of a worker after each call
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub worker_cooldown: Option<Duration>,
    /// Least time between any two calls
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub call_interval: Option<Duration>,
    /// Pause before each call, the first too
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub delay: Option<Duration>,
}

impl PacingArgs {
    /// What these flags say, over `below`.
    pub fn layer(&self, below: Layer) -> Layer {
        Layer {
            pacing: PacingLayer {
                max_concurrency: self.max_concurrency,
                call_interval: self.call_interval,
                slots_per_key: self.slots_per_key,
                slot_interval: self.slot_interval,
                key_cooldown: self.key_cooldown,
                worker_cooldown: self.worker_cooldown,
                delay: self.delay,
            },
            limits: LimitsLayer { rpm: self.rpm, tpm: self.tpm, rpd: self.rpd },
            ..below
        }
    }
}
