//! Uploads against a small Files API of the test's own, with every way a connection can let them down.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::media::LocalFile;

/// What goes wrong with the next chunk.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// So many of its bytes arrive, then the connection ends.
    CutAfter(usize),
    /// Nothing is taken, HTTP 503.
    Unavailable,
    /// Everything is taken, but the answer does not say so.
    NoHeader,
    /// The session is forgotten.
    Lost,
    /// The key is not good enough.
    Forbidden,
}

#[derive(Default)]
struct Stub {
    url: String,
    sessions: HashMap<String, (Vec<u8>, bool)>,
    files: HashMap<String, u32>,
    trouble: VecDeque<Trouble>,
    /// Looks that answer PROCESSING before the file is active.
    processing: u32,
    fails: bool,
    starts: usize,
    looks: usize,
    deleted: usize,
    whole: Vec<Vec<u8>>,
    offsets: Vec<u64>,
}

type Shared = Arc<Mutex<Stub>>;
type Answer = Response<Full<Bytes>>;

async fn stub() -> Shared {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stub = Arc::new(Mutex::new(Stub { url, ..Stub::default() }));
    let serving = stub.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let stub = serving.clone();
            let service = service_fn(move |request| answer(stub.clone(), request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    stub
}

/// An error here makes the server close the connection.
async fn answer(stub: Shared, request: Request<Incoming>) -> Result<Answer, &'static str> {
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_string());
    let (command, offset) = (text("x-goog-upload-command"), text("x-goog-upload-offset"));
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let session = request.uri().query().unwrap_or("").to_string();
    let Some(command) = command else { return Ok(stub.lock().file(&method, &path)) };
    if command == "upload" || command == "upload, finalize" {
        let trouble = stub.lock().trouble.pop_front();
        let mut body = request.into_body();
        let mut got = Vec::new();
        while let Some(frame) = body.frame().await {
            got.extend_from_slice(frame.unwrap().data_ref().unwrap());
            if let Some(Trouble::CutAfter(bytes)) = trouble
                && got.len() >= bytes
            {
                stub.lock().sessions.get_mut(&session).unwrap().0.extend_from_slice(&got[..bytes]);
                return Err("cut");
            }
        }
        return Ok(stub.lock().chunk(&session, offset.unwrap().parse().unwrap(), &got, command != "upload", trouble));
    }
    let mut stub = stub.lock();
    Ok(match command.as_str() {
        "start" => {
            stub.starts += 1;
            let id = format!("upload_id={}", stub.starts);
            stub.sessions.insert(id.clone(), (Vec::new(), false));
            let url = format!("{}/upload/v1beta/files?{id}", stub.url);
            head("active").header("X-Goog-Upload-URL", url).body(Full::default()).unwrap()
        }
        "query" => match stub.sessions.get(&session) {
            Some((_, true)) => stub.done(),
            Some((bytes, false)) => {
                head("active").header("X-Goog-Upload-Size-Received", bytes.len()).body(Full::default()).unwrap()
            }
            None => Response::builder().status(404).body(Full::default()).unwrap(),
        },
        other => panic!("command {other}"),
    })
}

fn head(status: &str) -> http::response::Builder {
    Response::builder().header("X-Goog-Upload-Status", status)
}

impl Stub {
    fn chunk(&mut self, session: &str, offset: u64, bytes: &[u8], is_last: bool, trouble: Option<Trouble>) -> Answer {
        let plain = |status: u16| Response::builder().status(status).body(Full::default()).unwrap();
        self.offsets.push(offset);
        match trouble {
            Some(Trouble::Unavailable) => return plain(503),
            Some(Trouble::Forbidden) => return plain(403),
            Some(Trouble::Lost) => {
                self.sessions.remove(session);
                return plain(404);
            }
            _ => {}
        }
        let kept = self.sessions.get_mut(session).unwrap();
        assert_eq!(kept.0.len() as u64, offset, "chunks join without gap or overlap");
        kept.0.extend_from_slice(bytes);
        kept.1 = is_last;
        if is_last {
            let whole = kept.0.clone();
            self.whole.push(whole);
            self.files.insert(format!("files/f{}", self.whole.len()), self.processing);
        }
        match trouble {
            Some(Trouble::NoHeader) => plain(200),
            _ if is_last => self.done(),
            _ => head("active").body(Full::default()).unwrap(),
        }
    }

