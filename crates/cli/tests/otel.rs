//! Traces of the real binary, as a collector sees them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{KEY, QUICK, Simulator, TestDir, exit_of, signal};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

const TOKEN: &str = "the-token-of-the-notebook";
const CALLER: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
const NOT_SAMPLED: &str = "traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";

/// The head and the body of one delivery.
type Delivery = (String, Vec<u8>);

/// What the collector was sent.
#[derive(Default, Clone)]
struct Collector(Arc<Mutex<Vec<Delivery>>>);

impl Collector {
    /// Takes everything; gives its address, too.
    fn start() -> (Collector, String) {
        let collector = Collector::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let taking = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, taking) = (stream.unwrap(), taking.clone());
                thread::spawn(move || taking.take(stream));
            }
        });
        (collector, address)
    }

    fn take(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).unwrap_or_default() == 0 {
                    return;
                }
            }
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            self.0.lock().unwrap().push((head, body));
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    }

    fn sent(&self) -> Vec<Delivery> {
        self.0.lock().unwrap().clone()
    }

    /// All spans, and what is known of who sent them.
    fn spans(&self) -> (Vec<Span>, Vec<KeyValue>) {
        let sent = self.sent().into_iter();
        let groups = sent.flat_map(|(_, body)| ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans);
        let (mut spans, mut who) = (Vec::new(), Vec::new());
        for group in groups {
            spans.extend(group.scope_spans.into_iter().flat_map(|scope| scope.spans));
            who = group.resource.unwrap().attributes;
        }
        (spans, who)
    }
}

fn serve(dir: &TestDir, base_url: &str, variables: &[(&str, &str)]) -> (Child, String) {
    let log = std::fs::File::create(dir.path("log.txt")).unwrap();
    let words = ["serve", "--listen", "127.0.0.1:0", "--base-url", base_url, "--log-level", "info"];
    let mut command = dir.command(words);
    let mut child = command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().strip_prefix("http://").unwrap_or_default().to_string())
}

/// Asks a question and gives the status of the answer.
fn ask(address: &str, path: &str, headers: &str) -> u16 {
    let body = r#"{"message":"Name a wader.","contents":[{"parts":[{"text":"Name a wader."}]}]}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-goog-api-key: {TOKEN}\r\n{headers}");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

fn settings(dir: &TestDir, collector: &str) {
    dir.write(".env", format!("GEMINI_API_KEY={KEY}\nNOTEBOOK={TOKEN}\n"));
    let serve = format!("[retry]\ninitial_backoff = \"1ms\"\n[serve]\notlp_endpoint = \"{collector}\"\n");
    dir.write("tidegate.toml", format!("{serve}[[serve.clients]]\nname = \"notebook\"\ntoken = \"env:NOTEBOOK\"\n"));
}

fn end(child: &mut Child) {
    signal(child, "TERM");
    assert_eq!(exit_of(child), Some(0));
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|pair| pair.key == name).and_then(|pair| pair.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_request_is_a_span_of_its_callers_trace_and_each_attempt_a_span_of_the_request() {
    let (dir, (collector, address)) = (TestDir::new(), Collector::start());
    let faults = "[[faults]]\nkind = \"overloaded\"\nrate = 0.999999\n";
    let simulator = Simulator::start(&format!("max_faults_per_prompt = 1\n{QUICK}{faults}"));
    settings(&dir, &address);
    let told = [("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue%20one"), ("OTEL_SERVICE_NAME", "gate")];
    let (mut child, address) = serve(&dir, &simulator.base_url, &told);
    let path = "/v1beta/models/gemini-3.8-flash:generateContent";
    assert_eq!(ask(&address, &format!("{path}?key={TOKEN}"), CALLER), 200);
    end(&mut child);

    let (spans, who) = collector.spans();
    assert_eq!((text(&who, "service.name").as_str(), spans.len()), ("gate", 3), "{spans:#?}");
    let request = spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    assert_eq!(request.name, "POST generateContent");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&request.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("url.path", path),
        ("http.response.status_code", "200"),
        ("gen_ai.request.model", "gemini-3.8-flash"),
        ("tidegate.client", "notebook"),
        ("tidegate.attempts", "2"),
        ("error.type", "None"),
    ] {
        assert_eq!(text(&request.attributes, name), value, "{name} of {request:#?}");
    }
    for number in ["tidegate.queue_ms", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
        assert!(text(&request.attributes, number).parse::<u64>().is_ok(), "{number} of {request:#?}");
    }
    let mut attempts: Vec<_> = spans.iter().filter(|span| span.kind() == SpanKind::Client).collect();
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    for (attempt, (status, fault)) in attempts.iter().zip([("503", "UNAVAILABLE"), ("200", "None")]) {
        assert_eq!((&attempt.trace_id, &attempt.parent_span_id), (&request.trace_id, &request.span_id));
        assert_eq!(text(&attempt.attributes, "tidegate.key"), "GEMINI_API_KEY", "{attempt:#?}");
        assert_eq!(text(&attempt.attributes, "http.response.status_code"), status);
        assert_eq!(text(&attempt.attributes, "error.type"), fault);
        assert!(attempt.start_time_unix_nano >= request.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano > attempt.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano <= request.end_time_unix_nano);
    }
    assert!(attempts[0].end_time_unix_nano <= attempts[1].start_time_unix_nano);

    for (head, body) in collector.sent() {
        assert!(head.starts_with("post /v1/traces http/1.1\r\n") && head.contains("x-team: blue one\r\n"), "{head}");
        for secret in [KEY, TOKEN] {
            let found =
                [head.as_bytes(), &body].iter().any(|bytes| bytes.windows(secret.len()).any(|at| at == secret.as_bytes()));
            assert!(!found, "{secret} went to the collector");
        }
    }
}

#[test]
fn what_is_turned_away_is_told_and_what_its_caller_does_not_sample_is_not() {
    let (dir, simulator, (collector, address)) = (TestDir::new(), Simulator::start(QUICK), Collector::start());
    settings(&dir, &address);
    let (mut child, address) = serve(&dir, &simulator.base_url, &[]);
    assert_eq!(ask(&address, "/chat", NOT_SAMPLED), 200);
    assert_eq!(ask(&address, "/nowhere", ""), 404);
    end(&mut child);
    let (spans, who) = collector.spans();
    assert_eq!((text(&who, "service.name").as_str(), spans.len()), ("tidegate", 1), "{spans:#?}");
    assert_eq!((spans[0].parent_span_id.len(), spans[0].trace_id.len()), (0, 16));
    assert_eq!(text(&spans[0].attributes, "http.response.status_code"), "404");
    assert_eq!(text(&spans[0].attributes, "error.type"), "invalid");
    // A client's mistake is no fault of the server's.
    assert_ne!(spans[0].status.as_ref().map(|status| status.code()), Some(StatusCode::Error));
}

#[test]
fn requests_go_on_while_the_collector_is_away() {
    let (dir, simulator) = (TestDir::new(), Simulator::start(QUICK));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    settings(&dir, &format!("http://{nobody}"));
    // Batches are sent at once, so that deliveries fail while requests come.
    let (mut child, address) = serve(&dir, &simulator.base_url, &[("OTEL_BSP_SCHEDULE_DELAY", "1")]);
    for _ in 0..20 {
        assert_eq!(ask(&address, "/chat", ""), 200);
    }
    end(&mut child);
    let log = dir.read("log.txt");
    assert_eq!(log.matches("the collector does not take spans").count(), 1, "{log}");
    assert!(log.contains("missing=40"), "{log}");
}
