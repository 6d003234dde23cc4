//! Batches: many requests handed in together and answered in their own time, shown as operations.
//!
//! What a batch will say is settled when it is made; until its time it is only not told. Its requests use none of the
//! interactive quota, and only their own project sees them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bodies::{self, ErrorBody};
use crate::catalogue;
use crate::files::time;
use crate::generate::Asking;
use crate::identity::field;
use crate::prompt::Prompt;
use crate::routes::Act;
use crate::simulator::Simulator;

/// How a server treats batches.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchRules {
    /// How long a batch is pending, milliseconds.
    pub pending_ms: u64,
    /// How long it runs then, milliseconds. What is not done 48 hours after it was made expires, as at the real API.
    pub running_ms: u64,
    /// The most batches of a project that have not ended; 100 at the real API.
    pub most: usize,
}

impl Default for BatchRules {
    fn default() -> Self {
        Self { pending_ms: 200, running_ms: 300, most: 100 }
    }
}

/// The batches of all projects.
#[derive(Debug)]
pub(crate) struct Batches {
    rules: BatchRules,
    jobs: BTreeMap<String, Job>,
    order: u64,
}

#[derive(Debug)]
struct Job {
    project: usize,
    model: String,
    display_name: String,
    from_file: bool,
    results: Vec<Member>,
    created: u64,
    cancelled: Option<u64>,
    order: u64,
}

/// What becomes of one request.
#[derive(Debug)]
struct Member {
    /// As it was handed in: `metadata` of an inline request, `key` of a line.
    mark: Value,
    result: Result<Value, ErrorBody>,
}

