//! A world: scheduler and simulated quotas together in virtual time, with a network between them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_gemini::tokens::Calibration;
use tidegate_scheduler::{
    Action, Denied, Dimension, Event, JobId, Limits, ModelId, Outcome, ProjectSpec, QuotaRules, Scheduler, Settings, Submission,
    Timestamp, Used, Verdict, WindowKind,
};
use tidegate_simulator::model::{self, Quotas, Rules};

pub const MODEL: &str = "gemini-3.8-flash";
pub const START: Timestamp = Timestamp::from_secs(1_795_000_000);

/// What a world is made of. Fields are the knobs; `Default` is one calm project.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Limits and number of keys of each project, as the server knows them.
    pub projects: Vec<(Limits, u32)>,
    /// What the client is told instead, where that differs.
    pub told: Option<Limits>,
    pub server: model::WindowKind,
    /// The kind of window the client is told.
    pub kind: WindowKind,
    /// Most of a request's way to the server.
    pub jitter: Duration,
    /// A network instead of the plain jitter: 30 ms in the median, and a stall of 0.2 to 1 s for two calls in a thousand.
    pub stalls: bool,
    /// Least and most time from arrival to the answer.
    pub latency: (Duration, Duration),
    /// Time from a refusal to its arrival here.
    pub refusal_trip: Duration,
    pub span: Duration,
    pub settings: Settings,
    pub seed: u64,
    /// Demand: work only in the first of these two spans, over and over; `None` = always.
    pub on_off: Option<(Duration, Duration)>,
    /// Chance of a 503 per call.
    pub overload: f64,
    /// Estimates are off by a factor: e to the power of a normal draw of this mean and deviation; the client learns.
    pub error: Option<(f64, f64)>,
    /// Refusals name no value.
    pub silent: bool,
    /// Refusals and use are counted from then on.
    pub count_after: Duration,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            projects: vec![(Limits { rpm: Some(1_000), ..Limits::default() }, 1)],
            told: None,
            server: model::WindowKind::Sliding,
            kind: WindowKind::Sliding,
            jitter: Duration::from_millis(500),
            stalls: false,
            latency: (Duration::from_millis(200), Duration::from_secs(4)),
            refusal_trip: Duration::from_millis(60),
            span: Duration::from_secs(3_600),
            settings: Settings::default(),
            seed: 1,
            on_off: None,
            overload: 0.0,
            error: None,
            silent: false,
            count_after: Duration::ZERO,
        }
    }
}

/// What a world came to.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub refused: u64,
    /// Refusals of requests that were under way when the first refusal of their burst arrived here.
    pub refused_unaware: u64,
    pub completed: HashMap<JobId, u32>,
    pub answered: HashMap<JobId, u32>,
    pub failed: Vec<(JobId, Verdict)>,
    pub submitted: u64,
    /// Worst minute over limit, requests and tokens, over all projects.
    pub worst_requests: f64,
    pub worst_tokens: f64,
    /// Used part of what the minute limits give over the span, requests and tokens, all projects together.
    pub used_requests: f64,
    pub used_tokens: f64,
    /// The project that is used least, by the dimension that binds it.
    pub least_used: f64,
    /// The most calls under way at once within the span.
    pub most_in_flight: usize,
    pub decisions: u64,
}

enum Happening {
    Arrives { job: JobId, project: usize, sent: Timestamp, tokens: u64, attempt: u32 },
    Answered { job: JobId, attempt: u32, outcome: Outcome },
    Demand,
}

/// The running thing. `next_tokens` makes the next prompt's real size.
pub struct World<F> {
    plan: Plan,
    scheduler: Scheduler,
    quotas: Quotas,
    rng: SmallRng,
    next_tokens: F,
    model: ModelId,
    now: Timestamp,
    heap: BinaryHeap<Reverse<(Timestamp, u64)>>,
    happenings: HashMap<u64, Happening>,
    sequence: u64,
    tokens: HashMap<JobId, u64>,
    estimates: HashMap<JobId, u64>,
    calibration: Calibration,
    attempts: HashMap<JobId, u32>,
    keys: Vec<usize>,
    last_job: u64,
    in_flight: usize,
    refusal_seen: Vec<Timestamp>,
    out: Outcomes,
}

