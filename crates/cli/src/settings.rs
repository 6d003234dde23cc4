//! Settings: flags over environment over files over profile over defaults, as one typed struct.

pub mod cache;
pub mod difference;
pub mod file;
pub mod layers;
pub mod media;
pub mod profile;
pub mod projects;
pub mod redis;
mod resolver;
mod sending;
pub mod serve;
pub mod template;
pub mod traces;
pub mod values;
mod watched;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache::CacheWish;
use tidegate_engine::media::MediaSettings;
use tidegate_engine::scheduler;
use tidegate_engine::store::default_state_dir;
use tidegate_engine::{CountTokens, Project, RetryOn, Structured};
use tidegate_gemini::prices::Prices;

use crate::env_vars::Environment;
use crate::exit_code::{ExitCode, Failure};
use layers::{Layer, Source, Stack};
use profile::Profile;
pub use resolver::{Origin, Resolver};
use values::Statuses;
pub use watched::Watched;

/// The model for prompts that name none, when nobody says: the newest generally available Flash in November 2026.
const MODEL: &str = "gemini-3.8-flash";

/// Google's own host.
const BASE_URL: &str = "https://generativelanguage.googleapis.com";

/// The longest one attempt may take, when nobody says: some models think for minutes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(600);

/// Everything a run is told, from all sources. Holds keys, each redacted in `Debug`.
#[derive(Debug)]
pub struct Settings {
    /// The model for prompts that name none.
    pub model: String,
    /// Where the API lives.
    pub base_url: String,
    /// Folder of the local store; `None` where neither settings nor the environment lead to one.
    pub state_dir: Option<PathBuf>,
    /// Pacing, retries, how the server counts.
    pub scheduler: scheduler::Settings,
    /// The longest one attempt may take.
    pub attempt_timeout: Duration,
    /// HTTP statuses that are worth another try.
    pub retry_on: RetryOn,
    /// Whose tokens are counted by the API before they are sent.
    pub count_tokens: CountTokens,
    /// Tokens all attempts of a prompt may use before it is asked again for better JSON; 0 = no bound.
    pub max_json_tokens: u64,
    /// How media are sent.
    pub media: MediaSettings,
    /// Which answers are reused.
    pub cache: CacheWish,
    /// How templates are filled.
    pub template: template::TemplateWish,
    /// What the gateway is told.
    pub serve: serve::Serve,
    /// Where machines meet.
    pub redis: redis::Redis,
    /// Projects with keys and limits; empty when no key was found.
    pub projects: Vec<Project>,
    /// Tier of each project that has one.
    pub tiers: BTreeMap<String, String>,
    /// Whether somebody listed the projects: then no other keys are used.
    pub projects_are_listed: bool,
    /// What models charge.
    pub prices: Prices,
    /// Oddities that do not stop the run.
    pub warnings: Vec<String>,
    /// The files that all of this comes from.
    pub watched: Watched,
    /// Every setting in force and where it comes from.
    pub origins: Vec<Origin>,
}

/// Why there are no settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A settings file.
    #[error(transparent)]
    File(#[from] file::FileError),
    /// A variable, with its name.
    #[error("{0}")]
    Variable(String),
    /// A tier nobody knows.
    #[error("project {project:?}: unknown tier {tier:?}{}; known: {known}", hint(.near))]
    UnknownTier {
        /// The project.
        project: String,
        /// As written.
        tier: String,
        /// The nearest known one.
        near: Option<String>,
        /// All known ones.
        known: String,
    },
    /// Two projects with one name.
    #[error("project {0:?} stands twice: give each project its own name")]
    SameProject(String),
    /// A value that cannot be worked with.
    #[error("{name} = {value} cannot be: {reason}")]
    Impossible {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// Why, and what to write.
        reason: &'static str,
    },
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        let unreadable = matches!(error, SettingsError::File(file::FileError::Unreadable { .. }));
        Failure::new(if unreadable { ExitCode::Unreachable } else { ExitCode::Usage }, error)
    }
}

fn hint(near: &Option<String>) -> String {
    near.as_ref().map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default()
}

/// What the command line and the embedded simulator add to the other sources.
#[derive(Debug, Default)]
pub struct Given {
    /// The flags.
    pub flags: Layer,
    /// The scenario of the embedded simulator; its projects replace all others.
    pub scenario: Option<Layer>,
}

