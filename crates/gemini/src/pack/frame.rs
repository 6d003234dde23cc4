//! What all texts of a call begin and end with is sent once: a template's own words, mostly.

use serde_json::{Map, Value, json};

/// The words around the texts, which are whole words and may be none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    before: String,
    after: String,
}

/// Shorter words are not worth naming.
const LEAST: usize = 24;

impl Frame {
    /// What texts have in common at both ends. Where it would leave nothing of one of them, or is short, it is nothing.
    pub(super) fn around(texts: &[&str]) -> Frame {
        let Some((first, others)) = texts.split_first().filter(|(_, others)| !others.is_empty()) else { return Frame::default() };
        let before = others.iter().fold(first.len(), |most, text| common_start(&first[..most], text));
        let before = first[..before].rfind(char::is_whitespace).map_or(0, |at| at + width_at(first, at));
        let rests: Vec<&str> = texts.iter().map(|text| &text[before..]).collect();
        let after = rests.iter().skip(1).fold(rests[0].len(), |most, text| common_end(&rests[0][rests[0].len() - most..], text));
        let end = rests[0].len() - after;
        let after = rests[0][end..].find(char::is_whitespace).map_or("", |at| &rests[0][end + at..]);
        let leaves_nothing = rests.iter().any(|rest| rest[..rest.len() - after.len()].trim().is_empty());
        if leaves_nothing || before + after.len() < LEAST {
            return Frame::default();
        }
        Frame { before: first[..before].to_owned(), after: after.to_owned() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// The texts, numbered, as JSON: whatever stands in one of them cannot be taken for the next.
    pub(super) fn sheet(&self, texts: &[&str]) -> String {
        let mut sheet = Map::new();
        if !self.is_empty() {
            sheet.insert("before".to_owned(), json!(self.before));
            sheet.insert("after".to_owned(), json!(self.after));
        }
        let own = texts.iter().map(|text| &text[self.before.len()..text.len() - self.after.len()]);
        let prompts = own.enumerate().map(|(at, text)| json!({"index": at + 1, "text": text})).collect();
        sheet.insert("prompts".to_owned(), Value::Array(prompts));
        Value::Object(sheet).to_string()
    }
}

/// Bytes that two texts begin with alike.
fn common_start(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars());
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// Bytes that two texts end with alike.
fn common_end(one: &str, other: &str) -> usize {
    let pairs = one.chars().rev().zip(other.chars().rev());
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

fn width_at(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn joined(texts: &[&str]) -> (Frame, Vec<String>) {
        let frame = Frame::around(texts);
        let sheet: Value = serde_json::from_str(&frame.sheet(texts)).unwrap();
        let own = sheet["prompts"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap());
        let joined = own.map(|own| format!("{}{own}{}", frame.before, frame.after)).collect();
        (frame, joined)
    }

    #[test]
    fn the_words_of_a_template_are_sent_once_and_the_prompts_can_be_put_together_again() {
        let texts =
            ["Is this praise or blame? Lovely ferry. Say one word.", "Is this praise or blame? Loud kettle. Say one word."];
        let (frame, back) = joined(&texts);
        assert_eq!((frame.before.as_str(), frame.after.as_str()), ("Is this praise or blame? ", " Say one word."));
        assert_eq!(back, texts);
    }

    #[test]
    fn words_are_never_cut_and_short_ones_are_left_where_they_are() {
        let (frame, back) = joined(&["the same beginning of all: blackbird", "the same beginning of all: blackcap"]);
        assert_eq!(
            (frame.before.as_str(), back[0].as_str()),
            ("the same beginning of all: ", "the same beginning of all: blackbird")
        );
        for texts in
            [["Say a", "Say b"], ["a beginning that is the whole text ", "a beginning that is the whole text of one"], ["ä", "ö"]]
        {
            let (frame, back) = joined(&texts);
            assert!(frame.is_empty(), "{frame:?}");
            assert_eq!(back, texts);
        }
        let uneven = ["one and the same beginning here a", "one and the same beginning here a a"];
        assert_eq!(joined(&uneven).1, uneven);
        assert_eq!(joined(&["the very same words, all of them"; 2]).1, ["the very same words, all of them"; 2]);
    }
}
