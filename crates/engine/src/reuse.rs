//! Answers that need no call of their own: kept from an earlier one, or shared with an equal prompt on its way.

use std::future::Future;
use std::path::{Path, PathBuf};

use tidegate_gemini::embedding;
use tidegate_gemini::response::{self, Answer, AnswerStatus, Usage};
use tidegate_scheduler::Timestamp;

use crate::backend::Method;
use crate::cache::{AnswerCache, CacheBounds, CacheKey};
use crate::in_flight::{InFlight, Origin};
use crate::request::{Error, Request, Response, Reused, Trace};
use crate::store::StoreError;

/// What may be reused. Only requests with an [`identity`](Request::identity) ever are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReuseSettings {
    /// Equal requests in flight are asked once.
    pub in_flight: bool,
    /// Good answers are kept and found again.
    pub cache: Option<CacheSettings>,
}

/// Where answers are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// The folder of the file; made where it is missing.
    pub folder: PathBuf,
    /// How much, and for how long.
    pub bounds: CacheBounds,
    /// Who answers, usually the base URL: answers of different services are never mixed.
    pub service: String,
}

/// Reuses what may be reused.
#[derive(Default)]
pub(crate) struct Reuse {
    service: String,
    in_flight: Option<InFlight<CacheKey, Result<Response, Error>>>,
    cache: Option<AnswerCache>,
}

impl Reuse {
    /// # Errors
    /// When the file of answers cannot be used.
    pub(crate) fn new(settings: ReuseSettings) -> Result<Reuse, StoreError> {
        let open = |cache: &CacheSettings| AnswerCache::open(Path::new(&cache.folder), cache.bounds);
        Ok(Reuse {
            cache: settings.cache.as_ref().map(open).transpose()?,
            service: settings.cache.map(|cache| cache.service).unwrap_or_default(),
            in_flight: settings.in_flight.then(InFlight::default),
        })
    }

    /// Whether the answer to a request may be another's.
    pub(crate) fn may_answer(&self, request: &Request) -> bool {
        request.identity.is_some() && (self.cache.is_some() || self.in_flight.is_some())
    }

    /// The answer to a request: a kept one, one that is on its way to somebody else, or what `ask` comes to.
    pub(crate) async fn answer<F: Future<Output = Result<Response, Error>>>(
        &self,
        request: Box<Request>,
        now: impl Fn() -> Timestamp,
        ask: impl FnOnce(Box<Request>) -> F,
    ) -> Result<Response, Error> {
        let Some(identity) = request.identity.as_deref().filter(|_| self.may_answer(&request)) else {
            return ask(request).await;
        };
        let key = CacheKey::of(&self.service, identity);
        if let Some(kept) = self.kept(&key, &request, now()) {
            return Ok(kept);
        }
        let asked = async {
            let answered = ask(request).await;
            if let (Some(cache), Ok(response)) = (&self.cache, &answered) {
                // What cannot be kept is asked again another time, no more.
                let _ = cache.put(&key, now(), &response.body).map_err(|fault| tracing::warn!("an answer is not kept: {fault}"));
            }
            answered
        };
        match &self.in_flight {
            None => asked.await,
            Some(in_flight) => match in_flight.ask(key, asked).await {
                (answered, Origin::Own) => answered,
                (answered, Origin::Shared) => shared(answered),
            },
        }
    }

    fn kept(&self, key: &CacheKey, request: &Request, now: Timestamp) -> Option<Response> {
        let found = self.cache.as_ref()?.get(key, now);
        let body = found.map_err(|fault| tracing::warn!("kept answers cannot be read: {fault}")).ok()??;
        let answer = reread(request, &body)?;
        let trace = Trace { reused: Some(Reused::Cache), ..Trace::default() };
        Some(Response { answer, body: body.into(), trace })
    }
}

/// A kept body as an answer; `None` where it is no longer one that would be taken.
fn reread(request: &Request, body: &[u8]) -> Option<Answer> {
    if request.method == Method::Embed {
        return embedding::read(body).map(|_| Answer::default());
    }
    let mut answer = response::read(body).ok().filter(|answer| answer.status == AnswerStatus::Ok)?;
    if let Some(structured) = &request.structured {
        answer.json = Some(structured.read(answer.text.as_deref()?)?);
    }
    Some(answer)
}

