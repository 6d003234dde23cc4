//! Sharing quotas with other processes: asking their ledger for permits ahead of time, and giving back what is not used.
//!
//! A prompt starts with a permit or not at all. One question a quota is under way at a time, for the prompts at the head of
//! the queue that no permit waits for yet; which of them a permit then serves is decided when it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use crate::event::Action;
use crate::job::ModelId;
use crate::lane::{LOOK_AHEAD, obstacle_apart};
use crate::outcome::Dimension;
use crate::permits::{Ask, Cost, Grant, Hearsay, QuotaId, Sharing};
use crate::quota::{Asked, Counting, Limits, Shared};
use crate::scheduler::Scheduler;
use crate::time::Timestamp;

/// What sharing needs beside what each quota holds.
#[derive(Debug)]
pub(crate) struct Shares {
    rules: Sharing,
    /// Whose requests of the day are written down here.
    machine: Option<u64>,
    /// Nobody can be asked.
    alone: bool,
    last: u64,
    /// Quotas with permits at hand.
    holders: BTreeSet<u32>,
    /// Quotas with something to tell.
    dirty: Vec<u32>,
}

impl Shares {
    /// Notes that a quota has something to tell.
    pub(crate) fn mark(&mut self, bucket: u32) {
        self.dirty.push(bucket);
    }

    /// Whether a new quota begins without a ledger.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }
}

/// What a process knows of a quota and the ledger is asked with.
#[derive(Debug, Clone, PartialEq)]
pub struct Knowledge {
    /// Number of the project.
    pub project: u32,
    /// The model family.
    pub model: Arc<str>,
    /// Limits in force, learned ones included.
    pub limits: Limits,
    /// Those of them that refusals told.
    pub learned: Limits,
    /// How the server counts.
    pub counting: Counting,
    /// Length of the server's minute.
    pub minute: Duration,
    /// When the quota day ends, and the one after it.
    pub day_ends: [Timestamp; 2],
    /// What the machine has written down of the day; `None` where nothing is kept.
    pub machine: Option<MachineDay>,
    /// Calls that the project's keys may have under way, over all models; `None` where keys have no slots.
    pub slots: Option<u32>,
}

/// Requests of a machine on one day, from before it shared the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineDay {
    /// Which machine; the processes that keep one store are one.
    pub machine: u64,
    /// Its requests.
    pub requests: u64,
}

impl Scheduler {
    /// From now on every quota is shared: nothing starts without a permit of the ledger behind [`Action::Reserve`].
    pub fn share(&mut self, rules: Sharing) {
        self.shares =
            Some(Box::new(Shares { rules, machine: None, alone: false, last: 0, holders: BTreeSet::new(), dirty: Vec::new() }));
        self.quotas.iter_mut().for_each(|quota| quota.bucket.share(false));
    }

    /// What [`Scheduler::count_today`] is told comes from this machine.
    pub fn speak_for(&mut self, machine: u64) {
        if let Some(shares) = &mut self.shares {
            shares.machine = Some(machine);
        }
    }

    /// What is known of a quota at `now`.
    pub fn knowledge(&mut self, now: Timestamp, quota: QuotaId) -> Option<Knowledge> {
        let day = self.calendar.day(now);
        let next = self.calendar.clone().day(day.end);
        let machine = self.shares.as_ref().and_then(|shares| shares.machine);
        let quota = self.quotas.get_mut(quota.0 as usize)?;
        quota.bucket.advance(now, day, &self.rules);
        Some(Knowledge {
            project: quota.project,
            model: self.lanes[quota.model.0 as usize].name.clone(),
            limits: quota.bucket.limits,
            learned: quota.bucket.learned_limits(),
            counting: quota.bucket.counting(&self.rules),
            minute: self.rules.minute,
            day_ends: [day.end, next.end],
            machine: machine.map(|machine| MachineDay { machine, requests: quota.bucket.machine_today() }),
            slots: self.projects[quota.project as usize].ring.slots(&self.settings.pacing),
        })
    }

    /// What this process sent in the last minute, for a ledger that has lost it: start of a slot, requests, tokens; the oldest
    /// first.
    pub fn sent(&mut self, now: Timestamp, quota: QuotaId) -> Vec<(Timestamp, u64, u64)> {
        let day = self.calendar.day(now);
        let Some(quota) = self.quotas.get_mut(quota.0 as usize) else { return Vec::new() };
        quota.bucket.advance(now, day, &self.rules);
        quota.bucket.sent()
    }

