//! A model that knows the truth but answers only what the sources it is shown say; and forms to fill with it.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tidegate_template::{Answered, Ask, Document, Field, FieldType, Model, ModelError, Purpose, Settings, Template};

/// What a model says instead of the truth: the number of the call from 1, the names it is asked for, what it would say.
pub type Whim = dyn Fn(usize, &[String], Value) -> Result<Answered, ModelError> + Send + Sync;

/// Knows for each field its value and the words that show it.
pub struct Scripted {
    pub name: &'static str,
    pub facts: BTreeMap<String, (Value, String)>,
    pub asks: Mutex<Vec<Ask>>,
    /// Instants at which calls started.
    pub starts: Mutex<Vec<tokio::time::Instant>>,
    pub latency: Duration,
    pub whim: Option<Box<Whim>>,
    /// Makes vectors of words.
    pub embeds: bool,
    /// So long are they.
    pub dimensions: usize,
    pub embedded: AtomicUsize,
    pub under_way: AtomicUsize,
    pub most_under_way: AtomicUsize,
}

impl Scripted {
    pub fn new(facts: impl IntoIterator<Item = (String, Value, String)>) -> Scripted {
        Scripted {
            name: "scripted-1",
            facts: facts.into_iter().map(|(name, value, quote)| (name, (value, quote))).collect(),
            asks: Mutex::default(),
            starts: Mutex::default(),
            latency: Duration::from_secs(1),
            whim: None,
            embeds: false,
            dimensions: 64,
            embedded: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        }
    }

    pub fn with(
        mut self,
        whim: impl Fn(usize, &[String], Value) -> Result<Answered, ModelError> + Send + Sync + 'static,
    ) -> Scripted {
        self.whim = Some(Box::new(whim));
        self
    }

    pub fn calls(&self) -> usize {
        self.asks.lock().unwrap().len()
    }

    /// Names of the fields of each call, in the order of the calls.
    pub fn asked(&self) -> Vec<Vec<String>> {
        self.asks.lock().unwrap().iter().map(|ask| fields_of(&ask.prompt)).collect()
    }

    fn truth(&self, prompt: &str) -> Value {
        let sources: String = section(prompt, "# Sources");
        let mut answers = serde_json::Map::new();
        for (number, name) in (1..).zip(fields_of(prompt)) {
            let known = self.facts.get(&name).filter(|(_, quote)| sources.contains(quote.as_str()));
            let answer = match known {
                Some((value, quote)) => {
                    let source = number_of_source(&sources, quote);
                    json!({"quote": quote, "source": source, "value": value, "confidence": 0.9})
                }
                None => json!({"quote": null, "source": null, "value": null, "confidence": 0.0}),
            };
            answers.insert(number.to_string(), answer);
        }
        Value::Object(answers)
    }
}

impl Model for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn generate(&self, ask: Ask) -> BoxFuture<'_, Result<Answered, ModelError>> {
        async move {
            let call = {
                let mut asks = self.asks.lock().unwrap();
                asks.push(ask.clone());
                asks.len()
            };
            self.starts.lock().unwrap().push(tokio::time::Instant::now());
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
            tokio::time::sleep(self.latency).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            let truth = self.truth(&ask.prompt);
            match &self.whim {
                Some(whim) => whim(call, &fields_of(&ask.prompt), truth),
                None => said(&truth),
            }
        }
        .boxed()
    }

    fn embedding(&self) -> Option<&str> {
        self.embeds.then_some("words")
    }

    fn embed<'a>(&'a self, texts: &'a [String], _: Purpose) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        self.embedded.fetch_add(texts.len(), Ordering::SeqCst);
        let vectors = texts.iter().map(|text| vector(text, self.dimensions)).collect();
        async move { Ok(vectors) }.boxed()
    }
}

pub fn said(answers: &Value) -> Result<Answered, ModelError> {
    Ok(Answered { text: answers.to_string(), input_tokens: 100, output_tokens: 50, ..Answered::default() })
}

/// A text's words thrown into buckets.
fn vector(text: &str, buckets: usize) -> Vec<f32> {
    let count = buckets;
    let mut buckets = vec![0.01f32; count];
    for word in text.to_lowercase().split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.len() > 3) {
        let bucket = word.bytes().take(5).fold(7usize, |sum, byte| sum * 31 + usize::from(byte)) % count;
        buckets[bucket] += 1.0;
    }
    buckets
}

fn section(prompt: &str, head: &str) -> String {
    let rest = prompt.split_once(head).map_or("", |(_, rest)| rest);
    rest.split("\n# ").next().unwrap_or_default().to_owned()
}

pub fn fields_of(prompt: &str) -> Vec<String> {
    let lines = section(prompt, "# Fields");
    let name = |line: &str| {
        let (number, rest) = line.split_once(". ")?;
        number.parse::<usize>().ok()?;
        Some(rest.split(" (").next()?.to_owned())
    };
    lines.lines().filter_map(name).collect()
}

fn number_of_source(sources: &str, quote: &str) -> usize {
    let before = &sources[..sources.find(quote).unwrap_or(0)];
    let mut heads = before.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']')?.0.parse().ok());
    heads.next_back().unwrap_or(1)
}

/// A template of plain text fields `field 0`, `field 1`, ... and a document that holds each of them in a section of its own.
pub fn form(count: usize) -> (Template, Document, Scripted) {
    let fields = (0..count).map(|number| Field::new(format!("field{number}"), FieldType::String)).collect();
    let template = Template { name: "form".into(), description: "A form.".into(), fields };
    let mut text = String::new();
    for number in 0..count {
        let _ = write!(text, "The value of field{number} is value-{number}.\n\n");
    }
    let document = Document::from_bytes("form.txt", text.as_bytes()).unwrap();
    let fact = |number: usize| {
        (
            format!("field{number}"),
            Value::from(format!("value-{number}")),
            format!("The value of field{number} is value-{number}"),
        )
    };
    (template, document, Scripted::new((0..count).map(fact)))
}

/// A document much longer than one call is shown: each field's section stands far from the others.
pub fn long_form(count: usize) -> (Template, Document, Scripted) {
    let (template, _, model) = form(count);
    let mut text = String::new();
    for number in 0..count {
        let _ = write!(text, "# Section {number}\n\nThe value of field{number} is value-{number}.\n\n");
        for line in 0..12 {
            let _ = write!(
                text,
                "Remark {number}/{line}: nothing that matters stands in this line, whose words w{number}x{line} are its own.\n\n"
            );
        }
    }
    (template, Document::from_bytes("long.md", text.as_bytes()).unwrap(), model)
}

pub fn balanced() -> Settings {
    Settings::default()
}

/// Settings under which searching is needed even for short documents.
pub fn searching() -> Settings {
    Settings { context_tokens: 2500, ..Settings::default() }
}

pub fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
