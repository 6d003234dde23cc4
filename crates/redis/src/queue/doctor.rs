//! Looks whether a Redis can be trusted with a queue: that it forgets nothing, evicts nothing, and agrees about the time.

use std::time::{Duration, SystemTime};

use redis::Value;

use super::Queue;
use crate::connection::CallError;

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `persistence`, `eviction`, `version`, `memory`, `clock`, `cluster`, `replicas`.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and what to do about it.
    pub message: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// No durable queue can be kept there.
    Bad,
}

impl Verdict {
    /// Its word in listings.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Note => "note",
            Verdict::Bad => "bad",
        }
    }
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Why no durable queue can be kept there, if that is so.
    pub fn refusal(&self) -> Option<String> {
        let bad: Vec<&str> =
            self.0.iter().filter(|found| found.verdict == Verdict::Bad).map(|found| found.message.as_str()).collect();
        (!bad.is_empty()).then(|| bad.join("; "))
    }
}

/// Clocks that differ by less are not worth a word: Redis' clock rules.
const CLOCK_DOUBT: Duration = Duration::from_secs(2);

impl Queue {
    /// Looks at the Redis behind the queue.
    ///
    /// # Errors
    /// When Redis does not answer, or does not let us look.
    pub async fn examine(&self) -> Result<Findings, CallError> {
        let told = texts(self.ask(&redis::cmd("INFO")).await?);
        let before = SystemTime::now();
        let theirs = Duration::from_millis(self.now().await?);
        let ours = before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let of_node = |info: &String| {
            let info = Info(info);
            let (cluster, replicas) = (info.cluster(&self.keys.own[0]), info.replicas());
            vec![info.persistence(), info.eviction(), info.version(), info.memory(), cluster, replicas]
        };
        // Of several nodes the worst one counts: the queue may come to lie on any.
        let worst = told.iter().map(of_node).reduce(|one, other| {
            one.into_iter().zip(other).map(|(one, other)| if other.verdict > one.verdict { other } else { one }).collect()
        });
        let mut findings = worst.unwrap_or_default();
        findings.push(clock(ours, theirs));
        Ok(Findings(findings))
    }
}

/// What one server tells, or every master of a cluster.
fn texts(told: Value) -> Vec<String> {
    match told {
        Value::Map(nodes) => nodes.into_iter().flat_map(|(_, told)| texts(told)).collect(),
        told => redis::from_redis_value(told).into_iter().collect(),
    }
}

/// The lines of `INFO`.
struct Info<'a>(&'a str);

impl Info<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    fn persistence(&self) -> Finding {
        let what = "persistence";
        if self.get("aof_enabled") != Some("1") {
            let message = "the append-only file is off: a crash of Redis would lose every task and answer; switch it on with `redis-cli config set appendonly yes` and `appendonly yes` in redis.conf".to_owned();
            return Finding { what, verdict: Verdict::Bad, message };
        }
        if self.get("aof_last_write_status").is_some_and(|status| status != "ok") {
            let message = "the append-only file cannot be written: free space on the disk of Redis".to_owned();
            return Finding { what, verdict: Verdict::Bad, message };
        }
        Finding { what, verdict: Verdict::Good, message: "append-only file on".to_owned() }
    }

    fn eviction(&self) -> Finding {
        let what = "eviction";
        let policy = self.get("maxmemory_policy").unwrap_or("unknown");
        if matches!(policy, "noeviction" | "unknown") {
            return Finding { what, verdict: Verdict::Good, message: format!("maxmemory-policy is {policy}") };
        }
        let message = format!(
            "maxmemory-policy is {policy}: when memory is short Redis would throw tasks and answers away; set it with `redis-cli config set maxmemory-policy noeviction` and in redis.conf"
        );
        Finding { what, verdict: Verdict::Bad, message }
    }

    fn version(&self) -> Finding {
        let what = "version";
        // Valkey tells the version of Redis it speaks like, too.
        let version = self.get("redis_version").unwrap_or("unknown");
        let major_minor: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
        let server = self.get("server_name").unwrap_or("redis");
        let enough = matches!(major_minor.as_slice(), [major, minor, ..] if (*major, *minor) >= (6, 2));
        if enough {
            return Finding { what, verdict: Verdict::Good, message: format!("{server} {version}") };
        }
        Finding { what, verdict: Verdict::Bad, message: format!("{server} {version}: 6.2 or later is needed; update it") }
    }

    fn memory(&self) -> Finding {
        let what = "memory";
        let (used, most) = (self.number("used_memory"), self.number("maxmemory"));
        let mib = |bytes: u64| bytes >> 20;
        let (verdict, message) = match (most, used) {
            (0, _) => {
                (Verdict::Note, format!("{} MiB used, no maxmemory: a queue that grows may take the whole machine", mib(used)))
            }
            _ if used > most / 10 * 9 => (
                Verdict::Note,
                format!(
                    "{} of {} MiB used: raise maxmemory or collect results, a full Redis takes no tasks",
                    mib(used),
                    mib(most)
                ),
            ),
            _ => (Verdict::Good, format!("{} of {} MiB used", mib(used), mib(most))),
        };
        Finding { what, verdict, message }
    }

    fn cluster(&self, key: &str) -> Finding {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(tag, _)| tag);
        let message = if self.get("cluster_enabled") == Some("1") {
            format!("part of a cluster; all keys of the queue have the tag {{{tag}}} and share a slot")
        } else {
            "a single server".to_owned()
        };
        Finding { what: "cluster", verdict: Verdict::Good, message }
    }

    fn replicas(&self) -> Finding {
        let what = "replicas";
        match self.get("role") {
            Some("slave") => {
                let message = "this is a replica, which takes no tasks: name the address of its master".to_owned();
                Finding { what, verdict: Verdict::Bad, message }
            }
            _ => Finding { what, verdict: Verdict::Good, message: format!("{} attached", self.number("connected_slaves")) },
        }
    }
}

fn clock(ours: Duration, theirs: Duration) -> Finding {
    let off = ours.abs_diff(theirs);
    let message = format!("{} ms apart from this machine's; the clock of Redis rules", off.as_millis());
    Finding { what: "clock", verdict: if off > CLOCK_DOUBT { Verdict::Note } else { Verdict::Good }, message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const FINE: &str =
        "redis_version:7.0.15\r\naof_enabled:1\r\naof_last_write_status:ok\r\nmaxmemory_policy:noeviction\r\nrole:master\r\n";

    fn refusal(info: &str) -> Option<String> {
        let info = Info(info);
        Findings(vec![info.persistence(), info.eviction(), info.version(), info.replicas(), info.memory()]).refusal()
    }

    #[test]
    fn a_redis_that_forgets_or_evicts_is_refused_with_the_remedy() {
        assert_eq!(refusal(FINE), None);
        for (from, to, remedy) in [
            ("aof_enabled:1", "aof_enabled:0", "appendonly yes"),
            ("write_status:ok", "write_status:err", "free space"),
            ("noeviction", "allkeys-lru", "maxmemory-policy noeviction"),
            ("7.0.15", "5.0.1", "6.2 or later"),
            ("role:master", "role:slave", "its master"),
        ] {
            let message = refusal(&FINE.replace(from, to)).unwrap();
            assert!(message.contains(remedy), "{message}");
        }
    }

    #[test]
    fn clocks_that_differ_are_a_note_only() {
        let second = Duration::from_secs(1);
        assert_eq!(clock(second, second * 31).verdict, Verdict::Note);
        assert_eq!(clock(second, second * 2).verdict, Verdict::Good);
    }
}
