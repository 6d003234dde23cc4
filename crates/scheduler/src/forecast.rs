//! When a queued prompt will start: the quotas of its lane are run ahead of time over everything that waits before it.
//!
//! Copies of the quotas themselves are run, so windows, guards, paces and days count as they will. What nobody can know yet is
//! left out: refusals, answers that are longer than expected, prompts that come with a higher priority. The run is kept for a
//! moment and goes on with the next prompt, so a long queue is walked once, not once for each that joins it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::day::Calendar;
use crate::job::{JobId, Place, State};
use crate::lane::Lane;
use crate::quota::{Bucket, Rules};
use crate::scheduler::Scheduler;
use crate::time::Timestamp;
use crate::window::Weight;

/// For so long a run is gone on with; what it could not foresee is looked at after that.
const FRESH: Duration = Duration::from_millis(100);
/// So many prompts are looked at (some milliseconds of work); nothing is told of what waits behind more.
const MOST: usize = 20_000;
/// A run is given up when one of so many that it counted has left: whoever comes next would be told too long a wait.
const LEAVERS: usize = 8;

/// The quotas of a lane, run ahead.
#[derive(Debug)]
pub(crate) struct Forecast {
    made: Timestamp,
    /// No call starts before then, and the least time between two.
    gate: Timestamp,
    interval: Duration,
    ghosts: Vec<Ghost>,
    /// Ghosts by the instant at which they may serve again.
    ready: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// When the first, second, ... prompt after `made` starts.
    instants: Vec<Timestamp>,
    /// The last of the queue that was run through.
    reached: Option<Place>,
    /// What came or went before that place and is not in `instants` yet.
    late: Vec<(Place, Weight)>,
    /// Prompts that have started since.
    started: usize,
    /// Prompts that were run through and left without a start.
    gone: usize,
    calendar: Calendar,
}

#[derive(Debug)]
struct Ghost {
    bucket: Bucket,
    /// No key of the project carries a call before then.
    keys_at: Timestamp,
}

impl Forecast {
    /// A prompt joined the queue.
    pub(crate) fn joined(&mut self, place: Place, weight: Weight) {
        if self.reached.is_some_and(|reached| place < reached) {
            self.late.push((place, weight));
        }
    }

    /// A prompt left the queue without a start.
    pub(crate) fn left(&mut self, place: Place) {
        let before = self.late.len();
        self.late.retain(|(late, _)| *late != place);
        if self.late.len() == before && self.reached.is_some_and(|reached| place <= reached) {
            self.gone += 1;
        }
    }

    /// A prompt started.
    pub(crate) fn started(&mut self, place: Place, weight: Weight) {
        self.started += 1;
        if self.reached.is_none_or(|reached| reached < place) {
            self.late.push((place, weight));
        }
    }

    /// Whether it is still worth going on with.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now <= self.made + FRESH && self.gone * LEAVERS <= self.instants.len()
    }

    /// When `weight` goes, behind everything run through so far, and from which ghost.
    fn find(&mut self, weight: Weight, rules: &Rules) -> Option<(Timestamp, usize)> {
        let mut unfit = Vec::new();
        let found = loop {
            let Some(mut first) = self.ready.peek_mut() else { break None };
            let Reverse((at, nth)) = *first;
            let now = at.max(self.gate);
            let day = self.calendar.day(now);
            let Ghost { bucket, keys_at } = &mut self.ghosts[nth];
            bucket.advance(now, day, rules);
            let open = bucket.blocked(now, day, rules).map_or(now, |why| why.until).max(*keys_at);
            let room = if open > now { open } else { bucket.room_for_tokens(now, weight, rules).0 };
            if room.is_never() {
                // A quota that serves nothing any more is not asked again.
                let last = PeekMut::pop(first);
                unfit.extend((!open.is_never()).then_some(last));
                continue;
            }
            *first = Reverse((room, nth));
            drop(first);
            if room <= now {
                break Some((now, nth));
            }
        };
        self.ready.extend(unfit);
        found
    }

    /// Runs through one prompt more; false when nothing ever takes it.
    fn take(&mut self, weight: Weight, rules: &Rules) -> bool {
        let Some((at, nth)) = self.find(weight, rules) else { return false };
        let day = self.calendar.day(at);
        self.ghosts[nth].bucket.foresee(at, weight, day, rules);
        if !self.interval.is_zero() {
            self.gate = at + self.interval;
        }
        self.instants.push(at);
        true
    }

    /// Runs through what waits before `place` and has not been run through.
    fn go_on(&mut self, place: Place, lane: &Lane, rules: &Rules) {
        for (late, weight) in std::mem::take(&mut self.late) {
            if late == place {
                self.late.push((late, weight));
            } else {
                self.take(weight, rules);
            }
        }
        let from = self.reached.map_or(Unbounded, Excluded);
        if self.reached.is_some_and(|reached| place <= reached) {
            return;
        }
        for (&next, entry) in lane.queue.range((from, Excluded(place))) {
            if self.instants.len() >= MOST {
                return;
            }
            self.take(entry.weight.settled(), rules);
            self.reached = Some(next);
        }
    }

    /// When the prompt at `place` starts.
    fn due(&mut self, place: Place, weight: Weight, lane: &Lane, rules: &Rules) -> Option<Timestamp> {
        self.go_on(place, lane, rules);
        if self.reached.is_some_and(|reached| place <= reached) {
            let nth = self.started + lane.queue.range(..place).count();
            return self.instants.get(nth).copied();
        }
        let in_sight = self.instants.len() < MOST;
        in_sight.then(|| self.find(weight.settled(), rules)).flatten().map(|(at, _)| at)
    }
}

