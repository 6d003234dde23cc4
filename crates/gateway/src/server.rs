//! The server: connections, one answer for each request, an orderly end.

use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tidegate_engine::{Engine, Observing};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::answer::{Answer, Body};
use crate::auth::{Callers, token};
use crate::call::Call;
use crate::cors::Cors;
use crate::error::{Dialect, Refusal};
use crate::figures::Figures;
use crate::fill::Fillings;
use crate::follower::Follower;
use crate::opening::{Spoken, listen};
use crate::purse::Purses;
use crate::rooms::Rooms;
use crate::routes::{self, Route};
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::spool::Spool;
use crate::story::Story;
use crate::visit::Visit;
use crate::watchers::Watchers;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 1_000;
/// Bytes of our name for a request, at most.
const LONGEST_ID: usize = 8 + 1 + 16;
/// The longest name of a client's own for its request that is kept.
const MOST_ID: usize = 128;
/// How long what is told at the very end may take to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of an answer that wait for a slow reader beside what the system keeps; also the most that a head may have.
const HELD_BYTES: usize = 64 * 1024;
/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(20);
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
    gates: Arc<watch::Sender<Arc<Gate>>>,
    connections: GracefulShutdown,
}

/// Changes the settings of a gateway while it serves.
#[derive(Clone)]
pub struct Reins {
    gates: Arc<watch::Sender<Arc<Gate>>>,
}

/// What every request needs: with new settings there is a new one, and requests under way keep theirs.
pub(crate) struct Gate {
    pub engine: Engine,
    pub settings: Settings,
    pub callers: Callers,
    house: Arc<House>,
}

/// What outlives settings.
pub(crate) struct House {
    pub purses: Arc<Purses>,
    pub draining: AtomicBool,
    pub uploads: Sessions,
    pub spool: Option<Arc<Spool>>,
    pub rooms: Arc<Rooms>,
    address: OnceLock<SocketAddr>,
    pub figures: Arc<Figures>,
    _observing: Observing,
    pub watchers: Watchers,
    pub fillings: Fillings,
    follower: OnceLock<Arc<dyn Follower>>,
    stranger: Arc<str>,
    ids: Ids,
    gates: Weak<watch::Sender<Arc<Gate>>>,
}

impl House {
    /// The settings in force now; `None` once nobody serves by them any more.
    pub fn gate(&self) -> Option<Arc<Gate>> {
        self.gates.upgrade().map(|gates| gates.borrow().clone())
    }
}

impl std::ops::Deref for Gate {
    type Target = House;
    fn deref(&self) -> &House {
        &self.house
    }
}

impl Reins {
    /// Serves requests from now on by these settings; those under way go on by the ones they came under.
    ///
    /// # Errors
    /// [`ServeError::Open`] when nobody is named any more who may call an address that others can reach; nothing is changed.
    pub fn settings(&self, settings: Settings) -> Result<(), ServeError> {
        let now = self.gates.borrow().clone();
        let callers = Callers::new(&settings.clients);
        if let Some(address) = now.address.get() {
            check(&callers, *address)?;
        }
        self.gates.send_replace(Arc::new(Gate { engine: now.engine.clone(), settings, callers, house: now.house.clone() }));
        Ok(())
    }
}

/// Who is not asked for a token must be on this machine.
fn check(callers: &Callers, address: SocketAddr) -> Result<(), ServeError> {
    if callers.is_open() && !address.ip().is_loopback() { Err(ServeError::Open(address)) } else { Ok(()) }
}

