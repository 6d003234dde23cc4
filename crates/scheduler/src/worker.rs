//! Workers: how many calls may be under way, and the rest each takes after one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::crew::Crew;
use crate::outcome::{Blocked, Reason};
use crate::time::Timestamp;

/// The pool of workers; numbers are handed out lowest first.
#[derive(Debug)]
pub(crate) struct Workers {
    most: u32,
    rest: Duration,
    made: u32,
    idle: BinaryHeap<Reverse<u32>>,
    resting: VecDeque<(Timestamp, u32)>,
    busy: u32,
    /// Since when each carries its call; zero for one that carries none.
    since: Vec<Timestamp>,
}

impl Workers {
    pub(crate) fn new(most: usize, rest: Duration) -> Workers {
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
        Workers { most, rest, made: 0, idle: BinaryHeap::new(), resting: VecDeque::new(), busy: 0, since: Vec::new() }
    }

    /// Takes on another number and another rest; calls above the number run to their end.
    pub(crate) fn resize(&mut self, now: Timestamp, most: usize, rest: Duration) {
        self.most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
        self.rest = rest;
        for (until, _) in &mut self.resting {
            *until = (*until).min(now + rest);
        }
        self.advance(now);
    }

    /// Calls under way.
    pub(crate) fn busy(&self) -> u32 {
        self.busy
    }

    /// The most calls under way.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// Ends rests that are over.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some(&(until, worker)) = self.resting.front() {
            if until > now {
                break;
            }
            self.resting.pop_front();
            self.idle.push(Reverse(worker));
        }
    }

    /// What keeps every worker from taking a call.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        let taken = u64::from(self.made) - self.idle.len() as u64;
        if taken < u64::from(self.most) {
            return None;
        }
        Some(match self.resting.front() {
            Some(&(until, _)) => Blocked { reason: Reason::WorkerCooldown, until },
            None => Blocked { reason: Reason::Concurrency, until: Timestamp::NEVER },
        })
    }

    /// Seats a call with the lowest idle worker.
    pub(crate) fn start(&mut self, now: Timestamp) -> u32 {
        self.busy += 1;
        let worker = self.idle.pop().map_or_else(
            || {
                self.made += 1;
                self.made - 1
            },
            |Reverse(worker)| worker,
        );
        self.since.resize(self.made as usize, Timestamp::ZERO);
        self.since[worker as usize] = now;
        worker
    }

    /// All of them run ahead, where a call takes so long.
    pub(crate) fn crew(&self, call: Duration) -> Crew {
        let taken = self.made - u32::try_from(self.idle.len()).unwrap_or(self.made);
        let busy = self.since.iter().filter(|since| **since > Timestamp::ZERO).map(|since| *since + call + self.rest);
        let resting = self.resting.iter().map(|&(until, _)| until);
        Crew::new(self.most.saturating_sub(taken) as usize, busy.chain(resting), call.saturating_add(self.rest))
    }

    /// The call ended; the worker rests.
    pub(crate) fn end(&mut self, now: Timestamp, worker: u32) {
        self.busy -= 1;
        self.since[worker as usize] = Timestamp::ZERO;
        if self.rest.is_zero() {
            self.idle.push(Reverse(worker));
        } else {
            self.resting.push_back((now + self.rest, worker));
        }
    }

    /// After [`Workers::end`]: the call never left, and nobody rests from it.
    pub(crate) fn unused(&mut self, worker: u32) {
        if let Some((_, worker)) = self.resting.pop_back_if(|(_, resting)| *resting == worker) {
            self.idle.push(Reverse(worker));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_rests_after_a_call_and_comes_back() {
        let mut workers = Workers::new(1, Duration::from_secs(5));
        let now = Timestamp::from_secs(10);
        let worker = workers.start(now);
        assert_eq!(workers.blocked(), Some(Blocked { reason: Reason::Concurrency, until: Timestamp::NEVER }));
        workers.end(now, worker);
        let until = now + Duration::from_secs(5);
        assert_eq!(workers.blocked(), Some(Blocked { reason: Reason::WorkerCooldown, until }));
        workers.advance(until);
        assert_eq!((workers.blocked(), workers.start(until)), (None, 0));
    }

    #[test]
    fn the_lowest_number_is_handed_out_first() {
        let mut workers = Workers::new(8, Duration::ZERO);
        let now = Timestamp::from_secs(10);
        assert_eq!((workers.start(now), workers.start(now), workers.start(now)), (0, 1, 2));
        workers.end(now, 1);
        workers.end(now, 0);
        assert_eq!((workers.start(now), workers.start(now), workers.start(now)), (0, 1, 3));
    }
}
