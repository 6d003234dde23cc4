//! How fast tasks go through the queue with one worker process and a backend that answers at once.
//!
//! `cargo bench -p tidegate-redis --bench queue [-- LARGEST]`: drains LARGEST (1,000,000) tasks three times: in waves of 1,000,
//! in waves of 20,000, and all at once. Then a producer, a worker and a collector run at the same time. A redis-server of its
//! own, with its append-only file on. With `-- peers FOLDER`, Dramatiq, BullMQ and apalis-redis are installed into FOLDER,
//! where they are not yet, and drain the same backlog on the same server.
//!
//! A drain is timed from the first task that is begun to the last whose record is stored: what a worker does before and
//! after, opening connections and asking whether anything is left, would rule the figure of a thousand tasks. Waves follow
//! each other on the same Redis, which keeps what has ended: so the same number of tasks is kept and written to the file at
//! the end of each row, and what differs is the backlog. Every figure stands beside the speed of PING at the same time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod peers;
#[path = "../tests/server/mod.rs"]
mod server;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use server::Server;
use tidegate_redis::queue::{Ending, Handler, NewTask, Outcome, Queue, Task, Terms, WorkerSettings, unique_name, work};
use tokio::sync::watch;

/// Most open tasks: more than any backlog here.
const ROOM: u64 = 10_000_000;
/// About 300 bytes, as a short prompt takes.
const BODY: usize = 300;
/// What peers drain.
const BACKLOG: usize = 5_000;

#[tokio::main]
async fn main() {
    // A rewrite of the file in the middle would be measured, too, and only with large backlogs.
    let options = ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];
    let server = Server::with(&options);
    println!("ping, 64 at a time: {:>9.0}/s", ping(&server).await);
    match peers::folder() {
        Some(folder) => beside_peers(&server, &folder).await,
        None => {
            let largest = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
            backlogs(&server, largest).await;
            println!("handed in, worked and collected at the same time: {:>8.0}/s", together(&server, 200_000).await);
        }
    }
    println!("ping, 64 at a time: {:>9.0}/s", ping(&server).await);
}

async fn backlogs(server: &Server, largest: usize) {
    println!(
        "\n{:>9} {:>13} {:>13} {:>16} {:>16} {:>14}",
        "backlog", "handed in/s", "drained/s", "Redis us a task", "worker us a task", "bytes a task"
    );
    let mut rates = Vec::new();
    for backlog in [1_000, 20_000, largest] {
        let queue = fresh(server, &format!("b{backlog}")).await;
        let mut sum = Wave::default();
        for wave in 0..(largest / backlog).max(1) {
            sum.add(&Wave::of(server, &queue, wave * backlog, backlog).await);
        }
        let tasks = sum.tasks as f64;
        println!(
            "{backlog:>9} {:>13.0} {:>13.0} {:>16.1} {:>16.1} {:>14.0}",
            tasks / sum.entered.as_secs_f64(),
            tasks / sum.drained.as_secs_f64(),
            sum.redis * 1e6 / tasks,
            sum.worker * 1e6 / tasks,
            sum.bytes / tasks
        );
        rates.push(tasks / sum.drained.as_secs_f64());
        server.cli(&["flushall"]);
    }
    let percent = |of: f64| rates[2] / of * 100.0;
    println!(
        "{largest} drain at {:.1} % of the rate of 1,000 and {:.1} % of that of 20,000",
        percent(rates[0]),
        percent(rates[1])
    );
}

/// One backlog handed in and drained, or the sum of some.
#[derive(Default)]
struct Wave {
    tasks: usize,
    entered: Duration,
    drained: Duration,
    /// Seconds of CPU while it was drained, of Redis and of this process.
    redis: f64,
    worker: f64,
    /// Memory of Redis for all that waits.
    bytes: f64,
}

impl Wave {
    async fn of(server: &Server, queue: &Queue, from: usize, tasks: usize) -> Wave {
        let before = info(server, "memory", "used_memory");
        let entered = enqueue(queue, from, tasks).await;
        let bytes = info(server, "memory", "used_memory") - before;
        settle(server);
        let (redis, own) = (redis_cpu(server), own_cpu());
        let drained = drain(server, queue, tasks).await;
        Wave { tasks, entered, drained, redis: redis_cpu(server) - redis, worker: own_cpu() - own, bytes }
    }

    fn add(&mut self, wave: &Wave) {
        self.tasks += wave.tasks;
        self.entered += wave.entered;
        self.drained += wave.drained;
        self.redis += wave.redis;
        self.worker += wave.worker;
        self.bytes += wave.bytes;
    }
}

