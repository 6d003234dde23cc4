//! What goes into the engine and what comes out: a request, a response, an error.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_gemini::response::{Answer, Usage};
use tidegate_gemini::tokens::Estimate;
use tidegate_scheduler::{self as scheduler, Timestamp};

use crate::backend::Method;
use crate::media::{Body, Resolved};
use crate::structured::Structured;

/// One prompt ready to be sent, with what the scheduler needs to know of it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Bare model id, for example `gemini-3.8-flash`.
    pub model: String,
    /// What is asked of the model.
    pub method: Method,
    /// The body.
    pub body: Body,
    /// Input tokens by kind of content, as estimated before calibration; the engine applies what it has learned of the model.
    pub estimate: Estimate,
    /// Higher goes first; 0 is usual for work in bulk.
    pub priority: i32,
    /// For whom it is: at the same priority those who wait take turns, however much each has handed in. Work in bulk is 0.
    pub party: u32,
    /// Looks at the queue before it joins it, so that nobody waits in vain; `None` joins whatever the prospect.
    pub admission: Option<Admission>,
    /// The longest the caller will wait, counted from `submit`.
    pub deadline: Option<Deadline>,
    /// The caller's name for this prompt (a row's id): it stands in events and logs, nowhere else.
    pub label: Option<Arc<str>>,
    /// Who it is for, where many share the engine: it stands in events, for figures by client.
    pub client: Option<Arc<str>>,
    /// What the request is known by, over everything that shapes its answer. Only requests that carry one are ever answered
    /// from the cache or together with an equal one; see [`ReuseSettings`](crate::ReuseSettings).
    pub identity: Option<Arc<str>>,
    /// How the answer is to look, where it is wanted as JSON.
    pub structured: Option<Arc<Structured>>,
    /// Number of the only project that may serve it, because what it names lives there.
    pub only: Option<u32>,
    /// The caller can ask for less at a time: a fault of what is asked or answered ends it at once instead of after
    /// [`Retry::max_task_attempts`](scheduler::Retry::max_task_attempts).
    pub divisible: bool,
}

/// What a request asks of the queue before it joins it: the instant of its start is computed, and told in
/// [`Trace::due`]. When that lies beyond the deadline it is refused at once ([`ErrorClass::Deadline`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Of those who came like this so many may wait; another one is refused at once, with the code [`QUEUE_FULL`].
    pub most_waiting: usize,
}

/// The code of an error of a request that found too many waiting before it.
pub const QUEUE_FULL: &str = "queue_full";

/// How long a caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// For the answer: an attempt under way is given up then.
    Answer(Duration),
    /// For a permit: an attempt under way then goes on, and only if it fails nothing more is tried.
    Start(Duration),
}

impl Deadline {
    /// How long.
    pub fn span(self) -> Duration {
        match self {
            Deadline::Answer(span) | Deadline::Start(span) => span,
        }
    }

    /// What is left of it after some time.
    pub(crate) fn less(self, spent: Duration) -> Deadline {
        match self {
            Deadline::Answer(span) => Deadline::Answer(span.saturating_sub(spent)),
            Deadline::Start(span) => Deadline::Start(span.saturating_sub(spent)),
        }
    }

    /// As the scheduler knows it.
    pub(crate) fn from(self, now: Timestamp) -> scheduler::Deadline {
        match self {
            Deadline::Answer(span) => scheduler::Deadline::Answer(now + span),
            Deadline::Start(span) => scheduler::Deadline::Start(now + span),
        }
    }
}

impl Request {
    /// A request built from a prompt by [`tidegate_gemini::request::build`]. One with media needs [`Request::with_media`].
    pub fn new(built: tidegate_gemini::request::Request) -> Request {
        Request {
            model: built.model,
            method: Method::Generate,
            body: built.body.text().clone().into(),
            estimate: built.estimate,
            priority: 0,
            party: 0,
            admission: None,
            deadline: None,
            label: None,
            client: None,
            identity: None,
            structured: None,
            only: None,
            divisible: false,
        }
    }

    /// A request for the vector of one text, built by [`tidegate_gemini::embedding::build`]. The answer's body is that of
    /// `embedContent`, to be read by [`tidegate_gemini::embedding::read`]; on the wire up to 100 texts share a call.
    pub fn embedding(built: tidegate_gemini::request::Request) -> Request {
        Request { method: Method::Embed, ..Request::new(built) }
    }

