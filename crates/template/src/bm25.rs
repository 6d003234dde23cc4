//! Keyword search: BM25 over the words of chunks, with parts of compound words counted for less.

use std::collections::HashMap;

use crate::best::best;
use crate::words;

/// How soon more of the same word stops to matter, as in most engines.
const K1: f32 = 1.2;
/// How much long texts are held back.
const B: f32 = 0.75;
/// What a word is worth that is only a part of a longer one: `Frist` in `Kündigungsfrist`.
const PART: f32 = 0.4;
/// A part of a word has at least so many letters.
const SHORTEST_PART: usize = 5;
/// Of the words that a part stands in, so many are looked at.
const MOST_COMPOUNDS: usize = 40;

/// The words of all chunks.
#[derive(Debug, Default)]
pub struct Bm25 {
    /// For each word the texts it stands in, and what it is worth there.
    postings: HashMap<String, Vec<(u32, f32)>>,
    texts: usize,
    /// All words in order, for those that begin alike; and written backwards, for those that end alike.
    forward: Vec<String>,
    backward: Vec<String>,
}

impl Bm25 {
    /// Reads texts; they are known by their number from 0.
    pub fn new<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Bm25 {
        let mut index = Bm25::default();
        let mut lengths: Vec<f32> = Vec::new();
        for (number, (heading, text)) in (0..).zip(texts) {
            let mut counts: HashMap<String, f32> = HashMap::new();
            let mut length = 0.0;
            for word in words::stems(heading).into_iter().chain(words::stems(text)) {
                length += 1.0;
                *counts.entry(word).or_default() += 1.0;
            }
            for (word, count) in counts {
                index.postings.entry(word).or_default().push((number, count));
            }
            lengths.push(length);
        }
        index.texts = lengths.len();
        index.weigh(&lengths);
        index.forward = index.postings.keys().cloned().collect();
        index.forward.sort_unstable();
        index.backward = index.forward.iter().map(|word| reversed(word)).collect();
        index.backward.sort_unstable();
        index
    }

    /// Makes counts of words into what they are worth, once for all questions.
    fn weigh(&mut self, lengths: &[f32]) {
        let all = lengths.len() as f32;
        let average = lengths.iter().sum::<f32>() / all.max(1.0);
        for postings in self.postings.values_mut() {
            let with = postings.len() as f32;
            let rarity = (1.0 + (all - with + 0.5) / (with + 0.5)).ln();
            for (number, count) in postings {
                let length = lengths[*number as usize] / average;
                *count = rarity * *count * (K1 + 1.0) / (*count + K1 * (1.0 - B + B * length));
            }
        }
    }

    /// The best texts for a question, best first, with their scores; at most `most`.
    pub fn search(&self, question: &str, most: usize) -> Vec<(u32, f32)> {
        let mut scores = vec![0.0; self.texts];
        let mut asked = words::telling(question);
        asked.sort_unstable();
        asked.dedup();
        for word in &asked {
            self.score(word, 1.0, &mut scores);
            for related in self.related(word) {
                self.score(&related, PART, &mut scores);
            }
        }
        best((0..).zip(scores).filter(|(_, score)| *score > 0.0).collect(), most)
    }

    fn score(&self, word: &str, weight: f32, scores: &mut [f32]) {
        for (number, worth) in self.postings.get(word).into_iter().flatten() {
            scores[*number as usize] += weight * worth;
        }
    }

    /// Words that begin or end with this one, and parts of it that are words themselves.
    fn related(&self, word: &str) -> Vec<String> {
        if word.chars().count() < SHORTEST_PART {
            return Vec::new();
        }
        let backwards = reversed(word);
        let mut related: Vec<String> = beginning(&self.forward, word).map(str::to_owned).collect();
        related.extend(beginning(&self.backward, &backwards).map(reversed));
        let starts: Vec<usize> = word.char_indices().map(|(at, _)| at).collect();
        for at in starts.iter().skip(SHORTEST_PART - 1).take(starts.len().saturating_sub(2 * SHORTEST_PART - 2)) {
            let parts = [&word[..*at], &word[*at..]];
            related.extend(parts.into_iter().filter(|part| self.postings.contains_key(*part)).map(str::to_owned));
        }
        related.sort_unstable();
        related.dedup();
        related
    }
}

fn reversed(word: &str) -> String {
    word.chars().rev().collect()
}

/// Longer words of an ordered list that begin so.
fn beginning<'a>(ordered: &'a [String], begin: &'a str) -> impl Iterator<Item = &'a str> {
    let from = ordered.partition_point(|word| word.as_str() < begin);
    let alike = ordered[from..].iter().map(String::as_str).take_while(move |word| word.starts_with(begin));
    alike.filter(move |word| *word != begin).take(MOST_COMPOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[&str]) -> Bm25 {
        Bm25::new(texts.iter().map(|text| ("", *text)))
    }

    fn order(index: &Bm25, question: &str) -> Vec<u32> {
        index.search(question, 10).into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn rare_words_weigh_more_than_common_ones() {
        let index = index(&["the rent of the flat", "the flat has a deposit", "the flat is old", "nothing here"]);
        assert_eq!(order(&index, "deposit for the flat")[0], 1);
        assert_eq!(order(&index, "unknown"), Vec::<u32>::new());
    }

    #[test]
    fn compound_words_are_found_by_their_parts_and_parts_by_their_compounds() {
        let index = index(&["Die Kündigungsfrist beträgt drei Monate.", "Beginn der Miete ist Mai.", "Anderes."]);
        assert_eq!(order(&index, "Frist")[..1], [0]);
        assert_eq!(order(&index, "Mietbeginn"), [1]);
    }

    #[test]
    fn the_whole_word_is_worth_more_than_a_part_of_one() {
        let index = index(&["Fristen stehen in der Anlage", "Die Kündigungsfrist steht hier auch"]);
        assert_eq!(order(&index, "Fristen"), [0, 1]);
    }
}