    fn done(&self) -> Answer {
        let name = format!("files/f{}", self.whole.len());
        let body = format!(r#"{{"file":{}}}"#, self.described(&name));
        head("final").body(Full::from(body)).unwrap()
    }

    fn described(&self, name: &str) -> String {
        let state = if self.files[name] > 0 { "PROCESSING" } else { "ACTIVE" };
        let state = if self.fails { "FAILED" } else { state };
        format!(r#"{{"name":"{name}","uri":"{}/v1beta/{name}","state":"{state}"}}"#, self.url)
    }

    fn file(&mut self, method: &Method, path: &str) -> Answer {
        let name = path.trim_start_matches("/v1beta/").to_string();
        if !self.files.contains_key(&name) {
            return Response::builder().status(403).body(Full::default()).unwrap();
        }
        if *method == Method::DELETE {
            self.deleted += 1;
            self.files.remove(&name);
            return Response::new(Full::from("{}"));
        }
        self.looks += 1;
        let left = self.files.get_mut(&name).unwrap();
        *left = left.saturating_sub(1);
        Response::new(Full::from(self.described(&name)))
    }
}

const QUICK: Patience = Patience {
    pause: Duration::from_millis(1),
    look: Duration::from_millis(1),
    longest: Duration::from_millis(4),
    request: Duration::from_secs(60),
    processing: Duration::from_secs(60),
};

struct Bench {
    stub: Shared,
    folder: tempfile::TempDir,
    told: Arc<Mutex<Vec<UploadStep>>>,
}

impl Bench {
    async fn new() -> Bench {
        Bench { stub: stub().await, folder: tempfile::tempdir().unwrap(), told: Arc::default() }
    }

    fn uploads(&self) -> Arc<Uploads> {
        let url = self.stub.lock().url.clone();
        let store = Store::open(self.folder.path(), &url).unwrap();
        let told = self.told.clone();
        let listener: Listener = Arc::new(move |upload| told.lock().push(upload.step));
        Arc::new(Uploads::new(FilesClient::new(&url, QUICK).unwrap(), store, Clock::new(None), listener))
    }

    fn source(&self, name: &str, size: usize) -> (Source, Vec<u8>) {
        let bytes: Vec<u8> = (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ name.len() as u8).collect();
        let path = self.folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let file = Arc::new(LocalFile::open(&path).unwrap());
        let hash = file.hash().unwrap();
        (Source { file, hash, mime: "video/mp4".into(), name: name.into() }, bytes)
    }

    /// Files uploaded whole, and looks at files.
    fn counted(&self) -> (usize, usize) {
        let stub = self.stub.lock();
        (stub.whole.len(), stub.looks)
    }

    async fn after(&self, trouble: impl IntoIterator<Item = Trouble>, size: usize) -> (Outcome, Vec<u8>) {
        self.stub.lock().trouble = trouble.into_iter().collect();
        let (source, bytes) = self.source("clip.mp4", size);
        (self.uploads().provide(owner(0), source).await, bytes)
    }
}

fn owner(number: u32) -> Owner {
    Owner { number, name: format!("project-{number}").into(), key: Arc::new("key-of-the-test".to_string().into()) }
}

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_file_goes_up_in_chunks_and_is_awaited_until_it_is_active() {
    let bench = Bench::new().await;
    bench.stub.lock().processing = 3;
    let (outcome, bytes) = bench.after([], 17 * MIB).await;
    let file = outcome.unwrap();
    let stub = bench.stub.lock();
    assert_eq!((file.name.as_str(), file.uri.ends_with("/v1beta/files/f1")), ("files/f1", true));
    assert!(stub.whole[0] == bytes, "the bytes arrived as they are");
    assert_eq!((stub.looks, stub.offsets.as_slice()), (3, [0, 8 << 20, 16 << 20].as_slice()));
    let told = bench.told.lock();
    assert_eq!(told.last(), Some(&UploadStep::Ready));
    assert!(told.contains(&UploadStep::Sent(8 << 20)) && told.contains(&UploadStep::Processing));
}

#[tokio::test]
async fn a_cut_connection_goes_on_where_it_was_left() {
    let bench = Bench::new().await;
    let (outcome, bytes) = bench.after([Trouble::CutAfter(3 * MIB), Trouble::CutAfter(MIB)], 10 * MIB).await;
    outcome.unwrap();
    let stub = bench.stub.lock();
    assert!(stub.whole == [bytes]);
    assert_eq!((stub.starts, stub.offsets.as_slice()), (1, [4 << 20].as_slice()), "nothing that arrived is sent again");
}

#[tokio::test]
async fn an_overload_and_an_answer_without_its_header_repeat_no_byte_that_arrived() {
    let bench = Bench::new().await;
    let (outcome, bytes) = bench.after([Trouble::Unavailable, Trouble::NoHeader, Trouble::NoHeader], 10 * MIB).await;
    outcome.unwrap();
    let stub = bench.stub.lock();
    assert!(stub.whole == [bytes]);
    assert_eq!((stub.starts, stub.offsets.as_slice()), (1, [0, 0, 8 << 20].as_slice()));
}

#[tokio::test]
async fn a_lost_session_begins_anew_but_not_for_ever() {
    let bench = Bench::new().await;
    let (outcome, bytes) = bench.after([Trouble::Lost], MIB).await;
    outcome.unwrap();
    assert!(bench.stub.lock().whole == [bytes]);
    let bench = Bench::new().await;
    let (outcome, _) = bench.after([Trouble::Lost; 9], MIB).await;
    assert!(matches!(outcome, Err(Setback::Lost(TransportError::Cut { .. }))), "{outcome:?}");
    assert_eq!(bench.stub.lock().starts, 3);
}

#[tokio::test]
async fn a_refused_key_is_told_at_once_and_an_overload_that_lasts_ends() {
    let bench = Bench::new().await;
    let (outcome, _) = bench.after([Trouble::Forbidden], MIB).await;
    assert!(matches!(outcome, Err(Setback::Refused(Reply { status: 403, .. }))), "{outcome:?}");
    assert_eq!(bench.stub.lock().offsets.len(), 1);
    let bench = Bench::new().await;
    let (outcome, _) = bench.after([Trouble::Unavailable; 20], MIB).await;
    assert!(matches!(outcome, Err(Setback::Refused(Reply { status: 503, .. }))), "{outcome:?}");
    assert_eq!(bench.stub.lock().offsets.len(), 6);
    assert_eq!(bench.told.lock().last(), Some(&UploadStep::Failed));
}

#[tokio::test]
async fn a_file_that_cannot_be_processed_is_the_prompts_fault() {
    let bench = Bench::new().await;
    bench.stub.lock().fails = true;
    let (outcome, _) = bench.after([], MIB).await;
    let Err(Setback::Lost(TransportError::Media { reason })) = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "clip.mp4: the API could not process it: no reason was given");
}

#[tokio::test]
async fn prompts_that_share_a_file_share_its_upload_and_projects_do_not() {
    let bench = Bench::new().await;
    let uploads = bench.uploads();
    let (source, _) = bench.source("clip.mp4", 9 * MIB);
    let (copy, _) = bench.source("copy.mp4", 9 * MIB);
    assert_eq!(source.hash, copy.hash);
    let all = (0..24).map(|n| {
        let source = if n % 2 == 0 { source.clone() } else { copy.clone() };
        let uploads = uploads.clone();
        tokio::spawn(async move { uploads.provide(owner(n % 3), source).await.map(|file| file.name.clone()) })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(bench.stub.lock().whole.len(), 3);
    assert!(uploads.ready(0, source.hash).is_some() && uploads.ready(3, source.hash).is_none());
}

#[tokio::test]
async fn a_later_run_finds_what_an_earlier_one_uploaded() {
    let bench = Bench::new().await;
    let (source, _) = bench.source("clip.mp4", MIB);
    let first = bench.uploads().provide(owner(0), source.clone()).await.unwrap();
    let second = bench.uploads().provide(owner(0), source.clone()).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(bench.counted(), (1, 1));
    bench.stub.lock().files.clear();
    let third = bench.uploads().provide(owner(0), source).await.unwrap();
    assert_eq!((third.name.as_str(), bench.counted().0), ("files/f2", 2));
}

#[tokio::test]
async fn a_doubted_file_is_looked_at_and_kept_when_it_is_well() {
    let bench = Bench::new().await;
    let uploads = bench.uploads();
    let (source, _) = bench.source("clip.mp4", MIB);
    uploads.provide(owner(0), source.clone()).await.unwrap();
    uploads.doubt(0, source.hash);
    assert!(uploads.ready(0, source.hash).is_none());
    uploads.provide(owner(0), source.clone()).await.unwrap();
    assert_eq!(bench.counted(), (1, 1));
    uploads.doubt(0, source.hash);
    bench.stub.lock().files.clear();
    uploads.provide(owner(0), source).await.unwrap();
    assert_eq!(bench.stub.lock().whole.len(), 2);
}

#[tokio::test]
async fn the_end_of_a_run_deletes_what_it_uploaded_and_only_that() {
    let bench = Bench::new().await;
    let (old, _) = bench.source("old.mp4", MIB);
    bench.uploads().provide(owner(0), old.clone()).await.unwrap();
    let uploads = bench.uploads();
    let (new, _) = bench.source("newer.mp4", MIB);
    uploads.provide(owner(0), old).await.unwrap();
    uploads.provide(owner(0), new.clone()).await.unwrap();
    uploads.delete_own().await;
    let left: Vec<String> = bench.stub.lock().files.keys().cloned().collect();
    let deleted = bench.stub.lock().deleted;
    assert_eq!((deleted, left), (1, vec!["files/f1".to_string()]));
    bench.uploads().provide(owner(0), new).await.unwrap();
    assert_eq!(bench.stub.lock().whole.len(), 3, "what was deleted is uploaded again");
}
