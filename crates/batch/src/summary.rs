//! What a run tells: updates while it goes, a summary at its end.

use tidegate_gemini::response::Usage;

use crate::control::StopReason;
use crate::record::Status;

/// Rows by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the input; `None` while a stream has not ended.
    pub total: Option<u64>,
    /// Rows whose record of an earlier run stands.
    pub kept: u64,
    /// Of those, rows without success.
    pub kept_failed: u64,
    /// Rows this run ended with success.
    pub ok: u64,
    /// ... with a text that was cut off.
    pub truncated: u64,
    /// ... blocked by the API.
    pub blocked: u64,
    /// ... without a text.
    pub empty: u64,
    /// ... with another failure.
    pub failed: u64,
    /// Lines that could not be read and were recorded as such.
    pub skipped: u64,
    /// Of the rows this run ended without success, those that the same command asks again by itself.
    pub retryable: u64,
    /// Rows whose answer needed no call of its own: it was kept from before, or shared with an equal row.
    pub reused: u64,
    /// Rows asked again because their content changed.
    pub changed: u64,
    /// Rows asked again because they failed before.
    pub retried: u64,
    /// Rows the output knew nothing of.
    pub new: u64,
    /// Records whose row is gone from the input.
    pub gone: u64,
    /// Rows seen in the input so far.
    pub seen: u64,
}

impl Counts {
    /// Rows that this run brought to an end.
    pub fn ended(&self) -> u64 {
        self.ok + self.unsuccessful()
    }

    /// Rows that this run brought to an end without success, `skipped` ones included.
    pub fn unsuccessful(&self) -> u64 {
        self.truncated + self.blocked + self.empty + self.failed + self.skipped
    }

    /// Rows without success that only [`Options::retry_failed`](crate::Options::retry_failed) asks again.
    pub fn permanent(&self) -> u64 {
        (self.truncated + self.blocked + self.empty + self.failed + self.kept_failed).saturating_sub(self.retryable)
    }

    /// Rows of the input (as far as it is known) that have no record yet.
    pub fn outstanding(&self) -> u64 {
        self.total.unwrap_or(self.seen).saturating_sub(self.kept + self.ended())
    }

    /// What resuming means, for example `3 changed, 2 new, 1 gone, 1994 kept`; `None` when the output was empty. Known
    /// from [`Update::Planned`] on.
    pub fn resumed(&self) -> Option<String> {
        let Counts { changed, retried, new, gone, kept, .. } = self;
        if changed + retried + gone + kept == 0 {
            return None;
        }
        let retried = if *retried > 0 { format!("{retried} to retry, ") } else { String::new() };
        Some(format!("{changed} changed, {retried}{new} new, {gone} gone, {kept} kept"))
    }

    pub(crate) fn count(&mut self, status: Status) {
        match status {
            Status::Ok => self.ok += 1,
            Status::Truncated => self.truncated += 1,
            Status::Blocked => self.blocked += 1,
            Status::Empty => self.empty += 1,
            Status::Failed => self.failed += 1,
            Status::Skipped => self.skipped += 1,
        }
    }
}

/// The account of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows by what became of them.
    pub counts: Counts,
    /// Rows of the input without a record: the same command again asks them.
    pub outstanding: u64,
    /// Tokens of the rows this run ended.
    pub usage: Usage,
    /// Why the run stopped before the end of its work, if it did.
    pub stopped: Option<StopReason>,
    /// What the caller should know: a torn line that was cut off, and the like.
    pub warnings: Vec<String>,
}

/// How a run ended; the process's exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every row asked for has a successful record.
    AllOk,
    /// The run is through, and some records are no success.
    SomeFailed,
    /// Work is left, saved, and can be resumed.
    Stopped(StopReason),
}

impl Summary {
    /// How the run ended.
    pub fn end(&self) -> End {
        match self.stopped {
            Some(reason) => End::Stopped(reason),
            None if self.counts.unsuccessful() + self.counts.kept_failed > 0 => End::SomeFailed,
            None => End::AllOk,
        }
    }

    /// What resuming meant, see [`Counts::resumed`].
    pub fn resumed(&self) -> Option<String> {
        self.counts.resumed()
    }
}

/// Something a display may want to know.
#[derive(Debug)]
pub enum Update<'a> {
    /// The first pass over the inputs has seen this many rows.
    Checking {
        /// Rows so far.
        rows: u64,
    },
    /// The first pass is over and calls begin.
    Planned(&'a Counts),
    /// Rows were handed to the engine.
    Admitted {
        /// Rows with the engine or waiting to be synced.
        in_flight: u64,
    },
    /// A row's record is on disk.
    Ended {
        /// The row.
        id: &'a str,
        /// What became of it.
        status: Status,
        /// All rows, this one included.
        counts: &'a Counts,
    },
    /// Something the user should know now.
    Warning(&'a str),
    /// No further row is admitted.
    Stopping(StopReason),
    /// All rows have ended; the output is being put in order or written in its final form.
    Finishing,
}

/// Sees the updates of a run. Called from the run's own thread: be quick, never block.
pub trait ProgressSink: Send + Sync {
    /// Called once an update.
    fn update(&self, update: Update<'_>);
}

/// A sink that looks away.
impl ProgressSink for () {
    fn update(&self, _update: Update<'_>) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_resume_line_names_changed_new_gone_and_kept() {
        let counts = Counts { changed: 3, new: 2, gone: 1, kept: 1994, ..Counts::default() };
        let summary = Summary { counts, ..Summary::default() };
        assert_eq!(summary.resumed().unwrap(), "3 changed, 2 new, 1 gone, 1994 kept");
        let counts = Counts { new: 2, ..Counts::default() };
        assert_eq!(Summary { counts, ..Summary::default() }.resumed(), None);
    }

    #[test]
    fn a_run_with_a_kept_failure_has_not_all_ok() {
        let counts = Counts { kept: 2, kept_failed: 1, ..Counts::default() };
        assert_eq!(Summary { counts, ..Summary::default() }.end(), End::SomeFailed);
        let stopped = Summary { stopped: Some(StopReason::NoKey), ..Summary::default() };
        assert_eq!(stopped.end(), End::Stopped(StopReason::NoKey));
        assert_eq!(Summary::default().end(), End::AllOk);
    }
}
