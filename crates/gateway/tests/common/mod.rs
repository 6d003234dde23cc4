//! A gateway over a simulated API, each on a port of its own, and a client as small as possible.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "../told/mod.rs"]
mod told;
pub mod world;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tidegate_engine::{Backend, Engine, Project};
use tidegate_gateway::{Gateway, Settings};
use tidegate_gemini::Limits;
use tidegate_simulator::{Scenario, Simulator};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use told::Told;

/// The key of the simulated project: nobody outside may ever see it.
pub const KEY: &str = "SIM-gateway-secret-key-0123456789";
pub const GENERATE: &str = "/v1beta/models/gemini-3.8-flash:generateContent";

/// An answer with fields nobody knows, in an order and with numbers of its own.
pub const ODD: &str = r#"{ "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 4}, "brandNew": 1.50,
 "candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "Knot"}], "role": "model"}}] }"#;

pub struct House {
    pub address: SocketAddr,
    pub engine: Engine,
    pub simulator: Option<Arc<Mutex<Simulator>>>,
    client: HttpClient<HttpConnector, Full<Bytes>>,
}

impl House {
    /// Over a simulator of these lines.
    pub async fn simulated(toml: &str, limits: Limits, settings: Settings) -> House {
        let text = format!("name = 'gate'\n{toml}\n[[projects]]\nname = 'main'\nkeys = ['{KEY}']\n");
        let simulator = Arc::new(Mutex::new(Simulator::new(Scenario::from_toml(&text).unwrap(), Some(1))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let served = simulator.clone();
        tokio::spawn(async move { tidegate_simulator::server::serve(listener, served, std::future::pending::<()>()).await });
        let engine = Engine::builder().base_url(base_url).project(project(limits)).build().unwrap();
        House { simulator: Some(simulator), ..House::of(engine, settings).await }
    }

    /// Over a simulator without limits.
    pub async fn open() -> House {
        House::simulated("", Limits::default(), Settings::default()).await
    }

    /// Over any backend.
    pub async fn over(backend: impl Backend, settings: Settings) -> House {
        let engine = Engine::builder().backend(backend).project(project(Limits::default())).build().unwrap();
        House::of(engine, settings).await
    }

    /// Over any backend, under limits.
    pub async fn limited(backend: impl Backend, limits: Limits, settings: Settings) -> House {
        let engine = Engine::builder().backend(backend).project(project(limits)).build().unwrap();
        House::of(engine, settings).await
    }

    pub async fn of(engine: Engine, settings: Settings) -> House {
        let (house, stop, _) = House::until_told(engine, settings).await;
        // Dropped, it would be told at once.
        std::mem::forget(stop);
        house
    }

    /// One that ends when it is told to.
    pub async fn until_told(engine: Engine, settings: Settings) -> (House, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Gateway::new(engine.clone(), settings);
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move { gateway.serve(listener, stopped).await.unwrap() });
        let client = HttpClient::builder(TokioExecutor::new()).build_http();
        (House { address, engine, simulator: None, client }, stop, served)
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Told {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains(KEY) && !format!("{head:?}").contains(KEY), "the key is told");
        Told(Response::from_parts(head, body))
    }

    pub async fn post(&self, path: &str, body: &Value) -> Told {
        self.send("POST", path, &[], body.to_string()).await
    }

    pub async fn get(&self, path: &str) -> Told {
        self.send("GET", path, &[], "").await
    }

    pub async fn ask(&self, text: &str) -> Told {
        self.post(GENERATE, &prompt(text)).await
    }
}

pub fn prompt(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

pub fn project(limits: Limits) -> Project {
    Project {
        name: "main".into(),
        keys: vec![(Some("the-key".into()), KEY.to_string().into())],
        limits: vec![("*".into(), limits)],
        account: None,
    }
}

/// Looks again and again until a condition holds; it must within a minute.
pub async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be");
}
