//! What the gateway has no room of its own for goes through as it is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod places;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use places::{Door, TOKEN, key};
use tidegate_engine::{Engine, Project};
use tidegate_gateway::Settings;
use tidegate_gemini::Limits;
use tokio::net::TcpListener;

/// What the other side got.
#[derive(Debug, Clone)]
struct Got {
    line: String,
    headers: String,
    body: Bytes,
}

/// Says always the same, with a header that must not pass, and remembers what it was asked.
async fn upstream(content_type: &'static str, says: &'static str) -> (Door, Arc<Mutex<Vec<Got>>>) {
    limited(content_type, says, Limits::default()).await
}

/// The same for two projects with these limits.
async fn limited(content_type: &'static str, says: &'static str, limits: Limits) -> (Door, Arc<Mutex<Vec<Got>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<Got>>> = Arc::default();
    let seen = asked.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let seen = seen.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let seen = seen.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let (line, headers) = (format!("{} {}", head.method, head.uri), format!("{:?}", head.headers));
                    let secret = head.headers.get("x-goog-api-key").unwrap().to_str().unwrap().to_string();
                    let headers = if secret.starts_with("SIM-") { headers } else { format!("{headers} {secret}") };
                    seen.lock().unwrap().push(Got { line, headers, body });
                    let answer = Response::builder().header("content-type", content_type).header("set-cookie", "c=1");
                    let answer = answer.header("etag", "\"e\"").header("server", "upstream");
                    Ok::<_, Infallible>(answer.body(Full::new(Bytes::from_static(says.as_bytes()))).unwrap())
                }
            });
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let project = |n: usize| Project {
        name: format!("p{n}"),
        keys: vec![(None, key(n).into())],
        limits: vec![("*".into(), limits)],
        account: None,
    };
    let engine = Engine::builder().base_url(base_url).project(project(0)).project(project(1)).build().unwrap();
    (Door::open(engine, Settings::default()).await, asked)
}

#[tokio::test]
async fn an_unknown_method_passes_byte_for_byte_without_the_clients_token() {
    const ODD: &str = "{ \"b\" : 1.50,\r\n \"a\": 123456789012345678901234567890 }";
    let (door, asked) = upstream("application/json", ODD).await;
    let headers = [
        ("x-goog-api-key", TOKEN),
        ("authorization", "Bearer client-token-0123456789"),
        ("cookie", TOKEN),
        ("content-type", "application/json"),
        ("x-goog-api-client", "sdk/1"),
    ];
    let path = format!("/v1alpha/models/veo:predictLongRunning?alt=json&key={TOKEN}&x=a%20b");
    let told = door.send("POST", &path, &headers, ODD).await;
    assert_eq!((told.status(), &told.0.body()[..]), (200, ODD.as_bytes()));
    assert_eq!((told.header("etag"), told.header("set-cookie"), told.header("server")), (Some("\"e\""), None, None));
    let got = asked.lock().unwrap()[0].clone();
    assert_eq!(got.line, "POST /v1alpha/models/veo:predictLongRunning?alt=json&x=a%20b");
    assert_eq!(got.body, ODD.as_bytes());
    assert!(!got.headers.contains(TOKEN) && got.headers.contains("sdk/1"), "{}", got.headers);
    for method in ["PUT", "PATCH", "DELETE"] {
        door.send(method, "/v1beta/corpora/x/documents/y", &headers, ODD).await;
        assert!(asked.lock().unwrap().last().unwrap().line.starts_with(method));
    }
}

#[tokio::test]
async fn bodies_of_other_types_pass_as_a_stream() {
    let (door, asked) = upstream("application/octet-stream", "\u{0}raw\u{1}").await;
    let told = door.send("POST", "/v1beta/something:new", &[("content-type", "audio/wav")], "RIFF\0\0").await;
    assert_eq!(&told.0.body()[..], b"\0raw\x01");
    assert_eq!(asked.lock().unwrap()[0].body, "RIFF\0\0");
}

