//! What a scheduler does whose permits come from a ledger: it asks, waits for the instant, uses, gives back.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use tidegate_scheduler::{
    Action, Ask, Deadline, Dimension, Event, Grant, JobId, Limits, ModelId, Outcome, Permit, ProjectSpec, QuotaId, Refusal,
    Scheduler, Settings, Sharing, Submission, Timestamp, Used, Verdict,
};

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

struct Sharer {
    scheduler: Scheduler,
    model: ModelId,
    now: Timestamp,
    last: u64,
}

impl Sharer {
    fn new(limits: Limits, alone: f64) -> Sharer {
        let spec = ProjectSpec { keys: 1, limits: vec![("*".into(), limits)], account: None };
        let mut scheduler = Scheduler::new(vec![spec], Settings::default());
        scheduler.share(Sharing { alone, ..Sharing::default() });
        let model = scheduler.model("m");
        Sharer { scheduler, model, now: NOW, last: 0 }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.scheduler.handle(self.now, event, &mut actions);
        actions
    }

    fn submit(&mut self, tokens: u64, deadline: Option<Deadline>) -> Vec<Action> {
        self.last += 1;
        let (job, model) = (JobId(self.last), self.model);
        let submission = Submission { job, model, tokens, least: tokens, spread: 0, output: 0, priority: 0, party: 0, deadline };
        self.handle(Event::Submitted(submission))
    }

    /// Answers a question: permits of these numbers and distances, for the first of its costs.
    fn grant(&mut self, (quota, ask): (QuotaId, Ask), permits: &[(u64, u64)], refused: Option<Refusal>) -> Vec<Action> {
        let permit = |(&(id, wait), cost): (&(u64, u64), &tidegate_scheduler::Cost)| {
            let at = self.now + ms(wait);
            Permit { id, at, latest: at + ms(250), tokens: cost.tokens }
        };
        let permits = permits.iter().zip(&ask.costs).map(permit).collect();
        let grant = Grant { number: ask.number, permits, refused, live: 1, ..Grant::default() };
        self.handle(Event::Granted { quota, grant: Box::new(grant) })
    }

    /// Lets time pass up to `until`, as its timer would.
    fn run(&mut self, until: Timestamp) -> Vec<(Timestamp, Action)> {
        let (mut all, mut steps) = (Vec::new(), 0);
        while let Some(at) = self.scheduler.next_wake().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            let actions = self.handle(Event::Woke);
            steps += 1;
            assert!(steps < 10_000, "it wakes over and over and nothing changes");
            all.extend(actions.into_iter().map(|action| (self.now, action)));
        }
        self.now = until;
        all
    }
}

fn asked(actions: &[Action]) -> Option<(QuotaId, Ask)> {
    actions.iter().find_map(|action| match action {
        Action::Reserve { quota, ask } => Some((*quota, ask.clone())),
        _ => None,
    })
}

fn started(actions: &[Action]) -> Vec<u64> {
    let job = |action: &Action| if let Action::Start { job, .. } = action { Some(job.0) } else { None };
    actions.iter().filter_map(job).collect()
}

fn released(actions: &[Action]) -> Vec<u64> {
    let ids = |action: &Action| if let Action::Release { permits, .. } = action { permits.clone() } else { Vec::new() };
    actions.iter().flat_map(ids).collect()
}

fn hundred() -> Limits {
    Limits { rpm: Some(100), ..Limits::default() }
}

#[test]
fn nothing_starts_without_a_permit_and_one_question_is_under_way_at_a_time() {
    let mut one = Sharer::new(hundred(), 0.0);
    let first = one.submit(10, None);
    assert!(started(&first).is_empty());
    let question = asked(&first).expect("a question");
    assert_eq!(question.1.costs.len(), 1);
    let second = one.submit(10, None);
    assert!(started(&second).is_empty() && asked(&second).is_none());
    let granted = one.grant(question, &[(7, 0)], None);
    assert_eq!(started(&granted), [1]);
    let question = asked(&granted).expect("the next question");
    assert_eq!(question.1.costs.len(), 1, "for the one that has no permit");
}

#[test]
fn where_every_slot_of_the_project_is_taken_it_asks_again_soon_and_not_at_once() {
    let mut one = Sharer::new(hundred(), 0.0);
    let (quota, ask) = asked(&one.submit(10, None)).unwrap();
    let grant = Grant { number: ask.number, busy: true, live: 2, ..Grant::default() };
    assert!(asked(&one.handle(Event::Granted { quota, grant: Box::new(grant) })).is_none());
    let again = one.run(NOW + ms(1_000));
    let [(at, Action::Reserve { .. })] = &again[..] else { panic!("one question: {again:?}") };
    assert!((ms(100)..=ms(300)).contains(&(*at - NOW)), "after {:?}", *at - NOW);
}

#[test]
fn a_permit_starts_at_its_instant_and_never_before() {
    let mut one = Sharer::new(hundred(), 0.0);
    let question = asked(&one.submit(10, None)).unwrap();
    assert!(started(&one.grant(question, &[(1, 1_500)], None)).is_empty());
    let starts: Vec<_> =
        one.run(NOW + ms(2_000)).into_iter().filter(|(_, action)| matches!(action, Action::Start { .. })).collect();
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0].0, NOW + ms(1_500));
}

