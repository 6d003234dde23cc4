//! The machine: a request in, an answer out; the time is handed in and all chance comes from the seed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::batches::Batches;
use crate::bodies::{self, ErrorBody};
use crate::caches::Caches;
use crate::chance::Chance;
use crate::exchange::{SimAnswer, SimRequest};
use crate::faults::FaultBook;
use crate::files::{Files, Shelf};
use crate::generate::Asking;
use crate::interactions::Interactions;
use crate::keys::{KeyRing, KeyState, SimKey, Standing};
use crate::latency::milliseconds;
use crate::model::{LimitTable, Quotas, Rules};
use crate::prompt::Prompt;
use crate::report::{Report, Tally};
use crate::routes::{Call, Credential, Form, Target};
use crate::scenario::Scenario;
use crate::script::ScriptBook;
use crate::upload::Uploads;
use crate::{catalogue, key_errors};

/// A simulated server.
///
/// The caller sleeps [`transit`](Self::transit), calls [`handle`](Self::handle) at the arrival, and
/// sends the pieces at their times. The same calls with the same seed get the same bytes.
///
/// ```
/// use tidegate_simulator::{Scenario, SimRequest, Simulator};
/// let mut simulator = Simulator::new(Scenario::open(), Some(7));
/// let headers = [("x-goog-api-key".to_owned(), "any".to_owned())];
/// let answer = simulator.handle(1_000_000, &SimRequest {
///     method: "POST",
///     path: "/v1beta/models/gemini-3.8-flash:generateContent",
///     headers: &headers,
///     body: br#"{"contents": [{"parts": [{"text": "hello"}]}]}"#,
/// });
/// assert_eq!(answer.status, 200);
/// assert_eq!(simulator.report(2_000_000).answered, 1);
/// ```
pub struct Simulator {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) start: Option<u64>,
    pub(crate) ways: Chance,
    pub(crate) fate: Chance,
    pub(crate) keys: KeyRing,
    pub(crate) owners: Vec<Owner>,
    pub(crate) quotas: Quotas,
    pub(crate) faults: FaultBook,
    pub(crate) tally: Tally,
    pub(crate) files: Files,
    pub(crate) uploads: Uploads,
    pub(crate) caches: Caches,
    pub(crate) batches: Batches,
    pub(crate) interactions: Interactions,
    pub(crate) scripts: ScriptBook,
    /// Draws names of files, caches and uploads.
    pub(crate) names: Chance,
    /// Texts of the prompts that got JSON of a wrong type.
    pub(crate) wronged: Vec<String>,
}

/// What is known of a project beside its quota.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) free: bool,
    pub(crate) credit: Option<u64>,
}

impl Simulator {
    /// A fresh server; `seed` replaces the scenario's. Its time begins with the first request.
    #[must_use]
    pub fn new(scenario: Scenario, seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or(scenario.seed);
        let rules = Rules { window: scenario.quota.window, minute: scenario.minute(), day: scenario.day_kind(), seed: seed ^ 1 };
        let faults = FaultBook::new(scenario.faults.clone(), scenario.max_faults_per_prompt);
        let mut simulator = Self {
            seed,
            start: None,
            ways: Chance::new(seed ^ 2),
            fate: Chance::new(seed ^ 3),
            keys: KeyRing::default(),
            owners: Vec::new(),
            quotas: Quotas::new(rules),
            faults,
            tally: Tally::new(scenario.record_requests),
            files: Files::new(scenario.files.clone()),
            uploads: Uploads::default(),
            batches: Batches::new(scenario.batches.clone()),
            interactions: Interactions::default(),
            caches: Caches::new(scenario.min_cached_tokens),
            scripts: ScriptBook::new(scenario.answers.scripts.clone()),
            names: Chance::new(seed ^ 4),
            wronged: Vec::new(),
            scenario,
        };
        simulator.open_projects();
        simulator
    }

    /// Draws how long one request takes from the client to the server.
    pub fn transit(&mut self) -> Duration {
        self.scenario.transit.draw(&mut self.ways)
    }

