//! Prompts that share a call: they leave together, and what befalls their call is one event.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;

use common::{Bench, ended, jobs, rpm, settings};
use tidegate_scheduler::*;

fn bench(limits: Limits, retry: Retry) -> Bench {
    let mut bench = Bench::new(&[(1, limits)], Settings { retry, ..settings(Pacing::default()) });
    bench.scheduler.travel_together(bench.model, 100);
    bench
}

#[test]
fn as_many_as_share_a_call_leave_at_the_same_moment_and_no_more_than_the_limit() {
    let mut bench = bench(rpm(100), Retry::default());
    let started: usize = (0..250).map(|job| jobs(&bench.submit(job, 1, 0)).len()).sum();
    assert_eq!(started, 100);
    assert_eq!(jobs(&bench.wake()).len(), 100, "the whole window comes back at once");
}

#[test]
fn a_fault_of_one_call_is_one_fault_and_its_prompts_go_again_together() {
    let mut bench = bench(rpm(1_000), Retry::default());
    for job in 0..100 {
        bench.submit(job, 1, 0);
    }
    let mut again = BTreeSet::new();
    for job in 0..100 {
        for action in bench.finish(job, Outcome::Transient { retry_after: None }) {
            let Action::Retry { until, .. } = action else { panic!("{action:?}") };
            again.insert(until);
        }
    }
    assert_eq!(again.len(), 1, "one pause for all");
    // The breaker, which trips at five faults, has seen one.
    assert_eq!(jobs(&bench.wake()).len(), 100);
}

#[test]
fn who_was_refused_in_company_is_not_judged_whatever_the_bounds() {
    let mut bench = bench(rpm(1_000), Retry { max_task_attempts: 1, max_attempts: 1, ..Retry::default() });
    bench.submit(1, 1, 0);
    for _ in 0..2 {
        assert_eq!(jobs(&bench.finish(1, Outcome::FailedInCompany)), [1]);
    }
    let alone = Outcome::TaskFailed(TaskFault { retry: false, used: None });
    assert_eq!(ended(&bench.finish(1, alone)), [(1, Verdict::TaskFailed)]);
}
