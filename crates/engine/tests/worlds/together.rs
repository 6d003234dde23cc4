//! Several processes on one ledger, in virtual time: each its own scheduler, the quotas of the server as the witness.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_scheduler::{
    Action, Book, Event, Grant, Hearsay, JobId, Limits, ModelId, Outcome, Place, ProjectSpec, QuotaId, QuotaRules, Scheduler,
    Settings, Sharing, Submission, Timestamp, Used, WindowKind,
};
use tidegate_simulator::model::{self, Quotas, Rules};

use crate::world::{MODEL, START, denied};

/// One process.
#[derive(Debug, Clone)]
pub struct Node {
    pub priority: i32,
    /// Prompts at hand while it has work.
    pub backlog: usize,
    /// Where it is asked now and then only: how often.
    pub every: Option<Duration>,
    /// When it has work, after the start.
    pub works: (Duration, Duration),
    /// When it dies without a word.
    pub dies: Option<Duration>,
    /// When it loses sight of the ledger.
    pub cut: Option<(Duration, Duration)>,
    /// All that waits is cancelled then, and nothing more is asked.
    pub cancels: Option<Duration>,
    pub max_concurrency: usize,
    /// Keys of each project that this process knows; the server counts by project.
    pub keys: u32,
    pub alone: f64,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            priority: 0,
            backlog: 200,
            every: None,
            works: (Duration::ZERO, Duration::MAX),
            dies: None,
            cut: None,
            cancels: None,
            max_concurrency: 0,
            keys: 1,
            alone: 0.0,
        }
    }
}

/// What they meet.
#[derive(Debug, Clone)]
pub struct Setting {
    pub projects: Vec<Limits>,
    /// What the processes are told instead, where that differs.
    pub told: Option<Limits>,
    pub span: Duration,
    pub server: model::WindowKind,
    /// From a process to the ledger and back.
    pub trip: Duration,
    pub jitter: Duration,
    pub latency: (Duration, Duration),
    pub seed: u64,
    /// The ledger forgets everything then.
    pub loses: Option<Duration>,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            projects: vec![Limits { rpm: Some(2_000), ..Limits::default() }; 3],
            told: None,
            span: Duration::from_secs(600),
            server: model::WindowKind::Sliding,
            trip: Duration::from_millis(1),
            jitter: Duration::from_millis(450),
            latency: (Duration::from_millis(200), Duration::from_secs(3)),
            seed: 1,
            loses: None,
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    pub refused: u64,
    /// Sends of each process, in seconds after the start.
    pub sent: Vec<Vec<f64>>,
    pub sent_to: Vec<Vec<(f64, usize)>>,
    /// Prompts and the time each waited, by process.
    pub waited: Vec<Vec<f64>>,
    pub reserves: u64,
    pub flushes: u64,
    pub granted: u64,
    pub released: u64,
    /// Worst minute over limit.
    pub worst: f64,
    /// Used part of what the requests (or tokens) limits give.
    pub used: f64,
    pub refusals_at: Vec<f64>,
}

impl Report {
    /// Jain's index of what the processes sent: 1 is even.
    pub fn jain(&self) -> f64 {
        let sums: Vec<f64> = self.sent.iter().map(|sent| sent.len() as f64).collect();
        let (sum, squares) = (sums.iter().sum::<f64>(), sums.iter().map(|x| x * x).sum::<f64>());
        sum * sum / (sums.len() as f64 * squares)
    }

    /// Questions and other calls for each permit.
    pub fn calls_per_grant(&self) -> f64 {
        (self.reserves + self.flushes) as f64 / self.granted.max(1) as f64
    }

    /// Sends of a process between two instants after the start.
    pub fn between(&self, node: usize, from: f64, to: f64) -> usize {
        self.sent[node].iter().filter(|&&at| from <= at && at < to).count()
    }
}

