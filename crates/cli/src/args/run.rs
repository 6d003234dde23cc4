//! Flags of `tidegate run`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_batch::{Durability, ErrorLogFormat, FailOn, Format};
use tidegate_engine::CountTokens;
use tidegate_gemini::prices::Usd;

use super::{AttemptArgs, PacingArgs, ProgressArgs, PromptArgs, RedisArgs};
use crate::deadline::{self, Deadline};
use crate::settings::cache::CacheLayer;
use crate::settings::layers::{Layer, QuotaLayer};
use crate::settings::media::MediaLayer;
use crate::settings::values::Written;

/// Flags of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Files of prompts, `-` for standard input
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// Where answers go: .jsonl, .json, .csv, .tsv or .txt, also with .gz or .zst; `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub output: String,
    /// Form of the inputs (else by their names)
    #[arg(long, value_name = "jsonl|json|csv|tsv|txt")]
    pub format: Option<Format>,

    /// What every prompt is given.
    #[command(flatten)]
    pub prompts: PromptArgs,

    /// Put up to N small prompts of one kind into one call, and take its answer apart
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), conflicts_with = "full_response", help_heading = "Prompts")]
    pub pack: Option<u32>,

    /// Limits and pacing.
    #[command(flatten)]
    pub pacing: PacingArgs,
    /// Whom limits are shared with.
    #[command(flatten)]
    pub sharing: RedisArgs,
    /// What to do when the day's quota is used up: wait for the next, or stop (exit code 75)
    #[arg(long, value_enum, default_value_t, value_name = "WHAT", help_heading = "Quota and pacing")]
    pub when_exhausted: WhenExhausted,
    /// Whose tokens the API counts before they are sent: nobody's, those of unusually large prompts, everybody's
    #[arg(long, value_name = "never|outliers|always", value_parser = whose_tokens, help_heading = "Quota and pacing")]
    pub count_tokens: Option<CountTokens>,

    /// How often a prompt is asked.
    #[command(flatten)]
    pub attempts: AttemptArgs,
    /// Ask again what failed for good in an earlier run
    #[arg(long, help_heading = "Retries")]
    pub retry_failed: bool,

    /// Put OUT into input order at the end
    #[arg(long, help_heading = "Output")]
    pub ordered: bool,
    /// Keep the API's whole answer in each record
    #[arg(long, help_heading = "Output")]
    pub full_response: bool,
    /// Print the summary as JSON on standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Write the inputs that failed to this file, ready to be run again
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub errors: Option<PathBuf>,
    /// Append one line for each error to this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub error_log: Option<PathBuf>,
    /// Form of the error log
    #[arg(long, default_value = "json", value_name = "json|classic", help_heading = "Output")]
    pub error_log_format: ErrorLogFormat,
    /// Write a page about the run to this file: speed against the quota, latency, errors, keys, cost
    #[arg(long, value_name = "FILE.html", help_heading = "Output")]
    pub report: Option<PathBuf>,
    /// When answers are forced to disk: each, in groups of at most 50 ms or 64 rows, or never
    #[arg(long, default_value = "batch", value_name = "each|batch|none", help_heading = "Output")]
    pub durability: Durability,
    /// How progress is shown.
    #[command(flatten)]
    pub progress: ProgressArgs,

    /// Ignore and replace earlier answers (asks first)
    #[arg(long, conflicts_with = "retry_failed", help_heading = "What is asked")]
    pub fresh: bool,
    /// Answer questions with yes
    #[arg(short, long, help_heading = "What is asked")]
    pub yes: bool,
    /// Go on though the model or another global setting has changed since the earlier answers
    #[arg(long, help_heading = "What is asked")]
    pub accept_changes: bool,
    /// Drop earlier answers whose row is gone from the inputs
    #[arg(long, help_heading = "What is asked")]
    pub prune: bool,
    /// Record malformed lines as skipped instead of stopping
    #[arg(long, help_heading = "What is asked")]
    pub skip_invalid: bool,
    /// Ask at most so many prompts
    #[arg(long, value_name = "N", help_heading = "What is asked")]
    pub limit: Option<u64>,
    /// Stop asking after this span or at this time (exit code 75)
    #[arg(long, value_name = "DUR|TIME", value_parser = deadline::parse, help_heading = "What is asked")]
    pub deadline: Option<Deadline>,
    /// Stop asking when so many tokens are used (exit code 75)
    #[arg(long, value_name = "N", help_heading = "What is asked")]
    pub max_tokens: Option<u64>,
    /// Stop asking when so much money is spent, at list prices (exit code 75)
    #[arg(long, value_name = "USD", help_heading = "What is asked")]
    pub max_cost: Option<Usd>,
    /// Stop asking when so many prompts, or so many percent, have failed
    #[arg(long, value_name = "N|P%", help_heading = "What is asked")]
    pub fail_on_error: Option<FailOn>,

    /// Ask equal prompts that are on their way at the same time once
    #[arg(long, help_heading = "What is asked")]
    pub dedup: bool,
    /// Keep good answers, and take a kept one (at most 30 days old) instead of asking the very same again
    #[arg(long, help_heading = "What is asked")]
    pub cache: bool,

    /// Fetch addresses of media here instead of letting the API open public ones
    #[arg(long, help_heading = "Media")]
    pub fetch_urls: bool,
    /// Fetch media from this host although it is not public; may be given again
    #[arg(long, value_name = "HOST", help_heading = "Media")]
    pub allow_host: Vec<String>,
    /// Delete at the end what this run uploaded (else it expires within 48 hours)
    #[arg(long, help_heading = "Media")]
    pub delete_uploads: bool,
}

fn whose_tokens(text: &str) -> Result<CountTokens, String> {
    CountTokens::read(text).ok_or_else(|| format!("expected {}", CountTokens::EXPECTED))
}

/// What happens when the day's quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum WhenExhausted {
    /// Wait for the next quota day
    #[default]
    Wait,
    /// Stop, to be run again later
    Stop,
}

impl RunArgs {
    /// What these flags say, over `below`.
    pub fn layer(&self, below: Layer) -> Layer {
        self.sharing.layer(self.pacing.layer(Layer {
            retry: self.attempts.layer(),
            quota: QuotaLayer { count_tokens: self.count_tokens, ..QuotaLayer::default() },
            cache: CacheLayer { enabled: self.cache.then_some(true), dedup: self.dedup.then_some(true), ..CacheLayer::default() },
            media: MediaLayer {
                fetch_urls: self.fetch_urls.then_some(true),
                allow_hosts: self.allow_host.clone(),
                ..MediaLayer::default()
            },
            ..below
        }))
    }
}
