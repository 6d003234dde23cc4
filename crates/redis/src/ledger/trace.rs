//! What this process itself was promised in the last minute: enough to tell a Redis that has lost it.

use std::collections::VecDeque;

/// Permits of one answer that fall into one slot.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u64,
    /// The call that brought them; a state that survived up to an earlier one does not know them.
    seq: i64,
    slot: u64,
    requests: f64,
    tokens: f64,
    risk: f64,
}

/// A change of one slot, as it is told to Redis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    pub entry: u64,
    pub slot: u64,
    pub requests: f64,
    pub tokens: f64,
    pub risk: f64,
}

/// The entries that may still count, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    entries: VecDeque<Entry>,
    next: u64,
}

impl Trace {
    /// Notes one permit in a slot; returns the entry it belongs to.
    pub(crate) fn note(&mut self, seq: i64, slot: u64, tokens: u32, risk: f64) -> u64 {
        match self.entries.back_mut() {
            Some(last) if last.seq == seq && last.slot == slot => {
                last.requests += 1.0;
                last.tokens += f64::from(tokens);
                last.risk += risk;
                last.id
            }
            _ => {
                let id = self.next;
                self.next += 1;
                self.entries.push_back(Entry { id, seq, slot, requests: 1.0, tokens: f64::from(tokens), risk });
                id
            }
        }
    }

    /// Notes calls that went without a permit.
    pub(crate) fn charge(&mut self, seq: i64, slot: u64, requests: f64, tokens: f64) -> Change {
        let id = self.next;
        self.next += 1;
        self.entries.push_back(Entry { id, seq, slot, requests, tokens, risk: 0.0 });
        Change { entry: id, slot, requests, tokens, risk: 0.0 }
    }

    /// Applies what became of a permit; none when its slot has left and nothing changes.
    pub(crate) fn change(&mut self, id: u64, requests: f64, tokens: f64, risk: f64) -> Option<Change> {
        let at = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = &mut self.entries[at];
        entry.requests += requests;
        entry.tokens = (entry.tokens + tokens).max(0.0);
        entry.risk = (entry.risk + risk).max(0.0);
        Some(Change { entry: id, slot: entry.slot, requests, tokens, risk })
    }

    /// Where an entry lies now; none when it has left.
    pub(crate) fn slot(&self, id: u64) -> Option<u64> {
        let at = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some(self.entries[at].slot)
    }

    /// Forgets what lies before `slot`.
    pub(crate) fn forget(&mut self, slot: u64) {
        while self.entries.front().is_some_and(|entry| entry.slot < slot) {
            self.entries.pop_front();
        }
    }

    /// All that calls after `survived` brought.
    pub(crate) fn since(&self, survived: i64) -> Vec<Change> {
        let unknown = self.entries.iter().filter(|entry| entry.seq > survived);
        unknown
            .map(|entry| Change {
                entry: entry.id,
                slot: entry.slot,
                requests: entry.requests,
                tokens: entry.tokens,
                risk: entry.risk,
            })
            .collect()
    }

    /// What was told again belongs to the call that told it.
    pub(crate) fn told(&mut self, survived: i64, seq: i64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.seq > survived) {
            entry.seq = seq;
        }
    }

    /// Moves everything by some slots: Redis' clock has jumped.
    pub(crate) fn shift(&mut self, slots: i64) {
        for entry in &mut self.entries {
            entry.slot = entry.slot.saturating_add_signed(slots);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_did_not_survive_is_told_again() {
        let mut trace = Trace::default();
        trace.note(1, 10, 5, 0.0);
        let later = trace.note(2, 10, 7, 0.0);
        trace.note(2, 10, 7, 0.0);
        let lost = trace.since(1);
        assert_eq!(lost, [Change { entry: later, slot: 10, requests: 2.0, tokens: 14.0, risk: 0.0 }]);
        trace.told(1, 9);
        assert!(trace.since(9).is_empty());
        assert_eq!(trace.since(8).len(), 1);
    }

    #[test]
    fn what_has_left_cannot_be_changed() {
        let mut trace = Trace::default();
        let entry = trace.note(1, 10, 5, 0.0);
        trace.forget(11);
        assert_eq!(trace.change(entry, -1.0, -5.0, 0.0), None);
    }
}
