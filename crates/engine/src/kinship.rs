//! Notices projects that are probably one: when one is refused far below its limit, the other is refused too.
//!
//! A fold over the event stream. After a refusal that a project's own count does not explain, the next request of any
//! other project to the same model, within the first half of the pause that was asked for, is a test: if it is refused without an
//! explanation as well, the two were refused together; if it is answered, they stand apart.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_gemini::models;
use tidegate_scheduler::{Dimension, JobId, Timestamp};

use crate::event::{Attempt, Event, EventKind, Refused};

/// So many times two projects must have been refused together before they are named ...
const TOGETHER: u32 = 3;
/// ... and so many times as often as they stood apart.
const TIMES_APART: u32 = 5;
/// A refusal is explained by a project's own count from this part of its limit on: others may be late or stale by that much.
const EXPLAINED: f64 = 0.8;
/// Pauses under this part of a minute test nobody.
const SHORT: u32 = 20;
/// A model's pauses that are looked at; where more run at once, the oldest are let go.
const MOST_PAUSES: usize = 16;
/// Parts a minute is counted in.
const SLOTS: u64 = 60;

/// Two projects that were refused together again and again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kin {
    /// The one whose name comes first.
    pub one: Arc<str>,
    /// The other.
    pub other: Arc<str>,
}

impl Kin {
    /// The projects of these pairs, put together as far as they hang together; each group and each name in order.
    pub fn groups(pairs: &[Kin]) -> Vec<Vec<Arc<str>>> {
        let mut groups: Vec<BTreeSet<Arc<str>>> = Vec::new();
        for Kin { one, other } in pairs {
            let (mine, mut rest): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|group| group.contains(one) || group.contains(other));
            rest.push(mine.into_iter().flatten().chain([one.clone(), other.clone()]).collect());
            groups = rest;
        }
        groups.sort();
        groups.into_iter().map(|group| group.into_iter().collect()).collect()
    }
}

/// Counts for every pair of projects how often they were refused together, and how often not.
#[derive(Debug)]
pub(crate) struct Kinship {
    minute: Duration,
    sent: HashMap<Place, Recent>,
    pauses: HashMap<Arc<str>, Vec<Pause>>,
    tests: HashMap<JobId, Vec<Arc<str>>>,
    pairs: BTreeMap<Kin, Pair>,
}

/// A project and a model family.
type Place = (Arc<str>, Arc<str>);

#[derive(Debug, Default, Clone, Copy)]
struct Pair {
    together: u32,
    apart: u32,
}

/// A pause that its project's own count does not explain.
#[derive(Debug)]
struct Pause {
    project: Arc<str>,
    until: Timestamp,
    /// Projects that were tested during it, one request each.
    tested: HashSet<Arc<str>>,
}

/// What was sent within a minute: number of the slot, requests, tokens.
#[derive(Debug, Default)]
struct Recent(Vec<(u64, u64, u64)>);

impl Recent {
    fn add(&mut self, slot: u64, tokens: u64) {
        match self.0.last_mut().filter(|last| last.0 == slot) {
            Some(last) => (last.1, last.2) = (last.1 + 1, last.2 + tokens),
            None => {
                self.0.retain(|&(old, ..)| old + SLOTS >= slot);
                self.0.push((slot, 1, tokens));
            }
        }
    }

    /// Requests and tokens of the minute that ends with `slot`.
    fn sums(&self, slot: u64) -> (u64, u64) {
        let recent = self.0.iter().filter(|&&(old, ..)| old + SLOTS >= slot);
        recent.fold((0, 0), |(requests, tokens), &(_, more, weigh)| (requests + more, tokens + weigh))
    }
}

impl Kinship {
    pub(crate) fn new(minute: Duration) -> Kinship {
        let (sent, pauses, tests, pairs) = (HashMap::new(), HashMap::new(), HashMap::new(), BTreeMap::new());
        Kinship { minute, sent, pauses, tests, pairs }
    }

