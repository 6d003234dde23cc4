//! What a queue carries: a task on its way in, in a worker's hands, and at its end.

use std::time::Duration;

/// The most tasks that one script call touches.
pub(crate) const CHUNK: usize = 500;
/// The most bytes of bodies or records that one script call carries, unless a single one is larger.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// How urgent a task is: one stream each. Lower ones are asked first now and then, so that none starves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Class {
    /// Priority above 0.
    High,
    /// Priority 0.
    #[default]
    Normal,
    /// Priority below 0.
    Low,
}

impl Class {
    /// The class of a row's priority.
    pub fn of_priority(priority: i32) -> Class {
        match priority {
            1.. => Class::High,
            0 => Class::Normal,
            ..0 => Class::Low,
        }
    }

    /// Its number in scripts: the place of its stream among the keys, from 1.
    pub(crate) fn number(self) -> usize {
        match self {
            Class::High => 1,
            Class::Normal => 2,
            Class::Low => 3,
        }
    }

    pub(crate) fn of_number(number: i64) -> Class {
        match number {
            1 => Class::High,
            3 => Class::Low,
            _ => Class::Normal,
        }
    }
}

/// A task to be handed in.
#[derive(Debug, Clone, Default)]
pub struct NewTask {
    /// What it is known by: a second one of the same id is not taken in.
    pub id: String,
    /// How urgent it is.
    pub class: Class,
    /// Not before this instant of Redis' clock, in milliseconds since 1970; 0 is now.
    pub due: u64,
    /// Its place in the input, from 0.
    pub index: u64,
    /// Of its content: the same id with another fingerprint is reported as [`Entered::Conflict`].
    pub fingerprint: String,
    /// Digest of the settings it shares with others, see [`Queue::share_settings`](super::Queue::share_settings); may be empty.
    pub settings: String,
    /// What is asked: one JSON value, an input record.
    pub body: String,
}

/// What became of a task that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It is in the queue now.
    New,
    /// It was handed in before.
    Known,
    /// Another one of its id and other content was handed in before; that one stands.
    Conflict,
}

/// A task in the hands of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// What it is known by.
    pub id: String,
    /// Its place in the input.
    pub index: u64,
    /// Of its content; empty when its producer told none.
    pub fingerprint: String,
    /// Digest of its settings; empty for none.
    pub settings: String,
    /// What is asked.
    pub body: String,
    /// How often it was handed back as [`Outcome::Retry`].
    pub attempts: u32,
    /// How many workers vanished with it in their hands: where there was one, a call may have been made and paid for.
    pub lost: u32,
    /// What happened to it before, one JSON object a line.
    pub history: String,
    pub(crate) place: Place,
}

/// Where a task stands in its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) class: Class,
    pub(crate) entry: String,
}

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With an answer.
    Done,
    /// Without: it goes to the dead letters, from where it can be queued again.
    Dead,
    /// Without, because workers vanished whenever they had it.
    Quarantined,
}

impl Ending {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ending::Done => "done",
            Ending::Dead => "dead",
            Ending::Quarantined => "quarantined",
        }
    }
}

/// What a worker says of a task it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has ended.
    Ended {
        /// How.
        ending: Ending,
        /// What is kept for whoever collects: one JSON object on one line.
        record: String,
        /// Of a task without success: what happened, one JSON object a line.
        history: String,
        /// Whether anybody collects the record.
        collected: bool,
        /// Whether a webhook is told.
        hook: bool,
    },
    /// Its own fault, and worth another try later: counted in [`Task::attempts`].
    Retry {
        /// After how long.
        delay: Duration,
        /// What happened, as one JSON object.
        line: String,
    },
    /// It could not be asked yet, which is no fault of its own: not counted.
    Postpone {
        /// After how long.
        delay: Duration,
    },
    /// This worker stops: another one takes it at once.
    HandOver,
}

impl Outcome {
    /// A success whose record is collected.
    pub fn done(record: impl Into<String>) -> Outcome {
        Outcome::Ended { ending: Ending::Done, record: record.into(), history: String::new(), collected: true, hook: false }
    }
}

/// Groups items so that none holds more than a script call may touch.
pub(crate) fn chunks<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut chunks, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, item) in items.iter().enumerate() {
        let size = bytes(item);
        if at > start && (at - start == CHUNK || sum + size > CHUNK_BYTES) {
            chunks.push(&items[start..at]);
            (start, sum) = (at, 0);
        }
        sum += size;
    }
    chunks.extend((start < items.len()).then(|| &items[start..]));
    chunks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_chunk_is_bounded_in_items_and_in_bytes_and_nothing_is_left_out() {
        let small = vec![1; 1201];
        assert_eq!(chunks(&small, |size| *size).iter().map(|chunk| chunk.len()).collect::<Vec<_>>(), [500, 500, 201]);
        let large = [CHUNK_BYTES / 2, CHUNK_BYTES / 2, 1, 5 * CHUNK_BYTES, 1];
        assert_eq!(chunks(&large, |size| *size).iter().map(|chunk| chunk.len()).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert!(chunks(&[], |size: &usize| *size).is_empty());
    }

    #[test]
    fn the_class_of_a_priority_survives_its_number() {
        for (priority, class) in [(7, Class::High), (0, Class::Normal), (-1, Class::Low)] {
            assert_eq!(Class::of_priority(priority), class);
            assert_eq!(Class::of_number(class.number() as i64), class);
        }
    }
}
