//! The best of many scored texts.

/// The highest scores, highest first, at most so many. Equal ones in the order of their numbers, so that equal runs find the same.
pub(crate) fn best(mut scored: Vec<(u32, f32)>, most: usize) -> Vec<(u32, f32)> {
    let better = |one: &(u32, f32), other: &(u32, f32)| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0));
    if scored.len() > most {
        if most > 0 {
            scored.select_nth_unstable_by(most - 1, better);
        }
        scored.truncate(most);
    }
    scored.sort_unstable_by(better);
    scored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_come_first_and_equal_ones_in_their_order() {
        let scored = vec![(3, 0.5), (1, 0.5), (2, 0.9), (0, 0.1)];
        assert_eq!(best(scored.clone(), 3), [(2, 0.9), (1, 0.5), (3, 0.5)]);
        assert_eq!(best(scored.clone(), 9).len(), 4);
        assert_eq!(best(scored, 0), []);
    }
}
