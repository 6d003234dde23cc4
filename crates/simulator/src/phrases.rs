//! Plausible sentences, the same for the same chance.

use crate::chance::Chance;

const SUBJECTS: &[&str] = &[
    "the harbour",
    "a quiet river",
    "the old lighthouse",
    "every tide",
    "the morning ferry",
    "a careful pilot",
    "the salt marsh",
    "the northern gate",
    "a small crew",
    "the evening light",
];
const VERBS: &[&str] = &["carries", "follows", "shelters", "remembers", "answers", "measures", "crosses", "opens toward"];
const OBJECTS: &[&str] = &[
    "the far shore",
    "a line of boats",
    "the changing wind",
    "a steady current",
    "the first train",
    "an open market",
    "the winter road",
    "a patient crowd",
    "the rising water",
    "a narrow channel",
];
const ENDS: &[&str] = &["before noon", "without hurry", "as planned", "in every season", "after the rain", "once more"];

/// Sentences of at least a number of words that lies between the two.
pub(crate) fn sentences([fewest, most]: [u32; 2], chance: &mut Chance) -> String {
    let wanted = chance.between(f64::from(fewest), f64::from(most)) as usize;
    let mut text = String::new();
    while text.split(' ').count() < wanted.max(1) || text.is_empty() {
        let sentence = [SUBJECTS, VERBS, OBJECTS, ENDS].map(|words| pick(words, chance)).join(" ");
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(sentence.chars().take(1).map(|first| first.to_ascii_uppercase()));
        text.push_str(sentence.get(1..).unwrap_or_default());
        text.push('.');
    }
    text
}

fn pick<'a>(words: &[&'a str], chance: &mut Chance) -> &'a str {
    words.get(chance.below(words.len())).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn there_are_as_many_words_as_were_asked_for() {
        let text = sentences([30, 30], &mut Chance::new(1));
        assert!(text.split(' ').count() >= 30 && text.ends_with('.'));
        assert_eq!(text, sentences([30, 30], &mut Chance::new(1)));
    }
}
