//! What goes wrong with Redis, and what the limiter makes of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod noon;
mod server;

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use noon::{START, limits};
use server::{Cluster, Server};
use tidegate_redis::connection::CallError;
use tidegate_redis::{
    Address, Bucket, Class, Connection, Cost, Dimension, Facts, Grant, Hold, Learned, Ledger, LedgerError, Limits, MachineDay,
    Refusal, Reserve, Return, Sent,
};

fn bucket() -> Bucket {
    Bucket { project: "main".into(), family: "f".into() }
}

async fn ask(ledger: &Ledger, limits: &Limits, count: usize) -> Grant {
    let costs = vec![Cost { tokens: 10, spread: 0 }; count];
    ledger.reserve(&bucket(), limits, Reserve { costs, ..Reserve::default() }).await.unwrap()
}

/// Asks again as long as only the share of others ends a grant.
async fn ask_all(ledger: &Ledger, limits: &Limits, count: usize) -> Grant {
    let mut grant = ask(ledger, limits, count).await;
    while grant.permits.len() < count && refused(&grant) == Some(Dimension::Share) {
        let more = ask(ledger, limits, count - grant.permits.len()).await;
        let mut permits = grant.permits;
        permits.extend(more.permits);
        grant = Grant { permits, ..more };
    }
    grant
}

/// Asks at a given time, of Redis and of the process.
async fn ask_at(ledger: &Ledger, limits: &Limits, millis: u64, count: usize) -> Grant {
    ledger.pretend(START + millis, millis);
    ask_all(ledger, limits, count).await
}

