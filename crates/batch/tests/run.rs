//! Files in, files out: every row ends exactly once, in whatever format it came and goes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Folder, Say, Script, by_id, options, rows};
use serde_json::{Value, json};
use tidegate_batch::{
    Control, Durability, End, FailOn, Format, Input, InputError, Options, Output, ProgressSink, RunError, Status, StopReason,
    Summary, Update, run,
};
use tidegate_engine::ErrorClass;
use tidegate_gemini::response::AnswerStatus;

#[tokio::test]
async fn every_row_ends_exactly_once_and_is_asked_once() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(300));
    let script = Script::echo();
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let records = folder.records("out.jsonl");
    assert_eq!(records.len(), 300);
    assert_eq!(script.asked().len(), 300);
    assert_eq!(records["r7"]["text"], "answer to r7");
    assert_eq!(records["r7"]["index"], 7);
    assert_eq!((summary.counts.ok, summary.counts.total, summary.outstanding), (300, Some(300), 0));
    assert_eq!(summary.usage.total_tokens, 3000);
    assert_eq!(summary.end(), End::AllOk);
}

#[tokio::test]
async fn every_format_gives_the_same_prompts() {
    let folder = Folder::new();
    folder.write("a.jsonl", "\"one\"\n\n{\"prompt\":\"two\"}\n");
    folder.write("b.json", "[\n  \"one\",\n  {\n    \"prompt\": \"two\"\n  }\n]");
    folder.write("c.csv", "prompt,note\none,x\n\"two\",y\n");
    folder.write("d.tsv", "note\tprompt\nx\tone\ny\ttwo\n");
    folder.write("e.txt", "one\n\ntwo\n");
    folder.write("f.jsonl.zst", zstd::encode_all(&b"\"one\"\n\"two\"\n"[..], 1).unwrap());
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(b"prompt\none\ntwo\n").unwrap();
    folder.write("g.csv.gz", packer.finish().unwrap());
    let mut prints: Option<Vec<Value>> = None;
    for name in ["a.jsonl", "b.json", "c.csv", "d.tsv", "e.txt", "f.jsonl.zst", "g.csv.gz"] {
        let out = format!("{name}.out.jsonl");
        folder.run(&Script::echo(), &[name], &out, Options { ordered: true, ..options() }).await.unwrap();
        let mut records: Vec<Value> = folder.records(&out).into_values().collect();
        records.sort_by_key(|record| record["index"].as_u64());
        let found: Vec<Value> = records.into_iter().map(|record| record["fingerprint"].clone()).collect();
        assert_eq!(found.len(), 2, "{name}");
        assert_eq!(*prints.get_or_insert(found.clone()), found, "{name}");
    }
}

#[tokio::test]
async fn several_inputs_are_one_row_of_rows() {
    let folder = Folder::new();
    folder.write("a.jsonl", "{\"id\":\"a\",\"prompt\":\"same\"}\n\"same\"\n");
    folder.write("b.txt", "same\nother\n");
    folder.run(&Script::echo(), &["a.jsonl", "b.txt"], "out.jsonl", options()).await.unwrap();
    let records = folder.records("out.jsonl");
    let mut ids: Vec<(u64, &str)> = records.iter().map(|(id, record)| (record["index"].as_u64().unwrap(), id.as_str())).collect();
    ids.sort_unstable();
    assert_eq!(ids.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(ids[0].1, "a");
    assert_eq!(ids[2].1, format!("{}-2", ids[1].1), "equal rows without ids are numbered");
}

#[tokio::test]
async fn metadata_and_unknown_fields_come_back_unchanged() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"id\":1,\"prompt\":\"p\",\"metadata\":{\"b\":1.50,\"a\":[1e400]},\"shelf\":\"B\"}\n");
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let line = folder.read("out.jsonl");
    assert!(line.ends_with(",\"metadata\":{\"b\":1.50,\"a\":[1e400]},\"extra\":{\"shelf\":\"B\"}}\n"), "{line}");
    assert!(line.starts_with("{\"id\":\"1\",\"index\":0,\"status\":\"ok\""), "{line}");
}

