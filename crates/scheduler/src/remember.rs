//! What a restart must not forget, in and out: the last minute, the day's count, learned limits, pauses, dead keys.

use std::sync::Arc;

use crate::job::ModelId;
use crate::key::KeyId;
use crate::quota::{Counting, Limits};
use crate::scheduler::Scheduler;
use crate::time::Timestamp;

/// What is remembered of one (project, model family).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remembered {
    /// Number of the project, in the order given.
    pub project: u32,
    /// The model family.
    pub model: String,
    /// What was sent within the last minute: start of a slot, requests, tokens; the oldest first.
    pub slots: Vec<(Timestamp, u64, u64)>,
    /// Requests of the quota day so far, of all processes.
    pub today: u64,
    /// Limits that refusals told; they never lift what the settings say.
    pub learned: Limits,
    /// A pause that may not be over, and whether it counts as fully exhausted.
    pub held: Option<(Timestamp, bool)>,
    /// The project has no quota for this model at all.
    pub parked: bool,
    /// How the server turned out to count; what the settings tell comes first.
    pub counting: Option<Counting>,
}

impl Scheduler {
    /// Goes on from what is remembered; to be called before the first prompt of the model.
    pub fn restore(&mut self, now: Timestamp, remembered: &Remembered) {
        // A name that was only asked for proves nothing.
        let unproven = remembered.learned == Limits::default()
            && remembered.counting.is_none()
            && !remembered.parked
            && remembered.held.is_none();
        let model = if unproven { self.admit(&remembered.model) } else { Some(self.model(&remembered.model)) };
        let Some(model) = model else { return };
        if !unproven {
            self.prove(model);
        }
        let Some(project) = self.projects.get(remembered.project as usize) else { return };
        let id = project.buckets[model.0 as usize];
        let day = self.calendar.day(now);
        let bucket = &mut self.quotas[id as usize].bucket;
        bucket.restore(now, remembered, day, &self.rules);
        self.recount(model);
        self.trim_idle();
    }

    /// A key that is known to be dead is not asked again.
    pub fn bury(&mut self, key: KeyId, reason: &str) {
        let Some(dead) = self.keys.get_mut(key.0 as usize) else { return };
        let ring = &mut self.projects[dead.project as usize].ring;
        ring.bury(key, dead, Arc::from(reason), &self.settings.pacing);
        for model in 0..self.lanes.len() {
            self.recount(ModelId(u32::try_from(model).unwrap_or(u32::MAX)));
        }
    }

    /// Sets how many requests of the day are taken, by whomever: what other processes took counts too.
    pub fn count_today(&mut self, now: Timestamp, project: u32, model: ModelId, today: u64) {
        let day = self.calendar.day(now);
        let id = self.projects[project as usize].buckets[model.0 as usize];
        let bucket = &mut self.quotas[id as usize].bucket;
        bucket.advance(now, day, &self.rules);
        bucket.count_today(today);
    }

    /// How the server turned out to count a project's requests of a model.
    pub fn counting(&self, project: u32, model: ModelId) -> Counting {
        let id = self.projects[project as usize].buckets[model.0 as usize];
        self.quotas[id as usize].bucket.counting(&self.rules)
    }

    /// When the quota day that holds `now` ends.
    pub fn day_end(&mut self, now: Timestamp) -> Timestamp {
        self.calendar.day(now).end
    }

    /// Days of a fixed length are counted from `anchor`.
    pub fn anchor_days(&mut self, anchor: Timestamp) {
        self.calendar.anchor(anchor);
    }

    /// The limits in force of a project for a model, learned ones included.
    pub fn limits(&self, project: u32, model: ModelId) -> Limits {
        let id = self.projects[project as usize].buckets[model.0 as usize];
        self.quotas[id as usize].bucket.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Event, JobId, ProjectSpec, Settings, Submission};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

    fn scheduler(limits: Limits) -> Scheduler {
        Scheduler::new(vec![ProjectSpec { keys: 1, limits: vec![("*".into(), limits)], account: None }], Settings::default())
    }

    fn first_start(scheduler: &mut Scheduler) -> Timestamp {
        let model = scheduler.model("m");
        let submission = Submission {
            job: JobId(1),
            model,
            tokens: 10,
            least: 10,
            spread: 0,
            output: 0,
            priority: 0,
            party: 0,
            deadline: None,
        };
        let mut actions = Vec::new();
        let mut now = NOW;
        scheduler.handle(now, Event::Submitted(submission), &mut actions);
        while !actions.iter().any(|action| matches!(action, Action::Start { .. })) {
            now = scheduler.next_wake().unwrap_or(Timestamp::NEVER);
            assert!(!now.is_never(), "it never starts");
            scheduler.handle(now, Event::Woke, &mut actions);
        }
        now
    }

    fn remembered() -> Remembered {
        Remembered { model: "m".into(), ..Remembered::default() }
    }

