//! The queue on a cluster: all its keys share a slot, and every step finds its node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;
mod stub;

use std::time::Duration;

use server::Cluster;
use stub::{Running, records, task, tasks, terms, until};
use tidegate_redis::queue::{NewTask, Queue, WorkerSettings};
use tidegate_redis::{Address, Bucket, Connection, Cost, Ledger, Limits, Reserve};

#[tokio::test]
async fn every_step_of_a_queue_works_on_a_cluster() {
    let cluster = Cluster::start();
    let connect = async || Connection::open(&Address::parse(&cluster.url()).unwrap()).await.unwrap();
    for name in ["one", "two", "three", "four"] {
        let queue = Queue::new(connect().await, name.parse().unwrap(), terms());
        queue.open().await.unwrap();
        queue.producing("p").await.unwrap();
        let due = queue.now().await.unwrap() + 200;
        let mut all = tasks(40);
        all.extend([NewTask { due, ..task("later") }, task("fail"), task("wait")]);
        assert_eq!(queue.enqueue(&all, 1000).await.unwrap().len(), 43);
        let worker = Running::start_blind(&queue, connect().await, WorkerSettings::default());
        until("all have their records", async || records(&queue).await.len() == 43).await;
        assert_eq!(queue.dead_letters(10).await.unwrap().len(), 1);
        assert_eq!(queue.requeue(&["fail".to_owned()]).await.unwrap().done, 1);
        until("it is dead again", async || queue.status().await.unwrap().dead == 1).await;
        let told = queue.results("0").await.unwrap();
        queue.collected(&told).await.unwrap();
        queue.produced("p").await.unwrap();
        assert!(queue.outlook().await.unwrap().is_over());
        assert!(queue.examine().await.is_ok());
        worker.stop(Duration::ZERO).await;
        assert!(queue.status().await.unwrap().workers.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_to_another_node_under_load_lose_no_task_and_no_limit() {
    const TASKS: usize = 3_000;
    let cluster = Cluster::start();
    let connect = async || Connection::open(&Address::parse(&cluster.url()).unwrap()).await.unwrap();
    let queue = Queue::new(connect().await, "moving".parse().unwrap(), terms());
    queue.open().await.unwrap();
    let worker = Running::start_blind(&queue, connect().await, WorkerSettings { most: 64, ..WorkerSettings::default() });
    let producer = tokio::spawn({
        let queue = queue.clone();
        async move {
            for tasks in tasks(TASKS).chunks(20) {
                queue.enqueue_all(tasks, 1 << 20, |_| {}).await;
            }
        }
    });
    let hungry = tokio::spawn(hunger(connect().await));
    until("work is under way", async || queue.outlook().await.is_ok_and(|outlook| outlook.results > 200)).await;
    for key in ["tidegate:queue:{moving}:results".to_owned(), bucket_key(3), bucket_key(7)] {
        cluster.move_slot_of(&key);
    }
    producer.await.unwrap();
    until("all are answered", async || queue.outlook().await.is_ok_and(|outlook| outlook.results == TASKS as u64)).await;
    assert_eq!(records(&queue).await.len(), TASKS);
    assert_eq!(worker.stub.begun.lock().unwrap().values().filter(|times| **times > 1).count(), 0, "nothing was asked twice");
    let granted = hungry.await.unwrap();
    assert!(granted.iter().all(|granted| *granted <= LIMIT), "no limit was passed: {granted:?}");
    assert!(granted.iter().sum::<u64>() >= LIMIT * BUCKETS as u64 * 9 / 10, "and hardly any permit lost: {granted:?}");
}

const BUCKETS: usize = 40;
const LIMIT: u64 = 25;

fn bucket(number: usize) -> Bucket {
    Bucket { project: format!("p{number}"), family: "f".to_owned() }
}

fn bucket_key(number: usize) -> String {
    tidegate_redis::names::quota(&format!("p{number}"), "f", "any")
}

/// Asks for permits of many buckets until each has given what it has for a minute, and on: how many each gave.
async fn hunger(connection: Connection) -> Vec<u64> {
    let ledger = Ledger::new(connection);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let limits = Limits {
        rpm: Some(LIMIT),
        minute: Duration::from_secs(600),
        slot: Duration::from_secs(1),
        learning: Duration::ZERO,
        day_end: now + 3_600_000,
        next_day_end: now + 90_000_000,
        ..Limits::default()
    };
    let mut granted = vec![0; BUCKETS];
    for round in 0..LIMIT + 5 {
        for (number, granted) in granted.iter_mut().enumerate() {
            let reserve =
                || Reserve { costs: vec![Cost { tokens: 1, spread: 0 }], class: None, returns: Vec::new(), machine: None };
            // A call that was not answered may have been done: only refusals are asked again.
            match ledger.reserve(&bucket(number), &limits, reserve()).await {
                Ok(grant) => *granted += grant.permits.len() as u64,
                Err(error) => assert!(!error.to_string().contains("CROSSSLOT"), "round {round}: {error}"),
            }
        }
    }
    granted
}
