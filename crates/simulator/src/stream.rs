//! The bytes of a stream, as events or as one array, and the ways in which an answer can break on its way.

use std::time::Duration;

use serde_json::Value;

use crate::exchange::{Piece, SimAnswer};
use crate::routes::Form;

/// Writes bodies one after another, `gap` apart, the first after `first`.
pub(crate) fn stream(form: Form, events: &[Value], first: Duration, gap: Duration) -> SimAnswer {
    let kind = match form {
        Form::Sse => "text/event-stream",
        Form::Whole | Form::Array => "application/json; charset=UTF-8",
    };
    let last = events.len().saturating_sub(1);
    let pieces = events.iter().enumerate().map(|(index, event)| Piece {
        after: if index == 0 { first } else { gap },
        bytes: match form {
            Form::Sse => format!("data: {event}\r\n\r\n"),
            Form::Whole | Form::Array => {
                let opening = if index == 0 { "[" } else { ",\r\n" };
                format!("{opening}{event}{}", if index == last { "]\n" } else { "\r\n" })
            }
        }
        .into_bytes(),
    });
    SimAnswer {
        status: 200,
        headers: vec![("content-type".to_owned(), kind.to_owned())],
        pieces: pieces.collect(),
        cut: false,
        declared_length: None,
    }
}

impl SimAnswer {
    /// Ends the answer in its middle: after half of its pieces, or within its only one.
    pub(crate) fn cut_in_half(&mut self, torn: bool) {
        self.cut = torn;
        match self.pieces.as_mut_slice() {
            [only] => only.bytes.truncate(only.bytes.len() / 2),
            pieces => {
                let half = pieces.len() / 2;
                self.pieces.truncate(half);
            }
        }
    }

    /// Declares the whole length but sends half of it.
    pub(crate) fn truncate(&mut self) {
        self.declared_length = Some(self.pieces.iter().map(|piece| piece.bytes.len()).sum());
        self.cut_in_half(true);
    }

    /// Takes bytes out of the last piece so that it is no JSON any more, and ends properly.
    pub(crate) fn garble(&mut self) {
        if let Some(last) = self.pieces.last_mut() {
            let ending: &[u8] = if last.bytes.ends_with(b"\r\n\r\n") { b"\r\n\r\n" } else { b"\n" };
            last.bytes.truncate(last.bytes.len() * 2 / 3);
            last.bytes.extend_from_slice(ending);
        }
    }

    /// Replaces the second half of a stream by an error.
    pub(crate) fn break_off(&mut self, form: Form, error: &Value, raw: bool) {
        let half = (self.pieces.len() / 2).max(1);
        let after = self.pieces.get(half).map_or(Duration::ZERO, |piece| piece.after);
        if self.pieces.len() == 1 {
            self.pieces.clear();
        }
        self.pieces.truncate(half);
        let text = match (form, raw) {
            (Form::Sse, false) => format!("data: {error}\r\n\r\n"),
            (_, true) => format!("{error:#}\n"),
            (_, false) if self.pieces.is_empty() => format!("[{error}]\n"),
            (_, false) => format!(",\r\n{error}]\n"),
        };
        self.pieces.push(Piece { after, bytes: text.into_bytes() });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn written(form: Form, count: u64) -> SimAnswer {
        let events: Vec<_> = (0..count).map(|n| json!({ "n": n })).collect();
        stream(form, &events, Duration::from_millis(5), Duration::from_millis(1))
    }

    fn text(answer: &SimAnswer) -> String {
        String::from_utf8(answer.body()).unwrap()
    }

    #[test]
    fn events_are_one_line_of_data_and_a_blank_line() {
        let answer = written(Form::Sse, 2);
        assert_eq!(text(&answer), "data: {\"n\":0}\r\n\r\ndata: {\"n\":1}\r\n\r\n");
        assert_eq!(answer.headers[0].1, "text/event-stream");
        assert_eq!(answer.duration(), Duration::from_millis(6));
    }

    #[test]
    fn an_array_is_json_however_many_pieces_it_has() {
        for count in 1..4 {
            let answer = written(Form::Array, count);
            let value: Value = serde_json::from_slice(&answer.body()).unwrap();
            assert_eq!(value.as_array().unwrap().len() as u64, count);
        }
    }

    #[test]
    fn a_cut_answer_lacks_its_second_half() {
        let mut answer = written(Form::Sse, 4);
        answer.cut_in_half(true);
        assert_eq!((answer.pieces.len(), answer.cut), (2, true));
        let mut whole = SimAnswer::json(200, &json!({"a": 1}), Duration::ZERO);
        whole.truncate();
        assert!(whole.cut && whole.declared_length.unwrap() > whole.body().len());
    }

    #[test]
    fn garbled_answers_end_properly_but_are_no_json() {
        let mut whole = SimAnswer::json(200, &json!({"a": [1, 2, 3]}), Duration::ZERO);
        whole.garble();
        assert!(!whole.cut && serde_json::from_slice::<Value>(&whole.body()).is_err());
        let mut events = written(Form::Sse, 2);
        events.garble();
        assert!(text(&events).ends_with("\r\n\r\n") && !text(&events).ends_with("}\r\n\r\n"));
    }

    #[test]
    fn an_error_in_a_stream_comes_with_or_without_data_in_front() {
        let error = json!({"error": {"code": 503}});
        let broken = |form, raw| {
            let mut answer = written(form, 4);
            answer.break_off(form, &error, raw);
            assert_eq!(answer.pieces.len(), 3);
            text(&answer)
        };
        assert!(broken(Form::Sse, false).ends_with("data: {\"error\":{\"code\":503}}\r\n\r\n"));
        assert!(broken(Form::Sse, true).ends_with("{\n  \"error\": {\n    \"code\": 503\n  }\n}\n"));
        let array: Value = serde_json::from_str(&broken(Form::Array, false)).unwrap();
        assert_eq!(array[2], error);
    }
}
