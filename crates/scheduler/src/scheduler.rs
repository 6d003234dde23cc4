//! The scheduler: a value that is handed events and answers with actions.
//!
//! `handle(now, event, actions)` decides; `next_wake()` tells the earliest instant at which a decision could change
//! without any event. It never sleeps, reads no clock and knows no prompt's text: a whole day of quotas runs in
//! milliseconds under a test.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::backoff::Backoff;
use crate::breaker::HostPause;
use crate::day::Calendar;
use crate::job::{Job, JobId, ModelId, Running, State, Submission};
use crate::key::{Key, KeyId, KeyRing};
use crate::lane::{Entry, LOOK_AHEAD, Lane, Standing};
use crate::outcome::{Denied, Dimension, KeyFault, Outcome, Reason, Scope, TaskFault, Verdict};
use crate::quota::{Bucket, Hold, Limits, Rules};
use crate::settings::Settings;
use crate::time::Timestamp;
use crate::window::Weight;
use crate::worker::Workers;

/// A project: an owner of quotas, with some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectSpec {
    /// How many keys it has; they are numbered on over all projects.
    pub keys: u32,
    /// Limits by model family; `*` stands for every family that has no entry of its own.
    pub limits: Vec<(String, Limits)>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A prompt was handed in.
    Submitted(Submission),
    /// An attempt came back.
    Finished {
        /// The prompt.
        job: JobId,
        /// What came of it.
        outcome: Outcome,
    },
    /// Its caller went away: forgotten without a word.
    Cancelled(JobId),
    /// Time passed.
    Woke,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send this prompt now.
    Start {
        /// The prompt.
        job: JobId,
        /// The key to send it with.
        key: KeyId,
        /// Number of the key's slot (where keys have slots), else of the worker.
        slot: u32,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// This prompt has reached its end. If an attempt of it is under way, it is to be dropped.
    Complete {
        /// The prompt.
        job: JobId,
        /// How it ended.
        verdict: Verdict,
    },
    /// This prompt will be asked again, not before `until`.
    Retry {
        /// The prompt.
        job: JobId,
        /// The end of its pause.
        until: Timestamp,
    },
    /// The quota of (project, model) pauses; for displays and logs.
    Held {
        /// Number of the project, in the order given.
        project: u32,
        /// The model family.
        model: Arc<str>,
        /// The limit that was named.
        dimension: Option<Dimension>,
        /// [`Timestamp::NEVER`] when the project has no quota for this model at all.
        until: Timestamp,
        /// It counts as fully exhausted: for the day, or refused too often in a row.
        fully: bool,
    },
    /// A key was put aside for good; for displays and logs.
    KeyDead {
        /// The key.
        key: KeyId,
        /// The API's word for it.
        reason: Arc<str>,
    },
}

#[derive(Debug)]
pub(crate) struct Quota {
    pub project: u32,
    pub model: ModelId,
    pub bucket: Bucket,
    pub standing: Standing,
}

#[derive(Debug)]
pub(crate) struct Project {
    pub spec: ProjectSpec,
    pub ring: KeyRing,
    /// Its bucket of each model, by number of the model.
    pub buckets: Vec<u32>,
}

/// Decides which prompt goes out when, with which key.
///
/// ```
/// use tidegate_scheduler::*;
/// let limits = Limits { rpm: Some(1), ..Limits::default() };
/// let project = ProjectSpec { keys: 1, limits: vec![("*".into(), limits)] };
/// let mut scheduler = Scheduler::new(vec![project], Settings::default());
/// let model = scheduler.model("gemini-3.8-flash");
/// let now = Timestamp::from_secs(1_000_000);
/// let mut actions = Vec::new();
/// for n in 0..2 {
///     let submission = Submission { job: JobId(n), model, tokens: 10, least: 10, spread: 0, priority: 0, deadline: None };
///     scheduler.handle(now, Event::Submitted(submission), &mut actions);
/// }
/// assert!(matches!(actions[..], [Action::Start { job: JobId(0), .. }]));
/// assert!(scheduler.next_wake().unwrap() >= now + std::time::Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) settings: Settings,
    pub(crate) rules: Rules,
    pub(crate) calendar: Calendar,
    pub(crate) projects: Vec<Project>,
    pub(crate) keys: Vec<Key>,
    pub(crate) quotas: Vec<Quota>,
    pub(crate) lanes: Vec<Lane>,
    names: HashMap<Arc<str>, ModelId>,
    pub(crate) jobs: HashMap<JobId, Job>,
    pub(crate) paused: BTreeSet<(Timestamp, JobId)>,
    pub(crate) deadlines: BTreeSet<(Timestamp, JobId)>,
    pub(crate) workers: Workers,
    /// No call starts before then: the least time between two calls.
    pub(crate) next_call: Timestamp,
    pub(crate) host: HostPause,
    pub(crate) started: bool,
    pub(crate) closed: bool,
    sequence: u64,
    pub(crate) turn: usize,
    rng: SmallRng,
}

