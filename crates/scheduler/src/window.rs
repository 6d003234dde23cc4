//! The slotted sliding log: how much was sent in the last minute, counted so that no server window can hold more.
//!
//! Sends fall into slots; a slot leaves the window only when its *last* send is a whole span (minute + guard) ago. So any
//! two sends that this log puts into different windows are at least a minute apart at the server, as long as the way there
//! varies by no more than the guard. Only slots that hold something are kept.

use std::collections::VecDeque;
use std::time::Duration;

use crate::outcome::Used;
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
        Shape { slot: (micros(minute) / 600).max(1), span: micros(minute).saturating_add(micros(guard)) }
    }

    fn index(self, at: Timestamp) -> SlotIndex {
        at.as_micros() / self.slot
    }

    fn ends(self, index: SlotIndex) -> Timestamp {
        Timestamp::from_micros((index + 1).saturating_mul(self.slot))
    }

    /// When a slot's content has left the window.
    fn leaves(self, slot: &Slot) -> Timestamp {
        slot.last + self.span()
    }

    /// The span as a duration.
    pub(crate) fn span(self) -> Duration {
        Duration::from_micros(self.span)
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    index: SlotIndex,
    /// Its last send, as far as known.
    last: Timestamp,
    requests: u64,
    input: u64,
    output: u64,
    risk: u64,
}

impl Slot {
    fn tokens(&self, counts_total: bool) -> u64 {
        if counts_total { self.input + self.output } else { self.input }
    }
}

/// What was sent within the last span.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    /// The server counts output tokens too.
    pub counts_total: bool,
    /// Slots stay until their *end* is a span ago: half a slot more, on the mean, for calls that come late.
    pub whole_slots: bool,
    slots: VecDeque<Slot>,
    requests: u64,
    input: u64,
    output: u64,
    /// Sum over unsettled charges of the square of what each may be off.
    risk: u64,
}

/// Tokens of one request: the estimate, how far it is usually off (one standard deviation), and those of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weight {
    pub tokens: u32,
    pub spread: u32,
    pub output: u32,
}

impl Weight {
    /// A weight; what 32 bits do not hold is more than any window takes.
    pub(crate) fn new(tokens: u64, spread: u64, output: u32) -> Weight {
        let narrow = |amount: u64| u32::try_from(amount).unwrap_or(u32::MAX);
        Weight { tokens: narrow(tokens), spread: narrow(spread), output }
    }

    /// The weight it will have when its answer has told: near the estimate, and certain.
    pub(crate) fn settled(self) -> Weight {
        Weight { spread: 0, ..self }
    }

    fn risk(self) -> u64 {
        u64::from(self.spread) * u64::from(self.spread)
    }
}

/// No single figure counts for more, so that no sum of millions of them overflows.
const MOST: u64 = 1 << 40;

/// Standard deviations that the sum of unsettled estimates is given as a margin.
///
/// Simulated at 1 M tokens a minute with errors of 15 %: 2 keeps refusals under 0.3 %, 3 under 0.06 %, for 0.3 points of use.
const MARGIN: f64 = 3.0;

/// When enough will have left the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// From then on there is room; [`Timestamp::NEVER`] when there never is.
    pub at: Timestamp,
    /// What would still be free at that instant, beyond what was asked for.
    pub slack: u64,
}

impl Window {
    /// An empty window.
    pub(crate) fn new(counts_total: bool) -> Window {
        Window { counts_total, ..Window::default() }
    }

    /// Requests in the window; call [`Window::advance`] first.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Tokens in the window that count; call [`Window::advance`] first.
    pub(crate) fn tokens(&self) -> u64 {
        if self.counts_total { self.input + self.output } else { self.input }
    }

    /// Tokens of the prompts in the window, and of prompts and answers together.
    pub(crate) fn both_sums(&self) -> (u64, u64) {
        (self.input, self.input + self.output)
    }

    /// What of a weight counts.
    pub(crate) fn amount(&self, weight: Weight) -> u64 {
        u64::from(weight.tokens) + if self.counts_total { u64::from(weight.output) } else { 0 }
    }

    /// Forgets what has left the window by `now`.
    pub(crate) fn advance(&mut self, now: Timestamp, shape: Shape) {
        while let Some(slot) = self.slots.front().copied() {
            if shape.leaves(&slot) > now {
                break;
            }
            self.requests -= slot.requests;
            self.input -= slot.input;
            self.output -= slot.output;
            self.risk -= slot.risk;
            self.slots.pop_front();
        }
    }

    /// Charges one request at `now`; returns where, for settlement.
    pub(crate) fn charge(&mut self, now: Timestamp, weight: Weight, shape: Shape) -> SlotIndex {
        // A clock that steps back must not open a slot behind the last one.
        let last = self.slots.back().map_or(0, |slot| slot.index);
        let index = shape.index(now).max(last);
        let (input, output) = (u64::from(weight.tokens), u64::from(weight.output));
        let last = if self.whole_slots { shape.ends(index) } else { now };
        self.add(Slot { index, last, requests: 1, input, output, risk: weight.risk().min(MOST) });
        index
    }

