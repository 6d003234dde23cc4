//! Random calls against one bucket, watched by an oracle that keeps every permit it saw and knows nothing of slots.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod noon;
mod server;

use std::time::Duration;

use noon::START;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use server::Server;
use tidegate_redis::{Bucket, Connection, Cost, Dimension, Ledger, Limits, Permit, Refusal, Reserve, Return};

const SCENARIOS: u64 = 40;
const STEPS: u64 = 500;
const GUARD: u64 = 500;

/// One permit as the oracle remembers it.
struct Seen {
    at: u64,
    tokens: u64,
    open: Option<Permit>,
}

struct World {
    ledger: Ledger,
    bucket: Bucket,
    limits: Limits,
    now: u64,
    seen: Vec<Seen>,
    chance: SmallRng,
    permits: u64,
    hints: u64,
}

#[tokio::test]
async fn no_window_and_no_day_is_ever_above_its_limit_and_every_hint_is_exact() {
    let server = Server::start();
    let connection = server.connect().await;
    let (mut permits, mut hints) = (0, 0);
    for seed in 0..SCENARIOS {
        let mut world = World::new(&connection, seed);
        for step in 0..STEPS {
            world.step(seed, step).await;
        }
        world.sums_are_those_of_the_ring(&connection, seed).await;
        permits += world.permits;
        hints += world.hints;
    }
    assert!(permits > 10_000 && hints > 1_000, "{permits} permits and {hints} hints prove little");
}

impl World {
    fn new(connection: &Connection, seed: u64) -> World {
        let mut chance = SmallRng::seed_from_u64(seed);
        let rpm = [3, 20, 100, 1_000][chance.random_range(0..4)];
        let day_end = START + chance.random_range(1..400_000) / 1_000 * 1_000;
        let limits = Limits {
            tpm: (!seed.is_multiple_of(4)).then(|| rpm * chance.random_range(20..200)),
            rpd: seed.is_multiple_of(3).then(|| rpm * chance.random_range(1..8)),
            burst: [1.0, 0.5, 0.1][chance.random_range(0..3)],
            horizon: Duration::from_millis([0, 500, 2_000, 5_000][chance.random_range(0..4)]),
            day_end,
            next_day_end: day_end + 200_000,
            ..noon::limits(rpm)
        };
        let bucket = Bucket { project: format!("property-{seed}"), family: "f".into() };
        World {
            ledger: Ledger::new(connection.clone()),
            bucket,
            limits,
            now: START,
            seen: Vec::new(),
            chance,
            permits: 0,
            hints: 0,
        }
    }

    async fn step(&mut self, seed: u64, step: u64) {
        let place = format!("seed {seed}, step {step}");
        let pause = [0, 0, 1, 50, 700, 9_000, 30_000][self.chance.random_range(0..7)];
        self.now += self.chance.random_range(0..=pause);
        while self.limits.day_end <= self.now {
            (self.limits.day_end, self.limits.next_day_end) = (self.limits.next_day_end, self.limits.next_day_end + 200_000);
        }
        self.seen.retain(|seen| seen.at + 700_000 > self.now);
        let returns = self.returns();
        let most = [1, 4, 64][self.chance.random_range(0..3)];
        let count = self.chance.random_range(0..=most);
        let costs: Vec<Cost> = (0..count).map(|_| self.cost()).collect();
        let (granted, refused) = self.ask(costs.clone(), returns, &place).await;
        if let Some(refusal) = refused
            && self.chance.random_bool(0.5)
        {
            self.hint_is_exact(refusal, costs[granted], &place).await;
        }
    }

    fn cost(&mut self) -> Cost {
        let most = self.limits.tpm.unwrap_or(1_000) as u32;
        let tokens = if self.chance.random_bool(0.02) { most } else { self.chance.random_range(0..=(most / 10).max(1)) };
        Cost { tokens, spread: 0 }
    }

    fn returns(&mut self) -> Vec<Return> {
        let mut returns = Vec::new();
        for _ in 0..self.chance.random_range(0..8) {
            if self.seen.is_empty() {
                break;
            }
            let at = self.chance.random_range(0..self.seen.len());
            let Some(permit) = self.seen[at].open.take() else { continue };
            if self.chance.random_bool(0.3) {
                self.seen.remove(at);
                returns.push(Return::Unused(permit));
            } else {
                let tokens = self.chance.random_range(0..=u64::from(permit.tokens));
                self.seen[at].tokens = tokens;
                returns.push(Return::Used { permit, tokens });
            }
        }
        returns
    }

