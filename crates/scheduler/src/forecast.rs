//! When a queued prompt will start: the quotas of its lane are run ahead of time over everything that waits before it.
//!
//! Copies of the quotas themselves are run, so windows, guards, paces and days count as they will; workers and the seats of keys
//! are busy for as long as calls of the model have taken, and prompts that pause come back in between. What nobody can know yet
//! is left out: refusals, answers that are longer than usual, prompts that come with a higher priority or to other models. The
//! run is kept for a moment and goes on with the next prompt, so a long queue is walked once, not once for each that joins it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::crew::Crew;
use crate::day::Calendar;
use crate::job::{JobId, Place, State};
use crate::key::crew;
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
    late: Vec<(Place, Want)>,
    /// Who calls, over all projects.
    workers: Crew,
    /// Prompts that pause, by the instant at which they are back at their places, the first last.
    paused: Vec<(Timestamp, Want)>,
    /// Prompts that have started since.
    started: usize,
    /// Prompts that were run through and left without a start.
    gone: usize,
    calendar: Calendar,
}

/// What is known of a prompt that is run through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub weight: Weight,
    /// The only quota that can serve it.
    pub only: Option<u32>,
}

#[derive(Debug)]
struct Ghost {
    id: u32,
    bucket: Bucket,
    /// The seats of its project's keys, where calls have to take one.
    seats: Option<Crew>,
    /// No key of the project carries a call before then.
    keys_at: Timestamp,
}

