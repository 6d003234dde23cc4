//! The quota of one (project, model family): every limit at once, checked without effect, taken in one step, settled later.

mod answers;
mod counting;
mod foresight;
mod guard;
mod questions;
mod refusal;
mod restore;
mod rules;
#[cfg(test)]
mod scene;
mod shared;

use crate::day::{DayCount, Span};
use crate::learned::{Learned, LearnedDay};
use crate::outcome::{Dimension, Used};
use crate::pacer::{Pace, Pacer};
use crate::settings::{TpmCounts, WindowKind};
use crate::time::Timestamp;
use crate::window::{Shape, SlotIndex, Weight, Window};

use answers::Answers;
pub use counting::Counting;
use guard::Widening;
pub(crate) use rules::Rules;
pub(crate) use shared::{Asked, Part, Shared};

/// Limits of one (project, model family); `None` is unlimited as far as we know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Input tokens a minute.
    pub tpm: Option<u64>,
    /// Requests a day.
    pub rpd: Option<u64>,
}

impl Limits {
    /// True when one of them is nothing at all.
    fn hold_nothing(&self) -> bool {
        [self.rpm, self.tpm, self.rpd].contains(&Some(0))
    }
}

/// One request in so many stays unused: a stalled one that the server counts far too late takes its place.
///
/// Measured over 32 virtual hours at 1,000 a minute with two stalls of up to a second in a thousand, on a sliding server:
/// without this and the spreading over slots 0.002 % are refused under backlog and 0.010 % with on/off demand, with both none.
const PART_FOR_STALLS: u64 = 1_000;
/// Calls in flight that an unknown limit starts with.
const FIRST_IN_FLIGHT: u32 = 4;
/// Part of the server's bucket that is used up at once; jitter and the pacer's haste need the rest. Measured in virtual hours
/// against a bucket of a sixth: 0.6 uses 92.7 %, 0.84 uses 95.3 % in the worst mix of sizes.
const PART_OF_BUCKET: f64 = 0.84;

/// What one request took, for settlement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permit {
    /// When the request goes.
    pub at: Timestamp,
    weight: Weight,
    /// What of the weight counted.
    amount: u64,
    slot: SlotIndex,
    day_end: Timestamp,
    /// The ledger's permit that it used up; 0 where none was needed.
    leave: u64,
    /// Which pacers it was taken out of.
    paced: [bool; 2],
    /// Requests and tokens in the window when it was sent, itself included.
    seen: (u64, u64),
}

/// The request that tries whether a refusal is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    NotNeeded,
    Due,
    Sent(Timestamp),
}

/// A pause that a refusal brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    pub until: Timestamp,
    pub dimension: Option<Dimension>,
    /// Used up for the day, or refused so often that it counts as that.
    pub fully: bool,
}

/// The state of one (project, model family).
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub limits: Limits,
    /// There is no quota for this model: by the settings, or by the server's word.
    pub parked: bool,
    none_by_word: bool,
    /// A limit or burst has grown, or the guard narrowed, since somebody last asked.
    risen: bool,
    learned: [Learned; 2],
    learned_day: LearnedDay,
    window: Window,
    /// The window's lengths, with the guard that refusals have taught.
    shape: Shape,
    widening: Widening,
    answers: Answers,
    day: DayCount,
    pacers: [Pacer; 2],
    bursts: [f64; 2],
    halvings: u32,
    grow_at: Timestamp,
    hold: Option<Hold>,
    probe: Probe,
    refused_at: Timestamp,
    strikes: u32,
    clean_since: Option<Timestamp>,
    first_sent: Option<Timestamp>,
    last_sent: Timestamp,
    in_flight: u32,
    most_in_flight: u32,
    /// How many prompts may share a call: these need no distance from each other.
    pub prompts_per_call: u32,
    /// Where permits come from a ledger: those at hand.
    pub shared: Option<Box<Shared>>,
    /// The part of the limits that is this process's own, where it is not all.
    pub part: Option<Part>,
    /// Requests and tokens of other processes in the window, and until when that may be so.
    others: (u64, u64),
    others_until: Timestamp,
    /// Requests that this machine sent on the day that ends then.
    machine_today: (Timestamp, u64),
}

const REQUESTS: usize = 0;
const TOKENS: usize = 1;

