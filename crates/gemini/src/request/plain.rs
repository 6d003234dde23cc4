//! The usual body of somebody else's, estimated in one reading: turns of texts, perhaps an instruction and settings. Whatever else
//! stands in it leaves it to the thorough reading, which takes several times as long.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::tokens::estimate_text;

/// A body of nothing out of the ordinary.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Plain<'a> {
    #[serde(borrow)]
    contents: Vec<Turn<'a>>,
    #[serde(borrow, alias = "system_instruction")]
    system_instruction: Option<Turn<'a>>,
    #[serde(alias = "generation_config")]
    generation_config: Option<Config>,
    #[serde(rename = "safetySettings", alias = "safety_settings")]
    _safety_settings: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn<'a> {
    #[serde(borrow)]
    parts: Vec<Part<'a>>,
    #[serde(rename = "role")]
    _role: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// Settings, of which only a schema costs tokens.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(alias = "response_schema")]
    response_schema: Option<IgnoredAny>,
    #[serde(alias = "response_json_schema")]
    response_json_schema: Option<IgnoredAny>,
}

impl<'a> Plain<'a> {
    /// `None` for a body with anything else in it, and for one that is no request.
    pub(super) fn read(body: &'a str) -> Option<Plain<'a>> {
        let plain: Plain<'_> = serde_json::from_str(body).ok()?;
        let has_schema = |config: &Config| config.response_schema.is_some() || config.response_json_schema.is_some();
        (!plain.generation_config.as_ref().is_some_and(has_schema)).then_some(plain)
    }

    /// Tokens of all texts, with one more for every turn.
    pub(super) fn tokens(&self) -> u64 {
        let turns = self.contents.iter().chain(&self.system_instruction);
        let texts = turns.flat_map(|turn| &turn.parts).map(|part| estimate_text(&part.text)).sum::<u64>();
        texts + self.contents.len() as u64
    }
}