/// Somebody else's answer, which cost this caller nothing.
fn shared(answered: Result<Response, Error>) -> Result<Response, Error> {
    let free = |trace: Trace| Trace { attempts: 0, usage: Usage::default(), reused: Some(Reused::InFlight), ..trace };
    answered
        .map(|response| Response { trace: free(response.trace.clone()), ..response })
        .map_err(|error| Error { trace: free(error.trace.clone()), ..error })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::request::ErrorClass;
    use std::cell::Cell;
    use std::sync::Arc;
    use std::time::Duration;

    const GOOD: &str = r#"{"candidates":[{"content":{"parts":[{"text":"wren"}]},"finishReason":"STOP"}]}"#;

    fn request(identity: &str) -> Request {
        let built = tidegate_gemini::request::build(
            &tidegate_gemini::Prompt::text("x"),
            &tidegate_gemini::Defaults { model: Some("m".into()), ..Default::default() },
        );
        Request { identity: Some(identity.into()), ..Request::new(built.unwrap()) }
    }

    fn good() -> Result<Response, Error> {
        let usage = Usage { input_tokens: 5, total_tokens: 9, ..Usage::default() };
        let trace = Trace { attempts: 1, usage, project: Arc::from("p"), ..Trace::default() };
        Ok(Response { answer: response::read(GOOD.as_bytes()).unwrap(), body: GOOD.into(), trace })
    }

    fn bad() -> Result<Response, Error> {
        let (class, code, message) = (ErrorClass::Task, "SAFETY".to_owned(), String::new());
        Err(Error {
            class,
            code,
            message,
            http_status: None,
            retryable: false,
            answer: None,
            body: None,
            trace: Trace::default(),
        })
    }

    struct Bench {
        reuse: Reuse,
        asked: Cell<u32>,
        _folder: tempfile::TempDir,
    }

    fn bench(in_flight: bool, cache: bool) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache.then(|| CacheSettings {
            folder: folder.path().to_owned(),
            bounds: CacheBounds { age: Duration::from_secs(60), ..CacheBounds::default() },
            service: "s".to_owned(),
        });
        let reuse = Reuse::new(ReuseSettings { in_flight, cache }).unwrap();
        Bench { reuse, asked: Cell::new(0), _folder: folder }
    }

    impl Bench {
        async fn ask(&self, request: Request, seconds: u64, come: Result<Response, Error>) -> Result<Response, Error> {
            let ask = |_| async {
                self.asked.set(self.asked.get() + 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
                come
            };
            self.reuse.answer(Box::new(request), || Timestamp::from_secs(seconds), ask).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_answer_is_kept_marked_and_free_and_a_failure_is_asked_again() {
        let bench = bench(false, true);
        assert!(bench.ask(request("a"), 100, bad()).await.is_err());
        assert!(bench.ask(request("a"), 100, good()).await.unwrap().trace.reused.is_none());
        let kept = bench.ask(request("a"), 150, bad()).await.unwrap();
        assert_eq!((bench.asked.get(), kept.answer.text.as_deref()), (2, Some("wren")));
        assert_eq!((kept.trace.reused, kept.trace.attempts, kept.trace.usage), (Some(Reused::Cache), 0, Usage::default()));
        assert!(bench.ask(request("a"), 161, good()).await.unwrap().trace.reused.is_none(), "too old");
        assert!(bench.ask(request("b"), 100, good()).await.unwrap().trace.reused.is_none());
        let unnamed = Request { identity: None, ..request("a") };
        assert!(bench.ask(unnamed, 161, good()).await.unwrap().trace.reused.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn equal_requests_on_their_way_cost_one_call() {
        let bench = bench(true, false);
        let (one, two, three) = tokio::join!(
            bench.ask(request("a"), 1, good()),
            bench.ask(request("a"), 1, good()),
            bench.ask(request("b"), 1, bad())
        );
        assert_eq!(bench.asked.get(), 2);
        let (one, two) = (one.unwrap().trace, two.unwrap().trace);
        assert_eq!((one.reused, one.usage.total_tokens), (None, 9));
        assert_eq!((two.reused, two.usage.total_tokens, two.attempts, &*two.project), (Some(Reused::InFlight), 0, 0, "p"));
        assert!(three.unwrap_err().trace.reused.is_none());
        assert!(bench.ask(request("a"), 1, good()).await.unwrap().trace.reused.is_none(), "nothing is kept");
    }
}
