//! What one submission wants for all its prompts: kept once in Redis, under its digest.

use serde::{Deserialize, Serialize};
use tidegate_batch::identity::Fingerprint;
use tidegate_batch::tasks::TaskSettings;

/// What a submission wants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// How prompts are made and asked.
    pub prompts: TaskSettings,
    /// Nobody collects the answers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_result: bool,
    /// Where each record is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Nothing that may have been asked is asked again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_most_once: bool,
}

impl Wishes {
    /// The wishes as JSON, and their digest.
    pub fn to_json(&self) -> (String, String) {
        let json = serde_json::to_string(self).unwrap_or_default();
        (Fingerprint::of(&json).to_string(), json)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn wishes_survive_their_json_and_equal_ones_share_a_digest() {
        let prompts = TaskSettings { temperature: Some(0.25), model: Some("m".to_owned()), ..TaskSettings::default() };
        let wishes = Wishes { prompts, webhook: Some("https://host/x".to_owned()), ..Wishes::default() };
        let (digest, json) = wishes.to_json();
        assert_eq!(serde_json::from_str::<Wishes>(&json).unwrap(), wishes);
        assert_eq!(wishes.clone().to_json().0, digest);
        assert_ne!(Wishes { no_result: true, ..wishes }.to_json().0, digest);
    }
}
