//! A breaker for each model: when the API fails over and over, whatever the key, calls stop but for one that probes.
//!
//! It counts faults in a row and not a rate: answers of any other kind show that the model is there. It holds one prompt
//! back for half a minute in all, however often it opens; a prompt that has waited so long goes out in any case, some of
//! them a second, and meets its own bound of attempts.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::job::JobId;
use crate::time::{Timestamp, micros};

/// Faults in a row that open it.
const TRIP: u32 = 5;
/// First and longest pause before a probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a probe may take before another is sent.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
/// The longest that one prompt is held back in all, in milliseconds.
const LONGEST_HOLD: i32 = 30_000;
/// Pauses in a row (1 + 2 + 4 + 8 s of them over) after which those whose callers wait are told instead of kept.
const LASTING_PAUSES: u32 = 5;
/// Who has been held back for so long, in milliseconds, has waited for a look at the model.
const WAITED_FOR_A_LOOK: i32 = 5_000;
/// Time between two calls of prompts that have waited so long: a dead model gets three hundred a minute at most.
const BETWEEN_IMPATIENT: Duration = Duration::from_millis(200);

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
    /// Since when it holds prompts back this time.
    opened: Timestamp,
    /// Milliseconds of all the times before; wraps after weeks, and only differences count.
    held: i32,
    /// The next call of a prompt that has waited long enough.
    next_impatient: Timestamp,
}

impl Breaker {
    /// Until when it holds calls back; `None` when closed.
    pub(crate) fn holds_until(&self) -> Option<Timestamp> {
        match self.state {
            State::Closed => None,
            State::Open(until) | State::Probing(until) => Some(until),
        }
    }

    /// Milliseconds for which it has held prompts back so far.
    pub(crate) fn held(&self, now: Timestamp) -> i32 {
        let open = if self.state == State::Closed { 0 } else { micros(now - self.opened).div_ceil(1_000) };
        self.held.wrapping_add(i32::try_from(open).unwrap_or(i32::MAX))
    }

    /// When a prompt may go that has waited since [`Breaker::held`] was `from`; `None` when closed.
    pub(crate) fn lets_go(&self, from: i32) -> Option<Timestamp> {
        let probe = self.holds_until()?;
        let left = LONGEST_HOLD.saturating_sub(self.held.wrapping_sub(from));
        let patience = self.opened + Duration::from_millis(u64::try_from(left).unwrap_or(0));
        Some(probe.min(patience.max(self.next_impatient)))
    }

    /// The model answered, well or not; true when that closes it.
    pub(crate) fn answered(&mut self, now: Timestamp) -> bool {
        let open = self.state != State::Closed;
        *self = Breaker { held: self.held(now), ..Breaker::default() };
        open
    }

    /// It has failed for so long that callers had better hear of it.
    pub(crate) fn is_lasting(&self) -> bool {
        self.state != State::Closed && self.pauses >= LASTING_PAUSES
    }

    /// Whether a prompt has waited for a look at the model that waits since [`Breaker::held`] was `from`.
    pub(crate) fn has_kept(&self, now: Timestamp, from: i32) -> bool {
        self.held(now).wrapping_sub(from) >= WAITED_FOR_A_LOOK
    }

    /// A fault of the API or the network; true when it opens the breaker, or keeps it open after a look.
    pub(crate) fn failed(&mut self, now: Timestamp) -> bool {
        self.streak += 1;
        let open = match self.state {
            State::Closed => self.streak >= TRIP,
            // Faults of calls that were under way when it opened say nothing new.
            State::Open(_) => false,
            State::Probing(_) => true,
        };
        if !open {
            return false;
        }
        if self.state == State::Closed {
            self.opened = now;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(10)).min(LONGEST_PAUSE);
        self.pauses += 1;
        self.state = State::Open(now + pause);
        true
    }

    /// A call goes out.
    pub(crate) fn started(&mut self, now: Timestamp) {
        match self.state {
            State::Closed => {}
            State::Open(until) | State::Probing(until) if until <= now => self.state = State::Probing(now + PROBE_PATIENCE),
            State::Open(_) | State::Probing(_) => self.next_impatient = now + BETWEEN_IMPATIENT,
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

/// How many repetitions a broken upstream gets: one for every good answer, and some to begin with. So an upstream that
/// answers half of its calls keeps all its prompts going, and a dead one is hardly asked twice.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    left: u32,
    /// Prompts that wait for a repetition to be earned: the end of the usual pause of each, and the latest it waits.
    waiting: BTreeSet<(Timestamp, Timestamp, JobId)>,
}

const FIRST_RETRIES: u32 = 50;
const MOST_RETRIES: u32 = 500;

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget { left: FIRST_RETRIES, waiting: BTreeSet::new() }
    }
}

