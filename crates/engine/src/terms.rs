//! The terms of an attempt: how long it may take, and which answers are worth another. They may change while the engine runs.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use parking_lot::RwLock;

use crate::retry_on::RetryOn;

/// The terms in force; an attempt under way goes on under those it began with.
pub(crate) struct Terms(RwLock<Arc<Term>>);

/// All of them at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    /// The longest one attempt may take.
    pub attempt_timeout: Duration,
    /// The same in whole seconds, as the API is told how long it is waited for.
    pub server_timeout: HeaderValue,
    /// HTTP statuses that are worth another try.
    pub retry_on: RetryOn,
}

impl Terms {
    pub(crate) fn new(attempt_timeout: Duration, retry_on: RetryOn) -> Terms {
        Terms(RwLock::new(Arc::new(Term { attempt_timeout, server_timeout: whole_seconds(attempt_timeout), retry_on })))
    }

    /// Those in force now.
    pub(crate) fn now(&self) -> Arc<Term> {
        self.0.read().clone()
    }

    /// Puts others in force, where they are told.
    pub(crate) fn change(&self, attempt_timeout: Option<Duration>, retry_on: Option<RetryOn>) {
        let mut terms = self.0.write();
        let attempt_timeout = attempt_timeout.unwrap_or(terms.attempt_timeout);
        let retry_on = retry_on.unwrap_or_else(|| terms.retry_on.clone());
        *terms = Arc::new(Term { attempt_timeout, server_timeout: whole_seconds(attempt_timeout), retry_on });
    }
}

fn whole_seconds(span: Duration) -> HeaderValue {
    HeaderValue::from((span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1))
}
