//! `tidegate fill` from the outside: the real binary over simulated servers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Ended, QUICK, Simulator, TestDir};
use serde_json::Value;

const TEMPLATE: &str = "name: Sheet
fields:
  - {name: weight_kg, type: number, required: true}
  - {name: colour}
  - {name: made_on, type: date}
  - {name: contact, description: E-mail address, pattern: '\\S+@\\S+'}
";
const SHEET: &str = "Weight: 12.5 kg\nColour: green\nMade on: 1 March 2025\nE-mail address: info@example.org\n";

fn folder() -> TestDir {
    let dir = TestDir::new();
    dir.write("sheet.yaml", TEMPLATE);
    dir.write("sheet.txt", SHEET);
    dir
}

fn json(dir: &TestDir, name: &str) -> Value {
    serde_json::from_str(&dir.read(name)).unwrap()
}

fn fill(dir: &TestDir, more: &[&str]) -> Ended {
    let words = [&["fill", "sheet.yaml", "--min-delay-between-calls", "0"], more].concat();
    dir.run(&words)
}

#[test]
fn a_template_is_filled_from_documents_in_every_form_of_result() {
    let dir = folder();
    let outs = ["-o", "out.json", "-o", "out.csv", "-o", "out.md", "-o", "out.html"];
    let ended = fill(&dir, &[&["--docs", "sheet.txt", "--sim", "--json"], &outs[..]].concat()).expect(0);
    let filled = json(&dir, "out.json");
    assert_eq!(filled["values"]["weight_kg"], 12.5, "{ended}");
    assert_eq!(filled["values"]["colour"], "green");
    assert_eq!(filled["values"]["made_on"], "2025-03-01");
    assert_eq!(filled["fields"][0]["origin"], "model");
    assert_eq!(filled["fields"][0]["support"], "supported");
    assert!(dir.read("out.csv").contains("weight_kg,12.5,model"));
    assert!(dir.read("out.html").contains("<mark>"));
    let summary = ended.json();
    assert_eq!((&summary["stats"]["generation_calls"], &summary["calls_saved"]), (&1.into(), &7.into()));
    assert!(!dir.path("out.json.tidegate").exists());
}

#[test]
fn a_required_field_that_no_document_holds_is_empty_and_the_code_is_1() {
    let dir = folder();
    dir.write("other.txt", "Colour: red\n");
    fill(&dir, &["--docs", "other.txt", "--sim", "-o", "out.json"]).expect(1).says("required and empty: weight_kg");
    assert_eq!(json(&dir, "out.json")["values"]["weight_kg"], Value::Null);
}

#[test]
fn a_text_form_is_written_back_filled() {
    let dir = folder();
    dir.write("letter.txt", "It weighs {weight} and is {colour}.\nSigned: [nobody]\n");
    let words = ["fill", "letter.txt", "--docs", "sheet.txt", "-o", "filled.txt", "-o", "filled.json", "--sim"];
    dir.run(&words).expect(0);
    assert_eq!(dir.read("filled.txt"), "It weighs 12.5 kg and is green.\nSigned: [nobody]\n");
}

#[test]
fn a_dry_run_shows_calls_and_needs_no_key() {
    let dir = folder();
    let ended = fill(&dir, &["--docs", "sheet.txt", "--dry-run", "--max-batch-size", "2"]).expect(0);
    assert!(ended.stdout.contains("call 2: 2 fields") && ended.stdout.contains("sheet.txt"), "{ended}");
}

#[test]
fn mistakes_name_their_place_and_end_with_code_2() {
    let dir = folder();
    dir.write("bad.yaml", "fields:\n  - {name: a, type: colour}\n");
    dir.write("data.bin", [0u8, 159, 146, 150, 0, 1, 2, 3]);
    let bad = ["fill", "bad.yaml", "--docs", "sheet.txt", "-o", "out.json", "--sim"];
    dir.run(&bad).expect(2).mentions("bad.yaml").mentions("unknown type \"colour\"");
    fill(&dir, &["--docs", "data.bin", "-o", "out.json", "--sim"]).expect(2).mentions("data.bin").mentions("binary");
    fill(&dir, &["--docs", "sheet.txt", "-o", "out.xyz", "--sim"]).expect(2).mentions("out.xyz");
    fill(&dir, &["--docs", "sheet.txt", "-o", "sheet.txt", "--sim"]).expect(2).mentions("sheet.txt");
    fill(&dir, &["--each", ".", "-o", "out.json", "--sim"]).expect(2).mentions("{name}");
    fill(&dir, &["--docs", "nowhere.txt", "-o", "out.json", "--sim"]).expect(4).mentions("nowhere.txt");
}

