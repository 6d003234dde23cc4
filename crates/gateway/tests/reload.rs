//! New settings while it serves: at once for whoever comes, and nothing changes for whoever is there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{GENERATE, ODD, prompt, until};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tidegate_engine::{Backend, Call, Engine, Project, Reply, TransportError};
use tidegate_gateway::{Client, Gateway, Reins, ServeError, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Answers whenever it is let.
#[derive(Clone)]
struct Held(Arc<Semaphore>);

impl Backend for Held {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            self.0.acquire().await.unwrap().forget();
            Ok(Reply { status: 200, content_type: None, retry_after: None, body: ODD.into() })
        }
        .boxed()
    }
}

fn client(name: &str, token: &str) -> Client {
    Client::new(name, token.to_string().into())
}

fn of(clients: Vec<Client>) -> Settings {
    Settings { clients, ..Settings::default() }
}

async fn serve(settings: Settings, listen: &str) -> (std::net::SocketAddr, Reins, Held, Engine) {
    let held = Held(Arc::new(Semaphore::new(0)));
    let keys = vec![(None, "a-key-of-the-test".to_string().into())];
    let project = Project { name: "main".into(), keys, ..Project::default() };
    let engine = Engine::builder().backend(held.clone()).project(project).build().unwrap();
    let listener = TcpListener::bind(listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::new(engine.clone(), settings);
    let reins = gateway.reins();
    tokio::spawn(gateway.serve(listener, std::future::pending::<()>()));
    (address, reins, held, engine)
}

/// One request on a connection that may serve more.
async fn send(stream: &mut TcpStream, token: &str) {
    let body = prompt("a").to_string();
    let head =
        format!("POST {GENERATE} HTTP/1.1\r\nhost: a\r\nx-goog-api-key: {token}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

async fn status(stream: &mut TcpStream) -> String {
    let mut read = [0; 4096];
    let count = stream.read(&mut read).await.unwrap();
    String::from_utf8_lossy(&read[..count]).split_whitespace().nth(1).unwrap_or_default().to_string()
}

#[tokio::test]
async fn a_token_that_is_taken_back_ends_with_its_last_request() {
    let (address, reins, held, engine) = serve(of(vec![client("old", "old-token")]), "127.0.0.1:0").await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    send(&mut stream, "old-token").await;
    until(|| engine.status().active == 1).await;
    reins.settings(of(vec![client("new", "new-token")])).unwrap();
    held.0.add_permits(1);
    assert_eq!(status(&mut stream).await, "200", "what was under way is answered");
    send(&mut stream, "old-token").await;
    assert_eq!(status(&mut stream).await, "401", "on the same connection");
    held.0.add_permits(1);
    send(&mut stream, "new-token").await;
    assert_eq!(status(&mut stream).await, "200");
}

#[tokio::test]
async fn a_door_that_others_can_reach_is_not_opened_by_new_settings() {
    let (address, reins, ..) = serve(of(vec![client("old", "old-token")]), "0.0.0.0:0").await;
    let mut stream = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
    send(&mut stream, "another").await;
    assert_eq!(status(&mut stream).await, "401");
    assert!(matches!(reins.settings(of(Vec::new())), Err(ServeError::Open(_))));
    send(&mut stream, "another").await;
    assert_eq!(status(&mut stream).await, "401", "nothing was changed");
}

#[tokio::test]
async fn how_long_is_waited_and_how_much_is_taken_changes_at_once() {
    let (address, reins, ..) = serve(Settings::default(), "127.0.0.1:0").await;
    reins.settings(Settings { max_body: 10, max_wait: Duration::from_secs(1), ..Settings::default() }).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    send(&mut stream, "any").await;
    assert_eq!(status(&mut stream).await, "413");
}
