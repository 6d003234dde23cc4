//! Profiles on the command line and in settings: the library's presets by name, each a layer below all that people say.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
pub use tidegate_engine::Profile;
use tidegate_engine::scheduler::{KeyRules, Pacing, QuotaRules, Retry, Settings};

use super::layers::{KeysLayer, Layer, PacingLayer, QuotaLayer, RetryLayer};
use super::values::{AutoSpan, Written};

/// The preset as a layer of settings: what is not as it is by default.
pub fn layer(profile: Profile) -> Layer {
    let (usual, told) = (Settings::default(), profile.settings());
    Layer {
        pacing: pacing(&usual.pacing, &told.pacing),
        retry: retry(&usual.retry, &told.retry),
        keys: keys(&usual.keys, &told.keys),
        quota: quota(&usual.quota, &told.quota),
        ..Layer::default()
    }
}

/// Reads the name of one.
pub fn parser() -> impl TypedValueParser<Value = Profile> {
    let values = Profile::ALL.map(|profile| PossibleValue::new(profile.name()).help(profile.about()));
    PossibleValuesParser::new(values).map(|name| Profile::read(&name).unwrap_or_default())
}

impl Written for Profile {
    const EXPECTED: &'static str = "\"conservative\", \"balanced\", \"aggressive\", \"classic\" or \"slots\"";
    fn read(text: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.name() == text.trim())
    }
    fn show(&self) -> String {
        self.name().to_string()
    }
}

fn other<T: PartialEq>(usual: T, told: T) -> Option<T> {
    (told != usual).then_some(told)
}

fn pacing(usual: &Pacing, told: &Pacing) -> PacingLayer {
    PacingLayer {
        max_concurrency: other(usual.max_concurrency, told.max_concurrency),
        call_interval: other(usual.call_interval, told.call_interval),
        slots_per_key: other(usual.slots_per_key, told.slots_per_key),
        slot_interval: other(usual.slot_interval, told.slot_interval),
        key_cooldown: other(usual.key_cooldown, told.key_cooldown),
        worker_cooldown: other(usual.worker_cooldown, told.worker_cooldown),
        delay: other(usual.delay, told.delay),
    }
}

fn retry(usual: &Retry, told: &Retry) -> RetryLayer {
    RetryLayer {
        max_task_attempts: other(usual.max_task_attempts, told.max_task_attempts),
        max_transient_attempts: other(usual.max_transient_attempts, told.max_transient_attempts),
        max_attempts: other(usual.max_attempts, told.max_attempts),
        initial_backoff: other(usual.initial_backoff, told.initial_backoff),
        max_backoff: other(usual.max_backoff, told.max_backoff),
        ..RetryLayer::default()
    }
}

fn keys(usual: &KeyRules, told: &KeyRules) -> KeysLayer {
    KeysLayer {
        exhausted_wait: other(usual.exhausted_wait, told.exhausted_wait).map(AutoSpan),
        fully_exhausted_wait: other(usual.fully_exhausted_wait, told.fully_exhausted_wait).map(AutoSpan),
        max_exhausted_retries: other(usual.max_exhausted_retries, told.max_exhausted_retries).flatten(),
    }
}

fn quota(usual: &QuotaRules, told: &QuotaRules) -> QuotaLayer {
    QuotaLayer {
        window: other(usual.window, told.window),
        minute: other(usual.minute, told.minute),
        bucket: other(usual.bucket, told.bucket).map(super::values::Part),
        day: other(usual.day, told.day),
        guard: other(usual.guard, told.guard).map(AutoSpan),
        tpm_counts: other(usual.tpm_counts, told.tpm_counts),
        ..QuotaLayer::default()
    }
}
