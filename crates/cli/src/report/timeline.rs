//! What happened when, in a bounded number of cells: when the last cell is used up, pairs merge and cells last twice as long.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::{Attempt, Blame, Event, EventKind, Histogram, Observer, Status};

/// The most cells, hence the most columns of a chart.
const CELLS: usize = 240;
/// How long a cell lasts at first.
const FIRST_WIDTH: Duration = Duration::from_millis(250);
/// Keys whose states are followed.
const KEYS: usize = 1_000;

/// Watches a run; [`Timeline::look`] adds what events do not tell.
pub struct Timeline(Mutex<Course>);

/// The course of a run so far.
#[derive(Debug, Clone)]
pub struct Course {
    /// How long each cell lasts.
    pub width: Duration,
    /// From the beginning on.
    pub cells: Vec<Cell>,
    /// Project and name of the keys that cells know by their position.
    pub keys: Vec<(String, String)>,
    /// From the first to the last thing seen.
    pub lasted: Duration,
    began: Option<Timestamp>,
    last_look: Option<(Timestamp, Option<&'static str>)>,
}

/// What happened in one stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Calls that came back with success.
    pub answered: u64,
    /// Calls the API refused for a quota.
    pub refused: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
    /// How long successful calls took.
    pub latency: Histogram,
    /// Requests in the running minute, and the limit.
    pub requests: Level,
    /// Input tokens in the running minute, and the limit.
    pub tokens: Level,
    /// How long the next prompt was held back, by reason.
    pub waiting: BTreeMap<&'static str, Duration>,
    /// The most severe state of each key.
    pub states: Vec<KeyMark>,
}

/// A use and its limit, averaged over looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Level {
    looks: u64,
    used: u64,
    limit: u64,
    limited: u64,
}

/// The state of a key, the milder ones first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyMark {
    /// Nobody looked.
    #[default]
    Unseen,
    /// Ready.
    Available,
    /// Rests.
    Cooldown,
    /// Its minute is used up.
    Temporarily,
    /// Its day is used up.
    Fully,
    /// Refused for good.
    Dead,
}

impl Timeline {
    /// Nothing has happened yet.
    pub fn new() -> Timeline {
        Timeline(Mutex::new(Course {
            width: FIRST_WIDTH,
            cells: Vec::new(),
            keys: Vec::new(),
            lasted: Duration::ZERO,
            began: None,
            last_look: None,
        }))
    }

    /// Takes in quotas, keys and waiting; the time since the last look goes to the reason of waiting seen then.
    pub fn look(&self, status: &Status) {
        let mut course = self.course_mut();
        let reason = status.waiting.as_ref().map(|waiting| waiting.reason);
        if let Some((since, Some(before))) = course.last_look.replace((status.at, reason)) {
            course.wait(since, status.at, before);
        }
        if course.keys.len() < status.keys.len().min(KEYS) {
            let named = status.keys.iter().take(KEYS).map(|key| (key.project.to_string(), key.name.to_string()));
            course.keys = named.collect();
        }
        // The quota of a project whose keys are all refused is out of reach.
        let usable: HashSet<&str> =
            status.keys.iter().filter(|key| KeyMark::of(key.state) != KeyMark::Dead).map(|key| &*key.project).collect();
        let quotas = || status.quotas.iter().filter(|quota| usable.contains(&*quota.project));
        let cell = course.cell(status.at);
        cell.requests.look(quotas().map(|quota| quota.rpm));
        cell.tokens.look(quotas().map(|quota| quota.tpm));
        cell.states.resize(status.keys.len().min(KEYS), KeyMark::Unseen);
        for (state, key) in cell.states.iter_mut().zip(&status.keys) {
            *state = KeyMark::of(key.state).max(*state);
        }
    }

    /// The course so far.
    pub fn course(&self) -> Course {
        self.course_mut().clone()
    }

