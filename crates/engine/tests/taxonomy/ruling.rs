//! The doors at which an answer can be laid, and all that follows from each.

use std::time::Duration;

use tidegate_engine::scheduler::Retry;
use tidegate_engine::{Blame, ErrorClass};

use crate::stage::{Answer, LATENCY, START, Seen, play};

/// How long a parked project waits for its first probe.
const PARKED: Duration = Duration::from_secs(600);

/// Whose an answer is; the words of the documented table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Whose {
    /// A good answer.
    Nobody,
    /// The prompt's, and asking again cannot help.
    Prompt,
    /// The prompt's, and chance may help: asked again, counted.
    PromptAgain,
    Key,
    Project,
    /// The quota's, for so long.
    Quota(Duration),
    /// The quota's, until its day ends or as long as it says beyond.
    Day,
    /// The project has no quota for this model.
    NoQuota,
    /// The API's or the network's.
    Upstream,
    Host,
}

impl Whose {
    /// The word of the documented table.
    pub fn word(self) -> &'static str {
        match self {
            Whose::Nobody => "nobody",
            Whose::Prompt => "prompt",
            Whose::PromptAgain => "prompt, again",
            Whose::Key => "key",
            Whose::Project => "project",
            Whose::Quota(_) => "quota",
            Whose::Day => "quota, day",
            Whose::NoQuota => "quota, none",
            Whose::Upstream => "upstream",
            Whose::Host => "host",
        }
    }

    fn blame(self) -> Blame {
        match self {
            Whose::Nobody | Whose::Prompt | Whose::PromptAgain => Blame::Task,
            Whose::Key | Whose::Project | Whose::Quota(_) | Whose::Day | Whose::NoQuota => Blame::Key,
            Whose::Upstream | Whose::Host => Blame::Upstream,
        }
    }

    /// States of `one/1`, `one/2` and `two/1` just after the first answer.
    fn states(self) -> [&'static str; 3] {
        const GOOD: &str = "AVAILABLE";
        let first = match self {
            Whose::Nobody | Whose::Prompt | Whose::PromptAgain | Whose::Upstream | Whose::Host => GOOD,
            Whose::Key => return ["FAILED_INIT", GOOD, GOOD],
            Whose::Quota(_) => "TEMPORARILY_EXHAUSTED",
            Whose::Project | Whose::Day | Whose::NoQuota => "FULLY_EXHAUSTED",
        };
        [first, first, GOOD]
    }

    /// What a single such answer counts against, when one of each kind is all a prompt may have.
    fn counts(self) -> Option<ErrorClass> {
        match self {
            Whose::Prompt | Whose::PromptAgain => Some(ErrorClass::Task),
            Whose::Upstream => Some(ErrorClass::Upstream),
            _ => None,
        }
    }

    /// The end of a prompt that gets nothing else, and the attempts until then; `None` where it waits on.
    fn endless(self) -> (Option<ErrorClass>, usize) {
        match self {
            Whose::Nobody | Whose::Prompt => (self.counts(), 1),
            Whose::PromptAgain => (Some(ErrorClass::Task), 3),
            Whose::Upstream => (Some(ErrorClass::Upstream), 6),
            // Seven pauses (1, 2, 4 ... 60 s) are the host's; then pages count as the API's faults do.
            Whose::Host => (Some(ErrorClass::Upstream), 13),
            Whose::Key => (Some(ErrorClass::NoKey), 3),
            Whose::Project | Whose::NoQuota => (Some(ErrorClass::NoKey), 2),
            Whose::Quota(_) | Whose::Day => (None, 2),
        }
    }
}

/// Holds one answer to everything that its door promises.
pub async fn hold(answer: Answer, whose: Whose, code: &str) {
    once(&answer, whose, code).await;
    counted(&answer, whose).await;
    endless(&answer, whose, code).await;
}

