//! The way to the collector: OTLP over HTTP. While it is away spans are dropped and counted, and that is said once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as Exporter};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use tidegate_engine::Courier;
use tokio::runtime::Handle;

use super::Tally;
use crate::settings::traces::Traces as Told;

/// How long one delivery may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Exports spans and tells how that goes.
#[derive(Debug)]
pub struct Collector {
    exporter: SpanExporter,
    endpoint: String,
    tally: Arc<Tally>,
    away: AtomicBool,
    last_fault: LastFault,
}

/// Why the last delivery failed, which the exporter does not tell.
type LastFault = Arc<Mutex<Option<String>>>;

impl Collector {
    /// The collector at the address that was told, which is not asked yet. To be called on the runtime.
    ///
    /// # Errors
    /// When TLS cannot be set up, or the address is none.
    pub fn new(told: &Told, tally: Arc<Tally>) -> Result<Collector, String> {
        let endpoint = told.endpoint.clone();
        let courier = Courier::new(endpoint.starts_with("https://"), PATIENCE).map_err(|error| error.to_string())?;
        let last_fault = LastFault::default();
        let client = Client { courier, runtime: Handle::current(), last_fault: last_fault.clone() };
        let builder = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary);
        let headers = told.headers.as_ref().map(|headers| pairs(headers.expose_secret())).unwrap_or_default();
        let builder = builder.with_endpoint(&endpoint).with_timeout(PATIENCE).with_headers(headers);
        let exporter = builder.build().map_err(|error| format!("serve.otlp_endpoint = {endpoint} cannot be: {error}"))?;
        Ok(Collector { exporter, endpoint, tally, away: AtomicBool::new(false), last_fault })
    }
}

impl Exporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let told = self.exporter.export(batch).await;
        let endpoint = &self.endpoint;
        match &told {
            Ok(()) => {
                self.tally.sent.fetch_add(spans, Ordering::Relaxed);
                if self.away.swap(false, Ordering::Relaxed) {
                    tracing::info!(%endpoint, missing = self.tally.missing(), "the collector takes spans again");
                }
            }
            Err(error) if !self.away.swap(true, Ordering::Relaxed) => {
                let fault = self.last_fault.lock().unwrap_or_else(PoisonError::into_inner).take();
                let reason = fault.unwrap_or_else(|| error.to_string());
                tracing::warn!(%endpoint, reason, "the collector does not take spans: they are dropped until it does, requests go on");
            }
            Err(_) => {}
        }
        told
    }

    fn shutdown_with_timeout(&self, longest: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(longest)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The engine's way to other servers, on its runtime: spans are sent by a thread that has none.
#[derive(Debug)]
struct Client {
    courier: Courier,
    runtime: Handle,
    last_fault: LastFault,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let courier = self.courier.clone();
        let answer = self.runtime.spawn(async move { courier.send(request).await }).await?;
        let mut fault = self.last_fault.lock().unwrap_or_else(PoisonError::into_inner);
        *fault = answer.as_ref().err().map(ToString::to_string);
        Ok(answer?)
    }
}

/// Headers as their variable writes them: `name=value,name=value`, with `%` before what would be misread.
fn pairs(text: &str) -> HashMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| {
            let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
            (name.trim().to_string(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_their_variable_writes_them() {
        let read = pairs("authorization=Bearer%20a%3Db, x-team = blue,nonsense");
        let told = [("authorization", "Bearer a=b"), ("x-team", "blue")];
        assert_eq!(read, told.map(|(name, value)| (name.to_string(), value.to_string())).into());
    }
}
