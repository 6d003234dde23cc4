//! The same command again: what is kept, what is asked again, and that nothing is lost wherever a run was killed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use common::{Folder, Say, Script, by_id, options, rows};
use proptest::prelude::*;
use serde_json::Value;
use tidegate_batch::{Control, Format, Input, Options, Output, RunError, run};
use tidegate_engine::ErrorClass;

#[tokio::test]
async fn a_finished_run_asks_nothing_more() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(20));
    for out in ["out.jsonl", "out.json", "out.csv", "out.jsonl.gz"] {
        let script = Script::echo();
        folder.run(&script, &["in.jsonl"], out, options()).await.unwrap();
        let before = std::fs::read(folder.path(out)).unwrap();
        let summary = folder.run(&script, &["in.jsonl"], out, options()).await.unwrap();
        assert_eq!(script.asked().len(), 20, "{out}");
        assert_eq!((summary.counts.kept, summary.outstanding), (20, 0));
        assert_eq!(std::fs::read(folder.path(out)).unwrap(), before, "{out}");
    }
}

#[tokio::test]
async fn changed_rows_are_asked_again_and_gone_ones_kept() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(6));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let changed = "{\"id\":\"new\",\"prompt\":\"n\"}\n".to_owned() + &rows(5).replace("\"p2\"", "\"other\"");
    folder.write("in.jsonl", changed);
    let script = Script::new(|id, _| Say::Text(format!("second {id}")));
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    assert_eq!(script.asked(), ["new", "r2"]);
    assert_eq!(summary.resumed().unwrap(), "1 changed, 1 new, 1 gone, 4 kept");
    let records = folder.records("out.jsonl");
    assert_eq!(records.len(), 7);
    assert_eq!((&records["r2"]["text"], &records["r1"]["text"]), (&"second r2".into(), &"answer to r1".into()));
    assert_eq!(records["r1"]["index"], 2, "a row that moved has its new position");
    let superseded = folder.records("out.jsonl.tidegate/superseded.jsonl");
    assert_eq!(superseded["r2"]["text"], "answer to r2");
    let pruned = folder.run(&script, &["in.jsonl"], "out.jsonl", Options { prune: true, ..options() }).await.unwrap();
    assert_eq!((pruned.counts.gone, script.asked().len()), (1, 2));
    assert!(!folder.records("out.jsonl").contains_key("r5"));
    assert!(by_id(&folder.read("out.jsonl.tidegate/superseded.jsonl")).contains_key("r5"));
}

#[tokio::test]
async fn failures_are_tried_again_when_that_may_help_or_when_told() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    let failing = Script::new(|id, _| match id {
        "r0" => Say::Fail(ErrorClass::Upstream, true),
        "r1" => Say::Fail(ErrorClass::Task, false),
        _ => Say::Text("x".to_owned()),
    });
    folder.run(&failing, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let script = Script::echo();
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    assert_eq!(script.asked(), ["r0"]);
    assert_eq!((summary.counts.retried, summary.counts.kept, summary.counts.kept_failed), (1, 2, 1));
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", Options { retry_failed: true, ..options() }).await.unwrap();
    assert_eq!(script.asked(), ["r0", "r1"]);
    assert_eq!(summary.counts.kept_failed, 0);
    let records = folder.records("out.jsonl");
    assert!(records.values().all(|record| record["status"] == "ok"));
    assert_eq!(folder.records("out.jsonl.tidegate/superseded.jsonl").len(), 2);
}

#[tokio::test]
async fn a_limit_leaves_records_in_place_that_it_does_not_reach() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(4));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    folder.write("in.jsonl", rows(4).replace(":\"p", ":\"q"));
    let script = Script::new(|_, _| Say::Text("second".to_owned()));
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", Options { limit: Some(1), ..options() }).await.unwrap();
    let records = folder.records("out.jsonl");
    assert_eq!((records.len(), summary.outstanding), (4, 3));
    assert_eq!((&records["r0"]["text"], &records["r3"]["text"]), (&"second".into(), &"answer to r3".into()));
}

