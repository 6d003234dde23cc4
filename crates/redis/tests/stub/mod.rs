//! A worker whose tasks do what they are told, and a queue to try it on.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate_redis::Connection;
use tidegate_redis::queue::{Ending, Handler, NewTask, Outcome, Queue, Stop, Tally, Task, Terms, WorkerSettings, work};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::server::Server;

pub const LEASE: Duration = Duration::from_millis(1500);

pub fn terms() -> Terms {
    Terms { lease: LEASE, ..Terms::default() }
}

pub async fn queue(server: &Server) -> Queue {
    queue_over(server.connect().await).await
}

/// The same queue over a connection of one's choice.
pub async fn queue_over(link: Connection) -> Queue {
    let queue = Queue::new(link, "test".parse().unwrap(), terms());
    queue.open().await.unwrap();
    queue
}

pub fn task(id: &str) -> NewTask {
    NewTask { id: id.to_owned(), fingerprint: "f".to_owned(), body: format!("\"{id}\""), ..NewTask::default() }
}

pub fn tasks(many: usize) -> Vec<NewTask> {
    (0..many).map(|n| task(&format!("t{n}"))).collect()
}

/// What the stub does with a task, by the beginning of its id: `slow` never ends by itself, `bad` is retried, `fail` dies,
/// `wait` is postponed, all others are answered.
#[derive(Default)]
pub struct Stub {
    pub begun: Mutex<HashMap<String, u32>>,
    pub tasks: Mutex<Vec<Task>>,
    pub started: Notify,
    /// Lets the slow ones end.
    pub release: Notify,
    pub dropped: Mutex<Vec<String>>,
}

impl Stub {
    pub fn times(&self, id: &str) -> u32 {
        self.begun.lock().unwrap().get(id).copied().unwrap_or_default()
    }
}

struct Watched<'a>(&'a Stub, String, bool);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if !self.2 {
            self.0.dropped.lock().unwrap().push(self.1.clone());
        }
    }
}

pub fn answer(id: &str) -> String {
    format!(r#"{{"id":"{id}","status":"ok"}}"#)
}

impl Handler for Stub {
    async fn handle(&self, task: Arc<Task>) -> Outcome {
        *self.begun.lock().unwrap().entry(task.id.clone()).or_default() += 1;
        self.tasks.lock().unwrap().push((*task).clone());
        self.started.notify_one();
        let mut watched = Watched(self, task.id.clone(), false);
        let outcome = if task.id.starts_with("slow") {
            self.release.notified().await;
            Outcome::done(answer(&task.id))
        } else if task.id.starts_with("bad") && task.attempts < 2 {
            Outcome::Retry { delay: Duration::from_millis(30), line: format!(r#"{{"attempt":{}}}"#, task.attempts + 1) }
        } else if task.id.starts_with("bad") || task.id.starts_with("fail") {
            dead(&task, Ending::Dead)
        } else if task.id.starts_with("wait") && self.times(&task.id) < 3 {
            Outcome::Postpone { delay: Duration::from_millis(30) }
        } else {
            Outcome::done(answer(&task.id))
        };
        watched.2 = true;
        outcome
    }

    async fn poisoned(&self, task: Arc<Task>) -> Outcome {
        dead(&task, Ending::Quarantined)
    }
}

pub fn dead(task: &Task, ending: Ending) -> Outcome {
    let history =
        if task.history.is_empty() { r#"{"end":true}"#.to_owned() } else { format!("{}\n{{\"end\":true}}", task.history) };
    let record = format!(r#"{{"id":"{}","status":"failed"}}"#, task.id);
    Outcome::Ended { ending, record, history, collected: true, hook: false }
}

/// A worker in this process; dropping it is a crash as Redis sees it.
pub struct Running {
    pub stub: Arc<Stub>,
    stop: watch::Sender<Option<Duration>>,
    worker: Option<JoinHandle<Tally>>,
}

impl Running {
    pub async fn start(server: &Server, settings: WorkerSettings) -> Running {
        Running::start_blind(&queue(server).await, server.connect().await, settings)
    }

    /// The same with a connection that is open already.
    pub fn start_blind(queue: &Queue, ears: Connection, settings: WorkerSettings) -> Running {
        let stub = Arc::new(Stub::default());
        let (stop, wish) = watch::channel(None);
        let worker = tokio::spawn(one(queue.clone(), ears, stub.clone(), settings, wish));
        Running { stub, stop, worker: Some(worker) }
    }

    /// Ends as a killed process does: without a word.
    pub fn kill(&mut self) {
        self.worker.take().unwrap().abort();
    }

    pub async fn stop(mut self, grace: Duration) -> Tally {
        self.stop.send(Some(grace)).unwrap();
        self.worker.take().unwrap().await.unwrap()
    }

    pub async fn end(mut self) -> Tally {
        self.worker.take().unwrap().await.unwrap()
    }

    pub fn is_running(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| !worker.is_finished())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.abort();
        }
    }
}

async fn one(queue: Queue, ears: Connection, stub: Arc<Stub>, settings: WorkerSettings, stop: Stop) -> Tally {
    work(&queue, &ears, &*stub, &settings, stop).await
}

/// Waits for something that can be seen, for a generous time.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every record that waits, by id; an id told twice fails.
pub async fn records(queue: &Queue) -> HashMap<String, String> {
    let (mut records, mut after) = (HashMap::new(), "0".to_owned());
    loop {
        let told = queue.results(&after).await.unwrap();
        let Some(last) = told.last() else { return records };
        after = last.entry.clone();
        for told in told {
            let before = records.insert(told.id.clone(), told.record);
            assert!(before.is_none(), "{} has two results", told.id);
        }
    }
}
