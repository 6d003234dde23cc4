//! The engine: one `submit(request) -> response` over the whole pool of keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_gemini::models;
use tidegate_gemini::tokens::Estimate;
use tidegate_scheduler::{KeyState, Limiting, ParkView, Timestamp};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::backend::{Passage, Reply};
use crate::builder::Builder;
use crate::change::{Change, UnknownProject};
use crate::counting;
use crate::driver::Driver;
use crate::errand::Recipient;
use crate::event::{Event, Observer};
use crate::hooks::Hooks;
use crate::kinship::Kin;
use crate::media::Resolver;
use crate::observing::Observing;
use crate::passage::{self, PassageError};
use crate::request::{Error, ErrorClass, Request, Response};
use crate::reuse::Reuse;
use crate::roster::RosterChange;
use crate::stats::{KeyStatus, QuotaStatus, Status, Waiting};
use crate::store::{Store, StoreError};
use crate::stream::{self, AnswerStream};

/// No end is waited for longer than a day.
const LONGEST_GRACE: Duration = Duration::from_secs(86_400);

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

    /// Lets a driver keep its time, and hands it out.
    pub(crate) fn start(driver: Arc<Driver>, reuse: Reuse, hooks: Hooks, home: Option<(PathBuf, String)>) -> Engine {
        let timer = Mutex::new(Some(tokio::spawn(driver.clone().keep_time())));
        Engine { inner: Arc::new(Inner { driver, reuse, hooks, home, timer }) }
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
