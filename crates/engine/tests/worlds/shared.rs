//! What holds when several processes share their quotas.

use std::time::Duration;

use tidegate_scheduler::Limits;

use crate::together::{Node, Report, Setting, Together};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn run(setting: Setting, nodes: Vec<Node>) -> Report {
    let report = Together::new(setting, nodes, |_| 10).run();
    let sent: Vec<usize> = report.sent.iter().map(Vec::len).collect();
    println!(
        "used {:.4} worst {:.4} refused {} jain {:.5} reserves {} flushes {} granted {} released {} calls/grant {:.4} sent {sent:?}",
        report.used,
        report.worst,
        report.refused,
        report.jain(),
        report.reserves,
        report.flushes,
        report.granted,
        report.released,
        report.calls_per_grant(),
    );
    report
}

#[test]
fn eight_processes_use_three_projects_up_evenly_with_few_calls_and_without_a_refusal() {
    let report = run(Setting::default(), vec![Node::default(); 8]);
    assert_eq!(report.refused, 0);
    assert!(report.worst <= 1.0, "{}", report.worst);
    assert!(report.used >= 0.99, "{}", report.used);
    assert!(report.jain() >= 0.99, "{}", report.jain());
    assert!(report.calls_per_grant() <= 0.1, "{}", report.calls_per_grant());
}

#[test]
fn a_process_alone_uses_everything() {
    let report = run(
        Setting { projects: vec![Limits { rpm: Some(1_000), ..Limits::default() }], ..Setting::default() },
        vec![Node::default()],
    );
    assert_eq!(report.refused, 0);
    assert!(report.used >= 0.99, "{}", report.used);
}

#[test]
fn small_limits_are_used_up_too() {
    let setting =
        Setting { projects: vec![Limits { rpm: Some(10), ..Limits::default() }], span: secs(3_600), ..Setting::default() };
    let report = run(setting, vec![Node::default(); 8]);
    assert_eq!(report.refused, 0);
    assert!(report.used >= 0.985, "{}", report.used);
    assert!(report.jain() >= 0.95, "{}", report.jain());
}

fn one(limits: Limits) -> Vec<Limits> {
    vec![limits]
}

fn rpm(rpm: u64) -> Limits {
    Limits { rpm: Some(rpm), ..Limits::default() }
}

/// Row 10: what a dead process holds is lost once, no more.
#[test]
fn a_process_that_dies_with_permits_costs_no_more_than_a_horizon() {
    let mut nodes = vec![Node::default(); 8];
    nodes[0].dies = Some(secs(100));
    let report = run(Setting::default(), nodes);
    assert_eq!(report.refused, 0);
    assert!(report.used >= 0.985, "{}", report.used);
    let late: usize = (1..8).map(|node| report.between(node, 300.0, 600.0)).sum();
    assert!(late as f64 >= 0.99 * 300.0 * 100.0, "the others use all of it again: {late}");
}

/// Row 11: permits of prompts that nobody waits for any more come back at once.
#[test]
fn a_storm_of_cancels_gives_every_permit_back() {
    let mut nodes = vec![Node { backlog: 1_000, ..Node::default() }; 4];
    nodes[0].cancels = Some(secs(61));
    nodes[1].cancels = Some(secs(61));
    let report = run(Setting { projects: one(rpm(6_000)), span: secs(300), ..Setting::default() }, nodes);
    assert_eq!((report.refused, report.between(0, 61.1, 300.0)), (0, 0));
    assert!(report.used >= 0.99, "{}", report.used);
}

/// Row 12: what one process is refused, none sends in that time; the others' projects are untouched.
#[test]
fn a_refusal_of_one_process_stops_all_of_that_project_and_no_other() {
    let told = Limits { rpm: Some(1_000), ..Limits::default() };
    let setting = Setting { projects: vec![rpm(600), rpm(1_000)], told: Some(told), ..Setting::default() };
    let report = run(setting, vec![Node::default(); 8]);
    let first = report.refusals_at[0];
    let last = report.refusals_at.iter().copied().fold(0.0, f64::max);
    assert!(last < first + 3.0 * 61.0, "refusals from {first} to {last}: {} in all", report.refused);
    let sent = |project: usize, from: f64, to: f64| {
        let sends = report.sent_to.iter().flatten();
        sends.filter(|&&(at, to_project)| to_project == project && from <= at && at < to).count()
    };
    // The answer's way, the way through the ledger, and then a pause of at least a second.
    let (from, to) = (first + 0.1, first + 1.0);
    assert_eq!(sent(0, from, to), 0, "sent into the pause");
    assert!(sent(1, first, first + 130.0) > 1_000, "the other project goes on");
}

/// Row 18: who may wait never holds up who may not, and never starves.
#[test]
fn a_prompt_of_high_priority_waits_a_horizon_at_most_and_low_ones_keep_a_twentieth() {
    let low = Node { priority: -1, ..Node::default() };
    let rare = Node { priority: 10, backlog: 1, every: Some(secs(2)), works: (secs(130), secs(600)), ..Node::default() };
    let report = run(Setting { projects: one(rpm(1_200)), ..Setting::default() }, vec![low.clone(), low.clone(), rare]);
    assert_eq!(report.refused, 0);
    let longest = report.waited[2].iter().copied().fold(0.0, f64::max);
    assert!(longest <= 3.2, "waited {longest}");

    let greedy = Node { priority: 10, works: (secs(130), secs(900)), ..Node::default() };
    let setting = Setting { projects: one(rpm(1_200)), span: secs(900), ..Setting::default() };
    let report = run(setting, vec![low, greedy]);
    assert_eq!(report.refused, 0);
    let (kept, all) = (report.between(0, 300.0, 900.0) as f64, report.between(1, 300.0, 900.0) as f64);
    assert!(kept / (kept + all) >= 0.045, "low ones got {kept} beside {all}");
    assert!(kept / (kept + all) <= 0.12, "low ones got {kept} beside {all}");
}

