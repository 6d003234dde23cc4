//! How long a decision takes with 10,000 keys, 20 models and 1,000,000 queued prompts, beside the same with 10 keys and
//! 1,000 prompts; what a queued prompt costs in memory; and how long it takes to tell a prompt that joins a long queue when it
//! will start. Run: `cargo bench -p tidegate-scheduler --bench decisions`
//! (`-- forecasts` for the last part alone).
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, missing_docs)]

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_scheduler::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn main() {
    println!(
        "{:>8} {:>7} {:>10} {:>12} {:>10} {:>10} {:>16}",
        "keys", "models", "queued", "decisions", "median us", "p99 us", "bytes a prompt"
    );
    let sizes = [(10, 1, 1_000), (1_000, 20, 100_000), (10_000, 20, 1_000_000)];
    let only_forecasts = std::env::args().any(|arg| arg == "forecasts");
    for (keys, models, queued) in sizes.into_iter().filter(|_| !only_forecasts) {
        measure(keys, models, queued);
    }
    println!("\n{:>8} {:>10} {:>10} {:>14} {:>14} {:>14}", "keys", "rpm each", "queued", "again us", "anew us", "worst us");
    for (keys, rpm) in [(1, 60), (1, 1_000), (20, 60), (20, 1_000), (200, 10)] {
        foretell(keys, rpm, 10_000);
    }
}

/// The time it takes to take a prompt in and tell when it starts, behind `queued` others, while prompts start and end: of those
/// that come a moment after one another, and of those that come half a second after the one before.
fn foretell(keys: u32, rpm: u64, queued: u64) {
    let limits = Limits { rpm: Some(rpm), tpm: Some(rpm * 10_000), rpd: None };
    let projects = (0..keys).map(|_| ProjectSpec { keys: 1, limits: vec![("*".into(), limits)], account: None }).collect();
    let mut scheduler = Scheduler::new(projects, Settings::default());
    let model = scheduler.model("model");
    let mut world = World { scheduler, now: NOW, running: Vec::new(), next: 0, times: Vec::new() };
    let submit = |world: &mut World| world.submit(model, tokens(JobId(world.next + 1)));
    for _ in 0..queued {
        submit(&mut world);
    }
    let (mut again, mut anew) = (Vec::new(), Vec::new());
    for nth in 0..400 {
        let fresh = nth % 2 == 1;
        world.pass(if fresh { Duration::from_millis(1) } else { Duration::from_millis(500) });
        let begun = Instant::now();
        submit(&mut world);
        let job = JobId(world.next);
        assert!(std::hint::black_box(world.scheduler.forecast(world.now, job)).is_some());
        let took = begun.elapsed().as_nanos() as f64 / 1_000.0;
        if fresh { &mut again } else { &mut anew }.push(took);
        world.handle(Event::Cancelled(job));
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        (times[times.len() / 2], times[times.len() - 1])
    };
    let ((again, _), (anew, worst)) = (median(&mut again), median(&mut anew));
    println!("{keys:>8} {rpm:>10} {queued:>10} {again:>14.1} {anew:>14.1} {worst:>14.1}");
}

fn measure(keys: u32, models: u32, queued: u64) {
    let limits = Limits { rpm: Some(60), tpm: Some(1_000_000), rpd: Some(1_000_000) };
    let projects = (0..keys).map(|_| ProjectSpec { keys: 1, limits: vec![("*".into(), limits)], account: None }).collect();
    let pacing = Pacing { max_concurrency: 4_096, ..Pacing::default() };
    let mut scheduler = Scheduler::new(projects, Settings { pacing, ..Settings::default() });
    let models: Vec<ModelId> = (0..models).map(|n| scheduler.model(&format!("model-{n}"))).collect();
    let mut rng = SmallRng::seed_from_u64(1);
    let mut world = World { scheduler, now: NOW, running: Vec::new(), next: 0, times: Vec::new() };

    let before = resident();
    for _ in 0..queued + 4_096 {
        world.submit(models[rng.random_range(0..models.len())], rng.random_range(100..20_000));
    }
    let bytes = resident().saturating_sub(before) as f64 / (queued + 4_096) as f64;

    world.times.clear();
    for _ in 0..200_000 {
        world.now = world.now + Duration::from_micros(rng.random_range(1..200));
        match world.running.is_empty() {
            true => world.wake(),
            false => {
                let job = world.running.swap_remove(rng.random_range(0..world.running.len()));
                world.handle(Event::Finished {
                    job,
                    outcome: Outcome::Done { used: Some(Used::input(rng.random_range(100..20_000))) },
                });
            }
        }
        world.submit(models[rng.random_range(0..models.len())], rng.random_range(100..20_000));
    }
    world.times.sort_unstable();
    let at = |part: f64| world.times[((world.times.len() - 1) as f64 * part) as usize].as_nanos() as f64 / 1_000.0;
    println!(
        "{keys:>8} {:>7} {queued:>10} {:>12} {:>10.2} {:>10.2} {bytes:>16.0}",
        models.len(),
        world.times.len(),
        at(0.5),
        at(0.99)
    );
}

struct World {
    scheduler: Scheduler,
    now: Timestamp,
    running: Vec<JobId>,
    next: u64,
    times: Vec<Duration>,
}

impl World {
    fn submit(&mut self, model: ModelId, tokens: u64) {
        self.next += 1;
        let submission = Submission {
            job: JobId(self.next),
            model,
            tokens,
            least: tokens,
            spread: tokens / 10,
            output: 0,
            priority: 0,
            party: 0,
            deadline: None,
        };
        self.handle(Event::Submitted(submission));
    }

    fn wake(&mut self) {
        if let Some(at) = self.scheduler.next_wake() {
            self.now = at.max(self.now);
            self.handle(Event::Woke);
        }
    }

    /// Lets prompts start as they may for so long; they end when it is over, and have used what was estimated.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.scheduler.next_wake().is_some_and(|at| at <= end) {
            self.wake();
        }
        self.now = end;
        for job in std::mem::take(&mut self.running) {
            self.handle(Event::Finished { job, outcome: Outcome::Done { used: Some(Used::input(tokens(job))) } });
        }
    }

    fn handle(&mut self, event: Event) {
        let mut actions = Vec::new();
        let start = Instant::now();
        self.scheduler.handle(self.now, event, &mut actions);
        let wake = self.scheduler.next_wake();
        self.times.push(start.elapsed());
        std::hint::black_box(wake);
        self.running.extend(actions.iter().filter_map(|action| match action {
            Action::Start { job, .. } => Some(*job),
            _ => None,
        }));
    }
}

/// Tokens of a prompt, by its number: from 100 to 20,000.
fn tokens(JobId(number): JobId) -> u64 {
    100 + (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % 19_900
}

/// Resident memory of this process in bytes, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1_024
}
