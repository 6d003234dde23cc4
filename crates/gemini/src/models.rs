//! The dated catalogue of models.toml: known ids, the family whose quota a model shares, usual limits by tier.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// Limits of one model in one project, per minute and per day. `None` means not known, hence not limited until learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Input tokens per minute.
    pub tpm: Option<u64>,
    /// Requests per day.
    pub rpd: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    dated: String,
    known: Vec<String>,
    output_tokens: BTreeMap<String, u64>,
    families: BTreeMap<String, String>,
    tiers: BTreeMap<String, BTreeMap<String, Limits>>,
}

/// `outputTokenLimit` of the models that `models.list` tells today.
const USUAL_OUTPUT: u64 = 65_536;

// The text is compiled in and a test parses it, so the fallback is never taken in a build that passed its tests.
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| toml::from_str(include_str!("../models.toml")).unwrap_or_default());

/// The name under which the quota of `model` is counted. Models of one family share their limits.
///
/// ```
/// use tidegate_gemini::models::family;
/// assert_eq!(family("models/gemini-3.1-pro-preview-customtools"), "gemini-3.1-pro");
/// assert_eq!(family("gemini-3.8-flash"), "gemini-3.8-flash");
/// ```
pub fn family(model: &str) -> &str {
    let bare = model.strip_prefix("models/").unwrap_or(model);
    CATALOGUE.families.get(bare).map_or(bare, String::as_str)
}

/// Usual limits of `model` in `tier`, or `None` when the tier is unknown or nothing is known of that model in it.
///
/// All numbers are approximate; what the API says in a refusal, and what the user sets, goes before them.
pub fn preset(tier: &str, model: &str) -> Option<Limits> {
    let rows = CATALOGUE.tiers.get(tier)?;
    rows.get(family(model)).or_else(|| rows.get("*")).copied()
}

/// The most tokens an answer of `model` may have, thinking included: the row of the longest id it begins with.
///
/// ```
/// assert_eq!(tidegate_gemini::models::output_limit("gemini-3.8-flash"), 65_536);
/// ```
pub fn output_limit(model: &str) -> u64 {
    let bare = model.strip_prefix("models/").unwrap_or(model);
    let rows = CATALOGUE.output_tokens.iter().filter(|(id, _)| bare.starts_with(id.as_str()));
    rows.max_by_key(|(id, _)| id.len()).map_or(USUAL_OUTPUT, |(_, most)| *most)
}

/// The tier names that [`preset`] knows, in alphabetical order.
pub fn tiers() -> Vec<&'static str> {
    CATALOGUE.tiers.keys().map(String::as_str).collect()
}

/// Model ids worth suggesting, newest first. Other ids are just as valid.
pub fn known() -> Vec<&'static str> {
    CATALOGUE.known.iter().map(String::as_str).collect()
}

/// The day the catalogue was last checked, as `YYYY-MM-DD`.
pub fn dated() -> &'static str {
    &CATALOGUE.dated
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_catalogue_parses_and_is_dated() {
        let catalogue: Catalogue = toml::from_str(include_str!("../models.toml")).unwrap();
        assert_eq!(catalogue.dated.len(), 10);
        assert_eq!(dated(), catalogue.dated);
        assert!(known().contains(&"gemini-3.8-flash"));
    }

    #[test]
    fn a_family_is_found_with_or_without_the_prefix() {
        assert_eq!(family("gemini-3.1-pro-preview"), "gemini-3.1-pro");
        assert_eq!(family("models/gemini-3-pro-preview"), "gemini-3-pro");
        assert_eq!(family("models/brand-new"), "brand-new");
        assert_eq!(family("gemini-flash-latest"), "gemini-flash-latest");
        assert_eq!(family("tunedModels/birds-1"), "tunedModels/birds-1");
    }

    #[test]
    fn every_row_of_a_tier_is_keyed_by_a_family_name() {
        for rows in CATALOGUE.tiers.values() {
            for name in rows.keys() {
                assert_eq!(family(name), name, "a limit keyed by an alias would never be found");
            }
        }
    }

    #[test]
    fn presets_are_found_by_alias_by_family_and_by_star() {
        let none = Limits { rpm: Some(0), tpm: Some(0), rpd: Some(0) };
        assert_eq!(preset("free", "gemini-3.1-pro-preview"), Some(none));
        let documented = Limits { rpm: Some(5), tpm: Some(250_000), rpd: Some(20) };
        assert_eq!(preset("free", "models/gemini-3.8-flash"), Some(documented));
        assert_eq!(preset("documented-2026", "anything"), Some(documented));
        let seed = Limits { rpm: Some(10), tpm: Some(4_000_000), rpd: Some(1_500) };
        assert_eq!(preset("seed-2024", "gemini-2.0-flash"), Some(seed));
        let paid = Limits { rpm: Some(1_000), tpm: Some(1_000_000), rpd: Some(10_000) };
        assert_eq!(preset("tier1", "gemini-2.5-flash"), Some(paid));
    }

    #[test]
    fn unknown_tiers_and_unknown_models_have_no_preset() {
        assert_eq!(preset("platinum", "gemini-3.8-flash"), None);
        assert_eq!(preset("free", "brand-new"), None);
        assert_eq!(preset("tier2", "gemini-3.8-flash"), None);
        assert_eq!(tiers(), ["documented-2026", "free", "seed-2024", "tier1", "tier2", "tier3"]);
    }
}
