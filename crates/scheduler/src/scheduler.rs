//! The scheduler: a value that is handed events and answers with actions.
//!
//! `handle(now, event, actions)` decides; `next_wake()` tells the earliest instant at which a decision could change
//! without any event. It never sleeps, reads no clock and knows no prompt's text: a whole day of quotas runs in
//! milliseconds under a test.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::breaker::HostPause;
use crate::day::Calendar;
use crate::event::{Action, Event, ProjectSpec};
use crate::forecast::Want;
use crate::job::{Deadline, Job, JobId, ModelId, Place, State, Submission};
use crate::jobs::Jobs;
use crate::key::{Key, KeyId, KeyRing};
use crate::lane::{Entry, LOOK_AHEAD, Lane, Standing};
use crate::outcome::{Outcome, Verdict};
use crate::park::Parks;
use crate::quota::{Bucket, Limits, Rules};
use crate::settings::{Pacing, Settings};
use crate::sharing::Shares;
use crate::time::Timestamp;
use crate::unproven::Unproven;
use crate::window::Weight;
use crate::worker::Workers;

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
/// let project = ProjectSpec { keys: 1, limits: vec![("*".into(), limits)], account: None };
/// let mut scheduler = Scheduler::new(vec![project], Settings::default());
/// let model = scheduler.model("gemini-3.8-flash");
/// let now = Timestamp::from_secs(1_000_000);
/// let mut actions = Vec::new();
/// for n in 0..2 {
///     let job = JobId(n);
///     let submission =
///         Submission { job, model, tokens: 10, least: 10, spread: 0, output: 0, priority: 0, party: 0, deadline: None };
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
    pub(crate) names: HashMap<Arc<str>, ModelId>,
    pub(crate) unproven: Unproven,
    pub(crate) jobs: Jobs,
    pub(crate) paused: BTreeSet<(Timestamp, JobId)>,
    pub(crate) deadlines: BTreeSet<(Timestamp, JobId)>,
    pub(crate) workers: Workers,
    /// No call starts before then: the least time between two calls.
    pub(crate) next_call: Timestamp,
    pub(crate) host: HostPause,
    pub(crate) parks: Parks,
    pub(crate) started: bool,
    pub(crate) closed: bool,
    /// Where quotas are shared with other processes.
    pub(crate) shares: Option<Box<Shares>>,
    sequence: u64,
    pub(crate) turn: usize,
    pub(crate) rng: SmallRng,
}

/// How long a caller waits at least where permits come from a ledger.
const ASKING: Duration = Duration::from_millis(250);
/// Calls under way when nothing else is set.
const MOST_CALLS: usize = 4096;

