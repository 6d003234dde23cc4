//! What a user can tell the scheduler: pacing, retries, how the server counts.

use std::time::Duration;

/// Everything that shapes decisions, beside projects, keys and limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// How fast calls may follow each other, apart from quotas.
    pub pacing: Pacing,
    /// How often a prompt is asked, and after which pauses.
    pub retry: Retry,
    /// What a refusal does to a quota where the server does not say.
    pub keys: KeyRules,
    /// How the server counts a minute and a day.
    pub quota: QuotaRules,
    /// Seed of the generator that jitters pauses; same seed, same decisions.
    pub seed: u64,
}

/// Limits on calls that have nothing to do with quotas. Zero means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pacing {
    /// The most attempts under way at once; 0 = 4096.
    pub max_concurrency: usize,
    /// Least time between the starts of any two calls.
    pub call_interval: Duration,
    /// The most attempts under way with one key; 0 = no bound.
    pub slots_per_key: usize,
    /// Least time between two starts in the same slot of a key.
    pub slot_interval: Duration,
    /// Rest of a key after each use; a key with a rest serves one call at a time.
    pub key_cooldown: Duration,
    /// Rest of a worker after each call.
    pub worker_cooldown: Duration,
    /// Pause of a prompt before each of its attempts, the first too.
    pub delay: Duration,
}

/// How often a prompt is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts that may fail by the prompt's own fault.
    pub max_task_attempts: u32,
    /// Attempts that may fail by the API's or the network's fault.
    pub max_transient_attempts: u32,
    /// Attempts of any outcome; 0 = no bound. 1 = one request a prompt.
    pub max_attempts: u32,
    /// First pause after a fault; doubles with each further one.
    pub initial_backoff: Duration,
    /// Longest pause of our own making; a pause told by the server may be longer.
    pub max_backoff: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            max_task_attempts: 3,
            max_transient_attempts: 6,
            max_attempts: 0,
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
        }
    }
}

/// Pauses after refusals. What a refusal itself tells (its delay, its dimension) comes first; `None` trusts the evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRules {
    /// Pause when no delay was told; `None` = a 60th of the minute, doubling up to a minute, reset by a success.
    pub exhausted_wait: Option<Duration>,
    /// Pause of a quota that is used up for the day, or refused too often in a row; `None` = until the next quota day.
    pub fully_exhausted_wait: Option<Duration>,
    /// Refusals in a row after which a quota counts as fully exhausted; `None` = never by count alone.
    pub max_exhausted_retries: Option<u32>,
}

impl KeyRules {
    /// The timers of the `classic` preset: 120 s, 12 h, three in a row.
    pub fn classic() -> KeyRules {
        KeyRules {
            exhausted_wait: Some(Duration::from_secs(120)),
            fully_exhausted_wait: Some(Duration::from_secs(12 * 3_600)),
            max_exhausted_retries: Some(3),
        }
    }
}

/// How the server counts.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaRules {
    /// The kind of window behind a per-minute limit.
    pub window: WindowKind,
    /// Length of the server's minute; test servers scale it.
    pub minute: Duration,
    /// With [`WindowKind::Bucket`]: the part of a minute's limit that the server's bucket holds; a sixth where it is not known.
    pub bucket: f64,
    /// When a quota day ends.
    pub day: Day,
    /// Which tokens count against a limit per minute.
    pub tpm_counts: TpmCounts,
    /// How late a request may be counted after we sent it; `None` = minute/50 within 50 ms and 0.5 s.
    pub guard: Option<Duration>,
}

impl Default for QuotaRules {
    fn default() -> QuotaRules {
        QuotaRules {
            window: WindowKind::Auto,
            minute: Duration::from_secs(60),
            bucket: 1.0 / 6.0,
            day: Day::Pacific,
            tpm_counts: TpmCounts::Auto,
            guard: None,
        }
    }
}

impl QuotaRules {
    /// The guard in force.
    pub fn guard_in_force(&self) -> Duration {
        self.guard.unwrap_or_else(|| {
            (self.minute / 50).clamp(Duration::from_millis(50).min(self.minute / 50), Duration::from_millis(500))
        })
    }
}

/// The server's way to count a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WindowKind {
    /// Not known: a whole window at once is tried, and halved when the server refuses it.
    #[default]
    Auto,
    /// The last sixty seconds at any time.
    Sliding,
    /// Calendar minutes, or minutes from any phase.
    Fixed,
    /// A bucket that refills steadily and may be much smaller than a minute's worth.
    Bucket,
}

/// Which tokens a server counts against the limit per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TpmCounts {
    /// Those of the prompt, until a refusal shows that only all of them explain it.
    #[default]
    Auto,
    /// Those of the prompt.
    Input,
    /// Those of prompt, thinking and answer.
    Total,
}

/// When a quota day ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Day {
    /// At midnight in America/Los_Angeles, 23 to 25 hours after the one before.
    #[default]
    Pacific,
    /// Every so long, counted from the first request.
    Every(Duration),
}