#[tokio::test]
async fn a_template_makes_prompts_of_table_rows() {
    let folder = Folder::new();
    folder.write("in.csv", "id,text\n1,good\n2,bad\n");
    let script = Script::new(|_, body| Say::Text(body.to_owned()));
    let options = Options { template: Some("Classify: {{ text }}".to_owned()), ..options() };
    folder.run(&script, &["in.csv"], "out.jsonl", options.clone()).await.unwrap();
    assert!(folder.records("out.jsonl")["2"]["text"].as_str().unwrap().contains("Classify: bad"));
    folder.write("other.csv", "id,body\n1,good\n");
    let error = folder.run(&script, &["other.csv"], "out2.jsonl", options).await.unwrap_err();
    let expected = format!(
        "{}:2: the prompt template names \"text\", and this row has \"id\", \"body\"; correct the line, or add --skip-invalid to record it as skipped",
        folder.shown("other.csv")
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn the_output_name_tells_its_form() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"id\":\"a\",\"prompt\":\"p\",\"metadata\":{\"k\":\"v\"}}\n{\"id\":\"b\",\"prompt\":\"q\"}\n");
    let script = Script::new(|id, _| Say::Text(format!("{id}\nline")));
    for out in ["out.json", "out.csv", "out.tsv", "out.txt", "out.jsonl.gz", "out.json.zst"] {
        folder.run(&script, &["in.jsonl"], out, options()).await.unwrap();
    }
    let array: Vec<Value> = serde_json::from_str(&folder.read("out.json")).unwrap();
    assert_eq!((&array[0]["id"], &array[1]["id"]), (&json!("a"), &json!("b")));
    let mut table = csv::Reader::from_path(folder.path("out.csv")).unwrap();
    let at = table.headers().unwrap().iter().position(|name| name == "metadata.k").unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!((&rows[0][0], &rows[0][4], &rows[0][at], &rows[1][at]), ("a", "a\nline", "v", ""));
    assert!(folder.read("out.tsv").starts_with("id\tindex\tstatus\t"));
    assert_eq!(folder.read("out.txt"), "a\\nline\nb\\nline\n");
    let mut lines = String::new();
    let packed = std::fs::File::open(folder.path("out.jsonl.gz")).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut lines).unwrap();
    assert_eq!(by_id(&lines).len(), 2);
    let packed = std::fs::read(folder.path("out.json.zst")).unwrap();
    assert!(serde_json::from_slice::<Vec<Value>>(&zstd::decode_all(&packed[..]).unwrap()).is_ok());
}

#[tokio::test]
async fn no_more_rows_than_admitted_are_under_way() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(200));
    let script = Script::echo();
    folder.run(&script, &["in.jsonl"], "out.jsonl", Options { admit: 7, ..options() }).await.unwrap();
    let most = script.most_in_flight.load(std::sync::atomic::Ordering::SeqCst);
    assert!((2..=7).contains(&most), "{most}");
}

#[tokio::test]
async fn each_outcome_has_its_status_and_its_count() {
    let folder = Folder::new();
    folder.write("in.jsonl", "{\"id\":\"ok\",\"prompt\":\"p\"}\n{\"id\":\"cut\",\"prompt\":\"p\"}\n{\"id\":\"blocked\",\"prompt\":\"p\"}\n{\"id\":\"empty\",\"prompt\":\"p\"}\n{\"id\":\"big\",\"prompt\":\"p\"}\n");
    let script = Script::new(|id, _| match id {
        "cut" => Say::Half(AnswerStatus::Truncated),
        "blocked" => Say::Half(AnswerStatus::Blocked),
        "empty" => Say::Half(AnswerStatus::Empty),
        "big" => Say::Fail(ErrorClass::TooLarge, false),
        _ => Say::Text("x".to_owned()),
    });
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let records = folder.records("out.jsonl");
    let statuses: Vec<&Value> = ["ok", "cut", "blocked", "empty", "big"].iter().map(|id| &records[*id]["status"]).collect();
    assert_eq!(statuses, ["ok", "truncated", "blocked", "empty", "failed"]);
    assert_eq!(records["cut"]["text"], "half");
    assert_eq!(records["big"]["error"]["class"], "too_large");
    assert!(records.values().all(|record| record["success"] == json!(record["status"] == "ok")));
    assert!(records.values().all(|record| record.get("error").is_some() != (record["status"] == "ok")));
    assert_eq!(summary.counts.unsuccessful(), 4);
    assert_eq!(summary.end(), End::SomeFailed);
}

