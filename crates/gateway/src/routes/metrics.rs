//! `GET /metrics`: what is counted and how it stands, for Prometheus.

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tidegate_engine::{QuotaStatus, Status};

use crate::answer::{self, Answer};
use crate::exposition::{self, Exposition};
use crate::figures::{Figures, Outcome};
use crate::server::Gate;

/// The states a key may be in.
const STATES: [&str; 5] = ["AVAILABLE", "COOLDOWN", "TEMPORARILY_EXHAUSTED", "FULLY_EXHAUSTED", "FAILED_INIT"];

/// All figures in the text format.
pub fn metrics(gate: &Gate) -> Answer {
    let status = gate.engine.status();
    let mut text = Exposition::default();
    requests(&mut text, &gate.figures);
    calls(&mut text, &gate.figures);
    queue(&mut text, &status, &gate.figures);
    quotas(&mut text, &status, &gate.figures);
    keys(&mut text, &status);
    process(&mut text, &gate.figures);
    let mut answer = answer::json(200, text.text());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    answer
}

fn requests(text: &mut Exposition, figures: &Figures) {
    let front = figures.front();
    let mut family = text.counter("tidegate_requests_total", "Requests of clients that came to their end.");
    for (route, model, client, counts) in front.requests() {
        for outcome in Outcome::ALL.into_iter().filter(|outcome| counts.of(*outcome) > 0) {
            let labels = [("route", route), ("model", model), ("outcome", outcome.name()), ("client", &*client)];
            family.sample(&labels, counts.of(outcome));
        }
    }
    let mut family = text.histogram("tidegate_request_seconds", "From a request's head to the end of its answer.");
    for (route, buckets) in front.durations() {
        family.buckets(&[("route", route)], buckets);
    }
}

fn calls(text: &mut Exposition, figures: &Figures) {
    let upstream = figures.upstream();
    let mut family = text.histogram("tidegate_queue_seconds", "What prompts waited for their first permit.");
    upstream.models().for_each(|(model, of)| family.buckets(&[("model", &*model)], &of.queue));
    let mut family = text.histogram("tidegate_upstream_seconds", "From sending an attempt to the end of its answer.");
    upstream.models().for_each(|(model, of)| family.buckets(&[("model", &*model)], &of.latency));
    let help = "Attempts that came back from the API, by HTTP status, or by a word where no answer came.";
    let mut family = text.counter("tidegate_upstream_attempts_total", help);
    upstream.attempts.iter().for_each(|(code, count)| family.sample(&[("code", &**code)], count));
    let help = "Attempts that were not the first of their prompt, by the fault of the one before.";
    let mut family = text.counter("tidegate_retries_total", help);
    upstream.retries.iter().for_each(|(reason, count)| family.sample(&[("reason", &**reason)], count));
    let help = "Tokens of all attempts; those from a cache are part of the input.";
    let mut family = text.counter("tidegate_tokens_total", help);
    for (model, of) in upstream.models() {
        let usage = &of.usage;
        let kinds = [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("thinking", usage.thinking_tokens),
            ("cached", usage.cached_tokens),
        ];
        kinds.into_iter().for_each(|(kind, count)| family.sample(&[("kind", kind), ("model", &*model)], count));
    }
}

fn queue(text: &mut Exposition, status: &Status, figures: &Figures) {
    let mut family = text.gauge("tidegate_queue_length", "Prompts that wait: for a permit, or paused after a fault.");
    family.sample(&[("state", "waiting")], status.queued);
    family.sample(&[("state", "paused")], status.paused);
    let oldest = figures.upstream().oldest().map_or(0.0, |since| (status.at - since).as_secs_f64());
    text.gauge("tidegate_queue_oldest_seconds", "How long the prompt has waited that waits longest.").sample(&[], oldest);
    text.gauge("tidegate_active_calls", "Attempts under way.").sample(&[], status.active);
    text.gauge("tidegate_active_calls_limit", "The most attempts that may be under way.").sample(&[], status.max_active);
}

/// Quotas of models that the API is known to have; names that clients made up would be without bound.
fn quotas(text: &mut Exposition, status: &Status, figures: &Figures) {
    let upstream = figures.upstream();
    let known: Vec<&QuotaStatus> = status.quotas.iter().filter(|quota| upstream.knows(&quota.model)).collect();
    drop(upstream);
    let dimensions = |quota: &QuotaStatus| [("rpm", quota.rpm), ("tpm", quota.tpm), ("rpd", quota.rpd)];
    let mut family = text.gauge("tidegate_quota_used", "What is used of the running minute or day.");
    for quota in &known {
        for (dimension, (used, _)) in dimensions(quota) {
            family.sample(&[("project", &*quota.project), ("model", &*quota.model), ("dimension", dimension)], used);
        }
    }
    let mut family = text.gauge("tidegate_quota_limit", "What a minute or day gives, where that is known.");
    for quota in &known {
        for (dimension, (_, limit)) in dimensions(quota) {
            if let Some(limit) = limit {
                family.sample(&[("project", &*quota.project), ("model", &*quota.model), ("dimension", dimension)], limit);
            }
        }
    }
    let mut family = text.gauge("tidegate_quota_held_seconds", "What is left of a pause that the API asked for.");
    for quota in &known {
        let left = quota.held_until.filter(|until| !until.is_never()).map_or(0.0, |until| (until - status.at).as_secs_f64());
        family.sample(&[("project", &*quota.project), ("model", &*quota.model)], left);
    }
}

fn keys(text: &mut Exposition, status: &Status) {
    let mut family = text.gauge("tidegate_key_state", "1 for the state a key is in.");
    for key in &status.keys {
        for state in STATES {
            let labels = [("project", &*key.project), ("key", &*key.name), ("state", state)];
            family.sample(&labels, u8::from(key.state == state));
        }
    }
}

fn process(text: &mut Exposition, figures: &Figures) {
    let since = figures.since().as_micros() as f64 / 1e6;
    text.gauge("process_start_time_seconds", "When counting began, in seconds since 1970.").sample(&[], since);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.gauge("tidegate_build_info", "Which build it is.").sample(&version, 1);
}
