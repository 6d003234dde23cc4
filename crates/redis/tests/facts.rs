//! Facts that processes of a project tell each other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::time::{Duration, Instant};

use server::Server;
use tidegate_redis::{Bucket, Cost, Fact, Facts, Ledger, Limits, Reserve};

#[tokio::test]
async fn a_fact_is_known_to_all_until_it_ends() {
    let server = Server::start();
    let (a, b) = (Facts::new(server.connect().await), Facts::new(server.connect().await));
    assert_eq!(b.all("main").await.unwrap().version, 0);
    let told = a.put("main", "key:ab12", "dead of a 403\n{}", Duration::from_secs(60)).await.unwrap();
    let known = b.all("main").await.unwrap();
    assert_eq!(known.facts, [Fact { name: "key:ab12".into(), value: "dead of a 403\n{}".into() }]);
    assert_eq!(known.version, told.version);
    assert!(b.all("other").await.unwrap().facts.is_empty());
    let left = b.remove("main", "key:ab12").await.unwrap();
    assert!(left.facts.is_empty() && left.version > told.version);
    a.put("main", "key:ab12", "cooling", Duration::from_millis(1)).await.unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !b.all("main").await.unwrap().facts.is_empty() {
        assert!(Instant::now() < until, "it did not end");
    }
}

#[tokio::test]
async fn a_grant_carries_the_version_of_the_facts() {
    let server = Server::start();
    let connection = server.connect().await;
    let told = Facts::new(connection.clone()).put("main", "limit:f", "6", Duration::from_secs(60)).await.unwrap();
    let ledger = Ledger::new(connection);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let limits = Limits { day_end: now + 3_600_000, next_day_end: now + 90_000_000, ..Limits::default() };
    let bucket = Bucket { project: "main".into(), family: "f".into() };
    let wanted = Reserve { costs: vec![Cost::default()], ..Reserve::default() };
    assert_eq!(ledger.reserve(&bucket, &limits, wanted).await.unwrap().facts, told.version);
}