fn refused(grant: &Grant) -> Option<Dimension> {
    grant.refused.map(|refusal| refusal.dimension)
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_is_told_the_minute_and_the_day() {
    let mut server = Server::start();
    let limits = Limits { rpd: Some(20), learning: Duration::from_secs(1), ..limits(10) };
    let (a, b) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    assert_eq!(refused(&ask_at(&a, &limits, 0, 1).await), Some(Dimension::Held), "a new bucket listens first");
    let (mine, _) = (ask_at(&a, &limits, 1_000, 6).await, ask_at(&b, &limits, 1_500, 3).await);
    assert_eq!(mine.permits.len(), 6);
    server.kill();
    server.restart();
    let after = patiently(&a, &limits, 2_000, 1).await;
    assert!(after.permits.is_empty() && refused(&after) == Some(Dimension::Held), "{after:?}");
    assert_ne!(after.epoch, mine.epoch);
    let after = patiently(&b, &limits, 2_500, 1).await;
    assert_eq!((after.requests, after.today), (9, 9), "both have told what they were promised");
    let after = ask_at(&a, &limits, 3_500, 5).await;
    assert_eq!((after.permits.len(), refused(&after)), (1, Some(Dimension::Requests)), "one of ten is left");
    let rest = ask_at(&a, &limits, 64_200, 11).await;
    assert_eq!((rest.permits.len(), refused(&rest)), (10, Some(Dimension::Day)), "twenty a day");
}

#[tokio::test]
async fn what_went_out_without_permits_counts_at_once_and_where_it_went() {
    // What the machine has written down holds the calls that went out alone: they count once.
    for machine in [None, Some(MachineDay { machine: 1, requests: 9 })] {
        let mut server = Server::start();
        let limits = Limits { rpd: Some(20), learning: Duration::from_secs(1), ..limits(10) };
        let (a, b) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
        patiently(&a, &limits, 0, 1).await;
        assert_eq!(ask_at(&a, &limits, 1_000, 3).await.permits.len(), 3);
        server.kill();
        server.restart();
        let lost = patiently(&b, &limits, 31_000, 1).await;
        assert_eq!(refused(&lost), Some(Dimension::Held), "the new state listens");
        a.pretend(START + 31_000, 31_000);
        let sent = |ago, requests| Sent { ago: Duration::from_secs(ago), requests, tokens: 10 * requests };
        let alone = [sent(20, 4), sent(1, 2)];
        // Its connection may need a moment; before anything is noted it fails, and what was noted goes with the next question.
        while a.charge(&bucket(), &limits, machine, &alone).await.is_err() {}
        while a.reserve(&bucket(), &limits, Reserve { machine, ..Reserve::default() }).await.is_err() {}
        let after = patiently(&b, &limits, 31_000, 1).await;
        assert_eq!((after.requests, after.tokens, after.today), (9, 90, 9), "3 promised, 6 sent alone, while it listens");
        assert_eq!(ask_at(&b, &limits, 32_500, 3).await.permits.len(), 1);
        // The 2 sent at 30 s and the one promised at 32 s are what a minute and its guard still hold.
        assert_eq!(ask_at(&b, &limits, 72_500, 10).await.permits.len(), 7);
    }
}

/// The connection may need a moment to come back.
async fn patiently(ledger: &Ledger, limits: &Limits, millis: u64, count: usize) -> Grant {
    ledger.pretend(START + millis, millis);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let costs = vec![Cost { tokens: 10, spread: 0 }; count];
        match ledger.reserve(&bucket(), limits, Reserve { costs, ..Reserve::default() }).await {
            Ok(grant) => return grant,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_server_with_its_log_on_disk_forgets_nothing() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let ledger = Ledger::new(server.connect().await);
    let before = ask_at(&ledger, &limits(10), 0, 7).await;
    server.kill();
    server.restart();
    let after = patiently(&ledger, &limits(10), 1_000, 5).await;
    assert_eq!((after.epoch, after.permits.len()), (before.epoch, 3));
}

#[tokio::test]
async fn a_replica_that_lagged_is_told_what_it_missed_and_only_that() {
    let mut master = Server::start();
    let replica = Server::replica_of(&master);
    let ledger = Ledger::new(master.connect().await);
    let limits = limits(10);
    ask_at(&ledger, &limits, 0, 4).await;
    until(|| replica.cli(&["exists", "tidegate:quota:{main}:f:state"]) == "1").await;
    until(|| replica.cli(&["get", "tidegate:quota:{main}:f:rpm"]) == "4").await;
    // From here on it hears nothing any more.
    assert_eq!(replica.cli(&["replicaof", "no", "one"]), "OK");
    assert_eq!(ask_at(&ledger, &limits, 1_000, 3).await.permits.len(), 3);
    let port = master.port().to_string();
    master.kill();
    assert_eq!(replica.cli(&["config", "set", "port", &port]), "OK");
    let after = patiently(&ledger, &limits, 2_000, 5).await;
    assert_eq!((after.permits.len(), after.requests, after.today), (3, 10, 10), "4 survived, 3 were told again");
}

#[tokio::test]
async fn an_emptied_redis_and_forgotten_scripts_change_nothing() {
    let server = Server::start();
    let ledger = Ledger::new(server.connect().await);
    assert_eq!(ask_at(&ledger, &limits(10), 0, 7).await.permits.len(), 7);
    server.cli(&["script", "flush"]);
    assert_eq!(ask_at(&ledger, &limits(10), 500, 1).await.permits.len(), 1);
    server.cli(&["flushall"]);
    assert_eq!(ask_at(&ledger, &limits(10), 1_000, 5).await.permits.len(), 2);
}

#[tokio::test]
async fn redis_clock_may_jump_either_way_without_a_permit_too_many() {
    for jump in [30_000_i64, 3_600_000, -10_000, -3_600_000] {
        let server = Server::start();
        let (a, b) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
        let limits = Limits { learning: Duration::from_secs(1), ..limits(10) };
        let at = |ledger: &Ledger, real: u64, jump: i64| ledger.pretend((START + real).saturating_add_signed(jump), real);
        at(&a, 0, 0);
        ask_all(&a, &limits, 1).await;
        at(&a, 1_000, 0);
        assert_eq!(ask_all(&a, &limits, 6).await.permits.len(), 6, "{jump}");
        at(&b, 2_000, 0);
        assert_eq!(ask_all(&b, &limits, 4).await.permits.len(), 4, "{jump}");
        for (ledger, real) in [(&a, 3_000), (&b, 3_500)] {
            at(ledger, real, jump);
            let grant = ask_all(ledger, &limits, 1).await;
            assert_eq!(refused(&grant), Some(Dimension::Held), "{jump}: {grant:?}");
        }
        for real in [10_000, 40_000, 61_000] {
            at(&a, real, jump);
            let grant = ask_all(&a, &limits, 1).await;
            assert!(
                grant.permits.iter().all(|permit| real + permit.wait.as_millis() as u64 >= 61_500),
                "{jump}: {real}: {grant:?}"
            );
        }
        at(&b, 64_000, jump);
        let grant = ask_all(&b, &limits, 10).await;
        assert!(grant.permits.len() >= 9, "{jump}: a minute later all is as before: {grant:?}");
    }
}

#[tokio::test]
async fn the_clocks_of_workers_do_not_matter() {
    let server = Server::start();
    let limits = limits(100);
    let clocks = [0.0, 30_000.0, 60_000.0];
    let mut granted = [0; 3];
    let ledgers: Vec<Ledger> = {
        let mut ledgers = Vec::new();
        for _ in clocks {
            ledgers.push(Ledger::new(server.connect().await));
        }
        ledgers
    };
    for step in 0..240_u64 {
        for (at, ledger) in ledgers.iter().enumerate() {
            // Half a minute apart, and drifting by 100 ms in a thousand seconds.
            let now = step * 500;
            ledger.pretend(START + now, (clocks[at] + now as f64 * (1.0 + at as f64 * 0.0001)) as u64);
            granted[at] += ask(ledger, &limits, 1).await.permits.len();
        }
    }
    let sum: usize = granted.iter().sum();
    assert!(sum <= 300, "{granted:?}");
    assert!(granted.iter().all(|count| count.abs_diff(sum / 3) <= sum / 10), "{granted:?}");
}

#[tokio::test]
async fn a_slow_redis_costs_permits_and_never_gives_any_twice() {
    let server = Server::start();
    let ledger = Ledger::new(server.connect().await).with_patience(Duration::from_millis(300));
    let limits = Limits { day_end: now() + 3_600_000, next_day_end: now() + 90_000_000, ..limits(10) };
    let mut permits = ask(&ledger, &limits, 5).await.permits;
    let kept = permits.split_off(2);
    server.freeze();
    let lost = ledger.release(&bucket(), &limits, permits).await;
    assert!(matches!(lost, Err(LedgerError::Call(CallError::Late { .. } | CallError::Away { .. }))), "{lost:?}");
    server.thaw();
    let until = Instant::now() + Duration::from_secs(20);
    let seen = loop {
        match ledger.peek(&bucket(), &limits).await {
            Ok(seen) => break seen,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert!((3..=5).contains(&seen.requests), "given back once or not at all: {seen:?}");
    let seen = ledger.release(&bucket(), &limits, kept).await.unwrap();
    assert!(seen.requests <= 2, "{seen:?}");
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test]
async fn a_full_redis_is_told_and_what_is_owed_is_kept() {
    let server = Server::start();
    let ledger = Ledger::new(server.connect().await);
    let permits = ask_at(&ledger, &limits(10), 0, 10).await.permits;
    server.cli(&["config", "set", "maxmemory-policy", "noeviction"]);
    server.cli(&["config", "set", "maxmemory", "1"]);
    let full = ledger.release(&bucket(), &limits(10), permits).await;
    assert!(matches!(full, Err(LedgerError::Call(CallError::Full { .. }))), "{full:?}");
    server.cli(&["config", "set", "maxmemory", "0"]);
    assert_eq!(ledger.peek(&bucket(), &limits(10)).await.unwrap().requests, 0, "given back when there was room again");
}

#[tokio::test]
async fn a_cluster_of_three_spreads_a_thousand_buckets() {
    let cluster = Cluster::start();
    let connection = Connection::open(&Address::parse(&cluster.url()).unwrap()).await.unwrap();
    let ledger = Ledger::new(connection.clone());
    let facts = Facts::new(connection);
    let limits = Limits { concurrency: Some(3), ..limits(2) };
    ledger.pretend(START, 0);
    for at in 0..1_000 {
        let bucket = Bucket { project: format!("p{at}"), family: "f".into() };
        let costs = vec![Cost::default(); 3];
        let grant = ledger.reserve(&bucket, &limits, Reserve { costs, ..Reserve::default() }).await.unwrap();
        assert_eq!(grant.permits.len(), 2, "{grant:?}");
        if at % 100 == 0 {
            facts.put(&bucket.project, "key", "dead", Duration::from_secs(60)).await.unwrap();
        }
    }
    let sizes: Vec<u64> = cluster.nodes.iter().map(|node| node.cli(&["dbsize"]).parse().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size > 1_000), "{sizes:?}");
}

#[tokio::test]
async fn every_key_expires() {
    let server = Server::start();
    let connection = server.connect().await;
    let ledger = Ledger::new(connection.clone());
    let limits = Limits { concurrency: Some(5), day_end: now() + 3_600_000, next_day_end: now() + 90_000_000, ..limits(10) };
    ask(&ledger, &limits, 3).await;
    ask(&ledger, &limits, 1).await;
    ledger.hold(&bucket(), &limits, Hold { length: Duration::from_secs(1), ..Hold::default() }).await.unwrap();
    Facts::new(connection).put("main", "key:ab12", "dead", Duration::from_secs(5)).await.unwrap();
    let keys = server.cli(&["keys", "*"]);
    assert_eq!(keys.lines().count(), 7, "{keys}");
    for key in keys.lines() {
        assert!(key.starts_with("tidegate:quota:{main}:"), "{key}");
        let ttl: i64 = server.cli(&["pttl", key]).parse().unwrap();
        assert!(ttl > 0, "{key} never expires");
    }
    assert_eq!(server.cli(&["get", "tidegate:quota:{main}:f:rpm"]), "4");
    assert_eq!(server.cli(&["get", "tidegate:quota:{main}:f:tpm"]), "40");
    assert_eq!(server.cli(&["get", "tidegate:quota:{main}:f:rpd"]), "4");
}

#[tokio::test]
async fn what_one_learns_all_obey() {
    let server = Server::start();
    let (a, b) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    ask_at(&b, &limits(10), 0, 1).await;
    a.pretend(START + 100, 100);
    let learned = Learned { rpm: Some(6), ..Learned::default() };
    let hold = Hold { length: Duration::from_secs(17), learned, learned_for: Duration::from_secs(600), urgent: true };
    a.hold(&bucket(), &limits(10), hold).await.unwrap();
    let grant = ask_at(&b, &limits(10), 200, 1).await;
    assert_eq!(grant.refused, Some(Refusal { dimension: Dimension::Held, after: Some(Duration::from_millis(16_900)) }));
    assert_eq!((grant.held, grant.learned), (Duration::from_millis(16_900), learned));
    let other = Bucket { project: "other".into(), ..bucket() };
    let free = Reserve { costs: vec![Cost::default()], ..Reserve::default() };
    assert_eq!(b.reserve(&other, &limits(10), free).await.unwrap().permits.len(), 1, "other buckets are untouched");
    assert_eq!(ask_at(&b, &limits(10), 17_100, 10).await.permits.len(), 5, "six a minute, one is spent");
    assert_eq!(ask_at(&b, &limits(10), 700_000, 10).await.permits.len(), 10, "what was learned has its time");
}

#[tokio::test]
async fn the_calls_of_a_dead_process_are_free_again() {
    let server = Server::start();
    let (a, b) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    let limits = Limits { concurrency: Some(2), ..limits(100) };
    let held = ask_at(&a, &limits, 0, 2).await;
    assert_eq!(refused(&ask_at(&b, &limits, 1_000, 1).await), Some(Dimension::Concurrency));
    let other = Bucket { family: "g".into(), ..bucket() };
    let wanted = || Reserve { costs: vec![Cost::default()], ..Reserve::default() };
    let grant = a.reserve(&other, &limits, wanted()).await.unwrap();
    assert_eq!(refused(&grant), Some(Dimension::Concurrency), "whatever the family, by the same process too");
    drop((a, held));
    assert_eq!(ask_at(&b, &limits, 30_001, 1).await.permits.len(), 1);
}

/// Row 10: a process that dies with permits in hand costs what it held, once.
#[tokio::test]
async fn the_permits_of_a_dead_process_are_lost_once_and_no_more() {
    let server = Server::start();
    let (dies, lives) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    let limits = limits(600);
    let lost = ask_at(&dies, &limits, 0, 64).await.permits.len();
    drop(dies);
    let (mut first, mut second) = (0, 0);
    for millis in (0..50_000).step_by(500) {
        first += ask_at(&lives, &limits, millis, 32).await.permits.len();
    }
    for millis in (58_700..100_000).step_by(500) {
        second += ask_at(&lives, &limits, millis, 32).await.permits.len();
    }
    assert_eq!((lost, first, second), (64, 600 - 64, 600));
}

/// Row 11: what a storm of cancels gives back, others have at once.
#[tokio::test]
async fn the_permits_of_a_storm_of_cancels_are_free_again_at_once() {
    let server = Server::start();
    let (storm, other) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    let limits = limits(1_000);
    let mut held = Vec::new();
    for millis in (0..20_000).step_by(500) {
        held.extend(ask_at(&storm, &limits, millis, 64).await.permits);
    }
    assert_eq!((held.len(), refused(&ask_at(&other, &limits, 20_100, 1).await)), (999, Some(Dimension::Requests)));
    storm.release(&bucket(), &limits, held).await.unwrap();
    let mut free = 0;
    for millis in (20_200..40_000).step_by(500) {
        free += ask_at(&other, &limits, millis, 64).await.permits.len();
    }
    assert_eq!(free, 999);
}

#[tokio::test]
async fn many_processes_get_no_more_than_their_share_of_the_horizon_at_once() {
    let server = Server::start();
    let limits = limits(2_400);
    let mut ledgers = Vec::new();
    for _ in 0..8 {
        ledgers.push(Ledger::new(server.connect().await));
    }
    for ledger in &ledgers {
        ask_at(ledger, &limits, 0, 1).await;
    }
    ledgers[0].pretend(START + 1_500, 1_500);
    let grant = ask(&ledgers[0], &limits, 64).await;
    // Four times 2 s of 2,400 a minute and half a second, among eight.
    assert_eq!((grant.live, grant.permits.len(), refused(&grant)), (8, 39, Some(Dimension::Share)));
}

#[tokio::test]
async fn of_a_thousand_one_is_left_for_a_call_that_stalls() {
    let server = Server::start();
    let ledger = Ledger::new(server.connect().await);
    let mut sum = 0;
    for millis in (0..50_000).step_by(500) {
        sum += ask_at(&ledger, &limits(3_000), millis, 64).await.permits.len();
    }
    assert_eq!(sum, 2_997);
}

/// Row 12, for the day: what one is told, all keep to until the day is over.
#[tokio::test]
async fn a_days_limit_that_one_learns_all_obey_on_that_day() {
    let server = Server::start();
    let (a, b) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    let wide = Limits { rpd: Some(100), day_end: START + 600_000, next_day_end: START + 87_000_000, ..limits(10) };
    assert_eq!(ask_at(&b, &wide, 0, 3).await.permits.len(), 3);
    a.pretend(START + 100, 100);
    let learned = Learned { rpd: Some(5), ..Learned::default() };
    a.hold(&bucket(), &wide, Hold { learned, learned_for: Duration::from_secs(60), ..Hold::default() }).await.unwrap();
    let grant = ask_at(&b, &wide, 400_000, 5).await;
    assert_eq!((grant.permits.len(), refused(&grant), grant.learned.rpd), (2, Some(Dimension::Day), Some(5)));
    let next = Limits { day_end: wide.next_day_end, next_day_end: wide.next_day_end + 86_400_000, ..wide };
    let grant = ask_at(&b, &next, 700_000, 10).await;
    assert_eq!((grant.permits.len(), grant.learned.rpd), (10, None), "the next day may be another");
}

/// What machines have written down of a day counts once, whoever tells it, however often and in whatever order.
#[tokio::test]
async fn the_days_of_machines_are_told_to_a_redis_that_does_not_know_them_and_only_once() {
    let mut server = Server::start();
    let limits = Limits { rpd: Some(30), ..limits(10) };
    let day = |machine, requests| Some(MachineDay { machine, requests });
    let wanted = |machine, count| Reserve { costs: vec![Cost::default(); count], machine, ..Reserve::default() };
    let mut ledgers = Vec::new();
    for _ in 0..4 {
        ledgers.push(Ledger::new(server.connect().await));
    }
    let told = [day(1, 12), day(1, 12), day(2, 7), None];
    for (nth, (ledger, machine)) in ledgers.iter().zip(told).enumerate() {
        ledger.pretend(START + nth as u64, nth as u64);
        ledger.reserve(&bucket(), &limits, wanted(machine, 1)).await.unwrap();
    }
    let seen = ask_at(&ledgers[3], &limits, 10, 0).await.today;
    assert_eq!(seen, 12 + 7 + 4, "two processes of the first machine tell the same");
    server.kill();
    server.restart();
    patiently(&ledgers[3], &limits, 1_000, 0).await;
    // Each machine has written down what it sent since, too: 12 + 2 and 7 + 1.
    for (ledger, machine) in [(&ledgers[0], day(1, 14)), (&ledgers[1], day(1, 14)), (&ledgers[2], day(2, 8))] {
        ledger.pretend(START + 1_000, 1_000);
        let until = Instant::now() + Duration::from_secs(20);
        while let Err(error) = ledger.reserve(&bucket(), &limits, wanted(machine, 0)).await {
            assert!(Instant::now() < until, "{error}");
        }
    }
    assert_eq!(ask_at(&ledgers[3], &limits, 1_100, 0).await.today, 23, "what all saw and what each wrote down are the same");
    let grant = ask_at(&ledgers[3], &limits, 120_000, 10).await;
    assert_eq!((grant.permits.len(), refused(&grant)), (7, Some(Dimension::Day)));
}

#[tokio::test]
async fn who_listens_hears_at_once_that_somebody_was_refused() {
    let mut server = Server::start();
    let (a, b) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    for ledger in [&a, &b] {
        ask_at(ledger, &limits(10), 0, 1).await;
    }
    let mut news = b.news();
    let listening = || server.cli(&["pubsub", "numsub", "tidegate:quota:news"]).ends_with('1');
    let (held, heard) = tokio::join!(
        async {
            until(listening).await;
            let hold = Hold { length: Duration::from_secs(17), urgent: true, ..Hold::default() };
            a.hold(&bucket(), &limits(10), Hold { urgent: false, ..hold }).await.unwrap();
            a.hold(&bucket(), &limits(10), hold).await
        },
        tokio::time::timeout(Duration::from_secs(20), news.next()),
    );
    held.unwrap();
    assert_eq!(heard.unwrap(), Some(Some(bucket())));
    server.kill();
    server.restart();
    let heard = tokio::time::timeout(Duration::from_secs(20), news.next()).await;
    assert_eq!(heard.unwrap(), Some(None), "after a break everything is looked at");
}

#[tokio::test]
async fn of_two_ends_of_the_day_the_later_one_rules() {
    let server = Server::start();
    let (a, b) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    let early = Limits { rpd: Some(2), day_end: START + 3_600_000, next_day_end: START + 90_000_000, ..limits(10) };
    let late = Limits { day_end: START + 7_200_000, next_day_end: START + 93_600_000, ..early.clone() };
    assert!(!ask_at(&a, &early, 0, 1).await.disputed);
    assert!(ask_at(&b, &late, 1_000, 1).await.disputed);
    let grant = ask_at(&a, &early, 3_700_000, 1).await;
    assert!(grant.disputed && grant.permits.is_empty() && refused(&grant) == Some(Dimension::Day), "{grant:?}");
    assert_eq!(ask_at(&b, &late, 7_201_000, 1).await.permits.len(), 1);
}

#[tokio::test]
async fn a_low_class_never_starves_and_never_takes_what_is_kept_free() {
    let server = Server::start();
    let (high, low) = (Ledger::new(server.connect().await), Ledger::new(server.connect().await));
    let limits = limits(600);
    let mut lows = 0;
    for step in 0..1_200_u64 {
        for (ledger, class) in [(&high, Class::FULL), (&low, Class::LOW)] {
            ledger.pretend(START + step * 250, step * 250);
            let wanted = Reserve { costs: vec![Cost::default(); 16], class: Some(class), ..Reserve::default() };
            let grant = ledger.reserve(&bucket(), &limits, wanted).await.unwrap();
            lows += if class == Class::LOW { grant.permits.len() } else { 0 };
        }
    }
    // Five minutes at 600: a twentieth is 150.
    assert!((130..=600).contains(&lows), "{lows}");
}

#[tokio::test]
async fn permits_that_are_not_known_any_more_change_nothing() {
    let server = Server::start();
    let ledger = Ledger::new(server.connect().await);
    let mut old = ask_at(&ledger, &limits(10), 0, 10).await.permits;
    assert_eq!(ask_at(&ledger, &limits(10), 60_600, 10).await.permits.len(), 10);
    let permit = old.pop().unwrap();
    ledger.settle(&bucket(), &limits(10), vec![Return::Used { permit, tokens: 0 }]).await.unwrap();
    let grant = ledger.release(&bucket(), &limits(10), old).await.unwrap();
    assert_eq!((grant.requests, grant.tokens), (10, 100));
}

#[tokio::test]
async fn others_with_another_minute_are_told_apart() {
    let server = Server::start();
    let ledger = Ledger::new(server.connect().await);
    ask_at(&ledger, &limits(10), 0, 1).await;
    let scaled = Limits { minute: Duration::from_secs(6), slot: Duration::from_millis(10), ..limits(10) };
    let error = ledger.peek(&bucket(), &scaled).await.unwrap_err();
    assert!(matches!(error, LedgerError::Shape { slot: 100, .. }), "{error}");
    let absurd = Limits { guard: Duration::from_secs(20), ..limits(10) };
    assert!(matches!(ledger.peek(&bucket(), &absurd).await, Err(LedgerError::Limits { .. })));
}

async fn until(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < end, "it did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
