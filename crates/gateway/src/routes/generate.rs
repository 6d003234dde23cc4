//! `generateContent`: the client's bytes go out, the API's bytes come back.

use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::{Deadline, Error, Method, Request, Response};
use tidegate_gemini::error::in_body;
use tidegate_gemini::{Estimate, request};

use crate::affinity::{Settled, doubt, settle};
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::error::Refusal;
use crate::purse::Spending;
use crate::server::Gate;

/// Answers a prompt in Gemini's own form.
pub async fn generate(gate: &Gate, call: &mut Call, model: &str) -> Result<Answer, Refusal> {
    let body = call.body(&gate.settings).await?;
    let built = request::forwarded(model, body).map_err(|fault| Refusal::not_found(fault.to_string()))?;
    let request = call.asks(Request::new(built), &gate.settings)?;
    call.forget_head();
    Ok(answer::json(200, submit(gate, call, request).await?))
}

/// Asks one prompt and gives the body of its answer: also of one that was blocked or cut short, which is the client's to judge.
pub async fn submit(gate: &Gate, call: &Call, mut request: Box<Request>) -> Result<Bytes, Refusal> {
    at_home(gate, &mut request).await?;
    let asked = Asked::of(&request);
    let named = named(&request);
    let (spending, waited) = enter(gate, call, &mut request).await?;
    let told = gate.engine.submit(request).await;
    let trace = match &told {
        Ok(response) => &response.trace,
        Err(error) => &error.trace,
    };
    call.story.note(trace, waited);
    match trace.attempts {
        0 => spending.refund(),
        _ => spending.settle(trace.usage.total_tokens),
    }
    if let (Err(error), Some(body)) = (&told, named) {
        doubted(gate, error, &body);
    }
    match told {
        Ok(Response { body, .. }) => Ok(body),
        Err(Error { http_status: Some(200), body: Some(body), .. }) if !in_body(&body) => Ok(body),
        Err(error) => Err(asked.refused(gate, call, &error)),
    }
}

/// What of a prompt is needed to say when it could start.
pub struct Asked {
    model: String,
    estimate: Estimate,
    priority: i32,
    only: Option<u32>,
}

impl Asked {
    pub fn of(request: &Request) -> Asked {
        Asked { model: request.model.clone(), estimate: request.estimate, priority: request.priority, only: request.only }
    }

    /// What became of the prompt, with the true wait; its instant is told as well.
    pub fn refused(&self, gate: &Gate, call: &Call, error: &Error) -> Refusal {
        let now = gate.engine.now();
        let foretold = error.trace.due.filter(|due| *due > now);
        let due = || {
            let at = foretold.or_else(|| gate.engine.due(&self.model, self.estimate, self.priority, self.only))?;
            call.story.expect(at);
            Some(at - now)
        };
        Refusal::of_engine(error, due)
    }
}

/// Waits until the caller's own budget lets a prompt go; what is left of its patience is for the permit.
pub async fn enter(gate: &Gate, call: &Call, request: &mut Request) -> Result<(Spending, Duration), Refusal> {
    let now = gate.engine.now();
    let latest = request.deadline.map_or(Timestamp::NEVER, |deadline| now + deadline.span());
    let entered = gate.purses.enter(&call.caller, request.estimate.total(), latest).await;
    let spending = entered.map_err(|over| {
        if let Some(until) = over.until {
            call.story.expect(until);
        }
        Refusal::over_budget(&call.caller.name, over.limit, over.until.map(|until| until - now))
    })?;
    let waited = gate.engine.now() - now;
    if let Some(at) = spending.at().filter(|at| *at > now) {
        call.story.expect(at);
    }
    let left = |span: Duration| span.saturating_sub(waited);
    request.deadline = request.deadline.map(|deadline| match deadline {
        Deadline::Start(span) => Deadline::Start(left(span)),
        Deadline::Answer(span) => Deadline::Answer(left(span)),
    });
    Ok((spending, waited))
}

/// Leads a request to the project where the things live that it names.
pub async fn at_home(gate: &Gate, request: &mut Request) -> Result<(), Refusal> {
    if let Some(body) = request.body.ready().filter(|_| request.method == Method::Generate).cloned() {
        let Settled { body, project } = settle(gate, body).await?;
        (request.body, request.only) = (body.into(), project);
    }
    Ok(())
}

/// The body of a request that names what lives somewhere.
pub fn named(request: &Request) -> Option<Bytes> {
    request.only.and_then(|_| request.body.ready().cloned())
}

/// What was named is not there any more, or not for this project: it is looked for anew the next time.
pub fn doubted(gate: &Gate, error: &Error, body: &Bytes) {
    if matches!(error.http_status, Some(403 | 404)) {
        doubt(gate, body);
    }
}
