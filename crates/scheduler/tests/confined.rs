//! Prompts that only one project can serve.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bench, ended, jobs, started};
use tidegate_scheduler::*;

fn limits(rpm: u64) -> Limits {
    Limits { rpm: Some(rpm), ..Limits::default() }
}

fn submit_to(bench: &mut Bench, project: u32, job: u64) -> Vec<Action> {
    let (job, model) = (JobId(job), bench.model);
    let submission = Submission { job, model, tokens: 1, least: 1, spread: 0, output: 0, priority: 0, party: 0, deadline: None };
    bench.event(Event::SubmittedTo { project, submission })
}

fn done() -> Outcome {
    Outcome::Done { used: None }
}

fn dead() -> Outcome {
    Outcome::KeyRejected(KeyFault { reason: "API_KEY_INVALID".into(), scope: Scope::Key })
}

#[test]
fn a_prompt_goes_to_its_own_project_however_free_the_others_are() {
    let mut bench = Bench::new(&[(1, Limits::default()); 3], Settings::default());
    for job in 0..9 {
        let project = (job % 3) as u32;
        assert_eq!(started(&submit_to(&mut bench, project, job)), [(job, project)]);
    }
}

#[test]
fn it_waits_for_its_project_while_others_pass_it() {
    let mut bench = Bench::new(&[(1, limits(1)), (1, Limits::default())], Settings::default());
    assert_eq!(jobs(&submit_to(&mut bench, 0, 0)), [0]);
    bench.finish(0, done());
    // More of them than a bucket looks at: who can go elsewhere must not wait behind them.
    for job in 1..=100 {
        assert_eq!(jobs(&submit_to(&mut bench, 0, job)), [0_u64; 0]);
    }
    assert_eq!(started(&bench.submit(101, 1, 0)), [(101, 1)]);
    assert_eq!(started(&submit_to(&mut bench, 1, 102)), [(102, 1)]);
    assert_eq!(started(&bench.wake()), [(1, 0)]);
    assert!(bench.after() >= std::time::Duration::from_secs(60));
}

#[test]
fn it_ends_when_its_project_has_no_key_left_and_the_others_go_on() {
    let mut bench = Bench::new(&[(1, limits(1)), (1, Limits::default())], Settings::default());
    submit_to(&mut bench, 0, 0);
    submit_to(&mut bench, 0, 1);
    let actions = bench.finish(0, dead());
    assert_eq!(ended(&actions), [(1, Verdict::NoKey), (0, Verdict::NoKey)]);
    assert_eq!(ended(&submit_to(&mut bench, 0, 2)), [(2, Verdict::NoKey)]);
    assert_eq!(ended(&submit_to(&mut bench, 7, 3)), [(3, Verdict::NoKey)]);
    assert_eq!(started(&bench.submit(4, 1, 0)), [(4, 1)]);
}

#[test]
fn one_that_comes_into_the_queue_wakes_its_project_behind_a_hundred_of_another() {
    let mut bench = Bench::new(&[(1, limits(1)), (1, limits(1))], Settings::default());
    submit_to(&mut bench, 0, 0);
    bench.finish(0, done());
    (1..=100).for_each(|job| drop(submit_to(&mut bench, 0, job)));
    assert_eq!(started(&submit_to(&mut bench, 1, 200)), [(200, 1)]);
    bench.finish(200, done());
    submit_to(&mut bench, 1, 201);
    bench.submit(202, 1, 0);
    let mut after = Vec::new();
    while after.len() < 4 {
        for (job, project) in started(&bench.wake()) {
            bench.finish(job, done());
            after.push((job, project));
        }
    }
    assert!(after.contains(&(201, 1)) && after.contains(&(202, 1)), "{after:?}");
}
