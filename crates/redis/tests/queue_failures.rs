//! The queue in foul weather: workers that die or freeze, tasks that kill, a Redis that goes away or comes back empty.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;
mod stub;

use std::time::{Duration, Instant};

use server::Server;
use stub::{LEASE, Running, answer, queue, records, task, tasks, until};
use tidegate_redis::queue::{Ending, Outcome, WorkerSettings};

fn named(name: &str) -> WorkerSettings {
    WorkerSettings { name: name.to_owned(), ..WorkerSettings::default() }
}

#[tokio::test]
async fn tasks_of_a_killed_worker_are_taken_over_when_the_lease_is_over() {
    let server = Server::start();
    let queue = queue(&server).await;
    let slow: Vec<_> = (0..7).map(|n| task(&format!("slow{n}"))).collect();
    queue.enqueue(&slow, 100).await.unwrap();
    let mut first = Running::start(&server, WorkerSettings::default()).await;
    until("all are begun", async || first.stub.begun.lock().unwrap().len() == 7).await;
    let second = Running::start(&server, WorkerSettings::default()).await;
    until("the other lives", async || queue.status().await.unwrap().workers.len() == 2).await;
    first.kill();
    let killed = Instant::now();
    until("all are begun again", async || second.stub.begun.lock().unwrap().len() == 7).await;
    let took = killed.elapsed();
    assert!(took <= LEASE + Duration::from_millis(500), "{took:?}");
    let seen = second.stub.tasks.lock().unwrap().clone();
    assert!(seen.iter().all(|task| task.lost == 1), "it is known that a call may have been made");
}

#[tokio::test]
async fn a_task_that_takes_many_leases_is_handled_once() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("slow")], 10).await.unwrap();
    let (one, two) = (Running::start(&server, named("one")).await, Running::start(&server, named("two")).await);
    let begun = |id: &str| one.stub.times(id) + two.stub.times(id);
    until("it is begun", async || begun("slow") == 1).await;
    // The server's clock tells how much time has passed.
    let end = queue.now().await.unwrap() + 3 * LEASE.as_millis() as u64;
    until("three leases have passed", async || queue.now().await.unwrap() > end).await;
    assert_eq!(begun("slow"), 1);
    one.stub.release.notify_one();
    two.stub.release.notify_one();
    until("it is answered", async || records(&queue).await.len() == 1).await;
}

#[tokio::test]
async fn a_task_that_kills_its_workers_is_quarantined_after_five_and_others_flow() {
    let server = Server::start();
    let queue = queue(&server).await;
    let mut poison = tasks(20);
    poison.insert(3, task("slow-poison"));
    queue.enqueue(&poison, 100).await.unwrap();
    for life in 1..=5 {
        let mut worker = Running::start(&server, WorkerSettings::default()).await;
        until("it was begun", async || worker.stub.times("slow-poison") == 1).await;
        if life == 1 {
            until("the others are answered", async || records(&queue).await.len() == 20).await;
        }
        worker.kill();
    }
    let last = Running::start(&server, WorkerSettings { drain: true, ..WorkerSettings::default() }).await;
    until("it is put aside", async || queue.status().await.unwrap().dead == 1).await;
    let stub = last.stub.clone();
    last.end().await;
    assert_eq!(stub.times("slow-poison"), 0, "not a sixth time");
    let letters = queue.dead_letters(10).await.unwrap();
    assert_eq!((letters.len(), letters[0].id.as_str(), letters[0].state.as_str()), (1, "slow-poison", "quarantined"));
    assert_eq!(records(&queue).await.len(), 21, "whoever collects hears of it, too");
}

#[tokio::test]
async fn a_paid_answer_that_comes_late_is_kept_and_the_new_holder_leaves_off() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("slow")], 10).await.unwrap();
    let stream = "tidegate:queue:{test}:normal";
    server.cli(&["xreadgroup", "group", "workers", "old", "count", "1", "streams", stream, ">"]);
    let entry = server.cli(&["--raw", "xrange", stream, "-", "+"]).lines().next().unwrap().to_owned();
    server.cli(&["xclaim", stream, "workers", "old", "0", &entry, "IDLE", "60000", "JUSTID"]);
    let new = Running::start(&server, named("new")).await;
    until("it is begun again", async || new.stub.times("slow") == 1).await;
    let task = new.stub.tasks.lock().unwrap()[0].clone();
    assert!(queue.told(&task, "old", Outcome::done(answer("slow"))).await.unwrap());
    until("the new holder leaves off", async || new.stub.dropped.lock().unwrap().as_slice() == ["slow"]).await;
    assert_eq!(records(&queue).await.get("slow"), Some(&answer("slow")));
    assert!(!queue.told(&task, "new", Outcome::done("other")).await.unwrap(), "the first answer stands");
    assert_eq!(records(&queue).await.get("slow"), Some(&answer("slow")));
    assert_eq!(queue.status().await.unwrap().counts["duplicates"], 1);
}

