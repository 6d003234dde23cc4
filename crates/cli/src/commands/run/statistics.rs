//! The figures of a run by key, project and model: as JSON, and as lines for people.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidegate_engine::{Blame, Figures, Histogram, QuotaUse, Row, Share};

use crate::duration::show;
use crate::monitor::format::grouped;
use crate::report::brief;

/// Keys told one by one to people.
const KEYS: usize = 40;

/// Everything that was counted, as one JSON object; its shape is documented in docs/settings.md.
pub fn json(figures: &Figures) -> Value {
    let named = |names: &[(&str, &str)], row: &Row| {
        let mut object: Map<String, Value> = names.iter().map(|(key, name)| ((*key).to_string(), json!(name))).collect();
        object.extend(row_json(row));
        Value::Object(object)
    };
    let keys: Vec<Value> =
        figures.keys.iter().map(|((project, key), row)| named(&[("project", project), ("name", key)], row)).collect();
    let projects: Vec<Value> = figures.projects.iter().map(|(project, row)| named(&[("name", project)], row)).collect();
    let models: Vec<Value> = figures.models.iter().map(|(model, row)| named(&[("name", model)], row)).collect();
    let waiting: BTreeMap<&str, u64> = figures.waiting.iter().map(|(reason, span)| (*reason, millis(*span))).collect();
    let attempts: BTreeMap<String, u64> =
        figures.succeeded_at.iter().map(|(number, count)| (number.to_string(), *count)).collect();
    json!({
        "total": row_json(&figures.total),
        "keys": keys,
        "projects": projects,
        "models": models,
        "quotas": figures.quotas.iter().map(|((project, model), quota)| quota_json(project, model, quota)).collect::<Vec<_>>(),
        "faults": faults_json(figures),
        "waiting_ms": waiting,
        "succeeded_at_attempt": attempts,
        "unpriced_tokens": figures.unpriced.iter().map(|(model, tokens)| (model.to_string(), *tokens)).collect::<BTreeMap<_, _>>(),
    })
}

/// What everybody should know of the cost.
pub fn cost(figures: &Figures) -> Option<String> {
    if figures.total.usage.total_tokens == 0 {
        return None;
    }
    let unpriced: Vec<&str> = figures.unpriced.keys().map(|model| &**model).collect();
    let missing = match unpriced.as_slice() {
        [] => String::new(),
        models => format!("; no price is known of {}", models.join(", ")),
    };
    Some(format!("cost: {} at list prices{missing}", figures.total.cost))
}

/// Lines for whoever wants to know more.
pub fn lines(figures: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(latency(&figures.total.latency).map(|latency| format!("latency: {latency}")));
    lines.extend(waiting(figures));
    let retried: u64 = figures.succeeded_at.iter().filter(|(number, _)| **number > 1).map(|(_, count)| count).sum();
    if retried > 0 {
        lines.push(format!("answered at the second attempt or later: {}", grouped(retried)));
    }
    lines.extend(figures.quotas.iter().filter_map(|((project, model), quota)| quota_line(project, model, quota)));
    lines.extend(figures.models.iter().map(|(model, row)| row_line(&format!("model {model}"), row)));
    lines.extend(figures.projects.iter().map(|(project, row)| row_line(&format!("project {project}"), row)));
    lines.extend(figures.keys.iter().take(KEYS).map(|((_, key), row)| row_line(&format!("key {key}"), row)));
    if figures.keys.len() > KEYS {
        lines.push(format!("and {} more keys: --json has them all", grouped((figures.keys.len() - KEYS) as u64)));
    }
    lines
}

fn row_json(row: &Row) -> Map<String, Value> {
    let percentile = |percent| row.latency.percentile(percent).map(|span| span.as_micros() as f64 / 1_000.0);
    let entries = [
        ("requests", json!(row.requests)),
        ("successes", json!(row.successes)),
        ("errors", json!(row.errors)),
        ("usage", json!(row.usage)),
        ("cost_usd", json!(row.cost.dollars())),
        (
            "latency_ms",
            json!({ "p50": percentile(50.0), "p90": percentile(90.0), "p99": percentile(99.0), "max": percentile(100.0) }),
        ),
    ];
    entries.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn quota_json(project: &str, model: &str, quota: &QuotaUse) -> Value {
    let share = |share: &Share| json!({ "limit": share.limit, "most_used": share.most, "average_use": share.average(), "largest_use": share.largest() });
    json!({
        "project": project,
        "model": model,
        "rpm": share(&quota.rpm),
        "tpm": share(&quota.tpm),
        "rpd": { "limit": quota.rpd.1, "used": quota.rpd.0 },
    })
}

fn faults_json(figures: &Figures) -> Vec<Value> {
    let word = |blame| match blame {
        Blame::Key => "key",
        Blame::Task => "task",
        Blame::Upstream => "upstream",
    };
    let faults = figures.faults.iter();
    faults
        .map(|fault| {
            json!({
                "class": word(fault.blame),
                "http_status": fault.http_status,
                "code": fault.code,
                "count": fault.count,
                "message": fault.message,
                "task": fault.label.as_deref(),
            })
        })
        .collect()
}

fn waiting(figures: &Figures) -> Option<String> {
    let mut reasons: Vec<(&str, Duration)> = figures.waiting.iter().map(|(reason, span)| (*reason, *span)).collect();
    reasons.sort_by_key(|(_, span)| std::cmp::Reverse(*span));
    let named: Vec<String> = reasons.iter().map(|(reason, span)| format!("{reason} {}", show(*span))).collect();
    (!named.is_empty()).then(|| format!("held back by: {}", named.join(", ")))
}

fn quota_line(project: &str, model: &str, quota: &QuotaUse) -> Option<String> {
    let use_of = |name: &str, share: &Share| {
        let (limit, average, largest) = (share.limit?, share.average()?, share.largest()?);
        Some(format!("{name} {:.0} % of {} (at most {:.0} %)", average * 100.0, grouped(limit), largest * 100.0))
    };
    let parts: Vec<String> = [use_of("RPM", &quota.rpm), use_of("TPM", &quota.tpm)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("quota of {project}, {model}: {}", parts.join(", ")))
}

fn row_line(name: &str, row: &Row) -> String {
    let failed = row.requests - row.successes;
    let errors: Vec<String> = row.errors.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let errors = if failed > 0 { format!(", {} failed ({})", grouped(failed), errors.join(", ")) } else { String::new() };
    let latency = latency(&row.latency).map(|latency| format!(", {latency}")).unwrap_or_default();
    let usage = &row.usage;
    format!(
        "{name}: {} calls{errors}, {} tokens in, {} out, {}{latency}",
        grouped(row.requests),
        grouped(usage.input_tokens),
        grouped(usage.output_tokens + usage.thinking_tokens),
        row.cost
    )
}

fn latency(seen: &Histogram) -> Option<String> {
    let at = |percent| seen.percentile(percent).map(brief);
    Some(format!("p50 {}, p90 {}, p99 {}", at(50.0)?, at(90.0)?, at(99.0)?))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
