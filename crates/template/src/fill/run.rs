//! One filling: packs asked side by side, what is missing asked again in halves, the API's pauses kept by all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;

use super::accept::accept;
use super::context::Context;
use super::{Filler, fallback, kept};
use crate::answer;
use crate::ask::Question;
use crate::event::{Event, Observer};
use crate::filled::{Filled, FilledField};
use crate::model::{Answered, Ask, Model, ModelError};
use crate::pack::{Bounds, Load, Pack, halved, packs};
use crate::stats::Stats;
use crate::throttle::Throttle;

/// Of an answer's bound so much is filled: thinking and longer values take the rest.
const ROOM: u64 = 2;
/// One question waits so often because the API asks for it, before the quota counts as used up.
const PAUSES: u32 = 6;
/// So many failures in a row, with no answer between them, mean that the API is out of reach.
const FAILURES: u32 = 4;

/// Fields that are asked together.
#[derive(Debug, Clone)]
struct Item {
    fields: Vec<usize>,
    /// The pack they were first asked in.
    pack: usize,
    /// They were asked before.
    again: bool,
    pauses: u32,
}

/// A question that came back.
struct Returned {
    item: Item,
    shown: Vec<u32>,
    result: Result<Answered, ModelError>,
}

pub(super) struct Run<'a> {
    filler: &'a Filler,
    model: &'a dyn Model,
    observer: &'a dyn Observer,
    context: Context,
    fields: Vec<Option<FilledField>>,
    /// Why a field's answers did not do.
    complaints: BTreeMap<usize, String>,
    /// Fields the model could not be asked for.
    pending: Vec<usize>,
    queue: VecDeque<Item>,
    /// For each pack those that come before it, and how many of its questions are open.
    after: Vec<Vec<usize>>,
    open: Vec<usize>,
    failures: u32,
    /// Nothing more is asked.
    is_halted: bool,
    notes: Vec<String>,
    stats: Stats,
}

impl<'a> Run<'a> {
    pub fn new(filler: &'a Filler, model: &'a dyn Model, observer: &'a dyn Observer, mut context: Context) -> Run<'a> {
        let notes = std::mem::take(&mut context.notes);
        let stats = std::mem::take(&mut context.stats);
        Run {
            filler,
            model,
            observer,
            fields: vec![None; filler.template.fields.len()],
            context,
            complaints: BTreeMap::new(),
            pending: Vec::new(),
            queue: VecDeque::new(),
            after: Vec::new(),
            open: Vec::new(),
            failures: 0,
            is_halted: false,
            notes,
            stats,
        }
    }

    /// Settles fields that are answered already; one whose needed values are not is asked.
    pub fn settle_known(&mut self) {
        let mut waiting: Vec<usize> = (0..self.fields.len()).collect();
        loop {
            let is_ready = |field: &usize| self.needs(*field).iter().all(|need| self.fields[*need].is_some());
            let (ready, later): (Vec<usize>, Vec<usize>) = waiting.into_iter().partition(is_ready);
            let known: Vec<(usize, FilledField)> =
                ready.into_iter().filter_map(|field| Some((field, self.known(field)?))).collect();
            if known.is_empty() {
                break;
            }
            for (field, filled) in known {
                self.settle(field, filled);
            }
            waiting = later;
        }
        if self.filler.settings.use_cache && self.filler.store.is_some() {
            self.stats.cache_misses = self.fields.iter().filter(|field| field.is_none()).count() as u64;
        }
    }

    fn known(&mut self, field: usize) -> Option<FilledField> {
        if let Some(before) = kept::from_before(self.filler, &self.context.documents, field) {
            return Some(before);
        }
        if !self.filler.settings.use_cache {
            return None;
        }
        let kept = kept::from_store(self.filler, &self.key(field))?;
        self.stats.cache_hits += 1;
        let wanted = &self.filler.template.fields[field];
        Some(FilledField { name: wanted.name.clone(), required: wanted.required, ..kept })
    }

    fn key(&self, field: usize) -> String {
        kept::key(self.filler, &self.context, self.model.name(), field, &self.needed(&[field]))
    }

    /// Asks for everything that is not settled.
    pub async fn ask_all(&mut self) {
        if self.context.index.chunks.is_empty() && self.context.media.is_empty() {
            return;
        }
        if let Some(reason) = self.model.unavailable() {
            let open: Vec<usize> = (0..self.fields.len()).filter(|field| self.fields[*field].is_none()).collect();
            if !open.is_empty() {
                self.halt(&open, &reason);
            }
            return;
        }
        self.pack();
        let (model, throttle) = (self.model, &*self.filler.throttle);
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < throttle.most() {
                let Some(item) = self.next() else { break };
                let shown = self.context.shown(&item.fields, self.filler.settings.context_tokens);
                let ask = self.ask(&item, &shown);
                self.stats.generation_calls += 1;
                self.stats.asked_again += u64::from(item.again);
                let fields = self.names(&item.fields);
                self.observer.saw(&Event::Asked { call: self.stats.generation_calls, fields, again: item.again });
                under_way.push(call(model, throttle, item, shown, ask));
            }
            match under_way.next().await {
                Some(returned) => self.take(returned),
                None => break,
            }
        }
    }

