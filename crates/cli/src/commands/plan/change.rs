//! One thing that could be otherwise, to see what it would do to the time a run takes.

use std::time::Duration;

use tidegate_engine::Project;
use tidegate_engine::scheduler::Settings;
use tidegate_gemini::models::Limits;

/// What could be otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Twice the requests a minute.
    Rpm,
    /// Twice the input tokens a minute.
    Tpm,
    /// Twice the requests a day.
    Rpd,
    /// As many projects again, with their keys.
    Projects,
    /// Twice the calls at once with a key.
    Slots,
    /// Keys that need no rest.
    KeyCooldown,
    /// Workers that need no rest.
    WorkerCooldown,
    /// Half the interval between calls.
    CallInterval,
    /// Twice the calls at once.
    Concurrency,
}

impl Change {
    /// What would help against a reason for waiting.
    pub fn against(reason: &str) -> &'static [Change] {
        match reason {
            "RPM" => &[Change::Rpm, Change::Projects],
            "TPM" => &[Change::Tpm, Change::Projects],
            "RPD" => &[Change::Rpd, Change::Projects],
            "slots" => &[Change::Slots],
            "key cooldown" => &[Change::KeyCooldown],
            "worker cooldown" => &[Change::WorkerCooldown],
            "call interval" => &[Change::CallInterval],
            "concurrency" => &[Change::Concurrency],
            _ => &[],
        }
    }

    /// A few words for it.
    pub fn words(self) -> &'static str {
        match self {
            Change::Rpm => "2x RPM",
            Change::Tpm => "2x TPM",
            Change::Rpd => "2x RPD",
            Change::Projects => "2x projects",
            Change::Slots => "2x slots per key",
            Change::KeyCooldown => "no key cooldown",
            Change::WorkerCooldown => "no worker cooldown",
            Change::CallInterval => "half the call interval",
            Change::Concurrency => "2x concurrency",
        }
    }

    /// Makes it so.
    pub fn apply(self, projects: &mut Vec<Project>, settings: &mut Settings) {
        let pacing = &mut settings.pacing;
        match self {
            Change::Rpm => limits(projects, |limits| limits.rpm = twice(limits.rpm)),
            Change::Tpm => limits(projects, |limits| limits.tpm = twice(limits.tpm)),
            Change::Rpd => limits(projects, |limits| limits.rpd = twice(limits.rpd)),
            Change::Projects => projects.extend(projects.clone()),
            Change::Slots => pacing.slots_per_key *= 2,
            Change::KeyCooldown => pacing.key_cooldown = Duration::ZERO,
            Change::WorkerCooldown => pacing.worker_cooldown = Duration::ZERO,
            Change::CallInterval => pacing.call_interval /= 2,
            Change::Concurrency => pacing.max_concurrency = 2 * most(pacing.max_concurrency),
        }
    }
}

/// Calls at once when nothing is set: the scheduler's own bound.
fn most(set: usize) -> usize {
    if set == 0 { 4096 } else { set }
}

fn twice(limit: Option<u64>) -> Option<u64> {
    limit.map(|limit| limit.saturating_mul(2))
}

fn limits(projects: &mut [Project], change: impl Fn(&mut Limits)) {
    projects.iter_mut().flat_map(|project| &mut project.limits).for_each(|(_, limits)| change(limits));
}
