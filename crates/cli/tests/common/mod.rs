//! Runs the real binary in folders of its own, against simulated servers of its own.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest any program of a test may run: far more than it needs on the slowest machine.
const AT_MOST: Duration = Duration::from_secs(120);

/// The key of the servers below.
pub const KEY: &str = "SIM-test-one-key-1-0123456789abcdef";

/// A server without limits or faults, quick to answer.
pub const QUICK: &str = r#"
name = "quick"
[latency]
base = { constant = 3 }
per_output_token = 0.0
[[projects]]
name = "one"
keys = ["SIM-test-one-key-1-0123456789abcdef"]
"#;

/// A folder that is gone after the test.
pub struct TestDir(tempfile::TempDir);

impl TestDir {
    pub fn new() -> TestDir {
        TestDir(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and gives its name.
    pub fn write<'n>(&self, name: &'n str, text: impl AsRef<[u8]>) -> &'n str {
        std::fs::write(self.path(name), text).unwrap();
        name
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The records of an output, one a line.
    pub fn records(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// The binary in this folder, in an environment of its own.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(words).current_dir(self.0.path()).env_clear();
        command.env("HOME", self.0.path()).env("TZ", "UTC").env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, words: &[&str]) -> Ended {
        end(&mut self.command(words))
    }

    /// `count` prompts with ids `p0`, `p1`, ... in `in.jsonl`.
    pub fn prompts(&self, count: usize) -> &'static str {
        let lines: String = (0..count).map(|n| format!("{{\"id\":\"p{n}\",\"prompt\":\"say {n}\"}}\n")).collect();
        self.write("in.jsonl", lines)
    }
}

/// What a program left behind.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Checks the exit code; everything the program said is shown when it is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Checks that a line of standard error is exactly this one.
    #[track_caller]
    pub fn says(self, line: &str) -> Ended {
        assert!(self.stderr.lines().any(|said| said == line), "missing: {line}\n{self}");
        self
    }

    /// Checks that standard error holds a text.
    #[track_caller]
    pub fn mentions(self, text: &str) -> Ended {
        assert!(self.stderr.contains(text), "missing: {text}\n{self}");
        self
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs a command to its end.
pub fn end(command: &mut Command) -> Ended {
    end_of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// The same with something on standard input.
pub fn end_with_input(command: &mut Command, input: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    match child.stdin.take().unwrap().write_all(input.as_bytes()) {
        // A program that refuses its arguments may be gone before it is told anything.
        Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => {}
        told => told.unwrap(),
    }
    end_of(child)
}

/// Waits for the end of a child whose outputs are piped.
pub fn end_of(mut child: Child) -> Ended {
    let gather = |mut from: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = gather(Box::new(child.stdout.take().unwrap()));
    let stderr = gather(Box::new(child.stderr.take().unwrap()));
    let code = exit_of(&mut child);
    Ended { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// The exit code of a child; one that hangs is killed.
pub fn exit_of(child: &mut Child) -> Option<i32> {
    let mut status = None;
    let ended = wait_until(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if !ended {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    status.and_then(|status| status.code())
}

/// Looks again and again until a condition holds; false when it never does.
pub fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > AT_MOST {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Sends a signal to a child.
#[cfg(unix)]
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Lines a file holds so far.
pub fn lines_in(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// `tidegate simulate` as a process of its own.
pub struct Simulator {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub base_url: String,
    dir: TestDir,
}

impl Simulator {
    /// Serves a scenario.
    pub fn start(scenario: &str) -> Simulator {
        let dir = TestDir::new();
        dir.write("scenario.toml", scenario);
        let mut command =
            dir.command(["simulate", "--listen", "127.0.0.1:0", "--scenario", "scenario.toml", "--report", "report.json", "-q"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut base_url = String::new();
        stdout.read_line(&mut base_url).unwrap();
        Simulator { child, stdout, base_url: base_url.trim().to_string(), dir }
    }

    /// What it has seen so far: seconds since the first request, and requests.
    pub fn seen(&self) -> (f64, u64) {
        let report = self.report();
        (report["seconds"].as_f64().unwrap(), report["requests"].as_u64().unwrap())
    }

    /// Its report so far.
    pub fn report(&self) -> Value {
        let mut stream = TcpStream::connect(self.base_url.trim_start_matches("http://")).unwrap();
        write!(stream, "GET /sim/report HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Ends it and gives what it has seen.
    #[cfg(unix)]
    pub fn stop(mut self) -> Value {
        signal(&self.child, "TERM");
        assert_eq!(exit_of(&mut self.child), Some(0));
        serde_json::from_str(&self.dir.read("report.json")).unwrap()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
        self.stdout.read_to_string(&mut String::new()).map(|_| ()).unwrap_or_default();
    }
}

/// `tidegate serve` as a process of its own.
pub struct Serving {
    pub child: Child,
    pub address: String,
}

impl Serving {
    /// Starts what a command tells to, and waits until it listens.
    pub fn start(command: &mut Command) -> Serving {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").expect("an address").to_string();
        Serving { child, address }
    }

    /// What a path answers, head and body.
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Its open files and connections.
    #[cfg(target_os = "linux")]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// What the system tells of its memory in kB: `VmRSS` now, `VmHWM` at its peak.
    #[cfg(target_os = "linux")]
    pub fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

/// A server that gives every connection the same bytes and closes it; its base URL.
pub fn always_answering(bytes: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 65_536];
            stream.read(&mut request).map(|_| ()).unwrap_or_default();
            stream.write_all(bytes).unwrap_or_default();
        }
    });
    format!("http://{address}")
}
