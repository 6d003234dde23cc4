//! Collects what an engine needs, and builds it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use tidegate_gemini::tokens::Calibration;
use tidegate_scheduler::{QuotaRules, Scheduler, Settings, Sharing, Timestamp};

use crate::backend::Backend;
use crate::clock::Clock;
use crate::driver::{Driver, Parts};
use crate::engine::Engine;
use crate::event::Observer;
use crate::fetch::{Bounds, Fetcher};
use crate::hooks::Hooks;
use crate::ledger::{Ledger, Pumps};
use crate::media::{Desk, MediaSettings, Resolver};
use crate::memory::Memory;
use crate::outlier::CountTokens;
use crate::packing::Packing;
use crate::project::Project;
use crate::relay::Relay;
use crate::request::{Error, Request, Response};
use crate::residence::Residence;
use crate::retry_on::RetryOn;
use crate::reuse::{Reuse, ReuseSettings};
use crate::roster::{Roster, SharedRoster};
use crate::store::{Store, StoreError};
use crate::terms::Terms;
use crate::transport::{HttpBackend, HttpVersion};
use crate::uploads::{FilesClient, Patience, Upload, Uploads};

/// Where Google serves the API.
pub const GOOGLE: &str = "https://generativelanguage.googleapis.com";
/// The longest one attempt may take: the API's own bound for unary calls is ten minutes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(600);

/// Collects what an [`Engine`] needs.
#[derive(Default)]
pub struct Builder {
    projects: Vec<Project>,
    settings: Settings,
    base_url: Option<String>,
    http: HttpVersion,
    attempt_timeout: Option<Duration>,
    retry_on: RetryOn,
    count_tokens: CountTokens,
    backend: Option<Arc<dyn Backend>>,
    observers: Vec<Arc<dyn Observer>>,
    start_at: Option<Timestamp>,
    state_dir: Option<PathBuf>,
    media: MediaSettings,
    reuse: ReuseSettings,
    ledger: Option<Arc<dyn Ledger>>,
    alone: f64,
    hooks: Hooks,
}

impl Builder {
    /// Adds a project with its keys and limits.
    pub fn project(mut self, project: Project) -> Builder {
        self.projects.push(project);
        self
    }

    /// Pacing, retry and quota settings of the scheduler.
    pub fn settings(mut self, settings: Settings) -> Builder {
        self.settings = settings;
        self
    }

    /// Where the API lives, with or without a version at the end; default [`GOOGLE`].
    pub fn base_url(mut self, url: impl Into<String>) -> Builder {
        self.base_url = Some(url.into());
        self
    }

    /// Which HTTP is spoken; default: whatever TLS negotiates.
    pub fn http(mut self, version: HttpVersion) -> Builder {
        self.http = version;
        self
    }

    /// The longest one attempt may take, default 10 minutes.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Builder {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// HTTP statuses that are worth another try; default 408, 500, 502, 503 and 504.
    pub fn retry_on(mut self, retry_on: RetryOn) -> Builder {
        self.retry_on = retry_on;
        self
    }

    /// Whose tokens the API is asked to count before they are sent; default nobody's.
    pub fn count_tokens(mut self, whose: CountTokens) -> Builder {
        self.count_tokens = whose;
        self
    }

    /// Another way to reach the API (a stub, another service) instead of HTTP.
    pub fn backend(mut self, backend: impl Backend) -> Builder {
        self.backend = Some(Arc::new(backend));
        self
    }

