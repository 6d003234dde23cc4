//! Flags of `tidegate embed`: those of `run` that make sense for vectors, and what vectors are asked with.

use clap::Args;
use tidegate_gemini::embedding::TaskType;

use super::RunArgs;

/// The model that embeds when neither a flag nor the settings name one for it.
pub const EMBEDDING_MODEL: &str = "gemini-embedding-001";

/// Flags of `embed`.
#[derive(Debug, Clone, Args)]
#[command(mut_args = |arg| match arg.get_id().as_str() {
    "output" => arg.help("Where vectors go: .jsonl, .json, .csv or .npy, also with .gz or .zst; `-` for standard output"),
    "prompt" => arg.help("Template over the fields of a row that makes the text, for example '{{ title }}: {{ body }}'"),
    "system" | "temperature" | "max_output_tokens" | "count_tokens" | "pack" => arg.hide(true),
    _ => arg,
})]
pub struct EmbedArgs {
    /// Everything that runs have in common.
    #[command(flatten)]
    pub run: RunArgs,
    /// What the vectors are for: RETRIEVAL_QUERY, RETRIEVAL_DOCUMENT, SEMANTIC_SIMILARITY, CLASSIFICATION, CLUSTERING,
    /// QUESTION_ANSWERING, FACT_VERIFICATION or CODE_RETRIEVAL_QUERY
    #[arg(long, value_name = "TASK", help_heading = "Vectors")]
    pub task_type: Option<TaskType>,
    /// Length of the vectors (the model's own when not given)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Vectors")]
    pub dimensions: Option<u32>,
}

impl EmbedArgs {
    /// A flag that was given though it means nothing for vectors.
    pub fn meaningless(&self) -> Option<&'static str> {
        let given = [
            ("--system", self.run.prompts.system.is_some()),
            ("--temperature", self.run.prompts.temperature.is_some()),
            ("--max-output-tokens", self.run.prompts.max_output_tokens.is_some()),
            ("--pack", self.run.pack.is_some()),
            ("--count-tokens", self.run.count_tokens.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }
}
