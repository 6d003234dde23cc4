//! `/api/templates`: the life of a job, what its client is told on the way, who may see it, and its bounds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{House, until};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tidegate_engine::{Backend, Call, Engine, Method, Reply, TransportError};
use tidegate_gateway::{Allowance, Client, Settings};
use tidegate_gemini::Limits;
use tokio::sync::Semaphore;

const FILL: &str = "/api/templates/fill";

/// Reads `name: value` lines out of the sources, as a model would; each call of generation takes a leave.
#[derive(Clone)]
struct Reader {
    leaves: Arc<Semaphore>,
    asked: Arc<Mutex<Vec<String>>>,
    is_offline: bool,
}

impl Reader {
    fn free() -> Reader {
        Reader::with(Semaphore::MAX_PERMITS)
    }

    fn with(leaves: usize) -> Reader {
        Reader { leaves: Arc::new(Semaphore::new(leaves)), asked: Arc::default(), is_offline: false }
    }

    fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Backend for Reader {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            if self.is_offline {
                return Err(TransportError::Connect { host: "api.example".into(), reason: "refused".into() });
            }
            let body: Value = serde_json::from_slice(&call.body.read().await.unwrap()).unwrap();
            let vector = json!({"values": [0.5, 0.25]});
            let answer = match call.method {
                Method::Embed => json!({"embedding": vector}),
                Method::EmbedTogether => json!({"embeddings": vec![vector; body["requests"].as_array().unwrap().len()]}),
                Method::Generate => {
                    let prompt = body["contents"][0]["parts"][0]["text"].as_str().unwrap().to_owned();
                    self.asked.lock().unwrap().push(prompt.clone());
                    self.leaves.acquire().await.unwrap().forget();
                    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": read(&prompt)}]}, "finishReason": "STOP"}],
                        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120}})
                }
            };
            let body = answer.to_string().into();
            Ok(Reply { status: 200, content_type: Some("application/json".into()), retry_after: None, body })
        }
        .boxed()
    }
}

fn read(prompt: &str) -> String {
    let (sources, fields) = prompt.split_once("# Fields").unwrap();
    let known: BTreeMap<&str, &str> = sources.lines().filter_map(|line| line.split_once(": ")).collect();
    let mut answers = serde_json::Map::new();
    for line in fields.lines() {
        let Some((number, rest)) = line.split_once(". ").filter(|(number, _)| number.parse::<u32>().is_ok()) else { continue };
        let name = rest.split(" (").next().unwrap();
        let value = known.get(name);
        let quote = value.map(|value| format!("{name}: {value}"));
        let source = value.map(|_| 1);
        answers.insert(number.into(), json!({"quote": quote, "source": source, "value": value, "confidence": 0.9}));
    }
    Value::Object(answers).to_string()
}

/// Nobody waits between two calls of a test.
fn settings() -> Settings {
    let template = tidegate_template::Settings { min_delay_between_calls: Duration::ZERO, ..Default::default() };
    Settings { template, ..Settings::default() }
}

fn clients(clients: Vec<Client>) -> Settings {
    Settings { clients, ..settings() }
}

fn client(name: &str) -> Client {
    Client::new(name, format!("token-{name}").into())
}

/// A form of so many fields, and the document that holds them all but the last.
fn order(fields: usize) -> Value {
    let named: Vec<Value> = (0..fields).map(|n| json!({"name": format!("part-{n}")})).collect();
    let text: Vec<String> = (0..fields - 1).map(|n| format!("part-{n}: value {n}")).collect();
    json!({
        "template": {"name": "parts", "fields": named},
        "documents": [{"name": "parts.md", "text": text.join("\n\n")}],
    })
}

fn job(told: &common::Told) -> String {
    format!("/api/templates/jobs/{}", told.json(202)["id"].as_str().unwrap())
}