/// A prompt that need not wait any longer than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Earned {
    pub job: JobId,
    /// When it would have gone, and when it goes.
    pub from: Timestamp,
    pub to: Timestamp,
}

impl RetryBudget {
    /// A good answer came: the first that waits may be repeated, or somebody later. Whom it names may have gone meanwhile.
    pub(crate) fn earn(&mut self) -> Option<Earned> {
        match self.waiting.pop_first() {
            Some((to, from, job)) => Some(Earned { job, from, to }),
            None => {
                self.left = (self.left + 1).min(MOST_RETRIES);
                None
            }
        }
    }

    /// Spends one repetition; false when none is left.
    pub(crate) fn spend(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// A prompt pauses until `latest`, or until `usual` when a repetition is earned before.
    pub(crate) fn wait(&mut self, now: Timestamp, job: JobId, usual: Timestamp, latest: Timestamp) {
        while self.waiting.first().is_some_and(|&(_, latest, _)| latest <= now) {
            self.waiting.pop_first();
        }
        self.waiting.insert((usual, latest, job));
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
        assert!(breaker.answered(NOW));
        assert_eq!(breaker.holds_until(), None);
        assert!(!breaker.answered(NOW), "it was closed");
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

    /// Holds prompts back for so many seconds from `now` on, probes failing, and closes.
    fn hold(breaker: &mut Breaker, now: Timestamp, seconds: u64) {
        for _ in 0..TRIP {
            breaker.failed(now);
        }
        breaker.answered(now + Duration::from_secs(seconds));
    }

    #[test]
    fn half_a_minute_is_counted_over_all_the_times_it_opens() {
        let mut breaker = Breaker::default();
        let from = breaker.held(NOW);
        hold(&mut breaker, NOW, 12);
        hold(&mut breaker, NOW + Duration::from_secs(100), 17);
        assert_eq!(breaker.lets_go(from), None);
        let again = NOW + Duration::from_secs(200);
        let late = breaker.held(again);
        hold(&mut breaker, again, 0);
        for _ in 0..TRIP {
            breaker.failed(again);
        }
        breaker.started(again + Duration::from_secs(1));
        assert_eq!(breaker.lets_go(from), Some(again + Duration::from_secs(1)), "29 s are gone");
        assert_eq!(breaker.lets_go(late), Some(again + Duration::from_secs(11)), "a new one waits for the probe");
    }

    #[test]
    fn those_who_waited_long_enough_go_one_by_one() {
        let mut breaker = tripped();
        let from = breaker.held(NOW).wrapping_sub(LONGEST_HOLD);
        assert_eq!(breaker.lets_go(from), Some(NOW));
        breaker.started(NOW);
        assert_eq!(breaker.lets_go(from), Some(NOW + BETWEEN_IMPATIENT));
        assert_eq!(breaker.holds_until(), Some(NOW + Duration::from_secs(1)), "that was no probe");
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
    fn repetitions_are_as_many_as_good_answers_beside_a_few() {
        let mut budget = RetryBudget::default();
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 50);
        (0..10).for_each(|_| assert_eq!(budget.earn(), None));
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
    }

    #[test]
    fn a_good_answer_goes_to_the_prompt_whose_usual_pause_ends_first() {
        let mut budget = RetryBudget::default();
        while budget.spend() {}
        let after = |seconds| NOW + Duration::from_secs(seconds);
        budget.wait(NOW, JobId(1), after(4), after(60));
        budget.wait(NOW, JobId(2), after(2), after(50));
        assert_eq!(budget.earn(), Some(Earned { job: JobId(2), from: after(50), to: after(2) }));
        budget.wait(after(60), JobId(3), after(61), after(99));
        assert_eq!(budget.earn(), Some(Earned { job: JobId(3), from: after(99), to: after(61) }), "the first has gone");
        assert_eq!(budget.earn(), None);
    }
}
