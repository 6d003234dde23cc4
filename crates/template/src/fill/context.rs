//! The context of every field: the chunks it wants to be shown, found before anything is asked.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::Filler;
use crate::answer;
use crate::ask::ask_for_questions;
use crate::chunk::{ChunkSize, chunks};
use crate::documents::Document;
use crate::event::{Event, Observer};
use crate::field::Field;
use crate::model::{Medium, Model};
use crate::search::{Index, Question, shared_context};
use crate::stats::Stats;

/// What the documents hold for the fields.
#[derive(Default)]
pub(super) struct Context {
    pub index: Arc<Index>,
    /// For each field of the template its chunks, best first.
    pub hits: Vec<Vec<u32>>,
    /// All chunks fit into a call: all are shown, whatever was found.
    pub is_whole: bool,
    /// Files without text that the model can see, with their names.
    pub media: Vec<(Arc<str>, Medium)>,
    /// A hash of all documents.
    pub documents: String,
    pub notes: Vec<String>,
    pub stats: Stats,
}

impl Context {
    pub async fn gather(filler: &Filler, model: &dyn Model, observer: &dyn Observer) -> Context {
        let mut context = Context::read(filler).await;
        context.stats.chunks = context.index.chunks.len() as u64;
        observer.saw(&Event::Read { chunks: context.index.chunks.len(), is_whole: context.is_whole });
        context.look_at_pictures(filler, model);
        let mut questions = own_questions(&filler.template.fields);
        if !context.is_whole {
            if filler.settings.propose_questions && model.unavailable().is_none() {
                context.propose(filler, model, observer, &mut questions).await;
            }
            if let Err(reason) = context.embed(filler, model, observer, &mut questions).await {
                context.notes.push(format!("keyword search only: {reason}"));
            }
        }
        for text in &context.notes {
            observer.saw(&Event::Note { text: text.clone() });
        }
        context.search(filler.settings.hits_per_field, questions).await;
        context
    }

    /// Cuts and indexes the documents; nothing is asked.
    pub async fn read(filler: &Filler) -> Context {
        let (documents, size): (Vec<Document>, ChunkSize) = (filler.documents.read.clone(), filler.settings.chunks);
        let index = off_thread(move || Index::new(chunks(&documents, size))).await;
        let tokens: u64 = index.chunks.iter().map(crate::chunk::Chunk::tokens).sum();
        Context {
            is_whole: tokens <= filler.settings.context_tokens,
            index: Arc::new(index),
            documents: filler.documents_fingerprint(),
            notes: filler.document_notes(),
            ..Context::default()
        }
    }

    fn look_at_pictures(&mut self, filler: &Filler, model: &dyn Model) {
        for (document, mime, bytes) in filler.pictures() {
            if filler.settings.send_media && model.sees(mime) {
                self.media.push((document.name.clone(), Medium { mime, bytes: bytes.clone() }));
            } else {
                self.notes.push(format!("document {} has no text and is not shown to the model", document.name));
            }
        }
    }

    /// Search questions in the documents' words, if the model has some.
    async fn propose(&mut self, filler: &Filler, model: &dyn Model, observer: &dyn Observer, questions: &mut [Vec<Question>]) {
        let fields: Vec<&Field> = filler.template.fields.iter().collect();
        let _permit = filler.throttle.enter().await;
        self.stats.generation_calls += 1;
        let names = fields.iter().map(|field| field.name.clone()).collect();
        observer.saw(&Event::Asked { call: self.stats.generation_calls, fields: names, again: false });
        match model.generate(ask_for_questions(&fields)).await {
            Ok(answered) => {
                self.stats.input_tokens += answered.input_tokens;
                self.stats.output_tokens += answered.output_tokens;
                for (number, texts) in answer::questions(&answered.text) {
                    if let Some(own) = number.checked_sub(1).and_then(|at| questions.get_mut(at)) {
                        own.extend(texts.into_iter().take(4).map(Question::words));
                    }
                }
            }
            Err(error) => self.notes.push(format!("no search questions from the model: {error}")),
        }
    }

    /// Searches for all fields, on as many threads as there are processors.
    pub async fn search(&mut self, most: usize, questions: Vec<Vec<Question>>) {
        let index = self.index.clone();
        self.hits = off_thread(move || {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let share = questions.len().div_ceil(threads).max(1);
            std::thread::scope(|scope| {
                let find = |part: &[Vec<Question>]| part.iter().map(|own| index.find(own, most)).collect::<Vec<_>>();
                let parts: Vec<_> = questions.chunks(share).map(|part| scope.spawn(move || find(part))).collect();
                parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
            })
        })
        .await;
    }

    /// The chunks that a call for some fields is shown.
    pub fn shown(&self, fields: &[usize], budget: u64) -> Vec<u32> {
        if self.is_whole {
            return (0..).zip(&self.index.chunks).map(|(number, _)| number).collect();
        }
        let wanted: Vec<&[u32]> = fields.iter().map(|field| self.hits[*field].as_slice()).collect();
        shared_context(&self.index, &wanted, budget)
    }
}

pub(super) fn own_questions(fields: &[Field]) -> Vec<Vec<Question>> {
    fields.iter().map(|field| vec![Question::words(field.search_text())]).collect()
}

/// Work of milliseconds and more, where it holds up nobody.
pub(super) async fn off_thread<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // Cancelled happens only when the runtime ends; a panic goes on where it would have been.
        Err(fault) => fault.try_into_panic().map_or_else(|_| T::default(), |panic| resume_unwind(panic)),
    }
}
