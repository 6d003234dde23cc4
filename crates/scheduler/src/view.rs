//! What the scheduler is doing, for displays: keys, quotas, and the limiting factor.

use std::collections::HashSet;
use std::sync::Arc;

use crate::key::KeyId;
use crate::outcome::{Blocked, Reason};
use crate::quota::Limits;
use crate::scheduler::{Quota, Scheduler};
use crate::time::Timestamp;

/// A key's state, in the words its users know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// Ready for a call.
    Available,
    /// Rests after a use.
    Cooldown {
        /// Until when.
        until: Timestamp,
    },
    /// Every quota of its project pauses.
    TemporarilyExhausted {
        /// Until when the first of them pauses.
        until: Timestamp,
    },
    /// Every quota of its project is used up for the day, or the project is parked.
    FullyExhausted {
        /// When the day ends, or the next probe is due.
        until: Timestamp,
    },
    /// Must not be used again.
    FailedInit {
        /// The API's word for it.
        reason: Arc<str>,
    },
}

impl KeyState {
    /// `AVAILABLE`, `COOLDOWN`, `TEMPORARILY_EXHAUSTED`, `FULLY_EXHAUSTED` or `FAILED_INIT`.
    pub fn name(&self) -> &'static str {
        match self {
            KeyState::Available => "AVAILABLE",
            KeyState::Cooldown { .. } => "COOLDOWN",
            KeyState::TemporarilyExhausted { .. } => "TEMPORARILY_EXHAUSTED",
            KeyState::FullyExhausted { .. } => "FULLY_EXHAUSTED",
            KeyState::FailedInit { .. } => "FAILED_INIT",
        }
    }
}

/// A key as displays see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its number.
    pub key: KeyId,
    /// Its project's number.
    pub project: u32,
    /// Its state.
    pub state: KeyState,
    /// What exhausted the quota that is first to serve again, where one did.
    pub why: Option<Reason>,
    /// Calls under way with it.
    pub active: u32,
    /// Refusals in a row, of the quota of its project that has most; an answer ends the row.
    pub exhausted: u32,
}

/// The quota of a (project, model family) as displays see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaView {
    /// The project's number.
    pub project: u32,
    /// The model family.
    pub model: Arc<str>,
    /// Limits in force.
    pub limits: Limits,
    /// Requests and tokens in the window, requests today.
    pub used: (u64, u64, u64),
    /// The pause in force.
    pub held_until: Option<Timestamp>,
    /// What keeps even the smallest request from going, and until when; `None` when one could go at once, as far as this
    /// quota is concerned.
    pub blocked: Option<Blocked>,
}

/// A project that is parked, as displays see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkView {
    /// The project's number.
    pub project: u32,
    /// The API's word for it.
    pub reason: Arc<str>,
    /// When it is asked again, if anything waits then.
    pub next_probe: Timestamp,
}

/// The limiting factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limiting {
    /// Why, and until when.
    pub blocked: Blocked,
    /// Whose quota or keys, where it is a project's.
    pub project: Option<u32>,
    /// The model family whose quota or breaker it is, where it is one's.
    pub model: Option<Arc<str>>,
}

