//! A thousand real connections at once to the real program, and what is left of them: nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use common::{KEY, QUICK, Serving, Simulator, TestDir, wait_until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CONNECTIONS: usize = 1_000;
/// Longer than any answer takes: one that is not there by then never comes.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a shell allows in the beginning where nobody has changed it, or less.
const FEW: &str = "ulimit -Sn 256 && exec \"$0\" \"$@\"";

/// A program under a small soft limit of open files.
fn limited(command: Command, limit: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(limit).arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

fn request(n: usize) -> String {
    let body = format!("{{\"contents\":[{{\"role\":\"user\",\"parts\":[{{\"text\":\"Say {n}.\"}}]}}]}}");
    let path = "/v1beta/models/gemini-3.8-flash:generateContent";
    format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Opens all connections, asks on all of them, then reads what each is told; how many were answered.
fn storm(address: &str) -> usize {
    let mut open: Vec<TcpStream> = (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (n, stream) in open.iter_mut().enumerate() {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request(n).as_bytes()).unwrap();
    }
    let answered = |stream: &mut TcpStream| {
        let mut told = String::new();
        stream.read_to_string(&mut told).expect("an answer in time");
        told.starts_with("HTTP/1.1 200") && told.contains("\"candidates\"")
    };
    open.iter_mut().map(answered).filter(|answered| *answered).count()
}

#[test]
fn a_thousand_connections_are_answered_and_leave_nothing_behind() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let (dir, simulator) = (TestDir::new(), Simulator::start(QUICK));
    dir.write(".env", format!("GEMINI_API_KEY={KEY}\n"));
    let command = dir.command(["serve", "--listen", "127.0.0.1:0", "--base-url", &simulator.base_url]);
    let serving = Serving::start(&mut limited(command, FEW));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serving.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft_and_hard: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(soft_and_hard[0], soft_and_hard[1], "the soft limit is the hard one");
    let descriptors = serving.descriptors();
    for round in 0..2 {
        assert_eq!(storm(&serving.address), CONNECTIONS, "round {round}");
        let mut status = String::new();
        let free = wait_until(|| {
            status = serving.get("/status");
            ["\"active_workers\":0,", "\"queue_size\":0,", "\"active\":0,"].iter().all(|rest| status.contains(rest))
        });
        assert!(free, "{status}");
    }
    // Connections to the API are kept open for a while, unless it closes them.
    simulator.stop();
    let mut left = 0;
    let back = wait_until(|| {
        left = serving.descriptors();
        left <= descriptors
    });
    assert!(back, "{left} descriptors, {descriptors} at the beginning");
}

#[test]
fn a_limit_of_open_files_that_is_too_small_is_told() {
    let dir = TestDir::new();
    dir.write(".env", format!("GEMINI_API_KEY={KEY}\n"));
    dir.write("tidegate.toml", "[pacing]\nmax_concurrency = 900\n[serve]\nlisten = \"192.0.2.1:1\"\n");
    let ended = common::end(&mut limited(dir.command(["serve"]), "ulimit -n 300 && exec \"$0\" \"$@\""));
    ended.mentions("only 300 files and connections may be open, enough for about 118 calls at once of the 900");
}
