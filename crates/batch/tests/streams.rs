//! Streams in and out: read once, beside files, compared with earlier answers, and left by their readers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Folder, Script, options, rows};
use tidegate_batch::{Control, End, Format, Input, Options, Output, ProgressSink, StopReason, Update, run};

#[cfg(unix)]
#[tokio::test]
async fn pipes_are_read_once_as_they_come() {
    let folder = Folder::new();
    for (name, text) in [("one", rows(3)), ("two.txt", "a\nb\n".to_owned())] {
        let made = std::process::Command::new("mkfifo").arg(folder.path(name)).status().unwrap();
        assert!(made.success());
        let path = folder.path(name);
        std::thread::spawn(move || std::fs::write(path, text).unwrap());
    }
    let summary = folder.run(&Script::echo(), &["one", "two.txt"], "out.jsonl", options()).await.unwrap();
    assert_eq!((summary.counts.ok, folder.records("out.jsonl").len()), (5, 5));
    let twice = folder.run(&Script::echo(), &["one", "one"], "other.jsonl", options()).await.unwrap_err();
    assert_eq!(twice.to_string(), format!("{}: is named twice, and can be read once only; name it once", folder.shown("one")));
}

#[test]
fn standard_input_is_one_stream_under_all_its_names() {
    let names: Vec<String> =
        ["-", "/dev/stdin", "/dev/fd/0"].map(|name| Input::new(name, None).unwrap().name().to_owned()).to_vec();
    assert_eq!(names, ["stdin", "stdin", "stdin"]);
    assert!(Input::new(Path::new("nowhere"), None).is_err());
}

#[tokio::test]
async fn files_beside_a_stream_are_checked_before_any_call() {
    let folder = Folder::new();
    folder.write("bad.jsonl", format!("{}oops\n", rows(2)));
    folder.write("twice.jsonl", rows(2) + &rows(1));
    for name in ["bad.jsonl", "twice.jsonl"] {
        let script = Script::echo();
        let stream = Input::stream("stdin", Format::Txt, Cursor::new("one\ntwo\n"));
        let inputs = vec![stream, Input::new(folder.path(name), None).unwrap()];
        let output = Output::new(folder.path("out.jsonl"));
        let error = run(&script, inputs, output, options(), &Control::new(), Arc::new(())).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{}:3", folder.shown(name))), "{error}");
        assert!(script.asked().is_empty(), "{name}");
    }
}

/// A stream that gives its rows and then neither more nor an end, until its other end goes.
struct Endless {
    rows: Cursor<String>,
    reached: Arc<AtomicBool>,
    hold: Receiver<()>,
}

fn endless() -> (Input, Arc<AtomicBool>, Sender<()>) {
    let (release, hold) = channel();
    let reached = Arc::new(AtomicBool::new(false));
    let stream = Endless { rows: Cursor::new(rows(3)), reached: reached.clone(), hold };
    (Input::stream("stdin", Format::Jsonl, stream), reached, release)
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.rows.read(buffer)?;
        if read == 0 {
            self.reached.store(true, Ordering::SeqCst);
            let _ = self.hold.recv();
        }
        Ok(read)
    }
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl ProgressSink for Warnings {
    fn update(&self, update: Update<'_>) {
        if let Update::Warning(text) = update {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_read_to_be_compared_says_so_and_can_be_interrupted() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let before = folder.read("out.jsonl");
    let (input, reached, release) = endless();
    let (control, warnings, script) = (Control::new(), Arc::new(Warnings::default()), Script::echo());
    let output = Output::new(folder.path("out.jsonl"));
    let running = run(&script, vec![input], output, options(), &control, warnings.clone());
    let stopping = async {
        while !reached.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        control.stop(StopReason::Interrupted, Duration::from_secs(10));
    };
    let (summary, ()) = tokio::join!(running, stopping);
    assert_eq!(summary.unwrap().end(), End::Stopped(StopReason::Interrupted));
    assert!(script.asked().is_empty());
    assert_eq!(folder.read("out.jsonl"), before);
    assert!(!folder.path("out.jsonl.tidegate/stream-0").exists());
    let said = format!("stdin is read to its end first, to compare it with the answers in {}", folder.shown("out.jsonl"));
    assert_eq!(*warnings.0.lock().unwrap(), [said]);
    drop(release);
}

#[tokio::test]
async fn the_copy_of_a_stream_goes_when_the_run_is_refused() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(2));
    folder.run(&Script::echo(), &["in.jsonl"], "out.jsonl", options()).await.unwrap();
    let stream = Input::stream("stdin", Format::Jsonl, Cursor::new("oops\n"));
    let output = Output::new(folder.path("out.jsonl"));
    let error = run(&Script::echo(), vec![stream], output, options(), &Control::new(), Arc::new(())).await.unwrap_err();
    assert!(error.to_string().starts_with("stdin:1:1: "), "{error}");
    assert!(!folder.path("out.jsonl.tidegate/stream-0").exists());
}

struct Gone;

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_gone_reader_is_told_without_the_promise_that_answers_are_kept() {
    let folder = Folder::new();
    folder.write("in.jsonl", rows(5));
    for ordered in [false, true] {
        let options = Options { ordered, ..options() };
        let inputs = folder.inputs(&["in.jsonl"]);
        let error = run(&Script::echo(), inputs, Output::stream(Gone), options, &Control::new(), Arc::new(())).await;
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            "writing to the stream of answers failed: broken pipe; a stream keeps nothing, the same command again asks everything again"
        );
        assert!(error.is_file_trouble());
    }
}
