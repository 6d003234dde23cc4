//! Vectors for chunks and questions: what is known is never asked for again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::Filler;
use super::context::Context;
use crate::event::{Event, Observer};
use crate::model::{Model, ModelError, Purpose};
use crate::search::Question;

/// Texts that are handed over together: what one call of the API may carry.
const TOGETHER: usize = 100;
/// An API that asks to wait is asked again so often.
const PATIENCE: u32 = 5;

type Vectors = HashMap<String, Vec<f32>>;

impl Context {
    /// Makes the index and the questions searchable by meaning.
    ///
    /// # Errors
    /// Why that cannot be, in words; then nothing has changed.
    pub(super) async fn embed(
        &mut self,
        filler: &Filler,
        model: &dyn Model,
        observer: &dyn Observer,
        questions: &mut [Vec<Question>],
    ) -> Result<(), String> {
        if !filler.settings.embed {
            return Err("embeddings are turned off".to_owned());
        }
        let maker = model.embedding().ok_or("there is no embedding model")?.to_owned();
        let texts: Vec<(String, String)> =
            self.index.chunks.iter().map(|chunk| (chunk.fingerprint(), chunk.embedded_text())).collect();
        let asked: Vec<(String, String)> =
            questions.iter().flatten().map(|question| (query_key(&question.text), question.text.clone())).collect();
        let (mut known, mut unknown) = (Vectors::new(), Vec::new());
        split(filler, &maker, &texts, &mut known, &mut unknown);
        self.stats.chunks_known =
            self.index.chunks.iter().filter(|chunk| known.contains_key(&chunk.fingerprint())).count() as u64;
        let mut unknown_questions = Vec::new();
        split(filler, &maker, &asked, &mut known, &mut unknown_questions);
        let of = unknown.len() + unknown_questions.len();
        let mut work = parts(Purpose::Document, unknown);
        work.extend(parts(Purpose::Query, unknown_questions));
        let most = filler.settings.max_concurrent_api_calls.max(1);
        let by = maker.as_str();
        let mut calls = stream::iter(work).map(|(purpose, part)| made(filler, model, by, purpose, part)).buffered(most);
        let mut done = 0;
        while let Some(vectors) = calls.next().await {
            let vectors = vectors.map_err(|error| error.to_string())?;
            done += vectors.len();
            self.stats.embedded_texts += vectors.len() as u64;
            known.extend(vectors);
            observer.saw(&Event::Embedding { done, of });
        }
        drop(calls);
        self.attach(&texts, known, questions)
    }

    fn attach(&mut self, texts: &[(String, String)], known: Vectors, questions: &mut [Vec<Question>]) -> Result<(), String> {
        let vectors: Option<Vec<Vec<f32>>> = texts.iter().map(|(key, _)| known.get(key).cloned()).collect();
        let index = Arc::get_mut(&mut self.index).ok_or("the index is in use")?;
        if !index.add_vectors(&vectors.unwrap_or_default()) {
            return Err("the embedding model gave vectors of several lengths".to_owned());
        }
        for question in questions.iter_mut().flatten() {
            question.vector = known.get(&query_key(&question.text)).cloned();
        }
        Ok(())
    }
}

/// A question's vector is another than that of a document with the same words.
fn query_key(text: &str) -> String {
    format!("q{}", &blake3::hash(text.as_bytes()).to_hex()[..32])
}

/// Parts texts into those whose vector is kept and those whose is not, each once.
fn split(filler: &Filler, maker: &str, texts: &[(String, String)], known: &mut Vectors, unknown: &mut Vec<(String, String)>) {
    let mut seen = std::collections::HashSet::new();
    for (key, text) in texts.iter().filter(|(key, _)| seen.insert(key.as_str())) {
        let kept = filler.store.as_ref().and_then(|store| store.vector(maker, key).unwrap_or_default());
        match kept {
            Some(vector) => drop(known.insert(key.clone(), vector)),
            None => unknown.push((key.clone(), text.clone())),
        }
    }
}

/// Texts in the numbers that are handed over together.
fn parts(purpose: Purpose, mut texts: Vec<(String, String)>) -> Vec<(Purpose, Vec<(String, String)>)> {
    let mut parts = Vec::new();
    while !texts.is_empty() {
        let rest = texts.split_off(texts.len().min(TOGETHER));
        parts.push((purpose, std::mem::replace(&mut texts, rest)));
    }
    parts
}

/// Has vectors made, and keeps them at once: a run that stops in the middle has lost none.
async fn made(
    filler: &Filler,
    model: &dyn Model,
    maker: &str,
    purpose: Purpose,
    part: Vec<(String, String)>,
) -> Result<Vec<(String, Vec<f32>)>, ModelError> {
    let texts: Vec<String> = part.iter().map(|(_, text)| text.clone()).collect();
    let mut tries = 0;
    let vectors = loop {
        match model.embed(&texts, purpose).await {
            Err(ModelError::Limited { retry_after }) if tries < PATIENCE => {
                let span = retry_after.unwrap_or(Duration::from_secs(1 << tries));
                if span > filler.settings.max_pause {
                    return Err(ModelError::Exhausted { reason: format!("the next embedding is due in {} s", span.as_secs()) });
                }
                filler.throttle.pause(span);
                tokio::time::sleep(span).await;
                tries += 1;
            }
            other => break other?,
        }
    };
    if vectors.len() != part.len() {
        return Err(ModelError::Failed { reason: format!("{} vectors for {} texts", vectors.len(), part.len()) });
    }
    if let Some(store) = &filler.store {
        let each = part.iter().zip(&vectors).map(|((key, _), vector)| (key.as_str(), vector.as_slice()));
        if let Err(fault) = store.keep_vectors(maker, &each.collect::<Vec<_>>()) {
            tracing::warn!("vectors are not kept: {fault}");
        }
    }
    Ok(part.into_iter().map(|(key, _)| key).zip(vectors).collect())
}
