//! What a gateway is told: who may call, how long they wait, how much they may send.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use tidegate_template::EMBEDDING_MODEL;

use crate::budget::Allowance;

/// A caller that is known by its token.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its name in logs, and that of its account.
    pub name: String,
    /// What it shows; its `Debug` is redacted.
    pub token: SecretString,
    /// Higher goes first; work in bulk has 0.
    pub priority: i32,
    /// What it may use.
    pub allowance: Allowance,
    /// Models it may ask, `*` standing for any letters; none listed means all.
    pub models: Vec<String>,
}

impl Client {
    /// The priority of whoever is given no other: before work in bulk.
    pub const PRIORITY: i32 = 10;

    /// A client without limits.
    pub fn new(name: impl Into<String>, token: SecretString) -> Client {
        let (allowance, models) = (Allowance::default(), Vec::new());
        Client { name: name.into(), token, priority: Client::PRIORITY, allowance, models }
    }
}

/// Settings of a [`Gateway`](crate::Gateway).
#[derive(Debug, Clone)]
pub struct Settings {
    /// The model of requests that name none: those of `/chat`, and of OpenAI's routes.
    pub model: String,
    /// How long a request waits for its permit, unless it says otherwise.
    pub max_wait: Duration,
    /// The most requests that wait for a permit; one more is refused.
    pub max_queue: usize,
    /// Who may call; nobody listed means everybody on this machine.
    pub clients: Vec<Client>,
    /// The most bytes of a request's body. The API itself takes 100 MB (January 2026).
    pub max_body: usize,
    /// The most bytes that the bodies of all requests under way hold together; more of them wait for room. Bodies up to 4 KB
    /// need none, and a quarter is kept for those up to 1 MB.
    pub max_bodies_in_flight: usize,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long a body may pause; a whole body has ten times as long.
    pub body_timeout: Duration,
    /// Origins of web pages that may call, such as `https://app.example`, or `*` for all; none by default.
    pub cors: Vec<String>,
    /// How long requests under way may go on when the server is told to end.
    pub grace: Duration,
    /// Where the bytes of uploads are kept, for the day when another project needs the same file. Without it files of several
    /// projects cannot be brought together.
    pub spool: Option<PathBuf>,
    /// The most bytes kept there; the oldest files go first.
    pub spool_bytes: u64,
    /// The folder where answers and vectors of filled templates are kept. Without it they last as long as the gateway.
    pub template_store: Option<PathBuf>,
    /// How templates are filled until somebody sets it otherwise.
    pub template: tidegate_template::Settings,
    /// The most bytes of answers that are kept for them; the oldest go first.
    pub template_answers: u64,
    /// The model that makes vectors for the search through documents; without it keywords alone are searched.
    pub embedding_model: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            model: "gemini-3.8-flash".to_string(),
            max_wait: Duration::from_secs(300),
            max_queue: 10_000,
            clients: Vec::new(),
            max_body: 100 << 20,
            max_bodies_in_flight: 256 << 20,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            cors: Vec::new(),
            grace: Duration::from_secs(10),
            spool: None,
            spool_bytes: 4 << 30,
            template_store: None,
            template: tidegate_template::Settings::default(),
            template_answers: 64 << 20,
            embedding_model: Some(EMBEDDING_MODEL.to_string()),
        }
    }
}
