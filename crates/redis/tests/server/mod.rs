//! A redis-server of one's own: on a free port, killed by its process id when dropped.
//!
//! `TIDEGATE_REDIS_SERVER` names another program of its kind, such as a valkey-server.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_redis::{Address, Connection};

/// A running server; [`Server::kill`] and [`Server::restart`] keep its folder and port.
pub struct Server {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    options: Vec<String>,
}

impl Server {
    /// A server that keeps nothing on disk.
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// A server that survives being killed.
    pub fn durable() -> Server {
        Server::with(&["--appendonly", "yes", "--appendfsync", "everysec"])
    }

    /// A copy that follows `master`.
    pub fn replica_of(master: &Server) -> Server {
        Server::with(&["--replicaof", &format!("127.0.0.1 {}", master.port), "--repl-diskless-sync-delay", "0"])
    }

    /// A server with options of `redis-server`.
    pub fn with(options: &[&str]) -> Server {
        let mut server = Server {
            child: None,
            port: free_port(),
            folder: tempfile::tempdir().unwrap(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        server.restart();
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(&Address::parse(&self.url()).unwrap()).await.unwrap()
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port and folder, after [`Server::kill`] or in its place.
    pub fn restart(&mut self) {
        self.kill();
        let program = std::env::var("TIDEGATE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let mut command = Command::new(&program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.folder.path()).args(&self.options);
        command.args(["--logfile", "redis.log"]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{program}: {error}; apt-get install redis-server")));
        self.wait();
    }

    /// Stops (SIGSTOP) the process: connections stay, answers do not come.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Sends a command by `redis-cli` and returns what it printed.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        // A server with a password answers NOAUTH, which is an answer.
        while !["PONG", "NOAUTH", "NOPERM"].iter().any(|answer| self.cli(&["ping"]).contains(answer)) {
            assert!(Instant::now() < until, "redis-server did not come up; see {}", self.folder.path().display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three nodes that share all slots.
pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub fn start() -> Cluster {
        let nodes: Vec<Server> = (0..3)
            .map(|_| {
                Server::with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-config-file",
                    "nodes.conf",
                    "--cluster-node-timeout",
                    "2000",
                ])
            })
            .collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port))).args(["--cluster-yes"]);
        assert!(create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
        let until = Instant::now() + Duration::from_secs(20);
        while !nodes.iter().all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok")) {
            assert!(Instant::now() < until, "the cluster did not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Cluster { nodes }
    }

    pub fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// Moves the slot of a key to another node, key by key, while others work in it.
    pub fn move_slot_of(&self, key: &str) {
        let slot = self.nodes[0].cli(&["cluster", "keyslot", key]);
        let from = self.nodes.iter().find(|node| !node.cli(&["exists", key]).contains("MOVED")).unwrap();
        let to = self.nodes.iter().find(|node| node.port != from.port).unwrap();
        let (from_id, to_id) = (from.cli(&["cluster", "myid"]), to.cli(&["cluster", "myid"]));
        assert_eq!(to.cli(&["cluster", "setslot", &slot, "importing", &from_id]), "OK");
        assert_eq!(from.cli(&["cluster", "setslot", &slot, "migrating", &to_id]), "OK");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let keys = from.cli(&["--raw", "cluster", "getkeysinslot", &slot, "50"]);
            if keys.is_empty() {
                break;
            }
            let port = to.port.to_string();
            let mut migrate = vec!["migrate", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            migrate.extend(keys.lines());
            from.cli(&migrate);
            assert!(Instant::now() < until, "the slot does not get empty");
        }
        for node in std::iter::once(to).chain(self.nodes.iter().filter(|node| node.port != to.port)) {
            assert_eq!(node.cli(&["cluster", "setslot", &slot, "node", &to_id]), "OK");
        }
    }
}

/// A port nobody listens on and no client is given (those lie above 32,768), so that a killed server finds it free again; low
/// enough that a cluster's second port (10,000 above) is one too.
fn free_port() -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = 10_000 + (RandomState::new().build_hasher().finish() % 12_000) as u16;
        if is_free(port) && is_free(port + 10_000) && TAKEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}
