//! Equal requests in flight are asked once: who comes second waits for the answer of the first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::hash::Hash;

use parking_lot::Mutex;
use tokio::sync::watch;

/// What is being asked at the moment, by what it is known by.
#[derive(Debug)]
pub(crate) struct InFlight<K, T> {
    asked: Mutex<HashMap<K, watch::Receiver<Option<T>>>>,
}

impl<K, T> Default for InFlight<K, T> {
    fn default() -> InFlight<K, T> {
        InFlight { asked: Mutex::default() }
    }
}

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Asked for this caller.
    Own,
    /// Asked for another, who was first.
    Shared,
}

impl<K: Clone + Eq + Hash, T: Clone> InFlight<K, T> {
    /// Asks, or waits for the one who asks the same already. When that one is dropped before its end, the next takes over.
    pub(crate) async fn ask(&self, key: K, ask: impl Future<Output = T>) -> (T, Origin) {
        loop {
            let (found, sender) = self.find(&key);
            let Some(sender) = sender else {
                if let Some(answer) = told(found).await {
                    return (answer, Origin::Shared);
                }
                continue;
            };
            // Whatever ends this future also ends the entry, so that nobody waits for an answer that never comes.
            let _entry = Remove { of: self, key };
            let answer = ask.await;
            let _ = sender.send(Some(answer.clone()));
            return (answer, Origin::Own);
        }
    }

    fn find(&self, key: &K) -> (watch::Receiver<Option<T>>, Option<watch::Sender<Option<T>>>) {
        match self.asked.lock().entry(key.clone()) {
            Entry::Occupied(found) => (found.get().clone(), None),
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(None);
                place.insert(receiver.clone());
                (receiver, Some(sender))
            }
        }
    }
}

/// The answer of the first; `None` when it was dropped.
async fn told<T: Clone>(mut found: watch::Receiver<Option<T>>) -> Option<T> {
    let answer = found.wait_for(Option::is_some).await.ok()?;
    answer.clone()
}

struct Remove<'a, K: Eq + Hash, T> {
    of: &'a InFlight<K, T>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Remove<'_, K, T> {
    fn drop(&mut self) {
        self.of.asked.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    async fn answer(asked: &AtomicU32) -> u32 {
        let nth = asked.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
        nth
    }

    #[tokio::test(start_paused = true)]
    async fn equal_requests_at_the_same_time_are_asked_once_and_later_ones_again() {
        let (in_flight, asked) = (InFlight::default(), AtomicU32::new(0));
        let ask = |key: &'static str| in_flight.ask(key, answer(&asked));
        let (one, two, other) = tokio::join!(ask("q"), ask("q"), ask("r"));
        assert_eq!((one, two, other), ((1, Origin::Own), (1, Origin::Shared), (2, Origin::Own)));
        assert_eq!(ask("q").await, (3, Origin::Own));
        assert!(in_flight.asked.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_first_is_dropped_the_next_asks() {
        let (in_flight, asked) = (InFlight::default(), AtomicU32::new(0));
        let first = tokio::time::timeout(Duration::from_millis(500), in_flight.ask("q", answer(&asked)));
        let (first, second) = tokio::join!(first, in_flight.ask("q", answer(&asked)));
        assert!(first.is_err());
        assert_eq!(second, (2, Origin::Own));
    }
}