struct Process {
    node: Node,
    scheduler: Scheduler,
    model: ModelId,
    alive: bool,
    submitted: HashMap<JobId, Timestamp>,
    last: u64,
    /// What ended and waits for the next question.
    settled: Vec<(u64, u64)>,
    settled_since: Option<Timestamp>,
    cut_known: bool,
    attempts: HashMap<JobId, u32>,
    next: Timestamp,
    held: HashMap<QuotaId, Timestamp>,
}

enum Thing {
    Arrives { node: usize, job: JobId, project: usize, attempt: u32, tokens: u64 },
    Answered { node: usize, job: JobId, attempt: u32, outcome: Outcome },
    Reserve { node: usize, quota: QuotaId, ask: tidegate_scheduler::Ask },
    Granted { node: usize, quota: QuotaId, grant: Grant },
    Heard { node: usize, quota: QuotaId, hearsay: Hearsay },
    Look,
}

/// All of it.
pub struct Together<F> {
    setting: Setting,
    processes: Vec<Process>,
    book: Book,
    quotas: Quotas,
    rng: SmallRng,
    tokens: F,
    sizes: HashMap<(usize, JobId), u64>,
    now: Timestamp,
    heap: BinaryHeap<Reverse<(Timestamp, u64)>>,
    things: HashMap<u64, Thing>,
    sequence: u64,
    lost: bool,
    facts: BTreeMap<Place, Hearsay>,
    out: Report,
}

impl<F: FnMut(&mut SmallRng) -> u64> Together<F> {
    pub fn new(setting: Setting, nodes: Vec<Node>, tokens: F) -> Together<F> {
        let mut quotas = Quotas::new(Rules { window: setting.server, seed: setting.seed, ..Rules::default() });
        for (number, limits) in setting.projects.iter().enumerate() {
            let server = model::Limits { rpm: limits.rpm, tpm: limits.tpm, rpd: limits.rpd, tpd: None };
            quotas.add_project(format!("p{number}"), [("*".to_string(), server)].into());
        }
        let rules = QuotaRules { window: WindowKind::Sliding, ..QuotaRules::default() };
        let processes: Vec<Process> = nodes
            .into_iter()
            .enumerate()
            .map(|(number, node)| {
                let spec = |limits: &Limits| ProjectSpec {
                    keys: node.keys,
                    limits: vec![("*".into(), setting.told.unwrap_or(*limits))],
                    account: None,
                };
                let specs = setting.projects.iter().map(spec).collect();
                let mut settings =
                    Settings { quota: rules.clone(), seed: number as u64 + setting.seed * 100, ..Settings::default() };
                settings.pacing.max_concurrency = node.max_concurrency;
                let mut scheduler = Scheduler::new(specs, settings);
                scheduler.share(Sharing { alone: node.alone, ..Sharing::default() });
                let model = scheduler.model(MODEL);
                Process {
                    node,
                    scheduler,
                    model,
                    alive: true,
                    submitted: HashMap::new(),
                    last: 0,
                    settled: Vec::new(),
                    settled_since: None,
                    cut_known: false,
                    attempts: HashMap::new(),
                    next: Timestamp::ZERO,
                    held: HashMap::new(),
                }
            })
            .collect();
        let count = processes.len();
        let mut together = Together {
            book: Book::new(&rules),
            quotas,
            rng: SmallRng::seed_from_u64(setting.seed),
            tokens,
            sizes: HashMap::new(),
            now: START,
            heap: BinaryHeap::new(),
            things: HashMap::new(),
            sequence: 0,
            lost: false,
            facts: BTreeMap::new(),
            out: Report {
                sent: vec![Vec::new(); count],
                sent_to: vec![Vec::new(); count],
                waited: vec![Vec::new(); count],
                ..Report::default()
            },
            processes,
            setting,
        };
        for node in 0..count {
            // Processes do not begin at the same instant.
            let node_starts = START + together.processes[node].node.works.0 + Duration::from_millis(37 * node as u64);
            together.at(node_starts, Thing::Look);
            for at in together.instants(node) {
                together.at(START + at, Thing::Look);
            }
        }
        together
    }

