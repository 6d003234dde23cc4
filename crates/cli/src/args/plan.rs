//! Flags of `tidegate plan`.

use std::time::Duration;

use clap::{Args, value_parser};
use tidegate_batch::Format;

use super::PacingArgs;
use crate::duration;
use crate::settings::layers::Layer;

/// Flags of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// Files of prompts, `-` for standard input
    #[arg(required_unless_present = "workers", value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// Form of the inputs (else by their names)
    #[arg(long, value_name = "jsonl|json|csv|tsv|txt")]
    pub format: Option<Format>,
    /// Print the plan as JSON on standard output
    #[arg(long)]
    pub json: bool,

    /// Without an input: how often each of N workers may call under --rpm
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), requires = "rpm", conflicts_with = "inputs", help_heading = "What is planned")]
    pub workers: Option<u32>,
    /// Pass over malformed lines instead of stopping
    #[arg(long, help_heading = "What is planned")]
    pub skip_invalid: bool,
    /// Plan for at most so many prompts
    #[arg(long, value_name = "N", help_heading = "What is planned")]
    pub limit: Option<u64>,

    /// Template over the fields of a row, for example 'Classify: {{ text }}'
    #[arg(long, value_name = "TEMPLATE", help_heading = "Prompts")]
    pub prompt: Option<String>,
    /// System instruction, or @FILE to read it from
    #[arg(long, value_name = "TEXT|@FILE", help_heading = "Prompts")]
    pub system: Option<String>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", help_heading = "Prompts")]
    pub max_output_tokens: Option<u32>,

    /// Put up to N small prompts of one kind into one call, as `run --pack N` does
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=100), help_heading = "Prompts")]
    pub pack: Option<u32>,

    /// Tokens of an answer, thinking included, where the prompt does not allow fewer
    #[arg(long, value_name = "N", default_value_t = 500, help_heading = "What is assumed")]
    pub output_tokens: u64,
    /// How long a call takes
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "3s", help_heading = "What is assumed")]
    pub latency: Duration,

    /// Limits and pacing.
    #[command(flatten)]
    pub pacing: PacingArgs,
}

impl PlanArgs {
    /// What these flags say, over `below`.
    pub fn layer(&self, below: Layer) -> Layer {
        self.pacing.layer(below)
    }
}
