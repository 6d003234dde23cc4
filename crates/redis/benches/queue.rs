//! How fast tasks go through the queue with one worker process and a backend that answers at once.
//!
//! `cargo bench -p tidegate-redis --bench queue [-- LARGEST]`: drains backlogs of 1,000, 20,000 and LARGEST (1,000,000) tasks,
//! then lets a producer, a worker and a collector run at the same time. A redis-server of its own, with its append-only
//! file on. Every figure stands beside the speed of PING on the same machine at the same time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../tests/server/mod.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use server::Server;
use tidegate_redis::queue::{Ending, Handler, NewTask, Outcome, Queue, Task, Terms, WorkerSettings, unique_name, work};
use tokio::sync::watch;

/// Most open tasks: more than any backlog here.
const ROOM: u64 = 10_000_000;
/// About 300 bytes, as a short prompt takes.
const BODY: usize = 300;

#[tokio::main]
async fn main() {
    let largest = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    // A rewrite of the file in the middle would be measured, too, and only with large backlogs.
    let options = ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];
    let server = Server::with(&options);
    println!("ping, 64 at a time: {:>9.0}/s", ping(&server).await);
    let mut rates = Vec::new();
    for backlog in [1_000, 20_000, largest] {
        // Small ones are repeated until as much was done as takes some time.
        let rounds = (100_000 / backlog).max(1);
        let (mut entered, mut drained, mut busy) = (Duration::ZERO, Duration::ZERO, 0);
        for round in 0..rounds {
            let queue = fresh(&server, &format!("b{backlog}-{round}")).await;
            entered += enqueue(&queue, backlog).await;
            server.cli(&["config", "resetstat"]);
            drained += drain(&server, &queue, backlog).await;
            busy += scripts(&server);
            server.cli(&["flushall"]);
        }
        let rate = |took: Duration| (backlog * rounds) as f64 / took.as_secs_f64();
        println!(
            "backlog of {backlog:>9}: handed in at {:>8.0}/s, drained at {:>8.0}/s, {:>5.1} us of Redis a task",
            rate(entered),
            rate(drained),
            busy as f64 / (backlog * rounds) as f64
        );
        rates.push(rate(drained));
    }
    println!("the largest backlog drains at {:.1} % of the rate of the smallest", rates[2] / rates[0] * 100.0);
    println!("handed in, worked and collected at the same time: {:>8.0}/s", together(&server, 200_000).await);
    println!("ping, 64 at a time: {:>9.0}/s", ping(&server).await);
}

async fn fresh(server: &Server, name: &str) -> Queue {
    let queue = Queue::new(server.connect().await, name.parse().unwrap(), Terms::default());
    queue.open().await.unwrap();
    queue
}

fn tasks(from: usize, many: usize) -> Vec<NewTask> {
    let body = "x".repeat(BODY);
    (from..from + many).map(|n| NewTask { id: format!("task-{n}"), body: body.clone(), ..NewTask::default() }).collect()
}

async fn enqueue(queue: &Queue, many: usize) -> Duration {
    let mut took = Duration::ZERO;
    for from in (0..many).step_by(10_000) {
        let tasks = tasks(from, 10_000.min(many - from));
        let began = Instant::now();
        assert_eq!(queue.enqueue(&tasks, ROOM).await.unwrap().len(), tasks.len());
        took += began.elapsed();
    }
    took
}

async fn drain(server: &Server, queue: &Queue, many: usize) -> Duration {
    let ears = server.connect().await;
    let settings = WorkerSettings { name: unique_name("bench"), most: 2048, drain: true, ..WorkerSettings::default() };
    let began = Instant::now();
    let tally = work(queue, &ears, &AtOnce, &settings, watch::channel(None).1).await;
    let took = began.elapsed();
    assert_eq!(tally.done, many as u64);
    took
}

/// A producer, a worker and a collector side by side; tasks a second from the first handed in to the last let go of.
async fn together(server: &Server, many: usize) -> f64 {
    let queue = fresh(server, "together").await;
    let (stop, wish) = watch::channel(None);
    let worker = tokio::spawn({
        let (queue, ears) = (queue.clone(), server.connect().await);
        async move {
            let settings = WorkerSettings { name: unique_name("bench"), most: 2048, ..WorkerSettings::default() };
            work(&queue, &ears, &AtOnce, &settings, wish).await
        }
    });
    let began = Instant::now();
    let producer = tokio::spawn({
        let queue = queue.clone();
        async move { enqueue(&queue, many).await }
    });
    let (mut collected, ears) = (0, server.connect().await);
    while collected < many {
        let told = queue.results("0").await.unwrap();
        if told.is_empty() {
            queue.await_results(&ears, "0").await;
        }
        collected += told.len();
        queue.collected(&told).await.unwrap();
    }
    let took = began.elapsed();
    producer.await.unwrap();
    stop.send(Some(Duration::ZERO)).unwrap();
    worker.await.unwrap();
    many as f64 / took.as_secs_f64()
}

/// Microseconds Redis spent in scripts since its figures were reset.
fn scripts(server: &Server) -> u64 {
    let told = server.cli(&["info", "commandstats"]);
    let evals = told.lines().filter(|line| line.starts_with("cmdstat_eval"));
    evals.filter_map(|line| line.split("usec=").nth(1)?.split(',').next()?.parse::<u64>().ok()).sum()
}

async fn ping(server: &Server) -> f64 {
    const ROUNDS: usize = 400;
    let link = server.connect().await;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let pings = (0..64).map(|_| {
            let link = link.clone();
            async move { link.call::<()>(&redis::cmd("PING"), Duration::from_secs(5)).await.unwrap() }
        });
        futures_util::future::join_all(pings).await;
    }
    (ROUNDS * 64) as f64 / began.elapsed().as_secs_f64()
}

/// Answers at once.
struct AtOnce;

impl Handler for AtOnce {
    async fn handle(&self, task: Arc<Task>) -> Outcome {
        Outcome::done(format!(r#"{{"id":"{}","status":"ok","success":true,"text":"{}"}}"#, task.id, &task.body[..200]))
    }

    async fn poisoned(&self, _: Arc<Task>) -> Outcome {
        Outcome::Ended {
            ending: Ending::Quarantined,
            record: String::new(),
            history: String::new(),
            collected: true,
            hook: false,
        }
    }
}
