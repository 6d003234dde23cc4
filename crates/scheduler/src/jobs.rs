//! All prompts by number: a small index in front of a dense store, so that a growing table moves numbers and no prompts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::job::{Job, JobId};

/// The prompts taken in and not yet ended.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    index: HashMap<JobId, u32, BuildHasherDefault<Mix>>,
    store: Vec<Option<Job>>,
    free: Vec<u32>,
}

impl Jobs {
    /// Takes a prompt in; one of the same number is replaced.
    pub(crate) fn insert(&mut self, id: JobId, job: Job) {
        self.remove(&id);
        let at = self.free.pop().unwrap_or_else(|| {
            self.store.push(None);
            u32::try_from(self.store.len() - 1).unwrap_or(u32::MAX)
        });
        self.store[at as usize] = Some(job);
        self.index.insert(id, at);
    }

    pub(crate) fn get(&self, id: &JobId) -> Option<&Job> {
        self.store[*self.index.get(id)? as usize].as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        self.store[*self.index.get(id)? as usize].as_mut()
    }

    pub(crate) fn remove(&mut self, id: &JobId) -> Option<Job> {
        let at = self.index.remove(id)?;
        self.free.push(at);
        self.store[at as usize].take()
    }
}

/// Spreads numbers that we or our caller count up ourselves; nobody gains by making them collide.
#[derive(Debug, Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_i32(&mut self, number: i32) {
        self.write_u64(u64::from(number.cast_unsigned()));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        // The table takes its place from the low bits, and those of a product know little of the factors' high ones.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{ModelId, Place, State};
    use crate::time::Timestamp;
    use crate::window::Weight;

    fn job(least: u32) -> Job {
        let (place, weight, deadline) = (Place::new(0, 0, 0), Weight::default(), Timestamp::NEVER);
        Job {
            model: ModelId(0),
            place,
            weight,
            least,
            attempts: 0,
            deadline,
            spares_running: false,
            faults: None,
            state: State::Queued,
        }
    }

    #[test]
    fn places_of_the_gone_are_used_again() {
        let mut jobs = Jobs::default();
        for round in 0..10 {
            for n in 0..5 {
                jobs.insert(JobId(round * 5 + n), job(n as u32));
            }
            assert_eq!(jobs.get(&JobId(round * 5 + 3)).map(|job| job.least), Some(3));
            for n in 0..5 {
                assert_eq!(jobs.remove(&JobId(round * 5 + n)).map(|job| job.least), Some(n as u32));
            }
        }
        assert_eq!((jobs.store.len(), jobs.index.len()), (5, 0));
    }

    #[test]
    fn a_waiting_prompt_takes_little_memory() {
        assert!(size_of::<Option<Job>>() <= 80, "{}", size_of::<Option<Job>>());
        assert!(size_of::<(Place, crate::lane::Entry)>() <= 48, "{}", size_of::<(Place, crate::lane::Entry)>());
    }
}
