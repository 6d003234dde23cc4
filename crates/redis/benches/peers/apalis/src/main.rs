//! apalis-redis end to end: apalis-peer REDIS_URL TASKS. One process, one worker, 50 tasks at a time. One JSON line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use apalis::prelude::*;
use apalis_redis::RedisStorage;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Prompt {
    text: String,
}

#[derive(Debug)]
struct Left {
    tasks: AtomicUsize,
    none: Notify,
}

async fn answer(_prompt: Prompt, left: Data<Arc<Left>>) -> Result<(), BoxDynError> {
    if left.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
        left.none.notify_one();
    }
    Ok(())
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let url = words.next().expect("a Redis URL");
    let tasks: usize = words.next().and_then(|word| word.parse().ok()).expect("how many tasks");
    let connection = apalis_redis::connect(url).await.expect("a Redis");
    let mut storage = RedisStorage::new(connection);
    let left = Arc::new(Left { tasks: AtomicUsize::new(tasks), none: Notify::new() });

    let started = Instant::now();
    for _ in 0..tasks {
        storage.push(Prompt { text: "p".repeat(300) }).await.expect("room for a task");
    }
    let enqueue = tasks as f64 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let worker = WorkerBuilder::new("bench").backend(storage).concurrency(50).data(Arc::clone(&left)).build(answer);
    let running = tokio::spawn(async move { worker.run().await });
    left.none.notified().await;
    let drain = tasks as f64 / started.elapsed().as_secs_f64();
    running.abort();
    println!("{}", serde_json::json!({ "name": "apalis-redis 1.0.0", "enqueue": enqueue, "drain": drain }));
}