    /// The same request whose answer is held against a wish for JSON.
    pub fn structured(mut self, structured: Arc<Structured>) -> Request {
        self.structured = Some(structured);
        self
    }

    /// The same request with its media, as [`Resolver::resolve`](crate::media::Resolver::resolve) found them.
    pub fn with_media(mut self, media: Resolved) -> Request {
        self.body = Body::Media(media.body);
        self.estimate = [self.estimate, media.estimate].into_iter().sum();
        self
    }

    /// The same request under the caller's own name.
    pub fn labelled(mut self, label: impl Into<Arc<str>>) -> Request {
        self.label = Some(label.into());
        self
    }
}

/// How a prompt got to its end: which key served it, how often it was asked, what it cost.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Project whose quota the last attempt used; empty if none was made.
    pub project: Arc<str>,
    /// Display name of the last key (`GEMINI_API_KEY_2`, `main/1` or a masked form), never the key.
    pub key: Arc<str>,
    /// Attempts that went over the wire, all of them.
    pub attempts: u32,
    /// Tokens of all attempts that cost money.
    pub usage: Usage,
    /// From `submit` to the start of the last attempt.
    pub queued: Duration,
    /// When its first attempt was expected to start, as its [`Admission`] computed it; of one that was refused there, when it
    /// could have started. `None` without one, when it did not have to wait, or when nobody could know.
    pub due: Option<Timestamp>,
    /// From the start of the last attempt to its end.
    pub latency: Duration,
    /// Where the answer came from, when no call was made for it.
    pub reused: Option<Reused>,
}

/// Where an answer came from that needed no call of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reused {
    /// The response cache.
    Cache,
    /// An equal request that was on its way.
    InFlight,
}

/// A successful answer: text (or other parts) with a proper end.
#[derive(Debug, Clone)]
pub struct Response {
    /// What was read from the body.
    pub answer: Answer,
    /// The API's whole body.
    pub body: Bytes,
    /// How it came about.
    pub trace: Trace,
}

/// Whose fault an error is; the names of the output record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The prompt's own: blocked, refused, empty, invalid.
    Task,
    /// Estimated at more tokens than a minute of quota holds: it can never fit.
    TooLarge,
    /// The caller's deadline passed first.
    Deadline,
    /// Transient faults of the API or the network past their bound.
    Upstream,
    /// The prompt's media: a file that cannot be read, an address that gives nothing.
    Input,
    /// No key is left that could ever serve it. The prompt is untouched.
    NoKey,
    /// The caller went away or the engine was shut down. The prompt is untouched.
    Cancelled,
}

impl ErrorClass {
    /// The name in records and logs.
    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::Task => "task",
            ErrorClass::TooLarge => "too_large",
            ErrorClass::Deadline => "deadline",
            ErrorClass::Upstream => "upstream",
            ErrorClass::Input => "input",
            ErrorClass::NoKey => "no_key",
            ErrorClass::Cancelled => "cancelled",
        }
    }
}

/// Why a prompt has no successful answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {message}", class.name())]
pub struct Error {
    /// Whose fault it is.
    pub class: ErrorClass,
    /// A stable word: `SAFETY`, `MAX_TOKENS`, `INVALID_ARGUMENT`, `timeout`, `too_large`, ...
    pub code: String,
    /// HTTP status of the last attempt, if one was answered.
    pub http_status: Option<u16>,
    /// For people: reason and remedy.
    pub message: String,
    /// Whether asking again later may help.
    pub retryable: bool,
    /// The last answer, when HTTP 200 came without a usable text (blocked, empty, truncated).
    pub answer: Option<Box<Answer>>,
    /// The last body, when there was one.
    pub body: Option<Bytes>,
    /// How it came about.
    pub trace: Trace,
}

impl Error {
    /// The prompt cannot be asked as it stands: something it names cannot be had. Nothing was sent.
    pub fn input(code: &str, message: String, retryable: bool) -> Error {
        Error {
            class: ErrorClass::Input,
            code: code.to_string(),
            http_status: None,
            message,
            retryable,
            answer: None,
            body: None,
            trace: Trace::default(),
        }
    }
}
