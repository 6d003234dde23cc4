//! The `details` of an error, found by their type: their order varies from body to body.

use std::time::Duration;

use serde_json::Value;

use crate::wait;

/// The `details` list, looked up by type and never by position.
pub(super) struct Details<'a>(Vec<(&'a str, &'a Value)>);

impl<'a> Details<'a> {
    pub(super) fn of(error: &'a Value) -> Details<'a> {
        let items = error["details"].as_array().into_iter().flatten();
        Details(items.filter_map(|item| Some((type_name(item)?, item))).collect())
    }

    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &'a Value> + '_ {
        self.0.iter().filter(move |(kind, _)| *kind == name).map(|(_, item)| *item)
    }

    /// The reason of the `ErrorInfo`, else of the older `errors` list, else a code that is a word.
    pub(super) fn reason(&self, error: &'a Value) -> Option<&'a str> {
        let modern = self.all("ErrorInfo").find_map(|info| info["reason"].as_str());
        modern.or_else(|| error["errors"][0]["reason"].as_str()).or_else(|| error["code"].as_str())
    }

    /// The older list names the global domain when capacity, not a quota of ours, ran out.
    pub(super) fn is_shared(&self, error: &Value) -> bool {
        let first = &error["errors"][0];
        first["domain"].as_str() == Some("global") && first["reason"].as_str() == Some("rateLimitExceeded")
    }

    pub(super) fn retry_delay(&self) -> Option<Duration> {
        self.all("RetryInfo").filter_map(|info| wait::compound(info["retryDelay"].as_str()?)).max()
    }
}

/// The last word of a detail's type. Re-serialised bodies have been seen with a blank before the `@`.
fn type_name(detail: &Value) -> Option<&str> {
    let (_, url) = detail.as_object()?.iter().find(|(name, _)| name.trim() == "@type")?;
    url.as_str()?.trim().rsplit(['.', '/']).next()
}
