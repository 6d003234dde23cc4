//! The queue in fair weather: in, out, once each, in order of urgency, and what people do to it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;
mod stub;

use std::time::Duration;

use server::Server;
use stub::{Running, queue, records, task, tasks, until};
use tidegate_redis::queue::{Class, Entered, NewTask, WorkerSettings};

fn drain() -> WorkerSettings {
    WorkerSettings { drain: true, ..WorkerSettings::default() }
}

#[tokio::test]
async fn every_task_is_answered_once_and_the_queue_is_empty_after() {
    let server = Server::start();
    let queue = queue(&server).await;
    let entered = queue.enqueue(&tasks(1203), 1 << 20).await.unwrap();
    assert!(entered.len() == 1203 && entered.iter().all(|entered| *entered == Entered::New));
    let (one, two) = (Running::start(&server, drain()).await, Running::start(&server, drain()).await);
    let (stub_one, stub_two) = (one.stub.clone(), two.stub.clone());
    let (one, two) = (one.end().await, two.end().await);
    assert_eq!(one.done + two.done, 1203);
    assert_eq!(records(&queue).await.len(), 1203);
    assert_eq!(stub_one.begun.lock().unwrap().values().chain(stub_two.begun.lock().unwrap().values()).sum::<u32>(), 1203);
    let status = queue.status().await.unwrap();
    assert_eq!((status.open(), status.results, status.counts["done"], status.workers.len()), (0, 1203, 1203, 0));
}

#[tokio::test]
async fn a_task_handed_in_again_is_known_and_other_content_of_its_id_is_a_conflict() {
    let server = Server::start();
    let queue = queue(&server).await;
    assert_eq!(queue.enqueue(&[task("a")], 10).await.unwrap(), [Entered::New]);
    let other = NewTask { fingerprint: "g".to_owned(), ..task("a") };
    assert_eq!(
        queue.enqueue(&[task("a"), other.clone(), task("b")], 10).await.unwrap(),
        [Entered::Known, Entered::Conflict, Entered::New]
    );
    Running::start(&server, drain()).await.end().await;
    let told = queue.results("0").await.unwrap();
    queue.collected(&told).await.unwrap();
    assert_eq!(
        queue.enqueue(&[task("a"), other], 10).await.unwrap(),
        [Entered::Known, Entered::Conflict],
        "also when it has ended"
    );
    assert!(queue.outlook().await.unwrap().is_over());
}

#[tokio::test]
async fn a_full_queue_takes_no_more_until_there_is_room() {
    let server = Server::start();
    let queue = queue(&server).await;
    assert_eq!(queue.enqueue(&tasks(12), 10).await.unwrap().len(), 10);
    let producer = tokio::spawn({
        let queue = queue.clone();
        async move { queue.enqueue_all(&tasks(12), 10, |_| {}).await }
    });
    until("the producer waits", async || queue.enqueue(&tasks(12), 10).await.unwrap().len() == 10 && !producer.is_finished())
        .await;
    let worker = Running::start(&server, WorkerSettings::default()).await;
    let entered = producer.await.unwrap();
    assert_eq!(entered.iter().filter(|entered| **entered == Entered::New).count(), 2);
    until("all are answered", async || records(&queue).await.len() == 12).await;
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn urgent_tasks_go_first_and_the_least_urgent_still_get_their_part() {
    let server = Server::start();
    let queue = queue(&server).await;
    let of = |class: Class, name: &str| (0..100).map(|n| NewTask { class, ..task(&format!("{name}{n}")) }).collect::<Vec<_>>();
    for (class, name) in [(Class::Low, "l"), (Class::Normal, "n"), (Class::High, "h")] {
        queue.enqueue(&of(class, name), 1000).await.unwrap();
    }
    let worker = Running::start(&server, WorkerSettings { most: 1, drain: true, ..WorkerSettings::default() }).await;
    let stub = worker.stub.clone();
    worker.end().await;
    let order: Vec<char> = stub.tasks.lock().unwrap().iter().map(|task| task.id.chars().next().unwrap()).collect();
    let first = &order[..96];
    let count = |class| first.iter().filter(|c| **c == class).count();
    assert!(count('h') >= 80, "{count:?}", count = (count('h'), count('n'), count('l')));
    assert!(count('l') >= 5 && count('n') >= 5, "{:?}", (count('n'), count('l')));
}

#[tokio::test]
async fn a_worker_takes_no_more_than_it_has_room_for() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&(0..20).map(|n| task(&format!("slow{n}"))).collect::<Vec<_>>(), 100).await.unwrap();
    let worker = Running::start(&server, WorkerSettings { most: 3, ..WorkerSettings::default() }).await;
    until("three are begun", async || worker.stub.begun.lock().unwrap().len() == 3).await;
    worker.stub.release.notify_one();
    until("a fourth is begun", async || worker.stub.begun.lock().unwrap().len() == 4).await;
    let status = queue.status().await.unwrap();
    assert_eq!(status.in_flight, 3);
    assert_eq!(status.workers.len(), 1);
}

