//! The keys of a queue; its name is the hash tag, so that all of them share a cluster slot.

use std::fmt;
use std::str::FromStr;

use crate::names;

/// The name of a queue: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueName(String);

/// A name that no queue can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("queue name {0:?}: write 1 to 64 letters, digits, '.', '_' and '-'")]
pub struct BadName(String);

impl FromStr for QueueName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<QueueName, BadName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let good = (1..=64).contains(&text.len()) && text.chars().all(fits);
        if good { Ok(QueueName(text.to_owned())) } else { Err(BadName(text.to_owned())) }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The keys of one queue.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    /// Those every script is handed first, in this order: the three streams by class, `delayed`, `results`, `dead`,
    /// `hooks`, `counts`, `workers`.
    pub(crate) own: [String; 9],
}

impl Keys {
    pub(crate) fn of(name: &QueueName) -> Keys {
        let prefix = names::queue(&name.0, "");
        let own = ["high", "normal", "low", "delayed", "results", "dead", "hooks", "counts", "workers"];
        Keys { own: own.map(|what| format!("{prefix}{what}")), prefix }
    }

    pub(crate) fn streams(&self) -> &[String] {
        &self.own[..3]
    }

    pub(crate) fn delayed(&self) -> &str {
        &self.own[3]
    }

    pub(crate) fn results(&self) -> &str {
        &self.own[4]
    }

    pub(crate) fn dead(&self) -> &str {
        &self.own[5]
    }

    pub(crate) fn counts(&self) -> &str {
        &self.own[7]
    }

    pub(crate) fn workers(&self) -> &str {
        &self.own[8]
    }

    /// The hash of a task.
    pub(crate) fn task(&self, id: &str) -> String {
        format!("{}t:{id}", self.prefix)
    }

    /// Settings that tasks of one submission share, by their digest.
    pub(crate) fn settings(&self) -> String {
        format!("{}settings", self.prefix)
    }

    /// Who is handing in tasks now.
    pub(crate) fn producers(&self) -> String {
        format!("{}producers", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn every_key_of_a_queue_has_its_name_as_hash_tag() {
        let keys = Keys::of(&"night.1".parse().unwrap());
        let task = keys.task("a{b}:c");
        assert_eq!(task, "tidegate:queue:{night.1}:t:a{b}:c");
        for key in keys.own.iter().chain([&task, &keys.settings(), &keys.producers()]) {
            assert!(key.starts_with("tidegate:queue:{night.1}:"), "{key}");
        }
    }

    #[test]
    fn a_name_that_would_break_the_tag_is_refused() {
        for bad in ["", "a}b", "a b", "a:b", &"x".repeat(65)] {
            assert!(bad.parse::<QueueName>().is_err(), "{bad}");
        }
    }
}
