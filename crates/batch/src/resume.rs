//! What an earlier run leaves to do: a fold of the journal, and a verdict for each row of the input.

use crate::identity::Digest;
use crate::journal::Head;
use crate::record::Status;

/// What the journal says of a row, in 36 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    id: Digest,
    fingerprint: Digest,
    riders: Digest,
    line: u32,
    index: u32,
    outcome: Outcome,
    fate: Fate,
}

/// How a record ended, as far as resuming cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With success.
    Success,
    /// Without, and asking again may help.
    Retryable,
    /// Without, and asking again will not help.
    Permanent,
}

/// What a row of the input means for this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The output knows nothing of it: ask.
    New,
    /// Its record stands.
    Keep,
    /// Its content is another one now: ask again.
    Changed,
    /// It failed, and is to be tried again.
    Retry,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No row of the input is known by its id.
    Gone,
    /// It stays as it is.
    Stays,
    /// It stays, at another position of the input or with other things riding along.
    Moves,
    /// It leaves the output, since its row is asked again.
    Leaves,
}

/// The rule of resuming, for one row: what its record says, the fingerprint it has now, and whether permanent
/// failures are to be tried again.
pub fn verdict(known: Option<(Outcome, Digest)>, fingerprint: Digest, retry_failed: bool) -> Verdict {
    match known {
        None => Verdict::New,
        Some((_, before)) if before != fingerprint => Verdict::Changed,
        Some((Outcome::Success, _)) => Verdict::Keep,
        Some((Outcome::Retryable, _)) => Verdict::Retry,
        Some((Outcome::Permanent, _)) if retry_failed => Verdict::Retry,
        Some((Outcome::Permanent, _)) => Verdict::Keep,
    }
}

/// All records of a journal, sorted by id.
#[derive(Debug, Default)]
pub struct Index {
    records: Vec<Known>,
    /// Lines of further records of the same id, in order.
    repeated: Vec<u32>,
    tokens: u64,
}

impl Index {
    /// Takes a record in; `line` is its place in the journal.
    pub(crate) fn add(&mut self, head: &Head<'_>, line: u64) {
        let outcome = match (head.status, head.retryable()) {
            (Status::Ok, _) => Outcome::Success,
            (_, true) => Outcome::Retryable,
            (_, false) => Outcome::Permanent,
        };
        self.tokens += head.tokens();
        self.records.push(Known {
            id: Digest::of(&head.id),
            fingerprint: Digest::of(&head.fingerprint),
            riders: head.riders().digest(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            index: u32::try_from(head.index).unwrap_or(u32::MAX),
            outcome,
            fate: Fate::Gone,
        });
    }

    /// Makes the index ready for questions. Of several records of one id the first counts.
    pub(crate) fn seal(&mut self) {
        self.records.sort_unstable_by_key(|record| (record.id, record.line));
        let repeated = &mut self.repeated;
        self.records.dedup_by(|later, first| {
            let is_repeated = later.id == first.id;
            repeated.extend(is_repeated.then_some(later.line));
            is_repeated
        });
        repeated.sort_unstable();
    }

    /// Lines of further records of ids that an earlier line has, in order.
    pub(crate) fn repeated(&self) -> impl Iterator<Item = u64> + '_ {
        self.repeated.iter().map(|line| u64::from(*line))
    }

    pub(crate) fn is_repeated(&self, line: u64) -> bool {
        u32::try_from(line).is_ok_and(|line| self.repeated.binary_search(&line).is_ok())
    }

    /// True when the journal holds nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Tokens that all records together cost.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Judges the row at position `index` of the input, and settles what becomes of its record. Without room for a
    /// further question (`may_ask` false) a record stays where it is, whatever the verdict.
    pub(crate) fn judge(
        &mut self,
        row: Row<'_, impl FnOnce() -> String, impl FnOnce() -> Digest>,
        index: u64,
        retry_failed: bool,
        may_ask: bool,
    ) -> Judged {
        let Some(record) = self.find(Digest::of(row.id)) else {
            return Judged { verdict: Verdict::New, succeeded: false, edited: false };
        };
        let fingerprint = Digest::of(&(row.fingerprint)());
        let verdict = verdict(Some((record.outcome, record.fingerprint)), fingerprint, retry_failed);
        let edited = verdict == Verdict::Keep && record.riders != (row.riders)();
        record.fate = match verdict {
            Verdict::Changed | Verdict::Retry if may_ask => Fate::Leaves,
            _ if edited || u64::from(record.index) != index => Fate::Moves,
            _ => Fate::Stays,
        };
        record.index = u32::try_from(index).unwrap_or(u32::MAX);
        Judged { verdict, succeeded: record.outcome == Outcome::Success, edited }
    }

    /// What becomes of the record of this id, and the position of its row in the input.
    pub(crate) fn fate(&mut self, id: &str) -> (Fate, u64) {
        self.find(Digest::of(id)).map_or((Fate::Gone, 0), |record| (record.fate, u64::from(record.index)))
    }

    /// The ids no row of the input is known by.
    pub(crate) fn gone(&self) -> impl Iterator<Item = Digest> + '_ {
        self.records.iter().filter(|record| record.fate == Fate::Gone).map(|record| record.id)
    }

    /// True when some record does not stay as it is.
    pub(crate) fn has_changes(&self, prune: bool) -> bool {
        !self.repeated.is_empty()
            || self.records.iter().any(|record| match record.fate {
                Fate::Leaves | Fate::Moves => true,
                Fate::Gone => prune,
                Fate::Stays => false,
            })
    }

    fn find(&mut self, id: Digest) -> Option<&mut Known> {
        let at = self.records.binary_search_by_key(&id, |record| record.id).ok()?;
        self.records.get_mut(at)
    }
}