#[tokio::test]
async fn other_settings_are_refused_with_the_difference_until_accepted() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let mut other = options();
    other.defaults.model = Some("gemini-y".to_owned());
    other.defaults.temperature = Some(0.5);
    let script = Script::echo();
    let error = folder.run(&script, &["in.jsonl"], "out.jsonl", other.clone()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: begun with other settings: model: \"gemini-x\" -> \"gemini-y\", temperature: not set -> 0.5; add --accept-changes to go on and ask again what they change, or --fresh to start over",
            folder.shown("out.jsonl")
        )
    );
    assert!(script.asked().is_empty());
    other.accept_changes = true;
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", other.clone()).await.unwrap();
    assert_eq!((summary.counts.changed, script.asked().len()), (3, 3));
    other.accept_changes = false;
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", other).await.unwrap();
    assert_eq!(summary.counts.kept, 3, "what was accepted is the new standard");
}

#[tokio::test]
async fn a_fresh_start_asks_everything_and_keeps_the_old_records_beside() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    folder.write("theirs.json", "[1]");
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let fresh = Options { fresh: true, ..options() };
    let script = Script::new(|_, _| Say::Text("second".to_owned()));
    folder.run(&script, &["in.jsonl"], "out.jsonl", fresh.clone()).await.unwrap();
    assert_eq!(folder.records("out.jsonl")["r1"]["text"], "second");
    assert_eq!(folder.records("out.jsonl.tidegate/superseded.jsonl")["r1"]["text"], "answer to r1");
    folder.run(&script, &["in.jsonl"], "theirs.json", fresh).await.unwrap();
    assert_eq!(folder.read("theirs.json.tidegate/replaced-1-theirs.json"), "[1]");
}

#[tokio::test]
async fn a_second_run_on_the_same_output_is_refused() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    folder.write("ended", "");
    let control = Control::new();
    let hanging = Script::new(|_, _| Say::Hang);
    let first = folder.run_under(&control, &hanging, &["in.jsonl"], "out.jsonl", options());
    let second = async {
        while hanging.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        let error = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap_err();
        control.cancel(tidegate_batch::StopReason::Interrupted);
        error
    };
    let (_, error) = tokio::join!(first, second);
    let output = folder.shown("out.jsonl");
    let pid = Some(std::process::id().to_string());
    assert_eq!(error, RunError::Locked { output: output.clone(), pid });
    assert_eq!(
        error.to_string(),
        format!(
            "{output}: another run (process {}) is writing it; wait for its end or choose another output",
            std::process::id()
        )
    );
}

#[tokio::test]
async fn an_output_in_input_order_can_be_resumed() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(50));
    let ordered = Options { ordered: true, ..options() };
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", Options { limit: Some(30), ..ordered.clone() }).await.unwrap();
    let script = Script::echo();
    folder.run(&script, &["in.jsonl"], "out.jsonl", ordered).await.unwrap();
    assert_eq!(script.asked().len(), 20);
    let positions: Vec<u64> = folder
        .read("out.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap())
        .collect();
    assert_eq!(positions, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_resumes_like_a_file() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let script = Script::echo();
    let stream = Input::stream("stdin", Format::Jsonl, Cursor::new(rows(7).replace("\"p3\"", "\"other\"")));
    let output = Output::new(folder.path("out.jsonl"));
    let summary = run(&script, vec![stream], output, options(), &Control::new(), Arc::new(())).await.unwrap();
    assert_eq!(script.asked(), ["r3", "r5", "r6"]);
    assert_eq!(summary.resumed().unwrap(), "1 changed, 2 new, 0 gone, 4 kept");
    assert_eq!(folder.records("out.jsonl").len(), 7);
    assert!(!folder.path("out.jsonl.tidegate/stream-0").exists());
}

#[tokio::test]
async fn a_run_killed_at_any_byte_ends_with_the_same_set() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let whole = std::fs::read(folder.path("out.jsonl")).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
    for cut in 0..=whole.len() {
        folder.write("out.jsonl", &whole[..cut]);
        let script = Script::echo();
        let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
        let kept = ends.iter().filter(|end| cut >= **end).count();
        assert_eq!(script.asked().len(), 3 - kept, "cut at {cut}");
        assert_eq!(summary.counts.kept, kept as u64);
        assert_eq!(folder.records("out.jsonl").into_keys().collect::<Vec<_>>(), ["r0", "r1", "r2"], "cut at {cut}");
        let clean = cut == 0 || ends.iter().any(|end| cut == *end || cut == end + 1);
        assert_eq!(summary.warnings.is_empty(), clean, "cut at {cut}: {:?}", summary.warnings);
    }
}

