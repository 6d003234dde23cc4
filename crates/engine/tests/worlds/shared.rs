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
