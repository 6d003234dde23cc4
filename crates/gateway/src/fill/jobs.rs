//! All fillings: how many may be under way, how many ended ones are kept, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::job::Job;
use crate::error::Refusal;

/// The most fillings under way.
const MOST_RUNNING: usize = 32;
/// The most of them that one client may have.
const MOST_OF_CLIENT: usize = 8;
/// The most bytes that were sent for all of them; one that is larger goes alone.
const MOST_WEIGHT: usize = 128 << 20;
/// The most ended ones that are kept, and the most bytes of them; the oldest go first.
const MOST_KEPT: usize = 256;
const MOST_KEPT_BYTES: usize = 64 << 20;
/// An ended one can be asked for so long.
pub const KEPT: Duration = Duration::from_secs(3_600);
/// When to ask again for a place, at the soonest.
const RETRY: Duration = Duration::from_secs(5);

/// The fillings of everybody, in the order in which they came.
#[derive(Default)]
pub struct Jobs(Mutex<BTreeMap<u64, Arc<Job>>>);

impl Jobs {
    /// One more, if there is room; what ended longest ago makes room for it. Its number.
    ///
    /// # Errors
    /// A 429 when the client has as many under way as it may, a 503 when everybody together has.
    pub fn add(&self, job: &Arc<Job>) -> Result<u64, Refusal> {
        let mut jobs = self.0.lock();
        room(&jobs, &job.client, job.weight)?;
        shed(&mut jobs);
        let number = jobs.last_key_value().map_or(0, |(number, _)| number + 1);
        jobs.insert(number, job.clone());
        Ok(number)
    }

    /// Whether there is room for one more now: nothing is read for a client who will be refused.
    ///
    /// # Errors
    /// As [`Jobs::add`].
    pub fn room(&self, client: &str, weight: usize) -> Result<(), Refusal> {
        room(&self.0.lock(), client, weight)
    }

    /// One that has ended for long is forgotten.
    pub fn forget(&self, number: u64) {
        self.0.lock().remove(&number);
    }

    /// What has ended gives way to the bounds of what is kept.
    pub fn trim(&self) {
        shed(&mut self.0.lock());
    }

    /// Waits until none is under way.
    pub async fn ended(&self) {
        for job in self.running() {
            job.ended().await;
        }
    }

    /// Tells which are not done: their results end with the gateway, their answers are kept.
    pub fn tell_unfinished(&self) {
        for job in self.running() {
            let (id, client, settled, fields) = (&job.id, &job.client, job.settled(), job.fields);
            tracing::warn!(
                "filling {id} of client {client:?} ends with {settled} of {fields} fields: the same order again asks only for the rest"
            );
        }
    }

    fn running(&self) -> Vec<Arc<Job>> {
        self.0.lock().values().filter(|job| job.end().is_none()).cloned().collect()
    }

    /// A client's own filling.
    ///
    /// # Errors
    /// A 404, also for one of another client.
    pub fn find(&self, client: &str, id: &str) -> Result<Arc<Job>, Refusal> {
        let jobs = self.0.lock();
        let found = jobs.values().find(|job| &*job.id == id && &*job.client == client);
        found.cloned().ok_or_else(|| Refusal::not_found("no such job: it was never there, or ended too long ago"))
    }

    /// All of a client's, the latest first.
    pub fn of(&self, client: &str) -> Vec<Arc<Job>> {
        self.0.lock().values().rev().filter(|job| &*job.client == client).cloned().collect()
    }
}

fn room(jobs: &BTreeMap<u64, Arc<Job>>, client: &str, weight: usize) -> Result<(), Refusal> {
    let running = || jobs.values().filter(|job| job.end().is_none());
    if running().filter(|other| &*other.client == client).count() >= MOST_OF_CLIENT {
        let reason = format!("{MOST_OF_CLIENT} fillings of this client are under way: wait for one to end, or cancel it");
        return Err(Refusal::over(&reason, Some(RETRY)));
    }
    let (count, all) = running().fold((0, weight), |(count, all), job| (count + 1, all + job.weight));
    if count >= MOST_RUNNING || (count > 0 && all > MOST_WEIGHT) {
        return Err(Refusal::busy("as many fillings are under way as this gateway has room for", RETRY));
    }
    Ok(())
}

fn shed(jobs: &mut BTreeMap<u64, Arc<Job>>) {
    let (mut count, mut bytes) = (0, 0);
    let mut beyond = Vec::new();
    for (number, job) in jobs.iter().rev().filter(|(_, job)| job.end().is_some()) {
        count += 1;
        bytes += job.kept();
        if count > 1 && (count > MOST_KEPT || bytes > MOST_KEPT_BYTES) {
            beyond.push(*number);
        }
    }
    for number in beyond {
        jobs.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::job::End;
    use super::*;
    use tidegate_template::{Event, Template};

    fn job(id: usize, client: &str, weight: usize) -> Arc<Job> {
        let id = id.to_string().into();
        Arc::new(Job::new(id, client.into(), &Template::default(), weight))
    }

    #[test]
    fn what_is_under_way_is_bounded_for_each_and_for_all() {
        let jobs = Jobs::default();
        for number in 0..MOST_RUNNING {
            jobs.add(&job(number, &(number / MOST_OF_CLIENT).to_string(), 1)).unwrap();
        }
        assert_eq!(jobs.add(&job(99, "0", 1)).unwrap_err().words().unwrap().0, 429);
        assert_eq!(jobs.add(&job(99, "new", 1)).unwrap_err().words().unwrap().0, 503);
        assert!(jobs.find("0", "0").unwrap().ends(End::Cancelled));
        jobs.add(&job(99, "0", 1)).unwrap();
        assert!(jobs.find("1", "0").is_err(), "it is another's");
    }

    #[test]
    fn one_too_large_for_company_goes_alone() {
        let jobs = Jobs::default();
        jobs.add(&job(0, "a", MOST_WEIGHT + 1)).unwrap();
        assert!(jobs.add(&job(1, "b", 1)).is_err());
    }

    #[test]
    fn ended_ones_are_kept_up_to_a_number_and_a_size() {
        let jobs = Jobs::default();
        for number in 0..MOST_KEPT + 5 {
            let job = job(number, "a", 1);
            jobs.add(&job).unwrap();
            job.ends(End::Cancelled);
        }
        jobs.trim();
        assert_eq!(jobs.of("a").len(), MOST_KEPT);
        let large = job(1_000, "a", 1);
        jobs.add(&large).unwrap();
        large.saw(&Event::Note { text: "x".repeat(MOST_KEPT_BYTES) });
        large.ends(End::Cancelled);
        jobs.trim();
        assert_eq!(jobs.of("a").len(), 1, "the latest alone");
    }
}
