//! What became of a request's waiting, told in headers of its answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tidegate_engine::Trace;
use tidegate_engine::scheduler::Timestamp;

/// The instant of the permit, as it was computed when the request came.
pub const ETA: &str = "x-tidegate-eta";
/// Milliseconds from the request's joining the queue to its start.
pub const WAITED: &str = "x-tidegate-waited";

/// What is known so far; of several prompts in one request, of the last to start.
#[derive(Debug, Default)]
pub struct Story {
    due: AtomicU64,
    /// One more than the milliseconds, so that nothing known is zero.
    waited: AtomicU64,
}

impl Story {
    /// A permit is expected then.
    pub fn expect(&self, due: Timestamp) {
        self.due.fetch_max(due.as_micros(), Ordering::Relaxed);
    }

    /// A prompt came to its end, or its answer began; before it joined the queue it had waited for `before`.
    pub fn note(&self, trace: &Trace, before: Duration) {
        if let Some(due) = trace.due {
            self.expect(due);
        }
        if trace.attempts > 0 {
            let millis = u64::try_from((before + trace.queued).as_millis()).unwrap_or(u64::MAX - 1);
            self.waited.fetch_max(millis + 1, Ordering::Relaxed);
        }
    }

    /// Puts what is known into the head of an answer.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let due = Some(self.due.load(Ordering::Relaxed)).filter(|due| *due > 0).and_then(shown);
        if let Some(due) = due {
            headers.insert(ETA, due);
        }
        if let Some(millis) = self.waited.load(Ordering::Relaxed).checked_sub(1) {
            headers.insert(WAITED, HeaderValue::from(millis));
        }
    }
}

/// An instant as RFC 3339 has it, to the millisecond, never earlier than it is.
fn shown(micros: u64) -> Option<HeaderValue> {
    let millis = i64::try_from(micros.div_ceil(1_000)).ok()?;
    let instant = jiff::Timestamp::from_millisecond(millis).ok()?;
    HeaderValue::from_str(&format!("{instant:.3}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_all_is_told_to_the_millisecond() {
        let (story, mut headers) = (Story::default(), HeaderMap::new());
        story.tell(&mut headers);
        assert!(headers.is_empty());
        let trace = |due, queued| Trace { due, attempts: 1, queued: Duration::from_millis(queued), ..Trace::default() };
        story.note(&trace(Some(Timestamp::from_micros(1_795_000_000_000_100)), 7), Duration::from_millis(1));
        story.note(&trace(None, 0), Duration::ZERO);
        story.tell(&mut headers);
        assert_eq!(
            (&headers[ETA], &headers[WAITED]),
            (&HeaderValue::from_static("2026-11-18T11:06:40.001Z"), &HeaderValue::from(8))
        );
    }
}
