//! A filling as it would go, without a single call.

use serde::Serialize;

use super::context::{Context, own_questions};
use super::{Filler, run};

/// What a filling would ask.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Chunks the documents are cut into.
    pub chunks: usize,
    /// Tokens of all of them.
    pub document_tokens: u64,
    /// Whether every call is shown all of them, so that nothing is searched.
    pub is_whole: bool,
    /// Texts that would be embedded where nothing is kept: chunks and questions.
    pub texts_to_embed: usize,
    /// The calls.
    pub packs: Vec<PlannedPack>,
    /// What a reader must know of the documents.
    pub notes: Vec<String>,
}

/// One call.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedPack {
    /// Names of its fields.
    pub fields: Vec<String>,
    /// Packs, by number, that are answered before.
    pub after: Vec<usize>,
    /// Chunks it is shown: document, page or line, and the headings above.
    pub chunks: Vec<String>,
    /// Estimated tokens of the question.
    pub input_tokens: u64,
    /// Tokens the answer may well take.
    pub output_tokens: u64,
}

impl Filler {
    /// Shows what would be asked of a model with such an output limit. Found by keywords: with vectors other chunks may be
    /// shown and other fields go together.
    pub async fn plan(&self, output_limit: u64) -> Plan {
        let mut context = Context::read(self).await;
        let questions = own_questions(&self.template.fields);
        let texts_to_embed =
            if context.is_whole || !self.settings.embed { 0 } else { context.index.chunks.len() + questions.len() };
        context.search(self.settings.hits_per_field, questions).await;
        let packs = run::packed(self, &context, 0..self.template.fields.len(), output_limit);
        Plan {
            chunks: context.index.chunks.len(),
            document_tokens: context.index.chunks.iter().map(crate::chunk::Chunk::tokens).sum(),
            is_whole: context.is_whole,
            texts_to_embed,
            packs: packs.iter().map(|pack| self.planned(&context, &pack.fields, pack.after.clone())).collect(),
            notes: context.notes,
        }
    }

    fn planned(&self, context: &Context, fields: &[usize], after: Vec<usize>) -> PlannedPack {
        let shown = context.shown(fields, self.settings.context_tokens);
        let ask = run::question(self, context, fields, &shown).ask(String::new());
        let place = |number: &u32| {
            let chunk = &context.index.chunks[*number as usize];
            let place = chunk.place();
            let at = |name: &str, number: Option<u32>| number.map_or_else(String::new, |number| format!(", {name} {number}"));
            let heading = if chunk.heading.is_empty() { String::new() } else { format!(", {}", chunk.heading) };
            format!("{}{}{}{heading}", chunk.document, at("page", place.page), at("line", place.line))
        };
        PlannedPack {
            fields: fields.iter().map(|field| self.template.fields[*field].name.clone()).collect(),
            after,
            chunks: shown.iter().map(place).collect(),
            input_tokens: tidegate_gemini::tokens::estimate_text(&format!("{}{}{}", ask.system, ask.prompt, ask.schema)),
            output_tokens: fields.iter().map(|field| self.template.fields[*field].answer_tokens()).sum(),
        }
    }
}
