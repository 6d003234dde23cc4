//! What earlier runs left in the local store, for commands that send nothing themselves.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use tidegate_engine::Project;
use tidegate_engine::scheduler::{Dimension, Limits, Remembered, Timestamp};
use tidegate_engine::store::{DayRow, Fingerprint, KeyEvent, KeyRecord, LearnedLimit, Store, StoreError};
use tidegate_gemini::tokens::Calibration;

use crate::screen::Screen;
use crate::settings::Settings;

/// The name of the store's file in its folder.
const FILE: &str = "tidegate.db";
/// The state of a key that is not asked again.
const DEAD: &str = "FAILED_INIT";

/// Everything the store tells about now.
#[derive(Debug, Default)]
pub struct Past {
    /// Limits that the server told.
    pub limits: Vec<LearnedLimit>,
    /// Requests of the quota days that are not over.
    pub days: Vec<DayRow>,
    /// States of keys that are not over.
    pub states: Vec<KeyRecord>,
    /// How far estimates of each model were off.
    pub calibration: Calibration,
}

impl Past {
    /// Reads the store, if there is one; nothing is made where there is none. What cannot be read is a warning.
    pub fn read(settings: &Settings, simulated: bool, screen: &Screen) -> Past {
        let past = open(settings, simulated).and_then(|store| store.map_or(Ok(Past::default()), |store| Past::of(&store)));
        past.unwrap_or_else(|error| {
            screen.warn(error);
            Past::default()
        })
    }

    fn of(store: &Store) -> Result<Past, StoreError> {
        let now = now();
        let mut calibration = Calibration::default();
        for sums in store.load_calibration()? {
            calibration.restore(&sums.model, &sums.modality, sums.estimated, sums.actual);
        }
        let mut days = store.open_days(now)?;
        days.sort_by(|a, b| (&a.project, &a.model, a.day_end).cmp(&(&b.project, &b.model, b.day_end)));
        // Where the length of a day was changed, the older one ends first and is the one still counted.
        days.dedup_by(|later, first| later.project == first.project && later.model == first.model);
        let states = store.key_states()?.into_iter().filter(|record| record.until.is_none_or(|until| until > now));
        Ok(Past { limits: store.learned_limits()?, days, states: states.collect(), calibration })
    }

    /// Whether a key was put aside for good.
    pub fn is_dead(&self, key: &SecretString) -> bool {
        let key = Fingerprint::of(key);
        self.states.iter().any(|state| state.key == key && state.model.is_empty() && state.state == DEAD)
    }

    /// What of it shapes a run over these projects.
    pub fn remembered(&self, projects: &[Project]) -> Vec<Remembered> {
        let mut all: HashMap<(u32, &str), Remembered> = HashMap::new();
        let number = |name: &str| projects.iter().position(|project| project.name == name).and_then(|at| u32::try_from(at).ok());
        for day in &self.days {
            if let Some(project) = number(&day.project) {
                entry(&mut all, project, &day.model).today = day.requests;
            }
        }
        for limit in &self.limits {
            if let Some(project) = number(&limit.project) {
                let remembered = entry(&mut all, project, &limit.model);
                learned(&mut remembered.learned, limit);
                remembered.parked |= limit.value == 0;
            }
        }
        all.into_values().collect()
    }
}

/// The last changes in the life of a key, the newest last. `who` is its fingerprint or its name.
///
/// # Errors
/// When the store cannot be read.
pub fn journal(settings: &Settings, simulated: bool, who: &str, most: usize) -> Result<Vec<KeyEvent>, StoreError> {
    open(settings, simulated)?.map_or(Ok(Vec::new()), |store| store.key_journal(who, most))
}

/// Keys that work again are put aside no longer; tells how many were.
///
/// # Errors
/// When the store cannot be read or written.
pub fn revive<'a>(
    settings: &Settings,
    simulated: bool,
    working: impl Iterator<Item = (&'a str, &'a str, &'a SecretString)>,
) -> Result<usize, StoreError> {
    let Some(store) = open(settings, simulated)? else { return Ok(0) };
    let aside: Vec<_> = store.key_states()?.into_iter().filter(|state| state.model.is_empty()).collect();
    let mut revived = 0;
    for (name, project, secret) in working {
        let key = Fingerprint::of(secret);
        let Some(state) = aside.iter().find(|state| state.key == key) else { continue };
        store.clear_key_state(key, "")?;
        store.append_key_event(&KeyEvent {
            at: now(),
            key,
            name: name.to_string(),
            project: project.to_string(),
            model: String::new(),
            from: state.state.clone(),
            to: "AVAILABLE".to_string(),
            cause: "works again when checked".to_string(),
            http_status: Some(200),
            body: None,
        })?;
        revived += 1;
    }
    Ok(revived)
}

/// The store, if there is one; a simulation has none.
fn open(settings: &Settings, simulated: bool) -> Result<Option<Store>, StoreError> {
    let folder = settings.state_dir.as_ref().filter(|folder| !simulated && folder.join(FILE).is_file());
    folder.map(|folder| Store::open(folder, &settings.base_url)).transpose()
}

fn entry<'a, 'm>(all: &'m mut HashMap<(u32, &'a str), Remembered>, project: u32, model: &'a str) -> &'m mut Remembered {
    let fresh = || Remembered { project, model: model.to_string(), ..Remembered::default() };
    all.entry((project, model)).or_insert_with(fresh)
}

fn learned(limits: &mut Limits, told: &LearnedLimit) {
    match told.dimension {
        Dimension::Rpm => limits.rpm = Some(told.value),
        Dimension::Tpm => limits.tpm = Some(told.value),
        Dimension::Rpd => limits.rpd = Some(told.value),
        Dimension::Tpd => {}
    }
}

fn now() -> Timestamp {
    Timestamp::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// An instant in the words of the local calendar: `2026-11-22 18:30`.
pub fn local(at: Timestamp) -> String {
    instant(at).map_or("for good".to_string(), |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%F %H:%M").to_string())
}

/// An instant for programs: RFC 3339 in UTC; `None` for "never".
pub fn utc(at: Timestamp) -> Option<String> {
    instant(at).map(|at| at.to_string())
}

fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(i64::try_from(at.as_micros()).ok()?).ok()
}
