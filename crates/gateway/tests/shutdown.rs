//! The end of a server: nobody new, everybody who is there to their end, and a bound to that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use common::{GENERATE, prompt, until};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use tidegate_engine::{Backend, Call, Engine, Opened, Project, Reply, TransportError};
use tidegate_gateway::{Gateway, ServeError, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const STREAM: &str = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";
const PIECE: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Knot\"}]}}]}\r\n\r\n";
const LAST: &str = "data: {\"candidates\":[{\"finishReason\":\"STOP\",\"content\":{\"parts\":[{\"text\":\"!\"}]}}]}\r\n\r\n";

/// Streams what the test hands in.
struct Hand(Mutex<Option<mpsc::UnboundedReceiver<&'static str>>>);

impl Backend for Hand {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        std::future::pending().boxed()
    }

    fn open(&self, _call: Call) -> BoxFuture<'_, Result<Opened, TransportError>> {
        let pieces = self.0.lock().unwrap().take().unwrap();
        let body: BoxStream<'static, Result<Bytes, TransportError>> =
            stream::unfold(pieces, |mut pieces| async move { Some((Ok(Bytes::from(pieces.recv().await?)), pieces)) }).boxed();
        std::future::ready(Ok(Opened { status: 200, content_type: None, retry_after: None, body })).boxed()
    }
}

struct Running {
    address: SocketAddr,
    engine: Engine,
    hand: mpsc::UnboundedSender<&'static str>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

async fn run(grace: Duration) -> Running {
    let (hand, pieces) = mpsc::unbounded_channel();
    let keys = vec![(None, "a-key-of-the-test".to_string().into())];
    let project = Project { name: "main".into(), keys, ..Project::default() };
    let backend = Hand(Mutex::new(Some(pieces)));
    let engine = Engine::builder().backend(backend).project(project).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::new(engine.clone(), Settings { grace, ..Settings::default() });
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(gateway.serve(listener, stopped));
    Running { address, engine, hand, stop, served }
}

async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let body = prompt("a").to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Reads until this has come.
async fn read_to(stream: &mut TcpStream, wanted: &str) {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut read = [0; 1024];
        let count = stream.read(&mut read).await.unwrap();
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&read[..count]));
    }
}

#[tokio::test]
async fn a_stream_under_way_ends_whole_and_idle_connections_are_closed_at_once() {
    let running = run(Duration::from_secs(3_600)).await;
    let silent = TcpStream::connect(running.address).await.unwrap();
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_to(&mut idle, "ready").await;
    let mut streamed = ask(running.address, STREAM).await;
    running.hand.send(PIECE).unwrap();
    read_to(&mut streamed, "Knot").await;
    running.stop.send(()).unwrap();
    assert_eq!(rest(idle).await, "", "an idle connection is closed");
    assert_eq!(rest(silent).await, "", "so is one that never asked");
    until(|| std::net::TcpStream::connect(running.address).is_err()).await;
    assert!(!running.served.is_finished());
    running.hand.send(LAST).unwrap();
    drop(running.hand);
    let told = rest(streamed).await;
    assert!(told.contains("STOP") && !told.contains("error"), "{told}");
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_outlasts_the_grace_is_told_so() {
    let running = run(Duration::from_millis(50)).await;
    let mut streamed = ask(running.address, STREAM).await;
    running.hand.send(PIECE).unwrap();
    read_to(&mut streamed, "Knot").await;
    let asked = ask(running.address, GENERATE).await;
    until(|| running.engine.status().active == 2).await;
    running.stop.send(()).unwrap();
    running.served.await.unwrap().unwrap();
    let told = rest(streamed).await;
    assert!(told.contains("\"error\"") && told.ends_with("0\r\n\r\n"), "half a stream does not look whole: {told}");
    assert!(rest(asked).await.starts_with("HTTP/1.1 503"));
}
