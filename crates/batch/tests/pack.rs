//! Small prompts that share a call: each gets its own answer, once, whatever goes wrong with the call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Folder, Say, Script, options, rows};
use serde_json::{Value, json};
use tidegate_batch::{Budget, Control, Options, StopReason};
use tidegate_engine::ErrorClass;
use tidegate_gemini::prices::{Prices, Usd};
use tidegate_gemini::response::AnswerStatus;

/// Tokens of each call of a script.
const EACH: u64 = 10;

/// The texts of the prompts in a call.
fn texts(body: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(body).unwrap();
    let parts = body["contents"][0]["parts"].as_array().unwrap();
    let last = parts.last().unwrap()["text"].as_str().unwrap();
    match serde_json::from_str::<Value>(last) {
        Ok(sheet) if parts.len() == 2 => {
            let word = |name: &str| sheet[name].as_str().unwrap_or_default().to_owned();
            let own = sheet["prompts"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap());
            own.map(|own| word("before") + own + &word("after")).collect()
        }
        _ => vec![last.to_owned()],
    }
}

fn answers(texts: &[String]) -> Vec<Value> {
    let numbered = texts.iter().enumerate();
    numbered.map(|(at, text)| json!({"index": at + 1, "answer": format!("answer to {text}")})).collect()
}

/// What a model without faults says.
fn sound(texts: &[String]) -> Say {
    match texts {
        [text] => Say::Text(format!("answer to {text}")),
        texts => Say::Text(Value::Array(answers(texts)).to_string()),
    }
}

/// Says `answer to TEXT` to each prompt, unless `other` has another say about the texts of a call. The sizes of calls are kept.
fn script(other: impl Fn(&[String]) -> Option<Say> + Send + Sync + 'static) -> (Script, Arc<Mutex<Vec<usize>>>) {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = sizes.clone();
    let script = Script::new(move |_, body| {
        let texts = texts(body);
        seen.lock().unwrap().push(texts.len());
        other(&texts).unwrap_or_else(|| sound(&texts))
    });
    (script, sizes)
}

fn by(pack: usize) -> Options {
    Options { pack, ..options() }
}

fn sorted(sizes: &Mutex<Vec<usize>>) -> Vec<usize> {
    let mut sizes = sizes.lock().unwrap().clone();
    sizes.sort_unstable();
    sizes
}

/// Every record is a success with its own answer, and their tokens are those of all calls.
fn all_answered(records: &BTreeMap<String, Value>, count: usize, calls: usize) {
    assert_eq!(records.len(), count);
    for (id, record) in records {
        assert_eq!(
            (&record["status"], &record["text"]),
            (&json!("ok"), &json!(format!("answer to {}", id.replace('r', "p")))),
            "{id}"
        );
    }
    let tokens: u64 = records.values().map(|record| record["usage"]["total_tokens"].as_u64().unwrap()).sum();
    assert_eq!(tokens, calls as u64 * EACH, "no token is lost and none counted twice");
}

#[tokio::test]
async fn a_thousand_prompts_at_ten_a_call_are_a_hundred_calls_and_each_has_its_own_answer() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(1_000));
    let (script, sizes) = script(|_| None);
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", by(10)).await.unwrap();
    assert_eq!(sorted(&sizes), vec![10; 100]);
    let records = folder.records("out.jsonl");
    all_answered(&records, 1_000, 100);
    assert_eq!((summary.counts.ok, summary.usage.total_tokens), (1_000, 100 * EACH));
    assert_eq!(records["r13"]["pack"], json!({"call": "r10+9", "items": 10, "index": 4}));
    assert_eq!(records["r13"]["attempts"], 1);
}

#[tokio::test]
async fn what_is_left_over_goes_in_a_smaller_pack_and_the_last_one_alone() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(23));
    let (script, sizes) = script(|_| None);
    folder.run(&script, &["in.jsonl"], "out.jsonl", Options { limit: Some(21), ..by(10) }).await.unwrap();
    assert_eq!(sorted(&sizes), [1, 10, 10]);
    let records = folder.records("out.jsonl");
    all_answered(&records, 21, 3);
    assert!(records["r20"].get("pack").is_none(), "alone is as ever");
}

