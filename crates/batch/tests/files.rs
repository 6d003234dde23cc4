//! Every file serves for one thing only, and stays what it was while it is used.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Folder, Say, Script, options, rows};
use tidegate_batch::{Control, Input, Options, Output, ProgressSink, RunError, Update, run};
use tidegate_engine::ErrorClass;

fn with_errors(path: PathBuf) -> Options {
    Options { errors: Some(path), ..options() }
}

fn with_log(path: PathBuf) -> Options {
    Options { in_use: vec![("--error-log".to_owned(), path)], ..options() }
}

/// The names of everything in a folder.
fn names(folder: &Folder) -> Vec<String> {
    let names = fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_written_beside_the_output_cannot_be_another_file_of_the_run() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let before = (names(&folder), folder.read("out.jsonl"));
    let at = |name: &str| folder.path(name);
    let round = |name: &str| folder.path("out.jsonl.tidegate").join("..").join(name);
    let both = Options { errors: Some(at("same")), ..with_log(round("same")) };
    for (options, path, flag, by) in [
        (with_errors(at("out.jsonl")), at("out.jsonl"), "--errors", "the output"),
        (with_log(round("out.jsonl")), round("out.jsonl"), "--error-log", "the output"),
        (with_errors(round("in.jsonl")), round("in.jsonl"), "--errors", "an input"),
        (with_log(at("in.jsonl")), at("in.jsonl"), "--error-log", "an input"),
        (with_errors(at("out.jsonl.tidegate/new")), at("out.jsonl.tidegate/new"), "--errors", "in the folder of the output"),
        (both, round("same"), "--error-log", "the file of --errors"),
    ] {
        let script = Script::echo();
        let options = Options { fresh: true, ..options };
        let error = folder.run(&script, &["in.jsonl"], "out.jsonl", options).await.unwrap_err();
        let expected = format!("{}: {flag} cannot write there: it is {by}; choose another file", path.display());
        assert_eq!(error.to_string(), expected);
        assert!(script.asked().is_empty());
        assert_eq!((names(&folder), folder.read("out.jsonl")), before);
    }
    let output = folder.run(&Script::echo(), &["out.jsonl.tidegate/manifest.json"], "out.jsonl", options()).await;
    assert!(output.unwrap_err().to_string().ends_with("is an input and an output; choose another output"));
}

#[tokio::test]
async fn an_errors_file_that_cannot_be_is_refused_before_any_call() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    fs::create_dir(folder.path("folder")).unwrap();
    for (name, end) in [("folder", ": is a directory; "), ("no/again.jsonl", "/no does not exist; create it first")] {
        let script = Script::echo();
        let error = folder.run(&script, &["in.jsonl"], "out.jsonl", with_errors(folder.path(name))).await.unwrap_err();
        assert!(error.to_string().contains(end), "{error}");
        assert!(script.asked().is_empty());
        assert_eq!(names(&folder), ["folder", "in.jsonl"]);
    }
}

#[tokio::test]
async fn a_refused_run_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.write("in.jsonl", format!("{}oops\n", rows(2)));
    folder.write("again.jsonl", "earlier");
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", with_errors(folder.path("again.jsonl"))).await.unwrap_err();
    assert_eq!(names(&folder), ["again.jsonl", "in.jsonl"]);
    assert_eq!(folder.read("again.jsonl"), "earlier");
}

#[cfg(unix)]
#[tokio::test]
async fn a_device_takes_errors_straight_and_stays_a_device() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    let failing = Script::new(|_, _| Say::Fail(ErrorClass::Task, false));
    folder.run(&failing, &["in.jsonl"], "out.jsonl", with_errors(PathBuf::from("/dev/null"))).await.unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let (inputs, onto_stdout, control) = (folder.inputs(&["in.jsonl"]), with_errors(PathBuf::from("-")), Control::new());
    let error = run(&failing, inputs, Output::new("-"), onto_stdout, &control, Arc::new(())).await.unwrap_err().to_string();
    assert_eq!(error, "/dev/stdout: --errors cannot write there: it is the output; choose another file");
}

#[cfg(unix)]
#[tokio::test]
async fn an_output_behind_a_link_to_nothing_keeps_its_lock_and_manifest_beside_the_true_file() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    fs::create_dir(folder.path("true")).unwrap();
    std::os::unix::fs::symlink("true/out.jsonl", folder.path("link.jsonl")).unwrap();
    folder.run(&Script::echo(), &["in.jsonl"], "link.jsonl", options()).await.unwrap();
    assert_eq!(folder.records("true/out.jsonl").len(), 2);
    assert!(folder.path("true/out.jsonl.tidegate/manifest.json").exists());
    assert!(!folder.path("link.jsonl.tidegate").exists());
    let script = Script::echo();
    folder.run(&script, &["in.jsonl"], "true/out.jsonl", options()).await.unwrap();
    assert!(script.asked().is_empty());
}

