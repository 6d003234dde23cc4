//! A caller that stops waiting takes its prompt along.

use std::sync::Arc;

use tidegate_scheduler::JobId;

use crate::driver::Driver;
use crate::request::Trace;

/// Withdraws a prompt when dropped before its end.
pub(crate) struct Withdraw {
    driver: Arc<Driver>,
    job: Option<JobId>,
}

impl Withdraw {
    pub(crate) fn new(driver: Arc<Driver>, job: JobId) -> Withdraw {
        Withdraw { driver, job: Some(job) }
    }

    /// The prompt has come to its end: nothing is left to withdraw.
    pub(crate) fn ended(mut self) {
        self.job = None;
    }

    /// How its prompt came about so far, until it has ended.
    pub(crate) fn trace(&self) -> Option<Trace> {
        self.driver.state.lock().tickets.get(&self.job?).map(|ticket| ticket.trace.clone())
    }
}

impl Drop for Withdraw {
    fn drop(&mut self) {
        if let Some(job) = self.job {
            self.driver.withdraw(job);
        }
    }
}