#[tokio::test]
async fn answers_that_are_missing_or_doubled_are_asked_again_in_halves_and_the_others_are_kept() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(12));
    let (script, sizes) = script(|texts| {
        let mut answers = answers(texts);
        answers.retain(|one| one["index"].as_u64().unwrap() <= 9 || texts.len() < 12);
        if texts.len() == 12 {
            answers[1]["index"] = json!(1);
        }
        (texts.len() > 1).then(|| Say::Text(Value::Array(answers).to_string()))
    });
    folder.run(&script, &["in.jsonl"], "out.jsonl", by(12)).await.unwrap();
    assert_eq!(sorted(&sizes), [2, 3, 12], "1 and 2 are in doubt, 10 to 12 are missing");
    let records = folder.records("out.jsonl");
    all_answered(&records, 12, 3);
    assert_eq!((&records["r4"]["attempts"], &records["r11"]["attempts"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn an_answer_that_was_cut_keeps_what_was_whole() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(8));
    let (script, sizes) = script(|texts| {
        let whole = Value::Array(answers(texts)).to_string();
        let cut = whole.find("answer to p5").filter(|_| texts.len() > 2)?;
        Some(Say::Cut(whole[..cut + 6].to_owned()))
    });
    folder.run(&script, &["in.jsonl"], "out.jsonl", by(8)).await.unwrap();
    assert_eq!(sorted(&sizes), [1, 2, 8]);
    all_answered(&folder.records("out.jsonl"), 8, 3);
}

#[tokio::test]
async fn a_model_that_will_not_number_is_asked_one_by_one_in_the_end() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(8));
    for fault in ["I would rather not.", "[{\"index\":0,\"answer\":\"a\"},{\"index\":1,\"answer\":\"b\"}]"] {
        let (script, sizes) = script(move |texts| (texts.len() > 1).then(|| Say::Text(fault.to_owned())));
        folder.run(&script, &["in.jsonl"], "out.jsonl", Options { fresh: true, ..by(8) }).await.unwrap();
        assert_eq!(sorted(&sizes), [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 8]);
        all_answered(&folder.records("out.jsonl"), 8, 15);
    }
}

#[tokio::test]
async fn one_bad_prompt_costs_only_itself() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(16));
    for blocked in [Say::Half(AnswerStatus::Blocked), Say::Fail(ErrorClass::Task, false), Say::Fail(ErrorClass::TooLarge, false)]
    {
        let (script, sizes) = script(move |texts| texts.contains(&"p5".to_owned()).then(|| blocked.clone()));
        let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", Options { fresh: true, ..by(16) }).await.unwrap();
        assert_eq!(sorted(&sizes), [1, 1, 2, 2, 4, 4, 8, 8, 16]);
        assert_eq!((summary.counts.ok, summary.counts.unsuccessful()), (15, 1));
        let bad = &folder.records("out.jsonl")["r5"];
        assert_eq!((&bad["success"], &bad["attempts"]), (&json!(false), &json!(5)));
        assert!(bad.get("pack").is_none(), "what was said to it was said to it alone");
        assert_eq!(summary.usage.total_tokens, 9 * EACH);
    }
}

#[tokio::test]
async fn what_befell_the_call_and_no_prompt_of_it_is_not_asked_in_halves() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(8));
    let (script, sizes) = script(|_| Some(Say::Fail(ErrorClass::Upstream, true)));
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", by(8)).await.unwrap();
    assert_eq!((sorted(&sizes), summary.counts.retryable), (vec![8], 8));
    assert_eq!(folder.records("out.jsonl")["r7"]["pack"]["index"], 8);
    let (script, sizes) = self::script(|_| None);
    folder.run(&script, &["in.jsonl"], "out.jsonl", by(8)).await.unwrap();
    assert_eq!(sorted(&sizes), [8], "they are asked again together");
    all_answered(&folder.records("out.jsonl"), 8, 1);
}

#[tokio::test]
async fn only_prompts_of_one_kind_share_a_call() {
    let folder = Folder::new();
    let long = "word ".repeat(3_000);
    let kinds = [
        json!({}),
        json!({"model": "gemini-y"}),
        json!({"system_instruction": "be brief"}),
        json!({"generation_config": {"temperature": 0.5}}),
        json!({"priority": 3}),
    ];
    let mut lines = String::new();
    for n in 0..30 {
        let mut row = kinds[n % 5].clone();
        row["id"] = json!(format!("r{n}"));
        row["prompt"] = json!(format!("p{n}"));
        lines += &format!("{row}\n");
    }
    lines += &format!(
        "{}\n{}\n",
        json!({"id": "x", "prompt": long}),
        json!({"id": "y", "prompt": "z", "tools": [{"google_search": {}}]})
    );
    folder.write("in.jsonl", lines);
    let (script, sizes) = script(|_| None);
    folder.run(&script, &["in.jsonl"], "out.jsonl", by(10)).await.unwrap();
    assert_eq!(sorted(&sizes), [1, 1, 6, 6, 6, 6, 6]);
    let mut records = folder.records("out.jsonl");
    assert!(["x", "y"].iter().all(|id| records.remove(*id).unwrap()["status"] == "ok"));
    all_answered(&records, 30, 5);
}

