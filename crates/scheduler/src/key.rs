//! Keys and their slots: which key of a project may carry the next call, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::crew::Crew;
use crate::outcome::{Blocked, Reason};
use crate::settings::Pacing;
use crate::time::Timestamp;

/// A key's number over all projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

/// More seats than any key can use.
const MOST_SEATS: usize = 4_096;

/// One seat of a key: serves a call at a time and keeps its interval from start to start.
#[derive(Debug, Clone, Copy, Default)]
struct Seat {
    busy: bool,
    next: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub project: u32,
    pub active: u32,
    /// Why it must not be used again.
    pub dead: Option<Arc<str>>,
    /// Whether it was taken out of the settings: it is no longer shown.
    pub left: bool,
    seats: Vec<Seat>,
    rest_until: Timestamp,
    last_start: Option<Timestamp>,
    listed: Option<(Timestamp, u64)>,
}

impl Key {
    pub(crate) fn new(project: u32, pacing: &Pacing) -> Key {
        Key {
            project,
            active: 0,
            dead: None,
            left: false,
            seats: vec![Seat::default(); seats(pacing)],
            rest_until: Timestamp::ZERO,
            last_start: None,
            listed: None,
        }
    }

    /// When it can carry a call; never while only an ending call can free it.
    fn ready_at(&self, pacing: &Pacing) -> Timestamp {
        if self.dead.is_some() || (!pacing.key_cooldown.is_zero() && self.active > 0) {
            return Timestamp::NEVER;
        }
        let most = seats(pacing);
        if most > 0 && self.active as usize >= most {
            return Timestamp::NEVER;
        }
        let seat = match (most == 0, self.last_start) {
            (false, _) => self.seats.iter().take(most).filter(|seat| !seat.busy).map(|seat| seat.next).min(),
            (true, Some(start)) if !pacing.slot_interval.is_zero() => Some(start + pacing.slot_interval),
            (true, _) => Some(Timestamp::ZERO),
        };
        seat.map_or(Timestamp::NEVER, |at| at.max(self.rest_until))
    }

    /// Seats the next call; returns the seat's number, where keys have seats.
    fn start(&mut self, now: Timestamp, pacing: &Pacing) -> Option<u32> {
        self.active += 1;
        self.last_start = Some(now);
        let seats = self.seats.iter_mut().zip(0..).take(seats(pacing));
        let (seat, number) = seats.into_iter().find(|(seat, _)| !seat.busy && seat.next <= now)?;
        *seat = Seat { busy: true, next: now + pacing.slot_interval };
        Some(number)
    }

    fn end(&mut self, now: Timestamp, seat: Option<u32>, pacing: &Pacing) {
        self.active = self.active.saturating_sub(1);
        if !pacing.key_cooldown.is_zero() {
            self.rest_until = now + pacing.key_cooldown;
        }
        if let Some(seat) = seat.and_then(|seat| self.seats.get_mut(seat as usize)) {
            seat.busy = false;
        }
    }

    /// The call that has just ended never left: neither rest nor interval follows from it.
    fn unused(&mut self, seat: Option<u32>) {
        self.rest_until = Timestamp::ZERO;
        self.last_start = None;
        if let Some(seat) = seat.and_then(|seat| self.seats.get_mut(seat as usize)) {
            seat.next = Timestamp::ZERO;
        }
    }

    /// Takes on new rules: seats of calls under way stay until those end, rests and intervals only become shorter.
    pub(crate) fn reseat(&mut self, now: Timestamp, pacing: &Pacing) {
        let busy = self.seats.iter().rposition(|seat| seat.busy).map_or(0, |last| last + 1);
        self.seats.resize(seats(pacing).max(busy), Seat::default());
        for seat in &mut self.seats {
            seat.next = seat.next.min(now + pacing.slot_interval);
        }
        self.rest_until = self.rest_until.min(now + pacing.key_cooldown);
    }

    /// When each of its seats can carry a call, where a call takes so long; only for keys that have seats or rests.
    fn seats_free_at(&self, call: Duration, pacing: &Pacing) -> Vec<Timestamp> {
        let ends = self.last_start.unwrap_or_default() + call;
        let free = |at: Timestamp| at.max(self.rest_until);
        if !pacing.key_cooldown.is_zero() {
            let used = if self.active > 0 { ends + pacing.key_cooldown } else { Timestamp::ZERO };
            return vec![free(used.max(self.last_start.map_or(Timestamp::ZERO, |start| start + pacing.slot_interval)))];
        }
        match seats(pacing) {
            0 => vec![free(self.last_start.map_or(Timestamp::ZERO, |start| start + pacing.slot_interval))],
            most => {
                self.seats.iter().take(most).map(|seat| free(if seat.busy { seat.next.max(ends) } else { seat.next })).collect()
            }
        }
    }

