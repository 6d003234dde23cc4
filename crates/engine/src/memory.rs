//! What the engine remembers across runs: ties the local store to the scheduler.
//!
//! Requests of a day are taken in blocks ([`crate::blocks`]) that are written before the first of them is sent, so that a crash only
//! ever overcounts. Everything else goes through a thread of its own: the last minute (one write a slot), learned limits,
//! the states of keys and the journal of each.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashSet};
use parking_lot::Mutex;
use secrecy::SecretString;
use tidegate_gemini::tokens::Calibration;
use tidegate_scheduler::{Counting, Day, Dimension, KeyId, Limits, Outcome, QuotaRules, Remembered, Scheduler, Timestamp};

use crate::blocks::{Ahead, Block, Order};
use crate::classify::FaultWords;
use crate::kinship::Kin;
use crate::recollection::{Owner, Recollection};
use crate::roster::{KeyCard, Roster};
use crate::store::{
    CalibrationSums, Fingerprint, KeyEvent, KeyRecord, LearnedLimit, LearnedWindow, LimitSource, Redacted, Store, StoreError,
};

/// A block is this part of the day's limit: at most one and a half of them are lost to a crash.
const BLOCKS_A_DAY: u64 = 500;
/// While no limit of the day is known, a block is this part of what the day has seen.
const PART_OF_SEEN: u64 = 100;
const MOST_UNKNOWN: u64 = 10_000;
/// How long the first thing to be written waits for others to share its write.
const GATHER: Duration = Duration::from_millis(50);

/// The engine's memory. Dropping it hands back what was reserved and writes the rest.
pub(crate) struct Memory {
    store: Store,
    notes: Option<Sender<Note>>,
    writer: Option<JoinHandle<()>>,
    projects: Vec<Arc<str>>,
    fingerprints: Vec<Fingerprint>,
    /// Name of each key.
    names: Vec<Arc<str>>,
    /// Number of each key's project.
    owners: Vec<u32>,
    slot: u64,
    sent: Arc<Sent>,
    families: HashSet<Arc<str>>,
    blocks: HashMap<(u32, Arc<str>), Block>,
    ahead: Arc<Ahead>,
    learned: HashMap<(u32, Arc<str>), Limits>,
    counting: HashMap<(u32, Arc<str>), Counting>,
    kin: HashSet<Kin>,
    /// What is against each key, by model, and since when.
    states: HashMap<(KeyId, Arc<str>), (&'static str, Timestamp)>,
    rules: QuotaRules,
}

/// Project, model family and start of a slot.
type SlotOf = (Arc<str>, Arc<str>, Timestamp);

/// Requests and tokens of each slot that are not written yet.
type Sent = Mutex<HashMap<SlotOf, (i64, i64)>>;

/// Something to be written in its own time.
enum Note {
    /// [`Memory::sent`] holds something again.
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

/// One answer, with what memory needs of it.
pub(crate) struct Answered<'a> {
    pub now: Timestamp,
    /// When the call left.
    pub sent: Timestamp,
    pub key: KeyId,
    pub card: &'a KeyCard,
    pub family: Arc<str>,
    pub outcome: &'a Outcome,
    /// The pause that followed, and whether the quota counts as fully exhausted.
    pub held: Option<(Timestamp, bool)>,
    /// Keys that died of it.
    pub dead: &'a [KeyId],
    /// Projects that it parked, and until when; or `None` for those that it let serve again.
    pub parked: &'a [(u32, Option<Timestamp>)],
    pub fault: Option<&'a FaultWords>,
    pub body: &'a [u8],
}

const AVAILABLE: &str = "AVAILABLE";
const TEMPORARILY_EXHAUSTED: &str = "TEMPORARILY_EXHAUSTED";
const FULLY_EXHAUSTED: &str = "FULLY_EXHAUSTED";
const FAILED_INIT: &str = "FAILED_INIT";

impl Memory {
    /// Opens the store of `state_dir` and lets the scheduler go on from what is in it.
    pub(crate) fn open(state_dir: &Path, base_url: &str, rules: QuotaRules, roster: &Roster) -> Result<Memory, StoreError> {
        let store = Store::open(state_dir, base_url)?;
        let behind = Store::open(state_dir, base_url)?;
        let (notes, incoming) = channel();
        let sent: Arc<Sent> = Arc::default();
        let ahead: Arc<Ahead> = Arc::default();
        let writer = Writer { store: behind, incoming, sent: sent.clone(), ahead: ahead.clone() };
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run()).ok();
        let mut memory = Memory {
            store,
            notes: Some(notes),
            writer,
            projects: Vec::new(),
            fingerprints: Vec::new(),
            names: Vec::new(),
            owners: Vec::new(),
            slot: (u64::try_from(rules.minute.as_micros()).unwrap_or(u64::MAX) / 600).max(1),
            sent,
            families: HashSet::default(),
            blocks: HashMap::default(),
            ahead,
            learned: HashMap::default(),
            counting: HashMap::default(),
            kin: HashSet::default(),
            states: HashMap::default(),
            rules,
        };
        memory.number(roster);
        Ok(memory)
    }