impl Bucket {
    pub(crate) fn new(limits: Limits, rules: &Rules) -> Bucket {
        let burst = if rules.kind == WindowKind::Bucket { rules.bucket * PART_OF_BUCKET } else { 1.0 };
        let full =
            |limit: Option<u64>| limit.map_or(Pacer::default(), |limit| Pacer::full(Timestamp::ZERO, pace(rules, limit, burst)));
        Bucket {
            limits,
            parked: limits.hold_nothing(),
            none_by_word: false,
            risen: false,
            learned: [Learned::new(limits.rpm), Learned::new(limits.tpm)],
            learned_day: LearnedDay::new(limits.rpd),
            window: Window::new(rules.tpm_counts == TpmCounts::Total),
            shape: rules.shape,
            widening: Widening::default(),
            answers: Answers::default(),
            day: DayCount::default(),
            pacers: [full(limits.rpm), full(limits.tpm)],
            bursts: [burst; 2],
            halvings: 0,
            grow_at: Timestamp::NEVER,
            hold: None,
            probe: Probe::NotNeeded,
            refused_at: Timestamp::ZERO,
            strikes: 0,
            clean_since: None,
            first_sent: None,
            last_sent: Timestamp::ZERO,
            in_flight: 0,
            most_in_flight: FIRST_IN_FLIGHT,
            prompts_per_call: 1,
            shared: None,
            part: None,
            others: (0, 0),
            others_until: Timestamp::ZERO,
            machine_today: (Timestamp::ZERO, 0),
        }
    }

    /// Brings windows and days up to `now`; call before any question.
    pub(crate) fn advance(&mut self, now: Timestamp, day: Span, rules: &Rules) {
        self.window.advance(now, self.shape);
        let before = (self.limits, self.shape, self.bursts);
        let spent = self.limits.rpd.is_some_and(|limit| self.day.today() >= limit);
        if self.day.advance(now, day) && spent {
            // The server's clock may still show yesterday: one request tries.
            self.probe = Probe::Due;
        }
        let higher = self.limits.rpd.and_then(|limit| self.learned_day.raised(now, limit, self.day.today()));
        if higher.is_some() {
            (self.limits.rpd, self.probe) = (higher, Probe::Due);
        }
        if self.hold.is_some_and(|hold| hold.until <= now) {
            self.hold = None;
        }
        let span = self.shape.span();
        if let Some(limit) = &mut self.limits.rpm {
            *limit = self.learned[REQUESTS].raised(now, *limit, span);
        }
        if let Some(limit) = &mut self.limits.tpm {
            *limit = self.learned[TOKENS].raised(now, *limit, span);
        }
        self.narrow_guard(now, rules);
        if now >= self.grow_at {
            for burst in &mut self.bursts {
                *burst = (*burst * 1.25).min(1.0);
            }
            self.schedule_growth(now, rules);
        }
        self.risen |= before != (self.limits, self.shape, self.bursts);
    }

    /// True once after each rise: what is known of this quota has changed without a refusal.
    pub(crate) fn take_rise(&mut self) -> bool {
        std::mem::take(&mut self.risen)
    }

    /// Takes on new limits. What refusals have told stays the upper bound; a limit that was unknown begins with a full pacer.
    pub(crate) fn reconfigure(&mut self, now: Timestamp, limits: Limits, rules: &Rules) {
        let known = [self.limits.rpm, self.limits.tpm];
        self.limits = Limits {
            rpm: self.learned[REQUESTS].reconfigured(self.limits.rpm, limits.rpm),
            tpm: self.learned[TOKENS].reconfigured(self.limits.tpm, limits.tpm),
            rpd: self.learned_day.reconfigured(self.limits.rpd, limits.rpd),
        };
        for (kind, limit) in [(REQUESTS, self.limits.rpm), (TOKENS, self.limits.tpm)] {
            if let (None, Some(limit)) = (known[kind], limit) {
                self.pacers[kind] = Pacer::full(now, pace(rules, limit, self.bursts[kind]));
            }
        }
        self.parked = self.none_by_word || limits.hold_nothing();
    }

    /// Sets the requests of the day that are taken, by whomever on this machine.
    pub(crate) fn count_today(&mut self, today: u64) {
        self.day.set_today(today);
        self.machine_today = (self.day.end(), today);
    }