/// One such answer, then good ones.
async fn once(answer: &Answer, whose: Whose, code: &str) {
    let seen = play(answer, 1, Retry::default(), Duration::from_secs(3_600)).await;
    let result = seen.result.as_ref().expect("it ends within the hour");
    let states: Vec<_> = seen.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, whose.states(), "states of keys");
    match whose {
        Whose::Nobody => assert!(result.is_ok() && seen.attempts[0].1.fault.is_none()),
        _ => {
            let fault = seen.attempts[0].1.fault.as_ref().expect("a fault is told");
            assert_eq!((fault.blame, fault.code.as_str()), (whose.blame(), code));
        }
    }
    match whose {
        Whose::Nobody => assert_eq!(seen.calls.len(), 1),
        Whose::Prompt => {
            assert_eq!(result.as_ref().map(drop).map_err(|error| error.class), Err(ErrorClass::Task));
            assert_eq!(seen.calls.len(), 1);
        }
        _ => {
            assert!(result.is_ok(), "{result:?}");
            assert_eq!(seen.calls.len(), 2, "{:?}", seen.calls);
            moves_on(&seen, whose);
        }
    }
    pauses(&seen, whose);
}

/// How soon, and with which key, a prompt is asked again.
fn moves_on(seen: &Seen, whose: Whose) {
    let gap = seen.calls[1].0 - seen.attempts[0].0;
    let (first, second) = (&seen.calls[0].1, &seen.calls[1].1);
    assert!(first.starts_with("one-key-1"), "{first}");
    match whose {
        Whose::Key => assert!(gap <= Duration::from_secs(1) && first != second, "{gap:?}, {second}"),
        Whose::Project | Whose::Quota(_) | Whose::Day | Whose::NoQuota => {
            assert!(gap <= Duration::from_secs(1) && second.starts_with("two-"), "{gap:?}, {second}");
        }
        Whose::Host => assert!((950..=1_050).contains(&gap.as_millis()), "{gap:?}"),
        Whose::PromptAgain | Whose::Upstream => {
            assert!((500..=1_050).contains(&gap.as_millis()) && first != second, "{gap:?}, {second}");
        }
        Whose::Nobody | Whose::Prompt => {}
    }
}

/// Until when the first key is said to wait.
fn pauses(seen: &Seen, whose: Whose) {
    let until = seen.keys[0].until;
    let answered = START + LATENCY;
    match whose {
        Whose::Project => assert_eq!(until.expect("an end").since(answered), PARKED),
        Whose::Quota(pause) => {
            let off = until.expect("an end").since(answered).as_millis().abs_diff(pause.as_millis());
            assert!(off <= 1, "until {until:?}, not {pause:?} after {answered:?}");
        }
        Whose::Day => {
            // Half a second after midnight in Los Angeles; no pause that is told here lasts longer.
            assert_eq!(until.expect("an end").since(START), Duration::from_millis(75_200_500));
        }
        _ => assert_eq!(until, None),
    }
}

/// One such answer when a prompt may have one of each kind: does it count?
async fn counted(answer: &Answer, whose: Whose) {
    let retry = Retry { max_task_attempts: 1, max_transient_attempts: 1, ..Retry::default() };
    let seen = play(answer, 1, retry, Duration::from_secs(3_600)).await;
    let class = seen.result.expect("it ends within the hour").err().map(|error| error.class);
    assert_eq!(class, whose.counts(), "what it counts against");
}

/// Nothing but such answers.
async fn endless(answer: &Answer, whose: Whose, code: &str) {
    // A quota that pauses is asked again only when its pause is over.
    let span = match whose {
        Whose::Quota(pause) => LATENCY + pause.min(Duration::from_secs(1)),
        _ => Duration::from_secs(3_600),
    };
    let seen = play(answer, usize::MAX, Retry::default(), span).await;
    let error = seen.result.as_ref().and_then(|result| result.as_ref().err());
    let (class, attempts) = whose.endless();
    assert_eq!((error.map(|error| error.class), seen.calls.len()), (class, attempts), "{:?}", seen.calls);
    match error {
        Some(error) if class == Some(ErrorClass::NoKey) => assert_eq!(error.code, "no_key"),
        Some(error) => assert_eq!(error.code, code),
        None => {}
    }
}
