//! Eight processes of `tidegate run` on one Redis and three projects, against a simulated server with strict sliding minutes.
//!
//! `cargo bench -p tidegate --bench eight [-- MINUTE_SECONDS [PROMPTS [RPM [PROCESSES]]]]`, by default minutes of 20 s, 800 prompts
//! for each process and 700 requests a minute for each project. Starts a redis-server of its own; prints what was refused and why,
//! the fullest minute over its limit, how much of the limits was used, how evenly, and what it cost in calls of Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../../redis/tests/server/mod.rs"]
mod server;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use server::Server;
use tempfile::TempDir;

const PROJECTS: [&str; 3] = ["a", "b", "c"];

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let number = |at: usize, usual: u64| numbers.get(at).copied().unwrap_or(usual);
    let (minute, prompts, rpm, processes) = (number(0, 20), number(1, 800), number(2, 700), number(3, 8));
    let (folder, redis) = (tempfile::tempdir().unwrap(), Server::start());
    let simulator = Simulator::start(&folder, minute, rpm);
    let began = Instant::now();
    let start = |number| Process::start(&folder, number, prompts, &settings(&simulator.url, &redis.url(), minute, rpm));
    let mut running: Vec<Process> = (0..processes).map(start).collect();
    let all = prompts * processes;
    while running.iter().map(Process::answered).sum::<u64>() < all / 2 {
        assert!(running.iter_mut().all(Process::is_alive), "a process ended early");
        std::thread::sleep(Duration::from_millis(50));
    }
    let halfway: Vec<u64> = running.iter().map(Process::answered).collect();
    running.into_iter().for_each(Process::end);
    let took = began.elapsed();
    let (calls, permits) = (calls(&redis), all);
    let report = simulator.report();
    println!("{processes} processes, {} projects of {rpm} a minute of {minute} s, {prompts} prompts each", PROJECTS.len());
    println!("refused          {} of {} {}", report["refused"], report["requests"], reasons(&report));
    println!("fullest minute   {:.3} of the limit", figures(&report, "peak_requests").fold(0.0, f64::max));
    println!("used             {:.4} of the limits", figures(&report, "use_requests").sum::<f64>() / PROJECTS.len() as f64);
    println!("Jain's index     {:.4} when half was answered: {halfway:?}", jain(&halfway));
    println!("calls a permit   {:.3} ({calls} for {permits}, settlements included)", calls as f64 / permits as f64);
    println!("answered         {} (twice: {}) in {:.1} s", report["answered"], report["answered_again"], took.as_secs_f64());
}

fn projects(rpm: u64) -> String {
    let table = |name: &&str| {
        format!(
            "[[projects]]\nname = \"{name}\"\nkeys = [\"SIM-eight-{name}-key-1-0123456789abcdef\"]\n[projects.limits.\"*\"]\nrpm = {rpm}\n"
        )
    };
    PROJECTS.iter().map(table).collect()
}

fn settings(url: &str, redis: &str, minute: u64, rpm: u64) -> String {
    let head = format!("base_url = \"{url}\"\n[quota]\nminute = \"{minute}s\"\n[redis]\nurl = \"{redis}\"\n");
    head + &projects(rpm)
}

/// Every call of Redis that a script of ours was.
fn calls(redis: &Server) -> u64 {
    let statistics = redis.cli(&["info", "commandstats"]);
    let scripts = statistics.lines().filter(|line| line.starts_with("cmdstat_eval"));
    let count = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
    scripts.filter_map(count).sum()
}

fn figures<'a>(report: &'a Value, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    report["quotas"].as_array().unwrap().iter().map(move |quota| quota[name].as_f64().unwrap())
}

fn reasons(report: &Value) -> String {
    let quotas = report["quotas"].as_array().unwrap().iter();
    let told: Vec<String> = quotas.filter(|quota| quota["refused"] != 0).map(|quota| quota["refused_by"].to_string()).collect();
    told.join(" ")
}

/// 1 is even.
fn jain(counts: &[u64]) -> f64 {
    let (sum, squares) = counts.iter().fold((0.0, 0.0), |(sum, squares), &x| (sum + x as f64, squares + (x * x) as f64));
    sum * sum / (squares * counts.len() as f64)
}

/// `tidegate simulate`.
struct Simulator {
    child: Child,
    url: String,
    report: PathBuf,
}

impl Simulator {
    fn start(folder: &TempDir, minute: u64, rpm: u64) -> Simulator {
        let (scenario, report) = (folder.path().join("eight.toml"), folder.path().join("report.json"));
        let head = format!(
            "name = \"eight\"\ndefault_model = \"gemini-3.8-flash\"\n[quota]\nminute_ms = {}\nwindow = \"sliding\"\n\
             [latency]\nbase = {{ uniform = [50, 400] }}\nper_output_token = 0.0\n",
            minute * 1_000
        );
        std::fs::write(&scenario, head + &projects(rpm)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["simulate", "--listen", "127.0.0.1:0", "--scenario"]).arg(scenario).arg("--report").arg(&report);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Simulator { child, url: url.trim().to_owned(), report }
    }

    fn report(mut self) -> Value {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap();
        serde_json::from_slice(&std::fs::read(&self.report).unwrap()).unwrap()
    }
}

/// One `tidegate run`, in a folder of its own.
struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    fn start(folder: &TempDir, number: u64, prompts: u64, settings: &str) -> Process {
        let home = folder.path().join(number.to_string());
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("tidegate.toml"), settings).unwrap();
        let line = |nth: u64| format!("{{\"id\":\"p{nth}\",\"prompt\":\"say {nth} of {number}\"}}\n");
        std::fs::write(home.join("in.jsonl"), (0..prompts).map(line).collect::<String>()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.current_dir(&home).env("HOME", &home).env("TIDEGATE_STATE_DIR", home.join("state"));
        command.args(["run", "in.jsonl", "-o", "out.jsonl", "--progress", "none", "-q"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        Process { child, output: home.join("out.jsonl") }
    }

    fn answered(&self) -> u64 {
        lines(&self.output)
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none_or(|status| status.success())
    }

    fn end(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

fn lines(path: &Path) -> u64 {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count() as u64)
}