/// Row 19: without the ledger a batch sends what it holds and nothing more; a gateway keeps to its part, and neither bursts after.
#[test]
fn five_minutes_without_the_ledger_send_nothing_or_the_part_that_is_allowed_and_no_burst_follows() {
    let cut = Some((secs(200), secs(500)));
    let batch = Node { cut, ..Node::default() };
    let setting = Setting { projects: one(rpm(1_200)), span: secs(900), ..Setting::default() };
    let report = run(setting.clone(), vec![batch; 4]);
    assert_eq!(report.refused, 0);
    let blind: usize = (0..4).map(|node| report.between(node, 203.6, 500.0)).sum();
    assert_eq!(blind, 0, "sent without a permit");
    let after: usize = (0..4).map(|node| report.between(node, 500.0, 560.4)).sum();
    assert!((1_100..=1_200).contains(&after), "{after} in the minute after");

    let gateway = Node { cut, alone: 0.5, ..Node::default() };
    let report = run(setting, vec![gateway; 4]);
    assert_eq!(report.refused, 0);
    assert!(report.worst <= 1.0, "{}", report.worst);
    for minute in 0..4 {
        let from = 230.0 + 61.0 * f64::from(minute);
        let blind: usize = (0..4).map(|node| report.between(node, from, from + 60.0)).sum();
        assert!(blind <= 600, "{blind} in a minute without the ledger");
        assert!(blind >= 500, "{blind} in a minute without the ledger");
    }
}

/// Row 20: keys of one project share its quota, whoever holds them.
#[test]
fn two_keys_of_one_project_are_one_quota() {
    let nodes = vec![Node { keys: 2, ..Node::default() }; 4];
    let report = run(Setting { projects: vec![rpm(600), rpm(600)], ..Setting::default() }, nodes);
    assert_eq!(report.refused, 0);
    assert!(report.used >= 0.99, "{}", report.used);
}

/// Row 9: an empty ledger is told what everybody saw.
#[test]
fn a_ledger_that_forgot_everything_is_told_what_was_sent() {
    let setting = Setting { projects: one(rpm(1_200)), loses: Some(secs(150)), ..Setting::default() };
    let report = run(setting, vec![Node::default(); 8]);
    assert!(report.refused <= 20, "{} refusals", report.refused);
    assert!(report.worst <= 1.0 + 1.0 / 60.0 * 3.0, "{}", report.worst);
}

/// Mixed sizes: a large prompt does not idle the others, and comes to its turn.
#[test]
fn mixed_sizes_use_the_tokens_of_every_minute() {
    let setting =
        Setting { projects: one(Limits { tpm: Some(1_000_000), ..Limits::default() }), span: secs(3_600), ..Setting::default() };
    let median =
        |rng: &mut rand::rngs::SmallRng| ((8_000.0 * (1.2 * crate::world::normal(rng)).exp()) as u64).clamp(100, 400_000);
    let report = Together::new(setting, vec![Node { backlog: 30, ..Node::default() }; 4], median).run();
    println!(
        "used {:.4} worst {:.4} refused {} jain {:.4} calls {:.3}",
        report.used,
        report.worst,
        report.refused,
        report.jain(),
        report.calls_per_grant()
    );
    assert_eq!(report.refused, 0);
    assert!(report.used >= 0.97, "{}", report.used);
    let longest = report.waited.iter().flatten().copied().fold(0.0, f64::max);
    // 120 prompts of 16,000 tokens wait before it, and a large one is passed for ten seconds and then has room in a minute.
    assert!(longest < 300.0, "one waited {longest} s");
}

/// A process whose workers are busy does not hoard permits that others could use.
#[test]
fn a_process_with_few_workers_leaves_the_rest_to_others() {
    let mut nodes = vec![Node::default(); 2];
    nodes[0].max_concurrency = 4;
    let report = run(Setting { projects: one(rpm(3_000)), ..Setting::default() }, nodes.clone());
    assert_eq!(report.refused, 0);
    assert!(report.used >= 0.98, "{}", report.used);
    // The other has no such bound: a minute's worth is gone after the six seconds over which it is spread. In these, four workers
    // whose calls take 1.6 s make fifteen calls, ten times in ten minutes.
    assert!(report.sent[0].len() >= 130, "{}", report.sent[0].len());
    // Where the other wants less than there is, they are never idle.
    nodes[1].works = (secs(0), secs(600));
    nodes[1].backlog = 30;
    nodes[1].every = Some(secs(1));
    let report = run(Setting { projects: one(rpm(3_000)), ..Setting::default() }, nodes);
    assert_eq!(report.refused, 0);
    assert!(report.sent[0].len() > 1_000, "{}", report.sent[0].len());
}
