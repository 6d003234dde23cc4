//! The real program as a child, and the plainest of clients: for the measuring programs beside this folder.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running `tidegate serve` over its embedded simulator.
pub struct Served {
    child: Child,
    pub address: String,
    folder: PathBuf,
}

impl Served {
    /// Starts the program that `SERVED_BIN` names, else `target/release/tidegate`, over a scenario.
    pub fn start(scenario: &str) -> Served {
        let program = std::env::var("SERVED_BIN").unwrap_or_else(|_| "target/release/tidegate".to_string());
        let program =
            std::fs::canonicalize(&program).unwrap_or_else(|error| panic!("{program}: {error}: build it, or set SERVED_BIN"));
        let folder = std::env::temp_dir().join(format!("tidegate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("scenario.toml"), scenario).unwrap();
        let mut command = Command::new(program);
        command.args(["serve", "--sim=scenario.toml", "--listen", "127.0.0.1:0"]).current_dir(&folder);
        let mut child = command.env("TIDEGATE_STATE_DIR", folder.join("state")).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").expect("an address").to_string();
        Served { child, address, folder }
    }

    /// Resident memory in kB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A request as it goes over the wire.
pub fn wire(path: &str, body: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: gateway\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
}

/// A prompt that is told by its number.
pub fn numbered(n: usize) -> String {
    format!("{{\"contents\":[{{\"role\":\"user\",\"parts\":[{{\"text\":\"Say id-{n}.\"}}]}}]}}")
}

/// The number that stands behind a name in the JSON of `/status`.
pub fn number(status: &str, name: &str) -> u64 {
    let rest = status.split(&format!("\"{name}\":")).nth(1).unwrap_or_default().trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or_default()
}
