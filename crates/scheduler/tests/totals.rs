//! Servers that count the tokens of answers too: told, or found out.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use tidegate_scheduler::*;

mod common;
use common::*;

fn bench(tpm_counts: TpmCounts, tpm: u64) -> Bench {
    let quota = QuotaRules { window: WindowKind::Sliding, tpm_counts, ..QuotaRules::default() };
    let limits = Limits { tpm: Some(tpm), ..Limits::default() };
    Bench::new(&[(1, limits)], Settings { quota, ..Settings::default() })
}

fn submit(bench: &mut Bench, job: u64, input: u64, output: u32) -> Vec<u64> {
    let model = bench.model;
    let submission = Submission {
        job: JobId(job),
        model,
        tokens: input,
        least: input,
        spread: 0,
        output,
        priority: 0,
        party: 0,
        deadline: None,
    };
    let started = jobs(&bench.event(Event::Submitted(submission)));
    bench.now = bench.now + Duration::from_millis(100);
    started
}

fn done(input: u64, total: u64) -> Outcome {
    Outcome::Done { used: Some(Used { input, total }) }
}

fn refused(limit: Option<u64>) -> Outcome {
    Outcome::KeyLimited(Denied { dimension: Some(Dimension::Tpm), retry_after: Some(Duration::from_secs(20)), limit })
}

#[test]
fn where_totals_count_a_permit_weighs_both_and_settles_to_the_total() {
    let mut bench = bench(TpmCounts::Total, 1_000);
    assert_eq!(submit(&mut bench, 1, 100, 500), [1]);
    assert!(submit(&mut bench, 2, 100, 500).is_empty(), "100 + 500 twice is more than 1,000");
    assert_eq!(jobs(&bench.finish(1, done(100, 300))), [2]);
    let now = bench.now;
    assert_eq!(bench.scheduler.quotas(now)[0].used.1, 900);
}

#[test]
fn where_prompts_count_answers_weigh_nothing() {
    let mut bench = bench(TpmCounts::Input, 1_000);
    for job in 1..=9 {
        assert_eq!(submit(&mut bench, job, 100, 500), [job]);
        bench.finish(job, done(100, 5_000));
    }
    let now = bench.now;
    assert_eq!(bench.scheduler.quotas(now)[0].used.1, 900);
}

#[test]
fn an_answer_nobody_foretold_is_expected_to_be_as_long_as_those_before() {
    let mut bench = bench(TpmCounts::Total, 1_000);
    submit(&mut bench, 1, 100, 0);
    bench.finish(1, done(100, 500));
    assert_eq!(submit(&mut bench, 2, 100, 0), [2]);
    let now = bench.now;
    assert_eq!(bench.scheduler.quotas(now)[0].used.1, 500 + 500);
}

#[test]
fn no_expected_answer_makes_a_prompt_too_large() {
    let mut bench = bench(TpmCounts::Total, 1_000);
    assert_eq!(submit(&mut bench, 1, 900, 5_000), [1]);
}

/// Four prompts of 100 that were answered with 150 tokens each, then a refusal at 500 of 1,000 by our count.
fn until_refused(tpm_counts: TpmCounts, limit: Option<u64>, output: u64) -> (Bench, Vec<Action>) {
    let mut bench = bench(tpm_counts, 1_000);
    for job in 1..=4 {
        submit(&mut bench, job, 100, 0);
        bench.finish(job, done(100, 100 + output));
    }
    submit(&mut bench, 5, 100, 0);
    let actions = bench.finish(5, refused(limit));
    (bench, actions)
}

#[test]
fn a_refusal_that_only_totals_explain_turns_auto_to_total_and_is_reported() {
    let (bench, actions) = until_refused(TpmCounts::Auto, Some(1_000), 150);
    assert!(actions.iter().any(|action| matches!(action, Action::Learned { project: 0, .. })));
    assert!(bench.scheduler.counting(0, bench.model).counts_total);
    let now = bench.now;
    let mut scheduler = bench.scheduler;
    assert_eq!(scheduler.quotas(now)[0].used.1, 1_000);
}

#[test]
fn a_refusal_that_totals_do_not_explain_turns_nothing() {
    for (counts, output) in [(TpmCounts::Auto, 50), (TpmCounts::Auto, 0), (TpmCounts::Input, 150)] {
        let (bench, _) = until_refused(counts, Some(1_000), output);
        assert!(!bench.scheduler.counting(0, bench.model).counts_total, "{counts:?} {output}");
    }
    let (bench, _) = until_refused(TpmCounts::Auto, Some(540), 150);
    assert!(!bench.scheduler.counting(0, bench.model).counts_total, "500 of 540 prompts' tokens explain it themselves");
}

#[test]
fn what_was_found_out_is_remembered() {
    let (bench, _) = until_refused(TpmCounts::Auto, None, 150);
    let counting = Some(bench.scheduler.counting(0, bench.model));
    let mut again = self::bench(TpmCounts::Auto, 1_000);
    again.scheduler.restore(NOW, &Remembered { model: "gemini-3.8-flash".into(), counting, ..Remembered::default() });
    assert!(again.scheduler.counting(0, again.model).counts_total);
    let mut told = self::bench(TpmCounts::Input, 1_000);
    told.scheduler.restore(NOW, &Remembered { model: "gemini-3.8-flash".into(), counting, ..Remembered::default() });
    assert!(!told.scheduler.counting(0, told.model).counts_total, "the settings' word comes first");
}
