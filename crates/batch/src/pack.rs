//! Small prompts that share a call: what travels, what comes back to each, what is asked again in halves.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tidegate_engine::{Error, ErrorClass, Request, Response, Structured, Trace};
use tidegate_gemini::pack::{Common, Given, unpack};
use tidegate_gemini::response::{Answer, AnswerStatus, Usage};

use crate::record::Asked;
pub(crate) use gather::Gather;
pub(crate) use going::{Going, Landed};

mod gather;
mod going;

/// The most estimated tokens of texts in one call: beyond it company saves little, and one fault costs much.
pub(crate) const MOST_TOKENS: u64 = 20_000;

/// A row that may share a call.
#[derive(Debug)]
pub(crate) struct Rider {
    pub(crate) asked: Box<Asked>,
    /// What it asks when it goes alone.
    pub(crate) request: Request,
    pub(crate) text: String,
}

/// Rows that go together: never none.
#[derive(Debug)]
pub(crate) struct Pack<R = Rider> {
    pub(crate) common: Arc<Common>,
    pub(crate) riders: Vec<R>,
}

/// Which call the answer of a row came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Berth {
    /// The API's id of the answer, or the name under which the call stands in the error log.
    pub(crate) call: String,
    /// How many prompts shared it.
    pub(crate) items: usize,
    /// The number of this one among them, from 1.
    pub(crate) index: usize,
}

/// What calls that did not settle a row have cost it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Earlier {
    pub(crate) usage: Usage,
    pub(crate) attempts: u32,
}

/// What a call has settled, and what is to be asked once more.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) answers: Vec<(Box<Asked>, Result<Response, Error>)>,
    /// Smaller packs than the one that was sent.
    pub(crate) again: Vec<Pack>,
    /// What the call has cost those who are asked again.
    pub(crate) spent: Usage,
}

impl Pack {
    /// The request of all of them; `None` when there is only one, who goes with its own.
    pub(crate) fn request(&self) -> Option<Request> {
        let first = self.riders.first().filter(|_| self.riders.len() > 1)?;
        let texts: Vec<&str> = self.riders.iter().map(|rider| rider.text.as_str()).collect();
        let request = Request::new(self.common.request(&texts)).labelled(self.name());
        Some(Request { priority: first.request.priority, divisible: true, ..request })
    }

    /// The first row and how many are with it: so events and the error log call it.
    fn name(&self) -> String {
        let first = self.riders.first().map_or("", |rider| &rider.asked.id);
        format!("{first}+{}", self.riders.len().saturating_sub(1))
    }

    /// Gives every row its answer, as far as it is sure whose is whose. Those without one go again in halves, unless what went
    /// wrong would befall them in any company.
    pub(crate) fn settle(self, result: Result<Response, Error>) -> Settled {
        let (name, items) = (self.name(), self.riders.len());
        let (answer, trace) = match &result {
            Ok(response) => (Some(&response.answer), &response.trace),
            Err(error) => (error.answer.as_deref(), &error.trace),
        };
        let text = answer.filter(|answer| matches!(answer.status, AnswerStatus::Ok | AnswerStatus::Truncated));
        let text = text.and_then(|answer| answer.text.as_deref()).unwrap_or_default();
        let given = unpack(text, items, self.common.is_json());
        let call = answer.and_then(|answer| answer.response_id.clone()).unwrap_or(name);
        let berth = |at: usize| Berth { call: call.clone(), items, index: at + 1 };
        let hopeless = result.as_ref().err().filter(|error| !is_worth_halving(error));
        let mut settled = Settled::default();
        let mut left = Vec::new();
        for (at, (mut rider, given)) in self.riders.into_iter().zip(given).enumerate() {
            let trace = Trace { usage: share(&trace.usage, at, items), ..trace.clone() };
            let answer = given.and_then(|given| own_answer(&rider.request, given, answer, &trace.usage));
            match (answer, hopeless) {
                (Some(answer), _) => {
                    rider.asked.berth = Some(berth(at));
                    settled.answers.push((rider.asked, Ok(Response { answer, body: Default::default(), trace })));
                }
                (None, Some(error)) => {
                    rider.asked.berth = Some(berth(at));
                    settled.answers.push((rider.asked, Err(Error { answer: None, body: None, trace, ..error.clone() })));
                }
                (None, None) => {
                    settled.spent.add(&trace.usage);
                    rider.asked.earlier.add(&trace);
                    left.push(rider);
                }
            }
        }
        settled.again = halves(&self.common, left);
        settled
    }
}

impl Earlier {
    fn add(&mut self, trace: &Trace) {
        self.usage.add(&trace.usage);
        self.attempts = self.attempts.saturating_add(trace.attempts);
    }

    /// Adds it to what the last call has cost.
    pub(crate) fn into_trace(self, trace: &mut Trace) {
        trace.usage.add(&self.usage);
        trace.attempts = trace.attempts.saturating_add(self.attempts);
    }
}

/// Whether fewer of them may fare better: a fault of what was asked or answered, but not of the model's name or of a key, and
/// nothing that the engine has waited and tried long enough for.
fn is_worth_halving(error: &Error) -> bool {
    match error.class {
        ErrorClass::Task => !matches!(error.http_status, Some(401 | 403 | 404)),
        ErrorClass::TooLarge => true,
        ErrorClass::Deadline | ErrorClass::Upstream | ErrorClass::Input | ErrorClass::NoKey | ErrorClass::Cancelled => false,
    }
}

/// The answer of one, as if it had been asked alone; `None` when it is not the JSON it should be.
fn own_answer(request: &Request, given: Given, whole: Option<&Answer>, usage: &Usage) -> Option<Answer> {
    let json = request.structured.as_deref().map(|wish| Structured::read(wish, &given.text).ok_or(())).transpose().ok()?;
    Some(Answer {
        status: AnswerStatus::Ok,
        json: json.map(|json| tidegate_gemini::json_repair::Json { repaired: json.repaired || given.repaired, ..json }),
        text: Some(given.text),
        finish_reason: Some("STOP".to_owned()),
        usage: usage.clone(),
        model_version: whole.and_then(|answer| answer.model_version.clone()),
        response_id: whole.and_then(|answer| answer.response_id.clone()),
        is_plain: true,
        ..Answer::default()
    })
}

/// The part of the tokens of a call that falls to one of those who share it; all parts together are the whole.
fn share(usage: &Usage, at: usize, of: usize) -> Usage {
    let (at, of) = (at as u64, of.max(1) as u64);
    let part = |tokens: u64| tokens / of + u64::from(at < tokens % of);
    Usage {
        input_tokens: part(usage.input_tokens),
        output_tokens: part(usage.output_tokens),
        thinking_tokens: part(usage.thinking_tokens),
        cached_tokens: part(usage.cached_tokens),
        total_tokens: part(usage.total_tokens),
        estimated_tokens: part(usage.estimated_tokens),
    }
}

fn halves(common: &Arc<Common>, mut riders: Vec<Rider>) -> Vec<Pack> {
    let second = riders.split_off(riders.len().div_ceil(2));
    let halves = [riders, second].into_iter().filter(|half| !half.is_empty());
    halves.map(|riders| Pack { common: common.clone(), riders }).collect()
}

/// How long rows of a stream wait for company: far less than a call takes.
pub(crate) const QUIET: Duration = Duration::from_millis(50);
/// How long rows of files do: the next are there at once, unless whole files of kept rows lie between.
pub(crate) const QUIET_IN_FILES: Duration = Duration::from_secs(5);
