//! Those who carry calls, run ahead: workers, or the seats of keys, each busy for as long as a call usually takes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::time::Timestamp;

/// A number of them.
#[derive(Debug)]
pub(crate) struct Crew {
    free: usize,
    /// When the others are back.
    back: BinaryHeap<Reverse<Timestamp>>,
    busy_for: Duration,
}

impl Crew {
    /// So many who are free, and others who will be back; each call keeps one of them for `busy_for`.
    pub(crate) fn new(free: usize, back: impl Iterator<Item = Timestamp>, busy_for: Duration) -> Crew {
        Crew { free, back: back.map(Reverse).collect(), busy_for }
    }

    /// When one of them can carry a call, at `now` at the earliest.
    pub(crate) fn free_at(&self, now: Timestamp) -> Timestamp {
        if self.free > 0 {
            return now;
        }
        self.back.peek().map_or(Timestamp::NEVER, |Reverse(at)| now.max(*at))
    }

    /// One of them carries a call from `at` on.
    pub(crate) fn take(&mut self, at: Timestamp) {
        if self.back.peek().is_some_and(|Reverse(back)| *back <= at) || self.free == 0 {
            self.back.pop();
        } else {
            self.free -= 1;
        }
        self.back.push(Reverse(at + self.busy_for));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_carries_a_call_is_back_after_it() {
        let at = |seconds: u64| Timestamp::from_secs(100 + seconds);
        let mut crew = Crew::new(1, [at(3)].into_iter(), Duration::from_secs(10));
        crew.take(at(0));
        assert_eq!(crew.free_at(at(1)), at(3));
        crew.take(at(3));
        assert_eq!((crew.free_at(at(4)), crew.free_at(at(11))), (at(10), at(11)));
    }
}
