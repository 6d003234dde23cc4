//! The handle by which a run is stopped from outside: first gently, then at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Stops a run. Clones steer the same run.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

/// Why a run stopped with work left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// The day's quota is used up and the caller chose not to wait.
    Exhausted,
    /// [`Options::deadline`](crate::Options::deadline) passed.
    Deadline,
    /// [`Options::max_tokens`](crate::Options::max_tokens) is spent.
    Budget,
    /// [`Options::max_cost`](crate::Options::max_cost) is spent.
    Cost,
    /// More rows failed than [`Options::fail_on_error`](crate::Options::fail_on_error) allows.
    TooManyErrors,
    /// No key is left that could serve anything.
    NoKey,
    /// The API cannot be reached at all.
    Unreachable,
}

impl StopReason {
    /// A stable word for logs and machine-readable summaries.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::Interrupted => "interrupted",
            StopReason::Terminated => "terminated",
            StopReason::Exhausted => "quota_exhausted",
            StopReason::Deadline => "deadline",
            StopReason::Budget => "budget",
            StopReason::Cost => "cost",
            StopReason::TooManyErrors => "too_many_errors",
            StopReason::NoKey => "no_key",
            StopReason::Unreachable => "unreachable",
        }
    }
}

/// A wish to stop: no further row is admitted, and what is in flight has `grace` to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) reason: StopReason,
    pub(crate) grace: Duration,
}

#[derive(Debug)]
struct Inner {
    stop: watch::Sender<Option<Stop>>,
    cancel: CancellationToken,
}

impl Control {
    /// A control nobody has touched yet.
    pub fn new() -> Control {
        Control(Arc::new(Inner { stop: watch::Sender::new(None), cancel: CancellationToken::new() }))
    }

    /// Admits nothing more and lets what is in flight end for at most `grace`.
    ///
    /// The first reason stands; a later call can only shorten the grace.
    pub fn stop(&self, reason: StopReason, grace: Duration) {
        self.0.stop.send_modify(|stop| match stop {
            None => *stop = Some(Stop { reason, grace }),
            Some(earlier) => earlier.grace = earlier.grace.min(grace),
        });
    }

    /// Drops what is in flight now; answers that have come are still written and synced.
    pub fn cancel(&self, reason: StopReason) {
        self.stop(reason, Duration::ZERO);
        self.0.cancel.cancel();
    }

    /// The reason of the first [`stop`](Control::stop) or [`cancel`](Control::cancel), if there was one.
    pub fn reason(&self) -> Option<StopReason> {
        self.0.stop.borrow().map(|stop| stop.reason)
    }

    /// Comes back when nothing more is to be admitted, with the time that what is in flight has.
    pub async fn stopped(&self) -> Duration {
        match self.stops().wait_for(Option::is_some).await.map(|stop| stop.map(|stop| stop.grace)) {
            Ok(grace) => grace.unwrap_or_default(),
            // The sender lives as long as this control does.
            Err(_) => std::future::pending().await,
        }
    }

    /// Comes back when what is in flight is to be dropped: at once after [`cancel`](Control::cancel), else when the grace of
    /// a [`stop`](Control::stop) is over.
    pub async fn ended(&self) {
        let mut stops = self.stops();
        loop {
            let grace = stops.borrow_and_update().map(|stop| stop.grace);
            let over = async {
                match grace {
                    Some(grace) => tokio::time::sleep(grace).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.cancelled() => return,
                () = over => return,
                // The sender lives as long as this control does.
                _ = stops.changed() => {}
            }
        }
    }

    pub(crate) fn stops(&self) -> watch::Receiver<Option<Stop>> {
        let mut stops = self.0.stop.subscribe();
        stops.mark_changed();
        stops
    }

    pub(crate) async fn cancelled(&self) {
        self.0.cancel.cancelled().await;
    }
}

impl Default for Control {
    fn default() -> Control {
        Control::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_ends_with_the_grace_or_at_once_when_cancelled() {
        let begun = tokio::time::Instant::now();
        let control = Control::new();
        control.stop(StopReason::Interrupted, Duration::from_secs(10));
        control.ended().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        let control = Control::new();
        let waiting = tokio::spawn({
            let control = control.clone();
            async move { control.ended().await }
        });
        control.stop(StopReason::Interrupted, Duration::from_secs(10));
        control.cancel(StopReason::Interrupted);
        waiting.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    #[test]
    fn the_first_reason_stands_and_the_shortest_grace_wins() {
        let control = Control::new();
        assert_eq!(control.reason(), None);
        control.stop(StopReason::Interrupted, Duration::from_secs(10));
        control.stop(StopReason::Terminated, Duration::from_secs(3));
        control.stop(StopReason::Deadline, Duration::from_secs(60));
        assert_eq!(control.reason(), Some(StopReason::Interrupted));
        assert_eq!(*control.stops().borrow(), Some(Stop { reason: StopReason::Interrupted, grace: Duration::from_secs(3) }));
    }
}
