//! The queue over a network that is cut, slow, or silent in the middle of a task.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod proxy;
mod server;
mod stub;

use std::time::{Duration, Instant};

use proxy::Proxy;
use server::Server;
use stub::{LEASE, Running, queue, queue_over, records, task, tasks, until};
use tidegate_redis::queue::{Queue, Terms, WorkerSettings};

/// A worker behind the proxy.
async fn worker_behind(proxy: &Proxy) -> Running {
    Running::start_blind(&queue_over(proxy.connect().await).await, proxy.connect().await, WorkerSettings::default())
}

#[tokio::test]
async fn a_worker_that_is_cut_off_pauses_and_delivers_what_it_has_in_hand_when_the_way_is_back() {
    let server = Server::start();
    let (queue, proxy) = (queue(&server).await, Proxy::before(&server).await);
    queue.enqueue(&[task("slow"), task("quick")], 10).await.unwrap();
    let worker = worker_behind(&proxy).await;
    until("both are begun", async || worker.stub.begun.lock().unwrap().len() == 2).await;
    proxy.cut();
    worker.stub.release.notify_one();
    queue.enqueue(&[task("meanwhile")], 10).await.unwrap();
    // The server's clock tells how much time has passed.
    let end = queue.now().await.unwrap() + 2 * LEASE.as_millis() as u64;
    until("two leases have passed", async || queue.now().await.unwrap() > end).await;
    assert!(!records(&queue).await.contains_key("slow"), "the answer is in hand");
    assert_eq!(worker.stub.times("meanwhile"), 0, "nothing new begins");
    assert!(worker.is_running());
    proxy.mend();
    until("all are answered", async || records(&queue).await.len() == 3).await;
    assert_eq!(worker.stub.begun.lock().unwrap().values().sum::<u32>(), 3, "nothing was asked twice");
    assert!(queue.outlook().await.unwrap().open == 0);
}

#[tokio::test]
async fn another_worker_takes_over_from_one_that_is_cut_off_and_the_first_answer_stands() {
    let server = Server::start();
    let (queue, proxy) = (queue(&server).await, Proxy::before(&server).await);
    queue.enqueue(&[task("slow")], 10).await.unwrap();
    let cut_off = worker_behind(&proxy).await;
    until("it is begun", async || cut_off.stub.times("slow") == 1).await;
    proxy.cut();
    let other = Running::start(&server, WorkerSettings::default()).await;
    until("it is begun again", async || other.stub.times("slow") == 1).await;
    cut_off.stub.release.notify_one();
    proxy.mend();
    // It is back with a paid answer; the other one has none yet and leaves off.
    until("its answer is there", async || records(&queue).await.len() == 1).await;
    until("the other leaves off", async || other.stub.dropped.lock().unwrap().as_slice() == ["slow"]).await;
    let status = queue.status().await.unwrap();
    assert_eq!((status.open(), status.counts["done"], status.counts.get("duplicates")), (0, 1, None));
}

#[tokio::test]
async fn a_network_that_takes_200_ms_each_way_costs_time_and_nothing_else() {
    let server = Server::start();
    let proxy = Proxy::before(&server).await;
    let terms = Terms { lease: Duration::from_secs(3), ..Terms::default() };
    let near = Queue::new(server.connect().await, "test".parse().unwrap(), terms);
    near.open().await.unwrap();
    let far = Queue::new(proxy.connect().await, "test".parse().unwrap(), terms);
    let far = Running::start_blind(&far, proxy.connect().await, WorkerSettings::default());
    proxy.slow(Duration::from_millis(200));
    let mut all = tasks(200);
    all.push(task("slow"));
    near.enqueue(&all, 1000).await.unwrap();
    until("the quick ones are answered", async || records(&near).await.len() == 200).await;
    // One that is nearer would take over what the far one lets slip.
    let other = Running::start_blind(&near, server.connect().await, WorkerSettings::default());
    let end = near.now().await.unwrap() + 2 * terms.lease.as_millis() as u64;
    until("two leases have passed", async || near.now().await.unwrap() > end).await;
    assert_eq!(other.stub.times("slow"), 0, "its lease was renewed in time");
    far.stub.release.notify_one();
    until("all are answered", async || records(&near).await.len() == 201).await;
    assert_eq!(far.stub.begun.lock().unwrap().values().sum::<u32>(), 201);
}

#[tokio::test]
async fn a_way_that_swallows_everything_without_a_word_is_noticed_and_replaced() {
    let server = Server::start();
    let (queue, proxy) = (queue(&server).await, Proxy::before(&server).await);
    queue.enqueue(&[task("slow")], 10).await.unwrap();
    let worker = worker_behind(&proxy).await;
    until("it is begun", async || worker.stub.times("slow") == 1).await;
    proxy.go_silent();
    let silent = Instant::now();
    worker.stub.release.notify_one();
    queue.enqueue(&[task("after")], 10).await.unwrap();
    until("its answer is there, and work goes on", async || records(&queue).await.len() == 2).await;
    assert!(silent.elapsed() < Duration::from_secs(15), "{:?}", silent.elapsed());
    assert!(worker.is_running());
}

#[tokio::test]
async fn what_a_lost_answer_gave_a_worker_begins_all_the_same_and_counts_as_lost_by_nobody() {
    let server = Server::start();
    let proxy = Proxy::before(&server).await;
    // So long that nothing is taken over meanwhile; calls are waited for a third of it.
    let terms = Terms { lease: Duration::from_secs(9), ..Terms::default() };
    let near = Queue::new(server.connect().await, "test".parse().unwrap(), terms);
    near.open().await.unwrap();
    let far = Queue::new(proxy.connect().await, "test".parse().unwrap(), terms);
    let worker = Running::start_blind(&far, server.connect().await, WorkerSettings::default());
    until("it lives", async || near.status().await.unwrap().workers.len() == 1).await;
    proxy.go_mute();
    near.enqueue(&tasks(30), 100).await.unwrap();
    until("they are given to it", async || near.status().await.unwrap().in_flight == 30).await;
    until("all are answered", async || records(&near).await.len() == 30).await;
    assert!(worker.stub.tasks.lock().unwrap().iter().all(|task| task.lost == 0));
    assert_eq!(worker.stub.begun.lock().unwrap().values().sum::<u32>(), 30);
}

#[tokio::test]
async fn a_redis_that_is_silent_itself_keeps_its_connections() {
    let server = Server::start();
    let (queue, proxy) = (queue(&server).await, Proxy::before(&server).await);
    let worker = worker_behind(&proxy).await;
    queue.enqueue(&tasks(1), 10).await.unwrap();
    until("it works", async || records(&queue).await.len() == 1).await;
    let before = proxy.opened();
    server.freeze();
    until("somebody tried another way", async || proxy.opened() > before).await;
    server.thaw();
    queue.enqueue(&[task("after")], 10).await.unwrap();
    until("work goes on", async || records(&queue).await.len() == 2).await;
    assert!(worker.is_running());
}