#[tokio::test]
async fn a_failing_task_is_retried_after_a_pause_and_then_a_dead_letter_with_its_history() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("bad"), task("fail"), task("good")], 10).await.unwrap();
    let worker = Running::start(&server, drain()).await;
    let stub = worker.stub.clone();
    let tally = worker.end().await;
    assert_eq!((tally.done, tally.dead, tally.returned), (1, 2, 2));
    assert_eq!((stub.times("bad"), stub.times("fail")), (3, 1));
    let letters = queue.dead_letters(10).await.unwrap();
    let bad = letters.iter().find(|letter| letter.id == "bad").unwrap();
    assert_eq!((bad.state.as_str(), bad.history.as_str()), ("dead", "{\"attempt\":1}\n{\"attempt\":2}\n{\"end\":true}"));
    assert_eq!(records(&queue).await.len(), 3, "a dead letter has a record, too");

    assert_eq!(queue.requeue(&["bad".to_owned(), "good".to_owned()]).await.unwrap().done, 1);
    assert_eq!(queue.status().await.unwrap().dead, 1);
    let again = Running::start(&server, drain()).await;
    let stub = again.stub.clone();
    again.end().await;
    assert_eq!(stub.times("bad"), 3, "its attempts are counted anew");
}

#[tokio::test]
async fn a_postponed_task_comes_back_uncounted() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("wait")], 10).await.unwrap();
    let worker = Running::start(&server, drain()).await;
    let stub = worker.stub.clone();
    worker.end().await;
    assert_eq!(stub.times("wait"), 3);
    assert!(stub.tasks.lock().unwrap().iter().all(|task| task.attempts == 0 && task.lost == 0));
    assert_eq!(queue.status().await.unwrap().counts["postponed"], 2);
}

#[tokio::test]
async fn a_delayed_task_begins_when_it_is_due_and_not_before() {
    let server = Server::start();
    let queue = queue(&server).await;
    let due = queue.now().await.unwrap() + 700;
    queue.enqueue(&[NewTask { due, ..task("later") }, task("now")], 10).await.unwrap();
    let worker = Running::start(&server, WorkerSettings::default()).await;
    until("the other is answered", async || records(&queue).await.contains_key("now")).await;
    assert_eq!(queue.status().await.unwrap().delayed, 1);
    until("it is answered", async || records(&queue).await.contains_key("later")).await;
    let now = queue.now().await.unwrap();
    assert!((due..due + 5_000).contains(&now), "{due} {now}");
    worker.stop(Duration::ZERO).await;
}

/// `QUEUE_DELAYED=1000000` makes more of them.
#[tokio::test]
async fn a_hundred_thousand_delayed_tasks_that_are_due_when_redis_restarts_all_begin() {
    let many: usize = std::env::var("QUEUE_DELAYED").map_or(100_000, |told| told.parse().unwrap());
    let mut server = Server::durable();
    let queue = queue(&server).await;
    let due = queue.now().await.unwrap() + 3_600_000;
    let late: Vec<NewTask> = tasks(many).into_iter().map(|task| NewTask { due, ..task }).collect();
    queue.enqueue(&late, 1 << 20).await.unwrap();
    assert_eq!(queue.status().await.unwrap().delayed, many as u64);
    // Time passes: all of them are due before any worker looks.
    server.cli(&[
        "eval",
        "local all = redis.call('zrange', KEYS[1], 0, -1); for i = 1, #all do redis.call('zadd', KEYS[1], 1, all[i]) end",
        "1",
        "tidegate:queue:{test}:delayed",
    ]);
    server.kill();
    server.restart();
    let worker = Running::start(&server, WorkerSettings { most: 2000, drain: true, ..WorkerSettings::default() }).await;
    assert_eq!(worker.end().await.done, many as u64);
}