impl Forecast {
    /// A prompt joined the queue.
    pub(crate) fn joined(&mut self, place: Place, want: Want) {
        if self.reached.is_some_and(|reached| place < reached) {
            self.late.push((place, want));
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
    pub(crate) fn started(&mut self, place: Place, want: Want) {
        self.started += 1;
        if self.reached.is_none_or(|reached| reached < place) {
            self.late.push((place, want));
        }
    }

    /// Whether it is still worth going on with.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now <= self.made + FRESH && self.gone * LEAVERS <= self.instants.len()
    }

    /// When a prompt goes, behind everything run through so far, and from which ghost.
    fn find(&mut self, Want { weight, only }: Want, rules: &Rules) -> Option<(Timestamp, usize)> {
        let mut unfit = Vec::new();
        let gate = self.workers.free_at(self.gate);
        let found = loop {
            let Some(mut first) = self.ready.peek_mut() else { break None };
            let Reverse((at, nth)) = *first;
            if only.is_some_and(|only| only != self.ghosts[nth].id) {
                unfit.push(PeekMut::pop(first));
                continue;
            }
            let now = at.max(gate);
            let day = self.calendar.day(now);
            let Ghost { bucket, seats, keys_at, .. } = &mut self.ghosts[nth];
            bucket.advance(now, day, rules);
            let seat = seats.as_ref().map_or(now, |seats| seats.free_at(now));
            let open = bucket.blocked(now, day, rules).map_or(now, |why| why.until).max(*keys_at).max(seat);
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

    /// Runs through one prompt more.
    fn take(&mut self, want: Want, rules: &Rules) {
        if let Some((at, nth)) = self.find_behind_paused(want, rules) {
            self.start(at, nth, want, rules);
            self.instants.push(at);
        }
    }

    /// The same as [`Forecast::find`], behind those who pause and are back by then.
    fn find_behind_paused(&mut self, want: Want, rules: &Rules) -> Option<(Timestamp, usize)> {
        loop {
            let found = self.find(want, rules);
            let Some((_, back)) = self.paused.pop_if(|(until, _)| found.is_some_and(|(at, _)| *until <= at)) else {
                return found;
            };
            if let Some((at, nth)) = self.find(back, rules) {
                self.start(at, nth, back, rules);
            }
        }
    }

    fn start(&mut self, at: Timestamp, nth: usize, want: Want, rules: &Rules) {
        let day = self.calendar.day(at);
        let Ghost { bucket, seats, .. } = &mut self.ghosts[nth];
        bucket.foresee(at, want.weight, day, rules);
        seats.iter_mut().for_each(|seats| seats.take(at));
        self.workers.take(at);
        if !self.interval.is_zero() {
            self.gate = at + self.interval;
        }
    }

    /// Runs through what waits before `place` and has not been run through.
    fn go_on(&mut self, place: Place, lane: &Lane, rules: &Rules) {
        for (late, want) in std::mem::take(&mut self.late) {
            if late == place {
                self.late.push((late, want));
            } else {
                self.take(want, rules);
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
            self.take(Want { weight: entry.weight.settled(), only: entry.only() }, rules);
            self.reached = Some(next);
        }
    }

    /// When the prompt at `place` starts.
    fn due(&mut self, place: Place, want: Want, lane: &Lane, rules: &Rules) -> Option<Timestamp> {
        self.go_on(place, lane, rules);
        if self.reached.is_some_and(|reached| place <= reached) {
            let nth = self.started + lane.queue.range(..place).count();
            return self.instants.get(nth).copied();
        }
        let in_sight = self.instants.len() < MOST;
        in_sight.then(|| self.find_behind_paused(want, rules)).flatten().map(|(at, _)| at)
    }
}

impl Scheduler {
    /// When a prompt that waits in the queue will start, as far as anybody can know: everything before it counted, as large as
    /// it was estimated. `now` for one under way already; `None` when no passing of time lets it go, or when it depends on
    /// answers alone (a quota of which nothing is known), or when more than 20,000 wait before it.
    pub fn forecast(&mut self, now: Timestamp, id: JobId) -> Option<Timestamp> {
        let job = self.jobs.get(&id)?;
        let (number, place) = (job.model.0 as usize, job.place);
        let want = Want { weight: job.weight.settled(), only: job.only() };
        match job.state {
            State::Running(_) => return Some(now),
            State::Paused(_) | State::Away => return None,
            State::Queued => {}
        }
        self.foresee(now, number, place, want)
    }

    /// When a prompt at `place` would start.
    pub(crate) fn foresee(&mut self, now: Timestamp, number: usize, place: Place, want: Want) -> Option<Timestamp> {
        let kept = self.lanes[number].forecast.take().filter(|kept| kept.is_fresh(now));
        let mut forecast = kept.unwrap_or_else(|| Box::new(self.run_ahead(now, number)));
        let at = forecast.due(place, want, &self.lanes[number], &self.rules);
        self.lanes[number].forecast = Some(forecast);
        at.map(|at| at.max(now))
    }

    /// A run that has not begun.
    fn run_ahead(&mut self, now: Timestamp, number: usize) -> Forecast {
        let day = self.calendar.day(now);
        let gates = [self.gate(), self.lanes[number].gate()];
        let known = gates.into_iter().flatten().map(|gate| gate.until).filter(|until| !until.is_never());
        let gate = known.fold(now, Timestamp::max);
        let call = self.lanes[number].call;
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
                let keys = self.keys.iter().filter(|key| key.project == quota.project);
                let seats = crew(keys, call, &self.settings.pacing);
                ghosts.push(Ghost { id: at as u32, bucket: quota.bucket.ghost(), seats, keys_at });
            }
        }
        let ready = (0..ghosts.len()).map(|nth| Reverse((now, nth))).collect();
        let (calendar, interval) = (self.calendar.clone(), self.settings.pacing.call_interval);
        let (instants, late) = (Vec::new(), Vec::new());
        let (workers, paused) = (self.workers.crew(call), self.back_from_pauses(number));
        let (reached, started, gone) = (None, 0, 0);
        Forecast { made: now, gate, interval, ghosts, ready, instants, reached, late, workers, paused, started, gone, calendar }
    }

    /// Prompts of a lane that pause, the first to be back last.
    fn back_from_pauses(&self, number: usize) -> Vec<(Timestamp, Want)> {
        let back = self.paused.iter().take(MOST).filter_map(|&(until, id)| {
            let job = self.jobs.get(&id).filter(|job| job.model.0 as usize == number)?;
            Some((until, Want { weight: job.weight.settled(), only: job.only() }))
        });
        let mut back: Vec<_> = back.collect();
        back.reverse();
        back
    }
}
