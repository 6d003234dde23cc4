//! A generate request's way through the server: its checks, its quota, and the faults that stop it.

use std::time::Duration;

use crate::bodies::{self, ErrorBody};
use crate::catalogue;
use crate::exchange::SimAnswer;
use crate::faults::{Circumstances, FaultKind, Phase};
use crate::model::{Load, Violation, family};
use crate::parts::MOST_INLINE;
use crate::prompt::Prompt;
use crate::refusal::Refused;
use crate::routes::Form;
use crate::scenario::PerDayDelay;
use crate::simulator::Simulator;

/// One generate request on its way through the server.
pub(crate) struct Asking<'a> {
    pub(crate) now: u64,
    pub(crate) elapsed_ms: u64,
    pub(crate) project: usize,
    pub(crate) model: &'a str,
    pub(crate) form: Form,
    pub(crate) deadline: Option<Duration>,
}

/// What the conditions of faults look at.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) text: &'a str,
    pub(crate) identity: u128,
}

impl Simulator {
    pub(crate) fn generate(&mut self, asking: &Asking<'_>, version: &str, body: &[u8]) -> SimAnswer {
        let model = asking.model;
        let method = if asking.form == Form::Whole { "generateContent" } else { "streamGenerateContent" };
        if let Err((kind, error)) = catalogue::find(&self.scenario, model, version, method) {
            return self.fail_asking(asking, kind, &error);
        }
        if body.len() as u64 > MOST_INLINE {
            return self.reject(asking, "invalid_argument", &bodies::too_large(MOST_INLINE));
        }
        let shelf = self.files.shelf(asking.project, asking.now);
        let mut prompt = match Prompt::read(body, model, self.scenario.strict, shelf) {
            Ok(prompt) => prompt,
            Err(reason) => return self.reject(asking, reason.kind(), &bodies::unreadable(&reason)),
        };
        if let Err((kind, error)) = self.caches.join(&mut prompt, model, asking.project, asking.now) {
            return self.reject(asking, kind, &error);
        }
        let (tokens, most) = (prompt.tokens.total(), self.scenario.input_token_limit);
        if tokens > most {
            return self.reject(asking, "invalid_argument", &bodies::too_many_tokens(tokens, most));
        }
        let subject = Subject { text: &prompt.text, identity: prompt.identity };
        if let Some((kind, hold)) = self.fault(Phase::Uncharged, asking, subject) {
            return self.fault_answer(asking, kind, hold);
        }
        if self.credit_is_gone(asking.project) {
            return self.fault_answer(asking, FaultKind::PrepayDepleted, 0);
        }
        if let Err(violations) = self.admit(asking, Load::one(tokens)) {
            return self.refuse(asking, &violations);
        }
        self.spend_credit(asking.project);
        let fault = self.fault(Phase::Charged, asking, subject);
        self.reply(asking, &prompt, fault)
    }

    /// A request whose fault it is itself is charged for the rate, and tokens it has none.
    pub(crate) fn reject(&mut self, asking: &Asking<'_>, kind: &'static str, error: &ErrorBody) -> SimAnswer {
        match self.admit(asking, Load::one(0)) {
            Ok(()) => self.fail_asking(asking, kind, error),
            Err(violations) => self.refuse(asking, &violations),
        }
    }

    /// Asks for quota by the server's own clock, which files and caches know nothing of.
    pub(crate) fn admit(&mut self, asking: &Asking<'_>, load: Load) -> Result<(), Vec<Violation>> {
        let now = asking.now.saturating_add_signed(self.scenario.quota.clock_ms.saturating_mul(1_000));
        self.quotas.admit_load(now, asking.project, asking.model, load)
    }

    pub(crate) fn refuse(&mut self, asking: &Asking<'_>, violations: &[Violation]) -> SimAnswer {
        let minute = self.scenario.minute();
        let short = self.scenario.quota.per_day_delay == PerDayDelay::Short;
        let delays = violations.iter().map(|violation| {
            if short && violation.dimension.is_daily() {
                minute.mul_f64(self.fate.between(15.0, 59.0) / 60.0)
            } else {
                violation.retry_after
            }
        });
        let delay = delays.max().unwrap_or(minute);
        let refused = Refused {
            model: asking.model,
            free: self.owners.get(asking.project).is_none_or(|owner| owner.free),
            whole_seconds: minute >= Duration::from_secs(60),
        };
        let error = refused.body(violations, delay);
        self.fail_asking(asking, "quota", &error)
    }

    pub(crate) fn fault(&mut self, phase: Phase, asking: &Asking<'_>, subject: Subject<'_>) -> Option<(FaultKind, u64)> {
        let circumstances = Circumstances {
            elapsed_ms: asking.elapsed_ms,
            model: asking.model,
            project: self.owners.get(asking.project).map_or("", |owner| &owner.name),
            text: subject.text,
            identity: subject.identity,
        };
        self.faults.pick(phase, &circumstances, &mut self.fate)
    }

    /// The answer of a fault that replaces the model's.
    pub(crate) fn fault_answer(&mut self, asking: &Asking<'_>, kind: FaultKind, hold_ms: u64) -> SimAnswer {
        let hold = Duration::from_millis(hold_ms);
        if matches!(kind, FaultKind::Reset | FaultKind::Hang) {
            self.note(asking, kind.name());
            return SimAnswer::silence(if kind == FaultKind::Hang { hold } else { Duration::ZERO });
        }
        if let Some((status, page)) = bodies::page_of(kind) {
            self.note(asking, kind.name());
            return SimAnswer::html(status, page, self.scenario.latency.error.draw(&mut self.fate));
        }
        let error = bodies::of_fault(kind, asking.model);
        let error = error.unwrap_or_else(|| ErrorBody::new(500, "INTERNAL", "Internal error encountered."));
        let mut answer = self.fail_asking(asking, kind.name(), &error);
        if kind == FaultKind::Deadline {
            let wait = asking.deadline.map_or(hold, |deadline| deadline.min(hold));
            answer.pieces.iter_mut().for_each(|piece| piece.after = wait);
        }
        answer
    }

    pub(crate) fn credit_is_gone(&self, project: usize) -> bool {
        self.owners.get(project).is_some_and(|owner| owner.credit == Some(0))
    }

    pub(crate) fn spend_credit(&mut self, project: usize) {
        if let Some(credit) = self.owners.get_mut(project).and_then(|owner| owner.credit.as_mut()) {
            *credit = credit.saturating_sub(1);
        }
    }

    pub(crate) fn note(&mut self, asking: &Asking<'_>, kind: &'static str) {
        self.tally.failed(Some(asking.project), family(asking.model), kind);
    }

    pub(crate) fn fail_asking(&mut self, asking: &Asking<'_>, kind: &'static str, error: &ErrorBody) -> SimAnswer {
        let wrapped = asking.form == Form::Array;
        self.fail(Some(asking.project), family(asking.model), kind, error, wrapped)
    }
}
