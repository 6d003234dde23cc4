//! Two days over a change of the clocks, through the whole engine: limits that change, keys that come and go, a server whose
//! clock is off, an orderly restart and a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use tidegate_engine::scheduler::{QuotaRules, Settings, Timestamp, WindowKind};
use tidegate_engine::store::{Fingerprint, Store};
use tidegate_engine::{Backend, Call, Engine, ErrorClass, Project, Reply, Request, TransportError};
use tidegate_gemini::models;
use tidegate_simulator::model::{LimitTable, Limits};
use tidegate_simulator::{Scenario, SimRequest, Simulator};

use crate::world::MODEL;

const HOUR: u64 = 3_600;
/// Prompts at hand at any time.
const BACKLOG: usize = 60;

/// `frail`'s only key is unknown to the server from the second to the twentieth hour, and the first of `paired` from the third on.
const SCENARIO: &str = r#"
name = "days"
[quota]
window = "sliding"
[latency]
base = { uniform = [500, 4000] }
[transit]
way = { uniform = [5, 200] }

[[projects]]
name = "steady"
tier = "free"
keys = ["SIM-days-steady-key-1-0123456789"]
[projects.limits."*"]
rpm = 2
rpd = 1000

[[projects]]
name = "paired"
tier = "free"
keys = ["SIM-days-paired-key-1-0123456789", "SIM-days-paired-key-2-0123456789"]
[projects.limits."*"]
rpm = 3
rpd = 500
[[projects.key_changes]]
key = "SIM-days-paired-key-1-0123456789"
becomes = "leaked"
at_ms = 10800000

[[projects]]
name = "squeezed"
tier = "free"
keys = ["SIM-days-squeezed-key-1-01234567"]
[projects.limits."*"]
rpm = 1
rpd = 1000

[[projects]]
name = "frail"
tier = "free"
keys = ["SIM-days-frail-key-1-01234567890"]
[projects.limits."*"]
rpm = 2
rpd = 1000
[[projects.key_changes]]
key = "SIM-days-frail-key-1-01234567890"
becomes = "invalid"
at_ms = 7200000
[[projects.key_changes]]
key = "SIM-days-frail-key-1-01234567890"
becomes = "valid"
at_ms = 72000000
"#;
const PROJECTS: [&str; 4] = ["steady", "paired", "squeezed", "frail"];

/// One call as the server saw it.
#[derive(Debug, Clone)]
struct Seen {
    /// When it left here, by our clock.
    sent: Timestamp,
    /// When it arrived, by the server's clock.
    at: Timestamp,
    /// When its answer was back, by our clock.
    back: Timestamp,
    project: &'static str,
    key: String,
    status: u16,
    daily: bool,
}

/// The server with a clock of its own.
struct Sky {
    simulator: Mutex<Simulator>,
    /// Seconds the server's clock is ahead.
    ahead: i64,
    seen: Mutex<Vec<Seen>>,
}

impl Sky {
    /// What its clock shows when ours shows `here`.
    fn shown(&self, here: Timestamp) -> Timestamp {
        Timestamp::from_micros(here.as_micros().saturating_add_signed(self.ahead * 1_000_000))
    }
}

/// A way to it in the time of one runtime.
#[derive(Clone)]
struct Way {
    sky: Arc<Sky>,
    base: Timestamp,
    start: tokio::time::Instant,
}

