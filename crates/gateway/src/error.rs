//! Errors in the words of the service that a client believes to speak to: Google's, OpenAI's, or the plain ones of `/chat`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use serde_json::{Value, json};
use tidegate_engine::{Error, ErrorClass, PassageError, QUEUE_FULL};
use tidegate_gemini::error::in_body;
use tidegate_gemini::openai;

use crate::answer::{self, Answer};
use crate::budget::Limit;
use crate::figures::Outcome;

/// Whose errors a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `{"error":{"code","message","status","details"}}`.
    Google,
    /// `{"error":{"message","type","param","code"}}`.
    OpenAi,
    /// `{"error":"..."}`.
    Plain,
}

/// Why a request has no answer.
#[derive(Debug, Clone)]
pub struct Refusal {
    http_status: u16,
    status: Cow<'static, str>,
    message: String,
    /// When to ask again.
    retry: Option<Duration>,
    /// The field at fault.
    param: Option<String>,
    /// The API's own body, where there is one to hand on.
    body: Option<Bytes>,
}

impl Refusal {
    pub fn new(http_status: u16, status: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { http_status, status: status.into(), message: message.into(), retry: None, param: None, body: None }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "INVALID_ARGUMENT", message)
    }

    pub fn not_found(message: impl Into<String>) -> Refusal {
        Refusal::new(404, "NOT_FOUND", message)
    }

    /// Its body found no room in time.
    pub fn no_room() -> Refusal {
        let message =
            "requests under way hold all the memory that is set for bodies (serve.max_bodies_in_flight): ask again later";
        Refusal::new(503, "UNAVAILABLE", message)
    }

    pub fn slow() -> Refusal {
        Refusal::new(408, "DEADLINE_EXCEEDED", "the request's body came too slowly")
    }

    /// Whoever asks is not known; `shown` when a token was there.
    pub fn stranger(shown: bool) -> Refusal {
        let message = if shown {
            "this token is not known here: show the one that [[serve.clients]] names"
        } else {
            "show a token of [[serve.clients]], in x-goog-api-key, as Authorization: Bearer or as ?key="
        };
        Refusal::new(401, "UNAUTHENTICATED", message)
    }

    /// A field of the request is wrong.
    pub fn of_field(field: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { param: Some(field.into()), ..Refusal::invalid(message) }
    }

    /// An answer of the API that nobody can use.
    pub fn unusable(message: impl Into<String>) -> Refusal {
        Refusal::new(502, "INTERNAL", message)
    }

    /// An error of the API, handed on as it is.
    pub fn of_api(http_status: u16, body: Bytes) -> Refusal {
        Refusal { body: Some(body), ..Refusal::new(http_status, "UNKNOWN", "") }
    }

    /// What became of a prompt; `due` tells how long a permit would still take.
    pub fn of_engine(error: &Error, due: impl FnOnce() -> Option<Duration>) -> Refusal {
        // It is known when the model will be looked at again.
        let is_outage = error.class == ErrorClass::Upstream && error.trace.due.is_some();
        if let Some(refusal) = of_last_answer(error) {
            return Refusal { retry: if is_outage { due() } else { None }, ..refusal };
        }
        match error.class {
            ErrorClass::Task | ErrorClass::TooLarge | ErrorClass::Input => Refusal::invalid(&error.message),
            ErrorClass::Deadline if error.code == QUEUE_FULL => Refusal::over(&error.message, due()),
            ErrorClass::Deadline => Refusal::exhausted(due()),
            ErrorClass::Upstream if error.code == "timeout" => Refusal::new(504, "DEADLINE_EXCEEDED", &error.message),
            ErrorClass::Upstream if is_outage => Refusal { retry: due(), ..Refusal::new(503, "UNAVAILABLE", &error.message) },
            ErrorClass::Upstream | ErrorClass::NoKey | ErrorClass::Cancelled => Refusal::new(503, "UNAVAILABLE", &error.message),
        }
    }

    /// No permit came in time.
    pub fn exhausted(due: Option<Duration>) -> Refusal {
        Refusal::over("no permit comes within the time you wait", due)
    }

    /// A limit of the client's own is used up.
    pub fn over_budget(client: &str, limit: Limit, due: Option<Duration>) -> Refusal {
        Refusal::over(&format!("the budget of client {client:?} is {limit}"), due)
    }

    /// The client may not ask this model.
    pub fn forbidden(client: &str, model: &str) -> Refusal {
        let message = format!("client {client:?} may not ask {model}: its models are set in [[serve.clients]]");
        Refusal::new(403, "PERMISSION_DENIED", message)
    }

    /// There is no place for it now.
    pub fn busy(message: &str, retry: Duration) -> Refusal {
        Refusal { retry: Some(retry), ..Refusal::new(503, "UNAVAILABLE", message) }
    }

    /// Something is used up, for `due`.
    pub fn over(reason: &str, due: Option<Duration>) -> Refusal {
        let when = due.map(|due| format!(" Please retry in {}s.", seconds(due))).unwrap_or_default();
        let message = format!("You exceeded your current quota: {reason}.{when}");
        Refusal { retry: due, ..Refusal::new(429, "RESOURCE_EXHAUSTED", message) }
    }

    /// How the request that is refused counts.
    pub fn outcome(&self) -> Outcome {
        match self.http_status {
            401 | 403 | 429 if self.body.is_none() => Outcome::Refused,
            400..500 => Outcome::Invalid,
            _ => Outcome::Failed,
        }
    }

    /// HTTP status, code and message, where they are ours: the API's own were told when it gave them, and a stranger's word is
    /// not worth keeping.
    pub fn words(&self) -> Option<(u16, &str, &str)> {
        (self.body.is_none() && self.http_status != 401).then_some((self.http_status, &*self.status, &*self.message))
    }

    /// How the gateway says this in the words of `dialect`.
    pub fn told(&self, dialect: Dialect) -> Value {
        match (dialect, &self.body) {
            (Dialect::Plain, _) if self.http_status == 429 => json!({"error": "Request timeout"}),
            (Dialect::Plain, Some(body)) => json!({"error": openai::of_google(self.http_status, body)["error"]["message"]}),
            (Dialect::Plain, None) => json!({"error": self.message}),
            (Dialect::OpenAi, Some(body)) => openai::of_google(self.http_status, body),
            (Dialect::OpenAi, None) => openai::error(self.http_status, &self.message, Some(&self.status), self.param.as_deref()),
            (Dialect::Google, _) => self.of_google(),
        }
    }

    /// The whole answer.
    pub fn answer(self, dialect: Dialect) -> Answer {
        let status = match (dialect, self.http_status) {
            (Dialect::Plain, 429 | 504) => 408,
            (Dialect::Plain, 500..) => 500,
            (_, status) => status,
        };
        let mut answer = match (&self.body, dialect) {
            (Some(body), Dialect::Google) => answer::json(status, body.clone()),
            _ => answer::value(status, &self.told(dialect)),
        };
        if let Some(retry) = self.retry {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry.as_secs() + u64::from(retry.subsec_nanos() > 0)));
        }
        answer
    }

    fn of_google(&self) -> Value {
        let mut error = json!({"code": self.http_status, "message": self.message, "status": self.status});
        if let Some(retry) = self.retry {
            let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{}s", seconds(retry))});
            error["details"] = json!([info]);
        }
        json!({"error": error})
    }
}

