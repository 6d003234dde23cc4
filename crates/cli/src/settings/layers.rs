//! Settings as one source gives them, and the stack in which higher sources win.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tidegate_engine::CountTokens;
use tidegate_engine::scheduler::{Day, TpmCounts, WindowKind};
use tidegate_gemini::prices::{Price, Prices};

use super::cache::CacheLayer;
use super::media::{MediaLayer, Size};
use super::profile::Profile;
use super::redis::RedisLayer;
use super::template::TemplateLayer;
use super::values::{AutoSpan, Part, Statuses, Written, written};
use crate::env_vars::{self, Environment};
use crate::keys::{KeySource, key_list, shown};

/// What one source says; `None` where it says nothing. The shape is that of the settings file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layer {
    /// The model for prompts that name none.
    pub model: Option<String>,
    /// Where the API lives.
    pub base_url: Option<String>,
    /// Folder of the local store.
    pub state_dir: Option<String>,
    /// The preset.
    #[serde(deserialize_with = "written")]
    pub profile: Option<Profile>,
    /// `[pacing]`.
    pub pacing: PacingLayer,
    /// `[keys]`.
    pub keys: KeysLayer,
    /// `[retry]`.
    pub retry: RetryLayer,
    /// `[quota]`.
    pub quota: QuotaLayer,
    /// `[media]`.
    pub media: MediaLayer,
    /// `[cache]`.
    pub cache: CacheLayer,
    /// `[template]`.
    pub template: TemplateLayer,
    /// `[serve]`.
    pub serve: ServeLayer,
    /// `[redis]`.
    pub redis: RedisLayer,
    /// `[[projects]]`.
    pub projects: Option<Vec<ProjectEntry>>,
    /// `[prices."MODEL"]`: what a model charges, in USD per 1,000,000 tokens.
    pub prices: BTreeMap<String, Price>,
    /// Limits for every project and model; flags and variables only.
    #[serde(skip)]
    pub limits: LimitsLayer,
    /// Folder that `file:` keys are relative to.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// `[pacing]`: how fast calls may follow each other, apart from quotas.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PacingLayer {
    /// The most attempts under way at once; 0 = up to 4096.
    #[serde(deserialize_with = "written")]
    pub max_concurrency: Option<usize>,
    /// Least time between the starts of any two calls.
    #[serde(deserialize_with = "written")]
    pub call_interval: Option<Duration>,
    /// The most attempts under way with one key; 0 = no bound.
    #[serde(deserialize_with = "written")]
    pub slots_per_key: Option<usize>,
    /// Least time between two starts in one slot.
    #[serde(deserialize_with = "written")]
    pub slot_interval: Option<Duration>,
    /// Rest of a key after each use.
    #[serde(deserialize_with = "written")]
    pub key_cooldown: Option<Duration>,
    /// Rest of a worker after each call.
    #[serde(deserialize_with = "written")]
    pub worker_cooldown: Option<Duration>,
    /// Pause of a prompt before each of its attempts.
    #[serde(deserialize_with = "written")]
    pub delay: Option<Duration>,
}

/// `[keys]`: pauses after refusals that tell no delay themselves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysLayer {
    /// Pause when no delay was told; auto = 1 s, doubling up to a minute, reset by a success.
    #[serde(deserialize_with = "written")]
    pub exhausted_wait: Option<AutoSpan>,
    /// Pause of a quota that is used up for the day; auto = until the next quota day.
    #[serde(deserialize_with = "written")]
    pub fully_exhausted_wait: Option<AutoSpan>,
    /// Refusals in a row after which a quota counts as used up; 0 = never by count alone.
    #[serde(deserialize_with = "written")]
    pub max_exhausted_retries: Option<u32>,
}

/// `[retry]`: how often a prompt is asked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryLayer {
    /// Attempts that may fail by the prompt's own fault.
    #[serde(deserialize_with = "written")]
    pub max_task_attempts: Option<u32>,
    /// Attempts that may fail by the API's or the network's fault.
    #[serde(deserialize_with = "written")]
    pub max_transient_attempts: Option<u32>,
    /// Attempts of any outcome; 0 = no bound.
    #[serde(deserialize_with = "written")]
    pub max_attempts: Option<u32>,
    /// Tokens all attempts of a prompt may use before it is asked again for better JSON; 0 = no bound.
    #[serde(deserialize_with = "written")]
    pub max_json_tokens: Option<u64>,
    /// The longest one attempt may take.
    #[serde(deserialize_with = "written")]
    pub attempt_timeout: Option<Duration>,
    /// HTTP statuses that are worth another try.
    pub retry_on: Option<Statuses>,
    /// First pause after a fault.
    #[serde(deserialize_with = "written")]
    pub initial_backoff: Option<Duration>,
    /// Longest pause of our own making.
    #[serde(deserialize_with = "written")]
    pub max_backoff: Option<Duration>,
}