    fn course_mut(&self) -> MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Timeline {
    fn observe(&self, event: &Event) {
        if let EventKind::Attempted(attempt) = &event.kind {
            self.course_mut().cell(event.at).count(attempt);
        }
    }
}

impl Course {
    /// The cell of an instant.
    fn cell(&mut self, at: Timestamp) -> &mut Cell {
        let began = *self.began.get_or_insert(at);
        let since = at.since(began);
        self.lasted = self.lasted.max(since);
        while since.as_micros() / self.width.as_micros() >= CELLS as u128 {
            self.double();
        }
        let number = (since.as_micros() / self.width.as_micros()) as usize;
        if self.cells.len() <= number {
            self.cells.resize(number + 1, Cell::default());
        }
        &mut self.cells[number]
    }

    fn double(&mut self) {
        let mut cells = std::mem::take(&mut self.cells).into_iter();
        while let Some(mut cell) = cells.next() {
            if let Some(next) = cells.next() {
                cell.merge(next);
            }
            self.cells.push(cell);
        }
        self.width *= 2;
    }

    /// Spreads a wait over the cells it lasted.
    fn wait(&mut self, mut from: Timestamp, to: Timestamp, reason: &'static str) {
        self.cell(to);
        while from < to {
            let into = from.since(self.began.unwrap_or(from)).as_micros() % self.width.as_micros();
            let left = self.width - Duration::from_micros(into as u64);
            let part = left.min(to.since(from));
            *self.cell(from).waiting.entry(reason).or_default() += part;
            from = from + part;
        }
    }
}

impl Cell {
    fn count(&mut self, attempt: &Attempt) {
        match &attempt.fault {
            None => {
                self.answered += 1;
                self.latency.record(attempt.latency);
            }
            Some(fault) if fault.blame == Blame::Key && fault.http_status == Some(429) => self.refused += 1,
            Some(_) => self.failed += 1,
        }
    }

    /// Takes over the cell that follows.
    pub fn merge(&mut self, next: Cell) {
        self.answered += next.answered;
        self.refused += next.refused;
        self.failed += next.failed;
        self.latency.merge(&next.latency);
        self.requests.merge(next.requests);
        self.tokens.merge(next.tokens);
        for (reason, span) in next.waiting {
            *self.waiting.entry(reason).or_default() += span;
        }
        self.states.resize(self.states.len().max(next.states.len()), KeyMark::Unseen);
        for (state, other) in self.states.iter_mut().zip(next.states) {
            *state = other.max(*state);
        }
    }
}

impl Level {
    fn look(&mut self, quotas: impl Iterator<Item = (u64, Option<u64>)>) {
        let (mut used, mut limit) = (0, Some(0_u64));
        let mut any = false;
        for (in_use, most) in quotas {
            any = true;
            used += in_use;
            limit = limit.zip(most).map(|(sum, most)| sum + most);
        }
        if !any {
            return;
        }
        self.looks += 1;
        self.used += used;
        if let Some(limit) = limit {
            self.limited += 1;
            self.limit += limit;
        }
    }

    fn merge(&mut self, next: Level) {
        self.looks += next.looks;
        self.used += next.used;
        self.limit += next.limit;
        self.limited += next.limited;
    }

    /// What was in use; `None` when nobody looked.
    pub fn used(&self) -> Option<f64> {
        (self.looks > 0).then(|| self.used as f64 / self.looks as f64)
    }

