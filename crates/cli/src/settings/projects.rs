//! Projects: who owns which keys, and under which limits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use secrecy::ExposeSecret;
use tidegate_engine::Project;
use tidegate_gemini::models::{self, Limits};

use super::layers::{Layer, LimitsLayer, ProjectEntry, Source};
use super::{SettingsError, nearest};
use crate::env_vars::Environment;
use crate::keys::{self, Key};
use crate::monitor::format::grouped;

/// Limits for every model that has none of its own.
const EVERY_MODEL: &str = "*";

/// The projects of the highest source that has some; else one for each key of the environment.
///
/// # Errors
/// For an unknown tier and for two projects of one name.
pub fn resolve(
    stack: &[(Source, Layer)],
    model: &str,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Vec<Project>, SettingsError> {
    let forced = forced_limits(stack);
    let told = stack.iter().find_map(|(_, layer)| layer.projects.as_ref().map(|entries| (entries, layer)));
    let mut projects = match told {
        Some((entries, layer)) => {
            same_name(entries)?;
            let read = |entry: &ProjectEntry| -> Result<Project, SettingsError> {
                let keys = entry.keys.iter().flat_map(|source| source.keys(environment, &layer.folder, warnings)).collect();
                let account = entry.account.clone();
                Ok(Project { account, ..project(entry.name.clone(), keys, limits(entry, model, forced)?) })
            };
            entries.iter().map(read).collect::<Result<Vec<_>, _>>()?
        }
        None => {
            let limits =
                if forced.is_empty() { Vec::new() } else { vec![(EVERY_MODEL.to_string(), over(Limits::default(), forced))] };
            let found = keys::discover(environment, warnings).into_iter();
            found.map(|key| project(key.name.clone().unwrap_or_default(), vec![key], limits.clone())).collect()
        }
    };
    drop_repeated(&mut projects, warnings);
    projects.retain(|project| !project.keys.is_empty());
    Ok(projects)
}

/// The tier of each listed project that has one, and whether projects are listed at all.
pub fn tiers(stack: &[(Source, Layer)]) -> (BTreeMap<String, String>, bool) {
    let listed = stack.iter().find_map(|(_, layer)| layer.projects.as_ref());
    let tier = |entry: &ProjectEntry| Some((entry.name.clone(), entry.tier.clone()?));
    (listed.into_iter().flatten().filter_map(tier).collect(), listed.is_some())
}

/// A project as people are told of it: its keys by name, its limits for `model`.
pub fn told(project: &Project, model: &str) -> String {
    let name =
        |(at, (name, _)): (usize, &(Option<String>, _))| name.clone().unwrap_or_else(|| format!("{}/{}", project.name, at + 1));
    let keys: Vec<String> = project.keys.iter().enumerate().map(name).collect();
    let of = |wanted: &str| project.limits.iter().find(|(name, _)| name == wanted).map(|(_, limits)| *limits);
    let Limits { rpm, tpm, rpd } = of(model).or_else(|| of(EVERY_MODEL)).unwrap_or_default();
    format!("project {}: {}; {model}: {}", project.name, keys.join(", "), in_words(rpm, tpm, rpd))
}

/// Limits as people are told of them: `5 requests and 250,000 tokens a minute, 20 requests a day`.
pub fn in_words(rpm: Option<u64>, tpm: Option<u64>, rpd: Option<u64>) -> String {
    if [rpm, tpm, rpd].contains(&Some(0)) {
        return "no quota".to_string();
    }
    let counted = |limit: Option<u64>, what: &str| limit.map(|limit| format!("{} {what}", grouped(limit)));
    let minute: Vec<String> = [counted(rpm, "requests"), counted(tpm, "tokens")].into_iter().flatten().collect();
    let minute = (!minute.is_empty()).then(|| format!("{} a minute", minute.join(" and ")));
    let parts: Vec<String> = [minute, counted(rpd, "requests a day")].into_iter().flatten().collect();
    if parts.is_empty() { "no limit is known".to_string() } else { parts.join(", ") }
}

fn project(name: String, keys: Vec<Key>, limits: Vec<(String, Limits)>) -> Project {
    Project { name, keys: keys.into_iter().map(|key| (key.name, key.secret)).collect(), limits, account: None }
}

/// What flags and variables say for every project and model.
fn forced_limits(stack: &[(Source, Layer)]) -> LimitsLayer {
    let pick = |of: fn(&LimitsLayer) -> Option<u64>| stack.iter().find_map(|(_, layer)| of(&layer.limits));
    LimitsLayer { rpm: pick(|l| l.rpm), tpm: pick(|l| l.tpm), rpd: pick(|l| l.rpd) }
}

fn same_name(entries: &[ProjectEntry]) -> Result<(), SettingsError> {
    let mut seen = BTreeSet::new();
    match entries.iter().find(|entry| !seen.insert(&entry.name)) {
        Some(twice) => Err(SettingsError::SameProject(twice.name.clone())),
        None => Ok(()),
    }
}

/// Limits of each model: the tier's, then `*`, then the model's own, then the forced ones.
fn limits(entry: &ProjectEntry, model: &str, forced: LimitsLayer) -> Result<Vec<(String, Limits)>, SettingsError> {
    if let Some(tier) = &entry.tier {
        known_tier(&entry.name, tier)?;
    }
    let every = entry.limits.get(EVERY_MODEL).copied().unwrap_or_default();
    let named = entry.limits.keys().map(String::as_str).chain([model]).chain(models::known());
    let named: BTreeSet<&str> = named.filter(|name| *name != EVERY_MODEL).collect();
    let mut limits = BTreeMap::from([(EVERY_MODEL, over(over(Limits::default(), every), forced))]);
    for name in named {
        let preset = entry.tier.as_deref().and_then(|tier| models::preset(tier, name));
        let own = entry.limits.get(name);
        if preset.is_some() || own.is_some() {
            let base = over(preset.unwrap_or_default(), every);
            limits.insert(name, over(over(base, own.copied().unwrap_or_default()), forced));
        }
    }
    Ok(limits.into_iter().map(|(name, limits)| (name.to_string(), limits)).collect())
}

fn known_tier(project: &str, tier: &str) -> Result<(), SettingsError> {
    let tiers = models::tiers();
    if tiers.contains(&tier) {
        return Ok(());
    }
    Err(SettingsError::UnknownTier {
        project: project.to_string(),
        tier: tier.to_string(),
        near: nearest(tier, tiers.iter().copied()).map(str::to_string),
        known: tiers.join(", "),
    })
}

fn over(base: Limits, above: LimitsLayer) -> Limits {
    Limits { rpm: above.rpm.or(base.rpm), tpm: above.tpm.or(base.tpm), rpd: above.rpd.or(base.rpd) }
}

impl LimitsLayer {
    fn is_empty(&self) -> bool {
        self.rpm.is_none() && self.tpm.is_none() && self.rpd.is_none()
    }
}

/// A key that stands twice is used once: two projects sharing it would both count its quota.
fn drop_repeated(projects: &mut [Project], warnings: &mut Vec<String>) {
    let mut seen: HashMap<String, String> = HashMap::new();
    for project in projects {
        let mut number = 0;
        project.keys.retain(|(name, secret)| {
            number += 1;
            let called = name.clone().unwrap_or_else(|| format!("{}/{number}", project.name));
            let Some(first) = seen.get(secret.expose_secret()) else {
                seen.insert(secret.expose_secret().to_string(), called);
                return true;
            };
            warnings
                .push(format!("key {called} is the same as {first} ({}) and is used once", keys::mask(secret.expose_secret())));
            false
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn resolved(toml: &str, variables: &[(&str, &str)]) -> (Result<Vec<Project>, SettingsError>, Vec<String>) {
        let layer: Layer = toml::from_str(toml).unwrap();
        let mut warnings = Vec::new();
        let stack = [(Source::Default, layer)];
        let projects = resolve(&stack, "gemini-3.8-flash", &Environment::of(variables), &mut warnings);
        (projects, warnings)
    }

    fn limits_of(project: &Project, model: &str) -> Limits {
        project.limits.iter().find(|(name, _)| name == model).unwrap().1
    }

    #[test]
    fn without_projects_each_key_is_its_own_project_named_by_its_variable() {
        let (projects, _) = resolved("", &[("GEMINI_API_KEY", "a"), ("GEMINI_API_KEY_2", "b")]);
        let names: Vec<_> = projects.unwrap().into_iter().map(|project| project.name).collect();
        assert_eq!(names, ["GEMINI_API_KEY", "GEMINI_API_KEY_2"]);
    }

    #[test]
    fn with_projects_only_the_keys_named_there_are_used() {
        let (projects, warnings) = resolved(
            "[[projects]]\nname = \"main\"\nkeys = [\"env:GEMINI_API_KEY_2\", \"env:GEMINI_API_KEY_3\"]",
            &[("GEMINI_API_KEY", "a"), ("GEMINI_API_KEY_2", "b")],
        );
        let projects = projects.unwrap();
        assert_eq!(projects.len(), 1);
        assert_eq!(projects[0].keys.len(), 1);
        assert_eq!(projects[0].keys[0].0.as_deref(), Some("GEMINI_API_KEY_2"));
        assert_eq!(warnings, ["key env:GEMINI_API_KEY_3 is not set: set the variable, or put it into .env"]);
    }

    #[test]
    fn a_models_own_limit_wins_over_the_star_over_the_tier() {
        let (projects, _) = resolved(
            "[[projects]]\nname = \"main\"\ntier = \"free\"\nkeys = [\"k\"]\n[projects.limits.\"*\"]\nrpm = 7\n\
             [projects.limits.\"gemini-3.8-flash\"]\nrpd = 99",
            &[],
        );
        let preset = models::preset("free", "gemini-3.8-flash").unwrap();
        let limits = limits_of(&projects.unwrap()[0], "gemini-3.8-flash");
        assert_eq!(limits, Limits { rpm: Some(7), tpm: preset.tpm, rpd: Some(99) });
    }

    #[test]
    fn a_project_is_told_with_the_names_of_its_keys_and_its_limits() {
        let (projects, _) = resolved(
            "[[projects]]\nname = \"main\"\nkeys = [\"env:ONE\", \"AIza-a-key-written-out-0123456789\"]\n\
             [projects.limits.\"gemini-3.8-flash\"]\nrpm = 5\ntpm = 250000",
            &[("ONE", "AIza-another-key-0123456789012")],
        );
        let project = &projects.unwrap()[0];
        assert_eq!(
            told(project, "gemini-3.8-flash"),
            "project main: ONE, main/2; gemini-3.8-flash: 5 requests and 250,000 tokens a minute"
        );
        assert_eq!(told(project, "gemini-x"), "project main: ONE, main/2; gemini-x: no limit is known");
        assert_eq!(in_words(None, Some(9), Some(20)), "9 tokens a minute, 20 requests a day");
        assert_eq!(in_words(Some(0), None, None), "no quota");
    }

    #[test]
    fn projects_name_the_account_that_pays_for_them() {
        let (projects, _) = resolved(
            "[[projects]]\nname = \"a\"\naccount = \"team\"\nkeys = [\"k\"]\n[[projects]]\nname = \"b\"\nkeys = [\"l\"]",
            &[],
        );
        let accounts: Vec<_> = projects.unwrap().into_iter().map(|project| project.account).collect();
        assert_eq!(accounts, [Some("team".to_string()), None]);
    }

    #[test]
    fn an_unknown_tier_names_the_nearest() {
        let (projects, _) = resolved("[[projects]]\nname = \"main\"\ntier = \"fre\"\nkeys = [\"k\"]", &[]);
        let message = projects.unwrap_err().to_string();
        assert!(message.starts_with("project \"main\": unknown tier \"fre\" (did you mean \"free\"?); known: "), "{message}");
    }

    #[test]
    fn a_key_that_stands_twice_is_used_once_with_a_warning() {
        let key = "AIzaSyD-0123456789-0123456789-01236F2k";
        let (projects, warnings) = resolved("", &[("GEMINI_API_KEY", key), ("GOOGLE_API_KEY", key)]);
        assert_eq!(projects.unwrap().len(), 1);
        assert_eq!(warnings, ["key GOOGLE_API_KEY is the same as GEMINI_API_KEY (AIza…6F2k) and is used once"]);
    }

    #[test]
    fn two_projects_of_one_name_are_refused() {
        let (projects, _) = resolved("[[projects]]\nname = \"a\"\nkeys = []\n[[projects]]\nname = \"a\"\nkeys = []", &[]);
        assert_eq!(projects.unwrap_err(), SettingsError::SameProject("a".into()));
    }
}
