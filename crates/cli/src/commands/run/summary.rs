//! The account at the end of a run: for people, and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_batch::{Counts, End, StopReason, Summary};
use tidegate_engine::{Figures, Kin, QuotaStatus, Status};
use tidegate_simulator::Report;

use super::statistics;
use crate::deadline::local_time_in;
use crate::duration::show;
use crate::exit_code::ExitCode;
use crate::monitor::format::grouped;

/// Everything the account is made of.
pub struct Account {
    /// What became of the rows.
    pub summary: Summary,
    /// The engine at the end.
    pub status: Status,
    /// What was counted.
    pub figures: Figures,
    /// How long the run took.
    pub elapsed: Duration,
    /// Calls a minute that the quotas permit.
    pub permitted_rpm: Option<f64>,
    /// Length of the server's minute.
    pub minute: Duration,
    /// Where the answers are.
    pub output: String,
    /// The command that goes on with what is left.
    pub resume: String,
    /// Why the API could not be reached.
    pub unreachable: Option<String>,
    /// Projects that have no quota at all for a model, each with the model.
    pub without_quota: BTreeSet<(String, String)>,
    /// Projects that the API has put on hold as a whole, each with the reason.
    pub parked: BTreeMap<String, String>,
    /// Projects that are probably one.
    pub kin: Vec<Kin>,
    /// How long until the day's quota is there again.
    pub exhausted_for: Option<Duration>,
    /// Prompts shared calls.
    pub is_packed: bool,
    /// What the embedded simulator saw.
    pub witness: Option<Report>,
}

impl Account {
    /// The code to leave with.
    pub fn exit_code(&self) -> ExitCode {
        match self.summary.end() {
            End::AllOk => ExitCode::AllOk,
            End::SomeFailed => ExitCode::SomeFailed,
            End::Stopped(reason) => match reason {
                StopReason::Interrupted => ExitCode::Interrupted,
                StopReason::Terminated => ExitCode::Terminated,
                StopReason::NoKey => ExitCode::NoKey,
                StopReason::Unreachable => ExitCode::Unreachable,
                StopReason::Exhausted
                | StopReason::Deadline
                | StopReason::Budget
                | StopReason::Cost
                | StopReason::TooManyErrors => ExitCode::WorkLeft,
            },
        }
    }

