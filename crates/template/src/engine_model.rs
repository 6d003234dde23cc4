//! The model behind an engine: its quotas, keys and retries stand before every question and every text.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tidegate_engine::{Admission, Deadline, Engine, Error, ErrorClass, Request};
use tidegate_gemini::embedding::{self, EmbedSettings, TaskType};
use tidegate_gemini::media::{Item, Kind, Source};
use tidegate_gemini::models::output_limit;
use tidegate_gemini::prompt::Prompt;
use tidegate_gemini::request::{self, Defaults};
use tidegate_gemini::response::{Answer, AnswerStatus};

use crate::model::{Answered, Ask, Medium, Model, ModelError, Purpose};

/// The embedding model, unless told otherwise.
pub const EMBEDDING_MODEL: &str = "gemini-embedding-001";
/// Numbers of a vector, unless told otherwise: a quarter of the model's own length finds as well and is searched faster.
pub const DIMENSIONS: u32 = 768;
/// How long a question waits for its permit, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks through an engine.
#[derive(Clone)]
pub struct EngineModel {
    engine: Engine,
    model: String,
    embedding: Option<Embedding>,
    temperature: Option<f64>,
    patience: Duration,
    priority: i32,
    party: u32,
    client: Option<Arc<str>>,
}

#[derive(Clone)]
struct Embedding {
    model: String,
    dimensions: u32,
    /// Model and length: vectors of two lengths cannot be compared.
    identity: String,
}

impl EngineModel {
    /// Asks this model, and [`EMBEDDING_MODEL`] for vectors.
    pub fn new(engine: Engine, model: impl Into<String>) -> EngineModel {
        let plain = EngineModel {
            engine,
            model: model.into(),
            embedding: None,
            temperature: Some(0.0),
            patience: PATIENCE,
            priority: 0,
            party: 0,
            client: None,
        };
        plain.embedding(EMBEDDING_MODEL, DIMENSIONS)
    }

    /// Another embedding model, and how long its vectors are.
    pub fn embedding(mut self, model: impl Into<String>, dimensions: u32) -> EngineModel {
        let model = model.into();
        let identity = format!("{model}/{dimensions}");
        self.embedding = Some(Embedding { model, dimensions, identity });
        self
    }

    /// Makes no vectors: keywords alone are searched.
    pub fn without_embedding(mut self) -> EngineModel {
        self.embedding = None;
        self
    }

    /// How freely it answers; 0 unless told otherwise, `None` for the model's own.
    pub fn temperature(mut self, temperature: Option<f64>) -> EngineModel {
        self.temperature = temperature;
        self
    }

    /// How long a question waits for its permit before the quota counts as used up; 2 minutes unless told otherwise.
    pub fn patience(mut self, patience: Duration) -> EngineModel {
        self.patience = patience;
        self
    }

    /// Higher goes first among all requests of the engine.
    pub fn priority(mut self, priority: i32) -> EngineModel {
        self.priority = priority;
        self
    }

    /// Whose turn its questions take: those of one number are one party of the queue; 0, as long as none is named, is work in bulk.
    pub fn party(mut self, party: u32) -> EngineModel {
        self.party = party;
        self
    }

    /// Whom the questions are for, in events and figures.
    pub fn client(mut self, client: impl Into<Arc<str>>) -> EngineModel {
        self.client = Some(client.into());
        self
    }

