//! The table of what a limiter promises, run on Redis.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;
mod noon;
mod server;

use std::time::Duration;

use cases::{After, Case, Step};
use noon::START;
use server::Server;
use tidegate_redis::{Bucket, Class, Connection, Cost, Dimension, Hold, Ledger, Limits, Permit, Reserve, Return};

#[tokio::test]
async fn every_case_of_the_table_holds_on_redis() {
    let server = Server::start();
    let connection = server.connect().await;
    for case in cases::all() {
        run(connection.clone(), &case).await;
    }
}

async fn run(connection: Connection, case: &Case) {
    let ledger = Ledger::new(connection);
    let bucket = Bucket { project: case.name.clone(), family: "table".into() };
    let limits = limits(case);
    let (mut now, mut permits) = (START, Vec::<Option<Permit>>::new());
    for step in &case.steps {
        ledger.pretend(now, now - START);
        let place = format!("case {}: {step:?}", case.name);
        match step {
            Step::Pass(millis) => now += millis,
            Step::Take { low, costs, waits, refused } => {
                let costs = costs.iter().map(|(tokens, spread)| Cost { tokens: *tokens, spread: *spread }).collect();
                let class = Some(if *low { Class::LOW } else { Class::FULL });
                let grant = ledger.reserve(&bucket, &limits, Reserve { costs, class, ..Reserve::default() }).await.unwrap();
                let told: Vec<u64> = grant.permits.iter().map(|permit| permit.wait.as_millis() as u64).collect();
                assert_eq!(&told, waits, "{place}: {:?}", grant.refused);
                let told = grant.refused.map(|refusal| (word(refusal.dimension), refusal.after));
                assert_eq!(told.map(|told| told.0), refused.as_ref().map(|wanted| wanted.0.as_str()), "{place}: {told:?}");
                if let (Some((_, told)), Some((_, wanted))) = (told, refused) {
                    match wanted {
                        After::Millis(millis) => assert_eq!(told, Some(Duration::from_millis(*millis)), "{place}"),
                        After::Never => assert_eq!(told, None, "{place}"),
                        After::Untold => {}
                    }
                }
                permits.extend(grant.permits.into_iter().map(Some));
            }
            Step::Used { permit, tokens } => {
                let permit = permits[permit - 1].take().unwrap();
                ledger.settle(&bucket, &limits, vec![Return::Used { permit, tokens: *tokens }]).await.unwrap();
            }
            Step::Unused { permit } => {
                let permit = permits[permit - 1].take().unwrap();
                ledger.release(&bucket, &limits, vec![permit]).await.unwrap();
            }
            Step::Hold(millis) => {
                let hold = Hold { length: Duration::from_millis(*millis), ..Hold::default() };
                ledger.hold(&bucket, &limits, hold).await.unwrap();
            }
            Step::Today(count) => assert_eq!(ledger.peek(&bucket, &limits).await.unwrap().today, *count, "{place}"),
        }
    }
}

fn limits(case: &Case) -> Limits {
    let number = |name: &str| case.limits.get(name).copied();
    let millis = |name: &str, usual: u64| Duration::from_millis(number(name).map_or(usual, |value| value as u64));
    Limits {
        rpm: number("rpm").map(|value| value as u64),
        tpm: number("tpm").map(|value| value as u64),
        rpd: number("rpd").map(|value| value as u64),
        concurrency: number("concurrency").map(|value| value as u32),
        minute: millis("minute", 60_000),
        guard: millis("guard", 500),
        slot: millis("slot", 100),
        burst: number("burst").unwrap_or(1.0),
        horizon: millis("horizon", 2_000),
        learning: Duration::ZERO,
        day_end: START + number("day_end").unwrap_or(43_200_000.0) as u64,
        next_day_end: START + number("next_day_end").unwrap_or(129_600_000.0) as u64,
    }
}

fn word(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Held => "held",
        Dimension::Pace => "pace",
        Dimension::Requests => "requests",
        Dimension::Tokens => "tokens",
        Dimension::Day => "day",
        Dimension::Share => "share",
        Dimension::Concurrency => "concurrency",
        Dimension::Turn => "turn",
        Dimension::Never => "never",
    }
}