/// One run of a history: the content of each row by id, what the engine says to each, where the output is cut after.
#[derive(Debug, Clone)]
struct Step {
    input: BTreeMap<u8, u8>,
    outcomes: Vec<u8>,
    retry_failed: bool,
    ordered: bool,
    cut: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    (
        prop::collection::btree_map(0u8..8, 0u8..3, 0..8),
        prop::collection::vec(0u8..3, 8),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(0usize..4000),
    )
        .prop_map(|(input, outcomes, retry_failed, ordered, cut)| Step { input, outcomes, retry_failed, ordered, cut })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_happened_before_a_good_run_ends_every_row_with_success(
        history in prop::collection::vec(step(), 0..5),
        last in prop::collection::btree_map(0u8..8, 0u8..3, 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = Folder::new();
            for Step { input, outcomes, retry_failed, ordered, cut } in history {
                folder.write("in.jsonl", lines(&input));
                let script = Script::new(move |id, body| match outcomes[id.parse::<usize>().unwrap()] {
                    0 => Say::Text(content_of(body)),
                    1 => Say::Fail(ErrorClass::Upstream, true),
                    _ => Say::Fail(ErrorClass::Task, false),
                });
                let options = Options { retry_failed, ordered, ..options() };
                folder.run(&script, &["in.jsonl"], "out.jsonl", options).await.unwrap();
                let mut bytes = std::fs::read(folder.path("out.jsonl")).unwrap();
                by_id(std::str::from_utf8(&bytes).unwrap());
                bytes.truncate(cut.unwrap_or(usize::MAX));
                folder.write("out.jsonl", bytes);
            }
            folder.write("in.jsonl", lines(&last));
            let script = Script::new(|_, body| Say::Text(content_of(body)));
            let retry = Options { retry_failed: true, ..options() };
            let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", retry).await.unwrap();
            let records = folder.records("out.jsonl");
            for (position, (id, content)) in last.iter().enumerate() {
                let record = &records[&id.to_string()];
                assert_eq!(record["status"], "ok");
                assert_eq!(record["text"], format!("content {content}"), "an answer to another question was kept");
                assert_eq!(record["index"], position);
            }
            assert_eq!(summary.outstanding, 0);
            assert_eq!(records.len() as u64, last.len() as u64 + summary.counts.gone);
        });
    }
}

fn lines(input: &BTreeMap<u8, u8>) -> String {
    input.iter().map(|(id, content)| format!("{{\"id\":{id},\"prompt\":\"content {content}\"}}\n")).collect()
}

fn content_of(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body["contents"][0]["parts"][0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_record_that_cannot_be_kept_aside_does_not_leave_the_output() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let before = folder.read("out.jsonl");
    folder.write("in.jsonl", rows(3).replace(":\"p", ":\"q"));
    std::fs::create_dir(folder.path("out.jsonl.tidegate/superseded.jsonl")).unwrap();
    let script = Script::echo();
    let error = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap_err();
    assert!(error.is_file_trouble(), "{error}");
    assert!(script.asked().is_empty());
    assert_eq!(folder.read("out.jsonl"), before);
}

#[tokio::test]
async fn a_bad_record_is_named_and_nothing_is_asked() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let (good, out) = (folder.read("out.jsonl"), folder.shown("out.jsonl"));
    let script = Script::echo();
    folder.write("out.jsonl", format!("oops\n{good}"));
    let error = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{out}:1: is no record of a run: expected value at line 1 column 1; remove the line (its row is asked again), choose another output, or start over with --fresh (everything is kept beside)"
        )
    );
    assert!(script.asked().is_empty());
}