impl Settings {
    /// Reads files and environment, and merges all sources.
    ///
    /// # Errors
    /// When a source is wrong; the error names file and line, or the variable.
    pub fn load(
        given: Given,
        config: Option<&Path>,
        folder: &Path,
        environment: &Environment,
    ) -> Result<Settings, SettingsError> {
        let of_environment = Layer::of_environment(environment).map_err(SettingsError::Variable)?;
        let mut stack = vec![(Source::Flags, given.flags)];
        stack.extend(given.scenario.map(|scenario| (Source::Scenario, scenario)));
        stack.push((Source::Environment, of_environment));
        let files = file::layers(config, folder, environment)?;
        stack.extend(files.into_iter().map(|(path, layer)| (Source::File(path), layer)));
        let watched = Watched::new(
            file::candidates(config, environment),
            folder,
            &stack.iter().map(|(_, layer)| layer).collect::<Vec<_>>(),
        );
        let mut settings = resolve(Stack(stack), environment)?;
        settings.watched = watched;
        settings.warnings.extend(environment.unknown());
        Ok(settings)
    }
}

fn resolve(mut stack: Stack, environment: &Environment) -> Result<Settings, SettingsError> {
    let profile = stack.pick(|layer| layer.profile).map_or(Profile::default(), |(profile, _)| profile);
    let below_scenario = stack.0.iter().position(|(source, _)| *source == Source::Scenario);
    stack.0.push((Source::Profile(profile), profile::layer(profile)));
    let mut resolver = Resolver::new(&stack);
    resolver.value("profile", profile, |layer| layer.profile);
    let model = no_key("model", resolver.text("model", MODEL, |layer| layer.model.clone()))?;
    let base_url = base_url(&mut resolver)?;
    let state_dir = state_dir(&mut resolver, environment);
    let max_json_tokens = resolver.value("retry.max_json_tokens", Structured::MAX_TOKENS, |layer| layer.retry.max_json_tokens);
    let attempt_timeout = resolver.value("retry.attempt_timeout", ATTEMPT_TIMEOUT, |layer| layer.retry.attempt_timeout);
    let retry_on = resolver.value("retry.retry_on", Statuses(RetryOn::default()), |layer| layer.retry.retry_on.clone()).0;
    let count_tokens = resolver.value("quota.count_tokens", CountTokens::default(), |layer| layer.quota.count_tokens);
    let scheduler = sending::resolve(&mut resolver);
    let media = media::resolve(&mut resolver)?;
    let cache = cache::resolve(&mut resolver);
    let template = template::resolve(&mut resolver, profile)?;
    resolver.limits();
    let mut warnings = Vec::new();
    let serve = serve::resolve(&mut resolver, environment, &mut warnings)?;
    let redis = redis::resolve(&mut resolver, environment)?;
    let origins = resolver.origins;
    sending::check(&scheduler, attempt_timeout)?;
    let told = below_scenario.map_or(stack.0.as_slice(), |at| &stack.0[..=at]);
    let projects = projects::resolve(told, &model, environment, &mut warnings)?;
    let (tiers, projects_are_listed) = projects::tiers(told);
    let prices = stack.prices();
    Ok(Settings {
        model,
        base_url,
        state_dir,
        scheduler,
        attempt_timeout,
        retry_on,
        count_tokens,
        max_json_tokens,
        media,
        cache,
        template,
        serve,
        redis,
        projects,
        tiers,
        projects_are_listed,
        prices,
        warnings,
        watched: Watched::default(),
        origins,
    })
}

/// A key typed in place of what is told in every record and every log must not get there.
fn no_key(name: &'static str, value: String) -> Result<String, SettingsError> {
    if ["AIza", "AQ."].iter().any(|beginning| value.starts_with(beginning)) {
        let reason = "it looks like a key: keys go into GEMINI_API_KEY or [[projects]]";
        return Err(SettingsError::Impossible { name, value: crate::keys::shown(&value), reason });
    }
    Ok(value)
}

/// The address, which must not hold what nobody may see: it stands in logs and messages.
fn base_url(from: &mut Resolver<'_>) -> Result<String, SettingsError> {
    let given = from.stack.pick(|layer| layer.base_url.clone()).map(|(value, _)| value).unwrap_or_default();
    let public = tidegate_engine::public_url(&given);
    if public != given {
        let value = public.into_owned();
        let reason = "it must not hold a query, a fragment or a password: keys go into GEMINI_API_KEY or [[projects]]";
        return Err(SettingsError::Impossible { name: "base_url", value, reason });
    }
    no_key("base_url", from.text("base_url", BASE_URL, |layer| layer.base_url.clone()))
}

/// The folder somebody named, else the user's own for such things.
fn state_dir(from: &mut Resolver<'_>, environment: &Environment) -> Option<PathBuf> {
    let usual = default_state_dir(|name| environment.get(name).map(str::to_string));
    let usual = usual.map(|folder| folder.display().to_string()).unwrap_or_default();
    let folder = from.text("state_dir", &usual, |layer| layer.state_dir.clone());
    (!folder.is_empty()).then(|| PathBuf::from(folder))
}

