//! `[template]`: how many fields share a call, how the calls follow each other, and what is kept.

use std::time::Duration;

use serde::Deserialize;
use tidegate_template::{EMBEDDING_MODEL, Profile as Packing, Settings as Filling};

use super::media::Size;
use super::profile::Profile;
use super::values::written;
use super::{Resolver, SettingsError};

/// Bytes of answers that are kept, when nobody says.
const CACHE_SIZE: u64 = 64 << 20;

/// What one source says of filling.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateLayer {
    /// The model that makes vectors; `none` for keyword search alone.
    pub embedding_model: Option<String>,
    /// The most calls of one filling under way at once.
    #[serde(deserialize_with = "written")]
    pub max_concurrent_api_calls: Option<usize>,
    /// From the start of one call to the start of the next.
    #[serde(deserialize_with = "written")]
    pub min_delay_between_calls: Option<Duration>,
    /// The most fields of one call.
    #[serde(deserialize_with = "written")]
    pub max_batch_size: Option<usize>,
    /// Tokens of text from the documents that one call is shown, at most.
    #[serde(deserialize_with = "written")]
    pub context_tokens: Option<u64>,
    /// Ask the model for search questions first.
    pub propose_questions: Option<bool>,
    /// Take kept answers.
    pub cache: Option<bool>,
    /// The most bytes of answers that are kept.
    #[serde(deserialize_with = "written")]
    pub cache_size: Option<Size>,
}

/// How templates are filled.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateWish {
    /// Packing, pacing, search.
    pub filling: Filling,
    /// The model that makes vectors; `None` for keyword search alone.
    pub embedding_model: Option<String>,
    /// The most bytes of answers that are kept.
    pub cache_size: u64,
}

pub fn resolve(from: &mut Resolver<'_>, profile: Profile) -> Result<TemplateWish, SettingsError> {
    let usual = packing(profile).settings();
    let model = from.text("template.embedding_model", EMBEDDING_MODEL, |layer| layer.template.embedding_model.clone());
    let model = super::no_key("template.embedding_model", model)?;
    let filling = Filling {
        max_concurrent_api_calls: from.value("template.max_concurrent_api_calls", usual.max_concurrent_api_calls, |layer| {
            layer.template.max_concurrent_api_calls
        }),
        min_delay_between_calls: from.value("template.min_delay_between_calls", usual.min_delay_between_calls, |layer| {
            layer.template.min_delay_between_calls
        }),
        max_batch_size: from.value("template.max_batch_size", usual.max_batch_size, |layer| layer.template.max_batch_size),
        context_tokens: from.value("template.context_tokens", usual.context_tokens, |layer| layer.template.context_tokens),
        propose_questions: from.value("template.propose_questions", false, |layer| layer.template.propose_questions),
        use_cache: from.value("template.cache", true, |layer| layer.template.cache),
        embed: model != "none",
        ..usual
    };
    let cache_size = from.value("template.cache_size", Size(CACHE_SIZE), |layer| layer.template.cache_size).0;
    positive("template.max_concurrent_api_calls", filling.max_concurrent_api_calls)?;
    positive("template.max_batch_size", filling.max_batch_size)?;
    Ok(TemplateWish { embedding_model: filling.embed.then_some(model), filling, cache_size })
}

/// The packing of a preset; those that say nothing of packing pack as usual.
fn packing(profile: Profile) -> Packing {
    match profile {
        Profile::Conservative => Packing::Conservative,
        Profile::Aggressive => Packing::Aggressive,
        Profile::Balanced | Profile::Classic | Profile::Slots => Packing::Balanced,
    }
}

fn positive(name: &'static str, value: usize) -> Result<(), SettingsError> {
    if value > 0 {
        return Ok(());
    }
    Err(SettingsError::Impossible { name, value: value.to_string(), reason: "it must be 1 or more" })
}
