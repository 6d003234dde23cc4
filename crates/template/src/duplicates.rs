//! How alike two texts are: the share of three-word runs they have in common.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::words;

/// Words in a run.
const RUN: usize = 3;
/// From this share of common runs on, two texts say the same.
const SAME: f32 = 0.8;

/// The runs of a text, hashed and ordered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Vec<u32>);

impl Runs {
    pub fn new(text: &str) -> Runs {
        let words: Vec<String> = words::words(text).collect();
        let hash = |run: &[String]| {
            let mut hasher = DefaultHasher::new();
            run.hash(&mut hasher);
            hasher.finish() as u32
        };
        let mut runs: Vec<u32> = if words.len() < RUN { vec![hash(&words)] } else { words.windows(RUN).map(hash).collect() };
        runs.sort_unstable();
        runs.dedup();
        Runs(runs)
    }

    /// From 0 for nothing in common to 1 for the same words.
    pub fn likeness(&self, other: &Runs) -> f32 {
        let (mut one, mut two, mut common) = (self.0.iter().peekable(), other.0.iter().peekable(), 0usize);
        while let (Some(a), Some(b)) = (one.peek(), two.peek()) {
            let order = a.cmp(b);
            common += usize::from(order.is_eq());
            if order.is_le() {
                one.next();
            }
            if order.is_ge() {
                two.next();
            }
        }
        let all = self.0.len() + other.0.len() - common;
        if all == 0 { 1.0 } else { common as f32 / all as f32 }
    }
}

/// Whether two texts that are so alike say the same, but for a few words.
pub(crate) fn is_same(likeness: f32) -> bool {
    likeness >= SAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_but_for_blanks_and_case_is_the_same() {
        assert!(is_same(Runs::new("The rent is  due\non Monday").likeness(&Runs::new("the rent is due on monday"))));
    }

    #[test]
    fn one_other_word_in_a_long_text_is_the_same_and_another_text_is_not() {
        let text: String = (0..60).map(|number| format!("word{number} ")).collect();
        let likeness = |other: &str| Runs::new(&text).likeness(&Runs::new(other));
        assert!(is_same(likeness(&text.replace("word30", "other"))));
        assert!(!is_same(likeness("something else entirely stands here")));
    }
}