impl Gateway {
    /// A gateway over `engine`; the engine stays its owner's to shut down.
    pub fn new(engine: Engine, settings: Settings) -> Gateway {
        let callers = Callers::new(&settings.clients);
        let figures = Arc::new(Figures::new(engine.now()));
        let observing = engine.observe(figures.clone());
        let gates = Arc::new_cyclic(|gates| {
            let house = House {
                purses: Arc::new(Purses::new(engine.clone())),
                draining: AtomicBool::new(false),
                uploads: Sessions::default(),
                spool: settings.spool.as_ref().and_then(|folder| Spool::open(folder, settings.spool_bytes)),
                rooms: Arc::new(Rooms::new(settings.max_bodies_in_flight)),
                address: OnceLock::new(),
                figures,
                _observing: observing,
                follower: OnceLock::new(),
                watchers: Watchers::default(),
                fillings: Fillings::new(&settings),
                stranger: "stranger".into(),
                ids: Ids::new(),
                gates: gates.clone(),
            };
            watch::Sender::new(Arc::new(Gate { engine, settings, callers, house: Arc::new(house) }))
        });
        Gateway { gates, connections: GracefulShutdown::new() }
    }

    /// From now on `follower` is told of every request; there is one, the first.
    pub fn follow(&self, follower: Arc<dyn Follower>) {
        let _ = self.gates.borrow().follower.set(follower);
    }

    /// What changes its settings while it serves.
    pub fn reins(&self) -> Reins {
        Reins { gates: self.gates.clone() }
    }

    /// Serves until `shutdown` is done; requests under way then have the grace of the settings to end. Those that have not ended
    /// by then are ended with an error by shutting the engine down.
    ///
    /// # Errors
    /// [`ServeError::Open`] for an address that others can reach while nobody is named who may call, and what the listener
    /// reports; single connections that fail are their clients' affair.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        let first = self.gates.borrow().clone();
        check(&first.callers, address)?;
        let _ = first.address.set(address);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                _ = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // A connection that is gone already will say so when it is read.
                        let _ = stream.set_nodelay(true);
                        self.serve_connection(stream);
                    }
                    Err(error) if is_passing(&error) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(error) => return Err(error.into()),
                },
            }
        }
        drop(listener);
        let last = self.gates.borrow().clone();
        last.draining.store(true, Ordering::Relaxed);
        last.watchers.close();
        // Those who have not said yet what they speak are told by this that it is too late.
        self.gates.send_replace(last.clone());
        let fillings = &last.fillings.jobs;
        let mut drained = std::pin::pin!(async { tokio::join!(self.connections.shutdown(), fillings.ended()) });
        if tokio::time::timeout(last.settings.grace, &mut drained).await.is_err() {
            tracing::warn!("requests were still under way at the end of the grace: they are told that the server ends");
            fillings.tell_unfinished();
            last.engine.shutdown(Duration::ZERO).await;
            // What is told now still has to reach its readers; those who do not read are not waited for.
            let _ = tokio::time::timeout(LAST_WORDS, &mut drained).await;
        }
        Ok(())
    }

    /// Serves a connection that was accepted elsewhere until it ends: one over a socket of another kind, or within this
    /// process. Whoever hands it in answers for who is at its other end.
    pub fn serve_connection(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        tokio::spawn(Gate::connection(self.gates.subscribe(), self.connections.watcher(), stream));
    }
}