#[tokio::test]
async fn few_rows_at_a_time_and_many_kinds_never_wait_for_each_other_for_good() {
    let folder = Folder::new();
    let row = |n: usize| format!("{{\"id\":\"r{n}\",\"prompt\":\"p{n}\",\"system_instruction\":\"be number {}\"}}\n", n % 100);
    folder.write("in.jsonl", (0..300).map(row).collect::<String>());
    let (script, sizes) = script(|_| None);
    folder.run(&script, &["in.jsonl"], "out.jsonl", Options { admit: 7, ..by(10) }).await.unwrap();
    let calls = sizes.lock().unwrap().len();
    all_answered(&folder.records("out.jsonl"), 300, calls);
}

#[tokio::test]
async fn packing_is_no_part_of_the_question_so_answers_are_kept_whichever_way_they_came() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(20));
    let (alone, _) = script(|_| None);
    folder.run(&alone, &["in.jsonl"], "out.jsonl", Options { limit: Some(7), ..by(0) }).await.unwrap();
    let (packed, sizes) = script(|_| None);
    let summary = folder.run(&packed, &["in.jsonl"], "out.jsonl", by(10)).await.unwrap();
    assert_eq!((summary.counts.kept, sorted(&sizes)), (7, vec![3, 10]));
    let records = folder.records("out.jsonl");
    all_answered(&records, 20, 9);
    folder.run(&alone, &["in.jsonl"], "alone.jsonl", by(1)).await.unwrap();
    let alone = folder.records("alone.jsonl");
    assert!(records.iter().all(|(id, record)| record["fingerprint"] == alone[id]["fingerprint"]));
}

#[tokio::test]
async fn a_run_stopped_while_packs_are_under_way_goes_on_and_ends_each_row_once() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(25));
    let (hanging, _) = script(|texts| (!texts.contains(&"p3".to_owned())).then_some(Say::Hang));
    let control = Control::new();
    let hanging = Arc::new(hanging);
    let (watched, stopper) = (hanging.clone(), control.clone());
    tokio::spawn(async move {
        while watched.asked().len() < 3 {
            tokio::task::yield_now().await;
        }
        stopper.stop(StopReason::Interrupted, Duration::from_millis(1));
    });
    let summary = folder.run_under(&control, &hanging, &["in.jsonl"], "out.jsonl", by(10)).await.unwrap();
    assert_eq!((summary.counts.ok, summary.outstanding, summary.stopped), (10, 15, Some(StopReason::Interrupted)));
    let (script, sizes) = script(|_| None);
    folder.run(&script, &["in.jsonl"], "out.jsonl", Options { ordered: true, ..by(10) }).await.unwrap();
    assert_eq!(sorted(&sizes), [5, 10]);
    all_answered(&folder.records("out.jsonl"), 25, 3);
}

#[tokio::test]
async fn rows_no_key_can_serve_stay_outstanding() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(20));
    let (script, _) = script(|_| Some(Say::Fail(ErrorClass::NoKey, true)));
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", by(10)).await.unwrap();
    assert_eq!((summary.outstanding, summary.stopped), (20, Some(StopReason::NoKey)));
    assert!(folder.records("out.jsonl").is_empty());
}

#[tokio::test]
async fn money_of_a_call_that_brought_nothing_counts_at_once() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(16));
    let (script, sizes) = script(|texts| (texts.len() > 1).then(|| Say::Text("no".to_owned())));
    let mut options = Options { max_cost: Some(Budget { most: Usd::of_nanos(1), prices: Prices::default() }), ..by(16) };
    options.defaults.model = Some("gemini-3.8-flash".to_owned());
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options).await.unwrap();
    assert_eq!((sorted(&sizes), summary.stopped, summary.outstanding), (vec![16], Some(StopReason::Cost), 16));
}

#[tokio::test]
async fn each_answer_in_json_is_held_against_the_schema() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(6));
    let (script, sizes) = script(|texts| {
        let json = |at: usize| match (at, texts.len()) {
            (1, 6) => json!({"n": "two"}),
            (at, _) => json!({"n": at}),
        };
        let all: Vec<Value> = (0..texts.len()).map(|at| json!({"index": at + 1, "answer": json(at)})).collect();
        Some(Say::Text(if texts.len() > 1 { Value::Array(all).to_string() } else { "{\"n\": 5}".to_owned() }))
    });
    let mut options = by(6);
    options.defaults.json_schema = Some(json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}));
    folder.run(&script, &["in.jsonl"], "out.jsonl", options).await.unwrap();
    assert_eq!(sorted(&sizes), [1, 6]);
    let records = folder.records("out.jsonl");
    assert_eq!((&records["r3"]["json"], &records["r3"]["text"]), (&json!({"n": 3}), &json!("{\"n\":3}")));
    assert_eq!(records["r1"]["text"], "{\"n\": 5}");
}
