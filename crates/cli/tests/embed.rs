//! `tidegate embed` as people use it: the real binary, a simulated API, texts in, vectors out.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use common::{Ended, KEY, QUICK, Simulator, TestDir, end_with_input, exit_of, lines_in, wait_until};
use serde_json::Value;

/// A free project of 100 texts in a minute of six seconds, counted over a true sliding window.
const HUNDRED: &str = r#"
name = "hundred"
record_requests = 400
[quota]
window = "sliding"
minute_ms = 6000
tell_window = true
[limits."gemini-embedding-001"]
rpm = 100
[latency]
base = { constant = 20 }
per_output_token = 0.0
[[projects]]
name = "one"
keys = ["SIM-test-one-key-1-0123456789abcdef"]
"#;

fn scene(scenario: &str) -> TestDir {
    let dir = TestDir::new();
    dir.write("scenario.toml", scenario);
    dir.write("tidegate.toml", "[retry]\ninitial_backoff = \"10ms\"\n");
    dir
}

fn embed(dir: &TestDir, more: &[&str]) -> Ended {
    let words = ["embed", "in.jsonl", "-o", "out.jsonl", "--sim=scenario.toml", "--json", "--dimensions", "4"];
    dir.run(&[&words, more].concat())
}

/// Every text has exactly one record, with a vector of `length` numbers.
#[track_caller]
fn each_once(dir: &TestDir, texts: usize, length: usize) {
    let records = dir.records("out.jsonl");
    let ids: BTreeSet<&str> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert_eq!((records.len(), ids.len()), (texts, texts));
    for record in &records {
        assert_eq!(record["status"], "ok", "{record}");
        assert_eq!(record["embedding"].as_array().unwrap().len(), length, "{record}");
    }
}

/// Calls, texts and texts embedded again, as the witness saw them.
fn embeddings(sim: &Value) -> (u64, u64, u64) {
    let of = |name: &str| sim["embeddings"][name].as_u64().unwrap();
    (of("calls"), of("texts"), of("texts_again"))
}

/// How many texts the calls held, in order.
fn packs(sim: &Value) -> Vec<usize> {
    let requests = sim["recorded"].as_array().unwrap().iter();
    requests.filter_map(|request| Some(request["body"]["requests"].as_array()?.len())).collect()
}

#[test]
fn a_thousand_texts_travel_in_few_calls_and_each_once() {
    let dir = scene(QUICK);
    dir.prompts(1_000);
    let account = embed(&dir, &[]).expect(0).json();
    each_once(&dir, 1_000, 4);
    let (calls, texts, again) = embeddings(&account["sim"]);
    assert_eq!((texts, again), (1_000, 0));
    // An unlimited quota is felt out from four at a time; some fifteen calls are usual.
    assert!(calls <= 100, "{calls} calls");
}

#[test]
fn a_known_limit_of_texts_is_used_whole_without_a_refusal_in_a_call_for_each_window() {
    let dir = scene(HUNDRED);
    dir.write("tidegate.toml", "[quota]\nguard = \"200ms\"\n");
    dir.prompts(300);
    let account = embed(&dir, &[]).expect(0).json();
    each_once(&dir, 300, 4);
    let sim = &account["sim"];
    assert_eq!((&account["refused"], &sim["refused"]), (&0.into(), &0.into()));
    assert_eq!(sim["quotas"][0]["peak_requests"], 1.0, "whole minutes, and never more");
    // Two windows of 6 s and their guards; a third would be 18.6 s. 6 / 6.2 are 96.8 %.
    assert!(sim["seconds"].as_f64().unwrap() < 6.0 * 2.0 / 0.95 + 0.5, "{}", sim["seconds"]);
    let (calls, texts, again) = embeddings(sim);
    assert_eq!((texts, again), (300, 0));
    assert!(texts / calls >= 50, "{calls} calls: {:?}", packs(sim));
}

