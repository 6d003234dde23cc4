//! The slotted sliding log: how much was sent in the last minute, counted so that no server window can hold more.
//!
//! Sends fall into slots; a slot leaves the window only when its *end* is a whole span (minute + guard) ago. So any two
//! sends that this log puts into different windows are at least a minute apart at the server, as long as the way there
//! varies by no more than the guard. Only slots that hold something are kept.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::{Timestamp, micros};

/// Number of a slot; a permit remembers it for settlement.
pub(crate) type SlotIndex = u64;

/// Lengths of a window, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    slot: u64,
    span: u64,
}

impl Shape {
    /// A window of `minute` plus `guard`, in 600 slots a minute.
    pub(crate) fn new(minute: Duration, guard: Duration) -> Shape {
        Shape { slot: (micros(minute) / 600).max(1), span: micros(minute) + micros(guard) }
    }

    fn index(self, at: Timestamp) -> SlotIndex {
        at.as_micros() / self.slot
    }

    /// When a slot's content has left the window.
    fn leaves(self, index: SlotIndex) -> Timestamp {
        Timestamp::from_micros((index + 1) * self.slot + self.span)
    }

    /// The span as a duration.
    pub(crate) fn span(self) -> Duration {
        Duration::from_micros(self.span)
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    index: SlotIndex,
    requests: u64,
    tokens: u64,
}

/// What was sent within the last span.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: VecDeque<Slot>,
    requests: u64,
    tokens: u64,
}

/// When enough will have left the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// From then on there is room; [`Timestamp::NEVER`] when there never is.
    pub at: Timestamp,
    /// What would still be free at that instant, beyond what was asked for.
    pub slack: u64,
}

impl Window {
    /// Requests in the window; call [`Window::advance`] first.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Tokens in the window; call [`Window::advance`] first.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Forgets what has left the window by `now`.
    pub(crate) fn advance(&mut self, now: Timestamp, shape: Shape) {
        while let Some(slot) = self.slots.front().copied() {
            if shape.leaves(slot.index) > now {
                break;
            }
            self.requests -= slot.requests;
            self.tokens -= slot.tokens;
            self.slots.pop_front();
        }
    }

    /// Charges one request of `tokens` at `now`; returns where, for settlement.
    pub(crate) fn charge(&mut self, now: Timestamp, tokens: u64, shape: Shape) -> SlotIndex {
        // A clock that steps back must not open a slot behind the last one.
        let last = self.slots.back().map_or(0, |slot| slot.index);
        let index = shape.index(now).max(last);
        match self.slots.back_mut() {
            Some(slot) if slot.index == index => {
                slot.requests += 1;
                slot.tokens += tokens;
            }
            _ => self.slots.push_back(Slot { index, requests: 1, tokens }),
        }
        self.requests += 1;
        self.tokens += tokens;
        index
    }

    /// Replaces a charge of `charged` tokens by `used`; nothing happens when its slot has left.
    pub(crate) fn settle(&mut self, index: SlotIndex, charged: u64, used: u64) {
        if let Ok(at) = self.slots.binary_search_by_key(&index, |slot| slot.index) {
            let slot = &mut self.slots[at];
            let before = slot.tokens;
            slot.tokens = before.saturating_sub(charged) + used;
            self.tokens = self.tokens - before + slot.tokens;
        }
    }

    /// Takes a charge back whole: the server counted nothing.
    pub(crate) fn refund(&mut self, index: SlotIndex, charged: u64) {
        self.settle(index, charged, 0);
        if let Ok(at) = self.slots.binary_search_by_key(&index, |slot| slot.index) {
            let taken = self.slots[at].requests.min(1);
            self.slots[at].requests -= taken;
            self.requests -= taken;
        }
    }

    /// When one more request fits under `limit` requests.
    pub(crate) fn room_for_request(&self, now: Timestamp, limit: u64, shape: Shape) -> Room {
        self.room(now, self.requests, 1, limit, shape, |slot| slot.requests)
    }

    /// When `tokens` more fit under `limit` tokens.
    pub(crate) fn room_for_tokens(&self, now: Timestamp, tokens: u64, limit: u64, shape: Shape) -> Room {
        self.room(now, self.tokens, tokens, limit, shape, |slot| slot.tokens)
    }

