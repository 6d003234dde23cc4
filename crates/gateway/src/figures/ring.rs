//! The last sixty of something, minutes or seconds: each place is used again when its time has passed.

/// How many are kept.
pub const KEPT: u64 = 60;

/// What happened in each of the last [`KEPT`] spans of equal length, which are numbered on for ever.
#[derive(Debug)]
pub struct Ring<T> {
    places: Vec<(u64, T)>,
}

impl<T: Default> Ring<T> {
    /// With nothing in it.
    pub fn new() -> Ring<T> {
        Ring { places: (0..KEPT).map(|_| (u64::MAX, T::default())).collect() }
    }

    /// What is known of span `number`, to be added to. A span that is long over is the newest of its place.
    pub fn at(&mut self, number: u64) -> &mut T {
        let place = &mut self.places[(number % KEPT) as usize];
        if place.0 != number {
            *place = (number, T::default());
        }
        &mut place.1
    }

    /// What happened in span `number`; `None` for nothing, and for what is forgotten.
    pub fn get(&self, number: u64) -> Option<&T> {
        let (held, value) = &self.places[(number % KEPT) as usize];
        (*held == number).then_some(value)
    }
}

/// The spans to be told: the last [`KEPT`] up to `now`, but none before `first`.
pub fn recent(first: u64, now: u64) -> impl Iterator<Item = u64> {
    first.max((now + 1).saturating_sub(KEPT))..=now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_forgets_what_was_sixty_spans_ago() {
        let mut ring: Ring<u32> = Ring::new();
        *ring.at(100) += 1;
        *ring.at(100) += 1;
        *ring.at(101) += 5;
        assert_eq!((ring.get(100), ring.get(101), ring.get(102)), (Some(&2), Some(&5), None));
        *ring.at(160) += 7;
        assert_eq!((ring.get(100), ring.get(160)), (None, Some(&7)));
    }

    #[test]
    fn sixty_spans_are_told_and_none_before_the_first() {
        assert_eq!(recent(100, 102).collect::<Vec<_>>(), [100, 101, 102]);
        assert_eq!((recent(0, 500).count(), recent(0, 500).next()), (60, Some(441)));
        assert_eq!(recent(0, 3).count(), 4);
    }
}
