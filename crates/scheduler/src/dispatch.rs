//! Starting prompts: which lane, which bucket, which prompt, which key; and when to look again.

use crate::event::Action;
use crate::forecast::Want;
use crate::job::{Place, Running, State};
use crate::key::{KeyId, seat_over_all};
use crate::lane::{Choice, Keys, LOOK_AHEAD, Lane, Others, obstacle};
use crate::outcome::{Blocked, Reason};
use crate::park::Debtor;
use crate::scheduler::{Quota, Scheduler};
use crate::time::Timestamp;
use crate::window::Weight;

impl Scheduler {
    /// The earliest instant at which a decision could change by the mere passing of time.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let paused = self.paused.first().map(|&(at, _)| at);
        let deadline = self.deadlines.first().map(|&(at, _)| at);
        [paused, deadline, self.next_start(), self.next_late()].into_iter().flatten().filter(|at| !at.is_never()).min()
    }

    /// When the next prompt may go, as far as time alone decides.
    pub fn next_start(&self) -> Option<Timestamp> {
        let gate = self.gate().map_or(Timestamp::ZERO, |gate| gate.until);
        if self.closed || gate.is_never() {
            return None;
        }
        let first = self.lanes.iter().filter(|lane| !lane.queue.is_empty()).filter_map(open_at).min();
        first.map(|at| at.max(gate))
    }

    /// What keeps every prompt from going, whatever its model.
    pub(crate) fn gate(&self) -> Option<Blocked> {
        let bound = |reason, until: Timestamp| (until > Timestamp::ZERO).then_some(Blocked { reason, until });
        let time = Blocked::later(bound(Reason::CallInterval, self.next_call), bound(Reason::Host, self.host.until()));
        Blocked::later(self.workers.blocked(), time)
    }

    pub(crate) fn dispatch(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.closed {
            return;
        }
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
        let best = open.min_by_key(|&n| self.lanes[n].queue.first_key_value().map(|(place, _)| place.priority))?;
        self.turn = best + 1;
        Some(best)
    }

    /// Lets the readiest bucket of a lane start a prompt, or lists it for when it can.
    fn serve(&mut self, number: usize, now: Timestamp, actions: &mut Vec<Action>) {
        let Some((_, id)) = self.lanes[number].first() else { return };
        self.ask(number, id, now, actions);
        let day = self.calendar.day(now);
        let parked = self.parked(self.quotas[id as usize].project).filter(|parked| parked.until > now);
        let quota = &mut self.quotas[id as usize];
        quota.bucket.advance(now, day, &self.rules);
        if quota.bucket.take_rise() {
            actions.push(Action::Learned { project: quota.project, model: self.lanes[number].name.clone() });
        }
        let project = &self.projects[quota.project as usize];
        let keys = Blocked::later(project.ring.blocked(now, &self.settings.pacing), parked);
        if let Some(why) = obstacle(&quota.bucket, keys, now, day, &self.rules) {
            let (lane, look) = (&mut self.lanes[number], quota.bucket.next_look(now));
            lane.list(id, &mut quota.standing, why.until.min(look), Some(why));
            if quota.bucket.ledger().is_some() {
                lane.starve(id);
            }
            return;
        }
        let (second_at, lone) = (project.ring.second_at(), project.ring.live == 1);
        let ready = match project.ring.ready(now) {
            // With a single key left nothing is gained by sparing it.
            (Some(only), None) if self.lanes[number].live == 1 && lone => {
                Keys { first: Some(only), second: Some(only), second_at, lone }
            }
            (first, second) => Keys { first, second, second_at, lone },
        };
        match self.choose(number, now, id, ready) {
            Choice::Take(place, key) => self.start(number, now, id, place, key, actions),
            Choice::Wait(why) => {
                let (lane, quota) = (&mut self.lanes[number], &mut self.quotas[id as usize]);
                lane.list(id, &mut quota.standing, why.until.min(quota.bucket.next_look(now)), Some(why));
                lane.starve(id);
            }
        }
    }

    fn choose(&mut self, number: usize, now: Timestamp, id: u32, keys: Keys) -> Choice {
        let (quotas, projects, parks) = (&self.quotas, &self.projects, &self.parks);
        let bucket = &quotas[id as usize].bucket;
        let keeps = |keeper: u32, tokens: u64| {
            let Quota { project, bucket: keeper, .. } = &quotas[keeper as usize];
            let owner = &projects[*project as usize];
            let debtors = [Some(Debtor::Project(*project)), owner.spec.account.map(Debtor::Account)];
            let serves = owner.ring.live > 0 && !keeper.parked && parks.blocked(debtors).is_none();
            serves && keeper.limits.tpm.is_none_or(|limit| tokens <= limit) && keeper.hold().is_none_or(|hold| hold.until <= now)
        };
        let soon = |bound: u32| {
            let Quota { project, bucket, standing, .. } = &quotas[bound as usize];
            let owner = &projects[*project as usize];
            let debtors = [Some(Debtor::Project(*project)), owner.spec.account.map(Debtor::Account)];
            let lives = owner.ring.live > 0 && !bucket.parked && parks.blocked(debtors).is_none();
            lives && standing.listed_at() <= now + self.rules.minute
        };
        self.lanes[number].choose(now, id, bucket, keys, &self.rules, &Others { keeps, soon })
    }

    fn start(&mut self, number: usize, now: Timestamp, bucket: u32, place: Place, key: KeyId, actions: &mut Vec<Action>) {
        let Some(entry) = self.lanes[number].remove(place) else { return };
        if let Some(forecast) = self.lanes[number].foreseen(now) {
            forecast.started(now, place, Want { weight: entry.weight.settled(), only: entry.only() });
        }
        let debtors = self.debtors(self.quotas[bucket as usize].project);
        self.parks.started(debtors, entry.job);
        let Some(job) = self.jobs.get_mut(&entry.job) else { return };
        let day = self.calendar.day(now);
        let quota = &mut self.quotas[bucket as usize];
        let permit = quota.bucket.take(now, entry.weight, day, &self.rules);
        let ring = &mut self.projects[quota.project as usize].ring;
        let seat = ring.start(key, &mut self.keys[key.0 as usize], now, &self.settings.pacing);
        let worker = self.workers.start(now);
        if !self.settings.pacing.call_interval.is_zero() {
            self.next_call = now + self.settings.pacing.call_interval;
        }
        let breaker = &mut self.lanes[number].breaker;
        let held = breaker.held(now).wrapping_sub(entry.held_from);
        if held > 0 {
            job.faults().held = held;
        }
        breaker.started(now);
        self.host.started(now);
        job.attempts += 1;
        job.state = State::Running(Box::new(Running { bucket, key, permit, seat, worker }));
        let slot = seat.map_or(worker, |seat| seat_over_all(key, seat, &self.settings.pacing));
        actions.push(Action::Start { job: entry.job, key, slot, attempt: job.attempts });
        self.relist(bucket, now);
        self.left_queue(number, now, entry.kept_by().filter(|&keeper| keeper != bucket));
        let lane = &self.lanes[number];
        let arrived = lane.has_starved().then(|| lane.queue.values().nth(LOOK_AHEAD - 1)).flatten();
        if let Some(weight) = arrived.map(|entry| entry.weight) {
            self.look_again(number, now, weight);
        }
    }

    /// A prompt left the queue: who kept room for it may serve others.
    pub(crate) fn left_queue(&mut self, number: usize, now: Timestamp, keeper: Option<u32>) {
        if let Some(keeper) = keeper {
            self.relist(keeper, now);
        }
        let lane = &self.lanes[number];
        // With confined prompts in the queue, where a reach ends differs from bucket to bucket.
        if lane.queue.len() == LOOK_AHEAD || lane.confined > 0 && lane.queue.len() > LOOK_AHEAD {
            for id in self.lanes[number].starved() {
                self.relist(id, now);
            }
        }
    }

    /// A prompt came into reach: starved buckets that can take it before they meant to look are listed for that instant.
    pub(crate) fn look_again(&mut self, number: usize, now: Timestamp, weight: Weight) {
        let day = self.calendar.day(now);
        for id in self.lanes[number].starved() {
            let quota = &mut self.quotas[id as usize];
            quota.bucket.advance(now, day, &self.rules);
            if quota.bucket.ledger().is_some()
                || quota.bucket.room_for_tokens(now, weight, &self.rules).0 < quota.standing.listed_at()
            {
                self.relist(id, now);
            }
        }
    }
}

/// When a lane may be served again, as far as time alone decides.
fn open_at(lane: &Lane) -> Option<Timestamp> {
    let (at, _) = lane.first()?;
    Some(lane.gate().map_or(at, |gate| at.max(gate.until)))
}
