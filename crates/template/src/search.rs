//! Search: keywords and vectors fused, duplicates left out, ranked for relevance and variety.

use std::collections::{HashMap, HashSet};

use crate::best::best;
use crate::bm25::Bm25;
use crate::chunk::Chunk;
use crate::duplicates::{self, Runs};
use crate::vectors::Vectors;

/// So many hits of each list are fused.
const DEPTH: usize = 30;
/// How slowly a rank loses its worth in the fusion of reciprocal ranks. The usual 60 hardly tells the first from the tenth:
/// over the tuning half of the labelled questions of the bench it found fewer than keywords alone.
const RANK: f32 = 5.0;
/// What a rank among keywords is worth beside one among vectors, by the same questions.
const KEYWORDS: f32 = 2.5;
/// Of a hit's worth so much is its relevance, the rest is being unlike those before it.
const RELEVANCE: f32 = 0.8;

/// One wording of what is looked for.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Its words.
    pub text: String,
    /// Its vector, where there is one.
    pub vector: Option<Vec<f32>>,
}

impl Question {
    /// A question of words alone.
    pub fn words(text: impl Into<String>) -> Question {
        Question { text: text.into(), vector: None }
    }
}

/// The chunks of some documents, ready to be searched.
#[derive(Debug, Default)]
pub struct Index {
    /// The chunks, in the order of the documents.
    pub chunks: Vec<Chunk>,
    bm25: Bm25,
    vectors: Option<Vectors>,
    runs: Vec<Runs>,
    /// Chunks that are word for word like an earlier one.
    repeated: HashSet<u32>,
}

impl Index {
    /// Reads chunks for keyword search.
    pub fn new(chunks: Vec<Chunk>) -> Index {
        let titles: Vec<String> = chunks.iter().map(Chunk::title).collect();
        let bm25 = Bm25::new(titles.iter().map(String::as_str).zip(chunks.iter().map(|chunk| chunk.text.as_str())));
        let runs = chunks.iter().map(|chunk| Runs::new(&chunk.text)).collect();
        let mut seen = HashSet::new();
        let plain = |chunk: &Chunk| chunk.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let repeated = (0..).zip(&chunks).filter(|(_, chunk)| !seen.insert(plain(chunk))).map(|(number, _)| number).collect();
        Index { chunks, bm25, vectors: None, runs, repeated }
    }

    /// Adds a vector for each chunk, in their order. False when they do not fit, and then keywords alone are searched.
    pub fn add_vectors(&mut self, vectors: &[Vec<f32>]) -> bool {
        self.vectors = Some(vectors).filter(|all| all.len() == self.chunks.len()).and_then(Vectors::new);
        self.vectors.is_some()
    }

    /// Whether meanings are searched, too.
    pub fn has_vectors(&self) -> bool {
        self.vectors.is_some()
    }

    /// Numbers of the best chunks for all wordings of a question together, best first, at most `most`.
    pub fn find(&self, questions: &[Question], most: usize) -> Vec<u32> {
        let mut lists = Vec::new();
        for question in questions {
            lists.push((KEYWORDS, self.bm25.search(&question.text, DEPTH)));
            if let (Some(vectors), Some(vector)) = (&self.vectors, &question.vector) {
                // What points elsewhere is not found, however few chunks there are.
                let near = vectors.search(vector, DEPTH).into_iter().filter(|(_, cosine)| *cosine > 0.0);
                lists.push((1.0, near.collect()));
            }
        }
        let numbers = |list: Vec<(u32, f32)>| list.into_iter().map(|(number, _)| number).collect();
        let lists = lists.into_iter().map(|(weight, list)| (weight, numbers(list)));
        self.varied(fused(lists), most)
    }

    /// Takes the best, then always the one that is both relevant and unlike those taken; what says the same is left out.
    fn varied(&self, found: Vec<(u32, f32)>, most: usize) -> Vec<u32> {
        let highest = found.first().map_or(1.0, |(_, score)| *score);
        let relevant = |(_, score): &(u32, f32)| RELEVANCE * score / highest;
        let unrepeated = found.iter().filter(|(number, _)| !self.repeated.contains(number));
        let mut open: Vec<Candidate> =
            unrepeated.map(|one| Candidate { number: one.0, relevance: relevant(one), likeness: 0.0 }).collect();
        let mut taken: Vec<u32> = Vec::new();
        while taken.len() < most
            && let Some(next) = worthiest(&open)
        {
            let number = open.remove(next).number;
            taken.push(number);
            let runs = &self.runs[number as usize];
            open.retain_mut(|other| {
                let likeness = runs.likeness(&self.runs[other.number as usize]);
                other.likeness = other.likeness.max(likeness);
                !duplicates::is_same(likeness)
            });
        }
        taken
    }
}

