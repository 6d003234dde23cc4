//! Flags of `tidegate keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Flags of `keys`.
#[derive(Debug, Clone, Args)]
pub struct KeysArgs {
    /// What to do with the keys
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// What can be done with keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Put the first keys into .env, readable by you alone
    Init(InitArgs),
    /// Add a key to .env; it is read from standard input or typed unseen
    Add(AddArgs),
    /// Show the pool: keys masked, projects, limits, what is used and known
    List(ListingArgs),
    /// Take a key out of .env
    Remove(NameArgs),
    /// Ask the API whether each key works
    Check(ListingArgs),
    /// Tell the state of one key: why, and until when
    Explain(ExplainArgs),
}

/// Flags of `keys init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Read the keys from this file, one a line, instead of standard input
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Catches a key typed after the command, so that no message repeats it.
    #[arg(hide = true)]
    pub stray: Vec<String>,
}

/// Flags of `keys add`.
#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// Variable to put it under (else the next free GEMINI_API_KEY_n)
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Catches a key typed after the name, so that no message repeats it.
    #[arg(hide = true)]
    pub stray: Vec<String>,
}

/// Flags of a listing.
#[derive(Debug, Clone, Args)]
pub struct ListingArgs {
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// A key by its name.
#[derive(Debug, Clone, Args)]
pub struct NameArgs {
    /// The key's name, as `tidegate keys list` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Flags of `keys explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The key's name, as `tidegate keys list` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}
