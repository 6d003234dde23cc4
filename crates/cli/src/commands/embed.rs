//! `tidegate embed`: the vector of every text of the inputs once, with all that `run` promises.

use tidegate_batch::Task;
use tidegate_gemini::embedding::EmbedSettings;

use super::{Context, run};
use crate::args::{EMBEDDING_MODEL, EmbedArgs};
use crate::exit_code::{ExitCode, Failure};

/// Embeds a batch to its end, or until something stops it.
///
/// # Errors
/// As [`run::run`]; and when a flag was given that means nothing for vectors.
pub async fn run(wanted: EmbedArgs, mut context: Context) -> Result<ExitCode, Failure> {
    if let Some(flag) = wanted.meaningless() {
        return Err(Failure::usage(format!("{flag} means nothing for vectors: leave it out")));
    }
    if context.global.model.is_none() {
        let named = context.settings_unsaid(context.global.layer(), None)?.model;
        // A model named for answers elsewhere in the settings cannot embed.
        let model = if named.contains("embedding") { named } else { EMBEDDING_MODEL.to_owned() };
        context.global.model = Some(model);
    }
    let task = Task::Embed(EmbedSettings { task_type: wanted.task_type, dimensions: wanted.dimensions });
    run::run_task(wanted.run, task, context).await
}