/// A chunk that was found and not taken yet.
struct Candidate {
    number: u32,
    relevance: f32,
    /// To that of the chunks taken which it is most like.
    likeness: f32,
}

impl Candidate {
    fn worth(&self) -> f32 {
        self.relevance - (1.0 - RELEVANCE) * self.likeness
    }
}

/// Of equals the first, which is the more relevant.
fn worthiest(open: &[Candidate]) -> Option<usize> {
    let worths = open.iter().map(Candidate::worth).enumerate();
    worths.reduce(|best, one| if one.1 > best.1 { one } else { best }).map(|(at, _)| at)
}

/// Lists of numbers, each with its weight, as one, by reciprocal ranks: scores of different searches cannot be compared,
/// ranks can.
fn fused(lists: impl IntoIterator<Item = (f32, Vec<u32>)>) -> Vec<(u32, f32)> {
    let mut scores: HashMap<u32, f32> = HashMap::new();
    for (weight, list) in lists {
        for (rank, number) in list.into_iter().enumerate() {
            *scores.entry(number).or_default() += weight / (RANK + rank as f32 + 1.0);
        }
    }
    best(scores.into_iter().collect(), usize::MAX)
}

/// The chunks one call is shown: of every field's list the first, then the second, and so on, each chunk once, as far as
/// the budget of tokens goes. In the order of the documents, for that is how they are understood.
pub fn shared_context(index: &Index, wanted: &[&[u32]], budget: u64) -> Vec<u32> {
    let deepest = wanted.iter().map(|list| list.len()).max().unwrap_or(0);
    let (mut taken, mut tokens) = (Vec::new(), 0);
    for rank in 0..deepest {
        for list in wanted {
            let Some(number) = list.get(rank) else { continue };
            let cost = index.chunks[*number as usize].tokens();
            let is_first = taken.is_empty();
            if !taken.contains(number) && (is_first || tokens + cost <= budget) {
                taken.push(*number);
                tokens += cost;
            }
        }
    }
    taken.sort_unstable();
    taken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::chunk::{ChunkSize, chunks};
    use crate::documents::Document;

    fn index(texts: &[&str]) -> Index {
        let documents: Vec<Document> = texts.iter().map(|text| Document::from_bytes("a.txt", text.as_bytes()).unwrap()).collect();
        Index::new(chunks(&documents, ChunkSize::default()))
    }

    #[test]
    fn what_both_searches_find_is_before_what_one_finds() {
        let mut index = index(&["rent and deposit of the flat", "the monthly amount to be paid", "rent rent rent", "other"]);
        assert!(index.add_vectors(&[vec![0.9, 0.4], vec![1.0, 0.1], vec![-1.0, 0.0], vec![0.0, -1.0]]));
        let question = Question { text: "rent".into(), vector: Some(vec![1.0, 0.2]) };
        assert_eq!(index.find(&[question], 1), [0]);
        assert_eq!(index.find(&[Question::words("rent")], 1), [2]);
    }

    #[test]
    fn the_name_of_a_file_tells_alike_documents_apart() {
        let text = b"The deposit is 900 EUR.";
        let named = |name: &str| Document::from_bytes(name, text).unwrap();
        let mut other = named("lease-mill-lane.txt");
        other.content = Document::from_bytes("x.txt", b"The deposit is 700 EUR.").unwrap().content;
        let index = Index::new(chunks(&[named("lease_castle-road.txt"), other], ChunkSize::default()));
        assert_eq!(index.find(&[Question::words("deposit mill lane")], 1), [1]);
    }

    #[test]
    fn equal_and_nearly_equal_chunks_are_given_once() {
        let long: String = (0..50).map(|number| format!("rent{number} ")).collect();
        let near = long.replace("rent25", "house");
        let index = index(&[&long, &long, &near, "rent1 stands here, too"]);
        assert_eq!(index.find(&[Question::words("rent1")], 4).len(), 2);
    }

    #[test]
    fn every_field_gets_its_best_chunk_before_any_gets_its_second() {
        let index = index(&["a a", "b b", "c c", "d d"]);
        let cost = index.chunks[0].tokens();
        assert_eq!(shared_context(&index, &[&[3, 0, 1], &[2, 3]], 2 * cost), [2, 3]);
        assert_eq!(shared_context(&index, &[&[3, 0, 1], &[2, 3]], 100 * cost), [0, 1, 2, 3]);
        assert_eq!(shared_context(&index, &[&[3], &[2]], 1), [3]);
    }

    #[test]
    fn vectors_that_do_not_fit_are_not_searched() {
        let mut index = index(&["a", "b"]);
        assert!(!index.add_vectors(&[vec![1.0]]) && !index.has_vectors());
    }
}
