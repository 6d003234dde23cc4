//! Traces in OpenTelemetry's form: a span for each request and one for each of its attempts, sent to a collector in batches.

mod collector;
mod spans;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tidegate_engine::{Engine, Observing};
use tidegate_gateway::Gateway;

use self::collector::Collector;
use self::spans::Spans;
use crate::exit_code::Failure;
use crate::settings::traces::Traces as Told;

/// Everything about traces of one gateway, from its first request to its last.
pub struct Traces {
    spans: Arc<Spans>,
    provider: SdkTracerProvider,
    tally: Arc<Tally>,
    endpoint: String,
    observing: Option<Observing>,
}

/// How many spans there were.
#[derive(Debug, Default)]
pub struct Tally {
    ended: AtomicU64,
    sent: AtomicU64,
}

impl Tally {
    /// Spans that ended and did not reach the collector, or not yet.
    fn missing(&self) -> u64 {
        self.ended.load(Ordering::Relaxed).saturating_sub(self.sent.load(Ordering::Relaxed))
    }
}

impl Traces {
    /// Begins to gather traces, to be sent by a thread of their own. The collector is not asked yet whether it is there.
    ///
    /// # Errors
    /// When the collector's address or headers cannot be used.
    pub fn start(told: &Told) -> Result<Option<Traces>, Failure> {
        let tally = Arc::new(Tally::default());
        let collector = Collector::new(told, tally.clone()).map_err(Failure::usage)?;
        let provider = SdkTracerProvider::builder().with_resource(resource(&told.service)).with_batch_exporter(collector).build();
        let spans = Arc::new(Spans::new(provider.tracer("tidegate"), tally.clone()));
        Ok(Some(Traces { spans, provider, tally, endpoint: told.endpoint.clone(), observing: None }))
    }

    /// Follows what the engine and its gateway do from now on.
    pub fn follow(&mut self, engine: &Engine, gateway: &Gateway) {
        self.observing = Some(engine.observe(self.spans.clone()));
        gateway.follow(self.spans.clone());
    }

    /// Sends what is left, for so long at most.
    pub async fn stop(self, longest: Duration) {
        let Traces { provider, tally, endpoint, .. } = self;
        let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(longest)).await;
        let missing = tally.missing();
        if missing > 0 {
            let slow = !matches!(stopped, Ok(Ok(())));
            tracing::warn!(%endpoint, missing, slow, "not all spans of this run have reached the collector");
        }
    }
}

/// Who we are; `OTEL_RESOURCE_ATTRIBUTES` adds to it.
fn resource(service: &str) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let own = [KeyValue::new("service.name", "tidegate"), version];
    let resource = Resource::builder_empty().with_attributes(own).with_detector(Box::new(EnvResourceDetector::new()));
    match service {
        // The common variable of attributes may have named it.
        "tidegate" => resource.build(),
        named => resource.with_service_name(named.to_string()).build(),
    }
}