type Answer<T> = Result<T, (&'static str, ErrorBody)>;

const MOST_INLINE: u64 = 20 << 20;
const EXPIRY: u64 = 48 * 3_600 * 1_000_000;
const TYPE: &str = "type.googleapis.com/google.ai.generativelanguage.v1main";

impl Simulator {
    pub(crate) fn create_batch(&mut self, asking: &Asking<'_>, version: &str, body: &[u8], embeds: bool) -> Answer<Value> {
        let (now, project, model) = (asking.now, asking.project, asking.model);
        let method = if embeds { "asyncBatchEmbedContent" } else { "batchGenerateContent" };
        catalogue::find(&self.scenario, model, version, method)?;
        if body.len() as u64 > MOST_INLINE {
            return Err(("invalid_argument", bodies::too_large(MOST_INLINE)));
        }
        let open = self.batches.jobs.values().filter(|job| job.project == project);
        if open.filter(|job| !self.batches.rules.has_ended(job, now)).count() >= self.batches.rules.most {
            return Err(("quota", ErrorBody::new(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.")));
        }
        let syntax = |error: serde_json::Error| bodies::invalid(format!("Invalid JSON payload received. {error}"));
        let body: Value = serde_json::from_slice(body).map_err(|error| ("invalid_argument", syntax(error)))?;
        let batch = field(&body, "batch").cloned().unwrap_or_default();
        let input = field(&batch, "inputConfig").cloned().unwrap_or_default();
        let file = field(&input, "fileName").and_then(Value::as_str);
        let asked = match file {
            Some(file) => self.lines(asking, file)?,
            None => inline(&input).ok_or_else(|| ("invalid_argument", bodies::invalid(bodies::GENERIC)))?,
        };
        let answered = |(mark, request): (Value, Answer<Value>)| Member {
            mark,
            result: request.and_then(|request| self.answer_in_batch(asking, &request, embeds)).map_err(|(_, error)| error),
        };
        let results = asked.into_iter().map(answered).collect();
        let id = [self.new_id(), self.new_id(), self.new_id()].concat();
        let display_name = field(&batch, "displayName").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.batches.order += 1;
        let order = self.batches.order;
        let (model, from_file) = (model.to_owned(), file.is_some());
        let job = Job { project, model, display_name, from_file, results, created: now, cancelled: None, order };
        let shown = self.batches.rules.show(&id, &job, now, true);
        self.batches.jobs.insert(id, job);
        Ok(shown)
    }

    /// The requests of a file, line by line.
    fn lines(&self, asking: &Asking<'_>, file: &str) -> Answer<Vec<(Value, Answer<Value>)>> {
        let shelf = self.files.shelf(asking.project, asking.now);
        let lines = shelf.take(file)?.lines.as_deref().unwrap_or_default();
        let read = |line: &[u8]| {
            let line: Value = serde_json::from_slice(line).unwrap_or_default();
            let request = field(&line, "request").cloned();
            let key = field(&line, "key").cloned().unwrap_or_default();
            (key, request.ok_or_else(|| ("invalid_argument", bodies::invalid(bodies::GENERIC))))
        };
        let full = lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let requests: Vec<_> = full.map(read).collect();
        if requests.is_empty() { Err(("invalid_argument", bodies::invalid(bodies::GENERIC))) } else { Ok(requests) }
    }

    fn answer_in_batch(&mut self, asking: &Asking<'_>, request: &Value, embeds: bool) -> Answer<Value> {
        if embeds {
            return self.vector(asking.model, request).map_err(|error| ("invalid_argument", error));
        }
        let shelf = self.files.shelf(asking.project, asking.now);
        let mut prompt = Prompt::read(request.to_string().as_bytes(), asking.model, self.scenario.strict, shelf)
            .map_err(|reason| (reason.kind(), bodies::unreadable(&reason)))?;
        self.caches.join(&mut prompt, asking.model, asking.project, asking.now)?;
        let (tokens, most) = (prompt.tokens.total(), self.scenario.input_token_limit);
        if tokens > most {
            return Err(("invalid_argument", bodies::too_many_tokens(tokens, most)));
        }
        Ok(self.success(asking, &prompt).whole())
    }
}

fn inline(input: &Value) -> Option<Vec<(Value, Answer<Value>)>> {
    let requests = field(field(input, "requests")?, "requests")?.as_array()?;
    let read = |member: &Value| {
        let request = field(member, "request").cloned();
        let mark = field(member, "metadata").cloned().unwrap_or_default();
        (mark, request.ok_or_else(|| ("invalid_argument", bodies::invalid(bodies::GENERIC))))
    };
    Some(requests.iter().map(read).collect()).filter(|requests: &Vec<_>| !requests.is_empty())
}

impl Batches {
    pub(crate) fn new(rules: BatchRules) -> Self {
        Self { rules, jobs: BTreeMap::new(), order: 0 }
    }

    pub(crate) fn answer(&mut self, act: Act, id: &str, project: usize, now: u64) -> Answer<Value> {
        let found = self.jobs.get_mut(id).filter(|job| job.project == project);
        let job = found.ok_or_else(|| ("not_found", bodies::not_found()))?;
        match act {
            Act::Get => return Ok(self.rules.show(id, job, now, true)),
            Act::Cancel if self.rules.has_ended(job, now) => {}
            Act::Cancel => job.cancelled = Some(now),
            Act::Delete => drop(self.jobs.remove(id)),
        }
        Ok(json!({}))
    }

    /// One page of the project's batches, the latest first and without their answers; `from` is `None` when the page token made
    /// no sense.
    pub(crate) fn page(&self, project: usize, now: u64, size: usize, from: Option<usize>) -> Answer<Value> {
        let from = from.ok_or_else(|| ("invalid_argument", bodies::invalid(bodies::GENERIC)))?;
        let mut mine: Vec<_> = self.jobs.iter().filter(|(_, job)| job.project == project).collect();
        mine.sort_by_key(|(_, job)| std::cmp::Reverse(job.order));
        let page = mine.iter().skip(from).take(size);
        let shown: Vec<_> = page.map(|(id, job)| self.rules.show(id, job, now, false)).collect();
        let (next, mut page) = (from + shown.len(), json!({}));
        if !shown.is_empty() {
            page["operations"] = shown.into();
        }
        if next < mine.len() {
            page["nextPageToken"] = format!("page-{next}").into();
        }
        Ok(page)
    }

    /// The answers of a batch that came from a file, a line each; `file` is `batch-ID`.
    pub(crate) fn download(&self, file: &str, project: usize, now: u64) -> Answer<String> {
        let job = file.strip_prefix("batch-").and_then(|id| self.jobs.get(id));
        let job = job.filter(|job| job.project == project && job.from_file && self.rules.state(job, now) == "SUCCEEDED");
        let job = job.ok_or_else(|| ("file_forbidden", bodies::file_forbidden(file)))?;
        let line = |member: &Member| match &member.result {
            Ok(response) => json!({"key": member.mark, "response": response}),
            Err(error) => {
                let told = json!({"code": number(error), "message": error.message, "status": error.status});
                json!({"key": member.mark, "error": told})
            }
        };
        Ok(job.results.iter().map(|member| format!("{}\n", line(member))).collect())
    }
}

impl BatchRules {
    fn end(&self, job: &Job) -> u64 {
        job.created + (self.pending_ms + self.running_ms) * 1_000
    }

    fn state(&self, job: &Job, now: u64) -> &'static str {
        let (end, expiry) = (self.end(job), job.created + EXPIRY);
        match job.cancelled {
            Some(_) => "CANCELLED",
            None if now >= end && end <= expiry => "SUCCEEDED",
            None if now >= expiry => "EXPIRED",
            None if now < job.created + self.pending_ms * 1_000 => "PENDING",
            None => "RUNNING",
        }
    }

    fn has_ended(&self, job: &Job, now: u64) -> bool {
        !matches!(self.state(job, now), "PENDING" | "RUNNING")
    }

    /// The operation; only a look at one batch shows the answers to requests that were handed in inline.
    fn show(&self, id: &str, job: &Job, now: u64, whole: bool) -> Value {
        let state = self.state(job, now);
        let ended = self.has_ended(job, now).then(|| job.cancelled.unwrap_or(self.end(job).min(job.created + EXPIRY)));
        let running = (state == "RUNNING").then_some(job.created + self.pending_ms * 1_000);
        let mut metadata = json!({
            "@type": format!("{TYPE}.GenerateContentBatch"),
            "model": format!("models/{}", job.model),
            "displayName": job.display_name,
            "name": format!("batches/{id}"),
            "createTime": time(job.created),
            "updateTime": time(ended.or(running).unwrap_or(job.created)),
            "batchStats": job.stats(state == "SUCCEEDED"),
            "state": format!("BATCH_STATE_{state}"),
        });
        let mut shown = json!({"name": format!("batches/{id}")});
        if let Some(end) = ended {
            metadata["endTime"] = time(end).into();
            shown["done"] = true.into();
        }
        match state {
            "SUCCEEDED" if whole || job.from_file => {
                let mut output = job.output(id);
                metadata["output"] = output.clone();
                output["@type"] = format!("{TYPE}.GenerateContentBatchOutput").into();
                shown["response"] = output;
            }
            "CANCELLED" => shown["error"] = json!({"code": 1, "message": "The batch was cancelled."}),
            "EXPIRED" => shown["error"] = json!({"code": 4, "message": "The batch expired."}),
            _ => {}
        }
        shown["metadata"] = metadata;
        shown
    }
}

impl Job {
    fn stats(&self, done: bool) -> Value {
        let (all, good) = (self.results.len(), self.results.iter().filter(|member| member.result.is_ok()).count());
        match done {
            true => json!({
                "requestCount": all.to_string(),
                "successfulRequestCount": good.to_string(),
                "failedRequestCount": (all - good).to_string(),
            }),
            false => json!({"requestCount": all.to_string(), "pendingRequestCount": all.to_string()}),
        }
    }

    fn output(&self, id: &str) -> Value {
        if self.from_file {
            return json!({"responsesFile": format!("files/batch-{id}")});
        }
        let told = |member: &Member| {
            let mut told = match &member.result {
                Ok(response) => json!({ "response": response }),
                Err(error) => json!({"error": {"code": number(error), "message": error.message}}),
            };
            if !member.mark.is_null() {
                told["metadata"] = member.mark.clone();
            }
            told
        };
        json!({"inlinedResponses": {"inlinedResponses": self.results.iter().map(told).collect::<Value>()}})
    }
}

/// The number of a status, as operations tell it.
fn number(error: &ErrorBody) -> u8 {
    match error.status {
        "INVALID_ARGUMENT" => 3,
        "NOT_FOUND" => 5,
        "PERMISSION_DENIED" => 7,
        "FAILED_PRECONDITION" => 9,
        _ => 13,
    }
}