    #[test]
    fn a_full_last_minute_is_waited_out() {
        let mut scheduler = scheduler(Limits { rpm: Some(2), ..Limits::default() });
        let sent = Timestamp::from_micros(NOW.as_micros() - 20_000_000);
        scheduler.restore(NOW, &Remembered { slots: vec![(sent, 2, 20)], ..remembered() });
        assert_eq!(first_start(&mut scheduler), sent + Duration::from_millis(60_600));
    }

    #[test]
    fn a_spent_day_is_waited_out() {
        let mut scheduler = scheduler(Limits { rpd: Some(20), ..Limits::default() });
        scheduler.restore(NOW, &Remembered { today: 20, ..remembered() });
        let midnight = scheduler.day_end(NOW);
        assert!(first_start(&mut scheduler) >= midnight);
    }

    #[test]
    fn learned_limits_hold_and_never_lift_the_settings() {
        let mut scheduler = scheduler(Limits { rpm: Some(10), ..Limits::default() });
        let learned = Limits { rpm: Some(5), tpm: Some(1_000), ..Limits::default() };
        scheduler.restore(NOW, &Remembered { learned, ..remembered() });
        let model = scheduler.model("m");
        assert_eq!(scheduler.limits(0, model), Limits { rpm: Some(5), tpm: Some(1_000), rpd: None });
        scheduler.restore(NOW, &Remembered { learned: Limits { rpm: Some(50), ..Limits::default() }, ..remembered() });
        assert_eq!(scheduler.limits(0, model).rpm, Some(5));
    }

    /// Ten a minute were learned under a hundred: an hour of full minutes later a little more is tried.
    #[test]
    fn a_learned_limit_finds_its_way_up_in_the_next_run_too() {
        let mut scheduler = scheduler(Limits { rpm: Some(100), ..Limits::default() });
        let learned = Limits { rpm: Some(10), ..Limits::default() };
        scheduler.restore(NOW, &Remembered { learned, ..remembered() });
        let model = scheduler.model("m");
        let (mut now, mut last, mut told) = (NOW, 0, Vec::new());
        while now < NOW + Duration::from_secs(2 * 3_600) {
            let mut actions = Vec::new();
            last += 1;
            let (job, tokens) = (JobId(last), 1);
            let submission =
                Submission { job, model, tokens, least: 1, spread: 0, output: 0, priority: 0, party: 0, deadline: None };
            scheduler.handle(now, Event::Submitted(submission), &mut actions);
            while !actions.iter().any(|action| matches!(action, Action::Start { .. })) {
                now = scheduler.next_wake().unwrap_or(Timestamp::NEVER);
                scheduler.handle(now, Event::Woke, &mut actions);
            }
            scheduler.handle(now, Event::Finished { job, outcome: crate::Outcome::Done { used: None } }, &mut actions);
            told.extend(actions.into_iter().filter(|action| matches!(action, Action::Learned { .. })));
        }
        assert_eq!(told.first(), Some(&Action::Learned { project: 0, model: "m".into() }), "a rise is told");
        assert!(scheduler.limits(0, model).rpm > Some(10), "{:?}", scheduler.limits(0, model));
    }

    #[test]
    fn a_pause_goes_on_and_a_dead_key_stays_dead() {
        let mut paused = scheduler(Limits::default());
        paused.restore(NOW, &Remembered { held: Some((NOW + Duration::from_secs(9), false)), ..remembered() });
        assert_eq!(first_start(&mut paused), NOW + Duration::from_secs(9));

        let mut dead = scheduler(Limits::default());
        let model = dead.model("m");
        dead.bury(KeyId(0), "API_KEY_INVALID");
        let mut actions = Vec::new();
        let submission =
            Submission { job: JobId(1), model, tokens: 1, least: 1, spread: 0, output: 0, priority: 0, party: 0, deadline: None };
        dead.handle(NOW, Event::Submitted(submission), &mut actions);
        assert!(matches!(actions[..], [Action::Complete { verdict: crate::Verdict::NoKey, .. }]));
    }

    #[test]
    fn how_the_server_counts_is_remembered_and_the_settings_come_first() {
        let known = Counting {
            kind: crate::WindowKind::Bucket,
            request_burst: 0.25,
            token_burst: 1.0,
            guard: Duration::from_millis(800),
            counts_total: true,
        };
        let mut unsure = scheduler(Limits::default());
        unsure.restore(NOW, &Remembered { counting: Some(known), ..remembered() });
        let model = unsure.model("m");
        assert_eq!(unsure.counting(0, model), known);

        let quota = crate::QuotaRules { window: crate::WindowKind::Sliding, ..crate::QuotaRules::default() };
        let settings = Settings { quota, ..Settings::default() };
        let mut told = Scheduler::new(vec![ProjectSpec { keys: 1, limits: Vec::new(), account: None }], settings);
        told.restore(NOW, &Remembered { counting: Some(known), ..remembered() });
        let counting = told.counting(0, model);
        assert_eq!((counting.kind, counting.request_burst), (crate::WindowKind::Sliding, 1.0));
        assert_eq!(counting.guard, known.guard);
    }
}