#[test]
fn an_unknown_limit_is_felt_out_in_growing_calls_and_learned_from_the_first_refusal() {
    let dir = scene(&format!("{HUNDRED}\n[projects.told]\n"));
    dir.prompts(250);
    let account = embed(&dir, &[]).expect(0).json();
    each_once(&dir, 250, 4);
    let sim = &account["sim"];
    let packs = packs(sim);
    assert!(packs[0] <= 4 && packs[1] <= 8, "{packs:?}");
    let (_, texts, again) = embeddings(sim);
    assert_eq!((texts, again), (250, 0), "{packs:?}");
    let refused = sim["quotas"][0]["refused"].as_u64().unwrap();
    assert!((1..=5).contains(&refused), "{refused} calls were refused: {packs:?}");
}

#[test]
fn a_limit_that_is_lower_than_told_refuses_a_call_and_nothing_is_lost() {
    let dir = scene(&format!("{HUNDRED}\n[projects.told]\n\"*\" = {{ rpm = 150 }}\n"));
    dir.prompts(250);
    let account = embed(&dir, &[]).expect(0).json();
    each_once(&dir, 250, 4);
    let (_, texts, again) = embeddings(&account["sim"]);
    assert_eq!((texts, again), (250, 0));
    assert!(account["refused"].as_u64().unwrap() > 0, "{account}");
}