/// The known word nearest to a mistyped one, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match word.chars().count() {
        0..4 => 1,
        4..9 => 2,
        long => long / 3,
    };
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use tidegate_engine::scheduler::KeyRules;

    use super::layers::PacingLayer;
    use super::*;

    fn with_model(model: &str) -> Layer {
        Layer { model: Some(model.into()), ..Layer::default() }
    }

    fn load(toml: &str, variables: &[(&str, &str)], given: Given) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file::NAME), toml).unwrap();
        Settings::load(given, None, folder.path(), &Environment::of(variables))
    }

    #[test]
    fn flags_win_over_environment_over_file_over_profile_over_default() {
        let model = |toml: &str, variables: &[(&str, &str)], flags: Layer| {
            let settings = load(toml, variables, Given { flags, scenario: None }).unwrap();
            let origin = settings.origins.iter().find(|origin| origin.name == "model").map(|origin| origin.source.to_string());
            (settings.model, origin.unwrap_or_default())
        };
        let (file, variable) = ("model = \"file\"", [("TIDEGATE_MODEL", "env")]);
        assert_eq!(model(file, &variable, with_model("flag")), ("flag".into(), "command line".into()));
        assert_eq!(model(file, &variable, Layer::default()), ("env".into(), "environment".into()));
        assert_eq!(model(file, &[], Layer::default()), ("file".into(), "tidegate.toml".into()));
        assert_eq!(model("", &[], Layer::default()), (MODEL.into(), "default".into()));
    }

    #[test]
    fn a_profile_fills_only_what_nobody_else_says() {
        let settings = load("profile = \"slots\"\n[pacing]\nslot_interval = \"6s\"", &[], Given::default()).unwrap();
        assert_eq!(settings.scheduler.pacing.slots_per_key, 4);
        assert_eq!(settings.scheduler.pacing.slot_interval, Duration::from_secs(6));
    }

    #[test]
    fn the_classic_profile_has_the_known_rests() {
        let pacing = load("profile = \"classic\"", &[], Given::default()).unwrap().scheduler.pacing;
        assert_eq!(pacing.key_cooldown, Duration::from_secs(30));
        assert_eq!(pacing.worker_cooldown, Duration::from_secs(5));
        assert_eq!(pacing.call_interval, Duration::from_secs(2));
        let keys = load("profile = \"classic\"", &[], Given::default()).unwrap().scheduler.keys;
        assert_eq!(keys, KeyRules::classic());
        let auto = load("profile = \"classic\"\n[keys]\nexhausted_wait = \"auto\"", &[], Given::default()).unwrap();
        assert_eq!(auto.scheduler.keys.exhausted_wait, None);
    }

    #[test]
    fn a_scenario_stands_above_files_and_below_flags() {
        let scenario = Layer {
            pacing: PacingLayer { max_concurrency: Some(7), ..PacingLayer::default() },
            projects: Some(Vec::new()),
            ..with_model("scenario")
        };
        let given = Given { flags: with_model("flag"), scenario: Some(scenario) };
        let settings = load("[pacing]\nmax_concurrency = 3", &[("GEMINI_API_KEY", "real-key")], given).unwrap();
        assert_eq!(settings.model, "flag");
        assert_eq!(settings.scheduler.pacing.max_concurrency, 7);
        assert!(settings.projects.is_empty(), "a real key never reaches the simulator");
    }

    #[test]
    fn both_names_of_the_base_url_are_read_and_ours_wins() {
        let of = |variables: &[(&str, &str)]| load("", variables, Given::default()).unwrap().base_url;
        assert_eq!(of(&[("GOOGLE_GEMINI_BASE_URL", "http://google")]), "http://google");
        assert_eq!(of(&[("GOOGLE_GEMINI_BASE_URL", "http://google"), ("TIDEGATE_BASE_URL", "http://ours")]), "http://ours");
        assert_eq!(of(&[]), BASE_URL);
    }

    #[test]
    fn profiles_are_those_of_the_library() {
        for profile in tidegate_engine::Profile::ALL {
            let settings = load(&format!("profile = \"{}\"", profile.name()), &[], Given::default()).unwrap();
            let theirs = profile.settings();
            assert_eq!(settings.scheduler.pacing, theirs.pacing, "{profile:?}");
            assert_eq!(settings.scheduler.retry, theirs.retry, "{profile:?}");
            assert_eq!(settings.scheduler.keys, theirs.keys, "{profile:?}");
            assert_eq!(settings.scheduler.quota, theirs.quota, "{profile:?}");
        }
    }

    #[test]
    fn every_setting_in_force_is_told_defaults_included() {
        let settings = load("", &[("TIDEGATE_RPM", "7")], Given::default()).unwrap();
        let told: Vec<String> = settings.origins.iter().map(ToString::to_string).collect();
        for line in [
            "model = gemini-3.8-flash (default)",
            "base_url = https://generativelanguage.googleapis.com (default)",
            "profile = balanced (default)",
            "quota.bucket = 0.1667 (default)",
            "rpm = 7 (environment)",
            "tpm = none (default)",
        ] {
            assert!(told.iter().any(|said| said == line), "{line}: {told:?}");
        }
    }

    #[test]
    fn every_setting_of_the_shipped_example_is_among_those_told() {
        let told = load("", &[], Given::default()).unwrap().origins;
        let example: toml::Table = toml::from_str(include_str!("../../../tidegate.example.toml")).unwrap();
        for (name, value) in &example {
            let within = value.as_table().map(|table| table.keys().map(|key| format!("{name}.{key}")).collect());
            let names: Vec<String> = within.unwrap_or_else(|| vec![name.clone()]);
            for name in names.iter().filter(|name| *name != "projects" && !name.starts_with("prices.")) {
                assert!(told.iter().any(|origin| origin.name == name), "{name}");
            }
        }
    }

    #[test]
    fn the_size_of_a_bucket_is_a_part_of_a_minutes_limit() {
        let of = |toml: &str| load(toml, &[], Given::default()).map(|settings| settings.scheduler.quota.bucket);
        assert_eq!(of("[quota]\nbucket = 0.5").unwrap(), 0.5);
        assert_eq!(of("[quota]\nbucket = 1").unwrap(), 1.0);
        for wrong in ["0", "1.5", "-0.1", "\"big\""] {
            let error = of(&format!("[quota]\nbucket = {wrong}")).unwrap_err().to_string();
            assert!(error.contains("expected a part of a minute's limit, above 0 and up to 1"), "{error}");
        }
    }

    #[test]
    fn an_address_with_a_key_or_a_password_is_refused_and_not_shown() {
        for url in ["http://h/?key=AIza-secret", "https://me:secret@h/v1", "http://h/#secret", "http://secret@h"] {
            let message = load("", &[("TIDEGATE_BASE_URL", url)], Given::default()).unwrap_err().to_string();
            assert!(message.starts_with("base_url = http") && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_key_in_place_of_a_model_or_an_address_is_refused_and_not_shown() {
        for name in ["model", "base_url"] {
            let text = format!("{name} = \"AIzaSyD-0123456789abcdef6F2k\"");
            let message = load(&text, &[], Given::default()).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name} = AIza…6F2k cannot be: it looks like a key")), "{message}");
        }
    }

    #[test]
    fn a_bad_variable_is_named_with_what_was_expected() {
        let error = load("", &[("TIDEGATE_RPM", "lots")], Given::default()).unwrap_err();
        assert_eq!(error.to_string(), "environment variable TIDEGATE_RPM: \"lots\" is not a whole number");
    }

    #[test]
    fn values_that_cannot_work_are_refused_with_a_reason() {
        for (toml, message) in [
            ("[retry]\nmax_task_attempts = 0", "retry.max_task_attempts = 0 cannot be: it must be at least 1"),
            ("[quota]\nminute = \"0s\"", "quota.minute = 0s cannot be: it must be longer than nothing"),
            (
                "[retry]\nmax_backoff = \"100ms\"",
                "retry.max_backoff = 100ms cannot be: it must not be less than retry.initial_backoff",
            ),
        ] {
            assert_eq!(load(toml, &[], Given::default()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn prices_of_ones_own_are_read_and_the_higher_source_wins() {
        let usage = tidegate_gemini::Usage { input_tokens: 1_000_000, ..Default::default() };
        let cost = |toml: &str| {
            let prices = load(toml, &[], Given::default()).unwrap().prices;
            prices.cost("homemade", &usage, "2026-11-22".parse().unwrap()).map(|cost| cost.to_string())
        };
        assert_eq!(cost(""), None);
        assert_eq!(cost("[prices.homemade]\ninput = 2\noutput = 3.5"), Some("$2.00".into()));
        let wrong = load("[prices.homemade]\ninput = 1\nouput = 2", &[], Given::default()).unwrap_err();
        assert!(wrong.to_string().contains("did you mean \"prices.homemade.output\"?"), "{wrong}");
    }

    #[test]
    fn the_shipped_example_is_a_settings_file() {
        let example = include_str!("../../../tidegate.example.toml");
        let settings = load(example, &[("GEMINI_API_KEY_1", "one"), ("GEMINI_API_KEY_2", "two")], Given::default()).unwrap();
        assert_eq!(settings.projects.len(), 1);
        assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    }

    #[test]
    fn debug_output_of_settings_holds_no_key() {
        let settings = load("", &[("GEMINI_API_KEY", "AIza-do-not-show-this")], Given::default()).unwrap();
        assert_eq!(settings.projects.len(), 1);
        assert!(!format!("{settings:?}").contains("do-not-show"));
    }
}
