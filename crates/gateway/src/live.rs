//! How it stands at this instant, as the page is shown it: one event of `/api/events`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::{KeyStatus, QuotaStatus, Status};

use crate::budget::{Allowance, Used};
use crate::figures::{Fault, Figures, Outcome};
use crate::health::Health;
use crate::server::Gate;

/// One server-sent event.
pub fn event(gate: &Gate) -> Bytes {
    format!("event: state\ndata: {}\n\n", state(gate)).into()
}

fn state(gate: &Gate) -> Value {
    let status = gate.engine.status();
    let (at, figures) = (status.at, &*gate.figures);
    let draining = gate.draining.load(Ordering::Relaxed);
    let bound = gate.settings.max_queue as u64;
    let Health { state, reasons } = Health::of(&status, draining, bound);
    let usage = figures.upstream().usage();
    json!({
        "at": utc(at),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": (at - figures.since()).as_secs_f64(),
        "health": {"state": state.name(), "reasons": reasons},
        "workers": {"running": !draining, "active": status.active, "max": status.max_active},
        "queue": queue(&status, bound, figures),
        "quotas": quotas(&status, figures),
        "keys": status.keys.iter().map(|key| key_state(at, key)).collect::<Value>(),
        "minutes": minutes(figures, at),
        "seconds": seconds(figures, at),
        "tokens": {"input": usage.input_tokens, "output": usage.output_tokens + usage.thinking_tokens},
        "errors": figures.faults().iter().map(fault).collect::<Value>(),
        "clients": clients(gate),
    })
}

fn queue(status: &Status, bound: u64, figures: &Figures) -> Value {
    let oldest = figures.upstream().oldest();
    let reason = status.waiting.as_ref().map(|waiting| {
        json!({
            "reason": waiting.reason,
            "project": waiting.project.as_deref(),
            "model": waiting.model.as_deref(),
            "seconds_left": left(status.at, waiting.until),
        })
    });
    json!({
        "waiting": status.queued,
        "paused": status.paused,
        "bound": bound,
        "oldest_wait_s": oldest.map(|since| (status.at - since).as_secs_f64()),
        "for": reason,
    })
}

/// Quotas of models that the API is known to have: a name that somebody made up has none worth showing.
fn quotas(status: &Status, figures: &Figures) -> Value {
    let share = |(used, limit): (u64, Option<u64>)| json!({"used": used, "limit": limit});
    let told = |quota: &QuotaStatus| {
        json!({
            "project": &*quota.project,
            "model": &*quota.model,
            "rpm": share(quota.rpm),
            "tpm": share(quota.tpm),
            "rpd": share(quota.rpd),
            "held_s": left(status.at, quota.held_until),
            "frees_in_s": left(status.at, quota.frees_at),
        })
    };
    let upstream = figures.upstream();
    status.quotas.iter().filter(|quota| upstream.knows(&quota.model)).map(told).collect()
}

fn key_state(now: Timestamp, key: &KeyStatus) -> Value {
    json!({
        "project": &*key.project,
        "name": &*key.name,
        "state": key.state,
        "active": key.active,
        "seconds_left": left(now, key.until),
        "reason": key.reason,
    })
}

fn minutes(figures: &Figures, now: Timestamp) -> Value {
    let (upstream, front) = (figures.upstream(), figures.front());
    let told = |number: u64| {
        let (above, below) = (upstream.minute(number), front.minute(number));
        let counts = below.map(|below| below.counts).unwrap_or_default();
        let took = |percent: f64| below.and_then(|below| below.took.percentile(percent)).map(millis);
        json!({
            "start": utc(Timestamp::from_secs(number * 60)),
            "answered": counts.of(Outcome::Answered),
            "failed": counts.failed(),
            "refused": counts.of(Outcome::Refused),
            "retries": above.map_or(0, |above| above.retries),
            "p50_ms": took(50.0),
            "p95_ms": took(95.0),
            "queue_p95_ms": above.and_then(|above| above.queue.percentile(95.0)).map(millis),
        })
    };
    figures.minutes(now).map(told).collect()
}

fn seconds(figures: &Figures, now: Timestamp) -> Value {
    let front = figures.front();
    let told = |number: u64| {
        let counts = front.second(number);
        json!({"answered": counts.of(Outcome::Answered), "failed": counts.failed()})
    };
    figures.seconds(now).map(told).collect()
}

fn fault(fault: &Fault) -> Value {
    json!({
        "at": utc(fault.at),
        "code": &*fault.code,
        "http_status": fault.http_status,
        "message": fault.message,
        "project": fault.project.as_deref(),
        "key": fault.key.as_deref(),
        "client": fault.client.as_deref(),
        "request_id": fault.request_id.as_deref(),
    })
}

/// Everybody who is named in the settings, and who else has asked.
fn clients(gate: &Gate) -> Value {
    let seen: Vec<(Arc<str>, _)> = gate.figures.front().clients().collect();
    let known = gate.settings.clients.iter().map(|client| (client.name.as_str(), client.priority, client.allowance));
    let others = seen.iter().map(|(name, _)| (&**name, 0, Allowance::default()));
    let is_known = |name: &str| gate.settings.clients.iter().any(|client| client.name == name);
    let upstream = gate.figures.upstream();
    let told = |(name, priority, allowance): (&str, i32, Allowance)| {
        let counts = seen.iter().find(|(known, _)| &**known == name).map(|(_, counts)| *counts).unwrap_or_default();
        let of_engine = upstream.client(name);
        json!({
            "name": name,
            "priority": priority,
            "requests": counts.sum(),
            "answered": counts.of(Outcome::Answered),
            "failed": counts.failed(),
            "refused": counts.of(Outcome::Refused),
            "waiting": of_engine.waiting,
            "tokens": of_engine.tokens,
            "budgets": budgets(allowance, gate.purses.used(name)),
        })
    };
    known.chain(others.filter(|(name, ..)| !is_known(name))).map(told).collect()
}

/// What of its own limits a client has used; null where it has none.
fn budgets(allowance: Allowance, used: Used) -> Value {
    let share = |used: u64, limit: Option<u64>| limit.map(|limit| json!({"used": used, "limit": limit}));
    json!({
        "rpm": share(used.requests, allowance.rpm),
        "tpm": share(used.tokens, allowance.tpm),
        "daily_tokens": share(used.today, allowance.tokens_per_day),
    })
}

/// Seconds until then; `None` for never.
fn left(now: Timestamp, until: Option<Timestamp>) -> Option<f64> {
    until.filter(|until| !until.is_never()).map(|until| (until - now).as_secs_f64())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A point in time as RFC 3339 writes it, to the millisecond.
fn utc(at: Timestamp) -> String {
    let millis = i64::try_from(at.as_micros() / 1_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
}