#[tokio::test]
async fn failed_lines_can_be_run_again_from_the_errors_file() {
    let folder = Folder::new();
    folder.write("in.json", "[{\"id\":\"a\",\n\"prompt\":\"p\"}, {\"id\":\"b\",\n\"prompt\":\"bad\"}]");
    folder.write("in.csv", "id,prompt\nc,bad\nd,fine\n");
    let script =
        Script::new(|_, body| if body.contains("bad") { Say::Fail(ErrorClass::Task, false) } else { Say::Text("x".into()) });
    let with_errors = Options { errors: Some(folder.path("again.jsonl")), ..options() };
    folder.run(&script, &["in.json", "in.csv"], "out.jsonl", with_errors.clone()).await.unwrap();
    let mut ids: Vec<String> = folder.records("again.jsonl").into_keys().collect();
    ids.sort();
    assert_eq!(ids, ["b", "c"]);
    let first = folder.records("out.jsonl");
    folder.run(&Script::echo(), &["again.jsonl"], "again-out.jsonl", options()).await.unwrap();
    let second = folder.records("again-out.jsonl");
    assert_eq!(second["b"]["fingerprint"], first["b"]["fingerprint"]);
    assert_eq!(second["c"]["status"], "ok");
    folder.run(&script, &["in.json", "in.csv"], "out.jsonl", with_errors).await.unwrap();
    assert_eq!(folder.records("again.jsonl").len(), 2, "failures kept from an earlier run are there, too");
}

#[derive(Default)]
struct Watcher {
    out: std::path::PathBuf,
    ended: Mutex<Vec<(String, Status)>>,
}

impl ProgressSink for Watcher {
    fn update(&self, update: Update<'_>) {
        if let Update::Ended { id, status, .. } = update {
            let text = std::fs::read_to_string(&self.out).unwrap();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            assert!(by_id(whole).contains_key(id), "{id} is told before it is written");
            self.ended.lock().unwrap().push((id.to_owned(), status));
        }
    }
}

#[tokio::test]
async fn a_row_is_told_as_done_only_when_its_record_is_in_the_file() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(40));
    for durability in [Durability::Each, Durability::Batch, Durability::None] {
        let out = folder.path(&format!("{durability:?}.jsonl"));
        let watcher = Arc::new(Watcher { out: out.clone(), ..Watcher::default() });
        let options = Options { durability, ..options() };
        let inputs = folder.inputs(&["in.jsonl"]);
        run(&Script::echo(), inputs, Output::new(&out), options, &Control::new(), watcher.clone()).await.unwrap();
        assert_eq!(watcher.ended.lock().unwrap().len(), 40);
    }
}

