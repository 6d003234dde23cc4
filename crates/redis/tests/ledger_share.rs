//! Eight processes of three projects, each with a pump, in simulated time on a real Redis: all of the limit, fairly shared,
//! with few calls.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod noon;
mod server;

use noon::{START, limits};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use server::Server;
use std::collections::VecDeque;
use tidegate_redis::{Bucket, Cost, Ledger, Limits, Permit, Reserve, Return};

const RPM: u64 = 6_000;
const MINUTES: u64 = 3;

/// One process with endless work in one bucket.
struct Pump {
    ledger: Ledger,
    bucket: Bucket,
    /// Permits and the instants they are for.
    held: VecDeque<(u64, Permit)>,
    over: Vec<Return>,
    sent: Vec<u64>,
    calls: u64,
    ask_at: u64,
    chance: SmallRng,
}

impl Pump {
    /// Sends what is due; asks for more a little before it is used up, and tells with that what is over.
    async fn step(&mut self, limits: &Limits, now: u64) {
        while self.held.front().is_some_and(|(at, _)| *at <= now) {
            let (at, permit) = self.held.pop_front().unwrap();
            self.sent.push(at);
            self.over.push(Return::Used { permit, tokens: 90 });
        }
        if now < self.ask_at {
            return;
        }
        self.ledger.pretend(START + now, now);
        let costs = vec![Cost { tokens: 100, spread: 10 }; Reserve::MOST];
        let returns = std::mem::take(&mut self.over);
        let grant = self.ledger.reserve(&self.bucket, limits, Reserve { costs, returns, ..Reserve::default() }).await.unwrap();
        self.calls += 1;
        let wait = grant.refused.and_then(|refusal| refusal.after).unwrap_or_default().as_millis() as u64;
        self.held.extend(grant.permits.into_iter().map(|permit| (now + permit.wait.as_millis() as u64, permit)));
        let used_up = self.held.back().map_or(now, |(last, _)| *last);
        // Not every time the same after the same other.
        self.ask_at = used_up.max(now + wait).saturating_sub(self.chance.random_range(80..600)).max(now + 5);
    }
}

#[tokio::test]
async fn eight_processes_use_three_limits_fully_and_fairly_with_few_calls() {
    together(8, 3).await;
}

/// Row 3.
#[tokio::test]
async fn thirty_two_processes_use_one_limit_fully_and_fairly_with_few_calls() {
    together(32, 1).await;
}

async fn together(processes: u64, projects: u64) {
    let server = Server::start();
    let limits = Limits { tpm: Some(RPM * 120), ..limits(RPM) };
    let mut pumps = Vec::new();
    for at in 0..processes * projects {
        pumps.push(Pump {
            ledger: Ledger::new(server.connect().await),
            bucket: Bucket { project: format!("p{}", at / processes), family: "f".into() },
            held: VecDeque::new(),
            over: Vec::new(),
            sent: Vec::new(),
            calls: 0,
            ask_at: 0,
            chance: SmallRng::seed_from_u64(at),
        });
    }
    let end = MINUTES * 60_500;
    for now in (0..end).step_by(5) {
        for pump in &mut pumps {
            pump.step(&limits, now).await;
        }
    }
    pumps.chunks(processes as usize).for_each(one_limit_holds);
}

/// What the processes of a project sent in all.
fn one_limit_holds(project: &[Pump]) {
    let mut sent: Vec<u64> = project.iter().flat_map(|pump| pump.sent.iter().copied()).collect();
    sent.sort_unstable();
    let worst = sent.iter().map(|from| sent.partition_point(|at| *at < from + 60_000) - sent.partition_point(|at| at < from));
    assert!(worst.max().unwrap() <= RPM as usize);
    let used = sent.len() as f64 / (RPM * MINUTES) as f64;
    let calls = project.iter().map(|pump| pump.calls).sum::<u64>() as f64 / sent.len() as f64;
    let counts: Vec<f64> = project.iter().map(|pump| pump.sent.len() as f64).collect();
    let squares = counts.iter().map(|count| count * count).sum::<f64>();
    let jain = counts.iter().sum::<f64>().powi(2) / (counts.len() as f64 * squares);
    assert!(used >= 0.99 && jain >= 0.99 && calls <= 0.1, "used {used}, Jain {jain}, calls {calls}: {counts:?}");
}
