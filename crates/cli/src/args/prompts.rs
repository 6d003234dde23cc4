//! Flags of `run` and `submit` that shape every prompt.

use std::path::PathBuf;

use clap::Args;

/// What every prompt is given that does not say otherwise itself.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Prompts")]
pub struct PromptArgs {
    /// Template over the fields of a row, for example 'Classify: {{ text }}'
    #[arg(long, value_name = "TEMPLATE")]
    pub prompt: Option<String>,
    /// System instruction, or @FILE to read it from
    #[arg(long, value_name = "TEXT|@FILE")]
    pub system: Option<String>,
    /// Sampling temperature
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N")]
    pub max_output_tokens: Option<u32>,

    /// Ask for JSON, and repair it or ask again until it can be read
    #[arg(long)]
    pub expect_json: bool,
    /// Ask for JSON that follows the JSON Schema in this file, and ask again until it does
    #[arg(long, value_name = "FILE")]
    pub json_schema: Option<PathBuf>,
}
