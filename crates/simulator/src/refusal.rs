//! The body of a refused quota: every broken limit, and how long to wait.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bodies::ErrorBody;
use crate::catalogue::is_embedding;
use crate::model::{Violation, family};

const DOMAIN: &str = "generativelanguage.googleapis.com";
const OPENING: &str = "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: https://ai.dev/rate-limit. ";

/// Who was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) model: &'a str,
    /// Whether the project pays nothing, which names the limits.
    pub(crate) free: bool,
    /// Whether `retryDelay` is written in whole seconds, as the API mostly does.
    pub(crate) whole_seconds: bool,
}

impl Refused<'_> {
    /// The 429 of these violations, with this delay.
    pub(crate) fn body(&self, violations: &[Violation], delay: Duration) -> ErrorBody {
        let model = family(self.model);
        let mut message = OPENING.to_owned();
        for violation in violations {
            let metric = self.metric(violation);
            let limit = violation.limit;
            message += &format!("\n* Quota exceeded for metric: {DOMAIN}/{metric}, limit: {limit}, model: {model}");
        }
        message += &format!("\nPlease retry in {}.", compound(delay));
        ErrorBody::new(429, "RESOURCE_EXHAUSTED", message)
            .with(json!({
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}],
            }))
            .with(json!({
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": violations.iter().map(|v| self.violation(v, model)).collect::<Vec<_>>(),
            }))
            .with(json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": self.delay(delay),
            }))
    }

    fn violation(&self, violation: &Violation, model: &str) -> Value {
        let mut body = json!({
            "quotaMetric": format!("{DOMAIN}/{}", self.metric(violation)),
            "quotaId": self.quota_id(violation),
            "quotaDimensions": {"location": "global", "model": model},
        });
        if violation.limit > 0 {
            body["quotaValue"] = violation.limit.to_string().into();
        }
        body
    }

    fn metric(&self, violation: &Violation) -> &'static str {
        let dimension = violation.dimension;
        if is_embedding(self.model) { dimension.embedding_metric(self.free) } else { dimension.metric(self.free) }
    }

    fn quota_id(&self, violation: &Violation) -> &'static str {
        let dimension = violation.dimension;
        if is_embedding(self.model) { dimension.embedding_quota_id(self.free) } else { dimension.quota_id(self.free) }
    }

    fn delay(&self, delay: Duration) -> String {
        if self.whole_seconds && delay >= Duration::from_secs(1) {
            format!("{}s", delay.as_secs_f64().ceil() as u64)
        } else {
            seconds(delay)
        }
    }
}

/// `19h34m29.838605s`, `17.9s`, `900.2ms`: the largest unit first, no empty ones in front.
fn compound(delay: Duration) -> String {
    let (hours, minutes) = (delay.as_secs() / 3_600, delay.as_secs() / 60 % 60);
    let rest = seconds(Duration::new(delay.as_secs() % 60, delay.subsec_nanos()));
    if hours > 0 {
        format!("{hours}h{minutes}m{rest}")
    } else if minutes > 0 {
        format!("{minutes}m{rest}")
    } else if delay < Duration::from_secs(1) {
        let ms = format!("{:.3}", delay.as_secs_f64() * 1_000.0);
        format!("{}ms", ms.trim_end_matches('0').trim_end_matches('.'))
    } else {
        rest
    }
}

fn seconds(delay: Duration) -> String {
    let text = format!("{}.{:09}", delay.as_secs(), delay.subsec_nanos());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::model::Dimension;

    fn violation(dimension: Dimension, limit: u64) -> Violation {
        Violation { dimension, limit, retry_after: Duration::ZERO }
    }

    fn refused(free: bool) -> Refused<'static> {
        Refused { model: "gemini-3.8-flash", free, whole_seconds: true }
    }

    #[test]
    fn the_body_has_the_fields_of_the_real_one() {
        let violations = [violation(Dimension::RequestsPerDay, 20)];
        let body = refused(true).body(&violations, Duration::from_micros(17_900_138)).to_json();
        let expected = json!({"error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: https://ai.dev/rate-limit. \n* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 20, model: gemini-3.8-flash\nPlease retry in 17.900138s.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}]},
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
                    "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                    "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                    "quotaDimensions": {"location": "global", "model": "gemini-3.8-flash"},
                    "quotaValue": "20"}]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "18s"}
            ]
        }});
        assert_eq!(body, expected);
    }

    #[test]
    fn every_broken_limit_has_its_bullet_and_its_violation() {
        let violations = Dimension::ALL.map(|dimension| violation(dimension, 7));
        let body = refused(false).body(&violations, Duration::from_secs(5)).to_json();
        let message = body["error"]["message"].as_str().unwrap();
        assert_eq!(message.matches("\n* Quota exceeded for metric: ").count(), 4);
        let ids: Vec<_> = body["error"]["details"][1]["violations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["quotaId"].as_str().unwrap())
            .collect();
        assert_eq!(ids, Dimension::ALL.map(|dimension| dimension.quota_id(false)));
    }

    #[test]
    fn a_limit_of_zero_has_no_quota_value() {
        let body = refused(true).body(&[violation(Dimension::RequestsPerMinute, 0)], Duration::from_secs(20)).to_json();
        assert!(body["error"]["message"].as_str().unwrap().contains("limit: 0, model: gemini-3.8-flash"));
        assert!(body["error"]["details"][1]["violations"][0].get("quotaValue").is_none());
    }

    #[test]
    fn aliases_are_refused_under_the_name_of_their_family() {
        let refused = Refused { model: "gemini-3.1-pro-preview-customtools", free: true, whole_seconds: true };
        let body = refused.body(&[violation(Dimension::RequestsPerMinute, 5)], Duration::ZERO).to_json();
        assert_eq!(body["error"]["details"][1]["violations"][0]["quotaDimensions"]["model"], "gemini-3.1-pro");
    }

    #[test]
    fn long_and_short_waits_are_written_as_the_api_does() {
        assert_eq!(compound(Duration::from_micros(70_469_838_605)), "19h34m29.838605s");
        assert_eq!(compound(Duration::from_secs(90)), "1m30s");
        assert_eq!(compound(Duration::from_micros(900_200)), "900.2ms");
        assert_eq!(refused(true).delay(Duration::from_micros(539_477)), "0.539477s");
        assert_eq!(refused(true).delay(Duration::from_secs(70_469)), "70469s");
        let scaled = Refused { whole_seconds: false, ..refused(true) };
        assert_eq!(scaled.delay(Duration::from_millis(2_345)), "2.345s");
    }
}