    async fn ask(&mut self, costs: Vec<Cost>, returns: Vec<Return>, place: &str) -> (usize, Option<Refusal>) {
        self.ledger.pretend(self.now, self.now - START);
        let wanted = Reserve { costs, returns, ..Reserve::default() };
        let grant = self.ledger.reserve(&self.bucket, &self.limits, wanted).await.unwrap();
        let granted = grant.permits.len();
        for permit in grant.permits {
            let at = self.now + permit.wait.as_millis() as u64;
            assert!(permit.wait <= self.limits.horizon, "{place}: beyond the horizon");
            assert!(self.seen.last().is_none_or(|seen| seen.at <= at), "{place}: a grant went back in time");
            self.seen.push(Seen { at, tokens: u64::from(permit.tokens), open: Some(permit) });
            self.window_holds(at, place);
            self.day_holds(at, place);
        }
        self.permits += granted as u64;
        (granted, grant.refused)
    }

    /// Everything within a minute and the guard before `at`.
    fn window_holds(&self, at: u64, place: &str) {
        let window = || self.seen.iter().filter(|seen| seen.at + 60_000 + GUARD > at && seen.at <= at);
        let (requests, tokens) = (window().count() as u64, window().map(|seen| seen.tokens).sum::<u64>());
        assert!(requests <= self.limits.rpm.unwrap(), "{place}: {requests} requests in the minute before {at}");
        assert!(self.limits.tpm.is_none_or(|tpm| tokens <= tpm), "{place}: {tokens} tokens in the minute before {at}");
    }

    /// Everything that the server may count on the day of `at`, its clock a guard off at most.
    fn day_holds(&self, at: u64, place: &str) {
        let Some(limit) = self.limits.rpd else { return };
        let end = if at < self.limits.day_end { self.limits.day_end } else { self.limits.next_day_end };
        for end in [end - 200_000, end, end + 200_000] {
            let (from, to) = (end - 200_000 - GUARD, end + GUARD);
            let counted = self.seen.iter().filter(|seen| from <= seen.at && seen.at < to).count() as u64;
            assert!(counted <= limit, "{place}: {counted} requests on the day that ends at {end}");
        }
    }

    /// Asked at any time within the horizon before it, the permit comes exactly then; never sooner.
    async fn hint_is_exact(&mut self, refusal: Refusal, first: Cost, place: &str) {
        let Some(after) = refusal.after else {
            assert_eq!(refusal.dimension, Dimension::Never);
            return;
        };
        let promised = self.now + after.as_millis() as u64;
        let ahead = self.chance.random_range(0..=self.limits.horizon.as_millis() as u64);
        self.now = self.now.max(promised - ahead);
        if self.now >= self.limits.day_end {
            (self.limits.day_end, self.limits.next_day_end) = (self.limits.next_day_end, self.limits.next_day_end + 200_000);
        }
        if promised > self.now + 150_000 {
            return;
        }
        let before = self.seen.len();
        let (_, refused) = self.ask(vec![first], vec![], place).await;
        assert_eq!(self.seen.len(), before + 1, "{place}: {refusal:?} but then {refused:?}");
        assert_eq!(self.seen.last().unwrap().at, promised, "{place}: {refusal:?}");
        self.hints += 1;
    }

    /// The sums in the state are those of the slots from its head on, and no slot before is left over.
    async fn sums_are_those_of_the_ring(&self, connection: &Connection, seed: u64) {
        let key = tidegate_redis::names::quota(&self.bucket.project, "f", "state");
        let state: Vec<u8> = connection.call(redis::cmd("GET").arg(key), Duration::from_secs(5)).await.unwrap();
        let (state, ring) = state.split_at(38 * 8);
        let number = |at: usize| f64::from_le_bytes(state[at * 8..at * 8 + 8].try_into().unwrap());
        let (mut requests, mut tokens) = (0_u64, 0_u64);
        for slot in ring.chunks(16) {
            requests += u64::from(u32::from_le_bytes(slot[..4].try_into().unwrap()));
            tokens += u64::from(u32::from_le_bytes(slot[4..8].try_into().unwrap()));
        }
        assert_eq!((number(7), number(8)), (requests as f64, tokens as f64), "seed {seed}");
    }
}