const BACKLOG: usize = 150;

impl<F: FnMut(&mut SmallRng) -> u64> World<F> {
    pub fn new(plan: Plan, next_tokens: F) -> World<F> {
        let rules = Rules { window: plan.server, seed: plan.seed, ..Rules::default() };
        let mut quotas = Quotas::new(rules);
        let mut specs = Vec::new();
        let mut keys = Vec::new();
        for (number, (limits, count)) in plan.projects.iter().enumerate() {
            let server = model::Limits { rpm: limits.rpm, tpm: limits.tpm, rpd: limits.rpd, tpd: None };
            quotas.add_project(format!("p{number}"), [("*".to_string(), server)].into());
            let told = plan.told.unwrap_or(*limits);
            specs.push(ProjectSpec { keys: *count, limits: vec![("*".into(), told)], account: None });
            keys.extend((0..*count).map(|_| number));
        }
        let bucket = if plan.server == model::WindowKind::Bucket { 1.0 } else { 1.0 / 6.0 };
        let quota = QuotaRules { window: plan.kind, bucket, ..plan.settings.quota.clone() };
        let settings = Settings { quota, seed: plan.seed, ..plan.settings.clone() };
        let mut scheduler = Scheduler::new(specs, settings);
        let model = scheduler.model(MODEL);
        let mut world = World {
            scheduler,
            quotas,
            rng: SmallRng::seed_from_u64(plan.seed),
            next_tokens,
            model,
            now: START,
            heap: BinaryHeap::new(),
            happenings: HashMap::new(),
            sequence: 0,
            tokens: HashMap::new(),
            estimates: HashMap::new(),
            calibration: Calibration::default(),
            attempts: HashMap::new(),
            keys,
            last_job: 0,
            in_flight: 0,
            refusal_seen: vec![Timestamp::ZERO; plan.projects.len()],
            out: Outcomes::default(),
            plan,
        };
        world.at(START, Happening::Demand);
        world
    }

    /// Runs for the plan's span with work always (or by turns) at hand, then lets everything in flight end.
    pub fn run(mut self) -> Outcomes {
        let end = START + self.plan.span;
        while let Some(next) = self.next_instant() {
            if next > end && self.in_flight == 0 {
                break;
            }
            self.now = next.max(self.now);
            self.step(self.now < end);
        }
        self.report()
    }

    fn next_instant(&self) -> Option<Timestamp> {
        let happening = self.heap.peek().map(|Reverse((at, _))| *at);
        [happening, self.scheduler.next_wake()].into_iter().flatten().min()
    }

    fn step(&mut self, demand: bool) {
        while let Some(Reverse((at, id))) = self.heap.peek().copied() {
            if at > self.now {
                break;
            }
            self.heap.pop();
            match self.happenings.remove(&id).unwrap() {
                Happening::Demand => {}
                Happening::Arrives { job, project, sent, tokens, attempt } => self.arrives(job, project, sent, tokens, attempt),
                Happening::Answered { job, attempt, outcome } => self.answered(job, attempt, outcome),
            }
        }
        self.decide(Event::Woke);
        if demand {
            self.refill();
        }
    }

    fn refill(&mut self) {
        if let Some((on, off)) = self.plan.on_off {
            let phase = (self.now - START).as_micros() % (on + off).as_micros();
            if phase >= on.as_micros() {
                return;
            }
        }
        while self.scheduler.queued() < BACKLOG {
            let tokens = (self.next_tokens)(&mut self.rng);
            self.submit(tokens);
        }
    }

