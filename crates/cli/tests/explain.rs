//! Why did this key stop: every change of state of a run is told afterwards, with its cause and what the API said.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Simulator, TestDir};
use serde_json::Value;

const LIVES: &str = include_str!("scenarios/lives.toml");
const KEYS: [&str; 3] = ["a", "b", "c"];

/// What the journal of a key tells, the earliest first: from, to, cause.
fn journal(dir: &TestDir, base_url: &str, key: &str) -> Vec<Value> {
    let name = format!("GEMINI_API_KEY_{key}");
    let words = ["keys", "explain", &name, "--json", "--base-url", base_url];
    dir.run(&words).expect(0).json()["journal"].as_array().unwrap().clone()
}

fn states(journal: &[Value]) -> Vec<&str> {
    journal.iter().map(|event| event["to"].as_str().unwrap()).collect()
}

#[test]
fn every_change_of_state_is_told_with_its_cause_and_what_the_api_said() {
    let server = Simulator::start(LIVES);
    let dir = TestDir::new();
    let keys: String = KEYS.map(|key| format!("GEMINI_API_KEY_{key}=SIM-life-{key}-key-0123456789abcdef0123\n")).concat();
    dir.write(".env", format!("{keys}TIDEGATE_STATE_DIR={}\n", dir.path("state").display()));
    dir.write("tidegate.toml", "[quota]\nminute = \"1s\"\nday = \"1h\"\n");
    dir.prompts(60);
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--base-url", &server.base_url, "--report", "page.html"];
    dir.run(&words).expect(0);

    let [suspended, minute, day] = KEYS.map(|key| journal(&dir, &server.base_url, key));
    assert_eq!(states(&suspended), ["FAILED_INIT"]);
    assert_eq!((&suspended[0]["cause"], &suspended[0]["http_status"]), (&"CONSUMER_SUSPENDED".into(), &403.into()));
    assert!(suspended[0]["body"].as_str().unwrap().contains("has been suspended"));
    // Right after the day's begin one more question is asked: a second refusal may stand there.
    assert!(
        !day.is_empty() && states(&day).iter().all(|state| *state == "FULLY_EXHAUSTED"),
        "late answers are no recovery: {day:?}"
    );
    assert!(day[0]["body"].as_str().unwrap().contains("GenerateRequestsPerDayPerProjectPerModel"));
    assert!(states(&minute).starts_with(&["TEMPORARILY_EXHAUSTED", "AVAILABLE"]), "{minute:?}");
    for journal in [&suspended, &minute, &day] {
        assert_eq!(journal[0]["from"], "AVAILABLE");
        assert!(journal.windows(2).all(|pair| pair[0]["to"] == pair[1]["from"]), "no change is missing: {journal:?}");
        assert!(journal.iter().all(|event| !event["cause"].as_str().unwrap().is_empty()));
        assert!(!format!("{journal:?}").contains("0123456789"), "a key is shown");
    }

    let list = dir.run(&["keys", "list", "--base-url", &server.base_url]).expect(0).stdout;
    let line = |key: &str| list.lines().find(|line| line.starts_with(&format!("GEMINI_API_KEY_{key} "))).unwrap();
    assert!(
        line("a").contains("FAILED_INIT") && line("b").contains("AVAILABLE") && line("c").contains("FULLY_EXHAUSTED"),
        "{list}"
    );

    // The page shows each key's line of states; each stretch says in its title what it stands for.
    let page = dir.read("page.html");
    let stretches = |key: &str| -> Vec<&str> {
        let titles = page.split("<title>").skip(1).map(|rest| rest.split("</title>").next().unwrap());
        titles.filter(|title| title.starts_with(&format!("GEMINI_API_KEY_{key}, "))).collect()
    };
    for (key, state) in [("a", ": refused for good"), ("b", ": available"), ("c", ": fully exhausted")] {
        assert!(stretches(key).last().unwrap().ends_with(state), "{key}: {:?}", stretches(key));
    }
    assert!(page.contains("CONSUMER_SUSPENDED"));
    assert!(!page.contains("0123456789abcdef"));
}
