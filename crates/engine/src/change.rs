//! Settings that change while the engine runs, and the profiles that bundle them.

use std::time::Duration;

use tidegate_gemini::models::Limits;
use tidegate_scheduler::{KeyRules, Pacing, Reconfiguration, Retry, Settings, WindowKind};

use crate::project::{Project, family, scheduler_limits};
use crate::retry_on::RetryOn;
use crate::roster::Roster;

/// What is to change; what is `None` or not listed stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// How fast calls may follow each other.
    pub pacing: Option<Pacing>,
    /// How often a prompt is asked.
    pub retry: Option<Retry>,
    /// The longest one attempt may take; those under way keep theirs.
    pub attempt_timeout: Option<Duration>,
    /// HTTP statuses that are worth another try.
    pub retry_on: Option<RetryOn>,
    /// What a refusal does where the server does not say.
    pub keys: Option<KeyRules>,
    /// Limits by name of the project and model id or `*`. A limit that a refusal has told stays the upper bound.
    pub limits: Vec<(String, String, Limits)>,
    /// All projects with their keys and limits, in place of the present ones. A key that is no longer listed gets no further
    /// call, those under way with it end.
    pub projects: Option<Vec<Project>>,
}

/// Limits for a project that the engine does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no project is named {0:?}: use the name of a project that the engine has")]
pub struct UnknownProject(pub String);

impl Change {
    /// Everything but what changes among projects and keys.
    pub(crate) fn numbered(self, roster: &Roster) -> Result<Reconfiguration, UnknownProject> {
        let Change { pacing, retry, keys, limits, .. } = self;
        let numbered = |(project, model, limits): (String, String, Limits)| {
            let number = roster.find(&project).ok_or(UnknownProject(project))?;
            Ok((number, family(&model), scheduler_limits(limits)))
        };
        let limits = limits.into_iter().map(numbered).collect::<Result<_, _>>()?;
        Ok(Reconfiguration { pacing, retry, keys, limits, ..Reconfiguration::default() })
    }
}

impl From<Profile> for Change {
    /// Everything of the profile that can change while it runs: all but the kind of window.
    fn from(profile: Profile) -> Change {
        let Settings { pacing, retry, keys, .. } = profile.settings();
        Change { pacing: Some(pacing), retry: Some(retry), keys: Some(keys), ..Change::default() }
    }
}

/// A preset of pacing, retries and caution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Never more than the steady flow of the quota, at most 16 calls at once, patient retries.
    Conservative,
    /// The full rate of the quota without provoking refusals.
    #[default]
    Balanced,
    /// A whole minute's quota at once, short pauses, ten tries.
    Aggressive,
    /// Rests after each use of a key (30 s) and a worker (5 s), two seconds between calls, fixed pauses after refusals.
    Classic,
    /// Four slots a key, each starting a call every 12 s at most.
    Slots,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 5] =
        [Profile::Conservative, Profile::Balanced, Profile::Aggressive, Profile::Classic, Profile::Slots];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Conservative => "conservative",
            Profile::Balanced => "balanced",
            Profile::Aggressive => "aggressive",
            Profile::Classic => "classic",
            Profile::Slots => "slots",
        }
    }

    /// What it does, in a line for people.
    pub fn about(self) -> &'static str {
        match self {
            Profile::Conservative => {
                "Never more than the steady flow of the quota, at most 16 calls at once, patient retries (2 s up to 2 m)"
            }
            Profile::Balanced => "The full rate of the quota without provoking refusals (the default)",
            Profile::Aggressive => "A whole minute's quota at once, short pauses after faults (250 ms up to 15 s), ten tries",
            Profile::Classic => {
                "A key rests 30 s after each use, a worker 5 s, any two calls are 2 s apart; 120 s after a refusal, 12 h after three in a row"
            }
            Profile::Slots => "Four slots a key, each starting a call every 12 s at most",
        }
    }

    /// The defaults with the preset over them.
    pub fn settings(self) -> Settings {
        let mut settings = Settings::default();
        let Settings { pacing, retry, keys, quota, .. } = &mut settings;
        match self {
            Profile::Balanced => {}
            Profile::Conservative => {
                pacing.max_concurrency = 16;
                (retry.initial_backoff, retry.max_backoff) = (Duration::from_secs(2), Duration::from_secs(120));
                quota.window = WindowKind::Bucket;
            }
            Profile::Aggressive => {
                retry.max_transient_attempts = 10;
                (retry.initial_backoff, retry.max_backoff) = (Duration::from_millis(250), Duration::from_secs(15));
                quota.window = WindowKind::Sliding;
            }
            Profile::Classic => {
                pacing.key_cooldown = Duration::from_secs(30);
                pacing.worker_cooldown = Duration::from_secs(5);
                pacing.call_interval = Duration::from_secs(2);
                *keys = KeyRules::classic();
            }
            Profile::Slots => {
                pacing.slots_per_key = 4;
                pacing.slot_interval = Duration::from_secs(12);
            }
        }
        settings
    }
}
