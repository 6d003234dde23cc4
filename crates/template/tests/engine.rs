//! Filling through the engine: the bodies it sends, the vectors it shares calls for, quotas that are used up.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/pdf.rs"]
mod pdf;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{long_form, searching};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tidegate_engine::{Backend, Call, Engine, Method, Project, Reply, TransportError};
use tidegate_gemini::models::Limits;
use tidegate_template::{Document, EngineModel, Field, FieldType, Filler, Model, Settings, Template, Unobserved};

/// Answers as the scripted model would, over the wire's own bodies.
#[derive(Clone)]
struct Wire {
    model: Arc<common::Scripted>,
    bodies: Arc<Mutex<Vec<(Method, Value)>>>,
    is_offline: bool,
}

impl Wire {
    fn new(model: common::Scripted) -> Wire {
        Wire { model: Arc::new(model), bodies: Arc::default(), is_offline: false }
    }

    fn count(&self, method: Method) -> usize {
        self.bodies.lock().unwrap().iter().filter(|(used, _)| *used == method).count()
    }
}

impl Backend for Wire {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            if self.is_offline {
                return Err(TransportError::Connect { host: "api.example".into(), reason: "refused".into() });
            }
            let body: Value = serde_json::from_slice(&call.body.read().await.unwrap()).unwrap();
            self.bodies.lock().unwrap().push((call.method, body.clone()));
            tokio::time::sleep(Duration::from_millis(300)).await;
            let vector = json!({"values": [0.5, 0.25, 0.125]});
            let answer = match call.method {
                Method::Generate => {
                    let text = |path: &str| body.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                    let ask = tidegate_template::Ask { prompt: text("/contents/0/parts/0/text"), ..Default::default() };
                    let said = self.model.generate(ask).await.unwrap();
                    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": said.text}]}, "finishReason": "STOP"}],
                        "usageMetadata": {"promptTokenCount": 900, "candidatesTokenCount": 80, "totalTokenCount": 980}})
                }
                Method::Embed => json!({"embedding": vector}),
                Method::EmbedTogether => {
                    let texts = body["requests"].as_array().unwrap().len();
                    json!({"embeddings": vec![vector; texts]})
                }
            };
            let body = Bytes::from(answer.to_string());
            Ok(Reply { status: 200, content_type: Some("application/json".into()), retry_after: None, body })
        }
        .boxed()
    }
}

fn engine(wire: &Wire, limits: Limits) -> Engine {
    let project = Project {
        name: "main".into(),
        keys: vec![(None, "a-key-of-the-test".into())],
        limits: vec![("*".into(), limits)],
        account: None,
    };
    Engine::builder().project(project).backend(wire.clone()).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_form_is_filled_through_the_engine_and_texts_share_calls() {
    let (template, document, model) = long_form(12);
    let wire = Wire::new(model);
    let model = EngineModel::new(engine(&wire, Limits::default()), "gemini-3.8-flash");
    let filled = Filler::builder(template, vec![document]).settings(searching()).build().fill(&model, &Unobserved).await;
    assert_eq!((filled.stats.from_model, filled.notes), (12, Vec::<String>::new()));
    assert_eq!((wire.count(Method::Generate), filled.stats.input_tokens), (2, 1800));
    let calls = wire.count(Method::EmbedTogether) + wire.count(Method::Embed);
    assert!(filled.stats.embedded_texts > 20 && calls * 4 <= filled.stats.embedded_texts as usize, "{calls}");
    let bodies = wire.bodies.lock().unwrap();
    let (_, asked) = bodies.iter().find(|(method, _)| *method == Method::Generate).unwrap();
    let config = &asked["generationConfig"];
    assert_eq!((&config["responseMimeType"], &config["temperature"]), (&json!("application/json"), &json!(0.0)));
    assert_eq!(config["responseJsonSchema"]["required"].as_array().unwrap().len(), 6);
    let (_, embedded) = bodies.iter().find(|(method, _)| *method == Method::EmbedTogether).unwrap();
    assert_eq!(embedded["requests"][0]["taskType"], "RETRIEVAL_DOCUMENT");
    assert_eq!(embedded["requests"][0]["outputDimensionality"], 768);
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_used_up_ends_the_run_and_not_its_values() {
    let (template, document, model) = common::form(30);
    let wire = Wire::new(model);
    let limits = Limits { rpd: Some(1), ..Limits::default() };
    let model = EngineModel::new(engine(&wire, limits), "gemini-3.8-flash").without_embedding();
    let filled = Filler::builder(template, vec![document]).build().fill(&model, &Unobserved).await;
    assert_eq!((filled.stats.from_model, filled.pending().len()), (10, 20));
    assert!(filled.notes[0].contains("quota used up"), "{:?}", filled.notes);
    assert!(filled.stats.elapsed_ms < 200_000);
}

#[tokio::test(start_paused = true)]
async fn without_a_way_to_the_api_patterns_fill_what_they_can() {
    let wire = Wire { is_offline: true, ..Wire::new(common::Scripted::new([])) };
    let model = EngineModel::new(engine(&wire, Limits::default()), "gemini-3.8-flash").without_embedding();
    let template = Template { name: "t".into(), description: String::new(), fields: vec![Field::new("rent", FieldType::Number)] };
    let document = Document::from_bytes("a.txt", b"Rent: 800 EUR").unwrap();
    let filled = Filler::builder(template, vec![document]).build().fill(&model, &Unobserved).await;
    assert_eq!((&filled.values["rent"], filled.pending()), (&json!(800), vec!["rent"]));
    assert!(filled.notes[0].contains("run again"), "{:?}", filled.notes);
}

#[tokio::test(start_paused = true)]
async fn scans_are_shown_to_the_model_as_they_are() {
    shown("scan.png", &base64_png(), "image/png").await;
    shown("scan.pdf", &pdf::pdf(&[pdf::column(&[])]), "application/pdf").await;
}

async fn shown(name: &str, bytes: &[u8], mime: &str) {
    let wire = Wire::new(common::Scripted::new([]));
    let model = EngineModel::new(engine(&wire, Limits::default()), "gemini-3.8-flash");
    let scan = Document::from_bytes(name, bytes).unwrap();
    let template = Template { name: "t".into(), description: String::new(), fields: vec![Field::new("rent", FieldType::Number)] };
    let fill = async |settings: Settings| {
        let filler = Filler::builder(template.clone(), vec![scan.clone()]).settings(settings).build();
        filler.fill(&model, &Unobserved).await
    };
    fill(Settings::default()).await;
    let body = wire.bodies.lock().unwrap()[0].1.to_string();
    assert!(body.contains(mime) && body.contains("the file shown beside this text"), "{body}");
    let hidden = fill(Settings { send_media: false, ..Settings::default() }).await;
    assert_eq!((wire.count(Method::Generate), hidden.notes.len()), (1, 1), "{:?}", hidden.notes);
}

/// One white point.
fn base64_png() -> Vec<u8> {
    let text = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";
    tidegate_gemini::media::decode(text).unwrap()
}
