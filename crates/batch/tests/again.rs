//! A run on an output that is finished, torn, edited, or was begun by something else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::time::Duration;

use common::{Folder, Script, options, rows};
use tidegate_batch::{Control, End, FailOn, Options, ProgressSink, RunError, StopReason, Update};

#[tokio::test]
async fn a_finished_run_ends_well_whatever_bound_or_deadline_it_has() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5));
    folder.run(&Script::echo(), &["in.jsonl"], "out.json", options()).await.unwrap();
    let whole = folder.read("out.json");
    for options in [
        Options { max_tokens: Some(1), ..options() },
        Options { deadline: Some(Duration::ZERO), ..options() },
        Options { fail_on_error: Some(FailOn::Count(0)), ..options() },
    ] {
        fs::remove_file(folder.path("out.json")).unwrap();
        let script = Script::echo();
        let summary = folder.run(&script, &["in.jsonl"], "out.json", options).await.unwrap();
        assert_eq!((summary.end(), summary.outstanding), (End::AllOk, 0));
        assert!(script.asked().is_empty());
        assert_eq!(folder.read("out.json"), whole, "the final form is written all the same");
    }
}

#[tokio::test]
async fn a_bound_that_is_reached_with_the_last_row_is_no_stop() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5));
    let spent = Options { max_tokens: Some(50), admit: 1, ..options() };
    let summary = folder.run(&Script::echo(), &["in.jsonl"], "out.json", spent).await.unwrap();
    assert_eq!((summary.end(), summary.outstanding, summary.counts.ok), (End::AllOk, 0, 5));
    assert!(folder.read("out.json").starts_with('['));
}

/// Stops the run when it is about to begin.
struct Late(Control);

impl ProgressSink for Late {
    fn update(&self, update: Update<'_>) {
        if let Update::Planned(_) = update {
            self.0.stop(StopReason::Interrupted, Duration::ZERO);
        }
    }
}

#[tokio::test]
async fn a_signal_that_comes_when_nothing_is_left_to_do_changes_nothing() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let control = Control::new();
    let (inputs, output) = (folder.inputs(&["in.jsonl"]), tidegate_batch::Output::new(folder.path("out.jsonl")));
    let sink = std::sync::Arc::new(Late(control.clone()));
    let summary = tidegate_batch::run(&Script::echo(), inputs, output, options(), &control, sink).await.unwrap();
    assert_eq!(summary.end(), End::AllOk);
}

#[tokio::test]
async fn an_output_without_its_folder_and_without_a_last_line_break_is_gone_on_with() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", Options { limit: Some(2), ..options() }).await.unwrap();
    let two = folder.read("out.jsonl");
    for (found, asked) in [(two.trim_end().to_owned(), 1), (two[..two.len() - 20].to_owned(), 2)] {
        fs::remove_dir_all(folder.path("out.jsonl.tidegate")).unwrap();
        folder.write("out.jsonl", found);
        let script = Script::echo();
        let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
        assert_eq!(script.asked().len(), asked);
        assert_eq!(summary.warnings.len(), asked - 1, "{:?}", summary.warnings);
        assert_eq!(folder.records("out.jsonl").len(), 3);
    }
}

#[tokio::test]
async fn a_second_record_of_an_id_is_moved_aside_with_a_warning() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(3));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let good = folder.read("out.jsonl");
    let second = good.lines().next().unwrap().replace("answer to", "again for");
    folder.write("out.jsonl", format!("{good}{second}\n"));
    let script = Script::echo();
    let summary = folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    assert!(script.asked().is_empty());
    assert_eq!(folder.read("out.jsonl"), good);
    assert_eq!(folder.read("out.jsonl.tidegate/superseded.jsonl"), format!("{second}\n"));
    let (out, aside) = (folder.shown("out.jsonl"), folder.shown("out.jsonl.tidegate/superseded.jsonl"));
    assert_eq!(summary.warnings, [format!("{out}:4: is a second record of its id and is moved to {aside}")]);
}

