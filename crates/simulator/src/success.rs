//! Bodies of HTTP 200: whole answers, the events of a stream, and successes without text.

use serde_json::{Map, Value, json};

use crate::answers::Answer;
use crate::faults::FaultKind;
use crate::tokens::Tokens;

/// All that the body of one answer is made of.
#[derive(Debug)]
pub(crate) struct Success<'a> {
    pub(crate) model: &'a str,
    pub(crate) response_id: String,
    pub(crate) prompt: Tokens,
    pub(crate) cached: u64,
    /// One for each candidate.
    pub(crate) answers: Vec<Answer>,
}

impl Success<'_> {
    /// The body of a request without a stream.
    pub(crate) fn whole(&self) -> Value {
        let candidates = self.answers.iter().enumerate().map(|(index, answer)| {
            let parts = summary(answer).into_iter().chain(text(&answer.text)).chain(answer.parts.iter().cloned());
            candidate(index, parts.collect(), Some(answer))
        });
        self.body(candidates.collect(), self.written())
    }

    /// The bodies of a stream, each with a few words of one candidate; its last one tells why it ended.
    pub(crate) fn events(&self, words_per_event: u32) -> Vec<Value> {
        let (mut events, mut before) = (Vec::new(), 0);
        for (index, answer) in self.answers.iter().enumerate() {
            let summary = summary(answer).map(|part| (vec![part], 0));
            let mut steps: Vec<_> = summary.into_iter().chain(spoken(answer, words_per_event)).collect();
            if let Some((parts, _)) = steps.last_mut() {
                parts.extend(answer.parts.iter().cloned());
            }
            let last = steps.len().saturating_sub(1);
            for (step, (parts, tokens)) in steps.into_iter().enumerate() {
                let tokens = if step == last { answer.text_tokens } else { tokens };
                events.push(self.body(vec![candidate(index, parts, (step == last).then_some(answer))], before + tokens));
            }
            before += answer.text_tokens;
        }
        events
    }

    /// Tokens written by all candidates.
    pub(crate) fn written(&self) -> u64 {
        self.answers.iter().map(|answer| answer.text_tokens).sum()
    }

    /// Tokens spent on thoughts.
    pub(crate) fn thoughts(&self) -> u64 {
        self.answers.iter().map(|answer| answer.thoughts).sum()
    }

    /// Whether nobody said anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.iter().all(|answer| answer.text.is_empty() && answer.parts.is_empty())
    }

    /// What a model that goes astray answers instead; `None` for faults of another sort.
    pub(crate) fn astray(&mut self, kind: FaultKind) -> Option<Value> {
        let finish = match kind {
            FaultKind::EmptyStop => "STOP",
            FaultKind::ThoughtsOnly => "MAX_TOKENS",
            FaultKind::Safety => "SAFETY",
            FaultKind::Recitation => "RECITATION",
            FaultKind::PromptBlocked => {
                self.answers.iter_mut().for_each(|answer| answer.thoughts = 0);
                return Some(self.blocked());
            }
            _ => return None,
        };
        self.answers.truncate(1);
        if let (FaultKind::ThoughtsOnly, Some(answer)) = (kind, self.answers.first_mut()) {
            answer.thoughts = answer.thoughts.max(answer.text_tokens).max(1);
        }
        let nothing = Answer { finish: finish.to_owned(), ..Answer::default() };
        Some(self.body(vec![candidate(0, Vec::new(), Some(&nothing))], 0))
    }

    fn blocked(&self) -> Value {
        json!({
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": self.usage(0),
            "modelVersion": self.model,
            "responseId": self.response_id,
        })
    }

    fn body(&self, candidates: Vec<Value>, tokens: u64) -> Value {
        json!({
            "candidates": candidates,
            "usageMetadata": self.usage(tokens),
            "modelVersion": self.model,
            "responseId": self.response_id,
        })
    }

    fn usage(&self, text_tokens: u64) -> Value {
        let prompt = self.prompt.total();
        let thoughts = self.thoughts();
        let counts = [
            ("promptTokenCount", prompt),
            ("candidatesTokenCount", text_tokens),
            ("totalTokenCount", prompt + text_tokens + thoughts),
            ("cachedContentTokenCount", self.cached),
            ("thoughtsTokenCount", thoughts),
        ];
        let present = counts.into_iter().filter(|(_, count)| *count > 0);
        let mut usage: Map<_, _> = present.map(|(name, count)| (name.to_owned(), count.into())).collect();
        if prompt > 0 {
            usage.insert("promptTokensDetails".to_owned(), self.prompt.details());
        }
        Value::Object(usage)
    }
}