    /// Takes over the names and numbers of a roster.
    fn number(&mut self, roster: &Roster) {
        let cards = roster.keys();
        self.projects = (0..roster.projects()).map(|number| roster.project(number).clone()).collect();
        self.fingerprints = cards.iter().map(|card| card.fingerprint).collect();
        self.names = cards.iter().map(|card| card.name.clone()).collect();
        self.owners = cards.iter().map(|card| card.project).collect();
    }

    /// Projects and keys joined, or have other names: what earlier runs left of the new ones counts from now on.
    pub(crate) fn enlist(&mut self, scheduler: &mut Scheduler, now: Timestamp, roster: &Roster) {
        let (projects, keys) = (self.projects.len(), self.owners.len());
        self.number(roster);
        match Recollection::read(&self.store, &self.rules, now) {
            Ok(past) => self.take(scheduler, now, &past, projects, keys),
            Err(fault) => tracing::warn!("what is known of keys that join is not read: {fault}"),
        }
        let new = u32::try_from(projects).unwrap_or(u32::MAX)..roster.projects();
        for family in self.families.clone() {
            new.clone().for_each(|project| self.begin(scheduler, now, project, &family));
        }
    }

    /// Hands the scheduler what is known of projects and keys from these numbers on.
    fn take(&mut self, scheduler: &mut Scheduler, now: Timestamp, past: &Recollection, projects: usize, keys: usize) {
        let is_new = |remembered: &Remembered| remembered.project as usize >= projects;
        for remembered in past.remembered(&self.owners()).into_iter().filter(is_new) {
            scheduler.restore(now, &remembered);
        }
        for state in &past.states {
            let Some(name) = [FAILED_INIT, FULLY_EXHAUSTED, TEMPORARILY_EXHAUSTED].into_iter().find(|name| *name == state.state)
            else {
                continue;
            };
            for key in self.keys_of(state.key).into_iter().filter(|key| key.0 as usize >= keys) {
                if state.model.is_empty() && name == FAILED_INIT {
                    scheduler.bury(key, &state.reason);
                }
                self.states.insert((key, Arc::from(state.model.as_str())), (name, state.since));
            }
        }
    }

    /// Hands the scheduler and the estimates what earlier runs left.
    pub(crate) fn recall(
        &mut self,
        scheduler: &mut Scheduler,
        calibration: &mut Calibration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if matches!(self.rules.day, Day::Every(_)) {
            scheduler.anchor_days(self.store.day_anchor(now)?);
        }
        scheduler.speak_for(self.store.machine(RandomState::new().build_hasher().finish())?);
        let past = Recollection::read(&self.store, &self.rules, now)?;
        self.take(scheduler, now, &past, 0, 0);
        *calibration = past.calibration;
        Ok(())
    }

    fn owners(&self) -> Vec<Owner> {
        let owned = |number| self.owners.iter().zip(&self.fingerprints).filter(move |(owner, _)| **owner == number);
        let owner = |(name, number): (&Arc<str>, u32)| Owner {
            name: name.to_string(),
            keys: owned(number).map(|(_, key)| *key).collect(),
        };
        self.projects.iter().zip(0..).map(owner).collect()
    }

    fn keys_of(&self, fingerprint: Fingerprint) -> Vec<KeyId> {
        let same = self.fingerprints.iter().enumerate().filter(|(_, known)| **known == fingerprint);
        same.filter_map(|(number, _)| u32::try_from(number).ok().map(KeyId)).collect()
    }

    // === while it runs ===