impl Gate {
    /// What outlives its settings.
    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// Answers what comes on a connection until it ends; how it ends is its client's affair.
    async fn connection<S>(mut gates: watch::Receiver<Arc<Gate>>, watcher: Watcher, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let patience = gates.borrow().settings.header_timeout;
        let heard = tokio::select! {
            heard = listen(stream, patience) => heard,
            _ = gates.wait_for(|gate| gate.draining.load(Ordering::Relaxed)) => return,
        };
        let Ok((spoken, stream)) = heard else { return };
        let service = service_fn(move |request| {
            let gate = gates.borrow().clone();
            async move { Ok::<_, Infallible>(gate.answer(request).await) }
        });
        // Each has the room it needs: a connection of HTTP/2 takes several times that of HTTP/1.
        let _ = match spoken {
            Spoken::Http1 => {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(HELD_BYTES);
                Box::pin(watcher.watch(builder.serve_connection(TokioIo::new(stream), service))).await
            }
            Spoken::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).max_send_buf_size(HELD_BYTES);
                builder.keep_alive_interval(PING).keep_alive_timeout(PONG);
                Box::pin(watcher.watch(builder.serve_connection(TokioIo::new(stream), service))).await
            }
        };
    }

    /// Answers one request, whatever it is.
    async fn answer(self: Arc<Gate>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let begun = Instant::now();
        let id = self.ids.next();
        let cors = Cors::of(&self.settings.cors, &head);
        if let Some(mut answer) = cors.as_ref().and_then(Cors::preflight) {
            cors.into_iter().for_each(|cors| cors.allow(&mut answer));
            return answer;
        }
        let theirs = own_id(&head.headers).map(str::to_owned);
        let route = Route::find(&head);
        let line = tracing::enabled!(target: "tidegate::access", tracing::Level::INFO);
        let line = line.then(|| (head.method.clone(), head.uri.path().to_string()));
        let dialect = route.dialect(&head);
        let shown = token(&head.headers, head.uri.query().unwrap_or_default());
        let caller = if route.is_public() { Some(self.callers.anybody()) } else { self.callers.find(shown) };
        let name = caller.map_or(&self.stranger, |caller| &caller.name).clone();
        let visit = route.label().map(|route| Visit::begin(&self.figures, &self.engine, route, &name, &id));
        let visit = visit.map(|visit| visit.followed(self.follower.get(), &head));
        let note = visit.as_ref().map(Visit::note).unwrap_or_default();
        let story = Arc::new(Story::default());
        let told: Result<Answer, Refusal> = match caller.cloned() {
            Some(caller) => {
                let (story, rooms) = (story.clone(), self.rooms.clone());
                let waited = Duration::ZERO;
                let call = Box::new(Call { head, body, caller, id: id.clone(), note, story, rooms, waited });
                routes::answer(&self, route, call).await
            }
            None => Err(Refusal::stranger(shown.is_some())),
        };
        let mut answer = match visit {
            Some(visit) => visit.told(told, dialect),
            None => told.unwrap_or_else(|refusal| refusal.answer(dialect)),
        };
        story.tell(answer.headers_mut());
        if let Ok(id) = HeaderValue::from_str(&id) {
            if dialect == Dialect::OpenAi {
                answer.headers_mut().insert(OPENAI_REQUEST_ID, id.clone());
            }
            answer.headers_mut().insert(REQUEST_ID, id);
        }
        cors.into_iter().for_each(|cors| cors.allow(&mut answer));
        if let Some((method, path)) = line {
            let theirs = theirs.as_deref();
            let (status, took) = (answer.status().as_u16(), begun.elapsed().as_millis() as u64);
            tracing::info!(target: "tidegate::access", %method, path, status, took_ms = took, client = &*name, request_id = &*id, client_request_id = theirs);
        }
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

    fn next(&self) -> Arc<str> {
        let nth = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut id = String::with_capacity(LONGEST_ID);
        hex(&mut id, u64::from(self.run), 8);
        id.push('-');
        hex(&mut id, nth, 6);
        id.into()
    }
}

/// Appends at least so many digits. Made for every request, which formatting would cost as much as taking it in.
fn hex(to: &mut String, number: u64, least: u32) {
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(least);
    let digit = |nth: u32| char::from(b"0123456789abcdef"[(number >> (4 * nth) & 0xf) as usize]);
    to.extend((0..digits).rev().map(digit));
}

/// What the client calls its request, where that may stand in a log.
fn own_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.:/+=".contains(&c);
    (id.len() <= MOST_ID && id.bytes().all(plain)).then_some(id).filter(|id| !id.is_empty())
}

/// Errors of one connection, or of a process out of descriptors: the listener lives on.
fn is_passing(error: &io::Error) -> bool {
    const OUT_OF_FILES: [i32; 2] = [23, 24];
    let of_connection = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    of_connection.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_requests_are_those_of_their_run_in_their_order() {
        let ids = Ids { run: 0x1a, last: AtomicU64::new(0xf_fffe) };
        let names: Vec<String> = (0..2).map(|_| ids.next().to_string()).collect();
        assert_eq!(names, ["0000001a-0fffff", "0000001a-100000"]);
        let mut last = String::new();
        hex(&mut last, u64::MAX, 6);
        assert_eq!(last, format!("{:06x}", u64::MAX));
    }
}
