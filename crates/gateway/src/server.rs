//! The server: connections, one answer for each request, an orderly end.

use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tidegate_engine::Engine;
use tokio::net::{TcpListener, TcpStream};

use crate::answer::{Answer, Body};
use crate::auth::{Callers, token};
use crate::call::Call;
use crate::error::{Dialect, Refusal};
use crate::routes::{self, Route};
use crate::settings::Settings;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 1_000;
/// The header that names a request in answers and logs.
const REQUEST_ID: &str = "x-tidegate-request-id";
/// The same for OpenAI's libraries, which show it in their errors.
const OPENAI_REQUEST_ID: &str = "x-request-id";

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Anybody on the network could use the keys.
    #[error("{0} can be reached from other machines: name the [[serve.clients]] who may call, or listen on 127.0.0.1")]
    Open(SocketAddr),
    /// The listener failed.
    #[error("cannot listen: {0}")]
    Listener(#[from] io::Error),
}

/// The front door of an engine.
pub struct Gateway {
    gate: Arc<Gate>,
}

/// What every request needs.
pub(crate) struct Gate {
    pub engine: Engine,
    pub settings: Settings,
    pub callers: Callers,
    pub draining: AtomicBool,
    ids: Ids,
}

impl Gateway {
    /// A gateway over `engine`; the engine stays its owner's to shut down.
    pub fn new(engine: Engine, settings: Settings) -> Gateway {
        let callers = Callers::new(&settings.clients);
        let gate = Gate { engine, settings, callers, draining: AtomicBool::new(false), ids: Ids::new() };
        Gateway { gate: Arc::new(gate) }
    }

    /// Serves until `shutdown` is done; requests under way then have the grace of the settings to end.
    ///
    /// # Errors
    /// [`ServeError::Open`] for an address that others can reach while nobody is named who may call, and what the listener
    /// reports; single connections that fail are their clients' affair.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        if self.gate.callers.is_open() && !address.ip().is_loopback() {
            return Err(ServeError::Open(address));
        }
        let connections = GracefulShutdown::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                _ = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.gate.clone().connect(stream, &connections),
                    Err(error) if is_passing(&error) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(error) => return Err(error.into()),
                },
            }
        }
        drop(listener);
        self.gate.draining.store(true, Ordering::Relaxed);
        if tokio::time::timeout(self.gate.settings.grace, connections.shutdown()).await.is_err() {
            tracing::warn!("requests were still under way when the server ended");
        }
        Ok(())
    }
}

impl Gate {
    fn connect(self: Arc<Gate>, stream: TcpStream, connections: &GracefulShutdown) {
        // A connection that is gone already will say so when it is read.
        let _ = stream.set_nodelay(true);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.settings.header_timeout);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
        let gate = self;
        let service = service_fn(move |request| {
            let gate = gate.clone();
            async move { Ok::<_, Infallible>(gate.answer(request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }

    /// Answers one request, whatever it is.
    async fn answer(self: Arc<Gate>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let begun = Instant::now();
        let id: Arc<str> = self.ids.next().into();
        let route = Route::find(&head);
        let (method, path) = (head.method.clone(), head.uri.path().to_string());
        let dialect = route.dialect(&head);
        let shown = token(&head.headers, head.uri.query().unwrap_or_default());
        let caller = if route.is_public() { Some(self.callers.anybody()) } else { self.callers.find(shown) };
        let name = caller.map_or("stranger", |caller| &caller.name).to_string();
        let told: Result<Answer, Refusal> = match caller.cloned() {
            Some(caller) => routes::answer(&self, route, Call { head, body, caller, id: id.clone() }).await,
            None => Err(Refusal::stranger(shown.is_some())),
        };
        let mut answer = told.unwrap_or_else(|refusal| refusal.answer(dialect));
        if let Ok(id) = HeaderValue::from_str(&id) {
            if dialect == Dialect::OpenAi {
                answer.headers_mut().insert(OPENAI_REQUEST_ID, id.clone());
            }
            answer.headers_mut().insert(REQUEST_ID, id);
        }
        let (status, took) = (answer.status().as_u16(), begun.elapsed().as_millis() as u64);
        tracing::info!(target: "tidegate::access", %method, path, status, took_ms = took, client = name, request_id = &*id);
        answer
    }
}

/// Names for requests: unlike those of another run, in the order they came.
struct Ids {
    run: u32,
    last: AtomicU64,
}

impl Ids {
    fn new() -> Ids {
        // A hasher's keys are the chance that the standard library has.
        let run = RandomState::new().build_hasher().finish() as u32;
        Ids { run, last: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        format!("{:08x}-{:06x}", self.run, self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Errors of one connection, or of a process out of descriptors: the listener lives on.
fn is_passing(error: &io::Error) -> bool {
    const OUT_OF_FILES: [i32; 2] = [23, 24];
    let of_connection = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    of_connection.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code))
}