    /// A model is about to be used: each project takes its first block of the day.
    pub(crate) fn prepare(&mut self, scheduler: &mut Scheduler, now: Timestamp, family: &Arc<str>) {
        if !self.families.insert(family.clone()) {
            return;
        }
        for project in 0..u32::try_from(self.projects.len()).unwrap_or(u32::MAX) {
            self.begin(scheduler, now, project, family);
        }
    }

    /// Nobody has proven that there is such a model, and nobody asks it: what is left of its blocks goes back.
    pub(crate) fn forget(&mut self, family: &Arc<str>) {
        self.families.remove(family);
        for project in 0..u32::try_from(self.projects.len()).unwrap_or(u32::MAX) {
            let place = (project, family.clone());
            self.learned.remove(&place);
            self.counting.remove(&place);
            let ahead = self.ahead.drain_of(&place);
            for block in self.blocks.remove(&place).into_iter().chain(ahead).filter(|block| block.left > 0) {
                let _ = self.store.return_day(&self.projects[project as usize], family, block.day_end, block.left);
            }
        }
    }

    fn begin(&mut self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>) {
        let model = scheduler.model(family);
        self.learned.insert((project, family.clone()), scheduler.limits(project, model));
        self.counting.insert((project, family.clone()), scheduler.counting(project, model));
        self.take_block(scheduler, now, project, family);
        self.tell(scheduler, now, project, family);
    }

    /// A request goes out: it comes out of the block, and an empty block is renewed at once, before the next request.
    pub(crate) fn started(&mut self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>, tokens: u64) {
        let start = Timestamp::from_micros(now.as_micros() / self.slot * self.slot);
        let name = self.projects[project as usize].clone();
        if self.count((name, family.clone(), start), tokens) {
            self.note(Note::Sent);
        }
        let day_end = scheduler.day_end(now);
        let place = (project, family.clone());
        if self.blocks.get(&place).is_none_or(|block| block.day_end != day_end || block.left == 0) {
            self.take_block(scheduler, now, project, family);
        }
        let Some(block) = self.blocks.get_mut(&place) else { return };
        block.left = block.left.saturating_sub(1);
        let wants_next = block.wants_next();
        if block.left == 0 {
            self.take_block(scheduler, now, project, family);
            self.tell(scheduler, now, project, family);
        } else if wants_next {
            self.note(Note::Block(self.order(scheduler, now, project, family), now));
        }
    }

    /// Counts a request for its slot; true when it is the first since the counts were written.
    fn count(&self, slot: SlotOf, tokens: u64) -> bool {
        let mut sent = self.sent.lock();
        let is_first = sent.is_empty();
        let (requests, sum) = sent.entry(slot).or_default();
        *requests += 1;
        *sum = sum.saturating_add(i64::try_from(tokens).unwrap_or(i64::MAX));
        is_first
    }

    /// The next block: the one that was written down ahead of time, else it is written down now.
    fn take_block(&mut self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>) {
        let order = self.order(scheduler, now, project, family);
        let mut block = match self.ahead.take(&order.place, order.day_end) {
            Some(block) => block,
            None => match order.fulfil(&self.store, now) {
                Ok(block) => block,
                Err(fault) => return tracing::warn!("the day's count is not written down: {fault}"),
            },
        };
        let same_day = self.blocks.get(&order.place).filter(|before| before.day_end == order.day_end);
        block.first_taken = same_day.map_or(now, |before| before.first_taken);
        self.blocks.insert(order.place, block);
    }

    fn order(&self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>) -> Order {
        let model = scheduler.model(family);
        let limit = scheduler.limits(project, model).rpd;
        let place = (project, family.clone());
        let seen = self.blocks.get(&place).map_or(0, |block| block.total);
        let unknown = (seen / PART_OF_SEEN).clamp(1, MOST_UNKNOWN);
        let size = limit.map_or(unknown, |limit| (limit / BLOCKS_A_DAY).max(1));
        Order { place, project: self.projects[project as usize].clone(), day_end: scheduler.day_end(now), size, limit }
    }

    /// A refused request took nothing of its day: the next one has its place.
    fn hand_back(&mut self, scheduler: &mut Scheduler, answered: &Answered<'_>) {
        let day_end = scheduler.day_end(answered.now);
        let place = (answered.card.project, answered.family.clone());
        let block = self.blocks.get_mut(&place);
        if let Some(block) = block.filter(|block| block.day_end == day_end && block.first_taken <= answered.sent) {
            block.left += 1;
        }
    }