    /// What this process sent in the last minute while no ledger could be asked, in the same form, until it is
    /// [told](Scheduler::told_alone).
    pub fn sent_alone(&mut self, now: Timestamp, quota: QuotaId) -> &[(Timestamp, u64, u64)] {
        let span = self.rules.shape.span();
        let Some(shared) = self.quotas.get_mut(quota.0 as usize).and_then(|quota| quota.bucket.shared.as_deref_mut()) else {
            return &[];
        };
        shared.unpermitted.retain(|(at, ..)| *at + span > now);
        &shared.unpermitted
    }

    /// The ledger knows what was [sent](Scheduler::sent_alone) without it.
    pub fn told_alone(&mut self, quota: QuotaId) {
        if let Some(shared) = self.quotas.get_mut(quota.0 as usize).and_then(|quota| quota.bucket.shared.as_deref_mut()) {
            shared.unpermitted.clear();
        }
    }

    /// The quota of a project for a model family, if it was ever asked for.
    pub fn quota(&self, project: u32, family: &str) -> Option<QuotaId> {
        let model = self.names.get(family)?;
        self.projects.get(project as usize)?.buckets.get(model.0 as usize).map(|&id| QuotaId(id))
    }

    // === what the ledger says ===

    pub(crate) fn granted(&mut self, now: Timestamp, QuotaId(id): QuotaId, grant: Grant) {
        let (Some(shares), Some(quota)) = (&mut self.shares, self.quotas.get_mut(id as usize)) else { return };
        let horizon = shares.rules.horizon;
        let chance = self.rng.random::<f64>();
        let Some(shared) = &mut quota.bucket.shared else { return };
        shares.dirty.push(id);
        let Some(asked) = shared.asked.take_if(|asked| asked.number == grant.number) else {
            // An answer that came after all was given up.
            shared.returns.released.extend(grant.permits.iter().map(|permit| permit.id));
            return;
        };
        if self.closed {
            shared.returns.released.extend(grant.permits.iter().map(|permit| permit.id));
            return;
        }
        let granted = grant.permits.len();
        grant.permits.into_iter().for_each(|permit| shared.hold(permit));
        if granted > 0 {
            shares.holders.insert(id);
        }
        shared.live = grant.live.max(1);
        shared.most_live = shared.most_live.max(shared.live);
        let filling = shared.too_large.is_some();
        let lead = (!asked.low).then(|| Shared::lead(horizon, chance));
        shared.plan(now, granted, grant.refused, lead);
        if grant.busy {
            shared.wait_for_a_slot(now, chance);
        }
        let for_tokens = grant.refused.is_some_and(|refused| refused.dimension == Some(Dimension::Tpm));
        let refused_first = for_tokens && granted == 0;
        if asked.starving && refused_first {
            shared.returns.room = grant.refused.map(|refused| refused.until);
        }
        if !filling {
            shared.passed_since = refused_first.then(|| shared.passed_since.unwrap_or(now));
        }
        if let Some(&tokens) = asked.tokens.get(granted).filter(|_| for_tokens) {
            // What is smaller may fill the hole meanwhile.
            (shared.too_large, shared.ask_at) = (Some(tokens), now);
        }
        quota.bucket.told_use(now, grant.used, grant.today);
        self.relist(id, now);
    }

    /// Another process has found something out.
    pub(crate) fn heard(&mut self, now: Timestamp, QuotaId(id): QuotaId, hearsay: &Hearsay, actions: &mut Vec<Action>) {
        let Some(quota) = self.quotas.get_mut(id as usize) else { return };
        let (model, tpm) = (quota.model, quota.bucket.limits.tpm);
        if !quota.bucket.heed(now, hearsay, &self.rules) {
            return;
        }
        let recount = quota.bucket.parked || quota.bucket.limits.tpm != tpm;
        if let Some(shares) = &mut self.shares {
            shares.dirty.push(id);
        }
        self.prove(model);
        self.relist(id, now);
        if recount {
            self.recount_and_end(now, model, actions);
        }
    }

    /// The ledger cannot be reached: permits at hand are used, and then nothing starts, or what the settings leave.
    pub(crate) fn unreachable(&mut self, now: Timestamp) {
        let Some(shares) = self.shares.as_mut().filter(|shares| !shares.alone) else { return };
        shares.alone = true;
        let part = shares.rules.alone;
        // Who was quiet for a while may not have seen all others on each quota.
        let most = self.quotas.iter().filter_map(|quota| quota.bucket.shared.as_ref()).map(|shared| shared.most_live).max();
        self.quotas.iter_mut().for_each(|quota| quota.bucket.go_alone(part / f64::from(most.unwrap_or(1))));
        self.look_at_all(now);
    }