/// One candidate; the answer is given where it ends.
fn candidate(index: usize, parts: Vec<Value>, end: Option<&Answer>) -> Value {
    let content = if parts.is_empty() { json!({"role": "model"}) } else { json!({"parts": parts, "role": "model"}) };
    let mut candidate = json!({"content": content});
    if let Some(answer) = end {
        candidate["finishReason"] = answer.finish.as_str().into();
        if let Some(grounding) = &answer.grounding {
            candidate["groundingMetadata"] = grounding.clone();
        }
    }
    candidate["index"] = index.into();
    candidate
}

fn summary(answer: &Answer) -> Option<Value> {
    answer.summary.as_ref().map(|summary| json!({"text": summary, "thought": true}))
}

fn text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({ "text": text }))
}

/// The text in steps of some words, each with the tokens written by then.
fn spoken(answer: &Answer, words: u32) -> impl Iterator<Item = (Vec<Value>, u64)> + '_ {
    let mut written = 0;
    split(&answer.text, words).into_iter().map(move |piece| {
        written += piece.len();
        let share = written as f64 / answer.text.len().max(1) as f64;
        (text(piece).into_iter().collect(), (answer.text_tokens as f64 * share).round() as u64)
    })
}

/// Cuts a text into pieces of some words each; their concatenation is the text.
fn split(text: &str, words: u32) -> Vec<&str> {
    let (mut pieces, mut start, mut spaces) = (Vec::new(), 0, 0);
    for (at, _) in text.match_indices(' ') {
        spaces += 1;
        if spaces == words.max(1) {
            pieces.push(&text[start..at]);
            (start, spaces) = (at, 0);
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::answers::Answers;

    fn success(text: &str) -> Success<'static> {
        let answer = Answer { text_tokens: 6, thoughts: 2, ..Answers::exactly(text, "STOP") };
        let prompt = Tokens { text: 10, ..Tokens::default() };
        Success { model: "m", response_id: "id".to_owned(), prompt, cached: 0, answers: vec![answer] }
    }

    #[test]
    fn the_counts_of_a_whole_answer_add_up_and_zeros_are_left_out() {
        let usage = &success("a b c").whole()["usageMetadata"];
        let expected = json!({"promptTokenCount": 10, "candidatesTokenCount": 6, "totalTokenCount": 18, "thoughtsTokenCount": 2,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}]});
        assert_eq!(usage, &expected);
    }

    #[test]
    fn the_events_of_a_stream_join_to_the_answer_and_only_the_last_ends_it() {
        let text = "one two three four five six seven";
        let events = success(text).events(3);
        let joined: String = events.iter().map(|e| e["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap()).collect();
        assert_eq!(joined, text);
        let ends: Vec<_> = events.iter().map(|e| e["candidates"][0].get("finishReason").is_some()).collect();
        assert_eq!(ends, [false, false, true]);
        assert_eq!(events[2]["usageMetadata"]["totalTokenCount"], 18);
        assert!(events.iter().all(|e| e["responseId"] == "id"));
    }

    #[test]
    fn successes_without_text_have_the_documented_shape() {
        let astray = |kind| success("text").astray(kind).unwrap();
        let candidate = astray(FaultKind::ThoughtsOnly)["candidates"][0].clone();
        assert_eq!(candidate, json!({"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}));
        assert_eq!(astray(FaultKind::ThoughtsOnly)["usageMetadata"]["thoughtsTokenCount"], 6);
        assert_eq!(astray(FaultKind::EmptyStop)["candidates"][0]["finishReason"], "STOP");
        assert_eq!(astray(FaultKind::Safety)["candidates"][0]["finishReason"], "SAFETY");
        assert_eq!(astray(FaultKind::Recitation)["candidates"][0]["finishReason"], "RECITATION");
        let blocked = astray(FaultKind::PromptBlocked);
        assert!(blocked.get("candidates").is_none());
        assert_eq!(blocked["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
        assert_eq!(
            (&blocked["usageMetadata"]["promptTokenCount"], &blocked["usageMetadata"]["totalTokenCount"]),
            (&json!(10), &json!(10))
        );
    }

    #[test]
    fn thoughts_come_first_other_parts_last_and_each_candidate_by_itself() {
        let mut success = success("one two");
        let answer =
            Answer { summary: Some("hm".to_owned()), parts: vec![json!({"functionCall": {}})], ..success.answers[0].clone() };
        success.answers = vec![answer.clone(), answer];
        let whole = success.whole();
        let parts = &whole["candidates"][1]["content"]["parts"];
        assert!(parts[0]["thought"] == true && parts[1]["text"] == "one two" && parts[2]["functionCall"].is_object());
        let events = success.events(1);
        let at: Vec<_> = events.iter().map(|event| event["candidates"][0]["index"].as_u64().unwrap()).collect();
        assert_eq!(at, [0, 0, 0, 1, 1, 1]);
        assert_eq!(events[5]["usageMetadata"]["totalTokenCount"], whole["usageMetadata"]["totalTokenCount"]);
    }
}