impl From<PassageError> for Refusal {
    fn from(error: PassageError) -> Refusal {
        Refusal::new(503, "UNAVAILABLE", error.to_string())
    }
}

/// The last body, where it is an error that the client may see: not one about a key of ours, not a page for people.
fn of_last_answer(error: &Error) -> Option<Refusal> {
    let status = error.http_status.filter(|status| *status >= 400)?;
    let is_clients = match error.class {
        ErrorClass::Task | ErrorClass::Upstream => true,
        ErrorClass::Deadline => status >= 500,
        ErrorClass::TooLarge | ErrorClass::Input | ErrorClass::NoKey | ErrorClass::Cancelled => false,
    };
    let body = error.body.as_ref().filter(|body| is_clients && in_body(body))?;
    Some(Refusal::of_api(status, body.clone()))
}

/// Seconds to the millisecond, never less than it takes.
fn seconds(span: Duration) -> String {
    let millis = span.as_nanos().div_ceil(1_000_000);
    let (whole, rest) = (millis / 1_000, millis % 1_000);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:03}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_told_in_full_and_never_too_short() {
        let told = Refusal::exhausted(Some(Duration::from_micros(17_200_100))).told(Dialect::Google);
        assert_eq!(told["error"]["details"][0]["retryDelay"], "17.201s");
        assert_eq!(told["error"]["status"], "RESOURCE_EXHAUSTED");
        let answer = Refusal::exhausted(Some(Duration::from_millis(1_200))).answer(Dialect::OpenAi);
        assert_eq!((answer.status().as_u16(), &answer.headers()[RETRY_AFTER]), (429, &HeaderValue::from(2)));
    }

    #[test]
    fn each_dialect_has_its_own_form() {
        let refusal = Refusal::of_field("n", "it must be a number");
        assert_eq!(refusal.told(Dialect::OpenAi)["error"]["param"], "n");
        assert_eq!(refusal.told(Dialect::Google)["error"]["code"], 400);
        assert_eq!(refusal.told(Dialect::Plain), json!({"error": "it must be a number"}));
        let late = Refusal::exhausted(None).answer(Dialect::Plain);
        assert_eq!(late.status().as_u16(), 408);
    }
}
