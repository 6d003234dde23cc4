//! A key of the pool as it may be shown, and the pool as a list of such.

use secrecy::{ExposeSecret, SecretString};
use tidegate_engine::BuildError;
use tidegate_engine::store::Fingerprint;
use tidegate_gemini::models::Limits;

use crate::exit_code::{ExitCode, Failure};
use crate::keys;
use crate::settings::Settings;

/// One key of the pool; its `Debug` shows none of it.
#[derive(Debug, Clone)]
pub struct Card {
    /// Its name: the variable's, or `PROJECT/1`.
    pub name: String,
    /// Its two ends.
    pub masked: String,
    /// Its project.
    pub project: String,
    /// Its project's tier, where one is set.
    pub tier: Option<String>,
    /// Its project's limits, by model or `*`.
    pub limits: Vec<(String, Limits)>,
    /// The key.
    pub secret: SecretString,
}

/// Every key that a run would use.
///
/// # Errors
/// When there is none.
pub fn pool(settings: &Settings) -> Result<Vec<Card>, Failure> {
    let cards: Vec<Card> = settings
        .projects
        .iter()
        .flat_map(|project| {
            project.keys.iter().enumerate().map(|(nth, (name, secret))| Card {
                name: name.clone().unwrap_or_else(|| format!("{}/{}", project.name, nth + 1)),
                masked: keys::mask(secret.expose_secret()),
                project: project.name.clone(),
                tier: settings.tiers.get(&project.name).cloned(),
                limits: project.limits.clone(),
                secret: secret.clone(),
            })
        })
        .collect();
    if cards.is_empty() {
        return Err(Failure::new(ExitCode::NoKey, format!("{}; `tidegate keys init` puts them there", BuildError::NoKeys)));
    }
    Ok(cards)
}

impl Card {
    /// What the store knows it by.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.secret)
    }

    /// The limits in force for a model, as its id or family names it.
    pub fn limits_for(&self, model: &str) -> Limits {
        let family = tidegate_gemini::models::family;
        let last = |wanted: &dyn Fn(&str) -> bool| self.limits.iter().rev().find(|(name, _)| wanted(name));
        let own = last(&|name| name != "*" && family(name) == family(model));
        own.or_else(|| last(&|name| name == "*")).map(|(_, limits)| *limits).unwrap_or_default()
    }
}

/// The card of that name.
///
/// # Errors
/// Names the nearest and all others. What was written is shown only when it is a name: it might be a key.
pub fn named<'a>(cards: &'a [Card], name: &str) -> Result<&'a Card, Failure> {
    cards.iter().find(|card| card.name == name).ok_or_else(|| {
        let known: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
        let near = crate::settings::nearest(name, known.iter().copied());
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        Failure::usage(format!("no key of this name is in the pool{near}; known are {}", known.join(", ")))
    })
}