    fn pack(&mut self) {
        let open = (0..self.fields.len()).filter(|field| self.fields[*field].is_none());
        let packs = packed(self.filler, &self.context, open, self.model.output_limit());
        let names = packs.iter().map(|pack| self.names(&pack.fields)).collect();
        self.observer.saw(&Event::Packed { packs: names });
        self.stats.packs = packs.len() as u64;
        self.open = vec![1; packs.len()];
        for (number, pack) in packs.into_iter().enumerate() {
            self.after.push(pack.after);
            self.queue.push_back(Item { fields: pack.fields, pack: number, again: false, pauses: 0 });
        }
    }

    /// The first item in the queue whose earlier packs are answered.
    fn next(&mut self) -> Option<Item> {
        let is_ready = |item: &Item| self.after[item.pack].iter().all(|before| self.open[*before] == 0);
        let at = self.queue.iter().position(is_ready)?;
        self.queue.remove(at)
    }

    fn ask(&self, item: &Item, shown: &[u32]) -> Ask {
        let question = Question {
            complaints: item.fields.iter().map(|field| self.complaints.get(field).map(String::as_str)).collect(),
            known: self.needed(&item.fields),
            ..question(self.filler, &self.context, &item.fields, shown)
        };
        question.ask(format!("{}: {} fields", self.filler.template.name, item.fields.len()))
    }

    /// Values that some fields need and do not ask for themselves.
    fn needed(&self, fields: &[usize]) -> BTreeMap<&'a str, &Value> {
        let needs = fields.iter().flat_map(|field| self.needs(*field)).filter(|need| !fields.contains(need));
        let known = needs.filter_map(|need| Some((need, &self.fields[need].as_ref()?.value)));
        known.map(|(need, value)| (self.filler.template.fields[need].name.as_str(), value)).collect()
    }

    fn needs(&self, field: usize) -> Vec<usize> {
        needs(self.filler, field)
    }

    fn take(&mut self, returned: Returned) {
        let Returned { item, shown, result } = returned;
        match result {
            Ok(answered) => {
                self.failures = 0;
                let open = self.read(&item, &shown, &answered);
                self.again(&item, open);
            }
            Err(ModelError::Limited { retry_after }) => self.pause(item, retry_after),
            Err(error @ (ModelError::Exhausted { .. } | ModelError::Unavailable { .. })) => {
                self.halt(&item.fields, &error.to_string())
            }
            Err(error @ ModelError::Refused { .. }) => {
                self.complain(&item.fields, &error);
                self.again(&item, item.fields.clone());
            }
            Err(error @ ModelError::Failed { .. }) => {
                self.failures += 1;
                self.complain(&item.fields, &error);
                if self.failures >= FAILURES {
                    return self.halt(&item.fields, &error.to_string());
                }
                if item.fields.len() == 1 {
                    self.pending.extend(&item.fields);
                }
                self.again(&item, item.fields.clone());
            }
        }
    }

    /// Settles what was answered; gives back what was not.
    fn read(&mut self, item: &Item, shown: &[u32], answered: &Answered) -> Vec<usize> {
        self.stats.input_tokens += answered.input_tokens;
        self.stats.output_tokens += answered.output_tokens;
        let read = answer::read(&answered.text, item.fields.len(), answered.truncated);
        self.stats.repaired_answers += u64::from(read.repaired);
        let mut open = Vec::new();
        let mut answers = Vec::new();
        for (number, field) in (1..).zip(&item.fields) {
            let wanted = &self.filler.template.fields[*field];
            match read.said.get(&number).map(|said| accept(wanted, said, &self.context, shown)) {
                Some(Ok(filled)) => answers.push((*field, filled)),
                Some(Err(complaint)) => {
                    self.complaints.insert(*field, complaint);
                    open.push(*field);
                }
                None => {
                    self.complaints.entry(*field).or_insert_with(|| "the model left it out".to_owned());
                    open.push(*field);
                }
            }
        }
        for (field, filled) in &answers {
            self.settle(*field, filled.clone());
        }
        // Kept once all of the pack are settled: a key is over the values that the field needs.
        for (field, filled) in answers {
            kept::keep(self.filler, &self.context.documents, &self.key(field), &filled);
        }
        open
    }

    /// Asks fields again: in halves, then alone. One that was alone is given up.
    fn again(&mut self, item: &Item, fields: Vec<usize>) {
        self.open[item.pack] -= 1;
        if item.fields.len() == 1 || fields.is_empty() {
            return;
        }
        if self.is_halted {
            return self.pending.extend(fields);
        }
        for part in halved(&fields, item.fields.len()) {
            self.open[item.pack] += 1;
            self.queue.push_back(Item { fields: part, pack: item.pack, again: true, pauses: 0 });
        }
    }

    /// Nobody asks before the API's pause is over; then this item goes first.
    fn pause(&mut self, item: Item, retry_after: Option<Duration>) {
        let span = retry_after.unwrap_or(Duration::from_secs(1 << item.pauses.min(PAUSES)));
        if span > self.filler.settings.max_pause || item.pauses >= PAUSES {
            let reason = format!("quota used up: the API asks to wait {} s", span.as_secs());
            return self.halt(&item.fields, &reason);
        }
        if self.is_halted {
            return self.pending.extend(item.fields);
        }
        self.filler.throttle.pause(span);
        self.stats.pauses += 1;
        self.observer.saw(&Event::Paused { seconds: span.as_secs_f64() });
        self.queue.push_front(Item { pauses: item.pauses + 1, ..item });
    }

    /// The API is out of reach: what is not answered stays for a later run.
    fn halt(&mut self, fields: &[usize], reason: &str) {
        self.pending.extend(fields);
        self.pending.extend(self.queue.drain(..).flat_map(|item| item.fields));
        if !std::mem::replace(&mut self.is_halted, true) {
            let text = format!("the model was not asked for everything ({reason}); run again to go on");
            self.observer.saw(&Event::Note { text: text.clone() });
            self.notes.push(text);
        }
    }

    fn complain(&mut self, fields: &[usize], error: &ModelError) {
        for field in fields {
            self.complaints.insert(*field, error.to_string());
        }
    }

    /// What no answer was found for comes from elsewhere, or stays empty.
    pub fn fall_back(&mut self) {
        for field in 0..self.fields.len() {
            if self.fields[field].is_some() {
                continue;
            }
            let mut filled = fallback::fall_back(self.filler, &self.context, field);
            filled.pending = self.pending.contains(&field);
            filled.note = self.complaints.get(&field).cloned();
            self.settle(field, filled);
        }
    }

    fn settle(&mut self, field: usize, filled: FilledField) {
        self.observer.saw(&Event::Field(Box::new(filled.clone())));
        self.fields[field] = Some(filled);
    }

    fn names(&self, fields: &[usize]) -> Vec<String> {
        fields.iter().map(|field| self.filler.template.fields[*field].name.clone()).collect()
    }

    pub fn finish(mut self) -> Filled {
        if let Some(Err(fault)) = self.filler.store.as_ref().map(|store| store.trim()) {
            tracing::warn!("the store keeps more than it should: {fault}");
        }
        let fields: Vec<FilledField> = self.fields.into_iter().flatten().collect();
        self.stats.count(&fields);
        Filled {
            template: self.filler.template.name.clone(),
            values: fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect(),
            fields,
            notes: self.notes,
            documents: self.context.documents,
            stats: self.stats,
        }
    }
}