#[tokio::test]
async fn a_batch_and_an_interaction_are_looked_for_where_they_were_made() {
    let (door, asked) = upstream("application/json", r#"{"name": "batches/b1", "id": "int-1", "done": false}"#).await;
    let json = [("content-type", "application/json")];
    door.send("POST", "/v1beta/models/m:batchGenerateContent", &json, r#"{"batch":{}}"#).await.json(200);
    door.send("POST", "/v1beta/interactions", &json, r#"{"model":"m","input":"x"}"#).await.json(200);
    let residence = door.engine.residence();
    assert!(residence.home("batches/b1").is_some() && residence.home("interactions/int-1").is_some());
    let before = asked.lock().unwrap().len();
    door.send("POST", "/v1beta/batches/b1:cancel", &[], "").await.json(200);
    door.get("/v1beta/interactions/int-1").await.json(200);
    door.delete("/v1beta/batches/b1").await.json(200);
    let lines: Vec<String> = asked.lock().unwrap()[before..].iter().map(|got| got.line.clone()).collect();
    assert_eq!(lines, ["POST /v1beta/batches/b1:cancel", "GET /v1beta/interactions/int-1", "DELETE /v1beta/batches/b1"]);
    assert!(residence.home("batches/b1").is_none());
}

#[tokio::test]
async fn a_stream_of_events_passes_and_its_interaction_is_remembered() {
    const EVENTS: &str = "event: interaction.start\ndata: {\"interaction\":{\"id\":\"int-9\"}}\n\nevent: done\ndata: [DONE]\n\n";
    let (door, _) = upstream("text/event-stream", EVENTS).await;
    let told = door.send("POST", "/v1beta/interactions", &[("content-type", "application/json")], r#"{"stream":true}"#).await;
    assert_eq!(told.0.body(), EVENTS);
    assert!(door.engine.residence().home("interactions/int-9").is_some());
}

#[tokio::test]
async fn paths_that_lead_elsewhere_are_not_handed_on() {
    let (door, asked) = upstream("application/json", "{}").await;
    for path in ["/v1beta/..%2f..%2fadmin", "/v1beta/a//b", "/v1beta/files/%2e%2e/x", "/v2/files", "/admin"] {
        assert_eq!(door.get(path).await.status(), 404, "{path}");
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_generates_takes_a_permit_and_what_only_looks_does_not() {
    const ONE_A_MINUTE: Limits = Limits { rpm: Some(1), tpm: None, rpd: None };
    let (door, asked) = limited("application/json", r#"{"id": "int-1"}"#, ONE_A_MINUTE).await;
    let headers = [("content-type", "application/json"), ("x-tidegate-max-wait", "1s")];
    let generating = [
        ("/v1beta/interactions", r#"{"model":"models/m","input":"x"}"#),
        ("/v1beta/models/m:predict", r#"{"instances":[]}"#),
        ("/v1beta/models/m:predictLongRunning", r#"{"instances":[]}"#),
        ("/v1beta/models/m:generateAnswer", r#"{"contents":[]}"#),
    ];
    for (path, body) in &generating[..2] {
        let told = door.send("POST", path, &headers, *body).await;
        told.json(200);
        assert!(told.header("x-tidegate-waited").is_some(), "{path}");
    }
    let used: u64 = door.engine.status().quotas.iter().map(|quota| quota.rpm.0).sum();
    assert_eq!(used, 2, "one of each project");
    for (path, body) in generating {
        let told = door.send("POST", path, &headers, body).await.json(429);
        let wait = told["error"]["details"][0]["retryDelay"].as_str().unwrap();
        let seconds: f64 = wait.trim_end_matches('s').parse().unwrap();
        assert!((50.0..=61.0).contains(&seconds), "{path}: {told}");
    }
    assert_eq!(asked.lock().unwrap().len(), 2, "who is refused is not handed on");
    door.send("POST", "/v1beta/models/m:batchGenerateContent", &headers, r#"{"batch":{}}"#).await.json(200);
    door.send("POST", "/v1beta/models/m:countTextTokens", &headers, "{}").await.json(200);
    door.send("POST", "/v1beta/interactions", &headers, r#"{"agent":"deep-research","input":"x"}"#).await.json(200);
    door.send("POST", "/v1beta/interactions/int-1:cancel", &headers, "{}").await.json(200);
    door.get("/v1beta/interactions/int-1").await.json(200);
    let status = door.engine.status();
    assert_eq!((status.active, status.queued, status.stats.done), (0, 0, 2));
}
