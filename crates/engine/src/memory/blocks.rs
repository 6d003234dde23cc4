//! Requests of a day, taken in blocks that are written down before the first of them is sent; large ones ahead of time, so that
//! nobody waits for the disk.

use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::Mutex;
use tidegate_scheduler::Timestamp;

use crate::store::{Store, StoreError};

/// Number of a project, and a model's family.
pub(crate) type Place = (u32, Arc<str>);

/// Blocks of so many requests and more are used up quickly: the next one is written down when half of one is left.
const LARGE: u64 = 64;

/// Requests of a day that are written down and not yet sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub day_end: Timestamp,
    /// When this process took its first block of the day.
    pub first_taken: Timestamp,
    /// The day's total of all processes when the block was taken, the block included.
    pub total: u64,
    pub left: u64,
    /// When it was begun.
    pub begun: Timestamp,
    size: u64,
    /// The next one was ordered.
    ordered: bool,
}

/// A block that is to be written down.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub place: Place,
    pub project: Arc<str>,
    pub day_end: Timestamp,
    pub size: u64,
    /// Of the day.
    pub limit: Option<u64>,
}

/// Blocks that were written down ahead of time, by another thread.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<HashMap<Place, Block>>);

impl Order {
    /// Writes the block down. What lies above the limit is not there: it belongs to other processes.
    pub(crate) fn fulfil(&self, store: &Store, now: Timestamp) -> Result<Block, StoreError> {
        let Order { place: (_, family), project, day_end, size, limit } = self;
        let total = store.reserve_day(project, family, *day_end, *size)?;
        let above = limit.map_or(0, |limit| total.saturating_sub(limit)).min(*size);
        if above > 0 {
            let _ = store.return_day(project, family, *day_end, above);
        }
        let (total, left) = (total - above, size - above);
        Ok(Block { day_end: *day_end, first_taken: now, total, left, begun: now, size: *size, ordered: false })
    }
}

impl Block {
    /// What a second takes at the pace it is used up; no more than four times of it at once.
    pub(crate) fn a_second(&self, now: Timestamp) -> u64 {
        let used = self.size.saturating_sub(self.left) as f64;
        let lasted = (now - self.begun).as_secs_f64().max(0.001);
        ((used / lasted) as u64).min(self.size * 4)
    }

    /// Whether the next one is to be ordered now; says so once.
    pub(crate) fn wants_next(&mut self) -> bool {
        let wants = !self.ordered && self.size >= LARGE && self.left * 2 <= self.size;
        self.ordered |= wants;
        wants
    }
}

impl Ahead {
    /// Keeps a block until it is needed.
    pub(crate) fn put(&self, place: Place, block: Block) {
        self.0.lock().insert(place, block);
    }

    /// The block of a place, where it is there and of this day.
    pub(crate) fn take(&self, place: &Place, day_end: Timestamp) -> Option<Block> {
        self.0.lock().remove(place).filter(|block| block.day_end == day_end)
    }

    /// The block of a place, of whatever day.
    pub(crate) fn drain_of(&self, place: &Place) -> Option<Block> {
        self.0.lock().remove(place)
    }

    /// All that nobody needed.
    pub(crate) fn drain(&self) -> Vec<(Place, Block)> {
        self.0.lock().drain().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn order(size: u64, limit: Option<u64>) -> Order {
        let day_end = Timestamp::from_secs(100);
        Order { place: (0, "model".into()), project: "main".into(), day_end, size, limit }
    }

    #[test]
    fn a_block_holds_what_the_days_limit_leaves() {
        let (store, now) = (Store::in_memory("http://a").unwrap(), Timestamp::from_secs(1));
        let first = order(100, Some(150)).fulfil(&store, now).unwrap();
        assert_eq!((first.total, first.left), (100, 100));
        let second = order(100, Some(150)).fulfil(&store, now).unwrap();
        assert_eq!((second.total, second.left), (150, 50));
    }

    #[test]
    fn a_second_takes_what_the_pace_tells_and_no_more_than_four_blocks() {
        let (store, begun) = (Store::in_memory("http://a").unwrap(), Timestamp::from_secs(1));
        let mut block = order(100, None).fulfil(&store, begun).unwrap();
        block.left = 50;
        let later = |millis| block.a_second(begun + std::time::Duration::from_millis(millis));
        assert_eq!((later(10_000), later(250), later(100), later(0)), (5, 200, 400, 400));
    }

    #[test]
    fn the_next_of_a_large_block_is_ordered_once_and_before_it_is_needed() {
        let (store, now) = (Store::in_memory("http://a").unwrap(), Timestamp::from_secs(1));
        let ordered_at = |size: u64| {
            let mut block = order(size, None).fulfil(&store, now).unwrap();
            let mut at = Vec::new();
            while block.left > 0 {
                block.left -= 1;
                at.extend(block.wants_next().then_some(block.left));
            }
            at
        };
        assert_eq!((ordered_at(200), ordered_at(10)), (vec![100], vec![]));
        let ahead = Ahead::default();
        ahead.put((0, "model".into()), order(5, None).fulfil(&store, now).unwrap());
        assert!(ahead.take(&(0, "model".into()), Timestamp::from_secs(200)).is_none(), "it is another day's");
    }
}
