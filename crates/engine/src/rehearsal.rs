//! A run before it happens: the real scheduler in virtual time, with calls that take as long as is assumed and always succeed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tidegate_gemini::tokens::{Calibration, Modality};
use tidegate_scheduler::{
    Action, Event, JobId, ModelId, Outcome, Remembered, Scheduler, Settings, Submission, Timestamp, Used, Verdict,
};

use crate::project::Project;
use crate::roster::Roster;

/// What a rehearsal takes for granted.
///
/// ```
/// use std::time::Duration;
/// use tidegate_engine::rehearsal::{Part, Stage};
/// use tidegate_engine::scheduler::{Settings, Timestamp};
/// use tidegate_engine::Project;
/// use tidegate_gemini::{models::Limits, tokens::Calibration};
///
/// let limits = Limits { rpm: Some(10), ..Limits::default() };
/// let keys = vec![(None, "any".to_string().into())];
/// let stage = Stage {
///     projects: &[Project { name: "main".into(), keys, limits: vec![("*".into(), limits)], account: None }],
///     settings: &Settings::default(),
///     start: Timestamp::from_secs(1_795_000_000),
///     latency: Duration::from_secs(2),
///     day_anchor: None,
///     remembered: &[],
///     calibration: &Calibration::default(),
/// };
/// let prompts = (0..30).map(|_| Part { model: 0, tokens: 100, priority: 0 });
/// let forecast = stage.rehearse(&["gemini-3.8-flash"], prompts);
/// assert_eq!(forecast.done, 30);
/// assert!(forecast.duration > Duration::from_secs(120), "the third ten begin in the third minute");
/// assert_eq!(forecast.binding().unwrap().0, "RPM");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// Projects with keys and limits.
    pub projects: &'a [Project],
    /// Pacing and quota rules.
    pub settings: &'a Settings,
    /// When the run begins: a quota day may end during it.
    pub start: Timestamp,
    /// How long each call takes.
    pub latency: Duration,
    /// The instant that days of a fixed length are counted from, where it is known.
    pub day_anchor: Option<Timestamp>,
    /// What earlier runs left: requests of the day, learned limits.
    pub remembered: &'a [Remembered],
    /// What is known of each model's tokens; answers are taken to confirm it, so that its margin shrinks as in a run.
    pub calibration: &'a Calibration,
}

/// One prompt, as far as the scheduler cares. Small, because a rehearsal may hold a million of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Place of its model family in the list of families.
    pub model: u16,
    /// Input tokens, calibrated.
    pub tokens: u32,
    /// Higher goes first.
    pub priority: i32,
}

/// What a rehearsal came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// From the start to the last answer.
    pub duration: Duration,
    /// Prompts that were answered.
    pub done: u64,
    /// Prompts larger than a minute of any project.
    pub too_large: u64,
    /// Prompts no key could ever serve.
    pub unserved: u64,
    /// The most calls under way at once.
    pub most_active: u64,
    /// For how long the queue waited, by reason (the names of [`crate::Waiting::reason`]), the longest first.
    pub waited: Vec<(&'static str, Duration)>,
}

impl Forecast {
    /// What the queue waited for longest; `None` when it was never held up.
    pub fn binding(&self) -> Option<(&'static str, Duration)> {
        self.waited.first().copied()
    }
}

impl Stage<'_> {
    /// Runs `prompts` to their end, in their order and from a window as wide as a real run's.
    pub fn rehearse(&self, families: &[&str], prompts: impl IntoIterator<Item = Part>) -> Forecast {
        let mut scheduler = Scheduler::new(Roster::new(self.projects).1, self.settings.clone());
        self.day_anchor.into_iter().for_each(|anchor| scheduler.anchor_days(anchor));
        for remembered in self.remembered {
            scheduler.restore(self.start, remembered);
        }
        let models: Vec<_> = families.iter().map(|&family| (family, scheduler.model(family))).collect();
        let admit = scheduler.active().1 as usize * 2 + 256;
        let quotas = self.projects.len() * models.len();
        let mut play = Play {
            scheduler,
            now: self.start,
            models,
            latency: self.latency,
            calibration: self.calibration.clone(),
            asked: HashMap::new(),
            answers: BinaryHeap::new(),
            actions: Vec::new(),
            waited: HashMap::new(),
            seen: Forecast::default(),
        };
        play.run(prompts.into_iter(), admit, quotas);
        let mut waited: Vec<_> = play.waited.into_iter().collect();
        waited.sort_by_key(|&(reason, span)| (Reverse(span), reason));
        Forecast { duration: play.now - self.start, waited, ..play.seen }
    }
}