#[tokio::test]
async fn metadata_and_unknown_fields_edited_in_the_input_come_into_the_kept_record() {
    let folder = Folder::new();
    folder.write(
        "in.jsonl",
        "{\"id\":\"a\",\"prompt\":\"p\",\"metadata\":{\"v\":1},\"shelf\":\"A\"}\n{\"id\":\"b\",\"prompt\":\"q\"}\n",
    );
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let first = folder.records("out.jsonl");
    folder.write(
        "in.jsonl",
        "{\"id\":\"a\",\"prompt\":\"p\",\"metadata\":{\"v\": 1.50}}\n{\"id\":\"b\",\"prompt\":\"q\",\"shelf\":\"B\"}\n",
    );
    let script = Script::echo();
    folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    assert!(script.asked().is_empty());
    let text = folder.read("out.jsonl");
    let line = |id: &str| text.lines().find(|line| line.starts_with(&format!("{{\"id\":\"{id}\""))).unwrap();
    assert!(line("a").ends_with(",\"metadata\":{\"v\":1.50}}"), "{text}");
    assert!(line("b").ends_with(",\"extra\":{\"shelf\":\"B\"}}"), "{text}");
    assert_eq!(folder.records("out.jsonl")["a"]["finished_at"], first["a"]["finished_at"]);
    assert_eq!(folder.read("out.jsonl.tidegate/superseded.jsonl"), "");
    folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    assert_eq!(folder.read("out.jsonl"), text, "what is up to date is not written again");
}

#[tokio::test]
async fn an_explicit_id_that_a_row_without_one_would_get_is_refused() {
    let folder = Folder::new();
    folder.write("in.jsonl", "\"p\"\n");
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let derived = folder.records("out.jsonl").into_keys().next().unwrap();
    for (content, line) in [
        (format!("\"p\"\n{{\"id\":\"{derived}\",\"prompt\":\"q\"}}\n"), 2),
        (format!("{{\"id\":\"{derived}\",\"prompt\":\"q\"}}\n\"other\"\n\"p\"\n"), 1),
    ] {
        folder.write("in.jsonl", content);
        let script = Script::echo();
        let error = folder.run(&script, &["in.jsonl"], "new.jsonl", options()).await.unwrap_err();
        let place = folder.shown("in.jsonl");
        assert_eq!(
            error.to_string(),
            format!(
                "{place}:{line}: id \"{derived}\" is the one that a row without an id gets for its content; give this row another id"
            )
        );
        assert!(script.asked().is_empty());
    }
}

#[tokio::test]
async fn answers_of_different_endpoints_do_not_mix_unasked() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    let of = |endpoint: &str| Options { endpoint: Some(endpoint.to_owned()), ..options() };
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", of("simulated")).await.unwrap();
    let error = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", of("api")).await.unwrap_err();
    assert!(error.to_string().contains("endpoint: \"simulated\" -> \"api\"; add --accept-changes"), "{error}");
    let accepted = Options { accept_changes: true, ..of("api") };
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", accepted).await.unwrap();
}

#[tokio::test]
async fn a_broken_manifest_names_the_remedy_and_the_remedy_helps() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    folder.write("out.jsonl.tidegate/manifest.json", "{");
    let error = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap_err().to_string();
    assert!(error.contains("manifest.json: cannot be read: "), "{error}");
    assert!(error.ends_with("; add --accept-changes to go on with the settings given now, or --fresh to start over"), "{error}");
    let script = Script::echo();
    let accepted = Options { accept_changes: true, ..options() };
    folder.run(&script, &["in.jsonl"], "out.jsonl", accepted).await.unwrap();
    folder.run(&script, &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    assert!(script.asked().is_empty());
}

#[tokio::test]
async fn a_fault_of_the_settings_is_told_before_anything_is_touched() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    let mut wrong = Options { skip_invalid: true, ..options() };
    wrong.defaults.temperature = Some(f64::NAN);
    let error = folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", wrong).await.unwrap_err();
    assert!(matches!(error, RunError::Settings(_)), "{error}");
    assert!(!folder.path("out.jsonl.tidegate").exists());
}
