//! The fold from what happens to spans: a request's is open from its head to the end of its answer, an attempt's is made when
//! it has ended.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};
use tidegate_engine::scheduler::{JobId, Timestamp};
use tidegate_engine::{Attempt, ErrorClass, Event, EventKind, Observer};
use tidegate_gateway::{Arrival, Departure, Follower};
use tidegate_gemini::response::Usage;

use super::Tally;

/// Whose API is asked, by OpenTelemetry's word for it.
const PROVIDER: &str = "gcp.gemini";

/// Makes spans of requests and attempts; whoever takes them never makes it wait.
pub struct Spans {
    tracer: SdkTracer,
    tally: Arc<Tally>,
    open: Mutex<Open>,
}

/// What has not ended yet.
#[derive(Default)]
struct Open {
    requests: HashMap<Arc<str>, Request>,
    prompts: HashMap<JobId, Prompt>,
}

struct Request {
    span: Span,
    queued: Duration,
    attempts: u32,
    usage: Usage,
    failed: Option<ErrorClass>,
}

struct Prompt {
    submitted: Timestamp,
    /// Its first start.
    started: Option<Timestamp>,
    /// Its last start.
    sent: Timestamp,
}

impl Spans {
    pub fn new(tracer: SdkTracer, tally: Arc<Tally>) -> Spans {
        Spans { tracer, tally, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Whoever panicked with the lock in hand left the maps whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, mut span: Span, at: Timestamp) {
        if span.span_context().is_sampled() {
            self.tally.ended.fetch_add(1, Ordering::Relaxed);
        }
        span.end_with_timestamp(instant(at));
    }

    /// The span of an attempt of this request's.
    fn attempted(&self, request: &Request, attempt: &Attempt, sent: Timestamp, ended: Timestamp) {
        let seat = &attempt.seat;
        let mut attributes = vec![
            KeyValue::new("gen_ai.provider.name", PROVIDER),
            KeyValue::new("gen_ai.request.model", seat.model.clone()),
            KeyValue::new("tidegate.project", seat.project.clone()),
            KeyValue::new("tidegate.key", seat.key.clone()),
            KeyValue::new("tidegate.attempt", i64::from(attempt.number)),
        ];
        attributes.extend(tokens(&attempt.usage));
        let status = match &attempt.fault {
            None => Some(200),
            Some(fault) => {
                attributes.push(KeyValue::new("error.type", fault.code.clone()));
                fault.http_status
            }
        };
        attributes.extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        let parent = Context::new().with_remote_span_context(request.span.span_context().clone());
        let builder = SpanBuilder::from_name("attempt").with_kind(SpanKind::Client).with_start_time(instant(sent));
        let mut span = builder.with_attributes(attributes).start_with_context(&self.tracer, &parent);
        if let Some(fault) = &attempt.fault {
            span.set_status(Status::error(fault.message.clone()));
        }
        self.end(span, ended);
    }
}

impl Observer for Spans {
    fn observe(&self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::Submitted { job, .. } => {
                self.open().prompts.insert(*job, Prompt { submitted: at, started: None, sent: at });
            }
            EventKind::Started { job, .. } => {
                if let Some(prompt) = self.open().prompts.get_mut(job) {
                    prompt.started.get_or_insert(at);
                    prompt.sent = at;
                }
            }
            EventKind::Attempted(attempt) => {
                let Open { requests, prompts } = &mut *self.open();
                let request = attempt.label.as_ref().and_then(|label| requests.get_mut(label));
                if let Some((request, prompt)) = request.zip(prompts.get(&attempt.job)) {
                    request.attempts += 1;
                    self.attempted(request, attempt, prompt.sent, at);
                }
            }
            EventKind::Completed { job, label, failed, usage } => {
                let Open { requests, prompts } = &mut *self.open();
                let request = label.as_ref().and_then(|label| requests.get_mut(label));
                if let Some((prompt, request)) = prompts.remove(job).zip(request) {
                    request.queued = request.queued.max(prompt.started.unwrap_or(at) - prompt.submitted);
                    request.usage.add(usage);
                    request.failed = request.failed.or(*failed);
                }
            }
            _ => {}
        }
    }
}

impl Follower for Spans {
    fn arrived(&self, arrival: &Arrival<'_>) {
        let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(arrival.headers));
        let builder = SpanBuilder::from_name(format!("{} {}", arrival.method, arrival.route));
        let builder = builder.with_kind(SpanKind::Server).with_start_time(instant(arrival.at)).with_attributes([
            KeyValue::new("http.request.method", arrival.method.to_string()),
            KeyValue::new("url.path", arrival.path.to_string()),
            KeyValue::new("tidegate.client", arrival.client.clone()),
            KeyValue::new("tidegate.request_id", arrival.id.clone()),
        ]);
        let span = builder.start_with_context(&self.tracer, &caller);
        let request = Request { span, queued: Duration::ZERO, attempts: 0, usage: Usage::default(), failed: None };
        self.open().requests.insert(arrival.id.clone(), request);
    }

    fn left(&self, departure: &Departure<'_>) {
        let Some(request) = self.open().requests.remove(departure.id) else { return };
        let Request { mut span, queued, attempts, usage, failed } = request;
        if let Some(model) = departure.model {
            span.set_attribute(KeyValue::new("gen_ai.request.model", model.to_string()));
            span.set_attribute(KeyValue::new("gen_ai.provider.name", PROVIDER));
            span.set_attribute(KeyValue::new("tidegate.queue_ms", whole(queued.as_millis())));
            span.set_attribute(KeyValue::new("tidegate.attempts", i64::from(attempts)));
            span.set_attributes(tokens(&usage));
        }
        if let Some(status) = departure.status {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        if departure.outcome != "answered" {
            let kind = failed.map_or(departure.outcome, ErrorClass::name);
            span.set_attribute(KeyValue::new("error.type", kind));
        }
        // What the caller did wrong is no fault of the server's.
        if departure.outcome == "failed" || departure.status.is_some_and(|status| status >= 500) {
            span.set_status(Status::error(""));
        }
        self.end(span, departure.at);
    }
}

fn tokens(usage: &Usage) -> [KeyValue; 2] {
    let output = usage.output_tokens.saturating_add(usage.thinking_tokens);
    [
        KeyValue::new("gen_ai.usage.input_tokens", whole(usage.input_tokens.into())),
        KeyValue::new("gen_ai.usage.output_tokens", whole(output.into())),
    ]
}

fn whole(number: u128) -> Value {
    Value::I64(i64::try_from(number).unwrap_or(i64::MAX))
}

fn instant(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(at.as_micros())
}