#[test]
fn each_entry_of_a_folder_is_filled_by_itself_and_a_bad_one_costs_only_itself() {
    let dir = folder();
    std::fs::create_dir_all(dir.path("sets/red")).unwrap();
    dir.write("sets/green.txt", SHEET);
    dir.write("sets/red/a.txt", "Weight: 3 kg\n");
    dir.write("sets/red/b.txt", "Colour: red\n");
    dir.write("sets/broken.pdf", "%PDF-1.7 and no more");
    let outs = ["-o", "all.csv", "-o", "each/{name}.json"];
    fill(&dir, &[&["--each", "sets", "--sim"], &outs[..]].concat()).expect(1).mentions("broken.pdf");
    assert_eq!(
        dir.read("all.csv"),
        "name,weight_kg,colour,made_on,contact\ngreen,12.5,green,2025-03-01,info@example.org\nred,3.0,red,,\n"
    );
    assert_eq!(json(&dir, "each/red.json")["values"]["colour"], "red");
}

#[test]
fn kept_answers_need_no_call_unless_they_are_not_wanted() {
    let dir = folder();
    let server = Simulator::start(QUICK);
    let again = |more: &[&str]| {
        let common = ["--docs", "sheet.txt", "-o", "out.json", "--json", "--base-url", &server.base_url];
        let words = [&["fill", "sheet.yaml", "--min-delay-between-calls", "0"], &common[..], more].concat();
        let ended = common::end(dir.command(&words).env("GEMINI_API_KEY", common::KEY)).expect(0);
        ended.json()["stats"].clone()
    };
    let calls = |stats: &Value| (stats["generation_calls"].as_u64().unwrap(), stats["cache_hits"].as_u64().unwrap());
    assert_eq!(calls(&again(&[])), (1, 0));
    assert_eq!(calls(&again(&[])), (0, 4));
    assert_eq!(calls(&again(&["--no-cache"])), (1, 0));
}

#[test]
fn an_api_that_cannot_be_reached_is_a_note_and_patterns_fill_what_they_can() {
    let dir = folder();
    let words = ["fill", "sheet.yaml", "--docs", "sheet.txt", "-o", "out.json", "--base-url", "http://127.0.0.1:9", "--json"];
    let ended = common::end(dir.command(words).env("GEMINI_API_KEY", common::KEY));
    assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
    let filled = json(&dir, "out.json");
    assert_eq!(filled["values"]["contact"], "info@example.org", "{ended}");
    assert_eq!(filled["fields"][3]["origin"], "pattern");
    let left = ended.json();
    assert!(left["resume"].as_str().unwrap().starts_with("tidegate fill"), "{ended}");
    assert!(dir.path("out.json.tidegate/filled.json").exists());

    // The same command goes on where it stopped, here with the API back.
    let server = Simulator::start(QUICK);
    let words = ["fill", "sheet.yaml", "--docs", "sheet.txt", "-o", "out.json", "--base-url", &server.base_url];
    common::end(dir.command(words).env("GEMINI_API_KEY", common::KEY)).expect(0);
    assert_eq!(json(&dir, "out.json")["fields"][3]["origin"], "model");
    assert!(!dir.path("out.json.tidegate").exists());
}

#[test]
fn a_deadline_stops_asking_and_the_code_says_so() {
    let dir = folder();
    let ended = fill(&dir, &["--docs", "sheet.txt", "-o", "out.json", "--sim", "--deadline", "1ms"]).expect(75);
    assert!(ended.stderr.contains("to go on: tidegate fill"), "{ended}");
}

#[test]
fn settings_in_the_file_are_taken_and_mistakes_in_them_named() {
    let dir = folder();
    dir.write("tidegate.toml", "[template]\nmax_batch_size = 1\n");
    let ended = fill(&dir, &["--docs", "sheet.txt", "--dry-run"]).expect(0);
    assert!(ended.stdout.contains("call 4: 1 field"), "{ended}");
    dir.write("tidegate.toml", "[template]\nmax_batch_sise = 1\n");
    fill(&dir, &["--docs", "sheet.txt", "--dry-run"]).expect(2).mentions("did you mean \"template.max_batch_size\"?");
    dir.write("tidegate.toml", "[template]\nmax_batch_size = 0\n");
    fill(&dir, &["--docs", "sheet.txt", "--dry-run"]).expect(2).mentions("template.max_batch_size = 0 cannot be");
}