impl Backend for Way {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            let key = call.key.expose_secret().to_string();
            let here = || self.base + self.start.elapsed();
            let sent = here();
            let transit = self.sky.simulator.lock().unwrap().transit();
            tokio::time::sleep(transit).await;
            let at = self.sky.shown(here());
            let answer = {
                let headers = [("x-goog-api-key".to_string(), key.clone())];
                let path = format!("/v1beta/models/{}:generateContent", call.model);
                let request = SimRequest { method: "POST", path: &path, headers: &headers, body: call.body.whole().unwrap() };
                self.sky.simulator.lock().unwrap().handle(at.as_micros(), &request)
            };
            let project = PROJECTS.into_iter().find(|project| key.contains(project)).unwrap();
            let daily = String::from_utf8_lossy(&answer.body()).contains("PerDay");
            let back = here() + answer.duration();
            self.sky.seen.lock().unwrap().push(Seen { sent, at, back, project, key, status: answer.status, daily });
            tokio::time::sleep(answer.duration()).await;
            let content_type = Some("application/json; charset=UTF-8".to_string());
            Ok(Reply { status: answer.status, content_type, retry_after: None, body: answer.body().into() })
        }
        .boxed()
    }
}

/// What the caller knows: which prompts wait, which are answered.
#[derive(Default)]
struct Desk {
    waiting: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    last: u64,
}

impl Desk {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last);
        self.last
    }

    fn answer(&mut self, id: u64) {
        assert!(self.waiting.remove(&id), "{id} was not asked for");
        assert!(self.answered.insert(id), "{id} is answered twice");
    }
}

fn prompt(id: u64) -> Request {
    let body = format!(r#"{{"contents":[{{"parts":[{{"text":"{id}"}}]}}]}}"#).into();
    Request {
        model: MODEL.into(),
        method: Default::default(),
        body,
        estimate: 1.into(),
        priority: 0,
        party: 0,
        admission: None,
        deadline: None,
        label: None,
        client: None,
        identity: None,
        structured: None,
        only: None,
        divisible: false,
    }
}

fn projects() -> Vec<Project> {
    let scenario = Scenario::from_toml(SCENARIO).unwrap();
    let limits = |table: &LimitTable| {
        let Limits { rpm, tpm, rpd, .. } = table["*"];
        vec![("*".to_string(), models::Limits { rpm, tpm, rpd })]
    };
    let projects = scenario.projects.iter().map(|project| Project {
        name: project.name.clone(),
        keys: project.keys.iter().map(|key| (None, key.as_str().to_string().into())).collect(),
        limits: limits(&project.limits),
        account: None,
    });
    projects.collect()
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Orderly,
    Kill,
}

/// One process: from `from` to `to`, with everything that waits at hand.
fn shift(sky: &Arc<Sky>, desk: &mut Desk, folder: &Path, from: Timestamp, to: Timestamp, end: End, changes: &[Change]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let engine = runtime.block_on(async {
        let start = tokio::time::Instant::now();
        let way = Way { sky: sky.clone(), base: from, start };
        let quota = QuotaRules { window: WindowKind::Sliding, ..QuotaRules::default() };
        let builder = Engine::builder().backend(way).settings(Settings { quota, ..Settings::default() });
        let builder = projects().into_iter().fold(builder, tidegate_engine::Builder::project);
        let engine = builder.state_dir(folder).start_at(from).build().unwrap();
        let mut asked = tokio::task::JoinSet::new();
        let ask = |id: u64, asked: &mut tokio::task::JoinSet<_>| {
            let engine = engine.clone();
            asked.spawn(async move { (id, engine.submit(prompt(id)).await) });
        };
        for &id in &desk.waiting {
            ask(id, &mut asked);
        }
        let mut changes = changes.iter().filter(|change| from <= change.at && change.at < to).collect::<Vec<_>>();
        loop {
            while asked.len() < BACKLOG {
                ask(desk.next(), &mut asked);
            }
            let until = changes.first().map_or(to, |change| change.at);
            tokio::select! {
                Some(ended) = asked.join_next() => match ended.unwrap() {
                    (id, Ok(_)) => desk.answer(id),
                    (id, Err(error)) => panic!("{id} ended as {:?}: {}", error.class, error.message),
                },
                () = tokio::time::sleep_until(start + (until - from)) => {
                    if changes.is_empty() {
                        break;
                    }
                    let change = changes.remove(0);
                    sky.simulator.lock().unwrap().set_limits(change.project, [("*".to_string(), change.limits)].into());
                }
            }
        }
        if end == End::Orderly {
            let (_, ()) = tokio::join!(
                async {
                    while let Some(ended) = asked.join_next().await {
                        match ended.unwrap() {
                            (id, Ok(_)) => desk.answer(id),
                            (_, Err(error)) => assert_eq!(error.class, ErrorClass::Cancelled),
                        }
                    }
                },
                engine.shutdown(Duration::from_secs(60))
            );
        }
        asked.detach_all();
        engine
    });
    if end == End::Kill {
        written(sky, folder, to);
        // Nobody tidies up after a killed process.
        std::mem::forget(engine);
    }
    runtime.shutdown_background();
}

/// Waits until the store holds what came back: what a thread of its own writes within milliseconds took no virtual time here.
fn written(sky: &Sky, folder: &Path, now: Timestamp) {
    let store = Store::open(folder, tidegate_engine::GOOGLE).unwrap();
    let begin = std::time::Instant::now();
    let waiting = |what: &str| {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} is not written");
        std::thread::yield_now();
    };
    let seen = sky.seen.lock().unwrap();
    for project in projects() {
        let of = || seen.iter().filter(|seen| seen.project == project.name && seen.back <= now);
        let dead: BTreeSet<_> = of().filter(|seen| matches!(seen.status, 400 | 403)).map(|seen| &seen.key).collect();
        let refused = dead.len() + of().filter(|seen| seen.status == 429).count();
        let events = || {
            let keys = (1..=project.keys.len()).map(|nth| store.key_journal(&format!("{}/{nth}", project.name), 1_000).unwrap());
            keys.flatten().filter(|event| event.to != "AVAILABLE").count()
        };
        while events() < refused {
            waiting("a refusal");
        }
    }
    let since = now.before(Duration::from_secs(60));
    let sent = seen.iter().filter(|seen| seen.sent >= since).count() as u64;
    while store.recent_slots(since.before(Duration::from_secs(1))).unwrap().iter().map(|slot| slot.requests).sum::<u64>() < sent {
        waiting("the last minute");
    }
}

