//! The keys the server knows: whose they are, and when they stop working.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;

/// A key of a scenario; its `Debug` form shows none of it.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct SimKey(String);

/// Whether a key is let in, and if not, with which error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Let in.
    #[default]
    Valid,
    /// 400 `API_KEY_INVALID`.
    Invalid,
    /// 400 `API_KEY_INVALID`, expired.
    Expired,
    /// 403, reported as leaked.
    Leaked,
    /// 403 `CONSUMER_SUSPENDED`.
    Suspended,
    /// 403 `SERVICE_DISABLED`.
    ServiceDisabled,
    /// 403 `API_KEY_SERVICE_BLOCKED`.
    Blocked,
    /// 403 without a reason.
    Forbidden,
    /// 400 `FAILED_PRECONDITION`, the country is not served.
    Location,
}

/// One step in the life of a key. With neither condition it holds from the start; with both, both must be met.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// The key, one of its project's.
    pub key: SimKey,
    /// What it becomes; a later line of the file wins over an earlier one.
    pub becomes: KeyState,
    /// From this time since the first request on, milliseconds.
    #[serde(default)]
    pub at_ms: u64,
    /// Once it was used this often.
    #[serde(default)]
    pub after_requests: u64,
}

/// Who stands behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Unknown,
    Known { project: usize, state: KeyState },
}

#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    entries: HashMap<SimKey, Entry>,
}

#[derive(Debug)]
struct Entry {
    project: usize,
    uses: u64,
    changes: Vec<KeyChange>,
}

impl SimKey {
    /// The key itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SimKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl fmt::Debug for SimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimKey(…, {} characters)", self.0.len())
    }
}

/// Lets a map of keys be asked with a borrowed string.
impl std::borrow::Borrow<str> for SimKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl KeyRing {
    pub(crate) fn add(&mut self, key: SimKey, project: usize, changes: Vec<KeyChange>) {
        self.entries.insert(key, Entry { project, uses: 0, changes });
    }

    /// Uses a key once and tells how it stands.
    pub(crate) fn present(&mut self, key: &str, elapsed_ms: u64) -> Standing {
        let Some(entry) = self.entries.get_mut(key) else { return Standing::Unknown };
        let (uses, project) = (entry.uses, entry.project);
        entry.uses += 1;
        let due = |c: &&KeyChange| elapsed_ms >= c.at_ms && uses >= c.after_requests;
        let state = entry.changes.iter().rfind(due).map_or(KeyState::Valid, |c| c.becomes);
        Standing::Known { project, state }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_key_changes_at_its_time_or_after_its_uses() {
        let change = |toml: &str| -> KeyChange { toml::from_str(toml).unwrap() };
        let mut ring = KeyRing::default();
        let changes = vec![change("key='k'\nbecomes='leaked'\nafter_requests=2"), change("key='k'\nbecomes='valid'\nat_ms=100")];
        ring.add("k".into(), 3, changes);
        let mut state = |ms| match ring.present("k", ms) {
            Standing::Known { project: 3, state } => state,
            other => panic!("{other:?}"),
        };
        assert_eq!(state(0), KeyState::Valid);
        assert_eq!(state(0), KeyState::Valid);
        assert_eq!(state(0), KeyState::Leaked);
        assert_eq!(state(100), KeyState::Valid);
        assert_eq!(ring.present("other", 0), Standing::Unknown);
    }

    #[test]
    fn a_key_is_not_shown_when_debugged() {
        let shown = format!("{:?}", SimKey::from("SIM-secret-secret"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