    /// The ledger answers again.
    pub(crate) fn reached(&mut self, now: Timestamp) {
        let Some(shares) = self.shares.as_mut().filter(|shares| shares.alone) else { return };
        shares.alone = false;
        self.quotas.iter_mut().for_each(|quota| quota.bucket.rejoin());
        self.look_at_all(now);
    }

    /// Whether the ledger cannot be reached.
    pub fn is_alone(&self) -> bool {
        self.shares.as_ref().is_some_and(|shares| shares.alone)
    }

    /// Whether something is sent while the ledger cannot be reached.
    pub fn goes_on_alone(&self) -> bool {
        self.shares.as_ref().is_some_and(|shares| shares.rules.alone > 0.0)
    }

    fn look_at_all(&mut self, now: Timestamp) {
        (0..u32::try_from(self.quotas.len()).unwrap_or(u32::MAX)).for_each(|id| self.relist(id, now));
    }

    // === asking ===

    /// Asks for permits where some are wanted and a question is due.
    pub(crate) fn ask(&mut self, lane: usize, id: u32, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(rules) = self.shares.as_ref().map(|shares| shares.rules) else { return };
        let quota = &self.quotas[id as usize];
        let due = quota.bucket.ledger().is_some_and(|shared| shared.next_ask() <= now);
        if !due {
            return;
        }
        let ring = &self.projects[quota.project as usize].ring;
        let keys = ring.blocked(now, &self.settings.pacing);
        let why = obstacle_apart(&quota.bucket, keys, self.parked(quota.project), now, &self.rules);
        if let Some(why) = why.filter(|why| why.until > now + rules.horizon) {
            return self.ask_later(id, if why.until.is_never() { why.until } else { why.until.before(rules.horizon) });
        }
        let (starving, minute) = (self.is_starving(id, now), self.rules.minute);
        let (costs, low) = self.wanted(lane, id, now, starving);
        let Some(shared) = self.quotas[id as usize].bucket.shared.as_deref_mut() else { return };
        if costs.is_empty() {
            // With nothing smaller left to fill in, the refused one is next.
            let resume = shared.too_large.take().map_or(Timestamp::NEVER, |_| shared.resume_at.max(now));
            let again = resume <= now;
            shared.ask_at = resume;
            return if again {
                self.ask(lane, id, now, actions)
            };
        }
        let horizon = if starving && !low { rules.horizon + minute } else { rules.horizon };
        if shared.too_large.is_none() {
            shared.refused = None;
        }
        let Some(shares) = &mut self.shares else { return };
        shares.last += 1;
        let number = shares.last;
        shared.asked = Some(Asked { number, tokens: costs.iter().map(|cost| cost.tokens).collect(), low, starving });
        actions.push(Action::Reserve { quota: QuotaId(id), ask: Ask { number, costs, low, horizon } });
    }

    fn ask_later(&mut self, id: u32, at: Timestamp) {
        if let Some(shared) = &mut self.quotas[id as usize].bucket.shared {
            shared.ask_at = at;
        }
    }

    /// Whether smaller prompts have passed the head for so long that room is to be kept for it.
    fn is_starving(&self, id: u32, now: Timestamp) -> bool {
        let shared = self.quotas[id as usize].bucket.shared.as_deref().filter(|shared| shared.too_large.is_none());
        shared.and_then(|shared| shared.passed_since).is_some_and(|since| now >= since + self.rules.bypass())
    }

