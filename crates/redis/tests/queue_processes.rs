//! Chaos with true processes: workers killed with kill -9 and frozen, Redis killed, and an account of every execution.
//!
//! The workers are this very test binary, started again with its orders in the environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

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

use rand::Rng;
use server::Server;
use stub::{queue, records, task, tasks, until};
use tidegate_redis::queue::{Handler, Outcome, Queue, Task, Terms, WorkerSettings, unique_name, work};
use tidegate_redis::{Address, Connection};
use tokio::sync::watch;

const LEASE: Duration = Duration::from_millis(1500);

/// How rough it gets. `QUEUE_CHAOS=2000,4,1` makes a short form of it.
struct Weather {
    tasks: usize,
    worker_kills: usize,
    redis_kills: usize,
}

impl Weather {
    fn of_environment() -> Weather {
        let told = env::var("QUEUE_CHAOS").unwrap_or_else(|_| "20000,20,2".to_owned());
        let mut numbers = told.split(',').map(|number| number.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        Weather { tasks: next(), worker_kills: next(), redis_kills: next() }
    }
}

const IN_FLIGHT: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_lost_and_none_has_two_results_when_workers_and_redis_are_killed() {
    let weather = Weather::of_environment();
    let mut server = Server::durable();
    let queue = queue(&server).await;
    queue.enqueue(&tasks(weather.tasks), 1 << 20).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("executions");
    let begin = || Worker::start(&server.url(), &log, 5);
    let mut workers: Vec<Worker> = (0..3).map(|_| begin()).collect();
    let mut random = rand::rng();
    let (mut killed, mut redis_killed, began) = (0, 0, Instant::now());
    while killed < weather.worker_kills || redis_killed < weather.redis_kills {
        // The pace of the kills follows the work: each waits until some more is done.
        let part = weather.tasks * (killed + redis_killed + 1) / (weather.worker_kills + weather.redis_kills + 1);
        until("work goes on", async || executions(&log).values().sum::<usize>() >= part.min(weather.tasks - 100)).await;
        if redis_killed * weather.worker_kills < killed * weather.redis_kills || killed == weather.worker_kills {
            server.kill();
            server.restart();
            redis_killed += 1;
        } else {
            let unlucky = random.random_range(0..workers.len());
            workers[unlucky] = begin_after_kill(&mut workers, unlucky, &server.url(), &log);
            killed += 1;
        }
    }
    until("all have ended", async || queue.status().await.is_ok_and(|status| status.open() == 0)).await;
    let records = records(&queue).await;
    assert_eq!(records.len(), weather.tasks, "lost");
    let executions = executions(&log);
    let extra = executions.values().sum::<usize>() - weather.tasks;
    // A kill of Redis may cost what all three workers had in flight, one of a worker its own.
    let most = (weather.worker_kills + 3 * weather.redis_kills) * IN_FLIGHT;
    println!(
        "{} tasks, {killed} worker kills, {redis_killed} Redis kills: {extra} extra executions of at most {most}, {:?}",
        weather.tasks,
        began.elapsed()
    );
    assert!(extra <= most, "{extra} extra executions, {most} were in flight at the kills");
    assert!(workers.iter_mut().all(|worker| worker.0.try_wait().unwrap().is_none()), "no worker ended by itself");
    let status = queue.status().await.unwrap();
    assert_eq!((status.in_flight, status.dead), (0, 0));
}

fn begin_after_kill(workers: &mut [Worker], unlucky: usize, url: &str, log: &Path) -> Worker {
    workers[unlucky].0.kill().unwrap();
    workers[unlucky].0.wait().unwrap();
    Worker::start(url, log, 5)
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
    let link = Connection::open(&Address::parse(&url).unwrap()).await.unwrap();
    let ears = Connection::open(&Address::parse(&url).unwrap()).await.unwrap();
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
