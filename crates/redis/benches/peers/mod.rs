//! Other people's limiters and queues: installed into a folder on demand, run as programs of their own, told in JSON lines.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each bench takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What stands after `-- peers` on the command line: where other people's programs are, or are put.
pub fn folder() -> Option<PathBuf> {
    let mut words = std::env::args().skip_while(|word| word != "peers");
    words.next()?;
    let folder = PathBuf::from(words.next().expect("peers FOLDER"));
    std::fs::create_dir_all(&folder).unwrap();
    Some(folder.canonicalize().unwrap())
}

/// What a program of a peer told.
pub struct Told(String);

impl Told {
    pub fn name(&self) -> &str {
        self.text("name").trim_matches('"')
    }

    pub fn number(&self, field: &str) -> f64 {
        self.text(field).parse().unwrap()
    }

    /// A value of a flat object of numbers and plain strings.
    fn text(&self, field: &str) -> &str {
        let (_, rest) = self.0.split_once(&format!("\"{field}\":")).unwrap_or_else(|| panic!("no {field} in {}", self.0));
        rest.split([',', '}']).next().unwrap().trim()
    }
}

/// The Python interpreter that knows the peers.
pub fn python(folder: &Path) -> PathBuf {
    let python = folder.join("venv/bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")));
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "-r"]).arg(here().join("requirements.txt")));
    }
    python
}

/// A program of Node beside the packages it needs.
pub fn node(folder: &Path, program: &str) -> PathBuf {
    if !folder.join("node_modules/bullmq").exists() {
        std::fs::copy(here().join("package.json"), folder.join("package.json")).unwrap();
        run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--silent"]).current_dir(folder));
    }
    std::fs::copy(here().join(program), folder.join(program)).unwrap();
    folder.join(program)
}

/// A program of Rust, built outside of the repository.
pub fn rust(folder: &Path, package: &str) -> PathBuf {
    let (from, to) = (here().join("apalis"), folder.join("apalis"));
    let program = to.join("target/release").join(package);
    if !program.exists() {
        std::fs::create_dir_all(to.join("src")).unwrap();
        for file in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
        run(Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked"])
            .current_dir(&to)
            .env_remove("CARGO_TARGET_DIR"));
    }
    program
}

/// Where the programs lie.
pub fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

/// Runs a program and reads the lines it tells.
pub fn told(command: &mut Command) -> Vec<Told> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?} failed");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| line.starts_with('{')).map(|line| Told(line.to_owned())).collect()
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?} failed");
}