#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn through(text: String, script: &Script, options: Options) -> (Result<Summary, RunError>, String) {
    let (pipe, input) = (Pipe::default(), Input::stream("stdin", Format::Jsonl, Cursor::new(text)));
    let ended = run(script, vec![input], Output::stream(pipe.clone()), options, &Control::new(), Arc::new(())).await;
    let bytes = pipe.0.lock().unwrap().clone();
    (ended, String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_stream_is_answered_on_a_stream() {
    let (summary, text) = through(rows(100), &Script::echo(), options()).await;
    let summary = summary.unwrap();
    assert_eq!((summary.counts.total, summary.counts.ok, summary.outstanding), (Some(100), 100, 0));
    assert_eq!(by_id(&text).len(), 100);
    let (_, text) = through(rows(100), &Script::echo(), Options { ordered: true, ..options() }).await;
    let order: Vec<Value> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].clone()).collect();
    assert_eq!(order, (0..100).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_bad_line_on_a_stream_lets_the_rows_before_it_end() {
    let (ended, text) = through(format!("{}oops\n{}", rows(3), rows(9)), &Script::echo(), options()).await;
    let error = ended.unwrap_err().to_string();
    assert_eq!(
        error,
        "stdin:4:1: a prompt is a string or an object, not something else; correct the line, or add --skip-invalid to record it as skipped"
            .replace("a prompt is a string or an object, not something else", &reason("oops"))
    );
    assert_eq!(by_id(&text).len(), 3);
    let (ended, text) = through(rows(3) + &rows(1), &Script::echo(), options()).await;
    assert_eq!(
        ended.unwrap_err().to_string(),
        "id \"r0\" stands twice: at stdin:1 and at stdin:4; give each row its own id, or leave ids out"
    );
    assert_eq!(by_id(&text).len(), 3);
}

fn reason(line: &str) -> String {
    tidegate_gemini::Prompt::from_json(line).unwrap_err().to_string()
}

#[tokio::test]
async fn a_bad_line_is_recorded_when_told_to_skip_it() {
    let folder = Folder::new();
    folder.write("in.jsonl", b"{\"id\":\"a\",\"prompt\":\"p\"}\n{\"id\":\"b\"}\n\"x\xff\"\n{\"id\":\"c\",\"prompt\":\"p\"}\n");
    let options = Options { skip_invalid: true, ..options() };
    let script = Script::echo();
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options.clone()).await.unwrap();
    assert_eq!((summary.counts.ok, summary.counts.skipped, summary.outstanding), (2, 2, 0));
    let records = folder.records("out.jsonl");
    let skipped: Vec<&Value> = records.values().filter(|record| record["status"] == "skipped").collect();
    assert_eq!(skipped.len(), 2);
    assert!(skipped.iter().all(|record| record["error"]["class"] == "input"));
    let messages: Vec<&str> = skipped.iter().filter_map(|record| record["error"]["message"].as_str()).collect();
    let path = folder.shown("in.jsonl");
    assert!(messages.contains(&format!("{path}:2: {}", reason("{\"id\":\"b\"}")).as_str()), "{messages:?}");
    assert!(messages.iter().any(|message| message.starts_with(&format!("{path}:3:3: not UTF-8"))), "{messages:?}");
    let again = folder.run(&script, &["in.jsonl"], "out.jsonl", options).await.unwrap();
    assert_eq!((again.counts.kept, again.counts.ended()), (4, 0));
}

#[tokio::test]
async fn a_limit_asks_the_first_rows_only_and_the_next_run_goes_on() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(10));
    let script = Script::echo();
    let limited = Options { limit: Some(4), ..options() };
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", limited.clone()).await.unwrap();
    assert_eq!(script.asked(), ["r0", "r1", "r2", "r3"]);
    assert_eq!((summary.outstanding, summary.end()), (6, End::AllOk));
    folder.run(&script, &["in.jsonl"], "out.jsonl", limited.clone()).await.unwrap();
    assert_eq!(folder.records("out.jsonl").len(), 8);
    let (summary, text) = through(rows(10), &Script::echo(), limited).await;
    assert_eq!((summary.unwrap().counts.ok, by_id(&text).len()), (4, 4));
}

#[tokio::test]
async fn a_run_without_a_usable_key_stops_and_touches_nothing() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(50));
    let script = Script::new(|id, _| match id {
        "r0" => Say::Text("x".to_owned()),
        _ => Say::Fail(ErrorClass::NoKey, false),
    });
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", Options { admit: 5, ..options() }).await.unwrap();
    assert_eq!((summary.end(), summary.outstanding), (End::Stopped(StopReason::NoKey), 49));
    assert_eq!(folder.records("out.jsonl").len(), 1);
    assert!(script.asked().len() <= 11);
}

