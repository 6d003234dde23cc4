//! The table of what a limiter promises, run on the book in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../redis/tests/cases/mod.rs"]
mod cases;

use std::time::Duration;

use cases::{After, Case, Step};
use tidegate_scheduler::{
    Ask, Book, Cost, Counting, Day, Dimension, Knowledge, Limits, Place, QuotaRules, Refusal, Timestamp, WindowKind,
};

const START: Timestamp = Timestamp::from_secs(1_795_000_000);

/// A book remembers when a slot was last used and not its end, and keeps first sends ten milliseconds apart.
const NEAR: Duration = Duration::from_millis(120);

/// What the book does otherwise: the next one may go within a slot, bursts are paced evenly from the start, the turns of low
/// classes are not its business.
const NOT_HERE: [&str; 4] = [
    "nothing is promised beyond the horizon and nothing is taken for it",
    "a burst is followed by the long-run rate",
    "a large weight waits for a full bucket and leaves debt",
    "a low class has its turn however much the others want",
];

#[test]
fn every_case_of_the_table_holds_in_memory() {
    let cases = cases::all();
    for name in NOT_HERE {
        assert!(cases.iter().any(|case| case.name == name), "there is no case {name:?}");
    }
    cases.iter().filter(|case| !NOT_HERE.contains(&case.name.as_str())).for_each(run);
}

fn run(case: &Case) {
    let number = |name: &str, usual: u64| case.limits.get(name).map_or(usual, |value| *value as u64);
    let limit = |name: &str| case.limits.get(name).map(|value| *value as u64);
    let millis = |name: &str, usual: u64| Duration::from_millis(number(name, usual));
    let (day_end, next) = (number("day_end", 43_200_000), number("next_day_end", 129_600_000));
    let length = Duration::from_millis(next - day_end);
    let rules = QuotaRules { window: WindowKind::Sliding, day: Day::Every(length), ..QuotaRules::default() };
    let mut book = Book::new(&rules);
    book.anchor_days((START + Duration::from_millis(day_end)).before(length));
    let known = Knowledge {
        project: 0,
        model: "m".into(),
        limits: Limits { rpm: limit("rpm"), tpm: limit("tpm"), rpd: limit("rpd") },
        learned: Limits::default(),
        counting: Counting {
            kind: WindowKind::Sliding,
            request_burst: 1.0,
            token_burst: 1.0,
            guard: Duration::from_millis(500),
            counts_total: false,
        },
        minute: Duration::from_secs(60),
        day_ends: [START, START],
        machine: None,
        slots: limit("concurrency").map(|slots| slots as u32),
    };
    let place: Place = ("p".into(), "m".into());
    let (mut now, mut permits) = (START, Vec::new());
    let ask = |low, costs: &[(u32, u32)]| Ask {
        number: 1,
        costs: costs.iter().map(|&(tokens, spread)| Cost { tokens: tokens.into(), spread: spread.into() }).collect(),
        low,
        horizon: millis("horizon", 2_000),
    };
    for step in &case.steps {
        let told = format!("case {}: {step:?}", case.name);
        match step {
            Step::Pass(millis) => now = now + Duration::from_millis(*millis),
            Step::Take { low, costs, waits, refused } => {
                let ask = ask(*low, costs);
                let grant = book.reserve(now, &place, 1, &known, &ask);
                assert_eq!(grant.permits.len(), waits.len(), "{told}: {grant:?}");
                for (permit, wanted) in grant.permits.iter().zip(waits) {
                    near(permit.at - now, Duration::from_millis(*wanted), permits.len() + waits.len(), &told);
                }
                let why = if grant.busy { Some("concurrency") } else { grant.refused.map(word) };
                assert_eq!(why, refused.as_ref().map(|(word, _)| word.as_str()), "{told}: {grant:?}");
                if let (Some(Refusal { until, .. }), Some((_, After::Millis(wanted)))) = (grant.refused, refused) {
                    near(until - now, Duration::from_millis(*wanted), permits.len(), &told);
                }
                permits.extend(grant.permits.iter().map(|permit| permit.id));
            }
            Step::Used { permit, tokens } => book.settle(permits[permit - 1], *tokens),
            Step::Unused { permit } => book.release(now, &[permits[permit - 1]]),
            Step::Hold(millis) => book.hold(now, &place, now + Duration::from_millis(*millis), known.limits),
            Step::Today(count) => {
                let ask = ask(false, &[]);
                assert_eq!(book.reserve(now, &place, 1, &known, &ask).today, *count, "{told}");
            }
        }
    }
}

fn near(told: Duration, wanted: Duration, sent: usize, place: &str) {
    let apart = Duration::from_millis(20 * sent as u64) + NEAR;
    assert!(told.abs_diff(wanted) <= apart, "{place}: {told:?} instead of {wanted:?}");
}

fn word(refusal: Refusal) -> &'static str {
    match refusal.dimension {
        _ if refusal.until.is_never() => "never",
        None => "held",
        Some(Dimension::Rpm) => "requests",
        Some(Dimension::Tpm) => "tokens",
        Some(Dimension::Rpd | Dimension::Tpd) => "day",
    }
}
