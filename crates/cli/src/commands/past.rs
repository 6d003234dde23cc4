//! What earlier runs left in the local store, for commands that send nothing themselves.

use std::ops::Deref;
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use tidegate_engine::scheduler::{Remembered, Timestamp};
use tidegate_engine::store::{Fingerprint, KeyEvent, Store, StoreError};
use tidegate_engine::{Owner, Project, Recollection};

use crate::screen::Screen;
use crate::settings::Settings;

/// The name of the store's file in its folder.
const FILE: &str = "tidegate.db";
/// The state of a key that is not asked again.
const DEAD: &str = "FAILED_INIT";

/// Everything the store tells about now.
#[derive(Debug, Default)]
pub struct Past(Recollection);

impl Deref for Past {
    type Target = Recollection;

    fn deref(&self) -> &Recollection {
        &self.0
    }
}

impl Past {
    /// Reads the store, if there is one; nothing is made where there is none. What cannot be read is a warning.
    pub fn read(settings: &Settings, simulated: bool, screen: &Screen) -> Past {
        let rules = &settings.scheduler.quota;
        let read = |store: Option<Store>| store.map(|store| Recollection::read(&store, rules, now())).transpose();
        let past = open(settings, simulated).and_then(read).unwrap_or_else(|error| {
            screen.warn(error);
            None
        });
        Past(past.unwrap_or_default())
    }

    /// Whether a key was put aside for good.
    pub fn is_dead(&self, key: &SecretString) -> bool {
        let key = Fingerprint::of(key);
        self.states.iter().any(|state| state.key == key && state.model.is_empty() && state.state == DEAD)
    }

    /// What of it shapes a run over these projects.
    pub fn remembered(&self, projects: &[Project]) -> Vec<Remembered> {
        self.0.remembered(&projects.iter().map(Owner::from).collect::<Vec<_>>())
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

fn now() -> Timestamp {
    Timestamp::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// An instant in the words of the local calendar: `2026-11-22 18:30`.
pub fn local(at: Timestamp) -> String {
    instant(at).map_or("for good".to_string(), |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%F %H:%M").to_string())
}

/// Its day in the local calendar: `2026-11-22`.
pub fn local_date(at: Timestamp) -> String {
    local(at).split(' ').next().unwrap_or_default().to_string()
}

/// An instant for programs: RFC 3339 in UTC; `None` for "never".
pub fn utc(at: Timestamp) -> Option<String> {
    instant(at).map(|at| at.to_string())
}

fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(i64::try_from(at.as_micros()).ok()?).ok()
}