#[tokio::test]
async fn an_output_without_a_name_or_of_an_unknown_form_is_refused() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    let run = |out: PathBuf| {
        let inputs = folder.inputs(&["in.jsonl"]);
        async move { run(&Script::echo(), inputs, Output::new(out), options(), &Control::new(), Arc::new(())).await }
    };
    let unnamed = run(PathBuf::new()).await.unwrap_err();
    assert_eq!(unnamed.to_string(), "the output has no name; name a file, or - for standard output");
    for (name, extension) in [("x.parquet", "parquet"), ("x.json.zip", "zip")] {
        let error = run(folder.path(name)).await.unwrap_err();
        let expected = format!(
            "{}: .{extension} is no form answers are written in; end the name in .jsonl, .json, .csv, .tsv or .txt, and in .gz or .zst behind that to pack it",
            folder.shown(name)
        );
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(names(&folder), ["in.jsonl"]);
}

/// Does something to a file once: when the first pass is over, or when some rows have ended.
struct Meddle<F> {
    path: PathBuf,
    after: u64,
    act: F,
}

impl<F: Fn(&Path) + Send + Sync> ProgressSink for Meddle<F> {
    fn update(&self, update: Update<'_>) {
        match update {
            Update::Planned(_) if self.after == 0 => (self.act)(&self.path),
            Update::Ended { counts, .. } if counts.ended() == self.after => (self.act)(&self.path),
            _ => {}
        }
    }
}

async fn meddled(folder: &Folder, name: &str, after: u64, act: impl Fn(&Path) + Send + Sync + 'static) -> RunError {
    let sink = Arc::new(Meddle { path: folder.path(name), after, act });
    let inputs = vec![Input::new(folder.path(name), None).unwrap()];
    let options = Options { admit: 1, ..options() };
    run(&Script::echo(), inputs, Output::new(folder.path("out.jsonl")), options, &Control::new(), sink).await.unwrap_err()
}

#[tokio::test]
async fn an_input_that_is_changed_before_the_second_pass_is_refused() {
    for content in [rows(2), rows(5).replace("r4", "r0"), rows(6)] {
        let folder = Folder::new();
        folder.write("in.jsonl", rows(5));
        let error = meddled(&folder, "in.jsonl", 0, move |path| fs::write(path, &content).unwrap()).await;
        let expected = format!(
            "{}: was changed while the run was reading it; every answer is saved, the same command again compares it anew",
            folder.shown("in.jsonl")
        );
        assert_eq!(error.to_string(), expected);
        assert!(folder.records("out.jsonl").is_empty());
    }
}

#[tokio::test]
async fn an_input_that_is_edited_in_place_during_the_second_pass_puts_no_id_twice_into_the_output() {
    let long = |count: usize| rows(count).replace(":\"p", &format!(":\"{}", "long ".repeat(200)));
    let array = |lines: String| format!("[{}]", lines.trim_end().replace('\n', ","));
    let table = |lines: String| {
        let fields = |line: &str| line.replace("{\"id\":", "").replace("\"prompt\":", "").replace('}', "");
        format!("id,prompt\n{}", lines.lines().map(fields).collect::<Vec<_>>().join("\n"))
    };
    for (name, content) in [("in.jsonl", long(500)), ("in.json", array(long(500))), ("in.csv", table(long(500)))] {
        let folder = Folder::new();
        folder.write(name, &content);
        let edited = content.replace("\"r4", "\"r0").into_bytes();
        let error = meddled(&folder, name, 20, move |path| fs::write(path, &edited).unwrap()).await;
        assert!(error.to_string().contains("was changed while the run was reading it"), "{name}: {error}");
        let records = folder.records("out.jsonl").len();
        assert!((20..400).contains(&records), "{name}: {records}");
    }
}

#[tokio::test]
async fn an_input_that_is_replaced_by_another_file_is_read_on_as_it_was() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5_000));
    let sink = Arc::new(Meddle {
        path: folder.path("in.jsonl"),
        after: 20,
        act: |path: &Path| {
            let other = path.with_extension("new");
            fs::write(&other, rows(3)).unwrap();
            fs::rename(other, path).unwrap();
        },
    });
    let (inputs, output) = (folder.inputs(&["in.jsonl"]), Output::new(folder.path("out.jsonl")));
    run(&Script::echo(), inputs, output, options(), &Control::new(), sink).await.unwrap();
    assert_eq!(folder.records("out.jsonl").len(), 5_000);
}