impl Scheduler {
    /// When a prompt that waits in the queue will start, as far as anybody can know: everything before it counted, as large as
    /// it was estimated. `now` for one under way already; `None` when no passing of time lets it go, or when it depends on
    /// answers alone (a quota of which nothing is known), or when more than 20,000 wait before it.
    pub fn forecast(&mut self, now: Timestamp, id: JobId) -> Option<Timestamp> {
        let job = self.jobs.get(&id)?;
        let (number, place, weight) = (job.model.0 as usize, job.place, job.weight);
        match job.state {
            State::Running(_) => return Some(now),
            State::Paused(_) | State::Away => return None,
            State::Queued => {}
        }
        self.foresee(now, number, place, weight)
    }

    /// When a prompt at `place` would start.
    pub(crate) fn foresee(&mut self, now: Timestamp, number: usize, place: Place, weight: Weight) -> Option<Timestamp> {
        let kept = self.lanes[number].forecast.take().filter(|kept| kept.is_fresh(now));
        let mut forecast = kept.unwrap_or_else(|| Box::new(self.run_ahead(now, number)));
        let at = forecast.due(place, weight, &self.lanes[number], &self.rules);
        self.lanes[number].forecast = Some(forecast);
        at.map(|at| at.max(now))
    }

    /// A run that has not begun.
    fn run_ahead(&mut self, now: Timestamp, number: usize) -> Forecast {
        let day = self.calendar.day(now);
        let gates = [self.gate(), self.lanes[number].gate()];
        let known = gates.into_iter().flatten().map(|gate| gate.until).filter(|until| !until.is_never());
        let gate = known.fold(now, Timestamp::max);
        let mut ghosts = Vec::new();
        for at in 0..self.quotas.len() {
            if self.quotas[at].model.0 as usize != number {
                continue;
            }
            let parked = self.parked(self.quotas[at].project);
            let quota = &mut self.quotas[at];
            quota.bucket.advance(now, day, &self.rules);
            let ring = &self.projects[quota.project as usize].ring;
            let keys = ring.blocked(now, &self.settings.pacing).map(|why| why.until).filter(|until| !until.is_never());
            if ring.live > 0 && quota.bucket.is_foreseeable() {
                let keys_at = keys.into_iter().chain(parked.map(|parked| parked.until)).fold(now, Timestamp::max);
                ghosts.push(Ghost { bucket: quota.bucket.ghost(), keys_at });
            }
        }
        let ready = (0..ghosts.len()).map(|nth| Reverse((now, nth))).collect();
        let (calendar, interval) = (self.calendar.clone(), self.settings.pacing.call_interval);
        let (instants, late) = (Vec::new(), Vec::new());
        Forecast { made: now, gate, interval, ghosts, ready, instants, reached: None, late, started: 0, gone: 0, calendar }
    }
}