    fn room(&self, now: Timestamp, used: u64, want: u64, limit: u64, shape: Shape, weight: impl Fn(&Slot) -> u64) -> Room {
        if want > limit {
            return Room { at: Timestamp::NEVER, slack: 0 };
        }
        let mut left = used;
        let mut at = now;
        let mut slots = self.slots.iter();
        while left + want > limit {
            let Some(slot) = slots.next() else { break };
            left -= weight(slot);
            at = at.max(shape.leaves(slot.index));
        }
        Room { at, slack: limit.saturating_sub(left + want) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn shape() -> Shape {
        Shape::new(MINUTE, Duration::from_millis(500))
    }

    #[test]
    fn a_slot_counts_whole_until_its_end_is_a_span_ago() {
        let mut window = Window::default();
        let sent = Timestamp::from_micros(1_000_010_000);
        window.charge(sent, 7, shape());
        let room = window.room_for_request(sent, 1, shape());
        assert_eq!(room.at, Timestamp::from_micros(1_000_100_000 + 60_500_000));
        window.advance(Timestamp::from_micros(room.at.as_micros() - 1), shape());
        assert_eq!(window.requests(), 1);
        window.advance(room.at, shape());
        assert_eq!((window.requests(), window.tokens()), (0, 0));
    }

    #[test]
    fn settling_works_both_ways_and_is_ignored_once_the_slot_left() {
        let mut window = Window::default();
        let now = Timestamp::from_secs(100);
        let slot = window.charge(now, 100, shape());
        window.settle(slot, 100, 130);
        assert_eq!(window.tokens(), 130);
        window.settle(slot, 130, 20);
        assert_eq!(window.tokens(), 20);
        window.advance(now + Duration::from_secs(61), shape());
        window.settle(slot, 20, 500);
        assert_eq!(window.tokens(), 0);
    }

    #[test]
    fn a_refund_gives_back_the_request_too() {
        let mut window = Window::default();
        let slot = window.charge(Timestamp::from_secs(1), 10, shape());
        window.charge(Timestamp::from_secs(1), 5, shape());
        window.refund(slot, 10);
        assert_eq!((window.requests(), window.tokens()), (1, 5));
    }

    #[test]
    fn more_than_the_limit_never_fits() {
        let window = Window::default();
        assert!(window.room_for_tokens(Timestamp::ZERO, 11, 10, shape()).at.is_never());
    }

    #[test]
    fn a_clock_that_steps_back_opens_no_slot_behind_the_last() {
        let mut window = Window::default();
        let later = window.charge(Timestamp::from_secs(100), 1, shape());
        assert_eq!(window.charge(Timestamp::from_secs(90), 1, shape()), later);
    }

    proptest! {
        /// Greedy sends at the earliest allowed instants, each counted by the server up to a guard later: no 60 s hold more than the limit.
        #[test]
        fn no_server_minute_ever_holds_more_than_the_limit(
            limit in 1u64..40, steps in prop::collection::vec((0u64..3_000_000, 0u64..500_000), 1..400)
        ) {
            let mut window = Window::default();
            let mut now = Timestamp::from_secs(1_000);
            let mut arrivals = Vec::new();
            for (gap, jitter) in steps {
                now = now + Duration::from_micros(gap);
                window.advance(now, shape());
                now = window.room_for_request(now, limit, shape()).at;
                window.advance(now, shape());
                window.charge(now, 1, shape());
                arrivals.push(now.as_micros() + jitter);
            }
            arrivals.sort_unstable();
            for (i, &start) in arrivals.iter().enumerate() {
                let within = arrivals[i..].iter().take_while(|&&at| at < start + 60_000_000).count() as u64;
                prop_assert!(within <= limit, "{within} of {limit} within a minute");
            }
        }

        /// The hint is exact: at the instant told there is room, one microsecond earlier there is none.
        #[test]
        fn the_told_instant_is_exact(weights in prop::collection::vec((0u64..2_000_000, 1u64..40), 1..200), want in 1u64..100) {
            let limit = 100;
            let mut window = Window::default();
            let mut now = Timestamp::from_secs(50);
            for (gap, weight) in weights {
                now = now + Duration::from_micros(gap);
                window.advance(now, shape());
                if window.tokens() + weight <= limit {
                    window.charge(now, weight, shape());
                }
            }
            let room = window.room_for_tokens(now, want, limit, shape());
            if room.at > now {
                window.advance(Timestamp::from_micros(room.at.as_micros() - 1), shape());
                prop_assert!(window.tokens() + want > limit);
            }
            window.advance(room.at, shape());
            prop_assert_eq!(limit - window.tokens() - want, room.slack);
        }
    }
}
