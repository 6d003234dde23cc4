//! Flags of `tidegate fill`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tidegate_gemini::prices::Usd;

use super::{PacingArgs, RedisArgs, WhenExhausted};
use crate::deadline::{self, Deadline};
use crate::duration;
use crate::settings::layers::Layer;
use crate::settings::media::Size;
use crate::settings::template::TemplateLayer;
use crate::settings::values::Written;

/// Flags of `fill`.
#[derive(Debug, Clone, Args)]
pub struct FillArgs {
    /// The form: fields in .yaml, .toml or .json (also a JSON Schema), or placeholders in .txt, .md or .docx
    #[arg(value_name = "TEMPLATE")]
    pub template: PathBuf,
    /// Files and folders that hold the values
    #[arg(long, value_name = "PATH", num_args = 1.., required_unless_present = "each")]
    pub docs: Vec<PathBuf>,
    /// Where the result goes: .json, .csv, .md or .html; the ending of a text form writes it back filled. May be given again
    #[arg(short, long, value_name = "OUT", required_unless_present = "dry_run")]
    pub output: Vec<String>,
    /// Fill the template once for each subfolder and each file of this folder; OUT then holds {name}, or is one table (.csv, .jsonl)
    #[arg(long, value_name = "DIR", conflicts_with = "docs")]
    pub each: Option<PathBuf>,
    /// Show chunks, calls and estimated tokens, and ask nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the summary, or the plan of --dry-run, as JSON on standard output
    #[arg(long)]
    pub json: bool,

    /// Most calls of this filling at once (default by profile: 2)
    #[arg(long, value_name = "N", help_heading = "Packing")]
    pub max_concurrent_api_calls: Option<usize>,
    /// Least time from the start of one call to the start of the next (default by profile: 1s)
    #[arg(long, value_name = "DUR", value_parser = duration::parse, help_heading = "Packing")]
    pub min_delay_between_calls: Option<Duration>,
    /// Most fields of one call (default by profile: 10)
    #[arg(long, value_name = "N", help_heading = "Packing")]
    pub max_batch_size: Option<usize>,

    /// Model that makes vectors, or none for keyword search alone
    #[arg(long, value_name = "MODEL|none", help_heading = "Search")]
    pub embedding_model: Option<String>,
    /// Let the model propose search questions first; one more call
    #[arg(long, help_heading = "Search")]
    pub propose_questions: bool,

    /// Ask everything again, whatever answers are kept
    #[arg(long, help_heading = "Cache")]
    pub no_cache: bool,
    /// Most bytes of answers that are kept (default 64MB)
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Cache")]
    pub cache_size: Option<Size>,

    /// Limits and pacing.
    #[command(flatten)]
    pub pacing: PacingArgs,
    /// Whom limits are shared with.
    #[command(flatten)]
    pub redis: RedisArgs,
    /// When the day's quota is used up: wait for the next day, or stop asking (exit code 75). Without it every set is still
    /// filled from kept answers and patterns, and a note says what was not asked
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Quota and pacing")]
    pub when_exhausted: Option<WhenExhausted>,
    /// Stop asking after this span or at this time (exit code 75)
    #[arg(long, value_name = "DUR|TIME", value_parser = deadline::parse, help_heading = "Quota and pacing")]
    pub deadline: Option<Deadline>,
    /// Stop asking when so much money is spent, at list prices (exit code 75)
    #[arg(long, value_name = "USD", help_heading = "Quota and pacing")]
    pub max_cost: Option<Usd>,
}

impl FillArgs {
    /// What these flags say, over `below`.
    pub fn layer(&self, below: Layer) -> Layer {
        let layer = self.pacing.layer(Layer {
            template: TemplateLayer {
                embedding_model: self.embedding_model.clone(),
                max_concurrent_api_calls: self.max_concurrent_api_calls,
                min_delay_between_calls: self.min_delay_between_calls,
                max_batch_size: self.max_batch_size,
                context_tokens: None,
                propose_questions: self.propose_questions.then_some(true),
                cache: self.no_cache.then_some(false),
                cache_size: self.cache_size,
            },
            ..below
        });
        self.redis.layer(layer)
    }
}

fn size(text: &str) -> Result<Size, String> {
    Size::read(text).ok_or_else(|| format!("expected {}", Size::EXPECTED))
}
