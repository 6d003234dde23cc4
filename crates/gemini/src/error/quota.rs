//! Which quotas a refusal names: from the details, from the message's bullets where the details are missing.

use serde_json::Value;

use super::details::Details;
use super::{QuotaDimension, Violation};

/// Every quota named by the body, the details going before the message.
pub(super) fn violations(details: &Details<'_>, message: &str) -> Vec<Violation> {
    let listed = details.all("QuotaFailure").flat_map(|failure| failure["violations"].as_array().into_iter().flatten());
    let mut found: Vec<Violation> = listed.map(from_violation).filter(|violation| *violation != Violation::default()).collect();
    let bullets = bullets(message);
    if found.is_empty() {
        found.extend(details.all("ErrorInfo").filter_map(from_error_info));
    }
    if found.is_empty() {
        return bullets;
    }
    complete(&mut found, &bullets);
    found
}

fn from_violation(violation: &Value) -> Violation {
    let dimensions = &violation["quotaDimensions"];
    named(
        text(&violation["quotaMetric"]),
        text(&violation["quotaId"]),
        text(&dimensions["model"]),
        number(&violation["quotaValue"]),
    )
}

/// The form of 2023 and 2024: the quota stands in the metadata of the `ErrorInfo`.
fn from_error_info(info: &Value) -> Option<Violation> {
    let metadata = &info["metadata"];
    let metric = text(&metadata["quota_metric"]);
    let quota_id = text(&metadata["quota_limit"]);
    if metric.is_none() && quota_id.is_none() {
        return None;
    }
    Some(named(metric, quota_id, text(&metadata["model"]), number(&metadata["quota_limit_value"])))
}

/// Lines such as `* Quota exceeded for metric: M, limit: 20, model: X`.
fn bullets(message: &str) -> Vec<Violation> {
    let lines = message.lines().filter_map(|line| line.trim().strip_prefix("* Quota exceeded for metric: "));
    lines.map(from_bullet).collect()
}

fn from_bullet(line: &str) -> Violation {
    let mut parts = line.split(", ").map(str::trim);
    let metric = parts.next().map(str::to_owned);
    let (mut value, mut model) = (None, None);
    for part in parts {
        match part.split_once(": ") {
            Some(("limit", limit)) => value = limit.parse().ok(),
            Some(("model", name)) => model = Some(name.to_owned()),
            _ => {}
        }
    }
    named(metric, None, model, value)
}

/// Fills what the details left out from the bullets of the same metric, as far as these agree: the minute and the day may share
/// a metric, and then nothing tells which bullet is whose.
fn complete(found: &mut [Violation], bullets: &[Violation]) {
    for violation in found {
        let same = || bullets.iter().filter(|bullet| bullet.metric == violation.metric);
        let Some(first) = same().next() else { continue };
        if same().all(|bullet| bullet == first) {
            violation.value = violation.value.or(first.value);
            violation.model = violation.model.take().or_else(|| first.model.clone());
        }
    }
}

fn named(metric: Option<String>, quota_id: Option<String>, model: Option<String>, value: Option<u64>) -> Violation {
    let free_tier = quota_id.as_deref().is_some_and(|id| id.contains("FreeTier"))
        || metric.as_deref().is_some_and(|metric| metric.contains("free_tier"));
    let dimension = match quota_id.as_deref() {
        Some(id) => dimension_of_id(id),
        None => metric.as_deref().and_then(dimension_of_metric),
    };
    Violation { metric, quota_id, model, value, dimension, free_tier }
}

fn dimension_of_id(id: &str) -> Option<QuotaDimension> {
    let tokens = id.contains("Token");
    if !tokens && !id.contains("Request") {
        return None;
    }
    match (id.contains("PerDay"), id.contains("PerMinute")) {
        (true, _) if tokens => Some(QuotaDimension::TokensPerDay),
        (true, _) => Some(QuotaDimension::RequestsPerDay),
        (_, true) if tokens => Some(QuotaDimension::TokensPerMinute),
        (_, true) => Some(QuotaDimension::RequestsPerMinute),
        _ => None,
    }
}

/// Only metrics of the paid tier tell their window; those of the free tier serve the minute and the day alike.
fn dimension_of_metric(metric: &str) -> Option<QuotaDimension> {
    match metric.rsplit('/').next()? {
        "generate_requests_per_model" => Some(QuotaDimension::RequestsPerMinute),
        "generate_requests_per_model_per_day" => Some(QuotaDimension::RequestsPerDay),
        "generate_content_paid_tier_input_token_count" => Some(QuotaDimension::TokensPerMinute),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Quota values are 64-bit integers, which JSON mostly carries as strings.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}