/// Everybody drains the same backlog, after it was handed in one by one where a peer knows no other way.
async fn beside_peers(server: &Server, folder: &Path) {
    println!("\n{:<22} {:>13} {:>13}", format!("backlog of {BACKLOG}"), "handed in/s", "drained/s");
    let row = |name: &str, entered: f64, drained: f64| println!("{name:<22} {entered:>13.0} {drained:>13.0}");
    let programs: [(&str, Vec<std::ffi::OsString>); 3] = [
        ("Dramatiq", vec![peers::python(folder).into(), peers::here().join("dramatiq_queue.py").into()]),
        ("BullMQ", vec!["node".into(), peers::node(folder, "bullmq.mjs").into()]),
        ("apalis-redis", vec![peers::rust(folder, "apalis-peer").into()]),
    ];
    for (_, words) in programs {
        // Ours takes its turn before each of them.
        let ours = Wave::of(server, &fresh(server, "beside").await, 0, BACKLOG).await;
        let rate = |took: Duration| BACKLOG as f64 / took.as_secs_f64();
        row("tidegate", rate(ours.entered), rate(ours.drained));
        server.cli(&["flushall"]);
        let mut command = Command::new(&words[0]);
        for told in peers::told(command.args(&words[1..]).arg(server.url()).arg(BACKLOG.to_string())) {
            row(told.name(), told.number("enqueue"), told.number("drain"));
        }
        server.cli(&["flushall"]);
    }
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

async fn enqueue(queue: &Queue, from: usize, many: usize) -> Duration {
    let mut took = Duration::ZERO;
    for start in (0..many).step_by(10_000) {
        let tasks = tasks(from + start, 10_000.min(many - start));
        let began = Instant::now();
        assert_eq!(queue.enqueue(&tasks, ROOM).await.unwrap().len(), tasks.len());
        took += began.elapsed();
    }
    took
}

/// Waits until what was handed in is on the disk: a large backlog would be drained while it still is on its way there, a small
/// one not.
fn settle(server: &Server) {
    for file in std::fs::read_dir(server.folder().join("appendonlydir")).unwrap() {
        std::fs::File::open(file.unwrap().path()).unwrap().sync_all().unwrap();
    }
}

async fn drain(server: &Server, queue: &Queue, many: usize) -> Duration {
    let ears = server.connect().await;
    let settings = WorkerSettings { name: unique_name("bench"), most: MOST, drain: true, ..WorkerSettings::default() };
    let backend = AtOnce::default();
    let tally = work(queue, &ears, &backend, &settings, watch::channel(None).1).await;
    assert_eq!(tally.done, many as u64);
    backend.took()
}

/// The most tasks in the worker's hands.
const MOST: usize = 2048;

/// A producer, a worker and a collector side by side; tasks a second from the first handed in to the last let go of.
async fn together(server: &Server, many: usize) -> f64 {
    let queue = fresh(server, "together").await;
    let (stop, wish) = watch::channel(None);
    let worker = tokio::spawn({
        let (queue, ears) = (queue.clone(), server.connect().await);
        async move {
            let settings = WorkerSettings { name: unique_name("bench"), most: MOST, ..WorkerSettings::default() };
            work(&queue, &ears, &AtOnce::default(), &settings, wish).await
        }
    });
    let began = Instant::now();
    let producer = tokio::spawn({
        let queue = queue.clone();
        async move { enqueue(&queue, 0, many).await }
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

/// A figure that Redis tells of itself.
fn info(server: &Server, section: &str, name: &str) -> f64 {
    let told = server.cli(&["info", section]);
    told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok()).unwrap()
}

/// Seconds of CPU of the server, its writer of the file included.
fn redis_cpu(server: &Server) -> f64 {
    info(server, "cpu", "used_cpu_user") + info(server, "cpu", "used_cpu_sys")
}

/// Seconds of CPU of this process, in ticks of a hundredth.
fn own_cpu() -> f64 {
    let told = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = told.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
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

/// Answers at once, and notes when the first task began and when the last one's record was stored.
#[derive(Default)]
struct AtOnce {
    times: Mutex<Option<(Instant, Instant)>>,
}

impl AtOnce {
    fn took(&self) -> Duration {
        self.times.lock().unwrap().map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

impl Handler for AtOnce {
    async fn handle(&self, task: Arc<Task>) -> Outcome {
        self.times.lock().unwrap().get_or_insert_with(|| (Instant::now(), Instant::now()));
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

    fn concluded(&self, _: &Task, _: &Outcome, _: bool) {
        if let Some((_, last)) = &mut *self.times.lock().unwrap() {
            *last = Instant::now();
        }
    }
}