    /// Lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.rows()];
        lines.push(self.speed());
        lines.extend(self.packed());
        lines.push(self.tokens());
        lines.extend(self.reused());
        lines.extend(statistics::cost(&self.figures));
        lines.extend(self.days());
        lines.extend(kin_in_words(&self.kin));
        if self.output != "-" {
            lines.push(format!("answers: {}", self.output));
        }
        lines.extend(self.stopped());
        lines.extend(self.remedy());
        lines
    }

    /// The account as one JSON object.
    pub fn json(&self) -> Value {
        let Account { summary, status, .. } = self;
        let counts = &summary.counts;
        let keys: Vec<Value> = status
            .keys
            .iter()
            .map(|key| json!({ "project": &*key.project, "name": &*key.name, "state": key.state, "reason": key.reason }))
            .collect();
        let quotas: Vec<Value> = status
            .quotas
            .iter()
            .map(|quota| json!({ "project": &*quota.project, "model": &*quota.model, "rpd_used": quota.rpd.0, "rpd_limit": quota.rpd.1 }))
            .collect();
        json!({
            "status": match summary.end() { End::AllOk => "ok", End::SomeFailed => "some_failed", End::Stopped(_) => "stopped" },
            "stopped": summary.stopped.map(StopReason::name),
            "exit_code": self.exit_code() as u8,
            "counts": counts_json(counts, summary.outstanding),
            "usage": summary.usage,
            "elapsed_ms": self.elapsed.as_millis() as u64,
            "requests": status.stats.attempts,
            "requests_per_second": round(self.per_second()),
            "permitted_rpm": self.permitted_rpm,
            "quota_use": self.share().map(round),
            "refused": status.stats.refused,
            "cost_usd": self.figures.total.cost.dollars(),
            "statistics": statistics::json(&self.figures),
            "faults": status.stats.faults,
            "keys": keys,
            "quotas": quotas,
            "output": self.output,
            "resume": (summary.outstanding > 0).then_some(&self.resume),
            "run_again_in_ms": self.exhausted_for.map(|wait| wait.as_millis() as u64),
            "warnings": summary.warnings,
            "probably_one_project": Kin::groups(&self.kin).iter().map(|group| group.iter().map(|name| &**name).collect()).collect::<Vec<Vec<&str>>>(),
            "sim": self.witness,
        })
    }

    fn rows(&self) -> String {
        let Counts { ok, truncated, blocked, empty, failed, skipped, kept, kept_failed, .. } = self.summary.counts;
        let parts = [
            (failed, "failed"),
            (truncated, "truncated"),
            (blocked, "blocked"),
            (empty, "empty"),
            (skipped, "skipped"),
            (kept, "kept from earlier"),
            (kept_failed, "of them failed"),
            (self.summary.outstanding, "left"),
        ];
        let named = parts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!(", {} {name}", grouped(*count)));
        format!("{} ok{} in {}", grouped(ok), named.collect::<String>(), show(self.elapsed))
    }

    fn speed(&self) -> String {
        let stats = &self.status.stats;
        let share = self
            .share()
            .map(|share| format!(", {:.0} % of the requests that the quota permits", share * 100.0))
            .unwrap_or_default();
        format!("requests: {} ({:.2} a second{share}), 429s: {}", grouped(stats.attempts), self.per_second(), stats.refused)
    }

    /// What counts as a request: not a row, where rows share calls.
    fn packed(&self) -> Option<String> {
        let (asked, requests) = (self.summary.counts.ended(), self.status.stats.attempts);
        let each = asked as f64 / requests.max(1) as f64;
        self.is_packed.then(|| format!("packed: {} prompts in {} requests, {each:.1} in each", grouped(asked), grouped(requests)))
    }

    fn tokens(&self) -> String {
        let usage = &self.status.stats.usage;
        let thinking =
            if usage.thinking_tokens > 0 { format!(", {} thinking", grouped(usage.thinking_tokens)) } else { String::new() };
        let estimated = if usage.estimated_tokens > 0 { " (estimated)" } else { "" };
        format!("tokens: {} in{estimated}, {} out{thinking}", grouped(usage.input_tokens), grouped(usage.output_tokens))
    }

    fn reused(&self) -> Option<String> {
        let reused = self.summary.counts.reused;
        (reused > 0)
            .then(|| format!("without a call of their own: {} (kept answers, or shared with an equal prompt)", grouped(reused)))
    }

    /// Use of the day's quota, where there is a limit.
    fn days(&self) -> Vec<String> {
        let limited = self.status.quotas.iter().filter_map(|quota| Some((quota, quota.rpd.1?)));
        limited
            .map(|(quota, limit)| {
                format!(
                    "today: {} of {} requests of project {}, {}",
                    grouped(quota.rpd.0),
                    grouped(limit),
                    quota.project,
                    quota.model
                )
            })
            .collect()
    }

    fn stopped(&self) -> Option<String> {
        Some(match self.summary.stopped? {
            StopReason::Interrupted => "stopped by Ctrl-C".to_string(),
            StopReason::Terminated => "stopped by SIGTERM".to_string(),
            StopReason::Exhausted => self.exhausted(),
            StopReason::Deadline => "stopped: the deadline has passed".to_string(),
            StopReason::Budget => "stopped: the tokens of --max-tokens are used up".to_string(),
            StopReason::Cost => "stopped: the money of --max-cost is spent".to_string(),
            StopReason::TooManyErrors => "stopped: more prompts failed than --fail-on-error allows".to_string(),
            StopReason::NoKey => self.no_key(),
            StopReason::Unreachable => self.not_reached(),
        })
    }

    fn exhausted(&self) -> String {
        let wait = self.exhausted_for.unwrap_or_default();
        format!("All keys exhausted: the day's quota is used up; run again at {} (in {})", local_time_in(wait), show(wait))
    }

    fn no_key(&self) -> String {
        let keys = self.status.keys.iter().filter(|key| key.state == "FAILED_INIT");
        let reasons: Vec<String> =
            keys.map(|key| format!("{}: {}", key.name, key.reason.as_deref().unwrap_or("refused"))).collect();
        let refused = (!reasons.is_empty()).then(|| {
            format!(" ({}); replace the keys and run again, or let `tidegate keys check` ask for them anew", reasons.join(", "))
        });
        let parked: Vec<String> = self.parked.iter().map(|(project, reason)| format!("{project}: {reason}")).collect();
        let parked = (!parked.is_empty())
            .then(|| format!("; projects on hold ({}): settle this with the provider, then run again", parked.join(", ")));
        let barred = self.barred().map(|barred| format!("; {barred}: choose another model with --model, or a tier that has it"));
        format!("no usable key is left{}", [refused, parked, barred].into_iter().flatten().collect::<String>())
    }

    /// Projects whose limit for a model is 0, by the API's word or by the settings.
    fn barred(&self) -> Option<String> {
        let none = |quota: &&QuotaStatus| [quota.rpm.1, quota.tpm.1, quota.rpd.1].contains(&Some(0));
        let told = self.status.quotas.iter().filter(none).map(|quota| (quota.project.to_string(), quota.model.to_string()));
        let mut models: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (project, model) in told.chain(self.without_quota.iter().cloned()) {
            models.entry(model).or_default().insert(project);
        }
        let each = models.into_iter().map(|(model, projects)| {
            let projects: Vec<String> = projects.into_iter().collect();
            format!("no quota for {model} in {}", projects.join(", "))
        });
        Some(each.collect::<Vec<_>>().join("; ")).filter(|barred| !barred.is_empty())
    }

    fn not_reached(&self) -> String {
        let reason = self.unreachable.as_deref().unwrap_or("no answer");
        format!("cannot reach the API: {reason}; check the network, a proxy in between, and --base-url")
    }

    fn remedy(&self) -> Option<String> {
        let counts = &self.summary.counts;
        if self.summary.outstanding > 0 || self.summary.stopped.is_some() {
            return Some(format!("to go on: {}", self.resume));
        }
        let flag = if counts.permanent() > 0 { " --retry-failed" } else { "" };
        (counts.permanent() + counts.retryable > 0).then(|| format!("to ask the failed ones again: {}{flag}", self.resume))
    }

    fn per_second(&self) -> f64 {
        self.status.stats.attempts as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    /// Requests sent, as a share of what the quotas permit in all the windows that have begun.
    fn share(&self) -> Option<f64> {
        let windows = (self.elapsed.as_secs_f64() / self.minute.as_secs_f64()).ceil();
        let permitted = self.permitted_rpm.filter(|most| *most > 0.0)? / 60.0 * self.minute.as_secs_f64() * windows;
        Some(self.status.stats.attempts as f64 / permitted)
    }
}

/// A line for each group of projects that are probably one, with the remedy.
pub fn kin_in_words(kin: &[Kin]) -> Vec<String> {
    let line = |group: &Vec<std::sync::Arc<str>>| {
        let names = group.join(", ");
        format!("probably one project: {names} run into limits together; put their keys into one [[projects]] of tidegate.toml")
    };
    Kin::groups(kin).iter().map(line).collect()
}

fn counts_json(counts: &Counts, left: u64) -> Value {
    json!({
        "total": counts.total,
        "ok": counts.ok,
        "failed": counts.failed,
        "truncated": counts.truncated,
        "blocked": counts.blocked,
        "empty": counts.empty,
        "skipped": counts.skipped,
        "kept": counts.kept,
        "kept_failed": counts.kept_failed,
        "changed": counts.changed,
        "retried": counts.retried,
        "new": counts.new,
        "gone": counts.gone,
        "reused": counts.reused,
        "left": left,
    })
}

fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
