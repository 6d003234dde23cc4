//! Contents cached by name: created, shown, prolonged, deleted, and joined to the prompts that name them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bodies::{self, ErrorBody};
use crate::catalogue;
use crate::files::time;
use crate::identity::field;
use crate::prompt::Prompt;
use crate::routes::Verb;
use crate::simulator::Simulator;
use crate::tokens::Tokens;

/// The caches of all projects.
#[derive(Debug)]
pub(crate) struct Caches {
    least: u64,
    caches: BTreeMap<String, Cache>,
}

#[derive(Debug)]
struct Cache {
    project: usize,
    model: String,
    display_name: String,
    tokens: Tokens,
    created: u64,
    updated: u64,
    expires: u64,
}

type Answer<T> = Result<T, (&'static str, ErrorBody)>;

const HOUR: u64 = 3_600_000_000;

impl Simulator {
    pub(crate) fn create_cache(&mut self, now: u64, project: usize, version: &str, body: &[u8]) -> Answer<Value> {
        let body = parsed(body)?;
        let named = field(&body, "model").and_then(Value::as_str).unwrap_or_default();
        let model = named.strip_prefix("models/").unwrap_or(named);
        catalogue::find(&self.scenario, model, version, "createCachedContent")?;
        let tokens = Prompt::of_cache(&body, model, self.files.shelf(project, now))
            .map_err(|reason| (reason.kind(), bodies::unreadable(&reason)))?;
        let (total, least) = (tokens.total(), self.caches.least);
        if total < least {
            let message = format!("Cached content is too small. total_token_count={total}, min_total_token_count={least}");
            return Err(("invalid_argument", bodies::invalid(message)));
        }
        let display_name = field(&body, "displayName").and_then(Value::as_str).unwrap_or_default().to_owned();
        let expires = expiry(&body, now)?.unwrap_or(now + HOUR);
        let id = self.new_id();
        let cache = Cache { project, model: model.to_owned(), display_name, tokens, created: now, updated: now, expires };
        let shown = cache.show(&id);
        self.caches.caches.insert(id, cache);
        Ok(shown)
    }
}

impl Caches {
    pub(crate) fn new(least: u64) -> Self {
        Self { least, caches: BTreeMap::new() }
    }

    /// Adds what is cached to the prompt that names it.
    pub(crate) fn join(&self, prompt: &mut Prompt, model: &str, project: usize, now: u64) -> Answer<()> {
        let Some(name) = &prompt.cache else { return Ok(()) };
        let id = name.strip_prefix("cachedContents/").unwrap_or(name);
        let found = self.caches.get(id).filter(|cache| cache.project == project && now < cache.expires);
        let cache = found.ok_or_else(|| ("no_such_cache", bodies::no_such_cache()))?;
        if prompt.repeats_the_cache {
            return Err(("invalid_argument", bodies::invalid(REPEATED)));
        }
        if cache.model != model {
            let message = format!(
                "Model used by GenerateContent request (models/{model}) and CachedContent (models/{}) has to be the same.",
                cache.model
            );
            return Err(("invalid_argument", bodies::invalid(message)));
        }
        prompt.cached = cache.tokens.total();
        prompt.tokens.add(cache.tokens);
        Ok(())
    }

    pub(crate) fn answer(&mut self, verb: Verb, id: &str, project: usize, now: u64, body: &[u8]) -> Answer<Value> {
        let found = self.caches.get_mut(id).filter(|cache| cache.project == project && now < cache.expires);
        let cache = found.ok_or_else(|| ("no_such_cache", bodies::no_such_cache()))?;
        match verb {
            Verb::Get => {}
            Verb::Patch => {
                cache.expires = expiry(&parsed(body)?, now)?.unwrap_or(cache.expires);
                cache.updated = now;
            }
            Verb::Delete => {
                self.caches.remove(id);
                return Ok(json!({}));
            }
        }
        Ok(cache.show(id))
    }

    /// One page of the project's caches; `from` is `None` when the page token made no sense.
    pub(crate) fn page(&self, project: usize, now: u64, size: usize, from: Option<usize>) -> Answer<Value> {
        let from = from.ok_or_else(|| ("invalid_argument", bodies::invalid(bodies::GENERIC)))?;
        let mine: Vec<_> = self.caches.iter().filter(|(_, cache)| cache.project == project && now < cache.expires).collect();
        let shown: Vec<_> = mine.iter().skip(from).take(size).map(|(id, cache)| cache.show(id)).collect();
        let (next, mut page) = (from + shown.len(), json!({}));
        if !shown.is_empty() {
            page["cachedContents"] = shown.into();
        }
        if next < mine.len() {
            page["nextPageToken"] = format!("page-{next}").into();
        }
        Ok(page)
    }
}

impl Cache {
    fn show(&self, id: &str) -> Value {
        let mut shown = json!({
            "name": format!("cachedContents/{id}"),
            "model": format!("models/{}", self.model),
            "createTime": time(self.created),
            "updateTime": time(self.updated),
            "expireTime": time(self.expires),
            "usageMetadata": {"totalTokenCount": self.tokens.total()},
        });
        if !self.display_name.is_empty() {
            shown["displayName"] = self.display_name.as_str().into();
        }
        shown
    }
}

const REPEATED: &str = "CachedContent can not be used with GenerateContent request setting system_instruction, tools or tool_config.\n\nProposed fix: move those values to CachedContent from GenerateContent request.";

fn parsed(body: &[u8]) -> Answer<Value> {
    let syntax = |error: serde_json::Error| bodies::invalid(format!("Invalid JSON payload received. {error}"));
    serde_json::from_slice(body).map_err(|error| ("invalid_argument", syntax(error)))
}

/// When a cache ends by `ttl` or `expireTime`, if either is told.
fn expiry(body: &Value, now: u64) -> Answer<Option<u64>> {
    let invalid = |what: &str| ("invalid_argument", bodies::invalid(format!("Invalid value for {what}.")));
    if let Some(ttl) = field(body, "ttl") {
        let seconds = ttl.as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse::<f64>().ok()).filter(|seconds| *seconds > 0.0);
        return seconds.map(|seconds| Some(now + (seconds * 1e6) as u64)).ok_or_else(|| invalid("ttl"));
    }
    let Some(told) = field(body, "expireTime") else { return Ok(None) };
    let stamp = told.as_str().and_then(|told| told.parse::<jiff::Timestamp>().ok());
    let micros = stamp.and_then(|stamp| u64::try_from(stamp.as_microsecond()).ok()).filter(|micros| *micros > now);
    micros.map(Some).ok_or_else(|| invalid("expire_time"))
}