/// A row of the input as its judge needs it: what is dear to work out is asked for only if its id is known.
pub(crate) struct Row<'a, F, R> {
    pub(crate) id: &'a str,
    pub(crate) fingerprint: F,
    /// Digest of its metadata and unknown fields.
    pub(crate) riders: R,
}

/// The verdict on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// True when its record, if it has one, is a success.
    pub(crate) succeeded: bool,
    /// True when its record stays and needs other metadata or unknown fields.
    pub(crate) edited: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::refresh::Riders;

    /// The promise as a table: record, same content, `--retry-failed` -> verdict.
    const TABLE: &[(Option<Outcome>, bool, bool, Verdict)] = &[
        (None, false, false, Verdict::New),
        (None, false, true, Verdict::New),
        (None, true, false, Verdict::New),
        (None, true, true, Verdict::New),
        (Some(Outcome::Success), true, false, Verdict::Keep),
        (Some(Outcome::Success), true, true, Verdict::Keep),
        (Some(Outcome::Success), false, false, Verdict::Changed),
        (Some(Outcome::Success), false, true, Verdict::Changed),
        (Some(Outcome::Retryable), true, false, Verdict::Retry),
        (Some(Outcome::Retryable), true, true, Verdict::Retry),
        (Some(Outcome::Retryable), false, false, Verdict::Changed),
        (Some(Outcome::Retryable), false, true, Verdict::Changed),
        (Some(Outcome::Permanent), true, false, Verdict::Keep),
        (Some(Outcome::Permanent), true, true, Verdict::Retry),
        (Some(Outcome::Permanent), false, false, Verdict::Changed),
        (Some(Outcome::Permanent), false, true, Verdict::Changed),
    ];

    fn oracle(known: Option<Outcome>, same: bool, retry_failed: bool) -> Verdict {
        TABLE.iter().find(|row| (row.0, row.1, row.2) == (known, same, retry_failed)).unwrap().3
    }

    fn record(id: u8, content: u8, outcome: Outcome, index: u64) -> String {
        let (status, retryable) = match outcome {
            Outcome::Success => ("ok", false),
            Outcome::Retryable => ("failed", true),
            Outcome::Permanent => ("blocked", false),
        };
        format!(
            r#"{{"id":"{id}","index":{index},"status":"{status}","fingerprint":"{content}","error":{{"retryable":{retryable}}}}}"#
        )
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![Just(Outcome::Success), Just(Outcome::Retryable), Just(Outcome::Permanent)]
    }

    proptest! {
        #[test]
        fn every_row_is_judged_as_the_table_says(
            journal in prop::collection::btree_map(0u8..12, (0u8..3, outcome(), 0u64..12), 0..10),
            input in prop::collection::btree_map(0u8..12, 0u8..3, 0..10),
            retry_failed in any::<bool>(),
            limit in 0usize..12,
        ) {
            let mut index = Index::default();
            for (line, (id, (content, outcome, at))) in journal.iter().enumerate() {
                let line_text = record(*id, *content, *outcome, *at);
                index.add(&serde_json::from_str(&line_text).unwrap(), line as u64 + 1);
            }
            index.seal();
            prop_assert_eq!(index.repeated().count(), 0);
            let (mut asked, mut fates) = (0, BTreeMap::new());
            for (position, (id, content)) in input.iter().enumerate() {
                let known = journal.get(id);
                let expected = oracle(known.map(|k| k.1), known.is_some_and(|k| k.0 == *content), retry_failed);
                let may_ask = asked < limit;
                let id_text = id.to_string();
                let row = Row { id: &id_text, fingerprint: || content.to_string(), riders: || Riders::default().digest() };
                let judged = index.judge(row, position as u64, retry_failed, may_ask);
                prop_assert_eq!(judged.verdict, expected);
                let leaves = matches!(expected, Verdict::Changed | Verdict::Retry) && may_ask;
                asked += usize::from(expected != Verdict::Keep && may_ask);
                let moved = known.is_some_and(|known| known.2 != position as u64);
                fates.insert(*id, if leaves { Fate::Leaves } else if moved { Fate::Moves } else { Fate::Stays });
            }
            for id in journal.keys() {
                let expected = fates.get(id).copied().unwrap_or(Fate::Gone);
                prop_assert_eq!(index.fate(&id.to_string()).0, expected);
            }
            let gone = journal.keys().filter(|id| !input.contains_key(id)).count();
            prop_assert_eq!(index.gone().count(), gone);
        }
    }

    #[test]
    fn the_second_record_of_an_id_is_found_by_its_line() {
        let mut index = Index::default();
        for (line, id) in [(1, 7), (2, 8), (5, 7)] {
            let text = record(id, 0, Outcome::Success, 0);
            index.add(&serde_json::from_str(&text).unwrap(), line);
        }
        index.seal();
        assert_eq!(index.repeated().collect::<Vec<_>>(), [5]);
        assert!(index.is_repeated(5) && !index.is_repeated(1) && index.has_changes(false));
    }

    #[test]
    fn a_record_takes_36_bytes() {
        assert!(std::mem::size_of::<Known>() <= 36);
    }
}
