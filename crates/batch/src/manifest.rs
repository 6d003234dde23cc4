//! What an output was begun with: the version of its format and the settings that shape every answer.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::options::{Options, Task};

/// The file `manifest.json` beside an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the journal and of this file.
    pub format: FormatVersion,
    /// The program that wrote it last.
    pub written_by: String,
    /// Global settings by name; one that is not set is absent.
    pub settings: BTreeMap<String, Value>,
}

/// Who answers. An output that does not tell it may have been answered by anybody.
const ENDPOINT: &str = "endpoint";

/// Version of what lies in and beside an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatVersion(u32);

impl FormatVersion {
    /// The version this program writes.
    pub const CURRENT: FormatVersion = FormatVersion(1);

    /// An error when only a newer program can read it.
    pub fn check_readable(self) -> Result<(), ManifestError> {
        if self.0 <= FormatVersion::CURRENT.0 { Ok(()) } else { Err(ManifestError::TooNew(self.0)) }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A newer program wrote it.
    #[error("format {0} is newer than this program reads; update tidegate")]
    TooNew(u32),
    /// Not a manifest, or not readable at all.
    #[error("cannot be read: {0}; add --accept-changes to go on with the settings given now, or --fresh to start over")]
    Unreadable(String),
}

/// One setting that is not what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Name of the setting.
    pub name: String,
    /// What the output was begun with.
    pub before: Option<Value>,
    /// What it is now.
    pub now: Option<Value>,
}

impl Manifest {
    /// The manifest of a run with these options.
    pub fn of(options: &Options) -> Manifest {
        let defaults = &options.defaults;
        let text = |text: &Option<String>| text.as_ref().map(|text| Value::from(text.as_str()));
        let embed = match &options.task {
            Task::Answer => None,
            Task::Embed(settings) => Some(settings),
        };
        let all = [
            ("model", text(&defaults.model)),
            ("system_instruction", text(&defaults.system_instruction)),
            ("temperature", defaults.temperature.map(Value::from)),
            ("max_output_tokens", defaults.max_output_tokens.map(Value::from)),
            ("expect_json", defaults.expect_json.then_some(Value::Bool(true))),
            ("json_schema", defaults.json_schema.clone()),
            ("prompt", text(&options.template)),
            ("task", embed.map(|_| Value::from("embed"))),
            ("task_type", embed.and_then(|settings| settings.task_type).map(|task| Value::from(task.name()))),
            ("dimensions", embed.and_then(|settings| settings.dimensions).map(Value::from)),
            (ENDPOINT, text(&options.endpoint)),
        ];
        Manifest {
            format: FormatVersion::CURRENT,
            written_by: concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned(),
            settings: all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        }
    }

    /// Reads a manifest; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Manifest>, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            format: FormatVersion,
        }
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ManifestError::Unreadable(error.to_string())),
        };
        let unreadable = |error: serde_json::Error| ManifestError::Unreadable(error.to_string());
        serde_json::from_str::<Version>(&text).map_err(unreadable)?.format.check_readable()?;
        serde_json::from_str(&text).map(Some).map_err(unreadable)
    }

    /// The manifest as it stands in its file.
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// What differs from an `earlier` manifest, by name.
    pub fn differences(&self, earlier: &Manifest) -> Vec<Difference> {
        let mut names: Vec<&String> = earlier.settings.keys().chain(self.settings.keys()).collect();
        names.sort();
        names.dedup();
        let difference = |name: &String| Difference {
            name: name.clone(),
            before: earlier.settings.get(name).cloned(),
            now: self.settings.get(name).cloned(),
        };
        let told_once = |found: &Difference| found.name == ENDPOINT && (found.before.is_none() || found.now.is_none());
        names.into_iter().map(difference).filter(|found| found.before != found.now && !told_once(found)).collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.name, shown(&self.before), shown(&self.now))
    }
}

fn shown(value: &Option<Value>) -> String {
    const LONGEST: usize = 60;
    let Some(value) = value else { return "not set".to_owned() };
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn with_model(model: &str) -> Options {
        let mut options = Options::default();
        options.defaults.model = Some(model.to_owned());
        options
    }

    #[test]
    fn a_manifest_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        assert_eq!(Manifest::read(&path), Ok(None));
        let mut options = with_model("gemini-x");
        options.defaults.temperature = Some(0.7);
        let manifest = Manifest::of(&options);
        fs::write(&path, manifest.to_json()).unwrap();
        let read = Manifest::read(&path).unwrap().unwrap();
        assert_eq!(manifest.differences(&read), []);
        assert_eq!(read, manifest);
    }

    #[test]
    fn a_difference_shows_both_values() {
        let mut now = with_model("b");
        now.defaults.temperature = Some(0.5);
        let differences = Manifest::of(&now).differences(&Manifest::of(&with_model("a")));
        let shown: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [r#"model: "a" -> "b""#, "temperature: not set -> 0.5"]);
    }

    #[test]
    fn another_endpoint_is_a_difference_and_an_unknown_one_is_none() {
        let at = |endpoint: Option<&str>| Manifest::of(&Options { endpoint: endpoint.map(str::to_owned), ..with_model("m") });
        let shown: Vec<String> = at(Some("api")).differences(&at(Some("simulated"))).iter().map(ToString::to_string).collect();
        assert_eq!(shown, [r#"endpoint: "simulated" -> "api""#]);
        assert_eq!(at(Some("api")).differences(&at(None)), []);
    }

    #[test]
    fn a_manifest_of_a_newer_format_is_refused_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        fs::write(&path, r#"{"format":9,"shape":"unheard of"}"#).unwrap();
        assert_eq!(Manifest::read(&path), Err(ManifestError::TooNew(9)));
        fs::write(&path, "{").unwrap();
        assert!(matches!(Manifest::read(&path), Err(ManifestError::Unreadable(_))));
    }
}
