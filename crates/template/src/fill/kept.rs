//! Answers that are there before anything is asked: of the run before, and kept ones.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Filler;
use super::context::Context;
use crate::ask::PROMPT_VERSION;
use crate::field::Origin;
use crate::filled::FilledField;
use crate::store::Kept;

/// The key of a field's answer: over the field, the text it is answered from, the values it needs, model and wording.
pub(super) fn key(filler: &Filler, context: &Context, model: &str, field: usize, needed: &BTreeMap<&str, &Value>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &str| {
        hasher.update(part.as_bytes()).update(b"\0");
    };
    add(&filler.template.fields[field].fingerprint());
    add(&filler.template.description);
    add(model);
    add(&PROMPT_VERSION.to_string());
    if context.is_whole || !context.media.is_empty() {
        add(&context.documents);
    }
    if !context.is_whole {
        for hit in &context.hits[field] {
            add(&context.index.chunks[*hit as usize].fingerprint());
        }
    }
    for (name, value) in needed {
        add(name);
        add(&value.to_string());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The answer of the run before, if it was one and is to the same question.
pub(super) fn from_before(filler: &Filler, documents: &str, field: usize) -> Option<FilledField> {
    let previous = filler.previous.as_ref().filter(|previous| previous.documents == documents)?;
    let wanted = &filler.template.fields[field];
    let before = previous.field(&wanted.name)?;
    let is_answer = !before.pending && before.origin != Origin::Pattern && before.fingerprint == wanted.fingerprint();
    is_answer.then(|| before.clone()).map(as_kept)
}

/// The answer kept under a key.
pub(super) fn from_store(filler: &Filler, key: &str) -> Option<FilledField> {
    let kept = filler.store.as_ref()?.answer(key).unwrap_or_else(|fault| {
        tracing::warn!("kept answers are not read: {fault}");
        None
    })?;
    serde_json::from_str(&kept).ok().map(as_kept)
}

/// Any kept answer for the field from the same documents.
pub(super) fn from_another_time(filler: &Filler, documents: &str, field: usize) -> Option<FilledField> {
    let wanted = &filler.template.fields[field];
    let kept = filler.store.as_ref()?.any_answer(&wanted.fingerprint(), documents).ok()??;
    serde_json::from_str(&kept).ok().map(as_kept)
}

fn as_kept(field: FilledField) -> FilledField {
    let origin = if field.value.is_null() { Origin::Missing } else { Origin::Cache };
    FilledField { origin, ..field }
}

/// Keeps an answer of the model.
pub(super) fn keep(filler: &Filler, documents: &str, key: &str, field: &FilledField) {
    let (Some(store), Ok(answer)) = (&filler.store, serde_json::to_string(field)) else { return };
    let kept = Kept { key, field: &field.fingerprint, documents, answer: &answer };
    if let Err(fault) = store.keep_answer(kept) {
        tracing::warn!("answers are not kept: {fault}");
    }
}