/// How long a prompt spares the key it last failed with while others are at hand.
const AVOID: Duration = Duration::from_secs(10);
/// Calls under way when nothing else is set.
const MOST_CALLS: usize = 4096;

impl Scheduler {
    /// A scheduler over these projects.
    pub fn new(projects: Vec<ProjectSpec>, settings: Settings) -> Scheduler {
        let pacing = &settings.pacing;
        let most = if pacing.max_concurrency == 0 { MOST_CALLS } else { pacing.max_concurrency };
        let mut scheduler = Scheduler {
            rules: Rules::new(&settings.quota, settings.keys.clone()),
            calendar: Calendar::new(settings.quota.day),
            projects: Vec::new(),
            keys: Vec::new(),
            quotas: Vec::new(),
            lanes: Vec::new(),
            names: HashMap::new(),
            jobs: HashMap::new(),
            paused: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            workers: Workers::new(most, pacing.worker_cooldown.saturating_add(pacing.delay)),
            next_call: Timestamp::ZERO,
            host: HostPause::default(),
            started: false,
            closed: false,
            sequence: 0,
            turn: 0,
            rng: SmallRng::seed_from_u64(settings.seed),
            settings,
        };
        for spec in projects {
            scheduler.add_project(spec);
        }
        scheduler
    }

    fn add_project(&mut self, spec: ProjectSpec) {
        let number = u32::try_from(self.projects.len()).unwrap_or(u32::MAX);
        let mut ring = KeyRing::with_live(spec.keys as usize);
        for _ in 0..spec.keys {
            let id = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
            let mut key = Key::new(number, id, &self.settings.pacing);
            ring.relist(KeyId(id), &mut key, &self.settings.pacing);
            self.keys.push(key);
        }
        self.projects.push(Project { spec, ring, buckets: Vec::new() });
    }

    /// The number of a model's quota family; a family seen for the first time gets its quotas here.
    pub fn model(&mut self, family: &str) -> ModelId {
        if let Some(&model) = self.names.get(family) {
            return model;
        }
        let model = ModelId(u32::try_from(self.lanes.len()).unwrap_or(u32::MAX));
        let name: Arc<str> = family.into();
        let mut lane = Lane::new(name.clone());
        for (number, project) in self.projects.iter_mut().enumerate() {
            let id = u32::try_from(self.quotas.len()).unwrap_or(u32::MAX);
            let bucket = Bucket::new(limits_for(&project.spec, family), &self.rules);
            let mut standing = Standing::default();
            lane.list(id, &mut standing, Timestamp::ZERO, None);
            project.buckets.push(id);
            self.quotas.push(Quota { project: u32::try_from(number).unwrap_or(u32::MAX), model, bucket, standing });
        }
        self.lanes.push(lane);
        self.names.insert(name, model);
        self.recount(model);
        model
    }

    /// From now on nothing is started: the driver is closing down.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Takes in what happened at `now` and says what is to be done. Calling it too often is harmless.
    pub fn handle(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        self.workers.advance(now);
        match event {
            Event::Submitted(submission) => self.submitted(now, submission, actions),
            Event::Finished { job, outcome } => self.finished(now, job, outcome, actions),
            Event::Cancelled(job) => self.cancelled(now, job),
            Event::Woke => {}
        }
        self.wake_paused(now, actions);
        self.expire(now, actions);
        self.dispatch(now, actions);
    }

    // === events ===

    fn submitted(&mut self, now: Timestamp, submission: Submission, actions: &mut Vec<Action>) {
        if !self.started {
            self.started = true;
            self.calendar.day(now);
            if !self.settings.pacing.delay.is_zero() {
                self.next_call = now + self.settings.pacing.delay;
            }
        }
        let Submission { job: id, model, tokens, least, spread, priority, deadline } = submission;
        self.sequence += 1;
        let job = Job {
            model,
            place: (Reverse(priority), self.sequence),
            weight: Weight { tokens, spread },
            least: least.min(tokens),
            deadline,
            attempts: 0,
            task_faults: 0,
            transient_faults: 0,
            avoid: None,
            state: State::Queued,
        };
        self.jobs.insert(id, job);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
        self.enqueue(now, id, actions);
    }