#[tokio::test]
async fn a_token_budget_counts_earlier_runs_and_stops_resumable() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(50));
    let with_budget = |tokens| Options { max_tokens: Some(tokens), admit: 1, ..options() };
    let summary = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", with_budget(100)).await.unwrap();
    assert_eq!((summary.counts.ok, summary.end()), (10, End::Stopped(StopReason::Budget)));
    let summary = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", with_budget(150)).await.unwrap();
    assert_eq!((summary.counts.ok, summary.outstanding), (5, 35));
    let summary = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", with_budget(150)).await.unwrap();
    assert_eq!((summary.counts.ok, summary.end()), (0, End::Stopped(StopReason::Budget)), "a spent budget asks nothing");
}

#[tokio::test]
async fn too_many_failures_stop_the_run() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(50));
    let script = Script::new(|_, _| Say::Fail(ErrorClass::Task, true));
    let options = Options { fail_on_error: Some(FailOn::Count(3)), admit: 1, ..options() };
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options).await.unwrap();
    assert_eq!((summary.counts.failed, summary.end()), (3, End::Stopped(StopReason::TooManyErrors)));
}

#[tokio::test]
async fn a_passed_deadline_asks_nothing_more() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5));
    let script = Script::echo();
    let options = Options { deadline: Some(Duration::ZERO), ..options() };
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options).await.unwrap();
    assert_eq!((summary.end(), summary.outstanding), (End::Stopped(StopReason::Deadline), 5));
    assert!(script.asked().is_empty());
}

/// Stops or cancels the run once this many rows have ended.
struct After {
    rows: u64,
    control: Control,
    act: fn(&Control),
}

impl ProgressSink for After {
    fn update(&self, update: Update<'_>) {
        if let Update::Ended { counts, .. } = update
            && counts.ended() == self.rows
        {
            (self.act)(&self.control);
        }
    }
}

async fn stopped_after(folder: &Folder, rows: u64, script: &Script, act: fn(&Control)) -> Summary {
    let control = Control::new();
    let sink = Arc::new(After { rows, control: control.clone(), act });
    let inputs = folder.inputs(&["in.jsonl"]);
    let options = Options { admit: 4, ..options() };
    run(script, inputs, Output::new(folder.path("out.jsonl")), options, &control, sink).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_ends_what_is_in_flight_and_is_resumed_without_loss() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(100));
    let script = Script::echo();
    let summary = stopped_after(&folder, 10, &script, |control| {
        control.stop(StopReason::Interrupted, Duration::from_secs(10));
    })
    .await;
    assert_eq!(summary.end(), End::Stopped(StopReason::Interrupted));
    assert_eq!(folder.records("out.jsonl").len(), script.asked().len(), "every answer is saved");
    assert!(script.asked().len() < 20);
    let rest = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    assert_eq!((rest.end(), script.asked().len()), (End::AllOk, 100));
    assert_eq!(folder.records("out.jsonl").len(), 100);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_left_when_the_grace_is_over() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(10));
    let script = Script::new(|id, _| if id == "r1" { Say::Hang } else { Say::Text("x".to_owned()) });
    let before = tokio::time::Instant::now();
    let summary = stopped_after(&folder, 9, &script, |control| {
        control.stop(StopReason::Terminated, Duration::from_secs(3));
    })
    .await;
    assert_eq!((summary.end(), summary.outstanding), (End::Stopped(StopReason::Terminated), 1));
    assert_eq!(folder.records("out.jsonl").len(), 9);
    assert_eq!(before.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_leaves_what_hangs_and_saves_what_came() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(10));
    let script = Script::new(|id, _| if id == "r1" { Say::Hang } else { Say::Text("x".to_owned()) });
    let summary = stopped_after(&folder, 9, &script, |control| control.cancel(StopReason::Interrupted)).await;
    assert_eq!((summary.end(), summary.outstanding), (End::Stopped(StopReason::Interrupted), 1));
    assert_eq!(folder.records("out.jsonl").len(), 9);
}

