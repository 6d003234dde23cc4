//! The engine: one `submit(request) -> response` over the whole pool of keys.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use secrecy::SecretString;
use tidegate_gemini::models::{self, Limits};
use tidegate_gemini::tokens::{Calibration, Estimate};
use tidegate_scheduler::{KeyState, Limiting, ParkView, QuotaRules, Scheduler, Settings, Sharing, Timestamp};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::backend::{Backend, Passage, Reply};
use crate::change::{Change, UnknownProject};
use crate::clock::Clock;
use crate::counting;
use crate::driver::{Driver, Parts};
use crate::errand::Recipient;
use crate::event::{Event, Observer};
use crate::fetch::{Bounds, Fetcher};
use crate::hooks::Hooks;
use crate::kinship::Kin;
use crate::ledger::{Ledger, Pumps};
use crate::media::{Desk, MediaSettings, Resolver};
use crate::memory::Memory;
use crate::observing::Observing;
use crate::outlier::CountTokens;
use crate::packing::Packing;
use crate::passage::{self, PassageError};
use crate::relay::Relay;
use crate::request::{Error, ErrorClass, Request, Response};
use crate::residence::Residence;
use crate::retry_on::RetryOn;
use crate::reuse::{Reuse, ReuseSettings};
use crate::roster::{Roster, RosterChange, SharedRoster};
use crate::stats::{KeyStatus, QuotaStatus, Status, Waiting};
use crate::store::{Store, StoreError};
use crate::stream::{self, AnswerStream};
use crate::terms::Terms;
use crate::transport::{HttpBackend, HttpVersion};
use crate::uploads::{FilesClient, Patience, Upload, Uploads};

/// Where Google serves the API.
pub const GOOGLE: &str = "https://generativelanguage.googleapis.com";
/// The longest one attempt may take: the API's own bound for unary calls is ten minutes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(600);

/// No end is waited for longer than a day.
const LONGEST_GRACE: Duration = Duration::from_secs(86_400);

/// A project and its keys: the owner of quotas.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// Its name in displays and settings.
    pub name: String,
    /// Its keys, each with a display name (`None`: `PROJECT/1`, ...).
    pub keys: Vec<(Option<String>, SecretString)>,
    /// Limits by model id or `*`, later entries win; a missing dimension is unlimited.
    pub limits: Vec<(String, Limits)>,
    /// Name of the billing account that pays for it: an unpaid bill parks all projects of one account. `None` is an account
    /// of its own.
    pub account: Option<String>,
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
                recall(&folder, base_url, &self.settings.quota, &roster.read(), &clock, &mut scheduler, &mut calibration);
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
        let timer = tokio::spawn(driver.clone().keep_time());
        let (hooks, timer) = (self.hooks, Mutex::new(Some(timer)));
        Ok(Engine { inner: Arc::new(Inner { driver, reuse, hooks, home, timer }) })
    }
}

/// Opens the local store and lets the scheduler go on from it.
fn recall(
    folder: &Path,
    base_url: &str,
    quota: &QuotaRules,
    roster: &Roster,
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

/// The quota family of a model; `*` stands for itself.
pub(crate) fn family(model: &str) -> String {
    if model == "*" { model.to_string() } else { models::family(model).to_string() }
}

pub(crate) fn scheduler_limits(Limits { rpm, tpm, rpd }: Limits) -> tidegate_scheduler::Limits {
    tidegate_scheduler::Limits { rpm, tpm, rpd }
}

/// A running engine; clones share it.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate_engine::{Engine, Project, Request};
/// use tidegate_gemini::{prompt::Prompt, request};
///
/// let engine = Engine::builder()
///     .project(Project { name: "main".into(), keys: vec![(None, "my-key".to_string().into())], ..Project::default() })
///     .build()?;
/// let defaults = request::Defaults { model: Some("gemini-3.8-flash".into()), ..Default::default() };
/// let built = request::build(&Prompt::text("Name three wading birds."), &defaults)?;
/// let response = engine.submit(Request::new(built)).await?;
/// println!("{}", response.answer.text.unwrap_or_default());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    driver: Arc<Driver>,
    reuse: Reuse,
    hooks: Hooks,
    /// Where the local store lies, and whose API it is about.
    home: Option<(PathBuf, String)>,
    timer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.driver.dismiss(true);
        self.driver.desk.uploads.stop();
        self.driver.close_memory();
        if let Some(pumps) = &self.driver.pumps {
            pumps.stop();
        }
        if let Some(timer) = self.timer.lock().take() {
            timer.abort();
        }
    }
}

