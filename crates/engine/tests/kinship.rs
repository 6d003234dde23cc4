//! Keys of one hidden project are noticed, and really separate projects never are, however busy they are.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{InProcess, request};
use proptest::prelude::*;
use tidegate_engine::scheduler::Timestamp;
use tidegate_engine::store::Store;
use tidegate_engine::{Builder, Engine, GOOGLE, Kin, Project};
use tidegate_gemini::models::Limits;
use tidegate_simulator::Scenario;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);

/// `keys` lists for each project of the server the keys it has; each key is told to the engine as a project of its own.
async fn kin(keys: &[u32], rpm: u64, told: u64, minutes: u64, folder: Option<&std::path::Path>) -> Vec<Kin> {
    let mut toml = String::new();
    let mut projects = Vec::new();
    for (number, &count) in keys.iter().enumerate() {
        let names: Vec<String> = (0..count).map(|key| format!("SIM-hidden-{number}-{key}-0123456789abcdef")).collect();
        toml += &format!(
            "[[projects]]\nname = \"hidden-{number}\"\nkeys = {names:?}\n[projects.limits.\"gemini-3.8-flash\"]\nrpm = {rpm}\n"
        );
        for (key, secret) in names.into_iter().enumerate() {
            let limits = vec![("*".to_string(), Limits { rpm: Some(told), ..Limits::default() })];
            let name = format!("p{number}-{key}");
            projects.push(Project { name, keys: vec![(None, secret.into())], limits, account: None });
        }
    }
    let backend = InProcess::new(Scenario::from_toml(&toml).unwrap(), START);
    let mut builder = Engine::builder().backend(backend).start_at(START);
    if let Some(folder) = folder {
        builder = builder.state_dir(folder);
    }
    let engine = projects.into_iter().fold(builder, Builder::project).build().unwrap();
    let tasks: Vec<_> = (0..50_u64)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move {
                loop {
                    let _ = engine.submit(request(&n.to_string())).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let kin = engine.kin();
    engine.shutdown(Duration::from_secs(1)).await;
    kin
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_hidden_project_are_noticed_and_others_never_taken_for_kin() {
    let folder = tempfile::tempdir().unwrap();
    let kin = kin(&[3, 2], 20, 20, 20, Some(folder.path())).await;
    let groups: Vec<String> = Kin::groups(&kin).iter().map(|group| group.join(" ")).collect();
    assert!(groups.contains(&"p0-0 p0-1 p0-2".to_string()), "{groups:?}");
    // Two keys settle down to half of the quota each before they have met often enough, or they are noticed, too.
    assert!(groups.iter().all(|group| ["p0-0 p0-1 p0-2", "p1-0 p1-1"].contains(&group.as_str())), "{groups:?}");
    assert_eq!(Store::open(folder.path(), GOOGLE).unwrap().kin(START).unwrap(), kin);
}

#[test]
fn separate_projects_are_never_named_however_busy_they_are() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let config = ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(projects in 2_usize..5, rpm in 2_u64..60, too_high in 1_u64..4)| {
        // Told limits may be too high: then refusals come that the own count does not explain.
        let kin = runtime().block_on(kin(&vec![1; projects], rpm, rpm * too_high, 10, None));
        prop_assert!(kin.is_empty(), "{kin:?}");
    });
}
