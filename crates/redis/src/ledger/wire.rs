//! Numbers as the scripts read them, and their answers as we do.

use super::terms::{Class, Cost, Dimension, Limits, Refusal};
use super::trace::Change;
use std::time::Duration;

/// Standard deviations of what is not settled that stay free, as for windows in memory.
const MARGIN: f64 = 3.0;
/// How long a silent process counts among the calls under way, in milliseconds.
const SILENCE: f64 = 30_000.0;
/// One in how many permits a low class gets, whatever the others take.
const TURN: f64 = 20.0;

/// The shape of a bucket's ring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shape {
    pub slot: f64,
    pub slots: f64,
    pub span: f64,
    guard: f64,
    horizon: f64,
}

impl Shape {
    /// The ring for these limits: a minute and a quarter of it for guard and horizon.
    pub(crate) fn new(limits: &Limits) -> Result<Shape, &'static str> {
        let (minute, slot, guard) = (millis(limits.minute), millis(limits.slot), millis(limits.guard));
        if slot < 1.0 || minute < slot {
            return Err("a slot has to last a millisecond at least and a minute no less than a slot");
        }
        if guard > minute / 8.0 {
            return Err("the guard is more than an eighth of the minute");
        }
        let slots = (minute * 1.25 / slot).ceil() + 2.0;
        if slots > 10_000.0 {
            return Err("a minute has more than 8,000 slots");
        }
        Ok(Shape { slot, slots, span: minute + guard, guard, horizon: millis(limits.horizon).min(minute / 8.0) })
    }

    /// How far back a slot may lie and still count, in slots.
    pub(crate) fn reach(&self) -> u64 {
        (self.span / self.slot).ceil() as u64 + 1
    }
}

/// What a caller knows when it asks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// The time tests give Redis; 0 for its own.
    pub pretended: f64,
    pub expected: f64,
    pub slack: f64,
    pub epoch: i64,
    pub seq: i64,
}

/// The argument all scripts share.
pub(crate) fn common(known: Known, shape: Shape, limits: &Limits) -> Vec<u8> {
    numbers(&[
        known.pretended,
        known.expected,
        known.slack,
        known.epoch as f64,
        known.seq as f64,
        shape.slot,
        shape.slots,
        shape.span,
        limits.day_end as f64,
        limits.next_day_end as f64,
        shape.guard,
        millis(limits.learning),
    ])
}

/// The limits of a request for permits.
pub(crate) fn limits(limits: &Limits, shape: Shape, class: Class, under_way: u32) -> Vec<u8> {
    // None is more than anything reaches and less than what numbers of a script hold exactly.
    let limit = |limit: Option<u64>, most: f64| limit.map_or(1e15, |limit| (limit as f64).min(most));
    numbers(&[
        limit(limits.rpm, 4e9),
        limit(limits.tpm, 4e9),
        limit(limits.rpd, 1e15),
        limits.burst,
        shape.horizon,
        class.share,
        if class.ahead { shape.horizon } else { 0.0 },
        MARGIN,
        limits.concurrency.map_or(0.0, f64::from),
        SILENCE,
        f64::from(under_way),
        TURN,
    ])
}

/// The permits wanted.
pub(crate) fn costs(costs: &[Cost]) -> Vec<u8> {
    costs.iter().flat_map(|cost| [cost.tokens.to_le_bytes(), cost.spread.to_le_bytes()]).flatten().collect()
}

/// Changes of slots.
pub(crate) fn changes(changes: &[Change]) -> Vec<u8> {
    changes.iter().flat_map(|change| numbers(&[change.slot as f64, change.requests, change.tokens, change.risk])).collect()
}

/// Numbers one after the other.
pub(crate) fn numbers(numbers: &[f64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A duration in whole milliseconds, not rounded up.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_millis().min(1 << 50) as f64
}

/// What a script answered.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// It was done; what follows the code.
    Done(&'a [i64]),
    /// The state is another one than the caller knew.
    Lost { told: f64, epoch: i64, before: i64, survived: i64 },
    /// Redis' clock is not where the caller expected it.
    Clock { told: f64 },
    /// Others count in other slots.
    Shape { slot: i64, slots: i64 },
}

/// Reads an answer; none when it has another form.
pub(crate) fn answer(answer: &[i64]) -> Option<Answer<'_>> {
    match *answer {
        [0, ref rest @ ..] => Some(Answer::Done(rest)),
        [1, told, epoch, before, survived] => Some(Answer::Lost { told: told as f64, epoch, before, survived }),
        [2, told] => Some(Answer::Clock { told: told as f64 }),
        [3, slot, slots] => Some(Answer::Shape { slot, slots }),
        _ => None,
    }
}

/// Why the next permit was refused; none when it was not.
pub(crate) fn refusal(code: i64, hint: i64) -> Option<Refusal> {
    let dimension = match code {
        1 => Dimension::Held,
        2 => Dimension::Pace,
        3 => Dimension::Requests,
        4 => Dimension::Tokens,
        5 => Dimension::Day,
        6 => Dimension::Share,
        7 => Dimension::Concurrency,
        8 => Dimension::Turn,
        9 => Dimension::Never,
        _ => return None,
    };
    Some(Refusal { dimension, after: u64::try_from(hint).ok().map(Duration::from_millis) })
}
