//! The gate before every call: so many at once, so far apart, and a pause for all when the API asks for one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::settings::Settings;

/// A gate that any number of fillings may share; its bounds can be changed while they run.
#[derive(Debug)]
pub struct Throttle {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    most: usize,
    apart: Duration,
    under_way: usize,
    last_start: Option<Instant>,
    paused_until: Option<Instant>,
}

/// The right to one call; dropped, it is given back.
#[derive(Debug)]
pub struct Permit<'a>(&'a Throttle);

impl Throttle {
    /// A gate of these settings.
    pub fn new(settings: &Settings) -> Throttle {
        let state = State {
            most: settings.max_concurrent_api_calls.max(1),
            apart: settings.min_delay_between_calls,
            under_way: 0,
            last_start: None,
            paused_until: None,
        };
        Throttle { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Other bounds from now on; what is under way is not touched.
    pub fn configure(&self, max_concurrent_api_calls: usize, min_delay_between_calls: Duration) {
        let mut state = self.state.lock();
        state.most = max_concurrent_api_calls.max(1);
        state.apart = min_delay_between_calls;
        drop(state);
        self.changed.notify_waiters();
    }

    /// So many calls may be under way.
    pub fn most(&self) -> usize {
        self.state.lock().most
    }

    /// Nobody starts for so long; a longer pause that is on already stands.
    pub fn pause(&self, span: Duration) {
        let mut state = self.state.lock();
        let until = Instant::now() + span;
        state.paused_until = Some(state.paused_until.map_or(until, |before| before.max(until)));
    }

    /// Waits for the right to start a call.
    pub async fn enter(&self) -> Permit<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listening before looking, or a change in between would be missed.
            changed.as_mut().enable();
            match self.try_enter() {
                Ok(()) => return Permit(self),
                Err(None) => changed.await,
                Err(Some(then)) => {
                    tokio::select! {
                        () = sleep_until(then) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    /// Takes the right, or says when to look again: at an instant, or when something changes.
    fn try_enter(&self) -> Result<(), Option<Instant>> {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.under_way >= state.most {
            return Err(None);
        }
        let earliest = state.last_start.map(|last| last + state.apart).max(state.paused_until);
        if let Some(then) = earliest.filter(|then| *then > now) {
            return Err(Some(then));
        }
        state.under_way += 1;
        state.last_start = Some(now);
        Ok(())
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.state.lock().under_way -= 1;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;

    use super::*;
    use crate::settings::Profile;

    /// Seconds, in tenths, at which each of some calls of a length starts.
    async fn starts(throttle: Arc<Throttle>, calls: usize, takes: Duration) -> Vec<u128> {
        let begun = Instant::now();
        let call = |throttle: Arc<Throttle>| async move {
            let _permit = throttle.enter().await;
            let start = begun.elapsed().as_millis() / 100;
            tokio::time::sleep(takes).await;
            start
        };
        let mut starts = join_all((0..calls).map(|_| call(throttle.clone()))).await;
        starts.sort_unstable();
        starts
    }

    fn balanced() -> Arc<Throttle> {
        Arc::new(Throttle::new(&Profile::Balanced.settings()))
    }

    #[tokio::test(start_paused = true)]
    async fn starts_are_a_second_apart_however_short_the_calls() {
        assert_eq!(starts(balanced(), 4, Duration::from_millis(100)).await, [0, 10, 20, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_two_long_calls_are_under_way() {
        assert_eq!(starts(balanced(), 4, Duration::from_secs(5)).await, [0, 10, 50, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone() {
        let throttle = balanced();
        throttle.pause(Duration::from_secs(30));
        throttle.pause(Duration::from_secs(3));
        assert_eq!(starts(throttle, 2, Duration::from_secs(1)).await, [300, 310]);
    }

    #[tokio::test(start_paused = true)]
    async fn other_bounds_count_at_once() {
        let throttle = Arc::new(Throttle::new(&Profile::Conservative.settings()));
        let other = throttle.clone();
        let change = async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            other.configure(4, Duration::ZERO);
        };
        let (starts, ()) = tokio::join!(starts(throttle, 4, Duration::from_secs(20)), change);
        assert_eq!(starts, [0, 10, 10, 10]);
    }
}
