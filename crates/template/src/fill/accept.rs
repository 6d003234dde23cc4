//! What the model said of a field becomes its value, or a complaint.

use serde_json::Value;

use super::context::Context;
use crate::answer::Said;
use crate::check::checked;
use crate::field::{Field, Origin};
use crate::filled::{FilledField, Source, Support};
use crate::quote::Plain;

/// Bytes of text that are shown on both sides of a quote.
const AROUND: usize = 240;

/// The field as it was answered.
///
/// # Errors
/// What is wrong with the value, for the next question.
pub(super) fn accept(field: &Field, said: &Said, context: &Context, shown: &[u32]) -> Result<FilledField, String> {
    let Some(value) = checked(field, &said.value)? else {
        return Ok(empty(field));
    };
    let (support, source) = support(said, context, shown);
    let note = (support == Support::Unsupported).then(|| match &said.quote {
        Some(_) => "its quote stands in no source".to_owned(),
        None => "it has no quote".to_owned(),
    });
    Ok(FilledField {
        value,
        origin: Origin::Model,
        confidence: said.confidence,
        quote: said.quote.clone(),
        support: Some(support),
        source,
        note,
        ..empty(field)
    })
}

/// A field without a value.
pub(super) fn empty(field: &Field) -> FilledField {
    FilledField {
        name: field.name.clone(),
        value: Value::Null,
        origin: Origin::Missing,
        confidence: None,
        quote: None,
        support: None,
        source: None,
        note: None,
        required: field.required,
        pending: false,
        fingerprint: field.fingerprint(),
    }
}

/// Looks the quote up: in the source that was named, then in all that were shown.
fn support(said: &Said, context: &Context, shown: &[u32]) -> (Support, Option<Source>) {
    let named = said.source.and_then(|number| number.checked_sub(1));
    let named_chunk = named.and_then(|at| shown.get(at)).copied();
    let picture = named.and_then(|at| at.checked_sub(shown.len())).and_then(|at| context.media.get(at));
    if let Some(quote) = &said.quote {
        let others = shown.iter().copied().filter(|number| Some(*number) != named_chunk);
        for number in named_chunk.into_iter().chain(others) {
            let chunk = &context.index.chunks[number as usize];
            if let Some((begin, end)) = Plain::new(&chunk.text).find(quote) {
                return (Support::Supported, Some(source_at(context, number, begin, end)));
            }
            // The headings above a chunk are shown with it.
            if Plain::new(&chunk.heading).find(quote).is_some() {
                return (Support::Supported, Some(source_at(context, number, 0, 0)));
            }
        }
    }
    let only_pictures = shown.is_empty() && !context.media.is_empty();
    if let Some((name, _)) = picture.or(context.media.first().filter(|_| only_pictures)) {
        let source = Source { document: name.clone(), heading: "".into(), place: Default::default(), text: String::new() };
        return (Support::Unchecked, Some(source));
    }
    (Support::Unsupported, named_chunk.map(|number| source_at(context, number, 0, 0)))
}

/// A place in a chunk with the text around it.
pub(super) fn source_at(context: &Context, number: u32, begin: usize, end: usize) -> Source {
    let chunk = &context.index.chunks[number as usize];
    let from = chunk.text.ceil_char_boundary(begin.saturating_sub(AROUND));
    let to = chunk.text.floor_char_boundary((end + AROUND).min(chunk.text.len()));
    Source {
        document: chunk.document.clone(),
        heading: chunk.heading.clone(),
        place: chunk.place_at(begin),
        text: chunk.text[from..to].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use super::*;
    use crate::chunk::{ChunkSize, chunks};
    use crate::documents::Document;
    use crate::field::FieldType;
    use crate::search::Index;

    #[test]
    fn a_quote_stands_in_the_text_that_was_shown_or_in_the_headings_above_it() {
        let document = Document::from_bytes("a.md", b"# Pump Aquilo\n\n## Weight\n\nIt weighs 12 kg.").unwrap();
        let index = Index::new(chunks(&[document], ChunkSize { chars: 20, overlap: 0 }));
        let context = Context { index: Arc::new(index), ..Context::default() };
        let field = Field::new("product", FieldType::String);
        let shown = [u32::try_from(context.index.chunks.len()).unwrap() - 1];
        let support = |quote: &str| {
            let said = Said { value: "Aquilo".into(), quote: Some(quote.to_owned()), source: Some(1), confidence: None };
            accept(&field, &said, &context, &shown).unwrap().support
        };
        assert_eq!(support("weighs 12 kg"), Some(Support::Supported));
        assert_eq!(support("Pump Aquilo"), Some(Support::Supported), "{:?}", context.index.chunks);
        assert_eq!(support("Pump Bora"), Some(Support::Unsupported));
    }
}