impl Scheduler {
    /// A scheduler over these projects.
    pub fn new(projects: Vec<ProjectSpec>, settings: Settings) -> Scheduler {
        let pacing = &settings.pacing;
        let mut scheduler = Scheduler {
            rules: Rules::new(&settings.quota, settings.keys.clone()),
            calendar: Calendar::new(settings.quota.day),
            projects: Vec::new(),
            keys: Vec::new(),
            quotas: Vec::new(),
            lanes: Vec::new(),
            names: HashMap::default(),
            unproven: Unproven::default(),
            jobs: Jobs::default(),
            paused: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            workers: Workers::new(most_calls(pacing), worker_rest(pacing)),
            next_call: Timestamp::ZERO,
            host: HostPause::default(),
            parks: Parks::default(),
            started: false,
            closed: false,
            shares: None,
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

    /// A project joins, with a quota of every model that is known so far.
    pub(crate) fn add_project(&mut self, spec: ProjectSpec) {
        let number = u32::try_from(self.projects.len()).unwrap_or(u32::MAX);
        let keys = spec.keys;
        self.projects.push(Project { spec, ring: KeyRing::default(), buckets: Vec::new() });
        (0..keys).for_each(|_| self.add_key(number));
        for model in 0..u32::try_from(self.lanes.len()).unwrap_or(u32::MAX) {
            self.add_quota(number, ModelId(model));
        }
    }

    /// A key joins a project.
    pub(crate) fn add_key(&mut self, project: u32) {
        let Some(owner) = self.projects.get_mut(project as usize) else { return };
        let id = KeyId(u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        let mut key = Key::new(project, &self.settings.pacing);
        owner.ring.join(id, &mut key, &self.settings.pacing);
        self.keys.push(key);
    }

    /// The quota of a model that its project does not have yet.
    fn add_quota(&mut self, number: u32, model: ModelId) {
        let (project, lane) = (&mut self.projects[number as usize], &mut self.lanes[model.0 as usize]);
        let id = u32::try_from(self.quotas.len()).unwrap_or(u32::MAX);
        let mut bucket = Bucket::new(limits_for(&project.spec, &lane.name), &self.rules);
        bucket.prompts_per_call = lane.company.most;
        if let Some(shares) = &self.shares {
            bucket.share(shares.is_alone());
        }
        let mut standing = Standing::default();
        lane.list(id, &mut standing, Timestamp::ZERO, None);
        project.buckets.push(id);
        self.quotas.push(Quota { project: number, model, bucket, standing });
    }

    /// The number of a model's quota family, for good; a family seen for the first time gets its quotas here. For names that
    /// others choose there is [`Scheduler::admit`].
    pub fn model(&mut self, family: &str) -> ModelId {
        if let Some(&model) = self.names.get(family) {
            return model;
        }
        let model = ModelId(u32::try_from(self.lanes.len()).unwrap_or(u32::MAX));
        let name: Arc<str> = family.into();
        self.lanes.push(Lane::new(name.clone()));
        for number in 0..u32::try_from(self.projects.len()).unwrap_or(u32::MAX) {
            self.add_quota(number, model);
        }
        self.names.insert(name, model);
        self.recount(model);
        model
    }

    /// From now on up to `most` prompts of this model share a call: as many may leave at the same moment, and a fault they have
    /// in common is one fault. Quotas go on counting prompts.
    pub fn travel_together(&mut self, model: ModelId, most: u32) {
        let Some(lane) = self.lanes.get_mut(model.0 as usize).filter(|lane| lane.company.most != most) else { return };
        lane.company.most = most;
        let quotas = self.quotas.iter_mut().filter(|quota| quota.model == model);
        quotas.for_each(|quota| quota.bucket.prompts_per_call = most);
    }

    /// From now on nothing is started: the driver is closing down.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// From now on prompts are started again.
    pub fn open(&mut self) {
        self.closed = false;
    }

    /// Takes in what happened at `now` and says what is to be done. Calling it too often is harmless.
    pub fn handle(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        self.workers.advance(now);
        let (is_foreseen, done) = (is_foreseen(&event), actions.len());
        match event {
            Event::Submitted(submission) => self.submitted(now, submission, actions),
            Event::SubmittedTo { project, submission } => self.submitted_to(now, project, submission, actions),
            Event::Finished { job, outcome } => self.finished(now, job, outcome, actions),
            // It changes nothing of what may start now.
            Event::Reweighed { job, tokens, least, spread } => return self.reweighed(job, tokens, least, spread),
            Event::Answering(job) => self.answering(now, job),
            Event::Resumed { job, project } => self.resumed(now, job, project, actions),
            Event::Cancelled(job) => self.cancelled(now, job),
            Event::CancelledMany(jobs) => jobs.into_iter().for_each(|job| self.cancelled(now, job)),
            Event::Reconfigured(change) => self.reconfigured(now, *change, actions),
            Event::Granted { quota, grant } => self.granted(now, quota, *grant),
            Event::Heard { quota, hearsay } => self.heard(now, quota, &hearsay, actions),
            Event::KeyLost { key, reason } => self.lose_key(now, key, &reason, actions),
            Event::Unreachable => self.unreachable(now),
            Event::Reached => self.reached(now),
            Event::Woke => {}
        }
        self.wake_paused(now, actions);
        self.expire(now, actions);
        self.drop_late(now);
        self.dispatch(now, actions);
        self.give_back(actions);
        self.give_up_idle(actions);
        if !is_foreseen || actions[done..].iter().any(|action| !matches!(action, Action::Start { .. } | Action::Complete { .. }))
        {
            self.disturb_forecasts();
        }
    }

    // === events ===

    fn submitted(&mut self, now: Timestamp, submission: Submission, actions: &mut Vec<Action>) {
        let id = submission.job;
        self.take_in(now, submission);
        self.enqueue(now, id, actions);
        self.take_what_is_free(now, id, actions);
    }

    /// A prompt whose caller does not wait starts now or not at all.
    pub(crate) fn take_what_is_free(&mut self, now: Timestamp, id: JobId, actions: &mut Vec<Action>) {
        if self.jobs.get(&id).is_some_and(|job| job.spares_running && job.deadline <= now) {
            self.dispatch(now, actions);
        }
    }

    /// Makes a prompt known.
    pub(crate) fn take_in(&mut self, now: Timestamp, submission: Submission) {
        if !self.started {
            self.started = true;
            self.calendar.day(now);
            if !self.settings.pacing.delay.is_zero() {
                self.next_call = now + self.settings.pacing.delay;
            }
        }
        let Submission { job: id, model, tokens, least, spread, output, priority, party, deadline } = submission;
        self.sequence += 1;
        let (deadline, spares_running) = match deadline {
            None => (Timestamp::NEVER, false),
            Some(Deadline::Answer(at)) => (at, false),
            // A question to the ledger takes its time, also for a caller who does not wait.
            Some(Deadline::Start(at)) if self.shares.is_some() => (at.max(now + ASKING), true),
            Some(Deadline::Start(at)) => (at, true),
        };
        let rounds = self.lanes[model.0 as usize].rounds(tokens);
        let Lane { turns, queue, .. } = &mut self.lanes[model.0 as usize];
        let job = Job {
            model,
            place: Place::new(priority, turns.next(priority, party, rounds, queue), self.sequence),
            weight: Weight::new(tokens, spread, output),
            least: u32::try_from(least.min(tokens)).unwrap_or(u32::MAX),
            deadline,
            spares_running,
            attempts: 0,
            faults: None,
            state: State::Queued,
        };
        self.jobs.insert(id, job);
        self.lane_joined(model);
        if !deadline.is_never() {
            self.deadlines.insert((deadline, id));
        }
    }

    /// Puts a prompt into its lane, or ends it when no quota can ever take it.
    pub(crate) fn enqueue(&mut self, now: Timestamp, id: JobId, actions: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let lane = &self.lanes[job.model.0 as usize];
        let only = job.only();
        let takes = only.map_or_else(|| (lane.live > 0).then_some(lane.most_tokens), |bucket| self.takes(bucket));
        let Some(most_tokens) = takes else { return self.complete(now, id, Verdict::NoKey, actions) };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let lane = &mut self.lanes[job.model.0 as usize];
        if let Some(limit) = most_tokens.filter(|&most| u64::from(job.weight.tokens) > most) {
            if u64::from(job.least) > limit {
                let verdict = Verdict::TooLarge { tokens: u64::from(job.least), limit };
                return self.complete(now, id, verdict, actions);
            }
            // A learned ratio is no proof that it cannot fit: the server will tell.
            job.weight.tokens = u32::try_from(limit).unwrap_or(u32::MAX);
        }
        job.state = State::Queued;
        let held_before = job.faults.as_ref().map_or(0, |faults| faults.held);
        let held_from = lane.breaker.held(now).wrapping_sub(held_before);
        if let Some(forecast) = lane.foreseen(now) {
            forecast.joined(job.place, Want { weight: job.weight.settled(), only });
        }
        lane.insert(job.place, Entry::new(id, job.weight, job.avoid(), held_from).confined_to(only));
        // The way from the head is only walked where somebody waits for what comes into reach.
        let before = || lane.queue.range(..=job.place).filter(|(_, entry)| entry.only().is_none());
        let in_reach = || before().take(LOOK_AHEAD + 1).count() <= LOOK_AHEAD;
        let (number, weight) = (job.model.0 as usize, job.weight);
        if let Some(bucket) = only {
            return self.look_at_confined(now, bucket);
        }
        if lane.has_starved() && in_reach() {
            self.look_again(number, now, weight);
        }
    }

    /// Only a running prompt has no entry in a queue that would tell its old weight.
    fn reweighed(&mut self, id: JobId, tokens: u64, least: u64, spread: u64) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| matches!(job.state, State::Running(_))) {
            job.weight = Weight::new(tokens, spread, job.weight.output);
            job.least = u32::try_from(least.min(tokens)).unwrap_or(u32::MAX);
        }
    }

    fn cancelled(&mut self, now: Timestamp, id: JobId) {
        self.abandon(now, id);
        self.forget(now, id);
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
            // It has its permit; what becomes of it after this attempt is looked at then.
            if self.jobs.get(&id).is_some_and(|job| job.spares_running && matches!(job.state, State::Running(_))) {
                self.deadlines.pop_first();
                continue;
            }
            let verdict = self.too_late(id);
            self.abandon(now, id);
            self.complete(now, id, verdict, actions);
        }
    }