#[test]
fn a_permit_too_late_goes_back_and_another_is_asked_for() {
    let mut one = Sharer::new(hundred(), 0.0);
    let question = asked(&one.submit(10, None)).unwrap();
    one.grant(question, &[(1, 100)], None);
    // Whoever drives it comes late by more than a permit lasts.
    one.now = NOW + ms(351);
    let late = one.handle(Event::Woke);
    assert!(started(&late).is_empty(), "{late:?}");
    assert_eq!(released(&late), [1]);
    assert!(asked(&late).is_some());
}

#[test]
fn what_nobody_waits_for_any_more_goes_back_at_once() {
    let mut one = Sharer::new(hundred(), 0.0);
    let question = asked(&one.submit(10, None)).unwrap();
    one.grant(question, &[(1, 1_000)], None);
    assert_eq!(released(&one.handle(Event::Cancelled(JobId(1)))), [1]);

    let question = asked(&one.submit(10, None)).unwrap();
    one.handle(Event::Cancelled(JobId(2)));
    assert_eq!(released(&one.grant(question, &[(2, 1_000)], None)), [2], "the answer comes after all");

    let question = asked(&one.submit(10, None)).unwrap();
    one.grant(question, &[(3, 1_000)], None);
    one.scheduler.close();
    assert_eq!(released(&one.handle(Event::Woke)), [3], "nothing is sent while it closes");
}

#[test]
fn what_a_permit_used_is_told_and_what_the_server_refused_is_given_back() {
    let mut one = Sharer::new(hundred(), 0.0);
    let question = asked(&one.submit(10, None)).unwrap();
    let quota = question.0;
    one.grant(question, &[(1, 0)], None);
    let done = Outcome::Done { used: Some(Used::input(12)) };
    let ended = one.handle(Event::Finished { job: JobId(1), outcome: done });
    assert!(ended.contains(&Action::Settle { quota, permit: 1, used: 12 }), "{ended:?}");

    let question = asked(&one.submit(10, None)).unwrap();
    one.grant(question, &[(2, 0)], None);
    let ended = one.handle(Event::Finished { job: JobId(2), outcome: Outcome::KeyLimited(Default::default()) });
    assert_eq!(released(&ended), [2]);
}

#[test]
fn a_refused_question_is_put_again_shortly_before_there_is_room() {
    let mut one = Sharer::new(hundred(), 0.0);
    let question = asked(&one.submit(10, None)).unwrap();
    let until = NOW + ms(30_000);
    one.grant(question, &[], Some(Refusal { dimension: Some(Dimension::Rpm), until }));
    let questions: Vec<_> = one.run(until).into_iter().filter(|(_, action)| matches!(action, Action::Reserve { .. })).collect();
    assert_eq!(questions.len(), 1, "{questions:?}");
    assert!(questions[0].0 < until && questions[0].0 + ms(1_000) > until, "{questions:?}");
}

#[test]
fn smaller_prompts_fill_the_room_that_a_large_one_does_not_fit_into() {
    let mut one = Sharer::new(Limits { tpm: Some(1_000), ..Limits::default() }, 0.0);
    let question = asked(&one.submit(600, None)).unwrap();
    one.submit(50, None);
    let refused = Refusal { dimension: Some(Dimension::Tpm), until: NOW + ms(20_000) };
    let filling = asked(&one.grant(question, &[], Some(refused))).expect("a question for the small one");
    assert_eq!(filling.1.costs.iter().map(|cost| cost.tokens).collect::<Vec<_>>(), [50]);
    assert_eq!(started(&one.grant(filling, &[(1, 0)], None)), [2]);
}

#[test]
fn without_the_ledger_permits_at_hand_are_used_and_then_nothing_or_the_part_that_is_allowed() {
    for (alone, sends) in [(0.0, 1), (0.5, 51)] {
        let mut one = Sharer::new(hundred(), alone);
        let question = asked(&one.submit(1, None)).unwrap();
        one.grant(question, &[(1, 500)], None);
        (0..200).for_each(|_| drop(one.submit(1, None)));
        one.handle(Event::Unreachable);
        let all = one.run(NOW + ms(50_000));
        let starts: usize = all.iter().map(|(_, action)| started(std::slice::from_ref(action)).len()).sum();
        assert!(starts <= sends && starts + 2 >= sends, "{starts} with a part of {alone}");
        assert!(all.iter().all(|(_, action)| !matches!(action, Action::Reserve { .. })), "nobody is asked");
        assert!(asked(&one.handle(Event::Reached)).is_some(), "the ledger is asked again");
    }
}

#[test]
fn who_does_not_wait_is_asked_for_all_the_same() {
    let mut one = Sharer::new(hundred(), 0.0);
    let question = asked(&one.submit(10, Some(Deadline::Start(NOW)))).expect("a question");
    assert_eq!(started(&one.grant(question, &[(1, 0)], None)), [1]);
    one.submit(10, Some(Deadline::Start(NOW)));
    let ended = one.run(NOW + ms(2_000));
    let verdict = Action::Complete { job: JobId(2), verdict: Verdict::Deadline };
    assert!(ended.iter().any(|(_, action)| *action == verdict), "{ended:?}");
}

#[test]
fn a_forecast_is_no_earlier_than_the_ledger_allows() {
    let mut one = Sharer::new(hundred(), 0.0);
    let question = asked(&one.submit(10, None)).unwrap();
    one.submit(10, None);
    let until = NOW + ms(30_000);
    one.grant(question, &[], Some(Refusal { dimension: Some(Dimension::Rpm), until }));
    let told = one.scheduler.forecast(one.now, JobId(2)).unwrap();
    assert!(told >= until, "{told:?}");
    let model = one.model;
    assert!(one.scheduler.due(one.now, model, 10, 0, None).unwrap() >= until);
}
