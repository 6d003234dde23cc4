//! What filling takes: calls and time over the simulated API at a second a call, beside one search and one question for each
//! field; and a large form over several megabytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use tidegate_engine::{Backend, Call, Engine, Method, Project, Reply, TransportError};
use tidegate_gemini::models::Limits;
use tidegate_simulator::{Scenario, SimRequest, Simulator};
use tidegate_template::{
    Document, EngineModel, Field, FieldType, Filled, Filler, Model, Purpose, Settings, Template, Unobserved,
};

#[path = "../tests/common/mod.rs"]
mod common;

const KEY: &str = "SIM-bench-one-key-1-0123456789abcdef";
const SCENARIO: &str = "name = 'bench'\n[latency]\nbase = { constant = 1000 }\nper_output_token = 0.0\n\
    [[projects]]\nname = 'one'\nkeys = ['SIM-bench-one-key-1-0123456789abcdef']\n";
/// Fields of a form, and the most calls they may take.
const FORMS: [(usize, u64); 5] = [(10, 2), (12, 2), (20, 3), (30, 4), (60, 6)];
/// The most memory that the large form may take, in MB.
const MEMORY: u64 = 500;

fn main() {
    // Time that nobody waits for: seconds pass when all are asleep.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        println!("fields  calls  one by one  fewer  seconds  one by one  times as fast");
        for (count, most) in FORMS {
            fields(count, most).await;
        }
        large().await;
    });
}

async fn fields(count: usize, most: u64) {
    let (template, document) = form(count);
    let api = Api::new();
    let begun = tokio::time::Instant::now();
    let filled = fill(&api, template.clone(), &document).await;
    let (took, calls) = (begun.elapsed().as_secs_f64(), api.calls());
    let (slow, naive, single) = one_by_one(&template, &document).await;
    assert_eq!(filled.values, single, "both ways find the same");
    let fewer = 100.0 * (1.0 - calls as f64 / naive as f64);
    println!("{count:>6}  {calls:>5}  {naive:>10}  {fewer:>4.1}%  {took:>7.1}  {slow:>10.1}  {:>13.1}", slow / took);
    assert!(calls <= most && fewer >= 90.0 && took <= slow / 3.0);
}

async fn fill(api: &Api, template: Template, document: &Document) -> Filled {
    let filled = Filler::builder(template, vec![document.clone()]).build().fill(&api.model(), &Unobserved).await;
    assert!(filled.fields.iter().all(|field| !field.value.is_null()), "a field is empty: {:?}", filled.notes);
    filled
}

/// The naive way, really gone: for each field a search and a question, one after the other. Seconds, calls and values.
async fn one_by_one(template: &Template, document: &Document) -> (f64, u64, serde_json::Map<String, serde_json::Value>) {
    let api = Api::new();
    let begun = tokio::time::Instant::now();
    let mut values = serde_json::Map::new();
    for field in &template.fields {
        api.model().embed(std::slice::from_ref(&field.name), Purpose::Query).await.unwrap();
        let one = Template { fields: vec![field.clone()], ..template.clone() };
        values.extend(fill(&api, one, document).await.values);
    }
    (begun.elapsed().as_secs_f64(), api.calls(), values)
}

fn form(count: usize) -> (Template, Document) {
    let fields = (0..count).map(|number| Field::new(format!("field{number}"), FieldType::String)).collect();
    let lines: String = (0..count).map(|number| format!("field{number}: value {number} of the form\n\n")).collect();
    let template = Template { name: "form".into(), description: String::new(), fields };
    (template, Document::from_bytes("form.txt", lines.as_bytes()).unwrap())
}

/// The simulated API in the runtime's time.
#[derive(Clone)]
struct Api {
    simulator: Arc<Mutex<Simulator>>,
    start: tokio::time::Instant,
    answered: Arc<Mutex<u64>>,
}

impl Api {
    fn new() -> Api {
        let simulator = Simulator::new(Scenario::from_toml(SCENARIO).unwrap(), Some(1));
        Api { simulator: Arc::new(Mutex::new(simulator)), start: tokio::time::Instant::now(), answered: Arc::default() }
    }

    /// Calls of all kinds that were answered.
    fn calls(&self) -> u64 {
        *self.answered.lock().unwrap()
    }

    fn model(&self) -> EngineModel {
        let limits = vec![("*".into(), Limits::default())];
        let project = Project { name: "one".into(), keys: vec![(None, KEY.into())], limits, account: None };
        let engine = Engine::builder().project(project).backend(self.clone()).build().unwrap();
        EngineModel::new(engine, "gemini-3.8-flash")
    }
}

impl Backend for Api {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            let method = match call.method {
                Method::Generate => "generateContent",
                Method::Embed => "embedContent",
                Method::EmbedTogether => "batchEmbedContents",
            };
            let path = format!("/v1beta/models/{}:{method}", call.model);
            let headers = [("x-goog-api-key".to_owned(), call.key.expose_secret().to_owned())];
            let body = call.body.read().await.unwrap();
            let request = SimRequest { method: "POST", path: &path, headers: &headers, body: &body };
            let now = 1_700_000_000_000_000 + u64::try_from(self.start.elapsed().as_micros()).unwrap();
            let answer = self.simulator.lock().unwrap().handle(now, &request);
            tokio::time::sleep(answer.duration()).await;
            *self.answered.lock().unwrap() += u64::from(answer.status == 200);
            let content_type = Some("application/json".to_owned());
            Ok(Reply { status: answer.status, content_type, retry_after: None, body: answer.body().into() })
        }
        .boxed()
    }
}

/// 200 fields, each in a section of its own, of several megabytes, with vectors of 768 numbers.
async fn large() {
    const FIELDS: usize = 200;
    const REMARKS: usize = 160;
    let (template, _, mut model) = common::form(FIELDS);
    (model.embeds, model.dimensions) = (true, 768);
    let mut text = String::new();
    for number in 0..FIELDS {
        text += &format!("# Section {number}\n\nThe value of field{number} is value-{number}.\n\n");
        for line in 0..REMARKS {
            text += &format!(
                "Remark {number}/{line}: nothing that matters stands in this line, whose words w{number}x{line} and v{line}y{number} are its own and nobody else's.\n\n"
            );
        }
    }
    let megabytes = text.len() as f64 / 1e6;
    let document = Document::from_bytes("large.md", text.as_bytes()).unwrap();
    drop(text);
    let begun = std::time::Instant::now();
    let filler = Filler::builder(template, vec![document]).settings(Settings::default()).build();
    let filled = filler.fill(&model, &Unobserved).await;
    let (found, calls, peak) = (filled.stats.from_model, filled.stats.generation_calls, peak());
    println!(
        "\n{FIELDS} fields, {megabytes:.1} MB, {} chunks with vectors: {found} found, {calls} calls, {:.1} s of work, peak memory {}",
        filled.stats.chunks,
        begun.elapsed().as_secs_f64(),
        peak.map_or_else(|| "unknown here".to_owned(), |peak| format!("{peak} MB"))
    );
    assert!(found == FIELDS as u64 && calls <= 20 && peak.is_none_or(|peak| peak < MEMORY));
}

/// The most memory this process ever held, in MB, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024)
}
