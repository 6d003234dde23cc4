//! A line of the access log for each prompt that has ended, with what it took: the request's id ties it to the request's line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_engine::scheduler::{JobId, Timestamp};
use tidegate_engine::{Event, EventKind, Observer, Seat};
use tokio::sync::mpsc;

/// Gathers what is known of prompts on their way; written where nobody waits for it.
pub struct Prompts {
    under_way: Mutex<HashMap<JobId, UnderWay>>,
    ended: mpsc::UnboundedSender<Ended>,
}

struct UnderWay {
    submitted: Timestamp,
    started: Option<Timestamp>,
    upstream: Duration,
    attempts: u32,
    seat: Option<Seat>,
}

/// A prompt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ended {
    request_id: Arc<str>,
    model: Arc<str>,
    project: Arc<str>,
    /// The name of the key that was used last.
    key: Arc<str>,
    attempts: u32,
    queue_ms: u64,
    upstream_ms: u64,
    input_tokens: u64,
    output_tokens: u64,
    outcome: &'static str,
}

impl Prompts {
    /// An observer whose lines are written by a task of their own; `None` where nobody wants them.
    pub fn start() -> Option<Arc<Prompts>> {
        if !tracing::enabled!(target: "tidegate::access", tracing::Level::INFO) {
            return None;
        }
        let (ended, mut lines) = mpsc::unbounded_channel::<Ended>();
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                line.write();
            }
        });
        Some(Arc::new(Prompts { under_way: Mutex::default(), ended }))
    }

    fn note(&self, event: &Event, under_way: &mut HashMap<JobId, UnderWay>) {
        match &event.kind {
            EventKind::Submitted { job, .. } => {
                let fresh = UnderWay { submitted: event.at, started: None, upstream: Duration::ZERO, attempts: 0, seat: None };
                under_way.insert(*job, fresh);
            }
            EventKind::Started { job, seat, .. } => {
                if let Some(prompt) = under_way.get_mut(job) {
                    prompt.started.get_or_insert(event.at);
                    prompt.seat = Some(seat.clone());
                }
            }
            EventKind::Attempted(attempt) => {
                if let Some(prompt) = under_way.get_mut(&attempt.job) {
                    prompt.attempts = attempt.number;
                    prompt.upstream += attempt.latency;
                }
            }
            EventKind::Completed { job, label, failed, usage, .. } => {
                let Some((prompt, request_id)) = under_way.remove(job).zip(label.clone()) else { return };
                let nobody = || Seat { project: "".into(), key: "".into(), model: "".into(), slot: 0 };
                let seat = prompt.seat.unwrap_or_else(nobody);
                // Without its writer there is no log to write to.
                let _ = self.ended.send(Ended {
                    request_id,
                    model: seat.model,
                    project: seat.project,
                    key: seat.key,
                    attempts: prompt.attempts,
                    queue_ms: millis(prompt.started.unwrap_or(event.at) - prompt.submitted),
                    upstream_ms: millis(prompt.upstream),
                    input_tokens: usage.input_tokens,
                    output_tokens: usage.output_tokens + usage.thinking_tokens,
                    outcome: failed.map_or("answered", |class| class.name()),
                });
            }
            _ => {}
        }
    }
}

impl Observer for Prompts {
    fn observe(&self, event: &Event) {
        // Whoever panicked with the lock in hand left the map whole.
        let mut under_way = self.under_way.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.note(event, &mut under_way);
    }
}

impl Ended {
    fn write(&self) {
        let Ended { request_id, model, project, key, attempts, queue_ms, upstream_ms, input_tokens, output_tokens, outcome } =
            self;
        tracing::info!(
            target: "tidegate::access",
            request_id = &**request_id, model = &**model, project = &**project, key = &**key,
            attempts, queue_ms, upstream_ms, input_tokens, output_tokens, outcome, "prompt"
        );
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_engine::{Backend, Call, Engine, Project, Reply, Request, TransportError};

    /// Answers after two seconds.
    struct Slow;

    impl Backend for Slow {
        fn call(&self, _call: Call) -> std::pin::Pin<Box<dyn Future<Output = Result<Reply, TransportError>> + Send + '_>> {
            let body = r#"{"candidates":[{"content":{"parts":[{"text":"Knot"}]},"finishReason":"STOP"}],
                "usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":1,"thoughtsTokenCount":2,"totalTokenCount":13}}"#;
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok(Reply { status: 200, content_type: None, retry_after: None, body: body.into() })
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_prompt_that_has_ended_is_told_with_what_it_took() {
        let (ended, mut lines) = mpsc::unbounded_channel();
        let prompts = Arc::new(Prompts { under_way: Mutex::default(), ended });
        let keys = vec![(Some("the key".to_string()), "SECRET-of-the-test".to_string().into())];
        let project = Project { name: "main".into(), keys, ..Project::default() };
        let engine = Engine::builder().backend(Slow).project(project).observer(prompts.clone()).build().unwrap();
        let defaults = tidegate_gemini::request::Defaults { model: Some("gemini-3.8-flash".into()), ..Default::default() };
        let built = tidegate_gemini::request::build(&tidegate_gemini::prompt::Prompt::text("a"), &defaults).unwrap();
        engine.submit(Request { label: Some("id-1".into()), ..Request::new(built) }).await.unwrap();
        let line = lines.recv().await.unwrap();
        assert_eq!(
            (&*line.request_id, &*line.model, &*line.project, &*line.key),
            ("id-1", "gemini-3.8-flash", "main", "the key")
        );
        assert_eq!((line.attempts, line.queue_ms, line.outcome), (1, 0, "answered"));
        assert_eq!((line.upstream_ms / 100, line.input_tokens, line.output_tokens), (20, 10, 3));
        assert!(prompts.under_way.lock().unwrap().is_empty());
    }
}