fn needs(filler: &Filler, field: usize) -> Vec<usize> {
    let names = &filler.template.fields[field].depends_on;
    names.iter().filter_map(|name| filler.template.number(name)).collect()
}

/// Some fields in packs.
pub(super) fn packed(filler: &Filler, context: &Context, fields: impl Iterator<Item = usize>, output_limit: u64) -> Vec<Pack> {
    let load = |field: usize| {
        let wanted = &filler.template.fields[field];
        Load {
            field,
            hits: context.hits[field].clone(),
            group: wanted.group.clone(),
            needs: needs(filler, field),
            weight: wanted.weight(),
            answer_tokens: wanted.answer_tokens(),
        }
    };
    let bounds = Bounds { fields: filler.settings.max_batch_size.max(1), answer_tokens: output_limit / ROOM };
    packs(&fields.map(load).collect::<Vec<_>>(), bounds)
}

/// The question for some fields, before anything is known of them.
pub(super) fn question<'a>(filler: &'a Filler, context: &'a Context, fields: &[usize], shown: &[u32]) -> Question<'a> {
    Question {
        purpose: &filler.template.description,
        fields: fields.iter().map(|field| &filler.template.fields[*field]).collect(),
        chunks: shown.iter().map(|number| &context.index.chunks[*number as usize]).collect(),
        media: context.media.iter().map(|(name, medium)| (&**name, medium.clone())).collect(),
        ..Question::default()
    }
}

async fn call(model: &dyn Model, throttle: &Throttle, item: Item, shown: Vec<u32>, ask: Ask) -> Returned {
    let _permit = tokio::select! {
        permit = throttle.enter() => Some(permit),
        () = model.closed() => None,
    };
    let result = model.generate(ask).await;
    Returned { item, shown, result }
}
