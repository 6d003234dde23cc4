//! Vector search: every vector is looked at, which takes milliseconds up to some ten thousands of them.

use crate::best::best;

/// Sums kept side by side, so that the processor adds many at once.
const LANES: usize = 16;

/// Vectors of length one, all of one dimension.
#[derive(Debug, Default)]
pub struct Vectors {
    dimensions: usize,
    numbers: Vec<f32>,
}

impl Vectors {
    /// Keeps vectors; they are known by their number from 0. `None` when there are none, or their lengths differ.
    pub fn new(vectors: &[Vec<f32>]) -> Option<Vectors> {
        let dimensions = vectors.first()?.len();
        if dimensions == 0 || vectors.iter().any(|vector| vector.len() != dimensions) {
            return None;
        }
        let numbers = vectors.iter().flat_map(|vector| normalized(vector)).collect();
        Some(Vectors { dimensions, numbers })
    }

    /// The nearest to a question's vector, nearest first, with their cosines; nothing for one of another dimension.
    pub fn search(&self, question: &[f32], most: usize) -> Vec<(u32, f32)> {
        if question.len() != self.dimensions {
            return Vec::new();
        }
        let question = normalized(question);
        let each = self.numbers.chunks_exact(self.dimensions);
        best((0..).zip(each.map(|vector| dot(&question, vector))).collect(), most)
    }
}

fn normalized(vector: &[f32]) -> Vec<f32> {
    let length = dot(vector, vector).sqrt();
    let scale = if length > 0.0 { length.recip() } else { 0.0 };
    vector.iter().map(|number| number * scale).collect()
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (ones, others) = (one.chunks_exact(LANES), other.chunks_exact(LANES));
    let rest: f32 = ones.remainder().iter().zip(others.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in ones.zip(others) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_nearest_come_first_whatever_their_length() {
        let vectors = Vectors::new(&[vec![9.0, 0.0, 0.0], vec![1.0, 1.0, 0.0], vec![0.0, 0.0, 2.0]]).unwrap();
        let found = vectors.search(&[1.0, 0.9, 0.0], 2);
        assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 0]);
        assert!((found[0].1 - 0.9986).abs() < 1e-3);
        assert!(vectors.search(&[1.0], 2).is_empty());
    }

    #[test]
    fn vectors_of_several_dimensions_are_no_index() {
        assert!(Vectors::new(&[vec![1.0], vec![1.0, 2.0]]).is_none());
        assert!(Vectors::new(&[]).is_none());
    }

    #[test]
    fn sums_in_lanes_are_the_sum() {
        let one: Vec<f32> = (0..37).map(|number| number as f32).collect();
        assert!((dot(&one, &one) - (0..37).map(|number| (number * number) as f32).sum::<f32>()).abs() < 1.0);
    }
}
