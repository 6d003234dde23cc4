//! `--dry-run`: chunks, calls and estimated tokens, without a key and without a call.

use serde_json::json;
use tidegate_gemini::models::output_limit;
use tidegate_template::{Documents, Filler, Plan};

use super::form::Form;
use super::progress::counted;
use super::sets::{self, DocumentSet};
use crate::args::FillArgs;
use crate::commands::Context;
use crate::exit_code::{ExitCode, Failure};
use crate::screen;

/// Shows what would be asked.
///
/// # Errors
/// When settings or documents cannot be read.
pub async fn show(wanted: &FillArgs, context: &Context, form: &Form, sets: &[DocumentSet]) -> Result<ExitCode, Failure> {
    let settings = context.settings(wanted.layer(context.global.layer()), context.scenario()?)?;
    let mut plans = Vec::new();
    for set in sets {
        let documents = Documents::read(&set.paths).map_err(sets::unreadable)?;
        let filler = Filler::builder(form.template().clone(), documents).settings(settings.template.filling.clone()).build();
        plans.push((set, filler.plan(output_limit(&settings.model)).await));
    }
    if wanted.json {
        let plans = plans.iter().map(|(set, plan)| json!({"name": set.name, "plan": plan}));
        screen::data(json!({"model": settings.model, "sets": plans.collect::<Vec<_>>()}));
        return Ok(ExitCode::AllOk);
    }
    for (set, plan) in &plans {
        if wanted.each.is_some() {
            screen::data(format!("{}:", set.name));
        }
        lines(plan).into_iter().for_each(screen::data);
    }
    if plans.len() > 1 {
        let calls = plans.iter().map(|(_, plan)| plan.packs.len()).sum();
        screen::data(format!("in all: {} for {}", counted(calls, "call"), counted(plans.len(), "set")));
    }
    Ok(ExitCode::AllOk)
}

fn lines(plan: &Plan) -> Vec<String> {
    let how = if plan.is_whole {
        "every call is shown all of them".to_owned()
    } else {
        format!("searched for each field; {} to embed where no vector is kept", counted(plan.texts_to_embed, "text"))
    };
    let mut lines = vec![format!("documents: {}, about {} tokens; {how}", counted(plan.chunks, "chunk"), plan.document_tokens)];
    lines.extend(plan.notes.iter().map(|note| format!("note: {note}")));
    for (number, pack) in (1..).zip(&plan.packs) {
        let after: Vec<String> = pack.after.iter().map(|before| (before + 1).to_string()).collect();
        let after = if after.is_empty() { String::new() } else { format!(", after call {}", after.join(" and ")) };
        lines.push(format!(
            "call {number}: {}, about {} tokens in and {} out{after}",
            counted(pack.fields.len(), "field"),
            pack.input_tokens,
            pack.output_tokens
        ));
        lines.push(format!("  fields: {}", pack.fields.join(", ")));
        lines.push(format!("  chunks: {}", pack.chunks.join("; ")));
    }
    let input: u64 = plan.packs.iter().map(|pack| pack.input_tokens).sum();
    lines.push(format!("{}, about {input} tokens in", counted(plan.packs.len(), "generation call")));
    lines
}