    /// Answers a request that arrives at `now`, microseconds since the Unix epoch.
    pub fn handle(&mut self, now: u64, request: &SimRequest<'_>) -> SimAnswer {
        if request.method == "GET" && request.path == "/sim/report" {
            return SimAnswer::json(200, &json!(self.report(now)), Duration::ZERO);
        }
        if let Some(mut reception) = self.receive(now, request) {
            reception.write(request.body);
            return self.received(now, reception);
        }
        self.arrived(now, request);
        let answer = self.answer(now, request);
        self.occupied(now, answer.duration());
        answer
    }

    /// What was seen until `now`.
    #[must_use]
    pub fn report(&self, now: u64) -> Report {
        let elapsed = Duration::from_micros(now.saturating_sub(self.start.unwrap_or(now)));
        self.tally.report(&self.scenario.name, elapsed, now, &self.quotas)
    }

    /// The scenario that is played.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The quota truth with its witnesses, in the order of the scenario's projects.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub(crate) fn arrived(&mut self, now: u64, request: &SimRequest<'_>) {
        self.tally.requests += 1;
        self.tally.recorder.note(request);
        self.start.get_or_insert(now);
    }

    pub(crate) fn occupied(&mut self, now: u64, duration: Duration) {
        let duration = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4);
        self.tally.occupied(now, now + duration);
    }

    /// Milliseconds since the first request.
    pub(crate) fn elapsed_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.start.unwrap_or(now)) / 1_000
    }

    /// Gives a project other limits, in force at once; an unknown name changes nothing.
    pub fn set_limits(&mut self, project: &str, limits: LimitTable) {
        if let Some(index) = self.owners.iter().position(|owner| owner.name == project) {
            self.quotas.set_limits(index, limits);
        }
    }

    fn open_projects(&mut self) {
        for project in self.scenario.projects.clone() {
            let limits = self.scenario.limits_of(&project);
            let index = self.quotas.add_project(project.name.clone(), limits);
            for key in &project.keys {
                let mine = project.key_changes.iter().filter(|change| change.key == *key);
                self.keys.add(key.clone(), index, mine.cloned().collect());
            }
            let free = project.tier.is_empty() || project.tier == "free";
            self.owners.push(Owner { name: project.name, free, credit: project.credit_requests });
        }
    }

    fn answer(&mut self, now: u64, request: &SimRequest<'_>) -> SimAnswer {
        let call = Call::parse(request);
        let wrapped = call.openai || matches!(call.target, Target::Generate { form: Form::Array, .. });
        if call.target == Target::Unknown {
            return self.fail(None, "", "not_found", &bodies::not_found(), wrapped);
        }
        if let Target::Upload { upload: Some(upload) } = &call.target {
            return self.ask_upload(upload, request);
        }
        let elapsed_ms = self.elapsed_ms(now);
        let project = match self.authorise(&call, request, elapsed_ms) {
            Ok(project) => project,
            Err((project, kind, error)) => return self.fail(project, "", kind, &error, wrapped),
        };
        let result = match &call.target {
            Target::Generate { model, form } => {
                let asking = Asking { now, elapsed_ms, project, model, form: *form, deadline: deadline(request) };
                return self.generate(&asking, call.version, request.body);
            }
            Target::Embed { model, batch } => {
                let asking = Asking { now, elapsed_ms, project, model, form: Form::Whole, deadline: deadline(request) };
                return self.embed(&asking, call.version, request.body, *batch);
            }
            Target::Upload { .. } => {
                return match self.start_upload(now, project, call.version, request) {
                    Ok(answer) => answer,
                    Err((kind, error)) => self.fail(Some(project), "", kind, &error, false),
                };
            }
            Target::CountTokens { model } => {
                let shelf = self.files.shelf(project, now);
                self.count_tokens(model, call.version, request.body, shelf)
            }
            Target::Files { size, from } => self.files.shelf(project, now).page(*size, *from),
            Target::File { id, deletes: false } => self.files.shelf(project, now).show(id),
            Target::File { id, deletes: true } => self.files.delete(id, project, now),
            Target::CreateCache => self.create_cache(now, project, call.version, request.body),
            Target::Caches { size, from } => self.caches.page(project, now, *size, *from),
            Target::Cache { id, verb } => self.caches.answer(*verb, id, project, now, request.body),
            Target::Interact => return self.interact(now, elapsed_ms, project, call.version, request),
            Target::Interaction { id, streams, deletes } => return self.interactions.answer(id, project, *streams, *deletes),
            Target::CreateBatch { model, embeds } => {
                let asking = Asking { now, elapsed_ms, project, model, form: Form::Whole, deadline: None };
                self.create_batch(&asking, call.version, request.body, *embeds)
            }
            Target::Batches { size, from } => self.batches.page(project, now, *size, *from),
            Target::Batch { id, act } => self.batches.answer(*act, id, project, now),
            Target::Download { id } => match self.batches.download(id, project, now) {
                Ok(lines) => return SimAnswer::lines(lines),
                Err(error) => Err(error),
            },
            Target::Models { size, from } => catalogue::page(&self.scenario, *size, *from),
            Target::Model(model) => catalogue::card_of(&self.scenario, model, call.version),
            Target::Unknown => Err(("not_found", bodies::not_found())),
        };
        match result {
            Ok(body) => SimAnswer::json(200, &body, Duration::ZERO),
            Err((kind, error)) => self.fail(Some(project), "", kind, &error, wrapped),
        }
    }

    fn authorise(
        &mut self,
        call: &Call<'_>,
        request: &SimRequest<'_>,
        elapsed_ms: u64,
    ) -> Result<usize, (Option<usize>, &'static str, ErrorBody)> {
        let key = match call.credential(request) {
            Credential::Key(key) => key,
            Credential::Bearer => return Err((None, "bearer", key_errors::bearer())),
            Credential::None => return Err((None, "key_missing", key_errors::missing())),
        };
        let (project, state) = match self.keys.present(&key, elapsed_ms) {
            Standing::Known { project, state } => (Some(project), state),
            Standing::Unknown if self.scenario.accept_any_key => (Some(self.welcome(&key)), KeyState::Valid),
            Standing::Unknown => (None, KeyState::Invalid),
        };
        match (project, key_errors::of_state(state, 400_000 + project.unwrap_or(0) as u64)) {
            (Some(project), None) => Ok(project),
            (project, Some((kind, error))) => Err((project, kind, error)),
            (None, None) => Err((None, "key_missing", key_errors::missing())),
        }
    }

    /// Makes a project of its own for a key nobody knew.
    fn welcome(&mut self, key: &str) -> usize {
        let name = format!("key-{}", self.owners.len() + 1);
        let index = self.quotas.add_project(name.clone(), self.scenario.limits.clone());
        self.owners.push(Owner { name, free: true, credit: None });
        self.keys.add(SimKey::from(key), index, Vec::new());
        index
    }

    fn count_tokens(
        &self,
        model: &str,
        version: &str,
        body: &[u8],
        shelf: Shelf<'_>,
    ) -> Result<Value, (&'static str, ErrorBody)> {
        catalogue::find(&self.scenario, model, version, "countTokens")?;
        let prompt =
            Prompt::read_for_counting(body, model, shelf).map_err(|reason| (reason.kind(), bodies::unreadable(&reason)))?;
        let mut counted = json!({});
        if prompt.tokens.total() > 0 {
            counted["totalTokens"] = prompt.tokens.total().into();
            counted["promptTokensDetails"] = prompt.tokens.details();
        }
        Ok(counted)
    }

    pub(crate) fn fail(
        &mut self,
        project: Option<usize>,
        family: &str,
        kind: &'static str,
        error: &ErrorBody,
        wrapped: bool,
    ) -> SimAnswer {
        self.tally.failed(project, family, kind);
        let after = self.scenario.latency.error.draw(&mut self.fate);
        let body = error.to_json();
        let body = if wrapped { json!([body]) } else { body };
        SimAnswer::json(error.code, &body, after)
    }
}

/// How long the client is willing to wait.
fn deadline(request: &SimRequest<'_>) -> Option<Duration> {
    let seconds = request.header("x-server-timeout")?.trim().parse::<f64>().ok()?;
    Some(milliseconds(seconds * 1_000.0))
}
