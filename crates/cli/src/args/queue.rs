//! Flags of `submit`, `work`, `collect` and `queue`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate_batch::{Durability, Format};
use tidegate_redis::queue::QueueName;

use super::{AttemptArgs, PacingArgs, ProgressArgs, PromptArgs, RedisArgs};
use crate::deadline::{self, Deadline};
use crate::duration;
use crate::settings::layers::Layer;

/// Which queue, and where it is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Queue")]
pub struct WhichQueue {
    /// Name of the queue: letters, digits, '.', '_' and '-'
    #[arg(long, value_name = "NAME")]
    pub queue: QueueName,
    /// Where Redis is.
    #[command(flatten)]
    pub redis: RedisArgs,
}

/// Flags of `submit`.
#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// Files of prompts, `-` for standard input
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// The queue.
    #[command(flatten)]
    pub which: WhichQueue,
    /// Begin no earlier than after this span or at this time
    #[arg(long, value_name = "DUR|TIME", value_parser = deadline::parse, help_heading = "Queue")]
    pub not_before: Option<Deadline>,
    /// Keep no answers: fire and forget
    #[arg(long, help_heading = "Queue")]
    pub no_result: bool,
    /// POST each record to this address when it is done
    #[arg(long, value_name = "URL", help_heading = "Queue")]
    pub webhook: Option<String>,
    /// Never ask again what may have been asked when a worker vanished; such prompts are quarantined
    #[arg(long, help_heading = "Queue")]
    pub at_most_once: bool,
    /// Wait while so many prompts are open in the queue
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Queue")]
    pub max_open: u64,

    /// Form of the inputs (else by their names)
    #[arg(long, value_name = "jsonl|json|csv|tsv|txt")]
    pub format: Option<Format>,
    /// What every prompt is given.
    #[command(flatten)]
    pub prompts: PromptArgs,
    /// Keep the API's whole answer in each record
    #[arg(long, help_heading = "Prompts")]
    pub full_response: bool,
    /// Leave malformed lines out instead of stopping
    #[arg(long)]
    pub skip_invalid: bool,
    /// Submit at most so many prompts
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Print the summary as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Flags of `work`.
#[derive(Debug, Clone, Args)]
pub struct WorkArgs {
    /// The queue.
    #[command(flatten)]
    pub which: WhichQueue,
    /// What prompts are called by in lists of workers (default: this machine's name)
    #[arg(long, value_name = "LABEL", help_heading = "Queue")]
    pub name: Option<String>,
    /// Give a prompt back that got no permit for so long; it comes again later and nothing is counted
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "60s", help_heading = "Queue")]
    pub max_permit_wait: Duration,
    /// End when no prompt is open in the queue
    #[arg(long, help_heading = "Queue")]
    pub drain: bool,
    /// Tell of the queue at http://ADDR/metrics, and at /healthz that this worker lives; port 0 takes a free one
    #[arg(long, value_name = "ADDR", help_heading = "Queue")]
    pub listen: Option<SocketAddr>,
    /// How long a worker has a prompt to itself without a sign of life; the same for all workers of a queue
    #[arg(long, value_name = "DUR", value_parser = lease, default_value = "15s", help_heading = "Queue")]
    pub lease: Duration,
    /// How long answers wait to be collected
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "168h", help_heading = "Queue")]
    pub keep: Duration,
    /// Quarantine a prompt when so many workers have vanished with it
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Queue")]
    pub max_lost: u32,
    /// Limits and pacing.
    #[command(flatten)]
    pub pacing: PacingArgs,
    /// How often a prompt is asked.
    #[command(flatten)]
    pub attempts: AttemptArgs,
    /// How progress is shown.
    #[command(flatten)]
    pub progress: ProgressArgs,
    /// Print the summary as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Flags of `collect`.
#[derive(Debug, Clone, Args)]
pub struct CollectArgs {
    /// The queue.
    #[command(flatten)]
    pub which: WhichQueue,
    /// Where answers go: .jsonl, .json, .csv, .tsv or .txt, also with .gz or .zst; `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    pub output: String,
    /// Write what is there and leave (exit code 75 when work is left)
    #[arg(long)]
    pub no_wait: bool,
    /// Put OUT into input order at the end
    #[arg(long)]
    pub ordered: bool,
    /// When answers are forced to disk: each, in groups of at most 50 ms or 64 rows, or never
    #[arg(long, default_value = "batch", value_name = "each|batch|none")]
    pub durability: Durability,
    /// Go on in an output that was begun otherwise
    #[arg(long)]
    pub accept_changes: bool,
    /// Set aside what OUT holds and begin anew
    #[arg(long)]
    pub fresh: bool,
    /// Print the summary as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// What `queue` can do.
#[derive(Debug, Clone, Subcommand)]
pub enum QueueCommand {
    /// Tell how much waits, who works, what died
    Status {
        /// The queue.
        #[command(flatten)]
        which: WhichQueue,
        /// Tell it again every two seconds
        #[arg(long)]
        watch: bool,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the dead letters, the newest first, each with its history
    Dead {
        /// The queue.
        #[command(flatten)]
        which: WhichQueue,
        /// List at most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Print each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Queue dead letters again
    Requeue {
        /// The queue.
        #[command(flatten)]
        which: WhichQueue,
        /// Their ids.
        #[command(flatten)]
        ids: Ids,
    },
    /// Cancel prompts that have not ended
    Cancel {
        /// The queue.
        #[command(flatten)]
        which: WhichQueue,
        /// Their ids.
        #[command(flatten)]
        ids: Ids,
    },
    /// Look whether this Redis can be trusted with a queue
    Doctor {
        /// The queue.
        #[command(flatten)]
        which: WhichQueue,
        /// Print what was found as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Some prompts, or all.
#[derive(Debug, Clone, Args)]
pub struct Ids {
    /// Ids of the prompts
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

fn lease(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(300);
    let lease = duration::parse(text).map_err(|error| error.to_string())?;
    if lease < LEAST { Err("a lease takes 300ms at least: it is renewed every third of it".to_owned()) } else { Ok(lease) }
}

impl WorkArgs {
    /// What these flags say, over `below`.
    pub fn layer(&self, below: Layer) -> Layer {
        self.which.redis.layer(self.pacing.layer(Layer { retry: self.attempts.layer(), ..below }))
    }
}