#[tokio::test]
async fn a_worker_that_stops_hands_over_what_it_has_not_finished() {
    let server = Server::start();
    let queue = queue(&server).await;
    let slow: Vec<_> = (0..9).map(|n| task(&format!("slow{n}"))).collect();
    queue.enqueue(&slow, 100).await.unwrap();
    let first = Running::start(&server, WorkerSettings::default()).await;
    until("all are begun", async || first.stub.begun.lock().unwrap().len() == 9).await;
    let second = Running::start(&server, WorkerSettings::default()).await;
    until("the other lives", async || queue.status().await.unwrap().workers.len() == 2).await;
    let stopped = Instant::now();
    let tally = first.stop(Duration::ZERO).await;
    assert_eq!((tally.returned, tally.done), (9, 0));
    until("the other has begun", async || second.stub.begun.lock().unwrap().len() == 9).await;
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
    let seen = second.stub.tasks.lock().unwrap().clone();
    assert!(seen.iter().all(|task| task.lost == 0), "nobody died");
    assert_eq!(queue.status().await.unwrap().counts["handed_over"], 9);
}

#[tokio::test]
async fn a_worker_outlives_a_restart_of_redis_and_delivers_what_it_has_in_hand() {
    let mut server = Server::durable();
    let queue = queue(&server).await;
    let mut all = tasks(50);
    all.push(task("slow"));
    queue.enqueue(&all, 100).await.unwrap();
    let worker = Running::start(&server, WorkerSettings::default()).await;
    until("the quick ones are answered", async || records(&queue).await.len() == 50).await;
    server.kill();
    worker.stub.release.notify_one();
    until("the slow one has its answer", async || worker.stub.dropped.lock().unwrap().is_empty()).await;
    server.restart();
    until("it is delivered", async || queue.results("0").await.is_ok_and(|told| told.len() == 51)).await;
    assert!(worker.is_running());
    queue.enqueue(&[task("after")], 100).await.unwrap();
    until("work goes on", async || records(&queue).await.contains_key("after")).await;
    assert_eq!(worker.stub.begun.lock().unwrap().values().sum::<u32>(), 52, "nothing was asked twice");
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_loses_no_answer_in_hand_and_ends_no_worker() {
    let mut server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("slow")], 100).await.unwrap();
    let worker = Running::start(&server, WorkerSettings::default()).await;
    until("it is begun", async || worker.stub.times("slow") == 1).await;
    server.kill();
    server.restart();
    until("the worker has seen the new one", async || queue.status().await.is_ok_and(|status| status.workers.len() == 1)).await;
    worker.stub.release.notify_one();
    until("its answer is there", async || queue.results("0").await.is_ok_and(|told| told.len() == 1)).await;
    queue.enqueue(&[task("after")], 100).await.unwrap();
    until("work goes on", async || records(&queue).await.contains_key("after")).await;
}

#[tokio::test]
async fn a_frozen_redis_holds_work_up_and_no_longer() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&tasks(10), 100).await.unwrap();
    let ears = server.connect().await;
    server.freeze();
    let worker = Running::start_blind(&queue, ears, WorkerSettings::default());
    server.thaw();
    until("all are answered", async || records(&queue).await.len() == 10).await;
    assert!(worker.is_running());
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_loaded_again() {
    let server = Server::start();
    let queue = queue(&server).await;
    let worker = Running::start(&server, WorkerSettings::default()).await;
    for round in 0..5 {
        server.cli(&["script", "flush"]);
        queue.enqueue(&[task(&format!("t{round}"))], 100).await.unwrap();
    }
    until("all are answered", async || records(&queue).await.len() == 5).await;
    assert!(worker.is_running());
}

