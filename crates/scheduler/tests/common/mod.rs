//! A scheduler on a bench: events in, actions out, time jumps to the next wake-up.
#![allow(dead_code)]

use std::time::Duration;

use tidegate_scheduler::*;

pub const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

pub struct Bench {
    pub scheduler: Scheduler,
    pub model: ModelId,
    pub now: Timestamp,
}

impl Bench {
    pub fn new(projects: &[(u32, Limits)], settings: Settings) -> Bench {
        let specs = projects
            .iter()
            .map(|&(keys, limits)| ProjectSpec { keys, limits: vec![("*".into(), limits)], account: None })
            .collect();
        let mut scheduler = Scheduler::new(specs, settings);
        let model = scheduler.model("gemini-3.8-flash");
        Bench { scheduler, model, now: NOW }
    }

    /// The same keys and limits for every number, under these billing accounts.
    pub fn with_accounts(accounts: &[Option<u32>], settings: Settings) -> Bench {
        let spec = |&account: &Option<u32>| ProjectSpec { keys: 1, limits: Vec::new(), account };
        let mut scheduler = Scheduler::new(accounts.iter().map(spec).collect(), settings);
        let model = scheduler.model("gemini-3.8-flash");
        Bench { scheduler, model, now: NOW }
    }

    pub fn event(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.scheduler.handle(self.now, event, &mut actions);
        actions
    }

    pub fn submit(&mut self, job: u64, tokens: u64, priority: i32) -> Vec<Action> {
        let model = self.model;
        self.event(Event::Submitted(Submission {
            job: JobId(job),
            model,
            tokens,
            least: tokens,
            spread: 0,
            output: 0,
            priority,
            party: 0,
            deadline: None,
        }))
    }

    pub fn finish(&mut self, job: u64, outcome: Outcome) -> Vec<Action> {
        self.event(Event::Finished { job: JobId(job), outcome })
    }

    /// Jumps to the next wake-up, which must exist, and returns what it brings.
    pub fn wake(&mut self) -> Vec<Action> {
        self.now = self.scheduler.next_wake().expect("a wake-up");
        self.event(Event::Woke)
    }

    /// The family that prompts of this bench belong to.
    pub fn family(&self) -> String {
        "gemini-3.8-flash".to_string()
    }

    pub fn after(&self) -> Duration {
        self.now - NOW
    }
}

pub fn started(actions: &[Action]) -> Vec<(u64, u32)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Start { job, key, .. } => Some((job.0, key.0)),
            _ => None,
        })
        .collect()
}

pub fn jobs(actions: &[Action]) -> Vec<u64> {
    started(actions).into_iter().map(|(job, _)| job).collect()
}

pub fn ended(actions: &[Action]) -> Vec<(u64, Verdict)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Complete { job, verdict } => Some((job.0, *verdict)),
            _ => None,
        })
        .collect()
}

pub fn settings(pacing: Pacing) -> Settings {
    Settings { pacing, quota: QuotaRules { window: WindowKind::Sliding, ..QuotaRules::default() }, ..Settings::default() }
}

pub fn rpm(limit: u64) -> Limits {
    Limits { rpm: Some(limit), ..Limits::default() }
}

pub const DONE: Outcome = Outcome::Done { used: None };
pub const SUSPENDED: Scope = Scope::Key;

pub fn rejected(scope: Scope) -> Outcome {
    Outcome::KeyRejected(KeyFault { scope, reason: "CONSUMER_SUSPENDED".into() })
}
