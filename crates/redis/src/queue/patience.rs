//! Waiting for a Redis that is away: again and again, sooner at first, and never in step with others.

use std::time::Duration;

use super::Queue;
use crate::connection::CallError;

/// The first wait.
const FIRST: Duration = Duration::from_millis(20);
/// The longest wait: work goes on that soon after Redis is back.
const LONGEST: Duration = Duration::from_millis(500);

/// How long one has waited so far.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
}

impl Patience {
    /// Waits a little longer than before, up to half a second.
    pub(crate) async fn wait(&mut self) {
        let most = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        tokio::time::sleep(most.mul_f64(rand::random_range(0.5..1.0))).await;
    }

    fn is_first(&self) -> bool {
        self.failures == 0
    }
}

impl Queue {
    /// Asks until Redis answers. One line is logged when it begins to fail and one when it is over. A group that is gone is
    /// made anew.
    pub async fn patiently<T, F>(&self, what: &str, mut ask: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut patience = Patience::default();
        loop {
            match ask().await {
                Ok(answer) => {
                    if !patience.is_first() {
                        tracing::info!("queue {}: {what} goes on", self.name);
                    }
                    return answer;
                }
                Err(error) => {
                    if patience.is_first() {
                        tracing::warn!("{error}; {what} waits for it");
                    }
                    if is_no_group(&error) {
                        let _ = self.open().await;
                    }
                    patience.wait().await;
                }
            }
        }
    }
}

/// True when the group of the workers is not there: Redis came back empty.
fn is_no_group(error: &CallError) -> bool {
    matches!(error, CallError::Refused { reason, .. } if reason.contains("NOGROUP"))
}
