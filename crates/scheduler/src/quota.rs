//! The quota of one (project, model family): every limit at once, checked without effect, taken in one step, settled later.

mod answers;
mod counting;
mod foresight;
mod guard;
mod refusal;
mod restore;
mod rules;
mod shared;

use std::time::Duration;

use crate::day::{DayCount, Span};
use crate::learned::{Learned, LearnedDay};
use crate::outcome::{Blocked, Dimension, Reason, Used};
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
/// without this and the spreading below 0.002 % are refused under backlog and 0.010 % with on/off demand, with both none.
const PART_FOR_STALLS: u64 = 1_000;
/// A window's worth goes out over so many slots (six seconds of a minute), so that the tail in which a stall can hurt is thin.
const SLOTS_FOR_ALL: u64 = 60;
/// What a slot holds in any case: short jobs of small limits do not wait.
const MOST_IN_SLOT: u64 = 20;
/// Widest distance between two sends of a limit that has not proven itself yet.
const UNPROVEN_SPACING: Duration = Duration::from_millis(10);
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

    // === questions, without effect ===

    /// What keeps any request at all from going, whatever its size.
    pub(crate) fn blocked(&self, now: Timestamp, day: Span, rules: &Rules) -> Option<Blocked> {
        let mut worst = self.closed(now, rules);
        if let Some(shared) = self.ledger() {
            return Blocked::later(worst, shared.without_permit(now));
        }
        let mut add = |until: Timestamp, reason: Reason| {
            if until > now {
                worst = Blocked::later(worst, Some(Blocked { reason, until }));
            }
        };
        let limits = self.bounds();
        if let Some(limit) = limits.rpm {
            let usable = limit - limit / PART_FOR_STALLS;
            add(self.window.room_for_request(now, usable, self.shape).at, Reason::Quota(Dimension::Rpm));
            let most = (limit / SLOTS_FOR_ALL).max(MOST_IN_SLOT).max(u64::from(self.prompts_per_call));
            add(self.window.room_in_slot(now, most, self.shape), Reason::Pacing);
            add(self.last_sent + self.spacing(now, limit), Reason::Pacing);
            if self.bursts[REQUESTS] < 1.0 {
                add(self.pacers[REQUESTS].ready(now, 1, pace(rules, limit, self.bursts[REQUESTS])), Reason::Pacing);
            }
        }
        if let Some(limit) = limits.rpd {
            add(self.day.room(now, limit, day, rules.guard), Reason::Quota(Dimension::Rpd));
        }
        worst
    }

    /// What keeps any request from going, limits apart.
    pub(crate) fn closed(&self, now: Timestamp, rules: &Rules) -> Option<Blocked> {
        let mut worst = None;
        let mut add = |until: Timestamp, reason: Reason| {
            if until > now {
                worst = Blocked::later(worst, Some(Blocked { reason, until }));
            }
        };
        if self.parked {
            add(Timestamp::NEVER, Reason::Parked);
        }
        if let Some(hold) = self.hold {
            add(hold.until, Reason::Held(hold.dimension));
        }
        if let Probe::Sent(at) = self.probe {
            add(at + rules.probe_patience(), Reason::Probing);
        }
        if self.limits.rpm.is_none() && self.in_flight >= self.most_in_flight {
            add(Timestamp::NEVER, Reason::Probing);
        }
        worst
    }

    /// True when the next request goes alone: it tries whether a refusal is over.
    pub(crate) fn probes(&self) -> bool {
        self.probe != Probe::NotNeeded
    }

    /// What keeps even the smallest request from going.
    pub(crate) fn shut(&self, now: Timestamp, day: Span, rules: &Rules) -> Option<Blocked> {
        if let Some(shared) = self.ledger() {
            return Blocked::later(self.closed(now, rules), shared.refusal(now));
        }
        let smallest = Weight { tokens: 1, ..Weight::default() };
        let until = self.room_for_tokens(now, smallest, rules).0;
        let tokens = (until > now).then_some(Blocked { reason: Reason::Quota(Dimension::Tpm), until });
        Blocked::later(self.blocked(now, day, rules), tokens)
    }

    /// When `weight` fits, and how many more would fit beside them then.
    pub(crate) fn room_for_tokens(&self, now: Timestamp, weight: Weight, rules: &Rules) -> (Timestamp, u64) {
        if let Some(shared) = self.ledger() {
            return (self.permit_at(shared, now, weight), u64::MAX);
        }
        let Some(limit) = self.bounds().tpm else { return (now, u64::MAX) };
        let weight = self.weigh(weight);
        let room = self.window.room_for_tokens(now, weight, limit, self.shape);
        if self.bursts[TOKENS] >= 1.0 || room.at.is_never() {
            return (room.at, room.slack);
        }
        let amount = self.window.amount(weight);
        let paced = self.pacers[TOKENS].ready(now, amount, pace(rules, limit, self.bursts[TOKENS]));
        // While it waits for the pacer, anything that passes takes from what it waits for.
        let slack = if paced > room.at { 0 } else { room.slack };
        (room.at.max(paced), slack)
    }

    /// True when `weight` may go now.
    pub(crate) fn fits(&self, now: Timestamp, weight: Weight, rules: &Rules) -> bool {
        if let Some(shared) = self.ledger() {
            return self.is_permitted(shared, now, weight);
        }
        let Some(limit) = self.bounds().tpm else { return true };
        let weight = self.weigh(weight);
        let pace = pace(rules, limit, self.bursts[TOKENS]);
        self.window.fits(weight, limit)
            && (self.bursts[TOKENS] >= 1.0 || self.pacers[TOKENS].ready(now, self.window.amount(weight), pace) <= now)
    }

    /// What counts of a weight against the tokens of a minute.
    pub(crate) fn amount(&self, weight: Weight) -> u64 {
        self.window.amount(self.weigh(weight))
    }

    /// The weight with the answer that is to be expected; no expectation makes a prompt too large that fits by itself.
    fn weigh(&self, weight: Weight) -> Weight {
        let expected = if weight.output == 0 { self.answers.mean() } else { weight.output };
        let room = self.limits.tpm.map_or(u64::MAX, |limit| limit.saturating_sub(u64::from(weight.tokens)));
        Weight { output: expected.min(u32::try_from(room).unwrap_or(u32::MAX)), ..weight }
    }

    /// Use of the window and the day: requests, tokens, requests today.
    pub(crate) fn used(&self) -> (u64, u64, u64) {
        let (requests, tokens) = self.seen(self.last_sent);
        (requests, tokens, self.day.today())
    }

    /// The pause in force.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Refusals in a row.
    pub(crate) fn strikes(&self) -> u32 {
        self.strikes
    }

    /// A refusal's pause, or a day that is used up: what makes a key of this quota count as exhausted.
    pub(crate) fn exhausted(&self) -> Option<(Blocked, bool)> {
        let blocked = |reason, until, fully| (Blocked { reason, until }, fully);
        let held = self.hold.map(|hold| blocked(Reason::Held(hold.dimension), hold.until, hold.fully));
        let spent = self.limits.rpd.is_some_and(|limit| self.day.today() >= limit);
        let spent = spent.then(|| blocked(Reason::Quota(Dimension::Rpd), self.day.end(), true));
        let parked = self.parked.then_some(blocked(Reason::Parked, Timestamp::NEVER, true));
        [held, spent, parked].into_iter().flatten().max_by_key(|(pause, _)| pause.until)
    }

    /// Sends keep min(10 ms, 1 s / L) apart until a whole window has passed without a refusal; prompts of one call are one send.
    fn spacing(&self, now: Timestamp, limit: u64) -> Duration {
        let proven = self.clean_since.is_some_and(|since| now >= since + self.shape.span());
        if proven || self.clean_since.is_none() || self.prompts_per_call > 1 {
            return Duration::ZERO;
        }
        UNPROVEN_SPACING.min(Duration::from_secs(1) / u32::try_from(limit.max(1)).unwrap_or(u32::MAX))
    }

    // === changes ===

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{KeyRules, QuotaRules};

    const DAY: Span = Span { start: Timestamp::ZERO, end: Timestamp::from_secs(86_400) };
    const NOW: Timestamp = Timestamp::from_secs(1_000);
    const ONE: Weight = Weight { tokens: 1, spread: 0, output: 0 };

    fn rules(kind: WindowKind) -> Rules {
        Rules::new(&QuotaRules { window: kind, ..QuotaRules::default() }, KeyRules::default())
    }

    fn bucket(limits: Limits, rules: &Rules) -> Bucket {
        let mut bucket = Bucket::new(limits, rules);
        bucket.advance(NOW, DAY, rules);
        bucket
    }

    #[test]
    fn the_binding_limit_is_named_with_the_exact_instant() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits { rpm: Some(2), tpm: None, rpd: Some(10) }, &rules);
        bucket.take(NOW, ONE, DAY, &rules);
        bucket.take(NOW, ONE, DAY, &rules);
        let blocked = bucket.blocked(NOW, DAY, &rules);
        let until = NOW + Duration::from_millis(60_500);
        assert_eq!(blocked, Some(Blocked { reason: Reason::Quota(Dimension::Rpm), until }));
    }

    #[test]
    fn a_full_day_waits_for_its_end() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits { rpm: Some(100), tpm: None, rpd: Some(1) }, &rules);
        bucket.take(NOW, ONE, DAY, &rules);
        let blocked = bucket.blocked(NOW + Duration::from_secs(120), DAY, &rules);
        assert_eq!(blocked, Some(Blocked { reason: Reason::Quota(Dimension::Rpd), until: DAY.end }));
    }

    #[test]
    fn sends_keep_apart_until_a_whole_window_passed_without_refusal() {
        let rules = rules(WindowKind::Sliding);
        let mut bucket = bucket(Limits { rpm: Some(1_000), ..Limits::default() }, &rules);
        bucket.take(NOW, ONE, DAY, &rules);
        let next = bucket.blocked(NOW, DAY, &rules);
        assert_eq!(next, Some(Blocked { reason: Reason::Pacing, until: NOW + Duration::from_millis(1) }));
        let later = NOW + Duration::from_millis(60_500);
        bucket.advance(later, DAY, &rules);
        bucket.take(later, ONE, DAY, &rules);
        assert_eq!(bucket.blocked(later, DAY, &rules), None);
    }

    #[test]
    fn an_unknown_limit_starts_with_four_in_flight_and_doubles_by_successes() {
        let rules = rules(WindowKind::Auto);
        let mut bucket = bucket(Limits::default(), &rules);
        let permits: Vec<_> = (0..4).map(|_| bucket.take(NOW, ONE, DAY, &rules)).collect();
        assert!(matches!(bucket.blocked(NOW, DAY, &rules), Some(Blocked { reason: Reason::Probing, .. })));
        for permit in permits {
            bucket.settle(permit, None);
            bucket.succeeded(permit);
        }
        for _ in 0..8 {
            assert_eq!(bucket.blocked(NOW, DAY, &rules), None);
            bucket.take(NOW, ONE, DAY, &rules);
        }
        assert!(bucket.blocked(NOW, DAY, &rules).is_some());
    }
}
