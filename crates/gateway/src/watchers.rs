//! Those who watch `/api/events`: all are shown the same state, which is made once a second while there is anybody.
//!
//! A state that a slow reader has not taken is replaced by the next one, so nobody holds up anything. When all places are
//! taken, one who has stood still for long loses its place to who comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::error::Refusal;
use crate::live;
use crate::server::{Gate, House};

/// How many may watch at once.
pub const MOST: usize = 32;
/// How often they are told.
const PERIOD: Duration = Duration::from_secs(1);
/// Who has taken nothing for so long may be replaced.
const STALE: Duration = Duration::from_secs(10);

/// Everybody who watches.
#[derive(Default)]
pub struct Watchers(Mutex<Places>);

#[derive(Default)]
struct Places {
    /// The latest state; there while somebody watches.
    states: Option<watch::Sender<Bytes>>,
    /// When each watcher last took one.
    taken: BTreeMap<u64, Instant>,
    last: u64,
    closed: bool,
}

impl Watchers {
    /// One more: the state now, then a new one each second, until the gateway ends or somebody else needs the place.
    ///
    /// # Errors
    /// When the gateway is ending, or all places are taken by others who do read.
    pub fn watch(&self, gate: &Arc<Gate>) -> Result<BoxStream<'static, Bytes>, Refusal> {
        let mut places = self.0.lock();
        if places.closed {
            return Err(Refusal::new(503, "UNAVAILABLE", "it is about to end"));
        }
        places.make_room()?;
        places.last += 1;
        let number = places.last;
        places.taken.insert(number, Instant::now());
        let mut states = match &places.states {
            Some(states) => states.subscribe(),
            None => {
                let (states, first) = watch::channel(live::event(gate));
                places.states = Some(states);
                tokio::spawn(tell(Arc::downgrade(gate.house())));
                first
            }
        };
        states.mark_changed();
        let place = Place { house: gate.house().clone(), number };
        let next = |(mut states, place): (watch::Receiver<Bytes>, Place)| async move {
            states.changed().await.ok()?;
            place.takes().then_some(())?;
            let state = states.borrow_and_update().clone();
            Some((state, (states, place)))
        };
        Ok(stream::unfold((states, place), next).boxed())
    }

    /// Nobody is told anything more.
    pub fn close(&self) {
        let mut places = self.0.lock();
        places.closed = true;
        places.states = None;
    }
}

impl Places {
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.taken.len() < MOST {
            return Ok(());
        }
        let stalest = self.taken.iter().min_by_key(|(_, taken)| **taken).map(|(&number, taken)| (number, taken.elapsed()));
        match stalest.filter(|(_, idle)| *idle >= STALE) {
            Some((number, _)) => drop(self.taken.remove(&number)),
            None => return Err(Refusal::new(503, "UNAVAILABLE", format!("{MOST} others watch already: close a page"))),
        }
        Ok(())
    }
}

/// A watcher's place, free again when it is dropped.
struct Place {
    house: Arc<House>,
    number: u64,
}

impl Place {
    /// Notes that it takes a state; false when its place is another's now.
    fn takes(&self) -> bool {
        let mut places = self.house.watchers.0.lock();
        let taken = places.taken.get_mut(&self.number);
        taken.map(|taken| *taken = Instant::now()).is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.house.watchers.0.lock().taken.remove(&self.number);
    }
}

/// Makes a state each second by the settings in force then, until nobody is there to see it.
async fn tell(house: Weak<House>) {
    let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(house) = house.upgrade() else { return };
        let gate = {
            let mut places = house.watchers.0.lock();
            let gate = house.gate().filter(|_| !places.taken.is_empty());
            let Some(gate) = gate else {
                places.states = None;
                return;
            };
            gate
        };
        let state = live::event(&gate);
        match &house.watchers.0.lock().states {
            Some(states) => states.send_replace(state),
            None => return,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_stands_still_loses_its_place_to_who_comes() {
        let mut places = Places::default();
        for number in 0..MOST as u64 {
            places.taken.insert(number, Instant::now());
        }
        tokio::time::advance(STALE / 2).await;
        for number in 1..MOST as u64 {
            places.taken.insert(number, Instant::now());
        }
        assert!(places.make_room().is_err(), "all of them read");
        tokio::time::advance(STALE / 2).await;
        assert!(places.make_room().is_ok());
        assert!(places.taken.len() == MOST - 1 && !places.taken.contains_key(&0));
    }
}
