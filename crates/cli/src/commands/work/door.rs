//! What a worker shows of itself over HTTP: `/healthz` for who restarts it, `/metrics` for who counts, and adds workers.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_redis::queue::{Queue, QueueStatus};
use tokio::net::TcpListener;

use crate::exit_code::{ExitCode, Failure};

/// The address that was taken, where people and machines may look in.
pub async fn open(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let taken = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    taken.await.map_err(|error| Failure::new(ExitCode::Usage, format!("cannot listen on {address}: {error}")))
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, queue: Queue) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a caller that was gone at once: the next one may fare better.
            tokio::task::yield_now().await;
            continue;
        };
        let queue = queue.clone();
        tokio::spawn(async move {
            let answering = service_fn(move |request| {
                let queue = queue.clone();
                async move { Ok::<_, Infallible>(answer(&request, &queue).await) }
            });
            let mut http = http1::Builder::new();
            let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answering).await;
        });
    }
}

async fn answer(request: &Request<Incoming>, queue: &Queue) -> Response<String> {
    match request.uri().path() {
        // It lives, whether Redis does or not: nobody should restart it for an outage that it waits through.
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/metrics" => match queue.status().await {
            Ok(status) => text(StatusCode::OK, metrics(&queue.name().to_string(), &status)),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "here are /healthz and /metrics\n".to_owned()),
    }
}

fn text(status: StatusCode, text: String) -> Response<String> {
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    answer
}

/// The state of the queue in the text format of Prometheus; every worker of a queue tells the same.
fn metrics(queue: &str, status: &QueueStatus) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP tidegate_queue_{name} {help}\n# TYPE tidegate_queue_{name} {kind}");
        for (label, value) in samples {
            let _ = writeln!(text, "tidegate_queue_{name}{{queue=\"{queue}\"{label}}} {value}");
        }
    };
    let plain = |value: u64| vec![(String::new(), value as f64)];
    family("waiting", "gauge", "Prompts that wait for a worker.", &plain(status.waiting.iter().sum()));
    let classes = ["high", "normal", "low"].into_iter().zip(status.waiting);
    let by_class: Vec<_> = classes.map(|(class, count)| (format!(",class=\"{class}\""), count as f64)).collect();
    family("waiting_by_class", "gauge", "Prompts that wait for a worker, by priority.", &by_class);
    family("in_flight", "gauge", "Prompts in the hands of workers.", &plain(status.in_flight));
    family("delayed", "gauge", "Prompts that must not begin yet.", &plain(status.delayed));
    family("results", "gauge", "Records that nobody has collected.", &plain(status.results));
    family("dead_letters", "gauge", "Prompts that ended without success.", &plain(status.dead));
    family("webhooks", "gauge", "Webhooks to be told.", &plain(status.hooks));
    family("workers", "gauge", "Workers that live.", &plain(status.workers.len() as u64));
    let oldest = status.oldest.map_or(0.0, |age| age.as_secs_f64());
    family("oldest_seconds", "gauge", "Age of the oldest prompt that is not done.", &[(String::new(), oldest)]);
    let events: Vec<_> = status.counts.iter().map(|(event, count)| (format!(",event=\"{event}\""), *count as f64)).collect();
    family("events_total", "counter", "What happened to prompts since the queue was made.", &events);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_state_of_a_queue_is_told_in_the_words_of_prometheus() {
        let status = QueueStatus {
            waiting: [1, 40, 2],
            in_flight: 7,
            oldest: Some(Duration::from_millis(1_500)),
            counts: [("done".to_string(), 12)].into(),
            ..QueueStatus::default()
        };
        let told = metrics("night", &status);
        for line in [
            "# TYPE tidegate_queue_waiting gauge",
            "tidegate_queue_waiting{queue=\"night\"} 43",
            "tidegate_queue_waiting_by_class{queue=\"night\",class=\"normal\"} 40",
            "tidegate_queue_in_flight{queue=\"night\"} 7",
            "tidegate_queue_oldest_seconds{queue=\"night\"} 1.5",
            "tidegate_queue_events_total{queue=\"night\",event=\"done\"} 12",
        ] {
            assert!(told.lines().any(|said| said == line), "{line} is missing in\n{told}");
        }
    }
}
