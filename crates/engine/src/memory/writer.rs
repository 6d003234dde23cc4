//! The thread that writes: what may wait a moment is written behind the caller's back, several notes at once.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use parking_lot::Mutex;
use tidegate_scheduler::Timestamp;

use super::blocks::{Ahead, Order};
use crate::kinship::Kin;
use crate::store::{CalibrationSums, Fingerprint, KeyEvent, KeyRecord, LearnedLimit, LearnedWindow, Store, StoreError};

/// How long the first thing to be written waits for others to share its write.
const GATHER: Duration = Duration::from_millis(50);

/// Whoever has something to write in its own time tells it here.
pub(super) struct Writer {
    notes: Option<Sender<Note>>,
    thread: Option<JoinHandle<()>>,
    sent: Arc<Sent>,
}

/// Something to be written in its own time.
pub(super) enum Note {
    /// There are counts of slots again.
    Sent,
    /// The next block is needed soon. It does not wait for others to share its write.
    Block(Order, Timestamp),
    Limit(LearnedLimit),
    Window(LearnedWindow),
    Kin(Kin, Timestamp),
    State(KeyRecord),
    Clear(Fingerprint, Arc<str>),
    Event(Box<KeyEvent>),
    Calibration(Vec<CalibrationSums>),
}

/// Project, model family and start of a slot.
pub(super) type SlotOf = (Arc<str>, Arc<str>, Timestamp);

/// Requests and tokens of each slot that are not written yet.
type Sent = Mutex<HashMap<SlotOf, (i64, i64)>>;

impl Writer {
    /// Starts the thread; blocks that it is told to write lie in `ahead` then.
    pub(super) fn start(store: Store, ahead: Arc<Ahead>) -> Writer {
        let (notes, incoming) = channel();
        let sent: Arc<Sent> = Arc::default();
        let behind = Behind { store, incoming, sent: sent.clone(), ahead };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || behind.run()).ok();
        Writer { notes: Some(notes), thread, sent }
    }

    pub(super) fn note(&self, note: Note) {
        if let Some(notes) = &self.notes {
            // Without its thread the store is only less fresh; the run goes on.
            let _ = notes.send(note);
        }
    }

    /// Counts a request for its slot.
    pub(super) fn count(&self, slot: SlotOf, tokens: u64) {
        let is_first = {
            let mut sent = self.sent.lock();
            let is_first = sent.is_empty();
            let (requests, sum) = sent.entry(slot).or_default();
            *requests += 1;
            *sum = sum.saturating_add(i64::try_from(tokens).unwrap_or(i64::MAX));
            is_first
        };
        if is_first {
            self.note(Note::Sent);
        }
    }

    /// Returns when everything is written; what is noted from now on is not.
    pub(super) fn finish(&mut self) {
        self.notes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has at hand.
struct Behind {
    store: Store,
    incoming: Receiver<Note>,
    sent: Arc<Sent>,
    ahead: Arc<Ahead>,
}

impl Behind {
    fn run(self) {
        while let Ok(first) = self.incoming.recv() {
            let mut batch = Vec::new();
            self.take(first, &mut batch);
            // What is sent within a slot becomes one write.
            let end = Instant::now() + GATHER;
            while let Ok(note) = self.incoming.recv_timeout(end.saturating_duration_since(Instant::now())) {
                self.take(note, &mut batch);
            }
            if let Err(fault) = self.store.together(|| self.put(batch)) {
                tracing::warn!("the local store falls behind: {fault}");
            }
        }
    }

    fn take(&self, note: Note, batch: &mut Vec<Note>) {
        let Note::Block(order, now) = note else { return batch.push(note) };
        match order.fulfil(&self.store, now) {
            Ok(block) => self.ahead.put(order.place, block),
            Err(fault) => tracing::warn!("the day's count is not written down: {fault}"),
        }
    }

    fn put(&self, batch: Vec<Note>) -> Result<(), StoreError> {
        let store = &self.store;
        for note in batch {
            match note {
                Note::Sent | Note::Block(..) => {}
                Note::Limit(limit) => store.learn_limit(&limit)?,
                Note::Kin(kin, at) => store.add_kin(&kin, at)?,
                Note::Window(window) => store.learn_window(&window)?,
                Note::State(state) => store.set_key_state(&state)?,
                Note::Clear(key, model) => store.clear_key_state(key, &model)?,
                Note::Event(event) => store.append_key_event(&event)?,
                Note::Calibration(sums) => store.save_calibration(&sums)?,
            }
        }
        let mut slots = std::mem::take(&mut *self.sent.lock()).into_iter();
        slots.try_for_each(|((project, model, start), (requests, tokens))| {
            store.add_slot(&project, &model, start, requests, tokens)
        })
    }
}