    /// Resting after a use.
    pub(crate) fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.rest_until > now).then_some(self.rest_until)
    }
}

/// The seats of a project's keys run ahead, where a call takes so long; `None` where any number of calls may use a key.
pub(crate) fn crew<'k>(keys: impl Iterator<Item = &'k Key>, call: Duration, pacing: &Pacing) -> Option<Crew> {
    let Pacing { key_cooldown, slot_interval, .. } = *pacing;
    let busy_for = match (key_cooldown.is_zero(), seats(pacing)) {
        (false, _) => slot_interval.max(call.saturating_add(key_cooldown)),
        (true, 0) if slot_interval.is_zero() => return None,
        (true, 0) => slot_interval,
        (true, _) => slot_interval.max(call),
    };
    let back: Vec<Timestamp> = keys.filter(|key| key.dead.is_none()).flat_map(|key| key.seats_free_at(call, pacing)).collect();
    Some(Crew::new(0, back.into_iter(), busy_for))
}

/// Number of a key's seat over all keys.
pub(crate) fn seat_over_all(key: KeyId, seat: u32, pacing: &Pacing) -> u32 {
    let seats = u32::try_from(seats(pacing)).unwrap_or(u32::MAX);
    key.0.saturating_mul(seats).saturating_add(seat)
}

fn seats(pacing: &Pacing) -> usize {
    pacing.slots_per_key.min(MOST_SEATS)
}

/// The keys of one project, the readiest first.
#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    order: BTreeSet<(Timestamp, u64, KeyId)>,
    /// Keys that are not dead.
    pub live: usize,
    stamp: u64,
}

impl KeyRing {
    /// Puts a key into its place after any change of it.
    pub(crate) fn relist(&mut self, id: KeyId, key: &mut Key, pacing: &Pacing) {
        if let Some((at, stamp)) = key.listed.take() {
            self.order.remove(&(at, stamp, id));
        }
        let ready = key.ready_at(pacing);
        if !ready.is_never() {
            self.stamp += 1;
            self.order.insert((ready, self.stamp, id));
            key.listed = Some((ready, self.stamp));
        }
    }

    /// The key that has waited longest, and another in case that one is not wanted.
    pub(crate) fn ready(&self, now: Timestamp) -> (Option<KeyId>, Option<KeyId>) {
        let mut keys = self.order.iter().take_while(|(at, _, _)| *at <= now).map(|(_, _, id)| *id);
        (keys.next(), keys.next())
    }

    /// Calls that all its keys may have under way; `None` without a bound.
    pub(crate) fn slots(&self, pacing: &Pacing) -> Option<u32> {
        let each = if pacing.key_cooldown.is_zero() { seats(pacing) } else { 1 };
        (each > 0).then(|| u32::try_from(each * self.live.max(1)).unwrap_or(u32::MAX))
    }

    /// When a second key can carry a call, whichever is first.
    pub(crate) fn second_at(&self) -> Timestamp {
        self.order.iter().nth(1).map_or(Timestamp::NEVER, |(at, _, _)| *at)
    }

    /// What keeps every key of the project from carrying a call.
    pub(crate) fn blocked(&self, now: Timestamp, pacing: &Pacing) -> Option<Blocked> {
        let reason = if pacing.key_cooldown.is_zero() { Reason::Slots } else { Reason::KeyCooldown };
        match self.order.first() {
            Some((at, _, _)) if *at <= now => None,
            Some((at, _, _)) => Some(Blocked { reason, until: *at }),
            None => Some(Blocked { reason, until: Timestamp::NEVER }),
        }
    }

    /// Seats a call with `key`.
    pub(crate) fn start(&mut self, id: KeyId, key: &mut Key, now: Timestamp, pacing: &Pacing) -> Option<u32> {
        let seat = key.start(now, pacing);
        self.relist(id, key, pacing);
        seat
    }

