//! Writes the engine's events to the log; each record names its slot where it has one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_engine::{Attempt, Event, EventKind, Observer, Upload, UploadStep};

/// Logs what happens: dead keys as warnings, faults and pauses as news, the rest for whoever debugs.
#[derive(Debug, Default)]
pub struct Chronicle {
    /// Projects and models without quota that were told: calls under way are refused for it, too.
    without_quota: Mutex<HashSet<(Arc<str>, Arc<str>)>>,
}

impl Observer for Chronicle {
    fn observe(&self, event: &Event) {
        match &event.kind {
            EventKind::Submitted { job, .. } => tracing::trace!(job = job.0, "prompt handed in"),
            EventKind::Started { job, seat, tokens, .. } => {
                let (project, key, model) = (&*seat.project, &*seat.key, &*seat.model);
                tracing::debug!(slot = seat.slot, job = job.0, project, key, model, tokens, "call sent");
            }
            EventKind::Attempted(attempt) => attempted(attempt),
            EventKind::Completed { job, label, failed, .. } => {
                let id = label.as_deref();
                tracing::debug!(job = job.0, id, failed = failed.map(|class| class.name()), "prompt ended");
            }
            EventKind::Held { project, model, until, .. } if until.is_never() => {
                let mut told = self.without_quota.lock().unwrap_or_else(PoisonError::into_inner);
                if told.insert((project.clone(), model.clone())) {
                    tracing::warn!(project = &**project, model = &**model, "the project has no quota for this model");
                }
            }
            EventKind::Held { project, model, dimension, .. } => {
                tracing::info!(project = &**project, model = &**model, dimension, "the API asked for a pause");
            }
            EventKind::KeyDead { project, key, reason } => {
                tracing::warn!(project = &**project, key = &**key, reason = &**reason, "key put aside for good");
            }
            EventKind::Upload(upload) => uploaded(upload),
            EventKind::Parked { projects, reason, .. } => {
                tracing::warn!(projects = projects.join(", "), reason = &**reason, "projects parked until a probe is answered");
            }
            EventKind::Reconfigured => tracing::info!("settings changed"),
            EventKind::Unparked { projects } => tracing::info!(projects = projects.join(", "), "projects answer again"),
        }
    }
}

fn uploaded(upload: &Upload) {
    let Upload { project, file, size, step } = upload;
    let (project, file) = (&**project, &**file);
    match step {
        UploadStep::Sent(sent) => tracing::debug!(project, file, sent, size, "uploading"),
        UploadStep::Processing => tracing::debug!(project, file, "uploaded, being processed"),
        UploadStep::Ready => tracing::info!(project, file, size, "file ready"),
        UploadStep::Failed => tracing::warn!(project, file, "upload failed"),
        UploadStep::Deleted => tracing::info!(project, file, "upload deleted"),
    }
}

fn attempted(attempt: &Attempt) {
    let Attempt { job, label, number, seat, latency, fault, .. } = attempt;
    let (slot, project, key, id) = (seat.slot, &*seat.project, &*seat.key, label.as_deref());
    let latency_ms = latency.as_millis() as u64;
    match fault {
        None => tracing::debug!(slot, job = job.0, id, project, key, latency_ms, "call answered"),
        Some(fault) => {
            let retry_in_ms = fault.retry_in.map(|wait| wait.as_millis() as u64);
            let (status, code, permanent) = (fault.http_status, fault.code.as_str(), fault.permanent);
            tracing::info!(slot, id, project, key, attempt = number, status, code, retry_in_ms, permanent, "{}", fault.message);
        }
    }
}
