//! The model's reply to an admitted request: its pace, its form, and the damage a fault does to it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::answers::Answers;
use crate::bodies;
use crate::damage::{is_of_json, is_of_numbers, is_repairable, spoil};
use crate::exchange::SimAnswer;
use crate::faults::FaultKind;
use crate::generate::Asking;
use crate::latency::milliseconds;
use crate::model::family;
use crate::prompt::Prompt;
use crate::routes::Form;
use crate::simulator::Simulator;
use crate::stream::stream;
use crate::success::Success;

impl Simulator {
    /// The model's answer, whole or broken.
    pub(crate) fn reply(&mut self, asking: &Asking<'_>, prompt: &Prompt, fault: Option<(FaultKind, u64)>) -> SimAnswer {
        let streamed = asking.form != Form::Whole;
        if let Some((kind, hold)) = fault.filter(|(kind, _)| replaces_the_answer(*kind, streamed)) {
            return self.fault_answer(asking, kind, hold);
        }
        let kind = fault.map(|(kind, _)| kind);
        let mut success = self.success(asking, prompt);
        let kind = kind.filter(|kind| self.spoils(*kind, prompt));
        for answer in &mut success.answers {
            kind.map(|kind| spoil(answer, kind, prompt.config.schema.as_ref()));
        }
        let (first, gap, events) = self.paced(asking, &mut success, kind);
        let total = first + gap * u32::try_from(events.len().saturating_sub(1)).unwrap_or(u32::MAX);
        if let Some(deadline) = asking.deadline.filter(|deadline| total > *deadline) {
            return self.fault_answer(asking, FaultKind::Deadline, millis(deadline));
        }
        let mut answer = match (asking.form, events.as_slice()) {
            (Form::Whole, [body]) => SimAnswer::json(200, body, first),
            (form, events) => stream(form, events, first, gap),
        };
        self.damage(asking, &mut answer, kind);
        if let Some(kind) = kind.filter(|kind| is_of_json(*kind)) {
            self.tally.account.damaged(kind.name());
        }
        match kind.filter(|kind| !is_repairable(*kind)) {
            Some(kind) => self.note(asking, kind.name()),
            None if success.is_empty() => self.note(asking, "thoughts_only"),
            None => {
                self.tally.answered(asking.project, family(asking.model), prompt.identity);
                self.tally.account.parts(&prompt.parts);
            }
        }
        answer
    }

    /// Whether this fault does something to this prompt; a wrong type is set right when it is asked for again.
    fn spoils(&mut self, kind: FaultKind, prompt: &Prompt) -> bool {
        if is_of_json(kind) && !prompt.config.json {
            return false;
        }
        if is_of_numbers(kind) && prompt.entries.is_empty() {
            return false;
        }
        if kind != FaultKind::JsonWrongType {
            return true;
        }
        let again = prompt.answered_before || self.wronged.iter().any(|text| repeats(&prompt.text, text));
        if !again {
            self.wronged.push(prompt.text.trim_end().to_owned());
        }
        !again
    }

    pub(crate) fn success<'a>(&mut self, asking: &Asking<'a>, prompt: &Prompt) -> Success<'a> {
        let answers = &self.scenario.answers;
        let tokens = prompt.tokens.total();
        let share = if tokens >= 4_096 { answers.cached_share } else { 0.0 };
        let told = self.scripts.reply(&prompt.text).map(|reply| Answers::exactly(&reply.text, &reply.finish));
        let id: Vec<u8> = [self.fate.next_u64(), self.fate.next_u64()].map(u64::to_be_bytes).concat();
        Success {
            model: asking.model,
            response_id: URL_SAFE_NO_PAD.encode(id),
            prompt: prompt.tokens,
            cached: prompt.cached.max((tokens as f64 * share) as u64),
            answers: told.map_or_else(|| answers.compose(prompt, self.seed), |told| vec![told]),
        }
    }

    /// The bodies to send, the time until the first one and the time between them.
    fn paced(
        &mut self,
        asking: &Asking<'_>,
        success: &mut Success<'_>,
        kind: Option<FaultKind>,
    ) -> (Duration, Duration, Vec<Value>) {
        let latency = &self.scenario.latency;
        let base = latency.base.draw(&mut self.fate);
        let writing = |tokens: u64| milliseconds(latency.per_output_token * tokens as f64);
        let astray = kind.and_then(|kind| success.astray(kind));
        let (text, thoughts) = (success.written(), success.thoughts());
        match (astray, asking.form) {
            (Some(body), _) => (base + writing(thoughts), Duration::ZERO, vec![body]),
            (None, Form::Whole) => (base + writing(text + thoughts), Duration::ZERO, vec![success.whole()]),
            (None, Form::Sse | Form::Array) => {
                let events = success.events(self.scenario.answers.words_per_event);
                let gap = writing(text) / u32::try_from(events.len().max(1)).unwrap_or(u32::MAX);
                (base + writing(thoughts) + gap, gap, events)
            }
        }
    }

    fn damage(&mut self, asking: &Asking<'_>, answer: &mut SimAnswer, kind: Option<FaultKind>) {
        let streamed = asking.form != Form::Whole;
        match kind {
            // Half of the broken streams end quietly, as if all had been said.
            Some(FaultKind::CutStream) => {
                let torn = !streamed || answer.pieces.len() < 2 || self.fate.happens(0.5);
                answer.cut_in_half(torn);
            }
            Some(FaultKind::TruncatedBody) => answer.truncate(),
            Some(FaultKind::MalformedBody) => answer.garble(),
            Some(kind @ (FaultKind::StreamError | FaultKind::StreamErrorRaw)) if streamed => {
                if let Some(error) = bodies::of_fault(kind, asking.model) {
                    answer.break_off(asking.form, &error.to_json(), kind == FaultKind::StreamErrorRaw);
                }
            }
            _ => {}
        }
    }
}

/// Whether a text holds another one whole, not only as the beginning of a longer word.
fn repeats(text: &str, earlier: &str) -> bool {
    let ends = text.match_indices(earlier).map(|(at, _)| &text[at + earlier.len()..]);
    !earlier.is_empty() && ends.into_iter().any(|rest| !rest.starts_with(char::is_alphanumeric))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a fault leaves nothing of the model's answer.
pub(crate) fn replaces_the_answer(kind: FaultKind, streamed: bool) -> bool {
    match kind {
        FaultKind::StreamError | FaultKind::StreamErrorRaw => !streamed,
        FaultKind::Reset | FaultKind::Hang => true,
        other => bodies::of_fault(other, "").is_some() || bodies::page_of(other).is_some(),
    }
}
