//! Chaos with true processes: workers killed with kill -9, frozen and cut off, Redis killed, and an account of every execution.
//!
//! The workers are this very test binary, started again with its orders in the environment. The long form, by hand:
//! `QUEUE_CHAOS=20000,100,10,10,10 cargo test --release -p tidegate-redis --test queue_processes no_task -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod proxy;
mod server;
mod stub;

use std::collections::HashMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy::Proxy;
use rand::Rng;
use rand::seq::SliceRandom;
use server::Server;
use stub::{queue, records, task, tasks, until};
use tidegate_redis::queue::{Handler, Outcome, Queue, Task, Terms, WorkerSettings, unique_name, work};
use tidegate_redis::{Address, Connection};
use tokio::sync::watch;

const LEASE: Duration = Duration::from_millis(1500);

/// What happens to those who work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// A worker is killed and another one started.
    Kill,
    /// Redis is killed and comes back.
    Redis,
    /// A worker stands still for two leases.
    Freeze,
    /// A worker does not reach Redis for two leases.
    Cut,
}

/// How rough it gets: tasks, then how often each blow falls. `QUEUE_CHAOS=2000,4,1,0,0` makes a short form of it.
fn weather() -> (usize, Vec<Blow>) {
    let told = env::var("QUEUE_CHAOS").unwrap_or_else(|_| "20000,20,2,1,1".to_owned());
    let numbers: Vec<usize> = told.split(',').map(|number| number.parse().unwrap()).collect();
    let kinds = [Blow::Kill, Blow::Redis, Blow::Freeze, Blow::Cut].into_iter().zip(&numbers[1..]);
    let mut blows: Vec<Blow> = kinds.flat_map(|(blow, times)| std::iter::repeat_n(blow, *times)).collect();
    blows.shuffle(&mut rand::rng());
    (numbers[0], blows)
}

const IN_FLIGHT: usize = 16;
const WORKERS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_lost_and_none_has_two_results_whatever_befalls_workers_redis_and_network() {
    let (many, blows) = weather();
    let mut server = Server::durable();
    let proxy = Proxy::before(&server).await;
    let queue = queue(&server).await;
    queue.enqueue(&tasks(many), 1 << 20).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("executions");
    // The first of them works behind the proxy.
    let urls = [proxy.url(), server.url(), server.url()];
    let mut workers: Vec<Worker> = urls.iter().map(|url| Worker::start(url, &log, 5)).collect();
    let began = Instant::now();
    for (number, blow) in blows.iter().enumerate() {
        // The pace follows the work: each waits until some more is done.
        let part = many * (number + 1) / (blows.len() + 1);
        until("work goes on", async || executions(&log).values().sum::<usize>() >= part.min(many - 100)).await;
        let unlucky = rand::rng().random_range(0..WORKERS);
        match blow {
            Blow::Kill => {
                workers[unlucky].kill();
                workers[unlucky] = Worker::start(&urls[unlucky], &log, 5);
            }
            Blow::Redis => {
                server.kill();
                server.restart();
            }
            Blow::Freeze => {
                workers[unlucky].signal("-STOP");
                two_leases(&queue).await;
                workers[unlucky].signal("-CONT");
            }
            Blow::Cut => {
                proxy.cut();
                two_leases(&queue).await;
                proxy.mend();
            }
        }
    }
    until("all have ended", async || queue.status().await.is_ok_and(|status| status.open() == 0)).await;
    queue.patiently("asking", || queue.now()).await;
    assert_eq!(records(&queue).await.len(), many, "lost");
    let extra = executions(&log).values().sum::<usize>() - many;
    // A kill of Redis may cost what all of them had in flight, every other blow what one had.
    let struck: usize = blows.iter().map(|blow| if *blow == Blow::Redis { WORKERS } else { 1 }).sum();
    let most = struck * IN_FLIGHT;
    println!("{many} tasks, {} blows: {extra} extra executions of at most {most}, {:?}", blows.len(), began.elapsed());
    assert!(extra <= most, "{extra} extra executions, {most} were in flight at the blows");
    assert!(workers.iter_mut().all(|worker| worker.0.try_wait().unwrap().is_none()), "no worker ended by itself");
    let status = queue.status().await.unwrap();
    println!("counters: {:?}", status.counts);
    assert_eq!((status.in_flight, status.dead, status.counts["done"]), (0, 0, many as u64));
    for class in ["high", "normal", "low"] {
        let stream = format!("tidegate:queue:{{test}}:{class}");
        assert_eq!(server.cli(&["xlen", &stream]), "0");
        assert!(server.cli(&["xpending", &stream, "workers"]).starts_with('0'), "nothing is pending");
    }
}