    fn submit(&mut self, tokens: u64) {
        self.last_job += 1;
        let job = JobId(self.last_job);
        self.tokens.insert(job, tokens);
        self.out.submitted += 1;
        let (tokens, spread) = self.estimate(job, tokens);
        self.decide(Event::Submitted(Submission {
            job,
            model: self.model,
            tokens,
            least: tokens,
            spread,
            output: 0,
            priority: 0,
            party: 0,
            deadline: None,
        }));
    }

    fn estimate(&mut self, job: JobId, tokens: u64) -> (u64, u64) {
        let Some((bias, deviation)) = self.plan.error else { return (tokens, 0) };
        let raw = (tokens as f64 * (bias + deviation * normal(&mut self.rng)).exp()).round().max(1.0) as u64;
        self.estimates.insert(job, raw);
        let estimate = self.calibration.apply(MODEL, raw);
        (estimate, self.calibration.spread(MODEL, estimate))
    }

    fn decide(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.out.decisions += 1;
        self.scheduler.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Start { job, key, attempt, .. } => {
                    self.in_flight += 1;
                    if self.now < START + self.plan.span {
                        self.out.most_in_flight = self.out.most_in_flight.max(self.in_flight);
                    }
                    self.attempts.insert(job, attempt);
                    let jitter = self.way();
                    let project = self.keys[key.0 as usize];
                    let arrives = Happening::Arrives { job, project, sent: self.now, tokens: self.tokens[&job], attempt };
                    self.at(self.now + Duration::from_micros(jitter), arrives);
                }
                Action::Complete { job, verdict } => {
                    *self.out.completed.entry(job).or_default() += 1;
                    if verdict != Verdict::Done {
                        self.out.failed.push((job, verdict));
                    }
                }
                Action::Retry { .. }
                | Action::Held { .. }
                | Action::KeyDead { .. }
                | Action::Parked { .. }
                | Action::Unparked { .. }
                | Action::Learned { .. }
                | Action::Forgotten { .. }
                | Action::Reserve { .. }
                | Action::Settle { .. }
                | Action::KeepRoom { .. }
                | Action::Release { .. } => {}
            }
        }
        if let Some((on, off)) = self.plan.on_off {
            let phase = (self.now - START).as_micros() as u64 % (on + off).as_micros() as u64;
            let next = self.now + Duration::from_micros((on + off).as_micros() as u64 - phase);
            self.at(next, Happening::Demand);
        }
    }

    /// Microseconds from here to the server.
    fn way(&mut self) -> u64 {
        if !self.plan.stalls {
            return self.rng.random_range(0..=self.plan.jitter.as_micros() as u64);
        }
        if self.rng.random_bool(0.002) {
            return self.rng.random_range(200_000..1_000_000);
        }
        (30_000.0 * (0.3 * normal(&mut self.rng)).exp()) as u64
    }

    fn arrives(&mut self, job: JobId, project: usize, sent: Timestamp, tokens: u64, attempt: u32) {
        let admitted = self.quotas.admit(self.now.as_micros(), project, MODEL, tokens);
        let (low, high) = self.plan.latency;
        let (trip, outcome) = match admitted {
            Ok(()) if self.rng.random_bool(self.plan.overload) => (low, Outcome::Transient { retry_after: None }),
            Ok(()) => {
                *self.out.answered.entry(job).or_default() += 1;
                let trip = self.rng.random_range(low.as_micros()..=high.as_micros()) as u64;
                (Duration::from_micros(trip), Outcome::Done { used: Some(Used::input(tokens)) })
            }
            Err(violations) => {
                self.out.refused += u64::from(self.now >= START + self.plan.count_after);
                if sent <= self.refusal_seen[project] || self.refusal_seen[project] == Timestamp::ZERO {
                    self.out.refused_unaware += 1;
                }
                let mut denied = denied(&violations);
                denied.limit = denied.limit.filter(|_| !self.plan.silent);
                (self.plan.refusal_trip, Outcome::KeyLimited(denied))
            }
        };
        if matches!(outcome, Outcome::KeyLimited(_)) && sent > self.refusal_seen[project] {
            self.refusal_seen[project] = self.now + trip;
        }
        self.at(self.now + trip, Happening::Answered { job, attempt, outcome });
    }

    fn answered(&mut self, job: JobId, attempt: u32, outcome: Outcome) {
        self.in_flight -= 1;
        if let (Outcome::Done { used: Some(used) }, Some(&raw)) = (&outcome, self.estimates.get(&job)) {
            self.calibration.observe(MODEL, raw, used.input);
        }
        if self.attempts[&job] == attempt {
            self.decide(Event::Finished { job, outcome });
        }
    }

    fn at(&mut self, at: Timestamp, happening: Happening) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    fn report(mut self) -> Outcomes {
        let minutes = self.plan.span.as_secs_f64() / 60.0;
        let (mut requests, mut tokens, mut rpm, mut tpm) = (0, 0, 0, 0);
        self.out.least_used = f64::INFINITY;
        for (number, (limits, _)) in self.plan.projects.iter().enumerate() {
            let Some(witness) = self.quotas.witness(number, MODEL) else { continue };
            let part = |peak: u64, limit: Option<u64>| limit.map_or(0.0, |limit| peak as f64 / limit as f64);
            self.out.worst_requests = self.out.worst_requests.max(part(witness.peak_offered.requests, limits.rpm));
            self.out.worst_tokens = self.out.worst_tokens.max(part(witness.peak_offered.tokens, limits.tpm));
            let used = part(witness.admitted.requests, limits.rpm).max(part(witness.admitted.tokens, limits.tpm)) / minutes;
            self.out.least_used = self.out.least_used.min(used);
            requests += witness.admitted.requests;
            tokens += witness.admitted.tokens;
            rpm += limits.rpm.unwrap_or(0);
            tpm += limits.tpm.unwrap_or(0);
        }
        self.out.used_requests = requests as f64 / (rpm as f64 * minutes);
        self.out.used_tokens = tokens as f64 / (tpm as f64 * minutes);
        self.out
    }
}

