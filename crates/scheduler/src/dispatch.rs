//! Starting prompts: which lane, which bucket, which prompt, which key; and when to look again.

use crate::job::{Place, Running, State};
use crate::key::KeyId;
use crate::lane::{Choice, Lane, obstacle};
use crate::outcome::{Blocked, Reason};
use crate::scheduler::{Action, Scheduler};
use crate::time::Timestamp;

impl Scheduler {
    /// The earliest instant at which a decision could change by the mere passing of time.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let paused = self.paused.first().map(|&(at, _)| at);
        let deadline = self.deadlines.first().map(|&(at, _)| at);
        let start = self.lanes.iter().filter(|lane| !lane.queue.is_empty()).filter_map(open_at).min();
        let start = start.map(|at| self.gate().map_or(at, |gate| at.max(gate.until)));
        [paused, deadline, start].into_iter().flatten().filter(|at| !at.is_never()).min()
    }

    /// What keeps every prompt from going, whatever its model.
    pub(crate) fn gate(&self) -> Option<Blocked> {
        let bound = |reason, until: Timestamp| (until > Timestamp::ZERO).then_some(Blocked { reason, until });
        let time = Blocked::later(bound(Reason::CallInterval, self.next_call), bound(Reason::Host, self.host.until()));
        Blocked::later(self.workers.blocked(), time)
    }

    pub(crate) fn dispatch(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        while self.gate().is_none_or(|gate| gate.until <= now) {
            let Some(lane) = self.next_lane(now) else { return };
            self.serve(lane, now, actions);
        }
    }

    /// The lane whose head has the highest priority among those that may be served now; they take turns.
    fn next_lane(&mut self, now: Timestamp) -> Option<usize> {
        let count = self.lanes.len();
        let turn = self.turn;
        let open = (0..count).map(|n| (n + turn) % count).filter(|&n| {
            let lane = &self.lanes[n];
            !lane.queue.is_empty() && open_at(lane).is_some_and(|at| at <= now)
        });
        let best = open.min_by_key(|&n| self.lanes[n].queue.first_key_value().map(|(&(priority, _), _)| priority))?;
        self.turn = best + 1;
        Some(best)
    }

    /// Lets the readiest bucket of a lane start a prompt, or lists it for when it can.
    fn serve(&mut self, number: usize, now: Timestamp, actions: &mut Vec<Action>) {
        let Some((_, id)) = self.lanes[number].first() else { return };
        let day = self.calendar.day(now);
        let quota = &mut self.quotas[id as usize];
        quota.bucket.advance(now, day, &self.rules);
        let project = &self.projects[quota.project as usize];
        let keys = project.ring.blocked(now, &self.settings.pacing);
        if let Some(why) = obstacle(&quota.bucket, keys, now, day, &self.rules) {
            return self.lanes[number].list(id, &mut quota.standing, why.until, Some(why));
        }
        let ready = match project.ring.ready(now) {
            // With a single key left nothing is gained by sparing it.
            (Some(only), None) if self.lanes[number].live == 1 && project.ring.live == 1 => (Some(only), Some(only)),
            keys => keys,
        };
        match self.choose(number, now, id, ready) {
            Choice::Take(place, key) => self.start(number, now, id, place, key, actions),
            Choice::Wait(why) => {
                let quota = &mut self.quotas[id as usize];
                let room = quota.bucket.free_tokens();
                let lane = &mut self.lanes[number];
                lane.list(id, &mut quota.standing, why.until, Some(why));
                lane.starve(id, &mut quota.standing, room, why.until.is_never());
            }
        }
    }

    fn choose(&mut self, number: usize, now: Timestamp, id: u32, keys: (Option<KeyId>, Option<KeyId>)) -> Choice {
        let quotas = &self.quotas;
        let bucket = &quotas[id as usize].bucket;
        let able = |keeper: u32| {
            let keeper = &quotas[keeper as usize].bucket;
            !keeper.parked && keeper.hold().is_none_or(|hold| hold.until <= now)
        };
        self.lanes[number].choose(now, id, bucket, keys, &self.rules, able)
    }

    fn start(&mut self, number: usize, now: Timestamp, bucket: u32, place: Place, key: KeyId, actions: &mut Vec<Action>) {
        let Some(entry) = self.lanes[number].queue.remove(&place) else { return };
        let Some(job) = self.jobs.get_mut(&entry.job) else { return };
        let day = self.calendar.day(now);
        let quota = &mut self.quotas[bucket as usize];
        let permit = quota.bucket.take(now, entry.weight, day, &self.rules);
        let ring = &mut self.projects[quota.project as usize].ring;
        let seat = ring.start(key, &mut self.keys[key.0 as usize], now, &self.settings.pacing);
        let worker = self.workers.start();
        if !self.settings.pacing.call_interval.is_zero() {
            self.next_call = now + self.settings.pacing.call_interval;
        }
        self.lanes[number].breaker.started(now);
        job.attempts += 1;
        job.state = State::Running(Box::new(Running { bucket, key, permit, seat, worker }));
        actions.push(Action::Start { job: entry.job, key, slot: seat.unwrap_or(worker), attempt: job.attempts });
        self.relist(bucket, now);
        self.wake_blind(number, now);
    }

    /// The queue moved: a bucket for which everything in reach was too large may find something now.
    fn wake_blind(&mut self, number: usize, now: Timestamp) {
        if let Some(blind) = self.lanes[number].blind() {
            self.relist(blind, now);
        }
    }
}

/// When a lane may be served again, as far as time alone decides.
fn open_at(lane: &Lane) -> Option<Timestamp> {
    let (at, _) = lane.first()?;
    Some(lane.gate().map_or(at, |gate| at.max(gate.until)))
}
