//! What stands against each key, and the journal of how that came about.

use std::sync::Arc;

use foldhash::HashMap;
use tidegate_scheduler::{KeyId, Outcome, Timestamp};

use super::Answered;
use super::writer::{Note, Writer};
use crate::roster::Roster;
use crate::store::{KeyEvent, KeyRecord, Redacted};

/// What is against each key, by model (none: for all), and since when.
#[derive(Default)]
pub(super) struct States(HashMap<(KeyId, Arc<str>), (&'static str, Timestamp)>);

const AVAILABLE: &str = "AVAILABLE";
const TEMPORARILY_EXHAUSTED: &str = "TEMPORARILY_EXHAUSTED";
const FULLY_EXHAUSTED: &str = "FULLY_EXHAUSTED";
const FAILED_INIT: &str = "FAILED_INIT";

/// Where a change goes.
#[derive(Clone, Copy)]
pub(super) struct Journal<'a> {
    pub roster: &'a Roster,
    pub writer: &'a Writer,
}

impl States {
    /// Takes over what was written of a key; true when the key is dead by it.
    pub(super) fn restore(&mut self, key: KeyId, state: &KeyRecord) -> bool {
        let names = [FAILED_INIT, FULLY_EXHAUSTED, TEMPORARILY_EXHAUSTED];
        let Some(name) = names.into_iter().find(|name| *name == state.state) else { return false };
        self.0.insert((key, Arc::from(state.model.as_str())), (name, state.since));
        state.model.is_empty() && name == FAILED_INIT
    }

    /// An answer came: what it does to states.
    pub(super) fn answered(&mut self, answered: &Answered<'_>, journal: Journal<'_>) {
        for &key in answered.dead {
            self.change(answered, key, Arc::from(""), FAILED_INIT, None, journal);
        }
        for &(project, until) in answered.parked {
            let state = if until.is_some() { FULLY_EXHAUSTED } else { AVAILABLE };
            let keys = (0..).map(KeyId).zip(journal.roster.keys());
            for (key, _) in keys.filter(|(_, card)| card.project == project) {
                self.change(answered, key, Arc::from(""), state, until, journal);
            }
        }
        match answered.outcome {
            Outcome::KeyLimited(_) => {
                let (until, fully) = answered.held.unwrap_or((answered.now, false));
                let state = if fully { FULLY_EXHAUSTED } else { TEMPORARILY_EXHAUSTED };
                let until = Some(until).filter(|until| !until.is_never());
                let known = self.of(answered).filter(|(_, since)| answered.sent < *since).map(|(state, _)| state);
                // What left before the key was put to rest repeats it at most: a used up day stands above a minute.
                if known != Some(state) && known != Some(FULLY_EXHAUSTED) {
                    self.change(answered, answered.key, answered.family.clone(), state, until, journal);
                }
            }
            // An answer to a call that left before the refusal was known is no recovery.
            Outcome::Done { .. } if self.of(answered).is_some_and(|(_, since)| answered.sent >= since) => {
                self.change(answered, answered.key, answered.family.clone(), AVAILABLE, None, journal);
            }
            _ => {}
        }
    }

    /// What is against this key for this model, and since when.
    fn of(&self, answered: &Answered<'_>) -> Option<(&'static str, Timestamp)> {
        self.0.get(&(answered.key, answered.family.clone())).copied()
    }

    /// Keeps a state and writes the change into the key's journal.
    fn change(
        &mut self,
        answered: &Answered<'_>,
        key: KeyId,
        model: Arc<str>,
        to: &'static str,
        until: Option<Timestamp>,
        Journal { roster, writer }: Journal<'_>,
    ) {
        let Some(card) = roster.keys().get(key.0 as usize) else { return };
        let from = if to == AVAILABLE {
            self.0.remove(&(key, model.clone()))
        } else {
            self.0.insert((key, model.clone()), (to, answered.now))
        };
        let from = from.map_or(AVAILABLE, |(state, _)| state);
        let cause = answered.fault.map_or_else(|| "answered again".to_owned(), |fault| fault.code.clone());
        if to == AVAILABLE {
            writer.note(Note::Clear(card.fingerprint, model.clone()));
        } else {
            let (state, reason, since) = (to.to_owned(), cause.clone(), answered.now);
            writer.note(Note::State(KeyRecord { key: card.fingerprint, model: model.to_string(), state, until, reason, since }));
        }
        let redacted = || Redacted::new(&String::from_utf8_lossy(answered.body), [&*answered.card.secret]);
        writer.note(Note::Event(Box::new(KeyEvent {
            at: answered.now,
            key: card.fingerprint,
            name: card.name.to_string(),
            project: roster.project(card.project).to_string(),
            model: model.to_string(),
            from: from.to_owned(),
            to: to.to_owned(),
            cause,
            http_status: answered.fault.and_then(|fault| fault.http_status),
            body: (to != AVAILABLE).then(redacted),
        })));
    }
}
