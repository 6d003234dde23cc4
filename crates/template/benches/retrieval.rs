//! Whether the right chunk is among the first five: labelled questions over the corpus, by keywords, by vectors, by both.
//!
//! `cargo bench -p tidegate-template --bench retrieval` measures keywords alone; `-- model VENV` starts the corpus's embedding
//! server with the Python of that environment and measures vectors, too.
//!
//! Documents are parted by turns, in the order of their names: constants of the search were chosen by the questions about one
//! half (tune) alone, so that the other (test) tells what they are worth.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_template::{Chunk, ChunkSize, Document, Documents, Index, Question, Vectors, chunks};

/// Texts of one call to the embedding server.
const TOGETHER: usize = 50;
const FIRST: usize = 5;

struct Labelled {
    text: String,
    document: String,
    quote: String,
    is_across: bool,
    /// Asks of a document that constants were not chosen by.
    is_test: bool,
}

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/corpus");
    let questions = questions(&corpus.join("questions.jsonl"));
    let documents = Documents::read([corpus.join("documents")]).unwrap().read;
    let all = chunks(&documents, ChunkSize::default());
    println!(
        "{} documents, {} chunks, {} questions; found among the first {FIRST}:",
        documents.len(),
        all.len(),
        questions.len()
    );
    let mut index = Index::new(all.clone());
    let plain = |text: &str| Question::words(text);
    report("keywords", &questions, |asked| index.find(&[plain(&asked.text)], FIRST), &all);

    let words: Vec<String> = std::env::args().collect();
    match words.iter().position(|word| word == "model").and_then(|at| words.get(at + 1)) {
        None => println!("vectors: not measured; `-- model VENV` names an environment with a model (corpus/README.md)"),
        Some(venv) => {
            let embedder = Embedder::start(&corpus.join("embedder.py"), Path::new(venv));
            let vectors = embedder.embed(&all.iter().map(Chunk::embedded_text).collect::<Vec<_>>());
            let asked = embedder.embed(&questions.iter().map(|one| one.text.clone()).collect::<Vec<_>>());
            let alone = Vectors::new(&vectors).unwrap();
            assert!(index.add_vectors(&vectors));
            let at = |one: &Labelled| questions.iter().position(|other| std::ptr::eq(one, other)).unwrap();
            let by_vector = |one: &Labelled| alone.search(&asked[at(one)], FIRST).into_iter().map(|(number, _)| number).collect();
            report("vectors", &questions, by_vector, &all);
            let both = |one: &Labelled| Question { text: one.text.clone(), vector: Some(asked[at(one)].clone()) };
            report("both", &questions, |one| index.find(&[both(one)], FIRST), &all);
        }
    }
    speed(&questions);
}

fn report(name: &str, questions: &[Labelled], find: impl Fn(&Labelled) -> Vec<u32>, all: &[Chunk]) {
    let is_found = |one: &Labelled| {
        find(one).into_iter().any(|number| {
            let chunk = &all[number as usize];
            chunk.document.ends_with(&one.document) && chunk.text.contains(&one.quote)
        })
    };
    let found: Vec<(&Labelled, bool)> = questions.iter().map(|one| (one, is_found(one))).collect();
    let share = |of: fn(&Labelled) -> bool| {
        let part: Vec<bool> = found.iter().filter(|(one, _)| of(one)).map(|(_, is_found)| *is_found).collect();
        let hits = part.iter().filter(|is_found| **is_found).count();
        format!("{hits} of {} ({:.1} %)", part.len(), 100.0 * hits as f64 / part.len().max(1) as f64)
    };
    let (tune, test) = (share(|one| !one.is_test), share(|one| one.is_test));
    let (same, across) = (share(|one| !one.is_across), share(|one| one.is_across));
    println!("{name:>10}: {}; tune {tune}, test {test}; in one language {same}, across {across}", share(|_| true));
}

/// 10,000 chunks with vectors of 768 numbers, searched for every question.
fn speed(questions: &[Labelled]) {
    const CHUNKS: usize = 10_000;
    const DIMENSIONS: usize = 768;
    let text = |number: usize| {
        let words =
            (0..160).map(|word| questions[(number * 7 + word) % questions.len()].text.split(' ').nth(word % 5).unwrap_or("and"));
        format!("{} w{number}", words.collect::<Vec<_>>().join(" "))
    };
    let documents: Vec<Document> =
        (0..CHUNKS).map(|number| Document::from_bytes(&format!("d{number}.txt"), text(number).as_bytes()).unwrap()).collect();
    let mut state = 7u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut index = Index::new(chunks(&documents, ChunkSize::default()));
    let vectors: Vec<Vec<f32>> = (0..index.chunks.len()).map(|_| (0..DIMENSIONS).map(|_| random()).collect()).collect();
    assert!(index.add_vectors(&vectors));
    let mut times: Vec<Duration> = questions
        .iter()
        .map(|one| {
            let question = Question { text: one.text.clone(), vector: Some((0..DIMENSIONS).map(|_| random()).collect()) };
            let begun = Instant::now();
            std::hint::black_box(index.find(&[question], FIRST));
            begun.elapsed()
        })
        .collect();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{} chunks, keywords and vectors: p50 {:.1} ms, p99 {:.1} ms a search", index.chunks.len(), at(0.5), at(0.99));
}

fn questions(path: &PathBuf) -> Vec<Labelled> {
    let lines = std::fs::read_to_string(path).unwrap();
    let read = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        let is_across = value["cross"] == true;
        Labelled { text: text("question"), document: text("document"), quote: text("quote"), is_across, is_test: false }
    };
    let mut questions: Vec<Labelled> = lines.lines().map(read).collect();
    let documents: BTreeSet<String> = questions.iter().map(|one| one.document.clone()).collect();
    let tested: BTreeSet<&String> = documents.iter().skip(1).step_by(2).collect();
    questions.iter_mut().for_each(|one| one.is_test = tested.contains(&one.document));
    questions
}

/// The corpus's embedding server, ended when it is dropped.
struct Embedder {
    child: Child,
    address: String,
}

impl Embedder {
    fn start(script: &Path, venv: &Path) -> Embedder {
        let python = venv.join("bin/python");
        let mut child = Command::new(python).arg(script).stdout(Stdio::piped()).spawn().expect("the environment has no python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, rest) = line.split_once("http://").expect("the embedding server did not start");
        let address = rest.split_whitespace().next().unwrap().to_owned();
        Embedder { child, address }
    }

    fn embed(&self, texts: &[String]) -> Vec<Vec<f32>> {
        texts.chunks(TOGETHER).flat_map(|part| self.call(part)).collect()
    }

    fn call(&self, texts: &[String]) -> Vec<Vec<f32>> {
        let one = |text: &String| json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}});
        let body = json!({"requests": texts.iter().map(one).collect::<Vec<_>>()}).to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = "POST /v1beta/models/gemini-embedding-001:batchEmbedContents HTTP/1.0\r\nContent-Type: application/json\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        // The length is told: a server that keeps the line open would never end it.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = told.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let values = |one: &Value| one["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        answer["embeddings"].as_array().unwrap_or_else(|| panic!("{answer}")).iter().map(values).collect()
    }
}

impl Drop for Embedder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