    /// The limit of all projects and models together; `None` while one of them had none.
    pub fn limit(&self) -> Option<f64> {
        (self.limited > 0).then(|| self.limit as f64 / self.limited as f64)
    }
}

impl KeyMark {
    /// The mark of a state by its name.
    fn of(state: &str) -> KeyMark {
        match state {
            "AVAILABLE" => KeyMark::Available,
            "COOLDOWN" => KeyMark::Cooldown,
            "TEMPORARILY_EXHAUSTED" => KeyMark::Temporarily,
            "FULLY_EXHAUSTED" => KeyMark::Fully,
            _ => KeyMark::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_engine::scheduler::JobId;
    use tidegate_engine::{KeyStatus, QuotaStatus, Seat, Stats, Waiting};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_secs(1_000) + Duration::from_millis(millis)
    }

    fn call(millis: u64) -> Event {
        let seat = Seat { project: "p".into(), key: "k".into(), model: "m".into(), slot: 0 };
        let latency = Duration::from_millis(20);
        let attempt = Attempt { job: JobId(1), label: None, number: 1, seat, latency, usage: Default::default(), fault: None };
        Event { at: at(millis), kind: EventKind::Attempted(Box::new(attempt)) }
    }

    fn status(millis: u64, state: &'static str, reason: Option<&'static str>, limit: Option<u64>) -> Status {
        let key = KeyStatus { project: "p".into(), name: "k".into(), state, until: None, reason: None, active: 0, exhausted: 0 };
        let quota = QuotaStatus {
            project: "p".into(),
            model: "m".into(),
            rpm: (6, limit),
            tpm: (60, None),
            rpd: (6, None),
            held_until: None,
            frees_at: None,
        };
        Status {
            at: at(millis),
            queued: 1,
            paused: 0,
            active: 0,
            max_active: 1,
            stats: Stats::default(),
            keys: vec![key],
            quotas: vec![quota],
            waiting: reason.map(|reason| Waiting { reason, project: None, model: None, until: None }),
        }
    }

    #[test]
    fn a_long_run_takes_no_more_cells_and_loses_no_call() {
        let timeline = Timeline::new();
        for minute in 0..10_000 {
            timeline.observe(&call(minute * 60_000));
        }
        let course = timeline.course();
        assert!(course.cells.len() <= CELLS);
        assert_eq!(course.cells.iter().map(|cell| cell.answered).sum::<u64>(), 10_000);
        assert_eq!(course.cells.iter().map(|cell| cell.latency.count()).sum::<u64>(), 10_000);
        assert_eq!(course.lasted, Duration::from_secs(9_999 * 60));
        assert!(course.width * CELLS as u32 >= course.lasted);
    }

    #[test]
    fn a_wait_is_spread_over_the_time_it_lasted() {
        let timeline = Timeline::new();
        timeline.look(&status(0, "AVAILABLE", Some("RPM"), None));
        timeline.look(&status(625, "AVAILABLE", None, None));
        timeline.look(&status(2_000, "AVAILABLE", None, None));
        let waits: Vec<u64> =
            timeline.course().cells.iter().map(|cell| cell.waiting.get("RPM").map_or(0, |w| w.as_millis() as u64)).collect();
        assert_eq!(waits, [250, 250, 125, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_most_severe_state_stays_visible_when_cells_merge() {
        let timeline = Timeline::new();
        timeline.look(&status(0, "AVAILABLE", None, None));
        timeline.look(&status(10, "FULLY_EXHAUSTED", None, None));
        timeline.look(&status(20, "AVAILABLE", None, None));
        timeline.observe(&call(1_000_000));
        let course = timeline.course();
        assert_eq!(course.cells[0].states, [KeyMark::Fully]);
        assert_eq!(course.keys, [("p".to_string(), "k".to_string())]);
    }

    #[test]
    fn the_quota_of_a_project_without_a_usable_key_permits_nothing() {
        let timeline = Timeline::new();
        timeline.look(&status(0, "FAILED_INIT", None, Some(10)));
        assert_eq!(timeline.course().cells[0].requests.limit(), None);
    }

    #[test]
    fn a_limit_is_told_only_while_every_quota_has_one() {
        let timeline = Timeline::new();
        timeline.look(&status(0, "AVAILABLE", None, Some(10)));
        let cell = &timeline.course().cells[0];
        assert_eq!((cell.requests.used(), cell.requests.limit()), (Some(6.0), Some(10.0)));
        assert_eq!((cell.tokens.used(), cell.tokens.limit()), (Some(60.0), None));
        assert_eq!(Level::default().used(), None);
    }
}