impl Scheduler {
    /// Prompts that wait for a permit.
    pub fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.queue.len()).sum()
    }

    /// Prompts that wait out a pause after a fault.
    pub fn paused(&self) -> usize {
        self.paused.len()
    }

    /// Calls under way, and the most there may be.
    pub fn active(&self) -> (u32, u32) {
        (self.workers.busy(), self.workers.most())
    }

    /// Why nothing more is sent at `now`; `None` when nothing waits.
    pub fn limiting(&self, now: Timestamp) -> Option<Limiting> {
        if self.queued() == 0 {
            let until = self.paused.first().map(|&(until, _)| until)?;
            return Some(Limiting { blocked: Blocked { reason: Reason::Backoff, until }, project: None, model: None });
        }
        if let Some(blocked) = self.gate().filter(|gate| gate.until > now) {
            return Some(Limiting { blocked, project: None, model: None });
        }
        let open = self.lanes.iter().filter(|lane| !lane.queue.is_empty());
        let gates: Option<Vec<(Blocked, &Arc<str>)>> =
            open.map(|lane| lane.gate().filter(|gate| gate.until > now).map(|gate| (gate, &lane.name))).collect();
        if let Some((blocked, model)) = gates.and_then(|gates| gates.into_iter().min_by_key(|(gate, _)| gate.until)) {
            return Some(Limiting { blocked, project: None, model: Some(model.clone()) });
        }
        let waiting = self.quotas.iter().filter(|quota| !self.lanes[quota.model.0 as usize].queue.is_empty());
        let live = waiting.filter(|quota| self.projects[quota.project as usize].ring.live > 0 && !quota.bucket.parked);
        let (blocked, quota) =
            live.filter_map(|quota| quota.standing.why.map(|why| (why, quota))).min_by_key(|(why, _)| why.until)?;
        let model = self.lanes[quota.model.0 as usize].name.clone();
        Some(Limiting { blocked, project: Some(quota.project), model: Some(model) })
    }

    /// Every key that has not left.
    pub fn keys(&mut self, now: Timestamp) -> Vec<KeyView> {
        self.advance_all(now);
        let view = |(number, key): (usize, &crate::key::Key)| {
            let (state, why) = self.key_state(now, key);
            KeyView {
                key: KeyId(u32::try_from(number).unwrap_or(u32::MAX)),
                project: key.project,
                state,
                why,
                active: key.active,
                exhausted: self.strikes(key.project),
            }
        };
        self.keys.iter().enumerate().filter(|(_, key)| !key.left).map(view).collect()
    }

    fn strikes(&self, project: u32) -> u32 {
        let buckets = self.projects[project as usize].buckets.iter();
        buckets.map(|&id| self.quotas[id as usize].bucket.strikes()).max().unwrap_or(0)
    }

    fn key_state(&self, now: Timestamp, key: &crate::key::Key) -> (KeyState, Option<Reason>) {
        if let Some(reason) = &key.dead {
            return (KeyState::FailedInit { reason: reason.clone() }, None);
        }
        if let Some(park) = self.park_of(key.project) {
            return (KeyState::FullyExhausted { until: park.until }, Some(Reason::Parked));
        }
        let quotas = self.projects[key.project as usize].buckets.iter().map(|&id| &self.quotas[id as usize]);
        let taken = quotas.filter(|quota| !self.lanes[quota.model.0 as usize].vacant);
        let pauses: Option<Vec<(Blocked, bool)>> = taken.map(|quota| quota.bucket.exhausted()).collect();
        if let Some((first, fully)) = pauses.and_then(|pauses| pauses.into_iter().min_by_key(|(pause, _)| pause.until)) {
            let until = first.until;
            let state = if fully { KeyState::FullyExhausted { until } } else { KeyState::TemporarilyExhausted { until } };
            return (state, Some(first.reason));
        }
        (key.rests_until(now).map_or(KeyState::Available, |until| KeyState::Cooldown { until }), None)
    }

    /// Every project that is parked, why, and when it is asked again.
    pub fn parks(&self) -> Vec<ParkView> {
        let numbers = 0..u32::try_from(self.projects.len()).unwrap_or(u32::MAX);
        let view = |project| {
            let park = self.park_of(project)?;
            Some(ParkView { project, reason: park.reason.clone(), next_probe: park.until })
        };
        let present = self.present();
        numbers.filter(|project| present.contains(project)).filter_map(view).collect()
    }

    /// Projects with a key that has not left.
    fn present(&self) -> HashSet<u32> {
        self.keys.iter().filter(|key| !key.left).map(|key| key.project).collect()
    }

    /// Every quota that has been asked for so far, of projects that have keys.
    pub fn quotas(&mut self, now: Timestamp) -> Vec<QuotaView> {
        self.advance_all(now);
        let day = self.started.then(|| self.calendar.day(now));
        let view = |quota: &Quota| QuotaView {
            project: quota.project,
            model: self.lanes[quota.model.0 as usize].name.clone(),
            limits: quota.bucket.limits,
            used: quota.bucket.used(),
            held_until: quota.bucket.hold().map(|hold| hold.until),
            blocked: day.and_then(|day| quota.bucket.shut(now, day, &self.rules)),
        };
        let present = self.present();
        let is_shown = |quota: &&Quota| present.contains(&quota.project) && !self.lanes[quota.model.0 as usize].vacant;
        self.quotas.iter().filter(is_shown).map(view).collect()
    }

    fn advance_all(&mut self, now: Timestamp) {
        // A look must not start the first day.
        if !self.started {
            return;
        }
        let day = self.calendar.day(now);
        for quota in &mut self.quotas {
            quota.bucket.advance(now, day, &self.rules);
        }
    }
}
