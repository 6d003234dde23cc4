//! How long a decision takes with 10,000 keys, 20 models and 1,000,000 queued prompts, beside the same with 10 keys and
//! 1,000 prompts; and what a queued prompt costs in memory. Run: `cargo bench -p tidegate-scheduler --bench decisions`.
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
    for (keys, models, queued) in [(10, 1, 1_000), (1_000, 20, 100_000), (10_000, 20, 1_000_000)] {
        measure(keys, models, queued);
    }
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

/// Resident memory of this process in bytes, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1_024
}