    /// Takes in what an earlier process sent in the slot that begins at `start`; slots come oldest first, before any charge.
    pub(crate) fn remember(&mut self, start: Timestamp, requests: u64, tokens: u64, shape: Shape) {
        let index = shape.index(start).max(self.slots.back().map_or(0, |slot| slot.index));
        self.add(Slot { index, last: shape.ends(index), requests, input: tokens, output: 0, risk: 0 });
    }

    /// What is in it, the oldest first: start of each slot, requests, tokens.
    pub(crate) fn contents(&self, shape: Shape) -> Vec<(Timestamp, u64, u64)> {
        let start = |slot: &Slot| Timestamp::from_micros(slot.index.saturating_mul(shape.slot));
        self.slots.iter().map(|slot| (start(slot), slot.requests, slot.tokens(self.counts_total))).collect()
    }

    fn add(&mut self, more: Slot) {
        match self.slots.back_mut() {
            Some(slot) if slot.index == more.index => {
                slot.last = slot.last.max(more.last);
                slot.requests += more.requests;
                slot.input += more.input;
                slot.output += more.output;
                slot.risk += more.risk;
            }
            _ => self.slots.push_back(more),
        }
        self.requests += more.requests;
        self.input += more.input;
        self.output += more.output;
        self.risk += more.risk;
    }

    /// Replaces a charge by what was really used; nothing happens when its slot has left.
    pub(crate) fn settle(&mut self, index: SlotIndex, charged: Weight, used: Used) {
        if let Ok(at) = self.slots.binary_search_by_key(&index, |slot| slot.index) {
            let slot = &mut self.slots[at];
            let risk = charged.risk().min(MOST).min(slot.risk);
            slot.risk -= risk;
            self.risk -= risk;
            replace(&mut slot.input, &mut self.input, charged.tokens, used.input);
            replace(&mut slot.output, &mut self.output, charged.output, used.total.saturating_sub(used.input));
        }
    }

    /// Takes a charge back whole: the server counted nothing.
    pub(crate) fn refund(&mut self, index: SlotIndex, charged: Weight) {
        self.settle(index, charged, Used::default());
        if let Ok(at) = self.slots.binary_search_by_key(&index, |slot| slot.index) {
            let taken = self.slots[at].requests.min(1);
            self.slots[at].requests -= taken;
            self.requests -= taken;
        }
    }

    /// When a slot takes one more request, where none may hold more than `most`.
    pub(crate) fn room_in_slot(&self, now: Timestamp, most: u64, shape: Shape) -> Timestamp {
        match self.slots.back() {
            Some(slot) if slot.requests >= most && slot.index >= shape.index(now) => shape.ends(slot.index),
            _ => now,
        }
    }

    /// When one more request fits under `limit` requests.
    pub(crate) fn room_for_request(&self, now: Timestamp, limit: u64, shape: Shape) -> Room {
        if limit == 0 {
            return Room { at: Timestamp::NEVER, slack: 0 };
        }
        let mut left = self.requests;
        let at = self.leave_until(now, shape, |slot| {
            let fits = left < limit;
            left -= slot.map_or(0, |slot| slot.requests);
            fits
        });
        Room { at, slack: limit.saturating_sub(left + 1) }
    }

    /// True when `weight` fits under `limit` tokens at once.
    pub(crate) fn fits(&self, weight: Weight, limit: u64) -> bool {
        let (used, amount) = (self.tokens(), self.amount(weight));
        fits(used, amount, self.risk, weight, limit) || (used == 0 && amount <= limit)
    }

    /// When `weight` fits under `limit` tokens. What has not been settled counts with a margin; an empty window takes
    /// whatever is not above the limit itself.
    pub(crate) fn room_for_tokens(&self, now: Timestamp, weight: Weight, limit: u64, shape: Shape) -> Room {
        let amount = self.amount(weight);
        if amount > limit {
            return Room { at: Timestamp::NEVER, slack: 0 };
        }
        let (mut left, mut risk) = (self.tokens(), self.risk);
        let at = self.leave_until(now, shape, |slot| {
            if fits(left, amount, risk, weight, limit) {
                return true;
            }
            if let Some(slot) = slot {
                left -= slot.tokens(self.counts_total);
                risk -= slot.risk;
            }
            false
        });
        // Where only an empty window will do, whatever passes delays it.
        let margin = margin(risk, weight).ceil() as u64;
        let slack = if fits(left, amount, risk, weight, limit) { limit.saturating_sub(left + amount + margin) } else { 0 };
        Room { at, slack }
    }

