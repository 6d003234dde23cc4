//! How it stands: the workers, the keys, whether it lives and whether it is ready.

use std::sync::atomic::Ordering;

use serde_json::{Map, json};
use tidegate_engine::KeyStatus;

use crate::answer::{self, Answer};
use crate::error::Refusal;
use crate::server::Gate;

/// `GET /status`.
pub fn status(gate: &Gate) -> Answer {
    let status = gate.engine.status();
    let key = |key: &KeyStatus| {
        let left = key.until.map(|until| (until - status.at).as_secs_f64());
        let told = json!({"project": &*key.project, "status": key.state, "exhausted_count": key.exhausted, "active": key.active, "seconds_left": left, "reason": key.reason});
        (key.name.to_string(), told)
    };
    let waiting = status.waiting.as_ref().map(|waiting| {
        let left = waiting.until.map(|until| (until - status.at).as_secs_f64());
        json!({"reason": waiting.reason, "project": waiting.project.as_deref(), "seconds_left": left})
    });
    let told = json!({
        "workers_running": !gate.draining.load(Ordering::Relaxed),
        "active_workers": status.active,
        "max_workers": status.max_active,
        "queue_size": status.queued + status.paused,
        "waiting_for": waiting,
        "key_status": status.keys.iter().map(key).collect::<Map<_, _>>(),
    });
    answer::value(200, &told)
}

/// `GET /healthz`: it answers, so it lives.
pub fn health() -> Answer {
    answer::value(200, &json!({"status": "ok"}))
}

/// `GET /readyz`: whether a request is worth sending here.
pub fn ready(gate: &Gate) -> Result<Answer, Refusal> {
    if gate.draining.load(Ordering::Relaxed) {
        return Err(Refusal::new(503, "UNAVAILABLE", "it is about to end"));
    }
    let keys = gate.engine.status().keys;
    if keys.iter().all(|key| key.state == "FAILED_INIT") {
        return Err(Refusal::new(503, "UNAVAILABLE", "no usable key is left: `tidegate keys list` tells why"));
    }
    Ok(answer::value(200, &json!({"status": "ready"})))
}