    /// Tells the scheduler how much of the day is taken: by other processes, and by this one beside its block.
    fn tell(&self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>) {
        if let Some(block) = self.blocks.get(&(project, family.clone())) {
            let model = scheduler.model(family);
            scheduler.count_today(now, project, model, block.total - block.left);
        }
    }

    /// An answer came: limits, states and the journals of keys follow.
    pub(crate) fn answered(&mut self, scheduler: &mut Scheduler, answered: &Answered<'_>) {
        for &key in answered.dead {
            self.change(answered, key, Arc::from(""), FAILED_INIT, None);
        }
        for &(project, until) in answered.parked {
            let state = if until.is_some() { FULLY_EXHAUSTED } else { AVAILABLE };
            let keys: Vec<KeyId> =
                (0..).map(KeyId).zip(&self.owners).filter(|(_, owner)| **owner == project).map(|(key, _)| key).collect();
            for key in keys {
                self.change(answered, key, Arc::from(""), state, until);
            }
        }
        match answered.outcome {
            Outcome::KeyLimited(denied) => {
                self.hand_back(scheduler, answered);
                let source = if denied.limit.is_some() { LimitSource::QuotaValue } else { LimitSource::Probe };
                self.keep_limits(scheduler, answered.now, answered.card.project, &answered.family, source);
                let (until, fully) = answered.held.unwrap_or((answered.now, false));
                let state = if fully { FULLY_EXHAUSTED } else { TEMPORARILY_EXHAUSTED };
                let until = Some(until).filter(|until| !until.is_never());
                let known = self.state(answered).filter(|(_, since)| answered.sent < *since).map(|(state, _)| state);
                // What left before the key was put to rest repeats it at most: a used up day stands above a minute.
                if known != Some(state) && known != Some(FULLY_EXHAUSTED) {
                    self.change(answered, answered.key, answered.family.clone(), state, until);
                }
            }
            // An answer to a call that left before the refusal was known is no recovery.
            Outcome::Done { .. } if self.state(answered).is_some_and(|(_, since)| answered.sent >= since) => {
                self.change(answered, answered.key, answered.family.clone(), AVAILABLE, None);
            }
            _ => {}
        }
    }

    /// What is against this key for this model, and since when.
    fn state(&self, answered: &Answered<'_>) -> Option<(&'static str, Timestamp)> {
        self.states.get(&(answered.key, answered.family.clone())).copied()
    }

    /// Something rose without a refusal, or more is known of how the server counts: what has changed is written.
    pub(crate) fn learned(&mut self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>) {
        self.keep_limits(scheduler, now, project, family, LimitSource::Probe);
        self.keep_counting_of(scheduler, now, project, family);
    }

    fn keep_limits(&mut self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>, source: LimitSource) {
        let model = scheduler.model(family);
        let limits = scheduler.limits(project, model);
        let before = self.learned.insert((project, family.clone()), limits).unwrap_or_default();
        let dimensions = [
            (Dimension::Rpm, before.rpm, limits.rpm),
            (Dimension::Tpm, before.tpm, limits.tpm),
            (Dimension::Rpd, before.rpd, limits.rpd),
        ];
        for (dimension, before, value) in dimensions {
            if let Some(value) = value.filter(|_| value != before) {
                let (project, model) = (self.projects[project as usize].to_string(), family.to_string());
                self.note(Note::Limit(LearnedLimit { project, model, dimension, value, learned_at: now, source }));
            }
        }
    }

    /// Limits were changed by hand: they are no lesson.
    pub(crate) fn reconfigured(&mut self, scheduler: &mut Scheduler) {
        for ((project, family), limits) in &mut self.learned {
            let model = scheduler.model(family);
            *limits = scheduler.limits(*project, model);
        }
    }

    /// More may be known of how the servers count: what has changed is written.
    pub(crate) fn keep_counting(&mut self, scheduler: &mut Scheduler, now: Timestamp) {
        let places: Vec<_> = self.counting.keys().cloned().collect();
        for (project, family) in places {
            self.keep_counting_of(scheduler, now, project, &family);
        }
    }