/// `[quota]`: how the server counts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaLayer {
    /// The kind of window behind a per-minute limit.
    #[serde(deserialize_with = "written")]
    pub window: Option<WindowKind>,
    /// Length of the server's minute.
    #[serde(deserialize_with = "written")]
    pub minute: Option<Duration>,
    /// The part of a minute's limit that the server's bucket holds.
    #[serde(deserialize_with = "written")]
    pub bucket: Option<Part>,
    /// When a quota day ends.
    #[serde(deserialize_with = "written")]
    pub day: Option<Day>,
    /// How late a request may be counted after it was sent.
    #[serde(deserialize_with = "written")]
    pub guard: Option<AutoSpan>,
    /// Which tokens a TPM limit counts.
    #[serde(deserialize_with = "written")]
    pub tpm_counts: Option<TpmCounts>,
    /// Whose tokens are counted by the API before they are sent.
    #[serde(deserialize_with = "written")]
    pub count_tokens: Option<CountTokens>,
}

/// `[serve]`: who may call the gateway, and how long they wait.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeLayer {
    /// Address to listen on.
    #[serde(deserialize_with = "written")]
    pub listen: Option<SocketAddr>,
    /// How long a request waits for its permit.
    #[serde(deserialize_with = "written")]
    pub max_wait: Option<Duration>,
    /// How long requests under way may go on at the end.
    #[serde(deserialize_with = "written")]
    pub grace: Option<Duration>,
    /// Origins of web pages that may call, or `*`.
    pub cors: Option<Vec<String>>,
    /// The most requests that wait for a permit.
    pub max_queue: Option<usize>,
    /// The most bytes of a request's body.
    #[serde(deserialize_with = "written")]
    pub max_body: Option<Size>,
    /// The most bytes that the bodies of all requests under way hold together.
    #[serde(deserialize_with = "written")]
    pub max_bodies_in_flight: Option<Size>,
    /// The collector of traces.
    pub otlp_endpoint: Option<String>,
    /// The whole address that spans are sent to; by a variable only.
    #[serde(skip)]
    pub otlp_traces_endpoint: Option<String>,
    /// `[[serve.clients]]`.
    pub clients: Option<Vec<ClientEntry>>,
}

/// One of `[[serve.clients]]`: somebody who may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientEntry {
    /// Its name in logs.
    pub name: String,
    /// Its token.
    #[serde(deserialize_with = "key_list")]
    pub token: Vec<KeySource>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: Option<i32>,
    /// Requests a minute.
    #[serde(default)]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[serde(default)]
    pub tpm: Option<u64>,
    /// Tokens a day.
    #[serde(default)]
    pub tokens_per_day: Option<u64>,
    /// Models it may ask, `*` for any letters.
    #[serde(default)]
    pub models: Vec<String>,
}

/// One of `[[projects]]`: an owner of quotas with its keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectEntry {
    /// Its name in displays.
    pub name: String,
    /// Preset limits to start from.
    #[serde(default)]
    pub tier: Option<String>,
    /// Its billing account: an unpaid bill parks all projects of one account.
    #[serde(default)]
    pub account: Option<String>,
    /// Its keys.
    #[serde(deserialize_with = "key_list")]
    pub keys: Vec<KeySource>,
    /// Limits by model, or `*` for every model.
    #[serde(default)]
    pub limits: BTreeMap<String, LimitsLayer>,
}

/// Limits of a project for a model; a missing one leaves what stands below.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsLayer {
    /// Requests a minute.
    #[serde(deserialize_with = "written")]
    pub rpm: Option<u64>,
    /// Input tokens a minute.
    #[serde(deserialize_with = "written")]
    pub tpm: Option<u64>,
    /// Requests a day.
    #[serde(deserialize_with = "written")]
    pub rpd: Option<u64>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flags,
    /// The scenario of the embedded simulator.
    Scenario,
    /// `TIDEGATE_*` variables.
    Environment,
    /// A settings file.
    File(PathBuf),
    /// A profile.
    Profile(Profile),
    /// Built in.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flags => f.write_str("command line"),
            Source::Scenario => f.write_str("simulator scenario"),
            Source::Environment => f.write_str("environment"),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Profile(profile) => write!(f, "profile {}", profile.name()),
            Source::Default => f.write_str("default"),
        }
    }
}