#[test]
fn kills_lose_nothing_double_nothing_and_waste_at_most_what_was_under_way() {
    const TEXTS: usize = 1_500;
    const KILLS: usize = 6;
    const IN_FLIGHT: usize = 50;
    let simulator = Simulator::start(&QUICK.replace("{ constant = 3 }", "{ uniform = [5, 30] }"));
    let dir = TestDir::new();
    dir.prompts(TEXTS);
    let start = || -> Child {
        let words = ["embed", "in.jsonl", "-o", "out.jsonl", "-q", "--dimensions", "4", "--max-concurrency", "50"];
        let mut command = dir.command(words);
        command.args(["--base-url", &simulator.base_url]).env("GEMINI_API_KEY", KEY);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for kill in 1..=KILLS {
        let mut child = start();
        let goal = kill * TEXTS / (KILLS + 2);
        assert!(wait_until(|| child.try_wait().unwrap().is_some() || lines_in(&dir.path("out.jsonl")) >= goal));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(exit_of(&mut start()), Some(0));
    each_once(&dir, TEXTS, 4);
    let (_, texts, again) = embeddings(&simulator.stop());
    assert_eq!(texts - again, TEXTS as u64);
    // Texts under way, and answers whose lines were just being written: one group of records.
    assert!(again <= (KILLS * (IN_FLIGHT + 64)) as u64, "{again} texts were embedded more than once");
}

#[test]
fn a_row_may_say_task_type_dimensions_and_title_itself() {
    let dir = scene(&format!("record_requests = 9\n{QUICK}"));
    dir.write(
        "in.jsonl",
        "{\"id\":\"plain\",\"prompt\":\"a\"}\n{\"id\":\"own\",\"prompt\":\"b\",\"task_type\":\"RETRIEVAL_DOCUMENT\",\"title\":\"T\",\"output_dimensionality\":7}\n",
    );
    let account = embed(&dir, &["--task-type", "clustering"]).expect(0).json();
    let lengths: Vec<(String, usize)> = dir
        .records("out.jsonl")
        .iter()
        .map(|record| (record["id"].as_str().unwrap().to_string(), record["embedding"].as_array().unwrap().len()))
        .collect();
    assert_eq!(BTreeSet::from_iter(lengths), BTreeSet::from([("own".to_string(), 7), ("plain".to_string(), 4)]));
    let asked: Vec<&Value> = account["sim"]["recorded"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|call| call["body"]["requests"].as_array().unwrap())
        .collect();
    let plain = asked.iter().find(|one| one["content"]["parts"][0]["text"] == "a").unwrap();
    assert_eq!((&plain["taskType"], &plain["outputDimensionality"]), (&"CLUSTERING".into(), &4.into()));
    let own = asked.iter().find(|one| one["content"]["parts"][0]["text"] == "b").unwrap();
    assert_eq!((&own["taskType"], &own["title"]), (&"RETRIEVAL_DOCUMENT".into(), &"T".into()));
    assert_eq!(own["outputDimensionality"], 7);
}

#[test]
fn one_bad_text_among_a_hundred_fails_alone_even_when_each_has_a_single_attempt() {
    for bounds in [&["--max-task-attempts", "1"][..], &["--max-attempts", "1"]] {
        let dir = scene(&format!(
            "{QUICK}\n[limits.\"*\"]\nrpm = 100000\n[[faults]]\nkind = \"invalid-argument\"\ncontains = \"POISON\"\n"
        ));
        let lines =
            (0..100).map(|n| format!("{{\"id\":\"p{n}\",\"prompt\":\"{} {n}\"}}\n", if n == 42 { "POISON" } else { "say" }));
        dir.write("in.jsonl", lines.collect::<String>());
        let account = embed(&dir, bounds).expect(1).json();
        let records = dir.records("out.jsonl");
        let failed: Vec<&Value> = records.iter().filter(|record| record["status"] != "ok").collect();
        assert_eq!((records.len(), failed.len()), (100, 1), "{account}");
        assert_eq!((&failed[0]["id"], &failed[0]["error"]["code"]), (&"p42".into(), &"INVALID_ARGUMENT".into()));
        assert_eq!(embeddings(&account["sim"]).1, 99);
    }
}

#[test]
fn an_overloaded_api_is_asked_again_in_whole_calls() {
    let dir = scene(&format!("{QUICK}\n[limits.\"*\"]\nrpm = 100000\n[[faults]]\nkind = \"overloaded\"\nto_ms = 5\n"));
    dir.prompts(200);
    let account = embed(&dir, &[]).expect(0).json();
    each_once(&dir, 200, 4);
    let (calls, texts, _) = embeddings(&account["sim"]);
    assert_eq!(texts, 200);
    assert!(calls <= 20, "{calls} calls: {:?}", account["sim"]["errors"]);
}

#[test]
fn texts_of_a_key_that_dies_are_embedded_by_another() {
    let second = "\n[[projects.key_changes]]\nkey = \"SIM-test-one-key-1-0123456789abcdef\"\nbecomes = \"invalid\"\nafter_requests = 2\n\
                  [[projects]]\nname = \"two\"\nkeys = [\"SIM-test-two-key-2-0123456789abcdef\"]\n";
    let dir = scene(&format!("{QUICK}{second}"));
    dir.prompts(500);
    let ended = embed(&dir, &[]).expect(0);
    each_once(&dir, 500, 4);
    assert_eq!(embeddings(&ended.json()["sim"]).2, 0);
    assert!(ended.json()["sim"]["errors"].to_string().contains("invalid"), "the key did die: {ended}");
    assert!(!ended.stderr.contains("0123456789abcdef"), "{ended}");
}

#[test]
fn a_table_with_a_template_becomes_vectors_in_each_form() {
    let dir = scene(QUICK);
    dir.write("in.csv", "id,title,body\na,Knot,wader\nb,Ruff,fighter\nc,Knot,wader\n");
    let run = |output: &str| {
        let words = ["embed", "in.csv", "-o", output, "--sim=scenario.toml", "--dimensions", "3"];
        dir.run(&[&words[..], &["--prompt", "{{ title }}: {{ body }}"]].concat()).expect(0)
    };
    run("out.csv");
    let table = dir.read("out.csv");
    assert!(table.lines().next().unwrap().contains(",embedding"), "{table}");
    run("out.npy");
    let matrix = std::fs::read(dir.path("out.npy")).unwrap();
    let rows = matrix_of(&matrix, (3, 3));
    assert_eq!(rows[0], rows[2], "the same text has the same vector");
    assert_ne!(rows[0], rows[1]);
    run("out.npy.gz");
    let packed = std::fs::File::open(dir.path("out.npy.gz")).unwrap();
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(packed), &mut unpacked).unwrap();
    assert_eq!(unpacked, matrix);
    let printed = run("-");
    let records: Vec<Value> = printed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() == 3 && records.iter().all(|record| record["embedding"].as_array().unwrap().len() == 3), "{printed}");
}