    /// Everybody who asks here would rather be told at once than wait in vain.
    fn ready(&self, request: Request, label: &str) -> Request {
        Request {
            priority: self.priority,
            party: self.party,
            client: self.client.clone(),
            deadline: Some(Deadline::Start(self.patience)),
            admission: Some(Admission { most_waiting: usize::MAX }),
            ..request.labelled(label)
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answered, ModelError> {
        let defaults = Defaults {
            model: Some(self.model.clone()),
            system_instruction: Some(ask.system),
            temperature: self.temperature,
            json_schema: Some(ask.schema),
            ..Defaults::default()
        };
        let prompt = Prompt { media: ask.media.iter().map(item).collect(), ..Prompt::text(ask.prompt) };
        let built = request::build(&prompt, &defaults).map_err(|error| refused(&error))?;
        let media = match built.media.is_empty() {
            true => None,
            false => Some(self.engine.resolver().resolve(&built).map_err(|error| refused(&error))?),
        };
        let request = Request { divisible: ask.is_divisible, ..Request::new(built) };
        let request = media.into_iter().fold(request, Request::with_media);
        match self.engine.submit(self.ready(request, &ask.label)).await {
            Ok(response) => Ok(answered(&response.answer)),
            Err(error) => match error.answer.as_deref().filter(|answer| answer.status == AnswerStatus::Truncated) {
                Some(cut) => Ok(answered(cut)),
                None => Err(fault(&error)),
            },
        }
    }

    async fn vector(&self, by: &Embedding, text: &str, purpose: Purpose) -> Result<Vec<f32>, ModelError> {
        let task_type = match purpose {
            Purpose::Document => TaskType::RetrievalDocument,
            Purpose::Query => TaskType::RetrievalQuery,
        };
        let settings = EmbedSettings { task_type: Some(task_type), dimensions: Some(by.dimensions) };
        let defaults = Defaults { model: Some(by.model.clone()), ..Defaults::default() };
        let built = embedding::build(&Prompt::text(text), &defaults, &settings).map_err(|error| refused(&error))?;
        let response =
            self.engine.submit(self.ready(Request::embedding(built), "vector")).await.map_err(|error| fault(&error))?;
        let vector = embedding::read(&response.body).and_then(|read| serde_json::from_str(read.values.get()).ok());
        vector.ok_or_else(|| ModelError::Failed { reason: "the answer holds no vector".to_owned() })
    }
}

impl Model for EngineModel {
    fn name(&self) -> &str {
        &self.model
    }

    fn output_limit(&self) -> u64 {
        output_limit(&self.model)
    }

    fn generate(&self, ask: Ask) -> BoxFuture<'_, Result<Answered, ModelError>> {
        self.ask(ask).boxed()
    }

    fn embedding(&self) -> Option<&str> {
        self.embedding.as_ref().map(|embedding| embedding.identity.as_str())
    }

    fn embed<'a>(&'a self, texts: &'a [String], purpose: Purpose) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        async move {
            let by = self.embedding.as_ref();
            let by = by.ok_or_else(|| ModelError::Unavailable { reason: "no embedding model is set".to_owned() })?;
            // Handed in together, they share calls.
            try_join_all(texts.iter().map(|text| self.vector(by, text, purpose))).await
        }
        .boxed()
    }

    fn sees(&self, mime: &str) -> bool {
        matches!(mime, "application/pdf" | "image/png" | "image/jpeg" | "image/webp")
    }
}

fn item(medium: &Medium) -> Item {
    let kind = if medium.mime.starts_with("image/") { Kind::Image } else { Kind::File };
    let source = Source::Bytes(BASE64.encode(&medium.bytes).into());
    Item { kind, source, mime: Some(medium.mime.to_owned()), video: None }
}

fn answered(answer: &Answer) -> Answered {
    Answered {
        text: answer.text.clone().unwrap_or_default(),
        truncated: answer.status == AnswerStatus::Truncated,
        input_tokens: answer.usage.input_tokens,
        output_tokens: answer.usage.output_tokens + answer.usage.thinking_tokens,
    }
}

fn refused(error: &dyn std::fmt::Display) -> ModelError {
    ModelError::Refused { reason: error.to_string() }
}

/// What an error of the engine means for filling. The engine has waited and tried again already.
fn fault(error: &Error) -> ModelError {
    let reason = error.message.clone();
    match error.class {
        ErrorClass::Task | ErrorClass::TooLarge | ErrorClass::Input => ModelError::Refused { reason },
        // Tried, and never answered: there is no way to the API.
        ErrorClass::Deadline | ErrorClass::Upstream if error.trace.attempts > 0 && error.http_status.is_none() => {
            ModelError::Unavailable { reason }
        }
        ErrorClass::Deadline => ModelError::Exhausted { reason },
        ErrorClass::Upstream => ModelError::Failed { reason },
        ErrorClass::NoKey | ErrorClass::Cancelled => ModelError::Unavailable { reason },
    }
}