/// Looks at the reason for waiting cost a walk over all quotas; so many of them are looked at a step, on average.
const LOOKS_A_STEP: usize = 16;

struct Play<'a> {
    scheduler: Scheduler,
    now: Timestamp,
    latency: Duration,
    models: Vec<(&'a str, ModelId)>,
    calibration: Calibration,
    /// Every prompt that has not ended.
    asked: HashMap<JobId, Part>,
    answers: BinaryHeap<Reverse<(Timestamp, JobId)>>,
    actions: Vec<Action>,
    waited: HashMap<&'static str, Duration>,
    seen: Forecast,
}

impl Play<'_> {
    fn run(&mut self, mut prompts: impl Iterator<Item = Part>, admit: usize, quotas: usize) {
        let every = quotas.div_ceil(LOOKS_A_STEP).max(1) as u64;
        let (mut last, mut reason) = (0, None);
        for step in 0_u64.. {
            while self.asked.len() < admit
                && let Some(part) = prompts.next()
            {
                last += 1;
                self.submit(JobId(last), part);
            }
            if step.is_multiple_of(every) {
                reason = self.scheduler.limiting(self.now).map(|limiting| limiting.blocked.reason.name());
            }
            let Some(next) = self.next_instant() else { break };
            if let Some(reason) = reason {
                *self.waited.entry(reason).or_default() += next - self.now;
            }
            self.now = next;
            self.step();
        }
        self.seen.unserved += self.asked.len() as u64;
    }

    fn next_instant(&self) -> Option<Timestamp> {
        let answer = self.answers.peek().map(|Reverse((at, _))| *at);
        [answer, self.scheduler.next_wake()].into_iter().flatten().min().map(|at| at.max(self.now))
    }

    fn step(&mut self) {
        let mut answered = false;
        while let Some(&Reverse((at, job))) = self.answers.peek()
            && at <= self.now
        {
            self.answers.pop();
            let used = self.answer(job).map(Used::input);
            self.decide(Event::Finished { job, outcome: Outcome::Done { used } });
            answered = true;
        }
        if !answered {
            self.decide(Event::Woke);
        }
    }

    fn submit(&mut self, job: JobId, part: Part) {
        let Some(&(family, model)) = self.models.get(usize::from(part.model)) else { return };
        let tokens = u64::from(part.tokens);
        let spread = self.calibration.spread(family, tokens);
        self.asked.insert(job, part);
        let (least, priority) = (tokens, part.priority);
        self.decide(Event::Submitted(Submission {
            job,
            model,
            tokens,
            least,
            spread,
            output: 0,
            priority,
            party: 0,
            deadline: None,
        }));
    }

    /// The tokens of an answer, which is learned from.
    fn answer(&mut self, job: JobId) -> Option<u64> {
        let part = self.asked.get(&job)?;
        let (family, _) = self.models.get(usize::from(part.model))?;
        // An answer as foretold: the margin for what is not settled shrinks as it would.
        let (tokens, as_foretold) = (u64::from(part.tokens), self.calibration.ratio(family, Modality::Text));
        self.calibration.observe(family, tokens, (tokens as f64 * as_foretold).round() as u64);
        Some(tokens)
    }

    fn decide(&mut self, event: Event) {
        let mut actions = std::mem::take(&mut self.actions);
        self.scheduler.handle(self.now, event, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Start { job, .. } => {
                    self.answers.push(Reverse((self.now + self.latency, job)));
                    self.seen.most_active = self.seen.most_active.max(self.answers.len() as u64);
                }
                Action::Complete { job, verdict } => {
                    self.asked.remove(&job);
                    self.count(verdict);
                }
                Action::Retry { .. }
                | Action::Held { .. }
                | Action::KeyDead { .. }
                | Action::Parked { .. }
                | Action::Unparked { .. }
                | Action::Learned { .. }
                | Action::Forgotten { .. }
                | Action::Reserve { .. }
                | Action::Settle { .. }
                | Action::KeepRoom { .. }
                | Action::Release { .. } => {}
            }
        }
        self.actions = actions;
    }

    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Done => self.seen.done += 1,
            Verdict::TooLarge { .. } => self.seen.too_large += 1,
            Verdict::TaskFailed | Verdict::Upstream | Verdict::AttemptsSpent | Verdict::Deadline | Verdict::NoKey => {
                self.seen.unserved += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use tidegate_gemini::models::Limits;
    use tidegate_scheduler::Pacing;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_795_000_000);
    const MODEL: &str = "gemini-3.8-flash";

    fn project(limits: Limits) -> Project {
        Project {
            name: "main".into(),
            keys: vec![(None, "any".to_string().into())],
            limits: vec![("*".into(), limits)],
            account: None,
        }
    }

    fn rehearse(limits: Limits, pacing: Pacing, count: usize, tokens: u32) -> Forecast {
        let settings = Settings { pacing, ..Settings::default() };
        let (projects, latency) = ([project(limits)], Duration::from_secs(2));
        let calibration = &Calibration::default();
        let stage = Stage {
            projects: &projects,
            settings: &settings,
            start: START,
            latency,
            day_anchor: None,
            remembered: &[],
            calibration,
        };
        stage.rehearse(&[MODEL], std::iter::repeat_n(Part { model: 0, tokens, priority: 0 }, count))
    }

    #[test]
    fn the_binding_dimension_is_the_one_that_is_scarce() {
        let binding = |limits, tokens| rehearse(limits, Pacing::default(), 100, tokens).binding().unwrap().0;
        let limits = |rpm, tpm, rpd| Limits { rpm: Some(rpm), tpm: Some(tpm), rpd: Some(rpd) };
        assert_eq!(binding(limits(10, 1_000_000, 10_000), 100), "RPM");
        assert_eq!(binding(limits(1_000, 5_000, 10_000), 500), "TPM");
        assert_eq!(binding(limits(10, 1_000_000, 20), 100), "RPD");
    }

    #[test]
    fn a_run_over_days_ends_after_the_last_midnight_it_needs() {
        let limits = Limits { rpm: Some(5), tpm: None, rpd: Some(20) };
        let forecast = rehearse(limits, Pacing::default(), 100, 100);
        assert_eq!(forecast.done, 100);
        let days = forecast.duration.as_secs_f64() / 86_400.0;
        assert!((3.0..=5.0).contains(&days), "five days of twenty: four midnights, but {days}");
    }

    #[test]
    fn what_can_never_be_asked_is_counted_and_holds_nothing_up() {
        let small = Limits { tpm: Some(1_000), ..Limits::default() };
        let forecast = rehearse(small, Pacing::default(), 3, 2_000);
        assert_eq!((forecast.done, forecast.too_large, forecast.duration), (0, 3, Duration::ZERO));
        let settings = Settings::default();
        let (calibration, latency) = (&Calibration::default(), Duration::from_secs(1));
        let stage =
            Stage { projects: &[], settings: &settings, start: START, latency, day_anchor: None, remembered: &[], calibration };
        assert_eq!(stage.rehearse(&[MODEL], [Part { model: 0, tokens: 1, priority: 0 }]).unserved, 1);
    }

    #[test]
    fn pacing_counts_as_it_would_in_the_run() {
        let pacing = Pacing { call_interval: Duration::from_secs(3), ..Pacing::default() };
        let forecast = rehearse(Limits::default(), pacing, 11, 100);
        assert_eq!(forecast.duration, Duration::from_secs(32));
        assert_eq!(forecast.binding().unwrap().0, "call interval");
    }

    #[test]
    fn the_same_plan_twice_is_the_same_forecast() {
        let limits = Limits { rpm: Some(60), tpm: Some(20_000), rpd: None };
        let once = rehearse(limits, Pacing::default(), 500, 321);
        assert_eq!(once, rehearse(limits, Pacing::default(), 500, 321));
    }
}