/// Waits until two leases have passed, by the clock of Redis.
async fn two_leases(queue: &Queue) {
    let end = queue.patiently("asking", || queue.now()).await + 2 * LEASE.as_millis() as u64;
    until("two leases have passed", async || queue.now().await.is_ok_and(|now| now > end)).await;
}

#[tokio::test]
async fn a_frozen_worker_that_wakes_up_changes_nothing() {
    let server = Server::start();
    let queue = queue(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("executions");
    queue.enqueue(&[task("slow")], 10).await.unwrap();
    let frozen = Worker::start(&server.url(), &log, 3000);
    until("it is begun", async || executions(&log).len() == 1).await;
    frozen.signal("-STOP");
    let other = Worker::start(&server.url(), &log, 3000);
    until("the other has begun it", async || executions(&log).get("slow") == Some(&2)).await;
    frozen.signal("-CONT");
    until("it is answered", async || records(&queue).await.len() == 1).await;
    until("nobody holds it", async || queue.status().await.unwrap().open() == 0).await;
    assert_eq!(executions(&log)["slow"], 2);
    drop(other);
}

#[tokio::test]
async fn a_worker_under_the_same_label_is_let_in_at_once() {
    let server = Server::start();
    let queue = queue(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("executions");
    let mut first = Worker::start(&server.url(), &log, 60_000);
    queue.enqueue(&[task("slow")], 10).await.unwrap();
    until("it is begun", async || executions(&log).len() == 1).await;
    first.0.kill().unwrap();
    let killed = Instant::now();
    let _second = Worker::start(&server.url(), &log, 1);
    queue.enqueue(&[task("quick")], 10).await.unwrap();
    until("the new one works", async || records(&queue).await.contains_key("quick")).await;
    until("the task of the old one is taken over", async || records(&queue).await.len() == 2).await;
    assert!(killed.elapsed() < LEASE * 4, "{:?}", killed.elapsed());
}

/// A worker process, killed when dropped.
struct Worker(Child);

impl Worker {
    fn start(url: &str, log: &Path, milliseconds: u64) -> Worker {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "a_worker_process", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env("WORKER_URL", url).env("WORKER_LOG", log).env("WORKER_TIME", milliseconds.to_string());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Worker(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often each task was executed, by the account of the workers.
fn executions(log: &Path) -> HashMap<String, usize> {
    let mut executions = HashMap::new();
    for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
        *executions.entry(line.to_owned()).or_default() += 1;
    }
    executions
}

/// No test: what the worker processes run.
#[tokio::test]
#[ignore = "a part of the other tests"]
async fn a_worker_process() {
    let Ok(url) = env::var("WORKER_URL") else { return };
    // A blow may fall while it starts, which is not what is tried here.
    let open = async || loop {
        if let Ok(link) = Connection::open(&Address::parse(&url).unwrap()).await {
            break link;
        }
    };
    let (link, ears) = (open().await, open().await);
    let queue = Queue::new(link, "test".parse().unwrap(), Terms { lease: LEASE, ..Terms::default() });
    let log = OpenOptions::new().append(true).create(true).open(PathBuf::from(env::var("WORKER_LOG").unwrap())).unwrap();
    let time = Duration::from_millis(env::var("WORKER_TIME").unwrap().parse().unwrap());
    let settings = WorkerSettings { name: unique_name("same"), most: IN_FLIGHT, ..WorkerSettings::default() };
    work(&queue, &ears, &Accountant { log, time }, &settings, watch::channel(None).1).await;
}

/// Writes down every execution before it answers.
struct Accountant {
    log: File,
    time: Duration,
}

impl Handler for Accountant {
    async fn handle(&self, task: Arc<Task>) -> Outcome {
        (&self.log).write_all(format!("{}\n", task.id).as_bytes()).unwrap();
        // The time an answer takes.
        tokio::time::sleep(self.time).await;
        Outcome::done(stub::answer(&task.id))
    }

    async fn poisoned(&self, task: Arc<Task>) -> Outcome {
        stub::dead(&task, tidegate_redis::queue::Ending::Quarantined)
    }
}
