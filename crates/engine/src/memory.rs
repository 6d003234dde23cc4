//! What the engine remembers across runs: ties the local store to the scheduler.
//!
//! Requests of a day are taken in blocks ([`blocks`]) that are written before the first of them is sent, so that a crash only
//! ever overcounts. Everything else goes through a thread of its own ([`writer`]): the last minute (one write a slot), learned
//! limits, the states of keys and the journal of each ([`states`]).

mod blocks;
mod states;
mod writer;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use tidegate_gemini::tokens::Calibration;
use tidegate_scheduler::{Counting, Day, Dimension, KeyId, Limits, Outcome, QuotaRules, Remembered, Scheduler, Timestamp};

use self::blocks::{Ahead, Block, Order};
use self::states::{Journal, States};
use self::writer::{Note, Writer};
use crate::classify::FaultWords;
use crate::kinship::Kin;
use crate::recollection::{Owner, Recollection};
use crate::roster::{KeyCard, Roster};
use crate::store::{CalibrationSums, Fingerprint, LearnedLimit, LearnedWindow, LimitSource, Store, StoreError};

/// A block is this part of the day's limit: at most one and a half of them are lost to a crash.
const BLOCKS_A_DAY: u64 = 500;
/// While no limit of the day is known, a block is this part of what the day has seen, or what a second takes.
const PART_OF_SEEN: u64 = 100;
const MOST_UNKNOWN: u64 = 50_000;

/// The engine's memory. Dropping it hands back what was reserved and writes the rest.
pub(crate) struct Memory {
    store: Store,
    writer: Writer,
    roster: Arc<Roster>,
    slot: u64,
    families: HashSet<Arc<str>>,
    blocks: HashMap<(u32, Arc<str>), Block>,
    ahead: Arc<Ahead>,
    learned: HashMap<(u32, Arc<str>), Limits>,
    counting: HashMap<(u32, Arc<str>), Counting>,
    kin: HashSet<Kin>,
    states: States,
    rules: QuotaRules,
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

impl Memory {
    /// Opens the store of `state_dir` and lets the scheduler go on from what is in it.
    pub(crate) fn open(state_dir: &Path, base_url: &str, rules: QuotaRules, roster: Arc<Roster>) -> Result<Memory, StoreError> {
        let store = Store::open(state_dir, base_url)?;
        let behind = Store::open(state_dir, base_url)?;
        let ahead: Arc<Ahead> = Arc::default();
        let writer = Writer::start(behind, ahead.clone());
        Ok(Memory {
            store,
            writer,
            roster,
            slot: (u64::try_from(rules.minute.as_micros()).unwrap_or(u64::MAX) / 600).max(1),
            families: HashSet::default(),
            blocks: HashMap::default(),
            ahead,
            learned: HashMap::default(),
            counting: HashMap::default(),
            kin: HashSet::default(),
            states: States::default(),
            rules,
        })
    }

    /// Projects and keys joined, or have other names: what earlier runs left of the new ones counts from now on.
    pub(crate) fn enlist(&mut self, scheduler: &mut Scheduler, now: Timestamp, roster: Arc<Roster>) {
        let (projects, keys) = (self.roster.projects(), self.roster.keys().len());
        self.roster = roster;
        match Recollection::read(&self.store, &self.rules, now) {
            Ok(past) => self.take(scheduler, now, &past, projects, keys),
            Err(fault) => tracing::warn!("what is known of keys that join is not read: {fault}"),
        }
        let new = projects..self.roster.projects();
        for family in self.families.clone() {
            new.clone().for_each(|project| self.begin(scheduler, now, project, &family));
        }
    }

