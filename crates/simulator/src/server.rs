//! The simulator on a port: HTTP/1.1 and HTTP/2, with the real clock.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use crate::exchange::{Piece, SimAnswer, SimRequest};
use crate::simulator::Simulator;
use crate::upload::Reception;

const MAX_STREAMS: u32 = 100;

/// Serves until `shutdown` is done, then drops every connection.
///
/// `GET /sim/report` answers with the [`Report`](crate::Report) as JSON.
///
/// # Errors
/// What the listener reports, except for single connections that fail.
pub async fn serve(listener: TcpListener, simulator: Arc<Mutex<Simulator>>, shutdown: impl Future) -> io::Result<()> {
    let server = Arc::new(Server { simulator, clock: Clock::start() });
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            _ = &mut shutdown => return Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&server)));
                }
                Err(error) if is_passing(&error) => sleep(Duration::from_millis(10)).await,
                Err(error) => return Err(error),
            },
        }
    }
}

/// The wall clock read once, and a steady one from there on.
#[derive(Debug)]
struct Clock {
    epoch: Duration,
    start: Instant,
}

struct Server {
    simulator: Arc<Mutex<Simulator>>,
    clock: Clock,
}

/// Why a connection is dropped in the middle.
#[derive(Debug, thiserror::Error)]
enum Dropped {
    #[error("scripted: the connection is closed without an answer")]
    Unanswered,
    #[error("scripted: the connection is torn within the body")]
    Torn,
    #[error("the request's body broke off: {0}")]
    Request(#[from] hyper::Error),
    #[error("the answer is no HTTP: {0}")]
    Answer(#[from] hyper::http::Error),
}

impl Clock {
    fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { epoch, start: Instant::now() }
    }

    fn now(&self) -> u64 {
        u64::try_from((self.epoch + self.start.elapsed()).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Errors of one connection, or of a process out of descriptors: the listener lives on.
fn is_passing(error: &io::Error) -> bool {
    const OUT_OF_FILES: [i32; 2] = [23, 24];
    let of_connection = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    of_connection.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code))
}

async fn connection(stream: TcpStream, server: Arc<Server>) -> Result<(), Infallible> {
    // A connection that is gone already will say so when it is read.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(Arc::clone(&server), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    // How a single connection ends is the client's affair.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    Ok(())
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Pieces>, Dropped> {
    let (head, mut body) = request.into_parts();
    let headers = headers_of(&head);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = SimRequest { method: head.method.as_str(), path, headers: &headers, body: &[] };
    let reception =
        if path.starts_with("/upload/") { server.now(|simulator, now| simulator.receive(now, &request)) } else { None };
    if let Some(reception) = reception {
        return send(take_chunk(&server, reception, &mut body).await?).await;
    }
    let body = body.collect().await?.to_bytes();
    request.body = &body;
    let transit = server.lock().transit();
    rest(transit).await;
    let answer = server.now(|simulator, now| simulator.handle(now, &request));
    send(answer).await
}

/// The headers, and the host that HTTP/2 names elsewhere.
fn headers_of(head: &Parts) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()));
    let mut headers: Vec<_> = head.headers.iter().filter_map(text).collect();
    if let Some(host) = head.uri.authority().filter(|_| !head.headers.contains_key(HOST)) {
        headers.push(("host".to_owned(), host.to_string()));
    }
    headers
}

/// Lets the bytes of a chunk pass without keeping them.
async fn take_chunk(server: &Server, mut reception: Reception, body: &mut Incoming) -> Result<SimAnswer, Dropped> {
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        if frame.data_ref().is_some_and(|bytes| !reception.write(bytes)) {
            break;
        }
    }
    Ok(server.now(|simulator, now| simulator.received(now, reception)))
}

impl Server {
    fn now<T>(&self, act: impl FnOnce(&mut Simulator, u64) -> T) -> T {
        let mut simulator = self.lock();
        // Read under the lock, so that the simulator's time never runs backwards.
        let now = self.clock.now();
        act(&mut simulator, now)
    }

    /// A panic elsewhere does not make the figures wrong, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Simulator> {
        self.simulator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(mut answer: SimAnswer) -> Result<Response<Pieces>, Dropped> {
    if let Some(first) = answer.pieces.first_mut() {
        rest(std::mem::take(&mut first.after)).await;
    }
    if !answer.is_answered() {
        return Err(Dropped::Unanswered);
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder().status(status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    if let Some(length) = answer.declared_length {
        response = response.header(CONTENT_LENGTH, length);
    }
    Ok(response.body(Pieces::new(answer.pieces, answer.cut))?)
}

async fn rest(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// A body that sends its pieces at their times.
struct Pieces {
    left: std::vec::IntoIter<Piece>,
    next: Option<(Bytes, Option<Pin<Box<Sleep>>>)>,
    cut: bool,
    flushed: bool,
}

impl Pieces {
    fn new(pieces: Vec<Piece>, cut: bool) -> Self {
        let mut body = Self { left: pieces.into_iter(), next: None, cut, flushed: false };
        body.advance();
        body
    }

    /// The proper end, or an error that tears the connection; the pieces are given time to leave before it.
    fn end(&mut self, context: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        if !self.cut {
            return Poll::Ready(None);
        }
        if !std::mem::replace(&mut self.flushed, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.cut = false;
        Poll::Ready(Some(Err(Dropped::Torn)))
    }

    fn advance(&mut self) {
        self.next = self.left.next().map(|piece| {
            let wait = (!piece.after.is_zero()).then(|| Box::pin(sleep(piece.after)));
            (Bytes::from(piece.bytes), wait)
        });
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        let Some((bytes, wait)) = &mut self.next else {
            return self.end(context);
        };
        if let Some(wait) = wait {
            ready!(wait.as_mut().poll(context));
        }
        let bytes = std::mem::take(bytes);
        self.advance();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        match &self.next {
            Some((bytes, None)) if self.left.len() == 0 && !self.cut => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
