//! Turns: parties that wait at the same priority go round and round, whoever of them has handed in how much.
//!
//! Each prompt gets a round when it is handed in, one later than the one before of its party; the queue goes by rounds. A large
//! prompt stands for several rounds, so that parties share tokens as well as requests. A party
//! that comes anew begins in the round that is being served, so nobody saves up turns and nobody waits behind another's heap.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use crate::job::Place;
use crate::jobs::Mix;

/// Who had which round last, in one lane; of a prompt that stands for several, the last of them.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last: HashMap<Seat, u32, BuildHasherDefault<Mix>>,
    /// The highest round given so far.
    latest: u32,
}

/// A party at one priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Seat {
    priority: i32,
    party: u32,
}

impl Turns {
    /// The round of the next prompt of `party`, which is about to join `queue` and stands for so many `rounds`.
    pub(crate) fn next<T>(&mut self, priority: i32, party: u32, rounds: u32, queue: &BTreeMap<Place, T>) -> u32 {
        if queue.is_empty() {
            // Rounds that nobody waits in are over.
            self.last.clear();
        }
        let seat = Seat { priority, party };
        let own = self.last.get(&seat).map(|last| last.saturating_add(1));
        let round = match own {
            // Whoever had the latest round is behind everybody; the common case, where one party waits alone.
            Some(own) if own > self.latest => own,
            own => own.unwrap_or(0).max(self.served(priority, queue)),
        };
        self.latest = self.latest.max(round);
        self.last.insert(seat, round.saturating_add(rounds - 1));
        round
    }

    /// The round that is being served at a priority.
    fn served<T>(&self, priority: i32, queue: &BTreeMap<Place, T>) -> u32 {
        let first = queue.range(Place::first(priority)..).next().map(|(place, _)| place);
        first.filter(|place| place.priority.0 == priority).map_or(self.latest, |place| place.round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands in prompts of these parties and tells in which order they go.
    fn order(parties: &[u32]) -> Vec<u32> {
        let (mut turns, mut queue) = (Turns::default(), BTreeMap::new());
        for (sequence, &party) in parties.iter().enumerate() {
            let round = turns.next(0, party, 1, &queue);
            queue.insert(Place::new(0, round, sequence as u64), party);
        }
        queue.into_values().collect()
    }

    #[test]
    fn parties_take_turns_and_one_alone_goes_in_order() {
        assert_eq!(order(&[1, 1, 1, 2, 2, 3]), [1, 2, 3, 1, 2, 1]);
        assert_eq!(order(&[7, 7, 7]), [7, 7, 7]);
    }

    #[test]
    fn who_comes_late_begins_in_the_round_that_is_served() {
        let (mut turns, mut queue) = (Turns::default(), BTreeMap::new());
        for sequence in 0..10 {
            queue.insert(Place::new(0, turns.next(0, 1, 1, &queue), sequence), 1);
        }
        for _ in 0..6 {
            queue.pop_first();
        }
        queue.insert(Place::new(0, turns.next(0, 2, 1, &queue), 10), 2);
        assert_eq!(queue.into_values().collect::<Vec<_>>(), [1, 2, 1, 1, 1]);
    }

    #[test]
    fn a_prompt_that_stands_for_three_rounds_lets_three_of_others_pass() {
        let (mut turns, mut queue) = (Turns::default(), BTreeMap::new());
        for (sequence, (party, rounds)) in [(1, 3), (1, 3), (2, 1), (2, 1), (2, 1), (2, 1)].into_iter().enumerate() {
            queue.insert(Place::new(0, turns.next(0, party, rounds, &queue), sequence as u64), party);
        }
        assert_eq!(queue.into_values().collect::<Vec<_>>(), [1, 2, 2, 2, 1, 2]);
    }

    #[test]
    fn rounds_of_another_priority_are_no_debt() {
        let (mut turns, mut queue) = (Turns::default(), BTreeMap::new());
        for sequence in 0..5 {
            queue.insert(Place::new(9, turns.next(9, 1, 1, &queue), sequence), 1);
        }
        queue.insert(Place::new(0, turns.next(0, 2, 1, &queue), 5), 2);
        queue.insert(Place::new(0, turns.next(0, 1, 1, &queue), 6), 1);
        queue.insert(Place::new(0, turns.next(0, 2, 1, &queue), 7), 2);
        assert_eq!(queue.into_values().collect::<Vec<_>>(), [1, 1, 1, 1, 1, 2, 1, 2]);
    }

    #[test]
    fn an_empty_queue_forgets_who_was_served() {
        let (mut turns, mut queue) = (Turns::default(), BTreeMap::new());
        for party in 0..100 {
            turns.next(0, party, 1, &BTreeMap::<Place, u32>::new());
        }
        assert_eq!(turns.last.len(), 1);
        let round = turns.next(0, 5, 1, &queue);
        queue.insert(Place::new(0, round, 1), 5);
        assert_eq!(round, turns.latest, "what comes back with an older round still goes first");
    }
}
