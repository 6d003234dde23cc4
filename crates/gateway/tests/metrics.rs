//! `/metrics`: in the form Prometheus reads, true to what the API counted, bounded and without secrets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{GENERATE, House, KEY, prompt};
use serde_json::json;
use tidegate_gateway::{Client, Settings};
use tidegate_gemini::Limits;

/// Samples by name and labels as they stand in the text.
type Samples = BTreeMap<(String, String), f64>;

/// Reads the text format 0.0.4 as strictly as it can be meant.
fn read(text: &str) -> Samples {
    let (mut samples, mut types, mut current) = (Samples::new(), BTreeMap::new(), String::new());
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split_once(' ').unwrap().0.to_string();
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "the help comes first");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(types.insert(name.to_string(), kind.to_string()).is_none(), "{name} comes twice");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.strip_suffix('}').unwrap()));
        let family = if types[&current] == "histogram" {
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap()
        } else {
            name
        };
        assert_eq!(family, current, "samples stand under their family");
        let mut names = BTreeSet::new();
        let mut rest = labels;
        while !rest.is_empty() {
            let (label, more) = rest.split_once("=\"").unwrap();
            assert!(is_name(label) && names.insert(label.to_string()), "{line}");
            let end = more.replace("\\\\", "__").replace("\\\"", "__").find('"').unwrap();
            rest = more[end + 1..].strip_prefix(',').unwrap_or(&more[end + 1..]);
        }
        assert!(is_name(name), "{line}");
        let value = if value == "+Inf" { f64::INFINITY } else { value.parse::<f64>().unwrap() };
        assert!(samples.insert((name.to_string(), labels.to_string()), value).is_none(), "{line} comes twice");
    }
    samples
}

/// The sum of a family's samples whose labels hold all of these.
fn sum(samples: &Samples, name: &str, labels: &[&str]) -> f64 {
    let fits = |known: &str| labels.iter().all(|label| known.contains(label));
    samples.iter().filter(|((known, of), _)| known == name && fits(of)).map(|(_, value)| value).sum()
}

fn clients() -> Settings {
    let client = |name: &str| Client::new(name, format!("token-of-{name}").into());
    Settings { clients: vec![client("notebook"), client("bot")], ..Settings::default() }
}