    /// What the first prompts cost that this quota can serve and that nobody holds a permit for, and whether they may wait.
    fn wanted(&self, lane: usize, id: u32, now: Timestamp, starving: bool) -> (Vec<Cost>, bool) {
        let quota = &self.quotas[id as usize];
        let Some(shared) = quota.bucket.shared.as_deref() else { return (Vec::new(), false) };
        let most = if quota.bucket.probes() || starving { 1 } else { shared.most };
        let most = most.saturating_sub(if quota.bucket.probes() { shared.permits.len() } else { 0 });
        let mut own: BTreeMap<u64, usize> = BTreeMap::new();
        shared.promises().for_each(|tokens| *own.entry(tokens).or_default() += 1);
        let (mut elsewhere, largest) = self.promised_elsewhere(quota.model, id);
        let reach = shared.promised() + elsewhere + most + LOOK_AHEAD;
        let smaller = shared.too_large.map(|refused| refused / 2);
        let queue = &self.lanes[lane].queue;
        let low = queue.first_key_value().is_some_and(|(place, _)| place.priority.0 < 0);
        let breaker = &self.lanes[lane].breaker;
        let mut costs = Vec::new();
        for (place, entry) in queue.iter().take(reach) {
            if costs.len() >= most || (place.priority.0 < 0) != low {
                break;
            }
            let mine = entry.only().is_none_or(|only| only == id) && entry.bound_to().is_none_or(|bound| bound == id);
            if !mine || breaker.lets_go(entry.held_from).is_some_and(|at| at > now) {
                continue;
            }
            let tokens = quota.bucket.amount(entry.weight);
            if quota.bucket.limits.tpm.is_some_and(|limit| tokens > limit) {
                continue;
            }
            if take_one(&mut own, tokens) {
                continue;
            }
            if entry.only().is_none() && elsewhere > 0 && tokens <= largest {
                elsewhere -= 1;
                continue;
            }
            if smaller.is_none_or(|most| tokens <= most) {
                costs.push(Cost { tokens, spread: u64::from(entry.weight.spread) });
            }
        }
        (costs, low)
    }

    /// How many permits other quotas hold or asked for that serve the same queue, and the largest of them.
    fn promised_elsewhere(&self, model: ModelId, id: u32) -> (usize, u64) {
        let buckets = self.projects.iter().filter_map(|project| project.buckets.get(model.0 as usize));
        let others = buckets.filter(|&&bucket| bucket != id);
        let shared = others.filter_map(|&bucket| self.quotas[bucket as usize].bucket.shared.as_deref());
        shared.fold((0, 0), |(count, largest), shared| (count + shared.promised(), shared.promises().fold(largest, u64::max)))
    }

    // === giving back ===

    /// Gives back permits that are too late to be used.
    pub(crate) fn drop_late(&mut self, now: Timestamp) {
        let Some(shares) = &mut self.shares else { return };
        let mut late = Vec::new();
        for &id in &shares.holders {
            let shared = &mut self.quotas[id as usize].bucket.shared;
            if shared.as_mut().is_some_and(|shared| shared.drop_late(now)) {
                late.push(id);
            }
        }
        shares.dirty.extend(&late);
        late.into_iter().for_each(|id| self.relist(id, now));
    }

    /// Gives back permits that no prompt waits for, and tells what ended.
    pub(crate) fn give_back(&mut self, actions: &mut Vec<Action>) {
        let Some(shares) = &mut self.shares else { return };
        let (quotas, lanes) = (&mut self.quotas, &self.lanes);
        let mut room: BTreeMap<u32, usize> = BTreeMap::new();
        shares.holders.retain(|&id| {
            let quota = &mut quotas[id as usize];
            let Some(shared) = &mut quota.bucket.shared else { return false };
            let waiting = if self.closed { 0 } else { lanes[quota.model.0 as usize].queue.len() };
            let room = room.entry(quota.model.0).or_insert(waiting);
            if shared.permits.len() > *room {
                shared.keep_first(*room);
                shares.dirty.push(id);
            }
            *room -= shared.permits.len();
            !shared.permits.is_empty()
        });
        let mut dirty = std::mem::take(&mut shares.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for id in dirty.drain(..) {
            let Some(shared) = &mut quotas[id as usize].bucket.shared else { continue };
            let (quota, returns) = (QuotaId(id), std::mem::take(&mut shared.returns));
            actions.extend(returns.settled.into_iter().map(|(permit, used)| Action::Settle { quota, permit, used }));
            actions.extend(returns.room.map(|until| Action::KeepRoom { quota, until }));
            if !returns.released.is_empty() {
                actions.push(Action::Release { quota, permits: returns.released });
            }
        }
        shares.dirty = dirty;
    }

    /// When a permit at hand will be too late.
    pub(crate) fn next_late(&self) -> Option<Timestamp> {
        let shares = self.shares.as_ref()?;
        let shared = shares.holders.iter().filter_map(|&id| self.quotas[id as usize].bucket.shared.as_deref());
        shared.flat_map(|shared| shared.permits.iter().map(|permit| permit.latest)).min().map(|at| at + Duration::from_micros(1))
    }
}

/// Takes the smallest of these permits that covers `tokens`.
fn take_one(permits: &mut BTreeMap<u64, usize>, tokens: u64) -> bool {
    let Some((&size, count)) = permits.range_mut(tokens..).next() else { return false };
    *count -= 1;
    if *count == 0 {
        permits.remove(&size);
    }
    true
}