    /// Takes one event in.
    pub(crate) fn fold(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Started { job, seat, tokens, .. } => {
                let place = (seat.project.clone(), Arc::from(models::family(&seat.model)));
                let slot = self.slot(event.at);
                self.test(event.at, *job, &place);
                self.sent.entry(place).or_default().add(slot, *tokens);
            }
            EventKind::Attempted(attempt) => self.ended(event.at, attempt),
            _ => {}
        }
    }

    /// Pairs that are probably one project.
    pub(crate) fn kin(&self) -> Vec<Kin> {
        let probable = |pair: &Pair| pair.together >= TOGETHER && pair.together >= pair.apart * TIMES_APART;
        self.pairs.iter().filter(|(_, pair)| probable(pair)).map(|(kin, _)| kin.clone()).collect()
    }

    /// A request that goes out during the unexplained pause of others is a test of each.
    fn test(&mut self, now: Timestamp, job: JobId, (project, model): &Place) {
        let Some(pauses) = self.pauses.get_mut(model) else { return };
        pauses.retain(|pause| pause.until > now);
        let others = pauses.iter_mut().filter(|pause| pause.project != *project);
        let untested = others.filter_map(|pause| pause.tested.insert(project.clone()).then(|| pause.project.clone()));
        let others: Vec<_> = untested.collect();
        if !others.is_empty() {
            self.tests.insert(job, others);
        }
    }

    fn ended(&mut self, now: Timestamp, attempt: &Attempt) {
        let others = self.tests.remove(&attempt.job).unwrap_or_default();
        let project = &attempt.seat.project;
        let Some(fault) = &attempt.fault else {
            others.iter().for_each(|other| self.pair(project, other).apart += 1);
            return;
        };
        let Some(refused) = fault.refused.filter(|refused| !refused.dimension.is_daily()) else { return };
        let place = (project.clone(), Arc::from(models::family(&attempt.seat.model)));
        if self.explains(now, &place, refused) {
            return;
        }
        others.iter().for_each(|other| self.pair(project, other).together += 1);
        let told = refused.pause.or(fault.retry_in).unwrap_or_default().min(self.minute);
        // One that is nearly over says that a place comes free, which anybody may take; so does the latter half of any.
        if told >= self.minute / SHORT {
            self.pause(place, now + told / 2);
        }
    }

    /// Whether a project's own count reaches the limit; one that nobody knows explains everything.
    fn explains(&self, now: Timestamp, place: &Place, refused: Refused) -> bool {
        let (requests, tokens) = self.sent.get(place).map_or((0, 0), |recent| recent.sums(self.slot(now)));
        let own = if refused.dimension == Dimension::Tpm { tokens } else { requests };
        refused.limit.is_none_or(|limit| own as f64 >= limit as f64 * EXPLAINED)
    }

    fn pause(&mut self, (project, model): Place, until: Timestamp) {
        let pauses = self.pauses.entry(model).or_default();
        if pauses.iter().any(|pause| pause.project == project) {
            return;
        }
        if pauses.len() == MOST_PAUSES {
            pauses.remove(0);
        }
        pauses.push(Pause { project, until, tested: HashSet::new() });
    }

    fn pair(&mut self, a: &Arc<str>, b: &Arc<str>) -> &mut Pair {
        let (one, other) = if a < b { (a, b) } else { (b, a) };
        self.pairs.entry(Kin { one: one.clone(), other: other.clone() }).or_default()
    }

    fn slot(&self, at: Timestamp) -> u64 {
        at.as_micros() / (u64::try_from(self.minute.as_micros()).unwrap_or(u64::MAX) / SLOTS).max(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::event::{AttemptFault, Blame, Seat};
    use tidegate_gemini::response::Usage;

    /// Feeds events second by second.
    struct Story {
        kinship: Kinship,
        now: Timestamp,
        job: u64,
    }

    impl Story {
        fn new() -> Story {
            Story { kinship: Kinship::new(Duration::from_secs(60)), now: Timestamp::from_secs(1_000), job: 0 }
        }

        /// One request of `project`, answered or refused against `limit` with a pause of ten seconds.
        fn ask(&mut self, project: &str, refused: Option<u64>) {
            self.job += 1;
            let (job, model) = (JobId(self.job), Arc::from("m"));
            let seat = Seat { project: project.into(), key: "k".into(), model, slot: 0 };
            let (queued, after) = (Duration::ZERO, None);
            self.tell(EventKind::Started { job, seat: seat.clone(), tokens: 10, queued, after });
            self.now = self.now + Duration::from_millis(500);
            let fault = refused.map(|limit| AttemptFault {
                blame: Blame::Key,
                http_status: Some(429),
                status: None,
                code: "RESOURCE_EXHAUSTED".into(),
                message: String::new(),
                quota_id: None,
                refused: Some(Refused { dimension: Dimension::Rpm, limit: Some(limit), pause: Some(Duration::from_secs(10)) }),
                retry_in: Some(Duration::from_secs(40)),
                permanent: false,
            });
            let (latency, usage) = (Duration::from_millis(500), Usage::default());
            let attempt = Attempt { job, label: None, number: 1, seat, latency, usage, fault };
            self.tell(EventKind::Attempted(Box::new(attempt)));
        }

        fn tell(&mut self, kind: EventKind) {
            self.kinship.fold(&Event { at: self.now, kind });
        }

        fn rest(&mut self) {
            self.now = self.now + Duration::from_secs(120);
        }

        fn kin(&self) -> Vec<(String, String)> {
            self.kinship.kin().into_iter().map(|kin| (kin.one.to_string(), kin.other.to_string())).collect()
        }
    }

    #[test]
    fn projects_that_are_refused_together_three_times_are_named() {
        let mut story = Story::new();
        for round in 0..3 {
            assert!(story.kin().is_empty(), "round {round}");
            story.ask("b", Some(10));
            story.ask("a", Some(10));
            story.rest();
        }
        assert_eq!(story.kin(), [("a".to_string(), "b".to_string())]);
    }

    #[test]
    fn an_answer_after_half_of_the_pause_that_the_server_asked_for_sets_nobody_apart() {
        let mut story = Story::new();
        for _ in 0..3 {
            story.ask("b", Some(10));
            story.ask("a", Some(10));
            story.rest();
            story.ask("b", Some(10));
            story.now = story.now + Duration::from_secs(6);
            story.ask("a", None);
            story.rest();
        }
        assert_eq!(story.kin(), [("a".to_string(), "b".to_string())]);
    }

    #[test]
    fn a_project_that_answers_while_the_other_pauses_stands_apart() {
        let mut story = Story::new();
        for round in 0..30 {
            story.ask("b", Some(10));
            story.ask("a", (round % 2 == 0).then_some(10));
            story.rest();
        }
        assert!(story.kin().is_empty());
    }

    #[test]
    fn refusals_at_ones_own_limit_prove_nothing() {
        let mut story = Story::new();
        for _ in 0..20 {
            for project in ["a", "b"] {
                (0..9).for_each(|_| story.ask(project, None));
            }
            story.ask("b", Some(10));
            story.ask("a", Some(10));
            story.rest();
        }
        assert!(story.kin().is_empty());
    }

    #[test]
    fn pairs_that_share_a_project_are_one_group() {
        let pair = |one: &str, other: &str| Kin { one: one.into(), other: other.into() };
        let groups = Kin::groups(&[pair("a", "b"), pair("x", "y"), pair("c", "d"), pair("b", "d")]);
        let names: Vec<String> = groups.iter().map(|group| group.join(" ")).collect();
        assert_eq!(names, ["a b c d", "x y"]);
    }

    #[test]
    fn one_pause_tests_a_project_once_and_not_after_its_end() {
        let mut story = Story::new();
        story.ask("b", Some(100));
        (0..8).for_each(|_| story.ask("a", Some(100)));
        story.rest();
        story.ask("a", Some(100));
        assert!(story.kin().is_empty());
    }
}