/// Other limits for a project, at the server.
struct Change {
    at: Timestamp,
    project: &'static str,
    limits: Limits,
}

/// Admitted requests and daily refusals of each project on the server's day that lasts from `start` to `end`.
fn day(seen: &[Seen], start: u64, end: u64) -> BTreeMap<&'static str, (u64, u64)> {
    let mut of: BTreeMap<_, _> = PROJECTS.into_iter().map(|project| (project, (0, 0))).collect();
    let day = Timestamp::from_secs(start)..Timestamp::from_secs(end);
    for seen in seen.iter().filter(|seen| day.contains(&seen.at)) {
        let (admitted, refused) = of.get_mut(seen.project).unwrap();
        *admitted += u64::from(seen.status == 200);
        *refused += u64::from(seen.status == 429 && seen.daily);
    }
    of
}

/// Refused calls that left after an earlier refusal of the same sort was back: of a key for good, of a project for its day.
fn known_to_fail(seen: &[Seen], midnights: &[u64]) -> usize {
    let day = |at: Timestamp| midnights.iter().filter(|&&midnight| Timestamp::from_secs(midnight) <= at).count();
    let key = |seen: &Seen| matches!(seen.status, 400 | 403);
    let daily = |seen: &Seen| seen.status == 429 && seen.daily;
    let known = |late: &&Seen| {
        seen.iter().any(|early| {
            let before = early.back < late.sent;
            let same_key = key(early) && key(late) && early.key == late.key;
            let same_day = daily(early) && daily(late) && early.project == late.project && day(early.sent) == day(late.sent);
            before && (same_key || same_day)
        })
    };
    seen.iter().filter(known).count()
}