async fn done(house: &House, path: &str) -> Value {
    for _ in 0..6_000 {
        let told = house.get(path).await.json(200);
        if told["state"] != "running" {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never ended");
}

#[tokio::test]
async fn a_job_is_accepted_works_and_gives_its_result_in_every_form() {
    let house = House::over(Reader::free(), settings()).await;
    let accepted = house.post(FILL, &order(12)).await;
    let path = job(&accepted);
    assert_eq!(accepted.header("location"), Some(&*path));
    let told = done(&house, &path).await;
    assert_eq!((&told["state"], &told["fields"], &told["fields_settled"]), (&json!("done"), &json!(12), &json!(12)));
    let result = &told["result"];
    assert_eq!(result["values"]["part-7"], "value 7");
    assert_eq!(result["values"]["part-11"], Value::Null, "no document holds it");
    let field = &result["fields"][3];
    assert_eq!(
        (&field["origin"], &field["support"], &field["source"]["document"]),
        (&json!("model"), &json!("supported"), &json!("parts.md"))
    );
    assert_eq!(house.get(&format!("{path}?format=json")).await.json(200)["values"], result["values"]);
    for (format, kind, words) in [
        ("csv", "text/csv; charset=utf-8", "part-7,value 7,model"),
        ("md", "text/markdown; charset=utf-8", "| part-7 | value 7 | model |"),
        ("html", "text/html; charset=utf-8", "value 7"),
    ] {
        let told = house.get(&format!("{path}?format={format}")).await;
        assert_eq!((told.status(), told.header("content-type")), (200, Some(kind)));
        assert!(told.header("content-disposition").unwrap().starts_with("attachment"));
        assert!(told.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        assert!(String::from_utf8_lossy(told.0.body()).contains(words), "{format}");
    }
    house.get(&format!("{path}?format=pdf")).await.json(400);
    house.get(&format!("{path}?format=document")).await.json(400);
    let jobs = house.get("/api/templates/jobs").await.json(200);
    assert_eq!((&jobs["jobs"][0]["template"], &jobs["jobs"][0]["result"]), (&json!("parts"), &Value::Null));
}

#[tokio::test]
async fn who_wants_to_wait_gets_the_result_at_once_and_who_waits_briefly_the_job() {
    let reader = Reader::with(1);
    let house = House::over(reader.clone(), settings()).await;
    let told = house.post(&format!("{FILL}?wait=true"), &order(3)).await.json(200);
    assert_eq!((&told["state"], &told["result"]["values"]["part-0"]), (&json!("done"), &json!("value 0")));
    let csv = house.post(&format!("{FILL}?wait=true&format=csv"), &order(3)).await;
    assert!(String::from_utf8_lossy(csv.0.body()).contains("part-0,value 0,cache"), "the same again costs no call");
    let mut other = order(4);
    other["use_cache"] = json!(false);
    let told = house.send("POST", FILL, &[("prefer", "wait=0")], other.to_string()).await;
    let path = job(&told);
    assert_eq!(house.get(&path).await.json(200)["state"], "running");
    assert_eq!(house.get(&format!("{path}?format=csv")).await.json(409)["error"]["status"], "FAILED_PRECONDITION");
    reader.leaves.add_permits(9);
    assert_eq!(done(&house, &path).await["state"], "done");
}

#[tokio::test]
async fn a_form_with_files_is_filled_and_a_text_is_written_back() {
    let house = House::over(Reader::free(), settings()).await;
    let part = |name: &str, file: &str, text: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n{text}\r\n")
    };
    let body = part("template", "letter.txt", "Dear {tenant}, from {town}.")
        + &part("documents", "a.txt", "tenant: Ada")
        + &part("documents", "b.md", "town: Bergen")
        + "--b\r\nContent-Disposition: form-data; name=\"profile\"\r\n\r\naggressive\r\n--b--\r\n";
    let header = [("content-type", "multipart/form-data; boundary=b")];
    let told = house.send("POST", &format!("{FILL}?wait=true&format=document"), &header, body).await;
    assert_eq!(String::from_utf8_lossy(told.0.body()), "Dear Ada, from Bergen.");
}

#[tokio::test]
async fn events_tell_in_order_what_happens_and_can_be_read_again_from_any_of_them() {
    let house = House::over(Reader::free(), settings()).await;
    let path = job(&house.post(FILL, &order(12)).await);
    let events = |text: &str| -> Vec<(usize, String, Value)> {
        let block = |block: &str| {
            let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            Some((line("id: ")?.parse().ok()?, line("event: ")?, serde_json::from_str(&line("data: ")?).ok()?))
        };
        text.split("\n\n").filter_map(block).collect()
    };
    let told = house.get(&format!("{path}/events")).await;
    assert_eq!(told.header("content-type"), Some("text/event-stream"));
    let all = events(&String::from_utf8_lossy(told.0.body()));
    let names: Vec<&str> = all.iter().map(|(_, name, _)| name.as_str()).collect();
    let at = |wanted: &str| names.iter().position(|name| *name == wanted).unwrap();
    assert!(at("read") < at("packed") && at("packed") < at("asked") && at("asked") < at("field"), "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "field").count(), 12);
    assert_eq!(names[names.len() - 2..], ["done", "end"]);
    assert_eq!(all.last().unwrap().2, json!({"state": "done"}));
    assert!(all.iter().enumerate().all(|(nth, (id, ..))| *id == nth + 1));
    let last = (all.len() - 2).to_string();
    let rest = house.send("GET", &format!("{path}/events"), &[("last-event-id", &last)], "").await;
    assert_eq!(events(&String::from_utf8_lossy(rest.0.body())), all[all.len() - 2..]);
}

#[tokio::test]
async fn a_cancelled_job_asks_nothing_more_and_its_calls_count() {
    let reader = Reader::with(0);
    let house = House::over(reader.clone(), settings()).await;
    let path = job(&house.post(FILL, &order(12)).await);
    until(|| reader.calls() == 2).await;
    assert_eq!(house.send("DELETE", &path, &[], "").await.json(200)["state"], "cancelled");
    until(|| house.engine.status().active == 0).await;
    reader.leaves.add_permits(100);
    let told = house.get(&path).await.json(200);
    assert_eq!((&told["state"], &told["result"]), (&json!("cancelled"), &Value::Null));
    house.get(&format!("{path}?format=csv")).await.json(409);
    let events = house.get(&format!("{path}/events")).await;
    assert!(String::from_utf8_lossy(events.0.body()).ends_with("event: end\ndata: {\"state\":\"cancelled\"}\n\n"));
    let mut usage = Value::Null;
    for _ in 0..1_000 {
        usage = house.get("/api/templates/stats/api-usage").await.json(200);
        if usage["gemini_api_stats"]["total_api_calls"] == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(usage["gemini_api_stats"]["total_api_calls"], 2);
    assert_eq!((reader.calls(), &usage["jobs"]["running"]), (2, &json!(0)));
}

#[tokio::test]
async fn a_caller_that_waits_and_goes_away_gives_its_job_up() {
    let reader = Reader::with(0);
    let house = House::over(reader.clone(), settings()).await;
    let (path, body) = (format!("{FILL}?wait=true"), order(2));
    {
        let waiting = house.post(&path, &body);
        tokio::pin!(waiting);
        tokio::select! {
            _ = &mut waiting => panic!("nobody has answered"),
            () = until(|| reader.calls() == 1) => {}
        }
    }
    until(|| house.engine.status().active == 0).await;
    let jobs = house.get("/api/templates/jobs").await.json(200);
    assert_eq!(jobs["jobs"][0]["state"], "cancelled");
}

#[tokio::test]
async fn usage_has_its_figures() {
    let house = House::over(Reader::free(), settings()).await;
    for _ in 0..2 {
        house.post(&format!("{FILL}?wait=true"), &order(12)).await.json(200);
    }
    let usage = house.get("/api/templates/stats/api-usage").await.json(200);
    let stats = &usage["gemini_api_stats"];
    // The field that nothing was found for is asked once more by the second filling.
    assert!(stats["total_api_calls"].as_u64().unwrap() <= 3, "{usage}");
    assert!(stats["cache_size"].as_u64().unwrap() >= 11, "{usage}");
    assert_eq!(stats["service_available"], true);
    let packing = &usage["optimization_info"];
    assert_eq!((&packing["parallel_processing_enabled"], &packing["max_concurrent_batches"]), (&json!(true), &json!(2)));
    assert!(packing["fields_per_api_call_efficiency"].as_f64().unwrap() >= 6.0, "{usage}");
    assert_eq!(usage["jobs"], json!({"running": 0, "kept": 2}));
}

#[tokio::test]
async fn without_the_api_patterns_answer_and_the_service_is_told_unavailable() {
    let house = House::over(Reader { is_offline: true, ..Reader::free() }, settings()).await;
    let order = json!({
        "template": {"fields": [{"name": "mail", "pattern": "[a-z]+@[a-z]+\\.[a-z]+"}, {"name": "rest"}]},
        "documents": ["Write to ada@example.org."], "embed": false,
    });
    let header = [("x-tidegate-max-wait", "100ms")];
    let told = house.send("POST", &format!("{FILL}?wait=true"), &header, order.to_string()).await.json(200);
    let mail = &told["result"]["fields"][0];
    assert_eq!((&mail["origin"], &mail["value"]), (&json!("pattern"), &json!("ada@example.org")));
    let usage = house.get("/api/templates/stats/api-usage").await.json(200);
    assert_eq!(usage["gemini_api_stats"]["service_available"], false);
}

#[tokio::test]
async fn settings_change_at_run_time_for_the_client_who_says_so() {
    let house = House::over(Reader::free(), clients(vec![client("a"), client("b")])).await;
    let (a, b) = ([("x-goog-api-key", "token-a")], [("x-goog-api-key", "token-b")]);
    const CONFIG: &str = "/api/templates/config";
    let before = house.send("GET", CONFIG, &a, "").await.json(200);
    assert_eq!((&before["max_concurrent_api_calls"], &before["max_batch_size"]), (&json!(2), &json!(10)));
    let wished = json!({"profile": "aggressive", "min_delay_between_calls": 0, "max_batch_size": 4});
    let after = house.send("PATCH", CONFIG, &a, wished.to_string()).await.json(200);
    assert_eq!((&after["max_concurrent_api_calls"], &after["max_batch_size"]), (&json!(4), &json!(4)));
    assert_eq!(house.send("GET", CONFIG, &b, "").await.json(200), before);
    let told = house.send("POST", &format!("{FILL}?wait=true"), &a, order(8).to_string()).await.json(200);
    assert_eq!(told["result"]["stats"]["packs"], 2);
    let usage = house.send("GET", "/api/templates/stats/api-usage", &a, "").await.json(200);
    assert_eq!(usage["optimization_info"]["max_concurrent_batches"], 4);
    for wrong in [r#"{"max_batch_size": 0}"#, r#"{"colour": 1}"#, "[]", "no"] {
        house.send("PATCH", CONFIG, &a, wrong).await.json(400);
    }
    assert_eq!(house.send("GET", CONFIG, &a, "").await.json(200), after, "what is wrong changes nothing");
}

#[tokio::test]
async fn new_bounds_hold_for_jobs_under_way() {
    let reader = Reader::with(0);
    let house = House::over(reader.clone(), settings()).await;
    let bound = |calls: u32| json!({"max_concurrent_api_calls": calls}).to_string();
    house.send("PATCH", "/api/templates/config", &[], bound(1)).await.json(200);
    let path = job(&house.post(FILL, &order(50)).await);
    until(|| reader.calls() == 1).await;
    house.send("PATCH", "/api/templates/config", &[], bound(3)).await.json(200);
    reader.leaves.add_permits(1);
    until(|| reader.calls() == 4).await;
    reader.leaves.add_permits(100);
    assert_eq!(done(&house, &path).await["result"]["values"]["part-30"], "value 30");
}

#[tokio::test]
async fn strangers_hear_nothing_and_clients_see_only_their_own_jobs() {
    let house = House::over(Reader::free(), clients(vec![client("a"), client("b")])).await;
    let (a, b) = ([("authorization", "Bearer token-a")], [("authorization", "Bearer token-b")]);
    for path in ["jobs", "jobs/x", "jobs/x/events", "config", "stats/api-usage"] {
        house.get(&format!("/api/templates/{path}")).await.json(401);
    }
    house.post(FILL, &order(2)).await.json(401);
    let path = job(&house.send("POST", FILL, &a, order(2).to_string()).await);
    for (method, path) in [("GET", path.clone()), ("DELETE", path.clone()), ("GET", format!("{path}/events"))] {
        house.send(method, &path, &b, "").await.json(404);
    }
    assert_eq!(house.send("GET", "/api/templates/jobs", &b, "").await.json(200)["jobs"], json!([]));
    house.send("GET", &path, &a, "").await.json(200);
}

#[tokio::test]
async fn a_clients_models_and_budget_hold_for_its_fillings() {
    let allowance = Allowance { tokens_per_day: Some(10), ..Allowance::default() };
    let bound = Client { models: vec!["gemini-3.8-flash".into()], allowance, ..client("a") };
    let reader = Reader::free();
    let house = House::over(reader.clone(), clients(vec![bound])).await;
    let a = [("x-goog-api-key", "token-a")];
    let mut other = order(2);
    other["model"] = json!("gemini-3.8-pro");
    house.send("POST", FILL, &a, other.to_string()).await.json(403);
    let told = house.send("POST", &format!("{FILL}?wait=true"), &a, order(2).to_string()).await.json(200);
    assert_eq!(told["result"]["fields"][0]["pending"], true, "its day is used up");
    assert!(told["result"]["notes"].to_string().contains("budget of client"), "{}", told["result"]["notes"]);
    assert_eq!(reader.calls(), 0);
}

#[tokio::test]
async fn one_client_has_so_many_jobs_at_once_and_hears_when_to_come_again() {
    let house = House::over(Reader::with(0), settings()).await;
    let mut jobs = Vec::new();
    for _ in 0..8 {
        jobs.push(job(&house.post(FILL, &order(2)).await));
    }
    let refused = house.post(FILL, &order(2)).await;
    assert_eq!(refused.json(429)["error"]["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(refused.header("retry-after"), Some("5"));
    house.send("DELETE", &jobs[0], &[], "").await.json(200);
    job(&house.post(FILL, &order(2)).await);
}

#[tokio::test]
async fn a_bad_order_is_told_with_its_place_and_a_large_one_is_not_read() {
    let house = House::over(Reader::free(), Settings { max_body: 10_000, ..settings() }).await;
    for (order, words) in [
        (json!({"template": {"fields": [{"name": "rent", "type": "nummer"}]}}), "fields[0] (rent)"),
        (json!({"template": "fields: [", "template_name": "lease.yaml"}), "lease.yaml"),
        (json!({"template": {"fields": [{"name": "a"}]}, "documents": [{"name": "x.bin", "base64": "AAECAwA="}]}), "x.bin"),
        (json!({"template": {"fields": [{"name": "a"}]}, "max_batch_size": "ten"}), "max_batch_size"),
        (json!({"documents": ["a"]}), "template is missing"),
    ] {
        let told = house.post(FILL, &order).await.json(400);
        assert!(told["error"]["message"].as_str().unwrap().contains(words), "{told}");
    }
    house.send("POST", FILL, &[("content-type", "multipart/form-data; boundary=b")], "--c--").await.json(400);
    house.send("POST", FILL, &[], "x".repeat(10_001)).await.json(413);
    assert_eq!(house.get("/api/templates/jobs").await.json(200)["jobs"], json!([]));
}

#[tokio::test]
async fn a_job_is_gone_an_hour_after_its_end() {
    // The connection between two questions outlives the hour.
    let house = House::over(Reader::free(), Settings { header_timeout: Duration::from_secs(86_400), ..settings() }).await;
    let path = job(&house.post(FILL, &order(2)).await);
    done(&house, &path).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_500)).await;
    tokio::time::resume();
    house.get(&path).await.json(200);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(101)).await;
    tokio::time::resume();
    house.get(&path).await.json(404);
}

#[tokio::test]
async fn a_word_file_comes_back_with_its_placeholders_filled() {
    let house = House::over(Reader::free(), settings()).await;
    let paragraph = "<w:p><w:r><w:t>Dear {ten</w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>ant}, from [town]</w:t></w:r></w:p>";
    let form = word(paragraph);
    let part = |name: &str, file: &str, content: &[u8]| {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let body = [
        part("template", "letter.docx", &form),
        part("documents", "a.txt", b"tenant: Ada & Son"),
        part("documents", "b.md", b"town: Bergen"),
        b"--b--\r\n".to_vec(),
    ];
    let header = [("content-type", "multipart/form-data; boundary=b")];
    let told = house.send("POST", &format!("{FILL}?wait=true&format=document"), &header, body.concat()).await;
    assert_eq!(told.status(), 200);
    assert_eq!(told.header("content-disposition"), Some("attachment; filename=\"filled.docx\""));
    let written = text_of(told.0.body());
    assert!(written.contains("Ada &amp; Son") && written.contains("Bergen") && !written.contains("[town]"), "{written}");
    assert!(written.contains("<w:b/>"), "what is no placeholder stays as it is: {written}");
}

/// A Word file of one paragraph.
fn word(paragraph: &str) -> Vec<u8> {
    let space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
    let document = format!("<?xml version=\"1.0\"?><w:document xmlns:w=\"{space}\"><w:body>{paragraph}</w:body></w:document>");
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [("[Content_Types].xml", "<Types/>"), ("word/document.xml", &document)] {
        zip.start_file(name, options).unwrap();
        std::io::Write::write_all(&mut zip, text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn text_of(word: &[u8]) -> String {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(word)).unwrap();
    std::io::read_to_string(zip.by_name("word/document.xml").unwrap()).unwrap()
}

fn engine(reader: &Reader) -> Engine {
    Engine::builder().backend(reader.clone()).project(common::project(Limits::default())).build().unwrap()
}

#[tokio::test]
async fn a_gateway_that_ends_waits_for_its_fillings() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Settings { template_store: Some(folder.path().to_owned()), ..settings() };
    let patient = Settings { grace: Duration::from_secs(3_600), ..kept.clone() };
    let reader = Reader::with(0);
    let (house, stop, mut served) = House::until_told(engine(&reader), patient).await;
    job(&house.post(FILL, &order(12)).await);
    until(|| reader.calls() == 2).await;
    stop.send(()).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut served).await.is_err(), "it has not waited");
    reader.leaves.add_permits(2);
    served.await.unwrap();
    let idle = Reader::free();
    let house = House::of(engine(&idle), kept).await;
    let told = house.post(&format!("{FILL}?wait=true"), &order(12)).await.json(200);
    assert_eq!((idle.calls(), &told["result"]["values"]["part-10"]), (0, &json!("value 10")), "all was answered and kept");
}

#[tokio::test]
async fn a_filling_that_outlasts_the_grace_holds_nobody_up_and_its_answers_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Settings { template_store: Some(folder.path().to_owned()), grace: Duration::from_millis(50), ..settings() };
    let reader = Reader::with(1);
    let (house, stop, served) = House::until_told(engine(&reader), kept.clone()).await;
    let path = job(&house.post(FILL, &order(12)).await);
    while house.get(&path).await.json(200)["fields_settled"] != 6 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send(()).unwrap();
    served.await.unwrap();
    let reader = Reader::free();
    let house = House::of(engine(&reader), kept).await;
    let told = house.post(&format!("{FILL}?wait=true"), &order(12)).await.json(200);
    assert_eq!((reader.calls(), &told["result"]["values"]["part-10"]), (1, &json!("value 10")), "one pack was paid for before");
}