#[tokio::test]
async fn a_cancelled_task_is_not_begun_and_one_that_runs_is_let_go_of() {
    let server = Server::start();
    let queue = queue(&server).await;
    let due = queue.now().await.unwrap() + 3_600_000;
    queue.enqueue(&[task("slow"), NewTask { due, ..task("later") }], 10).await.unwrap();
    let worker = Running::start(&server, WorkerSettings::default()).await;
    until("it runs", async || worker.stub.times("slow") == 1).await;
    worker.stub.tasks.lock().unwrap().clear();
    let ids = ["slow", "later", "nobody"].map(str::to_owned);
    let met = queue.cancel(&ids).await.unwrap();
    assert_eq!((met.done, met.unknown), (2, 1));
    until("it is let go of", async || worker.stub.dropped.lock().unwrap().as_slice() == ["slow"]).await;
    assert_eq!(queue.status().await.unwrap().open(), 0);
    assert_eq!(queue.enqueue(&[task("slow")], 10).await.unwrap(), [Entered::New], "it may be handed in again");
    queue.enqueue(&tasks(1100), 5000).await.unwrap();
    worker.stop(Duration::ZERO).await;
    queue.cancel_all().await.unwrap();
    assert_eq!(queue.status().await.unwrap().open(), 0);
}

#[tokio::test]
async fn an_entry_with_its_body_in_it_is_a_task_of_a_producer_that_knows_nothing_of_us() {
    let server = Server::start();
    let queue = queue(&server).await;
    for _ in 0..2 {
        server.cli(&["xadd", "tidegate:queue:{test}:normal", "*", "id", "foreign", "body", "\"hi\""]);
    }
    server.cli(&["xadd", "tidegate:queue:{test}:high", "*", "body", "\"no id\""]);
    let worker = Running::start(&server, drain()).await;
    let stub = worker.stub.clone();
    worker.end().await;
    assert_eq!(stub.times("foreign"), 1, "an id is asked once");
    assert!(stub.tasks.lock().unwrap().iter().any(|task| task.body == "\"no id\"" && task.id.contains('-')));
    assert_eq!(records(&queue).await.len(), 2);
}

#[tokio::test]
async fn a_large_body_travels_and_a_collected_record_leaves_redis() {
    let server = Server::start();
    let queue = queue(&server).await;
    let body = "x".repeat(3 << 20);
    queue.enqueue(&[NewTask { body: body.clone(), ..task("large") }], 10).await.unwrap();
    let worker = Running::start(&server, drain()).await;
    let stub = worker.stub.clone();
    worker.end().await;
    assert_eq!(stub.tasks.lock().unwrap()[0].body, body);
    let told = queue.results("0").await.unwrap();
    queue.collected(&told).await.unwrap();
    queue.collected(&told).await.unwrap();
    assert!(queue.results("0").await.unwrap().is_empty());
    assert_eq!(queue.status().await.unwrap().counts["collected"], 1);
    assert_eq!(server.cli(&["hexists", "tidegate:queue:{test}:t:large", "body"]), "0");
}

#[tokio::test]
async fn everything_that_has_ended_has_one_time_to_go() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("a"), task("fail")], 10).await.unwrap();
    Running::start(&server, drain()).await.end().await;
    let week = 7 * 86_400;
    for id in ["a", "fail"] {
        let left: i64 = server.cli(&["ttl", &format!("tidegate:queue:{{test}}:t:{id}")]).parse().unwrap();
        assert!((week - 60..=week).contains(&left), "{id}: {left}");
    }
}