async fn scraped(house: &House) -> Samples {
    let told = house.send("GET", "/metrics", &[("authorization", "Bearer token-of-bot")], "").await;
    assert_eq!((told.status(), told.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    let text = String::from_utf8(told.0.body().to_vec()).unwrap();
    for secret in [KEY, &KEY[8..20], "token-of-"] {
        assert!(!text.contains(secret), "{secret} is told");
    }
    read(&text)
}

#[tokio::test]
async fn figures_add_up_with_what_the_api_counted() {
    let faults = "
        [[faults]]\nkind = 'overloaded'\nto_ms = 5
        [[faults]]\nkind = 'invalid-argument'\ncontains = 'WRONG'
        [[faults]]\nkind = 'safety'\ncontains = 'UNSAFE'
        [[faults]]\nkind = 'cut-stream'\ncontains = 'CUT'";
    let house = House::simulated(faults, Limits { rpm: Some(1_000), ..Limits::default() }, clients()).await;
    let notebook = [("x-goog-api-key", "token-of-notebook")];
    let bot = [("authorization", "Bearer token-of-bot")];
    let stream = GENERATE.replace("generateContent", "streamGenerateContent?alt=sse");
    for (text, status) in [("a", 200), ("b", 200), ("c WRONG", 400), ("d UNSAFE", 200)] {
        let told = house.send("POST", GENERATE, &notebook, prompt(text).to_string()).await;
        assert_eq!(told.status(), status, "{text}");
    }
    for text in ["e", "f CUT"] {
        house.send("POST", &stream, &notebook, prompt(text).to_string()).await;
    }
    let chat = json!({"model": "gemini-3.8-flash", "messages": [{"role": "user", "content": "g"}]});
    house.send("POST", "/v1/chat/completions", &bot, chat.to_string()).await.json(200);
    house.send("POST", "/v1/chat/completions", &bot, "{}").await.json(400);
    house.send("POST", GENERATE, &[("x-goog-api-key", KEY)], prompt("h").to_string()).await.json(401);
    let samples = scraped(&house).await;
    let sum = |name: &str, labels: &[&str]| sum(&samples, name, labels);
    let requests = "tidegate_requests_total";
    assert_eq!(sum(requests, &[]), 9.0);
    assert_eq!(sum(requests, &["outcome=\"answered\""]), 5.0);
    assert_eq!(sum(requests, &["outcome=\"invalid\""]), 2.0);
    assert_eq!(sum(requests, &["outcome=\"failed\"", "route=\"streamGenerateContent\""]), 1.0);
    assert_eq!(sum(requests, &["outcome=\"refused\"", "client=\"stranger\""]), 1.0);
    assert_eq!(sum(requests, &["client=\"notebook\"", "model=\"gemini-3.8-flash\""]), 6.0);
    assert_eq!(sum(requests, &["route=\"chat/completions\"", "client=\"bot\""]), 2.0);
    assert_eq!(sum("tidegate_request_seconds_count", &[]), 9.0);
    let seen = house.simulator.as_ref().unwrap().lock().unwrap().report(0);
    assert_eq!(sum("tidegate_upstream_attempts_total", &[]), seen.requests as f64, "every call is an attempt");
    assert_eq!(sum("tidegate_upstream_attempts_total", &["code=\"503\""]), 1.0);
    assert_eq!(sum("tidegate_upstream_seconds_count", &[]), seen.requests as f64);
    assert_eq!(sum("tidegate_retries_total", &[]), seen.requests as f64 - 7.0, "all but the first attempt of each prompt");
    assert_eq!(sum("tidegate_retries_total", &["reason=\"UNAVAILABLE\""]), 1.0);
    assert_eq!(sum("tidegate_queue_seconds_count", &[]), 7.0, "of each prompt the first wait");
    let usage = house.engine.status().stats.usage;
    assert_eq!(sum("tidegate_tokens_total", &["kind=\"input\""]), usage.input_tokens as f64);
    assert_eq!(sum("tidegate_tokens_total", &["kind=\"output\""]), usage.output_tokens as f64);
    let used = house.engine.status().quotas[0].rpm.0;
    assert_eq!(sum("tidegate_quota_used", &["dimension=\"rpm\"", "project=\"main\""]), used as f64);
    assert_eq!(sum("tidegate_quota_limit", &[]), 1_000.0, "only what is known");
    assert_eq!(sum("tidegate_key_state", &["key=\"the-key\""]), 1.0, "one state at a time");
    assert_eq!(sum("tidegate_key_state", &["state=\"AVAILABLE\""]), 1.0);
    assert_eq!((sum("tidegate_queue_length", &[]), sum("tidegate_active_calls", &[])), (0.0, 0.0));
    assert!(sum("process_start_time_seconds", &[]) > 1.7e9);
    assert_eq!(sum("tidegate_build_info", &["version=\""]), 1.0);
}

#[tokio::test]
async fn a_project_without_quota_is_seen() {
    let faults = "[[faults]]\nkind = 'no-free-tier'\ncontains = 'GREEDY'";
    let house = House::simulated(faults, Limits::default(), clients()).await;
    let token = [("x-goog-api-key", "token-of-bot"), ("x-tidegate-max-wait", "200ms")];
    house.send("POST", GENERATE, &token, prompt("a GREEDY").to_string()).await;
    let samples = scraped(&house).await;
    assert_eq!(sum(&samples, "tidegate_key_state", &["state=\"FULLY_EXHAUSTED\""]), 1.0);
    assert_eq!(sum(&samples, "tidegate_key_state", &["state=\"AVAILABLE\""]), 0.0);
    assert_eq!(sum(&samples, "tidegate_upstream_attempts_total", &["code=\"429\""]), 1.0);
}

#[tokio::test]
async fn labels_stay_few_whatever_clients_send() {
    let house = House::simulated("", Limits::default(), clients()).await;
    let token = [("x-goog-api-key", "token-of-bot")];
    house.send("POST", GENERATE, &token, prompt("a").to_string()).await.json(200);
    let before = scraped(&house).await.len();
    for n in 0..100 {
        let path = GENERATE.replace("gemini-3.8-flash", &format!("made-up-{n}"));
        house.send("POST", &path, &token, prompt("a").to_string()).await.json(404);
        house.send("POST", &format!("/nothing/{n}"), &token, "").await.json(404);
        house.send("POST", GENERATE, &[("x-goog-api-key", &format!("stranger-{n}"))], "").await.json(401);
    }
    let samples = scraped(&house).await;
    assert!(!samples.keys().any(|(_, labels)| labels.contains("made-up") || labels.contains("nothing")));
    assert_eq!(sum(&samples, "tidegate_requests_total", &["model=\"other\"", "outcome=\"invalid\""]), 100.0);
    assert_eq!(sum(&samples, "tidegate_requests_total", &["route=\"unknown\""]), 100.0);
    assert_eq!(sum(&samples, "tidegate_requests_total", &["client=\"stranger\""]), 100.0);
    assert!(samples.len() < before + 120, "{} samples, {before} before", samples.len());
}

#[tokio::test]
async fn strangers_see_no_figures() {
    let house = House::simulated("", Limits::default(), clients()).await;
    house.get("/metrics").await.json(401);
    let house = House::open().await;
    assert_eq!(house.get("/metrics").await.status(), 200, "without clients, whoever is on this machine may look");
}
