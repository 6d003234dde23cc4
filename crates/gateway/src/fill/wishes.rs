//! What a client may set of a filling, for one job or from now on, and how that is told.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tidegate_template::{Profile, Settings};

use crate::error::Refusal;

/// The most calls of one client's fillings at once; the quotas decide how many of them go.
const MOST_CALLS: u64 = 64;
/// The most fields of one call.
const MOST_FIELDS: u64 = 100;
/// The longest pause between two calls, in seconds.
const LONGEST_DELAY: f64 = 3_600.0;

/// How a client's templates are filled.
#[derive(Debug, Clone)]
pub struct Config {
    pub settings: Settings,
    /// The model that is asked, where it is not the gateway's usual one.
    pub model: Option<String>,
}

/// What is to be otherwise; everything else is left as it is.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    profile: Option<Profile>,
    max_concurrent_api_calls: Option<usize>,
    min_delay_between_calls: Option<Duration>,
    max_batch_size: Option<usize>,
    use_cache: Option<bool>,
    embed: Option<bool>,
    propose_questions: Option<bool>,
    model: Option<String>,
}

impl Wishes {
    /// The members of an object, all of which must be settings.
    ///
    /// # Errors
    /// A 400 that names the member.
    pub fn of(members: &Map<String, Value>) -> Result<Wishes, Refusal> {
        let mut wishes = Wishes::default();
        for (name, value) in members {
            wishes.set(name, value)?;
        }
        Ok(wishes)
    }

    /// Sets one by its name.
    ///
    /// # Errors
    /// A 400 for a name that is no setting, and for a value that it cannot have.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), Refusal> {
        match name {
            "profile" => self.profile = Some(profile(value)?),
            "max_concurrent_api_calls" => self.max_concurrent_api_calls = Some(whole(name, value, MOST_CALLS)?),
            "min_delay_between_calls" => self.min_delay_between_calls = Some(delay(name, value)?),
            "max_batch_size" => self.max_batch_size = Some(whole(name, value, MOST_FIELDS)?),
            "use_cache" => self.use_cache = Some(switch(name, value)?),
            "embed" => self.embed = Some(switch(name, value)?),
            "propose_questions" => self.propose_questions = Some(switch(name, value)?),
            "model" => self.model = Some(text(name, value)?),
            _ => {
                let known = "profile, max_concurrent_api_calls, min_delay_between_calls, max_batch_size, use_cache, embed, \
                             propose_questions, model";
                return Err(Refusal::of_field(name, format!("unknown setting {name:?}: one of {known}")));
            }
        }
        Ok(())
    }

    /// A configuration with what is wished. A profile comes first, so that single wishes change what it says.
    pub fn on(&self, config: &Config) -> Config {
        let mut settings = config.settings.clone();
        if let Some(profile) = self.profile {
            let Settings { max_concurrent_api_calls, min_delay_between_calls, max_batch_size, .. } = profile.settings();
            settings = Settings { max_concurrent_api_calls, min_delay_between_calls, max_batch_size, ..settings };
        }
        settings.max_concurrent_api_calls = self.max_concurrent_api_calls.unwrap_or(settings.max_concurrent_api_calls);
        settings.min_delay_between_calls = self.min_delay_between_calls.unwrap_or(settings.min_delay_between_calls);
        settings.max_batch_size = self.max_batch_size.unwrap_or(settings.max_batch_size);
        settings.use_cache = self.use_cache.unwrap_or(settings.use_cache);
        settings.embed = self.embed.unwrap_or(settings.embed);
        settings.propose_questions = self.propose_questions.unwrap_or(settings.propose_questions);
        Config { settings, model: self.model.clone().or_else(|| config.model.clone()) }
    }

    /// Whether it is about how calls follow each other.
    pub fn paces(&self) -> bool {
        self.profile.is_some() || self.max_concurrent_api_calls.is_some() || self.min_delay_between_calls.is_some()
    }
}

impl Config {
    /// As clients read it; `usual` is the model of those who name none.
    pub fn told(&self, usual: &str) -> Value {
        let settings = &self.settings;
        json!({
            "profile": self.profile().map_or("custom", Profile::name),
            "max_concurrent_api_calls": settings.max_concurrent_api_calls,
            "min_delay_between_calls": settings.min_delay_between_calls.as_secs_f64(),
            "max_batch_size": settings.max_batch_size,
            "use_cache": settings.use_cache,
            "embed": settings.embed,
            "propose_questions": settings.propose_questions,
            "model": self.model.as_deref().unwrap_or(usual),
        })
    }

    fn profile(&self) -> Option<Profile> {
        let pace =
            |settings: &Settings| (settings.max_concurrent_api_calls, settings.min_delay_between_calls, settings.max_batch_size);
        let all = [Profile::Conservative, Profile::Balanced, Profile::Aggressive];
        all.into_iter().find(|profile| pace(&profile.settings()) == pace(&self.settings))
    }
}

fn profile(value: &Value) -> Result<Profile, Refusal> {
    let name = text("profile", value)?;
    name.parse::<Profile>().map_err(|unknown| Refusal::of_field("profile", unknown.to_string()))
}

fn whole(name: &str, value: &Value, most: u64) -> Result<usize, Refusal> {
    let number = value.as_u64().filter(|number| (1..=most).contains(number)).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Refusal::of_field(name, format!("{name} must be a whole number from 1 to {most}, not {value}")))
}

fn delay(name: &str, value: &Value) -> Result<Duration, Refusal> {
    let seconds = value.as_f64().filter(|seconds| (0.0..=LONGEST_DELAY).contains(seconds));
    let wrong = || Refusal::of_field(name, format!("{name} must be seconds from 0 to {LONGEST_DELAY}, not {value}"));
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(wrong)
}

fn switch(name: &str, value: &Value) -> Result<bool, Refusal> {
    value.as_bool().ok_or_else(|| Refusal::of_field(name, format!("{name} must be true or false, not {value}")))
}

fn text(name: &str, value: &Value) -> Result<String, Refusal> {
    let text = value.as_str().map(str::trim).filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| Refusal::of_field(name, format!("{name} must be a text, not {value}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn told(wishes: Value) -> Value {
        let usual = Config { settings: Settings::default(), model: None };
        Wishes::of(wishes.as_object().unwrap()).unwrap().on(&usual).told("usual")
    }

    #[test]
    fn a_profile_is_known_again_and_single_wishes_change_what_it_says() {
        assert_eq!(told(json!({}))["profile"], "balanced");
        let aggressive = told(json!({"profile": "aggressive"}));
        assert_eq!((&aggressive["profile"], &aggressive["max_concurrent_api_calls"]), (&json!("aggressive"), &json!(4)));
        assert_eq!((&aggressive["min_delay_between_calls"], &aggressive["max_batch_size"]), (&json!(0.5), &json!(8)));
        let own = told(json!({"max_batch_size": 12, "profile": "conservative", "model": "m"}));
        assert_eq!((&own["profile"], &own["max_batch_size"], &own["model"]), (&json!("custom"), &json!(12), &json!("m")));
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        for (member, value) in [
            ("max_batch_size", json!(0)),
            ("max_batch_size", json!(2.5)),
            ("max_concurrent_api_calls", json!(65)),
            ("min_delay_between_calls", json!(-1)),
            ("profile", json!("brave")),
            ("embed", json!("yes")),
            ("model", json!("")),
            ("batch", json!(3)),
        ] {
            let refusal = Wishes::default().set(member, &value).unwrap_err();
            let (status, _, message) = refusal.words().unwrap();
            assert!(status == 400 && message.contains(member), "{message}");
        }
    }
}