    /// Puts a prompt into its lane, or ends it when no quota can ever take it.
    fn enqueue(&mut self, now: Timestamp, id: JobId, actions: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let lane = &mut self.lanes[job.model.0 as usize];
        if lane.live == 0 {
            return self.complete(now, id, Verdict::NoKey, actions);
        }
        if let Some(limit) = lane.most_tokens.filter(|&most| job.weight.tokens > most) {
            if job.least > limit {
                let verdict = Verdict::TooLarge { tokens: job.least, limit };
                return self.complete(now, id, verdict, actions);
            }
            // A learned ratio is no proof that it cannot fit: the server will tell.
            job.weight.tokens = limit;
        }
        job.state = State::Queued;
        lane.queue.insert(job.place, Entry::new(id, job.weight, job.avoid));
        let in_reach = lane.queue.range(..=job.place).take(LOOK_AHEAD + 1).count() <= LOOK_AHEAD;
        let (number, weight) = (job.model.0 as usize, job.weight);
        if in_reach {
            self.look_again(number, now, weight);
        }
    }

    fn cancelled(&mut self, now: Timestamp, id: JobId) {
        self.abandon(now, id);
        self.forget(now, id);
    }

    fn finished(&mut self, now: Timestamp, id: JobId, outcome: Outcome, actions: &mut Vec<Action>) {
        let Some(running) = self.stop_running(now, id) else { return };
        self.note_health(now, &running, &outcome);
        let bucket = &mut self.quotas[running.bucket as usize].bucket;
        match outcome {
            Outcome::Done { used } => {
                bucket.settle(running.permit, used);
                bucket.succeeded(running.permit);
                self.relist(running.bucket, now);
                self.complete(now, id, Verdict::Done, actions);
            }
            Outcome::KeyLimited(denied) => self.key_limited(now, id, &running, denied, actions),
            Outcome::KeyRejected(fault) => self.key_rejected(now, id, &running, &fault, actions),
            Outcome::TaskFailed(fault) => self.task_failed(now, id, &running, fault, actions),
            Outcome::HostRefused => {
                let day = self.calendar.day(now);
                self.quotas[running.bucket as usize].bucket.refund(running.permit, day);
                self.relist(running.bucket, now);
                match self.host.is_lasting() {
                    true => self.count_transient(now, id, running.key, None, actions),
                    false => self.again(now, id, actions),
                }
            }
            Outcome::Transient { retry_after } => self.transient(now, id, &running, retry_after, actions),
        }
    }

    /// What an outcome says of the host and of the model.
    fn note_health(&mut self, now: Timestamp, running: &Running, outcome: &Outcome) {
        let model = self.quotas[running.bucket as usize].model;
        let lane = &mut self.lanes[model.0 as usize];
        match outcome {
            Outcome::HostRefused => self.host.refused(now, running.permit.at),
            Outcome::Transient { .. } => lane.breaker.failed(now),
            Outcome::Done { .. } | Outcome::KeyLimited(_) | Outcome::KeyRejected(_) | Outcome::TaskFailed(_) => {
                self.host.answered();
                lane.breaker.answered();
                lane.budget.earn();
            }
        }
    }

    fn transient(
        &mut self,
        now: Timestamp,
        id: JobId,
        running: &Running,
        retry_after: Option<Duration>,
        actions: &mut Vec<Action>,
    ) {
        let quota = &mut self.quotas[running.bucket as usize];
        quota.bucket.settle(running.permit, None);
        self.relist(running.bucket, now);
        self.count_transient(now, id, running.key, retry_after, actions);
    }

    /// Counts a fault of the API or the network against the bound of a prompt.
    fn count_transient(&mut self, now: Timestamp, id: JobId, key: KeyId, hint: Option<Duration>, actions: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.transient_faults += 1;
        let faults = job.transient_faults;
        let lane = job.model.0 as usize;
        if faults >= self.settings.retry.max_transient_attempts {
            return self.complete(now, id, Verdict::Upstream, actions);
        }
        // Without a repetition left in the budget the prompt waits as long as any may.
        let nth = if self.lanes[lane].budget.spend() { faults } else { u32::MAX };
        self.pause(now, id, key, nth, hint, actions);
    }