/// Sources from the highest to the lowest.
#[derive(Debug, Default)]
pub struct Stack(pub Vec<(Source, Layer)>);

impl Stack {
    /// The value of the highest source that has one, and which source that is.
    pub fn pick<T>(&self, of: impl Fn(&Layer) -> Option<T>) -> Option<(T, &Source)> {
        self.0.iter().find_map(|(source, layer)| of(layer).map(|value| (value, source)))
    }

    /// The shipped table of prices, under those that the sources tell.
    pub fn prices(&self) -> Prices {
        let told = self.0.iter().rev().flat_map(|(_, layer)| &layer.prices);
        told.fold(Prices::default(), |prices, (model, price)| prices.with(model, *price))
    }
}

impl Layer {
    /// What the environment says.
    ///
    /// # Errors
    /// Names the variable, its value, and what was expected.
    pub fn of_environment(environment: &Environment) -> Result<Layer, String> {
        let env = Variables(environment);
        Ok(Layer {
            model: env.text(env_vars::MODEL),
            base_url: env.text(env_vars::BASE_URL).or_else(|| env.text(env_vars::GOOGLE_BASE_URL)),
            state_dir: env.text(env_vars::STATE_DIR),
            profile: env.read(env_vars::PROFILE)?,
            pacing: PacingLayer {
                max_concurrency: env.read(env_vars::MAX_CONCURRENCY)?,
                call_interval: env.read(env_vars::CALL_INTERVAL)?,
                slots_per_key: env.read(env_vars::SLOTS_PER_KEY)?,
                slot_interval: env.read(env_vars::SLOT_INTERVAL)?,
                key_cooldown: env.read(env_vars::KEY_COOLDOWN)?,
                worker_cooldown: env.read(env_vars::WORKER_COOLDOWN)?,
                delay: env.read(env_vars::DELAY)?,
            },
            keys: KeysLayer {
                exhausted_wait: env.read(env_vars::EXHAUSTED_WAIT)?,
                fully_exhausted_wait: env.read(env_vars::FULLY_EXHAUSTED_WAIT)?,
                max_exhausted_retries: env.read(env_vars::MAX_EXHAUSTED_RETRIES)?,
            },
            retry: RetryLayer {
                max_task_attempts: env.read(env_vars::MAX_TASK_ATTEMPTS)?,
                max_transient_attempts: env.read(env_vars::MAX_TRANSIENT_ATTEMPTS)?,
                max_attempts: env.read(env_vars::MAX_ATTEMPTS)?,
                max_json_tokens: env.read(env_vars::MAX_JSON_TOKENS)?,
                attempt_timeout: env.read(env_vars::ATTEMPT_TIMEOUT)?,
                retry_on: env.read(env_vars::RETRY_ON)?,
                initial_backoff: env.read(env_vars::INITIAL_BACKOFF)?,
                max_backoff: env.read(env_vars::MAX_BACKOFF)?,
            },
            quota: QuotaLayer {
                window: env.read(env_vars::WINDOW)?,
                minute: env.read(env_vars::MINUTE)?,
                bucket: env.read(env_vars::BUCKET)?,
                day: env.read(env_vars::DAY)?,
                guard: env.read(env_vars::GUARD)?,
                tpm_counts: None,
                count_tokens: env.read(env_vars::COUNT_TOKENS)?,
            },
            serve: ServeLayer {
                listen: env.read(env_vars::LISTEN)?,
                max_wait: env.read(env_vars::MAX_WAIT)?,
                max_queue: env.read(env_vars::MAX_QUEUE)?,
                otlp_endpoint: env.text(env_vars::OTEL_ENDPOINT),
                otlp_traces_endpoint: env.text(env_vars::OTEL_TRACES_ENDPOINT),
                ..ServeLayer::default()
            },
            redis: RedisLayer {
                url: env.text(env_vars::REDIS_URL).map(Into::into),
                local_share: env.read(env_vars::REDIS_LOCAL_SHARE)?,
            },
            limits: LimitsLayer { rpm: env.read(env_vars::RPM)?, tpm: env.read(env_vars::TPM)?, rpd: env.read(env_vars::RPD)? },
            ..Layer::default()
        })
    }
}

struct Variables<'a>(&'a Environment);

impl Variables<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(str::to_string)
    }

    fn read<T: Written>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        T::read(text).map(Some).ok_or_else(|| format!("environment variable {name}: {:?} is not {}", shown(text), T::EXPECTED))
    }
}
