//! Fields the model was not to be had for: a kept answer, then patterns and rules, then nothing.

use super::Filler;
use super::accept::{empty, source_at};
use super::context::Context;
use super::kept;
use crate::chunk::Chunk;
use crate::field::Origin;
use crate::filled::{FilledField, Support};
use crate::rules;

/// What there is for a field without the model.
pub(super) fn fall_back(filler: &Filler, context: &Context, field: usize) -> FilledField {
    if filler.settings.use_cache
        && let Some(kept) = kept::from_another_time(filler, &context.documents, field)
    {
        // That these documents hold no value is an answer, too.
        let wanted = &filler.template.fields[field];
        return FilledField { name: wanted.name.clone(), required: wanted.required, ..kept };
    }
    by_rules(filler, context, field).unwrap_or_else(|| empty(&filler.template.fields[field]))
}

fn by_rules(filler: &Filler, context: &Context, field: usize) -> Option<FilledField> {
    let wanted = &filler.template.fields[field];
    let hits = &context.hits[field];
    let rest = (0..).zip(&context.index.chunks).map(|(number, _)| number).filter(|number| !hits.contains(number));
    let ranked: Vec<(u32, &Chunk)> =
        hits.iter().copied().chain(rest).map(|number| (number, &context.index.chunks[number as usize])).collect();
    let found = rules::extract(wanted, &ranked)?;
    let end = found.offset + found.quote.len();
    Some(FilledField {
        value: found.value,
        origin: Origin::Pattern,
        source: Some(source_at(context, found.chunk, found.offset, end)),
        quote: Some(found.quote),
        support: Some(Support::Supported),
        ..empty(wanted)
    })
}