    /// The instant at which enough of the oldest slots have left for `enough` to say yes; it is asked before each leaves.
    fn leave_until(&self, now: Timestamp, shape: Shape, mut enough: impl FnMut(Option<&Slot>) -> bool) -> Timestamp {
        let mut at = now;
        for slot in &self.slots {
            if enough(Some(slot)) {
                return at;
            }
            at = at.max(shape.leaves(slot));
        }
        at
    }
}

fn replace(part: &mut u64, sum: &mut u64, charged: u32, used: u64) {
    let before = *part;
    *part = before.saturating_sub(u64::from(charged)) + used.min(MOST);
    *sum = *sum - before + *part;
}

fn fits(used: u64, amount: u64, risk: u64, weight: Weight, limit: u64) -> bool {
    let sum = used.saturating_add(amount);
    if risk == 0 && weight.spread == 0 {
        return sum <= limit;
    }
    sum as f64 + margin(risk, weight) <= limit as f64
}

/// Tokens to keep free for what is not settled.
fn margin(risk: u64, weight: Weight) -> f64 {
    MARGIN * (risk.saturating_add(weight.risk()) as f64).sqrt()
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

    fn exact(tokens: u64) -> Weight {
        Weight::new(tokens, 0, 0)
    }

    #[test]
    fn what_is_not_settled_counts_with_a_margin_that_ends_with_settlement() {
        let mut window = Window::default();
        let now = Timestamp::from_secs(100);
        let unsure = Weight::new(100, 10, 0);
        let slot = window.charge(now, unsure, shape());
        assert!(!window.fits(exact(80), 200), "100 + 80 + 3 * 10 is more than 200");
        assert!(window.room_for_tokens(now, exact(80), 200, shape()).at > now);
        window.settle(slot, unsure, Used::input(100));
        assert!(window.fits(exact(80), 200));
    }

    #[test]
    fn an_empty_window_takes_an_unsure_prompt_of_the_whole_limit() {
        let window = Window::default();
        let unsure = Weight::new(200, 50, 0);
        assert!(window.fits(unsure, 200));
        assert_eq!(window.room_for_tokens(Timestamp::from_secs(1), unsure, 200, shape()).at, Timestamp::from_secs(1));
    }

    #[test]
    fn a_slot_counts_whole_until_its_last_send_is_a_span_ago() {
        let mut window = Window::default();
        let sent = Timestamp::from_micros(1_000_030_000);
        window.charge(Timestamp::from_micros(1_000_010_000), exact(3), shape());
        window.charge(sent, exact(4), shape());
        let room = window.room_for_request(sent, 2, shape());
        assert_eq!(room.at, sent + Duration::from_millis(60_500));
        window.advance(Timestamp::from_micros(room.at.as_micros() - 1), shape());
        assert_eq!(window.requests(), 2);
        window.advance(room.at, shape());
        assert_eq!((window.requests(), window.tokens()), (0, 0));
    }

    #[test]
    fn settling_works_both_ways_and_is_ignored_once_the_slot_left() {
        let mut window = Window::default();
        let now = Timestamp::from_secs(100);
        let slot = window.charge(now, exact(100), shape());
        window.settle(slot, exact(100), Used::input(130));
        assert_eq!(window.tokens(), 130);
        window.settle(slot, exact(130), Used::input(20));
        assert_eq!(window.tokens(), 20);
        window.advance(now + Duration::from_secs(61), shape());
        window.settle(slot, exact(20), Used::input(500));
        assert_eq!(window.tokens(), 0);
    }

    #[test]
    fn a_refund_gives_back_the_request_too() {
        let mut window = Window::default();
        let slot = window.charge(Timestamp::from_secs(1), exact(10), shape());
        window.charge(Timestamp::from_secs(1), exact(5), shape());
        window.refund(slot, exact(10));
        assert_eq!((window.requests(), window.tokens()), (1, 5));
    }

    #[test]
    fn more_than_the_limit_never_fits() {
        let window = Window::default();
        assert!(window.room_for_tokens(Timestamp::ZERO, exact(11), 10, shape()).at.is_never());
    }

    #[test]
    fn a_clock_that_steps_back_opens_no_slot_behind_the_last() {
        let mut window = Window::default();
        let later = window.charge(Timestamp::from_secs(100), exact(1), shape());
        assert_eq!(window.charge(Timestamp::from_secs(90), exact(1), shape()), later);
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
                window.charge(now, exact(1), shape());
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
                    window.charge(now, exact(weight), shape());
                }
            }
            let room = window.room_for_tokens(now, exact(want), limit, shape());
            if room.at > now {
                window.advance(Timestamp::from_micros(room.at.as_micros() - 1), shape());
                prop_assert!(window.tokens() + want > limit);
            }
            window.advance(room.at, shape());
            prop_assert_eq!(limit - window.tokens() - want, room.slack);
        }
    }
}
