//! When a queued prompt will start: the quotas of its lane are run ahead of time over everything that waits before it.
//!
//! Copies of the quotas themselves are run, so windows, guards, paces and days count as they will; workers and the seats of keys
//! are busy for as long as calls of the model have taken, and prompts that pause come back in between. What nobody can know yet
//! is left out: refusals, answers that are longer than usual, prompts that come with a higher priority or to other models.
//!
//! The run is kept, and goes on with the next prompt: a long queue is walked once, not once for each that joins it or asks. It is
//! judged by what happens: prompts that start beside their instants and tokens that were estimated wrong make it be off, and what
//! no run can foresee disturbs it. One that is off too far, or was disturbed a while ago, is made anew for whoever asks next.

mod drift;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::crew::Crew;
use crate::day::Calendar;
use crate::forecast::drift::Drift;
use crate::job::{JobId, Place, State};
use crate::key::crew;
use crate::lane::Lane;
use crate::quota::{Bucket, Rules};
use crate::scheduler::Scheduler;
use crate::time::Timestamp;
use crate::window::Weight;

/// For so long a run is gone on with that something has disturbed.
const FRESH: Duration = Duration::from_millis(100);
/// For so long one that nothing has, as far as is known.
const LASTING: Duration = Duration::from_secs(600);
/// So many prompts are looked at (some milliseconds of work); nothing is told of what waits behind more.
const MOST: usize = 20_000;

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
    /// Instants at the end that nobody waits for any more: of prompts that were run through and left without a start.
    spare: usize,
    drift: Drift,
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

    /// A prompt left the queue without a start: whoever joins next takes its share.
    pub(crate) fn left(&mut self, place: Place, want: Want) {
        let before = self.late.len();
        self.late.retain(|(late, _)| *late != place);
        if self.late.len() == before && self.reached.is_some_and(|reached| place <= reached) {
            self.spare += 1;
            self.drift.taken(-i64::from(want.weight.tokens));
            self.drift.disturbed |= want.only.is_some();
        }
    }

    /// A prompt started.
    pub(crate) fn started(&mut self, now: Timestamp, place: Place, want: Want) {
        self.drift.started(now, self.instants.get(self.started).copied());
        self.started += 1;
        if self.reached.is_none_or(|reached| reached < place) {
            self.late.push((place, want));
            self.drift.disturbed = true;
        }
        if self.started == MOST && self.instants.len() >= MOST {
            self.instants.drain(..MOST);
            self.started = 0;
        }
    }

    /// An answer told that a call took so many tokens more than it was thought to, or less.
    pub(crate) fn settled(&mut self, beyond: i64) {
        self.drift.taken(beyond);
    }

    /// Something happened that no run foresees.
    pub(crate) fn disturb(&mut self) {
        self.drift.disturbed = true;
    }

    /// Whether it is still worth going on with.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now <= self.made + if self.drift.disturbed { FRESH } else { LASTING }
    }

    /// Whether what it tells can be believed.
    fn holds(&self, now: Timestamp, told: Option<Timestamp>) -> bool {
        // Where time tells nothing it may tell something in a moment, and to look again costs little.
        if self.ghosts.is_empty() {
            return false;
        }
        let next = self.instants.get(self.started).copied();
        told.map_or(now <= self.made + FRESH, |told| self.drift.allows(now, told.since(now), next))
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
        if self.spare > 0 && want.only.is_none() {
            self.spare -= 1;
            self.drift.taken(i64::from(want.weight.tokens));
        } else if let Some((at, nth)) = self.find_behind_paused(want, rules) {
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
            if self.spare == 0 && !self.is_in_sight() {
                return;
            }
            self.take(Want { weight: entry.weight.settled(), only: entry.only() }, rules);
            self.reached = Some(next);
        }
    }

    /// Whether it may be run on.
    fn is_in_sight(&self) -> bool {
        self.instants.len() < MOST + self.started
    }

    /// When the prompt at `place` starts.
    fn due(&mut self, now: Timestamp, place: Place, want: Want, lane: &Lane, rules: &Rules) -> Option<Timestamp> {
        if self.ghosts.is_empty() {
            return None;
        }
        // Nobody who comes now starts earlier.
        self.gate = self.gate.max(now);
        self.go_on(place, lane, rules);
        if self.reached.is_some_and(|reached| place <= reached) {
            let nth = self.started + lane.queue.range(..place).count();
            return self.instants.get(nth).copied();
        }
        if self.spare > 0 && want.only.is_none() {
            return self.instants.get(self.instants.len().checked_sub(self.spare)?).copied();
        }
        self.is_in_sight().then(|| self.find_behind_paused(want, rules)).flatten().map(|(at, _)| at)
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
        if let Some(mut kept) = self.lanes[number].forecast.take().filter(|kept| kept.is_fresh(now)) {
            let at = kept.due(now, place, want, &self.lanes[number], &self.rules);
            if kept.holds(now, at) {
                self.lanes[number].forecast = Some(kept);
                return at.map(|at| at.max(now));
            }
        }
        let mut forecast = Box::new(self.run_ahead(now, number));
        let at = forecast.due(now, place, want, &self.lanes[number], &self.rules);
        self.lanes[number].forecast = Some(forecast);
        at.map(|at| at.max(now))
    }

    /// What happened could not be foreseen.
    pub(crate) fn disturb_forecasts(&mut self) {
        self.lanes.iter_mut().filter_map(|lane| lane.forecast.as_mut()).for_each(|forecast| forecast.disturb());
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
            let bucket = quota.bucket.ghost();
            if ring.live > 0 && bucket.is_foreseeable(now, day, &self.rules) {
                let keys_at = keys.into_iter().chain(parked.map(|parked| parked.until)).fold(now, Timestamp::max);
                let keys = self.keys.iter().filter(|key| key.project == quota.project);
                let seats = crew(keys, call, &self.settings.pacing);
                ghosts.push(Ghost { id: at as u32, bucket, seats, keys_at });
            }
        }
        let tpm = ghosts.iter().filter_map(|ghost| ghost.bucket.limits.tpm).sum();
        let ready = (0..ghosts.len()).map(|nth| Reverse((now, nth))).collect();
        let (calendar, interval) = (self.calendar.clone(), self.settings.pacing.call_interval);
        let (instants, late) = (Vec::new(), Vec::new());
        let (workers, paused) = (self.workers.crew(call), self.back_from_pauses(number));
        // Whoever pauses comes back to the queue; where others take permits too, or answers are waited for, time alone tells little.
        let held = self.lanes[number].gate().is_some() || self.host.until() > now;
        let disturbed = !paused.is_empty() || self.shares.is_some() || held;
        let drift = Drift::new(tpm, self.rules.minute, disturbed);
        let (reached, started, spare) = (None, 0, 0);
        Forecast {
            made: now,
            gate,
            interval,
            ghosts,
            ready,
            instants,
            reached,
            late,
            workers,
            paused,
            started,
            spare,
            drift,
            calendar,
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::{Event, Limits, Outcome, ProjectSpec, Settings, Submission, Used};

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);
    const REST: Duration = Duration::from_millis(500);

    struct World {
        scheduler: Scheduler,
        now: Timestamp,
        last: u64,
    }

    impl World {
        /// So many prompts wait behind one a second; each asked when it starts, as all do that come through the gateway.
        fn with_waiting(prompts: u64, tpm: Option<u64>) -> World {
            let limits = Limits { rpm: Some(60), tpm, rpd: None };
            let spec = ProjectSpec { keys: 1, limits: vec![("*".into(), limits)], account: None };
            let mut scheduler = Scheduler::new(vec![spec], Settings::default());
            scheduler.model("model");
            let mut world = World { scheduler, now: NOW, last: 0 };
            // A minute's worth goes at once.
            (0..60).for_each(|_| _ = world.ask());
            for _ in 0..prompts {
                let job = world.ask();
                world.foretold(job);
            }
            world
        }

        fn ask(&mut self) -> u64 {
            self.last += 1;
            let (job, model) = (JobId(self.last), self.scheduler.model("model"));
            let submission =
                Submission { job, model, tokens: 100, least: 100, spread: 0, output: 0, priority: 0, party: 0, deadline: None };
            self.event(Event::Submitted(submission));
            self.last
        }

        fn foretold(&mut self, job: u64) -> Timestamp {
            self.scheduler.forecast(self.now, JobId(job)).unwrap()
        }

        /// Hands in what happened; calls end at once and use so many tokens.
        fn event(&mut self, event: Event) {
            self.event_using(event, 100);
        }

        fn event_using(&mut self, event: Event, tokens: u64) {
            let mut actions = Vec::new();
            self.scheduler.handle(self.now, event, &mut actions);
            for action in actions {
                if let crate::Action::Start { job, .. } = action {
                    let outcome = Outcome::Done { used: Some(Used::input(tokens)) };
                    self.event_using(Event::Finished { job, outcome }, tokens);
                }
            }
        }

        fn rest(&mut self, span: Duration) {
            let end = self.now + span;
            while let Some(at) = self.scheduler.next_wake().filter(|at| *at <= end) {
                self.now = at.max(self.now);
                self.event(Event::Woke);
            }
            self.now = end;
        }

        /// One more comes, is told when it would start, and goes. The prompts that were walked over for that.
        fn told_in_vain(&mut self) -> (Duration, usize) {
            let before = self.run().map(|run| run.made);
            let job = self.ask();
            let told = self.foretold(job);
            self.event(Event::Cancelled(JobId(job)));
            let run = self.run().unwrap();
            (told - self.now, if before == Some(run.made) { 1 } else { run.instants.len() })
        }

        fn run(&self) -> Option<&Forecast> {
            self.scheduler.lanes[0].forecast.as_deref()
        }
    }

    #[test]
    fn what_it_takes_to_tell_a_newcomer_does_not_grow_with_the_queue() {
        for waiting in [100, 10_000] {
            let mut world = World::with_waiting(waiting, None);
            for _ in 0..200 {
                world.rest(REST);
                let (wait, walked) = world.told_in_vain();
                assert_eq!(walked, 1, "{waiting} wait, {wait:?}");
            }
            let (wait, _) = world.told_in_vain();
            let left = world.scheduler.queued() as u64;
            // A minute's worth goes together.
            assert!(wait.as_secs().abs_diff(left) <= 61 + left / 100, "{left} wait: {wait:?}");
        }
    }

    #[test]
    fn a_run_that_turns_out_wrong_is_not_gone_on_with() {
        let mut world = World::with_waiting(1_000, Some(6_000));
        world.rest(REST);
        assert_eq!(world.told_in_vain().1, 1);
        // Whoever starts takes half of what was thought: the quota lasts for twice as many.
        let end = world.now + Duration::from_secs(130);
        while let Some(at) = world.scheduler.next_wake().filter(|at| *at <= end) {
            world.now = at;
            world.event_using(Event::Woke, 50);
        }
        assert!(world.told_in_vain().1 > 1);
        world.event(Event::Unreachable);
        world.rest(REST);
        assert!(world.told_in_vain().1 > 1, "something happened that it could not foresee");
    }

    #[test]
    fn who_leaves_makes_room_for_who_comes() {
        let mut world = World::with_waiting(1_000, None);
        let last = world.last;
        let before = world.foretold(last);
        (500..600).for_each(|job| world.event(Event::Cancelled(JobId(job))));
        world.rest(REST);
        let job = world.ask();
        let told = world.foretold(job);
        let earlier = before - told;
        assert!((60..=122).contains(&earlier.as_secs()), "{earlier:?}");
        assert_eq!(world.told_in_vain().1, 1);
    }
}
