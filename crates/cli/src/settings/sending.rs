//! `[pacing]`, `[retry]`, `[keys]` and `[quota]`: how prompts are sent, as the scheduler wants to know it.

use std::time::Duration;

use tidegate_engine::scheduler::{KeyRules, Pacing, QuotaRules, Retry, Settings};

use super::values::{AutoSpan, Part};
use super::{Resolver, SettingsError};

pub(super) fn resolve(from: &mut Resolver<'_>) -> Settings {
    Settings { pacing: pacing(from), retry: retry(from), keys: key_rules(from), quota: quota(from), seed: 0 }
}

fn pacing(from: &mut Resolver<'_>) -> Pacing {
    let usual = Pacing::default();
    Pacing {
        max_concurrency: from.value("pacing.max_concurrency", usual.max_concurrency, |l| l.pacing.max_concurrency),
        call_interval: from.value("pacing.call_interval", usual.call_interval, |l| l.pacing.call_interval),
        slots_per_key: from.value("pacing.slots_per_key", usual.slots_per_key, |l| l.pacing.slots_per_key),
        slot_interval: from.value("pacing.slot_interval", usual.slot_interval, |l| l.pacing.slot_interval),
        key_cooldown: from.value("pacing.key_cooldown", usual.key_cooldown, |l| l.pacing.key_cooldown),
        worker_cooldown: from.value("pacing.worker_cooldown", usual.worker_cooldown, |l| l.pacing.worker_cooldown),
        delay: from.value("pacing.delay", usual.delay, |l| l.pacing.delay),
    }
}

fn retry(from: &mut Resolver<'_>) -> Retry {
    let usual = Retry::default();
    Retry {
        max_task_attempts: from.value("retry.max_task_attempts", usual.max_task_attempts, |l| l.retry.max_task_attempts),
        max_transient_attempts: from
            .value("retry.max_transient_attempts", usual.max_transient_attempts, |l| l.retry.max_transient_attempts),
        max_attempts: from.value("retry.max_attempts", usual.max_attempts, |l| l.retry.max_attempts),
        initial_backoff: from.value("retry.initial_backoff", usual.initial_backoff, |l| l.retry.initial_backoff),
        max_backoff: from.value("retry.max_backoff", usual.max_backoff, |l| l.retry.max_backoff),
    }
}

fn key_rules(from: &mut Resolver<'_>) -> KeyRules {
    let most = from.value("keys.max_exhausted_retries", 0, |l| l.keys.max_exhausted_retries);
    KeyRules {
        exhausted_wait: from.value("keys.exhausted_wait", AutoSpan(None), |l| l.keys.exhausted_wait).0,
        fully_exhausted_wait: from.value("keys.fully_exhausted_wait", AutoSpan(None), |l| l.keys.fully_exhausted_wait).0,
        max_exhausted_retries: (most > 0).then_some(most),
    }
}

fn quota(from: &mut Resolver<'_>) -> QuotaRules {
    let usual = QuotaRules::default();
    QuotaRules {
        window: from.value("quota.window", usual.window, |l| l.quota.window),
        minute: from.value("quota.minute", usual.minute, |l| l.quota.minute),
        day: from.value("quota.day", usual.day, |l| l.quota.day),
        bucket: from.value("quota.bucket", Part(usual.bucket), |l| l.quota.bucket).0,
        tpm_counts: from.value("quota.tpm_counts", usual.tpm_counts, |l| l.quota.tpm_counts),
        guard: from.value("quota.guard", AutoSpan(usual.guard), |l| l.quota.guard).0,
    }
}

/// Values that are well written and still cannot work.
pub(super) fn check(settings: &Settings, attempt_timeout: Duration) -> Result<(), SettingsError> {
    let at_least_one = "it must be at least 1";
    let not_zero = "it must be longer than nothing";
    let impossible = |name, value: String, reason| Err(SettingsError::Impossible { name, value, reason });
    let retry = &settings.retry;
    if retry.max_task_attempts == 0 {
        return impossible("retry.max_task_attempts", "0".into(), at_least_one);
    }
    if retry.max_transient_attempts == 0 {
        return impossible("retry.max_transient_attempts", "0".into(), at_least_one);
    }
    if settings.quota.minute.is_zero() {
        return impossible("quota.minute", "0s".into(), not_zero);
    }
    if attempt_timeout.is_zero() {
        return impossible("retry.attempt_timeout", "0s".into(), not_zero);
    }
    if retry.max_backoff < retry.initial_backoff {
        return impossible(
            "retry.max_backoff",
            format!("{:?}", retry.max_backoff),
            "it must not be less than retry.initial_backoff",
        );
    }
    Ok(())
}
