//! Names that nobody has proven: models of which no answer has shown yet that the API has them.
//!
//! Who may ask may make names up, and each takes a lane with a quota of every project. A lane is kept for good once an answer
//! or a refusal of its quota came; of the others only so many exist at once, and those that nobody asks are given up, the
//! longest idle first. Their numbers are used again, so that looking at all lanes stays as quick as it was.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::Action;
use crate::job::ModelId;
use crate::lane::{Lane, Standing};
use crate::outcome::Outcome;
use crate::quota::{Bucket, Limits};
use crate::scheduler::{Scheduler, limits_for};
use crate::time::Timestamp;

/// Unproven names at once, those with prompts and those without.
const MOST: usize = 256;
/// Unproven names that are kept without a prompt: what they have counted helps whoever asks them again.
const MOST_IDLE: usize = 64;

/// The unproven lanes, and the numbers that are free.
#[derive(Debug, Default)]
pub(crate) struct Unproven {
    count: usize,
    /// Those without a prompt, the longest idle first.
    idle: VecDeque<ModelId>,
    vacant: Vec<ModelId>,
    /// Names that were given up and not told yet.
    gone: Vec<Arc<str>>,
}

impl Scheduler {
    /// The number of a family that somebody asks for. As [`Scheduler::model`], but a name of which nobody knows whether the API
    /// has it is given up again when no prompt asks it ([`Action::Forgotten`]), and `None` is said while too many of these
    /// have prompts. The number holds until the next call of [`Scheduler::handle`], from then on while a prompt has it.
    pub fn admit(&mut self, family: &str) -> Option<ModelId> {
        if let Some(&model) = self.names.get(family) {
            return Some(model);
        }
        if self.projects.iter().any(|project| project.spec.limits.iter().any(|(named, _)| named == family)) {
            return Some(self.model(family));
        }
        if self.unproven.count >= MOST {
            let idle = self.unproven.idle.pop_front()?;
            self.give_up(idle);
        }
        let model = match self.unproven.vacant.pop() {
            Some(model) => self.occupy(model, family),
            None => self.model(family),
        };
        self.lanes[model.0 as usize].proven = false;
        self.unproven.count += 1;
        self.unproven.idle.push_back(model);
        Some(model)
    }

    /// A prompt joins a lane.
    pub(crate) fn lane_joined(&mut self, model: ModelId) {
        let lane = &mut self.lanes[model.0 as usize];
        lane.prompts += 1;
        if lane.prompts == 1 && !lane.proven {
            self.unproven.idle.retain(|idle| *idle != model);
        }
    }

    /// A prompt of a lane has come to its end.
    pub(crate) fn lane_left(&mut self, model: ModelId) {
        let lane = &mut self.lanes[model.0 as usize];
        lane.prompts = lane.prompts.saturating_sub(1);
        if lane.prompts == 0 && !lane.proven {
            self.unproven.idle.push_back(model);
        }
    }

    /// Whether an outcome shows that the API has the model: an answer, also a useless one, or a word of its quota.
    pub(crate) fn note_proof(&mut self, model: ModelId, outcome: &Outcome) {
        let proof = match outcome {
            Outcome::Done { .. } | Outcome::KeyLimited(_) => true,
            Outcome::TaskFailed(fault) => fault.used.is_some(),
            _ => false,
        };
        if proof {
            self.prove(model);
        }
    }

    /// From now on the lane is kept, whether it has prompts or not.
    pub(crate) fn prove(&mut self, model: ModelId) {
        let lane = &mut self.lanes[model.0 as usize];
        if !lane.proven {
            lane.proven = true;
            self.unproven.count -= 1;
            self.unproven.idle.retain(|idle| *idle != model);
        }
    }

    /// Gives up the idle lanes that are too many, and tells of all that were given up.
    pub(crate) fn give_up_idle(&mut self, actions: &mut Vec<Action>) {
        self.trim_idle();
        for model in std::mem::take(&mut self.unproven.gone) {
            // Asked again meanwhile, it is not gone.
            if !self.names.contains_key(&model) {
                actions.push(Action::Forgotten { model });
            }
        }
    }

    pub(crate) fn trim_idle(&mut self) {
        while self.unproven.idle.len() > MOST_IDLE {
            let Some(model) = self.unproven.idle.pop_front() else { return };
            self.give_up(model);
        }
    }

    fn give_up(&mut self, model: ModelId) {
        let lane = std::mem::replace(&mut self.lanes[model.0 as usize], Lane::new("".into()));
        self.lanes[model.0 as usize].vacant = true;
        for project in &self.projects {
            let quota = &mut self.quotas[project.buckets[model.0 as usize] as usize];
            quota.bucket = Bucket::new(Limits::default(), &self.rules);
            quota.standing = Standing::default();
        }
        self.names.remove(&lane.name);
        self.unproven.gone.push(lane.name);
        self.unproven.vacant.push(model);
        self.unproven.count -= 1;
    }

    /// Gives a free number to a name.
    fn occupy(&mut self, model: ModelId, family: &str) -> ModelId {
        let name: Arc<str> = family.into();
        let mut lane = Lane::new(name.clone());
        for project in &self.projects {
            let id = project.buckets[model.0 as usize];
            let quota = &mut self.quotas[id as usize];
            quota.bucket = Bucket::new(limits_for(&project.spec, family), &self.rules);
            quota.bucket.prompts_per_call = lane.company.most;
            if let Some(shares) = &self.shares {
                quota.bucket.share(shares.is_alone());
            }
            quota.standing = Standing::default();
            lane.list(id, &mut quota.standing, Timestamp::ZERO, None);
        }
        self.lanes[model.0 as usize] = lane;
        self.names.insert(name, model);
        self.recount(model);
        model
    }
}
