//! Names that somebody made up take no room for ever; those that an answer has proven stay.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use tidegate_scheduler::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);
/// As many names as exist at once, and as many of them as are kept without a prompt.
const MOST: u64 = 256;
const MOST_IDLE: usize = 64;

fn scheduler(projects: usize) -> Scheduler {
    let limits = vec![("*".into(), Limits { rpm: Some(1_000), ..Limits::default() })];
    Scheduler::new(vec![ProjectSpec { keys: 1, limits, account: None }; projects], Settings::default())
}

fn after(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

fn submit(scheduler: &mut Scheduler, now: Timestamp, job: u64, name: &str) -> Option<Vec<Action>> {
    let model = scheduler.admit(name)?;
    let (job, mut actions) = (JobId(job), Vec::new());
    let submission =
        Submission { job, model, tokens: 10, least: 10, spread: 0, output: 0, priority: 0, party: 0, deadline: None };
    scheduler.handle(now, Event::Submitted(submission), &mut actions);
    Some(actions)
}

fn finish(scheduler: &mut Scheduler, now: Timestamp, job: u64, outcome: Outcome) -> Vec<Arc<str>> {
    let mut actions = Vec::new();
    scheduler.handle(now, Event::Finished { job: JobId(job), outcome }, &mut actions);
    actions.into_iter().filter_map(|action| if let Action::Forgotten { model } = action { Some(model) } else { None }).collect()
}

fn not_found() -> Outcome {
    Outcome::TaskFailed(TaskFault { retry: false, used: None })
}

fn shown(scheduler: &mut Scheduler) -> Vec<String> {
    scheduler.quotas(after(100_000)).into_iter().map(|quota| quota.model.to_string()).collect()
}

#[test]
fn of_ten_thousand_made_up_names_a_few_are_left_and_each_that_goes_is_told() {
    let mut scheduler = scheduler(2);
    let mut told = Vec::new();
    for job in 0..10_000 {
        let started = submit(&mut scheduler, after(job), job, &format!("made-up-{job}")).unwrap();
        assert!(matches!(started[..], [Action::Start { .. }]), "{started:?}");
        told.extend(finish(&mut scheduler, after(job), job, not_found()));
    }
    assert_eq!(told.len(), 10_000 - MOST_IDLE);
    assert_eq!((&*told[0], &*told[9_935]), ("made-up-0", "made-up-9935"), "the longest idle go first");
    assert_eq!(shown(&mut scheduler).len(), 2 * MOST_IDLE);
    // Numbers are used again: no lane beyond those that were there at once.
    assert!(format!("{:?}", scheduler.admit("next").unwrap()).len() <= "ModelId(64)".len());
}

#[test]
fn what_an_answer_or_a_refusal_has_proven_stays_with_all_that_was_counted() {
    let mut scheduler = scheduler(1);
    let denied = Denied { retry_after: Some(Duration::from_secs(90_000)), ..Denied::default() };
    let blocked = TaskFault { retry: false, used: Some(Used::input(5)) };
    let proofs = [Outcome::Done { used: None }, Outcome::KeyLimited(denied), Outcome::TaskFailed(blocked)].into_iter().zip(0..);
    for (outcome, job) in proofs {
        submit(&mut scheduler, NOW, job, &format!("real-{job}")).unwrap();
        assert!(finish(&mut scheduler, NOW, job, outcome).is_empty());
    }
    submit(&mut scheduler, NOW, 3, "real-3").unwrap();
    scheduler.handle(NOW, Event::Answering(JobId(3)), &mut Vec::new());
    scheduler.handle(NOW, Event::CancelledMany(vec![JobId(1), JobId(3)]), &mut Vec::new());
    for job in 10..1_000 {
        submit(&mut scheduler, NOW, job, &format!("made-up-{job}")).unwrap();
        finish(&mut scheduler, NOW, job, not_found());
    }
    let quotas = scheduler.quotas(NOW);
    let real: Vec<_> = quotas.iter().filter(|quota| quota.model.starts_with("real")).map(|quota| quota.used.2).collect();
    assert_eq!(real, [1, 0, 1, 1]);
    assert!(quotas.iter().any(|quota| quota.held_until.is_some()));
}

#[test]
fn too_many_names_at_once_are_refused_until_one_is_answered() {
    let mut scheduler = scheduler(1);
    for job in 0..MOST {
        assert!(submit(&mut scheduler, NOW, job, &format!("made-up-{job}")).is_some());
    }
    assert!(submit(&mut scheduler, NOW, MOST, "one-more").is_none());
    assert!(submit(&mut scheduler, NOW, MOST, "made-up-7").is_some(), "a name that is asked already is no further one");
    finish(&mut scheduler, NOW, 0, Outcome::Done { used: None });
    assert!(submit(&mut scheduler, NOW, MOST + 1, "one-more").is_some());
    scheduler.handle(NOW, Event::Cancelled(JobId(1)), &mut Vec::new());
    assert!(submit(&mut scheduler, NOW, MOST + 2, "another").is_some(), "what nobody waits for makes room");
    assert!(!shown(&mut scheduler).contains(&"made-up-1".to_string()));
}

#[test]
fn a_number_that_is_used_again_brings_nothing_along() {
    let mut scheduler = scheduler(1);
    for job in 0..1_000 {
        submit(&mut scheduler, NOW, job, &format!("made-up-{job}")).unwrap();
        finish(&mut scheduler, NOW, job, not_found());
    }
    let started = submit(&mut scheduler, NOW, 5_000, "fresh").unwrap();
    assert!(matches!(started[..], [Action::Start { job: JobId(5_000), .. }]));
    let quotas = scheduler.quotas(NOW);
    let fresh: Vec<_> = quotas.iter().filter(|quota| &*quota.model == "fresh").collect();
    assert_eq!((fresh.len(), fresh[0].used.0, fresh[0].limits.rpm), (1, 1, Some(1_000)));
}

#[test]
fn names_of_the_settings_need_no_proof_and_projects_that_join_serve_what_comes_later() {
    let mut scheduler = scheduler(1);
    let limits = vec![("named".into(), Limits { rpm: Some(7), ..Limits::default() })];
    scheduler.join(vec![ProjectSpec { keys: 1, limits, account: None }], &[]);
    for job in 0..1_000 {
        let name = if job == 0 { "named".to_string() } else { format!("made-up-{job}") };
        submit(&mut scheduler, NOW, job, &name).unwrap();
        finish(&mut scheduler, NOW, job, not_found());
    }
    scheduler.join(vec![ProjectSpec { keys: 1, limits: vec![], account: None }], &[]);
    for job in 1_000..1_200 {
        submit(&mut scheduler, NOW, job, &format!("later-{job}")).unwrap();
    }
    let shown = shown(&mut scheduler);
    assert_eq!(shown.iter().filter(|name| *name == "named").count(), 3);
    assert_eq!(shown.iter().filter(|name| *name == "later-1199").count(), 3);
}

#[test]
fn a_day_of_made_up_names_that_is_remembered_takes_no_more_room() {
    let mut scheduler = scheduler(1);
    for n in 0..1_000 {
        let known = Remembered { model: format!("made-up-{n}"), today: 1, ..Remembered::default() };
        scheduler.restore(NOW, &known);
    }
    let learned = Limits { rpm: Some(5), ..Limits::default() };
    scheduler.restore(NOW, &Remembered { model: "made-up-999".into(), learned, ..Remembered::default() });
    assert_eq!(shown(&mut scheduler).len(), MOST_IDLE);
    for job in 0..100 {
        submit(&mut scheduler, NOW, job, &format!("other-{job}")).unwrap();
        finish(&mut scheduler, NOW, job, not_found());
    }
    assert!(shown(&mut scheduler).contains(&"made-up-999".to_string()), "a refusal had proven it");
}