/// `first` is a midnight in Los Angeles, `second` and `third` are the next two; the server's clock is `ahead` by so many seconds.
/// Returns how many calls were known to fail.
fn two_days([first, second, third]: [u64; 3], ahead: i64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Mutex::new(Simulator::new(Scenario::from_toml(SCENARIO).unwrap(), Some(7)));
    let sky = Arc::new(Sky { simulator, ahead, seen: Mutex::default() });
    let hour = |hour: u64| Timestamp::from_secs(first + hour * HOUR);
    let squeezed = |rpd| Limits { rpm: Some(1), rpd: Some(rpd), ..Limits::default() };
    let changes = [
        Change { at: hour(5), project: "squeezed", limits: squeezed(500) },
        Change { at: hour(28), project: "squeezed", limits: squeezed(1_000) },
    ];
    let mut desk = Desk::default();
    let end = Timestamp::from_secs(third + 600);
    shift(&sky, &mut desk, folder.path(), hour(0) + Duration::from_secs(30), hour(7), End::Orderly, &changes);
    shift(&sky, &mut desk, folder.path(), hour(7) + Duration::from_secs(20), hour(26), End::Kill, &changes);
    // What `keys check` does with a key that works again.
    let store = Store::open(folder.path(), tidegate_engine::GOOGLE).unwrap();
    store.clear_key_state(Fingerprint::of(&"SIM-days-frail-key-1-01234567890".to_string().into()), "").unwrap();
    drop(store);
    shift(&sky, &mut desk, folder.path(), hour(26) + Duration::from_secs(5), end, End::Orderly, &changes);

    let seen = sky.seen.lock().unwrap();
    let (one, two) = (day(&seen, first, second), day(&seen, second, third));
    let minute = seen.iter().filter(|seen| seen.status == 429 && !seen.daily).count();
    let admitted = seen.iter().filter(|seen| seen.status == 200).count();
    let known = known_to_fail(&seen, &[first, second, third]);
    println!("{first} {ahead:+} s: first day {one:?}, second day {two:?}");
    println!("  {} calls, {minute} refused for a minute, {known} known to fail, {} answered", seen.len(), desk.answered.len());
    assert_eq!(minute, 0, "refusals for a minute");
    // Unanswered are only those that were under way when the process was killed.
    assert!(admitted - desk.answered.len() <= 8, "{admitted} admitted, {} answered", desk.answered.len());
    let whole = [("steady", 1_000, 1_000), ("paired", 500, 500), ("squeezed", 500, 1_000), ("frail", 0, 1_000)];
    for (project, first_day, second_day) in whole {
        for (day, limit) in [(&one, first_day), (&two, second_day)] {
            let (admitted, refused) = day[project];
            assert!(admitted * 1_000 >= limit * 990, "{project}: {admitted} of {limit}");
            assert!(limit == 0 || admitted <= limit, "{project}: {admitted} of {limit}");
            assert!(refused <= 2, "{project}: {refused} refusals for the day");
        }
    }
    known
}

/// 7, 8 and 9 March 2026, midnight in Los Angeles: the second of these days has 23 hours.
const SPRING: [u64; 3] = [1_772_870_400, 1_772_956_800, 1_773_039_600];
/// 31 October, 1 and 2 November 2026: the second has 25.
const AUTUMN: [u64; 3] = [1_793_430_000, 1_793_516_400, 1_793_606_400];

#[test]
fn a_day_of_23_hours_is_used_whole() {
    assert_eq!(two_days(SPRING, 0), 0);
}

#[test]
fn a_day_of_25_hours_is_used_whole() {
    assert_eq!(two_days(AUTUMN, 0), 0);
}

#[test]
fn a_server_whose_clock_is_5_s_ahead_costs_nothing() {
    assert_eq!(two_days(SPRING, 5), 0);
    assert_eq!(two_days(AUTUMN, 5), 0);
}

/// At our midnight it still counts the old day; the one question after that is answered well.
#[test]
fn a_server_whose_clock_is_5_s_behind_costs_one_refusal_a_midnight() {
    assert_eq!(two_days(SPRING, -5), 0);
    assert_eq!(two_days(AUTUMN, -5), 0);
}