    fn instants(&self, node: usize) -> Vec<Duration> {
        let node = &self.processes[node].node;
        let cut = node.cut.into_iter().flat_map(|(from, to)| [from, to]);
        cut.chain(node.dies).chain(node.cancels).chain(self.setting.loses).collect()
    }

    fn at(&mut self, at: Timestamp, thing: Thing) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence)));
        self.things.insert(self.sequence, thing);
    }

    fn since_start(&self) -> Duration {
        self.now - START
    }

    fn is_cut(&self, node: usize) -> bool {
        self.processes[node].node.cut.is_some_and(|(from, to)| (from..to).contains(&self.since_start()))
    }

    pub fn run(mut self) -> Report {
        let end = START + self.setting.span;
        let mut still = 0;
        loop {
            let thing = self.heap.peek().map(|Reverse((at, _))| *at);
            let wakes = self.processes.iter().filter(|process| process.alive).filter_map(|process| process.scheduler.next_wake());
            let flushes = self.processes.iter().filter_map(|process| process.settled_since).map(|since| since + FLUSH);
            let Some(next) = thing.into_iter().chain(wakes).chain(flushes).min() else { break };
            if next > end {
                break;
            }
            still = if next <= self.now { still + 1 } else { 0 };
            assert!(still < 10_000, "it looks again and again at {:?} after the start and nothing changes", self.since_start());
            self.now = next.max(self.now);
            self.step();
        }
        self.report()
    }

    fn step(&mut self) {
        while let Some(Reverse((at, id))) = self.heap.peek().copied().filter(|Reverse((at, _))| *at <= self.now) {
            let _ = at;
            self.heap.pop();
            let thing = self.things.remove(&id).unwrap();
            self.happen(thing);
        }
        if !self.lost && self.setting.loses.is_some_and(|at| self.since_start() >= at) {
            self.lost = true;
            self.lose();
        }
        for node in 0..self.processes.len() {
            self.look(node);
        }
    }

    /// The ledger comes back empty: every process tells what it saw.
    fn lose(&mut self) {
        self.book = Book::new(&QuotaRules { window: WindowKind::Sliding, ..QuotaRules::default() });
        for node in 0..self.processes.len() {
            for project in 0..self.setting.projects.len() {
                let process = &mut self.processes[node];
                let Some(quota) = process.scheduler.quota(project as u32, MODEL) else { continue };
                let known = process.scheduler.knowledge(self.now, quota).unwrap();
                let sent = process.scheduler.sent(self.now, quota);
                self.book.learn(self.now, &place(project), &known, &sent);
            }
        }
    }

    fn look(&mut self, node: usize) {
        let (since, cut) = (self.since_start(), self.is_cut(node));
        let process = &mut self.processes[node];
        if process.node.dies.is_some_and(|at| since >= at) {
            process.alive = false;
            process.settled_since = None;
        }
        if !process.alive {
            return;
        }
        if cut != process.cut_known {
            process.cut_known = cut;
            if !cut && process.node.alone > 0.0 {
                for project in 0..self.setting.projects.len() {
                    let process = &mut self.processes[node];
                    let quota = process.scheduler.quota(project as u32, MODEL).unwrap();
                    let known = process.scheduler.knowledge(self.now, quota).unwrap();
                    let sent = process.scheduler.sent_alone(self.now, quota).to_vec();
                    process.scheduler.told_alone(quota);
                    self.book.learn(self.now, &place(project), &known, &sent);
                }
            }
            self.decide(node, if cut { Event::Unreachable } else { Event::Reached });
        }
        if self.processes[node].scheduler.next_wake().is_some_and(|at| at <= self.now) {
            self.decide(node, Event::Woke);
        }
        self.refill(node);
        let process = &mut self.processes[node];
        if !cut && process.settled_since.is_some_and(|at| at + FLUSH <= self.now) {
            process.settled_since = None;
            self.out.flushes += 1;
            self.tell(node);
        }
    }

    fn tell(&mut self, node: usize) {
        for (permit, used) in std::mem::take(&mut self.processes[node].settled) {
            self.book.settle(permit, used);
        }
    }

    fn refill(&mut self, node: usize) {
        let since = self.since_start();
        let process = &mut self.processes[node];
        let begins = process.node.works.0 + Duration::from_millis(37 * node as u64);
        if process.node.cancels.is_some_and(|at| since >= at) {
            let jobs: Vec<JobId> = process.submitted.drain().map(|(job, _)| job).collect();
            if !jobs.is_empty() {
                self.decide(node, Event::CancelledMany(jobs));
            }
            return;
        }
        if since < begins || since >= process.node.works.1 {
            return;
        }
        if let Some(every) = self.processes[node].node.every {
            let process = &mut self.processes[node];
            if process.next > self.now {
                return;
            }
            process.next = self.now + every;
            self.at(self.now + every, Thing::Look);
        }
        while self.processes[node].scheduler.queued() < self.processes[node].node.backlog {
            let tokens = (self.tokens)(&mut self.rng);
            let process = &mut self.processes[node];
            process.last += 1;
            let job = JobId(process.last);
            process.submitted.insert(job, self.now);
            self.sizes.insert((node, job), tokens);
            let (model, priority) = (process.model, process.node.priority);
            let submission =
                Submission { job, model, tokens, least: tokens, spread: 0, output: 0, priority, party: 0, deadline: None };
            self.decide(node, Event::Submitted(submission));
        }
    }

    fn happen(&mut self, thing: Thing) {
        match thing {
            Thing::Look => {}
            Thing::Arrives { node, job, project, attempt, tokens } => {
                let admitted = self.quotas.admit(self.now.as_micros(), project, MODEL, tokens);
                let (low, high) = self.setting.latency;
                let (trip, outcome) = match admitted {
                    Ok(()) => {
                        let trip = self.rng.random_range(low.as_micros()..=high.as_micros()) as u64;
                        (Duration::from_micros(trip), Outcome::Done { used: Some(Used::input(tokens)) })
                    }
                    Err(violations) => {
                        self.out.refused += 1;
                        let at = self.since_start().as_secs_f64();
                        self.out.refusals_at.push(at);
                        (Duration::from_millis(60), Outcome::KeyLimited(denied(&violations)))
                    }
                };
                self.at(self.now + trip, Thing::Answered { node, job, attempt, outcome });
            }
            Thing::Answered { node, job, attempt, outcome } => {
                let process = &mut self.processes[node];
                if process.alive && process.attempts.get(&job) == Some(&attempt) {
                    self.decide(node, Event::Finished { job, outcome });
                }
            }
            Thing::Reserve { node, quota, ask } => {
                if self.is_cut(node) || !self.processes[node].alive {
                    return;
                }
                self.out.reserves += 1;
                self.processes[node].settled_since = None;
                self.tell(node);
                let known = self.processes[node].scheduler.knowledge(self.now, quota).unwrap();
                let grant = self.book.reserve(self.now, &place(known.project as usize), node as u64, &known, &ask);
                self.out.granted += grant.permits.len() as u64;
                let heard = self.facts.get(&place(known.project as usize)).copied();
                let back = self.now + self.setting.trip / 2;
                // A permit's instant is told as a distance, so it moves with the answer's way.
                let late = self.setting.trip / 2;
                let mut grant = grant;
                grant.permits.iter_mut().for_each(|permit| permit.at = permit.at + late);
                self.at(back, Thing::Granted { node, quota, grant });
                if let Some(hearsay) = heard {
                    self.at(back, Thing::Heard { node, quota, hearsay });
                }
            }
            Thing::Granted { node, quota, grant } => {
                if self.processes[node].alive {
                    self.decide(node, Event::Granted { quota, grant: Box::new(grant) });
                }
            }
            Thing::Heard { node, quota, hearsay } => {
                if self.processes[node].alive {
                    self.decide(node, Event::Heard { quota, hearsay });
                }
            }
        }
    }

    fn decide(&mut self, node: usize, event: Event) {
        let mut actions = Vec::new();
        let answered = matches!(event, Event::Finished { .. });
        let process = &mut self.processes[node];
        process.scheduler.handle(self.now, event, &mut actions);
        let _ = answered;
        for action in actions {
            self.act(node, action);
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        let since = self.since_start().as_secs_f64();
        match action {
            Action::Start { job, key, attempt, .. } => {
                let process = &mut self.processes[node];
                process.attempts.insert(job, attempt);
                if let Some(at) = process.submitted.get(&job) {
                    self.out.waited[node].push((self.now - *at).as_secs_f64());
                }
                let project = (key.0 / process.node.keys) as usize;
                self.out.sent[node].push(since);
                self.out.sent_to[node].push((since, project));
                let way = self.rng.random_range(0..=self.setting.jitter.as_micros() as u64);
                let tokens = self.sizes[&(node, job)];
                self.at(self.now + Duration::from_micros(way), Thing::Arrives { node, job, project, attempt, tokens });
            }
            Action::Complete { job, .. } => {
                self.processes[node].submitted.remove(&job);
            }
            Action::Reserve { quota, ask } => {
                let way = self.setting.trip.mul_f64(self.rng.random_range(0.2..1.0));
                self.at(self.now + way, Thing::Reserve { node, quota, ask });
            }
            Action::Settle { permit, used, .. } => {
                let process = &mut self.processes[node];
                process.settled.push((permit, used));
                process.settled_since.get_or_insert(self.now);
            }
            Action::Release { .. } if self.is_cut(node) => {}
            Action::Release { permits, .. } => {
                self.out.released += permits.len() as u64;
                self.book.release(self.now, &permits);
            }
            Action::Held { project, until, fully, .. } => {
                // The 429 of one process is told to all.
                let quota = self.processes[node].scheduler.quota(project, MODEL).unwrap();
                let known = self.processes[node].scheduler.knowledge(self.now, quota).unwrap();
                self.book.hold(self.now, &place(project as usize), until, known.limits);
                self.processes[node].held.insert(quota, until);
                let learned = if self.setting.told.is_some() { known.limits } else { Limits::default() };
                let hearsay = Hearsay { learned, held: Some(until), fully };
                self.facts.insert(place(project as usize), hearsay);
                for other in (0..self.processes.len()).filter(|other| *other != node) {
                    self.at(self.now + self.setting.trip, Thing::Heard { node: other, quota, hearsay });
                }
            }
            _ => {}
        }
    }

    fn report(mut self) -> Report {
        let minutes = self.setting.span.as_secs_f64() / 60.0;
        let (mut used, mut all) = (0.0, 0.0);
        for (number, limits) in self.setting.projects.iter().enumerate() {
            let Some(witness) = self.quotas.witness(number, MODEL) else { continue };
            let part = |peak: u64, limit: Option<u64>| limit.map_or(0.0, |limit| peak as f64 / limit as f64);
            let peak = part(witness.peak_offered.requests, limits.rpm).max(part(witness.peak_offered.tokens, limits.tpm));
            self.out.worst = self.out.worst.max(peak);
            used += part(witness.admitted.requests, limits.rpm).max(part(witness.admitted.tokens, limits.tpm));
            all += minutes;
        }
        self.out.used = used / all;
        self.out
    }
}

/// Settlements that no question carries away are told after so long.
const FLUSH: Duration = Duration::from_secs(5);

fn place(project: usize) -> Place {
    (Arc::from(format!("p{project}")), Arc::from(MODEL))
}
