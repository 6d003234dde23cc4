//! What a permit costs: calls and permits a second, and microseconds of Redis a call, beside a bare PING in the same run.
//!
//! `cargo bench -p tidegate-redis --bench limiter [-- SECONDS]`. Starts a redis-server of its own. With `-- peers FOLDER`, other
//! people's limiters are installed into FOLDER, where they are not yet, and hand out permits on the same server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod peers;
#[path = "../tests/server/mod.rs"]
mod server;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use server::Server;
use tidegate_redis::{Bucket, Connection, Cost, Ledger, Limits, Reserve, Return};

/// One line of the table.
struct Row {
    name: &'static str,
    callers: usize,
    buckets: usize,
    batch: usize,
    settles: bool,
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(2.0);
    let length = Duration::from_secs_f64(seconds);
    let server = Server::start();
    let connection = server.connect().await;
    println!("{:<28} {:>8} {:>12} {:>12} {:>12} {:>14}", "", "callers", "calls/s", "permits/s", "us/call", "us/permit");
    for callers in [1, 16] {
        ping(&server, &connection, callers, length).await;
        for batch in [1, 16, 64] {
            let name = ["single permit", "16 permits", "64 permits"][[1, 16, 64].iter().position(|size| *size == batch).unwrap()];
            reserve(&server, &connection, Row { name, callers, buckets: 1, batch, settles: false }, length).await;
        }
        reserve(&server, &connection, Row { name: "16 permits, settled", callers, buckets: 1, batch: 16, settles: true }, length)
            .await;
    }
    reserve(
        &server,
        &connection,
        Row { name: "16 permits, 1000 buckets", callers: 16, buckets: 1_000, batch: 16, settles: false },
        length,
    )
    .await;
    if let Some(folder) = peers::folder() {
        beside_peers(&server, &folder, seconds);
    }
}

async fn ping(server: &Server, connection: &Connection, callers: usize, length: Duration) {
    let link = connection.clone();
    let calls = measured(callers, length, move |_| {
        let connection = link.clone();
        async move {
            connection.call::<String>(&redis::cmd("PING"), Duration::from_secs(5)).await.unwrap();
            0
        }
    });
    server.cli(&["config", "resetstat"]);
    let (calls, _) = calls.await;
    line("PING", callers, calls as f64 / length.as_secs_f64(), 0.0, spent(server, "ping"), 0);
}

async fn reserve(server: &Server, connection: &Connection, row: Row, length: Duration) {
    let ledger = Arc::new(Ledger::new(connection.clone()));
    let limits = Arc::new(limits());
    let name = |at: usize| Bucket { project: format!("bench-{}-{}-{at}", row.name, row.callers), family: "f".into() };
    let buckets: Arc<Vec<Bucket>> = Arc::new((0..row.buckets).map(name).collect());
    for bucket in buckets.iter() {
        ledger.peek(bucket, &limits).await.unwrap();
    }
    server.cli(&["config", "resetstat"]);
    let next = Arc::new(AtomicU64::new(0));
    let held = Arc::new(std::sync::Mutex::new(Vec::<Vec<Return>>::new()));
    let (calls, permits) = measured(row.callers, length, move |_| {
        let (ledger, limits, buckets, next, held) = (ledger.clone(), limits.clone(), buckets.clone(), next.clone(), held.clone());
        async move {
            let bucket = &buckets[next.fetch_add(1, Ordering::Relaxed) as usize % buckets.len()];
            let returns = held.lock().unwrap().pop().unwrap_or_default();
            let costs = vec![Cost { tokens: 700, spread: 100 }; row.batch];
            let grant = ledger.reserve(bucket, &limits, Reserve { costs, returns, ..Reserve::default() }).await.unwrap();
            let count = grant.permits.len() as u64;
            if row.settles {
                let used = grant.permits.into_iter().map(|permit| Return::Used { permit, tokens: 650 }).collect();
                held.lock().unwrap().push(used);
            }
            count
        }
    })
    .await;
    let seconds = length.as_secs_f64();
    line(row.name, row.callers, calls as f64 / seconds, permits as f64 / seconds, spent(server, "evalsha"), row.batch);
}

/// So much that nothing is refused: what is measured is the work, not the waiting.
fn limits() -> Limits {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    Limits {
        rpm: Some(3_000_000_000),
        tpm: None,
        rpd: Some(u64::from(u32::MAX) * 1_000),
        learning: Duration::ZERO,
        day_end: now + 3_600_000,
        next_day_end: now + 90_000_000,
        ..Limits::default()
    }
}

async fn measured<F: Future<Output = u64> + Send + 'static>(
    callers: usize,
    length: Duration,
    call: impl Fn(usize) -> F + Clone + Send + 'static,
) -> (u64, u64) {
    let until = Instant::now() + length;
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let call = call.clone();
            tokio::spawn(async move {
                let (mut calls, mut permits) = (0, 0);
                while Instant::now() < until {
                    permits += call(caller).await;
                    calls += 1;
                }
                (calls, permits)
            })
        })
        .collect();
    let mut sums = (0, 0);
    for task in tasks {
        let (calls, permits) = task.await.unwrap();
        sums = (sums.0 + calls, sums.1 + permits);
    }
    sums
}

/// Microseconds of Redis for one call of a command.
fn spent(server: &Server, command: &str) -> f64 {
    let stats = server.cli(&["info", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:"))).unwrap_or_default();
    let field = line.split(',').find_map(|field| field.strip_prefix("usec_per_call="));
    field.and_then(|field| field.parse().ok()).unwrap_or(f64::NAN)
}

fn line(name: &str, callers: usize, calls: f64, permits: f64, spent: f64, batch: usize) {
    let each = if batch == 0 { String::new() } else { format!("{:.2}", spent / batch as f64) };
    println!("{name:<28} {callers:>8} {calls:>12.0} {permits:>12.0} {spent:>12.2} {each:>14}");
}

/// The same number of callers, each of whom asks for one permit after the other.
fn beside_peers(server: &Server, folder: &std::path::Path, seconds: f64) {
    let mut grants = Command::new(peers::python(folder));
    grants.arg(peers::here().join("grants.py")).arg(server.url()).arg(seconds.to_string());
    println!();
    for told in peers::told(&mut grants) {
        line(told.name(), 16, told.number("per_second"), told.number("per_second"), told.number("redis_us"), 1);
    }
}
