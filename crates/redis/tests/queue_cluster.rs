//! The queue on a cluster: all its keys share a slot, and every step finds its node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;
mod stub;

use std::time::Duration;

use server::Cluster;
use stub::{Running, records, task, tasks, terms, until};
use tidegate_redis::queue::{NewTask, Queue, WorkerSettings};
use tidegate_redis::{Address, Connection};

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