    /// Frees the seat of an ended call; true when that changes when the key can carry another.
    pub(crate) fn end(&mut self, id: KeyId, key: &mut Key, now: Timestamp, seat: Option<u32>, pacing: &Pacing) -> bool {
        let before = key.ready_at(pacing);
        key.end(now, seat, pacing);
        self.relist(id, key, pacing);
        key.ready_at(pacing) != before
    }

    /// After [`KeyRing::end`]: the call never left.
    pub(crate) fn unused(&mut self, id: KeyId, key: &mut Key, seat: Option<u32>, pacing: &Pacing) {
        key.unused(seat);
        self.relist(id, key, pacing);
    }

    /// Takes in a key that joins.
    pub(crate) fn join(&mut self, id: KeyId, key: &mut Key, pacing: &Pacing) {
        self.live += 1;
        self.relist(id, key, pacing);
    }

    /// Puts a key aside for good; false if it already was.
    pub(crate) fn bury(&mut self, id: KeyId, key: &mut Key, reason: Arc<str>, pacing: &Pacing) -> bool {
        if key.dead.is_some() {
            return false;
        }
        key.dead = Some(reason);
        self.live -= 1;
        self.relist(id, key, pacing);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(100);

    fn ring(pacing: &Pacing, keys: u32) -> (KeyRing, Vec<Key>) {
        let mut ring = KeyRing::default();
        let mut all: Vec<_> = (0..keys).map(|_| Key::new(0, pacing)).collect();
        for (n, key) in all.iter_mut().enumerate() {
            ring.join(KeyId(n as u32), key, pacing);
        }
        (ring, all)
    }

    #[test]
    fn keys_take_turns() {
        let pacing = Pacing::default();
        let (mut ring, mut keys) = ring(&pacing, 2);
        assert_eq!(ring.ready(NOW).0, Some(KeyId(0)));
        ring.start(KeyId(0), &mut keys[0], NOW, &pacing);
        assert_eq!(ring.ready(NOW).0, Some(KeyId(1)));
    }

    #[test]
    fn slot_intervals_count_from_start_to_start() {
        let pacing = Pacing { slots_per_key: 1, slot_interval: Duration::from_secs(12), ..Pacing::default() };
        let (mut ring, mut keys) = ring(&pacing, 1);
        let seat = ring.start(KeyId(0), &mut keys[0], NOW, &pacing);
        let ended = NOW + Duration::from_secs(7);
        ring.end(KeyId(0), &mut keys[0], ended, seat, &pacing);
        let next = NOW + Duration::from_secs(12);
        assert_eq!(ring.blocked(ended, &pacing), Some(Blocked { reason: Reason::Slots, until: next }));
        assert_eq!(ring.ready(next).0, Some(KeyId(0)));
    }

    #[test]
    fn a_key_with_a_cooldown_serves_one_call_and_then_rests() {
        let pacing = Pacing { key_cooldown: Duration::from_secs(30), ..Pacing::default() };
        let (mut ring, mut keys) = ring(&pacing, 1);
        let seat = ring.start(KeyId(0), &mut keys[0], NOW, &pacing);
        assert_eq!(ring.ready(NOW + Duration::from_secs(60)).0, None);
        let ended = NOW + Duration::from_secs(60);
        ring.end(KeyId(0), &mut keys[0], ended, seat, &pacing);
        assert_eq!(ring.ready(ended).0, None);
        assert_eq!(ring.ready(ended + Duration::from_secs(30)).0, Some(KeyId(0)));
    }

    #[test]
    fn no_more_calls_than_slots_run_with_a_key() {
        let pacing = Pacing { slots_per_key: 2, ..Pacing::default() };
        let (mut ring, mut keys) = ring(&pacing, 1);
        assert_eq!(ring.start(KeyId(0), &mut keys[0], NOW, &pacing), Some(0));
        assert_eq!(ring.start(KeyId(0), &mut keys[0], NOW, &pacing), Some(1));
        assert_eq!(ring.ready(NOW).0, None);
    }

    #[test]
    fn a_buried_key_is_never_handed_out() {
        let pacing = Pacing::default();
        let (mut ring, mut keys) = ring(&pacing, 1);
        assert!(ring.bury(KeyId(0), &mut keys[0], "API_KEY_INVALID".into(), &pacing));
        assert!(!ring.bury(KeyId(0), &mut keys[0], "API_KEY_INVALID".into(), &pacing));
        assert_eq!((ring.ready(NOW).0, ring.live), (None, 0));
    }
}