impl Outcomes {
    /// Nothing lost, nothing answered or ended twice.
    pub fn assert_exactly_once(&self) {
        assert!(self.answered.values().all(|&times| times == 1), "a prompt was answered twice");
        assert!(self.completed.values().all(|&times| times == 1), "a prompt ended twice");
        let done = self.completed.len() - self.failed.len();
        assert_eq!(self.answered.len(), done, "an answer was lost");
    }

    /// No refusal, and no server minute above its limit.
    pub fn assert_polite(&self) {
        assert_eq!(self.refused, 0, "refusals");
        assert!(self.worst_requests <= 1.0, "worst minute held {} of the request limit", self.worst_requests);
        assert!(self.worst_tokens <= 1.0, "worst minute held {} of the token limit", self.worst_tokens);
    }
}

/// A draw from the normal distribution of mean 0 and deviation 1.
pub fn normal(rng: &mut SmallRng) -> f64 {
    let uniform: f64 = rng.random_range(1e-12..1.0);
    let angle: f64 = rng.random_range(0.0..std::f64::consts::TAU);
    (-2.0 * uniform.ln()).sqrt() * angle.cos()
}

/// A refusal as its answer tells it: of the quota that is longest in the way.
pub fn denied(violations: &[model::Violation]) -> Denied {
    let worst = violations.iter().max_by_key(|violation| (violation.dimension.is_daily(), violation.retry_after)).unwrap();
    let dimension = match worst.dimension {
        model::Dimension::RequestsPerMinute => Dimension::Rpm,
        model::Dimension::TokensPerMinute => Dimension::Tpm,
        model::Dimension::RequestsPerDay => Dimension::Rpd,
        model::Dimension::TokensPerDay => Dimension::Tpd,
    };
    Denied { dimension: Some(dimension), retry_after: Some(worst.retry_after), limit: Some(worst.limit) }
}