    fn key_limited(&mut self, now: Timestamp, id: JobId, running: &Running, denied: Denied, actions: &mut Vec<Action>) {
        let day = self.calendar.day(now);
        let quota = &mut self.quotas[running.bucket as usize];
        let (project, model, tpm) = (quota.project, quota.model, quota.bucket.limits.tpm);
        let Hold { until, dimension, fully } = quota.bucket.refused(now, running.permit, denied, day, &self.rules);
        actions.push(Action::Held { project, model: self.lanes[model.0 as usize].name.clone(), dimension, until, fully });
        self.relist(running.bucket, now);
        if until.is_never() || self.quotas[running.bucket as usize].bucket.limits.tpm != tpm {
            self.recount_and_end(now, model, actions);
        }
        self.again(now, id, actions);
    }

    fn key_rejected(&mut self, now: Timestamp, id: JobId, running: &Running, fault: &KeyFault, actions: &mut Vec<Action>) {
        let day = self.calendar.day(now);
        self.quotas[running.bucket as usize].bucket.refund(running.permit, day);
        let project = self.keys[running.key.0 as usize].project;
        let condemned: Vec<KeyId> = match fault.scope {
            Scope::Key => vec![running.key],
            Scope::Project => self.keys_of(project).collect(),
        };
        for key in condemned {
            let ring = &mut self.projects[project as usize].ring;
            if ring.bury(key, &mut self.keys[key.0 as usize], fault.reason.clone(), &self.settings.pacing) {
                actions.push(Action::KeyDead { key, reason: fault.reason.clone() });
            }
        }
        self.relist(running.bucket, now);
        if self.projects[project as usize].ring.live == 0 {
            for model in 0..self.lanes.len() {
                let model = ModelId(u32::try_from(model).unwrap_or(u32::MAX));
                self.recount_and_end(now, model, actions);
            }
        }
        self.again(now, id, actions);
    }

    fn task_failed(&mut self, now: Timestamp, id: JobId, running: &Running, fault: TaskFault, actions: &mut Vec<Action>) {
        let bucket = &mut self.quotas[running.bucket as usize].bucket;
        bucket.settle(running.permit, fault.used);
        bucket.succeeded(running.permit);
        self.relist(running.bucket, now);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.task_faults += 1;
        let faults = job.task_faults;
        if !fault.retry || faults >= self.settings.retry.max_task_attempts {
            return self.complete(now, id, Verdict::TaskFailed, actions);
        }
        self.pause(now, id, running.key, faults, None, actions);
    }

    /// Back to its old place in the queue, at once.
    fn again(&mut self, now: Timestamp, id: JobId, actions: &mut Vec<Action>) {
        if self.attempts_spent(id) {
            return self.complete(now, id, Verdict::AttemptsSpent, actions);
        }
        self.enqueue(now, id, actions);
    }

    /// Back to its old place in the queue after a pause, if possible with another key.
    fn pause(&mut self, now: Timestamp, id: JobId, key: KeyId, nth: u32, hint: Option<Duration>, actions: &mut Vec<Action>) {
        if self.attempts_spent(id) {
            return self.complete(now, id, Verdict::AttemptsSpent, actions);
        }
        let retry = &self.settings.retry;
        let backoff = Backoff { initial: retry.initial_backoff, max: retry.max_backoff };
        let until = now + backoff.pause(nth, hint, &mut self.rng);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.avoid = Some((key, until + AVOID));
        job.state = State::Paused(until);
        self.paused.insert((until, id));
        actions.push(Action::Retry { job: id, until });
    }

    fn attempts_spent(&self, id: JobId) -> bool {
        let most = self.settings.retry.max_attempts;
        most > 0 && self.jobs.get(&id).is_some_and(|job| job.attempts >= most)
    }

    // === time ===

    fn wake_paused(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        while let Some(&(at, id)) = self.paused.first() {
            if at > now {
                break;
            }
            self.paused.pop_first();
            self.enqueue(now, id, actions);
        }
    }

    fn expire(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        while let Some(&(at, id)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.abandon(now, id);
            self.complete(now, id, Verdict::Deadline, actions);
        }
    }

    // === endings ===

    fn complete(&mut self, now: Timestamp, id: JobId, verdict: Verdict, actions: &mut Vec<Action>) {
        self.forget(now, id);
        actions.push(Action::Complete { job: id, verdict });
    }

