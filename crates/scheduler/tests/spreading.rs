//! How a window's worth is spread: thin enough for stalls, never at the cost of a short job.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

/// Hands in `prompts`, answers each at once, and returns when the last one went out.
fn last_start(bench: &mut Bench, prompts: u64) -> Duration {
    let mut open: Vec<u64> = (1..=prompts).flat_map(|job| jobs(&bench.submit(job, 1, 0))).collect();
    let mut left = prompts;
    loop {
        while let Some(job) = open.pop() {
            left -= 1;
            open.extend(jobs(&bench.finish(job, DONE)));
        }
        if left == 0 {
            return bench.after();
        }
        open.extend(jobs(&bench.wake()));
    }
}

#[test]
fn a_short_job_over_several_projects_waits_for_windows_only() {
    let mut bench = Bench::new(&[(1, rpm(10)); 5], settings(Pacing::default()));
    let last = last_start(&mut bench, 150);
    assert!(last <= Duration::from_millis(121_500), "{last:?}");
}

#[test]
fn a_whole_window_is_out_within_a_tenth_of_a_minute() {
    for limit in [60, 300, 1_000, 6_000] {
        let mut bench = Bench::new(&[(1, rpm(limit))], settings(Pacing { max_concurrency: 1_000_000, ..Pacing::default() }));
        let last = last_start(&mut bench, limit - limit / 1_000);
        assert!(last <= Duration::from_secs(6), "{limit}: {last:?}");
    }
}

#[test]
fn the_share_kept_for_stalls_is_one_in_a_thousand() {
    for (prompts, within_a_window) in [(1_998, true), (1_999, false)] {
        let mut bench = Bench::new(&[(1, rpm(2_000))], settings(Pacing::default()));
        let last = last_start(&mut bench, prompts);
        assert_eq!(last < Duration::from_secs(60), within_a_window, "{prompts}: {last:?}");
    }
}

#[test]
fn an_unknown_limit_is_felt_out_by_answers_that_begin_and_not_only_by_those_that_ended() {
    let mut bench = Bench::new(&[(1, Limits::default())], settings(Pacing::default()));
    let begun: Vec<u64> = (1..=20).flat_map(|job| jobs(&bench.submit(job, 1, 0))).collect();
    assert_eq!(begun.len(), 4);
    let next: Vec<u64> = begun.iter().flat_map(|&job| jobs(&bench.event(Event::Answering(JobId(job))))).collect();
    assert_eq!(next.len(), 4, "one more for each that is being answered: {next:?}");
}
