//! Peak memory of `tidegate run` while it uploads large files, and how fast they go. Run: `cargo bench -p tidegate --bench media`.
//!
//! 100 records with a sparse file of 200 MB each, 16 at a time, against the simulated Files API on the same machine; other
//! numbers: `cargo bench -p tidegate --bench media -- FILES MEGABYTES`. Needs Linux (it reads `/proc`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");
const SCENARIO: &str = "name = \"files\"\n[[projects]]\nname = \"one\"\nkeys = [\"SIM-media-one-key-0123456789abcdef\"]\n[files]\nprocessing_ms = 100\nstorage_bytes = 100000000000\n";

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (files, megabytes) = match numbers[..] {
        [files, megabytes] => (files, megabytes),
        _ => (100, 200),
    };
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), files, megabytes * 1_000_000);
    let (mut simulator, url) = simulator(folder.path());
    let start = Instant::now();
    let peak_kb = run(folder.path(), &url);
    let wall = start.elapsed().as_secs_f64();
    simulator.kill().unwrap();
    simulator.wait().unwrap();
    let rate = (files * megabytes) as f64 / wall;
    println!("{files} files of {megabytes} MB, 16 at a time: peak {} MB, {wall:.0} s, {rate:.0} MB/s", peak_kb / 1024);
}

/// Sparse files that differ in their last bytes, and the rows that name them.
fn prepare(folder: &Path, files: u64, size: u64) {
    let mut rows = String::new();
    for n in 0..files {
        let mut file = File::create(folder.join(format!("film{n}.mp4"))).unwrap();
        file.seek(SeekFrom::Start(size - 8)).unwrap();
        file.write_all(&n.to_le_bytes()).unwrap();
        rows += &format!("{{\"id\":\"{n}\",\"prompt\":\"what is this\",\"video_path\":\"film{n}.mp4\"}}\n");
    }
    std::fs::write(folder.join("in.jsonl"), rows).unwrap();
    std::fs::write(folder.join("scenario.toml"), SCENARIO).unwrap();
}

fn simulator(folder: &Path) -> (Child, String) {
    let mut command = Command::new(TIDEGATE);
    command.args(["simulate", "--listen", "127.0.0.1:0", "--scenario", "scenario.toml", "-q"]).current_dir(folder);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    (child, url.trim().to_owned())
}

/// The peak of resident memory, in KiB.
#[allow(clippy::zombie_processes, reason = "the loop ends only after the wait")]
fn run(folder: &Path, url: &str) -> u64 {
    let words = ["run", "in.jsonl", "-o", "out.jsonl", "--max-concurrency", "16", "--progress", "none", "--base-url", url];
    let mut command = Command::new(TIDEGATE);
    command.args(words).current_dir(folder).env("TIDEGATE_STATE_DIR", folder.join("state"));
    let mut child = command.env("GEMINI_API_KEY", "SIM-media-one-key-0123456789abcdef").spawn().unwrap();
    let mut peak_kb = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        peak_kb = peak_kb.max(line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return peak_kb;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
