//! `tidegate queue status`: what waits, who works, what died; once, or again and again.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_redis::queue::{Queue, QueueStatus};

use super::unreachable;
use crate::commands::Context;
use crate::duration;
use crate::exit_code::{ExitCode, Failure};
use crate::screen;
use crate::signals;

/// How often a watched status is told.
const EVERY: Duration = Duration::from_secs(2);

pub async fn tell(queue: &Queue, watch: bool, as_json: bool, context: &Context) -> Result<ExitCode, Failure> {
    let mut signals = signals::listen();
    let mut before = None;
    loop {
        match queue.status().await {
            Ok(status) => {
                if as_json {
                    screen::data(to_json(queue, &status));
                } else {
                    lines(queue, &status, before.as_ref()).iter().for_each(screen::data);
                }
                before = Some(status);
            }
            // One who watches wants to see it come back.
            Err(error) if watch && before.is_some() => context.screen.warn(error),
            Err(error) => return Err(unreachable(error)),
        }
        if !watch {
            return Ok(ExitCode::AllOk);
        }
        tokio::select! {
            Some(signal) = signals.recv() => return Ok(signal.exit_code()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn lines(queue: &Queue, status: &QueueStatus, before: Option<&QueueStatus>) -> Vec<String> {
    let count = |name: &str| status.counts.get(name).copied().unwrap_or_default();
    let [high, normal, low] = status.waiting;
    let age = status.oldest.map(|age| format!(", the oldest for {}", duration::show(age))).unwrap_or_default();
    let ended =
        |status: &QueueStatus| ["done", "dead", "quarantined"].iter().filter_map(|name| status.counts.get(*name)).sum::<u64>();
    let speed = before.map(|before| {
        let per_second = ended(status).saturating_sub(ended(before)) as f64 / EVERY.as_secs_f64();
        format!(", {per_second:.0}/s")
    });
    let mut lines = vec![
        format!(
            "queue {}: {} waiting (high {high}, normal {normal}, low {low}), {} in flight, {} delayed{age}",
            queue.name(),
            high + normal + low,
            status.in_flight,
            status.delayed
        ),
        format!(
            "submitted {}, done {}, dead {}, quarantined {}, cancelled {}{}",
            count("submitted"),
            count("done"),
            count("dead"),
            count("quarantined"),
            count("cancelled"),
            speed.unwrap_or_default()
        ),
        format!(
            "to collect {}, collected {}; dead letters {}; webhooks to tell {}",
            status.results,
            count("collected"),
            status.dead,
            status.hooks
        ),
        format!(
            "retried {}, postponed {}, handed over {}, redelivered {}, duplicates suppressed {}",
            count("retried"),
            count("postponed"),
            count("handed_over"),
            count("redelivered"),
            count("duplicates")
        ),
        format!("{} workers{}", status.workers.len(), if status.is_produced { ", somebody is submitting" } else { "" }),
    ];
    let workers = status.workers.iter();
    lines.extend(workers.map(|worker| format!("  {} {} seen {} ago", worker.name, worker.info, duration::show(worker.seen))));
    lines
}

fn to_json(queue: &Queue, status: &QueueStatus) -> Value {
    let [high, normal, low] = status.waiting;
    let worker = |info: &str| serde_json::from_str::<Value>(info).unwrap_or_default();
    json!({
        "queue": queue.name().to_string(),
        "waiting": {"high": high, "normal": normal, "low": low},
        "in_flight": status.in_flight,
        "delayed": status.delayed,
        "open": status.open(),
        "to_collect": status.results,
        "dead_letters": status.dead,
        "webhooks": status.hooks,
        "oldest_ms": status.oldest.map(|age| age.as_millis() as u64),
        "being_submitted": status.is_produced,
        "counts": status.counts,
        "workers": status.workers.iter().map(|w| json!({"name": w.name, "seen_ms": w.seen.as_millis() as u64, "info": worker(&w.info)})).collect::<Vec<_>>(),
    })
}
