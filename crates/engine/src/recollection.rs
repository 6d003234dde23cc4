//! What earlier runs left in the local store, read once: for an engine that goes on from it, and for whoever only looks.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_gemini::tokens::Calibration;
use tidegate_scheduler::{Counting, Day, Dimension, QuotaRules, Remembered, Scheduler, Settings, Timestamp};

use crate::kinship::Kin;
use crate::project::Project;
use crate::store::{DayRow, Fingerprint, KeyRecord, LearnedLimit, LearnedWindow, SlotRow, Store, StoreError};

/// Who was probably one project longer ago has been told.
const A_MONTH: Duration = Duration::from_secs(30 * 86_400);

/// A project as the store knows it: by its name and the fingerprints of its keys.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The project's name.
    pub name: String,
    /// Its keys.
    pub keys: Vec<Fingerprint>,
}

impl From<&Project> for Owner {
    fn from(project: &Project) -> Owner {
        let keys = project.keys.iter().map(|(_, secret)| Fingerprint::of(secret)).collect();
        Owner { name: project.name.clone(), keys }
    }
}

/// Everything that still says something about now.
#[derive(Debug, Default)]
pub struct Recollection {
    /// The instant that days of a fixed length are counted from, where there is one.
    pub day_anchor: Option<Timestamp>,
    /// Requests of the last minute.
    pub slots: Vec<SlotRow>,
    /// Requests of the quota day that is not over.
    pub days: Vec<DayRow>,
    /// Limits that the server told or let us find out.
    pub limits: Vec<LearnedLimit>,
    /// How the server turned out to count.
    pub windows: Vec<LearnedWindow>,
    /// Projects that were probably one within the last month.
    pub kin: Vec<Kin>,
    /// States of keys that are not over.
    pub states: Vec<KeyRecord>,
    /// How far estimates of each model were off.
    pub calibration: Calibration,
}

impl Recollection {
    /// Reads the store, and writes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(store: &Store, rules: &QuotaRules, now: Timestamp) -> Result<Recollection, StoreError> {
        let mut calibration = Calibration::default();
        for sums in store.load_calibration()? {
            calibration.restore(&sums.model, &sums.modality, sums.estimated, sums.actual);
        }
        let day_anchor = match rules.day {
            Day::Pacific => None,
            Day::Every(_) => store.known_day_anchor()?,
        };
        let end = day_end(rules, day_anchor, now);
        let days = store.open_days(now)?.into_iter().filter(|day| day.day_end == end).collect();
        let states = store.key_states()?.into_iter().filter(|state| state.until.is_none_or(|until| until > now)).collect();
        let slots = store.recent_slots(now.before(longest_window(rules)))?;
        let (limits, windows) = (store.learned_limits()?, store.learned_windows()?);
        let kin = store.kin(now.before(A_MONTH))?;
        Ok(Recollection { day_anchor, slots, days, limits, windows, kin, states, calibration })
    }

    /// What of it shapes a run over these projects, numbered in their order.
    pub fn remembered(&self, owners: &[Owner]) -> Vec<Remembered> {
        let mut all = Gathered { owners, all: HashMap::new() };
        for row in &self.slots {
            all.of(&row.project, &row.model, |it| it.slots.push((row.start, row.requests, row.tokens)));
        }
        for row in &self.days {
            all.of(&row.project, &row.model, |it| it.today = row.requests);
        }
        for limit in &self.limits {
            all.of(&limit.project, &limit.model, |it| learned(it, limit));
        }
        for window in &self.windows {
            all.of(&window.project, &window.model, |it| counted(it.counting.get_or_insert(UNKNOWN), window));
        }
        for state in self.states.iter().filter(|state| !state.model.is_empty()) {
            let Some(until) = state.until else { continue };
            for owner in owners.iter().filter(|owner| owner.keys.contains(&state.key)) {
                all.of(&owner.name, &state.model, |it| it.held = Some((until, state.state == "FULLY_EXHAUSTED")));
            }
        }
        all.all.into_values().collect()
    }
}

/// Nothing learned yet of how a server counts.
const UNKNOWN: Counting = Counting {
    kind: tidegate_scheduler::WindowKind::Auto,
    request_burst: 1.0,
    token_burst: 1.0,
    guard: Duration::ZERO,
    counts_total: false,
};

struct Gathered<'a> {
    owners: &'a [Owner],
    all: HashMap<(u32, String), Remembered>,
}

impl Gathered<'_> {
    /// Changes what is remembered of (project, model), if the project is one of ours.
    fn of(&mut self, project: &str, model: &str, change: impl FnOnce(&mut Remembered)) {
        let place = self.owners.iter().position(|owner| owner.name == project);
        let Some(project) = place.and_then(|place| u32::try_from(place).ok()) else { return };
        let fresh = || Remembered { project, model: model.to_string(), ..Remembered::default() };
        change(self.all.entry((project, model.to_string())).or_insert_with(fresh));
    }
}

fn learned(remembered: &mut Remembered, limit: &LearnedLimit) {
    match (limit.value, limit.dimension) {
        (0, _) => remembered.parked = true,
        (value, Dimension::Rpm) => remembered.learned.rpm = Some(value),
        (value, Dimension::Tpm) => remembered.learned.tpm = Some(value),
        (value, Dimension::Rpd) => remembered.learned.rpd = Some(value),
        (_, Dimension::Tpd) => {}
    }
}

fn counted(counting: &mut Counting, window: &LearnedWindow) {
    match window.dimension {
        Dimension::Rpm => counting.request_burst = window.burst,
        Dimension::Tpm => {
            counting.token_burst = window.burst;
            counting.counts_total = window.counts_total;
        }
        Dimension::Rpd | Dimension::Tpd => return,
    }
    (counting.kind, counting.guard) = (window.kind, window.guard);
}

/// When the quota day that holds `now` ends.
fn day_end(rules: &QuotaRules, anchor: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let mut scheduler = Scheduler::new(Vec::new(), Settings { quota: rules.clone(), ..Settings::default() });
    anchor.into_iter().for_each(|anchor| scheduler.anchor_days(anchor));
    scheduler.day_end(now)
}

/// A minute and the widest guard that is ever added to it.
fn longest_window(rules: &QuotaRules) -> Duration {
    rules.minute + rules.guard_in_force().max(rules.minute / 60) + rules.minute / 600
}