    /// Somebody who sees every event in order.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Builder {
        self.observers.push(observer);
        self
    }

    /// What the engine's clock shows when it is built, instead of the wall clock's time: for simulated days.
    pub fn start_at(mut self, start: Timestamp) -> Builder {
        self.start_at = Some(start);
        self
    }

    /// Where the local store lies: learned limits, the day's counts, the last minute, key states. Without it nothing
    /// outlives the engine. The folder is made where it is missing; any number of processes share it.
    pub fn state_dir(mut self, folder: impl Into<PathBuf>) -> Builder {
        self.state_dir = Some(folder.into());
        self
    }

    /// How media are sent, and what may be fetched.
    pub fn media(mut self, settings: MediaSettings) -> Builder {
        self.media = settings;
        self
    }

    /// Which answers may be reused; none by default. Without the file of kept answers the engine goes on and asks.
    pub fn reuse(mut self, settings: ReuseSettings) -> Builder {
        self.reuse = settings;
        self
    }

    /// Calls `hook` before each prompt is handed in: it may change the request, and turn it away with an error, which is then
    /// the prompt's end. Several are asked in the order in which they were added.
    pub fn before(mut self, hook: impl Fn(&mut Request) -> Result<(), Error> + Send + Sync + 'static) -> Builder {
        self.hooks.before.push(Arc::new(hook));
        self
    }

    /// Calls `hook` with the label and the end of each prompt of [`Engine::submit`], also of one that was turned away before;
    /// not of one whose caller went away. It runs on the caller's task and must not block. Several are told in the opposite
    /// order.
    pub fn after(mut self, hook: impl Fn(Option<&str>, &Result<Response, Error>) + Send + Sync + 'static) -> Builder {
        self.hooks.after.push(Arc::new(hook));
        self
    }

    /// Shares every quota with the other engines of this ledger: nothing is sent without its permit.
    pub fn ledger(mut self, ledger: impl Ledger) -> Builder {
        self.ledger = Some(Arc::new(ledger));
        self
    }

    /// The part of every limit that all engines of a ledger together go on with while it cannot be reached, from 0 (the
    /// default: they wait) to 1.
    pub fn alone(mut self, part: f64) -> Builder {
        self.alone = part.clamp(0.0, 1.0);
        self
    }

    /// Builds the engine; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`] when there is no key, or the base URL or TLS cannot be used. Nothing is sent yet.
    pub fn build(self) -> Result<Engine, BuildError> {
        if self.projects.iter().all(|project| project.keys.is_empty()) {
            return Err(BuildError::NoKeys);
        }
        let terms = Arc::new(Terms::new(self.attempt_timeout.unwrap_or(ATTEMPT_TIMEOUT), self.retry_on));
        // What is handed on as it is goes where prompts go.
        let relay = match (&self.backend, &self.base_url) {
            (Some(_), None) => None,
            (_, url) => Some(Relay::new(url.as_deref().unwrap_or(GOOGLE))?),
        };
        let backend = match self.backend {
            Some(backend) => backend,
            None => Arc::new(HttpBackend::new(self.base_url.as_deref().unwrap_or(GOOGLE), self.http, terms.clone())?),
        };
        let backend = Arc::new(Packing::new(backend));
        let reuse = Reuse::new(self.reuse).unwrap_or_else(|fault| {
            tracing::warn!("answers are not kept: {fault}");
            Reuse::default()
        });
        let clock = Clock::new(self.start_at);
        let base_url = self.base_url.as_deref().unwrap_or(GOOGLE);
        let teller: Arc<OnceLock<Weak<Driver>>> = Arc::default();
        let desk = desk(self.media, base_url, self.state_dir.as_deref(), clock, &teller)?;
        let (roster, specs) = Roster::new(&self.projects);
        let roster: SharedRoster = Arc::new(RwLock::new(Arc::new(roster)));
        let residence = Residence::new(store(self.state_dir.as_deref(), base_url)?, clock, roster.clone());
        let mut scheduler = Scheduler::new(specs, self.settings.clone());
        let pumps = self.ledger.map(|ledger| Arc::new(Pumps::new(ledger, self.settings.quota.minute)));
        if pumps.is_some() {
            scheduler.share(Sharing { alone: self.alone, ..Sharing::default() });
        }
        let mut calibration = Calibration::default();
        let home = self.state_dir.clone().map(|folder| (folder, base_url.to_string()));
        let memory = self.state_dir.and_then(|folder| {
            let remembered =
                recall(&folder, base_url, &self.settings.quota, roster.read().clone(), &clock, &mut scheduler, &mut calibration);
            remembered.map_err(|fault| tracing::warn!("nothing will be remembered of this run: {fault}")).ok()
        });
        let driver = Driver::new(Parts {
            scheduler,
            clock,
            roster,
            backend,
            count_tokens: self.count_tokens,
            observers: self.observers,
            terms,
            calibration,
            minute: self.settings.quota.minute,
            memory,
            desk,
            residence,
            relay,
            pumps,
        });
        let _ = teller.set(Arc::downgrade(&driver));
        if let Some(pumps) = &driver.pumps {
            pumps.listen(&driver);
        }
        Ok(Engine::start(driver, reuse, self.hooks, home))
    }
}

/// Why an engine could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No project has a key.
    #[error("No valid API keys found: set GEMINI_API_KEY, or put keys into .env or tidegate.toml")]
    NoKeys,
    /// The base URL cannot be used.
    #[error("base URL {url:?}: {reason}")]
    BaseUrl {
        /// As given, without query and password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The local store cannot be had, not even in memory.
    #[error("{0}")]
    Store(String),
    /// TLS could not be set up.
    #[error("Failed to initialize client: {0}")]
    Tls(String),
}

/// Opens the local store and lets the scheduler go on from it.
fn recall(
    folder: &Path,
    base_url: &str,
    quota: &QuotaRules,
    roster: Arc<Roster>,
    clock: &Clock,
    scheduler: &mut Scheduler,
    calibration: &mut Calibration,
) -> Result<Memory, StoreError> {
    let mut memory = Memory::open(folder, base_url, quota.clone(), roster)?;
    memory.recall(scheduler, calibration, clock.now())?;
    Ok(memory)
}

/// Where media come from and go to; what is told of uploads goes to the driver that is about to be.
fn desk(
    settings: MediaSettings,
    base_url: &str,
    state_dir: Option<&Path>,
    clock: Clock,
    teller: &Arc<OnceLock<Weak<Driver>>>,
) -> Result<Desk, BuildError> {
    let teller = teller.clone();
    let listener = move |upload: Upload| {
        if let Some(driver) = teller.get().and_then(Weak::upgrade) {
            driver.uploading(upload);
        }
    };
    let store = store(state_dir, base_url)?;
    let fetcher = Fetcher::new(&settings.allow_hosts, Bounds::default());
    let client = FilesClient::new(base_url, Patience::default())?;
    let resolver = Resolver::new(settings, state_dir).map_err(|fault| BuildError::Store(fault.to_string()))?;
    Ok(Desk::new(Arc::new(Uploads::new(client, store, clock, Arc::new(listener))), Arc::new(resolver), fetcher))
}

/// The local store, or one in memory where no file can be had.
fn store(state_dir: Option<&Path>, base_url: &str) -> Result<Store, BuildError> {
    let own = || Store::in_memory(base_url);
    let store = state_dir.map_or_else(own, |folder| Store::open(folder, base_url).or_else(|_| own()));
    store.map_err(|fault| BuildError::Store(fault.to_string()))
}
