//! A gateway over a simulated API of several projects, which can be started again; and a client that may send bodies as streams.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "../told/mod.rs"]
mod told;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tidegate_engine::{Engine, Project};
use tidegate_gateway::{Gateway, Settings};
use tidegate_simulator::{Scenario, Simulator};
use tokio::net::TcpListener;

pub use told::Told;

pub const GENERATE: &str = "/v1beta/models/gemini-3.8-flash:generateContent";
/// What a client shows; the API must never see it.
pub const TOKEN: &str = "client-token-0123456789";

/// The API: its projects are named `p0`, `p1`, ...
pub struct World {
    pub simulator: Arc<Mutex<Simulator>>,
    pub base_url: String,
    pub projects: usize,
}

impl World {
    pub async fn new(projects: usize, toml: &str) -> World {
        let mut text = format!("name = 'places'\naccept_any_key = false\nrecord_requests = 200\n{toml}\n");
        for n in 0..projects {
            text.push_str(&format!("[[projects]]\nname = 'p{n}'\nkeys = ['{}']\n", key(n)));
        }
        let simulator = Arc::new(Mutex::new(Simulator::new(Scenario::from_toml(&text).unwrap(), Some(1))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let served = simulator.clone();
        tokio::spawn(async move { tidegate_simulator::server::serve(listener, served, std::future::pending::<()>()).await });
        World { simulator, base_url, projects }
    }

    /// A gateway over it that keeps its state in `folder`.
    pub async fn gateway(&self, folder: &Path) -> Door {
        let mut builder = Engine::builder().base_url(self.base_url.clone()).state_dir(folder);
        for n in 0..self.projects {
            let keys = vec![(None, key(n).into())];
            builder = builder.project(Project { name: format!("p{n}"), keys, ..Project::default() });
        }
        let settings = Settings { spool: Some(folder.join("spool")), ..Settings::default() };
        Door::open(builder.build().unwrap(), settings).await
    }

    /// What a project itself says, asked without the gateway.
    pub async fn said(&self, project: usize, method: &str, path: &str, body: &str) -> Told {
        let client = HttpClient::builder(TokioExecutor::new()).build_http();
        let request =
            Request::builder().method(method).uri(format!("{}{path}", self.base_url)).header("x-goog-api-key", key(project));
        let response = client.request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        Told(Response::from_parts(head, body.collect().await.unwrap().to_bytes()))
    }

    /// The project that has this thing.
    pub async fn owner(&self, name: &str) -> Vec<usize> {
        let mut owners = Vec::new();
        for project in 0..self.projects {
            if self.said(project, "GET", &format!("/v1beta/{name}"), "").await.status() == 200 {
                owners.push(project);
            }
        }
        owners
    }
}

pub fn key(project: usize) -> String {
    format!("SIM-places-secret-key-of-p{project}")
}

type Outgoing = BoxBody<Bytes, std::io::Error>;

/// A gateway on a port.
pub struct Door {
    pub address: SocketAddr,
    pub engine: Engine,
    client: HttpClient<HttpConnector, Outgoing>,
}

impl Door {
    pub async fn open(engine: Engine, settings: Settings) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Gateway::new(engine.clone(), settings);
        tokio::spawn(gateway.serve(listener, std::future::pending::<()>()));
        Door { address, engine, client: HttpClient::builder(TokioExecutor::new()).build_http() }
    }

    pub async fn send_body(&self, method: &str, url: &str, headers: &[(&str, &str)], body: Outgoing) -> Told {
        let url = if url.starts_with("http") { url.to_string() } else { format!("http://{}{url}", self.address) };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let told = format!("{head:?}{}", String::from_utf8_lossy(&body));
        assert!(!told.contains("SIM-places-secret"), "a key is told: {told}");
        Told(Response::from_parts(head, body))
    }

    pub async fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Told {
        let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
        self.send_body(method, url, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Told {
        self.send("GET", path, &[("x-goog-api-key", TOKEN)], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Told {
        self.send("POST", path, &[("x-goog-api-key", TOKEN), ("content-type", "application/json")], body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Told {
        self.send("DELETE", path, &[("x-goog-api-key", TOKEN)], "").await
    }

    /// Begins an upload; its address.
    pub async fn begin(&self, about: &Value, mime: &str, size: usize) -> String {
        let size = size.to_string();
        let headers = [
            ("x-goog-api-key", TOKEN),
            ("x-goog-upload-protocol", "resumable"),
            ("x-goog-upload-command", "start"),
            ("x-goog-upload-header-content-length", &size),
            ("x-goog-upload-header-content-type", mime),
            ("content-type", "application/json"),
        ];
        let told = self.send("POST", "/upload/v1beta/files", &headers, json!({"file": about}).to_string()).await;
        assert_eq!(told.status(), 200, "{told:?}");
        told.header("x-goog-upload-url").unwrap().to_string()
    }

    /// One chunk, without any token.
    pub async fn chunk(&self, url: &str, command: &str, at: usize, bytes: impl Into<Bytes>) -> Told {
        let at = at.to_string();
        self.send("POST", url, &[("x-goog-upload-command", command), ("x-goog-upload-offset", &at)], bytes).await
    }

    /// Uploads a text; the file as the API shows it.
    pub async fn upload(&self, name: &str, text: &str) -> Value {
        let url = self.begin(&json!({"displayName": name}), "text/plain", text.len()).await;
        let told = self.chunk(&url, "upload, finalize", 0, text.to_string()).await;
        assert_eq!(told.header("x-goog-upload-status"), Some("final"), "{told:?}");
        told.json(200)["file"].clone()
    }
}

/// A prompt about files.
pub fn about(uris: &[&str]) -> Value {
    let file = |uri: &&str| json!({"fileData": {"mimeType": "text/plain", "fileUri": uri}});
    let parts: Vec<Value> = std::iter::once(json!({"text": "Compare them."})).chain(uris.iter().map(file)).collect();
    json!({"contents": [{"role": "user", "parts": parts}]})
}
