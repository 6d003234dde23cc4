//! What processes of a project tell each other: learned limits, keys that are dead, parked or cooling down.
//!
//! Names and values are the caller's; a key of the API is never one of them, only what identifies it. Every grant of the
//! limiter carries the version, so that facts are read again only when one has changed.

use std::time::Duration;

use crate::connection::{CallError, Connection};
use crate::names;
use crate::script::Script;

/// The facts of all projects on one Redis.
#[derive(Debug, Clone)]
pub struct Facts {
    connection: Connection,
    patience: Duration,
}

/// One fact that still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: String,
    /// What is known of it.
    pub value: String,
}

/// All facts of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Grows with every change; 0 when nothing was ever told.
    pub version: u64,
    /// In no order.
    pub facts: Vec<Fact>,
}

static FACTS: Script = Script::new(include_str!("scripts/facts.lua"));

impl Facts {
    /// Facts, waiting at most two seconds for an answer.
    pub fn new(connection: Connection) -> Facts {
        Facts { connection, patience: Duration::from_secs(2) }
    }

    /// Tells a fact that holds for `length`; returns all there are then.
    pub async fn put(&self, project: &str, name: &str, value: &str, length: Duration) -> Result<Known, CallError> {
        let length = length.as_millis().max(1).to_string();
        self.ask(project, &[name.as_bytes(), value.as_bytes(), length.as_bytes()]).await
    }

    /// Takes a fact away; returns those that are left.
    pub async fn remove(&self, project: &str, name: &str) -> Result<Known, CallError> {
        self.ask(project, &[name.as_bytes(), b"", b"0"]).await
    }

    /// All facts that hold.
    pub async fn all(&self, project: &str) -> Result<Known, CallError> {
        self.ask(project, &[]).await
    }

    async fn ask(&self, project: &str, arguments: &[&[u8]]) -> Result<Known, CallError> {
        let key = names::project(project, "facts");
        let told: Vec<String> = FACTS.run(&self.connection, &[key], arguments, self.patience).await?;
        let version = told.first().and_then(|version| version.parse().ok()).unwrap_or(0);
        let fact = |pair: &[String]| Fact { name: pair[0].clone(), value: pair[1].clone() };
        Ok(Known { version, facts: told.get(1..).unwrap_or_default().chunks_exact(2).map(fact).collect() })
    }
}