#[tokio::test]
async fn a_run_that_is_stopped_before_it_begins_asks_nothing() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(10));
    let (control, script) = (Control::new(), Script::echo());
    control.stop(StopReason::Terminated, Duration::ZERO);
    let summary = folder.run_under(&control, &script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    assert_eq!(summary.end(), End::Stopped(StopReason::Terminated));
    assert!(script.asked().is_empty());
}

#[tokio::test]
async fn bad_inputs_are_refused_before_any_call_with_place_and_remedy() {
    let folder = Folder::new();
    folder.write("a.jsonl", "{\"id\":\"x\",\"prompt\":\"p\"}\n\n{\"prompt\":\"q\"}\n");
    folder.write("b.jsonl", "{\"id\":\"y\",\"prompt\":\"p\"}\n{\"id\":\"x\",\"prompt\":\"p\"}\n");
    folder.write("bad.jsonl", "\"p\"\n{\"prompt\": \"p\",}\n");
    folder.write("open.json", "[\"p\",\n\"q\"\n");
    let shown = |name: &str| folder.shown(name);
    let hint = "correct the line, or add --skip-invalid to record it as skipped";
    for (names, expected) in [
        (
            &["a.jsonl", "b.jsonl"][..],
            format!(
                "id \"x\" stands twice: at {}:1 and at {}:2; give each row its own id, or leave ids out",
                shown("a.jsonl"),
                shown("b.jsonl")
            ),
        ),
        (&["bad.jsonl"], format!("{}:2:16: {}; {hint}", shown("bad.jsonl"), reason("{\"prompt\": \"p\",}"))),
        (&["open.json"], format!("{}:3:1: the file ends before the array is closed with ]", shown("open.json"))),
        (&["none.jsonl"], format!("{}: no such file; check the path", shown("none.jsonl"))),
    ] {
        let script = Script::echo();
        let error = folder.run(&script, names, "out.jsonl", options()).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(script.asked().is_empty());
        assert!(!folder.path("out.jsonl").exists());
    }
    let twice = vec![Input::stream("stdin", Format::Txt, io::empty()), Input::stream("stdin", Format::Txt, io::empty())];
    let error = run(&Script::echo(), twice, Output::new(folder.path("o.jsonl")), options(), &Control::new(), Arc::new(())).await;
    assert_eq!(error, Err(RunError::Input(InputError::StreamTwice { name: "stdin".to_owned() })));
}

#[tokio::test]
async fn bad_outputs_are_refused_before_any_call_with_reason_and_remedy() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    folder.write("file", "");
    folder.write("theirs.json", "{}");
    folder.write("theirs.jsonl", "{\"mine\":1}");
    let shown = |name: &str| folder.shown(name);
    let root = folder.0.path().display();
    for (out, expected) in [
        ("", format!("{root}: is a directory; name a file, for example {root}/answers.jsonl")),
        ("no/out.jsonl", format!("{root}/no/out.jsonl: the directory {root}/no does not exist; create it first")),
        ("file/out.jsonl", format!("{root}/file/out.jsonl: the directory {root}/file does not exist; create it first")),
        ("in.jsonl", format!("{}: is an input and an output; choose another output", shown("in.jsonl"))),
        (
            "theirs.json",
            format!(
                "{}: holds something that no run has written; choose another output, or add --fresh to replace it (it is kept beside)",
                shown("theirs.json")
            ),
        ),
        (
            "theirs.jsonl",
            format!(
                "{}: holds something that no run has written; choose another output, or add --fresh to replace it (it is kept beside)",
                shown("theirs.jsonl")
            ),
        ),
    ] {
        let script = Script::echo();
        let error = folder.run(&script, &["in.jsonl"], out, options()).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(script.asked().is_empty());
    }
    for left in ["theirs.json.tidegate", "theirs.jsonl.tidegate"] {
        assert!(!folder.path(left).exists(), "{left} is left");
    }
    assert_eq!(folder.read("theirs.json"), "{}");
    assert_eq!(folder.read("theirs.jsonl"), "{\"mine\":1}");
    let error = folder.run(&Script::echo(), &["in.jsonl"], "../../proc/x", options()).await.unwrap_err();
    assert!(matches!(error, RunError::Output(_)));
}
