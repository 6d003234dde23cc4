//! The machine as a client meets it: routes, forms, keys, quotas and the repeatability of it all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{ARRAY, GENERATE, SECOND, SSE, World, body, events, message, prompt};
use serde_json::{Value, json};
use tidegate_simulator::{Scenario, SimAnswer};

fn status(answer: &SimAnswer) -> u16 {
    answer.status
}

#[test]
fn a_whole_answer_has_every_field_a_client_reads() {
    let answer = World::open().ask("Name a bird.");
    assert_eq!((answer.status, answer.cut, answer.declared_length), (200, false, None));
    assert_eq!(answer.headers, [("content-type".to_owned(), "application/json; charset=UTF-8".to_owned())]);
    let body = body(&answer);
    let candidate = &body["candidates"][0];
    assert_eq!((&candidate["finishReason"], &candidate["content"]["role"]), (&json!("STOP"), &json!("model")));
    assert!(!candidate["content"]["parts"][0]["text"].as_str().unwrap().is_empty());
    assert_eq!(body["modelVersion"], "gemini-3.8-flash");
    assert_eq!(body["responseId"].as_str().unwrap().len(), 22);
    let usage = &body["usageMetadata"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(count("totalTokenCount"), count("promptTokenCount") + count("candidatesTokenCount"));
    assert!(usage.get("thoughtsTokenCount").is_none() && usage.get("cachedContentTokenCount").is_none());
}

#[test]
fn all_three_forms_say_the_same_to_the_same_prompt() {
    let mut world = World::open();
    let text_of = |body: &Value| body["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap().to_owned();
    let whole = text_of(&body(&world.ask("hello")));
    let sse = world.post(SSE, &prompt("hello"));
    assert_eq!(sse.headers[0].1, "text/event-stream");
    assert_eq!(events(&sse).iter().map(text_of).collect::<String>(), whole);
    let array = body(&world.post(ARRAY, &prompt("hello")));
    assert_eq!(array.as_array().unwrap().iter().map(text_of).collect::<String>(), whole);
    assert!(sse.pieces.len() > 1);
}

#[test]
fn response_ids_are_unique() {
    let mut world = World::open();
    let ids: std::collections::HashSet<_> = (0..100).map(|_| body(&world.ask("same"))["responseId"].to_string()).collect();
    assert_eq!(ids.len(), 100);
}

#[test]
fn the_same_calls_with_the_same_seed_get_the_same_bytes() {
    let run = || {
        let mut world = World::of(Scenario::builtin("flaky").unwrap());
        world.key = world.simulator.scenario().projects[0].keys[0].as_str().to_owned();
        let answers: Vec<_> = (0..200)
            .map(|n| {
                world.now += 20_000 + u64::try_from(world.simulator.transit().as_micros()).unwrap();
                world.post([GENERATE, SSE, ARRAY][n % 3], &prompt(&format!("prompt {n}")))
            })
            .collect();
        (answers, world.simulator.report(world.now))
    };
    let (one, two) = (run(), run());
    assert_eq!(one, two);
    assert!(one.1.errors.len() > 3, "{:?}", one.1.errors);
}

#[test]
fn counting_and_listing_are_free_and_tokens_agree_with_the_answer() {
    let mut world = World::with("[limits.'*']\nrpm = 1");
    let counted = body(&world.post("/v1/models/gemini-3.8-flash:countTokens", &prompt("How many tokens is this?")));
    assert_eq!(counted["totalTokens"], 6);
    assert_eq!(counted["promptTokensDetails"], json!([{"modality": "TEXT", "tokenCount": 6}]));
    assert_eq!(status(&world.get("/v1alpha/models")), 200);
    assert_eq!(body(&world.get("/v1/models/gemini-3.8-flash"))["name"], "models/gemini-3.8-flash");
    let answer = body(&world.ask("How many tokens is this?"));
    assert_eq!(answer["usageMetadata"]["promptTokenCount"], counted["totalTokens"]);
    assert_eq!(status(&world.ask("one too many")), 429);
}

#[test]
fn unknown_models_and_paths_get_a_404_body() {
    let mut world = World::open();
    let unknown = world.post("/v1/models/gemini-0:generateContent", &prompt("x"));
    assert_eq!(unknown.status, 404);
    assert!(
        message(&unknown)
            .starts_with("models/gemini-0 is not found for API version v1, or is not supported for generateContent.")
    );
    let nowhere = world.get("/v3/models");
    assert_eq!((nowhere.status, body(&nowhere)["error"]["status"].as_str()), (404, Some("NOT_FOUND")));
    let openai = world.post("/v1beta/openai/chat/completions", &json!({}));
    assert_eq!(body(&openai)[0]["error"]["code"], 404, "errors of that layer come in an array");
}

#[test]
fn callers_without_a_good_key_are_told_why() {
    let mut world = World::of(Scenario::from_toml("[[projects]]\nname='p'\nkeys=['good']").unwrap());
    let mut told = |headers: &[(&str, &str)]| {
        let answer = world.send("POST", GENERATE, headers, &prompt("x"));
        (answer.status, body(&answer)["error"]["status"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(told(&[("x-goog-api-key", "good")]).0, 200);
    assert_eq!(told(&[("x-goog-api-key", "bad")]), (400, "INVALID_ARGUMENT".to_owned()));
    assert_eq!(told(&[]), (403, "PERMISSION_DENIED".to_owned()));
    assert_eq!(told(&[("authorization", "Bearer good")]), (401, "UNAUTHENTICATED".to_owned()));
    assert_eq!(told(&[("x-goog-api-key", "good")]).0, 200);
    assert_eq!(world.simulator.report(world.now).errors.len(), 3);
}

#[test]
fn keys_of_one_project_share_its_quota_and_other_projects_have_their_own() {
    let toml = "[limits.'*']\nrpm = 2\n[[projects]]\nname='p'\nkeys=['k1','k2']\n[[projects]]\nname='q'\nkeys=['k3']";
    let mut world = World::of(Scenario::from_toml(toml).unwrap());
    let statuses: Vec<_> = ["k1", "k2", "k1", "k2", "k3"]
        .map(|key| {
            world.key = key.to_owned();
            world.ask("x").status
        })
        .into();
    assert_eq!(statuses, [200, 200, 429, 429, 200]);
}

#[test]
fn each_unknown_key_is_a_project_of_its_own_when_any_is_accepted() {
    let mut world = World::with("[limits.'*']\nrpm = 1");
    assert_eq!([world.ask("x").status, world.ask("x").status], [200, 429]);
    world.key = "another".to_owned();
    assert_eq!(world.ask("x").status, 200);
    let report = world.simulator.report(world.now).to_string();
    assert!(!report.contains("another") && !report.contains("a-key"), "keys do not belong into reports");
}

#[test]
fn a_refusal_tells_when_to_come_back_and_coming_back_then_works() {
    let mut world = World::with("[limits.'*']\nrpm = 1\nrpd = 9");
    assert_eq!(world.ask("x").status, 200);
    world.now += 20 * SECOND + 500_000;
    let refused = world.ask("x");
    let details = body(&refused)["error"]["details"].clone();
    assert_eq!(details[1]["violations"][0]["quotaId"], "GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
    assert_eq!(details[2]["retryDelay"], "40s");
    assert!(message(&refused).ends_with("Please retry in 39.5s."));
    world.now += 39 * SECOND + 499_999;
    assert_eq!(world.ask("x").status, 429);
    world.now += 1;
    assert_eq!(world.ask("x").status, 200);
}

#[test]
fn the_delay_of_a_used_up_day_is_short_or_true_as_the_scenario_wants() {
    let delay = |toml: &str| {
        let mut world = World::with(&format!("[limits.'*']\nrpd = 1\n{toml}"));
        world.ask("x");
        let body = body(&world.ask("x"));
        let text = body["error"]["details"][2]["retryDelay"].as_str().unwrap().to_owned();
        text.trim_end_matches('s').parse::<u64>().unwrap()
    };
    assert!((15..=59).contains(&delay("[quota]\nper_day_delay='short'")));
    assert_eq!(delay("[quota]\nper_day_delay='true'"), 12 * 3_600, "midnight in Los Angeles is twelve hours away");
}

#[test]
fn a_model_with_a_limit_of_zero_is_refused_for_ever() {
    let mut world = World::with("[limits.gemini-x]\nrpm = 0\nrpd = 0");
    let refused = world.post("/v1beta/models/gemini-x:generateContent", &prompt("x"));
    assert_eq!(refused.status, 429);
    assert_eq!(message(&refused).matches("limit: 0, model: gemini-x").count(), 2);
}

#[test]
fn broken_requests_cost_a_request_but_refused_ones_nothing() {
    let mut world = World::with("strict = true\n[limits.'*']\nrpm = 3");
    assert_eq!(world.post(GENERATE, &json!({})).status, 400);
    assert_eq!(world.post(GENERATE, &json!({"contents": [{"parts": [{"txt": ""}]}]})).status, 400);
    assert_eq!([world.ask("x").status, world.ask("x").status], [200, 429]);
    let report = world.simulator.report(world.now);
    assert_eq!((report.quotas[0].admitted, report.quotas[0].refused), (3, 1));
    assert_eq!(report.errors["invalid_argument"], 2);
}

#[test]
fn too_long_prompts_and_unknown_caches_are_refused_in_their_own_words() {
    let mut world = World::with("input_token_limit = 10");
    let long = world.ask(&"long ".repeat(20));
    assert_eq!(message(&long), "The input token count (25) exceeds the maximum number of tokens allowed (10).");
    let mut cached = prompt("x");
    cached["cachedContent"] = "cachedContents/gone".into();
    assert_eq!(world.post(GENERATE, &cached).status, 403);
}

#[test]
fn long_prompts_may_be_partly_cached_but_count_in_full() {
    let mut world = World::with("[answers]\ncached_share = 0.5\n[limits.'*']\ntpm = 9999");
    let long = "word ".repeat(4_000);
    let usage = body(&world.ask(&long))["usageMetadata"].clone();
    assert_eq!((&usage["promptTokenCount"], &usage["cachedContentTokenCount"]), (&json!(5_000), &json!(2_500)));
    assert_eq!(world.ask(&long).status, 429);
}

#[test]
fn prepaid_credit_ends_with_a_402() {
    let mut world = World::of(Scenario::from_toml("[[projects]]\nname='p'\nkeys=['a-key']\ncredit_requests=2").unwrap());
    assert_eq!([0; 4].map(|_| world.ask("x").status), [200, 200, 402, 402]);
    assert!(message(&world.ask("x")).starts_with("Your prepayment credits are depleted."));
}

#[test]
fn latency_is_the_base_and_the_tokens_and_a_server_timeout_ends_it() {
    let mut world = World::with("[latency]\nbase = { constant = 100 }\nper_output_token = 10\n[answers]\nwords = [60, 60]");
    let whole = world.ask("x");
    let tokens = body(&whole)["usageMetadata"]["candidatesTokenCount"].as_u64().unwrap();
    assert_eq!(whole.duration(), Duration::from_millis(100 + 10 * tokens));
    let streamed = world.post(SSE, &prompt("x"));
    assert!(streamed.duration().abs_diff(whole.duration()) < Duration::from_millis(1));
    assert!(streamed.pieces[0].after < whole.duration() / 2, "the first words come early");
    let late = world.send("POST", GENERATE, &[("x-goog-api-key", "k"), ("x-server-timeout", "0.15")], &prompt("x"));
    assert_eq!((late.status, late.duration()), (504, Duration::from_millis(150)));
}

#[test]
fn the_report_tells_what_is_in_flight_and_what_was_answered_twice() {
    let mut world = World::with("[latency]\nbase = { constant = 1000 }");
    world.ask("one");
    world.now += SECOND / 2;
    world.ask("one");
    world.ask("two");
    let report = world.simulator.report(world.now);
    assert_eq!((report.in_flight, report.max_in_flight), (3, 3));
    assert_eq!((report.answered, report.prompts, report.answered_again), (3, 2, 1));
    assert_eq!(world.simulator.report(world.now + SECOND / 2).in_flight, 2);
    let shown = body(&world.send("GET", "/sim/report", &[], &Value::Null));
    assert_eq!((&shown["requests"], &shown["answered_again"]), (&json!(3), &json!(1)));
}

#[test]
fn transit_is_drawn_apart_so_that_it_never_changes_the_answers() {
    let toml = "[transit]\nway = { uniform = [5, 300] }\n[[faults]]\nkind='overloaded'\nrate=0.5";
    let statuses = |draws: usize| {
        let mut world = World::with(toml);
        (0..50)
            .map(|_| {
                for _ in 0..draws {
                    let way = world.simulator.transit();
                    assert!((5..=300).contains(&way.as_millis()));
                }
                world.ask("x").status
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(statuses(0), statuses(3));
}

#[test]
fn a_server_whose_clock_is_ahead_begins_its_day_sooner() {
    // Pacific midnight is at 07:00 UTC; the first request comes three seconds before it.
    let midnight = 1_783_839_600 * SECOND;
    let admitted = |clock_ms: i64| {
        let text = format!(
            "name = 'clock'\n[quota]\nclock_ms = {clock_ms}\n[limits.'*']\nrpd = 1\n[[projects]]\nname = 'p'\nkeys = ['k']\n"
        );
        let mut world = World::of(Scenario::from_toml(&text).unwrap());
        world.key = "k".into();
        world.now = midnight - 3 * SECOND;
        world.post(GENERATE, &prompt("before"));
        world.now = midnight + SECOND;
        world.post(GENERATE, &prompt("after")).status == 200
    };
    assert!(admitted(0), "the day turned between the two");
    assert!(!admitted(5_000), "it had turned before both");
    assert!(!admitted(-5_000), "it turns after both");
}