    /// Has a bucket looked at again at once.
    pub(crate) fn relist(&mut self, id: u32, now: Timestamp) {
        let quota = &mut self.quotas[id as usize];
        if let Some(shared) = quota.bucket.shared.as_mut().filter(|shared| shared.ask_at.is_never()) {
            shared.ask_at = now;
        }
        self.lanes[quota.model.0 as usize].list(id, &mut quota.standing, now, None);
    }
}

/// Whether a forecast has reckoned with such a thing, or is told of it.
fn is_foreseen(event: &Event) -> bool {
    match event {
        Event::Finished { outcome, .. } => matches!(outcome, Outcome::Done { .. }),
        Event::Submitted(_) | Event::SubmittedTo { .. } | Event::Answering(_) | Event::Reweighed { .. } | Event::Woke => true,
        Event::Cancelled(_) | Event::CancelledMany(_) => true,
        Event::Resumed { .. } | Event::Reconfigured(_) | Event::Granted { .. } | Event::Heard { .. } => false,
        Event::KeyLost { .. } | Event::Unreachable | Event::Reached => false,
    }
}

/// The most calls under way at once.
pub(crate) fn most_calls(pacing: &Pacing) -> usize {
    if pacing.max_concurrency == 0 { MOST_CALLS } else { pacing.max_concurrency }
}

/// A worker's rest after each call.
pub(crate) fn worker_rest(pacing: &Pacing) -> Duration {
    pacing.worker_cooldown.saturating_add(pacing.delay)
}

pub(crate) fn limits_for(spec: &ProjectSpec, family: &str) -> Limits {
    let named = |name: &str| spec.limits.iter().rev().find(|(model, _)| model == name).map(|(_, limits)| *limits);
    named(family).or_else(|| named("*")).unwrap_or_default()
}