    /// Takes one request out of every dimension.
    pub(crate) fn take(&mut self, now: Timestamp, weight: Weight, day: Span, rules: &Rules) -> Permit {
        let weight = self.weigh(weight);
        let amount = self.window.amount(weight);
        // Only where few go out can none of them be expected to stall.
        self.window.whole_slots = self.limits.rpm.is_none_or(|limit| limit >= PART_FOR_STALLS);
        let slot = self.window.charge(now, weight, self.shape);
        let leave = self.spend_permit(now, amount);
        self.day.charge(now, day, rules.guard);
        let mut paced = [false; 2];
        for (kind, limit, amount) in [(REQUESTS, self.limits.rpm, 1), (TOKENS, self.limits.tpm, amount)] {
            if let (Some(limit), true) = (limit, self.bursts[kind] < 1.0) {
                paced[kind] = true;
                self.pacers[kind].charge(now, amount, pace(rules, limit, self.bursts[kind]));
            }
        }
        let seen = self.seen(now);
        for (kind, limit, used) in [(REQUESTS, self.limits.rpm, seen.0), (TOKENS, self.limits.tpm, seen.1)] {
            if let Some(limit) = limit {
                self.learned[kind].charged(used, limit);
            }
        }
        self.clean_since.get_or_insert(now);
        self.first_sent.get_or_insert(now);
        self.last_sent = now;
        self.in_flight += 1;
        self.probe = match self.probe {
            Probe::Due => Probe::Sent(now),
            Probe::Sent(_) | Probe::NotNeeded => Probe::NotNeeded,
        };
        Permit { at: now, weight, amount, slot, day_end: day.end, leave, paced, seen }
    }

    /// An answer came: charges what was really used. Returns how many tokens that is beyond what was taken.
    pub(crate) fn settle(&mut self, permit: Permit, used: Option<Used>) -> i64 {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Weight { tokens, output, .. } = permit.weight;
        let (tokens, output) = (u64::from(tokens), u64::from(output));
        if let Some(used) = used {
            self.answers.saw(used.total.saturating_sub(used.input));
        }
        let used = used.unwrap_or(Used { input: tokens, total: tokens + output });
        self.window.settle(permit.slot, permit.weight, used);
        let used = if self.window.counts_total { used.total } else { used.input };
        self.settle_permit(permit.leave, used);
        if permit.paced[TOKENS] {
            self.pacers[TOKENS].settle(permit.amount, used);
        }
        i64::try_from(used).unwrap_or(i64::MAX).saturating_sub(i64::try_from(permit.amount).unwrap_or(i64::MAX))
    }

    /// No answer of the quota came: what it took stays charged. A lone request that was to try is sent again.
    pub(crate) fn unanswered(&mut self, permit: Permit) {
        self.settle(permit, None);
        self.try_again(permit);
    }

    fn try_again(&mut self, permit: Permit) {
        if self.probe == Probe::Sent(permit.at) {
            self.probe = Probe::Due;
        }
    }

    /// The quota let a request through.
    pub(crate) fn succeeded(&mut self, permit: Permit) {
        self.most_in_flight = self.most_in_flight.saturating_add(1);
        if permit.at > self.refused_at || self.refused_at == Timestamp::ZERO {
            self.strikes = 0;
            if matches!(self.probe, Probe::Sent(_)) {
                self.probe = Probe::NotNeeded;
            }
        }
    }

    /// The server counted nothing: gives a permit back whole.
    pub(crate) fn refund(&mut self, permit: Permit, day: Span) {
        self.try_again(permit);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.window.refund(permit.slot, permit.weight);
        self.release_permit(permit.leave);
        if permit.day_end == day.end {
            self.day.refund();
        }
        if permit.paced[TOKENS] {
            self.pacers[TOKENS].settle(permit.amount, 0);
        }
        if permit.paced[REQUESTS] {
            self.pacers[REQUESTS].settle(1, 0);
        }
    }

    /// The request of this permit was not even sent: another may go in its place at the same instant.
    pub(crate) fn never_left(&mut self, permit: Permit, day: Span) {
        self.refund(permit, day);
        self.last_sent = Timestamp::ZERO;
        if matches!(self.probe, Probe::Sent(at) if at == permit.at) {
            self.probe = Probe::Due;
        }
    }
}

fn pace(rules: &Rules, limit: u64, burst: f64) -> Pace {
    Pace::new(limit, burst, rules.bucket, rules.minute, rules.guard)
}
