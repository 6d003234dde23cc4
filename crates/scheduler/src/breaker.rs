//! A breaker for each model: when the API fails over and over, whatever the key, calls stop but for one that probes.
//!
//! It counts faults in a row and not a rate: answers of any other kind show that the model is there. It holds prompts back
//! for half a minute at most; after that, and until the model has answered again, each meets its own bound of attempts.

use std::time::Duration;

use crate::time::Timestamp;

/// Faults in a row that open it.
const TRIP: u32 = 5;
/// First and longest pause before a probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a probe may take before another is sent.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// The longest that prompts are held back in all, from the moment it opened.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Closed,
    /// No call before then; the one that goes then is a probe.
    Open(Timestamp),
    /// A probe is under way; no other call before then.
    Probing(Timestamp),
}

/// The breaker of one model.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: State,
    streak: u32,
    pauses: u32,
    opened: Timestamp,
}

impl Breaker {
    /// Until when it holds calls back; `None` when closed.
    pub(crate) fn holds_until(&self) -> Option<Timestamp> {
        match self.state {
            State::Closed => None,
            State::Open(until) | State::Probing(until) => Some(until.min(self.opened + LONGEST_HOLD)),
        }
    }

    /// The model answered, well or not.
    pub(crate) fn answered(&mut self) {
        *self = Breaker::default();
    }

    /// A fault of the API or the network.
    pub(crate) fn failed(&mut self, now: Timestamp) {
        self.streak += 1;
        let open = match self.state {
            State::Closed => self.streak >= TRIP,
            // Faults of calls that were under way when it opened say nothing new.
            State::Open(_) => false,
            State::Probing(_) => true,
        };
        if !open {
            return;
        }
        if self.state == State::Closed {
            self.opened = now;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(10)).min(LONGEST_PAUSE);
        self.pauses += 1;
        self.state = State::Open(now + pause);
    }

    /// A call goes out.
    pub(crate) fn started(&mut self, now: Timestamp) {
        if matches!(self.state, State::Open(until) | State::Probing(until) if until <= now) {
            self.state = State::Probing(now + PROBE_PATIENCE);
        }
    }
}

/// A pause for the whole host: its front door answered with a page for robots instead of the API.
#[derive(Debug, Default)]
pub(crate) struct HostPause {
    until: Timestamp,
    since: Timestamp,
    pauses: u32,
    /// One call is out to try whether the pause is over.
    probing: bool,
}

/// Pauses in a row (1 + 2 + ... + 60 s) after which a refusal counts against prompts.
const LASTING: u32 = 7;
/// Longest pause for the host.
const LONGEST_HOST_PAUSE: Duration = Duration::from_secs(60);

impl HostPause {
    /// Until when nothing is sent.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }

    /// A page came back for a call sent at `sent`: pauses, twice as long as the last time if nothing else came between.
    pub(crate) fn refused(&mut self, now: Timestamp, sent: Timestamp) {
        if self.pauses > 0 && sent <= self.since {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(10)).min(LONGEST_HOST_PAUSE);
        self.pauses += 1;
        self.since = now;
        self.until = now + pause;
        self.probing = false;
    }

    /// A call goes out: the first after a pause is alone until it is back, unless the door has been closed for minutes.
    pub(crate) fn started(&mut self, now: Timestamp) {
        if self.pauses > 0 && !self.is_lasting() {
            self.probing = true;
            self.until = now + PROBE_PATIENCE;
        }
    }

    /// It has refused for minutes: prompts should not wait for it for ever.
    pub(crate) fn is_lasting(&self) -> bool {
        self.pauses > LASTING
    }

    /// The API itself answered.
    pub(crate) fn answered(&mut self) {
        self.pauses = 0;
        if std::mem::take(&mut self.probing) {
            self.until = Timestamp::ZERO;
        }
    }
}

/// How many repetitions a broken upstream gets: one for every five answers, and some to begin with.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    fifths: u32,
}

const FIRST_RETRIES: u32 = 50;
const MOST_RETRIES: u32 = 500;
const ANSWERS_PER_RETRY: u32 = 5;

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget { fifths: FIRST_RETRIES * ANSWERS_PER_RETRY }
    }
}

impl RetryBudget {
    /// An answer came: a part of a repetition is earned.
    pub(crate) fn earn(&mut self) {
        self.fifths = (self.fifths + 1).min(MOST_RETRIES * ANSWERS_PER_RETRY);
    }

    /// Spends one repetition; false when none is left, and the prompt should take the longest pause.
    pub(crate) fn spend(&mut self) -> bool {
        let left = self.fifths.checked_sub(ANSWERS_PER_RETRY);
        self.fifths = left.unwrap_or(self.fifths);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(100);

    fn tripped() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..TRIP {
            breaker.failed(NOW);
        }
        breaker
    }

    #[test]
    fn five_faults_in_a_row_open_it_and_an_answer_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(NOW);
        }
        assert_eq!(breaker.holds_until(), None);
        breaker.failed(NOW);
        assert_eq!(breaker.holds_until(), Some(NOW + Duration::from_secs(1)));
        breaker.answered();
        assert_eq!(breaker.holds_until(), None);
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_and_late_faults_do_not() {
        let mut breaker = tripped();
        breaker.failed(NOW);
        assert_eq!(breaker.holds_until(), Some(NOW + Duration::from_secs(1)));
        let probe = NOW + Duration::from_secs(1);
        breaker.started(probe);
        assert_eq!(breaker.holds_until(), Some(probe + PROBE_PATIENCE));
        breaker.failed(probe);
        assert_eq!(breaker.holds_until(), Some(probe + Duration::from_secs(2)));
    }

    #[test]
    fn it_holds_nobody_longer_than_half_a_minute() {
        let mut breaker = tripped();
        let mut now = NOW;
        while now < NOW + Duration::from_secs(60) {
            now = breaker.holds_until().map_or(NOW + Duration::from_secs(60), |until| until.max(now + Duration::from_millis(1)));
            breaker.started(now);
            breaker.failed(now);
            assert!(breaker.holds_until().is_none_or(|until| until <= NOW + LONGEST_HOLD));
        }
    }

    #[test]
    fn pages_of_one_burst_pause_the_host_once_and_an_answer_forgets_them() {
        let mut host = HostPause::default();
        for _ in 0..5 {
            host.refused(NOW, NOW.before(Duration::from_secs(1)));
        }
        assert_eq!(host.until(), NOW + Duration::from_secs(1));
        let next = NOW + Duration::from_secs(1);
        host.refused(next, next);
        assert_eq!(host.until(), next + Duration::from_secs(2));
        host.started(next + Duration::from_secs(2));
        assert_eq!(host.until(), next + Duration::from_secs(2) + PROBE_PATIENCE, "one call tries");
        host.answered();
        assert_eq!(host.until(), Timestamp::ZERO, "the others follow");
        let later = next + Duration::from_secs(10);
        host.refused(later, later);
        assert_eq!(host.until(), later + Duration::from_secs(1));
    }

    #[test]
    fn repetitions_are_a_fifth_of_what_goes_well_after_a_few() {
        let mut budget = RetryBudget::default();
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 50);
        for _ in 0..10 {
            budget.earn();
        }
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 2);
    }
}