impl Engine {
    /// Starts collecting settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Sends one prompt as soon as the quotas allow and waits for its end. Dropping the future cancels the prompt.
    ///
    /// # Errors
    /// [`Error`] says whose fault it was and whether asking again may help. [`ErrorClass::NoKey`] and
    /// [`ErrorClass::Cancelled`] leave the prompt as it was: nothing was decided about it.
    pub fn submit(&self, request: impl Into<Box<Request>>) -> impl Future<Output = Result<Response, Error>> + Send + '_ {
        // On the heap: while it waits, a future keeps the room of everything that was ever handed through it.
        let request = request.into();
        async move { if self.inner.hooks.is_empty() { self.answer(request).await } else { Box::pin(self.hooked(request)).await } }
    }

    /// With everybody called who wants to be.
    async fn hooked(&self, mut request: Box<Request>) -> Result<Response, Error> {
        let hooks = &self.inner.hooks;
        let turned_away = hooks.ask(&mut request);
        let label = request.label.clone();
        let result = match turned_away {
            Ok(()) => self.answer(request).await,
            Err(error) => Err(error),
        };
        hooks.tell(label.as_deref(), &result);
        result
    }

    async fn answer(&self, request: Box<Request>) -> Result<Response, Error> {
        if !self.inner.reuse.may_answer(&request) {
            return self.ask(request).await;
        }
        let clock = self.inner.driver.clock;
        Box::pin(self.inner.reuse.answer(request, move || clock.now(), |request| self.ask(request))).await
    }

    async fn ask(&self, mut request: Box<Request>) -> Result<Response, Error> {
        let ready = request.body.ready().is_some() && !counting::is_worth_a_look(&self.inner.driver, &request);
        let counted = if ready { None } else { Box::pin(self.counted(&mut request)).await? };
        let (reply, withdraw) = self.inner.driver.submit(request, counted, None);
        match reply.await {
            Ok(result) => {
                withdraw.ended();
                result
            }
            // The driver answers every prompt before it drops its sender; a runtime that is going down may not.
            Err(_) => Err(Error {
                class: ErrorClass::Cancelled,
                code: "cancelled".to_string(),
                http_status: None,
                message: "the engine went away".to_string(),
                retryable: true,
                answer: None,
                body: None,
                trace: Default::default(),
            }),
        }
    }

    /// Looks at the media of prompts for this engine.
    pub fn resolver(&self) -> Arc<Resolver> {
        self.inner.driver.desk.resolver.clone()
    }

    /// Deletes from the storage of all projects what this engine uploaded; what cannot be deleted expires by itself.
    pub async fn delete_uploads(&self) {
        self.inner.driver.desk.uploads.delete_own().await;
    }

    /// The same for an answer that is wanted piece by piece: returns with its first piece. Until then everything is tried
    /// again as in [`Engine::submit`], after it nothing is.
    ///
    /// # Errors
    /// As [`Engine::submit`], when not even a first piece came.
    pub fn stream(&self, request: impl Into<Box<Request>>) -> impl Future<Output = Result<AnswerStream, Error>> + Send + '_ {
        let mut request = request.into();
        async move {
            self.inner.hooks.ask(&mut request)?;
            let counted = Box::pin(self.counted(&mut request)).await?;
            stream::begin(|listener| self.inner.driver.submit(request, counted, Some(Recipient::Listener(listener)))).await
        }
    }

    /// Its tokens, where the API is asked for them; the request keeps what is left of its deadline then.
    async fn counted(&self, request: &mut Request) -> Result<Option<u64>, Error> {
        let driver = &self.inner.driver;
        let begun = driver.clock.now();
        request.body = driver.desk.fetch(request.body.clone()).await?;
        let counted = counting::count(driver, request).await;
        let waited = driver.clock.now() - begun;
        request.deadline = request.deadline.map(|deadline| deadline.less(waited));
        Ok(counted)
    }

    /// The event stream from now on; a reader that falls 1,024 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.driver.events.subscribe()
    }

    /// What the engine does now. Costs a look at every key and quota: for displays, not for decisions.
    pub fn status(&self) -> Status {
        let driver = &self.inner.driver;
        let now = driver.clock.now();
        let mut state = driver.state.lock();
        let keys = state.scheduler.keys(now);
        let quotas = state.scheduler.quotas(now);
        let parks = state.scheduler.parks();
        let (active, max_active) = state.scheduler.active();
        Status {
            at: now,
            queued: state.scheduler.queued() as u64,
            paused: state.scheduler.paused() as u64,
            active: u64::from(active),
            max_active: u64::from(max_active),
            stats: state.stats.clone(),
            keys: keys.into_iter().map(|view| self.key_status(view, &parks)).collect(),
            quotas: quotas.into_iter().map(|view| self.quota_status(view)).collect(),
            waiting: state.scheduler.limiting(now).map(|limiting| self.waiting(&limiting)),
        }
    }

    fn key_status(&self, view: tidegate_scheduler::KeyView, parks: &[ParkView]) -> KeyStatus {
        let driver = &self.inner.driver;
        let (until, reason) = match &view.state {
            KeyState::Available => (None, None),
            KeyState::Cooldown { until } | KeyState::TemporarilyExhausted { until } | KeyState::FullyExhausted { until } => {
                (Some(*until).filter(|until| !until.is_never()), None)
            }
            KeyState::FailedInit { reason } => (None, Some(reason.to_string())),
        };
        let parked = || parks.iter().find(|park| park.project == view.project).map(|park| park.reason.to_string());
        KeyStatus {
            project: driver.project(view.project),
            name: driver.key(view.key).name.clone(),
            state: view.state.name(),
            until,
            reason: reason.or_else(parked).or_else(|| view.why.map(|why| why.name().to_string())),
            active: view.active,
            exhausted: view.exhausted,
        }
    }

    fn quota_status(&self, view: tidegate_scheduler::QuotaView) -> QuotaStatus {
        let (requests, tokens, today) = view.used;
        QuotaStatus {
            project: self.inner.driver.project(view.project),
            model: view.model,
            rpm: (requests, view.limits.rpm),
            tpm: (tokens, view.limits.tpm),
            rpd: (today, view.limits.rpd),
            held_until: view.held_until,
            frees_at: view.blocked.map(|blocked| blocked.until),
        }
    }

    fn waiting(&self, limiting: &Limiting) -> Waiting {
        Waiting {
            reason: limiting.blocked.reason.name(),
            project: limiting.project.map(|project| self.inner.driver.project(project)),
            model: limiting.model.clone(),
            until: Some(limiting.blocked.until).filter(|until| !until.is_never()),
        }
    }

    /// Has `observer` see every event from now on, until what comes back is dropped or the engine ends.
    pub fn observe(&self, observer: Arc<dyn Observer>) -> Observing {
        Observing::begin(&self.inner.driver, observer)
    }

    /// Changes settings while it runs, at once: nothing sent or waiting is lost, and nothing counted is forgotten.
    /// [`EventKind::Reconfigured`](crate::EventKind::Reconfigured) tells who watches; what came back tells what changed among
    /// projects and keys. Keys are known by their secrets, so names may change; projects by most of their keys.
    ///
    /// ```
    /// # async fn example(engine: tidegate_engine::Engine) -> Result<(), tidegate_engine::UnknownProject> {
    /// use tidegate_engine::{Change, Profile, scheduler::Pacing};
    /// use tidegate_gemini::models::Limits;
    ///
    /// // Half the calls at once from now on, and the higher quota that was bought for "main".
    /// let pacing = Pacing { max_concurrency: 32, ..Pacing::default() };
    /// let limits = Limits { rpm: Some(300), tpm: Some(2_000_000), rpd: None };
    /// engine.reconfigure(Change {
    ///     pacing: Some(pacing),
    ///     limits: vec![("main".into(), "gemini-3.8-flash".into(), limits)],
    ///     ..Change::default()
    /// })?;
    /// // Or a whole profile, as the program's `--profile` knows them.
    /// engine.reconfigure(Profile::Classic.into())?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`UnknownProject`] when limits name a project that the engine does not have; nothing is changed then.
    pub fn reconfigure(&self, change: Change) -> Result<Vec<RosterChange>, UnknownProject> {
        self.inner.driver.reconfigure(change)
    }

    /// Projects that were refused together far below their limits, again and again: probably one project, whose keys belong
    /// under one name.
    pub fn kin(&self) -> Vec<Kin> {
        self.inner.driver.state.lock().kinship.kin()
    }

    /// When a prompt of this size could start that was handed in now, behind all that wait at its priority or a higher one.
    /// `only` is the project it belongs to, if it belongs to one. `None` when time alone will not let it go.
    pub fn due(&self, model: &str, estimate: Estimate, priority: i32, only: Option<u32>) -> Option<Timestamp> {
        let driver = &self.inner.driver;
        let mut state = driver.state.lock();
        let family = models::family(model);
        let tokens = state.calibration.apply(family, estimate);
        let model = state.scheduler.admit(family)?;
        state.scheduler.due(driver.clock.now(), model, tokens, priority, only)
    }

    /// Hands a call that no quota counts to the API with any good key, and its answer back as it came.
    ///
    /// # Errors
    /// When no answer came, or no key is left to ask with.
    pub async fn pass(&self, passage: Passage) -> Result<Reply, PassageError> {
        passage::pass(&self.inner.driver, passage).await
    }

    /// The local store of this engine, opened once more; `None` for an engine without one.
    pub fn store(&self) -> Option<Result<Store, StoreError>> {
        self.inner.home.as_ref().map(|(folder, base_url)| Store::open(folder, base_url))
    }

    /// When the quota day ends that it is now.
    pub fn day_end(&self) -> Timestamp {
        let driver = &self.inner.driver;
        driver.state.lock().scheduler.day_end(driver.clock.now())
    }

    pub(crate) fn driver(&self) -> &Arc<Driver> {
        &self.inner.driver
    }

    /// The engine's clock.
    pub fn now(&self) -> Timestamp {
        self.inner.driver.clock.now()
    }

    /// The most attempts that may be under way at once.
    pub fn max_concurrency(&self) -> usize {
        self.inner.driver.state.lock().scheduler.active().1 as usize
    }

    /// Takes prompts again after [`Engine::drain`].
    pub(crate) fn reopen(&self) {
        self.inner.driver.reopen();
    }

    /// Whether prompts are taken in.
    pub(crate) fn is_open(&self) -> bool {
        !self.inner.driver.state.lock().closed
    }

    /// Admits nothing more, gives back what waits ([`ErrorClass::Cancelled`]), lets what is in flight end for at most
    /// `grace`, then cancels the rest. Returns when nothing is left.
    pub async fn shutdown(&self, grace: Duration) {
        self.drain(grace).await;
        let driver = &self.inner.driver;
        driver.desk.uploads.stop();
        if let Some(pumps) = &driver.pumps {
            pumps.finish().await;
        }
        driver.close_memory();
    }

    /// As [`Engine::shutdown`], but nothing is closed for good: what was counted and learned goes on.
    pub(crate) async fn drain(&self, grace: Duration) {
        let driver = &self.inner.driver;
        driver.dismiss(false);
        let end = tokio::time::Instant::now() + grace.min(LONGEST_GRACE);
        loop {
            let idle = driver.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if driver.outstanding() == 0 {
                return;
            }
            tokio::select! {
                () = &mut idle => {}
                () = tokio::time::sleep_until(end) => driver.dismiss(true),
            }
        }
    }
}
