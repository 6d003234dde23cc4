//! The command line as it is typed: what people may write, and nothing beyond checking it.

mod attempts;
mod embed;
mod fill;
mod keys;
mod pacing;
mod plan;
mod progress;
mod prompts;
mod queue;
mod redis;
mod run;
mod serve;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use attempts::AttemptArgs;
pub use embed::{EMBEDDING_MODEL, EmbedArgs};
pub use fill::FillArgs;
pub use keys::{AddArgs, ExplainArgs, InitArgs, KeysArgs, KeysCommand, ListingArgs, NameArgs};
pub use pacing::PacingArgs;
pub use plan::PlanArgs;
pub use progress::{Progress, ProgressArgs};
pub use prompts::PromptArgs;
pub use queue::{CollectArgs, QueueCommand, SubmitArgs, WhichQueue, WorkArgs};
pub use redis::RedisArgs;
pub use run::{RunArgs, WhenExhausted};
pub use serve::ServeArgs;

use crate::env_vars::{self, Environment};
use crate::settings::layers::Layer;
use crate::settings::profile::{self, Profile};

const AFTER_HELP: &str = "\
Keys are read from GEMINI_API_KEY, GOOGLE_API_KEY and GEMINI_API_KEY_* (environment or .env), or named in tidegate.toml.
Settings: flags win over TIDEGATE_* variables, over tidegate.toml (here, then in the user's configuration folder), over defaults.

Exit codes: 0 all ok; 1 finished, some failed; 2 wrong usage, configuration or input; 3 no usable key;
4 the API, Redis or a file cannot be reached; 75 stopped with work left; 130 interrupted, 143 terminated, work saved.";

/// Pushes many prompts through the Gemini API at the full rate of the quota and loses nothing.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask every prompt of the inputs once and append the answers to OUT; the same command again resumes
    Run(Box<RunArgs>),
    /// Ask the vector of every text of the inputs once, with the guarantees of run
    Embed(Box<EmbedArgs>),
    /// Fill the fields of a template from documents, many fields a call; the same command again goes on
    Fill(Box<FillArgs>),
    /// Tell tokens, cost and time of the inputs under these quotas, before anything is spent
    Plan(Box<PlanArgs>),
    /// Look after the keys: init, add, list, remove, check, explain
    Keys(KeysArgs),
    /// Serve Gemini's and OpenAI's API to other programs, over the same keys and quotas
    Serve(Box<ServeArgs>),
    /// Put the prompts of the inputs into a queue in Redis; the same command again adds nothing twice
    Submit(Box<SubmitArgs>),
    /// Answer the prompts of a queue, until a signal ends it or nothing is left
    Work(Box<WorkArgs>),
    /// Write the answers of a queue to OUT as they come, until every prompt has its record
    Collect(Box<CollectArgs>),
    /// Look after a queue: status, dead, requeue, cancel, doctor
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Serve a simulated Gemini API, for offline work and tests
    Simulate(SimulateArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct GlobalArgs {
    /// Settings file to use instead of tidegate.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Use the embedded simulator instead of the network: a shipped scenario (default demo) or a scenario file; no key needed
    #[arg(long, global = true, value_name = "NAME|FILE.toml", num_args = 0..=1, require_equals = true, default_missing_value = "demo")]
    pub sim: Option<String>,
    /// Where the API lives
    #[arg(long, global = true, value_name = "URL", conflicts_with = "sim")]
    pub base_url: Option<String>,
    /// Model for prompts that name none
    #[arg(long, global = true, value_name = "MODEL")]
    pub model: Option<String>,
    /// Preset for pacing and retries
    #[arg(long, global = true, value_name = "NAME", value_parser = profile::parser())]
    pub profile: Option<Profile>,
    /// Say more: settings in force, and every fault; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// How much is logged (default warn)
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Append the log to this file instead of standard error
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Form of log records and of progress lines
    #[arg(long, global = true, value_enum, value_name = "FORM")]
    pub log_format: Option<LogFormat>,
    /// Colours and moving bars
    #[arg(long, global = true, value_enum, value_name = "WHEN")]
    pub color: Option<Color>,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// When colours and moving bars are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Flags of `simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: std::net::SocketAddr,
    /// Scenario file, or the name of a shipped scenario
    #[arg(long, value_name = "FILE|NAME", default_value = "demo")]
    pub scenario: String,
    /// Write what was seen to this file, as JSON, at the end
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Seed of everything random, instead of the scenario's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Flags of `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

impl GlobalArgs {
    /// What these flags say, as settings.
    pub fn layer(&self) -> Layer {
        Layer { model: self.model.clone(), base_url: self.base_url.clone(), profile: self.profile, ..Layer::default() }
    }

    /// The settings file that was named, by a flag or a variable.
    pub fn named_config<'a>(&'a self, environment: &'a Environment) -> Option<&'a Path> {
        self.config.as_deref().or_else(|| environment.get(env_vars::CONFIG).map(Path::new))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use clap::CommandFactory;

    fn sim(words: &[&str]) -> Option<String> {
        Arguments::try_parse_from(words).unwrap().global.sim
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sim_takes_a_name_only_behind_an_equals_sign() {
        assert_eq!(sim(&["tidegate", "run", "--sim", "in.jsonl", "-o", "out.jsonl"]).as_deref(), Some("demo"));
        assert_eq!(sim(&["tidegate", "run", "in.jsonl", "-o", "out.jsonl", "--sim=storm"]).as_deref(), Some("storm"));
        assert_eq!(sim(&["tidegate", "run", "in.jsonl", "-o", "out.jsonl"]), None);
    }

    #[test]
    fn flags_of_later_versions_do_not_exist() {
        for flag in ["--distributed", "--broker"] {
            let parsed = Arguments::try_parse_from(["tidegate", "run", "a", "-o", "b", flag, "x"]);
            assert_eq!(parsed.map(|_| ()).unwrap_err().kind(), clap::error::ErrorKind::UnknownArgument, "{flag}");
        }
    }
}