/// The rows of a matrix in NumPy's form, read by hand.
#[track_caller]
fn matrix_of(bytes: &[u8], (rows, columns): (usize, usize)) -> Vec<Vec<f32>> {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(header.contains(&format!("'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), ")), "{header}");
    let numbers: Vec<f32> = bytes[start..].chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(numbers.len(), rows * columns);
    numbers.chunks(columns).map(<[f32]>::to_vec).collect()
}

#[test]
fn other_dimensions_or_another_task_are_a_change_that_wants_a_yes() {
    let dir = scene(QUICK);
    dir.prompts(5);
    embed(&dir, &[]).expect(0);
    let other = ["embed", "in.jsonl", "-o", "out.jsonl", "--sim=scenario.toml", "--json", "--dimensions", "5"];
    dir.run(&other).expect(2).mentions("dimensions");
    each_once(&dir, 5, 4);
    embed(&dir, &["--task-type", "CLUSTERING"]).expect(2).mentions("task_type");
    dir.run(&["run", "in.jsonl", "-o", "out.jsonl", "--sim=scenario.toml"]).expect(2).mentions("task");
    dir.run(&[&other[..], &["--accept-changes"]].concat()).expect(0);
    each_once(&dir, 5, 5);
    let again = dir.run(&other).expect(0).json();
    assert_eq!(again["requests"], 0, "{again}");
}

#[test]
fn what_the_api_does_not_tell_is_estimated_and_marked() {
    let dir = scene(QUICK);
    dir.prompts(40);
    let ended = embed(&dir, &[]).expect(0).mentions(" in (estimated), 0 out");
    let usage = &ended.json()["usage"];
    let tokens = usage["input_tokens"].as_f64().unwrap();
    assert!(tokens >= 80.0 && usage["estimated_tokens"] == usage["input_tokens"], "{usage}");
    let cost = ended.json()["cost_usd"].as_f64().unwrap();
    assert!((cost - tokens * 0.15e-6).abs() < 1e-9, "{cost} for {tokens}");

    let words = ["embed", "in.jsonl", "-o", "told.jsonl", "--sim=scenario.toml", "--json", "--model", "gemini-embedding-2"];
    let told = dir.run(&words).expect(0).json();
    assert_eq!(told["usage"]["estimated_tokens"], Value::Null, "{told}");
    let tokens = told["usage"]["input_tokens"].as_f64().unwrap();
    assert!((told["cost_usd"].as_f64().unwrap() - tokens * 0.20e-6).abs() < 1e-9, "{told}");
}

#[test]
fn a_bound_on_tokens_holds_for_vectors_too() {
    let dir = scene(QUICK);
    dir.prompts(500);
    let account = embed(&dir, &["--max-tokens", "50"]).expect(75).json();
    assert!(account["counts"]["left"].as_u64().unwrap() > 0, "{account}");
}

#[test]
fn texts_come_from_standard_input() {
    let dir = scene(QUICK);
    let mut command = dir.command(["embed", "-", "-o", "-", "--sim=scenario.toml", "--dimensions", "2"]);
    let ended = end_with_input(&mut command, "\"one\"\n\"two\"\n").expect(0);
    assert_eq!(ended.stdout.lines().count(), 2, "{ended}");
}

#[test]
fn flags_that_mean_nothing_for_vectors_are_refused_by_name_and_not_shown() {
    let dir = scene(QUICK);
    dir.prompts(1);
    let help = dir.run(&["embed", "--help"]).expect(0).stdout;
    let meaningless = [("--system", "x"), ("--temperature", "1"), ("--max-output-tokens", "9"), ("--count-tokens", "always")];
    for (flag, value) in meaningless {
        embed(&dir, &[flag, value]).expect(2).mentions(&format!("{flag} means nothing for vectors: leave it out"));
        assert!(!help.contains(flag), "{flag} is shown");
    }
    assert!(!dir.path("out.jsonl").exists());
}