    /// Hands the scheduler what is known of projects and keys from these numbers on.
    fn take(&mut self, scheduler: &mut Scheduler, now: Timestamp, past: &Recollection, projects: u32, keys: usize) {
        let is_new = |remembered: &Remembered| remembered.project >= projects;
        for remembered in past.remembered(&self.owners()).into_iter().filter(is_new) {
            scheduler.restore(now, &remembered);
        }
        for state in &past.states {
            for key in self.keys_of(state.key).into_iter().filter(|key| key.0 as usize >= keys) {
                if self.states.restore(key, state) {
                    scheduler.bury(key, &state.reason);
                }
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
        let cards = self.roster.keys();
        let owned = |number| cards.iter().filter(move |card| card.project == number).map(|card| card.fingerprint);
        let owner = |number| Owner { name: self.roster.project(number).to_string(), keys: owned(number).collect() };
        (0..self.roster.projects()).map(owner).collect()
    }

    fn keys_of(&self, fingerprint: Fingerprint) -> Vec<KeyId> {
        let cards = (0..).map(KeyId).zip(self.roster.keys());
        cards.filter(|(_, card)| card.fingerprint == fingerprint).map(|(key, _)| key).collect()
    }

    // === while it runs ===

    /// A model is about to be used: each project takes its first block of the day.
    pub(crate) fn prepare(&mut self, scheduler: &mut Scheduler, now: Timestamp, family: &Arc<str>) {
        if !self.families.insert(family.clone()) {
            return;
        }
        for project in 0..self.roster.projects() {
            self.begin(scheduler, now, project, family);
        }
    }

    /// Nobody has proven that there is such a model, and nobody asks it: what is left of its blocks goes back.
    pub(crate) fn forget(&mut self, family: &Arc<str>) {
        self.families.remove(family);
        for project in 0..self.roster.projects() {
            let place = (project, family.clone());
            self.learned.remove(&place);
            self.counting.remove(&place);
            let ahead = self.ahead.drain_of(&place);
            for block in self.blocks.remove(&place).into_iter().chain(ahead).filter(|block| block.left > 0) {
                let _ = self.store.return_day(self.roster.project(project), family, block.day_end, block.left);
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
        let name = self.roster.project(project).clone();
        self.writer.count((name, family.clone(), start), tokens);
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
            self.writer.note(Note::Block(self.order(scheduler, now, project, family), now));
        }
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
        block.begun = now;
        self.blocks.insert(order.place, block);
    }

    fn order(&self, scheduler: &mut Scheduler, now: Timestamp, project: u32, family: &Arc<str>) -> Order {
        let model = scheduler.model(family);
        let limit = scheduler.limits(project, model).rpd;
        let place = (project, family.clone());
        let block = self.blocks.get(&place);
        let seen = block.map_or(0, |block| block.total / PART_OF_SEEN);
        let unknown = seen.max(block.map_or(0, |block| block.a_second(now))).clamp(1, MOST_UNKNOWN);
        let size = limit.map_or(unknown, |limit| (limit / BLOCKS_A_DAY).max(1));
        Order { place, project: self.roster.project(project).clone(), day_end: scheduler.day_end(now), size, limit }
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
        if let Outcome::KeyLimited(denied) = answered.outcome {
            self.hand_back(scheduler, answered);
            let source = if denied.limit.is_some() { LimitSource::QuotaValue } else { LimitSource::Probe };
            self.keep_limits(scheduler, answered.now, answered.card.project, &answered.family, source);
        }
        self.states.answered(answered, Journal { roster: &self.roster, writer: &self.writer });
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
                let (project, model) = (self.roster.project(project).to_string(), family.to_string());
                self.writer.note(Note::Limit(LearnedLimit { project, model, dimension, value, learned_at: now, source }));
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
            let (project, model) = (self.roster.project(project).to_string(), family.to_string());
            let window = LearnedWindow { project, model, dimension, kind, burst, guard, counts_total, learned_at: now };
            self.writer.note(Note::Window(window));
        }
    }

    /// Projects that are probably one: those not yet written are.
    pub(crate) fn keep_kin(&mut self, kin: Vec<Kin>, now: Timestamp) {
        for kin in kin {
            if self.kin.insert(kin.clone()) {
                self.writer.note(Note::Kin(kin, now));
            }
        }
    }

    /// What was learned of estimates.
    pub(crate) fn keep_calibration(&self, calibration: &Calibration) {
        let sums = calibration.lessons().map(|lesson| CalibrationSums {
            model: lesson.model.to_owned(),
            modality: lesson.about.to_owned(),
            estimated: lesson.estimated,
            actual: lesson.actual,
        });
        self.writer.note(Note::Calibration(sums.collect()));
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for ((project, model), block) in &self.blocks {
            let _ = self.store.return_day(self.roster.project(*project), model, block.day_end, block.left);
        }
        self.writer.finish();
        for ((project, model), block) in self.ahead.drain() {
            let _ = self.store.return_day(self.roster.project(project), &model, block.day_end, block.left);
        }
    }
}