    fn forget(&mut self, now: Timestamp, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if let Some(deadline) = job.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        match job.state {
            State::Queued => {
                let number = job.model.0 as usize;
                if let Some(entry) = self.lanes[number].queue.remove(&job.place) {
                    for id in self.lanes[number].starved() {
                        self.relist(id, now);
                    }
                    self.left_queue(number, now, entry.kept_by);
                }
            }
            State::Paused(until) => {
                self.paused.remove(&(until, id));
            }
            State::Running(_) => {}
        }
    }

    /// Gives up an attempt under way; the server may have counted it, so its permit stays charged.
    fn abandon(&mut self, now: Timestamp, id: JobId) {
        if let Some(running) = self.stop_running(now, id) {
            self.quotas[running.bucket as usize].bucket.settle(running.permit, None);
            self.relist(running.bucket, now);
        }
    }

    /// Frees worker and key of an attempt.
    fn stop_running(&mut self, now: Timestamp, id: JobId) -> Option<Running> {
        let job = self.jobs.get_mut(&id)?;
        if !matches!(job.state, State::Running(_)) {
            return None;
        }
        let State::Running(running) = std::mem::replace(&mut job.state, State::Queued) else { return None };
        self.workers.end(now, running.worker);
        let key = &mut self.keys[running.key.0 as usize];
        let project = &mut self.projects[key.project as usize];
        project.ring.end(running.key, key, now, running.seat, &self.settings.pacing);
        for bucket in project.buckets.clone() {
            let why = self.quotas[bucket as usize].standing.why;
            if why.is_some_and(|why| matches!(why.reason, Reason::Slots | Reason::KeyCooldown | Reason::Backoff)) {
                self.relist(bucket, now);
            }
        }
        Some(*running)
    }

    /// Has a bucket looked at again at once.
    pub(crate) fn relist(&mut self, id: u32, now: Timestamp) {
        let quota = &mut self.quotas[id as usize];
        self.lanes[quota.model.0 as usize].list(id, &mut quota.standing, now, None);
    }

    /// Counts again which buckets of a model can ever serve, and the largest prompt they take.
    pub(crate) fn recount(&mut self, model: ModelId) {
        let lane = &mut self.lanes[model.0 as usize];
        lane.live = 0;
        lane.most_tokens = Some(0);
        for project in &self.projects {
            let bucket = &self.quotas[project.buckets[model.0 as usize] as usize].bucket;
            if project.ring.live > 0 && !bucket.parked {
                lane.live += 1;
                lane.most_tokens = match (lane.most_tokens, bucket.limits.tpm) {
                    (Some(most), Some(limit)) => Some(most.max(limit)),
                    _ => None,
                };
            }
        }
    }

    /// Ends queued and pausing prompts that no quota of their model can take any more.
    fn recount_and_end(&mut self, now: Timestamp, model: ModelId, actions: &mut Vec<Action>) {
        let before = self.lanes[model.0 as usize].most_tokens;
        self.recount(model);
        let lane = &self.lanes[model.0 as usize];
        if lane.live > 0 && lane.most_tokens == before {
            return;
        }
        let (live, most) = (lane.live, lane.most_tokens.unwrap_or(u64::MAX));
        let queued = lane.queue.values().map(|entry| entry.job);
        let paused = self.paused.iter().map(|&(_, id)| id).filter(|id| self.jobs.get(id).is_some_and(|job| job.model == model));
        let all: Vec<JobId> = queued.chain(paused).collect();
        for id in all {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if live == 0 {
                self.complete(now, id, Verdict::NoKey, actions);
            } else if job.least > most {
                let tokens = job.least;
                self.complete(now, id, Verdict::TooLarge { tokens, limit: most }, actions);
            } else if job.weight.tokens > most {
                job.weight.tokens = most;
                if let Some(entry) = self.lanes[model.0 as usize].queue.get_mut(&job.place) {
                    entry.weight = job.weight;
                }
            }
        }
    }

    fn keys_of(&self, project: u32) -> impl Iterator<Item = KeyId> {
        let numbers = self.keys.iter().enumerate().filter(move |(_, key)| key.project == project);
        numbers.map(|(number, _)| KeyId(u32::try_from(number).unwrap_or(u32::MAX)))
    }
}

fn limits_for(spec: &ProjectSpec, family: &str) -> Limits {
    let named = |name: &str| spec.limits.iter().rev().find(|(model, _)| model == name).map(|(_, limits)| *limits);
    named(family).or_else(|| named("*")).unwrap_or_default()
}