    fn keep_counting_of(&mut self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>) {
        let model = scheduler.model(family);
        let counting = scheduler.counting(project, model);
        if self.counting.insert((project, family.clone()), counting) == Some(counting) {
            return;
        }
        let Counting { kind, request_burst, token_burst, guard, counts_total } = counting;
        for (dimension, burst) in [(Dimension::Rpm, request_burst), (Dimension::Tpm, token_burst)] {
            let (project, model) = (self.projects[project as usize].to_string(), family.to_string());
            let window = LearnedWindow { project, model, dimension, kind, burst, guard, counts_total, learned_at: now };
            self.note(Note::Window(window));
        }
    }

    /// Projects that are probably one: those not yet written are.
    pub(crate) fn keep_kin(&mut self, kin: Vec<Kin>, now: Timestamp) {
        for kin in kin {
            if self.kin.insert(kin.clone()) {
                self.note(Note::Kin(kin, now));
            }
        }
    }

    /// Keeps a state and writes the change into the key's journal.
    fn change(&mut self, answered: &Answered<'_>, key: KeyId, model: Arc<str>, to: &'static str, until: Option<Timestamp>) {
        let Some(&fingerprint) = self.fingerprints.get(key.0 as usize) else { return };
        let from = if to == AVAILABLE {
            self.states.remove(&(key, model.clone()))
        } else {
            self.states.insert((key, model.clone()), (to, answered.now))
        };
        let from = from.map_or(AVAILABLE, |(state, _)| state);
        let cause = answered.fault.map_or_else(|| "answered again".to_owned(), |fault| fault.code.clone());
        if to == AVAILABLE {
            self.note(Note::Clear(fingerprint, model.clone()));
        } else {
            let (state, reason, since) = (to.to_owned(), cause.clone(), answered.now);
            self.note(Note::State(KeyRecord { key: fingerprint, model: model.to_string(), state, until, reason, since }));
        }
        let body = (to != AVAILABLE).then(|| redacted(answered.body, &answered.card.secret));
        self.note(Note::Event(Box::new(KeyEvent {
            at: answered.now,
            key: fingerprint,
            name: self.names[key.0 as usize].to_string(),
            project: self.projects[self.owners[key.0 as usize] as usize].to_string(),
            model: model.to_string(),
            from: from.to_owned(),
            to: to.to_owned(),
            cause,
            http_status: answered.fault.and_then(|fault| fault.http_status),
            body,
        })));
    }

    /// What was learned of estimates.
    pub(crate) fn keep_calibration(&self, calibration: &Calibration) {
        let sums = calibration.lessons().map(|lesson| CalibrationSums {
            model: lesson.model.to_owned(),
            modality: lesson.about.to_owned(),
            estimated: lesson.estimated,
            actual: lesson.actual,
        });
        self.note(Note::Calibration(sums.collect()));
    }

    fn note(&self, note: Note) {
        if let Some(notes) = &self.notes {
            // Without its writer the store is only less fresh; the run goes on.
            let _ = notes.send(note);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for ((project, model), block) in &self.blocks {
            let _ = self.store.return_day(&self.projects[*project as usize], model, block.day_end, block.left);
        }
        self.notes = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        for ((project, model), block) in self.ahead.drain() {
            let _ = self.store.return_day(&self.projects[project as usize], &model, block.day_end, block.left);
        }
    }
}

fn redacted(body: &[u8], key: &SecretString) -> Redacted {
    Redacted::new(&String::from_utf8_lossy(body), [key])
}

// === the writing thread ===

/// What the thread has at hand.
struct Writer {
    store: Store,
    incoming: Receiver<Note>,
    sent: Arc<Sent>,
    ahead: Arc<Ahead>,
}

impl Writer {
    fn run(self) {
        while let Ok(first) = self.incoming.recv() {
            let mut batch = Vec::new();
            self.take(first, &mut batch);
            // What is sent within a slot becomes one write.
            let end = Instant::now() + GATHER;
            while let Ok(note) = self.incoming.recv_timeout(end.saturating_duration_since(Instant::now())) {
                self.take(note, &mut batch);
            }
            if let Err(fault) = self.store.together(|| put(&self.store, batch, &self.sent)) {
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
}

fn put(store: &Store, batch: Vec<Note>, sent: &Sent) -> Result<(), StoreError> {
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
    let slots = std::mem::take(&mut *sent.lock());
    slots
        .into_iter()
        .try_for_each(|((project, model, start), (requests, tokens))| store.add_slot(&project, &model, start, requests, tokens))
}
