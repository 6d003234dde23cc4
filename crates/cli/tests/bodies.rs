//! Bodies of a hundred megabytes through the real program: each arrives to the byte, and all together take bounded memory.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use common::{KEY, Serving, TestDir, wait_until};

const LARGE: usize = 100_000_000;
const EXACT: usize = 30_000_000;
const SENDERS: usize = 8;
/// What two of the eight take, in kB, with a copy of each while its tokens are estimated; all eight would take 1,600,000.
const MOST_MEMORY: u64 = 550_000;

/// Things that a proxy which reads and writes JSON would not leave alone.
const ODD: &str = "{\"unknown_field\" : {\"n\":1.50e+02,\"big\":123456789012345678901234567890,\"n\":-0.0},\n\t\"contents\":[{\"parts\":[{\"text\":\"\\u00e9\\/é \\ud83d\\ude00\"},{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"";

fn body(length: usize) -> Vec<u8> {
    let end = "\"}}]}]  }\n";
    let data = length - ODD.len() - end.len();
    let mut body = ODD.as_bytes().to_vec();
    body.extend((0..data).map(|n| b'A' + (n % 26) as u8));
    body.extend(end.as_bytes());
    body
}

/// What the API is in this test: compares what comes with what was sent, and keeps its large answers back until it is told.
#[derive(Default)]
struct Upstream {
    expected: Vec<Arc<Vec<u8>>>,
    seen: Mutex<Seen>,
    open: Condvar,
}

#[derive(Default, Clone)]
struct Seen {
    open: bool,
    whole: usize,
    wrong: usize,
    at_once: usize,
    most_at_once: usize,
}

impl Upstream {
    fn start(expected: Vec<Arc<Vec<u8>>>) -> (Arc<Upstream>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let upstream = Arc::new(Upstream { expected, ..Upstream::default() });
        let all = upstream.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let upstream = all.clone();
                thread::spawn(move || upstream.serve(stream));
            }
        });
        (upstream, address)
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::with_capacity(1 << 20, stream.try_clone().unwrap());
        while let Some(length) = content_length(&mut reader) {
            let same = self.compare(&mut reader, length);
            self.arrived(length, same);
            let answer = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"yes"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            write!(stream, "{head}content-length: {}\r\n\r\n{answer}", answer.len()).unwrap_or_default();
        }
    }

    fn compare(&self, reader: &mut impl Read, length: usize) -> bool {
        let expected = self.expected.iter().find(|expected| expected.len() == length);
        let (mut at, mut same, mut piece) = (0, true, vec![0; 1 << 20]);
        while at < length {
            let wanted = piece.len().min(length - at);
            let Ok(count @ 1..) = reader.read(&mut piece[..wanted]) else { return false };
            same &= expected.is_none_or(|expected| expected[at..at + count] == piece[..count]);
            at += count;
        }
        same
    }

    fn arrived(&self, length: usize, same: bool) {
        let mut seen = self.seen.lock().unwrap();
        seen.wrong += usize::from(!same);
        if length != LARGE {
            return;
        }
        seen.whole += 1;
        seen.at_once += 1;
        seen.most_at_once = seen.most_at_once.max(seen.at_once);
        let mut seen = self.open.wait_while(seen, |seen| !seen.open).unwrap();
        seen.at_once -= 1;
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

fn content_length(reader: &mut impl BufRead) -> Option<usize> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = told.trim().parse().ok();
        }
        if line == "\r\n" {
            return Some(length.unwrap_or(0));
        }
    }
}

/// Sends a head that announces `length` bytes, then `body`, and gives all that comes back.
fn ask(address: &str, more: &str, length: usize, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let path = "/v1beta/models/gemini-3.8-flash:generateContent";
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}

fn serving(dir: &TestDir, base_url: &str) -> Serving {
    dir.write(".env", format!("GEMINI_API_KEY={KEY}\n"));
    Serving::start(&mut dir.command(["serve", "--listen", "127.0.0.1:0", "--base-url", base_url]))
}

#[test]
fn a_body_of_thirty_megabytes_arrives_to_the_byte() {
    let exact = Arc::new(body(EXACT));
    let (upstream, base_url) = Upstream::start(vec![exact.clone()]);
    let dir = TestDir::new();
    let serving = serving(&dir, &base_url);
    let told = ask(&serving.address, "", EXACT, &exact);
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert_eq!(upstream.seen().wrong, 0, "what arrived is not what was sent");
}

#[test]
fn eight_bodies_of_a_hundred_megabytes_share_a_room_and_small_ones_pass() {
    let large = Arc::new(body(LARGE));
    let (upstream, base_url) = Upstream::start(vec![large.clone()]);
    let dir = TestDir::new();
    let serving = serving(&dir, &base_url);
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (address, large) = (serving.address.clone(), large.clone());
            thread::spawn(move || ask(&address, "", LARGE, &large))
        })
        .collect();
    assert!(wait_until(|| upstream.seen().whole == 2), "two find room at once");
    let small = body(50_000);
    assert!(ask(&serving.address, "", small.len(), &small).starts_with("HTTP/1.1 200"), "there is room for small ones");
    let told = ask(&serving.address, "x-tidegate-max-wait: 0\r\n", LARGE, b"");
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("serve.max_bodies_in_flight"), "{told}");
    let told = ask(&serving.address, "", LARGE * 2, b"");
    assert!(told.starts_with("HTTP/1.1 413"), "{told}");
    upstream.seen.lock().unwrap().open = true;
    upstream.open.notify_all();
    for sender in senders {
        let told = sender.join().unwrap();
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    }
    let Seen { whole, wrong, most_at_once, .. } = upstream.seen();
    assert_eq!((whole, wrong), (SENDERS, 0));
    assert!(most_at_once <= 2, "{most_at_once} were under way at once");
    let peak = serving.memory("VmHWM");
    assert!(peak < MOST_MEMORY, "{peak} kB at the peak");
}