#[tokio::test]
async fn a_failure_told_by_one_who_lost_the_task_counts_for_nothing() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("slow-fail")], 10).await.unwrap();
    let old = Running::start(&server, named("old")).await;
    until("it is begun", async || old.stub.times("slow-fail") == 1).await;
    let stream = "tidegate:queue:{test}:normal";
    let entry = server.cli(&["--raw", "xrange", stream, "-", "+"]).lines().next().unwrap().to_owned();
    server.cli(&["xclaim", stream, "workers", "other", "0", &entry, "JUSTID"]);
    // Its own word on a failure, after another one took the task over.
    let task = old.stub.tasks.lock().unwrap()[0].clone();
    let verdict = queue.told(&task, "old", stub::dead(&task, Ending::Dead)).await.unwrap();
    assert!(!verdict);
    assert!(records(&queue).await.is_empty());
    assert!(queue.told(&task, "old", Outcome::done(answer("slow-fail"))).await.unwrap(), "an answer does");
}

#[tokio::test]
async fn a_word_said_twice_counts_once_and_is_believed_twice() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("slow"), task("slow-fail")], 10).await.unwrap();
    let worker = Running::start(&server, named("one")).await;
    until("both are begun", async || worker.stub.begun.lock().unwrap().len() == 2).await;
    let tasks = worker.stub.tasks.lock().unwrap().clone();
    for task in &tasks {
        let outcome = if task.id == "slow" { Outcome::done(answer("slow")) } else { stub::dead(task, Ending::Dead) };
        for _ in 0..2 {
            assert!(queue.told(task, "one", outcome.clone()).await.unwrap(), "{} again, since no answer came", task.id);
        }
    }
    let counts = queue.status().await.unwrap().counts;
    assert_eq!((counts["done"], counts["dead"], counts.get("duplicates")), (1, 1, None));
    assert_eq!(records(&queue).await.len(), 2);
    let letters = queue.dead_letters(10).await.unwrap();
    assert_eq!(letters[0].record, records(&queue).await["slow-fail"]);
}

#[tokio::test]
async fn a_late_answer_ends_a_task_that_its_next_holder_gave_back() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("slow-now"), task("slow-later")], 10).await.unwrap();
    let worker = Running::start(&server, named("one")).await;
    until("both are begun", async || worker.stub.begun.lock().unwrap().len() == 2).await;
    let tasks = worker.stub.tasks.lock().unwrap().clone();
    worker.stop(Duration::ZERO).await;
    let next = Running::start(&server, named("two")).await;
    until("both are begun again", async || next.stub.begun.lock().unwrap().len() == 2).await;
    let again = next.stub.tasks.lock().unwrap().clone();
    for task in again {
        let delay = if task.id == "slow-now" { Duration::ZERO } else { Duration::from_secs(600) };
        assert!(queue.told(&task, "two", Outcome::Postpone { delay }).await.unwrap());
    }
    drop(next);
    for task in &tasks {
        assert!(queue.told(task, "one", Outcome::done(answer(&task.id))).await.unwrap());
    }
    let status = queue.status().await.unwrap();
    assert_eq!((status.open(), status.results), (0, 2), "nothing of them is left to be asked");
}

#[tokio::test]
async fn an_answer_takes_the_place_of_a_failure_that_nobody_has_collected() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("slow")], 10).await.unwrap();
    let worker = Running::start(&server, named("one")).await;
    until("it is begun", async || worker.stub.times("slow") == 1).await;
    let task = worker.stub.tasks.lock().unwrap()[0].clone();
    assert!(queue.told(&task, "one", stub::dead(&task, Ending::Dead)).await.unwrap());
    assert!(queue.told(&task, "two", Outcome::done(answer("slow"))).await.unwrap());
    assert_eq!(records(&queue).await["slow"], answer("slow"));
    assert!(queue.dead_letters(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_that_went_to_another_is_not_renewed_and_its_task_is_let_go_of() {
    let server = Server::start();
    let queue = queue(&server).await;
    queue.enqueue(&[task("slow")], 10).await.unwrap();
    let old = Running::start(&server, named("old")).await;
    until("it is begun", async || old.stub.times("slow") == 1).await;
    let stream = "tidegate:queue:{test}:normal";
    let entry = server.cli(&["--raw", "xrange", stream, "-", "+"]).lines().next().unwrap().to_owned();
    server.cli(&["xclaim", stream, "workers", "other", "0", &entry, "JUSTID"]);
    until("it is let go of", async || old.stub.dropped.lock().unwrap().as_slice() == ["slow"]).await;
    let holder = server.cli(&["--raw", "xpending", stream, "workers", "-", "+", "1", "other"]);
    assert!(holder.contains(&entry), "it is still the other's: {holder}");
}
