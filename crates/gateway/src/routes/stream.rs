//! Streamed answers in Gemini's and in OpenAI's form: each piece is sent on as soon as it is there, and nothing is added.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;
use tidegate_engine::{AnswerStream, Error, Request};
use tidegate_gemini::openai::{Chunks, error};
use tidegate_gemini::request;

use super::generate::{Asked, at_home, doubted, enter, named};
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::error::{Dialect, Refusal};
use crate::figures::Outcome;
use crate::purse::Spending;
use crate::server::Gate;
use crate::visit::Note;

/// How the pieces are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Server-sent events.
    Events,
    /// One JSON list.
    List,
}

/// `POST models/M:streamGenerateContent`.
pub async fn native(gate: &Gate, call: &mut Call, model: &str) -> Result<Answer, Refusal> {
    let form = if call.query().split('&').any(|pair| pair == "alt=sse") { Form::Events } else { Form::List };
    let body = call.body(&gate.settings).await?;
    let built = request::forwarded(model, body).map_err(|fault| Refusal::not_found(fault.to_string()))?;
    let asked = call.asks(Request::new(built), &gate.settings)?;
    call.forget_head();
    let pieces = begun(gate, call, asked).await?;
    Ok(match form {
        Form::Events => answer::growing("text/event-stream", framed(pieces, form)),
        Form::List => answer::growing("application/json; charset=UTF-8", framed(pieces, form)),
    })
}

/// A stream of OpenAI's chunks.
pub async fn chunked(gate: &Gate, call: &Call, asked: Box<Request>, chunks: Chunks) -> Result<Answer, Refusal> {
    let pieces = begun(gate, call, asked).await?;
    Ok(answer::growing("text/event-stream; charset=utf-8", translated(pieces, chunks)))
}

/// The answer, once its first piece is there.
async fn begun(gate: &Gate, call: &Call, mut request: Box<Request>) -> Result<Pieces, Refusal> {
    at_home(gate, &mut request).await?;
    let asked = Asked::of(&request);
    let named = named(&request);
    let (spending, waited) = enter(gate, call, &mut request).await?;
    match gate.engine.stream(request).await {
        Ok(mut stream) => {
            call.story.note(stream.trace(), waited);
            Ok(Pieces { stream, spending: Some(spending), note: call.note.clone() })
        }
        Err(error) => {
            call.story.note(&error.trace, waited);
            match error.trace.attempts {
                0 => spending.refund(),
                _ => spending.settle(error.trace.usage.total_tokens),
            }
            if let Some(body) = named {
                doubted(gate, &error, &body);
            }
            Err(asked.refused(gate, call, &error))
        }
    }
}

/// A stream whose end is noted, and whose caller's account is settled then.
struct Pieces {
    stream: AnswerStream,
    spending: Option<Spending>,
    note: Arc<Note>,
}

impl Pieces {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let next = self.stream.next().await;
        match &next {
            Some(Ok(_)) => return next,
            Some(Err(_)) => self.note.ends(Outcome::Failed),
            None => self.note.ends(Outcome::Answered),
        }
        if let Some(spending) = self.spending.take() {
            spending.settle(self.stream.trace().usage.total_tokens);
        }
        next
    }
}

/// The next pieces, with an error in the place of what is missing.
fn framed(pieces: Pieces, form: Form) -> BoxStream<'static, Bytes> {
    let first = Some((pieces, 0_usize));
    stream::unfold(first, move |state| async move {
        let (mut pieces, sent) = state?;
        let next = pieces.next().await;
        let ends = !matches!(next, Some(Ok(_)));
        let text = match next {
            Some(Ok(piece)) => Some(String::from_utf8_lossy(&piece).into_owned()),
            Some(Err(error)) => Some(broken(&error, Dialect::Google).to_string()),
            None => None,
        };
        let framed = match (form, text) {
            (Form::Events, text) => text.map(|text| event(&text)).unwrap_or_default(),
            (Form::List, Some(text)) => {
                let (before, after) = (if sent == 0 { "[" } else { ",\r\n" }, if ends { "]" } else { "" });
                format!("{before}{text}{after}")
            }
            (Form::List, None) => "]".to_string(),
        };
        Some((Bytes::from(framed), (!ends).then_some((pieces, sent + 1))))
    })
    .filter(|piece| std::future::ready(!piece.is_empty()))
    .boxed()
}

/// An event as the API writes it, on one line: breaks of a line in JSON stand between its words only.
fn event(text: &str) -> String {
    format!("data: {}\r\n\r\n", text.replace(['\r', '\n'], " "))
}

fn translated(pieces: Pieces, chunks: Chunks) -> BoxStream<'static, Bytes> {
    stream::unfold(Some((pieces, chunks)), |state| async move {
        let (mut pieces, mut chunks) = state?;
        let written = match pieces.next().await {
            None => {
                let cost = chunks.last().map(|cost| data(&cost)).unwrap_or_default();
                return Some((Bytes::from(format!("{cost}data: [DONE]\n\n")), None));
            }
            Some(Ok(piece)) => chunk(&mut chunks, &piece),
            Some(Err(fault)) => Err(broken(&fault, Dialect::OpenAi)),
        };
        match written {
            Ok(chunk) => Some((Bytes::from(chunk), Some((pieces, chunks)))),
            // Without the mark of a proper end: half an answer must not look whole.
            Err(error) => {
                pieces.note.ends(Outcome::Failed);
                Some((Bytes::from(data(&error)), None))
            }
        }
    })
    .filter(|piece| std::future::ready(!piece.is_empty()))
    .boxed()
}

/// One piece in OpenAI's form; empty where there is nothing to tell of it.
fn chunk(chunks: &mut Chunks, piece: &[u8]) -> Result<String, Value> {
    let unusable = |reason: &str| error(502, reason, Some("INTERNAL"), None);
    let piece: Value = serde_json::from_slice(piece).map_err(|_| unusable("a piece of the answer is not JSON"))?;
    let chunks = chunks.chunks(&piece).map_err(|fault| unusable(&fault.to_string()))?;
    Ok(chunks.iter().map(data).collect())
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// What stands in the place of the rest.
fn broken(error: &Error, dialect: Dialect) -> Value {
    Refusal::of_engine(error, || None).told(dialect)
}
