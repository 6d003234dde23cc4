//! Pages of other sites: none may call, unless its origin is named.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::answer::{self, Answer};

/// Every origin.
const ANYBODY: &str = "*";
/// How long a browser may rely on a permission, in seconds: browsers cap it at some hours by themselves.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
/// What a page may read of an answer, beside what it may always read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "retry-after, x-tidegate-request-id, x-tidegate-eta, x-tidegate-waited, x-request-id, x-goog-upload-url, \
     x-goog-upload-status, x-goog-upload-chunk-granularity, x-goog-upload-size-received, server-timing",
);

/// The permission that a request's origin has.
pub struct Cors {
    origin: HeaderValue,
    preflight: Option<Option<HeaderValue>>,
}

impl Cors {
    /// The permission for this request; `None` for one that comes from no page, or from a page that may not call.
    pub fn of(allowed: &[String], head: &Parts) -> Option<Cors> {
        if allowed.is_empty() {
            return None;
        }
        let origin = head.headers.get(ORIGIN)?;
        let origin = if allowed.iter().any(|allowed| allowed == ANYBODY) {
            HeaderValue::from_static(ANYBODY)
        } else {
            allowed.iter().any(|allowed| allowed.trim_end_matches('/').as_bytes() == origin.as_bytes()).then(|| origin.clone())?
        };
        let asks = head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let preflight = asks.then(|| head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned());
        Some(Cors { origin, preflight })
    }

    /// The answer to a browser that asks what it may send. Libraries send headers of many names: all that are asked for may be.
    pub fn preflight(&self) -> Option<Answer> {
        let wanted = self.preflight.as_ref()?;
        let mut answer = answer::json(StatusCode::NO_CONTENT.as_u16(), "");
        answer.headers_mut().clear();
        insert(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        insert(&mut answer, ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if let Some(wanted) = wanted {
            insert(&mut answer, ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        Some(answer)
    }

    /// Lets the page read the answer.
    pub fn allow(self, answer: &mut Answer) {
        if self.origin != ANYBODY {
            insert(answer, VARY, HeaderValue::from_static("origin"));
        }
        insert(answer, ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        insert(answer, ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

fn insert(answer: &mut Answer, name: HeaderName, value: HeaderValue) {
    answer.headers_mut().insert(name, value);
}
